# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal, timing, plan, owner, options: the small parts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import timing
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.choice import level
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.plan import make_plan
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import Sorter
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.sizes import settle
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import (
    decode,
    decode_record,
    encode,
    encode_record,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import parse_policy, parse_request
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.owner import Owner
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Group,
    Instance,
    Observation,
    RolloutError,
    Template,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import Journal, Record
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Window
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Amount, Policy, Target

FULL = Journal(
    owner="host/0123456789/4711/99",
    beat=1.0,
    started=2.0,
    target=Target(Template("lt-0abc", "", "7")),
    spec="$Latest",
    surge=1,
    pending=3,
    desired=10,
    headroom=2,
    max_size=10,
    old=9,
    suspended=("AZRebalance",),
    failed=1,
    back=True,
)


def test_a_journal_survives_its_tag() -> None:
    assert decode(encode(FULL)) == FULL


def test_a_journal_fits_into_a_tag_with_the_longest_of_everything() -> None:
    full = replace(
        FULL,
        owner="h" * 200,
        beat=1795250678.0,
        started=1795250678.0,
        target=Target(Template("lt-" + "a" * 17, "n" * 128, "99999")),
        desired=9999,
        max_size=9999,
        old=9999,
        headroom=999,
        surge=999,
        pending=999,
    )
    assert len(encode(full)) <= 256
    assert all(character.isalnum() or character in " +-=._:/@" for character in encode(full))


@pytest.mark.parametrize(
    "value", ["mine", "owner=x", "owner=x beat=soon start=1 to=lt-1:2", "", "owner=x beat=1 start=1 to=lt-1"]
)
def test_anything_else_is_no_journal(value: str) -> None:
    with pytest.raises(RolloutError, match="boring:rollout"):
        decode(value)


@pytest.mark.parametrize(
    "number", ["nan", "inf", "-inf", "Infinity", "-1", "1e400", "1e5", "+1", "1_0", "\u00b2", "0x1", "9" * 30, ""]
)
def test_numbers_that_no_roll_writes_are_damage(number: str) -> None:
    for value in (
        f"owner=x beat={number} start=1 to=lt-1:2 sizes=0",
        f"owner=x beat=1 start={number} to=lt-1:2 sizes=0",
        f"owner=x beat=1 start=1 to=lt-1:2 sizes=0/0/{number}",
        *([f"owner=x beat=1 start=1 to=lt-1:2 sizes={number}"] if number else []),
    ):
        with pytest.raises(RolloutError, match="cannot be read as the journal of a roll"):
            decode(value)
    assert decode_record(f"from=lt-1:2 start={number}") is None
    assert decode_record(f"from=lt-1:2 start=1 stopped={number}") is None
    assert decode_record("from=lt-1:2 start=1 stopped=1") is not None


def test_a_record_survives_its_tag() -> None:
    for template in (Template("lt-1", "", "3"), Template("", "my launch configuration")):
        record = Record(template, 5.0, unfinished=True)
        assert decode_record(encode_record(record)) == record
    assert decode_record("something else") is None


@pytest.mark.parametrize(
    ("surge", "pending", "shown", "old_now", "settled"),
    [
        (0, 1, 10, 10, 0),  # the raise did not happen
        (0, 1, 11, 10, 1),  # it did
        (0, 1, 13, 10, 0),  # somebody wrote a number
        (3, 0, 13, 10, 3),  # nobody went yet
        (3, 0, 12, 9, 2),  # one went
        (3, 0, 10, 7, 0),  # all went
        (3, 0, 15, 7, 0),  # somebody wrote a number
        (2, 2, 14, 5, 0),  # nothing was under way, somebody wrote a number
    ],
)
def test_what_a_killed_run_left_is_found_out(surge: int, pending: int, shown: int, old_now: int, settled: int) -> None:
    left = replace(FULL, surge=surge, pending=pending, desired=10, old=10, headroom=0, max_size=20)
    group = Group("web", 1, 20, shown, None)
    found = settle(left, group, old_now)
    assert (found.surge, found.pending, found.desired) == (settled, settled, shown - settled)


def test_a_raise_of_max_size_that_did_not_happen_is_not_taken_back() -> None:
    left = replace(FULL, surge=0, pending=2, desired=10, headroom=2, max_size=10)
    assert settle(left, Group("web", 1, 10, 10, None), 9).headroom == 0
    assert settle(left, Group("web", 1, 12, 12, None), 9).headroom == 2


# ---- timing --------------------------------------------------------------------------------------------------------


def test_the_window_closes_round_a_steady_boot() -> None:
    window = Window()
    looks = []
    for _ in range(8):
        age = last = 0.0
        count = 0
        while True:
            age = timing.look_for(age, 0.0, window, 5, 30)
            count += 1
            if age >= 90:
                break
            last = age
        window = timing.learn(window, last, age)
        looks.append((count, age))
    assert window.high - window.low <= timing.PRECISE
    assert looks[-1][1] - 90 <= timing.PRECISE
    assert looks[-1][0] <= 4


def test_a_window_that_no_longer_holds_is_forgotten() -> None:
    assert timing.learn(Window(85, 90), 100, 120) == Window(100, 120)
    assert timing.learn(Window(85, 90), 60, 88) == Window(85, 88)


@pytest.mark.parametrize("due", [0, 3, 10, 31, 100, 1000])
def test_looks_keep_their_distance(due: float) -> None:
    at = timing.look_at(0, due, 5, 30)
    assert 5 <= at <= 30 * 1.021


# ---- plan ----------------------------------------------------------------------------------------------------------


def _group(count: int, zones: str = "abc") -> Observation:
    template = Template("lt-1", "web", "1")
    instances = tuple(Instance(f"i-{n:05}", zones[n % len(zones)], "InService", True, template) for n in range(count))
    group = Group("web", 1, count, count, template, instances, tuple(zones))
    return Observation(group, {instance.id: "" for instance in instances})


def _journal(desired: int) -> Journal:
    return Journal("me", 0, 0, Target(Template("lt-1", "web", "2")), desired=desired, max_size=desired)


def test_batches_hit_the_zones_evenly() -> None:
    plan = make_plan(_group(12), _journal(12), Policy(batch_size=Amount(3), canary=0), Sorter())
    assert [sorted(due.instance.zone for due in batch) for batch in plan.batches] == [["a", "b", "c"]] * 4


def test_a_plan_for_ten_thousand_names_each_of_them_once() -> None:
    seen, journal = _group(10_000), _journal(10_000)
    plan = make_plan(seen, journal, Policy(batch_size=Amount(10, percent=True)), Sorter())
    planned = [due.instance.id for batch in plan.batches for due in batch]
    assert plan.due == 10_000
    assert sorted(planned) == sorted(one.id for one in seen.group.instances)


def test_level_fills_the_emptiest_first() -> None:
    assert level({"a": 3, "b": 1, "c": 2}, 3) == {"a": 0, "b": 2, "c": 1}
    assert level({"a": 0}, 1000) == {"a": 1000}


@pytest.mark.parametrize(
    ("given", "total", "units"), [("25%", 10, 2), ("25%", 3, 1), ("100%", 7, 7), (3, 10, 3), ("2", 1, 2)]
)
def test_amounts(given: Any, total: int, units: int) -> None:
    assert Amount.parse(given, "batch_size", 1).of(total, least=1) == units


# ---- owner ---------------------------------------------------------------------------------------------------------


def test_a_process_that_ended_is_known_to_be_dead() -> None:
    me = Owner.this_process()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = (me.proc / str(child.pid) / "stat").read_text().rpartition(")")[2].split()[19]
    name = f"host/{me.machine}/{child.pid}/{started}"
    assert not me.is_dead(name)
    child.communicate(b"\n", timeout=20)
    assert me.is_dead(name)
    assert me.is_dead(f"host/{me.machine}/{os.getpid()}/1"), "another process had this pid"
    assert me.is_dead(me.name)


@pytest.mark.parametrize("name", ["elsewhere/0000000000/1/1", "", "x", "a/b/c/d", "host//1/1"])
def test_nobody_elses_process_is_declared_dead(name: str) -> None:
    assert not Owner.this_process().is_dead(name)


# ---- options -------------------------------------------------------------------------------------------------------

DEFAULTS: dict[str, Any] = {
    "group": "web",
    "state": "completed",
    "launch_template": None,
    "batch_size": "1",
    "max_unavailable": "0",
    "canary": 1,
    "min_healthy_time": 10.0,
    "bake_time": 0.0,
    "batch_timeout": 900.0,
    "max_failures": 1,
    "on_failure": "stop",
    "health_checks": [],
    "drain": None,
    "match": "template",
    "max_age": None,
    "instances": [],
    "standby": "ignore",
    "protected": "replace",
    "raise_max_size": True,
    "suspend_az_rebalance": True,
    "strategy": "batches",
    "poll_interval": 5.0,
    "lock_timeout": 900.0,
}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"batch_size": "0"}, "batch_size"),
        ({"batch_size": "many"}, "batch_size"),
        ({"batch_size": "120%"}, "batch_size"),
        ({"batch_size": "-1"}, "batch_size"),
        ({"max_unavailable": "1.5"}, "max_unavailable"),
        ({"canary": -1}, "canary"),
        ({"min_healthy_time": -1}, "min_healthy_time"),
        ({"batch_timeout": 0}, "batch_timeout"),
        ({"poll_interval": 0}, "poll_interval"),
        ({"match": "age"}, "max_age"),
        ({"state": "rolled_back", "match": "all"}, "match=all"),
        ({"max_age": 5.0}, "max_age"),
        ({"instances": ["web-1"]}, "instances"),
        ({"health_checks": [{"type": "http"}]}, r"health_checks\[0\]"),
        ({"health_checks": [{"type": "tcp", "port": 99999}]}, "port"),
        ({"health_checks": [{"type": "tcp", "port": 80, "path": "/"}]}, "path"),
        ({"health_checks": [{"type": "http", "port": 80, "path": "no"}]}, "path"),
        ({"health_checks": [{"type": "http", "port": 80, "status": "fine"}]}, "status"),
        ({"health_checks": [{"type": "command", "argv": []}]}, "argv"),
        ({"health_checks": [{"type": "http", "port": 80, "timeout": 0}]}, "timeout"),
        ({"drain": {"type": "tcp", "port": 80}}, "drain"),
        ({"drain": {"type": "http"}}, "drain"),
    ],
)
def test_a_wrong_option_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(RolloutError, match=named):
        parse_policy({**DEFAULTS, **given})


@pytest.mark.parametrize(
    "given",
    [
        {"group": " "},
        {"launch_template": {"id": "lt-1", "name": "web"}},
        {"launch_template": {"version": "2"}},
        {"launch_template": {"name": "web", "version": "newest"}},
        {"launch_template": {"name": "web"}, "state": "rolled_back"},
    ],
)
def test_a_wrong_request_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RolloutError):
        parse_request({**DEFAULTS, **given})


def test_the_defaults_are_the_contracts() -> None:
    policy, checks, drain = parse_policy(DEFAULTS)
    assert policy == Policy()
    assert (checks, drain) == ((), None)
