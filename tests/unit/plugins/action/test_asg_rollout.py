# SPDX-License-Identifier: GPL-3.0-or-later
"""The live progress: a file that is read while it grows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.action import asg_rollout
from ansible_collections.boring.fleet.plugins.action.asg_rollout import ActionModule, line_of, show
from ansible_collections.boring.fleet.plugins.plugin_utils.follow import Follower


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(asg_rollout.display, "display", lambda text, color=None: lines.append(text))
    return lines


def _event(message: str, kind: str = "note") -> str:
    return json.dumps({"time": 0.0, "group": "web", "event": kind, "message": message}) + "\n"


def test_lines_show_while_the_file_grows(tmp_path: Path, shown: list[str]) -> None:
    path = tmp_path / "events"
    path.write_text(_event("of an earlier roll"))
    with Follower(str(path), show), path.open("a") as file:
        half = _event("second")
        file.write(_event("first") + half[:20])
        file.flush()
        limit = time.monotonic() + 10
        while not shown and time.monotonic() < limit:
            time.sleep(0.02)
        assert [line.rpartition(": ")[2] for line in shown] == ["first"]
        file.write(half[20:] + "no json\n" + _event("the end", "finish"))
    assert [line.rpartition(": ")[2] for line in shown] == ["first", "second"]


def test_a_file_that_never_comes_shows_nothing(tmp_path: Path, shown: list[str]) -> None:
    with Follower(str(tmp_path / "never"), show):
        pass
    assert shown == []


def test_a_line_names_the_group() -> None:
    line = line_of({"time": 0.0, "group": "web", "event": "turn", "message": "launching 1"})
    assert line.endswith("web: launching 1")
    assert line_of({"time": 0.0, "group": "web", "event": "capacity", "serving": 3}) == ""


class _Task:
    async_val = 0
    check_mode = False
    args: dict[str, Any] = {"group": "web"}  # noqa: RUF012


class _Context:
    become = False
    become_user: str | None = None


class _Connection:
    def __init__(self, transport: str) -> None:
        self.transport = transport


def _action(transport: str, monkeypatch: pytest.MonkeyPatch, *, become: str | None = None) -> dict[str, Any]:
    """What the module is called with."""
    action = ActionModule.__new__(ActionModule)
    action._task, action._connection, action._play_context = _Task(), _Connection(transport), _Context()
    action._play_context.become, action._play_context.become_user = become is not None, become
    called: dict[str, Any] = {}

    def execute(module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        called.update(module_args)
        return {"changed": False}

    monkeypatch.setattr(action, "_execute_module", execute, raising=False)
    monkeypatch.setattr(asg_rollout.ActionBase, "run", lambda *_: {})
    assert action.run(task_vars={}) == {"changed": False}
    return called


def test_on_the_controller_events_go_to_a_file_that_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    called = _action("local", monkeypatch)
    assert called["group"] == "web"
    assert not Path(called["events_path"]).exists()


@pytest.mark.parametrize(("transport", "become"), [("ssh", None), ("local", "nobody")])
def test_elsewhere_it_is_an_ordinary_task(monkeypatch: pytest.MonkeyPatch, transport: str, become: str | None) -> None:
    assert _action(transport, monkeypatch, become=become) == {"group": "web"}
