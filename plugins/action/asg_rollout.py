# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows a roll while it goes on.

The ordinary module does everything. When it runs on the controller, it writes its events to a file that a thread here
reads along; anywhere else there is nothing to read, and the task is an ordinary one.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

_PAUSE = 0.3  # seconds between two looks at the file
_COLORS = {
    "terminate": "COLOR_CHANGED",
    "turn": "COLOR_CHANGED",
    "failure": "COLOR_ERROR",
    "halt": "COLOR_ERROR",
    "drop": "COLOR_WARN",
    "note": "COLOR_WARN",
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module, and its events over the screen."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        asynchronous = bool(self._task.async_val)
        arguments = dict(self._task.args)
        if asynchronous or self._task.check_mode or not self._reads_along():
            return dict(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=asynchronous))
        path, own = self._events_file(arguments.get("events_path"))
        if path is None:
            return dict(self._execute_module(module_args=arguments, task_vars=task_vars))
        try:
            with Follower(path):
                return dict(self._execute_module(module_args={**arguments, "events_path": path}, task_vars=task_vars))
        finally:
            if own:
                with contextlib.suppress(OSError):
                    Path(path).unlink()

    def _reads_along(self) -> bool:
        """Whether the module writes to this very machine, as a user whose files we may read and prepare."""
        if getattr(self._connection, "transport", "") not in ("local", "ansible.builtin.local"):
            return False
        return not self._play_context.become or self._play_context.become_user in (None, "root")

    @staticmethod
    def _events_file(given: Any) -> tuple[str | None, bool]:
        """The file, and whether it is ours to delete. None where there is no place for one."""
        if given:
            return str(Path(str(given)).expanduser().absolute()), False
        try:
            handle, path = tempfile.mkstemp(prefix="asg_rollout-", suffix=".jsonl")
        except OSError:
            return None, False
        os.close(handle)
        return path, True


class Follower:
    """Shows what is appended to a file of events for as long as it is entered."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="asg_rollout", daemon=True)
        self._offset = self._path.stat().st_size if self._path.exists() else 0
        self._rest = b""

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        while True:
            last = self._ended.is_set()
            with contextlib.suppress(OSError):
                self._read()
            if last:
                return
            self._ended.wait(_PAUSE)

    def _read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = self._rest + file.read()
            self._offset = file.tell()
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and (shown := line_of(event)):
                color = getattr(constants, _COLORS.get(str(event.get("event")), ""), None)
                display.display(shown, color=color)


def line_of(event: dict[str, Any]) -> str:
    """An event as a line for people; "" for one that has nothing to say to them."""
    message = event.get("message")
    if not message or event.get("event") == "finish":
        return ""  # how it ended, Ansible shows itself
    clock = time.strftime("%H:%M:%S", time.localtime(float(event.get("time", 0))))
    return f"  {clock}  {event.get('group', '')}: {message}"
