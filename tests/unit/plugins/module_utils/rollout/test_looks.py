# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept from look to look is what a look at everything would tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import Sorter
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.parse import Parser
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Group,
    Instance,
    Observation,
    Template,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Leavers, Memory
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match, Policy, Target

NEW, OLD = Template("lt-1", "web", "2"), Template("lt-1", "web", "1")
NAMES = [f"i-{number}" for number in range(6)]
STATES = ["InService", "Pending", "Terminating", "Standby", "Warmed:Stopped"]
JOURNAL = Journal(owner="me", beat=0.0, started=100.0, target=Target(NEW))
PARTS = ("old", "fresh", "kept", "apart")

instances = st.builds(
    Instance,
    id=st.sampled_from(NAMES),
    zone=st.sampled_from("ab"),
    state=st.sampled_from(STATES),
    healthy=st.booleans(),
    template=st.sampled_from([NEW, OLD, None]),
    protected=st.booleans(),
    weight=st.integers(1, 3),
)
members = st.lists(instances, max_size=6, unique_by=lambda instance: instance.id).map(tuple)
gone = st.dictionaries(st.sampled_from(NAMES), st.just(1.0), max_size=2)
policies = st.builds(
    Policy,
    match=st.sampled_from(Match),
    instances=st.sampled_from([frozenset[str](), frozenset(NAMES[:3])]),
    protected=st.sampled_from(["replace", "skip"]),
    standby=st.sampled_from(["replace", "ignore"]),
    max_age=st.just(50.0),
)


def group(found: tuple[Instance, ...]) -> Group:
    return Group("web", 0, 9, 3, NEW, found)


@given(st.lists(st.tuples(members, gone), min_size=2, max_size=6), policies)
@settings(max_examples=200, deadline=None)
def test_roles_look_by_look_are_the_roles_of_one_look(
    looks: list[tuple[tuple[Instance, ...], Mapping[str, float]]], policy: Policy
) -> None:
    born = dict(zip(NAMES, (10.0, 60.0, 90.0, 100.0, 110.0), strict=False))
    sorter = Sorter()
    for found, left in looks:
        seen = Observation(group(found), born=born)
        journal = replace(JOURNAL, memory=Memory(old=Leavers(left)))
        kept, anew = sorter.sort(seen, journal, policy), Sorter().sort(seen, journal, policy)
        for name in PARTS:
            assert sorted(getattr(kept, name), key=str) == sorted(getattr(anew, name), key=str), name
        assert (kept.old_units, kept.all_units, dict(kept.part)) == (anew.old_units, anew.all_units, dict(anew.part))
        assert anew.all_units == sum(i.weight for i in (*anew.old, *anew.fresh, *anew.kept))


@given(members, st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["", "is slow"])), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_sick_are_those_with_a_verdict(found: tuple[Instance, ...], health: dict[str, str], balanced: bool) -> None:
    whole = replace(group(found), target_groups=("arn",) if balanced else ())
    for seen in (
        Observation(whole),
        Observation(whole, health=health),
        Observation(whole, health=health, checks={"i-0": "says no", "i-1": ""}),
    ):
        assert dict(seen.sick) == {i.id: why for i in found if (why := seen.verdict(i))}


def test_the_parser_gives_the_same_value_until_an_instance_changes() -> None:
    def shape(name: str, state: str) -> dict[str, str]:
        return {"InstanceId": name, "LifecycleState": state, "HealthStatus": "Healthy"}

    def look(*shapes: dict[str, str]) -> tuple[Instance, ...]:
        sizes = {"MinSize": 0, "MaxSize": 9, "DesiredCapacity": 2}
        return parser.group({"AutoScalingGroupName": "web", **sizes, "Instances": list(shapes)}).instances

    parser = Parser()
    first = look(shape("i-1", "InService"), shape("i-2", "Pending"))
    assert look(shape("i-1", "InService"), shape("i-2", "Pending")) is first
    second = look(shape("i-1", "InService"), shape("i-2", "InService"))
    assert second[0] is first[0]
    assert [i.state for i in second] == ["InService", "InService"]
    assert look(shape("i-2", "InService")) == second[1:]
