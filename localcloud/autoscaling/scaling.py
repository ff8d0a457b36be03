# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes a group's sizes by itself: scheduled actions and scaling policies. Pure.

After "Scheduled scaling", "Step and simple scaling policies" and "Target tracking scaling policies" of the user guide.
"""

from __future__ import annotations

import math
from typing import Any

from localcloud.autoscaling import cron, words
from localcloud.autoscaling.activities import NEVER
from localcloud.autoscaling.capacity import Capacity
from localcloud.autoscaling.state import IN_SERVICE, PENDING_STATES, Group, Policy, Schedule


def next_due(group: Group) -> float:
    """When time alone will change a size."""
    return min((schedule.due for schedule in group.schedules.values()), default=NEVER)


def step(model: Capacity, group: Group, now: float) -> None:
    """Run the scheduled actions that are due, in their order."""
    for schedule in sorted(group.schedules.values(), key=lambda one: one.due):
        if schedule.due > now:
            return
        if group.runs("ScheduledActions"):
            _run(model, group, schedule)
        after = NEVER
        if schedule.recurrence:
            after = cron.following(schedule.recurrence, schedule.time_zone or "UTC", now)
        if after == NEVER or (schedule.end is not None and after > schedule.end):
            del group.schedules[schedule.name]
        else:
            schedule.due = after


def _run(model: Capacity, group: Group, schedule: Schedule) -> None:
    low = group.min_size if schedule.min_size is None else schedule.min_size
    high = group.max_size if schedule.max_size is None else schedule.max_size
    desired = min(max(group.desired, low), high) if schedule.desired is None else schedule.desired
    if not low <= desired <= high:
        return  # AWS does not run what no longer fits the group
    group.min_size, group.max_size = low, high
    why = f"update of AutoScalingGroup constraints to min: {low}, max: {high}, desired: {desired}"
    model.set_desired(group, desired, why, who="a scheduled action")


def execute(
    model: Capacity, group: Group, policy: Policy, *, who: str, why: str, value: float = 0.0, threshold: float = 0.0
) -> None:
    """Change the desired capacity as a policy says.

    :param who: and ``why``: for the cause of the activities, such as "a monitor alarm busy", "in state ALARM triggered policy up".
    :param value: of the metric; ``threshold``: of the alarm.
    """
    now, warming = model.clock.now(), 0
    if not policy.enabled:
        return
    if policy.kind == "SimpleScaling":
        desired = adjusted(policy, group.desired, policy.adjustment or 0)
        if now < group.cooldown_until:
            return
    else:
        warming = _warming(group, policy, now)
        ready = max(0, group.desired - warming)
        if policy.kind == "StepScaling":
            found = _step(policy, value - threshold)
            if found is None:
                return
            desired = adjusted(policy, ready, int(found["ScalingAdjustment"]))
        else:
            desired = _tracked(policy, ready, value)
        if desired <= group.desired and warming:
            return  # what was launched for this is still warming up
    desired = min(max(desired, group.min_size), group.max_size)
    if desired == group.desired:
        return
    if policy.kind == "SimpleScaling":
        group.cooldown_until = now + (group.cooldown if policy.cooldown is None else policy.cooldown)
    elif desired > group.desired and not warming:
        group.last_scale_out = now
    model.set_desired(group, desired, why, who=who)


def adjusted(policy: Policy, capacity: int, adjustment: int) -> int:
    """The capacity after an adjustment, out of bounds or not."""
    match policy.adjustment_type:
        case "ExactCapacity":
            return adjustment
        case "PercentChangeInCapacity":
            change = _rounded(capacity * adjustment / 100)
            if policy.min_magnitude and abs(change) < policy.min_magnitude:
                change = int(math.copysign(policy.min_magnitude, adjustment))
            return capacity + change
    return capacity + adjustment


def _rounded(change: float) -> int:
    """As AWS: towards zero, but never to it."""
    if 0 < abs(change) < 1:
        return int(math.copysign(1, change))
    return int(change)


def _step(policy: Policy, difference: float) -> dict[str, Any] | None:
    """The step of this distance between metric and threshold: above it the lower bound is within, below it the upper one."""
    for one in policy.steps:
        low, high = one.get("MetricIntervalLowerBound", -math.inf), one.get("MetricIntervalUpperBound", math.inf)
        if (low <= difference < high) if difference >= 0 else (low < difference <= high):
            return one
    return None


def _tracked(policy: Policy, capacity: int, value: float) -> int:
    """The capacity with which the metric would be at its target."""
    target = policy.target or {}
    if value < float(target["TargetValue"]) and target.get("DisableScaleIn"):
        return capacity
    return math.ceil(capacity * value / float(target["TargetValue"]) - 1e-9)


def _warming(group: Group, policy: Policy, now: float) -> int:
    """How many of what was launched since a policy asked for more are not warm yet."""
    if not group.last_scale_out:
        return 0
    default = group.cooldown if group.default_warmup is None else group.default_warmup
    seconds = default if policy.warmup is None else policy.warmup
    young = 0
    for instance in group.instances.values():
        if instance.launched < group.last_scale_out:
            continue
        if instance.state in PENDING_STATES or (
            instance.state == IN_SERVICE and (instance.in_service_since or 0) + seconds > now
        ):
            young += instance.weight
    return young + max(0, group.desired - group.capacity())


def alarm_cause(alarm: str, policy: str) -> tuple[str, str]:
    """Who and why, of an alarm."""
    return f"a monitor alarm {alarm}", f"in state ALARM triggered policy {policy}"


def user_cause(policy: str) -> tuple[str, str]:
    """Who and why, of ExecutePolicy."""
    return "a user request", f"executed policy {policy}"


def first_due(schedule: Schedule, now: float) -> float:
    """When an action is run for the first time. Raises ApiError."""
    if not schedule.recurrence:
        return schedule.start if schedule.start is not None else now
    try:
        after = max(now, schedule.start - 1) if schedule.start is not None else now
        return cron.following(schedule.recurrence, schedule.time_zone or "UTC", after)
    except cron.CronError as error:
        raise words.invalid(f"Given recurrence string:{schedule.recurrence} is invalid: {error}.") from None
