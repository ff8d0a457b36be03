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
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from localcloud import cloud as cloud_module
from localcloud import metadata
from localcloud.clock import SystemClock
from localcloud.cloud import Cloud
from localcloud.inside import Inside
from localcloud.server import Application, Server
from localcloud.settings import Settings
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_certificates import pair
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
        iam.create_role(
            RoleName="hosts", AssumeRolePolicyDocument=json.dumps(TRUST), Tags=[{"Key": "team", "Value": "web"}]
        )
        iam.put_role_policy(RoleName="hosts", PolicyName="secrets", PolicyDocument=json.dumps(policy))
        arn = str(iam.create_instance_profile(InstanceProfileName="hosts")["InstanceProfile"]["Arn"])
        iam.add_role_to_instance_profile(InstanceProfileName="hosts", RoleName="hosts")
        return arn

    def host(self, **more: Any) -> Host:
        return Host(self, self.up(**more))

    def group(self, name: str = "g", **more: Any) -> Any:
        """A group of one host with the profile of ``profile``; the client of Auto Scaling."""
        template = {"ImageId": self.base(), "IamInstanceProfile": {"Name": "hosts"}}
        self.client("ec2").create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData=template)
        asg = self.client("autoscaling")
        asg.create_auto_scaling_group(
            **{
                "AutoScalingGroupName": name, "MinSize": 0, "MaxSize": 2, "DesiredCapacity": 1,
                "AvailabilityZones": ["eu-central-1a"], "LaunchTemplate": {"LaunchTemplateName": "hosts"}, **more,
            }
        )  # fmt: skip
        return asg

    def member(self, state: str = "InService") -> Host:
        """The host of the only group, once it is in that state."""
        asg = self.client("autoscaling")

        def found() -> list[str]:
            self.podman.boot()
            members = asg.describe_auto_scaling_instances()["AutoScalingInstances"]
            return [one["InstanceId"] for one in members if one["LifecycleState"] == state]

        until(lambda: bool(found()), f"none was {state}")
        return Host(self, found()[0])


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
            return answer.status, answer.read().decode(errors="replace")
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

    def signed(
        self, service: str, path: str, body: str, headers: dict[str, str], region: str = REGION
    ) -> tuple[int, str]:
        """The answer to a request that boto3 would not make, signed with the credentials that the metadata gives."""
        keys, address = self.keys(), self.cloud.cloud.settings.inside
        made = AWSRequest("POST", f"{address}{path}", headers, body.encode())
        credentials = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"])
        SigV4Auth(credentials, service, region).add_auth(made)
        return self.ask(path, "POST", body, **dict(made.headers.items()))

    def client(self, service: str, **changed: str) -> Any:
        """A service with the credentials that the metadata gives."""
        keys = {**self.keys(), **changed}
        return boto3.client(
            service, endpoint_url=self.cloud.cloud.settings.inside, region_name=REGION,
            aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["Token"], config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip

    def ssm(self, **changed: str) -> Any:
        return self.client("ssm", **changed)


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
        status, page = host.ask("/latest/meta-data/instance-id")
        assert (status, "<title>401 - Unauthorized</title>" in page) == (
            401,
            True,
        )  # as AWS's, which a script may take for a value
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

    def test_without_tokens_where_the_instance_allows_it(self, cloud: WithInside) -> None:
        host, ec2 = cloud.host(MetadataOptions={"HttpTokens": "optional"}), cloud.client("ec2")
        assert host.ask("/latest/meta-data/instance-id") == (200, host.id)
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: "made-up"})[0] == 401
        ec2.modify_instance_metadata_options(InstanceId=host.id, HttpEndpoint="disabled")
        assert [host.ask("/latest/meta-data/instance-id")[0], host.ask("/latest/api/token", "PUT")[0]] == [403, 403]
        ec2.modify_instance_metadata_options(InstanceId=host.id, HttpEndpoint="enabled", HttpTokens="required")
        assert host.ask("/latest/meta-data/instance-id")[0] == 401
        assert cloud.instance(host.id)["MetadataOptions"]["HttpPutResponseHopLimit"] == 2

    def test_its_interface_key_and_groups(self, cloud: WithInside) -> None:
        ec2 = cloud.client("ec2")
        ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
        host = cloud.host(KeyName="mine")
        interface = cloud.instance(host.id)["NetworkInterfaces"][0]
        mac = interface["MacAddress"]
        assert cloud.podman.containers_[f"lc-unit-{host.id}"].spec.mac == mac
        assert host.get("meta-data/mac") == (200, mac)
        assert host.get("meta-data/network/interfaces/macs/") == (200, f"{mac}/")
        known = {
            "interface-id": interface["NetworkInterfaceId"], "local-ipv4s": host.address, "device-number": "0",
            "security-group-ids": interface["Groups"][0]["GroupId"], "subnet-id": interface["SubnetId"], "vpc-id": interface["VpcId"],
            "vpc-ipv4-cidr-block": "127.86.0.0/16",
        }  # fmt: skip
        for name, value in known.items():
            assert host.get(f"meta-data/network/interfaces/macs/{mac}/{name}") == (200, value)
        assert host.get("meta-data/security-groups") == (200, "default")
        assert host.get("meta-data/public-keys/") == (200, "0=mine")
        assert host.get("meta-data/public-keys/0/") == (200, "openssh-key")
        assert host.get("meta-data/public-keys/0/openssh-key")[1].startswith("ssh-ed25519 ")
        assert "public-keys/" not in cloud.host().get("meta-data/")[1]

    def test_tags_only_where_they_are_shown(self, cloud: WithInside) -> None:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "role", "Value": "web"}]}]
        quiet = cloud.host(TagSpecifications=tags)
        assert quiet.get("meta-data/tags/instance/role")[0] == 404
        host, ec2 = (
            cloud.host(TagSpecifications=tags, MetadataOptions={"InstanceMetadataTags": "enabled"}),
            cloud.client("ec2"),
        )
        assert host.get("meta-data/tags/instance/") == (200, "role")
        ec2.create_tags(Resources=[host.id], Tags=[{"Key": "state", "Value": "ready"}])
        assert host.get("meta-data/tags/instance/state") == (200, "ready")
        code, message = refusal(lambda: ec2.create_tags(Resources=[host.id], Tags=[{"Key": "my key", "Value": "x"}]))
        assert (code, "'my key' is not a valid tag key" in message) == ("InvalidParameterValue", True)
        ec2.create_tags(Resources=[quiet.id], Tags=[{"Key": "my key", "Value": "x"}])
        change = ec2.modify_instance_metadata_options
        assert (
            refusal(lambda: change(InstanceId=quiet.id, InstanceMetadataTags="enabled"))[0] == "InvalidParameterValue"
        )

    def test_the_document_and_older_versions_of_the_tree(self, cloud: WithInside) -> None:
        host = cloud.host()
        document = json.loads(host.get("dynamic/instance-identity/document")[1])
        assert document["accountId"] == "123456789012"
        assert document["pendingTime"] == f"{cloud.instance(host.id)['LaunchTime']:%Y-%m-%dT%H:%M:%SZ}"
        assert (document["privateIp"], document["kernelId"]) == (host.address, None)
        token = {AHEAD: host.token()}
        assert host.ask("/2021-07-15/meta-data/instance-id", **token) == (200, host.id)
        assert host.ask("/2999-01-01/meta-data/instance-id", **token)[0] == 404
        assert host.ask("/", **token)[1].endswith("\nlatest")

    def test_spot_is_taken_with_a_notice(self, cloud: WithInside) -> None:
        host = cloud.host(InstanceMarketOptions={"MarketType": "spot"})
        assert host.get("meta-data/instance-life-cycle") == (200, "spot")
        for path in ("spot/instance-action", "spot/termination-time", "events/recommendations/rebalance"):
            assert host.get(f"meta-data/{path}")[0] == 404
        with cloud.cloud.lock:
            cloud.cloud.backend().notices[host.id] = metadata.Notice("terminate", 1_800_000_120.0, 1_800_000_000.0)
        assert json.loads(host.get("meta-data/spot/instance-action")[1]) == {
            "action": "terminate",
            "time": "2027-01-15T08:02:00Z",
        }
        assert host.get("meta-data/spot/termination-time") == (200, "2027-01-15T08:02:00Z")
        assert json.loads(host.get("meta-data/events/recommendations/rebalance")[1]) == {
            "noticeTime": "2027-01-15T08:00:00Z"
        }

    def test_an_address_that_is_no_instance_learns_nothing(self, cloud: WithInside) -> None:
        host = cloud.host()
        token, address = host.token(), host.address
        host.address = "127.86.200.200"
        assert host.ask("/latest/api/token", "PUT", **{f"{AHEAD}-ttl-seconds": "60"})[0] == 404
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: token})[0] == 404
        host.address = address
        cloud.client("ec2").terminate_instances(InstanceIds=[host.id])
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: token})[0] == 404

    def test_an_instance_whose_endpoint_is_off_gets_nothing(self, cloud: WithInside) -> None:
        host = cloud.host(MetadataOptions={"HttpEndpoint": "disabled"})
        assert host.ask("/latest/api/token", "PUT", **{f"{AHEAD}-ttl-seconds": "60"})[0] == 403
        cloud.client("ec2").modify_instance_metadata_options(InstanceId=host.id, HttpEndpoint="enabled")
        token = host.token()
        cloud.client("ec2").modify_instance_metadata_options(InstanceId=host.id, HttpEndpoint="disabled")
        assert host.ask("/latest/meta-data/instance-id", **{AHEAD: token})[0] == 403

    def test_an_instance_is_told_about_itself(self, cloud: WithInside) -> None:
        host = cloud.host(UserData=USER_DATA, InstanceType="t3.small", Placement={"AvailabilityZone": "eu-central-1b"})
        known = {
            "ami-id": cloud.base(), "instance-id": host.id, "instance-type": "t3.small", "local-ipv4": host.address,
            "placement/availability-zone": "eu-central-1b", "placement/region": REGION,
        }  # fmt: skip
        for path, value in known.items():
            assert host.get(f"meta-data/{path}") == (200, value)
        assert host.get("meta-data/placement/") == (200, "availability-zone\navailability-zone-id\nregion")
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

    def test_hosts_do_not_reach_what_is_for_the_owner(self, host: Host) -> None:
        assert host.ask("/_localcloud/status")[0] == 404


STATE = "meta-data/autoscaling/target-lifecycle-state"


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/x-amz-json-1.1"}
GET_ONE = {"X-Amz-Target": "AmazonSSM.GetParameter"}
MAIN = '{"Name":"/main/a","WithDecryption":true}'
END = "Action=TerminateInstances&InstanceId.1=OTHER&Version=2016-11-15"
SEE = "Action=DescribeInstances&Version=2016-11-15"

PARTS = (
    "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (
            ("Action", "DescribeInstances"),
            ("Action", "TerminateInstances"),
            ("InstanceId.1", "OTHER"),
        )
    )
    + "--b--\r\n"
)
ENDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "query and form": (f"/?{SEE}", END, FORM),
    "form and query": (f"/?{END}", SEE, FORM),
    "twice in the query": (f"/?{SEE}&{END}", "", FORM),
    "twice in the form": ("/", f"{SEE}&{END}", FORM),
    "twice in the form, the other first": ("/", f"{END}&{SEE}", FORM),
    "target and form": ("/", END, {**FORM, "X-Amz-Target": "x.DescribeInstances"}),
    "target and query": (f"/?{END}", "{}", {**JSON, "X-Amz-Target": "x.DescribeInstances"}),
    "path and form": ("/service/x/operation/DescribeInstances", END, {**FORM, "Smithy-Protocol": "rpc-v2-cbor"}),
    "path and query": (f"/service/x/operation/DescribeInstances?{END}", "", FORM),
    "query and a text": (f"/?{SEE}", END, {"Content-Type": "text/plain"}),
    "target and a text": ("/", END, {"Content-Type": "text/plain", "X-Amz-Target": "x.DescribeInstances"}),
    "a header": ("/", "", {"Action": "TerminateInstances", "InstanceId.1": "OTHER"}),
    "a path": ("/2016-11-15/instances/OTHER/TerminateInstances", "", {}),
    "parts of a form": ("/", PARTS, {"Content-Type": "multipart/form-data; boundary=b"}),
}
"""Requests that name DescribeInstances and TerminateInstances: path, body, headers."""
READS: dict[str, tuple[str, str, dict[str, str]]] = {
    "operation in the query": ("/?Action=GetParametersByPath&Path=/other", MAIN, JSON),
    "name in the query": ("/?Name=/other/a", MAIN, JSON),
    "name in a text of the body": ("/", MAIN.replace("}", ',"x":"&Name=/other/a&x="}'), JSON),
    "operation in a text of the body": (
        "/",
        MAIN.replace("}", ',"x":"&Action=GetParametersByPath&Path=/other&WithDecryption=true&x="}'),
        JSON,
    ),
    "a body in a form": (
        "/",
        MAIN.replace("}", ',"x":"&key=1&%7B%22Name%22:%22/other/a%22,%22WithDecryption%22:true%7D="}'),
        FORM,
    ),
    "region in the user agent": ("/", MAIN, {**JSON, "User-Agent": "x region/us-east-1"}),
    "region in the query": ("/?x=.us-east-1.amazonaws.com", MAIN, JSON),
    "headers": ("/", MAIN, {**JSON, "Name": "/other/a", "Action": "GetParametersByPath"}),
    "twice in the body": ("/", '{"Path":"/main/b","Path":"/other"}', JSON),
}
"""Requests for a parameter of this host that name another one too."""


class TestOneOperation:
    """What the role allows is what is done, wherever a request names operation, parameters, region and account."""

    @pytest.fixture
    def host(self, cloud: WithInside) -> Host:
        reads = {
            "Effect": "Allow",
            "Action": ["ssm:GetParameter", "ssm:GetParametersByPath"],
            "Resource": f"arn:aws:ssm:{REGION}:123456789012:parameter/main/*",
        }
        sees = {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}
        cloud.profile({"Version": "2012-10-17", "Statement": [reads, sees]})
        for region, name, value in (
            (REGION, "/main/a", "mine"), (REGION, "/main/b/c", "mine"), (REGION, "/other/a", SECRET), ("us-east-1", "/main/a", SECRET),
        ):  # fmt: skip
            cloud.client("ssm", region).put_parameter(Name=name, Value=value, Type="SecureString")
        return cloud.host(IamInstanceProfile={"Name": "hosts"})

    def test_another_host_stays(self, cloud: WithInside, host: Host) -> None:
        other = cloud.host()
        for name, (path, body, headers) in ENDS.items():
            status, _ = host.signed("ec2", path.replace("OTHER", other.id), body.replace("OTHER", other.id), headers)
            assert (name, cloud.state(other.id), status < 500) == (name, "running", True)

    def test_its_own_call_is_answered(self, host: Host) -> None:
        assert host.signed("ec2", "/", SEE, FORM)[0] == 200
        assert host.signed("ec2", f"/?{SEE}", "", {})[0] == 200
        assert json.loads(host.signed("ssm", "/", MAIN, {**JSON, **GET_ONE})[1])["Parameter"]["Value"] == "mine"
        assert host.ssm().get_parameters_by_path(Path="/main/b")["Parameters"]

    def test_the_refusal_names_what_was_named(self, host: Host) -> None:
        status, said = host.signed("ec2", f"/?{SEE}", END, FORM)
        assert (status, "names 2 operations (DescribeInstances, TerminateInstances): name one, once." in said) == (
            400,
            True,
        )
        status, said = host.signed("ec2", "/", "{}", {**JSON, "X-Amz-Target": "x.DescribeInstances"})
        assert (status, "in the protocol json" in said, "speaks ec2." in said) == (400, True, True)

    def test_no_other_secret_is_read(self, host: Host) -> None:
        for name, (path, body, headers) in READS.items():
            status, said = host.signed("ssm", path, body, {**GET_ONE, **headers})
            assert (name, SECRET in said, status < 500) == (name, False, True)

    def test_what_is_about_nothing_is_put_to_the_policies_too(self, host: Host) -> None:
        status, said = host.signed("ssm", "/", '{"Names": []}', {**JSON, "X-Amz-Target": "AmazonSSM.GetParameters"})
        assert (status, json.loads(said)["__type"]) == (400, "AccessDeniedException")

    def test_the_account_is_the_cloud_s(self, host: Host) -> None:
        answer = host.signed("ssm", "/", MAIN, {**JSON, **GET_ONE, "x-moto-account-id": "111111111111"})
        assert json.loads(answer[1])["Parameter"]["Value"] == "mine"


class TestTargetState:
    def test_follows_a_host_through_its_group(self, cloud: WithInside) -> None:
        cloud.profile()
        assert cloud.host().get(STATE)[0] == 404  # it is in no group
        hook = {"LifecycleHookName": "leave", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING"}
        asg = cloud.group(LifecycleHookSpecificationList=[{**hook, "HeartbeatTimeout": 3600}])
        host = cloud.member()
        assert host.get(STATE) == (200, "InService")
        who = {"AutoScalingGroupName": "g", "InstanceIds": [host.id]}
        asg.enter_standby(**who, ShouldDecrementDesiredCapacity=True)
        assert host.get(STATE) == (200, "Standby")
        cloud.member("Standby")
        asg.exit_standby(**who)
        cloud.member()
        assert host.get(STATE) == (200, "InService")
        asg.terminate_instance_in_auto_scaling_group(InstanceId=host.id, ShouldDecrementDesiredCapacity=True)
        assert cloud.member("Terminating:Wait").get(STATE) == (200, "Terminated")

    def test_is_set_before_the_host_is_in_service(self, cloud: WithInside) -> None:
        cloud.profile()
        hook = {"LifecycleHookName": "come", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING"}
        cloud.group(LifecycleHookSpecificationList=[hook])
        assert cloud.member("Pending:Wait").get(STATE) == (200, "InService")

    def test_of_one_that_left_its_group(self, cloud: WithInside) -> None:
        cloud.profile()
        asg, host = cloud.group(), cloud.member()
        asg.detach_instances(AutoScalingGroupName="g", InstanceIds=[host.id], ShouldDecrementDesiredCapacity=True)
        until(lambda: not asg.describe_auto_scaling_instances()["AutoScalingInstances"])
        assert host.get(STATE) == (200, "Detached")
        cloud.restart()
        assert host.get(STATE) == (200, "Detached")

    def test_in_a_warm_pool(self, cloud: WithInside) -> None:
        cloud.profile()
        hook = {"LifecycleHookName": "come", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING"}
        asg = cloud.group(DesiredCapacity=0, LifecycleHookSpecificationList=[hook])
        asg.put_warm_pool(AutoScalingGroupName="g", MinSize=1, PoolState="Running")
        assert cloud.member("Warmed:Pending:Wait").get(STATE) == (200, "Warmed:Running")


ALLOWED = [
    {
        "Effect": "Allow",
        "Action": [
            "autoscaling:CompleteLifecycleAction",
            "autoscaling:RecordLifecycleActionHeartbeat",
            "autoscaling:SetInstanceHealth",
        ],
        "Resource": "arn:aws:autoscaling:*:123456789012:autoScalingGroup:*:autoScalingGroupName/g",
    },
    {
        "Effect": "Allow",
        "Action": ["autoscaling:Describe*", "ec2:DescribeInstances", "ec2:DescribeTags"],
        "Resource": ["*"],
    },
    {
        "Effect": "Allow",
        "Action": "ec2:CreateTags",
        "Resource": "*",
        "Condition": {
            "StringEquals": {"ec2:SourceInstanceARN": "${ec2:SourceInstanceARN}", "aws:ResourceTag/role": "web"},
            "ForAllValues:StringEquals": {"aws:TagKeys": ["state"]},
        },
    },
    {
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": "web"}},
    },
    {
        "Effect": "Allow",
        "Action": ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"],
        "Resource": "arn:aws:elasticloadbalancing:*:123456789012:targetgroup/web/*",
    },
]
WHO = "arn:aws:sts::123456789012:assumed-role/hosts"


def denied(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


class TestCalls:
    """A host calls AWS's API under its role, with requests that boto3 signs."""

    @pytest.fixture
    def host(self, cloud: WithInside) -> Host:
        cloud.profile({"Version": "2012-10-17", "Statement": ALLOWED})
        hook = {
            "LifecycleHookName": "come",
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
            "HeartbeatTimeout": 600,
        }
        cloud.group(
            LifecycleHookSpecificationList=[hook], Tags=[{"Key": "role", "Value": "web", "PropagateAtLaunch": True}]
        )
        return cloud.member("Pending:Wait")

    def test_it_completes_its_own_launch_and_says_that_it_is_ill(self, cloud: WithInside, host: Host) -> None:
        asg = host.client("autoscaling")
        action = {"AutoScalingGroupName": "g", "LifecycleHookName": "come", "InstanceId": host.id}
        asg.record_lifecycle_action_heartbeat(**action)
        assert (
            asg.describe_auto_scaling_instances(InstanceIds=[host.id])["AutoScalingInstances"][0]["LifecycleState"]
            == "Pending:Wait"
        )
        asg.complete_lifecycle_action(**action, LifecycleActionResult="CONTINUE")
        cloud.member()
        asg.set_instance_health(InstanceId=host.id, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
        until(
            lambda: host.id not in str(cloud.client("autoscaling").describe_auto_scaling_instances()),
            "it was not replaced",
        )

    def test_other_groups_are_denied(self, cloud: WithInside, host: Host) -> None:
        other = {"AutoScalingGroupName": "other", "LifecycleHookName": "come", "InstanceId": host.id}
        code, message = denied(
            lambda: host.client("autoscaling").complete_lifecycle_action(**other, LifecycleActionResult="CONTINUE")
        )
        action = "autoscaling:CompleteLifecycleAction"
        assert (code, message) == (
            "AccessDenied",
            f"User: {WHO}/{host.id} is not authorized to perform: {action} on resource: "
            f"arn:aws:autoscaling:{REGION}:123456789012:autoScalingGroup:*:autoScalingGroupName/other because no identity-based policy "
            f"allows the {action} action",
        )

    def test_it_tags_itself_as_far_as_conditions_allow(self, cloud: WithInside, host: Host) -> None:
        ec2 = host.client("ec2")
        ec2.create_tags(Resources=[host.id], Tags=[{"Key": "state", "Value": "ready"}])
        filters = [{"Name": "resource-id", "Values": [host.id]}, {"Name": "key", "Values": ["state"]}]
        assert [tag["Value"] for tag in ec2.describe_tags(Filters=filters)["Tags"]] == ["ready"]
        assert ec2.describe_instances()["Reservations"]
        code, message = denied(lambda: ec2.create_tags(Resources=[host.id], Tags=[{"Key": "role", "Value": "root"}]))
        assert (code, message) == (
            "UnauthorizedOperation",
            f"You are not authorized to perform this operation. User: {WHO}/{host.id} is not authorized to perform: ec2:CreateTags on "
            f"resource: arn:aws:ec2:{REGION}:123456789012:instance/{host.id} because no identity-based policy allows the ec2:CreateTags "
            "action",
        )
        stranger = cloud.run()  # it has not the tag
        assert (
            denied(lambda: ec2.create_tags(Resources=[host.id, stranger], Tags=[{"Key": "state", "Value": "x"}]))[0]
            == code
        )

    def test_it_puts_metrics_of_its_own_namespace(self, cloud: WithInside, host: Host) -> None:
        watch = host.client("cloudwatch")
        watch.put_metric_data(Namespace="web", MetricData=[{"MetricName": "queue", "Value": 3.0}])
        assert [one["MetricName"] for one in cloud.client("cloudwatch").list_metrics()["Metrics"]] == ["queue"]
        code, message = denied(
            lambda: watch.put_metric_data(Namespace="other", MetricData=[{"MetricName": "queue", "Value": 3.0}])
        )
        assert (code, "cloudwatch:PutMetricData because no identity-based" in message) == ("AccessDenied", True)

    def test_it_puts_itself_behind_a_load_balancer(self, cloud: WithInside, host: Host) -> None:
        owner, vpc = cloud.client("elbv2"), cloud.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        arns = [
            owner.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0][
                "TargetGroupArn"
            ]
            for name in ("web", "other")
        ]
        elbv2 = host.client("elbv2")
        elbv2.register_targets(TargetGroupArn=arns[0], Targets=[{"Id": host.id}])
        found = owner.describe_target_health(TargetGroupArn=arns[0])["TargetHealthDescriptions"]
        assert [one["Target"]["Id"] for one in found] == [host.id]
        code, message = denied(lambda: elbv2.register_targets(TargetGroupArn=arns[1], Targets=[{"Id": host.id}]))
        assert (code, f"RegisterTargets on resource: {arns[1]}" in message) == ("AccessDenied", True)

    def test_who_it_is(self, cloud: WithInside, host: Host) -> None:
        assert host.client("sts").get_caller_identity()["Arn"] == f"{WHO}/{host.id}"

    def test_what_no_policy_allows_is_denied_and_what_is_not_modelled_is_refused(
        self, cloud: WithInside, host: Host
    ) -> None:
        ec2 = host.client("ec2")
        code, message = denied(lambda: ec2.terminate_instances(InstanceIds=[host.id]))
        assert (code, "perform: ec2:TerminateInstances because no identity-based" in message) == (
            "UnauthorizedOperation",
            True,
        )
        iam = cloud.client("iam")

        def allow(statement: dict[str, Any]) -> None:
            document = {"Version": "2012-10-17", "Statement": [statement]}
            iam.put_role_policy(RoleName="hosts", PolicyName="secrets", PolicyDocument=json.dumps(document))

        allow({"Effect": "Allow", "Action": "*", "Resource": "*"})
        with pytest.raises(
            ClientError, match=r"does not model TerminateInstances by hosts of Amazon Elastic Compute Cloud"
        ):
            ec2.terminate_instances(InstanceIds=[host.id])
        allow(
            {
                "Effect": "Allow",
                "Action": "ec2:*",
                "Resource": "*",
                "Condition": {"StringEquals": {"ec2:Tenancy": "host"}},
            }
        )
        with pytest.raises(
            ClientError,
            match=r"does not model the condition key ec2:Tenancy in the policies of the role hosts, on which ec2:De",
        ):
            ec2.describe_instances()

    def test_denials_and_boundaries_count(self, cloud: WithInside, host: Host) -> None:
        iam, ec2 = cloud.client("iam"), host.client("ec2")
        document = {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Deny", "Action": "ec2:*Instances", "Resource": "*"},
        }
        made = iam.create_policy(PolicyName="not", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
        iam.attach_role_policy(RoleName="hosts", PolicyArn=made)
        assert denied(ec2.describe_instances)[1].endswith("with an explicit deny in an identity-based policy")
        iam.detach_role_policy(RoleName="hosts", PolicyArn=made)
        ec2.describe_instances()
        document["Statement"] = {"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}
        limit = iam.create_policy(PolicyName="limit", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
        iam.put_role_permissions_boundary(RoleName="hosts", PermissionsBoundary=limit)
        assert (
            "because no permissions boundary allows the ec2:DescribeInstances action"
            in denied(ec2.describe_instances)[1]
        )

    def test_certificates(self, cloud: WithInside, host: Host) -> None:
        arn = cloud.client("acm").import_certificate(**pair("web.example"))["CertificateArn"]
        acm = host.client("acm")
        assert refusal(lambda: acm.describe_certificate(CertificateArn=arn))[0] == "AccessDeniedException"
        statement = {"Effect": "Allow", "Action": "acm:DescribeCertificate", "Resource": arn}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        cloud.client("iam").put_role_policy(RoleName="hosts", PolicyName="more", PolicyDocument=json.dumps(document))
        assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["DomainName"] == "web.example"


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
