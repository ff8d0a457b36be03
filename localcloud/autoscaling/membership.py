# SPDX-License-Identifier: GPL-3.0-or-later
"""What callers do with single instances of a group: standby, detaching, attaching, terminating."""

from __future__ import annotations

from collections.abc import Iterable

from localcloud.autoscaling import placement, pool, warmpool, words
from localcloud.autoscaling.launching import Launching
from localcloud.autoscaling.state import (
    DETACHING,
    ENTERING_STANDBY,
    IN_SERVICE,
    PENDING,
    STANDBY,
    TERMINATING_STATES,
    Activity,
    Group,
    Instance,
)


class Membership(Launching):
    """Takes instances out of groups and into them."""

    def terminate(self, group: Group, instance_id: str, decrement: bool) -> Activity:
        """TerminateInstanceInAutoScalingGroup. Scale-in protection and the Terminate process do not matter to it."""
        now = self.clock.now()
        instance = group.instances[instance_id]
        if instance.state in TERMINATING_STATES and instance.activity in group.activities:
            return group.activities[instance.activity]
        before = group.capacity()
        shrinks = decrement and instance.state != STANDBY
        if shrinks:
            if group.desired - instance.weight < group.min_size:
                raise words.at_min_size(group.min_size)
            group.desired -= instance.weight
        cause = f"At {words.stamp(now)} instance {instance_id} was taken out of service in response to a user request"
        cause += f", shrinking the capacity from {before} to {before - instance.weight}." if shrinks else "."
        instance.returning = shrinks and pool.takes_back(group)
        return self._terminate(group, instance, cause, now)

    def terminate_now(self, group: Group) -> None:
        """Terminate every instance without hooks and draining (force delete)."""
        now = self.clock.now()
        cause = f"At {words.stamp(now)} the AutoScalingGroup was deleted by a user request with force delete."
        for instance in list(group.warm.values()):
            warmpool.terminate(self, group, instance, cause, now)
        for instance in list(group.instances.values()):
            instance.forced = True
            if instance.state in TERMINATING_STATES:
                if not instance.halted:
                    self._halt(group, instance)
            else:
                self._terminate(group, instance, cause, now)

    def take(self, group: Group, instance: Instance, cause: str) -> Activity:
        """Terminate an instance for a reason of the group's own."""
        return self._terminate(group, instance, cause, self.clock.now())

    def enter_standby(self, group: Group, ids: Iterable[str], decrement: bool) -> list[Activity]:
        """EnterStandby: out of the load balancers, then Standby; the host runs on."""
        instances = [self._member(group, i) for i in ids]
        for instance in instances:
            if instance.state != IN_SERVICE:
                raise words.not_in_state(instance.id, "InService")
        return self._move_out(group, instances, decrement, ENTERING_STANDBY, "place into standby")

    def detach(self, group: Group, ids: Iterable[str], decrement: bool) -> list[Activity]:
        """DetachInstances: the host runs on, but is no longer the group's."""
        instances = [self._member(group, i) for i in ids]
        for instance in instances:
            if instance.state not in (IN_SERVICE, STANDBY):
                raise words.not_in_state(instance.id, "InService or Standby")
        return self._move_out(group, instances, decrement, DETACHING, "detach")

    def _move_out(
        self, group: Group, instances: list[Instance], decrement: bool, state: str, verb: str
    ) -> list[Activity]:
        now = self.clock.now()
        counted = sum(i.weight for i in instances if i.counted)
        if decrement and group.desired - counted < group.min_size:
            raise words.sizes_do_not_fit(group.name, _sizes(group), verb, len(instances))
        activities = []
        capacity = group.capacity()
        if decrement:
            group.desired -= counted
        for instance in instances:
            what = "Moving EC2 instance to Standby" if state == ENTERING_STANDBY else "Detaching EC2 instance"
            done = "moved to standby" if state == ENTERING_STANDBY else "detached"
            cause = f"At {words.stamp(now)} instance {instance.id} was {done} in response to a user request"
            if decrement and instance.counted:
                cause += f", shrinking the capacity from {capacity} to {capacity - instance.weight}"
                capacity -= instance.weight
            activity = self.begin(group, f"{what}: {instance.id}", f"{cause}.", instance=instance, now=now, progress=50)
            instance.activity = activity.id
            instance.enter(state, now)
            self._leave_traffic(group, instance)
            activities.append(activity)
        return activities

    def exit_standby(self, group: Group, ids: Iterable[str]) -> list[Activity]:
        """ExitStandby: back through Pending into service; desired grows by as many."""
        now = self.clock.now()
        instances = [self._member(group, i) for i in ids]
        for instance in instances:
            if instance.state != STANDBY:
                raise words.not_in_state(instance.id, "Standby")
        added = sum(i.weight for i in instances)
        if group.desired + added > group.max_size:
            raise words.sizes_do_not_fit(group.name, _sizes(group), "take out of standby", len(instances))
        return [
            self._move_in(group, instance, "Moving EC2 instance out of Standby", "moved out of standby", now)
            for instance in instances
        ]

    def attach(self, group: Group, ids: list[str]) -> None:
        """AttachInstances: running hosts of nobody join; desired grows by as many."""
        now = self.clock.now()
        if group.desired + len(ids) > group.max_size:
            raise words.sizes_do_not_fit(group.name, _sizes(group), "attach", len(ids))
        for instance_id in ids:
            zone = group.zones[0]
            instance = Instance(
                id=instance_id,
                zone=zone,
                subnet=placement.launch_subnet(group, zone) or "",
                type=self.hosts.instance_type(instance_id),
                template=None,
                state=STANDBY,
                since=now,
                launched=now,
                protected=group.protect_new,
                attached=True,
            )
            group.instances[instance_id] = instance
            self._move_in(group, instance, "Attaching an existing EC2 instance", "attached", now)

    def _move_in(self, group: Group, instance: Instance, what: str, done: str, now: float) -> Activity:
        cause = (
            f"At {words.stamp(now)} instance {instance.id} was {done} in response to a user request, increasing the "
            f"capacity from {group.capacity()} to {group.capacity() + instance.weight}."
        )
        group.desired += instance.weight
        activity = self.begin(group, f"{what}: {instance.id}", cause, instance=instance, now=now, progress=30)
        instance.activity = activity.id
        instance.healthy = True
        instance.unhooked = True  # launch hooks are for instances that the group launches
        self._progress(group, activity.id, "PreInService", 30)
        instance.enter(PENDING, now)
        return activity

    @staticmethod
    def _member(group: Group, instance_id: str) -> Instance:
        if instance_id not in group.instances:
            raise words.not_in_group(instance_id, group.name)
        return group.instances[instance_id]


def _sizes(group: Group) -> tuple[int, int, int]:
    return group.min_size, group.max_size, group.desired
