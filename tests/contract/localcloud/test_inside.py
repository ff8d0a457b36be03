# SPDX-License-Identifier: GPL-3.0-or-later
"""A real host in a group: it reads its metadata, completes its own launch, tags itself, and is denied what its role does not allow."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.localcloud.test_ec2 import BOOT_SECONDS, Cloud, traces, until
from tests.contract.localcloud.test_ec2 import pytestmark as needs_hosts

pytestmark = needs_hosts
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "autoscaling:CompleteLifecycleAction",
            "Resource": "arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/hosts",
        },
        {
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/role": "web"}},
        },
    ],
}
# curl signs; the keys go through a file of its options, not over a command line.
CALL = """\
set -eu
at=http://169.254.169.254/latest
token=$(curl -sfm 10 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $at/api/token)
get() { curl -sfm 10 -H "X-aws-ec2-metadata-token: $token" "$at/meta-data/$1"; }
call() {  # service, body
    get iam/security-credentials/hosts | python3 -c '
import json, sys
keys = json.load(sys.stdin)
print("user = \\"%s:%s\\"" % (keys["AccessKeyId"], keys["SecretAccessKey"]))
print("header = \\"X-Amz-Security-Token: %s\\"" % keys["Token"])' > /run/keys
    curl -sm 20 --config /run/keys --aws-sigv4 "aws:amz:eu-central-1:$1" --data "$2" "$endpoint/"
}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("cloud"), "debian-13")
    made.up()
    yield made
    made.command("down")
    assert traces(made) == []


class Member:
    """The one host of a group."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.asg = cloud.client("autoscaling")
        until(lambda: self.state() == "Pending:Wait", BOOT_SECONDS)
        self.id = self.about()["InstanceId"]

    def about(self) -> dict[str, Any]:
        found = self.asg.describe_auto_scaling_instances()["AutoScalingInstances"]
        return dict(found[0]) if found else {}

    def state(self) -> str:
        return str(self.about().get("LifecycleState"))

    def sh(self, script: str) -> str:
        endpoint = json.loads(self.cloud.command("status", "--json").stdout)["inside"]
        done = subprocess.run(
            ["podman", "exec", "-i", f"lc-{self.cloud.name}-{self.id}", "bash"], input=f"endpoint={endpoint}\n{CALL}{script}",
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def member(cloud: Cloud) -> Member:
    iam, ec2 = cloud.client("iam"), cloud.client()
    iam.create_role(RoleName="hosts", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName="hosts", PolicyName="own", PolicyDocument=json.dumps(POLICY))
    iam.create_instance_profile(InstanceProfileName="hosts")
    iam.add_role_to_instance_profile(InstanceProfileName="hosts", RoleName="hosts")
    data = {
        "ImageId": cloud.base("debian-13"),
        "IamInstanceProfile": {"Name": "hosts"},
        "MetadataOptions": {"InstanceMetadataTags": "enabled"},
    }
    ec2.create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData=data)
    hook = {
        "LifecycleHookName": "come",
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
        "HeartbeatTimeout": 600,
    }
    cloud.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="hosts", MinSize=0, MaxSize=1, DesiredCapacity=1, AvailabilityZones=["eu-central-1a"],
        LaunchTemplate={"LaunchTemplateName": "hosts"}, LifecycleHookSpecificationList=[hook],
        Tags=[{"Key": "role", "Value": "web", "PropagateAtLaunch": True}],
    )  # fmt: skip
    return Member(cloud)


def test_its_interface_is_the_one_that_the_metadata_tells_of(member: Member) -> None:
    assert member.sh("cmp <(get mac) <(tr -d '\\n' < /sys/class/net/eth0/address) && echo same") == "same\n"


def test_it_is_denied_what_its_role_does_not_allow(member: Member) -> None:
    said = member.sh(f"call ec2 'Action=TerminateInstances&Version=2016-11-15&InstanceId.1={member.id}'")
    assert "<Code>UnauthorizedOperation</Code>" in said
    assert (
        f"assumed-role/hosts/{member.id} is not authorized to perform: ec2:TerminateInstances because no identity-based"
        in said
    )


def test_it_completes_its_own_launch_and_learns_that_it_leaves(member: Member) -> None:
    assert member.sh("get autoscaling/target-lifecycle-state") == "InService"
    action = (
        "Action=CompleteLifecycleAction&Version=2011-01-01&AutoScalingGroupName=hosts&LifecycleHookName=come"
        f"&LifecycleActionResult=CONTINUE&InstanceId={member.id}"
    )
    assert "CompleteLifecycleActionResult" in member.sh(f"call autoscaling '{action}'")
    until(lambda: member.state() == "InService", BOOT_SECONDS)
    tag = f"Action=CreateTags&Version=2016-11-15&ResourceId.1={member.id}&Tag.1.Key=state&Tag.1.Value=ready"
    member.sh(f"call ec2 '{tag}'")
    assert member.sh("get tags/instance/state") == "ready"
    hook = {
        "LifecycleHookName": "leave",
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
        "HeartbeatTimeout": 600,
    }
    member.asg.put_lifecycle_hook(AutoScalingGroupName="hosts", **hook)
    member.asg.set_desired_capacity(AutoScalingGroupName="hosts", DesiredCapacity=0)
    until(lambda: member.state() == "Terminating:Wait", BOOT_SECONDS)
    assert member.sh("get autoscaling/target-lifecycle-state") == "Terminated"
