# SPDX-License-Identifier: GPL-3.0-or-later
"""The warm pool as a part of the state: how large it shall be, and what goes back into it."""

from __future__ import annotations

from localcloud.autoscaling.state import PENDING_PROCEED, WARMED, WARMED_RUNNING, WARMED_STOPPED, Group, Instance

READY = (WARMED_STOPPED, WARMED_RUNNING)


def wanted(group: Group) -> int:
    """How many instances the pool shall hold."""
    pool = group.warm_pool
    if pool is None or pool.deleting:
        return 0
    prepared = group.max_size if pool.max_prepared is None else pool.max_prepared
    return max(pool.min_size, prepared - group.desired, 0)


def takes_back(group: Group) -> bool:
    """Whether a scale-in returns instances to the pool instead of terminating them."""
    return group.warm_pool is not None and group.warm_pool.reuse_on_scale_in and not group.warm_pool.deleting


def give_back(group: Group, instance: Instance, now: float) -> None:
    """Put a drained instance of the group back into the pool."""
    del group.instances[instance.id]
    instance.in_service_since = None
    instance.returning = False
    group.warm[instance.id] = instance
    instance.enter(WARMED + PENDING_PROCEED, now)
