# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll sees, remembers and may do. Values only: nothing here decides, waits or talks to anybody.

Times are unix seconds. Capacities are in the group's own units: instances, or the weights of a mixed instances policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any


class RolloutError(Exception):
    """A roll that cannot be done as asked; ``str()`` is one sentence for people."""


class NoGroupError(RolloutError):
    """There is no such group."""


IN_SERVICE = "InService"
STANDBY = "Standby"
# Of AWS's words for a version the two that move
FLOATING_VERSIONS = ("$Latest", "$Default")
AZ_REBALANCE = "AZRebalance"
NEW_REFRESH = "new"
SKEW = 60.0  # by how much our clock may be ahead of AWS's


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of instances, or a share of the group."""

    value: int
    percent: bool = False

    @classmethod
    def parse(cls, given: str | int, option: str, least: int) -> Amount:
        """From ``3``, ``"3"`` or ``"25%"``. Raises RolloutError that names the option."""
        text = str(given).strip()
        percent = text.endswith("%")
        digits = text[:-1].strip() if percent else text
        if not digits.isdecimal():
            raise RolloutError(f"{option} is {text!r}: give a number of instances or a share of the group such as 25%")
        value = int(digits)
        if percent and value > 100:
            raise RolloutError(f"{option} is {text!r}: a share of the group is at most 100%")
        if value < least:
            raise RolloutError(f"{option} is {text!r}: it must be at least {least}{'%' if percent else ''}")
        return cls(value, percent)

    def of(self, total: int, least: int = 0) -> int:
        """In units of a group of ``total``; a share is rounded down, yet never below ``least``."""
        return max(least, self.value * total // 100) if self.percent else self.value


@dataclass(frozen=True, slots=True)
class Template:
    """What instances are launched from: a launch template's version, or (``id`` empty) a launch configuration."""

    id: str
    name: str
    version: str = ""

    def same(self, other: Template | None) -> bool:
        """Names of launch templates are used again after a deletion: ids decide, where there are any."""
        if other is None or self.version != other.version:
            return False
        return self.id == other.id if self.id and other.id else self.name == other.name

    @property
    def label(self) -> str:
        if not self.id:
            return f"launch configuration {self.name}"
        return f"launch template {self.name or self.id} version {self.version}"


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as DescribeAutoScalingGroups lists it."""

    id: str
    zone: str
    state: str  # LifecycleState
    healthy: bool  # HealthStatus
    template: Template | None = None  # None: attached by hand, or its template was deleted
    type: str = ""
    protected: bool = False
    weight: int = 1

    @property
    def counted(self) -> bool:
        """Whether it counts towards the desired capacity. States that are new to us do not."""
        return self.state == IN_SERVICE or self.state.startswith(("Pending", "ReplacingRootVolume", "RootVolume"))

    @property
    def in_service(self) -> bool:
        return self.state == IN_SERVICE and self.healthy

    @property
    def leaving(self) -> bool:
        return "Terminat" in self.state  # in a warm pool it is Warmed:Terminating

    @property
    def left(self) -> bool:
        """Whether Auto Scaling is done with it; one that it retains is for people to look into."""
        return self.state in ("Terminated", "Terminating:Retained")


_latest: list[tuple[tuple[Instance, ...], Mapping[str, Instance], frozenset[str]]] = []


@dataclass(frozen=True, slots=True)
class Group:
    """One Auto Scaling group as DescribeAutoScalingGroups shows it."""

    name: str
    min: int
    max: int
    desired: int
    template: Template | None  # its version may be $Latest or $Default
    instances: tuple[Instance, ...] = ()
    zones: tuple[str, ...] = ()
    suspended: Mapping[str, str] = field(default_factory=dict)  # process: reason
    target_groups: tuple[str, ...] = ()  # ARNs
    balancers: tuple[str, ...] = ()  # classic load balancers
    lattice: tuple[str, ...] = ()  # VPC Lattice target groups
    tags: Mapping[str, str] = field(default_factory=dict)
    tag_count: int = 0  # how many tags it has
    status: str = ""  # set while the group is being deleted
    mixed: Mapping[str, Any] = field(default_factory=dict)  # its MixedInstancesPolicy, {} for none
    overrides: Mapping[str, Template | None] = field(default_factory=dict)  # of it, by instance type
    any_type: bool = False  # it chooses types by what they have, so that they cannot be named
    weight: int = 1  # the largest of its instance types
    health_types: frozenset[str] = frozenset()  # HealthCheckType
    warm_pool: bool = False
    reuses_warm: bool = False  # scaling in puts instances into the warm pool
    by_id: Mapping[str, Instance] = field(init=False, repr=False, compare=False)
    unfit: frozenset[str] = field(init=False, repr=False, compare=False)  # not in service, or not Healthy

    def __post_init__(self) -> None:
        # At most looks the instances are the very tuple of the look before, and a thousand need not be gone through again.
        if not _latest or _latest[0][0] is not self.instances:
            found = {instance.id: instance for instance in self.instances}
            idle = frozenset([i.id for i in self.instances if i.state != IN_SERVICE or not i.healthy])
            _latest[:] = [(self.instances, found, idle)]
        dummy, by_id, unfit = _latest[0]
        object.__setattr__(self, "by_id", by_id)
        object.__setattr__(self, "unfit", unfit)

    @property
    def balanced(self) -> bool:
        """Whether it is attached to anything that tells of health."""
        return bool(self.target_groups or self.balancers or self.lattice)

    @property
    def largest(self) -> int:
        """The units of its largest instance."""
        return max([self.weight, *[instance.weight for instance in self.instances]])


@dataclass(frozen=True, slots=True)
class Sizes:
    """MinSize, MaxSize and DesiredCapacity."""

    min: int
    max: int
    desired: int

    @classmethod
    def of(cls, group: Group) -> Sizes:
        return cls(group.min, group.max, group.desired)

    def as_dict(self) -> dict[str, int]:
        return {"min": self.min, "max": self.max, "desired": self.desired}

    def __str__(self) -> str:
        return f"min {self.min}, max {self.max}, desired {self.desired}"


@dataclass(frozen=True, slots=True)
class Activity:
    """A scaling activity in AWS's own words; wording.py says what they mean."""

    id: str
    description: str
    status: str  # StatusCode
    cause: str
    message: str = ""  # StatusMessage
    zone: str = ""
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class Refresh:
    """An instance refresh, AWS's own roll."""

    id: str
    status: str
    reason: str = ""  # StatusReason
    started: float = 0.0
    percent: int = 0
    left: int = 0  # InstancesToUpdate

    @property
    def running(self) -> bool:
        return self.status in ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that one poll told.

    ``health`` is why an instance is not healthy in some target group or load balancer ("" healthy in all), by
    instance; None when this poll did not ask. ``checks`` likewise for the health checks of ours. ``born`` has launch
    times, where the policy needs them.
    """

    group: Group
    health: Mapping[str, str] | None = None
    at: float = inf  # when it was asked for
    checks: Mapping[str, str] = field(default_factory=dict)
    activities: tuple[Activity, ...] = ()
    born: Mapping[str, float] = field(default_factory=dict)
    idle: tuple[str, ...] = ()  # what keeps targets from ever becoming healthy, in sentences
    ended: Mapping[str, str] = field(default_factory=dict)  # EC2's codes of why instances ended, by instance
    warm: tuple[Instance, ...] | None = None  # the warm pool's; None when this poll did not ask
    _sick: Mapping[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def sick(self) -> Mapping[str, str]:
        """The group's instances that are not healthy everywhere, and why: every verdict() that is not "".

        Found once: of a thousand instances few are sick, and many ask.
        """
        if self._sick is None:
            members = self.group.by_id
            suspects = set(self.group.unfit)
            if self.health is not None:
                suspects.update([name for name, why in self.health.items() if why])
                suspects |= members.keys() - self.health.keys()
            suspects.update(self.checks)
            found = {name: why for name in sorted(suspects & members.keys()) if (why := self.verdict(members[name]))}
            object.__setattr__(self, "_sick", found)
            return found
        return self._sick

    def verdict(self, instance: Instance) -> str:
        """Why the instance is not healthy everywhere; "" when it is. Only for observations that asked."""
        if instance.state != IN_SERVICE:
            return f"it is {instance.state}"
        if not instance.healthy:
            return "Auto Scaling reports it as Unhealthy"
        if self.health:
            reason = self.health.get(instance.id, "it is not registered with the group's load balancer")
            if reason:
                return reason
        elif self.health is not None and self.group.balanced:
            return "it is not registered with the group's load balancer"
        return self.checks.get(instance.id, "")


@dataclass(frozen=True, slots=True)
class Target:
    """What the group's instances are to be launched from."""

    template: Template
    by_type: Mapping[str, Template] = field(default_factory=dict)  # overrides of a mixed instances policy
    types: frozenset[str] = frozenset()  # that the policy names; empty: any

    def misfit(self, instance: Instance) -> str:
        """Why the instance does not run it; "" when it does."""
        if self.types and instance.type not in self.types:
            return f"is of the type {instance.type}, which the mixed instances policy does not name"
        wanted = self.by_type.get(instance.type, self.template)
        if wanted.same(instance.template):
            return ""
        has = instance.template
        if has is None:
            return f"was not launched from {wanted.label}"
        if (has.id or has.name) == (wanted.id or wanted.name):
            return f"runs version {has.version}, not {wanted.version}"
        return f"runs {has.label}, not {wanted.label}"


class Match(Enum):
    """Which instances are due."""

    TEMPLATE = "template"
    AGE = "age"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Policy:
    """How to roll: the module's options, checked."""

    batch_size: Amount = Amount(1)
    max_unavailable: Amount = Amount(0)
    canary: int = 1
    min_healthy_time: float = 10.0
    bake_time: float = 0.0
    batch_timeout: float = 900.0
    max_failures: int = 1
    match: Match = Match.TEMPLATE
    max_age: float = 0.0
    instances: frozenset[str] = frozenset()
    standby: str = "ignore"
    protected: str = "replace"
    raise_max_size: bool = True
    suspend_az_rebalance: bool = True
    poll_interval: float = 5.0
    lock_timeout: float = 900.0
    one_batch: bool = False  # state=advanced
    checked: bool = False  # there are health checks of ours
    drained: bool = False  # instances are told before they leave
    rollback: bool = False  # a failed roll is rolled back
    refreshes: bool = False  # AWS rolls it

    @property
    def longest_poll(self) -> float:
        return 6 * self.poll_interval

    @property
    def lag(self) -> float:
        """For how long descriptions may show what was before a write of ours, in seconds."""
        return min(60.0, 12 * self.poll_interval)

    @property
    def held(self) -> bool:
        """Whether each batch is finished, surge and all, before the next one may begin."""
        return self.one_batch or self.bake_time > 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A new instance that did not make it ("" for a launch that AWS refused)."""

    instance_id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.instance_id}: {self.reason}" if self.instance_id else self.reason


@dataclass(frozen=True, slots=True)
class Pair:
    """An old instance and the new one that took its place."""

    old: str
    new: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Window:
    """What the looks so far tell of how long something takes: not yet at ``low`` seconds, done at ``high``."""

    low: float = 0.0
    high: float = 0.0  # 0: never seen to the end

    @property
    def known(self) -> bool:
        return self.high > 0


@dataclass(frozen=True, slots=True)
class Delays:
    """For how long others may hold an instance up, in seconds: hooks at launch; hooks and deregistration at the end."""

    launch: float = 0.0
    terminate: float = 0.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the roll wrote of the group's sizes, which descriptions may show late, and what it heard of others."""

    written_at: float = 0.0  # the desired capacity; 0: not written
    written_to: int = 0
    written_range: tuple[int, int] = (0, 0)  # all that it was by the last writes, which may still be shown
    max_written_at: float = 0.0  # MaxSize; 0: not written
    max_shown: frozenset[int] = frozenset()  # what MaxSize was by the last writes
    own: frozenset[tuple[int, int]] = frozenset()  # changes of the desired capacity that the roll wrote
    heard: frozenset[str] = frozenset()  # sentences of AWS about changes that are accounted for
    puzzled_since: float = 0.0  # the desired capacity was changed, and AWS has not said how; 0: it is explained


@dataclass(frozen=True, slots=True)
class Memory:
    """What a run knows beyond the tag on the group; a killed run loses it and finds it again by looking."""

    trusting: bool = False  # at the first look of a new roll: what serves already needs no proof
    lock_seen: bool = False
    heir_of: str = ""  # whose lock was taken; descriptions may show it for a while
    lost: str = ""  # who has the lock, when it is not us
    erased: int = 0  # how often somebody deleted the journal from the group's tags
    # new instances
    coming: Mapping[str, int] = field(default_factory=dict)  # those not proven, by the best that they reached (Rank)
    healthy_since: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)  # why they are not healthy
    missing: Mapping[str, int] = field(default_factory=dict)  # for how many polls they were not listed
    proven: frozenset[str] = frozenset()
    spare: tuple[str, ...] = ()  # proven, and nobody's successor yet
    began: Mapping[str, float] = field(default_factory=dict)  # when their launch was set off
    failures: tuple[Failure, ...] = ()
    taken: tuple[Failure, ...] = ()  # new ones that AWS or somebody took away, which is no failure
    interrupted: bool = False  # some were, since there was progress
    inherited: tuple[int, ...] = ()  # how far those had come: to come as far again is no progress
    # old instances
    gone: Mapping[str, float] = field(default_factory=dict)  # told to terminate, and when
    leaving: frozenset[str] = frozenset()  # of these, still listed
    drained: frozenset[str] = frozenset()
    draining: Mapping[str, float] = field(default_factory=dict)  # told that they will leave, and when
    widows: tuple[str, ...] = ()  # terminated before anybody took their place
    pairs: tuple[Pair, ...] = ()
    # the course of the roll
    open: bool = False  # a held batch is under way
    batches: int = 0
    baked_since: float = 0.0  # 0: no bake
    progress_at: float = 0.0
    ending: str = ""  # the state that the roll is being wound down to
    reason: str = ""
    cause: str = ""  # why a failed roll is being rolled back
    forgiven: int = 0  # failures from before that
    serving: int = 0  # the capacity in service and healthy everywhere, as far as the last look told
    lowest: int | None = None
    # what AWS says of launches
    activities: frozenset[str] = frozenset()  # failed ones that are known
    refusal: str = ""  # waiting cannot help
    shortage: str = ""  # it can
    refused_zones: Mapping[str, str] = field(default_factory=dict)  # where launches were refused, and why
    blocked: str = ""  # a process that the roll needs is suspended
    # own writes, which describe calls may show late
    pointed_at: float = 0.0  # the group's template; 0: not written
    capacity: Capacity = Capacity()
    unsaved: bool = False  # the journal has changed, and the tag does not say so yet
    blind: bool = False  # something cannot be read any more: only the group is asked for
    suspended: bool = False
    restored: bool = False
    resumed: bool = False
    recycled: bool = False  # the warm pool holds nothing that is due any more
    # who is there
    listed: frozenset[str] = frozenset()  # all that were ever listed
    shown: bool = False  # the last look showed the group with the template that is rolled out
    # for how long others may hold an instance up; None: not asked
    delays: Delays | None = None
    # when an answer is due
    triggered_at: float = 0.0  # launches were last set off
    unready: float = 0.0  # the age at which they were last seen not ready
    boot: Window = Window()
    undrained: float = 0.0  # the age at which terminated ones were last seen listed
    drain: Window = Window()


@dataclass(frozen=True, slots=True)
class Journal:
    """What a roll has done to the group and means to undo. All but ``memory`` is kept in a tag of the group.

    ``surge`` is how much of the group's desired capacity is the roll's own; while a write is under way ``pending`` is
    what it will be afterwards, and ``desired``, ``max_size`` and ``old`` are what tells, after a kill, whether that
    write happened (journal.settle).
    """

    owner: str
    beat: float
    started: float
    target: Target
    spec: str = ""  # the floating version that the group had, or is to have, in place of the pinned number
    pins: tuple[tuple[int, str], ...] = ()  # the same of a mixed instances policy's overrides, by their place in it
    surge: int = 0
    pending: int = 0
    desired: int = 0  # the user's
    headroom: int = 0  # by how much MaxSize was raised
    headroom_before: int = 0  # the same before the write that is under way
    max_size: int = 0  # the user's
    old: int = 0  # instances that were due then
    suspended: tuple[str, ...] = ()
    failed: int = 0
    back: bool = False  # this is a roll back
    held: bool = False  # each batch takes back at its end what it raised
    refresh: str = ""  # the instance refresh that does it, NEW_REFRESH before its id is known; "" done in batches
    memory: Memory = field(default_factory=Memory, compare=False)

    def floats(self, group: Group) -> dict[str, str]:
        """The floating versions that overrides of the group had, by instance type."""
        types = list(group.overrides)
        return {types[place]: version for place, version in self.pins if place < len(types)}

    def owns(self, refresh: Refresh) -> bool:
        """Whether this instance refresh is ours."""
        return refresh.id == self.refresh or (self.refresh == NEW_REFRESH and refresh.started >= self.started - SKEW)


# ---- steps: what next_step may ask for -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at ``until``; probe these instances meanwhile, which costs no call."""

    until: float
    why: str
    probe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """Renew the lock."""


@dataclass(frozen=True, slots=True)
class Suspend:
    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Victim:
    """An old instance to terminate; ``shrink``: the desired capacity goes down with it.

    ``apart``: it is in Standby and no part of the capacity, so nobody takes its place.
    """

    instance: Instance
    successor: str = ""
    shrink: bool = False
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell instances that they will leave, and ask until they say that they are done."""

    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Resize:
    """A change of the desired capacity, as the journal notes it before the first call of it is made."""

    surge: int  # how much of it will be the roll's own
    desired: int  # how much of it is the user's
    old: int  # instances that are due
    headroom: int = 0
    max_size: int = 0  # the user's


@dataclass(frozen=True, slots=True)
class Turn:
    """Launch some, terminate some: the heart of the roll.

    ``grow_to`` is the desired capacity to write first (None: as it is) and ``max_to`` MaxSize with it; ``point``: the
    group's template is written too. Victims with ``shrink`` come first.
    """

    victims: tuple[Victim, ...] = ()
    launches: int = 0
    grow_to: int | None = None
    max_to: int | None = None
    point: bool = False
    resize: Resize | None = None
    opens: bool = False
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Recycle:
    """Terminate instances of the warm pool, which fills up again from what the group launches."""

    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class AskDelays:
    """Find out for how long lifecycle hooks and load balancers may hold instances up."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Terminate new instances: surplus (``resize`` given), or failed ones for which AWS is to launch others."""

    instances: tuple[Instance, ...]
    failures: tuple[Failure, ...] = ()
    resize: Resize | None = None


@dataclass(frozen=True, slots=True)
class Shrink:
    """Write the desired capacity down: nothing was launched for it."""

    to: int
    resize: Resize


@dataclass(frozen=True, slots=True)
class Restore:
    """Put back MaxSize (None: as it is) and the floating versions ("" and {}: as they are)."""

    max_size: int | None
    spec: str = ""
    floats: Mapping[str, str] = field(default_factory=dict)  # of overrides, by instance type


@dataclass(frozen=True, slots=True)
class Resume:
    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the journal: the last write of every roll."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop replacing; wind down to ``state``."""

    state: str
    reason: str
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    state: str
    reason: str = ""


Step = (
    Wait  # pylint: disable=unsupported-binary-operation
    | Beat
    | Suspend
    | Drain
    | Turn
    | Recycle
    | AskDelays
    | Drop
    | Shrink
    | Restore
    | Resume
    | Forget
    | Halt
    | Finish
)

Event = dict[str, Any]
