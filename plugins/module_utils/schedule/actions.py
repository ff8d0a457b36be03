# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan and the scheduled actions that a group has: which are missing, which are too many. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.schedule.plan import Plan
from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import ScheduleError, Step

MOST = 125  # that AWS lets a group have
_SOON = 120.0  # seconds ahead: AWS refuses a time that is over when it arrives


@dataclass(frozen=True)
class Action:
    """A scheduled action that runs once."""

    name: str
    at: float
    min: int | None
    max: int | None
    desired: int | None

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Action:
        """One as AWS describes it."""
        at = raw.get("StartTime") or raw.get("Time")
        return cls(
            str(raw["ScheduledActionName"]),
            at.timestamp() if at else 0.0,
            raw.get("MinSize"),
            raw.get("MaxSize"),
            raw.get("DesiredCapacity"),
        )

    def request(self) -> dict[str, Any]:
        """As AWS takes it."""
        sizes = {"MinSize": self.min, "MaxSize": self.max, "DesiredCapacity": self.desired}
        return {
            "ScheduledActionName": self.name,
            "StartTime": datetime.fromtimestamp(self.at, UTC),
            **{key: value for key, value in sizes.items() if value is not None},
        }

    def words(self) -> str:
        """For people."""
        sizes = [
            f"{name} {value}"
            for name, value in (("min", self.min), ("max", self.max), ("desired", self.desired))
            if value is not None
        ]
        return f"{datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M} UTC: {', '.join(sizes)}"


@dataclass(frozen=True)
class Changes:
    """What makes a group's actions those of a plan: `put` and `delete`; `before` and `after` are all of ours."""

    before: tuple[Action, ...]
    after: tuple[Action, ...]
    put: tuple[Action, ...]
    delete: tuple[str, ...]
    crowded: bool  # with all of `put` beside what is there AWS would refuse

    @property
    def any(self) -> bool:
        """Whether there is something to do."""
        return bool(self.put or self.delete)


def changes(
    plan: Plan, raw: Iterable[Mapping[str, Any]], group: Mapping[str, Any], *, prefix: str, set_desired: bool
) -> Changes:
    """Compare. Actions whose names are not `prefix` and a moment are others'. Raises ScheduleError when they leave no room."""
    known = [Action.read(one) for one in raw]
    name = re.compile(rf"{re.escape(prefix)}-(?:now|\d{{8}}T\d{{4}}Z)")
    mine = {one.name: one for one in known if name.fullmatch(one.name)}
    others = [one for one in known if one.name not in mine]
    wanted = {one.name: one for one in (_action(step, prefix, set_desired=set_desired) for step in plan.steps[1:])}
    late = _now(plan, group, mine, prefix, set_desired=set_desired)
    if late is not None and not any(one.at <= late.at for one in wanted.values()):  # a step moments away does the same
        wanted[late.name] = late
    taken = {one.at: one.name for one in others}
    for one in wanted.values():
        if one.at in taken:
            raise ScheduleError(
                f"The group has the scheduled action {taken[one.at]} at the same moment ({one.words()}), and AWS takes only one: move either."
            )
    if len(wanted) + len(others) > MOST:
        raise ScheduleError(
            f"{len(wanted)} scheduled actions would be needed beside {len(others)} others, and AWS takes {MOST} of a group: shorten days."
        )
    put = tuple(one for one in wanted.values() if mine.get(one.name) != one)
    return Changes(
        tuple(sorted(mine.values(), key=lambda one: one.at)),
        tuple(sorted(wanted.values(), key=lambda one: one.at)),
        tuple(sorted(put, key=lambda one: one.at)),
        tuple(sorted(set(mine) - set(wanted))),
        len(known) + sum(one.name not in mine for one in put) > MOST,
    )


def _action(step: Step, prefix: str, *, set_desired: bool) -> Action:
    name = f"{prefix}-{datetime.fromtimestamp(step.at, UTC):%Y%m%dT%H%MZ}"
    return Action(name, step.at, step.min, step.max, step.desired if set_desired else None)


def _now(
    plan: Plan, group: Mapping[str, Any], mine: Mapping[str, Action], prefix: str, *, set_desired: bool
) -> Action | None:
    """What brings the group to where the plan is already: an event that was written down late, or taken out while it lasted."""
    step = plan.now
    if (group["MinSize"], group["MaxSize"]) == (step.min, step.max):
        return None
    smaller = step.min < group["MinSize"]
    desired = max(step.min, plan.size.desired) if smaller and set_desired else None
    at = (plan.start + _SOON) // 60 * 60 + 60
    pending = mine.get(f"{prefix}-now")
    if pending is not None and plan.start < pending.at <= at:
        at = pending.at  # it is on its way
    return Action(f"{prefix}-now", float(at), step.min, step.max, desired)
