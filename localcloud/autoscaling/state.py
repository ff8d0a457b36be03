# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of an Auto Scaling group: plain dataclasses that turn into JSON and back. No behaviour but counting.

Times are unix seconds; states, processes and status codes are AWS's own words.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

PENDING = "Pending"
PENDING_WAIT = "Pending:Wait"
PENDING_PROCEED = "Pending:Proceed"
IN_SERVICE = "InService"
TERMINATING = "Terminating"
TERMINATING_WAIT = "Terminating:Wait"
TERMINATING_PROCEED = "Terminating:Proceed"
DETACHING = "Detaching"
ENTERING_STANDBY = "EnteringStandby"
STANDBY = "Standby"
WARMED = "Warmed:"  # prefix of the states of a warm pool's instances
WARMED_STOPPED = "Warmed:Stopped"
WARMED_RUNNING = "Warmed:Running"

PENDING_STATES = frozenset({PENDING, PENDING_WAIT, PENDING_PROCEED})
TERMINATING_STATES = frozenset({TERMINATING, TERMINATING_WAIT, TERMINATING_PROCEED})
# What counts towards the desired capacity: a launch under way does, so nothing is launched twice.
COUNTED_STATES = PENDING_STATES | {IN_SERVICE}
# Nothing moves these but a command or bad health.
RESTING_STATES = frozenset({IN_SERVICE, STANDBY})

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATION = "autoscaling:EC2_INSTANCE_TERMINATING"

PROCESSES = (
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
)


@dataclass(frozen=True)
class TemplateRef:
    """A launch template; ``version`` is a number, ``$Latest`` or ``$Default`` (a number for instances)."""

    id: str
    name: str
    version: str


@dataclass
class Tag:
    value: str
    propagate: bool


@dataclass
class Hook:
    """A lifecycle hook."""

    name: str
    transition: str  # LAUNCHING or TERMINATION
    heartbeat: int = 3600  # seconds
    default_result: str = "ABANDON"
    metadata: str | None = None
    target_arn: str | None = None
    role_arn: str | None = None

    @property
    def global_timeout(self) -> float:
        """How long heartbeats can keep an instance waiting: 48 hours or 100 timeouts, whichever is shorter."""
        return min(172800.0, 100.0 * self.heartbeat)


@dataclass
class HookWait:
    """One lifecycle action that somebody has to complete."""

    hook: str
    token: str
    deadline: float
    last: float  # heartbeats cannot move the deadline beyond this
    result: str | None = None
    heartbeat: int = 3600
    default_result: str = "ABANDON"


@dataclass
class Activity:
    """A scaling activity, as DescribeScalingActivities tells it."""

    id: str
    description: str
    cause: str
    start: float
    status: str
    details: str
    instance_id: str | None = None
    end: float | None = None
    message: str | None = None
    progress: int = 0


@dataclass
class Instance:
    """One instance of a group."""

    id: str
    zone: str
    subnet: str
    type: str
    template: TemplateRef | None
    state: str
    since: float  # when it entered ``state``
    launched: float
    activity: str | None = None  # the running activity's id
    healthy: bool = True
    health_reason: str = ""  # why it is not healthy, in the words of a Cause
    protected: bool = False
    in_service_since: float | None = None
    waits: list[HookWait] = field(default_factory=list)
    leaving: list[str] = field(default_factory=list)  # target groups it is draining from
    halted: bool = False  # the host was told to terminate (in a warm pool: to stop)
    returning: bool = False  # goes back to the warm pool instead of being terminated
    forced: bool = False  # no hooks and no draining: the group is being force-deleted
    spot: bool = False
    weight: int = 1
    image_id: str | None = None
    attached: bool = False  # not launched by the group
    unhooked: bool = False  # on its way into service without launch hooks: attached, or out of standby
    moves: ClassVar[int] = 0  # how often an instance of any group changed its state or weight
    moved: ClassVar[deque[Instance]] = deque(maxlen=64)  # the last ones that did, see Tally

    def __post_init__(self) -> None:
        self.shown: dict[str, Any] | None = None  # its shape since the last change; no part of the state

    def __setattr__(self, name: str, value: object) -> None:
        self.__dict__[name] = value
        if name != "shown":
            self.__dict__["shown"] = None
        if name in ("state", "weight"):
            Instance.moves += 1
            Instance.moved.append(self)

    @property
    def counted(self) -> bool:
        """Whether it counts towards the desired capacity."""
        return self.state in COUNTED_STATES

    def enter(self, state: str, now: float) -> None:
        self.state = state
        self.since = now


@dataclass
class WarmPool:
    """A warm pool's configuration; its instances are ``Group.warm``."""

    min_size: int = 0
    max_prepared: int | None = None
    state: str = "Stopped"  # Stopped, Running (Hibernated is kept as Stopped would be)
    reuse_on_scale_in: bool = False
    deleting: bool = False


@dataclass
class Refresh:
    """An instance refresh."""

    id: str
    status: str
    start: float
    preferences: dict[str, Any]
    end: float | None = None
    reason: str | None = None
    desired_configuration: dict[str, Any] | None = None
    due: list[str] = field(default_factory=list)  # instances still to be replaced
    total: int = 0
    updated: int = 0  # replaced and warm
    replacing: list[str] = field(default_factory=list)  # victims on their way out
    fresh: dict[str, float] = field(default_factory=dict)  # new instance -> when its warm-up is over
    progressed: float = 0.0  # the last time something was replaced
    paused_until: float = 0.0  # a checkpoint's wait
    checkpoints_done: int = 0
    bake_until: float | None = None
    template: TemplateRef | None = None  # of the desired configuration
    mixed: dict[str, Any] | None = None
    rolling_back: bool = False
    rolled_back_at: float | None = None
    percentage_on_rollback: int | None = None
    left_on_rollback: int | None = None
    surge: int = 0  # how many instances above desired it holds


class Tally:
    """A group's instances by what they do. Of a thousand few move, and every call asks which: only those are looked at."""

    def __init__(self) -> None:
        self.capacity = 0  # in units
        self.serving: set[str] = set()
        self.staying = 0  # those that are not on their way out
        self._known: dict[str, tuple[int, str, int]] = {}  # place in the group, state and weight
        self._moving: dict[str, Instance] = {}
        self._places = itertools.count()
        self._seen = -1

    def moving(self) -> list[Instance]:
        """In the order in which they came into the group."""
        return sorted(self._moving.values(), key=lambda instance: self._known[instance.id][0])

    def update(self, instances: dict[str, Instance]) -> None:
        """Take in what moved since the last time."""
        missed = Instance.moves - self._seen
        if not missed and len(instances) == len(self._known):
            return
        if self._seen < 0 or missed > len(Instance.moved):
            self.__init__()  # type: ignore[misc]
            moved: Iterable[Instance] = instances.values()
        else:
            moved = [*itertools.islice(reversed(Instance.moved), missed)][::-1]
        for instance in moved:
            if instances.get(instance.id) is instance:
                self._put(instance)
        if len(instances) != len(self._known):
            for name in self._known.keys() - instances.keys():
                self._drop(name)
            for name in [name for name in instances if name not in self._known]:
                self._put(instances[name])
        self._seen = Instance.moves

    def _put(self, instance: Instance) -> None:
        place = self._known[instance.id][0] if instance.id in self._known else next(self._places)
        self._drop(instance.id)
        state = instance.state
        self._known[instance.id] = (place, state, instance.weight)
        self.capacity += instance.weight if state in COUNTED_STATES else 0
        self.staying += state not in TERMINATING_STATES
        if state == IN_SERVICE:
            self.serving.add(instance.id)
        if state not in RESTING_STATES:
            self._moving[instance.id] = instance

    def _drop(self, name: str) -> None:
        known = self._known.pop(name, None)
        if known is None:
            return
        dummy, state, weight = known
        self.capacity -= weight if state in COUNTED_STATES else 0
        self.staying -= state not in TERMINATING_STATES
        self.serving.discard(name)
        self._moving.pop(name, None)


@dataclass
class Group:
    """An Auto Scaling group."""

    name: str
    arn: str
    region: str
    created: float
    min_size: int
    max_size: int
    desired: int
    zones: list[str]
    subnets: dict[str, str]  # subnet -> zone, in the caller's order
    template: TemplateRef | None = None
    mixed: dict[str, Any] | None = None  # MixedInstancesPolicy as boto3 shapes it
    target_groups: list[str] = field(default_factory=list)
    load_balancers: list[str] = field(default_factory=list)  # classic
    traffic_sources: list[dict[str, str]] = field(default_factory=list)  # of other types than elb and elbv2
    health_check_type: str = "EC2"
    grace: int = 0
    cooldown: int = 300
    tags: dict[str, Tag] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)
    suspended: dict[str, str] = field(default_factory=dict)  # process -> reason
    protect_new: bool = False
    termination_policies: list[str] = field(default_factory=lambda: ["Default"])
    metrics: list[str] = field(default_factory=list)
    max_lifetime: int | None = None
    default_warmup: int | None = None
    placement_group: str | None = None
    service_role: str | None = None
    capacity_rebalance: bool = False
    context: str | None = None
    maintenance_policy: dict[str, int] | None = None
    desired_capacity_type: str | None = None
    distribution: dict[str, Any] | None = None  # AvailabilityZoneDistribution
    deletion_protection: str | None = None
    status: str | None = None
    deleted: float = 0.0  # when it was gone
    instances: dict[str, Instance] = field(default_factory=dict)
    warm_pool: WarmPool | None = None
    warm: dict[str, Instance] = field(default_factory=dict)
    activities: dict[str, Activity] = field(default_factory=dict)  # oldest first
    refreshes: list[Refresh] = field(default_factory=list)  # newest first
    causes: list[str] = field(default_factory=list)  # why the next launches or scale-ins happen
    next_launch: float = 0.0  # a refused launch is not repeated before
    launch_failures: int = 0  # in a row
    detached: list[str] = field(default_factory=list)  # the last instances that left it and run on
    shunned_zones: dict[str, float] = field(default_factory=dict)  # zone without capacity -> until
    # Instances launched beyond desired, to the one that goes when they are in service ("": AZ balance chooses it).
    extra: dict[str, str] = field(default_factory=dict)
    ailing: list[str] = field(default_factory=list)  # instances to be replaced because they are not healthy
    cooldown_until: float = 0.0
    health_due: float = 0.0  # when instances in service are looked at next

    def __post_init__(self) -> None:
        self._tally = Tally()  # no part of the state

    @property
    def tally(self) -> Tally:
        """Who serves, counts and moves, as of now."""
        self._tally.update(self.instances)
        return self._tally

    def capacity(self) -> int:
        """Capacity that counts towards desired, in units (weights)."""
        return self.tally.capacity

    def moving(self) -> list[Instance]:
        """Instances on their way from one state to another."""
        return self.tally.moving()

    def runs(self, process: str) -> bool:
        return process not in self.suspended

    @property
    def deleting(self) -> bool:
        return self.status is not None


T = TypeVar("T")


def encode(state: Any) -> dict[str, Any]:
    """A dataclass as JSON-able values."""
    return dataclasses.asdict(state)


_HINTS: dict[type, dict[str, Any]] = {}


def decode(cls: type[T], data: dict[str, Any]) -> T:
    """The dataclass that ``encode`` was given. Fields that the data lacks keep their defaults."""
    hints = _HINTS.get(cls)
    if hints is None:
        hints = _HINTS[cls] = typing.get_type_hints(cls)
    return cls(**{key: _decode(hints[key], value) for key, value in data.items() if key in hints})


def _decode(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(hint, types.UnionType):
        return _decode(next(arg for arg in typing.get_args(hint) if arg is not types.NoneType), value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return decode(hint, value)
    args = typing.get_args(hint)
    if typing.get_origin(hint) is list:
        return [_decode(args[0], item) for item in value]
    if typing.get_origin(hint) is dict:
        return {key: _decode(args[1], item) for key, item in value.items()}
    return value
