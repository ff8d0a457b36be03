# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leaving the group as it was found: what a roll does next once it is to end, however it ends. Pure."""

from __future__ import annotations

from collections import Counter

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import timing
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.plan import stale
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import units
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.situation import (
    Situation,
    needs_pointing,
    pinned_overrides,
    took_back,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Instance
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import (
    AskDelays,
    Drop,
    Forget,
    Halt,
    Recycle,
    Resize,
    Restore,
    Resume,
    Shrink,
    Step,
    Turn,
    Wait,
)

UNEXPLAINED = "somebody changed the desired capacity, and AWS has not said how"


def next_step(s: Situation) -> Step:
    """Leave the group as it was found."""
    memory = s.memory
    if s.journal.back and memory.ending.cause and needs_pointing(s.group, s.journal):
        return Turn(point=True)  # stopped on the way back from a failed roll, whose template is no way to leave a group
    if memory.capacity.puzzled_since:
        return Wait(s.now + s.policy.poll_interval, UNEXPLAINED)
    if s.journal.surge > 0:
        return take_back(s, by=s.journal.surge)
    raised = s.journal.headroom > 0
    pinned = s.journal.spec if s.journal.spec and _pinned(s) else ""
    floats = s.journal.floats(s.group) if pinned_overrides(s.group, s.journal) else {}
    if (raised or pinned or floats) and not memory.writes.restored:
        return Restore(s.journal.max_size if raised else None, pinned, floats)
    if memory.old.listed and memory.ending.state in ("completed", "advanced", "rolled_back"):
        patience = s.policy.batch_timeout + (memory.delays.terminate if memory.delays else 0.0)
        if s.now - memory.course.progress_at > patience and memory.delays is None:
            return AskDelays()
        if s.now - memory.course.progress_at <= patience:
            since = max(memory.old.terminated[name] for name in memory.old.listed)
            until = timing.look_for(s.now, since, memory.old.leave, s.policy.poll_interval, s.policy.longest_poll)
            return Wait(until, f"{len(memory.old.listed)} old draining")
    if took_back(s):
        return recycle(s)
    if s.journal.suspended and not memory.writes.resumed:
        return Resume(s.journal.suspended)
    return Forget()


def _pinned(s: Situation) -> bool:
    """Whether the group has the number that the roll wrote; what somebody else wrote since stays."""
    late = s.policy.may_be_late(s.memory.writes.pointed_at, s.now)
    return s.journal.target.template.same(s.group.template) or late


def take_back(s: Situation, *, by: int) -> Step:
    """Give up ``by`` of the roll's own capacity: new instances that nobody needs, the least advanced first."""
    memory, parts = s.memory, s.roles
    old = parts.old_units

    crowd = Counter(instance.zone for instance in (*parts.old, *parts.fresh, *parts.kept))

    def use(instance: Instance) -> tuple[int, bool, int, str]:
        """Least useful first; among equals one of the zone that holds most."""
        if instance.id in memory.new.proven:
            return (3, instance.id not in memory.new.spare, -crowd[instance.zone], instance.id)
        reached = memory.new.coming.get(instance.id, 0)
        return (reached, instance.id not in s.seen.sick, -crowd[instance.zone], instance.id)

    # Launches that have not shown yet are given up first: writing the capacity down costs nobody an instance.
    unseen = min(by, max(0, s.owed))
    if unseen:
        # AWS would choose who goes for a launch that it made.
        if not s.settled or s.seen.at <= memory.launches.triggered_at:
            return Wait(s.now + s.policy.poll_interval, "looking once more before the desired capacity is written")
        return Shrink(
            s.actual - unseen,
            Resize(s.journal.surge - unseen, s.desired, old, s.journal.headroom, s.journal.max_size),
        )
    # What AWS launched from something else is none of the new ones, but it came with the roll's capacity.
    failed = {failure.instance_id for failure in memory.losses.failures}
    own = (*parts.fresh, *(instance for instance in parts.old if instance.id in failed))
    chosen: list[Instance] = []
    for instance in sorted(own, key=use):
        if units(chosen) + instance.weight <= by:
            chosen.append(instance)
    if not chosen:
        if not s.settled:
            return Wait(s.now + s.policy.poll_interval, "AWS does not show the last change of the desired capacity yet")
        # None of the roll's instances is left, because AWS took them when somebody scaled in; or none weighs so little.
        return Shrink(
            s.actual - by,
            Resize(s.journal.surge - by, s.desired, old, s.journal.headroom, s.journal.max_size),
        )
    chosen = _spare_the_healthy(s, chosen)
    taken = units(chosen)
    return Drop(
        tuple(chosen),
        resize=Resize(s.journal.surge - taken, s.desired, old, s.journal.headroom, s.journal.max_size),
    )


def _spare_the_healthy(s: Situation, chosen: list[Instance]) -> list[Instance]:
    """Where the healthy ones among the chosen are needed, old ones that serve nobody go in their place."""
    if s.seen.health is None:
        return chosen
    parts = s.roles
    serving = units(i for i in (*parts.old, *parts.fresh, *parts.kept) if i.id not in s.seen.sick)
    needed = s.desired - s.policy.max_unavailable.of(s.desired)
    sick = [instance for instance in parts.old if instance.id in s.seen.sick and instance not in chosen]
    for instance in reversed(chosen):  # the most useful first
        short = serving - units(i for i in chosen if i.id not in s.seen.sick) < needed
        other = next((i for i in sick if i.weight == instance.weight), None)
        if short and other is not None and instance.id not in s.seen.sick:
            sick.remove(other)
            chosen = [other if i is instance else i for i in chosen]
    return chosen


def recycle(s: Situation) -> Step:
    """Have the warm pool filled from what the group is to launch, or the roll would be given old instances."""
    if not s.memory.ending.state and needs_pointing(s.group, s.journal):
        return Turn(point=True)
    found = stale(s.seen, s.journal)
    if s.now - s.memory.course.progress_at > s.policy.batch_timeout:
        names = ", ".join(instance.id for instance in found[:3])
        return Halt("failed", f"the warm pool still holds {names} after {s.policy.batch_timeout:g} s (batch_timeout)")
    return Recycle(found) if found else Wait(s.now + s.policy.poll_interval, "the warm pool is looked into")
