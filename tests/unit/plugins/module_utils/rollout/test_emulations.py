# SPDX-License-Identifier: GPL-3.0-or-later
"""Other people's AWS: moto, which knows no instance refreshes and one template version for all, and what leaves keys out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.roll import Result, Roll
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.owner import Owner
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.parse import Parser
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_RECORD
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match, Policy, Request

KEYS = {
    "region_name": "eu-central-1",
    "aws_access_key_id": "x",
    "aws_secret_access_key": "y",
}


class Moto:
    """A group "web" of two in moto, over a virtual clock."""

    def __init__(self, **group: Any) -> None:
        self.clients = {name: boto3.client(name, **KEYS) for name in ("autoscaling", "ec2", "elbv2", "elb")}
        self.autoscaling, self.ec2 = self.clients["autoscaling"], self.clients["ec2"]
        image = self.ec2.register_image(Name="web")["ImageId"]
        self.ec2.create_launch_template(
            LaunchTemplateName="web", LaunchTemplateData={"ImageId": image, "InstanceType": "t3.micro"}
        )
        self.autoscaling.create_launch_configuration(
            LaunchConfigurationName="plain", ImageId=image, InstanceType="t3.micro"
        )
        subnet = self.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        self.autoscaling.create_auto_scaling_group(
            **{
                "AutoScalingGroupName": "web",
                "MinSize": 1,
                "MaxSize": 4,
                "DesiredCapacity": 2,
                "VPCZoneIdentifier": subnet,
                "LaunchTemplate": {"LaunchTemplateName": "web", "Version": "$Latest"},
            }
            | group
        )
        self.now = 2_000_000_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def roll(self, state: str = "completed", template: Template | None = None, **policy: Any) -> Result:
        roll = Roll(
            Cloud(self.clients.__getitem__, clock=lambda: self.now, sleep=self.sleep),
            Request("web", state, template),
            Policy(**policy),
            clock=lambda: self.now,
            sleep=self.sleep,
            owner=Owner.this_process(),
        )
        result = roll.run()
        assert "mistake in asg_rollout" not in result.message, result.message
        return result

    @property
    def group(self) -> Any:
        return self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"][0]

    @property
    def ids(self) -> set[str]:
        return {item["InstanceId"] for item in self.group["Instances"]}

    def assert_as_found(self) -> None:
        group = self.group
        assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (1, 4, 2)
        assert group["SuspendedProcesses"] == []
        assert {tag["Key"] for tag in group["Tags"]} <= {TAG_RECORD}


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Moto]]:
    # The local cloud, when a test before this one started it in this process, told moto to have no images.
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "true")
    with mock_aws():
        yield Moto


def test_every_state_without_instance_refreshes_and_activities(moto: type[Moto]) -> None:
    m = moto()
    before = m.ids
    assert m.roll("planned").as_dict()["plan"]["batches"] == []
    assert m.roll().changed is False
    assert m.roll("aborted").changed is False
    result = m.roll(match=Match.ALL)
    assert (result.state, result.failed, len(result.replaced)) == ("completed", False, 2), result.message
    assert not m.ids & before
    m.assert_as_found()
    assert "DescribeInstanceRefreshes" in result.api_calls


def test_a_version_that_moto_never_launches_fails_instead_of_going_on_for_ever(moto: type[Moto]) -> None:
    m = moto()
    m.ec2.create_launch_template_version(
        LaunchTemplateName="web", SourceVersion="1", LaunchTemplateData={"InstanceType": "t3.small"}
    )
    assert m.roll("planned").changed
    result = m.roll()
    assert result.failed
    assert "AWS launched it from" in result.message
    m.assert_as_found()
    assert m.group["LaunchTemplate"]["Version"] == "$Latest"


def test_a_launch_configuration(moto: type[Moto]) -> None:
    m = moto(LaunchConfigurationName="plain", LaunchTemplate={})
    before = m.ids
    assert m.roll().changed is False
    plan = m.roll("planned", template=Template("", "web", "1")).as_dict()["plan"]
    assert [due["reasons"] for batch in plan["batches"] for due in batch] == [
        ["runs launch configuration plain, not launch template web version 1"]
    ] * 2
    result = m.roll(match=Match.ALL)
    assert (result.state, len(result.replaced)) == ("completed", 2), result.message
    assert not m.ids & before
    assert m.group["LaunchConfigurationName"] == "plain"
    m.assert_as_found()


def test_an_instance_refresh_that_the_endpoint_does_not_have_is_one_sentence(moto: type[Moto]) -> None:
    m = moto()
    m.ec2.create_launch_template_version(
        LaunchTemplateName="web", SourceVersion="1", LaunchTemplateData={"InstanceType": "t3.small"}
    )
    result = m.roll(refreshes=True)
    assert result.failed
    assert "instance refresh" in result.message
    m.assert_as_found()


def test_only_what_a_roll_needs_has_to_be_in_an_answer() -> None:
    group = Parser().group(
        {
            "AutoScalingGroupName": "web",
            "MinSize": 1,
            "MaxSize": 2,
            "DesiredCapacity": 1,
            "LaunchTemplate": {"LaunchTemplateId": "lt-1"},
            "Instances": [{"InstanceId": "i-1", "LifecycleState": "SomethingNew"}],
        }
    )
    assert group.template == Template("lt-1", "", "$Default")
    assert not group.instances[0].counted
    assert not group.instances[0].in_service


class Lattice:
    """A client of VPC Lattice that answers in two pages."""

    def list_targets(self, **params: Any) -> dict[str, Any]:
        if "nextToken" in params:
            return {"items": [{"id": "i-2", "port": 80, "status": "UNHEALTHY", "reasonCode": "HealthCheckFailed"}]}
        return {"items": [{"id": "i-1", "port": 80, "status": "HEALTHY"}], "nextToken": "more"}


def test_vpc_lattice_is_gated_on() -> None:
    group = Parser().group(
        {
            "AutoScalingGroupName": "web",
            "MinSize": 1,
            "MaxSize": 2,
            "DesiredCapacity": 1,
            "LaunchTemplate": {"LaunchTemplateId": "lt-1"},
            "TrafficSources": [{"Identifier": "arn:aws:vpc-lattice:x:1:targetgroup/tg-1", "Type": "vpc-lattice"}],
        }
    )
    cloud = Cloud(lambda service: {"vpc-lattice": Lattice()}[service], clock=lambda: 0.0, sleep=lambda seconds: None)
    health, idle = cloud.health(group)
    assert health == {"i-1": "", "i-2": "target group tg-1 reports UNHEALTHY (HealthCheckFailed)"}
    assert idle == ()
    assert cloud.calls["ListTargets"] == 2
