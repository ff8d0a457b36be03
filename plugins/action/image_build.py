# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows a build while it goes on: Packer's steps and the roles that are applied.

The ordinary module does everything. When it runs on the controller, a thread here reads Packer's output along.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.boring.fleet.plugins.module_utils.image import build
from ansible_collections.boring.fleet.plugins.plugin_utils import follow

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module, and Packer's steps over the screen."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        asynchronous = bool(self._task.async_val)
        arguments = dict(self._task.args)
        if asynchronous or self._task.check_mode or not follow.reads_along(self):
            return dict(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=asynchronous))
        path, own = follow.file_for(arguments.get("log"), "build-", build.cache_directory(os.environ))
        if path is None:
            return dict(self._execute_module(module_args=arguments, task_vars=task_vars))
        keep = False
        try:
            with follow.Follower(path, Steps().show):
                result = dict(self._execute_module(module_args={**arguments, "log": path}, task_vars=task_vars))
            keep = bool(result.get("failed")) and Path(path).stat().st_size > 0
            return result
        finally:
            if own and not keep:
                with contextlib.suppress(OSError):
                    Path(path).unlink()


_STEP = re.compile(r"^==> [\w.-]+: (?P<text>.*)$")
_SHOWN = re.compile(
    r"Launching a source AWS instance|Connected to SSH|Provisioning with [^.:]+|Stopping the source instance"
    r"|Creating AMI(?= \S+ from)|Terminating the source AWS instance|Provisioning step had errors|Cancelling.*"
)
_NAME = re.compile(r"^Prevalidating AMI Name: (?P<name>\S+)")
_TASK = re.compile(r"TASK \[(?P<role>[\w.]+) : ")


class Steps:
    """Of Packer's output, the lines that people wait for."""

    def __init__(self) -> None:
        self._name = "image"
        self._role = ""

    def show(self, line: str) -> None:
        if text := self.line_of(line):
            display.display(f"  {time.strftime('%H:%M:%S')}  {self._name}: {text}")

    def line_of(self, line: str) -> str:
        """What to show of a line of Packer's; mostly nothing."""
        if (task := _TASK.search(line)) and task["role"] != self._role:
            self._role = task["role"]
            return f"role {self._role}"
        step = _STEP.match(line)
        if not step:
            return ""
        if name := _NAME.match(step["text"]):
            self._name = name["name"]
        shown = _SHOWN.match(step["text"])
        return shown[0] if shown else ""
