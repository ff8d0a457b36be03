# SPDX-License-Identifier: GPL-3.0-or-later
"""Auto Scaling over HTTP: boto3 against the local cloud's own server, with simulated hosts behind it.

What boto3 gets over the wire must be what the service returned, so the unit tests of the service hold for the server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from localcloud.autoscaling.simulation import REGION, SimulatedCloud
from localcloud.cloud import Cloud
from localcloud.server import Application, Server
from localcloud.settings import Key, Settings

KEY = Key.random()
BOOT, HEALTHY, DRAIN, SHUTDOWN = 60.0, 10.0, 30.0, 5.0


class Behind:
    """One service of the simulation, as the server calls it."""

    def __init__(self, simulated: SimulatedCloud, service: str) -> None:
        self._simulated = simulated
        self._service = service

    def handle(self, operation: str, params: dict[str, Any], region: str) -> dict[str, Any]:
        assert region == REGION
        return self._simulated.handle(self._service, operation, params)


class WithoutHosts(Cloud):
    """A cloud for the server that needs neither podman nor HAProxy."""

    def __init__(self, simulated: SimulatedCloud, port: int) -> None:
        self.lock = threading.RLock()
        self.faults = simulated.faults
        self.ready = True
        self.settings = Settings("none", port, "172.30.0.0/16", REGION, key=KEY)
        self.services = {
            "autoscaling": Behind(simulated, "autoscaling"),
            "elasticloadbalancing": Behind(simulated, "elbv2"),
        }

    def make_room(self) -> None:
        """Nothing to keep."""

    def save(self) -> None:
        """Nothing to keep."""

    def guard(self) -> None:
        """No hosts, so no rules for them."""


@pytest.fixture(scope="module")
def served() -> Iterator[Callable[[SimulatedCloud], str]]:
    """Serve a simulated cloud; the endpoint's URL."""
    server = Server(0)
    application = Application(WithoutHosts(SimulatedCloud(), server.port))
    thread = threading.Thread(target=server.serve, args=(application,), daemon=True)
    thread.start()

    def serve(simulated: SimulatedCloud) -> str:
        application._cloud = WithoutHosts(simulated, server.port)
        return f"http://127.0.0.1:{server.port}"

    yield serve
    server.stop()
    thread.join(timeout=10)
    server.close()


@pytest.fixture
def cloud() -> SimulatedCloud:
    cloud = SimulatedCloud(boot=BOOT, healthy_after=HEALTHY, deregistration_delay=DRAIN, shutdown=SHUTDOWN)
    cloud.create_group("web", size=3, MinSize=1, MaxSize=6)
    return cloud


@pytest.fixture
def client(served: Callable[[SimulatedCloud], str], cloud: SimulatedCloud) -> Callable[[str], Any]:
    """boto3 clients of the cloud that is served."""
    url = served(cloud)
    config = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=20, connect_timeout=5)

    def make(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=KEY.access_key,
            aws_secret_access_key=KEY.secret_key,
            config=config,
        )

    return make


def on_the_wire(call: Callable[..., dict[str, Any]], **params: Any) -> dict[str, Any]:
    answer = call(**params)
    assert answer.pop("ResponseMetadata")["HTTPStatusCode"] == 200
    return answer


def test_every_description_arrives_as_the_service_gave_it(cloud: SimulatedCloud, client: Callable[[str], Any]) -> None:
    asg = client("autoscaling")
    name = {"AutoScalingGroupName": "web"}
    asg.create_or_update_tags(
        Tags=[
            {
                "ResourceId": "web",
                "ResourceType": "auto-scaling-group",
                "Key": "k",
                "Value": "ü",
                "PropagateAtLaunch": True,
            }
        ]
    )
    asg.put_lifecycle_hook(
        **name,
        LifecycleHookName="gate",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
        HeartbeatTimeout=300,
        NotificationMetadata="<&>",
    )
    asg.suspend_processes(**name, ScalingProcesses=["AZRebalance"])
    asg.enable_metrics_collection(**name, Granularity="1Minute", Metrics=["GroupMinSize"])
    asg.put_warm_pool(**name, MinSize=1, MaxGroupPreparedCapacity=5, InstanceReusePolicy={"ReuseOnScaleIn": True})
    asg.update_auto_scaling_group(
        **name,
        DesiredCapacity=4,
        DefaultInstanceWarmup=30,
        InstanceMaintenancePolicy={"MinHealthyPercentage": 90, "MaxHealthyPercentage": 120},
        TerminationPolicies=["OldestInstance"],
    )
    cloud.sleep(BOOT)
    asg.terminate_instance_in_auto_scaling_group(
        InstanceId=cloud.in_service("web")[0], ShouldDecrementDesiredCapacity=True
    )
    refresh = asg.start_instance_refresh(**name, Preferences={"SkipMatching": True, "MinHealthyPercentage": 50})
    cloud.sleep(5)
    for operation, params in (
        ("describe_auto_scaling_groups", {"AutoScalingGroupNames": ["web"]}),
        ("describe_auto_scaling_instances", {}),
        ("describe_scaling_activities", name),
        ("describe_tags", {"Filters": [{"Name": "auto-scaling-group", "Values": ["web"]}]}),
        ("describe_lifecycle_hooks", name),
        ("describe_load_balancer_target_groups", name),
        ("describe_load_balancers", name),
        ("describe_traffic_sources", name),
        ("describe_warm_pool", name),
        ("describe_instance_refreshes", name | {"InstanceRefreshIds": [refresh["InstanceRefreshId"]]}),
        ("describe_policies", name),
        ("describe_notification_configurations", {}),
        ("describe_launch_configurations", {}),
        ("describe_scheduled_actions", {}),
        ("describe_scaling_process_types", {}),
        ("describe_termination_policy_types", {}),
        ("describe_account_limits", {}),
    ):
        local = on_the_wire(getattr(cloud.client("autoscaling"), operation), **params)
        assert on_the_wire(getattr(asg, operation), **params) == local, operation
    (group,) = asg.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"]
    elb = client("elbv2")
    targets = elb.describe_target_health(TargetGroupArn=group["TargetGroupARNs"][0])["TargetHealthDescriptions"]
    assert sorted(target["TargetHealth"]["State"] for target in targets) == ["draining", "healthy", "healthy"]


def test_a_mixed_group_arrives_whole(cloud: SimulatedCloud, client: Callable[[str], Any]) -> None:
    asg = client("autoscaling")
    policy = {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": "$Latest"},
            "Overrides": [{"InstanceType": "c7a.large", "WeightedCapacity": "2"}],
        },
        "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 50},
    }
    asg.create_auto_scaling_group(
        AutoScalingGroupName="mixed",
        MinSize=0,
        MaxSize=4,
        DesiredCapacity=2,
        MixedInstancesPolicy=policy,
        AvailabilityZones=["eu-central-1a"],
        LifecycleHookSpecificationList=[
            {"LifecycleHookName": "out", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING"}
        ],
    )
    (group,) = asg.describe_auto_scaling_groups(AutoScalingGroupNames=["mixed"])["AutoScalingGroups"]
    assert group == cloud.shape("mixed")
    assert group["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"] == policy["LaunchTemplate"]["Overrides"]
    assert group["Instances"][0]["WeightedCapacity"] == "2"
    assert asg.describe_lifecycle_hooks(AutoScalingGroupName="mixed")["LifecycleHooks"][0]["DefaultResult"] == "ABANDON"


def test_refusals_arrive_with_their_code_and_words(client: Callable[[str], Any]) -> None:
    asg = client("autoscaling")
    for call, params, code, words in (
        (asg.set_desired_capacity, {"DesiredCapacity": 9}, "ValidationError", "is above max value 6"),
        (asg.delete_auto_scaling_group, {}, "ResourceInUse", "while there are instances"),
        (asg.cancel_instance_refresh, {}, "ActiveInstanceRefreshNotFound", "No in progress"),
        (
            asg.create_auto_scaling_group,
            {"MinSize": 0, "MaxSize": 0, "LaunchTemplate": {"LaunchTemplateName": "web"}},
            "AlreadyExists",
            "A group with the name web already exists",
        ),
    ):
        with pytest.raises(ClientError) as caught:
            call(AutoScalingGroupName="web", **params)
        assert caught.value.response["Error"]["Code"] == code
        assert words in caught.value.response["Error"]["Message"]
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_fault_over_http_refuses_the_next_call(cloud: SimulatedCloud, client: Callable[[str], Any]) -> None:
    cloud.faults.add({"kind": "api", "operation": "DescribeAutoScalingGroups"})
    asg = client("autoscaling")
    with pytest.raises(ClientError, match="Throttling"):
        asg.describe_auto_scaling_groups()
    assert len(asg.describe_auto_scaling_groups()["AutoScalingGroups"]) == 1


def test_a_whole_life_over_http(cloud: SimulatedCloud, client: Callable[[str], Any]) -> None:
    asg = client("autoscaling")
    victim = cloud.in_service("web")[0]

    def state_of(instance: str) -> str | None:
        rows = asg.describe_auto_scaling_instances(InstanceIds=[instance])["AutoScalingInstances"]
        return rows[0]["LifecycleState"] if rows else None

    assert state_of(victim) == "InService"
    activity = asg.terminate_instance_in_auto_scaling_group(InstanceId=victim, ShouldDecrementDesiredCapacity=False)
    assert activity["Activity"]["StatusCode"] == "WaitingForELBConnectionDraining"
    assert state_of(victim) == "Terminating"
    cloud.sleep(DRAIN + SHUTDOWN)
    assert state_of(victim) is None
    ids = [activity["Activity"]["ActivityId"]]
    assert asg.describe_scaling_activities(ActivityIds=ids)["Activities"][0]["StatusCode"] == "Successful"
    cloud.sleep(BOOT)
    pages = list(asg.get_paginator("describe_scaling_activities").paginate(AutoScalingGroupName="web", MaxRecords=2))
    assert [len(page["Activities"]) for page in pages] == [2, 2, 1]
    asg.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    cloud.sleep(SHUTDOWN)
    assert asg.describe_auto_scaling_groups()["AutoScalingGroups"] == []
