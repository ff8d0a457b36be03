# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lists say is put to AWS's API as it stands (moto's): names, rules, priorities and policies are all taken, in their order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from tests.unit.plugins.module_utils.fleet.fleets import changed, shop, small

REGION = "eu-central-1"
LONG = "thumbnails-for-the-archive-of-pictures-of-the-last-twenty-years"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        yield Account()


class Account:
    """Makes what lists say, one call a thing, and looks at what is there."""

    def __init__(self) -> None:
        self.ec2, self.elb, self.iam, self.ssm, self.groups, self.acm = (
            boto3.client(name, region_name=REGION)
            for name in ("ec2", "elbv2", "iam", "ssm", "autoscaling", "acm")
        )  # fmt: skip
        self.vpc = self.ec2.describe_vpcs()["Vpcs"][0]
        self.subnets = [subnet["SubnetId"] for subnet in self.ec2.describe_subnets()["Subnets"]]
        self.certificate = self.acm.request_certificate(DomainName="example.org")["CertificateArn"]

    def make(self, fleet: dict[str, Any]) -> None:
        self.make_security(fleet)
        for parameter in fleet["parameters"]:
            self.ssm.put_parameter(Name=parameter["name"], Value="x", Type=parameter["type"])
        for role in fleet["roles"]:
            self.iam.create_role(RoleName=role["name"], AssumeRolePolicyDocument=json.dumps(role["trust"]))
            self.iam.put_role_policy(
                RoleName=role["name"], PolicyName="fleet", PolicyDocument=json.dumps(role["policy"])
            )
            self.iam.create_instance_profile(InstanceProfileName=role["name"])
        self.make_balancers(fleet)
        image = self.ec2.register_image(Name=f"image of {fleet['name']}", RootDeviceName="/dev/xvda")["ImageId"]
        for group in fleet["groups"]:
            self.make_group(group, image)

    def make_security(self, fleet: dict[str, Any]) -> None:
        ids = {}
        for group in fleet["security_groups"]:
            made = self.ec2.create_security_group(
                GroupName=group["name"], Description=group["description"], VpcId=self.vpc["VpcId"]
            )
            ids[group["name"]] = made["GroupId"]
            self.ec2.revoke_security_group_egress(
                GroupId=made["GroupId"],
                IpPermissions=[permission({"peer": {"cidr": "0.0.0.0/0"}, "protocol": "all"}, ids, "")],
            )
        for group in fleet["security_groups"]:
            for way, ask in (
                ("ingress", self.ec2.authorize_security_group_ingress),
                ("egress", self.ec2.authorize_security_group_egress),
            ):
                for rule in group[way]:
                    ask(GroupId=ids[group["name"]], IpPermissions=[permission(rule, ids, self.vpc["CidrBlock"])])
        self.security = ids

    def make_balancers(self, fleet: dict[str, Any]) -> None:
        targets = {}
        for target in fleet["target_groups"]:
            health = target["health"]
            path = {"HealthCheckPath": health["path"]} if health["path"] else {}
            made = self.elb.create_target_group(
                Name=target["name"], Protocol=target["protocol"], Port=target["port"], VpcId=self.vpc["VpcId"],
                HealthCheckProtocol=health["protocol"], HealthCheckPort=str(health["port"]), **path,
            )  # fmt: skip
            targets[target["name"]] = made["TargetGroups"][0]["TargetGroupArn"]
        for balancer in fleet["load_balancers"]:
            made = self.elb.create_load_balancer(
                Name=balancer["name"], Type=balancer["type"], Scheme=balancer["scheme"], Subnets=self.subnets,
                SecurityGroups=[self.security[balancer["security_group"]]],
            )  # fmt: skip
            for listener in balancer["listeners"]:
                tls = (
                    {"Certificates": [{"CertificateArn": self.certificate}], "SslPolicy": listener["tls_policy"]}
                    if listener["certificates"]
                    else {}
                )
                arn = self.elb.create_listener(
                    LoadBalancerArn=made["LoadBalancers"][0]["LoadBalancerArn"], Port=listener["port"], Protocol=listener["protocol"],
                    DefaultActions=[action(listener["default"], targets)], **tls,
                )["Listeners"][0]["ListenerArn"]  # fmt: skip
                for rule in listener["rules"]:
                    conditions = [{"Field": "path-pattern", "PathPatternConfig": {"Values": rule["paths"]}}]
                    conditions += (
                        [{"Field": "host-header", "HostHeaderConfig": {"Values": rule["hosts"]}}]
                        if rule["hosts"]
                        else []
                    )
                    self.elb.create_rule(
                        ListenerArn=arn,
                        Priority=rule["priority"],
                        Conditions=conditions,
                        Actions=[action(rule["action"], targets)],
                    )
        self.targets = targets

    def make_group(self, group: dict[str, Any], image: str) -> None:
        template, size = group["template"], group["size"]
        profile = {"IamInstanceProfile": {"Name": template["instance_profile"]}} if template["instance_profile"] else {}
        self.ec2.create_launch_template(
            LaunchTemplateName=template["name"],
            LaunchTemplateData={
                "ImageId": image, "InstanceType": template["instance_type"], "SecurityGroupIds": [self.security[template["security_group"]]],
                "MetadataOptions": {"HttpTokens": template["metadata"]["tokens"], "HttpPutResponseHopLimit": template["metadata"]["hop_limit"]}, **profile,
            },
        )  # fmt: skip
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName=group["name"], LaunchTemplate={"LaunchTemplateName": template["name"], "Version": "1"},
            MinSize=0, MaxSize=size["max"], DesiredCapacity=0, VPCZoneIdentifier=",".join(self.subnets),
            TargetGroupARNs=[self.targets[name] for name in group["target_groups"]], HealthCheckType=group["health_check"],
            Tags=[{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in group["tags"].items()],
        )  # fmt: skip
        for hook in group["lifecycle_hooks"]:
            self.groups.put_lifecycle_hook(
                AutoScalingGroupName=group["name"], LifecycleHookName=hook["name"],
                LifecycleTransition=f"autoscaling:EC2_INSTANCE_{hook['transition'].upper()}",
                HeartbeatTimeout=hook["heartbeat_timeout"], DefaultResult=hook["default_result"],
            )  # fmt: skip


def permission(rule: dict[str, Any], ids: dict[str, str], vpc: str) -> dict[str, Any]:
    found: dict[str, Any] = (
        {"IpProtocol": "-1"}
        if rule["protocol"] == "all"
        else {"IpProtocol": "tcp", "FromPort": rule["from_port"], "ToPort": rule["to_port"]}
    )
    peer = rule["peer"]
    if "group" in peer:
        return {**found, "UserIdGroupPairs": [{"GroupId": ids[peer["group"]]}]}
    cidr = peer.get("cidr", vpc)
    return {**found, "Ipv6Ranges": [{"CidrIpv6": cidr}]} if ":" in cidr else {**found, "IpRanges": [{"CidrIp": cidr}]}


def action(given: dict[str, Any], targets: dict[str, str]) -> dict[str, Any]:
    if given["type"] == "forward":
        return {"Type": "forward", "TargetGroupArn": targets[given["target_group"]]}
    if given["type"] == "redirect":
        config = {"Protocol": given["protocol"], "Port": str(given["port"]), "StatusCode": f"HTTP_{given['status']}"}
        return {"Type": "redirect", "RedirectConfig": config}
    return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": str(given["status"])}}


def everything() -> list[dict[str, Any]]:
    """Fleets whose names, sizes and rules are at the limits."""
    hostile = shop(name="internal-a-b-c-d-e-f-")
    hostile["fleet_services"][LONG] = hostile["fleet_services"].pop("thumbs")
    hostile["fleet_services"]["web"] |= {"uses": ["bus", "store", LONG], "egress": ["0.0.0.0/0:443", "[::/0]:443"]}
    many = {
        f"s{number}": {
            "port": 8080,
            "uses": [f"s{number - 1}"] if number else [],
            "expose": {"hosts": [f"h{number}.example.org"], "paths": ["/", "/api"]},
        }
        for number in range(12)
    }
    wide = changed("fleet_network", {"clients": ["10.0.0.0/8", "2001:db8::/32"]})
    return [shop(), hostile, {**small("sg", **many)}, {**wide, "fleet_name": "a--"}]


def test_all_of_it_is_taken_and_several_fleets_live_side_by_side(aws: Account) -> None:
    fleets = [lists(read_fleet(variables)) for variables in everything()]
    for fleet in fleets:
        # Yours are there before, and once for all fleets.
        aws.make({**fleet, "parameters": [one for one in fleet["parameters"] if one["made"]]})
    names = [group["AutoScalingGroupName"] for group in aws.groups.describe_auto_scaling_groups()["AutoScalingGroups"]]
    assert len(names) == len(set(names)) == sum(len(fleet["groups"]) for fleet in fleets)
    assert len(aws.elb.describe_target_groups()["TargetGroups"]) == sum(len(fleet["target_groups"]) for fleet in fleets)
