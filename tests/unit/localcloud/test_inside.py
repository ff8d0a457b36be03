# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts reach of their cloud: the metadata service and SSM over HTTP, asked from the instances' own addresses.

The network is a part of loopback, so that a test can speak from the address of an instance that has no host.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from localcloud import cloud as cloud_module
from localcloud import metadata
from localcloud.clock import SystemClock
from localcloud.cloud import Cloud
from localcloud.inside import Inside
from localcloud.server import Application, Server
from localcloud.settings import Settings
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_server import BASE, REGION, USER_DATA, Running, forget_moto, until

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["ssm:GetParameters"],
            "Resource": "arn:aws:ssm:*:123456789012:parameter/main/*",
        }
    ],
}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
AHEAD = "X-aws-ec2-metadata-token"
SECRET = "correct-horse-battery-staple"


class Clock:
    """Runs with the machine's, and can be put forward."""

    ahead = 0.0  # seconds

    def now(self) -> float:
        return time.time() + self.ahead


class WithInside(Running):
    """A cloud whose hosts' side listens too, on the gateway's address."""

    def start(self) -> None:
        self.server = Server(0)
        settings = Settings("unit", self.server.port, "127.86.0.0/16", REGION, [BASE])
        self.cloud = Cloud(settings, self.path, self.podman)
        self.cloud.start()
        self.clock = Clock()
        application = Application(self.cloud, self.clock)
        self.inside = Server(self.server.port, settings.gateway)
        self.threads = [
            threading.Thread(target=self.server.serve, args=(application,), daemon=True),
            threading.Thread(
                target=self.inside.serve, args=(Inside(self.cloud, application, self.clock),), daemon=True
            ),
        ]
        self.thread = self.threads[0]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.inside.stop()
        self.threads[1].join(10)
        self.inside.close()
        super().end()

    def profile(self, policy: dict[str, Any] = POLICY) -> str:
        """A role that may read parameters, in an instance profile."""
        iam = self.client("iam")
        iam.create_role(RoleName="hosts", AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.put_role_policy(RoleName="hosts", PolicyName="secrets", PolicyDocument=json.dumps(policy))
        arn = str(iam.create_instance_profile(InstanceProfileName="hosts")["InstanceProfile"]["Arn"])
        iam.add_role_to_instance_profile(InstanceProfileName="hosts", RoleName="hosts")
        return arn

    def host(self, **more: Any) -> Host:
        return Host(self, self.up(**more))


class Host:
    """What runs on an instance, as the cloud sees it: connections from its address."""

    def __init__(self, cloud: WithInside, instance_id: str) -> None:
        self.cloud, self.id = cloud, instance_id
        self.address = str(cloud.instance(instance_id)["PrivateIpAddress"])

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> tuple[int, str]:
        settings = self.cloud.cloud.settings
        connection = http.client.HTTPConnection(
            settings.gateway, settings.port, timeout=10, source_address=(self.address, 0)
        )
        try:
            connection.request(
                method, path, body or None, {key.replace("_", "-"): value for key, value in headers.items()}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def token(self, seconds: int = 60) -> str:
        status, token = self.ask("/latest/api/token", "PUT", **{f"{AHEAD}-ttl-seconds": str(seconds)})
        assert status == 200
        return token

    def get(self, path: str) -> tuple[int, str]:
        return self.ask(f"/latest/{path}", **{AHEAD: self.token()})

    def keys(self) -> dict[str, str]:
        status, role = self.get("meta-data/iam/security-credentials/")
        assert status == 200
        return dict(json.loads(self.get(f"meta-data/iam/security-credentials/{role}")[1]))

    def ssm(self, **changed: str) -> Any:
        """SSM with the credentials that the metadata gives."""
        keys = {**self.keys(), **changed}
        return boto3.client(
            "ssm", endpoint_url=self.cloud.cloud.settings.inside, region_name=REGION,
            aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["Token"], config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WithInside]:
    podman = fakes.FakePodman()
    fakes.install(monkeypatch, podman)
    monkeypatch.setattr(cloud_module, "TICK_SECONDS", 0.05)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_moto()
    running = WithInside(tmp_path, podman)
    yield running
    running.end()


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


class TestMetadata:
    def test_a_token_is_required_and_good_for_one_instance_and_a_time(self, cloud: WithInside) -> None:
        host, other = cloud.host(), cloud.host()
        assert host.ask("/latest/meta-data/instance-id") == (401, "")
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: "made-up"})[0] == 401
        assert host.ask("/latest/api/token", "PUT")[0] == 400
        assert host.ask("/latest/api/token", "PUT", **{f"{AHEAD}-ttl-seconds": "21601"})[0] == 400
        assert (
            host.ask("/latest/api/token", "PUT", **{f"{AHEAD}-ttl-seconds": "60", "X-Forwarded-For": "1.2.3.4"})[0]
            == 403
        )
        assert host.ask("/latest/api/token", **{f"{AHEAD}-ttl-seconds": "60"})[0] == 405
        token = host.token(60)
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: token}) == (200, host.id)
        assert other.ask("/latest/meta-data/instance-id", **{AHEAD: token})[0] == 401
        assert host.ask("/latest/meta-data/instance-id", "POST", **{AHEAD: token})[0] == 405
        cloud.clock.ahead = 61
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: token})[0] == 401

    def test_an_address_that_is_no_instance_learns_nothing(self, cloud: WithInside) -> None:
        host = cloud.host()
        token, address = host.token(), host.address
        host.address = "127.86.200.200"
        assert host.ask("/latest/api/token", "PUT", **{f"{AHEAD}-ttl-seconds": "60"}) == (404, "")
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: token}) == (404, "")
        host.address = address
        cloud.client("ec2").terminate_instances(InstanceIds=[host.id])
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: token}) == (404, "")

    def test_an_instance_whose_endpoint_is_off_gets_nothing(self, cloud: WithInside) -> None:
        host = cloud.host(MetadataOptions={"HttpEndpoint": "disabled"})
        assert host.ask("/latest/api/token", "PUT", **{f"{AHEAD}-ttl-seconds": "60"}) == (403, "")
        cloud.client("ec2").modify_instance_metadata_options(InstanceId=host.id, HttpEndpoint="enabled")
        token = host.token()
        cloud.client("ec2").modify_instance_metadata_options(InstanceId=host.id, HttpEndpoint="disabled")
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: token}) == (403, "")

    def test_an_instance_is_told_about_itself(self, cloud: WithInside) -> None:
        host = cloud.host(UserData=USER_DATA, InstanceType="t3.small", Placement={"AvailabilityZone": "eu-central-1b"})
        known = {
            "ami-id": cloud.base(), "instance-id": host.id, "instance-type": "t3.small", "local-ipv4": host.address,
            "placement/availability-zone": "eu-central-1b", "placement/region": REGION,
        }  # fmt: skip
        for path, value in known.items():
            assert host.get(f"meta-data/{path}") == (200, value)
        assert host.get("meta-data/placement/") == (200, "availability-zone\nregion")
        assert "placement/\n" in host.get("meta-data/")[1]
        assert host.get("user-data") == (200, USER_DATA)
        assert json.loads(host.get("dynamic/instance-identity/document")[1])["instanceId"] == host.id
        for path in ("meta-data/nothing", "meta-data/instance-id/below", "meta-data/iam/info"):
            assert host.get(path)[0] == 404
        assert host.ask("/elsewhere", **{AHEAD: host.token()})[0] == 404

    def test_hosts_are_answered_while_the_cloud_brings_them_back_and_not_before(self, cloud: WithInside) -> None:
        cloud.profile()
        cloud.client("ssm").put_parameter(Name="/main/nats", Value=SECRET, Type="SecureString")
        host = cloud.host(IamInstanceProfile={"Name": "hosts"})
        cloud.cloud.ready = False
        ssm = host.ssm()
        assert ssm.get_parameters(Names=["/main/nats"])["Parameters"]
        cloud.cloud.loaded = False
        assert host.ask("/latest/api/token", "PUT", **{f"{AHEAD}-ttl-seconds": "60"})[0] == 503
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            ssm.get_parameters(Names=["/main/nats"])
        cloud.cloud.ready = cloud.cloud.loaded = True


def test_credentials_are_the_same_from_one_second_to_the_next() -> None:
    keys = metadata.Issuer(b"k" * 32, SystemClock()).keys("i-1", "hosts")
    about = metadata.About(
        "i-1", "ami-1", "t3.small", "x86_64", "10.0.0.1", "ip-10-0-0-1", "eu-central-1a", REGION, "1", "arn", "id", keys
    )
    path = "meta-data/iam/security-credentials/hosts"
    now, later = (metadata.find(metadata.tree(about, at), path) for at in (0.0, 30.0))
    assert now == later


class TestProfile:
    def test_every_way_to_launch_keeps_it(self, cloud: WithInside) -> None:
        arn, ec2 = cloud.profile(), cloud.client("ec2")
        ec2.create_launch_template(
            LaunchTemplateName="web",
            LaunchTemplateData={"ImageId": cloud.base(), "IamInstanceProfile": {"Name": "hosts"}},
        )
        by_template = cloud.host(LaunchTemplate={"LaunchTemplateName": "web"}, ImageId=cloud.base())
        direct = cloud.host(IamInstanceProfile={"Arn": arn})
        cloud.client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName="g", MinSize=1, MaxSize=1, AvailabilityZones=["eu-central-1a"],
            LaunchTemplate={"LaunchTemplateName": "web"},
        )  # fmt: skip

        def members() -> list[dict[str, Any]]:
            return list(cloud.client("autoscaling").describe_auto_scaling_instances()["AutoScalingInstances"])

        until(lambda: bool(members()))
        of_group = Host(cloud, members()[0]["InstanceId"])
        for host in (by_template, direct, of_group):
            assert cloud.instance(host.id)["IamInstanceProfile"]["Arn"] == arn
            assert json.loads(host.get("meta-data/iam/info")[1])["InstanceProfileArn"] == arn
            assert host.keys()["AccessKeyId"].startswith("ASIA")
        assert by_template.keys() == by_template.keys()
        assert by_template.keys()["SecretAccessKey"] != direct.keys()["SecretAccessKey"]

    def test_one_that_does_not_exist_is_refused_and_nothing_launched(self, cloud: WithInside) -> None:
        ec2 = cloud.client("ec2")
        ec2.create_launch_template(
            LaunchTemplateName="web",
            LaunchTemplateData={"ImageId": cloud.base(), "IamInstanceProfile": {"Name": "nobody"}},
        )
        code, message = refusal(lambda: cloud.run(LaunchTemplate={"LaunchTemplateName": "web"}))
        assert (code, "Value (nobody) for parameter iamInstanceProfile.name is invalid" in message) == (
            "InvalidParameterValue", True,
        )  # fmt: skip
        assert ec2.describe_instances()["Reservations"] == []

    def test_it_is_there_after_a_restart_and_old_credentials_are_not(self, cloud: WithInside) -> None:
        cloud.profile()
        host = cloud.host(IamInstanceProfile={"Name": "hosts"})
        cloud.client("ssm").put_parameter(Name="/main/nats", Value=SECRET, Type="SecureString")
        before = host.keys()
        cloud.restart()
        answer = host.ssm().get_parameters(Names=["/main/nats"], WithDecryption=True)
        assert answer["Parameters"][0]["Value"] == SECRET
        code = refusal(lambda: host.ssm(**before).get_parameters(Names=["/main/nats"]))[0]
        assert code == "UnrecognizedClientException"


class TestSsm:
    @pytest.fixture
    def host(self, cloud: WithInside) -> Host:
        cloud.profile()
        for name in ("/main/nats", "/other/nats"):
            cloud.client("ssm").put_parameter(Name=name, Value=SECRET, Type="SecureString")
        return cloud.host(IamInstanceProfile={"Name": "hosts"})

    def test_gives_what_the_role_may_read(self, host: Host) -> None:
        answer = host.ssm().get_parameters(Names=["/main/nats", "/main/none"], WithDecryption=True)
        assert [(found["Name"], found["Value"]) for found in answer["Parameters"]] == [("/main/nats", SECRET)]
        assert answer["InvalidParameters"] == ["/main/none"]

    def test_refuses_what_no_policy_allows(self, host: Host) -> None:
        ssm = host.ssm()
        code, message = refusal(lambda: ssm.get_parameters(Names=["/main/nats", "/other/nats"]))
        assert code == "AccessDeniedException"
        assert message == (
            f"User: arn:aws:sts::123456789012:assumed-role/hosts/{host.id} is not authorized to perform: "
            "ssm:GetParameters on resource: arn:aws:ssm:eu-central-1:123456789012:parameter/other/nats because no "
            "identity-based policy allows the ssm:GetParameters action"
        )
        assert refusal(lambda: ssm.get_parameter(Name="/main/nats"))[0] == "AccessDeniedException"
        assert refusal(lambda: ssm.put_parameter(Name="/main/nats", Value="x"))[0] == "AccessDeniedException"
        host.cloud.client("iam").delete_role_policy(RoleName="hosts", PolicyName="secrets")
        assert refusal(lambda: ssm.get_parameters(Names=["/main/nats"]))[0] == "AccessDeniedException"

    def test_refuses_who_did_not_get_credentials_from_the_metadata(self, host: Host) -> None:
        def asked(**changed: str) -> str:
            return refusal(lambda: host.ssm(**changed).get_parameters(Names=["/main/nats"]))[0]

        assert asked(AccessKeyId="local", SecretAccessKey="local", Token="local") == "UnrecognizedClientException"
        assert asked(AccessKeyId="ASIAXXXXXXXXXXXXXXXX") == "UnrecognizedClientException"
        assert asked(SecretAccessKey="x" * 40) == "InvalidSignatureException"
        assert asked(Token=host.token()) == "UnrecognizedClientException"

    def test_refuses_a_request_without_signature_and_one_that_was_changed(self, host: Host) -> None:
        target = {"X-Amz-Target": "AmazonSSM.GetParameters", "Content-Type": "application/x-amz-json-1.1"}
        status, body = host.ask("/", "POST", '{"Names": ["/main/nats"]}', **target)
        assert (status, json.loads(body)["__type"]) == (400, "MissingAuthenticationTokenException")
        ssm, sent = host.ssm(), []

        def change(request: Any, **_: Any) -> None:
            request.body = request.body.replace(b"/main/none", b"/main/nats")
            sent.append(request)

        ssm.meta.events.register("before-send.ssm", change)
        code, message = refusal(lambda: ssm.get_parameters(Names=["/main/none"]))
        assert (code, SECRET in message) == ("InvalidSignatureException", False)
        assert sent

    def test_refuses_the_credentials_of_yesterday_and_a_clock_that_is_off(self, host: Host) -> None:
        ssm = host.ssm()
        host.cloud.clock.ahead = 400
        code, message = refusal(lambda: ssm.get_parameters(Names=["/main/nats"]))
        assert (code, "expired" in message) == ("InvalidSignatureException", True)
        host.cloud.clock.ahead = 86400
        assert refusal(lambda: ssm.get_parameters(Names=["/main/nats"])) == (
            "ExpiredTokenException", "The security token included in the request is expired",
        )  # fmt: skip

    def test_hosts_reach_no_other_service(self, host: Host) -> None:
        keys = host.keys()
        ec2 = boto3.client(
            "ec2", endpoint_url=host.cloud.cloud.settings.inside, region_name=REGION,
            aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["Token"], config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip
        code, message = refusal(ec2.describe_instances)
        assert (code, "and not DescribeInstances" in message) == ("AccessDeniedException", True)
        assert host.ask("/_localcloud/status")[0] == 404


def test_an_instance_without_a_profile_has_no_credentials(cloud: WithInside) -> None:
    host = cloud.host()
    assert host.get("meta-data/iam/security-credentials/")[0] == 404


@pytest.mark.parametrize("token", ["", "x", "é", "AAAA", "A" * 60])
def test_what_is_no_token_of_ours_is_not_taken_for_one(token: str) -> None:
    issuer = metadata.Issuer(b"key", Clock())
    assert not issuer.in_session(token, "i-1")
    assert issuer.known(token) is None
    assert not issuer.in_session(issuer.keys("i-1", "hosts").token, "i-1")
    assert issuer.known(issuer.session("i-1", 60)) is None
