# SPDX-License-Identifier: GPL-3.0-or-later
"""Guarantee 4: killed between any two API calls, before or after the call took effect, a roll ends in the same state."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.journal import TAG_JOURNAL
from localcloud.autoscaling.simulation import SimulatedCloud

CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "one by one": (3, {}),
    "a group of one": (1, {}),
    "canary, then two": (5, {"batch_size": 2}),
    "three at once": (5, {"batch_size": 3, "canary": 0}),
    "terminate first": (3, {"max_unavailable": 1}),
    "both": (4, {"batch_size": 2, "max_unavailable": 1}),
    "baked": (3, {"bake_time": 20.0}),
    "one batch": (4, {"state": "advanced", "batch_size": 2, "canary": 0}),
}


def _world(world: Any, size: int) -> Any:
    return world(size, zones=3, cloud=SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15))


def _end(w: Any) -> Any:
    w.settle(300)
    states = {instance["LifecycleState"] for instance in w.group["Instances"]}
    return w.sizes, w.suspended, w.tags, w.versions, states, w.group["LaunchTemplate"]["Version"]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_call_it_resumes(world: Any, name: str, after: bool) -> None:
    size, options = CASES[name]
    whole = _world(world, size)
    calls = whole.roll(**options).api_calls.total()
    expected = _end(whole)
    launched = len(whole.watch.launched)
    slack = options.get("max_unavailable", 0)
    for number in range(1, calls + 1):
        w = _world(world, size)
        call = w.killed_at(number, after=after, owner="first", **options)
        assert call is not None, f"there was no call {number}"
        where = f"killed {'after' if after else 'before'} call {number}, {call.operation}"
        w.cloud.sleep(7)
        if options.get("state") == "advanced" and w.versions.count("2") >= options["batch_size"] and not w.tags:
            continue
        result = w.roll(owner="second", dead=["first"], **options)
        assert not result.failed, f"{where}: {result.message}"
        if options.get("state") == "advanced":
            w.settle(300)
            assert (w.sizes, w.suspended) == (expected[0], expected[1]), where
        else:
            assert _end(w) == expected, where
            assert len(w.watch.launched) == launched, where
        assert len(set(w.watch.terminated)) == len(w.watch.terminated), where
        assert w.watch.lowest_healthy >= size - slack, where


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_while_it_stops_a_bad_version(world: Any, after: bool) -> None:
    def start() -> Any:
        w = _world(world, 3)
        w.cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": None})
        return w

    options: dict[str, Any] = {"max_failures": 0, "batch_timeout": 60.0}
    calls = start().roll(**options).api_calls.total()
    for number in range(8, calls + 1):
        w = start()
        call = w.killed_at(number, after=after, owner="first", **options)
        assert call is not None
        result = w.roll("aborted", owner="second", dead=["first"])
        assert not result.failed, f"{number} {call.operation}: {result.message}"
        w.settle(300)
        assert w.versions == ["1"] * 3, f"{number} {call.operation}"
        w.assert_as_found()
        assert w.watch.lowest_healthy == 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_scale_out_between_the_kill_and_the_next_run_survives(world: Any, after: bool) -> None:
    calls = _world(world, 3).roll().api_calls.total()
    for number in range(1, calls + 1):
        w = _world(world, 3)
        call = w.killed_at(number, after=after, owner="first")
        assert call is not None
        journal = next((tag["Value"] for tag in w.group["Tags"] if tag["Key"] == TAG_JOURNAL), "owner=")
        cut_off = "pending=1" in journal and "surge=" not in journal and w.group["DesiredCapacity"] == 3
        applied = w.group["DesiredCapacity"]
        w.cloud.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName="web", MaxSize=9)
        w.cloud.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=applied + 2)
        result = w.roll(owner="second", dead=["first"])
        assert not result.failed, f"{number} {call.operation}: {result.message}"
        w.settle(300)
        if not cut_off:  # whether a raise happened that was cut off cannot be told when the sizes changed as well
            assert w.sizes[2] == 5, f"{number} {call.operation}: {w.sizes}"
        assert set(w.versions) == {"2"}
        assert w.watch.lowest_healthy >= 3
