# SPDX-License-Identifier: GPL-3.0-or-later
"""strategy=instance_refresh: AWS rolls, and what comes back is as with batches."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import parse_policy
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError, Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match
from tests.unit.plugins.module_utils.rollout.test_parts import DEFAULTS

TO_2 = Template("", "web", "2")


def _world(world: Any, size: int = 4, **options: Any) -> Any:
    return world(size, **{"HealthCheckType": "ELB", "HealthCheckGracePeriod": 0, **options})


def _roll(w: Any, state: str = "completed", **options: Any) -> Any:
    return w.roll(state, refreshes=True, **options)


def _refreshes(w: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = w.cloud.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName="web")[
        "InstanceRefreshes"
    ]
    return rows


def _preferences(w: Any, **options: Any) -> dict[str, Any]:
    _roll(w, **options)
    return next(c.params["Preferences"] for c in w.cloud.log if c.operation == "StartInstanceRefresh")


def test_it_starts_waits_and_reports_alike(world: Any) -> None:
    w = _world(world)
    result = _roll(w)
    assert (result.state, result.failed, result.done, result.changed) == ("completed", False, True, True), (
        result.message
    )
    assert w.versions == ["2"] * 4
    assert w.watch.lowest_healthy == 4 == result.lowest_in_service
    pairs = result.as_dict()["replaced"]
    assert len({pair["old"] for pair in pairs}) == len({pair["new"] for pair in pairs}) == 4
    assert {pair["new"] for pair in pairs} == set(w.watch.launched)
    assert all(pair["seconds"] > 0 for pair in pairs)
    w.assert_as_found()
    assert w.tags == {TAG_RECORD}
    assert _refreshes(w)[0]["Status"] == "Successful"
    assert result.api_calls["StartInstanceRefresh"] == 1
    assert {event["event"] for event in w.events} >= {"plan", "instance", "capacity", "finish"}
    w.forget_calls()
    again = _roll(w)
    assert (again.state, again.changed, w.writes) == ("completed", False, [])


def test_options_become_preferences(world: Any) -> None:
    assert _preferences(_world(world)) == {
        "MinHealthyPercentage": 100,
        "MaxHealthyPercentage": 125,
        "InstanceWarmup": 10,
        "SkipMatching": True,
        "ScaleInProtectedInstances": "Refresh",
        "StandbyInstances": "Ignore",
    }
    found = _preferences(
        _world(world),
        batch_size=2,
        max_unavailable=1,
        canary=0,
        protected="skip",
        standby="replace",
        min_healthy_time=30.5,
    )
    assert (found["MinHealthyPercentage"], found["MaxHealthyPercentage"], found["InstanceWarmup"]) == (75, 125, 31)
    assert (found["ScaleInProtectedInstances"], found["StandbyInstances"]) == ("Ignore", "Terminate")
    found = _preferences(_world(world), batch_size=2)
    assert (found["CheckpointPercentages"], found["CheckpointDelay"]) == ([25, 100], 10), "the canary"
    found = _preferences(_world(world), batch_size=2, bake_time=60.0, canary=0)
    assert (found["CheckpointPercentages"], found["CheckpointDelay"]) == ([50, 100], 60)
    assert _preferences(_world(world, 1))["MaxHealthyPercentage"] == 200, "a group of one is launched ahead as well"


@pytest.mark.parametrize("size", [1, 3, 10])
def test_capacity_never_falls_with_max_unavailable_0(world: Any, size: int) -> None:
    w = _world(world, size)
    assert not _roll(w, batch_size="50%").failed
    assert w.watch.lowest_healthy == size


def test_match_all_replaces_what_matches(world: Any) -> None:
    w = _world(world, 2, new_version=False)
    w.settle(60)
    result = _roll(w, match=Match.ALL)
    assert (result.state, len(result.replaced)) == ("completed", 2)
    assert len(w.watch.launched) == 2


def test_the_template_that_is_asked_for_becomes_the_groups(world: Any) -> None:
    w = _world(world, version="1")
    result = _roll(w, template=TO_2)
    assert result.state == "completed", result.message
    assert w.versions == ["2"] * 4
    assert w.group["LaunchTemplate"]["Version"] == "2"
    w.forget_calls()
    back = _roll(w, "rolled_back")
    assert (back.state, back.failed) == ("rolled_back", False), back.message
    assert w.versions == ["1"] * 4
    assert w.group["LaunchTemplate"]["Version"] == "1"
    assert w.tags == {TAG_RECORD}


def test_the_floating_version_is_pinned_and_superseded_is_told(world: Any) -> None:
    w = _world(world)
    w.cloud.at(150, lambda: w.cloud.new_template_version("web"))
    result = _roll(w)
    assert (result.state, result.done) == ("superseded", False)
    assert w.versions == ["2"] * 4
    assert w.group["LaunchTemplate"]["Version"] == "$Latest"


def test_planned_writes_nothing_and_says_what_to_expect(world: Any) -> None:
    w = world(3)
    plan = _roll(w, "planned")
    assert w.writes == []
    assert plan.changed
    assert any("HealthCheckType" in text for text in plan.warnings)


@pytest.mark.parametrize(
    "given",
    [
        {"state": "advanced"},
        {"health_checks": [{"type": "tcp", "port": 80}]},
        {"drain": {"type": "http", "port": 80}},
        {"instances": ["i-0abc"]},
        {"match": "age", "max_age": 60.0},
    ],
    ids=["advanced", "health_checks", "drain", "instances", "age"],
)
def test_what_it_cannot_honour_is_refused_by_name(given: dict[str, Any]) -> None:
    name = "match=age" if "match" in given else next(iter(given))
    with pytest.raises(RolloutError, match=name):
        parse_policy({**DEFAULTS, "strategy": "instance_refresh", **given})
    assert parse_policy({**DEFAULTS, **given})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rollback": True}, "on_failure=rollback"),
        ({"rollback": True, "template": TO_2}, "on_failure=rollback"),
        ({"bake_time": 5.0}, "bake_time"),
        ({"batch_size": 20}, "canary=1"),
    ],
)
def test_what_this_group_does_not_allow_is_refused_by_name(world: Any, options: dict[str, Any], named: str) -> None:
    w = _world(world, 150)
    result = _roll(w, **options)
    assert result.failed
    assert named in result.message
    assert w.writes == []


def test_a_suspended_instance_refresh_process_is_refused(world: Any) -> None:
    w = _world(world)
    w.cloud.client("autoscaling").suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["InstanceRefresh"])
    w.forget_calls()
    result = _roll(w)
    assert "InstanceRefresh" in result.message
    assert w.writes == []


def test_somebody_elses_refresh_refuses(world: Any) -> None:
    w = _world(world)
    w.cloud.client("autoscaling").start_instance_refresh(AutoScalingGroupName="web")
    w.forget_calls()
    result = _roll(w)
    assert result.failed
    assert "instance refresh" in result.message
    assert w.writes == []


def test_a_launch_that_aws_refuses_for_good_cancels_it(world: Any) -> None:
    w = _world(world)
    w.cloud.templates.missing_images.add(f"ami-{2:017x}")
    result = _roll(w)
    assert (result.state, result.failed) == ("failed", True)
    assert "does not exist" in result.message
    assert result.failures[0].reason
    assert _refreshes(w)[0]["Status"] == "Cancelled"
    w.settle()
    w.assert_as_found()
    assert w.versions == ["1"] * 4


def test_new_ones_that_never_get_healthy_cancel_it_after_batch_timeout(world: Any) -> None:
    w = _world(world)
    w.cloud.faults.add({"kind": "boot", "outcome": "hang", "times": None})
    result = _roll(w, batch_timeout=200.0)
    assert (result.state, result.failed) == ("failed", True)
    assert "batch_timeout" in result.message
    assert w.watch.lowest_healthy == 4
    assert w.tags == {TAG_RECORD}


def test_too_many_failures_are_rolled_back_by_aws(world: Any) -> None:
    w = _world(world, version="1")
    w.cloud.at(120, lambda: w.cloud.faults.add({"kind": "boot", "outcome": "die", "times": 1}))
    result = _roll(w, template=TO_2, rollback=True, max_failures=0)
    assert (result.state, result.failed) == ("rolled_back", True), result.message
    assert "max_failures" in result.message
    assert result.api_calls["RollbackInstanceRefresh"] == 1
    assert w.versions == ["1"] * 4
    assert w.group["LaunchTemplate"]["Version"] == "1"
    assert w.watch.lowest_healthy == 4
    assert w.tags == {TAG_RECORD}


def test_awss_own_failure_tells_its_reason(world: Any) -> None:
    w = _world(world)

    def fail() -> None:
        refresh = w.cloud.autoscaling.group("web", "eu-central-1").refreshes[0]
        refresh.status, refresh.reason = "Failed", "An alarm went off."

    w.cloud.at(130, fail)
    result = _roll(w)
    assert (result.state, result.failed) == ("failed", True)
    assert "An alarm went off." in result.message
    assert result.failures[0].reason == "An alarm went off."
    assert w.tags == {TAG_RECORD}


def test_somebody_cancels_it(world: Any) -> None:
    w = _world(world)
    w.cloud.at(130, lambda: w.cloud.client("autoscaling").cancel_instance_refresh(AutoScalingGroupName="web"))
    result = _roll(w)
    assert (result.state, result.failed) == ("aborted", True)
    assert "somebody cancelled" in result.message


@pytest.mark.parametrize("moment", [1, 60, 130, 300])
def test_a_signal_cancels_it(world: Any, moment: float) -> None:
    w = _world(world)
    end = w.cloud.now() + moment
    result = _roll(w, stopped=lambda: "stopped by SIGTERM" if w.cloud.now() >= end else "")
    assert (result.state, result.failed) == ("aborted", True), result.message
    assert "SIGTERM" in result.message
    w.settle()
    w.assert_as_found()
    assert w.watch.lowest_healthy == 4
    assert _refreshes(w)[0]["Status"] == "Cancelled"


def test_an_abort_cancels_what_was_left_behind(world: Any) -> None:
    calls = _roll(_world(world)).api_calls.total()
    for number in range(6, calls, 3):
        w = _world(world)
        w.killed_at(number, after=True, owner="first", refreshes=True)
        if TAG_JOURNAL not in w.tags:
            continue
        result = w.roll("aborted", owner="second", dead=["first"])  # whatever the strategy is that it is called with
        assert (result.state, result.failed) == ("aborted", False), result.message
        w.settle()
        w.assert_as_found()
        assert all(row["Status"] in ("Cancelled", "Successful") for row in _refreshes(w)), number


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_call_it_goes_on_with_its_own_refresh(world: Any, after: bool) -> None:
    calls = _roll(_world(world, 2)).api_calls.total()
    for number in range(1, calls + 1):
        w = _world(world, 2)
        call = w.killed_at(number, after=after, owner="first", refreshes=True)
        assert call is not None
        where = f"{number} {call.operation}"
        result = _roll(w, owner="second", dead=["first"])
        assert not result.failed, f"{where}: {result.message}"
        assert w.versions == ["2"] * 2, where
        assert len(w.watch.launched) == 2, where
        assert len(_refreshes(w)) == 1, where
        w.assert_as_found()
        assert w.watch.lowest_healthy == 2


def test_a_killed_one_can_be_rolled_back(world: Any) -> None:
    for number in (14, 24, 34):
        w = _world(world, 3, version="1")
        w.killed_at(number, after=True, owner="first", refreshes=True, template=TO_2)
        result = _roll(w, "rolled_back", owner="second", dead=["first"])
        assert (result.state, result.failed) == ("rolled_back", False), result.message
        w.settle()
        assert w.versions == ["1"] * 3
        assert w.group["LaunchTemplate"]["Version"] == "1"
        assert w.tags == {TAG_RECORD}
        assert w.watch.lowest_healthy == 3


def test_a_start_without_answer_is_not_made_twice(world: Any) -> None:
    for lost_before in (True, False):
        w = _world(world, 2)
        lost: list[str] = []

        def lose(call: Any, lost: list[str] = lost) -> None:
            if call.operation == "StartInstanceRefresh" and not lost:
                lost.append(call.operation)
                raise ReadTimeoutError(endpoint_url="http://127.0.0.1")

        (w.cloud.before_call if lost_before else w.cloud.after_call).append(lose)
        assert _roll(w).state == "completed"
        assert len(_refreshes(w)) == 1
        assert len(w.watch.launched) == 2


def test_a_roll_in_batches_that_was_left_behind_is_not_taken_up_by_a_refresh(world: Any) -> None:
    w = _world(world)
    w.killed_at(16, after=True, owner="first")
    w.forget_calls()
    result = _roll(w, owner="second", dead=["first"])
    assert result.failed
    assert "strategy=batches" in result.message
    assert w.writes == []


def test_a_lock_of_somebody_who_lives_is_respected(world: Any) -> None:
    w = _world(world)
    w.killed_at(16, after=True, owner="first", refreshes=True)
    w.forget_calls()
    result = _roll(w, owner="second")
    assert result.failed
    assert "first" in result.message
    assert w.writes == []


def test_a_refresh_that_aws_does_not_start_leaves_the_group_as_it_was(world: Any) -> None:
    w = _world(world)
    w.cloud.faults.add({"kind": "api", "operation": "StartInstanceRefresh", "code": "AccessDenied", "message": "no"})
    result = _roll(w)
    assert (result.state, result.failed) == ("failed", True)
    assert "autoscaling:StartInstanceRefresh" in result.message
    w.assert_as_found()
    assert w.tags <= {TAG_RECORD}
