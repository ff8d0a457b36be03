# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps are real programs below a folder."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host.lifecycle import Result
from ansible_collections.boring.fleet.plugins.module_utils.host.steps import Folder


def step(root: Path, name: str, text: str, mode: int = 0o755) -> None:
    (root / "leave.d").mkdir(exist_ok=True)
    path = root / "leave.d" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)


def test_they_run_in_order_until_one_fails(tmp_path: Path) -> None:
    said: list[str] = []
    step(tmp_path, "10-first", "echo one")
    step(tmp_path, "20-second", "echo two; echo why it is so >&2; exit 3")
    step(tmp_path, "30-third", "echo three")
    step(tmp_path, "15-no.bak", "echo a copy of an editor")
    step(tmp_path, "16-no", "echo not executable", 0o644)
    result = Folder(tmp_path, said.append, 10)("leave.d", lambda: True)
    assert result == Result("20-second", 3, "why it is so")
    assert said == ["one", "two", "why it is so"]


def test_no_folder_is_no_step(tmp_path: Path) -> None:
    assert Folder(tmp_path, print, 10)("leave.d", lambda: True) == Result()


def test_what_it_says_comes_while_it_runs_and_a_tick_ends_all_that_it_started(tmp_path: Path) -> None:
    said: list[str] = []
    step(tmp_path, "10-long", f"echo begun; (sleep 30; echo late > {tmp_path}/late) & wait")
    began = time.monotonic()
    result = Folder(tmp_path, said.append, 60)("leave.d", lambda: "begun" not in said)
    assert result == Result("10-long", None, "")
    assert time.monotonic() - began < 20
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize("text", ["sleep 30", "trap '' TERM; while :; do sleep 0.1; done"])
def test_one_that_does_not_end_is_ended(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.boring.fleet.plugins.module_utils.host.steps._GRACE", 1.0)
    step(tmp_path, "10-long", text)
    assert Folder(tmp_path, print, 1)("leave.d", lambda: True) == Result("10-long", 1, "10-long did not end in 1 s")


def test_a_child_that_outlives_its_step_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step ends at once when it is asked to; the child that it started ignores that."""
    monkeypatch.setattr("ansible_collections.boring.fleet.plugins.module_utils.host.steps._GRACE", 1.0)
    said: list[str] = []
    step(
        tmp_path,
        "10-long",
        f"(trap '' TERM; while :; do sleep 0.1; date +%s%N > {tmp_path}/alive; done) & echo begun; sleep 30",
    )
    result = Folder(tmp_path, said.append, 60)("leave.d", lambda: "begun" not in said)
    assert result == Result("10-long", None, "")
    last = (tmp_path / "alive").read_text()
    time.sleep(1)
    assert (tmp_path / "alive").read_text() == last


def test_one_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    step(tmp_path, "10-bad", "")
    (tmp_path / "leave.d" / "10-bad").write_text("#!/no/such/program\n")
    result = Folder(tmp_path, print, 1)("leave.d", lambda: True)
    assert result.step == "10-bad"
    assert "cannot be run: No such file or directory" in result.said
