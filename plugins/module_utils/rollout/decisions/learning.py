# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking in an observation: what the roll knows after it. Pure.

An observation may be older than the roll's own last writes: what the roll did itself counts more than what AWS shows of
it, because descriptions lag behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import sizes, timing, wording
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.plan import NEEDED_PROCESSES, stale
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import Sorter
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.situation import (
    Situation,
    departed,
    needs_pointing,
    serving_units,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import decode, decode_record
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Group,
    Instance,
    Observation,
    RolloutError,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import (
    TAG_JOURNAL,
    TAG_RECORD,
    Journal,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import (
    Course,
    Failure,
    Launches,
    Leavers,
    Lock,
    Memory,
    Newcomers,
    Pair,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy

MISSED_POLLS = 2  # an instance that is not listed for so many polls is gone; one may be a stale answer
_AFTERGLOW = 120.0  # for so long EC2 may count an instance that Auto Scaling does not list any more
_ABORTED = "somebody who ran it with state=aborted"
_STALE = "somebody who found the lock stale, and deleted it at the end"


class Rank(IntEnum):
    """How far a new instance came."""

    LAUNCHED = 0
    IN_SERVICE = 1
    HEALTHY = 2


def remember(seen: Observation, journal: Journal, policy: Policy, now: float, sorter: Sorter) -> Journal:
    """The journal after this observation."""
    before, wanted = journal.memory, journal.desired
    journal = _lock(seen.group, journal, policy, now)
    journal = sizes.reconcile(seen, journal, policy, now)
    s = Situation.of(seen, journal, policy, now, sorter)
    memory = _lost(s, scaled_in=journal.desired < wanted or bool(s.memory.capacity.puzzled_since))
    memory = _new_ones(s, memory)
    memory = replace(memory, launches=_strays(s, _refusals(s, memory.launches)))
    memory = _failed_strays(s, before, memory)
    memory = _old_ones(s, memory)
    memory = _preconditions(s, memory)
    if seen.warm is not None and not memory.writes.recycled and not stale(seen, journal):
        memory = replace(memory, writes=replace(memory.writes, recycled=not needs_pointing(seen.group, journal)))
    memory = replace(memory, launches=_boots(s, memory))
    course = _course(s, before, memory)
    if course.progress_at > before.course.progress_at and memory.losses.interrupted:
        memory = replace(memory, losses=replace(memory.losses, interrupted=False))
    serving = serving_units(s, memory)
    lowest = serving if course.lowest is None else min(course.lowest, serving)
    course = replace(course, trusting=False, serving=serving, lowest=lowest)
    return replace(journal, memory=replace(memory, course=course))


def close_batch(course: Course, policy: Policy, now: float) -> Course:
    """The course after a held batch is complete."""
    return replace(course, open=False, batches=course.batches + 1, baked_since=now if policy.bake_time > 0 else 0.0)


# ---- whose roll it is ----------------------------------------------------------------------------------------------


def _lock(group: Group, journal: Journal, policy: Policy, now: float) -> Journal:
    """Whose the roll is, as the group's tags say."""
    memory, lock, unsaved = journal.memory, journal.memory.lock, journal.memory.writes.unsaved
    value = group.tags.get(TAG_JOURNAL, "")
    try:
        owner = decode(value).owner if value else ""
    except RolloutError:
        owner = ""  # damaged by somebody who is no roll
    record = decode_record(group.tags.get(TAG_RECORD, ""))
    aborted = record is not None and record.stopped >= journal.started and memory.ending.state != "aborted"
    if aborted and owner in ("", journal.owner):
        lock = replace(lock, lost_to=_ABORTED)
    elif owner == journal.owner:
        lock = replace(lock, seen=True, lost_to="")
    elif owner:
        if lock.seen or (policy.may_be_late(journal.beat, now) and owner != lock.taken_from):
            lock = replace(lock, lost_to=owner)
    elif now - journal.beat > policy.lock_timeout:
        lock = replace(lock, lost_to=_STALE)
    elif lock.seen or not policy.may_be_late(journal.beat, now):
        # Another tool that knows no better deleted it: this process knows what it owns, and writes it anew.
        lock, unsaved = Lock(erased=lock.erased + 1), True
    if lock is memory.lock and unsaved == memory.writes.unsaved:
        return journal
    return replace(journal, memory=replace(memory, lock=lock, writes=replace(memory.writes, unsaved=unsaved)))


# ---- new instances -------------------------------------------------------------------------------------------------


def _lost(s: Situation, *, scaled_in: bool) -> Memory:
    """New instances that are gone or on their way out, and whether that is a failure of what is rolled out."""
    memory = s.memory
    new, losses = memory.new, memory.losses
    names = departed(s)
    given_up = [name for name in new.coming if name in memory.old.terminated]
    if not names and not given_up and not new.missing:
        return memory
    missing: dict[str, int] = {}
    lost: dict[str, str] = {}
    for name in names:
        words = wording.why_it_went(name, s.seen.activities)
        if name not in s.group.by_id and not words and new.missing.get(name, 0) + 1 < MISSED_POLLS:
            missing[name] = new.missing.get(name, 0) + 1  # one look may be stale
        else:
            lost[name] = words
    failures, taken, inherited = [], [], list(losses.inherited)
    for name, words in lost.items():
        code = s.seen.ended.get(name, "")
        dead = wording.was_found_dead(words)
        if (dead and code and not wording.is_failure_code(code)) or (not dead and wording.is_others_doing(words)):
            taken.append(Failure(name, f"{words}{f' ({code})' if dead else ''}"))
            if name in new.coming:
                inherited.append(new.coming[name])
        elif not (scaled_in and not words):
            failures.append(Failure(name, words or _left_without_a_word(name, new)))
    ended = {*lost, *given_up}
    memory = replace(
        memory,
        new=replace(
            new,
            coming={name: rank for name, rank in new.coming.items() if name not in ended},
            proven=new.proven - lost.keys(),
            spare=tuple(name for name in new.spare if name not in lost),
            missing=missing,
        ),
        losses=replace(
            losses,
            failures=(*losses.failures, *failures),
            taken=(*losses.taken, *taken),
            interrupted=losses.interrupted or bool(taken),
            inherited=tuple(sorted(inherited)),
        ),
    )
    if failures or taken:
        # AWS launches another one for each at about this time: a boot is counted from here.
        memory = replace(memory, launches=replace(memory.launches, triggered_at=s.now, unready=0.0))
    return memory


def _left_without_a_word(name: str, new: Newcomers) -> str:
    if name in new.proven:
        return "left the group after it was proven"
    verdict = new.verdicts.get(name, "")
    return f"left the group before it was proven{f', when {verdict}' if verdict else ''}"


def _new_ones(s: Situation, memory: Memory) -> Memory:
    """Follow new instances from launch to proof."""
    new, old = memory.new, memory.old
    part, looked = s.roles.part, s.seen.health is not None
    relapsed = [s.group.by_id[n] for n in s.seen.sick if n in new.proven and part.get(n) == "fresh"]
    tracked = (*[instance for instance in s.coming if instance.id not in new.proven], *relapsed)
    if not tracked and not new.coming:
        return memory
    coming: dict[str, int] = {}
    since = dict(new.healthy_since)
    began, verdicts = dict(new.began), dict[str, str]()
    arrived, relapses, spare = list[str](), {instance.id for instance in relapsed}, new.spare
    inherited, progress = list(memory.losses.inherited), memory.course.progress_at
    for instance in tracked:
        name = instance.id
        verdict = _verdict(s, instance, new, looked=looked)
        if verdict is not None:
            if verdict:
                since.pop(name, None)
            else:
                since.setdefault(name, s.now)
        if name in since and looked and _is_proven(s, since[name]):
            arrived.append(name)
            progress = s.now
            continue
        rank = Rank.HEALTHY if name in since else Rank.IN_SERVICE if instance.in_service else Rank.LAUNCHED
        best = new.coming.get(name, -1)
        if name not in began:
            began[name] = memory.launches.triggered_at or s.now
            if inherited:  # it takes the place of one that was taken away: as far as that one came is no progress
                best = inherited.pop()
        if rank > best:
            progress = s.now
        coming[name] = max(rank, best)
        verdicts[name] = new.verdicts.get(name, "") if verdict is None else verdict
    if arrived and not memory.course.trusting:
        old, spare = _placed(s, old, new.spare, {name: began.get(name, s.now) for name in arrived})
    for name, best in new.coming.items():  # not listed among the new ones any more: see _lost
        if part.get(name) != "fresh":
            coming.setdefault(name, best)
            verdicts.setdefault(name, new.verdicts.get(name, ""))
            since.pop(name, None)
    return replace(
        memory,
        new=Newcomers(
            coming=coming,
            healthy_since={name: since[name] for name in coming if name in since},
            verdicts=verdicts,
            missing=new.missing,
            proven=(new.proven - relapses).union(arrived) if relapses or arrived else new.proven,
            spare=spare,
            began={name: began[name] for name in (*coming, *spare) if name in began},
        ),
        old=old,
        losses=replace(memory.losses, inherited=tuple(inherited)),
        course=replace(memory.course, progress_at=progress),
    )


def _placed(
    s: Situation, old: Leavers, spare: tuple[str, ...], began: Mapping[str, float]
) -> tuple[Leavers, tuple[str, ...]]:
    """Proven instances take the places of old ones that went before; the others are spare."""
    # One that was proven before, and sick in between, has its place already.
    placed = {pair.new for pair in old.pairs}.union(spare)
    news = [name for name in began if name not in placed]
    pairs = [Pair(left, name, round(s.now - began[name], 1)) for left, name in zip(old.unpaired, news, strict=False)]
    leavers = replace(old, unpaired=old.unpaired[len(pairs) :], pairs=(*old.pairs, *pairs))
    return leavers, (*spare, *news[len(pairs) :])


def _verdict(s: Situation, instance: Instance, new: Newcomers, *, looked: bool) -> str | None:
    """Why a new instance is not healthy, "" it is; None when this look does not tell."""
    if looked or not instance.in_service:
        return s.seen.verdict(instance)
    return None


def _is_proven(s: Situation, since: float) -> bool:
    return s.memory.course.trusting or s.now - since >= s.policy.min_healthy_time - 1e-6


# ---- launches ------------------------------------------------------------------------------------------------------


def _refusals(s: Situation, launches: Launches) -> Launches:
    """Launches that AWS refused since the roll began."""
    news = [activity for activity in s.seen.activities if activity.id not in launches.known]
    if not news:
        return launches
    refused = [activity for activity in news if wording.was_refused(activity)]
    if needs_pointing(s.group, s.journal) and not s.journal.refresh:
        refused = []  # launches of what is being left
    elif s.memory.writes.pointed_at:
        refused = [activity for activity in refused if activity.started >= int(s.memory.writes.pointed_at)]
    # EC2 counts instances until they are gone for good.
    old = s.memory.old
    ending = bool(old.listed) or any(s.now - at < _AFTERGLOW for at in old.terminated.values())
    refusal, shortage, zones = launches.refusal, launches.shortage, dict(launches.refused_zones)
    for activity in refused:
        words = wording.reason(activity)
        kind = wording.kind_of_refusal(words)
        if kind is wording.Refusal.ZONE:
            zones[activity.zone] = words
            if zones.keys() >= {*s.group.zones}:
                kind = wording.Refusal.FATAL
        elif kind is wording.Refusal.QUOTA and not ending:
            kind = wording.Refusal.FATAL
        if kind is wording.Refusal.FATAL:
            refusal = words
        else:
            shortage = words
    waited_for = s.owed > 0 or bool(s.journal.refresh)  # what AWS wants to launch beyond the capacity, only it knows
    return replace(
        launches,
        known=launches.known | {activity.id for activity in news},
        refusal=refusal if waited_for else launches.refusal,
        shortage=shortage,
        refused_zones=zones,
    )


def _strays(s: Situation, launches: Launches) -> Launches:
    """Which instances were ever listed, and whether the group shows what it is to launch."""
    names = s.group.by_id.keys()
    shown = s.journal.target.template.same(s.group.template)
    if names <= launches.listed:
        return launches if shown == launches.shown else replace(launches, shown=shown)
    return replace(launches, listed=launches.listed | names, shown=shown)


def _failed_strays(s: Situation, before: Memory, memory: Memory) -> Memory:
    """Instances that AWS launched from something else than the group has: replacing them would never end."""
    launches, pointed_at = before.launches, memory.writes.pointed_at
    if memory.launches.listed is launches.listed:
        return memory
    # The look before showed the group as it is to be, and did not show these yet. A launch that began just before the
    # group was pointed to what it is to run shows a little later.
    pointing = pointed_at and s.now - pointed_at <= 1.5 * s.policy.poll_interval
    if not (launches.shown and memory.launches.shown) or pointing or memory.ending.state or s.group.warm_pool:
        return memory
    label = s.journal.target.template.label
    failures = tuple(
        Failure(instance.id, f"AWS launched it from {instance.template.label}, though the group is to launch {label}")
        for instance in s.roles.old
        if instance.id not in launches.listed and instance.template is not None
    )
    return replace(memory, losses=replace(memory.losses, failures=(*memory.losses.failures, *failures)))


def _preconditions(s: Situation, memory: Memory) -> Memory:
    """A process that somebody suspended meanwhile, and without which the roll hangs."""
    suspended = s.group.suspended
    found = next((name for name in NEEDED_PROCESSES if name in suspended), "") if suspended else ""
    blocked = f"the process {found} of the group {s.group.name} is suspended ({suspended[found]})" if found else ""
    if blocked == memory.launches.blocked:
        return memory
    return replace(
        memory,
        launches=replace(memory.launches, blocked=blocked),
        course=replace(memory.course, progress_at=s.now),
    )


def _boots(s: Situation, memory: Memory) -> Launches:
    """How long boots take, as far as this look tells."""
    launches = memory.launches
    if not launches.triggered_at:
        return launches
    age = s.now - launches.triggered_at
    if s.owed > 0 or any(instance.id not in memory.new.healthy_since for instance in s.coming):
        return replace(launches, unready=age)
    if launches.unready >= 0:
        return replace(launches, boot=timing.learn(launches.boot, launches.unready, age), unready=-1.0)
    return launches


# ---- old instances, and the course of it all -----------------------------------------------------------------------


def _old_ones(s: Situation, memory: Memory) -> Memory:
    """Notice when terminated instances are off the list."""
    old = memory.old
    if not old.listed:
        return memory
    members = s.group.by_id
    left = frozenset(name for name in old.listed if name in members and not members[name].left)
    if left == old.listed:
        age = max(s.now - old.terminated[name] for name in left)
        return replace(memory, old=replace(old, still_listed=age))
    newest = max(s.now - old.terminated[name] for name in old.listed - left)
    leave = timing.learn(old.leave, old.still_listed, newest)
    return replace(
        memory,
        old=replace(old, listed=left, leave=leave, still_listed=0.0),
        course=replace(memory.course, progress_at=s.now),
    )


def _course(s: Situation, before: Memory, memory: Memory) -> Course:
    """Batches, bakes and progress."""
    course = memory.course
    if course.baked_since and (memory.new.proven != before.new.proven or s.owed > 0):
        course = replace(course, baked_since=s.now)  # a break: the bake begins anew
    if course.open and s.quiet and not memory.new.coming and s.journal.surge == 0:
        course = close_batch(course, s.policy, s.now)
    progress = course.progress_at or s.now
    if course.baked_since:
        progress = max(progress, min(s.now, course.baked_since + s.policy.bake_time))
    return course if progress == course.progress_at else replace(course, progress_at=progress)
