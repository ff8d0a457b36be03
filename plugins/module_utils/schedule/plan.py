# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events into sizes over time, and what those cost. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import (
    Event,
    Needs,
    ScheduleError,
    Size,
    Step,
)

_MINUTE = 60


@dataclass(frozen=True)
class Plan:
    """Sizes from `start` to `end`. The first step is at `start`; the group has its sizes now."""

    start: float
    end: float
    size: Size
    events: tuple[Event, ...]
    steps: tuple[Step, ...]

    @property
    def now(self) -> Step:
        """What the group is to have at this moment."""
        return self.steps[0]

    @property
    def peak(self) -> int:
        """The most instances that are planned."""
        return max(step.min for step in self.steps)

    def spans(self) -> Iterable[tuple[float, float, Step]]:
        """Each step with when it begins and ends."""
        ends = [*(step.at for step in self.steps[1:]), self.end]
        return [(step.at, end, step) for step, end in zip(self.steps, ends, strict=True)]

    def hours(self) -> float:
        """Hours of instances that are planned."""
        return sum((end - begin) * step.min for begin, end, step in self.spans()) / 3600

    def hours_at(self, instances: int) -> float:
        """Hours of as many instances all the time."""
        return (self.end - self.start) * instances / 3600


def instances(load: float, needs: Needs) -> int:
    """Instances that a load needs."""
    exact = load * (1 + needs.headroom) / needs.per_instance
    return math.ceil(exact - 1e-9)


def window(event: Event, needs: Needs) -> tuple[float, float]:
    """When capacity for an event is there, in whole minutes."""
    begin = math.floor((event.start - event.lead) / _MINUTE) * _MINUTE
    return float(begin), float(math.ceil((event.end + needs.tail) / _MINUTE) * _MINUTE)


def plan(events: Sequence[Event], size: Size, needs: Needs, *, start: float, end: float) -> Plan:
    """Sizes from `start` to `end`, and to the end of what begins before that. Of events at the same time loads are added.

    Raises ScheduleError for more instances than the limit.
    """
    timed: list[tuple[tuple[float, float], Event]] = []
    for span, event in sorted((window(event, needs), event) for event in events):
        if span[1] > start and span[0] < end:
            timed.append((span, event))
            end = max(end, span[1] + _MINUTE)
    turns = sorted({start, *(turn for span, dummy in timed for turn in span if start < turn < end)})
    steps: list[Step] = []
    for at in turns:
        active = [event for span, event in timed if span[0] <= at < span[1]]
        step = _step(at, active, size, needs)
        if not steps:
            steps.append(step)
        elif (step.min, step.max) != (steps[-1].min, steps[-1].max):
            smaller = step.min < steps[-1].min
            steps.append(Step(at, step.min, step.max, max(step.min, size.desired) if smaller else None, step.why))
    return Plan(start, end, size, tuple(event for dummy, event in timed), tuple(steps))


def _step(at: float, active: list[Event], size: Size, needs: Needs) -> Step:
    wanted = instances(sum(event.load for event in active), needs)
    names = tuple(event.name for event in active)
    if needs.limit and wanted > needs.limit:
        raise ScheduleError(
            f"{' and '.join(names)} would need {wanted} instances, more than the limit of {needs.limit}: check the load, or raise the limit."
        )
    low = max(size.min, wanted)
    return Step(at, low, max(size.max, low), None, names)
