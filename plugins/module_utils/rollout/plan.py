# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances are due, in what order, and what stands against rolling them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter

from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    STANDBY,
    Group,
    Instance,
    Journal,
    Match,
    Observation,
    Policy,
    Sizes,
    Target,
    Template,
)

# Suspended by somebody, these make a roll hang or serve nobody.
NEEDED_PROCESSES = {
    "Launch": "nothing new would be launched",
    "Terminate": "nothing old would be terminated",
    "AddToLoadBalancer": "new instances would never get traffic",
}


_ONE_BY_ONE = 16  # up to so many terminations, AWS may have launched one successor before the next call comes


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
    apart: tuple[Instance, ...] = ()  # due, but in Standby: no part of the capacity
    old_units: int = 0
    all_units: int = 0  # of old, fresh and kept
    part: Mapping[str, str] = field(default_factory=dict)  # of each: old, fresh, kept or apart


@dataclass(frozen=True, slots=True)
class Plan:
    """What a roll would do."""

    batches: tuple[tuple[Due, ...], ...]
    before: Sizes
    during: Sizes
    surge: int
    refusals: tuple[str, ...]
    warm: tuple[Due, ...] = ()  # of the warm pool, which are recycled first

    @property
    def due(self) -> int:
        return sum(len(batch) for batch in self.batches) + len(self.warm)

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
            **({"warm_pool": [due.as_dict() for due in self.warm]} if self.warm else {}),
        }


def why_due(
    instance: Instance, target: Target, policy: Policy, started: float, born: Mapping[str, float]
) -> tuple[str, ...]:
    """Why an instance is to be replaced; () when it is not."""
    return _why(instance, target.misfit(instance), policy, started, born)


def _why(instance: Instance, misfit: str, policy: Policy, started: float, born: Mapping[str, float]) -> tuple[str, ...]:
    if policy.instances and instance.id not in policy.instances:
        return ()
    if instance.protected and policy.protected == "skip":
        return ()
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


class _Sorter:
    """Sorts a roll's instances, look by look: of a thousand, few are not what they were at the look before."""

    def __init__(self, target: Target, policy: Policy, started: float, born: Mapping[str, float]) -> None:
        self._frame = (target, policy, started, born)
        self._instances: tuple[Instance, ...] = ()
        self._members: Mapping[str, Instance] = {}
        self._gone: Mapping[str, float] = {}
        self._parts: dict[str, dict[str, Instance]] = {"old": {}, "fresh": {}, "kept": {}, "apart": {}}
        self._part: dict[str, str] = {}
        self._units = dict.fromkeys(self._parts, 0)
        self._misfits: dict[tuple[Template | None, str], str] = {}  # few kinds of instances, however many there are
        self._roles = Roles((), (), ())

    def fits(self, target: Target, policy: Policy, started: float, born: Mapping[str, float]) -> bool:
        """Whether it sorts by just these. The very same values: they never change."""
        mine = self._frame
        return mine[0] is target and mine[1] is policy and mine[2] == started and mine[3] is born

    def sort(self, group: Group, gone: Mapping[str, float]) -> Roles:
        """The roles as of this look; ``gone`` were told to terminate."""
        if group.instances is self._instances and gone is self._gone:
            return self._roles
        before = self._members
        touched = [name for name, instance in group.by_id.items() if before.get(name) is not instance]
        touched += sorted(before.keys() - group.by_id.keys())
        if gone is not self._gone:
            touched += sorted(gone.keys() ^ self._gone.keys())
        moved = set()
        for name in touched:
            instance = group.by_id.get(name)
            part = self._role(instance) if instance is not None and name not in gone else ""
            moved |= self._put(name, instance, part)
        self._instances, self._members, self._gone = group.instances, group.by_id, gone
        if moved:
            roles = {name: tuple(part.values()) for name, part in self._parts.items() if name in moved}
            total = sum(self._units.values()) - self._units["apart"]
            self._roles = replace(
                self._roles, **roles, old_units=self._units["old"], all_units=total, part=dict(self._part)
            )
        return self._roles

    def _put(self, name: str, instance: Instance | None, part: str) -> set[str]:
        """Move one instance to a part, "" for none; the parts that are not as they were."""
        had = self._part.pop(name, "")
        if had:
            self._units[had] -= self._parts[had][name].weight
            if had != part:
                del self._parts[had][name]
        if instance is not None and part:
            self._parts[part][name] = instance
            self._part[name] = part
            self._units[part] += instance.weight
        return {had, part} - {""}

    def _role(self, instance: Instance) -> str:
        target, policy, started, born = self._frame
        if not instance.counted:
            standing = instance.state == STANDBY and policy.standby == "replace"
            return "apart" if standing and why_due(instance, target, policy, started, born) else ""
        kind = (instance.template, instance.type)
        misfit = self._misfits.get(kind)
        if misfit is None:
            misfit = self._misfits[kind] = target.misfit(instance)
        if _why(instance, misfit, policy, started, born):
            return "old"
        if policy.match is Match.TEMPLATE:
            return "kept" if misfit else "fresh"
        return "fresh" if born.get(instance.id, started) >= started else "kept"


_latest: list[_Sorter] = []  # of the roll that is under way


def roles(seen: Observation, journal: Journal, policy: Policy) -> Roles:
    """Sort the instances that count towards the group's capacity, less those that were told to terminate."""
    frame = (journal.target, policy, journal.started, seen.born)
    if not _latest or not _latest[0].fits(*frame):
        _latest[:] = [_Sorter(*frame)]
    return _latest[0].sort(seen.group, journal.memory.gone)


def units(instances: Iterable[Instance]) -> int:
    """Their capacity in the group's units."""
    return sum([instance.weight for instance in instances])


class Choice:
    """Chooses who goes next, so that the group ends balanced over its zones and AZRebalance finds nothing to do.

    Those that are told to drain already lead, then unhealthy ones: they serve nobody. Among equals the zones decide.
    AWS launches in the zone that holds fewest, so who goes tells where successors come; no zone should get more new
    instances than its share, and a batch should hit the zones evenly.
    """

    def __init__(
        self,
        seen: Observation,
        old: Iterable[Instance],
        others: Iterable[Instance],
        draining: Container[str] = (),
    ) -> None:
        self._ranks: dict[tuple[bool, bool], dict[str, list[Instance]]] = {}
        self._others = Counter([instance.zone for instance in others])
        self._old: Counter[str] = Counter()
        sick = seen.sick
        for instance in old:
            rank = self._ranks.setdefault((instance.id not in draining, instance.id not in sick), {})
            rank.setdefault(instance.zone, []).append(instance)
        for rank in self._ranks.values():
            for zone, pool in rank.items():
                self._old[zone] += len(pool)
                pool.sort(key=attrgetter("id"), reverse=True)
        self._zones = sorted({*seen.group.zones, *self._others, *self._old})

    def place(self, count: int) -> None:
        """What AWS is expected to do with ``count`` launches."""
        if self._zones:
            self._others.update(level(self._totals(), count))

    def take(self, desired: int, count: int, launches: int) -> list[Instance]:
        """The next ``count`` to go, when AWS then launches so many. ``desired`` is the user's capacity.

        With no launches to follow, the instances that stay, old ones too, should be balanced.
        """
        chosen: list[Instance] = []
        for key in sorted(self._ranks):
            rank = self._ranks[key]
            size = sum(len(pool) for pool in rank.values())
            if not size or len(chosen) >= count:
                continue
            if size <= count - len(chosen):
                quota = {zone: len(pool) for zone, pool in rank.items()}
            else:
                quota = self._share(rank, desired, count - len(chosen), launches)
            for zone, number in sorted(quota.items()):
                for dummy in range(number):
                    chosen.append(rank[zone].pop())
                self._old[zone] -= number
        return chosen

    def _totals(self) -> dict[str, int]:
        return {zone: self._others[zone] + self._old[zone] for zone in self._zones}

    def _share(self, rank: Mapping[str, list[Instance]], desired: int, count: int, launches: int) -> dict[str, int]:
        """How many go of each zone: evenly at first, then better by one at a time."""
        quota = dict.fromkeys(rank, 0)
        totals = self._totals()
        for dummy in range(count):
            open_zones = [zone for zone in rank if quota[zone] < len(rank[zone])]
            zone = min(open_zones, key=lambda zone: (quota[zone], -totals[zone], zone))
            quota[zone] += 1
        best = self._cost(quota, desired, launches)
        while best[0] > 0:
            tries = []
            for source in quota:
                for sink in quota:
                    if source != sink and quota[source] > 0 and quota[sink] < len(rank[sink]):
                        moved = {**quota, source: quota[source] - 1, sink: quota[sink] + 1}
                        tries.append((self._cost(moved, desired, launches), sorted(moved.items())))
            if not tries or min(tries)[0] >= best:
                break
            best, items = min(tries)
            quota = dict(items)
        return quota

    def _cost(self, quota: Mapping[str, int], desired: int, launches: int) -> tuple[int, int]:
        """New instances beyond the zones' shares, over some guesses of how AWS breaks ties, and unevenness."""
        totals = self._totals()
        order = [zone for zone in sorted(quota) for dummy in range(quota[zone])]
        share, rest = divmod(desired, len(self._zones))
        cost = 0
        for backwards in (False, True):
            left = {zone: total - quota.get(zone, 0) for zone, total in totals.items()}
            guesses = [level(left, launches, backwards)]
            if len(order) <= _ONE_BY_ONE:
                guesses.append(_level_one_by_one(totals, order, launches, backwards))
            for launched in guesses:
                stay = self._others if launches else left
                news = sorted((stay[zone] + launched[zone] for zone in self._zones), reverse=True)
                beyond = sum(max(0, new - share - (index < rest)) for index, new in enumerate(news))
                cost += beyond if backwards else 2 * beyond
        return cost, sum(number * number for number in quota.values())


def _level_one_by_one(totals: Mapping[str, int], order: list[str], launches: int, backwards: bool) -> dict[str, int]:
    """As level(), when AWS launches each successor before the next instance is terminated."""
    now = dict(totals)
    launched = dict.fromkeys(totals, 0)

    def launch(count: int) -> None:
        for zone, number in level(now, count, backwards).items():
            launched[zone] += number
            now[zone] += number

    alone = max(0, len(order) - launches)
    for index, zone in enumerate(order):
        now[zone] -= 1
        if index >= alone:
            launch(1)
    launch(launches - (len(order) - alone))
    return launched


def level(totals: Mapping[str, int], count: int, backwards: bool = False) -> dict[str, int]:
    """Where ``count`` launches go when each goes to a zone that holds fewest."""
    zones = sorted(totals, reverse=backwards)
    launched = dict.fromkeys(zones, 0)
    while count > 0:
        heights = {zone: totals[zone] + launched[zone] for zone in zones}
        low = min(heights.values())
        lowest = [zone for zone in zones if heights[zone] == low]
        gaps = [height - low for height in heights.values() if height > low]
        step = min(count // len(lowest), *gaps) if gaps else count // len(lowest)
        if step == 0:
            lowest, step = lowest[:count], 1
        for zone in lowest:
            launched[zone] += step
        count -= step * len(lowest)
    return launched


def batch_units(policy: Policy, group: Group, desired: int) -> int:
    """How many units of capacity are replaced together: a batch of weighted ones are so many of the largest."""
    least = group.largest
    size = policy.batch_size.of(desired, least=least)
    return size if policy.batch_size.percent else size * least


def make_plan(seen: Observation, journal: Journal, policy: Policy) -> Plan:
    """The whole roll, before it begins."""
    group = seen.group
    parts = roles(seen, journal, policy)
    desired = group.desired - journal.surge
    size = batch_units(policy, group, desired)
    slack = policy.max_unavailable.of(desired) if group.largest == 1 else 0
    proven = journal.back or any(instance.id not in seen.sick for instance in parts.fresh)
    first = size if proven or not policy.canary else min(size, policy.canary * group.largest)
    choice = Choice(seen, parts.old, (*parts.fresh, *parts.kept))
    cut = _cut_by_weight if group.largest > 1 else _cut
    batches = [
        tuple(Due(instance, why_due(instance, journal.target, policy, journal.started, seen.born)) for instance in one)
        for one in cut(choice, len(parts.old), desired, (first, size), alone=policy.one_batch)
    ]
    widest = max((units(due.instance for due in batch) for batch in batches), default=0)
    if group.largest > 1:
        widest = min(max(size, widest), parts.old_units)
    surge = max(0, widest - slack)
    user_max = group.max - journal.headroom
    during = Sizes(group.min, max(user_max, desired + surge), desired + surge)
    before = Sizes(group.min, user_max, desired)
    if parts.apart:
        batches.append(
            tuple(
                Due(i, (*why_due(i, journal.target, policy, journal.started, seen.born), "is in Standby"))
                for i in parts.apart
            )
        )
    warm = tuple(Due(i, (journal.target.misfit(i),)) for i in stale(seen, journal))
    found = tuple(refusals(seen, policy, parts, during, user_max))
    return Plan(tuple(batches), before, during, surge, found, warm)


def _cut(
    choice: Choice, left: int, desired: int, sizes: tuple[int, int], *, alone: bool
) -> Iterable[Iterable[Instance]]:
    """Batches of the first and the other size, with what AWS will launch for each in view; not if each is ``alone``."""
    first, size = sizes
    now = min(first, left)
    choice.place(now)
    while left > 0:
        left -= now
        then = min(size, left)
        yield choice.take(desired, now, 0 if alone else then)
        choice.place(then)
        now = then


def _cut_by_weight(
    choice: Choice, left: int, desired: int, sizes: tuple[int, int], *, alone: bool
) -> Iterable[Iterable[Instance]]:
    """The same where instances weigh differently: as many as a batch's units carry."""
    del alone
    first, size = sizes
    room, batch = first, list[Instance]()
    for dummy in range(left):
        (instance,) = choice.take(desired, 1, 0)
        if batch and instance.weight > room:
            yield batch
            room, batch = size, []
        batch.append(instance)
        room -= instance.weight
    if batch:
        yield batch


def stale(seen: Observation, journal: Journal) -> tuple[Instance, ...]:
    """Instances of the warm pool that were launched from something else, and would be pulled in by the roll."""
    return tuple(i for i in seen.warm or () if not i.leaving and journal.target.misfit(i))


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
    if not parts.old:
        return
    yield from seen.idle
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
