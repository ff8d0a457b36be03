# SPDX-License-Identifier: GPL-3.0-or-later
"""One instance of a group: from pending into service and out of it, with hooks and load balancers on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from localcloud.autoscaling import pool, words
from localcloud.autoscaling.activities import Activities
from localcloud.autoscaling.ports import HostStatus
from localcloud.autoscaling.state import (
    DETACHING,
    ENTERING_STANDBY,
    IN_SERVICE,
    LAUNCHING,
    PENDING,
    PENDING_PROCEED,
    PENDING_STATES,
    PENDING_WAIT,
    STANDBY,
    TERMINATING,
    TERMINATING_PROCEED,
    TERMINATING_STATES,
    TERMINATING_WAIT,
    TERMINATION,
    Activity,
    Group,
    HookWait,
    Instance,
)
from localcloud.errors import ApiError

_DRAINING = " - Waiting For ELB Connection Draining."
_REMEMBERED = 100  # detached instances


class Lifecycle(Activities):
    """Moves instances from state to state."""

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _step(self, group: Group, instance: Instance, status: HostStatus, now: float) -> bool:
        """One transition of an instance in motion; whether there was one."""
        state = instance.state
        if state in PENDING_STATES and status in (HostStatus.GONE, HostStatus.STOPPED):
            if status is HostStatus.STOPPED:  # by itself: one from the warm pool is pending as soon as it is started
                self.hosts.terminate(instance.id)
            self._launch_died(group, instance, now)
            return False
        if state == PENDING:
            if status is HostStatus.PENDING:
                return False
            if not instance.unhooked:
                self.begin_waits(group, instance, LAUNCHING, PENDING_WAIT, now)
            if not instance.waits:
                self._into_service(group, instance, now)
            return True
        if state == PENDING_WAIT:
            return self._after_launch_hooks(group, instance, now)
        if state == PENDING_PROCEED:
            if now < instance.since + self.timing.proceed:
                return False
            self._into_service(group, instance, now)
            return True
        if state in (ENTERING_STANDBY, DETACHING):
            return self._step_out(group, instance, now)
        if state in TERMINATING_STATES:
            return self._step_termination(group, instance, status, now)
        return False

    def _step_termination(self, group: Group, instance: Instance, status: HostStatus, now: float) -> bool:
        if instance.halted or status is HostStatus.GONE:
            if status is not HostStatus.GONE:
                return False
            self._drained(group, instance)
            self._finish(group, instance.activity, now)
            del group.instances[instance.id]
            return True
        if instance.state == TERMINATING:
            if not instance.forced and self._still_leaving(instance):
                return False
            self._drained(group, instance)
            if instance.returning:
                pool.give_back(group, instance, now)
                return False
            if not instance.forced:
                self.begin_waits(group, instance, TERMINATION, TERMINATING_WAIT, now)
            return bool(instance.waits) or self._halt(group, instance)
        if instance.state == TERMINATING_WAIT:
            return self._after_termination_hooks(instance, now)
        return now >= instance.since + self.timing.proceed and self._halt(group, instance)

    @staticmethod
    def _drained(group: Group, instance: Instance) -> None:
        activity = group.activities.get(instance.activity or "")
        if activity is not None and activity.description.endswith(_DRAINING):
            activity.description = activity.description.removesuffix(_DRAINING)
            activity.status = "InProgress"

    def _halt(self, group: Group, instance: Instance) -> bool:
        """Have the host terminated; False when EC2 refuses for now (the next tick asks again)."""
        try:
            self.hosts.terminate(instance.id)
        except ApiError as refusal:
            activity = group.activities.get(instance.activity or "")
            if activity is not None:
                activity.message = refusal.message
            return False
        instance.halted = True
        self._progress(group, instance.activity, "InProgress", 50)
        return True

    def _step_out(self, group: Group, instance: Instance, now: float) -> bool:
        """Into standby or out of the group, once it is drained."""
        if self._still_leaving(instance):
            return False
        self._finish(group, instance.activity, now)
        if instance.state == DETACHING:
            del group.instances[instance.id]
            group.detached = [*group.detached[1 - _REMEMBERED :], instance.id]
        else:
            instance.enter(STANDBY, now)
        return True

    def _into_service(self, group: Group, instance: Instance, now: float) -> None:
        instance.enter(IN_SERVICE, now)
        instance.in_service_since = now
        instance.waits = []
        instance.unhooked = False
        if group.runs("AddToLoadBalancer"):
            for place in traffic_places(group):
                self._try(lambda place=place: self.targets.register(place, instance.id))  # type: ignore[misc]
        self._finish(group, instance.activity, now)
        group.launch_failures = 0
        group.next_launch = 0.0
        group.health_due = min(group.health_due, now + self.timing.health_interval)

    def _launch_died(self, group: Group, instance: Instance, now: float) -> None:
        """A host that went away before it was in service is a failed launch."""
        del group.instances[instance.id]
        group.extra.pop(instance.id, None)
        self._fail(
            group,
            instance.activity,
            "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: "
            "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
            now,
        )
        self._postpone_launches(group, now)

    def _terminate(self, group: Group, instance: Instance, cause: str, now: float) -> Activity:
        if instance.activity is not None:
            self.close(group, instance.activity, "Cancelled", now)
        instance.enter(TERMINATING, now)
        instance.waits = []
        group.extra.pop(instance.id, None)
        activity = self.begin(group, f"Terminating EC2 instance: {instance.id}", cause, instance=instance, now=now)
        instance.activity = activity.id
        self._leave_traffic(group, instance)
        if instance.leaving:
            activity.status = "WaitingForELBConnectionDraining"
            activity.description += _DRAINING
        status = self.hosts.statuses([instance.id])[instance.id]
        while instance.id in group.instances and self._step_termination(group, instance, status, now):
            pass
        return activity

    def _postpone_launches(self, group: Group, now: float) -> None:
        wait = min(self.timing.first_retry * 2.0**group.launch_failures, self.timing.last_retry)
        group.launch_failures = min(group.launch_failures + 1, 16)
        group.next_launch = now + wait

    # ---- hooks ---------------------------------------------------------------------------------------------------

    def begin_waits(self, group: Group, instance: Instance, transition: str, state: str, now: float) -> None:
        hooks = [hook for hook in group.hooks.values() if hook.transition == transition]
        instance.waits = [
            HookWait(
                hook=hook.name,
                token=self.new_id(),
                deadline=now + hook.heartbeat,
                last=now + hook.global_timeout,
                heartbeat=hook.heartbeat,
                default_result=hook.default_result,
            )
            for hook in hooks
        ]
        if hooks:
            instance.enter(state, now)
            self._progress(group, instance.activity, "MidLifecycleAction", 40)

    @staticmethod
    def abandoned_wait(instance: Instance, now: float) -> tuple[HookWait, str] | None:
        """Give hooks whose time is over their default result; the first that was abandoned, and why."""
        for wait in instance.waits:
            why = "Lifecycle Action Completed with ABANDON Result"
            if wait.result is None and now >= wait.deadline:
                wait.result = wait.default_result
                why = "Heartbeat Timeout"
            if wait.result == "ABANDON":
                return wait, why
        return None

    def _after_launch_hooks(self, group: Group, instance: Instance, now: float) -> bool:
        abandoned = self.abandoned_wait(instance, now)
        if abandoned is not None:
            self._abandon(group, instance, *abandoned, now)
            return True
        return self._proceed(instance, PENDING_PROCEED, now)

    def _after_termination_hooks(self, instance: Instance, now: float) -> bool:
        if self.abandoned_wait(instance, now) is not None:  # ends the other hooks too
            instance.enter(TERMINATING_PROCEED, now)
            return True
        return self._proceed(instance, TERMINATING_PROCEED, now)

    @staticmethod
    def _proceed(instance: Instance, state: str, now: float) -> bool:
        if any(wait.result is None for wait in instance.waits):
            return False
        instance.enter(state, now)
        return True

    def _abandon(self, group: Group, instance: Instance, wait: HookWait, why: str, now: float) -> None:
        self.close(group, instance.activity, "Cancelled", now, words.abandoned(wait.token, why))
        instance.activity = None
        self._postpone_launches(group, now)
        self._terminate(
            group,
            instance,
            f"At {words.stamp(now)} an instance was taken out of service in response to a launch failure.",
            now,
        )

    # ---- load balancers ------------------------------------------------------------------------------------------

    def _still_leaving(self, instance: Instance) -> bool:
        instance.leaving = [place for place in instance.leaving if self._draining(place, instance.id)]
        return bool(instance.leaving)

    def _draining(self, place: str, instance_id: str) -> bool:
        try:
            health = self.targets.health(place).get(instance_id)
        except ApiError:
            return False  # the target group is gone, and with it every connection
        return health is not None and health.state == "draining"

    def _leave_traffic(self, group: Group, instance: Instance) -> None:
        """Deregister everywhere; ``leaving`` then says where it still drains."""
        instance.leaving = []
        for place in traffic_places(group):
            if self._try(lambda place=place: self.targets.deregister(place, instance.id)):  # type: ignore[misc]
                instance.leaving.append(place)

    @staticmethod
    def _try(call: Callable[[], None]) -> bool:
        """Registering at a target group that somebody deleted meanwhile must not stop the group."""
        try:
            call()
        except ApiError:
            return False
        return True

    def register_all(self, group: Group, places: Iterable[str]) -> None:
        """A target group was attached: everything in service registers there."""
        for place in places:
            for instance in group.instances.values():
                if instance.state == IN_SERVICE:
                    self.targets.register(place, instance.id)

    def deregister_all(self, group: Group, places: Iterable[str]) -> None:
        """A target group was detached: everything in service leaves it."""
        for place in places:
            for instance in group.instances.values():
                if instance.state == IN_SERVICE:
                    self._try(lambda i=instance.id, p=place: self.targets.deregister(p, i))  # type: ignore[misc]


def traffic_places(group: Group) -> list[str]:
    """Every target group (ARN) and classic load balancer (name) that instances in service are registered with."""
    return [*group.target_groups, *group.load_balancers]
