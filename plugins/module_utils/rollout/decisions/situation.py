# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the roll is: an observation in the light of the journal, and what follows from the two alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import sizes, wording
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import Roles, Sorter, units
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import floating
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    IN_SERVICE,
    Group,
    Instance,
    Observation,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Memory
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy

_ORDERLY = ("completed", "advanced", "rolled_back")


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision is made of.

    ``actual`` is the group's desired capacity, the surge included, and ``desired`` the user's part of it; ``settled``:
    the group shows the roll's last write; ``coming``: new instances that are not proven; ``owed``: launches that have not
    shown yet, in units.
    """

    seen: Observation
    journal: Journal
    policy: Policy
    now: float
    roles: Roles
    actual: int
    settled: bool
    coming: tuple[Instance, ...] = field(default=())

    @classmethod
    def of(cls, seen: Observation, journal: Journal, policy: Policy, now: float, sorter: Sorter) -> Situation:
        """Sort the instances, and tell the user's part of the desired capacity from the roll's."""
        actual, settled = sizes.actual(seen, journal.memory, policy, now)
        roles = sorter.sort(seen, journal, policy)
        coming = sorter.coming(roles, journal.memory.new.proven)
        return cls(seen, journal, policy, now, roles, actual, settled, coming)

    @property
    def group(self) -> Group:
        return self.seen.group

    @property
    def memory(self) -> Memory:
        return self.journal.memory

    @property
    def desired(self) -> int:
        return self.actual - self.journal.surge

    @property
    def owed(self) -> int:
        return self.actual - self.roles.all_units

    @property
    def quiet(self) -> bool:
        """Nothing is on its way."""
        return not self.coming and self.owed <= 0


# ---- what to ask AWS for -------------------------------------------------------------------------------------------


def wants_health(s: Situation) -> bool:
    """Whether this poll should ask the target groups: only when their answer decides something."""
    if s.memory.ending.blind:
        return False
    if any(instance.state == IN_SERVICE for instance in s.coming):
        return True
    if s.memory.ending.state:
        return s.journal.surge > 0
    return s.quiet and bool(s.roles.old or s.memory.course.baked_since)


def wants_activities(s: Situation) -> bool:
    """Whether this poll should ask for scaling activities.

    They say why a launch did not show, why a new instance left, and who changed the desired capacity.
    """
    if sizes.is_unexplained(s.seen, s.journal, s.policy, s.now):
        return True
    ending = s.memory.ending
    if ending.blind:
        return False
    surge, old = s.journal.surge, s.roles.old_units
    if surge > 0 and (ending.state or old == 0 or (s.quiet and old <= surge)):
        return True  # the last of the surge is about to be given back: is it still the roll's?
    return not ending.state and (s.owed > 0 or bool(departed(s)))


def departed(s: Situation) -> list[str]:
    """New instances, proven ones too, that are gone or on their way out, and that this roll did not terminate."""
    new, members, terminated = s.memory.new, s.group.by_id, s.memory.old.terminated
    part = s.roles.part
    names = [name for name in new.coming if name not in part]
    if not new.proven <= part.keys():
        names += [name for name in new.proven if name not in part and name not in new.coming]
    return sorted(name for name in names if name not in terminated and (name not in members or members[name].leaving))


def found_dead(s: Situation) -> tuple[str, ...]:
    """New instances that the group found ended: why, only EC2 can say."""
    if s.memory.ending.blind or s.memory.ending.state or not s.seen.activities:
        return ()
    return tuple(n for n in departed(s) if wording.was_found_dead(wording.why_it_went(n, s.seen.activities)))


def wants_warm(s: Situation) -> bool:
    """Whether this poll should look into the warm pool."""
    if s.memory.ending.blind:
        return False
    if s.memory.ending.state:
        return took_back(s) and not s.memory.old.listed
    return s.group.warm_pool and not s.memory.writes.recycled


def took_back(s: Situation) -> bool:
    """Whether old instances went into the warm pool instead of ending, and nobody looked for them there yet."""
    memory = s.memory
    waits = s.group.reuses_warm and not memory.writes.recycled and not memory.ending.blind
    return waits and memory.ending.state in _ORDERLY and bool(memory.old.terminated)


# ---- what serves, and what the group launches ------------------------------------------------------------------------


def serving(seen: Observation) -> int:
    """How much capacity is in service and healthy everywhere, as far as this observation tells."""
    return units(i for i in seen.group.instances if i.counted and i.id not in seen.sick)


def serving_units(s: Situation, memory: Memory) -> int:
    """How much of the capacity that stays is in service and, as far as is known, healthy everywhere."""
    seen = s.seen
    out: set[str] = {*seen.sick} if seen.health is not None else {*seen.sick, *memory.new.coming}
    members = seen.group.by_id
    lame = [members[name] for name in out if name in members and name not in memory.old.terminated]
    return s.roles.all_units - units(instance for instance in lame if instance.counted)


def needs_pointing(group: Group, journal: Journal) -> bool:
    """Whether the group's template has to be written before anything is launched."""
    if journal.memory.writes.pointed_at:
        return False
    loose = any(template is not None and floating(template.version) for template in group.overrides.values())
    return loose or not journal.target.template.same(group.template)


def pinned_overrides(group: Group, journal: Journal) -> bool:
    """Whether overrides of the group have the numbers that the roll wrote in place of floating versions."""
    has = {name: group.overrides.get(name) for name in journal.floats(group)}
    return bool(has) and all(template is not None and not floating(template.version) for template in has.values())
