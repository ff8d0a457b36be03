# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud in one process over a virtual clock: hours of boots and drains in milliseconds, every call counted.

It runs the very group model and API that the HTTP server runs, over simulated hosts and target groups::

    cloud = SimulatedCloud(boot=90, healthy_after=10, deregistration_delay=30)
    cloud.create_group("web", size=3)                 # template "web", one target group, everything in service
    cloud.new_template_version("web")                 # version 2, now $Latest

    autoscaling = cloud.client("autoscaling")         # also elbv2, elb, ec2: methods, shapes, errors as in boto3
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

import functools
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import botocore.session
import botocore.validate
from botocore import xform_name
from botocore.exceptions import ClientError, ParamValidationError

from ..clock import VirtualClock
from ..errors import ApiError
from ..faults import Faults
from . import shapes
from .model import NEVER, Timing, traffic_places
from .ports import HostStatus, LaunchOrder, TargetHealth
from .service import AutoScaling
from .state import IN_SERVICE, Group

Params = dict[str, Any]
REGION = "eu-central-1"
_ARN = f"arn:aws:elasticloadbalancing:{REGION}:123456789012"


@dataclass(frozen=True)
class Call:
    """One API call."""

    number: int  # from 1
    service: str
    operation: str
    params: Params
    at: float


@dataclass
class SimulatedHost:
    """An EC2 instance of the simulation."""

    id: str
    order: LaunchOrder
    type: str
    image_id: str
    address: str
    launched: float
    answering: set[str] = field(default_factory=set, repr=False)  # all hosts that do: kept up by each of them
    status: HostStatus = HostStatus.PENDING
    terminating: bool = False
    sick: bool = False  # up, but its application does not answer
    state_reason: str = ""  # EC2's code for why it ended
    ended: float | None = None

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name in ("status", "sick"):
            up = self.status is HostStatus.UP and not self.sick
            (self.answering.add if up else self.answering.discard)(self.id)


@dataclass
class _Place:
    """A target group or a classic load balancer."""

    name: str
    arn: str
    port: int
    deregistration_delay: float
    healthy_after: float
    listening: bool
    classic: bool = False
    health: dict[str, TargetHealth] = field(default_factory=dict)
    turn: dict[str, int] = field(default_factory=dict)  # guards against events of an earlier registration
    shapes: dict[str, dict[str, Any]] = field(default_factory=dict)
    healthy: set[str] = field(default_factory=set)

    def put(self, instance_id: str, health: TargetHealth) -> None:
        self.health[instance_id] = health
        (self.healthy.add if health.state == "healthy" else self.healthy.discard)(instance_id)
        state = {"State": health.state, "Reason": health.reason, "Description": health.description}
        self.shapes[instance_id] = {
            "Target": {"Id": instance_id, "Port": self.port},
            "HealthCheckPort": str(self.port),
            "TargetHealth": {key: value for key, value in state.items() if value is not None},
        }

    def drop(self, instance_id: str) -> None:
        self.health.pop(instance_id, None)
        self.healthy.discard(instance_id)
        self.shapes.pop(instance_id, None)


_INITIAL = TargetHealth("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
_HEALTHY = TargetHealth("healthy")
_UNUSED = TargetHealth(
    "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
)
_FAILING = TargetHealth("unhealthy", "Target.FailedHealthChecks", "Health checks failed")
_TIMEOUT = TargetHealth("unhealthy", "Target.Timeout", "Request timed out")
_DRAINING = TargetHealth("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")


@dataclass
class Watch:
    """What happened to a group since the watch began."""

    group: str
    lowest_healthy: int  # fewest instances in service, healthy in every target group and answering, at any moment
    lowest_in_service: int
    highest_total: int  # most instances that were not on their way out
    launched: list[str] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)


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
        self.hosts = _Hosts(self, boot, shutdown)
        self.targets = _Targets(self, healthy_after, deregistration_delay)
        self.templates = _Templates(self)
        self._ids = itertools.count(1)
        self.autoscaling = AutoScaling(
            hosts=self.hosts,
            targets=self.targets,
            templates=self.templates,
            subnets=_Subnets(self.zones),
            clock=self.clock,
            faults=self.faults,
            timing=timing or Timing(health_interval=NEVER),
            new_id=lambda: f"00000000-0000-4000-8000-{next(self._ids):012x}",
        )
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
        return min(self._events[0][0] if self._events else NEVER, self.autoscaling.next_due())

    def _settle(self) -> float:
        """Everything that is due at this very moment; says when the next thing is."""
        for _ in range(1000):
            while self._is_due():
                heapq.heappop(self._events)[2]()
            self.autoscaling.tick()
            self._observe()
            if (due := self._next_due()) > self.now():
                return due
        raise RuntimeError("the simulation does not come to rest")

    def _is_due(self) -> bool:
        return bool(self._events) and self._events[0][0] <= self.now()

    # ---- clients -------------------------------------------------------------------------------------------------

    def client(self, service: str, **_options: Any) -> SimulatedClient:
        """A boto3-shaped client for autoscaling, elbv2, elb or ec2."""
        return SimulatedClient(self, service)

    def call(self, service: str, operation: str, params: Params) -> dict[str, Any]:
        """One API call as boto3 would make it. Raises ClientError or ParamValidationError."""
        shape = _model(service).operation_model(operation).input_shape
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
        self._health_changed(instance_id, _TIMEOUT)

    def make_sick(self, instance_id: str) -> None:
        """The host is up, but its application fails every health check."""
        self.hosts.by_id[instance_id].sick = True
        self._health_changed(instance_id, _FAILING)

    def cure(self, instance_id: str) -> None:
        """The application answers again."""
        host = self.hosts.by_id[instance_id]
        host.sick = False
        if host.status is HostStatus.IMPAIRED:
            host.status = HostStatus.UP
        self._health_changed(instance_id, _HEALTHY)

    def interrupt(self, instance_id: str, warning: float = 120.0, *, rebalance: bool = True) -> None:
        """EC2 takes a Spot instance back after a warning (with a rebalance recommendation at once)."""
        if rebalance:
            self.autoscaling.rebalance_recommendation(instance_id)
        self.at(warning, lambda: self.hosts.die(instance_id, "Server.SpotInstanceTermination"))

    def _health_changed(self, instance_id: str, health: TargetHealth) -> None:
        """Target groups find out after ``notice`` seconds, and the group as much later again."""

        def found_out() -> None:
            self.targets.measured(instance_id, health)
            self.at(self.notice, self.autoscaling.look_at_health)

        self.at(self.notice, found_out)


class SimulatedClient:
    """A boto3-shaped client."""

    class exceptions:  # noqa: N801 - boto3's own name
        ClientError = ClientError

    def __init__(self, cloud: SimulatedCloud, service: str) -> None:
        self._cloud = cloud
        self._service = service
        self.meta = _Meta(REGION)

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        operation = _operations(self._service).get(name)
        if operation is None:
            raise AttributeError(f"{self._service} has no method {name}")
        return lambda **params: self._cloud.call(self._service, operation, params)

    def can_paginate(self, name: str) -> bool:
        return name.startswith("describe_")

    def get_paginator(self, name: str) -> _Paginator:
        return _Paginator(getattr(self, name))


@dataclass(frozen=True)
class _Meta:
    region_name: str


@dataclass(frozen=True)
class _Paginator:
    method: Callable[..., dict[str, Any]]

    def paginate(self, PaginationConfig: dict[str, Any] | None = None, **params: Any) -> _Pages:  # noqa: N803
        del PaginationConfig
        return _Pages(self.method, params)


@dataclass(frozen=True)
class _Pages:
    method: Callable[..., dict[str, Any]]
    params: Params

    def __iter__(self) -> Iterator[dict[str, Any]]:
        page = self.method(**self.params)
        yield page
        while page.get("NextToken"):
            page = self.method(**self.params, NextToken=page["NextToken"])
            yield page

    def build_full_result(self) -> dict[str, Any]:
        """All pages in one: their lists joined."""
        whole: dict[str, Any] = {}
        for page in self:
            for key, value in page.items():
                if isinstance(value, list):
                    whole[key] = whole.get(key, []) + value
        return whole


class _Hosts:
    """EC2 instances: the port that the model drives, and the part of the EC2 API that callers look at."""

    def __init__(self, cloud: SimulatedCloud, boot: float | Callable[[int], float], shutdown: float) -> None:
        self._cloud = cloud
        self._boot = boot
        self._shutdown = shutdown
        self.answering: set[str] = set()
        self.by_id: dict[str, SimulatedHost] = {}
        self.by_address: dict[str, SimulatedHost] = {}
        self._tokens: dict[str, str] = {}

    def launch(self, order: LaunchOrder) -> str:
        if order.client_token in self._tokens:
            return self._tokens[order.client_token]
        data = self._cloud.templates.data(order.template_id, order.template_version)
        image_id = order.image_id or data["ImageId"]
        if image_id in self._cloud.templates.missing_images:
            raise ApiError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
        number = len(self.by_id) + 1
        host = SimulatedHost(
            id=f"i-{number:017x}",
            order=order,
            type=order.instance_type or data.get("InstanceType", "t3.micro"),
            image_id=image_id,
            address=self._cloud.address(number),
            launched=self._cloud.now(),
            answering=self.answering,
        )
        self.by_id[host.id] = self.by_address[host.address] = host
        if order.client_token:
            self._tokens[order.client_token] = host.id
        boot = self._boot(number) if callable(self._boot) else self._boot
        outcome = self._cloud.faults.boot_outcome()
        host.sick = self._cloud.faults.target_outcome() is not None
        if outcome is None:
            self._cloud.at(boot, lambda: self._up(host))
        elif outcome == "die":
            self._cloud.at(boot, lambda: self.die(host.id))
        for watch in self._cloud.watches:
            if watch.group == order.group:
                watch.launched.append(host.id)
        return host.id

    def _up(self, host: SimulatedHost) -> None:
        if host.status is HostStatus.PENDING and not host.terminating:
            host.status = HostStatus.UP

    def statuses(self, ids: Iterable[str]) -> dict[str, HostStatus]:
        return {i: self.by_id[i].status if i in self.by_id else HostStatus.GONE for i in ids}

    def terminate(self, instance_id: str) -> None:
        host = self.by_id.get(instance_id)
        if host is None or host.terminating or host.status is HostStatus.GONE:
            return
        host.terminating = True
        host.state_reason = "Client.UserInitiatedShutdown"
        for watch in self._cloud.watches:
            if watch.group == host.order.group:
                watch.terminated.append(instance_id)
        self._cloud.at(self._shutdown, lambda: self._end(host))

    def _end(self, host: SimulatedHost) -> None:
        host.status = HostStatus.GONE
        host.ended = host.ended or self._cloud.now()

    def stop(self, instance_id: str) -> None:
        def stopped() -> None:
            self.by_id[instance_id].status = HostStatus.STOPPED

        self._cloud.at(self._shutdown, stopped)

    def start(self, instance_id: str) -> None:
        host = self.by_id[instance_id]
        host.status = HostStatus.PENDING
        boot = self._boot(0) if callable(self._boot) else self._boot
        self._cloud.at(boot / 3, lambda: self._up(host))  # a stopped host has done its first boot

    def instance_type(self, instance_id: str) -> str:
        return self._known(instance_id).type

    def die(self, instance_id: str, why: str = "Client.InstanceInitiatedShutdown") -> None:
        """The host ends without a call to EC2 or the group; ``why`` is EC2's code for it."""
        host = self.by_id[instance_id]
        if host.status is not HostStatus.GONE:
            host.state_reason = host.state_reason or why
            self._end(host)
            self._cloud._health_changed(instance_id, _TIMEOUT)

    def _known(self, instance_id: str) -> SimulatedHost:
        if instance_id not in self.by_id:
            raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return self.by_id[instance_id]

    def ec2_describe_instances(self, params: Params) -> dict[str, Any]:
        hosts = [self._known(i) for i in params["InstanceIds"]] if params.get("InstanceIds") else self.by_id.values()
        return {"Reservations": [{"Instances": [self._shape(host) for host in hosts]}]}

    def _shape(self, host: SimulatedHost) -> dict[str, Any]:
        state = {
            HostStatus.PENDING: "pending",
            HostStatus.STOPPED: "stopped",
            HostStatus.GONE: "terminated",
        }.get(host.status, "running")
        if host.terminating and state != "terminated":
            state = "shutting-down"
        shape = {
            "InstanceId": host.id,
            "ImageId": host.image_id,
            "InstanceType": host.type,
            "LaunchTime": shapes.when(host.launched),
            "Placement": {"AvailabilityZone": host.order.zone},
            "SubnetId": host.order.subnet_id,
            "State": {"Name": state},
            "Tags": [{"Key": key, "Value": value} for key, value in host.order.tags.items()],
        }
        if host.state_reason:
            shape["StateReason"] = {"Code": host.state_reason, "Message": host.state_reason}
        if state == "terminated" or not host.address:
            return shape
        if ":" in host.address:
            return shape | {"Ipv6Address": host.address}
        return shape | {"PrivateIpAddress": host.address}

    def ec2_describe_instance_status(self, params: Params) -> dict[str, Any]:
        rows = []
        for host in [self._known(i) for i in params.get("InstanceIds") or self.by_id]:
            if host.status is HostStatus.UP or host.status is HostStatus.IMPAIRED:
                status = {"Status": "ok" if host.status is HostStatus.UP else "impaired"}
                row = {"InstanceId": host.id, "InstanceStatus": status, "SystemStatus": {"Status": "ok"}}
                rows.append(row | {"InstanceState": {"Name": "running"}})
        return {"InstanceStatuses": rows}

    def ec2_terminate_instances(self, params: Params) -> dict[str, Any]:
        hosts = [self._known(i) for i in params["InstanceIds"]]
        for host in hosts:
            self._cloud.at(self._shutdown, functools.partial(self.die, host.id))
            self.terminate(host.id)
        return {
            "TerminatingInstances": [
                {"InstanceId": host.id, "CurrentState": {"Name": "shutting-down"}} for host in hosts
            ]
        }

    def ec2_describe_images(self, params: Params) -> dict[str, Any]:
        images = params.get("ImageIds") or []
        for image in images:
            if image in self._cloud.templates.missing_images:
                raise ApiError("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
        return {"Images": [{"ImageId": image, "State": "available", "Name": image} for image in images]}


class _Targets:
    """Target groups and classic load balancers: the port, and the part of their APIs that callers look at."""

    def __init__(self, cloud: SimulatedCloud, healthy_after: float, deregistration_delay: float) -> None:
        self._cloud = cloud
        self._healthy_after = healthy_after
        self._deregistration_delay = deregistration_delay
        self.places: dict[str, _Place] = {}

    def create(
        self,
        name: str,
        *,
        port: int = 80,
        healthy_after: float | None = None,
        deregistration_delay: float | None = None,
        listening: bool = True,
        classic: bool = False,
    ) -> str:
        """A target group (its ARN), or a classic load balancer (its name). Not listening: no load balancer uses it."""
        arn = name if classic else f"{_ARN}:targetgroup/{name}/{len(self.places) + 1:016x}"
        delay = self._deregistration_delay if deregistration_delay is None else deregistration_delay
        after = self._healthy_after if healthy_after is None else healthy_after
        self.places[arn] = _Place(name, arn, port, delay, after, listening, classic)
        return arn

    def place(self, arn: str) -> _Place:
        if arn not in self.places:
            what = "TargetGroupNotFound" if arn.startswith("arn:") else "LoadBalancerNotFound"
            raise ApiError(
                what,
                f"Target groups '{arn}' not found"
                if arn.startswith("arn:")
                else "There is no ACTIVE Load Balancer named '" + arn + "'",
            )
        return self.places[arn]

    def register(self, arn: str, instance_id: str) -> None:
        place = self.place(arn)
        turn = place.turn[instance_id] = place.turn.get(instance_id, 0) + 1
        place.put(instance_id, _INITIAL if place.listening else _UNUSED)

        def checked() -> None:
            if place.turn[instance_id] == turn and place.listening and instance_id in place.health:
                place.put(instance_id, _HEALTHY if self._cloud.answers(instance_id) else _FAILING)
                if not self._cloud.answers(instance_id):
                    self._cloud.at(self._cloud.notice, self._cloud.autoscaling.look_at_health)

        self._cloud.at(place.healthy_after, checked)

    def deregister(self, arn: str, instance_id: str) -> None:
        place = self.place(arn)
        if instance_id not in place.health or place.health[instance_id].state == "draining":
            return
        turn = place.turn[instance_id] = place.turn.get(instance_id, 0) + 1
        if not place.listening or place.deregistration_delay <= 0:
            place.drop(instance_id)
            return
        place.put(instance_id, _DRAINING)

        def drained() -> None:
            if place.turn[instance_id] == turn:
                place.drop(instance_id)

        self._cloud.at(place.deregistration_delay, drained)

    def health(self, arn: str) -> dict[str, TargetHealth]:
        return self.place(arn).health

    def measured(self, instance_id: str, health: TargetHealth) -> None:
        """A health check's verdict, for every place where the instance takes traffic."""
        for place in self.places.values():
            known = place.health.get(instance_id)
            if known is not None and known.state in ("healthy", "unhealthy"):
                place.put(instance_id, health)

    def elbv2_describe_target_health(self, params: Params) -> dict[str, Any]:
        place = self.place(params["TargetGroupArn"])
        if not params.get("Targets"):
            return {"TargetHealthDescriptions": list(place.shapes.values())}
        rows = []
        for target in params["Targets"]:
            if target["Id"] not in self._cloud.hosts.by_id:
                raise ApiError("InvalidTarget", f"The following targets are not valid instances: '{target['Id']}'")
            unregistered = {
                "Target": {"Id": target["Id"], "Port": place.port},
                "TargetHealth": {
                    "State": "unused",
                    "Reason": "Target.NotRegistered",
                    "Description": "Target is not registered to the target group",
                },
            }
            rows.append(place.shapes.get(target["Id"], unregistered))
        return {"TargetHealthDescriptions": rows}

    def elbv2_register_targets(self, params: Params) -> None:
        for target in params["Targets"]:
            self.register(params["TargetGroupArn"], target["Id"])

    def elbv2_deregister_targets(self, params: Params) -> None:
        for target in params["Targets"]:
            self.deregister(params["TargetGroupArn"], target["Id"])

    def elbv2_describe_target_groups(self, params: Params) -> dict[str, Any]:
        places = [place for place in self.places.values() if not place.classic]
        if params.get("TargetGroupArns"):
            places = [self.place(arn) for arn in params["TargetGroupArns"]]
        if params.get("Names"):
            places = [place for place in places if place.name in params["Names"]]
        if params.get("LoadBalancerArn"):
            places = [p for p in places if p.listening and params["LoadBalancerArn"] == _load_balancer(p)]
        return {
            "TargetGroups": [
                {
                    "TargetGroupArn": place.arn,
                    "TargetGroupName": place.name,
                    "Protocol": "HTTP",
                    "Port": place.port,
                    "TargetType": "instance",
                    "HealthCheckIntervalSeconds": 10,
                    "HealthyThresholdCount": 2,
                    "UnhealthyThresholdCount": 2,
                    "LoadBalancerArns": [_load_balancer(place)] if place.listening else [],
                }
                for place in places
            ]
        }

    def elbv2_describe_target_group_attributes(self, params: Params) -> dict[str, Any]:
        place = self.place(params["TargetGroupArn"])
        delay = {"Key": "deregistration_delay.timeout_seconds", "Value": f"{place.deregistration_delay:.0f}"}
        return {"Attributes": [delay, {"Key": "slow_start.duration_seconds", "Value": "0"}]}

    def elbv2_describe_load_balancers(self, params: Params) -> dict[str, Any]:
        arns = {_load_balancer(p): p for p in self.places.values() if p.listening and not p.classic}
        chosen = [arn for arn in arns if not params.get("LoadBalancerArns") or arn in params["LoadBalancerArns"]]
        return {
            "LoadBalancers": [
                {"LoadBalancerArn": arn, "LoadBalancerName": arns[arn].name, "State": {"Code": "active"}}
                for arn in chosen
            ]
        }

    def elbv2_describe_listeners(self, params: Params) -> dict[str, Any]:
        arns = {_load_balancer(p): p for p in self.places.values() if p.listening and not p.classic}
        place = arns.get(params.get("LoadBalancerArn", ""))
        if place is None:
            return {"Listeners": []}
        action = {"Type": "forward", "TargetGroupArn": place.arn}
        return {"Listeners": [{"LoadBalancerArn": _load_balancer(place), "Port": 80, "DefaultActions": [action]}]}

    def elb_describe_instance_health(self, params: Params) -> dict[str, Any]:
        place = self.place(params["LoadBalancerName"])
        wanted = [i["InstanceId"] for i in params.get("Instances") or []]
        rows = []
        for instance_id, health in place.health.items():
            if health.state != "draining" and (not wanted or instance_id in wanted):
                state = "InService" if health.state == "healthy" else "OutOfService"
                rows.append({"InstanceId": instance_id, "State": state, "ReasonCode": "N/A", "Description": "N/A"})
        missing = [i for i in wanted if i not in {row["InstanceId"] for row in rows}]
        if missing:
            raise ApiError("InvalidInstance", f"Could not find EC2 instance {missing[0]}.")
        return {"InstanceStates": rows}

    def elb_describe_load_balancers(self, params: Params) -> dict[str, Any]:
        wanted = params.get("LoadBalancerNames")
        names = [p.name for p in self.places.values() if p.classic and (not wanted or p.name in wanted)]
        return {"LoadBalancerDescriptions": [{"LoadBalancerName": name} for name in names]}


def _load_balancer(place: _Place) -> str:
    return f"{_ARN}:loadbalancer/app/{place.name}/{place.arn[-16:]}"


class _Subnets:
    """One subnet a zone: subnet-a in the zone that ends in a, and so on."""

    def __init__(self, zones: list[str]) -> None:
        self._zones = {f"subnet-{zone[-1]}": zone for zone in zones}

    def zone(self, subnet_id: str) -> str:
        if subnet_id not in self._zones:
            raise ApiError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
        return self._zones[subnet_id]

    def default_subnet(self, zone: str) -> str:
        for subnet, its_zone in self._zones.items():
            if its_zone == zone:
                return subnet
        raise ApiError("InvalidParameterValue", f"No default subnet for availability zone: '{zone}'.")


@dataclass
class _Template:
    id: str
    name: str
    default: int
    versions: dict[int, dict[str, Any]]
    created: float


class _Templates:
    """Launch templates: the port, and their part of the EC2 API."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self._cloud = cloud
        self.names: dict[str, _Template] = {}
        self.missing_images: set[str] = set()

    def create(self, name: str, **data: Any) -> str:
        template = _Template(f"lt-{len(self.names) + 1:017x}", name, 1, {}, self._cloud.now())
        self.names[name] = template
        self.add_version(name, data)
        return template.id

    def add_version(self, name: str, data: dict[str, Any], *, default: bool = False) -> int:
        template = self.names[name]
        number = max(template.versions, default=0) + 1
        template.versions[number] = {"ImageId": f"ami-{number:017x}", "InstanceType": "t3.micro"} | data
        if default:
            template.default = number
        return number

    def data(self, template_id: str, version: int) -> dict[str, Any]:
        return self._find(template_id).versions[version]

    def resolve(self, id_or_name: str, version: str) -> tuple[str, str, int]:
        template = self._find(id_or_name)
        if version == "$Latest":
            number = max(template.versions)
        elif version == "$Default":
            number = template.default
        else:
            number = int(version) if version.isdigit() else 0
        if number not in template.versions:
            raise ApiError(
                "InvalidLaunchTemplateId.VersionNotFound", f"Could not find launch template version {version}"
            )
        return template.id, template.name, number

    def check(self, template_id: str, version: str, instance_type: str | None, image_id: str | None) -> None:
        """Everything can be launched here."""

    def _find(self, id_or_name: str) -> _Template:
        for template in self.names.values():
            if id_or_name in (template.id, template.name):
                return template
        if id_or_name.startswith("lt-"):
            message = f"The specified launch template, with template ID {id_or_name}, does not exist."
            raise ApiError("InvalidLaunchTemplateId.NotFound", message)
        message = f"The specified launch template, with template name {id_or_name}, does not exist."
        raise ApiError("InvalidLaunchTemplateName.NotFoundException", message)

    def _asked(self, params: Params) -> _Template:
        return self._find(params.get("LaunchTemplateId") or params.get("LaunchTemplateName") or "")

    def _shape(self, template: _Template) -> dict[str, Any]:
        return {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "CreateTime": shapes.when(template.created),
            "DefaultVersionNumber": template.default,
            "LatestVersionNumber": max(template.versions),
        }

    def _version_shape(self, template: _Template, number: int) -> dict[str, Any]:
        return {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "VersionNumber": number,
            "CreateTime": shapes.when(template.created),
            "DefaultVersion": number == template.default,
            "LaunchTemplateData": template.versions[number],
        }

    def ec2_describe_launch_templates(self, params: Params) -> dict[str, Any]:
        asked = [*(params.get("LaunchTemplateIds") or []), *(params.get("LaunchTemplateNames") or [])]
        templates = [self._find(one) for one in asked] if asked else list(self.names.values())
        return {"LaunchTemplates": [self._shape(template) for template in templates]}

    def ec2_describe_launch_template_versions(self, params: Params) -> dict[str, Any]:
        template = self._asked(params)
        if params.get("Versions"):
            numbers = [self.resolve(template.id, version)[2] for version in params["Versions"]]
        else:
            numbers = sorted(template.versions, reverse=True)
        return {"LaunchTemplateVersions": [self._version_shape(template, number) for number in numbers]}

    def ec2_create_launch_template(self, params: Params) -> dict[str, Any]:
        name = params["LaunchTemplateName"]
        if name in self.names:
            raise ApiError("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
        self.create(name, **params["LaunchTemplateData"])
        return {"LaunchTemplate": self._shape(self.names[name])}

    def ec2_create_launch_template_version(self, params: Params) -> dict[str, Any]:
        template = self._asked(params)
        source = params.get("SourceVersion")
        base = template.versions[self.resolve(template.id, source)[2]] if source else {}
        number = self.add_version(template.name, base | params["LaunchTemplateData"])
        return {"LaunchTemplateVersion": self._version_shape(template, number)}

    def ec2_modify_launch_template(self, params: Params) -> dict[str, Any]:
        template = self._asked(params)
        template.default = self.resolve(template.id, params["DefaultVersion"])[2]
        return {"LaunchTemplate": self._shape(template)}


def _address(number: int) -> str:
    """The private address of the host of this number."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@functools.cache
def _model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


@functools.cache
def _operations(service: str) -> dict[str, str]:
    return {xform_name(name): name for name in _model(service).operation_names}
