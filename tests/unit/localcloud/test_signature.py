# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S310 - the addresses are our own
"""Who is answered: requests signed with a key of the cloud, sent to its own name, and by no web page."""

from __future__ import annotations

import datetime
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from localcloud import cloud as cloud_module
from localcloud import signature
from localcloud.signature import Fault, SignatureError
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_server import REGION, Running, forget_moto

BODY = "Action=DescribeVpcs&Version=2016-11-15"
WHO = "Action=GetCallerIdentity&Version=2011-06-15"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        podman = fakes.FakePodman()
        fakes.install(monkeypatch, podman)
        monkeypatch.setattr(cloud_module, "TICK_SECONDS", 0.05)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        forget_moto()
        running = Running(tmp_path_factory.mktemp("cloud"), podman)
        yield running
        running.end()


def sent(cloud: Running, method: str, path: str, body: str, headers: dict[str, str]) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.server.port, timeout=10)
    try:
        connection.request(method, path, body.encode(), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def signed(cloud: Running, service: str, body: str, target: str = "") -> dict[str, str]:
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"} if target else FORM
    request = AWSRequest("POST", f"http://127.0.0.1:{cloud.server.port}/", headers=dict(headers), data=body)
    SigV4Auth(Credentials(cloud.key.access_key, cloud.key.secret_key), service, REGION).add_auth(request)
    return dict(request.headers.items())


def presigned(cloud: Running, seconds: int = 60, at: datetime.datetime | None = None) -> str:
    request = AWSRequest("GET", f"http://127.0.0.1:{cloud.server.port}/?{WHO}")
    auth = SigV4QueryAuth(Credentials(cloud.key.access_key, cloud.key.secret_key), "sts", REGION, expires=seconds)
    with pytest.MonkeyPatch.context() as monkeypatch:
        if at is not None:
            monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at)
        auth.add_auth(request)
    return request.url.partition(str(cloud.server.port))[2]


def refusal(call: Callable[[], Any]) -> tuple[str, int]:
    with pytest.raises(ClientError) as error:
        call()
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "ec2": ("describe_vpcs", {}),
    "autoscaling": ("describe_auto_scaling_groups", {}),
    "elbv2": ("describe_load_balancers", {}),
    "sts": ("get_caller_identity", {}),
    "iam": ("list_roles", {}),
    "ssm": ("describe_parameters", {}),
    "kms": ("list_keys", {}),
}
XML, JSON = ("InvalidClientTokenId", 403), ("UnrecognizedClientException", 400)
WRONG_KEY = dict.fromkeys(CALLS, XML) | {"ec2": ("AuthFailure", 401), "ssm": JSON, "kms": JSON}
WRONG_SECRET = dict.fromkeys(CALLS, ("SignatureDoesNotMatch", 403)) | dict.fromkeys(
    ("ssm", "kms"), ("InvalidSignatureException", 400)
)


@pytest.mark.parametrize("service", CALLS)
class TestKeys:
    def ask(self, cloud: Running, service: str, access: str, secret: str, token: str | None = None) -> Any:
        client = boto3.client(
            service, endpoint_url=cloud.cloud.settings.endpoint, region_name=REGION, aws_access_key_id=access,
            aws_secret_access_key=secret, aws_session_token=token, config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip
        call, params = CALLS[service]
        return getattr(client, call)(**params)

    def test_the_owner_is_answered(self, cloud: Running, service: str) -> None:
        assert self.ask(cloud, service, cloud.key.access_key, cloud.key.secret_key)

    @pytest.mark.parametrize("key", [("local", "local"), ("AKIAXXXXXXXXXXXXXXXX", "x" * 40)])
    def test_another_key_is_unknown(self, cloud: Running, service: str, key: tuple[str, str]) -> None:
        assert refusal(lambda: self.ask(cloud, service, *key)) == WRONG_KEY[service]

    def test_the_key_with_another_secret(self, cloud: Running, service: str) -> None:
        assert refusal(lambda: self.ask(cloud, service, cloud.key.access_key, "x" * 40)) == WRONG_SECRET[service]

    def test_the_key_with_a_session_token(self, cloud: Running, service: str) -> None:
        key = cloud.key
        assert refusal(lambda: self.ask(cloud, service, key.access_key, key.secret_key, "t")) == WRONG_KEY[service]


class TestIssued:
    """Keys that the cloud's own IAM and STS gave out."""

    def test_a_user_s_key_is_good_until_it_is_taken_away(self, cloud: Running) -> None:
        iam = cloud.client("iam")
        iam.create_user(UserName="deploy")
        key = iam.create_access_key(UserName="deploy")["AccessKey"]
        ask = TestKeys().ask
        arn = ask(cloud, "sts", key["AccessKeyId"], key["SecretAccessKey"])["Arn"]
        assert arn == "arn:aws:iam::123456789012:user/deploy"
        iam.update_access_key(UserName="deploy", AccessKeyId=key["AccessKeyId"], Status="Inactive")
        assert refusal(lambda: ask(cloud, "sts", key["AccessKeyId"], key["SecretAccessKey"])) == XML
        iam.delete_access_key(UserName="deploy", AccessKeyId=key["AccessKeyId"])
        assert refusal(lambda: ask(cloud, "ec2", key["AccessKeyId"], key["SecretAccessKey"]))[0] == "AuthFailure"

    def test_an_assumed_role_s_are_good_with_their_token_and_for_their_time(
        self, cloud: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arn = "arn:aws:iam::123456789012:role/deploy"
        keys = cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="me", DurationSeconds=900)["Credentials"]
        pair, ask = (keys["AccessKeyId"], keys["SecretAccessKey"]), TestKeys().ask
        assert ask(cloud, "sts", *pair, keys["SessionToken"])["Arn"].endswith("assumed-role/deploy/me")
        assert refusal(lambda: ask(cloud, "sts", *pair, "made-up")) == XML
        assert refusal(lambda: ask(cloud, "sts", *pair)) == XML
        monkeypatch.setattr(cloud.application._clock, "now", lambda: keys["Expiration"].timestamp() + 1)
        assert refusal(lambda: ask(cloud, "sts", *pair, keys["SessionToken"])) == ("ExpiredToken", 403)
        assert refusal(lambda: ask(cloud, "ssm", *pair, keys["SessionToken"])) == ("ExpiredTokenException", 400)

    def test_moto_s_examples_are_no_keys(self, cloud: Running) -> None:
        assert refusal(lambda: TestKeys().ask(cloud, "sts", "AKIAIOSFODNN7EXAMPLE", "x", "t")) == XML


class TestUnsigned:
    @pytest.mark.parametrize(
        ("body", "target", "status", "says"),
        [
            (BODY, "", 403, "<Errors><Error><Code>MissingAuthenticationToken<"),
            ("Action=DescribeAutoScalingGroups&Version=2011-01-01", "", 403, "MissingAuthenticationToken</Code>"),
            (WHO, "", 403, "MissingAuthenticationToken</Code>"),
            ("{}", "AmazonSSM.DescribeParameters", 400, '"__type":"MissingAuthenticationTokenException"'),
            ("{}", "TrentService.ListKeys", 400, '"__type":"MissingAuthenticationTokenException"'),
        ],
    )
    def test_is_refused_in_the_protocol_of_the_service(
        self, cloud: Running, body: str, target: str, status: int, says: str
    ) -> None:
        headers = {"X-Amz-Target": target} if target else FORM
        got, answer = sent(cloud, "POST", "/", body, headers)
        assert (got, says in answer.replace('": "', '":"').replace("\n", "")) == (status, True), answer

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5"), "IncompleteSignature"),
            (("Signature=", "Signed="), "IncompleteSignature"),
            (("/aws4_request", "/aws5_request"), "IncompleteSignature"),
            (("host;", ""), "IncompleteSignature"),
            (("x-amz-date", "x-amz-data"), "IncompleteSignature"),
            (("Signature=", "Signature=0"), "SignatureDoesNotMatch"),
            ((f"/{REGION}/", "/eu-west-1/"), "SignatureDoesNotMatch"),
            (("content-type;", ""), "SignatureDoesNotMatch"),
        ],
    )
    def test_what_was_changed_is_refused(self, cloud: Running, change: tuple[str, str], code: str) -> None:
        headers = signed(cloud, "sts", WHO)
        assert change[0] in headers["Authorization"]
        headers["Authorization"] = headers["Authorization"].replace(*change)
        status, answer = sent(cloud, "POST", "/", WHO, headers)
        assert (status in (400, 403), f"<Code>{code}</Code>" in answer) == (True, True), answer

    def test_another_body_another_path_another_query(self, cloud: Running) -> None:
        headers = signed(cloud, "sts", WHO)
        assert sent(cloud, "POST", "/", WHO, headers)[0] == 200
        for path, body in (("/", f"{WHO}&x=y"), ("/x", WHO), ("/?x=y", WHO)):
            assert "SignatureDoesNotMatch" in sent(cloud, "POST", path, body, headers)[1]

    @pytest.mark.parametrize("minutes", [-6, 6])
    def test_a_clock_that_is_off(self, cloud: Running, minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at.replace(tzinfo=None))
        for service, body, code in (("sts", WHO, "SignatureDoesNotMatch"), ("ec2", BODY, "RequestExpired")):
            headers = signed(cloud, service, body)
            monkeypatch.undo()
            status, answer = sent(cloud, "POST", "/", body, headers)
            assert (status, f"<Code>{code}</Code>" in answer) == (400 if service == "ec2" else 403, True), answer
            monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at.replace(tzinfo=None))
        says = "Signature expired: " if minutes < 0 else "Signature not yet current: "
        assert says in sent(cloud, "POST", "/", WHO, signed(cloud, "sts", WHO))[1]


class TestPresigned:
    def test_is_good_for_its_time(self, cloud: Running) -> None:
        assert sent(cloud, "GET", presigned(cloud), "", {})[0] == 200
        hour_ago = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(hours=1)
        assert sent(cloud, "GET", presigned(cloud, 7200, hour_ago), "", {})[0] == 200
        status, answer = sent(cloud, "GET", presigned(cloud, 60, hour_ago), "", {})
        assert (status, "Signature expired: " in answer) == (403, True)

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (("GetCallerIdentity", "GetSessionToken"), "SignatureDoesNotMatch"),
            (("X-Amz-Expires=60", "X-Amz-Expires=61"), "SignatureDoesNotMatch"),
            (("X-Amz-Expires=60", "X-Amz-Expires=9999999"), "IncompleteSignature"),
            (("X-Amz-Expires=60", "X-Amz-Expired=60"), "IncompleteSignature"),
        ],
    )
    def test_what_was_changed_is_refused(self, cloud: Running, change: tuple[str, str], code: str) -> None:
        url = presigned(cloud)
        assert change[0] in url
        assert f"<Code>{code}</Code>" in sent(cloud, "GET", url.replace(*change), "", {})[1]


class TestStrangers:
    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "169.254.169.254"]
    )
    @pytest.mark.parametrize("path", ["/", "/_localcloud/health", "/_localcloud/faults"])
    def test_another_name_is_refused_whoever_signs(self, cloud: Running, host: str, path: str) -> None:
        url = f"http://{host.format(port=cloud.server.port)}{path}"
        request = AWSRequest("POST", url, data=WHO, headers=dict(FORM))
        SigV4Auth(Credentials(cloud.key.access_key, cloud.key.secret_key), "sts", REGION).add_auth(request)
        headers = {**dict(request.headers.items()), "Host": host.format(port=cloud.server.port)}
        status, answer = sent(cloud, "POST", path, WHO, headers)
        assert (status, "use the endpoint" in answer) == (403, True)

    def test_localhost_is_the_cloud_s_name_too(self, cloud: Running) -> None:
        request = AWSRequest("POST", f"http://localhost:{cloud.server.port}/", data=WHO, headers=dict(FORM))
        SigV4Auth(Credentials(cloud.key.access_key, cloud.key.secret_key), "sts", REGION).add_auth(request)
        headers = {**dict(request.headers.items()), "Host": f"localhost:{cloud.server.port}"}
        assert sent(cloud, "POST", "/", WHO, headers)[0] == 200

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:{port}"])
    def test_a_web_page_is_refused(self, cloud: Running, origin: str) -> None:
        headers = {**signed(cloud, "sts", WHO), "Origin": origin.format(port=cloud.server.port)}
        status, answer = sent(cloud, "POST", "/", WHO, headers)
        assert (status, "Web pages" in answer) == (403, True)
        preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        assert sent(cloud, "OPTIONS", "/", "", preflight)[0] == 403

    @pytest.mark.parametrize("path", ["health", "status", "faults"])
    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    def test_the_cloud_s_own_paths_need_the_key(self, cloud: Running, path: str, method: str) -> None:
        url, fault = f"/_localcloud/{path}", json.dumps({"kind": "api", "times": None})
        for headers in ({"Content-Type": "text/plain"}, signed(cloud, "sts", fault)):
            status, answer = sent(cloud, method, url, fault, headers)
            assert (status, list(json.loads(answer))) == (403, ["error"])
        assert cloud.ask("/_localcloud/faults")[1] == {"faults": []}

    def test_a_signature_for_an_api_arms_no_fault(self, cloud: Running) -> None:
        request = cloud.signed("ec2", "/_localcloud/faults", "POST", b'{"kind": "api"}')
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, timeout=10)
        assert cloud.ask("/_localcloud/faults")[1] == {"faults": []}


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@given(
    query=st.dictionaries(NAMES, NAMES, max_size=4),
    body=st.binary(max_size=40),
    word=st.text("abc \t\"';,=", max_size=12).map(str.strip),
    flip=st.integers(0, 63),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_botocore_signs_is_right_and_any_change_of_it_is_not(
    query: dict[str, str], body: bytes, word: str, flip: int
) -> None:
    request = AWSRequest("POST", "http://127.0.0.1:1/", params=query, data=body, headers={"X-Amz-Word": word})
    SigV4Auth(Credentials("AKIA", "secret"), "sts", REGION).add_auth(request)
    sent_ = request.prepare()
    environ = EnvironBuilder(
        method="POST", base_url="http://127.0.0.1:1/", data=body, headers=dict(request.headers.items())
    ).get_environ()
    environ["QUERY_STRING"] = sent_.url.partition("?")[2]
    arrived = Request(environ)
    read = signature.read(arrived)
    now = datetime.datetime.now(datetime.UTC).timestamp()
    signature.verify(arrived, read, "secret", now)
    at = flip % len(read.value)
    other = read.value[:at] + ("0" if read.value[at] != "0" else "1") + read.value[at + 1 :]
    changed = {**vars(read), "value": other}
    with pytest.raises(SignatureError) as error:
        signature.verify(arrived, signature.Signature(**changed), "secret", now)
    assert error.value.fault is Fault.MISMATCH
    with pytest.raises(SignatureError):
        signature.verify(arrived, read, "Secret", now)


def test_a_key_is_random_and_nowhere_but_in_its_file(cloud: Running, tmp_path: Path) -> None:
    made = cloud.cloud.settings
    assert made.key.secret_key not in repr(made)
    made.write(tmp_path)
    assert (tmp_path / "settings.json").stat().st_mode & 0o777 == 0o600
    other = type(made)("unit", 1, made.subnet, REGION)
    assert other.key != made.key
    assert not {"local", "localcloud"} & {made.key.access_key, made.key.secret_key}
    assert made.key.secret_key.isalnum(), "a shell takes it without quotes"
    assert made.key.secret_key not in json.dumps(cloud.cloud.describe())
