# SPDX-License-Identifier: GPL-3.0-or-later
"""How AWS is asked: how often, in batches, in pages, and what becomes of a question that AWS refuses."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.look import Look
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import Seen

ELB = "arn:aws:elasticloadbalancing:eu-central-1:1"
ACM = "arn:aws:acm:eu-central-1:1:certificate"
PAGE = 100


class Aws:
    """AWS with `count` services of two hosts each, all clients in one; `well` decides whether targets are healthy, `behind` whether hosts run the newest version."""

    def __init__(self, count: int, *, well: bool = True, behind: bool = False, data: bool = False) -> None:
        self.count, self.well, self.behind, self.data = count, well, behind, data
        self.calls: Counter[str] = Counter()
        self.denied: set[str] = set()
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def client(self, service: str) -> Any:
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answer = getattr(type(self), f"_{name}")

        def call(**params: Any) -> Any:
            self.calls[name] += 1
            self.asked.append((name, params))
            if name in self.denied:
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, name)
            return answer(self, params)

        return call

    def _page(self, key: str, entries: list[Any], params: dict[str, Any], got: str = "NextToken") -> dict[str, Any]:
        sent = "Marker" if got == "NextMarker" else got
        start = int(params.get(sent) or 0)
        more = {got: str(start + PAGE)} if start + PAGE < len(entries) else {}
        return {key: entries[start : start + PAGE], **more}

    def _describe_auto_scaling_groups(self, params: dict[str, Any]) -> Any:
        assert params["Filters"] == [{"Name": "tag:boring:fleet", "Values": ["shop"]}]
        return self._page("AutoScalingGroups", [self._group(number) for number in range(self.count)], params)

    def _group(self, number: int) -> dict[str, Any]:
        template = {"LaunchTemplateId": f"lt-{number}", "LaunchTemplateName": f"shop-s{number}"}
        return {
            "AutoScalingGroupName": f"shop-s{number}", "MinSize": 2, "MaxSize": 4, "DesiredCapacity": 2,
            "LaunchTemplate": {**template, "Version": "$Latest"},
            "TargetGroupARNs": [f"{ELB}:targetgroup/shop-s{number}/0"],
            "TrafficSources": [{"Type": "elbv2", "Identifier": f"{ELB}:targetgroup/shop-s{number}/0"}],
            "Tags": [{"Key": "boring:fleet", "Value": "shop"}, {"Key": "boring:service", "Value": f"s{number}"}],
            "Instances": [
                {
                    "InstanceId": f"i-{number}x{one}", "AvailabilityZone": "eu-central-1a", "HealthStatus": "Healthy",
                    "LifecycleState": "InService" if self.well else "Pending:Wait",
                    "LaunchTemplate": {**template, "Version": "1" if self.behind else "2"},
                }
                for one in range(2)
            ],
        }  # fmt: skip

    def _describe_launch_templates(self, params: dict[str, Any]) -> Any:
        (wanted,) = params["Filters"]
        assert len(wanted["Values"]) <= 200
        known = [
            {"LaunchTemplateId": f"lt-{name[6:]}", "LaunchTemplateName": name, "LatestVersionNumber": 2, "DefaultVersionNumber": 1}
            for name in wanted["Values"]
        ]  # fmt: skip
        return self._page("LaunchTemplates", known, params)

    def _describe_launch_template_versions(self, params: dict[str, Any]) -> Any:
        found = [
            {"LaunchTemplateId": f"lt-{number}", "VersionNumber": 2, "LaunchTemplateData": {"ImageId": "ami-new"}}
            for number in range(self.count)
        ]
        return self._page("LaunchTemplateVersions", found, params)

    def _describe_instances(self, params: dict[str, Any]) -> Any:
        (wanted,) = params["Filters"]
        assert len(wanted["Values"]) <= 200
        found = [
            {"InstanceId": one, "ImageId": "ami-1", "LaunchTime": datetime(2026, 1, 1, tzinfo=UTC), "Tags": []}
            for one in wanted["Values"]
        ]
        return self._page("Reservations", [{"Instances": [one]} for one in found], params)

    def _describe_instance_status(self, params: dict[str, Any]) -> Any:
        assert len(params["InstanceIds"]) <= 100
        ok, bad = {"Status": "ok"}, {"Status": "impaired"}
        events = [
            {"Code": "instance-retirement", "Description": "The instance is on degraded hardware"},
            {"Code": "system-reboot", "Description": "[Completed] done"},
        ]
        entries: list[dict[str, Any]] = [
            {"InstanceId": one, "SystemStatus": ok, "InstanceStatus": ok} for one in params["InstanceIds"]
        ]
        entries[0] |= {"InstanceStatus": bad, "Events": events}
        return {"InstanceStatuses": entries}

    def _describe_images(self, params: dict[str, Any]) -> Any:
        return {"Images": [{"ImageId": one, "Name": f"name of {one}"} for one in params["Filters"][0]["Values"]]}

    def _describe_target_health(self, params: dict[str, Any]) -> Any:
        number = params["TargetGroupArn"].split("/")[1].removeprefix("shop-s")
        if number == "ilent":
            return {"TargetHealthDescriptions": []}
        state = {"State": "healthy"}
        return {
            "TargetHealthDescriptions": [
                {"Target": {"Id": f"i-{number}x{one}"}, "TargetHealth": state} for one in range(2)
            ]
        }

    def _describe_scaling_activities(self, params: dict[str, Any]) -> Any:
        return {"Activities": []}

    def _describe_scheduled_actions(self, params: dict[str, Any]) -> Any:
        actions = [
            {"AutoScalingGroupName": "shop-s0", "Recurrence": "0 7 * * 1-5", "TimeZone": "Europe/Berlin", "MinSize": 4, "DesiredCapacity": 5},
            {"AutoScalingGroupName": "shop-s0", "StartTime": datetime(2026, 12, 24, 18, tzinfo=UTC), "MaxSize": 1},
            {"AutoScalingGroupName": "others", "Recurrence": "0 0 * * *", "MinSize": 0},
        ]  # fmt: skip
        return {"ScheduledUpdateGroupActions": actions}

    def _describe_policies(self, params: dict[str, Any]) -> Any:
        cpu = {
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
            "TargetValue": 60.0,
        }
        own = {"CustomizedMetricSpecification": {"MetricName": "Jobs"}, "TargetValue": 2.5}
        return {
            "ScalingPolicies": [
                {"AutoScalingGroupName": "shop-s0", "PolicyName": "a", "PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": cpu},
                {"AutoScalingGroupName": "shop-s0", "PolicyName": "b", "PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": own},
                {"AutoScalingGroupName": "shop-s0", "PolicyName": "steps", "PolicyType": "StepScaling"},
            ]
        }  # fmt: skip

    def _describe_load_balancers(self, params: dict[str, Any]) -> Any:
        names = [*(f"other{number}" for number in range(120)), "shop", "shop-internal", "shop-data"]
        entries = [
            {"LoadBalancerName": name, "LoadBalancerArn": f"{ELB}:loadbalancer/app/{name}/0", "DNSName": f"{name}.elb.example", "State": {"Code": "active"}}
            for name in names
        ]  # fmt: skip
        return self._page("LoadBalancers", entries, params, "NextMarker")

    def _describe_listeners(self, params: dict[str, Any]) -> Any:
        name = params["LoadBalancerArn"].split("/")[2]
        if name == "shop-data":
            arns = [f"{ELB}:targetgroup/shop-silent/0", f"{ELB}:targetgroup/shop-s0/0"]
            return {
                "Listeners": [
                    {"ListenerArn": f"l{arn}", "Port": 30000, "DefaultActions": [{"TargetGroupArn": arn}]}
                    for arn in arns
                ]
            }
        ports = (443,) if name == "shop" else (20000, 20001)
        return {
            "Listeners": [
                {"ListenerArn": f"{name}{port}", "Port": port, "Certificates": [{"CertificateArn": f"{ACM}/{name}"}]}
                for port in ports
            ]
        }

    def _describe_listener_certificates(self, params: dict[str, Any]) -> Any:
        assert params["ListenerArn"] == "shop443"
        return {"Certificates": [{"CertificateArn": f"{ACM}/shop"}, {"CertificateArn": f"{ACM}/second"}]}

    def _describe_certificate(self, params: dict[str, Any]) -> Any:
        name = params["CertificateArn"].rpartition("/")[2]
        return {"Certificate": {"DomainName": f"{name}.example.org", "NotAfter": datetime(2027, 1, 1, tzinfo=UTC)}}

    def _get_parameters(self, params: dict[str, Any]) -> Any:
        assert len(params["Names"]) <= 10 and params["WithDecryption"] is False
        return {"Parameters": []}


def look(aws: Aws) -> Seen:
    return Look(aws.client, clock=time.time, sleep=lambda seconds: None, patience=1.0).at("shop", {})


@pytest.mark.parametrize("count", [1, 10, 100])
@pytest.mark.parametrize(("well", "behind"), [(True, False), (True, True), (False, False), (False, True)])
def test_calls_grow_with_the_services_and_are_at_most_three_each(count: int, well: bool, behind: bool) -> None:
    aws = Aws(count, well=well, behind=behind)
    seen = look(aws)
    assert len(seen.groups) == count and len(seen.machines) == 2 * count
    assert {one.image for one in seen.groups} == {"ami-new" if behind else "ami-1"}
    # What is asked once a fleet, whatever its size: 20 at most.
    assert aws.calls.total() <= 20 + 3 * count, aws.calls
    assert aws.calls["describe_target_health"] == count
    assert aws.calls["describe_scaling_activities"] == (0 if well else count)
    assert aws.calls["describe_launch_template_versions"] == (max(1, count // 100) if behind else 0)
    assert not [name for name in aws.calls if not name.startswith(("describe_", "get_parameters"))]


def test_what_it_finds() -> None:
    seen = look(Aws(2))
    assert seen.groups[0].scaling == (
        "min 4, desired 5 at 0 7 * * 1-5 (Europe/Berlin)",
        "max 1 at 2026-12-24 18:00 UTC",
        "ASGAverageCPUUtilization at 60",
        "Jobs at 2.5",
        "policy steps (StepScaling)",
    )
    assert seen.groups[1].scaling == ()
    assert [(one.part, one.address) for one in seen.balancers] == [
        ("public", "shop.elb.example"),
        ("internal", "shop-internal.elb.example"),
        ("data", "shop-data.elb.example"),
    ]
    assert sorted(seen.ends) == [
        "the certificate of second.example.org at shop:443",
        "the certificate of shop-internal.example.org at shop-internal:20000 and 1 more",
        "the certificate of shop.example.org at shop:443",
    ]
    assert set(seen.ends.values()) == {datetime(2027, 1, 1, tzinfo=UTC).timestamp()}
    assert seen.machines["i-0x0"].trouble == (
        "EC2's instance check fails; EC2 has planned instance-retirement for it (The instance is on degraded hardware)"
    )
    assert seen.machines["i-0x1"].trouble == "" and seen.images == {"ami-1": "name of ami-1"}
    assert (seen.silent, seen.unknown) == ({}, ())


def test_data_whose_hosts_register_themselves_and_do_not() -> None:
    class Silent(Aws):
        def _group(self, number: int) -> dict[str, Any]:
            tags = [{"Key": "boring:fleet", "Value": "shop"}, {"Key": "boring:service", "Value": "silent"}]
            return {**super()._group(number), "AutoScalingGroupName": "shop-silent", "Tags": tags}

    found = look(Silent(1)).silent
    assert found == {"silent": "no host takes connections: none has registered itself with the load balancer"}


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("describe_certificate", "acm:DescribeCertificate"),
        ("get_parameters", "ssm:GetParameters"),
        ("describe_policies", "autoscaling:DescribePolicies"),
        ("describe_instance_status", "ec2:DescribeInstanceStatus"),
        ("describe_load_balancers", "elasticloadbalancing:DescribeLoadBalancers"),
        ("describe_target_health", "elasticloadbalancing:DescribeTargetHealth"),
        ("describe_images", "ec2:DescribeImages"),
    ],
)
def test_what_the_status_can_do_without(operation: str, permission: str) -> None:
    aws = Aws(1)
    aws.denied = {operation}
    seen = look(aws)
    assert len(seen.groups) == 1 and seen.unknown
    assert all(f"the credentials lack the permission {permission}" in one for one in seen.unknown), seen.unknown


@pytest.mark.parametrize(
    "operation", ["describe_auto_scaling_groups", "describe_instances", "describe_launch_templates"]
)
def test_what_it_cannot(operation: str) -> None:
    aws = Aws(1)
    aws.denied = {operation}
    with pytest.raises(AwsError, match="the credentials lack the permission"):
        look(aws)


def test_a_call_that_is_throttled_without_end_ends() -> None:
    aws, now = Aws(1), [0.0]

    def throttled(params: dict[str, Any]) -> Any:
        raise ClientError({"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}, "DescribeInstances")

    aws.describe_instances = lambda **params: throttled(params)  # type: ignore[method-assign]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    with pytest.raises(AwsError, match="Rate exceeded"):
        Look(aws.client, clock=lambda: now[0], sleep=sleep).at("shop", {})
    assert 60 <= sum(slept) < 90
