# SPDX-License-Identifier: GPL-3.0-or-later
"""The Auto Scaling group as a state machine over passed-in ports: hosts, targets, templates, subnets and a clock.

Nothing here does I/O of its own or keeps the time, so the same code runs over podman hosts and over a virtual clock.
:meth:`Model.tick` moves everything that is due; commands change what the group wants and move it at once. After
"Amazon EC2 Auto Scaling instance lifecycle" and its neighbours in the user guide.

Each subject is a class on top of those that it needs: activities, lifecycle, launching, membership, capacity, health.
"""

from __future__ import annotations

from localcloud.autoscaling import pool, refresh, scaling, warmpool
from localcloud.autoscaling.activities import NEVER, SIX_WEEKS, Timing
from localcloud.autoscaling.health import Health
from localcloud.autoscaling.launching import template_of
from localcloud.autoscaling.lifecycle import traffic_places
from localcloud.autoscaling.state import (
    IN_SERVICE,
    PENDING_PROCEED,
    PENDING_WAIT,
    TERMINATING_PROCEED,
    TERMINATING_WAIT,
    Group,
)

__all__ = ["NEVER", "SIX_WEEKS", "Model", "Timing", "template_of", "traffic_places"]


class Model(Health):
    """Moves groups."""

    def tick(self, group: Group) -> None:
        """Do everything that is due now."""
        now = self.clock.now()
        moving = group.moving()
        if moving:
            statuses = self.hosts.statuses([i.id for i in moving])
            for instance in moving:
                while instance.id in group.instances and self._step(group, instance, statuses[instance.id], now):
                    pass
        if now >= group.health_due:
            self._check_health(group, now)
        if group.deleting:
            warmpool.step(self, group, now)
            return
        scaling.step(self, group, now)
        self._replace_unhealthy(group, now)
        self._let_extras_settle(group, now)
        refresh.step(self, group, now)
        self._match_desired(group, now)
        self._even_out_zones(group, now)
        warmpool.step(self, group, now)

    def next_due(self, group: Group) -> float:
        """When a tick will next have something to do, as far as time alone tells; NEVER when only others can tell."""
        now = self.clock.now()
        due = group.health_due
        for instance in group.moving():
            if instance.state in (PENDING_WAIT, TERMINATING_WAIT):
                due = min([due, *(wait.deadline for wait in instance.waits if wait.result is None)])
            elif instance.state in (PENDING_PROCEED, TERMINATING_PROCEED) and not instance.halted:
                due = min(due, instance.since + self.timing.proceed)
        for instance in group.warm.values():
            due = min([due, *(wait.deadline for wait in instance.waits if wait.result is None)])
        if group.max_lifetime:
            due = min(
                [due, *(i.launched + group.max_lifetime for i in group.instances.values() if i.state == IN_SERVICE)]
            )
        if group.next_launch > now and (group.capacity() < group.desired or len(group.warm) < pool.wanted(group)):
            due = min(due, group.next_launch)
        return min(due, refresh.next_due(group, now), scaling.next_due(group))
