# SPDX-License-Identifier: GPL-3.0-or-later
"""asg_rollout as a process with boto3, against the simulated cloud over HTTP: killed, stopped, in every strategy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.autoscaling.simulation import SimulatedCloud
from tests.contract.rollout.simulated_aws import SimulatedAws

ROOT = Path(__file__).resolve().parents[3]
QUICK = {"group": "web", "min_healthy_time": 0.3, "poll_interval": 0.2, "batch_timeout": 30}
RECORD = "boring:rollout-record"
KEYS = {
    "changed", "group", "state", "done", "plan", "replaced", "failures", "sizes", "api_calls", "lowest_in_service",
    "seconds", "diff", "msg",
}  # fmt: skip


@pytest.fixture
def aws() -> Iterator[SimulatedAws]:
    """Group "web" with three instances of version 1, and version 2 of its template."""
    cloud = SimulatedCloud(
        boot=0.5, healthy_after=0, deregistration_delay=0.2, shutdown=0.1, zones=1, start=time.time()
    )
    cloud.create_group("web", size=3, HealthCheckType="ELB", HealthCheckGracePeriod=0)
    cloud.new_template_version("web")
    with SimulatedAws(cloud) as served:
        yield served


def start(aws: SimulatedAws, **options: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ansible_collections.boring.fleet.plugins.modules.asg_rollout"],
        env={
            **os.environ,
            "AWS_ENDPOINT_URL": aws.endpoint,
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "PYTHONPATH": str(ROOT / "build" / "collections"),
        },
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": QUICK | options}))
    process.stdin.close()
    process.stdin = None
    return process


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=90)
    result: dict[str, Any] = json.loads(out.strip().splitlines()[-1]) if out.strip() else {"msg": err}
    assert set(result) >= KEYS, err
    return result


def roll(aws: SimulatedAws, **options: Any) -> dict[str, Any]:
    return end(start(aws, **options))


def until(aws: SimulatedAws, holds: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with aws.lock:
            shape = aws.cloud.shape("web")
        if holds(shape):
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that within 30 s")


def versions(shape: dict[str, Any]) -> list[str]:
    return sorted(
        one["LaunchTemplate"]["Version"] for one in shape["Instances"] if one["LifecycleState"] == "InService"
    )


def assert_as_found(aws: SimulatedAws) -> None:
    with aws.lock:
        shape = aws.cloud.shape("web")
    assert (shape["MinSize"], shape["MaxSize"], shape["DesiredCapacity"]) == (3, 3, 3)
    assert shape["SuspendedProcesses"] == []
    assert {tag["Key"] for tag in shape["Tags"]} <= {RECORD}
    assert shape["LaunchTemplate"]["Version"] == "$Latest"


STRATEGIES = pytest.mark.parametrize("strategy", ["batches", "instance_refresh"])


@STRATEGIES
def test_a_roll(aws: SimulatedAws, strategy: str) -> None:
    plan = roll(aws, state="planned", strategy=strategy)
    assert (plan["state"], plan["changed"], plan["done"], plan["lowest_in_service"]) == ("planned", True, False, 3)
    result = roll(aws, strategy=strategy)
    assert (result["state"], result["done"], result["lowest_in_service"]) == ("completed", True, 3), result["msg"]
    assert len(result["replaced"]) == 3
    assert_as_found(aws)
    again = roll(aws, strategy=strategy)
    assert (again["changed"], again["done"], again["lowest_in_service"]) == (False, True, 3)


@STRATEGIES
def test_killed_and_run_again(aws: SimulatedAws, strategy: str) -> None:
    watch = aws.cloud.watch("web")
    process = start(aws, strategy=strategy)
    until(aws, lambda shape: versions(shape).count("2") >= 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    result = roll(aws, strategy=strategy)
    assert result["state"] == "completed", result["msg"]
    until(aws, lambda shape: versions(shape) == ["2"] * 3)
    assert len(watch.launched) == 3
    assert watch.lowest_healthy == 3
    assert_as_found(aws)


@STRATEGIES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop(aws: SimulatedAws, strategy: str, number: int) -> None:
    process = start(aws, strategy=strategy)
    until(aws, lambda shape: len(shape["Instances"]) > 3)
    os.kill(process.pid, number)
    result = end(process)
    assert (result["state"], result.get("failed")) == ("aborted", True), result["msg"]
    assert signal.Signals(number).name in result["msg"]
    until(aws, lambda shape: len(shape["Instances"]) == 3)
    assert_as_found(aws)


def test_what_fails_early_returns_everything_too(aws: SimulatedAws) -> None:
    for options in (
        {"batch_size": "none"},
        {"group": "nobody"},
        {"strategy": "instance_refresh", "instances": ["i-1"]},
    ):
        result = roll(aws, **options)
        assert (result["failed"], result["state"], result["changed"]) == (True, "failed", False)
        assert set(result["sizes"]) == {"before", "during", "after"}
    assert aws.cloud.calls["CreateOrUpdateTags"] == 0
