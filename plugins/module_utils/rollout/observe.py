# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking in an observation: what the roll knows after it, and what it should ask for next. Pure.

An observation may be older than the roll's own last writes: what the roll did itself counts more than what AWS shows of
it, because descriptions lag behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from ansible_collections.boring.fleet.plugins.module_utils.rollout import sizes, timing, wording
from ansible_collections.boring.fleet.plugins.module_utils.rollout.journal import (
    TAG_JOURNAL,
    TAG_RECORD,
    decode,
    decode_record,
    floating,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    Failure,
    Group,
    Instance,
    Journal,
    Memory,
    Observation,
    Pair,
    Policy,
    RolloutError,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.plan import (
    NEEDED_PROCESSES,
    Roles,
    roles,
    stale,
    units,
)

MISSED_POLLS = 2  # an instance that is not listed for so many polls is gone; one may be a stale answer
_AFTERGLOW = 120.0  # for so long EC2 may count an instance that Auto Scaling does not list any more


class Rank(IntEnum):
    """How far a new instance got."""

    LAUNCHED = 0
    IN_SERVICE = 1
    HEALTHY = 2


@dataclass(frozen=True, slots=True)
class View:
    """An observation in the light of the journal."""

    roles: Roles
    desired: int  # the user's
    actual: int  # the group's, surge included
    settled: bool  # the group shows our last write
    coming: tuple[Instance, ...]  # new, not proven
    owed: int  # launches that have not shown yet

    @property
    def quiet(self) -> bool:
        """Nothing is on its way."""
        return not self.coming and self.owed <= 0


def survey(seen: Observation, journal: Journal, policy: Policy, now: float) -> View:
    """Sort the instances, and tell the user's part of the desired capacity from ours."""
    memory = journal.memory
    actual, settled = sizes.actual(seen, memory, policy, now)
    parts = roles(seen, journal, policy)
    proven = memory.proven
    coming = tuple([instance for instance in parts.fresh if instance.id not in proven])
    return View(parts, actual - journal.surge, actual, settled, coming, actual - parts.all_units)


# ---- what to ask AWS for -------------------------------------------------------------------------------------------


def wants_health(view: View, journal: Journal) -> bool:
    """Whether this poll should ask the target groups: only when their answer decides something."""
    memory = journal.memory
    if memory.blind:
        return False
    if any(instance.state == "InService" for instance in view.coming):
        return True
    if memory.ending:
        return journal.surge > 0
    return view.quiet and bool(view.roles.old or memory.baked_since)


def wants_activities(view: View, seen: Observation, journal: Journal, policy: Policy, now: float) -> bool:
    """Whether this poll should ask for scaling activities.

    They say why a launch did not show, why a new instance left, and who changed the desired capacity.
    """
    memory = journal.memory
    if memory.blind:
        return False
    if sizes.is_unexplained(seen, journal, policy, now):
        return True
    return not memory.ending and (view.owed > 0 or bool(departed(seen.group, view, memory)))


def departed(group: Group, view: View, memory: Memory) -> list[str]:
    """New instances, proven ones too, that are not what they were and that this roll did not terminate."""
    members = group.by_id
    names = {*memory.coming, *(memory.proven - view.roles.part.keys())}
    return sorted(name for name in names if name not in memory.gone and (name not in members or members[name].leaving))


def found_dead(seen: Observation, journal: Journal, policy: Policy, now: float) -> tuple[str, ...]:
    """New instances that the group found ended: why, only EC2 can say."""
    memory = journal.memory
    if memory.blind or memory.ending or not seen.activities:
        return ()
    view = survey(seen, journal, policy, now)
    names = departed(seen.group, view, memory)
    return tuple(name for name in names if wording.was_found_dead(wording.why_it_went(name, seen.activities)))


def wants_warm(group: Group, journal: Journal) -> bool:
    """Whether this poll should look into the warm pool."""
    memory = journal.memory
    if memory.blind:
        return False
    if memory.ending:
        return took_back(group, memory) and not memory.leaving
    return group.warm_pool and not memory.recycled


def took_back(group: Group, memory: Memory) -> bool:
    """Whether old instances went into the warm pool instead of ending, and nobody looked for them there yet."""
    orderly = memory.ending in ("completed", "advanced", "rolled_back")
    return group.reuses_warm and not memory.recycled and orderly and bool(memory.gone)


# ---- taking in an observation --------------------------------------------------------------------------------------


def remember(seen: Observation, journal: Journal, policy: Policy, now: float) -> Journal:
    """The journal after this observation."""
    before = journal.memory
    wanted = journal.desired
    journal = replace(journal, memory=_lock(seen.group, journal, policy, now))
    journal = sizes.reconcile(seen, journal, policy, now)
    memory = journal.memory
    view = survey(seen, journal, policy, now)
    scaled_in = journal.desired < wanted or bool(memory.capacity.puzzled_since)
    memory = _lost(seen, memory, view, now, scaled_in=scaled_in)
    memory = _new_ones(seen, memory, view, policy, now)
    memory = _launch_troubles(seen, journal, memory, view, now)
    memory = _strays(seen, journal, memory, view, policy, now)
    memory = _old_ones(seen, memory, now)
    memory = _preconditions(seen.group, memory, now)
    if seen.warm is not None and not memory.recycled and not stale(seen, journal):
        memory = replace(memory, recycled=not needs_pointing(seen.group, journal))
    ready = view.owed <= 0 and all(instance.id in memory.healthy_since for instance in view.coming)
    if memory.triggered_at:
        age = now - memory.triggered_at
        if not ready:
            memory = replace(memory, unready=age)
        elif memory.unready >= 0:
            memory = replace(memory, boot=timing.learn(memory.boot, memory.unready, age), unready=-1.0)
    if memory.baked_since and (memory.proven != before.proven or view.owed > 0):
        memory = replace(memory, baked_since=now)  # a break: the bake begins anew
    if memory.open and view.quiet and not memory.coming and journal.surge == 0:
        memory = close_batch(memory, policy, now)
    if memory.progress_at == 0.0:
        memory = replace(memory, progress_at=now)
    if memory.baked_since:
        memory = replace(memory, progress_at=max(memory.progress_at, min(now, memory.baked_since + policy.bake_time)))
    if memory.progress_at > before.progress_at and memory.interrupted:
        memory = replace(memory, interrupted=False)
    now_serving = serving_units(seen, view, memory)
    lowest = now_serving if memory.lowest is None else min(memory.lowest, now_serving)
    return replace(journal, memory=replace(memory, trusting=False, serving=now_serving, lowest=lowest))


def close_batch(memory: Memory, policy: Policy, now: float) -> Memory:
    """The memory after a held batch is complete."""
    return replace(memory, open=False, batches=memory.batches + 1, baked_since=now if policy.bake_time > 0 else 0.0)


def _lock(group: Group, journal: Journal, policy: Policy, now: float) -> Memory:
    """Whose the roll is, as the group's tags say."""
    memory = journal.memory
    value = group.tags.get(TAG_JOURNAL, "")
    try:
        owner = decode(value).owner if value else ""
    except RolloutError:
        owner = ""  # damaged by somebody who is no roll
    record = decode_record(group.tags.get(TAG_RECORD, ""))
    stopped = record is not None and record.stopped >= journal.started and memory.ending != "aborted"
    if stopped and owner in ("", journal.owner):
        return replace(memory, lost="somebody who ran it with state=aborted")
    if owner == journal.owner:
        return replace(memory, lock_seen=True, lost="")
    if not owner:
        return _without_journal(group, journal, policy, now)
    if memory.lock_seen or (now - journal.beat < policy.lag and owner != memory.heir_of):
        return replace(memory, lost=owner)
    return memory


def _without_journal(group: Group, journal: Journal, policy: Policy, now: float) -> Memory:
    """The tag is not there: not yet, or somebody who ended this roll deleted it, or another tool that knows no better."""
    memory = journal.memory
    if now - journal.beat > policy.lock_timeout:
        return replace(memory, lost="somebody who found the lock stale, and deleted it at the end")
    if memory.lock_seen or now - journal.beat >= policy.lag:
        return replace(memory, lock_seen=False, unsaved=True, erased=memory.erased + 1)
    return memory


def _preconditions(group: Group, memory: Memory, now: float) -> Memory:
    """A process that somebody suspended meanwhile, and without which the roll hangs."""
    found = next((name for name in NEEDED_PROCESSES if name in group.suspended), "")
    blocked = f"the process {found} of the group {group.name} is suspended ({group.suspended[found]})" if found else ""
    if blocked == memory.blocked:
        return memory
    return replace(memory, blocked=blocked, progress_at=now)


def _new_ones(seen: Observation, memory: Memory, view: View, policy: Policy, now: float) -> Memory:
    """Follow new instances from launch to proof."""
    coming: dict[str, int] = {}
    since = dict(memory.healthy_since)
    verdicts: dict[str, str] = {}
    proven = set(memory.proven)
    began = dict(memory.began)
    spare, widows, pairs = list(memory.spare), list(memory.widows), list(memory.pairs)
    inherited = list(memory.inherited)
    placed: set[str] | None = None
    progress = memory.progress_at
    looked = seen.health is not None
    part = view.roles.part
    relapsed = [n for n in seen.sick if n in memory.proven and part.get(n) == "fresh"]
    for instance in (*view.coming, *(seen.group.by_id[name] for name in relapsed)):
        name = instance.id
        verdict = seen.verdict(instance) if looked or not instance.in_service else memory.verdicts.get(name, "")
        if looked or not instance.in_service:
            if verdict:
                since.pop(name, None)
                proven.discard(name)
            else:
                since.setdefault(name, now)
        if name in proven:
            continue
        if name in since and looked and (memory.trusting or now - since[name] >= policy.min_healthy_time - 1e-6):
            proven.add(name)
            progress = now
            if placed is None:
                placed = {pair.new for pair in memory.pairs}
            # One that was proven before, and sick in between, has its place already.
            if not memory.trusting and name not in placed:
                if widows:
                    pairs.append(Pair(widows.pop(0), name, round(now - began.get(name, now), 1)))
                elif name not in spare:
                    spare.append(name)
            continue
        rank = Rank.HEALTHY if name in since else Rank.IN_SERVICE if instance.in_service else Rank.LAUNCHED
        best = memory.coming.get(name, -1)
        if name not in began:
            began[name] = memory.triggered_at or now
            if inherited:  # it takes the place of one that was taken away: as far as that one came is no progress
                best = inherited.pop()
        if rank > best:
            progress = now
        coming[name] = max(rank, best)
        verdicts[name] = verdict
    for name, best in memory.coming.items():  # not listed among the new ones any more: see _lost
        if part.get(name) != "fresh":
            coming.setdefault(name, best)
            verdicts.setdefault(name, memory.verdicts.get(name, ""))
            since.pop(name, None)
    return replace(
        memory,
        coming=coming,
        healthy_since=since,
        verdicts=verdicts,
        proven=memory.proven if proven == memory.proven else frozenset(proven),
        began=began,
        inherited=tuple(inherited),
        spare=tuple(spare),
        widows=tuple(widows),
        pairs=tuple(pairs),
        progress_at=progress,
    )


def _lost(seen: Observation, memory: Memory, view: View, now: float, *, scaled_in: bool) -> Memory:
    """New instances that are gone or on their way out, and whether that is a failure of what is rolled out."""
    names = departed(seen.group, view, memory)
    known = {*memory.coming, *memory.proven}
    away = [name for name in memory.coming if name in memory.gone]  # given up by this roll
    if not names and not away and not memory.missing:
        return memory
    members, missing = seen.group.by_id, {}
    lost: dict[str, str] = {}
    for name in names:
        words = wording.why_it_went(name, seen.activities)
        if name not in members and not words and memory.missing.get(name, 0) + 1 < MISSED_POLLS:
            missing[name] = memory.missing.get(name, 0) + 1  # one look may be stale
        elif name in known:
            lost[name] = words
    failures, taken, inherited = [], [], list(memory.inherited)
    for name, words in lost.items():
        code = seen.ended.get(name, "")
        dead = wording.was_found_dead(words)
        if (dead and code and not wording.is_failure_code(code)) or (not dead and wording.is_others_doing(words)):
            taken.append(Failure(name, f"{words}{f' ({code})' if dead else ''}"))
            if name in memory.coming:
                inherited.append(memory.coming[name])
        elif not (scaled_in and not words):
            failures.append(Failure(name, words or _left_without_a_word(name, memory)))
    ended = {*lost, *away}
    memory = replace(
        memory,
        coming={name: rank for name, rank in memory.coming.items() if name not in ended},
        proven=memory.proven - lost.keys(),
        spare=tuple(name for name in memory.spare if name not in lost),
        missing=missing,
        failures=(*memory.failures, *failures),
        taken=(*memory.taken, *taken),
        interrupted=memory.interrupted or bool(taken),
        inherited=tuple(sorted(inherited)),
    )
    # AWS launches another one for each at about this time: a boot is counted from here.
    return replace(memory, triggered_at=now, unready=0.0) if failures or taken else memory


def _left_without_a_word(name: str, memory: Memory) -> str:
    if name in memory.proven:
        return "left the group after it was proven"
    verdict = memory.verdicts.get(name, "")
    return f"left the group before it was proven{f', when {verdict}' if verdict else ''}"


def _launch_troubles(seen: Observation, journal: Journal, memory: Memory, view: View, now: float) -> Memory:
    """Launches that AWS refused since the roll began."""
    news = [activity for activity in seen.activities if activity.id not in memory.activities]
    if not news:
        return memory
    refused = [activity for activity in news if wording.was_refused(activity)]
    if needs_pointing(seen.group, journal) and not journal.refresh:
        refused = []  # launches of what is being left
    elif memory.pointed_at:
        refused = [activity for activity in refused if activity.started >= int(memory.pointed_at)]
    # EC2 counts instances until they are gone for good.
    ending = bool(memory.leaving) or any(now - at < _AFTERGLOW for at in memory.gone.values())
    refusal, shortage, zones = memory.refusal, memory.shortage, dict(memory.refused_zones)
    for activity in refused:
        words = wording.reason(activity)
        kind = wording.kind_of_refusal(words)
        if kind is wording.Refusal.ZONE:
            zones[activity.zone] = words
            if zones.keys() >= {*seen.group.zones}:
                kind = wording.Refusal.FATAL
        elif kind is wording.Refusal.QUOTA and not ending:
            kind = wording.Refusal.FATAL
        if kind is wording.Refusal.FATAL:
            refusal = words
        else:
            shortage = words
    waited_for = view.owed > 0 or bool(journal.refresh)  # what AWS wants to launch beyond the capacity, only it knows
    return replace(
        memory,
        activities=memory.activities | {activity.id for activity in news},
        refusal=refusal if waited_for else memory.refusal,
        shortage=shortage,
        refused_zones=zones,
    )


def _strays(seen: Observation, journal: Journal, memory: Memory, view: View, policy: Policy, now: float) -> Memory:
    """Instances that AWS launched from something else than the group has: replacing them would never end."""
    names = seen.group.by_id.keys()
    has = journal.target.template
    shown = has.same(seen.group.template)
    if names <= memory.listed:
        return memory if shown == memory.shown else replace(memory, shown=shown)
    failures: list[Failure] = []
    # The look before showed the group as it is to be, and did not show these yet. A launch that began just before the
    # group was pointed to what it is to run shows later.
    pointing = memory.pointed_at and now - memory.pointed_at <= 1.5 * policy.poll_interval
    if memory.shown and shown and not pointing and not memory.ending and not seen.group.warm_pool:
        failures = [
            Failure(
                instance.id,
                f"AWS launched it from {instance.template.label}, though the group is to launch {has.label}",
            )
            for instance in view.roles.old
            if instance.id not in memory.listed and instance.template is not None
        ]
    return replace(memory, listed=memory.listed | names, shown=shown, failures=(*memory.failures, *failures))


def _old_ones(seen: Observation, memory: Memory, now: float) -> Memory:
    """Notice when terminated instances are off the list."""
    if not memory.leaving:
        return memory
    listed = seen.group.by_id
    left = frozenset(name for name in memory.leaving if name in listed and not listed[name].left)
    if left == memory.leaving:
        return replace(memory, undrained=max(now - memory.gone[name] for name in left))
    newest = max(now - memory.gone[name] for name in memory.leaving - left)
    drain = timing.learn(memory.drain, memory.undrained, newest)
    return replace(memory, leaving=left, drain=drain, undrained=0.0, progress_at=now)


def serving(seen: Observation) -> int:
    """How much capacity is in service and healthy everywhere, as far as this observation tells."""
    return units(i for i in seen.group.instances if i.counted and i.id not in seen.sick)


def serving_units(seen: Observation, view: View, memory: Memory) -> int:
    """How much of the capacity that stays is in service and, as far as is known, healthy everywhere."""
    out: set[str] = {*seen.sick} if seen.health is not None else {*seen.sick, *memory.coming}
    members = seen.group.by_id
    lame = [members[name] for name in out if name in members and name not in memory.gone]
    return view.roles.all_units - units(instance for instance in lame if instance.counted)


def needs_pointing(group: Group, journal: Journal) -> bool:
    """Whether the group's template has to be written before anything is launched."""
    if journal.memory.pointed_at:
        return False
    loose = any(template is not None and floating(template.version) for template in group.overrides.values())
    return loose or not journal.target.template.same(group.template)
