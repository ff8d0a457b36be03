# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances are due, in what order, and what stands against rolling them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.choice import Choice
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import Roles, Sorter, units, why_due
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    STANDBY,
    Group,
    Instance,
    Observation,
    Sizes,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy

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


def batch_units(policy: Policy, group: Group, desired: int) -> int:
    """How many units of capacity are replaced together: a batch of weighted ones are so many of the largest."""
    least = group.largest
    size = policy.batch_size.of(desired, least=least)
    return size if policy.batch_size.percent else size * least


def make_plan(seen: Observation, journal: Journal, policy: Policy, sorter: Sorter) -> Plan:
    """The whole roll, before it begins."""
    group = seen.group
    parts = sorter.sort(seen, journal, policy)
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
