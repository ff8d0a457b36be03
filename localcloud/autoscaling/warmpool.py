# SPDX-License-Identifier: GPL-3.0-or-later
"""Warm pools, after "Warm pools for Amazon EC2 Auto Scaling": prepared hosts beside the group that a scale-out draws on.

A pool's instance is launched, goes through the launch hooks, and is then stopped (or runs on). Drawn, it starts as
Pending and goes through the same hooks again. It keeps the template version that it was launched with.
"""

from __future__ import annotations

from localcloud.autoscaling import pool, words
from localcloud.autoscaling.launching import Launching
from localcloud.autoscaling.ports import HostStatus
from localcloud.autoscaling.state import (
    LAUNCHING,
    PENDING,
    PENDING_PROCEED,
    PENDING_WAIT,
    TERMINATING,
    WARMED,
    WARMED_RUNNING,
    WARMED_STOPPED,
    Group,
    Instance,
)

_LEAVING = WARMED + TERMINATING


def terminate(model: Launching, group: Group, instance: Instance, cause: str, now: float) -> None:
    """Terminate an instance of the pool."""
    if instance.state == _LEAVING:
        return
    model.close(group, instance.activity, "Cancelled", now)
    activity = model.begin(
        group, f"Terminating EC2 instance from warm pool: {instance.id}", cause, instance=instance, now=now
    )
    instance.activity = activity.id
    instance.waits = []
    instance.enter(_LEAVING, now)
    model.hosts.terminate(instance.id)


def step(model: Launching, group: Group, now: float) -> None:
    """Move the pool's instances and keep it at its size."""
    if group.warm:
        statuses = model.hosts.statuses(list(group.warm))
        for instance in list(group.warm.values()):
            while instance.id in group.warm and _move(model, group, instance, statuses[instance.id], now):
                pass
    if group.warm_pool is None or group.deleting:
        return
    if group.warm_pool.deleting and not group.warm:
        group.warm_pool = None
        return
    _resize(model, group, now)


def _move(model: Launching, group: Group, instance: Instance, status: HostStatus, now: float) -> bool:
    """One transition; whether there was one."""
    state = instance.state.removeprefix(WARMED)
    if status is HostStatus.GONE:
        outcome = "Successful" if instance.state == _LEAVING else "Failed"
        model.close(group, instance.activity, outcome, now)
        del group.warm[instance.id]
        return True
    if state == PENDING and status is not HostStatus.PENDING:
        model.begin_waits(group, instance, LAUNCHING, WARMED + PENDING_WAIT, now)
        if not instance.waits:
            _prepared(model, group, instance, now)
        return True
    if state == PENDING_WAIT:
        abandoned = model.abandoned_wait(instance, now)
        if abandoned is not None:
            wait, why = abandoned
            model.close(group, instance.activity, "Cancelled", now, words.abandoned(wait.token, why))
            cause = f"At {words.stamp(now)} an instance was taken out of service in response to a launch failure."
            terminate(model, group, instance, cause, now)
            return True
        if any(wait.result is None for wait in instance.waits):
            return False
        _prepared(model, group, instance, now)
        return True
    if state == PENDING_PROCEED and (instance.halted and status is HostStatus.STOPPED):
        instance.halted = False
        instance.enter(WARMED_STOPPED, now)
        model.close(group, instance.activity, "Successful", now)
        return True
    if state == PENDING_PROCEED and not instance.halted:
        _prepared(model, group, instance, now)
        return True
    return False


def _prepared(model: Launching, group: Group, instance: Instance, now: float) -> None:
    """The hooks are done: stop the host, or let it run, as the pool says."""
    instance.waits = []
    if group.warm_pool is not None and group.warm_pool.state == "Running":
        instance.enter(WARMED_RUNNING, now)
        model.close(group, instance.activity, "Successful", now)
        return
    instance.enter(WARMED + PENDING_PROCEED, now)
    instance.halted = True
    model.hosts.stop(instance.id)


def _resize(model: Launching, group: Group, now: float) -> None:
    staying = [i for i in group.warm.values() if i.state != _LEAVING]
    size = pool.wanted(group)
    stamp = words.stamp(now)
    for instance in sorted(staying, key=lambda i: (i.since, i.id))[: max(0, len(staying) - size)]:
        cause = f"At {stamp} an instance was terminated in response to the warm pool exceeding its size of {size}."
        terminate(model, group, instance, cause, now)
    missing = size - len(staying) - sum(i.returning for i in group.instances.values())
    while missing > 0 and group.runs("Launch") and now >= group.next_launch:
        cause = f"At {stamp} an instance was launched to fill the warm pool to its size of {size}."
        instance_or_none = model.launch(group, now, cause=cause, warm=True)
        if instance_or_none is None:
            continue  # another zone is tried, or next_launch has moved
        missing -= 1
