# SPDX-License-Identifier: GPL-3.0-or-later
"""What people report of rolling groups, one kind after the other: what the roll must make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, CredentialRetrievalError

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match
from localcloud.autoscaling.simulation import SimulatedCloud
from tests.unit.plugins.module_utils.rollout.others import FULL, QUOTA, keep_alive

TO_2 = Template("", "web", "2")
MOMENTS = [2, 60, 95, 115, 190, 310]


def _update(w: Any, **params: Any) -> None:
    w.cloud.handle("autoscaling", "UpdateAutoScalingGroup", {"AutoScalingGroupName": "web", **params})


def _suspend(w: Any, *names: str) -> None:
    w.cloud.handle("autoscaling", "SuspendProcesses", {"AutoScalingGroupName": "web", "ScalingProcesses": [*names]})


def _resume(w: Any, *names: str) -> None:
    w.cloud.handle("autoscaling", "ResumeProcesses", {"AutoScalingGroupName": "web", "ScalingProcesses": [*names]})


def _untag(w: Any, key: str) -> None:
    tag = {"ResourceId": "web", "ResourceType": "auto-scaling-group", "Key": key}
    w.cloud.handle("autoscaling", "DeleteTags", {"Tags": [tag]})


def _deny(w: Any, operation: str, code: str = "AccessDenied", times: int | None = None) -> None:
    w.cloud.faults.add({"kind": "api", "operation": operation, "code": code, "message": "no", "times": times})


def _wound_down(w: Any, sizes: tuple[int, int, int]) -> None:
    assert w.sizes == sizes
    assert w.suspended == []
    assert w.tags <= {TAG_RECORD}


# ---- absolute sizes of others ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_schedule_that_sets_sizes_during_a_surge_wins_to_the_digit(world: Any, moment: float) -> None:
    w = world(8, MaxSize=12)
    w.cloud.at(moment, lambda: w.cloud.scale_by_schedule("web", low=1, high=9, desired=4))
    result = w.roll(batch_size=2)
    assert result.state == "completed", result.message
    assert w.sizes == (1, 9, 4)
    w.settle()
    assert w.versions == ["2"] * 4
    _wound_down(w, (1, 9, 4))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_schedule_that_empties_the_group_after_max_size_was_raised(world: Any, moment: float) -> None:
    w = world(3)
    w.cloud.at(moment, lambda: w.cloud.scale_by_schedule("web", low=0, high=0, desired=0))
    result = w.roll()
    assert not result.failed, result.message
    _wound_down(w, (0, 0, 0))
    written = [call.params for call in w.cloud.log if call.operation == "UpdateAutoScalingGroup"]
    assert all(params.get("MaxSize", 0) >= 0 for params in written)


def test_an_abort_after_a_schedule_emptied_the_group(world: Any) -> None:
    for number in range(8, 24):
        w = world(3)
        w.killed_at(number, after=True, owner="first")
        w.cloud.scale_by_schedule("web", low=0, high=0, desired=0)
        result = w.roll("aborted", owner="second", dead=["first"])
        assert not result.failed, result.message
        _wound_down(w, (0, 0, 0))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_max_size_that_somebody_sets_stays(world: Any, moment: float) -> None:
    w = world(3)
    w.cloud.at(moment, lambda: _update(w, MaxSize=6))
    assert w.roll().state == "completed"
    _wound_down(w, (3, 6, 3))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_min_size_that_somebody_raises_stays_and_is_kept(world: Any, moment: float) -> None:
    w = world(3, MinSize=1, MaxSize=9)
    w.cloud.at(moment, lambda: _update(w, MinSize=5))
    assert w.roll().state == "completed"
    _wound_down(w, (5, 9, 5))
    w.settle()
    assert w.versions == ["2"] * 5


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("desired", [2, 6, 7])  # 5 is what the surge makes of it: nothing tells
def test_a_person_who_sets_the_desired_capacity_gets_it(world: Any, moment: float, desired: int) -> None:
    w = world(4, MinSize=1, MaxSize=9)
    wanted = {"AutoScalingGroupName": "web", "DesiredCapacity": desired}
    w.cloud.at(moment, lambda: w.cloud.handle("autoscaling", "SetDesiredCapacity", wanted))
    assert w.roll().state == "completed"
    _wound_down(w, (1, 9, desired))
    w.settle()
    assert w.versions == ["2"] * desired


def test_a_policy_counts_by_its_difference_beside_a_schedule(world: Any) -> None:
    w = world(4, MinSize=1, MaxSize=12)
    w.cloud.at(60, lambda: w.cloud.scale_by_policy("web", 2))
    w.cloud.at(200, lambda: w.cloud.scale_by_schedule("web", low=2, high=8, desired=3))
    w.cloud.at(240, lambda: w.cloud.scale_by_policy("web", 1))
    assert w.roll().state == "completed"
    _wound_down(w, (2, 8, 4))


# ---- order -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [0, 1, 2])
def test_the_group_is_moved_before_anything_is_waited_for(world: Any, short: int) -> None:
    w = world(3, version="1")
    w.cloud.templates.missing_images.add(f"ami-{1:017x}")
    for name in w.cloud.in_service("web")[:short]:
        w.cloud.kill(name)
    w.cloud.autoscaling.look_at_health()
    w.settle(20)
    w.forget_calls()
    w.watch = w.cloud.watch("web")
    result = w.roll(template=TO_2)
    assert result.state == "completed", result.message
    assert w.versions == ["2"] * 3
    writes = [call for call in w.cloud.log if call.operation == "UpdateAutoScalingGroup"]
    assert writes[0].params["LaunchTemplate"]["Version"] == "2"
    assert "DesiredCapacity" not in writes[0].params


def test_a_launch_of_what_is_left_that_is_refused_after_the_move_ends_nothing(world: Any) -> None:
    w = world(2, version="1")
    began = w.cloud.now()
    activities = w.cloud.autoscaling.handle

    def late(operation: str, params: Any, region: str) -> Any:
        answer = activities(operation, params, region)
        if operation == "DescribeScalingActivities" and w.cloud.now() > began:
            from datetime import UTC, datetime

            refused = {
                "ActivityId": "late",
                "AutoScalingGroupName": "web",
                "Description": "Launching a new EC2 instance",
                "Cause": "none",
                "StartTime": datetime.fromtimestamp(began - 2, UTC),
                "StatusCode": "Failed",
                "StatusMessage": "The image id '[ami-1]' does not exist",
            }
            return {**answer, "Activities": [refused, *answer["Activities"]]}
        return answer

    w.cloud.autoscaling.handle = late
    assert w.roll(template=TO_2).state == "completed"


def test_a_cancelled_launch_is_no_refusal(world: Any) -> None:
    w = world(2)
    handle = w.cloud.handle

    def cancelled(service: str, operation: str, params: Any) -> Any:
        answer = handle(service, operation, params)
        if operation == "DescribeScalingActivities" and w.cloud.calls["TerminateInstanceInAutoScalingGroup"] == 0:
            from datetime import UTC, datetime

            item = {
                "ActivityId": f"c{w.cloud.now()}",
                "Description": "Launching a new EC2 instance",
                "Cause": "none",
                "StartTime": datetime.fromtimestamp(w.cloud.now(), UTC),
                "StatusCode": "Cancelled",
                "StatusMessage": "The desired capacity was lowered while this launch was pending.",
            }
            return {**answer, "Activities": [item, *answer["Activities"]]}
        return answer

    w.cloud.handle = cancelled
    assert w.roll().state == "completed"


# ---- failing without putting back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["DescribeTargetHealth", "DescribeScalingActivities", "DescribeInstances"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_read_that_is_denied_meanwhile_winds_down(world: Any, operation: str, moment: float) -> None:
    w = world(3)
    w.cloud.at(moment, lambda: _deny(w, operation))
    prober = (lambda places: {p.instance_id: "" for p in places}) if operation == "DescribeInstances" else None
    result = w.roll(prober=prober)
    if result.failed:
        assert "lack the permission" in result.message
        assert "was left with min 3, max 3, desired 3" in result.message
    _wound_down(w, (3, 3, 3))
    w.settle()
    assert len(w.versions) == 3


@pytest.mark.parametrize("rollback", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_target_group_that_is_deleted_meanwhile_winds_down(world: Any, moment: float, rollback: bool) -> None:
    w = world(3)
    w.cloud.at(moment, w.cloud.targets.places.clear)
    result = w.roll(rollback=rollback)
    assert result.failed
    assert "not found" in result.message.lower()
    _wound_down(w, (3, 3, 3))


def test_a_version_to_roll_back_to_that_was_pruned_winds_down_and_says_so(world: Any) -> None:
    w = world(3, version="1")
    w.cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": None})
    w.cloud.at(60, lambda: w.cloud.templates.names["web"].versions.pop(1))
    result = w.roll(template=TO_2, rollback=True, max_failures=0, batch_timeout=200.0)
    assert (result.state, result.failed) == ("failed", True)
    assert "cannot be rolled back" in result.message
    assert "version 1" in result.message
    _wound_down(w, (3, 3, 3))
    w.settle()
    assert len(w.watch.terminated) == 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_credentials_that_cannot_be_fetched_for_a_while_are_waited_for(world: Any, moment: float) -> None:
    w = world(3)
    away = CredentialRetrievalError(provider="container-role", error_msg="connection refused")
    w.cloud.at(moment, lambda: w.cloud.cannot_call(away, 40))
    result = w.roll()
    assert result.state == "completed", result.message
    _wound_down(w, (3, 3, 3))


@pytest.mark.parametrize("moment", MOMENTS)
def test_credentials_that_expire_say_how_the_group_was_left_and_an_abort_puts_it_back(
    world: Any, moment: float
) -> None:
    w = world(3)
    response: Any = {
        "Error": {"Code": "ExpiredToken", "Message": "expired"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    w.cloud.at(moment, lambda: w.cloud.cannot_call(ClientError(response, "x"), 100_000))
    result = w.roll()
    w.cloud.no_call = None
    assert result.failed
    assert "does not accept the credentials" in result.message
    assert f"was left with min 3, max {w.sizes[1]}, desired {w.sizes[2]}" in result.message
    assert TAG_JOURNAL in result.message
    assert "state=aborted" in result.message
    if w.suspended:
        assert "AZRebalance is suspended" in result.message
    _deny(w, "DescribeTargetHealth")
    _deny(w, "DescribeScalingActivities")
    _deny(w, "DescribeLaunchTemplateVersions")
    _deny(w, "DescribeInstances")
    after = w.roll("aborted", owner="two", dead=["one"])
    assert (after.state, after.failed) == ("aborted", False), after.message
    _wound_down(w, (3, 3, 3))


def test_a_mistake_in_the_module_itself_winds_down_too(world: Any) -> None:
    w = world(3)

    def prober(places: Any) -> dict[str, str]:
        raise ZeroDivisionError

    try:
        w.roll(prober=prober)
    except AssertionError as exc:
        assert "mistake in asg_rollout" in str(exc)
    _wound_down(w, (3, 3, 3))


# ---- a lost journal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_journal_that_another_tool_deletes_is_written_anew(world: Any, moment: float) -> None:
    w = world(3)
    w.cloud.at(moment, lambda: _untag(w, TAG_JOURNAL))
    result = w.roll()
    assert result.state == "completed", result.message
    assert w.versions == ["2"] * 3
    assert any("another tool" in event.get("message", "") for event in w.events)
    _wound_down(w, (3, 3, 3))


def test_a_journal_that_is_deleted_again_and_again_harms_nobody(world: Any) -> None:
    w = world(2)
    for moment in range(10, 400, 10):
        w.cloud.at(moment, lambda: _untag(w, TAG_JOURNAL))
    assert w.roll().state == "completed"
    _wound_down(w, (2, 2, 2))


def test_a_record_that_another_tool_deletes_harms_nobody(world: Any) -> None:
    w = world(2)
    w.cloud.at(60, lambda: _untag(w, TAG_RECORD))
    assert w.roll().state == "completed"
    _wound_down(w, (2, 2, 2))


@pytest.mark.parametrize("poll", [5.0, 20.0])
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_abort_by_somebody_else_is_no_lost_journal(world: Any, poll: float, moment: float) -> None:
    w = world(3)
    others: list[Any] = []

    def stopped() -> str:
        if not others and w.cloud.now() >= began + moment and TAG_JOURNAL in w.tags:
            others.append(None)
            others.append(w.roll("aborted", owner="another", poll_interval=1.0))
        return ""

    began = w.cloud.now()
    result = w.roll(stopped=stopped, poll_interval=poll)
    if others:
        assert (others[1].state, others[1].failed) == ("aborted", False)
        assert result.state == "aborted", result.message
    _wound_down(w, (3, 3, 3))


# ---- unbounded data in a tag -----------------------------------------------------------------------------------------------


def _floating_overrides(count: int, own: int) -> dict[str, Any]:
    overrides = [
        {
            "InstanceType": f"t{number}.small",
            "LaunchTemplateSpecification": {"LaunchTemplateName": f"own-{number % own}", "Version": "$Latest"},
        }
        for number in range(count)
    ]
    return {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": "$Latest"},
            "Overrides": overrides,
        },
        "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 100},
    }


@pytest.mark.parametrize("count", [10, 40])
@pytest.mark.parametrize("own", [1, 10, 40])
def test_overrides_with_floating_templates_fit_or_are_refused_in_the_plan(world: Any, count: int, own: int) -> None:
    cloud = SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15, zones=1)
    for name in ("web", *(f"own-{number}" for number in range(own))):
        cloud.templates.create(name)
    w = world(3, cloud=cloud, MixedInstancesPolicy=_floating_overrides(count, own), new_version=False)
    before = w.group["MixedInstancesPolicy"]
    for number in range(own):
        cloud.new_template_version(f"own-{number}")
    calls = w.roll("planned").plan.refusals
    assert calls == ()
    result = w.roll()
    assert result.state == "completed", result.message
    assert w.versions == ["2"] * 3
    assert w.group["MixedInstancesPolicy"] == before


def test_a_roll_back_returns_overrides_with_templates_of_their_own_to_theirs(world: Any) -> None:
    cloud = SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15, zones=1)
    for name in ("web", "own-0", "own-1"):
        cloud.templates.create(name)
    w = world(3, cloud=cloud, MixedInstancesPolicy=_floating_overrides(2, 2), new_version=False)
    cloud.new_template_version("own-0")
    assert w.roll().state == "completed"
    assert w.versions == ["2"] * 3
    result = w.roll("rolled_back")
    assert (result.state, result.failed) == ("rolled_back", False), result.message
    assert w.versions == ["1"] * 3
    overrides = w.group["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]
    assert [item["LaunchTemplateSpecification"]["Version"] for item in overrides] == ["1", "$Latest"]


def test_a_group_with_as_many_tags_as_aws_allows_is_refused_in_the_plan(world: Any) -> None:
    for number, refused in ((48, False), (49, True), (50, True)):
        w = world(1, Tags=[{"Key": f"k{n}", "Value": "v", "PropagateAtLaunch": True} for n in range(number)])
        result = w.roll("planned")
        assert bool(result.plan.refusals) is refused
        if refused:
            assert f"has {number} tags" in w.roll().message
            assert w.writes == []


# ---- IPv4 only -------------------------------------------------------------------------------------------------------------


def _asked(w: Any) -> tuple[list[str], Callable[[Any], dict[str, str]]]:
    asked: list[str] = []

    def prober(places: Any) -> dict[str, str]:
        asked.extend(place.address for place in places)
        return {place.instance_id: "" if place.address else "it has no address" for place in places}

    return asked, prober


def test_instances_without_ipv4_are_asked_by_ipv6(world: Any) -> None:
    cloud = SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15, zones=1)
    cloud.address = lambda number: f"2001:db8::{number:x}"
    w = world(2, cloud=cloud)
    asked, prober = _asked(w)
    drained: list[str] = []

    def drainer(places: Any) -> dict[str, str]:
        drained.extend(place.address for place in places)
        return {place.instance_id: "" for place in places}

    result = w.roll(prober=prober, drainer=drainer)
    assert result.state == "completed", result.message
    assert asked
    assert drained
    assert all(address.startswith("2001:db8::") for address in [*asked, *drained])


def test_an_instance_without_any_address_is_said_to_have_none(world: Any) -> None:
    cloud = SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15, zones=1)
    cloud.address = lambda number: ""
    w = world(2, cloud=cloud)
    dummy, prober = _asked(w)
    result = w.roll(prober=prober, max_failures=0, batch_timeout=100.0)
    assert result.failed
    assert "it has no address" in result.message


# ---- one refusal is the end --------------------------------------------------------------------------------------------------


def _refuse(w: Any, message: str, *, zone: str | None = None, times: int | None = None) -> None:
    fault = {"kind": "launch", "code": "Unsupported", "message": message, "zone": zone, "times": times}
    w.cloud.faults.add(fault)


def test_a_zone_that_is_full_is_left_to_the_others(world: Any) -> None:
    w = world(3, zones=3)
    _refuse(w, FULL, zone="eu-central-1a")
    result = w.roll(suspend_az_rebalance=True)
    assert result.state == "completed", result.message
    assert w.versions == ["2"] * 3


@pytest.mark.parametrize("zones", [1, 3])
def test_a_refusal_of_every_zone_fails_at_once_with_awss_words(world: Any, zones: int) -> None:
    w = world(3, zones=zones)
    _refuse(w, FULL)
    result = w.roll()
    assert result.failed
    assert "free addresses" in result.message
    assert result.seconds < 300
    _wound_down(w, (3, 3, 3))


def test_a_quota_that_the_rolls_own_draining_instances_hold_is_waited_for(world: Any) -> None:
    w = world(3)
    gone: list[float] = []

    def refuse_while_draining(call: Any) -> None:
        if call.operation == "TerminateInstanceInAutoScalingGroup" and not gone:
            gone.append(w.cloud.now())
            _refuse(w, QUOTA, times=2)

    w.cloud.before_call.append(refuse_while_draining)
    result = w.roll(max_unavailable=1)
    assert result.state == "completed", result.message


def test_a_quota_that_nothing_of_the_roll_holds_fails_at_once(world: Any) -> None:
    w = world(3)
    _refuse(w, QUOTA)
    result = w.roll()
    assert result.failed
    assert "vCPU" in result.message
    assert result.seconds < 300


# ---- edges lost between polls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poll", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("notice", [1.0, 15.0, 120.0])
@pytest.mark.parametrize("moment", [5.0, 60.0, 150.0, 280.0])
@pytest.mark.parametrize("elb", [False, True])
def test_a_proven_instance_that_dies_in_the_bake_is_a_failure(
    world: Any, poll: float, notice: float, moment: float, elb: bool
) -> None:
    cloud = SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=15, zones=1, notice=notice)
    w = world(3, cloud=cloud, HealthCheckType="ELB" if elb else "EC2")
    old = set(w.cloud.in_service("web"))

    def die() -> None:
        proven = sorted(set(w.cloud.in_service("web")) - old)
        w.cloud.kill(proven[0])
        w.cloud.at(min(20, notice), w.cloud.autoscaling.look_at_health)

    w.cloud.at(40 + moment, die)
    result = w.roll(bake_time=300.0, max_failures=0, poll_interval=poll)
    assert result.failed, "all were replaced"
    assert len(w.versions) >= 2
    w.settle()
    assert w.versions.count("1") >= 1
    _wound_down(w, (3, 3, 3))


def test_a_proven_instance_that_stays_unhealthy_is_a_failure(world: Any) -> None:
    w = world(3)
    old = set(w.cloud.in_service("web"))
    w.cloud.at(130, lambda: w.cloud.make_sick(sorted(set(w.cloud.in_service("web")) - old)[0]))
    result = w.roll(max_failures=0, batch_timeout=200.0)
    assert result.failed
    _wound_down(w, (3, 3, 3))


# ---- the cause is weighed ----------------------------------------------------------------------------------------------------


def _take_new_ones(w: Any, times: int, act: Callable[[str], None], every: float = 140.0) -> None:
    def take() -> None:
        fresh = sorted(name for name in w.cloud.in_service("web") if name in w.watch.launched)
        if fresh:
            act(fresh[-1])
            w.cloud.at(20, w.cloud.autoscaling.look_at_health)

    for number in range(times):
        w.cloud.at(95 + number * every, take)


@pytest.mark.parametrize("how", ["spot", "by hand in EC2", "by hand in the group", "scale-in"])
@pytest.mark.parametrize("phase", [0, 30])
def test_what_others_take_away_is_no_failure_of_the_build(world: Any, how: str, phase: int) -> None:
    w = world(3, MinSize=1)
    acts: dict[str, Callable[[str], None]] = {
        "spot": lambda name: w.cloud.interrupt(name, 1, rebalance=False),
        "by hand in EC2": w.cloud.end_by_hand,
        "by hand in the group": lambda name: w.cloud.handle(
            "autoscaling",
            "TerminateInstanceInAutoScalingGroup",
            {"InstanceId": name, "ShouldDecrementDesiredCapacity": False},
        ),
        "scale-in": lambda name: w.cloud.handle(
            "autoscaling",
            "TerminateInstanceInAutoScalingGroup",
            {"InstanceId": name, "ShouldDecrementDesiredCapacity": True},
        ),
    }
    w.cloud.sleep(phase)
    times = 1 if how == "scale-in" else 2
    _take_new_ones(w, times, acts[how])
    result = w.roll(max_failures=0)
    assert result.state == "completed", result.message
    assert result.failures == ()
    wanted = 3 - (times if how == "scale-in" else 0)
    w.settle()
    assert w.versions == ["2"] * wanted
    assert any("no failure" in event.get("message", "") for event in w.events)


def test_interruptions_without_end_are_bounded_by_batch_timeout(world: Any) -> None:
    w = world(2)
    _take_new_ones(w, 60, lambda name: w.cloud.interrupt(name, 1, rebalance=False), every=20.0)
    result = w.roll(max_failures=0, batch_timeout=400.0, min_healthy_time=60.0)
    assert result.failed
    assert "taken away" in result.message
    assert "Spot" in result.message
    assert result.seconds < 1500


@pytest.mark.parametrize("count", [1, 2])
def test_hosts_that_end_by_themselves_are_failures(world: Any, count: int) -> None:
    w = world(3)
    _take_new_ones(w, count, w.cloud.kill)
    assert w.roll(max_failures=count - 1).failed


# ---- preconditions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", ["Launch", "AddToLoadBalancer", "Terminate"])
@pytest.mark.parametrize("moment", [2, 60, 115])
def test_a_process_that_is_suspended_meanwhile_is_named_and_waited_for(world: Any, process: str, moment: float) -> None:
    w = world(3)
    w.cloud.at(moment, lambda: _suspend(w, process))
    w.cloud.at(moment + 70, lambda: _resume(w, process))
    result = w.roll(max_failures=3)
    if process == "AddToLoadBalancer" and result.failures:
        assert "not registered" in str(result.failures[0])  # AWS does not register them afterwards
    assert result.state == "completed", result.message
    assert any(process in event.get("message", "") for event in w.events)


@pytest.mark.parametrize("process", ["Launch", "AddToLoadBalancer"])
def test_a_process_that_stays_suspended_is_the_reason_after_one_batch_timeout(world: Any, process: str) -> None:
    w = world(3)
    w.cloud.at(60, lambda: _suspend(w, process))
    result = w.roll()
    assert result.failed
    assert f"the process {process} of the group web is suspended (User suspended" in result.message
    assert result.failures == ()
    assert result.seconds < 1100
    assert w.sizes == (3, 3, 3)
    assert w.suspended == [process]
    assert w.tags <= {TAG_RECORD}


# ---- hooks that are kept alive -------------------------------------------------------------------------------------------------


def test_a_launch_hook_that_is_kept_alive_is_waited_for(world: Any) -> None:
    w = world(1, new_version=False)
    keep_alive(w, "LAUNCHING", heartbeat=300, alive=3000)
    w.cloud.new_template_version("web")
    result = w.roll(batch_timeout=200.0, max_failures=0)
    assert (result.state, result.failures) == ("completed", ()), result.message
    assert result.seconds > 3000


def test_a_termination_hook_that_is_kept_alive_is_waited_for_and_is_no_failure(world: Any) -> None:
    w = world(1, new_version=False)
    keep_alive(w, "TERMINATING", heartbeat=300, alive=3000)
    w.cloud.new_template_version("web")
    result = w.roll(batch_timeout=200.0)
    assert (result.state, result.failed) == ("completed", False), result.message
    assert result.seconds > 3000


def test_all_replaced_and_one_that_never_ends_is_no_failure(world: Any) -> None:
    w = world(1)
    w.cloud.hosts.terminate = lambda instance_id: None
    result = w.roll(batch_timeout=200.0)
    assert (result.state, result.failed, result.done) == ("completed", False, True), result.message
    assert "still terminating" in result.message
    assert w.tags <= {TAG_RECORD}


# ---- a dead one must not cooperate ---------------------------------------------------------------------------------------------


def test_a_sick_old_instance_is_asked_once_to_drain_and_goes(world: Any) -> None:
    w = world(3)
    sick = w.cloud.in_service("web")[0]
    w.cloud.make_sick(sick)
    w.cloud.sleep(60)
    asked: list[str] = []

    def drainer(places: Any) -> dict[str, str]:
        asked.extend(place.instance_id for place in places)
        return {p.instance_id: "connection refused" if p.instance_id == sick else "" for p in places}

    result = w.roll(drainer=drainer, batch_timeout=300.0)
    assert result.state == "completed", result.message
    assert asked.count(sick) == 1


# ---- messages ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_group_that_is_deleted_meanwhile_is_said_to_be(world: Any, moment: float) -> None:
    w = world(3)
    forced = {"AutoScalingGroupName": "web", "ForceDelete": True}
    w.cloud.at(moment, lambda: w.cloud.handle("autoscaling", "DeleteAutoScalingGroup", forced))
    result = w.roll()
    assert result.failed
    assert "deleted" in result.message
    assert "check the option" not in result.message


# ---- clocks --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("match", ["all", "age"])
@pytest.mark.parametrize("ahead", [-300.0, -60.0, 300.0])
def test_a_controller_whose_clock_is_wrong_replaces_nobody_twice(world: Any, match: str, ahead: float) -> None:
    options: dict[str, Any] = {"match": Match(match), **({"max_age": 1800.0} if match == "age" else {})}
    for number in (14, 20, 26):
        w = world(3, new_version=False)
        w.settle(3600)
        w.watch = w.cloud.watch("web")
        w.cloud.clock_ahead = ahead  # of the controller's
        w.forget_calls()
        real = w.cloud.hosts._shape

        def shape(host: Any, real: Any = real, ahead: float = ahead) -> Any:
            told = real(host)
            from datetime import timedelta

            return {**told, "LaunchTime": told["LaunchTime"] + timedelta(seconds=ahead)}

        w.cloud.hosts._shape = shape
        w.killed_at(number, after=True, owner="first", **options)
        result = w.roll(owner="second", dead=["first"], **options)
        assert result.state == "completed", result.message
        assert len(w.watch.launched) == 3, (number, match, ahead)


# ---- balancers -------------------------------------------------------------------------------------------------------------------


def test_a_zone_that_the_load_balancer_does_not_serve_is_refused_in_the_plan(world: Any) -> None:
    w = world(3, zones=3)
    handle = w.cloud.handle

    def dark(service: str, operation: str, params: Any) -> Any:
        answer = handle(service, operation, params)
        if operation == "DescribeTargetHealth":
            zones = {i["InstanceId"]: i["AvailabilityZone"] for i in w.group["Instances"]}
            rows = []
            for row in answer["TargetHealthDescriptions"]:
                off = zones.get(row["Target"]["Id"]) == "eu-central-1c"
                health = {"State": "unused", "Reason": "Target.NotInUse", "Description": "off"}
                rows.append({**row, "TargetHealth": health} if off else row)
            answer = {"TargetHealthDescriptions": rows}
        return answer

    w.cloud.handle = dark
    result = w.roll()
    assert result.failed
    assert "eu-central-1c" in result.message
    assert w.writes == []
