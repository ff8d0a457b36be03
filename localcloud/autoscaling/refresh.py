# SPDX-License-Identifier: GPL-3.0-or-later
"""Instance refresh: AWS's own roll, after "Use an instance refresh to update instances in an Auto Scaling group".

Modelled: minimum and maximum healthy percentage, warm-up, skip matching, checkpoints, protected and standby policies,
bake time, the desired configuration that becomes the group's own only on success, cancel, rollback (asked for or
automatic), the pause while the InstanceRefresh process is suspended, the hour without progress after which it fails.
Not modelled: CloudWatch alarms, replacing root volumes.
"""

from __future__ import annotations

import math
from typing import Any

from localcloud.autoscaling import underway, words
from localcloud.autoscaling.activities import NEVER
from localcloud.autoscaling.capacity import Capacity
from localcloud.autoscaling.state import IN_SERVICE, STANDBY, Group, Instance, Refresh

NO_PROGRESS = 3600.0  # AWS gives up after an hour in which nothing could be replaced


def with_defaults(preferences: dict[str, Any], group: Group) -> dict[str, Any]:
    """Preferences as AWS describes them: with what it takes for those that were not given."""
    policy = group.maintenance_policy or {}
    warmup_default = group.default_warmup if group.default_warmup is not None else group.grace
    return {
        "MinHealthyPercentage": policy.get("MinHealthyPercentage", 90),
        **({"MaxHealthyPercentage": policy["MaxHealthyPercentage"]} if "MaxHealthyPercentage" in policy else {}),
        "InstanceWarmup": warmup_default,
        "SkipMatching": False,
        "AutoRollback": False,
        "ScaleInProtectedInstances": "Wait",
        "StandbyInstances": "Wait",
        **({"CheckpointDelay": 3600} if preferences.get("CheckpointPercentages") else {}),
    } | preferences


def next_due(group: Group, now: float) -> float:
    """When time alone will move the refresh."""
    refresh = underway.running(group)
    if refresh is None:
        return NEVER
    times = [*refresh.fresh.values(), refresh.paused_until, refresh.bake_until or 0.0, refresh.progressed + NO_PROGRESS]
    return min((t for t in times if t > now), default=NEVER)


def begin(model: Capacity, group: Group, refresh: Refresh) -> None:
    """Put a refresh to work."""
    group.refreshes.insert(0, refresh)
    _note_due(model, group, refresh, skip_matching=refresh.preferences["SkipMatching"])


def _note_due(model: Capacity, group: Group, refresh: Refresh, *, skip_matching: bool) -> None:
    """Which instances have to go, in the order in which they are described."""
    current = model.is_current(group)
    ignores_protected = refresh.preferences["ScaleInProtectedInstances"] == "Ignore"
    ignores_standby = refresh.preferences["StandbyInstances"] == "Ignore"
    refresh.due = [
        i.id
        for i in group.instances.values()
        if (i.counted or (i.state == STANDBY and not ignores_standby))
        and not (skip_matching and current(i))
        and not (i.protected and ignores_protected)
    ]
    refresh.total = len(refresh.due)
    refresh.updated = 0
    refresh.progressed = model.clock.now()


def cancel(model: Capacity, group: Group, refresh: Refresh, *, wait: bool) -> None:
    """Stop replacing; with ``wait``, what is under way finishes first."""
    refresh.status = "Cancelling"
    refresh.reason = words.CANCELLED
    refresh.due = []
    if not wait:
        refresh.fresh, refresh.replacing, refresh.surge = {}, [], 0
    step(model, group, model.clock.now())


def roll_back(model: Capacity, group: Group, refresh: Refresh, reason: str) -> None:
    """Go back to what the group has, and replace what has left it."""
    refresh.percentage_on_rollback = underway.percentage_complete(refresh)
    refresh.left_on_rollback = underway.instances_to_update(refresh)
    refresh.rolled_back_at = model.clock.now()
    refresh.rolling_back = True
    refresh.status = "RollbackInProgress"
    refresh.reason = reason
    refresh.bake_until = None
    refresh.paused_until = 0.0
    refresh.checkpoints_done = len(refresh.preferences.get("CheckpointPercentages") or [])
    _note_due(model, group, refresh, skip_matching=True)


def step(model: Capacity, group: Group, now: float) -> None:
    """Replace as many as the healthy percentages allow now."""
    refresh = underway.running(group)
    if refresh is None or not group.runs("InstanceRefresh"):
        return
    if refresh.status == "Pending":
        refresh.status = "InProgress"
    _follow(group, refresh, now)
    if not refresh.due and not refresh.fresh and not refresh.replacing and group.capacity() >= group.desired:
        _end(model, group, refresh, now)
    elif now >= refresh.progressed + NO_PROGRESS:
        _fail(model, group, refresh, now)
    elif now >= refresh.paused_until and group.runs("Launch") and group.runs("Terminate"):
        _replace_surplus(model, group, refresh, now)
        _launch_ahead(model, group, refresh, now)
        _replace_first(model, group, refresh, now)


def _bounds(group: Group, refresh: Refresh) -> tuple[int, int]:
    """(fewest healthy, most in all) while it runs.

    With a maximum set and no room between the two, one is launched ahead; without one, one goes first.
    """
    low, high = refresh.preferences["MinHealthyPercentage"], refresh.preferences.get("MaxHealthyPercentage")
    fewest = math.ceil(group.desired * low / 100)
    most = math.floor(group.desired * (high or 100) / 100)
    if fewest >= most:
        return (group.desired, group.desired + 1) if high is not None else (max(0, group.desired - 1), group.desired)
    return fewest, most


def _ready(group: Group, refresh: Refresh) -> int:
    """How many are in service, healthy and warm."""
    return sum(1 for i in group.instances.values() if i.state == IN_SERVICE and i.healthy and i.id not in refresh.fresh)


def _follow(group: Group, refresh: Refresh, now: float) -> None:
    """See what became of the instances that were taken out and launched."""
    for instance in group.instances.values():  # whatever is launched meanwhile has to warm up as well
        if instance.counted and instance.launched >= refresh.start and instance.in_service_since is None:
            refresh.fresh.setdefault(instance.id, NEVER)
    for instance_id in list(refresh.fresh):
        fresh = group.instances.get(instance_id)
        if fresh is None or not fresh.counted:
            del refresh.fresh[instance_id]
        elif fresh.state == IN_SERVICE and fresh.in_service_since is not None:
            refresh.fresh[instance_id] = fresh.in_service_since + refresh.preferences["InstanceWarmup"]
            if now >= refresh.fresh[instance_id] and fresh.healthy:
                del refresh.fresh[instance_id]
                refresh.updated = min(refresh.updated + 1, refresh.total)
                refresh.progressed = now
    members = group.instances
    refresh.due = [i for i in refresh.due if i in members and (members[i].counted or members[i].state == STANDBY)]
    refresh.replacing = [i for i in refresh.replacing if i in members]
    refresh.surge = max(0, min(refresh.surge, group.capacity() - group.desired))
    checkpoints = refresh.preferences.get("CheckpointPercentages") or []
    done = underway.percentage_complete(refresh)
    while refresh.checkpoints_done < len(checkpoints) and done >= checkpoints[refresh.checkpoints_done]:
        refresh.checkpoints_done += 1
        refresh.paused_until = now + refresh.preferences["CheckpointDelay"]
        refresh.progressed = refresh.paused_until


def _room(refresh: Refresh) -> int:
    """How many more may be begun before the next checkpoint; with the last below 100 %, nothing after it."""
    checkpoints = refresh.preferences.get("CheckpointPercentages") or []
    if not checkpoints or refresh.rolling_back:
        return len(refresh.due)
    percent = checkpoints[min(refresh.checkpoints_done, len(checkpoints) - 1)]
    goal: int = math.ceil(refresh.total * percent / 100)
    return max(0, goal - (refresh.total - len(refresh.due)))


def _next_victim(group: Group, refresh: Refresh) -> Instance | None:
    """The next to go: unhealthy ones first, then as described. Waits for protection and standby to end."""
    waits_protected = refresh.preferences["ScaleInProtectedInstances"] == "Wait"
    waits_standby = refresh.preferences["StandbyInstances"] == "Wait"
    candidates = [
        i
        for i in (group.instances[i] for i in refresh.due)
        if not (i.protected and waits_protected)
        and (i.state == IN_SERVICE or (i.state == STANDBY and not waits_standby))
    ]
    return min(candidates, key=lambda i: i.healthy, default=None)


def _replace_first(model: Capacity, group: Group, refresh: Refresh, now: float) -> None:
    """Terminate and launch together, as many as leave the fewest healthy."""
    fewest, most = _bounds(group, refresh)
    if most > group.desired and fewest >= group.desired:
        return  # only ever ahead
    room = _room(refresh)
    while room > 0:
        victim = _next_victim(group, refresh)
        if victim is None or (victim.state == IN_SERVICE and victim.healthy and _ready(group, refresh) - 1 < fewest):
            return
        _replace(model, group, refresh, victim, now)
        room -= 1


def _launch_ahead(model: Capacity, group: Group, refresh: Refresh, now: float) -> None:
    """Launch before terminating, as far as the most in all allows."""
    _, most = _bounds(group, refresh)
    room = min(_room(refresh), len(refresh.due) - refresh.surge)
    while room > 0 and group.desired <= group.capacity() < most and now >= group.next_launch:
        cause = f"At {words.stamp(now)} an instance was launched in response to an instance refresh."
        instance = model.launch(group, now, cause=cause)
        if instance is None:
            return
        refresh.fresh[instance.id] = NEVER
        refresh.surge += 1
        room -= 1


def _replace_surplus(model: Capacity, group: Group, refresh: Refresh, now: float) -> None:
    """A surplus instance is warm: an old one goes, and nothing is launched for it."""
    while refresh.surge > len(refresh.fresh):
        victim = _next_victim(group, refresh)
        if victim is None or (victim.state == IN_SERVICE and _ready(group, refresh) - 1 < _bounds(group, refresh)[0]):
            return
        refresh.surge -= 1
        _replace(model, group, refresh, victim, now)


def _replace(model: Capacity, group: Group, refresh: Refresh, victim: Instance, now: float) -> None:
    refresh.due.remove(victim.id)
    refresh.replacing.append(victim.id)
    refresh.progressed = now
    stamp = words.stamp(now)
    cause = f"At {stamp} an instance was taken out of service in response to an instance refresh.  At {stamp} "
    model.take(group, victim, f"{cause}instance {victim.id} was selected for termination.")
    because = f"At {stamp} an instance was launched in response to an instance refresh."
    if group.capacity() < group.desired and because not in group.causes:
        group.causes.append(because)


def _end(model: Capacity, group: Group, refresh: Refresh, now: float) -> None:
    bake = float(refresh.preferences.get("BakeTime", 0))
    if refresh.status == "InProgress" and bake > 0:
        refresh.status = "Baking"
        refresh.bake_until = refresh.progressed = now + bake
        return
    if refresh.status == "Baking" and now < (refresh.bake_until or 0.0):
        return
    if refresh.status == "Cancelling":
        refresh.status = "Cancelled"
    elif refresh.rolling_back:
        refresh.status = "RollbackSuccessful"
    else:
        group.template, group.mixed = underway.configuration(group)
        refresh.status = "Successful"
    refresh.end = now
    if refresh.status != "Cancelled":
        model.renew_warm_pool(group)


def _fail(model: Capacity, group: Group, refresh: Refresh, now: float) -> None:
    refused = [a for a in group.activities.values() if a.status == "Failed" and a.start >= refresh.start]
    reason = refused[-1].message if refused else "No instance could be replaced for one hour."
    if refresh.preferences["AutoRollback"] and not refresh.rolling_back:
        roll_back(model, group, refresh, str(reason))
        return
    refresh.status = "RollbackFailed" if refresh.rolling_back else "Failed"
    refresh.reason = reason
    refresh.end = now
