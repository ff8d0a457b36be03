# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure core, by table: what is seen and remembered, and the one step that follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import learning, wording
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import step as core
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import Sorter
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.situation import Situation
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import encode
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Activity,
    Group,
    Instance,
    Observation,
    Template,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import (
    Capacity,
    Course,
    Ending,
    Failure,
    Launches,
    Leavers,
    Lock,
    Losses,
    Memory,
    Newcomers,
    Writes,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Amount, Policy, Target
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import (
    Beat,
    Drop,
    Finish,
    Forget,
    Halt,
    Restore,
    Resume,
    Shrink,
    Suspend,
    Turn,
    Wait,
)

NOW = 1_000_000.0
OLD = Template("lt-1", "web", "1")
NEW = Template("lt-1", "web", "2")


def old(*names: str, state: str = "InService", zone: str = "a") -> list[Instance]:
    return [Instance(name, zone, state, True, OLD) for name in names]


def new(*names: str, state: str = "InService", zone: str = "a") -> list[Instance]:
    return [Instance(name, zone, state, True, NEW) for name in names]


def see(
    instances: list[Instance], *, desired: int | None = None, sick: dict[str, str] | None = None, **group: Any
) -> Observation:
    number = len(instances) if desired is None else desired
    values: dict[str, Any] = {"min": 1, "max": 10, "template": NEW, "zones": ("a",), "target_groups": ("tg",)} | group
    health = {instance.id: (sick or {}).get(instance.id, "") for instance in instances if instance.state == "InService"}
    return Observation(Group("web", desired=number, instances=tuple(instances), **values), health)


def journal(*, proven: tuple[str, ...] = (), coming: tuple[str, ...] = (), **fields: Any) -> Journal:
    memory = Memory(
        new=Newcomers(proven=frozenset(proven), spare=proven, coming=dict.fromkeys(coming, 0)),
        launches=Launches(triggered_at=NOW),
        writes=Writes(suspended=True),
        course=Course(progress_at=NOW),
    )
    memory = replace(memory, **fields.pop("memory", {}))
    values: dict[str, Any] = {
        "owner": "me",
        "beat": NOW,
        "started": NOW,
        "target": Target(NEW),
        "max_size": 10,
    } | fields
    return Journal(memory=memory, **values)


def decide(seen: Observation, noted: Journal, now: float = NOW, **policy: Any) -> Any:
    return core.next_step(Situation.of(seen, noted, Policy(**policy), now, Sorter()))


def remember(seen: Observation, noted: Journal, policy: Policy, now: float) -> Journal:
    return learning.remember(seen, noted, policy, now, Sorter())


def turn(step: Any) -> tuple[list[tuple[str, str, bool]], int, int | None, int | None]:
    assert isinstance(step, Turn), step
    return [(v.instance.id, v.successor, v.shrink) for v in step.victims], step.launches, step.grow_to, step.max_to


def test_it_begins_with_one_launch_and_terminates_nobody() -> None:
    step = decide(see(old("o1", "o2", "o3")), journal(desired=3))
    assert turn(step) == ([], 1, 4, None)
    assert step.resize.surge == 1
    assert step.resize.desired == 3


def test_max_size_is_raised_by_what_is_missing_only() -> None:
    step = decide(see(old("o1", "o2", "o3"), max=3), journal(desired=3, max_size=3))
    assert turn(step) == ([], 1, 4, 4)
    assert (step.resize.headroom, step.resize.max_size) == (1, 3)


def test_a_successor_is_launched_by_the_termination_alone() -> None:
    step = decide(see([*old("o1", "o2"), *new("n1")], desired=3), journal(proven=("n1",), surge=1, desired=2))
    assert turn(step) == ([("o1", "n1", False)], 1, None, None)
    assert step.resize is None, "nothing about the sizes changes, so nothing is noted"


def test_the_last_one_takes_the_capacity_with_it() -> None:
    step = decide(see([*old("o1"), *new("n1", "n2")], desired=3), journal(proven=("n1", "n2"), surge=1, desired=2))
    victims, launches, grow, _ = turn(step)
    assert (victims[0][0], victims[0][2], launches, grow) == ("o1", True, 0, None)
    assert step.resize.surge == 0


def test_the_canary_goes_alone_then_batches_are_full() -> None:
    group = old("o1", "o2", "o3", "o4", "o5")
    assert turn(decide(see(group), journal(desired=5), batch_size=Amount(3)))[1] == 1
    assert turn(decide(see(group), journal(desired=5), batch_size=Amount(3), canary=0))[1] == 3
    after = decide(
        see([*group, *new("n1")], desired=6), journal(proven=("n1",), surge=1, desired=5), batch_size=Amount(3)
    )
    assert turn(after) == ([("o1", "n1", False)], 3, 8, None)


def test_max_unavailable_lets_the_first_go_at_once() -> None:
    step = decide(see(old("o1", "o2", "o3")), journal(desired=3), max_unavailable=Amount(1))
    assert turn(step) == ([("o1", "", False)], 1, None, None)


def test_an_unproven_new_one_lets_nobody_go() -> None:
    step = decide(see([*old("o1", "o2"), *new("n1")], desired=3), journal(coming=("n1",), surge=1, desired=2))
    assert isinstance(step, Wait)


def test_a_launch_that_does_not_show_yet_lets_nobody_go() -> None:
    assert isinstance(decide(see(old("o1", "o2"), desired=3), journal(surge=1, desired=2)), Wait)


def test_an_old_one_that_serves_stays_while_a_proven_one_is_sick() -> None:
    seen = see([*old("o1", "o2"), *new("n1")], desired=3, sick={"o2": "unhealthy"})
    victims = turn(decide(seen, journal(proven=("n1",), surge=1, desired=2)))[0]
    assert [victim[0] for victim in victims] == ["o2"], "the sick one goes first"
    seen = see([*old("o1", "o2"), *new("n1")], desired=3, sick={"n1": "unhealthy"})
    assert isinstance(decide(seen, journal(proven=("n1",), surge=1, desired=2)), Wait)


def test_no_size_is_written_over_one_that_does_not_show_yet() -> None:
    seen = replace(see(old("o1", "o2", "o3"), desired=3), at=NOW)
    noted = journal(desired=3, memory={"capacity": Capacity(written_at=NOW - 5, written_to=4, written_range=(3, 4))})
    assert isinstance(decide(seen, replace(noted, surge=1)), Wait)


def test_an_observation_from_before_our_write_does_not_count_as_somebody_elses() -> None:
    seen = replace(see(old("o1", "o2", "o3"), desired=9), at=NOW - 10)
    noted = journal(
        desired=3, surge=1, memory={"capacity": Capacity(written_at=NOW - 5, written_to=4, written_range=(3, 4))}
    )
    view = Situation.of(seen, noted, Policy(), NOW, Sorter())
    assert (view.desired, view.actual, view.settled) == (3, 4, False)


def test_without_room_and_leave_to_raise_it_waits() -> None:
    step = decide(see(old("o1", "o2"), max=2), journal(desired=2, max_size=2), raise_max_size=False)
    assert isinstance(step, Wait)
    assert "MaxSize" in step.why


def test_az_rebalance_is_suspended_before_anything_is_launched() -> None:
    noted = journal(desired=1, suspended=("AZRebalance",))
    noted = replace(noted, memory=replace(noted.memory, writes=Writes()))
    assert isinstance(decide(see(old("o1")), noted), Suspend)


def test_the_lock_is_renewed() -> None:
    assert isinstance(decide(see(old("o1")), journal(desired=1), now=NOW + 541), Beat)
    assert not isinstance(decide(see(old("o1")), journal(desired=1), now=NOW + 500), Beat)


def test_surplus_is_given_up_by_name_the_least_advanced_first() -> None:
    seen = see([*new("n1", "n2"), *new("n3", state="Pending")], desired=3)
    step = decide(seen, journal(proven=("n1", "n2"), coming=("n3",), surge=1, desired=2))
    assert isinstance(step, Drop)
    assert [instance.id for instance in step.instances] == ["n3"]
    assert step.resize is not None
    assert step.resize.surge == 0


@pytest.mark.parametrize(("failed", "stops"), [(1, False), (2, True)])
def test_one_failure_more_than_tolerated_stops(failed: int, stops: bool) -> None:
    failures = tuple(Failure(f"n{n}", "did not boot") for n in range(failed))
    step = decide(see(old("o1")), journal(desired=1, memory={"losses": Losses(failures)}))
    assert isinstance(step, Halt) is stops
    if stops:
        assert step.state == "failed"
        assert "n1: did not boot" in step.reason


def test_no_progress_fails_what_is_not_proven() -> None:
    seen = see([*old("o1"), *new("n1")], desired=2)
    noted = journal(
        surge=1,
        desired=1,
        memory={"new": Newcomers(coming={"n1": 0}, verdicts={"n1": "target group tg reports unhealthy"})},
    )
    step = decide(seen, noted, now=NOW + 901, lock_timeout=9999.0)
    assert isinstance(step, Drop)
    assert step.resize is None, "AWS is to launch another one"
    assert "unhealthy" in step.failures[0].reason
    step = decide(seen, noted, now=NOW + 901, lock_timeout=9999.0, max_failures=0)
    assert isinstance(step, Halt)


def test_nothing_launched_for_too_long_says_why() -> None:
    noted = journal(
        surge=1, desired=1, memory={"launches": Launches(shortage="not sufficient capacity", triggered_at=NOW)}
    )
    step = decide(see(old("o1"), desired=2), noted, now=NOW + 901, lock_timeout=9999.0)
    assert isinstance(step, Halt)
    assert "sufficient capacity" in step.reason


def test_a_lost_lock_ends_everything() -> None:
    step = decide(see(old("o1")), journal(desired=1, memory={"lock": Lock(lost_to="somebody")}))
    assert isinstance(step, Finish)
    assert step.state == "aborted"


def test_winding_down_puts_back_one_thing_after_the_other() -> None:
    group = [*old("o1", "o2"), *new("n1", state="Pending")]
    noted = journal(
        coming=("n1",),
        surge=1,
        desired=2,
        max_size=2,
        headroom=1,
        spec="$Latest",
        suspended=("AZRebalance",),
        memory={"ending": Ending("failed"), "writes": Writes(pointed_at=NOW - 100, suspended=True)},
    )
    seen = see(group, desired=3, max=3)
    assert isinstance(decide(seen, noted), Drop)
    noted = replace(noted, surge=0, memory=replace(noted.memory, old=Leavers({"n1": NOW}, frozenset({"n1"}))))
    assert decide(seen, noted) == Restore(2, "$Latest")
    noted = replace(noted, memory=replace(noted.memory, writes=replace(noted.memory.writes, restored=True)))
    assert decide(seen, noted) == Resume(("AZRebalance",))
    noted = replace(noted, memory=replace(noted.memory, writes=replace(noted.memory.writes, resumed=True)))
    assert decide(seen, noted) == Forget()


def test_capacity_for_which_nothing_was_launched_is_written_back() -> None:
    step = decide(see(old("o1", "o2"), desired=3), journal(surge=1, desired=2, memory={"ending": Ending("failed")}))
    assert isinstance(step, Shrink)
    assert step.to == 2


def test_proof_takes_min_healthy_time_without_a_break() -> None:
    noted = replace(journal(surge=1, desired=1, coming=("n1",)), beat=NOW)
    policy = Policy(min_healthy_time=10)
    well = see([*old("o1"), *new("n1")])
    sick = see([*old("o1"), *new("n1")], sick={"n1": "unhealthy"})
    for seconds, seen, proven in [
        (0, well, False),
        (9, well, False),
        (9.5, sick, False),
        (12, well, False),
        (22, well, True),
    ]:
        noted = remember(seen, noted, policy, NOW + seconds)
        assert ("n1" in noted.memory.new.proven) is proven, seconds


def test_a_poll_that_asked_nothing_of_the_target_groups_proves_nothing() -> None:
    noted = journal(surge=1, desired=1, coming=("n1",))
    blind = replace(see([*old("o1"), *new("n1")]), health=None)
    for seconds in (0, 30, 60):
        noted = remember(blind, noted, Policy(), NOW + seconds)
    assert not noted.memory.new.proven
    assert not noted.memory.new.healthy_since


def test_one_answer_that_leaves_an_instance_out_is_no_failure() -> None:
    noted = journal(surge=1, desired=1, coming=("n1",))
    without = see(old("o1"), desired=2)
    noted = remember(without, noted, Policy(), NOW)
    assert noted.memory.losses.failures == ()
    noted = remember(without, noted, Policy(), NOW + 5)
    assert [failure.instance_id for failure in noted.memory.losses.failures] == ["n1"]


def test_a_scale_in_that_takes_a_new_one_is_no_failure() -> None:
    noted = journal(surge=1, desired=3, coming=("n1",))
    gone = [*old("o1", "o2"), *new("n1", state="Terminating")]
    noted = remember(see(gone, desired=3), noted, Policy(), NOW)
    assert noted.memory.losses.failures == ()
    noted = remember(told(see(gone, desired=3), POLICY), noted, Policy(), NOW + 5)
    assert noted.memory.losses.failures == ()
    assert (noted.desired, noted.surge) == (2, 1)


POLICY = "a monitor alarm low in state ALARM triggered policy in changing the desired capacity from 4 to 3."
PERSON = "a user request explicitly set group desired capacity changing the desired capacity from 4 to 3."


def told(seen: Observation, *sentences: str) -> Observation:
    """An observation with what AWS says about changes of the capacity."""
    cause = "  ".join(f"At 2026-01-01T00:00:{second:02}Z {words}" for second, words in enumerate(sentences))
    return replace(seen, activities=(Activity("a1", "Terminating EC2 instance: i-1", "InProgress", cause),))


@pytest.mark.parametrize(
    ("sentences", "desired", "surge"),
    [
        ([POLICY], 2, 1),
        ([PERSON], 3, 0),
        (["a scheduled action update of AutoScalingGroup constraints to min: 1, max: 9, desired: 3 "
          "changing the desired capacity from 4 to 3."], 3, 0),
        (["a user request executed policy in changing the desired capacity from 4 to 3."], 2, 1),
        (["instance i-9 was taken out of service in response to a user request, shrinking the capacity from 4 to 3."],
         2, 1),
        ([PERSON.replace("to 3", "to 1"), POLICY.replace("4 to 3", "1 to 3")], 3, 0),
        ([POLICY.replace("4 to 3", "4 to 2"), PERSON.replace("from 4", "from 2")], 3, 0),
        # From before the roll wrote anything: they do not lead to what is shown.
        ([PERSON.replace("4 to 3", "9 to 4"), POLICY], 2, 1),
    ],
)  # fmt: skip
def test_a_number_wins_and_a_difference_counts(sentences: list[str], desired: int, surge: int) -> None:
    seen = told(see(old("o1", "o2", "o3"), desired=3), *sentences)
    noted = remember(seen, journal(surge=1, desired=3), Policy(), NOW)
    assert (noted.desired, noted.surge, noted.memory.writes.unsaved) == (desired, surge, True)


def test_a_change_that_nothing_explains_is_a_number_after_a_while() -> None:
    noted, shown = journal(surge=1, desired=3), see(old("o1", "o2", "o3"), desired=2)
    for later in (0, 5, 10):
        noted = remember(shown, noted, Policy(), NOW + later)
        assert isinstance(decide(shown, noted, NOW + later), Wait)
        assert (noted.desired, noted.surge) == (3, 1)
    noted = remember(shown, noted, Policy(), NOW + 15)
    assert (noted.desired, noted.surge) == (2, 0)


def test_a_max_size_that_somebody_lowered_cuts_the_surge_and_not_the_users_part() -> None:
    noted = journal(surge=3, desired=3, max_size=3, headroom=3)
    cut = see(old("o1", "o2", "o3"), desired=5, max=5)
    for later in (0, 15):
        noted = remember(cut, noted, Policy(), NOW + later)
    assert (noted.desired, noted.surge, noted.max_size, noted.headroom) == (3, 2, 5, 0)


def test_below_min_size_a_scale_in_took_what_was_the_rolls() -> None:
    seen = told(see(old("o1", "o2", "o3"), desired=3, min=3), POLICY)
    noted = remember(seen, journal(surge=1, desired=3), Policy(), NOW)
    assert (noted.surge, noted.desired) == (0, 3)


def test_the_lock_of_another_is_noticed() -> None:
    mine = journal(desired=1)
    theirs = encode(replace(mine, owner="them"))
    noted = remember(see(old("o1"), tags={TAG_JOURNAL: theirs}), mine, Policy(), NOW)
    assert noted.memory.lock.lost_to == "them"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("We currently do not have sufficient t3.micro capacity in the Availability Zone you requested", "PASSING"),
        ("InsufficientInstanceCapacity - try later. Launching EC2 instance failed.", "PASSING"),
        ("There is no Spot capacity available that matches your request.", "PASSING"),
        ("The image id '[ami-1]' does not exist", "FATAL"),
        ("You have requested more vCPU capacity than your current vCPU limit of 32 allows", "QUOTA"),
        ("Your quota allows for 0 more running instance(s). You requested at least 1.", "QUOTA"),
        ("There are not enough free addresses in subnet 'subnet-1' to satisfy the requested number", "ZONE"),
        ("Your requested instance type (g5.xlarge) is not supported in your requested Availability Zone (a).", "ZONE"),
        ("The requested configuration is currently not supported. Launching EC2 instance failed.", "ZONE"),
        ("You are not authorized to perform this operation.", "FATAL"),
        ("The key pair 'x' does not exist", "FATAL"),
        ("Client.InternalError: Client error on launch", "FATAL"),
    ],
)
def test_what_helps_against_a_refused_launch(message: str, kind: str) -> None:
    assert wording.kind_of_refusal(message).name == kind
