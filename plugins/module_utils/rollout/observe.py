# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking in an observation: what the roll knows after it, and what it should ask for next. Pure.

An observation may be older than the roll's own last writes: what the roll did itself counts more than what AWS shows of
it, because descriptions lag behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from ansible_collections.boring.fleet.plugins.module_utils.rollout import timing
from ansible_collections.boring.fleet.plugins.module_utils.rollout.journal import TAG_JOURNAL, decode, floating
from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    Activity,
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
    Roles,
    roles,
    stale,
    units,
)

MISSED_POLLS = 2  # an instance that is not listed for so many polls is gone; one may be a stale answer


# What AWS says of launches that may succeed a little later
_PASSING = re.compile(
    r"insufficient\w*capacity|sufficient( [\w.-]+)? capacity|spot capacity|capacity-not-available"
    r"|rate exceeded|requestlimitexceeded|throttl|internal ?error|service ?unavailable",
    re.IGNORECASE,
)


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
    actual, settled = _actual(seen, memory, policy, now)
    parts = roles(seen, journal, policy)
    proven = memory.proven
    coming = tuple([instance for instance in parts.fresh if instance.id not in proven])
    return View(parts, actual - journal.surge, actual, settled, coming, actual - parts.all_units)


def _actual(seen: Observation, memory: Memory, policy: Policy, now: float) -> tuple[int, bool]:
    """The group's desired capacity, and whether what it shows can be trusted."""
    shown = seen.group.desired
    if not memory.written_at or (shown == memory.written_to and seen.at > memory.written_at):
        return shown, True
    low, high = memory.written_range
    if seen.at <= memory.written_at or (now - memory.written_at < policy.lag and low <= shown <= high):
        return memory.written_to, False
    return shown, True  # somebody else changed it


# ---- what to ask AWS for -------------------------------------------------------------------------------------------


def wants_health(view: View, journal: Journal) -> bool:
    """Whether this poll should ask the target groups: only when their answer decides something."""
    memory = journal.memory
    if any(instance.state == "InService" for instance in view.coming):
        return True
    if memory.ending:
        return journal.surge > 0
    return view.quiet and bool(view.roles.old or memory.baked_since)


def wants_activities(view: View, group: Group, journal: Journal) -> bool:
    """Whether this poll should ask for scaling activities: a launch did not show, or a new instance left."""
    memory = journal.memory
    if memory.ending:
        return False
    listed = group.by_id
    if any(name not in listed or listed[name].leaving for name in memory.coming):
        return True
    return view.owed > 0


def wants_warm(group: Group, journal: Journal) -> bool:
    """Whether this poll should look into the warm pool."""
    memory = journal.memory
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
    memory = _lock(seen.group, journal, policy, now)
    before = journal.memory
    view = survey(seen, journal, policy, now)
    if view.settled and view.desired < seen.group.min:
        # Somebody scaled in to where the user's part would be less than MinSize: what they took was ours.
        surge = max(0, view.actual - seen.group.min)
        journal = replace(journal, surge=surge, pending=surge)
        view = survey(seen, journal, policy, now)
    memory = _left_early(seen, journal, memory, view, now)
    memory = _new_ones(seen, memory, view, policy, now)
    memory = _launch_troubles(seen, journal, memory, view)
    memory = _strays(seen, journal, memory, view)
    memory = _old_ones(seen, memory, now)
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
    now_serving = serving_units(seen, view, memory)
    lowest = now_serving if memory.lowest is None else min(memory.lowest, now_serving)
    desired = view.desired if view.settled else journal.desired
    return replace(journal, desired=desired, memory=replace(memory, trusting=False, serving=now_serving, lowest=lowest))


def close_batch(memory: Memory, policy: Policy, now: float) -> Memory:
    """The memory after a held batch is complete."""
    return replace(memory, open=False, batches=memory.batches + 1, baked_since=now if policy.bake_time > 0 else 0.0)


def _lock(group: Group, journal: Journal, policy: Policy, now: float) -> Memory:
    memory = journal.memory
    value = group.tags.get(TAG_JOURNAL, "")
    if not value:
        if memory.lock_seen and now - journal.beat >= policy.lag:
            return replace(memory, lost="somebody who deleted the journal of this roll from the group's tags")
        return memory
    try:
        owner = decode(value).owner
    except RolloutError:
        return replace(memory, lost=f"somebody who overwrote the tag {TAG_JOURNAL}")
    if owner == journal.owner:
        return replace(memory, lock_seen=True, lost="")
    if memory.lock_seen or (now - journal.beat < policy.lag and owner != memory.heir_of):
        return replace(memory, lost=owner)
    return memory


def _new_ones(seen: Observation, memory: Memory, view: View, policy: Policy, now: float) -> Memory:
    """Follow new instances from launch to proof."""
    coming: dict[str, int] = {}
    since = dict(memory.healthy_since)
    verdicts: dict[str, str] = {}
    proven = set(memory.proven)
    began = dict(memory.began)
    spare, widows, pairs = list(memory.spare), list(memory.widows), list(memory.pairs)
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
        if rank > best:
            progress = now
        if name not in began:
            began[name] = memory.triggered_at or now
        coming[name] = max(rank, best)
        verdicts[name] = verdict
    for name, best in memory.coming.items():  # not listed among the new ones any more: see _left_early
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
        spare=tuple(spare),
        widows=tuple(widows),
        pairs=tuple(pairs),
        progress_at=progress,
    )


def _left_early(seen: Observation, journal: Journal, memory: Memory, view: View, now: float) -> Memory:
    """New instances that left before they were proven: failures, unless somebody scaled in."""
    listed = seen.group.by_id
    coming, missing = dict(memory.coming), dict(memory.missing)
    failures: list[Failure] = []
    scaled_in = view.settled and view.desired < journal.desired
    for name in memory.coming:
        instance = listed.get(name)
        if instance is not None and instance.counted:
            missing.pop(name, None)
            continue
        if name in memory.gone:
            del coming[name]
            continue
        if instance is None:
            missing[name] = missing.get(name, 0) + 1
            if missing[name] < MISSED_POLLS:
                continue
        elif not instance.leaving:
            continue  # somebody put it into Standby or detaches it: their business
        missing.pop(name, None)
        del coming[name]
        if not scaled_in:
            failures.append(Failure(name, _why_it_left(name, seen.activities, memory.verdicts.get(name, ""))))
    if coming == memory.coming and missing == memory.missing:
        return memory
    memory = replace(memory, coming=coming, missing=missing, failures=(*memory.failures, *failures))
    # AWS launches another one for each at about this time: a boot is counted from here.
    return replace(memory, triggered_at=now, unready=0.0) if failures else memory


def _why_it_left(name: str, activities: Iterable[Activity], verdict: str) -> str:
    for activity in activities:
        if activity.instance_id == name:
            return activity.message
    return f"left the group before it was proven{f', when {verdict}' if verdict else ''}"


def _launch_troubles(seen: Observation, journal: Journal, memory: Memory, view: View) -> Memory:
    """Launches that AWS refused since the roll began."""
    news = [activity for activity in seen.activities if activity.id not in memory.activities]
    if not news:
        return memory
    refused = [activity for activity in news if activity.launch and not activity.instance_id]
    if journal.back and needs_pointing(seen.group, journal):
        refused = []  # launches of what is being rolled back
    refusal, shortage = memory.refusal, memory.shortage
    waited_for = view.owed > 0 or bool(journal.refresh)  # what AWS wants to launch beyond the capacity, only it knows
    for activity in refused:
        if waiting_helps(activity.message):
            shortage = activity.message
        else:
            refusal = activity.message
    return replace(
        memory,
        activities=memory.activities | {activity.id for activity in news},
        refusal=refusal if waited_for else memory.refusal,
        shortage=shortage,
    )


def _strays(seen: Observation, journal: Journal, memory: Memory, view: View) -> Memory:
    """Instances that AWS launched from something else than the group has: replacing them would never end."""
    names = seen.group.by_id.keys()
    has = journal.target.template
    shown = has.same(seen.group.template)
    if names <= memory.listed:
        return memory if shown == memory.shown else replace(memory, shown=shown)
    failures: list[Failure] = []
    # The look before showed the group as it is to be, and did not show these yet.
    if memory.shown and shown and not memory.ending and not seen.group.warm_pool:
        failures = [
            Failure(
                instance.id,
                f"AWS launched it from {instance.template.label}, though the group is to launch {has.label}",
            )
            for instance in view.roles.old
            if instance.id not in memory.listed and instance.template is not None
        ]
    return replace(memory, listed=memory.listed | names, shown=shown, failures=(*memory.failures, *failures))


def waiting_helps(message: str) -> bool:
    """Whether a launch that AWS refused with this message may succeed later."""
    return bool(_PASSING.search(message)) and "Client.InternalError" not in message  # that is a key nobody may use


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
