# SPDX-License-Identifier: GPL-3.0-or-later
"""Guarantee 4: killed between any two API calls, before or after the call took effect, a roll ends in the same state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL
from localcloud.autoscaling.simulation import SimulatedCloud

CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "one by one": (3, {}),
    "a group of one": (1, {}),
    "canary, then two": (5, {"batch_size": 2}),
    "three at once": (5, {"batch_size": 3, "canary": 0}),
    "terminate first": (3, {"max_unavailable": 1}),
    "both": (4, {"batch_size": 2, "max_unavailable": 1}),
    "baked": (3, {"bake_time": 20.0}),
    "baked, with slack": (3, {"bake_time": 20.0, "batch_size": 3, "max_unavailable": 1, "canary": 0}),
    "one batch": (4, {"state": "advanced", "batch_size": 2, "canary": 0}),
}


def _world(world: Any, size: int, zones: int = 3) -> Any:
    return world(size, cloud=SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15, zones=zones))


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
@pytest.mark.parametrize("by", [2, -1])
def test_a_policy_between_the_kill_and_the_next_run_counts_by_its_difference(world: Any, after: bool, by: int) -> None:
    def start() -> Any:
        cloud = SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15)
        return world(3, cloud=cloud, MinSize=1, MaxSize=9)

    calls = start().roll().api_calls.total()
    for number in range(1, calls + 1):
        w = start()
        call = w.killed_at(number, after=after, owner="first")
        assert call is not None
        w.cloud.scale_by_policy("web", by)
        result = w.roll(owner="second", dead=["first"])
        assert not result.failed, f"{number} {call.operation}: {result.message}"
        w.settle(300)
        assert w.sizes == (1, 9, 3 + by), f"{number} {call.operation}: {w.sizes}"
        assert set(w.versions) == {"2"}
        assert w.watch.lowest_healthy >= min(3, 3 + by)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_schedule_between_the_kill_and_the_next_run_wins(world: Any, after: bool) -> None:
    calls = _world(world, 3).roll().api_calls.total()
    for number in range(1, calls + 1):
        w = _world(world, 3)
        call = w.killed_at(number, after=after, owner="first")
        assert call is not None
        w.cloud.scale_by_schedule("web", low=2, high=7, desired=5)
        result = w.roll(owner="second", dead=["first"])
        assert not result.failed, f"{number} {call.operation}: {result.message}"
        w.settle(300)
        assert w.sizes == (2, 7, 5), f"{number} {call.operation}: {w.sizes}"
        assert set(w.versions) == {"2"}
        assert w.watch.lowest_healthy >= 3


def _completed(world: Any) -> Any:
    """Rolled from version 1 to version 2, both by number."""
    w = world(4, version="1", zones=3, cloud=SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15))
    assert w.roll(template=Template("", "web", "2"), batch_size=2).state == "completed"
    w.settle(300)
    return w


def _half_way(world: Any) -> Any:
    """A roll of five that was killed when one was replaced and two were booting."""
    w = _world(world, 5)
    w.cloud.handle(
        "autoscaling", "SuspendProcesses", {"AutoScalingGroupName": "web", "ScalingProcesses": ["ScheduledActions"]}
    )
    call = w.killed_at(16, after=True, owner="nobody", batch_size=2)
    assert call is not None
    assert TAG_JOURNAL in w.tags
    return w


def _bad_version(world: Any) -> Any:
    """No instance that is launched from now on passes a health check."""
    w = world(3, version="1", zones=3, cloud=SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15))
    w.cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": None})
    return w


TO_2 = Template("", "web", "2")
OTHERS: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "rolled_back": (_completed, {"state": "rolled_back", "batch_size": 2}),
    "rolled_back of half a roll": (_half_way, {"state": "rolled_back"}),
    "aborted": (_half_way, {"state": "aborted"}),
    "taken up": (_half_way, {"batch_size": 2}),
    "on_failure: rollback": (
        _bad_version,
        {"template": TO_2, "rollback": True, "max_failures": 0, "batch_timeout": 60.0},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_every_other_state_resumes_too(world: Any, name: str, after: bool) -> None:
    prepare, options = OTHERS[name]
    whole = prepare(world)
    whole.forget_calls()
    uninterrupted = whole.roll(owner="first", dead=["nobody"], **options)
    expected, launched = _end(whole), len(whole.watch.launched)
    for number in range(1, uninterrupted.api_calls.total() + 1):
        w = prepare(world)
        w.forget_calls()
        call = w.killed_at(number, after=after, owner="first", dead=["nobody"], **options)
        assert call is not None, f"there was no call {number}"
        where = f"killed {'after' if after else 'before'} call {number}, {call.operation}"
        left = TAG_JOURNAL in w.tags
        w.cloud.sleep(7)
        result = w.roll(owner="second", dead=["nobody", "first"], **options)
        assert result.failed == (uninterrupted.failed and result.state == uninterrupted.state), (
            f"{where}: {result.message}"
        )
        assert _end(w) == expected, where
        assert len(set(w.watch.terminated)) == len(w.watch.terminated), where
        assert w.watch.lowest_healthy >= w.size, where
        if left:  # a new roll of a version that cannot work tries it once more
            assert len(w.watch.launched) == launched, where


@pytest.mark.parametrize("name", CASES)
def test_a_signal_at_any_call_leaves_the_group_as_found(world: Any, name: str) -> None:
    size, options = CASES[name]
    whole = _world(world, size, zones=1)
    calls = whole.roll(**options).api_calls.total()
    for number in range(1, calls + 1):
        w = _world(world, size, zones=1)
        result = w.roll(stopped=lambda w=w, k=number: "stopped by SIGINT" if len(w.cloud.log) >= k else "", **options)
        where = f"signal at call {number}: {result.state}, {result.message}"
        w.assert_as_found()
        assert w.sizes == (size, size, size), where
        assert result.state in ("completed", "advanced") or "SIGINT" in result.message, where
        assert len(set(w.watch.terminated)) == len(w.watch.terminated), where
        w.settle(300)
        assert w.watch.lowest_healthy >= size - options.get("max_unavailable", 0), where
        assert len(w.versions) == size, where
