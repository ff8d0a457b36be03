# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task on whose behalf a plugin runs: its play, and whether its result may be shown.

Ansible gives look-ups no way to say that what they return is secret. The executor of the task is up the call stack, the
same in ansible-core 2.17 to 2.21, and its task is what `no_log` is read from.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def play_id() -> str:
    """What tells the play of the running task from the others of this run; "" outside of a task."""
    executor = _executor()
    if executor is None:
        return ""
    return str(getattr(executor._task.get_play(), "_uuid", ""))


def hide_result() -> None:
    """Treat the running task as if it had `no_log: true`, from here to its end. Outside of a task nothing is shown."""
    executor = _executor()
    if executor is not None:
        executor._task.no_log = True
        executor._play_context.no_log = True


def source_holds(words: Iterable[str]) -> bool:
    """Whether one of the words stands in the running task as it was written, which Ansible shows when it fails."""
    executor = _executor()
    if executor is None:
        return False
    source = str(getattr(executor._task, "_ds", ""))
    return any(word in source for word in words)


def _executor() -> Any:
    frame = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("self")
        if type(found).__name__ == "TaskExecutor" and type(found).__module__ == "ansible.executor.task_executor":
            return found
        frame = frame.f_back  # type: ignore[assignment]
    return None
