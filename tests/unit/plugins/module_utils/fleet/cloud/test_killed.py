# SPDX-License-Identifier: GPL-3.0-or-later
"""A run is killed before calls that change something, and run again: the end is the same as if it had never been killed, and nothing is there twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from moto.moto_api._internal import moto_api_backend

from tests.unit.plugins.module_utils.fleet.cloud.account import Account, KilledError
from tests.unit.plugins.module_utils.fleet.cloud.test_deploy import variables

pytestmark = pytest.mark.timeout(900)  # a hundred kills, half a second each on an idle machine

# Each third write, for its time; FLEET_KILLS=1 for each.
STEP = int(os.environ.get("FLEET_KILLS", "3"))
LOOKS = ("describe", "get", "list")
BEFORE = variables(worker=None, web={"scale": {"metric": "requests", "target": 1000}})
# Changes, one service less and one more.
AFTER = variables(
    worker={"size": {"min": 0, "max": 1}}, thumbs=None,
    web={"uses": ["cache"], "environment": {"MODE": "test"}, "size": {"min": 1, "max": 3}, "expose": {"hosts": ["a.example.org"]}},
)  # fmt: skip


def kills(aws: Account, prepare: Callable[[], None], work: Callable[[], Any]) -> int:
    """Kill `work` at each of its writes in turn; how many there were."""

    def begin() -> None:
        aws.killed_at = -1
        moto_api_backend.reset()
        aws.forget()
        shutil.rmtree(aws.path / "shop", ignore_errors=True)
        prepare()

    begin()
    work()
    calls, wanted = list(aws.operations), aws.everything()
    writes = [number for number, name in enumerate(calls) if not name.startswith(LOOKS)]
    for number in writes[::STEP]:
        begin()
        aws.killed_at = number
        try:
            work()
            raise AssertionError(f"it was not killed at call {number}, {calls[number]}")
        except KilledError:
            aws.killed_at = -1
        work()
        found = aws.everything()
        for kind, there in wanted.items():
            assert found[kind] == there, f"{kind}, after it was killed at call {number}, {calls[number]}"
        assert not work().changed, (
            f"a third run changes something, after it was killed at call {number}, {calls[number]}"
        )
    return len(writes)


def test_a_deploy(aws: Account) -> None:
    assert kills(aws, lambda: None, lambda: aws.deploy(BEFORE)) > 40


def test_a_deploy_that_changes_and_removes(aws: Account) -> None:
    assert kills(aws, lambda: (aws.deploy(BEFORE), None)[1], lambda: aws.deploy(AFTER, remove=True)) > 30


def test_a_destroy(aws: Account) -> None:
    assert kills(aws, lambda: (aws.deploy(BEFORE), None)[1], lambda: aws.destroy("shop", destroy_data=True)) > 30
