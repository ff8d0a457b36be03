# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2's answers where moto's were not AWS's: launch templates, what cannot be launched, filters of DescribeInstances."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.ec2 import filters
from tests.unit.localcloud.test_server import REGION, Running, cloud, refusal, until

__all__ = ["cloud"]
NO_VERSION = "InvalidLaunchTemplateId.VersionNotFound"


class TestVersions:
    @pytest.fixture
    def many(self, cloud: Running) -> Any:
        """A template with 20 versions."""
        ec2 = cloud.client("ec2")
        ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "t3.micro"})
        for number in range(2, 21):
            ec2.create_launch_template_version(
                LaunchTemplateName="web",
                VersionDescription=str(number),
                LaunchTemplateData={"InstanceType": "t3.micro"},
            )
        return ec2

    def numbers(self, ec2: Any, **asked: Any) -> list[int]:
        found = ec2.describe_launch_template_versions(**{"LaunchTemplateName": "web", **asked})[
            "LaunchTemplateVersions"
        ]
        return [version["VersionNumber"] for version in found]

    def test_a_version_takes_over_what_its_source_has(self, cloud: Running) -> None:
        ec2, told = cloud.client("ec2"), base64.b64encode(b"#cloud-config").decode()
        ec2.create_launch_template(
            LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "t3.micro", "UserData": told}
        )
        made = ec2.create_launch_template_version(
            LaunchTemplateName="web", SourceVersion="1", LaunchTemplateData={"InstanceType": "t3.small"}
        )["LaunchTemplateVersion"]["LaunchTemplateData"]
        assert (made["InstanceType"], made["UserData"]) == ("t3.small", told)
        same = ec2.create_launch_template_version(LaunchTemplateName="web", SourceVersion="2", LaunchTemplateData={})
        assert same["LaunchTemplateVersion"]["LaunchTemplateData"] == made

    def test_all_are_described_newest_first(self, many: Any) -> None:
        assert self.numbers(many) == list(range(20, 0, -1))
        assert self.numbers(many, MinVersion="3", MaxVersion="5") == [5, 4, 3]
        assert self.numbers(many, Versions=["$Latest", "$Default", "7"]) == [20, 7, 1]
        assert self.numbers(many, Filters=[{"Name": "is-default-version", "Values": ["true"]}]) == [1]

    def test_in_pages(self, many: Any) -> None:
        first = many.describe_launch_template_versions(LaunchTemplateName="web", MaxResults=15)
        assert [version["VersionNumber"] for version in first["LaunchTemplateVersions"]] == list(range(20, 5, -1))
        assert self.numbers(many, MaxResults=15, NextToken=first["NextToken"]) == [5, 4, 3, 2, 1]
        pages = many.get_paginator("describe_launch_template_versions").paginate(
            LaunchTemplateName="web", PaginationConfig={"PageSize": 7}
        )
        assert [len(page["LaunchTemplateVersions"]) for page in pages] == [7, 7, 6]
        assert refusal(lambda: self.numbers(many, MaxResults=201))[0] == "InvalidParameterValue"

    @pytest.mark.parametrize(
        ("version", "code"),
        [("0", NO_VERSION), ("21", NO_VERSION), ("$Oldest", "InvalidParameterValue"), ("-1", NO_VERSION)],
    )
    def test_one_that_there_is_not(self, cloud: Running, many: Any, version: str, code: str) -> None:
        assert refusal(lambda: self.numbers(many, Versions=[version]))[0] == code
        wanted = {"LaunchTemplateName": "web", "Version": version}
        assert refusal(lambda: cloud.run(LaunchTemplate=wanted))[0] == code
        assert refusal(lambda: many.modify_launch_template(LaunchTemplateName="web", DefaultVersion=version))[0] == code

    def test_some_are_deleted_and_their_numbers_are_not_used_again(self, many: Any) -> None:
        answer = many.delete_launch_template_versions(LaunchTemplateName="web", Versions=["20", "5", "1", "99"])
        deleted = [one["VersionNumber"] for one in answer["SuccessfullyDeletedLaunchTemplateVersions"]]
        kept = {
            one["VersionNumber"]: one["ResponseError"]["Code"]
            for one in answer["UnsuccessfullyDeletedLaunchTemplateVersions"]
        }
        assert (deleted, kept) == ([20, 5], {1: "unexpectedError", 99: "launchTemplateVersionDoesNotExist"})
        assert self.numbers(many, Versions=["$Latest"]) == [19]
        assert refusal(lambda: self.numbers(many, Versions=["5"]))[0] == NO_VERSION
        made = many.create_launch_template_version(
            LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "t3.nano"}
        )
        assert made["LaunchTemplateVersion"]["VersionNumber"] == 21
        assert self.numbers(many, Versions=["6"]) == [6]

    def test_they_are_there_after_a_restart(self, cloud: Running, many: Any) -> None:
        many.delete_launch_template_versions(LaunchTemplateName="web", Versions=["20"])
        before = many.describe_launch_template_versions(LaunchTemplateName="web")["LaunchTemplateVersions"]
        cloud.restart()
        ec2 = cloud.client("ec2")
        assert ec2.describe_launch_template_versions(LaunchTemplateName="web")["LaunchTemplateVersions"] == before
        made = ec2.create_launch_template_version(
            LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "t3.nano"}
        )
        assert made["LaunchTemplateVersion"]["VersionNumber"] == 21


class TestTemplates:
    def test_tags_of_a_template_are_not_in_its_data(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        tags = [{"Key": "k", "Value": "v"}]
        data = {
            "InstanceType": "t3.micro",
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "of", "Value": "host"}]}],
        }
        made = ec2.create_launch_template(
            LaunchTemplateName="web", LaunchTemplateData=data,
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
        )["LaunchTemplate"]  # fmt: skip
        assert made["Tags"] == tags
        (version,) = ec2.describe_launch_template_versions(LaunchTemplateName="web")["LaunchTemplateVersions"]
        assert version["LaunchTemplateData"] == data
        ec2.create_launch_template(LaunchTemplateName="bare", LaunchTemplateData=data)
        (bare,) = ec2.describe_launch_templates(LaunchTemplateNames=["bare"])["LaunchTemplates"]
        assert "Tags" not in bare
        filtered = ec2.describe_launch_templates(Filters=[{"Name": "tag:k", "Values": ["v*"]}])["LaunchTemplates"]
        assert [one["LaunchTemplateName"] for one in filtered] == ["web"]

    def test_all_are_described(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        for number in range(18):
            ec2.create_launch_template(
                LaunchTemplateName=f"web{number}", LaunchTemplateData={"InstanceType": "t3.micro"}
            )
        assert len(ec2.describe_launch_templates()["LaunchTemplates"]) == 18
        page = ec2.describe_launch_templates(MaxResults=10)
        assert (len(page["LaunchTemplates"]), page["NextToken"]) == (10, "10")
        code, _ = refusal(lambda: ec2.describe_launch_templates(LaunchTemplateIds=["lt-0123456789abcdef0"]))
        assert code == "InvalidLaunchTemplateId.NotFound"

    def test_one_without_data_is_refused(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        code, _ = refusal(lambda: ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={}))
        assert code == "MissingParameter"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown type": ({"InstanceType": "t3.huge"}, "Invalid value 't3.huge' for InstanceType."),
    "another architecture": ({"InstanceType": "t4g.micro"}, "The architecture 'arm64' of the specified instance type"),
    "an unknown image": ({"ImageId": "ami-0123456789abcdef0"}, "The image id '[ami-0123456789abcdef0]' does not exist"),
    "no such parameter": ({"ImageId": "resolve:ssm:/none"}, "The ssm parameter '/none'"),
    "an unknown key pair": ({"KeyName": "none"}, "The key pair 'none' does not exist"),
    "an unknown group": (
        {"SecurityGroupIds": ["sg-0123456789abcdef0"]},
        "The security group 'sg-0123456789abcdef0' does not",
    ),
    "long user data": ({"UserData": base64.b64encode(b"x" * 16385).decode()}, "User data is limited to 16384 bytes"),
    "no such profile": (
        {"IamInstanceProfile": {"Name": "none"}},
        "Value (none) for parameter iamInstanceProfile.name is invalid.",
    ),
}


@pytest.mark.parametrize("what", WRONG)
class TestUnlaunchable:
    @pytest.fixture
    def template(self, cloud: Running, what: str) -> dict[str, str]:
        data = {"ImageId": cloud.base(), "InstanceType": "t3.micro", **WRONG[what][0]}
        cloud.client("ec2").create_launch_template(LaunchTemplateName="bad", LaunchTemplateData=data)
        return {"LaunchTemplateName": "bad"}

    def test_a_group_is_not_made_of_it_nor_changed_to_it(
        self, cloud: Running, what: str, template: dict[str, str]
    ) -> None:
        asg, sizes = cloud.client("autoscaling"), {"MinSize": 0, "MaxSize": 1, "AvailabilityZones": [f"{REGION}a"]}
        begins = "You must use a valid fully-formed launch template. "
        says = refusal(
            lambda: asg.create_auto_scaling_group(AutoScalingGroupName="g", LaunchTemplate=template, **sizes)
        )
        assert (says[0], says[1].startswith(begins + WRONG[what][1])) == ("ValidationError", True), says
        cloud.client("ec2").create_launch_template(
            LaunchTemplateName="good", LaunchTemplateData={"ImageId": cloud.base()}
        )
        good = {"LaunchTemplateName": "good"}
        asg.create_auto_scaling_group(AutoScalingGroupName="g", LaunchTemplate=good, **sizes)
        says = refusal(lambda: asg.update_auto_scaling_group(AutoScalingGroupName="g", LaunchTemplate=template))
        assert begins + WRONG[what][1] in says[1]
        mixed = {"LaunchTemplate": {"LaunchTemplateSpecification": template, "Overrides": []}}
        says = refusal(lambda: asg.update_auto_scaling_group(AutoScalingGroupName="g", MixedInstancesPolicy=mixed))
        assert begins + WRONG[what][1] in says[1]
        wanted = {"LaunchTemplate": template}
        says = refusal(lambda: asg.start_instance_refresh(AutoScalingGroupName="g", DesiredConfiguration=wanted))
        assert begins + WRONG[what][1] in says[1]
        group = asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]
        assert group["LaunchTemplate"]["LaunchTemplateName"] == "good"

    def test_no_host_is_started(self, cloud: Running, what: str, template: dict[str, str]) -> None:
        message = refusal(lambda: cloud.client("ec2").run_instances(LaunchTemplate=template, MinCount=1, MaxCount=1))[1]
        assert WRONG[what][1] in message
        given = dict(WRONG[what][0])
        if "UserData" in given:
            given["UserData"] = base64.b64decode(given["UserData"])  # boto3 encodes it
        assert refusal(lambda: cloud.run(**given))[1]
        assert cloud.cloud.fleet.hosts() == []


class TestImageByParameter:
    def test_the_parameter_s_image_is_launched(self, cloud: Running) -> None:
        ssm, ec2, asg = (cloud.client(name) for name in ("ssm", "ec2", "autoscaling"))
        ssm.put_parameter(Name="/image", Value="ami-0123456789abcdef0", Type="String")
        ssm.put_parameter(Name="/image", Value=cloud.base(), Type="String", Overwrite=True)
        ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": "resolve:ssm:/image"})
        asg.create_auto_scaling_group(
            AutoScalingGroupName="g", MinSize=1, MaxSize=1, AvailabilityZones=[f"{REGION}a"],
            LaunchTemplate={"LaunchTemplateName": "web"},
        )  # fmt: skip
        until(lambda: bool(ec2.describe_instances()["Reservations"]))
        assert ec2.describe_instances()["Reservations"][0]["Instances"][0]["ImageId"] == cloud.base()
        (plain,) = ec2.describe_launch_template_versions(LaunchTemplateName="web")["LaunchTemplateVersions"]
        (resolved,) = ec2.describe_launch_template_versions(LaunchTemplateName="web", ResolveAlias=True)[
            "LaunchTemplateVersions"
        ]
        assert plain["LaunchTemplateData"]["ImageId"] == "resolve:ssm:/image"
        assert resolved["LaunchTemplateData"]["ImageId"] == cloud.base()
        assert refusal(lambda: cloud.run(ImageId="resolve:ssm:/image:1"))[0] == "InvalidAMIID.NotFound"


class TestFilters:
    FINDS: tuple[tuple[str, str], ...] = (
        ("instance-type", "t3.*"), ("instance-type", "t?.micro"), ("image-id", "ami-*"), ("launch-time", "20*"),
        ("network-interface.subnet-id", "subnet-*"), ("network-interface.private-ip-address", "172.30.*"),
        ("network-interface.status", "in-use"), ("metadata-options.http-tokens", "required"), ("tag:Name", "we*"),
        ("tag-key", "Na?e"), ("instance-state-name", "running"), ("instance-state-code", "16"), ("group-name", "default"),
        ("metadata-options.http-endpoint", "enabled"), ("root-device-type", "ebs"), ("ebs-optimized", "false"),
        ("iam-instance-profile.arn", "arn:aws:iam::*:instance-profile/hosts"), ("private-dns-name", "ip-172-30-*"),
        ("reservation-id", "r-*"), ("availability-zone", f"{REGION}?"), ("network-interface.attachment.device-index", "0"),
    )  # fmt: skip

    @pytest.fixture
    def running(self, cloud: Running) -> str:
        cloud.client("iam").create_instance_profile(InstanceProfileName="hosts")
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}]
        return cloud.up(InstanceType="t3.micro", IamInstanceProfile={"Name": "hosts"}, TagSpecifications=tags)

    def test_each_finds_the_host(self, cloud: Running, running: str) -> None:
        ec2 = cloud.client("ec2")
        for name, pattern in self.FINDS:
            for value, number in ((pattern, 1), ("nothing-like-it", 0)):
                found = ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
                assert [i["InstanceId"] for r in found for i in r["Instances"]] == [running] * number, (name, value)

    def test_all_of_them_and_any_of_the_values(self, cloud: Running, running: str) -> None:
        ec2 = cloud.client("ec2")
        both = [
            {"Name": "instance-type", "Values": ["m5.large", "t3.micro"]},
            {"Name": "tag:Name", "Values": ["x", "web"]},
        ]
        assert ec2.describe_instances(Filters=both)["Reservations"]
        assert not ec2.describe_instances(Filters=[*both, {"Name": "key-name", "Values": ["none"]}])["Reservations"]

    def test_one_that_there_is_not(self, cloud: Running, running: str) -> None:
        ec2 = cloud.client("ec2")
        code, message = refusal(lambda: ec2.describe_instances(Filters=[{"Name": "colour", "Values": ["blue"]}]))
        assert (code, message) == ("InvalidParameterValue", "The filter 'colour' is invalid")

    def test_tokens_are_required_for_the_metadata(self, cloud: Running, running: str) -> None:
        assert cloud.instance(running)["MetadataOptions"]["HttpTokens"] == "required"


def test_a_host_s_profile_is_replaced(cloud: Running) -> None:
    ec2, iam = cloud.client("ec2"), cloud.client("iam")
    made = [iam.create_instance_profile(InstanceProfileName=n)["InstanceProfile"] for n in ("one", "two")]
    known = [{"Arn": profile["Arn"], "Id": profile["InstanceProfileId"]} for profile in made]
    host = cloud.run(IamInstanceProfile={"Name": "one"})
    assert cloud.instance(host)["IamInstanceProfile"] == known[0]
    (there,) = ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    ec2.replace_iam_instance_profile_association(
        AssociationId=there["AssociationId"], IamInstanceProfile={"Name": "two"}
    )
    assert cloud.instance(host)["IamInstanceProfile"] == known[1]


def test_what_a_template_says_of_the_network_interface_and_the_processor(cloud: Running) -> None:
    ec2 = cloud.client("ec2")
    nic = {"DeviceIndex": 0, "Description": "mine", "DeleteOnTermination": False}
    data = {
        "ImageId": cloud.base(),
        "InstanceType": "t3.nano",
        "NetworkInterfaces": [nic],
        "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 1},
    }
    ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    made = cloud.instance(cloud.run(LaunchTemplate={"LaunchTemplateName": "web"}))
    interface = made["NetworkInterfaces"][0]
    assert (interface["Description"], interface["Attachment"]["DeleteOnTermination"]) == ("mine", False)
    assert made["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 1}
    plain = cloud.instance(cloud.run(InstanceType="t3.nano"))
    assert plain["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 2}
    assert ec2.describe_instance_attribute(InstanceId=plain["InstanceId"], Attribute="enclaveOptions")[
        "EnclaveOptions"
    ] == {"Enabled": False}


class TestDevices:
    def devices(self, cloud: Running, host: str) -> dict[str, tuple[int, bool]]:
        ec2, found = cloud.client("ec2"), {}
        for mapping in cloud.instance(host)["BlockDeviceMappings"]:
            (volume,) = ec2.describe_volumes(VolumeIds=[mapping["Ebs"]["VolumeId"]])["Volumes"]
            found[mapping["DeviceName"]] = (volume["Size"], volume["Encrypted"])
        return found

    def test_the_image_s_root_device_is_always_there(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        data = {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": True}}
        large = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30, "Encrypted": True}}
        ec2.create_launch_template(
            LaunchTemplateName="web", LaunchTemplateData={"ImageId": cloud.base(), "BlockDeviceMappings": [data, large]}
        )
        root = {"/dev/xvda": (8, False)}
        assert self.devices(cloud, cloud.run()) == root
        assert self.devices(cloud, cloud.run(BlockDeviceMappings=[data])) == {**root, "/dev/sdb": (20, False)}
        by_template = cloud.run(LaunchTemplate={"LaunchTemplateName": "web"})
        assert self.devices(cloud, by_template) == {"/dev/xvda": (30, True), "/dev/sdb": (20, False)}
        until(lambda: len(cloud.podman.containers_) == 3)
        cloud.podman.boot()
        cloud.until(by_template, "running")
        before = cloud.instance(by_template)
        cloud.restart()
        assert cloud.instance(by_template)["BlockDeviceMappings"] == before["BlockDeviceMappings"]


class TestNotInSilence:
    """What was taken and ignored is done, or refused in words."""

    def test_the_type_of_a_host_that_runs_is_not_changed(self, cloud: Running) -> None:
        ec2, host = cloud.client("ec2"), cloud.up(InstanceType="t3.micro")
        for change in ({"InstanceType": {"Value": "t3.small"}}, {"Attribute": "instanceType", "Value": "t3.small"}):
            code, message = refusal(lambda c=change: ec2.modify_instance_attribute(InstanceId=host, **c))
            assert (code, message) == (
                "IncorrectInstanceState",
                f"The instance '{host}' is not in the 'stopped' state.",
            )
        ec2.stop_instances(InstanceIds=[host])
        cloud.until(host, "stopped")
        assert (
            "Invalid value 't3.none'"
            in refusal(lambda: ec2.modify_instance_attribute(InstanceId=host, InstanceType={"Value": "t3.none"}))[1]
        )
        ec2.modify_instance_attribute(InstanceId=host, InstanceType={"Value": "t3.small"})
        assert cloud.instance(host)["InstanceType"] == "t3.small"

    def test_the_console_shows_the_host_s_own_words(self, cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        ec2, host = cloud.client("ec2"), cloud.up()
        monkeypatch.setattr(
            type(cloud.podman), "console", lambda _, pid: b"systemd[1]: Startup finished", raising=False
        )
        assert ec2.get_console_output(InstanceId=host)["Output"] == "systemd[1]: Startup finished"
        ec2.stop_instances(InstanceIds=[host])
        cloud.until(host, "stopped")
        assert not ec2.get_console_output(InstanceId=host).get("Output")

    def test_no_command_is_said_to_have_run(self, cloud: Running) -> None:
        ssm = cloud.client("ssm")
        code, message = refusal(
            lambda: ssm.send_command(DocumentName="AWS-RunShellScript", InstanceIds=["i-1234567890"])
        )
        assert (code, "does not model SendCommand" in message) == ("NotImplemented", True)

    def test_licenses_are_not_checked_and_so_refused(self, cloud: Running) -> None:
        licences = [
            {"LicenseConfigurationArn": "arn:aws:license-manager:eu-central-1:123456789012:license-configuration:l"}
        ]
        assert "unshared license configurations" in refusal(lambda: cloud.run(LicenseSpecifications=licences))[1]
        assert cloud.client("ec2").describe_instances()["Reservations"] == []

    def test_keys_that_open_nothing_are_not_given_out(self, cloud: Running) -> None:
        sts = cloud.client("sts")
        assert refusal(sts.get_session_token)[0] == "NotImplemented"
        assert refusal(lambda: sts.get_federation_token(Name="me"))[0] == "NotImplemented"

    def test_a_hook_with_a_target_and_a_refresh_with_alarms(self, cloud: Running) -> None:
        cloud.client("ec2").create_launch_template(
            LaunchTemplateName="web", LaunchTemplateData={"ImageId": cloud.base()}
        )
        asg, name = cloud.client("autoscaling"), {"AutoScalingGroupName": "g"}
        hook = {
            "LifecycleHookName": "h", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
            "NotificationTargetARN": "arn:aws:sqs:eu-central-1:123456789012:q",
        }  # fmt: skip
        group = {
            **name, "MinSize": 0, "MaxSize": 1, "AvailabilityZones": [f"{REGION}a"],
            "LaunchTemplate": {"LaunchTemplateName": "web"},
        }  # fmt: skip
        code, message = refusal(lambda: asg.create_auto_scaling_group(**group, LifecycleHookSpecificationList=[hook]))
        assert (code, "notification target" in message) == ("NotImplemented", True)
        assert asg.describe_auto_scaling_groups()["AutoScalingGroups"] == []
        asg.create_auto_scaling_group(**group)
        assert refusal(lambda: asg.put_lifecycle_hook(**name, **hook))[0] == "NotImplemented"
        assert asg.describe_lifecycle_hooks(**name)["LifecycleHooks"] == []
        preferences = {"AlarmSpecification": {"Alarms": ["errors"]}}
        code, message = refusal(lambda: asg.start_instance_refresh(**name, Preferences=preferences))
        assert (code, "CloudWatch alarms" in message) == ("NotImplemented", True)


class TestThere:
    def test_aws_s_managed_policies(self, cloud: Running) -> None:
        iam, arn = cloud.client("iam"), "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
        iam.create_role(RoleName="hosts", AssumeRolePolicyDocument="{}")
        iam.attach_role_policy(RoleName="hosts", PolicyArn=arn)

        def attached() -> list[str]:
            found = cloud.client("iam").list_attached_role_policies(RoleName="hosts")["AttachedPolicies"]
            return [policy["PolicyArn"] for policy in found]

        def count() -> int:
            pages = cloud.client("iam").get_paginator("list_policies").paginate(Scope="AWS")
            return sum(len(page["Policies"]) for page in pages)

        before = count()
        assert (attached(), before > 1000) == ([arn], True)
        assert (cloud.path / "state.json").stat().st_size < 300_000
        cloud.restart()
        assert (attached(), count()) == ([arn], before)
        assert cloud.client("iam").get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
        cloud.client("iam").detach_role_policy(RoleName="hosts", PolicyArn=arn)

    def test_fingerprints_are_those_of_openssh_and_openssl(self, cloud: Running, tmp_path: Path) -> None:
        ec2 = cloud.client("ec2")
        ed, rsa = (ec2.create_key_pair(KeyName=kind, KeyType=kind) for kind in ("ed25519", "rsa"))
        for pair in (ed, rsa):
            path = tmp_path / pair["KeyName"]
            path.touch(0o600)
            path.write_text(pair["KeyMaterial"])
        shown = subprocess.run(
            ["ssh-keygen", "-l", "-f", tmp_path / "ed25519"], capture_output=True, text=True, timeout=30, check=True
        ).stdout.split()[1]
        assert f"SHA256:{ed['KeyFingerprint'].rstrip('=')}" == shown
        public = subprocess.run(
            ["ssh-keygen", "-y", "-f", tmp_path / "ed25519"], capture_output=True, timeout=30, check=True
        ).stdout
        imported = ec2.import_key_pair(KeyName="again", PublicKeyMaterial=public)
        assert imported["KeyFingerprint"] == ed["KeyFingerprint"]
        der = subprocess.run(
            ["openssl", "pkcs8", "-in", tmp_path / "rsa", "-inform", "PEM", "-outform", "DER", "-topk8", "-nocrypt"],
            capture_output=True, timeout=30, check=True,
        ).stdout  # fmt: skip
        assert rsa["KeyFingerprint"] == hashlib.sha1(der, usedforsecurity=False).digest().hex(":")

    def test_parameters_have_policies_a_tier_and_pages(self, cloud: Running) -> None:
        ssm = cloud.client("ssm")
        for number in range(12):
            ssm.put_parameter(Name=f"/p/{number:02}", Value="x", Type="String")
        found = ssm.describe_parameters(MaxResults=50)["Parameters"]
        assert len(found) == 12
        assert {(one["Tier"], tuple(one["Policies"]), "Value" in one) for one in found} == {("Standard", (), False)}
        assert len(ssm.describe_parameters()["Parameters"]) == 10
        pages = list(ssm.get_paginator("describe_parameters").paginate(PaginationConfig={"PageSize": 5}))
        assert [len(page["Parameters"]) for page in pages] == [5, 5, 2]


def test_subnets_are_found_by_their_ipv6_block(cloud: Running) -> None:
    ec2 = cloud.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
    (of_vpc,) = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"]
    block = of_vpc["Ipv6CidrBlock"].replace("/56", "/64")
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24", Ipv6CidrBlock=block)["Subnet"]
    association = made["Ipv6CidrBlockAssociationSet"][0]["AssociationId"]
    for name, value, number in (
        ("ipv6-cidr-block", block, 1), ("ipv6-cidr-block", "2001:db8::/64", 0), ("association-id", association, 1),
        ("state", "associated", 1),
    ):  # fmt: skip
        asked = [{"Name": f"ipv6-cidr-block-association.{name}", "Values": [value]}]
        assert len(ec2.describe_subnets(Filters=asked)["Subnets"]) == number
    asked = [{"Name": "ipv6-cidr-block-association.ipv6-cidr-block", "Values": [of_vpc["Ipv6CidrBlock"]]}]
    assert [one["VpcId"] for one in ec2.describe_vpcs(Filters=asked)["Vpcs"]] == [vpc]


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("a*", "abc", True), ("a?c", "abc", True), ("a?c", "abbc", False), (r"a\*", "a*", True), (r"a\*", "ab", False),
        ("*", "", True), ("a.c", "abc", False), ("[a]", "a", False), (r"a\\b", r"a\b", True),
    ],
)  # fmt: skip
def test_wildcards(pattern: str, value: str, fits: bool) -> None:
    assert filters.matches(pattern, value) is fits


@given(st.text(max_size=20))
def test_a_text_without_wildcards_matches_itself_only(value: str) -> None:
    quoted = "".join(f"\\{letter}" if letter in "*?\\" else letter for letter in value)
    assert filters.matches(quoted, value)
    assert not filters.matches(quoted, f"{value}x")
