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
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.boring.fleet.plugins.plugin_utils import follow

display = Display()

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
        if asynchronous or self._task.check_mode or not follow.reads_along(self):
            return dict(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=asynchronous))
        path, own = follow.file_for(arguments.get("events_path"), "asg_rollout-")
        if path is None:
            return dict(self._execute_module(module_args=arguments, task_vars=task_vars))
        try:
            with follow.Follower(path, show):
                return dict(self._execute_module(module_args={**arguments, "events_path": path}, task_vars=task_vars))
        finally:
            if own:
                with contextlib.suppress(OSError):
                    Path(path).unlink()


def show(line: str) -> None:
    """Put an event on the screen."""
    try:
        event = json.loads(line)
    except ValueError:
        return
    if isinstance(event, dict) and (shown := line_of(event)):
        display.display(shown, color=getattr(constants, _COLORS.get(str(event.get("event")), ""), None))


def line_of(event: dict[str, Any]) -> str:
    """An event as a line for people; "" for one that has nothing to say to them."""
    message = event.get("message")
    if not message or event.get("event") == "finish":
        return ""  # how it ended, Ansible shows itself
    clock = time.strftime("%H:%M:%S", time.localtime(float(event.get("time", 0))))
    return f"  {clock}  {event.get('group', '')}: {message}"
