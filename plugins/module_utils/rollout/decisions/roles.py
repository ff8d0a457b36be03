# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances are due, and what part each has in the roll. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    STANDBY,
    Group,
    Instance,
    Observation,
    Template,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match, Policy, Target


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


def due(
    group: Group, target: Target, policy: Policy, started: float, born: Mapping[str, float]
) -> dict[str, tuple[str, ...]]:
    """The instances that a roll begun at `started` would replace, with the reasons: what a roll decides, for those who only look."""
    journal = Journal(owner="", beat=started, started=started, target=target)
    roles = Sorter().sort(Observation(group=group, born=born), journal, policy)
    return {instance.id: why_due(instance, target, policy, started, born) for instance in (*roles.old, *roles.apart)}


class Sorter:
    """Sorts a roll's instances, look by look: of a thousand, few are not what they were at the look before.

    A run holds one. What it keeps only saves work: the answer is that of the values that it is given.
    """

    def __init__(self) -> None:
        self._frame: tuple[Target, Policy, float, Mapping[str, float]] | None = None
        self._clear()

    def _clear(self) -> None:
        self._instances: tuple[Instance, ...] = ()
        self._members: Mapping[str, Instance] = {}
        self._gone: Mapping[str, float] = {}
        self._parts: dict[str, dict[str, Instance]] = {"old": {}, "fresh": {}, "kept": {}, "apart": {}}
        self._part: dict[str, str] = {}
        self._units = dict.fromkeys(self._parts, 0)
        self._misfits: dict[tuple[Template | None, str], str] = {}  # few kinds of instances, however many there are
        self._roles = Roles((), (), ())
        self._serial = 0
        self._coming: tuple[tuple[Instance, ...], frozenset[str], tuple[Instance, ...]] = ((), frozenset(), ())

    def coming(self, roles: Roles, proven: frozenset[str]) -> tuple[Instance, ...]:
        """The new instances that are not proven."""
        fresh, known, found = self._coming
        if fresh is not roles.fresh or known is not proven:
            found = tuple([instance for instance in roles.fresh if instance.id not in proven])
            self._coming = (roles.fresh, proven, found)
        return found

    def sort(self, seen: Observation, journal: Journal, policy: Policy) -> Roles:
        """The instances that count towards the group's capacity, less those that the roll terminated, by their part."""
        group, gone, mine = seen.group, journal.memory.old.terminated, self._frame
        # The very same values: they never change.
        if mine is None or not (
            mine[0] is journal.target and mine[1] is policy and mine[2] == journal.started and mine[3] is seen.born
        ):
            self._frame = (journal.target, policy, journal.started, seen.born)
            self._clear()
        if group.instances is self._instances and gone is self._gone:
            return self._roles
        touched = self._touched(group)
        if gone is not self._gone:
            touched += sorted(gone.keys() ^ self._gone.keys())
        moved = set()
        for name in touched:
            instance = group.by_id.get(name)
            part = self._role(instance) if instance is not None and name not in gone else ""
            moved |= self._put(name, instance, part)
        self._instances, self._members, self._gone = group.instances, group.by_id, gone
        self._serial = group.members.serial if group.members else 0
        if moved:
            roles = {name: tuple(part.values()) for name, part in self._parts.items() if name in moved}
            total = sum(self._units.values()) - self._units["apart"]
            self._roles = replace(
                self._roles, **roles, old_units=self._units["old"], all_units=total, part=dict(self._part)
            )
        return self._roles

    def _touched(self, group: Group) -> list[str]:
        """Who is not as at the look before."""
        members, before = group.members, self._members
        if group.instances is self._instances:
            return []
        if members is not None and members.changed is not None and members.before == self._serial and self._instances:
            return list(members.changed)
        touched = [name for name, instance in group.by_id.items() if before.get(name) is not instance]
        return touched + sorted(before.keys() - group.by_id.keys())

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
        if self._frame is None:
            raise RuntimeError("an instance is sorted by the values of a roll")
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


def units(instances: Iterable[Instance]) -> int:
    """Their capacity in the group's units."""
    return sum([instance.weight for instance in instances])
