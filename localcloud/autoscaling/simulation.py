# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud in one process over a virtual clock: hours of boots and drains in milliseconds, every call counted.

It runs the very group model and API that the HTTP server runs, over simulated hosts and target groups::

    cloud = SimulatedCloud(boot=90, healthy_after=10, deregistration_delay=30)
    cloud.create_group("web", size=3)                 # template "web", one target group, everything in service
    cloud.new_template_version("web")                 # version 2, now $Latest

    autoscaling = cloud.client("autoscaling")         # also cloudwatch, elbv2, elb, ec2: methods, shapes, errors as in boto3
    autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])
    cloud.sleep(5)                                    # pass it wherever time.sleep would be; cloud.now() is the time
    cloud.calls["DescribeAutoScalingGroups"]          # 1; cloud.log has every call in order

Faults: ``cloud.faults`` (:mod:`localcloud.faults`: throttling, refused launches, hanging and dying boots, lag) and the
verbs ``kill``, ``impair``, ``make_sick``, ``cure``, ``interrupt``. What shall happen later: ``cloud.at(seconds, callable)``.

To kill the caller at call k, before or after the call took effect::

    cloud.before_call.append(lambda call: die() if call.number == k else None)
    cloud.after_call.append(...)

``cloud.watch("web")`` records what a roll must guarantee: lowest capacity, launches, who replaced whom.
Parameters are checked against botocore's service models, so a misspelt one fails as it would in boto3.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import botocore.session
import botocore.validate
from botocore import xform_name
from botocore.exceptions import ClientError, ParamValidationError

from localcloud.autoscaling import shapes
from localcloud.autoscaling.model import NEVER, Timing, traffic_places
from localcloud.autoscaling.ports import HostStatus, TargetHealth
from localcloud.autoscaling.service import AutoScaling
from localcloud.autoscaling.simulated.balancer import SimulatedTargets
from localcloud.autoscaling.simulated.client import SimulatedClient, model
from localcloud.autoscaling.simulated.ec2 import SimulatedHosts, SimulatedSubnets, SimulatedTemplates
from localcloud.autoscaling.simulated.world import FAILING, HEALTHY, REGION, TIMEOUT, Params, Watch
from localcloud.autoscaling.state import IN_SERVICE, Group
from localcloud.clock import VirtualClock
from localcloud.cloudwatch.service import CloudWatch
from localcloud.errors import ApiError
from localcloud.faults import Faults


@dataclass(frozen=True)
class Call:
    """One API call."""

    number: int  # from 1
    service: str
    operation: str
    params: Params
    at: float


class SimulatedCloud:
    """The cloud. Durations are seconds; ``boot`` may be a function of the launch's number (from 1)."""

    def __init__(
        self,
        *,
        boot: float | Callable[[int], float] = 90.0,
        healthy_after: float = 10.0,
        deregistration_delay: float = 30.0,
        shutdown: float = 5.0,
        notice: float = 15.0,
        zones: int = 3,
        timing: Timing | None = None,
        start: float | None = None,
    ) -> None:
        """
        :param healthy_after: from registration to ``healthy`` in a target group.
        :param shutdown: from termination to gone.
        :param notice: how long bad health goes unnoticed by a target group, and then again by the group.
        """
        self.clock = VirtualClock() if start is None else VirtualClock(start)
        self.faults = Faults()
        self.zones = [f"{REGION}{letter}" for letter in "abcdef"[:zones]]
        self.hosts = SimulatedHosts(self, boot, shutdown)
        self.targets = SimulatedTargets(self, healthy_after, deregistration_delay)
        self.templates = SimulatedTemplates(self)
        self._ids = itertools.count(1)
        self.autoscaling = AutoScaling(
            hosts=self.hosts,
            targets=self.targets,
            templates=self.templates,
            subnets=SimulatedSubnets(self.zones),
            clock=self.clock,
            faults=self.faults,
            timing=timing or Timing(health_interval=NEVER),
            new_id=lambda: f"00000000-0000-4000-8000-{next(self._ids):012x}",
        )
        self.cloudwatch = CloudWatch(self.clock, self.autoscaling.alarm, self.autoscaling.has_policy)
        self.autoscaling.alarms = self.cloudwatch
        self.notice = notice
        self.clock_ahead = 0.0  # by how much AWS's clock is ahead of everybody's who asks
        self.address: Callable[[int], str] = _address
        self.no_call: Exception | None = None  # what every call fails with, before it reaches AWS
        self.calls: Counter[str] = Counter()
        self.log: list[Call] = []
        self.before_call: list[Callable[[Call], None]] = []
        self.after_call: list[Callable[[Call], None]] = []
        self.watches: list[Watch] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    # ---- time ----------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Unix seconds of the virtual clock."""
        return self.clock.now()

    def sleep(self, seconds: float) -> None:
        """Let time pass; everything that is due happens in order."""
        end = self.now() + seconds
        due = self._next_due()
        while due <= end:
            self.clock.advance(max(0.0, due - self.now()))
            due = self._settle()
        self.clock.advance(end - self.now())

    advance = sleep

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen so many seconds from now."""
        heapq.heappush(self._events, (self.now() + seconds, next(self._order), action))

    def run_until(self, done: Callable[[], bool], limit: float = 86400.0) -> None:
        """Let time pass until a condition holds. Raises TimeoutError when it does not within ``limit`` seconds."""
        end = self.now() + limit
        while not done():
            due = self._next_due()
            if due > end:
                raise TimeoutError(f"nothing more happens that could make it so within {limit:.0f} s")
            self.sleep(max(0.0, due - self.now()))

    def _next_due(self) -> float:
        return min(
            self._events[0][0] if self._events else NEVER, self.autoscaling.next_due(), self.cloudwatch.next_due()
        )

    def _settle(self) -> float:
        """Everything that is due at this very moment; says when the next thing is."""
        for _ in range(1000):
            while self._is_due():
                heapq.heappop(self._events)[2]()
            self.cloudwatch.tick()
            self.autoscaling.tick()
            self._observe()
            if (due := self._next_due()) > self.now():
                return due
        raise RuntimeError("the simulation does not come to rest")

    def _is_due(self) -> bool:
        return bool(self._events) and self._events[0][0] <= self.now()

    # ---- clients -------------------------------------------------------------------------------------------------

    def client(self, service: str, **_options: Any) -> SimulatedClient:
        """A boto3-shaped client for autoscaling, cloudwatch, elbv2, elb or ec2."""
        return SimulatedClient(self.call, service)

    def call(self, service: str, operation: str, params: Params) -> dict[str, Any]:
        """One API call as boto3 would make it. Raises ClientError or ParamValidationError."""
        shape = model(service).operation_model(operation).input_shape
        if shape is not None:
            report = botocore.validate.ParamValidator().validate(params, shape)
            if report.has_errors():
                raise ParamValidationError(report=report.generate_report())
        self.calls[operation] += 1
        call = Call(len(self.log) + 1, service, operation, params, self.now())
        self.log.append(call)
        for hook in self.before_call:
            hook(call)
        if self.no_call is not None:
            raise self.no_call
        try:
            refusal = self.faults.api_refusal(operation)
            if refusal is not None:
                raise refusal
            result = self.handle(service, operation, params)
        except ApiError as error:
            response: Any = {
                "Error": {"Type": "Sender", "Code": error.code, "Message": error.message},
                "ResponseMetadata": {"HTTPStatusCode": error.status, "RequestId": f"sim-{call.number}"},
            }
            raise ClientError(response, operation) from error
        for hook in self.after_call:
            hook(call)
        headers = {"date": formatdate(self.now() + self.clock_ahead, usegmt=True)}
        return result | {
            "ResponseMetadata": {"HTTPStatusCode": 200, "RequestId": f"sim-{call.number}", "HTTPHeaders": headers}
        }

    def handle(self, service: str, operation: str, params: Params) -> dict[str, Any]:
        """Run one operation uncounted, as a server would on behalf of a caller. Raises ApiError."""
        if service == "autoscaling":
            result = self.autoscaling.handle(operation, params, REGION)
            looked = operation.startswith("Describe")
            # A look changes nothing, unless somebody who looks on did.
            if self._is_due() or ((self.before_call or not looked) and self.autoscaling.next_due() <= self.now()):
                self._settle()
            elif not looked:
                self._observe()  # the service has ticked
            return result
        if service == "cloudwatch":
            return self.cloudwatch.handle(operation, params, REGION)
        owners: dict[str, tuple[object, ...]] = {
            "elbv2": (self.targets,),
            "elb": (self.targets,),
            "ec2": (self.templates, self.hosts),
        }
        name = f"{service}_{xform_name(operation)}"
        for owner in owners[service]:
            method = getattr(owner, name, None)
            if method is not None:
                result = method(params) or {}
                if not operation.startswith("Describe"):
                    self._settle()
                return result
        raise ApiError("InvalidAction", f"The action {operation} is not valid for this web service.")

    # ---- arrangement ---------------------------------------------------------------------------------------------

    def create_group(
        self,
        name: str,
        size: int = 3,
        *,
        target_groups: int | list[str] = 1,
        version: str = "$Latest",
        settle: bool = True,
        **params: Any,
    ) -> None:
        """A group with a launch template of its own name, and target groups ``<name>-1`` and so on.

        ``params`` go to CreateAutoScalingGroup as they are. Nothing of this is counted as a call.
        """
        if name not in self.templates.names:
            self.templates.create(name)
        if isinstance(target_groups, int):
            target_groups = [self.targets.create(f"{name}-{n}") for n in range(1, target_groups + 1)]
        spec = {"LaunchTemplateName": name, "Version": version}
        request: Params = {
            "AutoScalingGroupName": name,
            "MinSize": size,
            "MaxSize": size,
            "DesiredCapacity": size,
            "VPCZoneIdentifier": ",".join(f"subnet-{zone[-1]}" for zone in self.zones),
            "TargetGroupARNs": target_groups,
        } | ({} if "MixedInstancesPolicy" in params else {"LaunchTemplate": spec})
        self.autoscaling.handle("CreateAutoScalingGroup", request | params, REGION)
        if settle:
            self.run_until(lambda: len(self.healthy(name)) >= self.shape(name)["DesiredCapacity"])

    def new_template_version(self, name: str, *, default: bool = False, **data: Any) -> int:
        """A new version of a launch template (a fresh image unless ``ImageId`` is given); its number."""
        return self.templates.add_version(name, data, default=default)

    def shape(self, group: str) -> dict[str, Any]:
        """The group as DescribeAutoScalingGroups tells it, uncounted and without lag."""
        return shapes.group(self._state(group))

    def in_service(self, group: str) -> list[str]:
        """Ids of the group's instances in service."""
        return [i.id for i in self._state(group).instances.values() if i.state == IN_SERVICE]

    def healthy(self, group: str) -> list[str]:
        """Ids of those in service, up, answering, and healthy in every target group that the group is attached to."""
        serving = self.in_service(group)
        well = self._well(group, {*serving})
        return [name for name in serving if name in well]

    def _well(self, group: str, serving: set[str]) -> set[str]:
        """Those that answer, and are healthy everywhere."""
        well = serving & self.hosts.answering
        for place in traffic_places(self._state(group)):
            if place not in self.targets.places:
                return set()  # somebody deleted it
            well &= self.targets.place(place).healthy
        return well

    def _state(self, group: str) -> Group:
        found = self.autoscaling.group(group, REGION)
        if found is None:
            raise KeyError(group)
        return found

    def answers(self, host: str) -> bool:
        """Whether the application on this host (an id or a private address) answers."""
        found = self.hosts.by_id.get(host) or self.hosts.by_address.get(host)
        return found is not None and found.status is HostStatus.UP and not found.sick

    def watch(self, group: str) -> Watch:
        """Record from now on what becomes of a group."""
        watch = Watch(group, len(self.healthy(group)), len(self.in_service(group)), self._state(group).tally.staying)
        self.watches.append(watch)
        return watch

    def _observe(self) -> None:
        for watch in self.watches:
            if self.autoscaling.group(watch.group, REGION) is not None:
                tally = self._state(watch.group).tally
                watch.lowest_in_service = min(watch.lowest_in_service, len(tally.serving))
                watch.lowest_healthy = min(watch.lowest_healthy, len(self._well(watch.group, tally.serving)))
                watch.highest_total = max(watch.highest_total, tally.staying)

    # ---- others who change the group's sizes ---------------------------------------------------------------------

    def scale_by_policy(self, group: str, by: int) -> bool:
        """A scaling policy changes the desired capacity, within the group's bounds; whether it did."""
        found = self._state(group)
        desired = min(max(found.desired + by, found.min_size), found.max_size)
        changed = desired != found.desired
        why = "in state ALARM triggered policy load"
        self.autoscaling.model.set_desired(found, desired, why, who="a monitor alarm load-high")
        self._settle()
        return changed

    def scale_by_schedule(self, group: str, *, low: int, high: int, desired: int) -> None:
        """A scheduled action sets all three sizes."""
        found = self._state(group)
        found.min_size, found.max_size = low, high
        why = f"update of AutoScalingGroup constraints to min: {low}, max: {high}, desired: {desired}"
        self.autoscaling.model.set_desired(found, desired, why, who="a scheduled action")
        self._settle()

    # ---- faults --------------------------------------------------------------------------------------------------

    def kill(self, instance_id: str) -> None:
        """The host is gone at once: it shut itself down."""
        self.hosts.die(instance_id)

    def cannot_call(self, exc: Exception, seconds: float) -> None:
        """For so long callers get no further than their own SDK: no credentials, no network."""
        self.no_call = exc

        def over() -> None:
            if self.no_call is exc:
                self.no_call = None

        self.at(seconds, over)

    def end_by_hand(self, instance_id: str) -> None:
        """Somebody terminates the host in EC2, past the group."""
        self.hosts.die(instance_id, "Client.UserInitiatedShutdown")

    def impair(self, instance_id: str) -> None:
        """The host's status checks fail, and its application no longer answers."""
        self.hosts.by_id[instance_id].status = HostStatus.IMPAIRED
        self.health_changed(instance_id, TIMEOUT)

    def make_sick(self, instance_id: str) -> None:
        """The host is up, but its application fails every health check."""
        self.hosts.by_id[instance_id].sick = True
        self.health_changed(instance_id, FAILING)

    def cure(self, instance_id: str) -> None:
        """The application answers again."""
        host = self.hosts.by_id[instance_id]
        host.sick = False
        if host.status is HostStatus.IMPAIRED:
            host.status = HostStatus.UP
        self.health_changed(instance_id, HEALTHY)

    def interrupt(self, instance_id: str, warning: float = 120.0, *, rebalance: bool = True) -> None:
        """EC2 takes a Spot instance back after a warning (with a rebalance recommendation at once)."""
        if rebalance:
            self.autoscaling.rebalance_recommendation(instance_id)
        self.at(warning, lambda: self.hosts.die(instance_id, "Server.SpotInstanceTermination"))

    def look_at_health(self) -> None:
        """Have groups look at their instances."""
        self.autoscaling.look_at_health()

    def health_changed(self, instance_id: str, health: TargetHealth) -> None:
        """Target groups find out after ``notice`` seconds, and the group as much later again."""

        def found_out() -> None:
            self.targets.measured(instance_id, health)
            self.at(self.notice, self.look_at_health)

        self.at(self.notice, found_out)


def _address(number: int) -> str:
    """The private address of the host of this number."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
