# SPDX-License-Identifier: GPL-3.0-or-later
"""State that can always be saved: whatever was called, a cloud that was stopped and started gives the same answers."""

from __future__ import annotations

import gc
import json
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.ssm.models import ssm_backends

from localcloud import cloud as cloud_module
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_certificates import pair
from tests.unit.localcloud.test_server import REGION, Running, forget_moto

Call = Callable[[Any, str], Any]
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
ZONE = f"{REGION}a"


def _first(client: Any, call: str, *path: str, **asked: Any) -> Any:
    """The first of what there is; KeyError if there is none."""
    found: Any = getattr(client, call)(**asked)
    for key in path:
        found = found[key]
        if isinstance(found, list):
            if not found:
                raise KeyError(key)
            found = found[0]
    return found


def _image(c: Any) -> str:
    return str(_first(c("ec2"), "describe_images", "Images", "ImageId", Owners=["136693071363"]))


def _subnet(c: Any) -> str:
    return str(_first(c("ec2"), "describe_subnets", "Subnets", "SubnetId"))


def _vpc(c: Any) -> str:
    return str(_first(c("ec2"), "describe_vpcs", "Vpcs", "VpcId"))


def _instance(c: Any) -> str:
    return str(_first(c("ec2"), "describe_instances", "Reservations", "Instances", "InstanceId"))


def _key(c: Any) -> str:
    return str(_first(c("kms"), "list_keys", "Keys", "KeyId"))


def _target_group(c: Any) -> str:
    return str(_first(c("elbv2"), "describe_target_groups", "TargetGroups", "TargetGroupArn"))


def _balancer(c: Any) -> str:
    return str(_first(c("elbv2"), "describe_load_balancers", "LoadBalancers", "LoadBalancerArn"))


def _subnets(c: Any) -> list[str]:
    return [one["SubnetId"] for one in c("ec2").describe_subnets()["Subnets"]][:2]


def _device(c: Any) -> dict[str, Any]:
    return {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "VolumeSize": 9, "KmsKeyId": _key(c)}}


GROUP = {"AutoScalingGroupName": "g"}
CALLS: dict[str, Call] = {
    # KMS: every kind of key, aliases, grants
    **{
        f"key {spec}": lambda c, n, spec=spec, usage=usage: c("kms").create_key(KeySpec=spec, KeyUsage=usage)  # type: ignore[misc]
        for spec, usage in (
            ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), ("RSA_2048", "SIGN_VERIFY"), ("ECC_NIST_P256", "SIGN_VERIFY"),
            ("ECC_SECG_P256K1", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC"),
        )
    },
    "alias": lambda c, n: c("kms").create_alias(AliasName=f"alias/{n}", TargetKeyId=_key(c)),
    "rotation": lambda c, n: c("kms").enable_key_rotation(KeyId=_key(c)),
    "deletion of a key": lambda c, n: c("kms").schedule_key_deletion(KeyId=_key(c)),
    # EC2
    "key pair": lambda c, n: c("ec2").create_key_pair(KeyName=n, KeyType="ed25519"),
    "volume": lambda c, n: c("ec2").create_volume(AvailabilityZone=ZONE, Size=1, Encrypted=True),
    "volume with a key": lambda c, n: c("ec2").create_volume(AvailabilityZone=ZONE, Size=1, Encrypted=True, KmsKeyId=_key(c)),
    "template": lambda c, n: c("ec2").create_launch_template(
        LaunchTemplateName=f"template-{n}", LaunchTemplateData={"ImageId": _image(c), "InstanceType": "t3.micro"}
    ),
    "template with an encrypted root": lambda c, n: c("ec2").create_launch_template(
        LaunchTemplateName=f"encrypted-{n}", LaunchTemplateData={"ImageId": _image(c), "BlockDeviceMappings": [_device(c)]}
    ),
    "version": lambda c, n: c("ec2").create_launch_template_version(
        LaunchTemplateName=f"template-{n}", SourceVersion="1", LaunchTemplateData={"UserData": "aGFsbG8="}
    ),
    "deletion of a version": lambda c, n: c("ec2").delete_launch_template_versions(
        LaunchTemplateName=f"template-{n}", Versions=["2"]
    ),
    "host": lambda c, n: c("ec2").run_instances(ImageId=_image(c), MinCount=1, MaxCount=1, SubnetId=_subnet(c)),
    "host of a template": lambda c, n: c("ec2").run_instances(
        LaunchTemplate={"LaunchTemplateName": f"template-{n}"}, MinCount=1, MaxCount=1
    ),
    "end of a host": lambda c, n: c("ec2").terminate_instances(InstanceIds=[_instance(c)]),
    "tag": lambda c, n: c("ec2").create_tags(Resources=[_instance(c)], Tags=[{"Key": n, "Value": "ü"}]),
    "image": lambda c, n: c("ec2").create_image(InstanceId=_instance(c), Name=f"image-{n}"),
    "security group": lambda c, n: c("ec2").create_security_group(GroupName=n, Description="d", VpcId=_vpc(c)),
    "network": lambda c, n: c("ec2").create_vpc(CidrBlock="10.9.0.0/16", AmazonProvidedIpv6CidrBlock=True),
    "address": lambda c, n: c("ec2").allocate_address(Domain="vpc"),
    # SSM, IAM, STS
    "parameter": lambda c, n: c("ssm").put_parameter(Name=f"/{n}", Value="x", Type="String", Overwrite=True),
    "secret": lambda c, n: c("ssm").put_parameter(Name=f"/secret/{n}", Value="x", Type="SecureString", Overwrite=True),
    "secret with a key": lambda c, n: c("ssm").put_parameter(Name="/k", Value="x", Type="SecureString", KeyId=_key(c)),
    "role": lambda c, n: c("iam").create_role(RoleName=n, AssumeRolePolicyDocument=TRUST),
    "AWS's policy": lambda c, n: c("iam").attach_role_policy(RoleName=n, PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess"),
    "profile": lambda c, n: c("iam").create_instance_profile(InstanceProfileName=n),
    "user": lambda c, n: c("iam").create_user(UserName=n),
    "user's key": lambda c, n: c("iam").create_access_key(UserName=n),
    "certificate": lambda c, n: c("acm").import_certificate(**pair(f"{n}.example.org")),
    "assumed role": lambda c, n: c("sts").assume_role(RoleArn="arn:aws:iam::123456789012:role/r", RoleSessionName="me"),
    # Auto Scaling, load balancers
    "group": lambda c, n: c("autoscaling").create_auto_scaling_group(
        **GROUP, MinSize=0, MaxSize=2, AvailabilityZones=[ZONE], LaunchTemplate={"LaunchTemplateName": f"template-{n}"}
    ),
    "hook": lambda c, n: c("autoscaling").put_lifecycle_hook(
        **GROUP, LifecycleHookName=n, LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING"
    ),
    "size": lambda c, n: c("autoscaling").set_desired_capacity(**GROUP, DesiredCapacity=1),
    "tags of a group": lambda c, n: c("autoscaling").create_or_update_tags(
        Tags=[{"ResourceId": "g", "ResourceType": "auto-scaling-group", "Key": n, "Value": "", "PropagateAtLaunch": True}]
    ),
    "target group": lambda c, n: c("elbv2").create_target_group(Name=n * 3, Protocol="HTTP", Port=80, VpcId=_vpc(c)),
    "attribute": lambda c, n: c("elbv2").modify_target_group_attributes(
        TargetGroupArn=_target_group(c), Attributes=[{"Key": "slow_start.duration_seconds", "Value": "30"}]
    ),
    "load balancer": lambda c, n: c("elbv2").create_load_balancer(Name=n * 3, Subnets=_subnets(c)),
    "attribute of a load balancer": lambda c, n: c("elbv2").modify_load_balancer_attributes(
        LoadBalancerArn=_balancer(c), Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "7"}]
    ),
}  # fmt: skip
ASKED: dict[str, list[str]] = {
    "ec2": [
        "describe_instances", "describe_volumes", "describe_key_pairs", "describe_launch_templates", "describe_images", "describe_vpcs",
        "describe_subnets", "describe_security_groups", "describe_addresses", "describe_tags",
    ],
    "kms": ["list_keys", "list_aliases"],
    "acm": ["list_certificates"],
    "ssm": ["describe_parameters"],
    "iam": ["list_roles", "list_users", "list_instance_profiles"],
    "autoscaling": ["describe_auto_scaling_groups", "describe_tags", "describe_scaling_activities"],
    "elbv2": ["describe_target_groups", "describe_load_balancers"],
}  # fmt: skip


def answers(cloud: Running) -> dict[str, Any]:
    """What the cloud says of all that it has."""
    found: dict[str, Any] = {}
    for service, calls in ASKED.items():
        client = cloud.client(service)
        for call in calls:
            answer = getattr(client, call)()
            answer.pop("ResponseMetadata")
            found[call if call != "describe_tags" else f"{service} {call}"] = answer
    for template in found["describe_launch_templates"]["LaunchTemplates"]:
        key = template["LaunchTemplateId"]
        found[key] = cloud.client("ec2").describe_launch_template_versions(LaunchTemplateId=key)[
            "LaunchTemplateVersions"
        ]
    for key in found["list_keys"]["Keys"]:
        about = cloud.client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        found[key["KeyId"]] = about
        if about.get("SigningAlgorithms") and about["Enabled"]:
            found[f"public half of {key['KeyId']}"] = cloud.client("kms").get_public_key(KeyId=key["KeyId"])[
                "PublicKey"
            ]
    for role in found["list_roles"]["Roles"]:
        attached = cloud.client("iam").list_attached_role_policies(RoleName=role["RoleName"])
        found[role["Arn"]] = attached["AttachedPolicies"]
    return found


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """One whose ticker stands still: nothing changes but by calls."""
    podman = fakes.FakePodman()
    fakes.install(monkeypatch, podman)
    monkeypatch.setattr(cloud_module, "TICK_SECONDS", 3600)
    monkeypatch.setattr(cloud_module, "_RESUME_SECONDS", 0)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_moto()
    running = Running(tmp_path, podman)
    yield running
    running.end()


def settle(cloud: Running) -> None:
    """Let every host come to what it should be."""
    fleet, deadline = cloud.cloud.fleet, time.monotonic() + 20
    while not fleet.settled() or any(host.busy for host in fleet.hosts()):
        assert time.monotonic() < deadline, "a host does not come to what it should be"
        cloud.podman.boot()
        with cloud.cloud.lock:
            fleet.observe()
        time.sleep(0.002)


def play(cloud: Running, calls: list[tuple[str, str]]) -> list[str]:
    """Make the calls that make sense now; the names of those that were answered."""
    made = []
    for name, letter in calls:
        try:
            CALLS[name](cloud.client, letter)
            made.append(name)
            settle(cloud)
        except ClientError as error:
            # AWS's refusals; what the local cloud could not keep or do is none.
            assert error.response["Error"]["Code"] not in ("InternalFailure", "InternalError", "NotImplemented"), (
                name,
                error,
            )
        except KeyError:
            pass  # what it is about is not there
    return made


@given(calls=st.lists(st.tuples(st.sampled_from(sorted(CALLS)), st.sampled_from("ab")), min_size=1, max_size=12))
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_after_any_calls_a_restart_gives_the_same_answers(cloud: Running, calls: list[tuple[str, str]]) -> None:
    play(cloud, calls)
    before = answers(cloud)
    cloud.restart()
    assert answers(cloud) == before


def test_every_call_is_made_and_kept(cloud: Running) -> None:
    order = sorted(
        CALLS, key=lambda name: (not name.startswith("key "), name == "end of a host", name == "deletion of a key")
    )
    made = set(play(cloud, [(name, letter) for _ in range(3) for name in order for letter in "ab"]))
    assert set(CALLS) - made == set()
    before = answers(cloud)
    cloud.restart()
    assert answers(cloud) == before


def test_moto_forgets_what_is_gone(cloud: Running) -> None:
    cloud.client("ssm").put_parameter(Name="/gone", Value="x", Type="String")
    model = ssm_backends["123456789012"][REGION].get_parameter("/gone")
    assert model is not None
    gone = weakref.ref(model)
    del model
    cloud.client("ssm").delete_parameter(Name="/gone")
    gc.collect()
    assert gone() is None
