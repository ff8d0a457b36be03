# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose GPUs do not work says so to Auto Scaling, signed with its own role; a stand-in on loopback checks each signature by botocore."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Answer, http_request
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError
from gpu_host import notify
from tests.fakes import auto_scaling, parameter_store


@pytest.fixture
def server(tmp_path: Path) -> Iterator[parameter_store.Server]:
    started = parameter_store.Server("127.0.0.1", tmp_path, auto_scaling.Handler)
    yield started
    started.shutdown()
    started.server_close()


def notified(metadata: str, endpoint: str, **told: str) -> str:
    return notify.unhealthy({"endpoint": endpoint, **told}, time.monotonic, time.time, metadata)


def asked(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "asked").read_text().splitlines()]


def test_a_host_in_service_is_marked(tmp_path: Path, server: parameter_store.Server) -> None:
    (tmp_path / "state").write_text("InService")
    assert notified(server.url, server.url) == f"{parameter_store.INSTANCE} is marked Unhealthy: its group replaces it"
    assert asked(tmp_path)[1:] == [
        {"Action": "SetInstanceHealth", "Version": "2011-01-01", "InstanceId": parameter_store.INSTANCE,
         "HealthStatus": "Unhealthy", "ShouldRespectGracePeriod": "false"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("Pending:Wait", "is Pending:Wait: the launch hook decides"),
        ("", "belongs to no Auto Scaling group: nobody replaces it"),
    ],
)
def test_others_are_left_alone(tmp_path: Path, server: parameter_store.Server, state: str, said: str) -> None:
    if state:
        (tmp_path / "state").write_text(state)
    assert said in notified(server.url, server.url)
    assert [request["Action"] for request in asked(tmp_path)] == ["DescribeAutoScalingInstances"]


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ({}, f"https://autoscaling.eu-central-1.{parameter_store.DOMAIN}/"),
        ({"region": "cn-north-1"}, f"https://autoscaling.cn-north-1.{parameter_store.DOMAIN}/"),
        ({"endpoint": "http://10.0.0.1:5"}, "http://10.0.0.1:5/"),
    ],
)
def test_where_auto_scaling_is(server: parameter_store.Server, told: dict[str, str], address: str) -> None:
    """In the partition of the instance, as in China, or where the host was given that it is, as in the local cloud."""
    urls: list[str] = []

    def http(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        if method != "POST":
            return http_request(method, url, headers, body)
        urls.append(url)
        return Answer(200, b"<Response/>")

    assert "no Auto Scaling group" in notify.unhealthy(told, time.monotonic, time.time, server.url, http)
    assert urls == [address]


def test_what_goes_wrong_is_one_sentence_without_a_secret(tmp_path: Path, server: parameter_store.Server) -> None:
    def fails(metadata: str, endpoint: str) -> str:
        with pytest.raises(HostError) as error:
            notified(metadata, endpoint)
        words = str(error.value)
        assert "\n" not in words
        assert not [secret for secret in (parameter_store.SECRET, parameter_store.SESSION) if secret in words]
        return words

    assert "the instance metadata service does not answer" in fails("http://127.0.0.1:9", server.url)
    assert "http://127.0.0.1:9/ does not answer" in fails(server.url, "http://127.0.0.1:9")
    (tmp_path / "denied").touch()
    assert "was refused with AccessDenied: fleet-host is not authorized to perform" in fails(server.url, server.url)
    (tmp_path / "no-role").touch()
    assert "this instance has no role" in fails(server.url, server.url)
