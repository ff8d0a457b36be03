# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS's things as values: groups, instances, templates, activities. Nothing here decides, waits or talks to anybody.

Times are unix seconds of AWS's clock. Capacities are in the group's own units: instances, or the weights of a mixed
instances policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Members:
    """A group's instances, by id too, and those that are not in service or not Healthy.

    ``changed`` are the ids of those that came, left or changed since the members that were ``before``, None where that is
    not known: of a thousand, few are not what they were at the look before.
    """

    instances: tuple[Instance, ...]
    by_id: Mapping[str, Instance]
    unfit: frozenset[str]
    before: int = 0  # of the members before, the serial number
    serial: int = 0
    changed: tuple[str, ...] | None = None

    @classmethod
    def of(cls, instances: tuple[Instance, ...]) -> Members:
        unfit = frozenset([i.id for i in instances if i.state != IN_SERVICE or not i.healthy])
        return cls(instances, {instance.id: instance for instance in instances}, unfit)

    def followed_by(self, instances: tuple[Instance, ...], changed: Iterable[str], serial: int) -> Members:
        """The members after these, of which only some changed."""
        by_id, names = {instance.id: instance for instance in instances}, tuple(changed)
        idle = [n for n in names if n in by_id and (by_id[n].state != IN_SERVICE or not by_id[n].healthy)]
        return Members(instances, by_id, self.unfit.difference(names).union(idle), self.serial, serial, names)


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
    members: Members | None = field(default=None, repr=False, compare=False)  # of the instances; made where not given

    def __post_init__(self) -> None:
        if self.members is None or self.members.instances is not self.instances:
            object.__setattr__(self, "members", Members.of(self.instances))

    @property
    def by_id(self) -> Mapping[str, Instance]:
        return self.members.by_id  # type: ignore[union-attr]

    @property
    def unfit(self) -> frozenset[str]:
        """Those that are not in service, or not Healthy."""
        return self.members.unfit  # type: ignore[union-attr]

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
class Delays:
    """For how long others may hold an instance up, in seconds: hooks at launch; hooks and deregistration at the end."""

    launch: float = 0.0
    terminate: float = 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that one poll showed.

    ``health`` is why an instance is not healthy in some target group or load balancer ("" healthy in all), by
    instance; None when this poll did not ask. ``checks`` likewise for the health checks of the application. ``born`` has launch
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
