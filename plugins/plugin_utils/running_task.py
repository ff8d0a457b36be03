# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task on whose behalf a plugin runs: its play, and whether its result may be shown.

Ansible gives look-ups no way to say that what they return is secret. The executor of the task is up the call stack, the
same in ansible-core 2.17 to 2.21, and its task is what `no_log` is read from.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

# Actions that show what they are given, or hand it on to be shown, whatever no_log says. ansible-core 2.19 and newer print
# the message of a task that fails in any case, and with it what `fail` and `assert` were to say.
_TELLING_ACTIONS = ("add_host", "assert", "fail", "group_by", "include_role", "include_tasks", "set_stats")
# The environment is a part of the command line that starts the module.
_SHOWN_FIELDS = {"environment": "the environment of a task", "notify": "the name of a handler"}
_TASKS = ("Task", "Handler", "TaskInclude", "HandlerTaskInclude", "IncludeRole")
_STARTS_TASKS = ("ansible.plugins.strategy", "ansible.executor.playbook_executor")
_NAMESPACES = ("ansible.builtin.", "ansible.legacy.")


def play_id() -> str:
    """What tells the play of the running task from the others of this run; "" outside of a task."""
    executor = _executor()
    if executor is None:
        return ""
    return str(getattr(executor._task.get_play(), "_uuid", ""))


def hide_result() -> bool:
    """Treat the running task as if it had `no_log: true`, from here to its end.

    Whether the task keeps what it read, as ordinary data, for later ones. Outside of a task nothing is shown.
    """
    executor = _executor()
    if executor is None:
        return False
    executor._task.no_log = True
    executor._play_context.no_log = True
    return bool(executor._task.register) or _action(executor) == "set_fact"


def shown_anyway() -> str:
    """The place for which a value is wanted right now, if Ansible shows it there whatever `no_log` says; else ""."""
    executor = None
    for frame in _frames():
        function, found = frame.f_code.co_name, frame.f_locals.get("self")
        if function == "get_delegated_vars_and_hostname":
            return "delegate_to"
        if function.startswith("post_validate") and type(found).__name__ in _TASKS:
            field = frame.f_locals.get("name")
            if field in _SHOWN_FIELDS:
                return _SHOWN_FIELDS[field]
            if field == "args" and _short(found.action) in _TELLING_ACTIONS:
                return f"the arguments of {_short(found.action)}"
        if not _is_executor(found):
            if type(found).__module__.startswith(_STARTS_TASKS):
                return "the name of a play or a task"
            continue
        executor = found
        if function == "_execute":
            return f"the arguments of {_action(executor)}" if "include_args" in frame.f_locals else ""
        if function == "_run_loop":
            return "the label of a loop"
        if function == "_get_loop_items" and _action(executor).startswith("include_"):
            return f"the loop of {_action(executor)}"
        if function == "run":
            return ""
    return ""


def source_holds(words: Iterable[str]) -> bool:
    """Whether one of the words stands in the running task as it was written, which Ansible shows when it fails."""
    executor = _executor()
    if executor is None:
        return False
    source = str(getattr(executor._task, "_ds", ""))
    return any(word in source for word in words)


def _executor() -> Any:
    return next((found for found in (frame.f_locals.get("self") for frame in _frames()) if _is_executor(found)), None)


def _is_executor(found: Any) -> bool:
    return type(found).__name__ == "TaskExecutor" and type(found).__module__ == "ansible.executor.task_executor"


def _action(executor: Any) -> str:
    return _short(executor._task.action)


def _short(action: str) -> str:
    for namespace in _NAMESPACES:
        action = action.removeprefix(namespace)
    return action


def _frames() -> Iterator[FrameType]:
    """The frames up the call stack, from the caller's on."""
    frame = sys._getframe(1).f_back
    while frame is not None:
        yield frame
        frame = frame.f_back
