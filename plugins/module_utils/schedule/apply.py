# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the scheduled actions of a group those of a plan, and writes the picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils import output
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls
from ansible_collections.boring.fleet.plugins.module_utils.schedule.actions import Changes
from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import ScheduleError

_AT_ONCE = 50  # that AWS takes in one call


def read_calendar(path: str) -> str:
    """The text of a calendar. Raises ScheduleError."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as exc:
        raise ScheduleError(f"The calendar {path} cannot be read: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise ScheduleError(f"The calendar {path} is not in UTF-8: export it again as iCalendar or YAML.") from exc


def yaml_values(text: str, path: str) -> Any:
    """The values of a YAML file, all scalars as text: a time is to be read by us, with its zone. Raises ScheduleError."""
    try:
        import yaml  # noqa: PLC0415
    except ImportError as exc:
        raise ScheduleError("The Python package PyYAML is missing where this module runs: pip install pyyaml.") from exc
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - it makes strings, lists and dicts only
    except (yaml.YAMLError, RecursionError) as exc:
        place = getattr(exc, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        raise ScheduleError(
            f"The calendar {path} is no YAML{where}: {getattr(exc, 'problem', None) or 'it is damaged'}."
        ) from exc


def look(calls: Calls, group: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A group and its scheduled actions, as AWS describes them. Raises ScheduleError when there is no such group, AwsError."""
    answer = calls.read(
        "autoscaling", "DescribeAutoScalingGroups", f"look at the group {group}", AutoScalingGroupNames=[group]
    )
    if not answer["AutoScalingGroups"]:
        raise ScheduleError(
            f"There is no Auto Scaling group {group} in this region: deploy it first, or check the name."
        )
    actions = calls.every(
        "autoscaling",
        "DescribeScheduledActions",
        "ScheduledUpdateGroupActions",
        f"look at the scheduled actions of {group}",
        AutoScalingGroupName=group,
    )
    return dict(answer["AutoScalingGroups"][0]), actions


def carry_out(calls: Calls, group: str, changes: Changes) -> None:
    """Put what is missing, then delete what is too many: in between there is more capacity, never less. Where AWS takes no more
    actions the other way round. Raises ScheduleError, AwsError."""
    steps = [_put, _delete]
    if changes.crowded:
        steps.reverse()
    for step in steps:
        step(calls, group, changes)


def _put(calls: Calls, group: str, changes: Changes) -> None:
    for start in range(0, len(changes.put), _AT_ONCE):
        some = [one.request() for one in changes.put[start : start + _AT_ONCE]]
        answer = calls.write(
            "autoscaling",
            "BatchPutScheduledUpdateGroupAction",
            f"schedule actions of {group}",
            AutoScalingGroupName=group,
            ScheduledUpdateGroupActions=some,
        )
        _refuse_failed(answer.get("FailedScheduledUpdateGroupActions"), group)


def _delete(calls: Calls, group: str, changes: Changes) -> None:
    for start in range(0, len(changes.delete), _AT_ONCE):
        answer = calls.write(
            "autoscaling",
            "BatchDeleteScheduledAction",
            f"delete scheduled actions of {group}",
            AutoScalingGroupName=group,
            ScheduledActionNames=list(changes.delete[start : start + _AT_ONCE]),
        )
        # One that ran meanwhile is gone by itself
        failed = [one for one in answer.get("FailedScheduledActions") or () if "not found" not in _reason(one)]
        _refuse_failed(failed, group)


def _refuse_failed(failed: Any, group: str) -> None:
    if failed:
        raise ScheduleError(
            f"AWS refused {len(failed)} scheduled actions of {group}, the first ({failed[0].get('ScheduledActionName')}) because: "
            f"{_reason(failed[0])}; the others are done, so run it again."
        )


def _reason(one: dict[str, Any]) -> str:
    return str(one.get("ErrorMessage") or one.get("ErrorCode") or "no reason was given").rstrip(".")


def write_picture(path: str, text: str, move: Callable[[str, str], object]) -> None:
    """Raises ScheduleError."""
    try:
        output.write("picture", path, text, move)
    except output.OutputError as exc:
        raise ScheduleError(str(exc)) from exc
