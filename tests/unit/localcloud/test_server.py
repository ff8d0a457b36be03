# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S310 - the addresses are our own
"""The API over HTTP with boto3, on a cloud whose podman is a fake: no root, no hosts, no load balancer's traffic."""

from __future__ import annotations

import base64
import errno
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from moto.core.base_backend import BackendDict
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ssm.models import SimpleSystemManagerBackend

from localcloud import cli
from localcloud import cloud as cloud_module
from localcloud.cloud import Cloud
from localcloud.hosts.base import Base
from localcloud.hosts.podman import HostError
from localcloud.server import Application, PortTakenError, Server
from localcloud.settings import Directory, Key, Settings
from localcloud.state import StateError
from tests.unit.localcloud import fakes

REGION = "eu-central-1"
BASE = Base("debian-13", "amd64", "20260101", "a" * 64)
USER_DATA = "#cloud-config\nruncmd: [echo secret-of-the-user]\n"


class Running:
    """A cloud and its server in this process; ``restart`` makes a new one from what the old one saved."""

    def __init__(self, path: Path, podman: fakes.FakePodman) -> None:
        self.path, self.podman = path, podman
        path.chmod(0o700)
        self.start()

    def start(self) -> None:
        self.server = Server(0)
        settings = Settings("unit", self.server.port, "172.30.0.0/16", REGION, [BASE])
        self.cloud = Cloud(settings, self.path, self.podman)
        self.cloud.start()
        self.application = Application(self.cloud)
        self.thread = threading.Thread(target=self.server.serve, args=(self.application,), daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.server.stop()
        self.thread.join(10)
        self.server.close()
        self.cloud.close()
        forget_moto()

    def restart(self) -> None:
        self.end()
        self.start()

    def client(self, service: str, region: str = REGION) -> Any:
        return boto3.client(
            service,
            **{**self.cloud.settings.client, "region_name": region},
            config=Config(retries={"total_max_attempts": 1}),
        )

    @property
    def key(self) -> Key:
        return self.cloud.settings.key

    def signed(self, service: str, path: str, method: str, data: bytes, **headers: str) -> urllib.request.Request:
        """A request to this cloud by its owner."""
        url = f"http://127.0.0.1:{self.server.port}{path}"
        signed = AWSRequest(
            method=method, url=url, data=data, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        SigV4Auth(Credentials(self.key.access_key, self.key.secret_key), service, REGION).add_auth(signed)
        return urllib.request.Request(url, data or None, dict(signed.headers.items()), method=method)

    def ask(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        request = self.signed("localcloud", path, method, data, Content_Type="application/json")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def base(self) -> str:
        return str(self.client("ec2").describe_images(Owners=["136693071363"])["Images"][0]["ImageId"])

    def run(self, **more: Any) -> str:
        given = {"ImageId": self.base(), "MinCount": 1, "MaxCount": 1, **more}
        return str(self.client("ec2").run_instances(**given)["Instances"][0]["InstanceId"])

    def instance(self, instance_id: str) -> dict[str, Any]:
        found = self.client("ec2").describe_instances(InstanceIds=[instance_id])
        return dict(found["Reservations"][0]["Instances"][0])

    def state(self, instance_id: str) -> str:
        return str(self.instance(instance_id)["State"]["Name"])

    def until(self, instance_id: str, state: str) -> None:
        until(lambda: self.state(instance_id) == state, f"{instance_id} never was {state}")

    def up(self, **more: Any) -> str:
        instance_id = self.run(**more)
        until(lambda: f"lc-unit-{instance_id}" in self.podman.containers_)
        self.podman.boot()
        self.until(instance_id, "running")
        return instance_id


def until(condition: Callable[[], bool], otherwise: str = "it never came") -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def forget_moto() -> None:
    """moto's state is this process's: leave none to other tests."""
    ec2_backends.backend = EC2Backend
    for backends in list(BackendDict._instances):
        backends.clear()
    BackendDict._instances.clear()


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    podman = fakes.FakePodman()
    fakes.install(monkeypatch, podman)
    monkeypatch.setattr(cloud_module, "TICK_SECONDS", 0.05)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_moto()
    running = Running(tmp_path, podman)
    yield running
    running.end()


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call()
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


class TestDispatch:
    def test_who_am_i(self, cloud: Running) -> None:
        assert cloud.client("sts").get_caller_identity()["Account"] == "123456789012"

    def test_an_unsigned_request_is_refused(self, cloud: Running) -> None:
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://127.0.0.1:{cloud.server.port}/?Action=DescribeInstances", timeout=10)
        assert error.value.code == 403
        assert b"MissingAuthenticationToken" in error.value.read()

    @pytest.mark.parametrize(
        ("service", "call", "params", "name"),
        [
            ("sqs", "list_queues", {}, "Amazon Simple Queue Service"),  # JSON
            ("sns", "list_topics", {}, "Amazon Simple Notification Service"),  # query
            ("s3", "list_buckets", {}, "Amazon Simple Storage Service"),  # REST with XML
            ("route53", "list_hosted_zones", {}, "Amazon Route 53"),
            ("lambda", "list_functions", {}, "AWS Lambda"),  # REST with JSON
            ("codedeploy", "list_applications", {}, "AWS CodeDeploy"),  # CBOR
            ("elb", "describe_load_balancers", {}, "classic load balancers of Elastic Load Balancing"),
            ("stepfunctions", "list_state_machines", {}, "AWS Step Functions"),
        ],
    )
    def test_a_service_that_is_not_there_is_named_in_its_protocol(
        self, cloud: Running, service: str, call: str, params: dict[str, Any], name: str
    ) -> None:
        code, message = refusal(lambda: getattr(cloud.client(service), call)(**params))
        assert (code, name in message, "local cloud" in message) == ("NotImplemented", True, True), message

    @pytest.mark.parametrize(
        ("service", "call", "params", "says"),
        [
            ("ec2", "describe_verified_access_groups", {}, "DescribeVerifiedAccessGroups of Amazon Elastic Compute Cloud"),
            ("ec2", "describe_vpcs", {"Filters": [{"Name": "x-y", "Values": ["z"]}]}, "the filter 'x-y' for DescribeVpcs of Amazon Elastic"),
            ("autoscaling", "describe_load_balancers", {"AutoScalingGroupName": "g"}, ""),
            ("autoscaling", "put_notification_configuration", {
                "AutoScalingGroupName": "g", "TopicARN": "t", "NotificationTypes": ["x"],
            }, "PutNotificationConfiguration of Amazon EC2"),
            ("elbv2", "create_trust_store", {
                "Name": "t", "CaCertificatesBundleS3Bucket": "b", "CaCertificatesBundleS3Key": "k",
            }, "CreateTrustStore of Elastic Load Balancing"),
            ("ssm", "list_nodes", {}, "ListNodes of Amazon Simple Systems Manager"),
            ("cloudwatch", "list_dashboards", {}, "ListDashboards of Amazon CloudWatch"),
            ("kms", "describe_custom_key_stores", {}, "DescribeCustomKeyStores of AWS Key Management Service"),
        ],
    )  # fmt: skip
    def test_what_is_not_modelled_is_named(
        self, cloud: Running, service: str, call: str, params: dict[str, Any], says: str
    ) -> None:
        code, message = refusal(lambda: getattr(cloud.client(service), call)(**params))
        if says:
            assert (code, f"The local cloud does not model {says}" in message) == (
                "NotImplemented",
                True,
            ), message
        else:
            assert code == "ValidationError"

    @pytest.mark.parametrize(
        ("service", "version"),
        [("ec2", "2016-11-15"), ("autoscaling", "2011-01-01"), ("elasticloadbalancing", "2015-12-01")],
    )
    def test_what_aws_has_not_either_is_no_action(self, cloud: Running, service: str, version: str) -> None:
        status, body = raw(cloud, service, f"Action=DescribeDreams&Version={version}")
        assert (status, b"<Code>InvalidAction</Code>" in body) == (400, True), body

    def test_our_own_refusals_have_the_shape_of_the_service(self, cloud: Running) -> None:
        client = cloud.client("autoscaling")
        code, message = refusal(lambda: client.set_desired_capacity(AutoScalingGroupName="no", DesiredCapacity=1))
        assert (code, message) == (
            "ValidationError",
            "AutoScalingGroup name not found - AutoScalingGroup 'no' not found",
        )

    def test_a_parameter_of_the_wrong_type(self, cloud: Running) -> None:
        status, body = raw(cloud, "autoscaling", "Action=DescribeAutoScalingGroups&Version=2011-01-01&MaxRecords=many")
        assert status == 400
        assert b"ValidationError" in body

    def test_own_paths(self, cloud: Running) -> None:
        assert cloud.ask("/_localcloud/health") == (200, {"name": "unit", "ready": True})
        status, answer = cloud.ask("/_localcloud/nothing")
        assert (status, list(answer)) == (404, ["error"])

    def test_nothing_is_answered_before_the_cloud_is_ready(self, cloud: Running) -> None:
        cloud.cloud.ready = False
        assert refusal(lambda: cloud.client("ec2").describe_vpcs())[0] == "ServiceUnavailable"
        cloud.cloud.ready = True

    def test_a_port_in_use_is_named(self, cloud: Running) -> None:
        with pytest.raises(PortTakenError, match=f"Port {cloud.server.port} cannot be used .*--port"):
            Server(cloud.server.port)


def raw(cloud: Running, service: str, body: str) -> tuple[int, bytes]:
    form = "application/x-www-form-urlencoded"
    request = cloud.signed(service, "/", "POST", body.encode(), Content_Type=form)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class TestFaults:
    def test_throttling_lasts_as_many_calls_as_were_asked_for(self, cloud: Running) -> None:
        fault = {"kind": "api", "operation": "DescribeVpcs", "times": 2}
        assert cloud.ask("/_localcloud/faults", "POST", fault)[0] == 200
        client = cloud.client("ec2")
        assert refusal(client.describe_vpcs) == ("Throttling", "Rate exceeded")
        assert refusal(client.describe_vpcs)[0] == "Throttling"
        assert client.describe_vpcs()["Vpcs"]

    def test_they_can_be_cleared(self, cloud: Running) -> None:
        cloud.ask("/_localcloud/faults", "POST", [{"kind": "api"}, {"kind": "boot"}])
        assert cloud.ask("/_localcloud/faults", "DELETE") == (200, {"faults": []})

    @pytest.mark.parametrize("fault", [{"kind": "rain"}, {"kind": "api", "colour": 1}, "nonsense", None])
    def test_one_that_does_not_exist_is_named(self, cloud: Running, fault: Any) -> None:
        status, answer = cloud.ask("/_localcloud/faults", "POST", fault)
        assert status == 400
        assert answer["error"].startswith("No such fault")

    def test_the_command_arms_lists_and_clears_them(
        self, cloud: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cloud.cloud.settings.write(cloud.path)
        monkeypatch.setattr(Directory, "server", lambda _: 1)
        where = ["--name", cloud.path.name, "--state-dir", str(cloud.path.parent)]
        monkeypatch.setattr(cli, "_name", str)
        assert cli.main(["faults", *where, '{"kind": "boot"}', '{"kind": "api", "times": 2}']) == 0
        assert [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()] == ["boot", "api"]
        assert cli.main(["faults", *where, '{"kind": "rain"}']) == 1
        assert "unknown fault kind" in capsys.readouterr().err
        assert cli.main(["faults", *where, "--clear"]) == 0
        assert capsys.readouterr().out == ""
        assert cli.main(["env", *where]) == 0
        assert f"export AWS_SECRET_ACCESS_KEY={cloud.key.secret_key}" in capsys.readouterr().out

    def test_a_boot_that_dies(self, cloud: Running) -> None:
        cloud.ask("/_localcloud/faults", "POST", {"kind": "boot", "outcome": "die"})
        cloud.until(cloud.run(), "stopped")


class TestNetwork:
    def test_a_default_subnet_in_every_zone_of_the_clouds_network(self, cloud: Running) -> None:
        subnets = cloud.client("ec2").describe_subnets()["Subnets"]
        assert [(s["AvailabilityZone"], s["CidrBlock"], s["DefaultForAz"]) for s in subnets] == [
            ("eu-central-1a", "172.30.0.0/20", True),
            ("eu-central-1b", "172.30.16.0/20", True),
            ("eu-central-1c", "172.30.32.0/20", True),
        ]

    def test_hosts_get_the_address_of_their_subnet(self, cloud: Running) -> None:
        subnet = cloud.client("ec2").describe_subnets()["Subnets"][1]["SubnetId"]
        instance_id = cloud.up(SubnetId=subnet)
        address = cloud.instance(instance_id)["PrivateIpAddress"]
        assert address.startswith("172.30.16.")
        assert cloud.podman.containers_[f"lc-unit-{instance_id}"].spec.address == address

    def test_no_two_instances_share_an_address(self, cloud: Running) -> None:
        made = cloud.client("ec2").run_instances(ImageId=cloud.base(), MinCount=5, MaxCount=5)["Instances"]
        cloud.client("ec2").terminate_instances(InstanceIds=[made[0]["InstanceId"]])
        cloud.until(made[0]["InstanceId"], "terminated")
        again = cloud.instance(cloud.run())
        assert len({i["PrivateIpAddress"] for i in [*made, again]}) == 6

    def test_a_subnet_can_be_full(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="172.30.200.0/28")["Subnet"]["SubnetId"]
        code, _ = refusal(lambda: cloud.run(SubnetId=subnet, MinCount=14, MaxCount=14))
        assert code == "InsufficientFreeAddressesInSubnet"
        assert cloud.cloud.fleet.hosts() == []

    def test_hosts_are_in_the_clouds_own_network_only(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        code, message = refusal(lambda: cloud.run(SubnetId=subnet))
        assert (code, "172.30.0.0/16" in message) == ("InvalidParameterValue", True)


class TestRunInstances:
    def test_pending_until_the_host_is_up(self, cloud: Running) -> None:
        instance_id = cloud.run()
        time.sleep(0.6)
        assert cloud.state(instance_id) == "pending"
        cloud.podman.boot()
        cloud.until(instance_id, "running")
        status = cloud.client("ec2").describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"][0]
        assert status["InstanceStatus"]["Status"] == "ok"

    def test_user_data_and_key_reach_the_seed(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
        instance_id = cloud.run(UserData=USER_DATA, KeyName="mine")
        directory = cloud.cloud.fleet.seed_directory(instance_id)
        assert (directory / "user-data").read_text() == USER_DATA
        meta = json.loads((directory / "meta-data").read_text())
        assert meta["public-keys"][0].startswith("ssh-ed25519 ")
        assert meta["instance-id"] == instance_id

    def test_a_launch_template_gives_what_the_call_leaves_out(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        data = {
            "ImageId": cloud.base(),
            "InstanceType": "t3.small",
            "UserData": base64.b64encode(USER_DATA.encode()).decode(),
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "from-template"}]}],
        }
        ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
        run = ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": "web", "Version": "1"})
        instance = cloud.instance(run["Instances"][0]["InstanceId"])
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        assert (instance["InstanceType"], tags["Name"]) == ("t3.small", "from-template")
        assert tags["aws:ec2launchtemplate:version"] == "1"
        assert (cloud.cloud.fleet.seed_directory(instance["InstanceId"]) / "user-data").read_text() == USER_DATA

    def test_the_same_client_token_launches_once(self, cloud: Running) -> None:
        assert cloud.run(ClientToken="once") == cloud.run(ClientToken="once")
        assert len(cloud.cloud.fleet.hosts()) == 1

    @pytest.mark.parametrize(
        ("given", "code", "words"),
        [
            ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound", "ami-0123456789abcdef0"),
            ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound", "nobody"),
            ({"SubnetId": "subnet-1"}, "InvalidSubnetID.NotFound", "subnet-1"),
            ({"Placement": {"AvailabilityZone": "eu-central-1x"}}, "InvalidParameterValue", "eu-central-1x"),
            ({"SecurityGroupIds": ["sg-1"]}, "InvalidGroup.NotFound", "sg-1"),
            (
                {"LaunchTemplate": {"LaunchTemplateId": "lt-0123456789abcdef0"}},
                "InvalidLaunchTemplateId.NotFound",
                "lt-0123456789abcdef0",
            ),
        ],
    )
    def test_refusals(self, cloud: Running, given: dict[str, Any], code: str, words: str) -> None:
        found, message = refusal(lambda: cloud.run(**given))
        assert found == code
        assert words in message
        assert cloud.cloud.fleet.hosts() == []
        assert cloud.client("ec2").describe_instances()["Reservations"] == []

    def test_other_regions_have_no_hosts(self, cloud: Running) -> None:
        client = cloud.client("ec2", "us-east-1")
        code, message = refusal(lambda: client.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1))
        assert (code, "eu-central-1" in message) == ("OptInRequired", True)

    def test_a_host_that_cannot_be_made_ends_with_the_reason(self, cloud: Running) -> None:
        cloud.podman.refuse["run"] = "The disk is full: free some space."
        instance_id = cloud.run()
        cloud.until(instance_id, "terminated")
        assert cloud.instance(instance_id)["StateReason"]["Message"].endswith("The disk is full: free some space.")


class TestLife:
    def test_terminated_only_when_the_host_is_gone(self, cloud: Running) -> None:
        instance_id = cloud.up()
        cloud.podman.containers_[f"lc-unit-{instance_id}"].ignores_stop = True
        change = cloud.client("ec2").terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"][0]
        assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "shutting-down")
        time.sleep(0.6)
        assert cloud.state(instance_id) == "shutting-down"
        cloud.podman.containers_[f"lc-unit-{instance_id}"].state = "gone"
        cloud.until(instance_id, "terminated")
        assert cloud.podman.containers_ == {}

    def test_stop_start_reboot(self, cloud: Running) -> None:
        ec2, instance_id = cloud.client("ec2"), cloud.up()
        ec2.stop_instances(InstanceIds=[instance_id])
        assert cloud.state(instance_id) == "stopping"
        cloud.until(instance_id, "stopped")
        assert refusal(lambda: ec2.reboot_instances(InstanceIds=[instance_id]))[0] == "IncorrectInstanceState"
        ec2.start_instances(InstanceIds=[instance_id])
        assert cloud.state(instance_id) == "pending"
        until(lambda: cloud.podman.containers_[f"lc-unit-{instance_id}"].state == "starting")
        cloud.podman.boot()
        cloud.until(instance_id, "running")

    def test_what_is_terminated_cannot_be_started(self, cloud: Running) -> None:
        ec2, instance_id = cloud.client("ec2"), cloud.run()
        ec2.terminate_instances(InstanceIds=[instance_id])
        cloud.until(instance_id, "terminated")
        assert refusal(lambda: ec2.start_instances(InstanceIds=[instance_id]))[0] == "IncorrectInstanceState"
        ec2.terminate_instances(InstanceIds=[instance_id])  # no error, as on AWS

    def test_protection_from_termination(self, cloud: Running) -> None:
        ec2, instance_id = cloud.client("ec2"), cloud.run()
        ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": True})
        assert refusal(lambda: ec2.terminate_instances(InstanceIds=[instance_id]))[0] == "OperationNotPermitted"

    def test_a_host_that_dies_is_stopped(self, cloud: Running) -> None:
        instance_id = cloud.up()
        cloud.podman.containers_[f"lc-unit-{instance_id}"].state = "gone"
        cloud.until(instance_id, "stopped")
        assert cloud.instance(instance_id)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"

    def test_or_terminated_if_the_launch_said_so(self, cloud: Running) -> None:
        instance_id = cloud.up(InstanceInitiatedShutdownBehavior="terminate")
        cloud.podman.containers_[f"lc-unit-{instance_id}"].state = "gone"
        cloud.until(instance_id, "terminated")

    def test_terminated_instances_are_forgotten_after_an_hour(self, cloud: Running) -> None:
        instance_id = cloud.run()
        address = cloud.instance(instance_id)["PrivateIpAddress"]
        cloud.client("ec2").terminate_instances(InstanceIds=[instance_id])
        cloud.until(instance_id, "terminated")
        with cloud.cloud.lock:
            backend = cloud.cloud.backend()
            backend.forget_terminated()
            assert backend.get_instance_by_id(instance_id)
            backend.ended[instance_id] -= 3601
            backend.forget_terminated()
        assert refusal(lambda: cloud.state(instance_id))[0] == "InvalidInstanceID.NotFound"
        assert cloud.instance(cloud.run())["PrivateIpAddress"] == address


class TestImages:
    def test_the_base_image_looks_like_debians_own(self, cloud: Running) -> None:
        filters = {"name": "debian-13-amd64-*", "root-device-type": "ebs", "virtualization-type": "hvm"}
        images = cloud.client("ec2").describe_images(
            Owners=["136693071363"], Filters=[{"Name": k, "Values": [v]} for k, v in filters.items()]
        )["Images"]
        assert [(i["Name"], i["Architecture"]) for i in images] == [("debian-13-amd64-20260101-0000", "x86_64")]

    def test_create_image_commits_inside_the_call_with_all_tags(self, cloud: Running) -> None:
        ec2, instance_id = cloud.client("ec2"), cloud.up()
        tags = [{"Key": "boring:family", "Value": "api"}]
        specifications = [{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")]
        image_id = ec2.create_image(InstanceId=instance_id, Name="mine", TagSpecifications=specifications)["ImageId"]
        assert f"commit lc-unit-{instance_id}" in cloud.podman.calls
        image = ec2.describe_images(Owners=["self"], ImageIds=[image_id])["Images"][0]
        assert (image["State"], image["RootDeviceType"], image["Tags"]) == ("available", "ebs", tags)
        snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        assert ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["Tags"] == tags
        made = cloud.run(ImageId=image_id)
        until(lambda: f"lc-unit-{made}" in cloud.podman.containers_)
        assert cloud.podman.containers_[f"lc-unit-{made}"].spec.image == f"localhost/lc-unit/{image_id}:latest"

    def test_a_name_is_used_once(self, cloud: Running) -> None:
        ec2, instance_id = cloud.client("ec2"), cloud.up()
        ec2.create_image(InstanceId=instance_id, Name="mine")
        code, _ = refusal(lambda: ec2.create_image(InstanceId=instance_id, Name="mine"))
        assert code == "InvalidAMIName.Duplicate"

    def test_a_commit_that_fails_leaves_no_image(self, cloud: Running) -> None:
        ec2, instance_id = cloud.client("ec2"), cloud.up()
        cloud.podman.refuse["commit"] = "The disk is full: free some space."
        code, message = refusal(lambda: ec2.create_image(InstanceId=instance_id, Name="mine"))
        assert (code, "The disk is full" in message) == ("InternalError", True)
        assert ec2.describe_images(Owners=["self"])["Images"] == []
        assert ec2.create_image(InstanceId=instance_id, Name="mine")["ImageId"]

    def test_other_calls_go_on_while_a_host_is_committed(self, cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        instance_id, begun, done = cloud.up(), threading.Event(), threading.Event()
        monkeypatch.setattr(cloud.podman, "commit", lambda *_: (begun.set(), done.wait(10)))
        call = threading.Thread(
            target=lambda: cloud.client("ec2").create_image(InstanceId=instance_id, Name="mine"), daemon=True
        )
        call.start()
        assert begun.wait(10)
        assert cloud.state(instance_id) == "running"
        assert cloud.client("ec2").describe_images(Owners=["self"])["Images"] == []
        done.set()
        call.join(10)
        assert not call.is_alive()

    def test_the_disk_goes_with_the_image(self, cloud: Running) -> None:
        ec2, instance_id = cloud.client("ec2"), cloud.up()
        image_id = ec2.create_image(InstanceId=instance_id, Name="mine")["ImageId"]
        assert cloud.podman.images("localhost/lc-unit/") == [f"localhost/lc-unit/{image_id}:latest"]
        copy = ec2.copy_image(SourceImageId=image_id, SourceRegion=REGION, Name="copy")["ImageId"]
        ec2.deregister_image(ImageId=image_id)
        assert refusal(lambda: cloud.run(ImageId=image_id))[0] == "InvalidAMIID.Unavailable"
        time.sleep(0.2)
        assert cloud.podman.images("localhost/lc-unit/"), "the copy still needs the disk"
        ec2.deregister_image(ImageId=copy)
        until(lambda: cloud.podman.images("localhost/lc-unit/") == [])


class TestState:
    def test_everything_is_there_after_a_restart(self, cloud: Running) -> None:
        ec2, instance_id = cloud.client("ec2"), cloud.up(UserData=USER_DATA)
        image_id = ec2.create_image(InstanceId=instance_id, Name="mine")["ImageId"]
        ec2.create_key_pair(KeyName="mine")
        cloud.client("ssm").put_parameter(Name="/a/b", Value="c", Type="String")
        template = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": image_id})
        cloud.client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName="g", MinSize=0, MaxSize=1, AvailabilityZones=["eu-central-1a"],
            LaunchTemplate={"LaunchTemplateName": "web"},
        )  # fmt: skip
        cloud.restart()
        ec2 = cloud.client("ec2")
        assert cloud.state(instance_id) == "running"
        assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["Name"] == "mine"
        assert ec2.describe_key_pairs()["KeyPairs"][0]["KeyName"] == "mine"
        assert cloud.client("ssm").get_parameter(Name="/a/b")["Parameter"]["Value"] == "c"
        found = ec2.describe_launch_templates()["LaunchTemplates"][0]
        assert found["LaunchTemplateId"] == template["LaunchTemplate"]["LaunchTemplateId"]
        groups = cloud.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        assert [group["AutoScalingGroupName"] for group in groups] == ["g"]
        ec2.terminate_instances(InstanceIds=[instance_id])
        cloud.until(instance_id, "terminated")
        assert cloud.up(ImageId=image_id)

    def test_a_call_is_on_disk_when_it_is_answered(self, cloud: Running) -> None:
        before = (cloud.path / "state.json").read_bytes()
        cloud.client("ec2").create_key_pair(KeyName="mine")
        assert (cloud.path / "state.json").read_bytes() != before
        assert {path.stat().st_mode & 0o777 for path in cloud.path.glob("*.*") if path.is_file()} == {0o600}

    def test_a_state_that_cannot_be_read_says_so(self, cloud: Running) -> None:
        cloud.end()
        path = cloud.path / "state.json"
        saved = path.read_bytes()
        for content in (saved[: len(saved) // 2], saved.replace(b'"moto": "', b'"moto": "AAAA')):
            path.write_bytes(content)
            with pytest.raises(Exception, match=r"cannot be read .*`down` takes it away"):
                cloud.start()
            cloud.server.close()
        path.write_bytes(saved.replace(b'"format": [3,', b'"format": [2,'))
        with pytest.raises(Exception, match=r"by another version of the local cloud, .*`down` takes it away"):
            cloud.start()
        cloud.server.close()
        path.unlink()
        (cloud.path / "state.pickle").touch()
        with pytest.raises(Exception, match=r"earlier version: `down` takes it away"):
            cloud.start()
        cloud.server.close()
        (cloud.path / "state.pickle").unlink()
        forget_moto()
        cloud.start()

    @pytest.mark.parametrize("what", ["the directory", "the file"])
    def test_what_others_can_write_is_not_read(self, cloud: Running, what: str) -> None:
        cloud.end()
        path = {"the directory": cloud.path, "the file": cloud.path / "state.json"}[what]
        mode = path.stat().st_mode & 0o777
        path.chmod(mode | 0o022)
        with pytest.raises(StateError, match=r"others can (get into|write) it"):
            cloud.start()
        cloud.server.close()
        path.chmod(mode)
        cloud.start()

    def test_a_link_is_not_followed(self, cloud: Running, tmp_path_factory: pytest.TempPathFactory) -> None:
        cloud.end()
        pickled = cloud.path / "state.json"
        elsewhere = tmp_path_factory.mktemp("elsewhere") / "state"
        pickled.rename(elsewhere)
        pickled.symlink_to(elsewhere)
        with pytest.raises(StateError, match="cannot be read"):
            cloud.start()
        cloud.server.close()
        pickled.unlink()
        elsewhere.rename(pickled)
        cloud.start()

    @pytest.mark.parametrize("make", ["key pair", "group", "host"])
    def test_what_cannot_be_written_is_taken_back(self, cloud: Running, make: str) -> None:
        ec2, asg = cloud.client("ec2"), cloud.client("autoscaling")
        ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": cloud.base()})
        group = {
            "AutoScalingGroupName": "g", "MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["eu-central-1a"],
            "LaunchTemplate": {"LaunchTemplateName": "web"},
        }  # fmt: skip
        calls = {
            "key pair": lambda: ec2.create_key_pair(KeyName="mine"),
            "group": lambda: asg.create_auto_scaling_group(**group),
            "host": cloud.run,
        }
        part = cloud.path / ".state.json.part"
        part.mkdir()  # nothing can be written there now
        code, message = refusal(calls[make])
        assert (code, "free some space" in message) == ("InternalFailure", True)
        part.rmdir()
        assert ec2.describe_key_pairs()["KeyPairs"] == []
        assert asg.describe_auto_scaling_groups()["AutoScalingGroups"] == []
        assert ec2.describe_instances()["Reservations"] == []
        until(lambda: not cloud.podman.containers_ and not cloud.cloud.fleet.hosts(), "a host nobody knows is left")
        assert calls[make]()

    def test_no_change_is_made_when_there_is_no_room_for_it(
        self, cloud: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        monkeypatch.setattr(cloud.cloud._store, "_reserved", 0)
        code, message = refusal(lambda: cloud.client("ec2").create_key_pair(KeyName="mine"))
        assert (code, "free some space" in message) == ("InternalFailure", True)
        assert cloud.client("ec2").describe_key_pairs()["KeyPairs"] == []

    def test_what_the_packet_filter_refuses_is_taken_back(
        self, cloud: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Gate:
            def apply(self, _ground: object) -> None:
                raise HostError("nft could not close this machine's network to hosts: no memory.")

        groups = cloud.client("ec2").describe_security_groups()["SecurityGroups"]
        monkeypatch.setattr(cloud.cloud, "_gate", Gate())
        code, message = refusal(lambda: cloud.client("ec2").create_security_group(GroupName="web", Description="web"))
        assert (code, message) == (
            "InternalFailure",
            "CreateSecurityGroup was taken back: nft could not close this machine's network to hosts: no memory.",
        )
        until(lambda: "security groups are not in force" in caplog.text)
        time.sleep(0.5)  # several ticks
        assert caplog.text.count("security groups are not in force") == 1
        monkeypatch.setattr(cloud.cloud, "_gate", None)
        assert cloud.client("ec2").describe_security_groups()["SecurityGroups"] == groups
        cloud.client("ec2").create_security_group(GroupName="web", Description="web")

    def test_what_pickle_refuses_is_taken_back(self, cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        ssm, make = cloud.client("ssm"), SimpleSystemManagerBackend.put_parameter

        def with_a_lock(self: Any, *given: Any, **more: Any) -> Any:
            made = make(self, *given, **more)
            self.lock = threading.Lock()
            return made

        monkeypatch.setattr(SimpleSystemManagerBackend, "put_parameter", with_a_lock)
        code, message = refusal(lambda: ssm.put_parameter(Name="/a", Value="b", Type="String"))
        assert (code, "was taken back" in message) == ("InternalFailure", True)
        monkeypatch.undo()
        assert ssm.describe_parameters()["Parameters"] == []
        ssm.put_parameter(Name="/a", Value="b", Type="String")


def test_what_an_operation_requires_is_asked_for_by_name(cloud: Running) -> None:
    def said(service: str, version: str, action: str) -> str:
        body = f"Action={action}&Version={version}"
        request = cloud.signed(service, "/", "POST", body.encode(), Content_Type="application/x-www-form-urlencoded")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, timeout=10)
        assert error.value.code == 400
        return error.value.read().decode()

    alone = said("autoscaling", "2011-01-01", "CompleteLifecycleAction&LifecycleHookName=h&AutoScalingGroupName=g")
    assert (
        "1 validation error detected: Value null at &apos;lifecycleActionResult&apos; failed to satisfy constraint"
        in alone.replace("'", "&apos;")
    )
    inner = said("autoscaling", "2011-01-01", "CreateOrUpdateTags&Tags.member.1.Value=x")
    assert "tags.1.member.key" in inner
    assert "2 validation errors" in said("elasticloadbalancing", "2015-12-01", "RegisterTargets")


class TestAutoScaling:
    def test_a_group_boots_hosts_and_replaces_the_dead(self, cloud: Running) -> None:
        ec2, client = cloud.client("ec2"), cloud.client("autoscaling")
        ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": cloud.base()})
        client.create_auto_scaling_group(
            AutoScalingGroupName="g", MinSize=1, MaxSize=2, DesiredCapacity=1, AvailabilityZones=["eu-central-1b"],
            LaunchTemplate={"LaunchTemplateName": "web", "Version": "$Latest"}, HealthCheckGracePeriod=0,
            Tags=[{"Key": "role", "Value": "web", "PropagateAtLaunch": True}],
        )  # fmt: skip

        def members() -> dict[str, str]:
            group = client.describe_auto_scaling_groups()["AutoScalingGroups"][0]
            return {i["InstanceId"]: i["LifecycleState"] for i in group["Instances"]}

        until(lambda: bool(cloud.podman.containers_))
        first = next(iter(members()))
        assert members() == {first: "Pending"}
        instance = cloud.instance(first)
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        assert tags.items() >= {"role": "web", "aws:autoscaling:groupName": "g"}.items()
        assert instance["Placement"]["AvailabilityZone"] == "eu-central-1b"
        cloud.podman.boot()
        until(lambda: members() == {first: "InService"})
        cloud.podman.containers_[f"lc-unit-{first}"].state = "gone"
        until(lambda: any(member != first for member in members()), "it was not replaced")
        cloud.until(first, "terminated")

    def test_refused_launches_are_activities(self, cloud: Running) -> None:
        cloud.ask("/_localcloud/faults", "POST", {"kind": "launch", "times": None})
        cloud.client("ec2").create_launch_template(
            LaunchTemplateName="web", LaunchTemplateData={"ImageId": cloud.base()}
        )
        client = cloud.client("autoscaling")
        client.create_auto_scaling_group(
            AutoScalingGroupName="g", MinSize=1, MaxSize=1, AvailabilityZones=["eu-central-1a"],
            LaunchTemplate={"LaunchTemplateName": "web"},
        )  # fmt: skip
        until(lambda: bool(client.describe_scaling_activities(AutoScalingGroupName="g")["Activities"]))
        activity = client.describe_scaling_activities(AutoScalingGroupName="g")["Activities"][0]
        assert (activity["StatusCode"], "capacity" in activity["StatusMessage"]) == ("Failed", True)
