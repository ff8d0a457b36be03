# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolls on paper: what they tell is what the options and the group's numbers make of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.boring.fleet.plugins.action import rollout_simulation
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError
from ansible_collections.boring.fleet.plugins.plugin_utils.simulated_roll import Fleet, Outcome, simulate

DEFAULTS = {name: argument.get("default") for name, argument in rollout_simulation._SPEC.items()}


def fleet(**given: Any) -> Fleet:
    return Fleet.parse(DEFAULTS | given)


def roll(imagined: Fleet, **options: Any) -> Outcome:
    return simulate(imagined, rollout_simulation.ActionModule._options(options))


def test_the_numbers_are_those_of_the_group() -> None:
    outcome = roll(fleet(size=4, boot_time=100, healthy_after=0, drain_time=60, zones=1))
    assert outcome.result.state == "completed"
    assert len(outcome.result.replaced) == 4
    assert outcome.result.lowest_in_service == 4
    bound = 4 * (100 + 10) + 60
    assert bound <= outcome.result.seconds < 1.3 * bound
    assert outcome.surge == 1
    # One beyond the size for the time of the roll, and each old one until it is drained.
    assert 4 * 110 / 3600 <= outcome.surge_hours <= (outcome.result.seconds + 4 * 70) / 3600


def test_bigger_batches_are_sooner_over_and_cost_more_at_once() -> None:
    slow, fast = roll(fleet(size=12)), roll(fleet(size=12), batch_size="50%")
    assert fast.result.seconds < slow.result.seconds / 2
    assert (slow.surge, fast.surge) == (1, 6)
    assert fast.result.api_calls.total() < slow.result.api_calls.total()


def test_max_unavailable_shows_in_the_lowest_capacity() -> None:
    assert roll(fleet(size=6), max_unavailable=2, batch_size=2).result.lowest_in_service == 4


def test_a_seed_is_a_day() -> None:
    imagined: dict[str, Any] = {"size": 8, "boot_spread": 60, "failure_rate": 0.2}
    one, again = (roll(fleet(**imagined, seed=5), max_failures=9) for dummy in range(2))
    other = roll(fleet(**imagined, seed=6), max_failures=9)
    assert one.events == again.events
    assert one.events != other.events


@pytest.mark.parametrize("target_groups", [0, 1])
def test_a_version_that_never_works_fails_on_paper(target_groups: int) -> None:
    outcome = roll(fleet(size=3, failure_rate=1, target_groups=target_groups), max_failures=0)
    assert outcome.result.failed
    assert outcome.result.lowest_in_service == 3
    assert "It would fail" in outcome.summary(fleet(size=3), None)


def test_health_checks_and_drains_are_part_of_it() -> None:
    options: dict[str, Any] = {
        "health_checks": [{"type": "tcp", "port": 80}],
        "drain": {"type": "http", "port": 80, "path": "/drain"},
    }
    outcome = roll(fleet(size=2), **options)
    assert outcome.result.state == "completed"
    assert outcome.result.api_calls["DescribeInstances"] > 0
    assert roll(
        fleet(size=3, failure_rate=1, target_groups=0), max_failures=0, batch_timeout=100, **options
    ).result.failed


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": 10_001}, "size is 10001"),
        ({"size": 3, "min_size": 4}, "min_size 4"),
        ({"size": 3, "max_size": 2}, "max_size 2"),
        ({"size": 3, "failure_rate": 1.1}, "failure_rate is 1.1"),
        ({"size": 3, "boot_time": 10, "boot_spread": 11}, "boot_spread is 11"),
        ({"size": 3, "zones": 0}, "zones is 0"),
    ],
)
def test_bad_groups_are_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(RolloutError, match=named):
        fleet(**given)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": "none"}, "batch_size"),
        ({"batchsize": 2}, "batchsize"),
        ({"state": "aborted"}, "options.state"),
        ({"launch_template": {"name": "x"}}, "options.launch_template"),
        ({"canary": -1}, "canary"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(RolloutError, match=named):
        roll(fleet(size=2), **options)


class _Task:
    def __init__(self, args: dict[str, Any], check_mode: bool = False) -> None:
        self.args = args
        self.check_mode = check_mode
        self.async_val = 0
        self.diff = False


class _Connection:
    class _shell:  # noqa: N801 - Ansible's own name
        tmpdir = None


def act(monkeypatch: pytest.MonkeyPatch, check_mode: bool = False, **args: Any) -> dict[str, Any]:
    monkeypatch.setattr(rollout_simulation.ActionBase, "run", lambda self, tmp, task_vars: {})
    plugin = rollout_simulation.ActionModule.__new__(rollout_simulation.ActionModule)
    plugin._task = _Task(args, check_mode)
    return plugin.run(task_vars={})


def test_page_and_picture_are_written_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page, picture = tmp_path / "roll.html", tmp_path / "roll.svg"
    task: dict[str, Any] = {"size": 3, "hourly_price": 0.5, "dest": str(page), "picture": str(picture)}
    assert act(monkeypatch, check_mode=True, **task)["changed"]
    assert not page.exists()
    first, again = act(monkeypatch, **task), act(monkeypatch, **task)
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["surge_cost"] == pytest.approx(first["surge_hours"] / 2, abs=1e-3)
    assert "3 of 3 replaced" in first["msg"]
    assert "cost of the surge" in page.read_text()
    assert ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own


def test_a_directory_that_is_missing_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = act(monkeypatch, size=2, picture=str(tmp_path / "none" / "x.svg"))
    assert result["failed"]
    assert result["msg"].startswith(f"picture: {tmp_path}")


def test_an_installed_collection_brings_its_own_local_cloud(tmp_path: Path) -> None:
    """Where no package of that name is on Python's path, and under that one name."""
    utils = "ansible_collections.boring.fleet.plugins.plugin_utils"
    script = (
        f"from {utils}.simulated_roll import _local_cloud; _local_cloud(); "
        "from localcloud.autoscaling.simulation import SimulatedCloud as found; from localcloud.faults import Faults; "
        "print(found.__module__, Faults.__module__)"
    )
    collections = Path(__file__).parents[4] / "build" / "collections"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(collections)}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.stdout == "localcloud.autoscaling.simulation localcloud.faults\n", done.stderr
