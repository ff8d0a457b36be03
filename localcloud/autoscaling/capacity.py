# SPDX-License-Identifier: GPL-3.0-or-later
"""How many instances a group has, and in which zones."""

from __future__ import annotations

from localcloud.autoscaling import placement, pool, underway, warmpool, words
from localcloud.autoscaling.membership import Membership
from localcloud.autoscaling.state import PENDING_STATES, Group


class Capacity(Membership):
    """Brings groups to their desired capacity, evenly over their zones."""

    def set_desired(self, group: Group, desired: int, why: str, who: str = "a user request") -> None:
        """Change the desired capacity. ``why``: "explicitly set group desired capacity", or the words of an update."""
        if desired == group.desired:
            return
        group.causes.append(
            f"At {words.stamp(self.clock.now())} {who} {why} changing the desired capacity from "
            f"{group.desired} to {desired}."
        )
        group.desired = desired
        group.next_launch = 0.0  # a new wish is tried at once

    def _match_desired(self, group: Group, now: float) -> None:
        """Launch what is missing, terminate what is too much."""
        capacity = group.capacity()
        moved = False
        while capacity < group.desired and group.runs("Launch") and now >= group.next_launch:
            launched = self.launch(group, now, capacity=capacity)
            if launched is not None:  # refused: another zone is tried, or next_launch moved
                capacity, moved = capacity + launched.weight, True
        surplus_wanted = len(group.extra) + underway.surge(group)
        while capacity > group.desired + surplus_wanted and group.runs("Terminate"):
            chosen = placement.victim(group, self.is_current(group), now)
            if chosen is None or capacity - chosen.weight < group.desired:
                break
            stamp = words.stamp(now)
            cause = "".join(f"{cause}  " for cause in group.causes)
            cause += (
                f"At {stamp} an instance was taken out of service in response to a difference between desired and "
                f"actual capacity, shrinking the capacity from {capacity} to {capacity - chosen.weight}.  "
                f"At {stamp} instance {chosen.id} was selected for termination."
            )
            chosen.returning = pool.takes_back(group)
            self._terminate(group, chosen, cause, now)
            capacity = group.capacity()
            moved = True
        if moved or capacity == group.desired:
            group.causes = []

    def _let_extras_settle(self, group: Group, now: float) -> None:
        """An instance launched beyond desired is in service: the one that it makes room for goes."""
        for fresh, old in list(group.extra.items()):
            instance = group.instances.get(fresh)
            if instance is not None and instance.state in PENDING_STATES:
                continue
            del group.extra[fresh]
            leaver = group.instances.get(old)
            if instance is not None and leaver is not None and leaver.counted and group.runs("Terminate"):
                cause = (
                    f"At {words.stamp(now)} an instance was taken out of service in response to an EC2 Spot rebalance"
                )
                self._terminate(group, leaver, f"{cause} recommendation.", now)

    def _even_out_zones(self, group: Group, now: float) -> None:
        """AZRebalance: launch in the emptiest zone first, then let the scale-in take one from the fullest."""
        if not (group.runs("AZRebalance") and group.runs("Launch") and group.runs("Terminate")):
            return
        if group.extra or now < group.next_launch or underway.running(group) is not None:
            return
        if group.moving():
            return  # not while anything moves
        uneven = placement.uneven_zones(group, now)
        if uneven is None:
            return
        fullest, emptiest = uneven
        if all(i.protected for i in group.instances.values() if i.zone == fullest and i.counted):
            return
        cause = (
            f"At {words.stamp(now)} instances were launched to balance instances in zones {emptiest} with other zones "
            "resulting in more than desired number of instances in the group."
        )
        instance = self.launch(group, now, zone=emptiest, cause=cause)
        if instance is not None:
            group.extra[instance.id] = ""

    def rebalance(self, group: Group, instance_id: str) -> None:
        """EC2 recommends to leave a Spot instance: with capacity rebalancing its replacement is launched first."""
        now = self.clock.now()
        limit = group.max_size + max(1, group.max_size // 10)
        if not group.capacity_rebalance or not group.runs("Launch") or group.capacity() >= limit:
            return
        if instance_id in group.extra.values() or not group.instances[instance_id].counted:
            return
        cause = f"At {words.stamp(now)} an instance was launched in response to an EC2 Spot rebalance recommendation."
        instance = self.launch(group, now, cause=cause)
        if instance is not None:
            group.extra[instance.id] = instance_id

    def renew_warm_pool(self, group: Group) -> None:
        """After an instance refresh: what the pool holds of an older template goes, and is prepared anew."""
        now = self.clock.now()
        current = self.is_current(group)
        cause = f"At {words.stamp(now)} an instance was taken out of service in response to an instance refresh."
        for instance in list(group.warm.values()):
            if not current(instance):
                warmpool.terminate(self, group, instance, cause, now)
