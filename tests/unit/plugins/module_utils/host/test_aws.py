# SPDX-License-Identifier: GPL-3.0-or-later
"""Metadata and calls of AWS against a stand-in on loopback, which judges every signature by botocore."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ansible_collections.boring.fleet.plugins.module_utils.host import aws
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError

SECRET = "secret-of-the-tests"
RESERVATIONS = """<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet>{}</reservationSet>{}</DescribeInstancesResponse>"""
ITEM = """<item><instancesSet><item><instanceId>{}</instanceId><privateIpAddress>{}</privateIpAddress><instanceState><name>running</name></instanceState>
<launchTime>{}</launchTime></item></instancesSet></item>"""
STATES = """<R xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><D><AutoScalingInstances><member><InstanceId>i-1</InstanceId>
<LifecycleState>{}</LifecycleState></member></AutoScalingInstances></D></R>"""
ERROR = "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error></ErrorResponse>"


class Server(ThreadingHTTPServer):
    """`key` is the access key that is good now, `ahead` how far its clock is ahead; `answers` are given before anything else."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.key, self.ahead, self.session = "ASIA1", 0.0, "token-1"
        self.state = "InService"
        self.answers: list[tuple[int, str]] = []
        self.asked: list[dict[str, str]] = []
        self.paths = {"instance-id": "i-1", "iam/security-credentials/": "role", "services/domain": "amazonaws.com"}
        self.parameters = {f"/p/{number}": f"value {number}" for number in range(12)}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_PUT(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self.tell(200, self.server.session)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != self.server.session:
            self.tell(401, "")
            return
        path = self.path.removeprefix("/latest/meta-data/")
        keys = json.dumps({"AccessKeyId": self.server.key, "SecretAccessKey": SECRET, "Token": "session"})
        found = {**self.server.paths, "iam/security-credentials/role": keys}.get(path)
        self.tell(404 if found is None else 200, found or "")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.answers:
            self.tell(*self.server.answers.pop(0))
            return
        service = self.headers["Authorization"].split("/")[3]
        if problem := self.refusal(body, service):
            self.tell(
                403, ERROR.format(problem, problem) if service != "ssm" else json.dumps({"__type": f"x#{problem}"})
            )
            return
        if service == "ssm":
            names = json.loads(body)["Names"]
            found = [{"Name": name, "Value": value} for name, value in self.server.parameters.items() if name in names]
            self.tell(200, json.dumps({"Parameters": found}))
            return
        asked = dict(urllib.parse.parse_qsl(body.decode()))
        self.server.asked.append(asked)
        if asked["Action"] == "CompleteLifecycleAction":
            self.server.state = {"enter": "InService", "leave": "Terminating:Proceed"}[asked["LifecycleHookName"]]
        more = "NextToken" in asked
        instances = (
            ITEM.format("i-1", "10.0.0.1", "2026-11-30T10:00:00Z")
            if more
            else ITEM.format("i-2", "10.0.0.2", "2026-11-30T11:00:00Z")
        )
        answers = {
            "DescribeInstances": RESERVATIONS.format(instances, "" if more else "<nextToken>more</nextToken>"),
            "DescribeAutoScalingInstances": STATES.format(self.server.state),
            "DescribeTargetGroups": "<R><T><TargetGroups><member><TargetGroupArn>arn:tg</TargetGroupArn></member></TargetGroups></T></R>",
        }
        self.tell(200, answers.get(asked["Action"], "<R/>"))

    def refusal(self, body: bytes, service: str) -> str:
        at = datetime.strptime(self.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if abs(time.time() + self.server.ahead - at) > 300:
            return "RequestExpired" if service != "ssm" else "InvalidSignatureException"
        given = self.headers["Authorization"]
        if f"Credential={self.server.key}/" not in given:
            return "ExpiredToken" if service != "ssm" else "ExpiredTokenException"
        signed = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        request = AWSRequest(
            method="POST", url=f"http://{self.headers['Host']}/", data=body,
            headers={name: self.headers[name] for name in signed if name != "host"},
        )  # fmt: skip
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        judge = SigV4Auth(Credentials(self.server.key, SECRET, "session"), service, "eu-central-1")
        canonical = judge.canonical_request(request)
        good = judge.signature(judge.string_to_sign(request, canonical), request)
        return "" if given.endswith(f"Signature={good}") else "SignatureDoesNotMatch"

    def tell(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response_only(status)
        self.send_header(
            "Date", format_datetime(datetime.fromtimestamp(time.time() + self.server.ahead, UTC), usegmt=True)
        )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def there(server: Server) -> aws.Aws:
    metadata = aws.Metadata(aws.http_request, time.monotonic, server.url)
    return aws.Aws(aws.http_request, metadata, "eu-central-1", server.url, time.time)


def test_every_call_is_signed_as_aws_wants_it(server: Server, there: aws.Aws) -> None:
    assert there.instances("shop", "bus") == [
        aws.Instance("i-1", "10.0.0.1", "running", "2026-11-30T10:00:00Z", "InService"),
        aws.Instance("i-2", "10.0.0.2", "running", "2026-11-30T11:00:00Z", ""),
    ]
    assert server.asked[0]["Filter.1.Name"] == "tag:boring:fleet"
    assert server.asked[0]["Filter.1.Value.1"] == "shop"
    there.heartbeat("shop-bus", "leave", "i-1")
    there.complete("shop-bus", "leave", "i-1", "CONTINUE")
    assert server.asked[-1] == {
        "Action": "CompleteLifecycleAction", "Version": "2011-01-01", "AutoScalingGroupName": "shop-bus",
        "LifecycleHookName": "leave", "InstanceId": "i-1", "LifecycleActionResult": "CONTINUE",
    }  # fmt: skip
    there.tag("i-1", "boring:lifecycle", "leaving: 100 % of a&b ~ ü")
    assert server.asked[-1]["Tag.1.Value"] == "leaving: 100 % of a&b ~ ü"
    there.register("shop-cache", "i-1")
    assert server.asked[-1]["Targets.member.1.Id"] == "i-1"
    names = list(server.parameters)
    assert there.parameters(names) == server.parameters


def test_missing_parameters_are_named(there: aws.Aws) -> None:
    with pytest.raises(HostError, match=r"has no /q/1, /q/2: deploy the fleet again"):
        there.parameters(["/q/2", "/p/1", "/q/1"])


def test_credentials_that_ended_are_fetched_again(server: Server, there: aws.Aws) -> None:
    there.lifecycle_states(["i-1"])
    server.key, server.session = "ASIA2", "token-2"
    assert there.lifecycle_states(["i-1"]) == {"i-1": "InService"}
    assert there.parameters(["/p/1"]) == {"/p/1": "value 1"}


@pytest.mark.parametrize("ahead", [-7200.0, 7200.0])
def test_a_clock_that_is_hours_off_is_known_by_aws_own(server: Server, there: aws.Aws, ahead: float) -> None:
    server.ahead = ahead
    assert there.lifecycle_states(["i-1"]) == {"i-1": "InService"}
    assert there.parameters(["/p/1"]) == {"/p/1": "value 1"}
    assert abs(there._skew - ahead) < 60


def test_refusals_have_awss_code_and_words(server: Server, there: aws.Aws) -> None:
    server.answers = [(400, ERROR.format("ValidationError", "No active Lifecycle Action found"))]
    with pytest.raises(
        aws.RefusedError, match="CompleteLifecycleAction was refused with ValidationError: No active"
    ) as caught:
        there.complete("g", "h", "i-1", "CONTINUE")
    assert caught.value.code == "ValidationError"
    server.answers = [(503, "busy")]
    with pytest.raises(aws.AwayError, match="503"):
        there.complete("g", "h", "i-1", "CONTINUE")
    server.answers = [(200, "<not xml")]
    with pytest.raises(aws.AwayError, match="no XML"):
        there.complete("g", "h", "i-1", "CONTINUE")


def test_what_is_not_there_or_does_not_answer(server: Server, there: aws.Aws) -> None:
    assert there.metadata.get("spot/instance-action") is None
    server.paths.pop("iam/security-credentials/")
    with pytest.raises(HostError, match="this instance has no role"):
        there.lifecycle_states(["i-1"])
    nobody = aws.Metadata(aws.http_request, time.monotonic, "http://127.0.0.1:9")
    with pytest.raises(aws.AwayError, match="does not answer"):
        nobody.get("instance-id")


def test_nothing_that_is_printed_holds_a_secret(there: aws.Aws) -> None:
    there.lifecycle_states(["i-1"])
    assert SECRET not in repr(there)
