# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose capacity is it: the group's sizes as the user wants them, apart from what the roll added. Pure.

Others change the sizes while a roll is under way. What they write as a number wins to the digit, and the roll's surge is
gone with it; what they change by a difference (a policy, a termination that takes its place away) leaves the surge as it
is. The sentences of scaling activities say which it was. Where they say nothing, it was a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.wording import (
    CapacityChange,
    capacity_changes,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Group, Observation
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Capacity, Memory
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy

_PATIENCE = 3  # for so many poll intervals AWS may keep silent about a change of the desired capacity


def actual(seen: Observation, memory: Memory, policy: Policy, now: float) -> tuple[int, bool]:
    """The group's desired capacity, and whether what it shows can be trusted."""
    shown, capacity = seen.group.desired, memory.capacity
    if capacity.puzzled_since:
        return shown, False
    if not capacity.written_at or (shown == capacity.written_to and seen.at > capacity.written_at):
        return shown, True
    low, high = capacity.written_range
    late = policy.may_be_late(capacity.written_at, now) and low <= shown <= high and not _is_newer(seen.group, capacity)
    if seen.at <= capacity.written_at or late:
        return capacity.written_to, False
    return shown, True  # somebody else changed it


def _is_newer(group: Group, capacity: Capacity) -> bool:
    """Whether this description is from after the roll's last write, which is known where an instance left with it."""
    ended = group.by_id.get(capacity.written_with)
    return bool(capacity.written_with) and (ended is None or ended.leaving)


def is_unexplained(seen: Observation, journal: Journal, policy: Policy, now: float) -> bool:
    """Whether somebody else changed the desired capacity, as far as this observation tells."""
    memory = journal.memory
    plain = (
        replace(memory, capacity=replace(memory.capacity, puzzled_since=0.0))
        if memory.capacity.puzzled_since
        else memory
    )
    shown, settled = actual(seen, plain, policy, now)
    return settled and shown != journal.desired + journal.surge


def reconcile(seen: Observation, journal: Journal, policy: Policy, now: float) -> Journal:
    """The journal with the user's sizes as they are by now."""
    before = (journal.desired, journal.surge, journal.max_size, journal.headroom)
    journal = _bounds(seen.group, journal, policy, now)
    capacity = journal.memory.capacity
    if is_unexplained(seen, journal, policy, now):
        news = foreign(capacity_changes(seen.activities), journal)
        # The lower MaxSize may have shown in an earlier look: then the sentence says that the capacity was above it.
        above = max([before[2] + before[3], *(change.before for change in news[-1:] if change.is_update)])
        found = _explain(seen.group, journal, news) or _cut_off(seen.group, journal, above=above)
        waited = now - (capacity.puzzled_since or now)
        late = policy.may_be_late(capacity.written_at, now)
        if found is None and (waited < _PATIENCE * policy.poll_interval or late):
            return _with(journal, replace(capacity, puzzled_since=capacity.puzzled_since or now))
        journal = _accept(journal, found or (seen.group.desired, 0), news)
    else:
        if capacity.puzzled_since:
            journal = _with(journal, replace(capacity, puzzled_since=0.0))
        journal = _overlooked(seen, journal)
    total = journal.desired + journal.surge
    if journal.desired < seen.group.min:
        # The user's part is never less than MinSize: what was taken beyond it was the roll's.
        surge = max(0, total - seen.group.min)
        journal = replace(journal, desired=total - surge, surge=surge, pending=surge)
    if (journal.desired, journal.surge, journal.max_size, journal.headroom) != before:
        memory = journal.memory
        journal = replace(journal, memory=replace(memory, writes=replace(memory.writes, unsaved=True)))
    return journal


def _overlooked(seen: Observation, journal: Journal) -> Journal:
    """The journal when the capacity was changed between two looks and came back to what is expected, by a number."""
    news = foreign(capacity_changes(seen.activities), journal)
    found = _explain(seen.group, journal, news) if any(change.absolute for change in news) else None
    return journal if found is None else _accept(journal, found, news)


def _accept(journal: Journal, parts: tuple[int, int], news: Iterable[CapacityChange]) -> Journal:
    """The journal with the user's and the roll's part of the capacity that ``news`` leads to."""
    desired, surge = parts
    capacity = journal.memory.capacity
    heard = capacity.heard | {change.sentence for change in news}
    journal = replace(journal, desired=desired, surge=surge, pending=surge)
    return _with(journal, replace(capacity, heard=heard, puzzled_since=0.0, written_at=0.0))


def foreign(changes: Iterable[CapacityChange], journal: Journal) -> list[CapacityChange]:
    """The changes that are neither the roll's own nor accounted for."""
    memory, capacity = journal.memory, journal.memory.capacity
    return [
        change
        for change in changes
        if change.sentence not in capacity.heard
        and change.instance_id not in memory.old.terminated
        and not (change.is_update and (change.before, change.after) in capacity.own)
    ]


def _with(journal: Journal, capacity: Capacity) -> Journal:
    return replace(journal, memory=replace(journal.memory, capacity=capacity))


def _bounds(group: Group, journal: Journal, policy: Policy, now: float) -> Journal:
    """MaxSize: what it is other than the roll wrote it, is the user's."""
    capacity = journal.memory.capacity
    if group.max == journal.max_size + journal.headroom:
        return journal
    if policy.may_be_late(capacity.max_written_at, now) and group.max in capacity.max_shown:
        return journal
    return replace(journal, max_size=group.max, headroom=0, headroom_before=0)


def _explain(group: Group, journal: Journal, news: list[CapacityChange]) -> tuple[int, int] | None:
    """The user's and the roll's part of the desired capacity, if AWS's sentences lead to what is shown."""
    for start in range(len(news)):
        total, desired, surge = journal.desired + journal.surge, journal.desired, journal.surge
        for change in news[start:]:
            if not change.exact:
                total += change.difference
                desired += change.difference
            elif change.before != total:
                break
            else:
                total = change.after
                desired = total if change.absolute else desired + change.difference
                surge = 0 if change.absolute else surge
        else:
            # A number that is MaxSize too may be AWS's own doing: see _cut_off.
            doubtful = news[-1].is_update and journal.desired < group.desired == group.max
            if total == group.desired and not doubtful:
                return desired, surge
    return None


def _cut_off(group: Group, journal: Journal, *, above: int) -> tuple[int, int] | None:
    """The parts when a MaxSize that somebody lowered took the desired capacity with it: of the surge, no more."""
    total = journal.desired + journal.surge
    if group.desired == group.max < above and journal.desired < group.desired < total:
        return journal.desired, group.desired - journal.desired
    return None


def settle(
    journal: Journal, group: Group, old_now: int, changes: Iterable[CapacityChange] = (), in_doubt: int = 0
) -> Journal:
    """A journal that a killed run left, with ``surge``, ``desired`` and the bounds as they really are.

    A write that was under way happened or not. If the sizes are what one of the two leaves, that is the answer; where
    batches are ``held``, old instances that left since tell how far a shrinking got. Anything else was changed by
    somebody, and ``changes`` since the journal was written tell whether by a number or by a difference. Of these the first
    ``in_doubt`` are of the second in which it was written, so that it may know them already.
    """
    news = list(changes)
    found = (_left_surge(journal, group.desired, old_now, news[known:]) for known in range(in_doubt + 1))
    surge = next((left for left in found if left is not None), 0)
    desired = group.desired - surge
    if desired < group.min:
        surge = max(0, group.desired - group.min)
        desired = group.desired - surge
    raised = (journal.headroom, journal.headroom_before)
    headroom = next((room for room in raised if group.max == journal.max_size + room), 0)
    return replace(
        journal,
        surge=surge,
        pending=surge,
        desired=desired,
        headroom=headroom,
        headroom_before=headroom,
        max_size=group.max - headroom,
    )


def _left_surge(journal: Journal, shown: int, old_now: int, changes: list[CapacityChange]) -> int | None:
    """How much of the desired capacity is the roll's, after a kill; None when ``changes`` do not lead to what is shown."""
    own = (journal.desired + journal.surge, journal.desired + journal.pending)
    news = [change for change in changes if not (change.is_update and (change.before, change.after) == own)]
    shrinking = journal.held or journal.pending < journal.surge  # then its terminations look like anybody's
    differences = [change for change in news if not change.absolute and (change.exact or not shrinking)]
    numbers = [change for change in news if change.absolute]
    if numbers:  # what came before is overwritten
        since = [change for change in differences if change.at > numbers[-1].at]
        if numbers[-1].after + sum(change.difference for change in since) == shown:
            return 0
    by_others = sum(change.difference for change in differences)
    return _own(journal, shown - journal.desired - by_others, old_now)


def _own(journal: Journal, extra: int, old_now: int) -> int | None:
    """How much of ``extra`` units beyond the user's is the roll's; None when the roll cannot have left it so."""
    surge, pending = journal.surge, journal.pending
    if pending > surge:
        ended = max(0, journal.old - old_now) if journal.held else 0
        left = max(surge, pending - ended)
        fits = surge <= extra <= pending if journal.held else extra in (left, surge, pending)
        return extra if fits else None
    return extra if pending <= extra <= surge else None
