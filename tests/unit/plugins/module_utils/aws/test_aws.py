# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients from options, and errors as one sentence."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError, UnansweredError, explain
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import Aws, AwsOptions


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


KEYS = {"access_key": "a", "secret_key": "hush", "region": "eu-central-1"}


def _refusal(code: str, message: str = "no", status: int = 400) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "TerminateInstanceInAutoScalingGroup")


def test_every_client_has_deadlines_and_the_endpoint() -> None:
    aws = Aws(AwsOptions.from_params({**KEYS, "endpoint_url": "http://127.0.0.1:9"}), attempts=1)
    client = aws.client("autoscaling")
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (10.0, 60.0)
    assert config.retries["total_max_attempts"] == 1
    assert client.meta.endpoint_url == "http://127.0.0.1:9"
    assert aws.client("autoscaling") is client
    assert aws.region == "eu-central-1"


def test_the_environment_names_endpoint_and_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4577")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    client = Aws(AwsOptions.from_params({"access_key": "a", "secret_key": "b"})).client("ec2")
    assert client.meta.endpoint_url == "http://127.0.0.1:4577"
    assert client.meta.region_name == "eu-west-1"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"access_key": "a"}, "secret_key"),
        ({"secret_key": "a"}, "access_key"),
        ({"access_key": "a", "secret_key": "b", "profile": "c"}, "profile"),
    ],
)
def test_half_given_credentials_are_refused(given: dict[str, str], named: str) -> None:
    with pytest.raises(AwsError, match=named):
        AwsOptions.from_params(given)


def test_a_secret_is_not_shown() -> None:
    assert "hush" not in repr(AwsOptions.from_params(KEYS))


def test_no_region_no_profile_no_credentials_are_sentences() -> None:
    with pytest.raises(AwsError, match="region"):
        Aws(AwsOptions()).client("autoscaling")
    with pytest.raises(AwsError, match="nobody"):
        Aws(AwsOptions(profile="nobody"))
    with pytest.raises(AwsError, match="no AWS credentials"):
        try:
            Aws(AwsOptions(region="eu-central-1"), attempts=1).client("autoscaling").describe_auto_scaling_groups()
        except Exception as exc:
            raise explain(exc) from exc


def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(AwsError, match="pip install boto3"):
        Aws(AwsOptions())


def test_an_endpoint_that_nobody_serves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    aws = Aws(AwsOptions.from_params({**KEYS, "endpoint_url": f"http://127.0.0.1:{port}"}), attempts=1)
    with pytest.raises(UnansweredError, match="did not answer"):
        try:
            aws.client("autoscaling").describe_auto_scaling_groups()
        except Exception as exc:
            raise explain(exc, service="autoscaling", operation="DescribeAutoScalingGroups") from exc


def test_a_missing_permission_names_the_iam_action() -> None:
    error = explain(_refusal("AccessDenied"), service="autoscaling", doing="terminate i-1")
    assert error.denied
    assert "autoscaling:TerminateInstanceInAutoScalingGroup" in str(error)
    assert str(error).startswith("cannot terminate i-1")
    denied = explain(_refusal("AccessDenied"), service="elbv2", operation="DescribeTargetHealth")
    assert "elasticloadbalancing:DescribeTargetHealth" in str(denied)


@pytest.mark.parametrize(
    ("code", "status", "throttled", "busy"),
    [
        ("Throttling", 400, True, False),
        ("RequestLimitExceeded", 503, True, True),
        ("ResourceContention", 400, False, True),
        ("ScalingActivityInProgress", 400, False, True),
        ("SomethingBroke", 500, False, True),
        ("ValidationError", 400, False, False),
    ],
)
def test_what_may_be_tried_again(code: str, status: int, throttled: bool, busy: bool) -> None:
    error = explain(_refusal(code, status=status))
    assert (error.throttled, error.busy) == (throttled, busy)


def test_expired_credentials_are_named() -> None:
    assert "renew" in str(explain(_refusal("ExpiredToken", "The security token included in the request is expired")))


def test_awss_words_stay() -> None:
    error = explain(_refusal("ValidationError", "Instance Id not found"), doing="terminate i-1")
    assert str(error) == "cannot terminate i-1: Instance Id not found (ValidationError)"
    assert (error.text, error.code) == ("Instance Id not found", "ValidationError")
