# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a file along."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.plugin_utils import follow


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_lines_come_as_they_are_written_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("from before\n")
    seen: list[str] = []
    with follow.Follower(str(path), seen.append), path.open("a") as file:
        file.write("one\ntw")
        file.flush()
        until(lambda: seen == ["one"])
        file.write("o\nthree\n")
    assert seen == ["one", "two", "three"]


def test_a_file_that_is_begun_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a long line from before\n")
    seen: list[str] = []
    with follow.Follower(str(path), seen.append):
        path.write_text("new\n")
        until(lambda: seen == ["new"])


def test_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    seen: list[str] = []
    with follow.Follower(str(tmp_path / "log"), seen.append):
        (tmp_path / "log").write_text("one\n")
    assert seen == ["one"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_between_two_lines(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "log"
    begun, told = threading.Event(), list[str]()

    def show(line: str) -> None:
        begun.set()
        time.sleep(0.5)
        told.append(line)

    before = signal.signal(number, lambda *_: told.append("signal"))
    try:
        ours = signal.getsignal(number)
        with follow.Follower(str(path), show):
            path.write_text("one\n")
            assert begun.wait(10)
            os.kill(os.getpid(), number)
            assert told == ["one", "signal"]
        assert signal.getsignal(number) is ours
    finally:
        signal.signal(number, before)


def test_the_file_is_the_users_or_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow.file_for(str(tmp_path / "x"), "it-") == (str(tmp_path / "x"), False)
    monkeypatch.setattr(follow.tempfile, "tempdir", str(tmp_path))
    path, own = follow.file_for(None, "it-")
    assert own
    assert path is not None
    assert Path(path).stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(follow.tempfile, "tempdir", str(tmp_path / "absent"))
    assert follow.file_for(None, "it-") == (None, False)
