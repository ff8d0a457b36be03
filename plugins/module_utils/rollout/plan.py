# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances are due, in what order, and what stands against rolling them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    STANDBY,
    Instance,
    Journal,
    Match,
    Observation,
    Policy,
    Sizes,
    Target,
)

# Suspended by somebody, these make a roll hang or serve nobody.
NEEDED_PROCESSES = {
    "Launch": "nothing new would be launched",
    "Terminate": "nothing old would be terminated",
    "AddToLoadBalancer": "new instances would never get traffic",
}


@dataclass(frozen=True, slots=True)
class Due:
    """An instance to be replaced, and why."""

    instance: Instance
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        return {"instance_id": self.instance.id, "zone": self.instance.zone, "reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class Roles:
    """The group's instances by their part in the roll. Those on their way out are in none."""

    old: tuple[Instance, ...]  # due
    fresh: tuple[Instance, ...]  # launched from what the group is to run
    kept: tuple[Instance, ...]  # neither: excluded by an option, or not due by age


@dataclass(frozen=True, slots=True)
class Plan:
    """What a roll would do."""

    batches: tuple[tuple[Due, ...], ...]
    before: Sizes
    during: Sizes
    surge: int
    refusals: tuple[str, ...]

    @property
    def due(self) -> int:
        return sum(len(batch) for batch in self.batches)

    def as_dict(self) -> dict[str, object]:
        return {
            "batches": [[due.as_dict() for due in batch] for batch in self.batches],
            "sizes": {
                "before": self.before.as_dict(),
                "during": self.during.as_dict(),
                "after": self.before.as_dict(),
            },
            "surge": self.surge,
            "refusals": list(self.refusals),
        }


def why_due(
    instance: Instance, target: Target, policy: Policy, started: float, born: Mapping[str, float]
) -> tuple[str, ...]:
    """Why an instance is to be replaced; () when it is not."""
    if policy.instances and instance.id not in policy.instances:
        return ()
    if instance.protected and policy.protected == "skip":
        return ()
    misfit = target.misfit(instance)
    if policy.match is Match.TEMPLATE:
        return (misfit,) if misfit else ()
    launched = born.get(instance.id)
    if launched is None or launched >= started:  # it came during the roll
        return ()
    if policy.match is Match.ALL:
        return (misfit,) if misfit else ("all instances were asked for",)
    age = started - launched
    if age < policy.max_age:
        return ()
    return (f"is {int(age)} s old, more than {int(policy.max_age)} s",)


def roles(seen: Observation, journal: Journal, policy: Policy) -> Roles:
    """Sort the instances that count towards the group's capacity, less those that were told to terminate."""
    old: list[Instance] = []
    fresh: list[Instance] = []
    kept: list[Instance] = []
    gone = journal.memory.gone
    target = journal.target
    by_template = policy.match is Match.TEMPLATE
    for instance in seen.group.instances:
        if not instance.counted or instance.id in gone:
            continue
        if why_due(instance, target, policy, journal.started, seen.born):
            old.append(instance)
        elif by_template:
            (kept if target.misfit(instance) else fresh).append(instance)
        else:
            (fresh if seen.born.get(instance.id, journal.started) >= journal.started else kept).append(instance)
    return Roles(tuple(old), tuple(fresh), tuple(kept))


def units(instances: Iterable[Instance]) -> int:
    """Their capacity in the group's units."""
    return sum(instance.weight for instance in instances)


class Choice:
    """Chooses who goes next, so that the group ends balanced over its zones and AZRebalance finds nothing to do.

    AWS launches in the zone that holds fewest. So where a successor is to be launched, an instance goes of the zone that
    needs new ones most: it will get one back. Where the capacity shrinks, one goes of the zone that holds most.
    Those that are told to drain already lead, then unhealthy ones: they serve nobody.
    """

    def __init__(
        self,
        seen: Observation,
        old: Iterable[Instance],
        others: Iterable[Instance],
        draining: Container[str] = (),
    ) -> None:
        self._pools: dict[tuple[bool, bool, str], list[Instance]] = {}
        self._old: Counter[str] = Counter()
        self._others = Counter(instance.zone for instance in others)
        self._zones = set(seen.group.zones) | set(self._others)
        for instance in old:
            sick = bool(seen.verdict(instance)) if seen.health is not None else not instance.in_service
            self._pools.setdefault((instance.id not in draining, not sick, instance.zone), []).append(instance)
            self._old[instance.zone] += 1
            self._zones.add(instance.zone)
        for pool in self._pools.values():
            pool.sort(key=lambda instance: instance.id, reverse=True)

    def place(self, count: int) -> None:
        """What AWS is expected to do with ``count`` launches."""
        for _ in range(count if self._zones else 0):
            self._others[min(self._zones, key=lambda zone: (self._total(zone), zone))] += 1

    def take(self, desired: int, count: int, shrinking: int) -> list[Instance]:
        """The next ``count`` to go, the ``shrinking`` ones that get no successor first. ``desired`` is the user's."""
        need = self._need(desired)
        follow: list[Instance] = []
        while len(follow) < count - shrinking and self._pools:
            chosen = self._pop(lambda zone: (-need[zone], self._total(zone), zone))
            need[chosen.zone] -= 1
            follow.append(chosen)
        shrink: list[Instance] = []
        while len(shrink) < shrinking and self._pools:
            shrink.append(self._pop(lambda zone: (-self._total(zone), zone)))
        return shrink + follow

    def _total(self, zone: str) -> int:
        return self._others[zone] + self._old[zone]

    def _need(self, desired: int) -> dict[str, int]:
        """How many more instances each zone is to get."""
        if not self._zones:
            return {}
        share, rest = divmod(desired, len(self._zones))
        fullest = sorted(self._zones, key=lambda zone: (-self._others[zone], -self._total(zone), zone))
        return {zone: share + (index < rest) - self._others[zone] for index, zone in enumerate(fullest)}

    def _pop(self, rank: Callable[[str], tuple[int | str, ...]]) -> Instance:
        key = min(self._pools, key=lambda key: (key[:2], rank(key[2])))
        chosen = self._pools[key].pop()
        self._old[chosen.zone] -= 1
        if not self._pools[key]:
            del self._pools[key]
        return chosen


def make_plan(seen: Observation, journal: Journal, policy: Policy) -> Plan:
    """The whole roll, before it begins."""
    group = seen.group
    parts = roles(seen, journal, policy)
    desired = group.desired - journal.surge
    size = policy.batch_size.of(desired, least=1)
    slack = policy.max_unavailable.of(desired)
    proven = any(not seen.verdict(instance) for instance in parts.fresh)
    first = size if proven or not policy.canary else min(size, policy.canary)
    batches: list[tuple[Due, ...]] = []
    choice = Choice(seen, parts.old, (*parts.fresh, *parts.kept))
    left = len(parts.old)
    now = min(first, left)
    choice.place(now)
    while left > 0:
        left -= now
        then = min(size, left)
        follow = 0 if policy.held else min(now, then)
        batches.append(
            tuple(
                Due(instance, why_due(instance, journal.target, policy, journal.started, seen.born))
                for instance in choice.take(desired, now, now - follow)
            )
        )
        choice.place(then)
        now = then
    widest = max((units(due.instance for due in batch) for batch in batches), default=0)
    surge = max(0, widest - slack)
    user_max = group.max - journal.headroom
    during = Sizes(group.min, max(user_max, desired + surge), desired + surge)
    before = Sizes(group.min, user_max, desired)
    return Plan(tuple(batches), before, during, surge, tuple(refusals(seen, policy, parts, during, user_max)))


def refusals(seen: Observation, policy: Policy, parts: Roles, during: Sizes, user_max: int) -> Iterable[str]:
    """Sentences, one for each thing that forbids the roll."""
    group = seen.group
    if group.status:
        yield f"the group {group.name} is being deleted ({group.status}): there is nothing to roll"
    for process, consequence in NEEDED_PROCESSES.items():
        if process in group.suspended:
            reason = group.suspended[process]
            yield (
                f"the process {process} of the group {group.name} is suspended ({reason}), so {consequence}: "
                f"resume {process} first"
            )
    if group.lattice:
        yield (
            f"the group {group.name} has VPC Lattice target groups, whose health this module cannot see: "
            "use strategy=instance_refresh"
        )
    if not parts.old:
        return
    for name in seen.idle:
        yield (
            f"the target group {name} of the group {group.name} is used by no load balancer, so its targets never "
            "become healthy: add it to a listener, or detach it from the group"
        )
    if not policy.raise_max_size and during.desired > user_max:
        yield (
            f"launching before terminating needs MaxSize {during.desired}, the group {group.name} has {user_max} and "
            "raise_max_size is false: raise MaxSize, allow raise_max_size, lower batch_size or allow max_unavailable"
        )
    if policy.protected == "fail":
        guarded = sorted(instance.id for instance in parts.old if instance.protected)
        if guarded:
            yield f"protected from scale-in, and protected is fail: {', '.join(guarded)}"
    if policy.standby == "fail":
        standing = sorted(instance.id for instance in group.instances if instance.state == STANDBY)
        if standing:
            yield f"in Standby, and standby is fail: {', '.join(standing)}"
