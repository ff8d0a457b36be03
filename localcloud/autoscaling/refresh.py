# SPDX-License-Identifier: GPL-3.0-or-later
"""Instance refresh: AWS's own roll, after "Use an instance refresh to update instances in an Auto Scaling group".

What is modelled: minimum and maximum healthy percentage, warm-up, skip matching, checkpoints, scale-in protected and
standby policies, bake time, cancel, rollback (asked for or automatic), the hour without progress after which it fails.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from localcloud.autoscaling import words
from localcloud.autoscaling.state import IN_SERVICE, STANDBY, Group, Instance, Refresh, TemplateRef

if TYPE_CHECKING:
    from localcloud.autoscaling.model import Model

NEVER = float("inf")
NO_PROGRESS = 3600.0  # AWS gives up after an hour in which nothing could be replaced

_RUNNING = ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")


def running(group: Group) -> Refresh | None:
    """The refresh that is under way, if any."""
    return next((r for r in group.refreshes[:1] if r.status in _RUNNING), None)


def surge(group: Group) -> int:
    """How many instances beyond desired the refresh holds now."""
    refresh = running(group)
    return refresh.surge if refresh else 0


def warmup(group: Group, refresh: Refresh) -> float:
    """Seconds that a new instance warms up: the preference, else the group's default warm-up, else its grace period."""
    preferred = refresh.preferences.get("InstanceWarmup")
    if preferred is not None:
        return float(preferred)
    return float(group.default_warmup if group.default_warmup is not None else group.grace)


def next_due(group: Group, now: float) -> float:
    """When time alone will move the refresh."""
    refresh = running(group)
    if refresh is None:
        return NEVER
    times = [*refresh.fresh.values(), refresh.paused_until, refresh.bake_until or 0.0, refresh.progressed + NO_PROGRESS]
    return min((t for t in times if t > now), default=NEVER)


def begin(
    model: Model, group: Group, refresh: Refresh, template: TemplateRef | None, mixed: dict[str, Any] | None
) -> None:
    """Put a refresh to work: move the group to what it wants, note what is due and what a rollback goes back to."""
    refresh.rollback_template = group.template
    refresh.rollback_mixed = group.mixed
    if template is not None or mixed is not None:
        group.template, group.mixed = template, mixed
    group.refreshes.insert(0, refresh)
    _note_due(model, group, refresh, skip_matching=bool(refresh.preferences.get("SkipMatching", False)))


def _note_due(model: Model, group: Group, refresh: Refresh, skip_matching: bool) -> None:
    current = model.is_current(group)
    protected = refresh.preferences.get("ScaleInProtectedInstances", "Ignore")
    standby = refresh.preferences.get("StandbyInstances", "Ignore")
    refresh.due = [
        i.id
        for i in group.instances.values()
        if (i.counted or (i.state == STANDBY and standby != "Ignore"))
        and not (skip_matching and current(i))
        and not (i.protected and protected == "Ignore")
    ]
    refresh.total = len(refresh.due)
    refresh.progressed = model.clock.now()


def cancel(model: Model, group: Group, refresh: Refresh) -> None:
    """Stop replacing; what is under way finishes first."""
    refresh.status = "Cancelling"
    refresh.due = []
    step(model, group, model.clock.now())


def roll_back(model: Model, group: Group, refresh: Refresh, reason: str) -> None:
    """Put the former template back and replace what has left it."""
    refresh.percentage_on_rollback = percentage_complete(refresh)
    refresh.left_on_rollback = instances_to_update(refresh)
    refresh.rolled_back_at = model.clock.now()
    group.template = refresh.rollback_template
    group.mixed = refresh.rollback_mixed
    refresh.rolling_back = True
    refresh.status = "RollbackInProgress"
    refresh.reason = reason
    refresh.bake_until = None
    refresh.checkpoints_done = len(refresh.preferences.get("CheckpointPercentages") or [])
    _note_due(model, group, refresh, skip_matching=True)


def percentage_complete(refresh: Refresh) -> int:
    left = instances_to_update(refresh)
    return 100 if not refresh.total else 100 * (refresh.total - left) // refresh.total


def instances_to_update(refresh: Refresh) -> int:
    return len(refresh.due) + len(refresh.fresh)


def step(model: Model, group: Group, now: float) -> None:
    """Replace as many as the healthy percentages allow now."""
    refresh = running(group)
    if refresh is None or not group.runs("InstanceRefresh"):
        return
    if refresh.status == "Pending":
        refresh.status = "InProgress"
    _follow(group, refresh, now)
    if not refresh.due and not refresh.fresh and not refresh.replacing:
        _end(model, group, refresh, now)
        return
    if now >= refresh.progressed + NO_PROGRESS:
        _fail(model, group, refresh, now)
        return
    if now < refresh.paused_until or not (group.runs("Launch") and group.runs("Terminate")):
        return
    low, high = _bounds(group, refresh)
    _take_surplus_out(model, group, refresh, low, now)
    _launch_ahead(model, group, refresh, high, now)
    _take_out(model, group, refresh, low, now)


def _bounds(group: Group, refresh: Refresh) -> tuple[int, int]:
    """(fewest healthy, most in all) that the percentages allow."""
    policy = group.maintenance_policy or {}
    low = refresh.preferences.get("MinHealthyPercentage", policy.get("MinHealthyPercentage", 90))
    high = refresh.preferences.get("MaxHealthyPercentage", policy.get("MaxHealthyPercentage", 100))
    return math.ceil(group.desired * low / 100), max(group.desired, math.floor(group.desired * high / 100))


def _ready(group: Group, refresh: Refresh) -> list[Instance]:
    """In service, healthy and warm."""
    return [i for i in group.instances.values() if i.state == IN_SERVICE and i.healthy and i.id not in refresh.fresh]


def _follow(group: Group, refresh: Refresh, now: float) -> None:
    """See what became of the instances that were taken out and launched."""
    for instance in group.instances.values():  # a launch after a victim went is its replacement
        if instance.counted and instance.launched >= refresh.start and instance.in_service_since is None:
            refresh.fresh.setdefault(instance.id, NEVER)
    for instance_id in list(refresh.fresh):
        fresh = group.instances.get(instance_id)
        if fresh is None or not fresh.counted:
            del refresh.fresh[instance_id]
        elif fresh.state == IN_SERVICE and fresh.in_service_since is not None:
            warm_at = fresh.in_service_since + warmup(group, refresh)
            refresh.fresh[instance_id] = warm_at
            if now >= warm_at and fresh.healthy:
                del refresh.fresh[instance_id]
                refresh.progressed = now
    refresh.due = [
        i for i in refresh.due if i in group.instances and (group.instances[i].counted or _standby(group, i))
    ]
    refresh.replacing = [old for old in refresh.replacing if old in group.instances]
    refresh.surge = max(0, min(refresh.surge, group.capacity() - group.desired))
    _pause_at_checkpoint(refresh, now)


def _standby(group: Group, instance_id: str) -> bool:
    return group.instances[instance_id].state == STANDBY


def _pause_at_checkpoint(refresh: Refresh, now: float) -> None:
    checkpoints = refresh.preferences.get("CheckpointPercentages") or []
    done = percentage_complete(refresh)
    while refresh.checkpoints_done < len(checkpoints) and done >= checkpoints[refresh.checkpoints_done]:
        refresh.checkpoints_done += 1
        if done < 100:
            refresh.paused_until = now + refresh.preferences.get("CheckpointDelay", 3600)


def _batch_room(refresh: Refresh) -> int:
    """How many more may be replaced before the next checkpoint."""
    checkpoints = refresh.preferences.get("CheckpointPercentages") or []
    if refresh.checkpoints_done >= len(checkpoints):
        return len(refresh.due)
    goal: int = math.ceil(refresh.total * checkpoints[refresh.checkpoints_done] / 100)
    return max(0, goal - (refresh.total - len(refresh.due)))


def _next_due(group: Group, refresh: Refresh, now: float) -> Instance | None:
    """The next instance to go: unhealthy ones first, then as listed. Waits for protection and standby to end."""
    candidates = [group.instances[i] for i in refresh.due]
    candidates = [
        i
        for i in candidates
        if not (i.protected and refresh.preferences.get("ScaleInProtectedInstances") == "Wait")
        and not (i.state == STANDBY and refresh.preferences.get("StandbyInstances") == "Wait")
        and i.state in (IN_SERVICE, STANDBY)
    ]
    return min(candidates, key=lambda i: i.healthy, default=None)


def _take_out(model: Model, group: Group, refresh: Refresh, low: int, now: float) -> None:
    """Terminate first: as many as leave the fewest healthy, at least one when nothing else is under way."""
    room = _batch_room(refresh)
    while room > 0:
        victim = _next_due(group, refresh, now)
        if victim is None:
            return
        ready = len(_ready(group, refresh))
        idle = not refresh.fresh and group.capacity() >= group.desired and not refresh.replacing
        _, high = _bounds(group, refresh)
        alone = idle and high <= group.desired
        if victim.state == IN_SERVICE and victim.healthy and ready - 1 < low and not alone:
            return
        _replace(model, group, refresh, victim, now)
        room -= 1


def _launch_ahead(model: Model, group: Group, refresh: Refresh, high: int, now: float) -> None:
    """Launch before terminate, as far as the most healthy percentage allows."""
    room = min(_batch_room(refresh), len(refresh.due)) - len(refresh.fresh)
    while room > 0 and group.capacity() < high and group.capacity() >= group.desired and now >= group.next_launch:
        cause = f"At {words.stamp(now)} an instance was launched in response to an instance refresh."
        instance = model.launch(group, now, cause=cause)
        if instance is None:
            return
        refresh.fresh[instance.id] = NEVER
        refresh.surge += 1
        room -= 1


def _take_surplus_out(model: Model, group: Group, refresh: Refresh, low: int, now: float) -> None:
    """A surplus instance is warm: an old one goes, without a further launch."""
    while refresh.surge > 0 and len(_ready(group, refresh)) > max(low, group.desired - 1):
        victim = _next_due(group, refresh, now)
        if victim is None or len(refresh.fresh) >= refresh.surge:
            return
        refresh.surge -= 1
        _replace(model, group, refresh, victim, now)


def _replace(model: Model, group: Group, refresh: Refresh, victim: Instance, now: float) -> None:
    refresh.due.remove(victim.id)
    refresh.replacing.append(victim.id)
    refresh.progressed = now
    cause = f"At {words.stamp(now)} an instance was taken out of service in response to an instance refresh."
    model.take(group, victim, cause)


def _end(model: Model, group: Group, refresh: Refresh, now: float) -> None:
    bake = float(refresh.preferences.get("BakeTime", 0))
    if refresh.status == "InProgress" and bake > 0:
        refresh.status = "Baking"
        refresh.bake_until = now + bake
        return
    if refresh.status == "Baking" and now < (refresh.bake_until or 0.0):
        return
    refresh.end = now
    if refresh.status == "Cancelling":
        refresh.status = "Cancelled"
    elif refresh.rolling_back:
        refresh.status = "RollbackSuccessful"
    else:
        refresh.status = "Successful"


def _fail(model: Model, group: Group, refresh: Refresh, now: float) -> None:
    reason = "There was no progress for one hour."
    failed = [a for a in group.activities.values() if a.status == "Failed" and a.start >= refresh.start]
    if failed:
        reason = f"{failed[-1].message}"
    if refresh.preferences.get("AutoRollback") and not refresh.rolling_back:
        roll_back(model, group, refresh, reason)
        return
    refresh.status = "RollbackFailed" if refresh.rolling_back else "Failed"
    refresh.reason = reason
    refresh.end = now
