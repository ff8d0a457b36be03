# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong during a roll, and what it makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD


def _unhealthy(w: Any, times: int | None = None) -> None:
    w.cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": times})


def test_a_bad_version_stops_with_the_old_ones_serving_and_the_sizes_restored(world: Any) -> None:
    w = world(3)
    _unhealthy(w)
    result = w.roll(max_failures=0, batch_timeout=300.0)
    assert (result.failed, result.state, result.done) == (True, "failed", False)
    assert len(w.watch.launched) == 1, "one bad instance is enough"
    assert w.watch.lowest_healthy == 3
    assert result.replaced == ()
    failed = result.failures[0]
    assert failed.instance_id == w.watch.launched[0]
    assert "Target.FailedHealthChecks" in failed.reason
    assert failed.instance_id in result.message
    assert "min 3, max 3, desired 3" in result.message
    assert "3 on launch template web version 1" in result.message
    w.settle()
    assert w.versions == ["1"] * 3
    w.assert_as_found()


def test_a_bad_version_half_way_keeps_what_was_replaced(world: Any) -> None:
    w = world(4)
    w.cloud.at(230, lambda: _unhealthy(w))
    result = w.roll(max_failures=0, batch_timeout=300.0)
    assert result.failed
    assert 1 <= len(result.replaced) < 4
    w.settle()
    assert w.versions == sorted(["1"] * (4 - len(result.replaced)) + ["2"] * len(result.replaced))
    assert w.watch.lowest_healthy == 4
    w.assert_as_found()


def test_failures_within_the_budget_are_replaced(world: Any) -> None:
    w = world(3)
    _unhealthy(w, times=1)
    result = w.roll(max_failures=1, batch_timeout=300.0)
    assert result.state == "completed"
    assert len(result.failures) == 1
    assert len(w.watch.launched) == 4
    assert w.watch.lowest_healthy == 3
    w.assert_as_found()


def test_an_instance_that_dies_at_boot_is_a_failure_with_awss_words(world: Any) -> None:
    w = world(3)
    w.cloud.faults.add({"kind": "boot", "outcome": "die", "times": None})
    result = w.roll(max_failures=0)
    assert result.failed
    assert "Instance became unhealthy while waiting for instance to be in InService state" in result.failures[0].reason
    w.settle()
    assert w.versions == ["1"] * 3
    w.assert_as_found()


def test_a_boot_that_hangs_is_given_up_after_batch_timeout(world: Any) -> None:
    w = world(3)
    w.cloud.faults.add({"kind": "boot", "outcome": "hang", "times": 1})
    result = w.roll(max_failures=1, batch_timeout=200.0)
    assert result.state == "completed"
    assert "Pending" in result.failures[0].reason
    w.assert_as_found()


def test_a_launch_that_aws_refuses_for_good_fails_at_once_with_its_words(world: Any) -> None:
    w = world(3)
    w.cloud.templates.missing_images.add(f"ami-{2:017x}")
    result = w.roll()
    assert result.failed
    assert result.seconds < 60
    assert "InvalidAMIID.NotFound" in result.message or "does not exist" in result.message
    assert result.failures[0].reason
    assert w.versions == ["1"] * 3
    w.settle()
    assert w.versions == ["1"] * 3
    w.assert_as_found()


def test_capacity_that_comes_back_is_waited_for(world: Any) -> None:
    w = world(3)
    w.cloud.faults.add({"kind": "launch", "times": 5})
    result = w.roll()
    assert result.state == "completed"
    assert w.versions == ["2"] * 3
    assert w.watch.lowest_healthy == 3
    w.assert_as_found()


def test_capacity_that_never_comes_fails_after_batch_timeout_with_awss_words(world: Any) -> None:
    w = world(3)
    w.cloud.faults.add({"kind": "launch", "times": None})
    result = w.roll(batch_timeout=600.0)
    assert result.failed
    assert 600 <= result.seconds < 720
    assert "sufficient capacity" in result.message
    w.cloud.faults.clear()
    w.settle()
    assert w.versions == ["1"] * 3
    w.assert_as_found()


def test_throttling_never_fails_a_roll_that_has_time(world: Any) -> None:
    w = world(3)
    for seconds in (0, 50, 120, 200, 310):
        w.cloud.at(seconds, lambda: w.cloud.faults.add({"kind": "api", "times": 6}))
    result = w.roll()
    assert result.state == "completed"
    assert len(w.watch.launched) == 3
    w.assert_as_found()


def test_descriptions_that_lag_behind_change_nothing(world: Any) -> None:
    w = world(4)
    w.cloud.faults.add({"kind": "lag", "seconds": 25})
    result = w.roll(batch_size=2)
    assert result.state == "completed"
    assert len(w.watch.launched) == 4
    assert w.watch.lowest_healthy == 4
    w.cloud.faults.clear()
    w.settle()
    assert w.versions == ["2"] * 4
    w.assert_as_found()


@pytest.mark.parametrize("moment", [2, 60, 95, 115, 190, 310, 325])
def test_a_scale_out_meanwhile_survives(world: Any, moment: float) -> None:
    w = world(3, MaxSize=10)

    w.cloud.at(moment, lambda: w.cloud.scale_by_policy("web", 2))
    result = w.roll()
    assert result.state == "completed"
    w.settle()
    assert w.sizes == (3, 10, 5)
    assert w.versions == ["2"] * 5
    assert len(w.watch.launched) == 5
    assert w.watch.lowest_healthy >= 3


@pytest.mark.parametrize("moment", [2, 60, 95, 115, 190, 310])
def test_a_scale_in_meanwhile_survives(world: Any, moment: float) -> None:
    w = world(4, MinSize=1)

    w.cloud.at(moment, lambda: w.cloud.scale_by_policy("web", -1))
    result = w.roll()
    assert result.state == "completed", result.message
    w.settle()
    assert w.sizes == (1, 4, 3)
    assert w.versions == ["2"] * 3


@pytest.mark.parametrize("moment", [30, 95, 150, 210])
@pytest.mark.parametrize("which", ["old", "new"])
def test_an_instance_that_somebody_kills_is_taken_in_stride(world: Any, moment: float, which: str) -> None:
    w = world(4)

    def kill() -> None:
        serving = w.cloud.in_service("web")
        picked = [name for name in serving if (name in w.watch.launched) == (which == "new")]
        if picked:
            w.cloud.kill(picked[-1])
            w.cloud.at(10, w.cloud.autoscaling.look_at_health)

    w.cloud.at(moment, kill)
    result = w.roll(batch_size=2)
    assert result.state == "completed", result.message
    w.settle()
    assert w.versions == ["2"] * 4
    w.assert_as_found()


def test_a_hand_made_termination_is_progress(world: Any) -> None:
    w = world(3)
    victim = w.cloud.in_service("web")[0]
    w.cloud.at(
        50,
        lambda: w.cloud.client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=victim, ShouldDecrementDesiredCapacity=False
        ),
    )
    result = w.roll()
    assert result.state == "completed"
    w.settle()
    assert w.versions == ["2"] * 3
    assert len(w.watch.launched) == 3, "the successor that AWS launched counts as one"
    w.assert_as_found()


def test_unhealthy_old_ones_go_first_and_do_not_block(world: Any) -> None:
    w = world(3)
    for name in w.cloud.in_service("web")[:2]:
        w.cloud.make_sick(name)
    w.settle(60)
    sick = set(w.cloud.in_service("web")) - set(w.cloud.healthy("web"))
    result = w.roll()
    assert result.state == "completed"
    assert {pair.old for pair in result.replaced[:2]} == sick
    assert w.versions == ["2"] * 3


@pytest.mark.parametrize("moment", [1, 50, 96, 104, 150, 300, 335])
def test_a_signal_puts_the_group_back(world: Any, moment: float) -> None:
    w = world(3)
    end = w.cloud.now() + moment
    result = w.roll(stopped=lambda: "stopped by SIGTERM" if w.cloud.now() >= end else "")
    if result.state == "completed":
        return
    assert (result.state, result.failed) == ("aborted", True)
    assert "SIGTERM" in result.message
    assert w.sizes == (3, 3, 3)
    w.assert_as_found()
    w.settle()
    assert len(w.versions) == 3
    assert w.watch.lowest_healthy == 3
    assert w.roll().state == "completed"
    assert w.versions == ["2"] * 3


def test_a_fresh_lock_of_somebody_who_lives_is_respected_until_it_is_stale(world: Any) -> None:
    w = world(3)
    w.killed_at(14, after=True, owner="first")
    w.forget_calls()
    result = w.roll(owner="second")
    assert result.failed
    assert "first" in result.message
    assert w.writes == []
    w.settle(901)
    result = w.roll(owner="second")
    assert result.state == "completed"
    assert w.versions == ["2"] * 3
    assert len(w.watch.launched) == 3
    w.assert_as_found()


def test_a_lock_of_a_dead_process_is_taken_at_once(world: Any) -> None:
    w = world(3)
    w.killed_at(14, after=True, owner="first")
    assert w.roll(owner="second", dead=["first"]).state == "completed"


def test_an_abort_elsewhere_ends_a_running_roll(world: Any) -> None:
    w = world(3)
    aborted = []
    w.cloud.at(130, lambda: aborted.append(None))

    class Elsewhere:
        """The other controller acts in the middle of the first one's sleep."""

        def __init__(self) -> None:
            self.result: Any = None

        def __call__(self) -> str:
            if aborted and self.result is None:
                self.result = True
                self.result = w.roll("aborted", owner="second")
            return ""

    elsewhere = Elsewhere()
    result = w.roll(owner="first", stopped=elsewhere)
    assert elsewhere.result.state == "aborted"
    assert not elsewhere.result.failed
    assert result.state == "aborted"
    assert result.failed
    w.settle()
    w.assert_as_found()
    assert len(w.versions) == 3


def test_abort_of_what_a_killed_run_left(world: Any) -> None:
    total = world(3).roll().api_calls.total()
    for number in range(8, total):
        w = world(3)
        w.killed_at(number, after=True, owner="first")
        if TAG_JOURNAL not in w.tags:
            continue
        result = w.roll("aborted", owner="second")
        assert (result.state, result.failed) == ("aborted", False), result.message
        w.settle()
        assert len(w.versions) == 3
        assert w.watch.lowest_healthy == 3
        w.assert_as_found()


def test_abort_with_nothing_to_abort_writes_nothing(world: Any) -> None:
    w = world(3)
    result = w.roll("aborted")
    assert (result.state, result.changed, w.writes) == ("aborted", False, [])


def test_a_permission_that_is_missing_is_named_and_what_was_done_is_undone(world: Any) -> None:
    w = world(3)
    denied = "User: arn:aws:iam::1:user/ci is not authorized to perform: autoscaling:TerminateInstance..."
    w.cloud.at(
        20,
        lambda: w.cloud.faults.add(
            {
                "kind": "api",
                "operation": "TerminateInstanceInAutoScalingGroup",
                "code": "AccessDenied",
                "message": denied,
                "times": 1,
            }
        ),
    )
    result = w.roll()
    assert result.failed
    assert "autoscaling:TerminateInstanceInAutoScalingGroup" in result.message
    w.settle()
    assert w.versions == ["1"] * 3
    w.assert_as_found()


def test_a_version_that_does_not_exist_is_refused(world: Any) -> None:
    w = world(3)
    result = w.roll(template=Template("", "web", "77"))
    assert result.failed
    assert "77" in result.message
    assert w.writes == []


def test_a_terminate_without_answer_is_not_made_twice(world: Any) -> None:
    for lost_before in (True, False):
        w = world(3)
        seen = []

        def lose(call: Any, seen: list[str] = seen) -> None:
            if call.operation.startswith("Terminate") and not seen:
                seen.append(call.params["InstanceId"])
                raise ReadTimeoutError(endpoint_url="http://127.0.0.1")

        (w.cloud.before_call if lost_before else w.cloud.after_call).append(lose)
        result = w.roll()
        assert result.state == "completed"
        assert len(w.watch.launched) == 3
        assert len(set(w.watch.terminated)) == len(w.watch.terminated) == 3
        w.assert_as_found()


def test_an_endpoint_that_cannot_be_reached_is_one_sentence(world: Any) -> None:
    w = world(1)

    def unreachable(call: Any) -> None:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    w.cloud.before_call.append(unreachable)
    result = w.roll()
    assert result.failed
    assert "did not answer" in result.message
    assert result.seconds < 60


def test_a_tag_that_is_no_journal_is_not_overwritten(world: Any) -> None:
    w = world(3)
    w.cloud.client("autoscaling").create_or_update_tags(
        Tags=[
            {
                "ResourceId": "web",
                "ResourceType": "auto-scaling-group",
                "Key": TAG_JOURNAL,
                "Value": "mine",
                "PropagateAtLaunch": False,
            }
        ]
    )
    w.forget_calls()
    result = w.roll()
    assert result.failed
    assert TAG_JOURNAL in result.message
    assert w.writes == []


def test_a_group_that_is_deleted_meanwhile(world: Any) -> None:
    w = world(2)
    w.cloud.at(
        50,
        lambda: w.cloud.client("autoscaling").delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True),
    )
    result = w.roll()
    assert result.failed
    assert "was deleted while it was being rolled: there is nothing left to put back" in result.message


def test_the_tags_do_not_propagate(world: Any) -> None:
    w = world(1)
    w.roll()
    assert all(not tag["PropagateAtLaunch"] for tag in w.group["Tags"])
    assert w.tags == {TAG_RECORD}
    assert ClientError is not None


@pytest.mark.parametrize("moment", [0, 230])
def test_a_failure_is_rolled_back_when_that_is_wanted(world: Any, moment: float) -> None:
    w = world(4, version="1")
    w.cloud.at(moment, lambda: _unhealthy(w, times=1))
    result = w.roll(template=Template("", "web", "2"), rollback=True, max_failures=0, batch_timeout=200.0)
    assert (result.state, result.failed) == ("rolled_back", True)
    assert "rolled back" in result.message
    assert "Target.FailedHealthChecks" in result.message
    assert w.versions == ["1"] * 4
    assert w.group["LaunchTemplate"]["Version"] == "1"
    assert w.watch.lowest_healthy == 4
    w.settle()
    assert w.sizes == (4, 4, 4)
    assert w.tags == {TAG_RECORD}


def test_a_roll_back_that_fails_as_well_stops(world: Any) -> None:
    w = world(4)
    w.cloud.at(230, lambda: _unhealthy(w))
    result = w.roll(rollback=True, max_failures=0, batch_timeout=200.0)
    assert result.failed
    assert result.state == "failed"
    assert w.sizes == (4, 4, 4)
    assert w.watch.lowest_healthy == 4


def test_a_killed_roll_back_is_taken_up(world: Any) -> None:
    def start() -> Any:
        w = world(3, version="1")
        w.cloud.at(120, lambda: _unhealthy(w, times=1))
        return w

    options: dict[str, Any] = {
        "template": Template("", "web", "2"),
        "rollback": True,
        "max_failures": 0,
        "batch_timeout": 120.0,
    }
    whole = start()
    calls = whole.roll(**options).api_calls.total()
    turned = next(
        call.number
        for call in whole.cloud.log
        if call.operation == "CreateOrUpdateTags" and "flags=b" in str(call.params)
    )
    for number in range(turned, calls + 1):
        w = start()
        w.killed_at(number, after=True, owner="first", **options)
        if TAG_JOURNAL not in w.tags:
            continue
        result = w.roll(owner="second", dead=["first"], **options)
        assert (result.state, result.failed) == ("rolled_back", True), f"{number}: {result.message}"
        w.settle()
        assert w.versions == ["1"] * 3
        assert w.sizes == (3, 3, 3)
        assert w.watch.lowest_healthy == 3
