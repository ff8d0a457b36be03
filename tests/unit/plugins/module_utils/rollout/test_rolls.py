# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole rolls against the simulated cloud: the contract's guarantees, one test each."""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD
from localcloud.autoscaling.simulation import SimulatedCloud

BOOT, DRAIN, HEALTHY = 90.0, 30.0, 10.0


@pytest.mark.parametrize("size", [1, 3, 10, 50])
@pytest.mark.parametrize("batch", ["1", "2", "25%"])
def test_a_roll_is_complete_exact_cheap_and_fast(world: Any, size: int, batch: str) -> None:
    w = world(size, zones=3)
    result = w.roll(batch_size=batch)

    assert (result.state, result.failed, result.done, result.changed) == ("completed", False, True, True)
    assert w.versions == ["2"] * size
    assert len(w.watch.launched) == size, "N replaced, N launched"
    assert len(result.replaced) == size
    assert len({pair.old for pair in result.replaced} | {pair.new for pair in result.replaced}) == 2 * size
    assert w.watch.lowest_healthy == size == result.lowest_in_service
    assert w.sizes == (size, size, size)
    assert (w.suspended, w.tags) == ([], {TAG_RECORD})
    assert result.api_calls == w.cloud.calls

    number = max(1, size * 25 // 100) if batch == "25%" else int(batch)
    batches = ceil(max(0, size - 1) / number) + 1 if number > 1 else size
    bound = batches * (BOOT + HEALTHY) + DRAIN
    # What learning how long a boot takes costs: half a poll more or less a batch until it is known.
    assert result.seconds <= bound * 1.05 + 45
    calls = result.api_calls
    polls = calls["DescribeAutoScalingGroups"]
    assert calls["DescribeTargetHealth"] <= polls
    assert calls["DescribeScalingActivities"] <= polls
    beside = sum(calls.values()) - polls - calls["DescribeTargetHealth"] - calls["DescribeScalingActivities"]
    assert beside <= size + 2 * batches + ceil(result.seconds / 300) + 15
    assert polls <= 16 + 5 * batches

    w.settle()
    assert w.watch.launched[size:] == [], "AZRebalance has nothing to do afterwards"
    w.forget_calls()
    again = w.roll(batch_size=batch)
    assert (again.state, again.changed, again.done, w.writes) == ("completed", False, True, [])


def test_fifty_one_by_one_cost_a_quarter_of_the_peers_calls(world: Any) -> None:
    result = world(50).roll()
    assert sum(result.api_calls.values()) <= 1536 / 4
    assert result.seconds <= 1.05 * (50 * (BOOT + HEALTHY) + DRAIN)


def _passes(places: Any) -> dict[str, str]:
    return {place.instance_id: "" for place in places}


@pytest.mark.parametrize(
    "options",
    [
        {"prober": _passes},
        {"prober": _passes, "drainer": _passes, "batch_size": 2},
        {"bake_time": 30.0},
        {"bake_time": 30.0, "batch_size": 2, "max_unavailable": 1},
    ],
    ids=["checked", "checked and drained", "baked", "baked, with slack"],
)
def test_beside_polls_and_terminations_a_batch_costs_two_calls(world: Any, options: dict[str, Any]) -> None:
    size = 24
    result = world(size, zones=3).roll(**options)
    calls = result.api_calls
    looks = ("DescribeAutoScalingGroups", "DescribeTargetHealth", "DescribeScalingActivities")
    beside = calls.total() - sum(calls[name] for name in looks) - size
    assert beside <= 2 * len(result.plan.batches) + ceil(result.seconds / 300) + 15


def test_max_unavailable_terminates_first_and_keeps_its_bound(world: Any) -> None:
    w = world(4)
    result = w.roll(batch_size=2, max_unavailable=1)
    assert not result.failed
    assert w.watch.lowest_healthy == 3
    assert len(w.watch.launched) == 4
    assert w.versions == ["2"] * 4


def test_without_surge_sizes_are_never_written(world: Any) -> None:
    w = world(4)
    result = w.roll(batch_size=2, max_unavailable=2, canary=0)
    assert not result.failed
    assert w.watch.lowest_healthy == 2
    assert all("DesiredCapacity" not in c.params for c in w.cloud.log if c.operation == "UpdateAutoScalingGroup")
    assert result.during == result.before


def test_desired_above_min_and_below_max_uses_the_room_there_is(world: Any) -> None:
    w = world(4, MinSize=1, MaxSize=8)
    result = w.roll(batch_size=2)
    assert not result.failed
    assert w.watch.lowest_healthy == 4
    assert result.during.max == 8
    assert w.sizes == (1, 8, 4)
    assert all("MaxSize" not in c.params for c in w.cloud.log if c.operation == "UpdateAutoScalingGroup")


def test_no_room_and_no_leave_to_raise_max_size_is_refused_before_any_write(world: Any) -> None:
    w = world(3)
    result = w.roll(raise_max_size=False)
    assert result.failed
    assert "raise_max_size" in result.message
    assert w.writes == []
    plan = w.roll("planned", raise_max_size=False)
    assert not plan.failed
    assert any("MaxSize" in text for text in plan.plan.refusals)
    assert not plan.changed


def test_raise_max_size_false_rolls_where_there_is_room(world: Any) -> None:
    w = world(3, MaxSize=4)
    assert not w.roll(raise_max_size=False).failed
    assert (w.versions, w.sizes) == (["2"] * 3, (3, 4, 3))


def test_planned_and_check_mode_tell_the_same_and_write_nothing(world: Any) -> None:
    w = world(5)
    planned = w.roll("planned", batch_size=2)
    checked = w.roll(check=True, batch_size=2)
    assert w.writes == []
    first, second = planned.as_dict(), checked.as_dict()
    for result in (first, second):
        del result["api_calls"], result["seconds"]
    assert first == second
    assert first["state"] == "planned"
    assert first["changed"]
    assert not first["done"]
    assert [len(batch) for batch in first["plan"]["batches"]] == [1, 2, 2]
    assert first["plan"]["surge"] == 2
    assert first["plan"]["sizes"]["during"] == {"min": 5, "max": 7, "desired": 7}
    due = first["plan"]["batches"][0][0]
    assert due["reasons"] == ["runs version 1, not 2"]
    assert due["zone"].startswith("eu-central-1")
    assert "version 1" in first["diff"]["before"]
    assert "version 2" in first["diff"]["after"]


def test_advanced_does_one_batch_at_a_time_and_leaves_the_group_alone_between(world: Any) -> None:
    w = world(5)
    counts = []
    for _ in range(10):
        result = w.roll("advanced", batch_size=2)
        assert (result.failed, result.state) == (False, "advanced")
        assert w.sizes == (5, 5, 5)
        assert (w.suspended, w.tags - {TAG_RECORD}) == ([], set())
        counts.append(len(result.replaced))
        if result.done:
            break
    assert counts == [1, 2, 2], "the canary alone, then full batches"
    assert w.versions == ["2"] * 5
    assert w.watch.lowest_healthy == 5
    w.forget_calls()
    result = w.roll("advanced", batch_size=2)
    assert (result.changed, result.done, w.writes) == (False, True, [])


def test_the_version_is_pinned_and_a_newer_one_is_reported_not_chased(world: Any) -> None:
    w = world(3)
    w.cloud.at(150, lambda: w.cloud.new_template_version("web"))
    result = w.roll()
    assert (result.state, result.failed, result.done) == ("superseded", False, False)
    assert w.versions == ["2"] * 3
    assert w.group["LaunchTemplate"]["Version"] == "$Latest"
    assert len(w.watch.launched) == 3
    assert w.roll().state == "completed"
    assert w.versions == ["3"] * 3


def test_somebody_elses_template_ends_the_roll(world: Any) -> None:
    w = world(4)

    def meddle() -> None:
        template = {"LaunchTemplateName": "web", "Version": "1"}
        w.cloud.autoscaling.handle(
            "UpdateAutoScalingGroup", {"AutoScalingGroupName": "web", "LaunchTemplate": template}, "eu-central-1"
        )

    w.cloud.at(150, meddle)
    result = w.roll()
    assert result.state == "superseded"
    assert w.group["LaunchTemplate"]["Version"] == "1", "what they wrote stays"
    assert w.sizes == (4, 4, 4)


def test_the_group_is_moved_to_the_template_that_is_asked_for(world: Any) -> None:
    w = world(3, version="1")
    assert w.roll().changed is False
    result = w.roll(template=Template("", "web", "2"))
    assert result.state == "completed"
    assert w.group["LaunchTemplate"]["Version"] == "2"
    assert w.versions == ["2"] * 3
    record = next(tag["Value"] for tag in w.group["Tags"] if tag["Key"] == TAG_RECORD)
    assert "from=lt-00000000000000001:1" in record


def test_an_empty_group_is_only_moved(world: Any) -> None:
    w = world(3, version="1")
    w.cloud.autoscaling.handle(
        "UpdateAutoScalingGroup", {"AutoScalingGroupName": "web", "MinSize": 0, "DesiredCapacity": 0}, "eu-central-1"
    )
    w.settle()
    result = w.roll(template=Template("", "web", "2"))
    assert (result.state, result.changed, result.failed) == ("completed", True, False)
    assert w.group["LaunchTemplate"]["Version"] == "2"
    assert w.tags <= {TAG_RECORD}
    w.forget_calls()
    assert w.roll(template=Template("", "web", "2")).changed is False
    assert w.writes == []


def test_processes_that_the_user_suspended_stay_suspended(world: Any) -> None:
    w = world(3)
    w.cloud.autoscaling.handle(
        "SuspendProcesses",
        {"AutoScalingGroupName": "web", "ScalingProcesses": ["AZRebalance", "AlarmNotification"]},
        "eu-central-1",
    )
    assert not w.roll().failed
    assert (
        w.suspended == ["AZRebalance", "AlarmNotification"] or w.suspended == ["AZRebalance", "AlarmNotification"][::-1]
    )
    assert "ResumeProcesses" not in w.writes


@pytest.mark.parametrize("process", ["Launch", "Terminate", "AddToLoadBalancer"])
def test_a_needed_process_that_is_suspended_refuses(world: Any, process: str) -> None:
    w = world(3)
    w.cloud.autoscaling.handle(
        "SuspendProcesses", {"AutoScalingGroupName": "web", "ScalingProcesses": [process]}, "eu-central-1"
    )
    result = w.roll()
    assert result.failed
    assert process in result.message
    assert w.writes == []


def test_a_running_instance_refresh_refuses(world: Any) -> None:
    w = world(3)
    w.cloud.client("autoscaling").start_instance_refresh(AutoScalingGroupName="web")
    w.forget_calls()
    result = w.roll()
    assert result.failed
    assert "instance refresh" in result.message
    assert w.writes == []


def test_match_all_replaces_whatever_there_is(world: Any) -> None:
    w = world(3, new_version=False)
    w.settle(60)
    result = w.roll(match=_match("all"))
    assert (result.state, result.done) == ("completed", True)
    assert len(result.replaced) == 3
    assert len(w.watch.launched) == 3


def test_match_age_takes_the_old_ones_only(world: Any) -> None:
    w = world(2, new_version=False)
    w.settle(3600)
    w.cloud.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName="web", MaxSize=4, DesiredCapacity=4)
    w.settle(600)
    result = w.roll(match=_match("age"), max_age=1800)
    assert result.state == "completed"
    assert len(result.replaced) == 2
    assert w.sizes == (2, 4, 4)


def test_only_the_instances_that_are_named(world: Any) -> None:
    w = world(3)
    name = w.cloud.in_service("web")[1]
    result = w.roll(instances=frozenset({name}))
    assert [pair.old for pair in result.replaced] == [name]
    assert w.versions == ["1", "1", "2"]
    assert (result.state, result.done) == ("completed", True)
    w.forget_calls()
    assert w.roll(instances=frozenset({name})).changed is False
    assert w.writes == []


@pytest.mark.parametrize(("policy", "left"), [("replace", []), ("skip", ["1"]), ("fail", ["1"] * 3)])
def test_protected_instances(world: Any, policy: str, left: list[str]) -> None:
    w = world(3)
    name = w.cloud.in_service("web")[0]
    w.cloud.client("autoscaling").set_instance_protection(
        AutoScalingGroupName="web", InstanceIds=[name], ProtectedFromScaleIn=True
    )
    w.forget_calls()
    result = w.roll(protected=policy)
    assert result.failed is (policy == "fail")
    assert [version for version in w.versions if version == "1"] == left
    if policy == "fail":
        assert name in result.message
        assert w.writes == []


def test_a_bake_watches_before_the_next_batch_is_launched(world: Any) -> None:
    w = world(3)
    result = w.roll(bake_time=60.0)
    assert not result.failed
    assert result.seconds >= 3 * (BOOT + HEALTHY + 60)
    assert w.watch.highest_total == 4
    assert len(w.watch.launched) == 3
    raises = [c for c in w.cloud.log if c.params.get("DesiredCapacity") == 4]
    assert len(raises) == 3


def test_a_bake_may_take_longer_than_batch_timeout(world: Any) -> None:
    result = world(2).roll(bake_time=500.0, batch_timeout=300.0)
    assert (result.state, result.failed) == ("completed", False), result.message
    assert result.seconds >= 2 * 500


def test_proving_may_take_longer_than_batch_timeout(world: Any) -> None:
    result = world(2).roll(min_healthy_time=300.0, batch_timeout=200.0)
    assert (result.state, result.failures) == ("completed", ()), result.message


def test_the_lock_is_renewed_in_time_however_short_it_lives(world: Any) -> None:
    w = world(2)
    beats: list[float] = []
    w.cloud.before_call.append(lambda call: beats.append(call.at) if call.operation == "CreateOrUpdateTags" else None)
    assert not w.roll(lock_timeout=10.0).failed
    assert max(later - earlier for earlier, later in pairwise(beats)) <= 10


def test_checks_of_the_application_gate_every_old_instance(world: Any) -> None:
    w = world(3)
    asked: list[str] = []
    ready_at: dict[str, float] = {}

    def prober(places: Any) -> dict[str, str]:
        found = {}
        for place in places:
            assert place.address
            assert place.zone
            asked.append(place.instance_id)
            ready = ready_at.setdefault(place.instance_id, w.cloud.now() + 40)
            found[place.instance_id] = "" if w.cloud.now() >= ready else "warming its caches"
        return found

    result = w.roll(prober=prober)
    assert not result.failed
    assert set(asked) == set(w.watch.launched)
    assert result.seconds >= 3 * (BOOT + 40 + HEALTHY)
    assert result.api_calls["DescribeInstances"] == 3


def test_a_check_that_breaks_between_two_polls_starts_the_proof_again(world: Any) -> None:
    w = world(1)
    first: list[float] = []
    broke: list[float] = []

    def prober(places: Any) -> dict[str, str]:
        now = w.cloud.now()
        first.append(now)
        if 20 <= now - first[0] < 26:
            broke.append(now)
            return {place.instance_id: "hiccup" for place in places}
        return {place.instance_id: "" for place in places}

    result = w.roll(prober=prober, min_healthy_time=40.0)
    assert not result.failed
    gone = next(c.at for c in w.cloud.log if c.operation.startswith("Terminate"))
    assert broke
    assert gone - broke[-1] >= 40


def test_instances_are_drained_before_they_leave_the_load_balancer(world: Any) -> None:
    w = world(3)
    told: dict[str, float] = {}
    drained: dict[str, float] = {}

    def drainer(places: Any) -> dict[str, str]:
        now = w.cloud.now()
        answers = {}
        for place in places:
            told.setdefault(place.instance_id, now)
            done = now - told[place.instance_id] >= 60
            if done:
                drained[place.instance_id] = now
            answers[place.instance_id] = "" if done else "503: jobs in hand"
        return answers

    old = set(w.cloud.in_service("web"))
    result = w.roll(drainer=drainer)
    assert not result.failed
    assert set(told) == old
    ends = {c.params["InstanceId"]: c.at for c in w.cloud.log if c.operation.startswith("Terminate")}
    assert all(ends[name] >= drained[name] for name in old)
    assert w.watch.lowest_healthy == 3


def test_a_drain_that_never_ends_fails_the_roll_and_names_the_instance(world: Any) -> None:
    w = world(3)
    result = w.roll(drainer=lambda places: {p.instance_id: "busy" for p in places}, batch_timeout=120.0)
    assert result.failed
    assert "was not drained" in result.message
    assert w.versions == ["1"] * 3
    w.assert_as_found()


def test_several_target_groups_all_count(world: Any) -> None:
    cloud = SimulatedCloud(boot=BOOT, healthy_after=0, deregistration_delay=DRAIN)
    slow = cloud.targets.create("slow", healthy_after=50)
    fast = cloud.targets.create("fast")
    w = world(2, cloud=cloud, target_groups=[fast, slow])
    result = w.roll()
    assert not result.failed
    assert result.seconds >= 2 * (BOOT + 50 + HEALTHY)
    assert result.api_calls["DescribeTargetHealth"] <= 2 * result.api_calls["DescribeAutoScalingGroups"]


def test_a_target_group_that_no_balancer_uses_is_refused(world: Any) -> None:
    cloud = SimulatedCloud(boot=1, healthy_after=0)
    idle = cloud.targets.create("idle", listening=False)
    cloud.create_group("web", size=2, target_groups=[idle], settle=False)
    cloud.sleep(60)
    cloud.new_template_version("web")
    w = world.__new__(world)
    w.cloud, w.size, w.events = cloud, 2, []
    w.forget_calls()
    result = w.roll()
    assert result.failed
    assert "idle" in result.message
    assert w.writes == []


def test_a_group_without_load_balancer_rolls(world: Any) -> None:
    w = world(3, target_groups=0)
    result = w.roll()
    assert not result.failed
    assert "DescribeTargetHealth" not in result.api_calls
    assert w.versions == ["2"] * 3


def test_a_missing_group_is_one_sentence(world: Any) -> None:
    w = world(1)
    w.cloud.client("autoscaling").delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    w.settle()
    result = w.roll()
    assert result.failed
    assert "no Auto Scaling group web" in result.message
    assert result.state == "failed"


def test_what_is_left_of_a_roll_is_found_even_when_nothing_is_due(world: Any) -> None:
    w = world(2)
    last = w.roll().api_calls.total()
    w = world(2)
    w.killed_at(last - 3, after=True)
    assert TAG_JOURNAL in w.tags
    result = w.roll()
    assert result.done
    assert w.tags == {TAG_RECORD}


def _match(name: str) -> Any:
    from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match

    return Match(name)


def test_rolled_back_returns_to_what_the_last_roll_left(world: Any) -> None:
    w = world(3)
    assert w.roll().state == "completed"
    w.forget_calls()
    result = w.roll("rolled_back", batch_size=2)
    assert (result.state, result.failed, result.done) == ("rolled_back", False, True)
    assert w.versions == ["1"] * 3
    assert w.group["LaunchTemplate"]["Version"] == "1"
    assert (w.sizes, w.suspended, w.tags) == ((3, 3, 3), [], {TAG_RECORD})
    assert w.watch.lowest_healthy == 3
    assert len(w.watch.launched) == 6
    w.forget_calls()
    again = w.roll("rolled_back")
    assert (again.state, again.changed, w.writes) == ("rolled_back", False, [])


def test_rolled_back_without_a_record_is_refused(world: Any) -> None:
    w = world(3)
    result = w.roll("rolled_back")
    assert result.failed
    assert TAG_RECORD in result.message
    assert w.writes == []


def test_rolled_back_after_a_roll_that_stopped_half_way(world: Any) -> None:
    w = world(4)
    end = w.cloud.now() + 250
    w.roll(stopped=lambda: "stopped by SIGTERM" if w.cloud.now() >= end else "")
    assert "2" in w.versions
    result = w.roll("rolled_back")
    assert result.state == "rolled_back"
    assert w.versions == ["1"] * 4
    assert len(result.replaced) == 2


def test_a_killed_roll_can_be_rolled_back(world: Any) -> None:
    w = world(3)
    w.killed_at(24, after=True, owner="first")
    result = w.roll("rolled_back", owner="second", dead=["first"])
    assert result.state == "rolled_back", result.message
    w.settle()
    assert w.versions == ["1"] * 3
    assert (w.sizes, w.suspended, w.tags) == ((3, 3, 3), [], {TAG_RECORD})
    assert w.watch.lowest_healthy == 3


def test_match_all_by_single_batches_ends(world: Any) -> None:
    w = world(3, new_version=False)
    w.settle(60)
    counts = []
    for _ in range(6):
        result = w.roll("advanced", match=_match("all"))
        assert not result.failed
        counts.append(len(result.replaced))
        if result.done:
            break
    assert counts == [1, 1, 1]
    assert len(w.watch.launched) == 3


def _mixed(version: str = "$Latest") -> dict[str, Any]:
    return {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": version},
            "Overrides": [{"InstanceType": "t3.micro"}, {"InstanceType": "t3.small"}],
        },
        "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 100},
    }


def test_a_mixed_instances_policy_is_rolled_and_kept(world: Any) -> None:
    w = world(3, MixedInstancesPolicy=_mixed())
    before = w.group["MixedInstancesPolicy"]
    result = w.roll()
    assert (result.state, result.failed) == ("completed", False), result.message
    assert w.versions == ["2"] * 3
    assert len(w.watch.launched) == 3
    assert w.group["MixedInstancesPolicy"] == before
    w.forget_calls()
    assert w.roll().changed is False
    assert w.writes == []
