# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose GPUs do not work says so to Auto Scaling, signed with its own role; a stand-in on loopback checks each signature by botocore."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_host import notify
from tests.fakes import auto_scaling, parameter_store


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[parameter_store.Server]:
    started = parameter_store.Server("127.0.0.1", tmp_path, auto_scaling.Handler)
    yield started
    started.shutdown()
    started.server_close()


def asked(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "asked").read_text().splitlines()]


def test_a_host_in_service_is_marked(tmp_path: Path, server: parameter_store.Server) -> None:
    (tmp_path / "state").write_text("InService")
    assert (
        notify.unhealthy(now, server.url, server.url)
        == f"{parameter_store.INSTANCE} is marked Unhealthy: its group replaces it"
    )
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
    assert said in notify.unhealthy(now, server.url, server.url)
    assert [request["Action"] for request in asked(tmp_path)] == ["DescribeAutoScalingInstances"]


def test_what_goes_wrong_is_one_sentence_without_a_secret(tmp_path: Path, server: parameter_store.Server) -> None:
    def fails(metadata: str, endpoint: str) -> str:
        with pytest.raises(notify.NotifyError) as error:
            notify.unhealthy(now, metadata, endpoint)
        words = str(error.value)
        assert "\n" not in words
        assert not [secret for secret in (parameter_store.SECRET, parameter_store.SESSION) if secret in words]
        return words

    assert "the instance metadata service does not answer" in fails("http://127.0.0.1:9", server.url)
    assert "Auto Scaling does not answer" in fails(server.url, "http://127.0.0.1:9")
    (tmp_path / "denied").touch()
    assert "Auto Scaling refused with 403: fleet-host is not authorized to perform" in fails(server.url, server.url)
    (tmp_path / "no-role").touch()
    assert "refused with 404" in fails(server.url, server.url)
