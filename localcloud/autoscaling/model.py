# SPDX-License-Identifier: GPL-3.0-or-later
"""The Auto Scaling group as a state machine over passed-in ports: hosts, targets, templates, subnets and a clock.

Nothing here does I/O of its own or keeps the time, so the same code runs over podman hosts and over a virtual clock.
:meth:`Model.tick` moves everything that is due; commands change what the group wants and move it at once. After
"Amazon EC2 Auto Scaling instance lifecycle" and its neighbours in the user guide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..clock import Clock
from ..errors import ApiError
from . import placement, refresh, warmpool, words
from .ports import Hosts, HostStatus, LaunchOrder, Subnets, TargetHealth, Targets, Templates
from .state import (
    COUNTED_STATES,
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
    WARMED,
    Activity,
    Group,
    HookWait,
    Instance,
    TemplateRef,
)

NEVER = float("inf")
SIX_WEEKS = 42 * 86400.0
_REMEMBERED = 100  # detached instances

_DRAINING = " - Waiting For ELB Connection Draining."

# Refusals of a launch that another zone, or the same zone later, may not repeat.
CAPACITY_CODES = frozenset({"InsufficientInstanceCapacity", "InsufficientHostCapacity", "Unsupported"})


@dataclass(frozen=True)
class Timing:
    """How fast the group reacts, in seconds."""

    proceed: float = 0.0  # how long an instance stays in a ":Proceed" state
    health_interval: float = 5.0  # between two looks at instances in service
    first_retry: float = 10.0  # after a refused launch; doubles each time ...
    last_retry: float = 300.0  # ... up to this
    shun_zone: float = 120.0  # how long a zone that had no capacity is left alone


@dataclass(frozen=True)
class Offer:
    """What would be launched next: a template and, from a mixed instances policy, one of its overrides."""

    template: TemplateRef
    instance_type: str | None
    image_id: str | None
    weight: int
    spot: bool


class Model:
    """Moves groups. Holds no group itself, so that whoever does can keep them where it likes."""

    def __init__(
        self,
        *,
        hosts: Hosts,
        targets: Targets,
        templates: Templates,
        subnets: Subnets,
        clock: Clock,
        new_id: Callable[[], str],
        timing: Timing | None = None,
    ) -> None:
        self.hosts = hosts
        self.targets = targets
        self.templates = templates
        self.subnets = subnets
        self.clock = clock
        self.new_id = new_id
        self.timing = timing or Timing()

    # ---- time ----------------------------------------------------------------------------------------------------

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
        if group.next_launch > now and (group.capacity() < group.desired or len(group.warm) < warmpool.wanted(group)):
            due = min(due, group.next_launch)
        return min(due, refresh.next_due(group, now))

    def look_at_health(self, group: Group) -> None:
        """Have the next tick look at instances in service, whenever that would have been due."""
        group.health_due = self.clock.now()

    # ---- one instance --------------------------------------------------------------------------------------------

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
                warmpool.give_back(group, instance, now)
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

    # ---- health --------------------------------------------------------------------------------------------------

    def _check_health(self, group: Group, now: float) -> None:
        group.health_due = NEVER
        serving = [i for i in group.instances.values() if i.state == IN_SERVICE]
        if not serving:
            return
        group.health_due = now + self.timing.health_interval
        if not group.runs("HealthCheck"):
            return
        statuses = self.hosts.statuses([i.id for i in serving])
        verdicts = self._target_verdicts(group) if "ELB" in group.health_check_type else []
        for instance in serving:
            if not instance.healthy:
                continue
            grace_over = (instance.in_service_since or now) + group.grace
            status = statuses[instance.id]
            if status is HostStatus.GONE or status is HostStatus.STOPPED:  # even within the grace period
                self.unhealthy(group, instance, "an EC2 health check indicating it has been terminated or stopped")
            elif now < grace_over:
                # An unhealthy verdict now would count only then.
                group.health_due = min(group.health_due, grace_over)
            elif status is HostStatus.IMPAIRED:
                self.unhealthy(group, instance, "an EC2 instance status check failure")
            elif any(instance.id in verdict and verdict[instance.id].state == "unhealthy" for verdict in verdicts):
                self.unhealthy(group, instance, "an ELB system health check failure")

    def _target_verdicts(self, group: Group) -> list[dict[str, TargetHealth]]:
        verdicts = []
        for place in traffic_places(group):
            try:
                verdicts.append(self.targets.health(place))
            except ApiError:
                continue
        return verdicts

    @staticmethod
    def unhealthy(group: Group, instance: Instance, reason: str) -> None:
        """Mark for replacement. ``reason``: what the termination was in response to, in the words of a Cause."""
        instance.healthy = False
        instance.health_reason = reason
        group.ailing.append(instance.id)

    def _replace_unhealthy(self, group: Group, now: float) -> None:
        if not (group.runs("ReplaceUnhealthy") and group.runs("Terminate")):
            return
        stamp = words.stamp(now)
        ailing = [group.instances[i] for i in group.ailing if i in group.instances]
        # Who was declared unhealthy before it was in service goes when it is.
        group.ailing = [i.id for i in ailing if not i.healthy and i.state in PENDING_STATES]
        for instance in ailing:
            if instance.state == IN_SERVICE and not instance.healthy:
                reason = instance.health_reason
                self._terminate(
                    group, instance, f"At {stamp} an instance was taken out of service in response to {reason}.", now
                )
                cause = (
                    f"At {stamp} an instance was launched in response to an unhealthy instance needing to be replaced."
                )
                if cause not in group.causes:
                    group.causes.append(cause)
        if group.max_lifetime:
            for instance in list(group.instances.values()):
                if instance.state == IN_SERVICE and now - instance.launched >= group.max_lifetime:
                    cause = f"At {stamp} an instance was taken out of service in response to a max instance lifetime violation."
                    self._terminate(group, instance, cause, now)

    # ---- capacity ------------------------------------------------------------------------------------------------

    def _match_desired(self, group: Group, now: float) -> None:
        """Launch what is missing, terminate what is too much."""
        capacity = group.capacity()
        moved = False
        while capacity < group.desired and group.runs("Launch") and now >= group.next_launch:
            launched = self.launch(group, now, capacity=capacity)
            if launched is not None:  # refused: another zone is tried, or next_launch moved
                capacity, moved = capacity + launched.weight, True
        surplus_wanted = len(group.extra) + refresh.surge(group)
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
            chosen.returning = warmpool.takes_back(group)
            self._terminate(group, chosen, cause, now)
            capacity = group.capacity()
            moved = True
        if moved or capacity == group.desired:
            group.causes = []

    def launch(
        self,
        group: Group,
        now: float,
        *,
        zone: str | None = None,
        cause: str | None = None,
        warm: bool = False,
        capacity: int | None = None,
    ) -> Instance | None:
        """Launch one instance into the group, from its warm pool if that has one, or into the pool (``warm``).

        :param capacity: the group's, where the caller knows it.
        :returns: None when the launch was refused (its activity says why).
        """
        zone = zone or placement.launch_zone(group, now)
        stamp = words.stamp(now)
        if cause is None:
            before = group.capacity() if capacity is None else capacity
            cause = "".join(f"{cause}  " for cause in group.causes)
            cause += (
                f"At {stamp} an instance was started in response to a difference between desired and actual capacity, "
                f"increasing the capacity from {before} to {before + 1}."
            )
        if not warm and not group.extra:
            drawn = warmpool.draw(self, group, zone, cause, now)
            if drawn is not None:
                return drawn
        what = "Launching a new EC2 instance into warm pool" if warm else "Launching a new EC2 instance"
        activity = self._begin(group, what, cause, zone=zone, now=now)
        try:
            offer = self.offer(group)
            subnet = placement.launch_subnet(group, zone) or self.subnets.default_subnet(zone)
            instance_id = self.hosts.launch(
                LaunchOrder(
                    group=group.name,
                    template_id=offer.template.id,
                    template_version=int(offer.template.version),
                    zone=zone,
                    subnet_id=subnet,
                    instance_type=offer.instance_type,
                    tags=self._instance_tags(group, offer.template),
                    client_token=activity.id,
                    spot=offer.spot,
                    image_id=offer.image_id,
                )
            )
            instance_type = offer.instance_type or self.hosts.instance_type(instance_id)
        except ApiError as refusal:
            self._fail(group, activity.id, f"{_sentence(refusal.message)} Launching EC2 instance failed.", now)
            if refusal.code in CAPACITY_CODES:
                group.shunned_zones[zone] = now + self.timing.shun_zone
                if any(group.shunned_zones.get(other, 0.0) <= now for other in group.zones):
                    return None  # another zone may have room, at once
            self._postpone_launches(group, now)
            return None
        activity.description = f"{what}: {instance_id}"
        activity.instance_id = instance_id
        activity.details = _details(subnet, zone)
        self._progress(group, activity.id, "PreInService", 30)
        instance = Instance(
            id=instance_id,
            zone=zone,
            subnet=subnet,
            type=instance_type,
            template=offer.template,
            state=PENDING,
            since=now,
            launched=now,
            activity=activity.id,
            protected=group.protect_new,
            spot=offer.spot,
            weight=offer.weight,
            image_id=offer.image_id,
        )
        if warm:
            instance.state = WARMED + PENDING
            group.warm[instance_id] = instance
        else:
            group.instances[instance_id] = instance
        return instance

    def _postpone_launches(self, group: Group, now: float) -> None:
        wait = min(self.timing.first_retry * 2.0**group.launch_failures, self.timing.last_retry)
        group.launch_failures = min(group.launch_failures + 1, 16)
        group.next_launch = now + wait

    def _instance_tags(self, group: Group, template: TemplateRef) -> dict[str, str]:
        own = {
            "aws:autoscaling:groupName": group.name,
            "aws:ec2launchtemplate:id": template.id,
            "aws:ec2launchtemplate:version": template.version,
        }
        return {key: tag.value for key, tag in group.tags.items() if tag.propagate} | own

    def offer(self, group: Group) -> Offer:
        """What a launch would start now. Raises ApiError where a template cannot be resolved."""
        own, mixed = refresh.configuration(group)
        if mixed is None:
            if own is None:
                raise words.bad_template(f"AutoScalingGroup {group.name} has none.")
            return Offer(self.resolve(own), None, None, 1, False)
        spec = mixed["LaunchTemplate"]["LaunchTemplateSpecification"]
        choices = placement.overrides(mixed)
        choice = choices[0] if choices else {}
        template = template_of(choice.get("LaunchTemplateSpecification") or spec)
        return Offer(
            self.resolve(template),
            choice.get("InstanceType"),
            choice.get("ImageId"),
            int(choice.get("WeightedCapacity", 1)),
            self._wants_spot(group, mixed),
        )

    @staticmethod
    def _wants_spot(group: Group, mixed: dict[str, Any]) -> bool:
        policy = mixed.get("InstancesDistribution") or {}
        base = int(policy.get("OnDemandBaseCapacity", 0))
        above = int(policy.get("OnDemandPercentageAboveBaseCapacity", 100))
        counted = [i for i in group.instances.values() if i.counted]
        on_demand = sum(i.weight for i in counted if not i.spot)
        wanted = base + -(-(sum(i.weight for i in counted) + 1 - base) * above // 100)
        return on_demand >= max(wanted, base)

    def resolve(self, template: TemplateRef) -> TemplateRef:
        """The same template with ``$Latest`` and ``$Default`` turned into a number."""
        template_id, name, number = self.templates.resolve(template.id, template.version)
        return TemplateRef(template_id, name, str(number))

    def is_current(self, group: Group) -> Callable[[Instance], bool]:
        """Whether an instance runs what the group would launch now (template, version and instance type)."""
        specs: dict[str, TemplateRef] = {}
        wanted: list[TemplateRef] = []
        allowed: set[str] = set()
        own, mixed = refresh.configuration(group)
        if mixed is not None:
            main = mixed["LaunchTemplate"]["LaunchTemplateSpecification"]
            for choice in placement.overrides(mixed) or [{}]:
                ref = template_of(choice.get("LaunchTemplateSpecification") or main)
                specs[f"{ref.id}:{ref.version}"] = ref
                if choice.get("InstanceType"):
                    allowed.add(choice["InstanceType"])
        elif own is not None:
            specs[""] = own
        for ref in specs.values():
            try:
                wanted.append(self.resolve(ref))
            except ApiError:
                continue  # a template that was deleted matches nothing
        keys = {(ref.id, ref.version) for ref in wanted}

        def current(instance: Instance) -> bool:
            if instance.template is None or (instance.template.id, instance.template.version) not in keys:
                return False
            return not allowed or instance.type in allowed

        return current

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
        if group.extra or now < group.next_launch or refresh.running(group) is not None:
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

    # ---- commands ------------------------------------------------------------------------------------------------

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
        instance.returning = shrinks and warmpool.takes_back(group)
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

    def _terminate(self, group: Group, instance: Instance, cause: str, now: float) -> Activity:
        if instance.activity is not None:
            self.close(group, instance.activity, "Cancelled", now)
        instance.enter(TERMINATING, now)
        instance.waits = []
        group.extra.pop(instance.id, None)
        activity = self._begin(
            group,
            f"Terminating EC2 instance: {instance.id}",
            cause,
            zone=instance.zone,
            subnet=instance.subnet,
            instance_id=instance.id,
            now=now,
        )
        instance.activity = activity.id
        self._leave_traffic(group, instance)
        if instance.leaving:
            activity.status = "WaitingForELBConnectionDraining"
            activity.description += _DRAINING
        status = self.hosts.statuses([instance.id])[instance.id]
        while instance.id in group.instances and self._step_termination(group, instance, status, now):
            pass
        return activity

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
            activity = self._begin(
                group,
                f"{what}: {instance.id}",
                f"{cause}.",
                zone=instance.zone,
                subnet=instance.subnet,
                instance_id=instance.id,
                now=now,
                progress=50,
            )
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
        activity = self._begin(
            group,
            f"{what}: {instance.id}",
            cause,
            zone=instance.zone,
            subnet=instance.subnet,
            instance_id=instance.id,
            now=now,
            progress=30,
        )
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

    def renew_warm_pool(self, group: Group) -> None:
        """After an instance refresh: what the pool holds of an older template goes, and is prepared anew."""
        now = self.clock.now()
        current = self.is_current(group)
        cause = f"At {words.stamp(now)} an instance was taken out of service in response to an instance refresh."
        for instance in list(group.warm.values()):
            if not current(instance):
                warmpool.terminate(self, group, instance, cause, now)

    # ---- activities ----------------------------------------------------------------------------------------------

    def begin(self, group: Group, description: str, cause: str, *, instance: Instance, now: float) -> Activity:
        """Begin an activity about an instance of the warm pool."""
        return self._begin(
            group,
            description,
            cause,
            zone=instance.zone,
            subnet=instance.subnet,
            instance_id=instance.id,
            now=now,
        )

    def _begin(
        self,
        group: Group,
        description: str,
        cause: str,
        *,
        zone: str,
        now: float,
        subnet: str | None = None,
        instance_id: str | None = None,
        progress: int = 0,
    ) -> Activity:
        activity = Activity(
            id=self.new_id(),
            description=description,
            cause=cause,
            start=now,
            status="InProgress",
            details=_details(subnet, zone),
            instance_id=instance_id,
            progress=progress,
        )
        group.activities[activity.id] = activity
        oldest = next(iter(group.activities))
        if group.activities[oldest].start < now - SIX_WEEKS:  # AWS forgets them as well
            del group.activities[oldest]
        return activity

    @staticmethod
    def _progress(group: Group, activity_id: str | None, status: str, progress: int) -> None:
        activity = group.activities.get(activity_id or "")
        if activity is not None and activity.end is None:
            activity.status = status
            activity.progress = progress

    def _finish(self, group: Group, activity_id: str | None, now: float) -> None:
        self.close(group, activity_id, "Successful", now)

    def _fail(self, group: Group, activity_id: str | None, message: str, now: float) -> None:
        self.close(group, activity_id, "Failed", now, message)

    @staticmethod
    def close(group: Group, activity_id: str | None, status: str, now: float, message: str | None = None) -> None:
        """End an activity that has not ended."""
        activity = group.activities.get(activity_id or "")
        if activity is not None and activity.end is None:
            activity.status = status
            activity.progress = 100
            activity.end = now
            if message is not None:
                activity.message = message
                activity.description += f".  Status Reason: {message}"


def template_of(spec: dict[str, Any]) -> TemplateRef:
    """A LaunchTemplateSpecification (id and name filled in) as a reference."""
    return TemplateRef(spec["LaunchTemplateId"], spec.get("LaunchTemplateName", ""), spec.get("Version", "$Default"))


def traffic_places(group: Group) -> list[str]:
    """Every target group (ARN) and classic load balancer (name) that instances in service are registered with."""
    return [*group.target_groups, *group.load_balancers]


def counted(state: str) -> bool:
    """Whether an instance in this state counts towards the desired capacity."""
    return state in COUNTED_STATES


def _sizes(group: Group) -> tuple[int, int, int]:
    return group.min_size, group.max_size, group.desired


def _details(subnet: str | None, zone: str) -> str:
    details = {"Subnet ID": subnet} if subnet else {}
    return json.dumps(details | {"Availability Zone": zone}, separators=(",", ":"))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
