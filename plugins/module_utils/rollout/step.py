# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core: what a roll does next. Pure: values in, one step out.

remember() takes an observation into the journal's memory, next_step() decides. Both may be called with an observation
that is older than the roll's own last writes: what the roll did itself counts more than what AWS shows of it, because
descriptions lag behind.

The turn, in the group's units: ``old`` instances are due, ``surge`` of the desired capacity is ours, ``size`` may be
replaced together and ``slack`` may be missing. Then ``old - surge`` have still to be launched, so

    launch    = min(size, old - surge)
    terminate = min(old, surge + min(slack, launch))

and the surge becomes surge - terminate + launch. Where as many are terminated as launched, nothing is written but the
terminations: AWS launches a successor for each. What goes beyond is a change of the desired capacity: upwards one
write, downwards terminations that take the capacity with them, so that AWS never chooses a victim.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from ansible_collections.boring.fleet.plugins.module_utils.rollout import timing
from ansible_collections.boring.fleet.plugins.module_utils.rollout.journal import TAG_JOURNAL, decode, floating
from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    AZ_REBALANCE,
    IN_SERVICE,
    Activity,
    AskDelays,
    Beat,
    Drain,
    Drop,
    Failure,
    Finish,
    Forget,
    Group,
    Halt,
    Instance,
    Journal,
    Memory,
    Observation,
    Pair,
    Policy,
    Recycle,
    Resize,
    Restore,
    Resume,
    RolloutError,
    Shrink,
    Step,
    Suspend,
    Turn,
    Victim,
    Wait,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.plan import (
    Choice,
    Roles,
    batch_units,
    roles,
    stale,
    units,
)

_BEAT = 0.6  # the lock is renewed after this part of lock_timeout
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
    coming = tuple(instance for instance in parts.fresh if instance.id not in memory.proven)
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


def wants_health(group: Group, journal: Journal, policy: Policy, born: Mapping[str, float], now: float) -> bool:
    """Whether this poll should ask the target groups: only when their answer decides something."""
    memory = journal.memory
    view = survey(Observation(group, born=born), journal, policy, now)
    if any(instance.state == "InService" for instance in view.coming):
        return True
    if memory.ending:
        return journal.surge > 0
    return view.quiet and bool(view.roles.old or memory.baked_since)


def wants_activities(group: Group, journal: Journal, policy: Policy, born: Mapping[str, float], now: float) -> bool:
    """Whether this poll should ask for scaling activities: a launch did not show, or a new instance left."""
    memory = journal.memory
    if memory.ending:
        return False
    listed = {instance.id: instance for instance in group.instances}
    if any(name not in listed or listed[name].leaving for name in memory.coming):
        return True
    view = survey(Observation(group, born=born), journal, policy, now)
    return view.owed > 0


def wants_warm(group: Group, journal: Journal) -> bool:
    """Whether this poll should look into the warm pool."""
    memory = journal.memory
    if memory.ending:
        return _took_back(group, memory) and not memory.leaving
    return group.warm_pool and not memory.recycled


def _took_back(group: Group, memory: Memory) -> bool:
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
    now_serving = _serving(seen, view, memory)
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
    began = memory.began
    spare, widows, pairs = list(memory.spare), list(memory.widows), list(memory.pairs)
    progress = memory.progress_at
    looked = seen.health is not None
    for instance in view.roles.fresh:
        name = instance.id
        if name in proven and not looked and instance.in_service:
            continue
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
            # One that was proven before, and sick in between, has its place already.
            if not memory.trusting and all(pair.new != name for pair in pairs):
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
            began = {**began, name: memory.triggered_at or now}
        coming[name] = max(rank, best)
        verdicts[name] = verdict
    listed = {instance.id for instance in view.roles.fresh}
    for name, best in memory.coming.items():  # not listed among the new ones any more: see _left_early
        if name not in listed:
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
    listed = {instance.id: instance for instance in seen.group.instances}
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
    names = frozenset(instance.id for instance in seen.group.instances)
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
    listed = {instance.id: instance for instance in seen.group.instances}
    left = frozenset(name for name in memory.leaving if name in listed and not listed[name].left)
    if left == memory.leaving:
        return replace(memory, undrained=max(now - memory.gone[name] for name in left))
    newest = max(now - memory.gone[name] for name in memory.leaving - left)
    drain = timing.learn(memory.drain, memory.undrained, newest)
    return replace(memory, leaving=left, drain=drain, undrained=0.0, progress_at=now)


def serving(seen: Observation) -> int:
    """How much capacity is in service and healthy everywhere, as far as this observation tells."""
    return units(i for i in seen.group.instances if i.counted and not seen.verdict(i))


def _serving(seen: Observation, view: View, memory: Memory) -> int:
    parts = view.roles
    present = (*parts.old, *parts.kept, *parts.fresh)
    if seen.health is not None:
        return units(instance for instance in present if not seen.verdict(instance))
    return sum([i.weight for i in present if i.state == IN_SERVICE and i.healthy and i.id not in memory.coming])


# ---- deciding ------------------------------------------------------------------------------------------------------


def next_step(seen: Observation, journal: Journal, policy: Policy, now: float) -> Step:
    """What to do now."""
    memory = journal.memory
    if memory.lost:
        return Finish("aborted", f"the roll was taken over by {memory.lost}: nothing more is done here")
    view = survey(seen, journal, policy, now)
    if now >= next_beat(journal, policy):
        return Beat()
    if seen.group.status:
        return Finish("failed", f"the group {seen.group.name} is being deleted ({seen.group.status})")
    if memory.ending:
        return _wind_down(seen, journal, policy, view, now)
    if reason := _moved(seen.group, journal, policy, now):
        return Halt("superseded", reason)
    if reason := over_budget(journal, policy):
        return Halt("failed", reason)
    if journal.back and needs_pointing(seen.group, journal):
        return Turn(point=True)  # at once: until then AWS goes on launching what is being rolled back
    if memory.refusal and view.owed > 0:
        return Halt("failed", f"AWS refused to launch an instance: {memory.refusal}", (Failure("", memory.refusal),))
    parts = view.roles
    old = parts.old_units
    if AZ_REBALANCE in journal.suspended and not memory.suspended and parts.old:
        return Suspend((AZ_REBALANCE,))
    if journal.surge > old and (not old or seen.group.largest == 1):
        return _take_back(seen, journal, policy, view, now, by=journal.surge - old)
    baking = memory.baked_since > 0 and now - memory.baked_since < policy.bake_time and view.quiet
    # To be healthy for long enough is no lack of progress.
    proving = any(instance.id in memory.healthy_since for instance in view.coming)
    patience = policy.batch_timeout + (policy.min_healthy_time if proving else 0.0)
    waited = now - memory.progress_at > patience and not baking
    if waited and (late := _stuck(seen, journal, policy, view, now)):
        return late
    if seen.group.warm_pool and not memory.recycled:
        return _recycle(seen, journal, policy, now)
    if not view.quiet:
        return _wait_for_new_ones(journal, policy, view, now)
    if baking:
        until = timing.look_at(now, memory.baked_since + policy.bake_time, policy.poll_interval, policy.longest_poll)
        return Wait(until, "baking", tuple(instance.id for instance in parts.fresh) if policy.checked else ())
    if not parts.old:
        if parts.apart and not (policy.one_batch and memory.batches):
            return Turn(tuple(Victim(instance, apart=True) for instance in parts.apart))
        if needs_pointing(seen.group, journal) and not _floats(seen.group, journal):
            return Turn(point=True)
        return Halt("rolled_back" if journal.back else "advanced" if policy.one_batch else "completed", "")
    if policy.one_batch and memory.batches and not memory.open:
        return Halt("advanced", "")
    return _turn(seen, journal, policy, view, now)


def next_beat(journal: Journal, policy: Policy) -> float:
    """When the lock has to be renewed."""
    return journal.beat + policy.lock_timeout * _BEAT


def over_budget(journal: Journal, policy: Policy, more: int = 0) -> str:
    """Why no further failure is tolerated; "" while it is."""
    failures = journal.memory.failures
    count = journal.failed + len(failures) - journal.memory.forgiven + more
    if count <= policy.max_failures:
        return ""
    last = str(failures[-1]) if failures else "in an earlier run"
    return f"{count} new instance{'s' if count > 1 else ''} failed, max_failures is {policy.max_failures}; last {last}"


def needs_pointing(group: Group, journal: Journal) -> bool:
    """Whether the group's template has to be written before anything is launched."""
    if journal.memory.pointed_at:
        return False
    loose = any(template is not None and floating(template.version) for template in group.overrides.values())
    return loose or not journal.target.template.same(group.template)


def _moved(group: Group, journal: Journal, policy: Policy, now: float) -> str:
    """Whether somebody gave the group another template than the one that is being rolled out."""
    pointed = journal.memory.pointed_at
    if not pointed or now - pointed < policy.lag or journal.target.template.same(group.template):
        return ""
    has = group.template.label if group.template else "a mixed instances policy without a launch template"
    return f"somebody gave the group {has} while {journal.target.template.label} was being rolled out"


def _wait_for_new_ones(journal: Journal, policy: Policy, view: View, now: float) -> Wait:
    memory = journal.memory
    since = [memory.healthy_since.get(instance.id) for instance in view.coming]
    healthy = [moment for moment in since if moment is not None]
    probe = tuple(i.id for i in view.coming if i.id in memory.healthy_since) if policy.checked else ()
    if view.owed <= 0 and len(healthy) == len(since):
        due = max(healthy) + policy.min_healthy_time
        until = timing.look_at(now, due, policy.poll_interval, policy.longest_poll)
        return Wait(until, f"proving {len(since)} new", probe)
    until = timing.look_for(
        now, memory.triggered_at or memory.progress_at, memory.boot, policy.poll_interval, policy.longest_poll
    )
    return Wait(until, f"{len(since) - len(healthy) + max(0, view.owed)} new on the way", probe)


def _recycle(seen: Observation, journal: Journal, policy: Policy, now: float) -> Step:
    """Have the warm pool filled from what the group is to launch, or the roll would be given old instances."""
    if not journal.memory.ending and needs_pointing(seen.group, journal):
        return Turn(point=True)
    found = stale(seen, journal)
    if now - journal.memory.progress_at > policy.batch_timeout:
        names = ", ".join(instance.id for instance in found[:3])
        return Halt("failed", f"the warm pool still holds {names} after {policy.batch_timeout:g} s (batch_timeout)")
    return Recycle(found) if found else Wait(now + policy.poll_interval, "the warm pool is looked into")


def _stuck(seen: Observation, journal: Journal, policy: Policy, view: View, now: float) -> Step | None:
    """There was no progress for batch_timeout."""
    if any(instance.state == "Pending:Wait" for instance in view.coming):
        if journal.memory.delays is None:
            return AskDelays()
        if now - journal.memory.progress_at <= policy.batch_timeout + journal.memory.delays.launch:
            return None  # a lifecycle hook may take that long
    memory = journal.memory
    late = f"for {policy.batch_timeout:g} s (batch_timeout)"
    if view.coming:
        failures = tuple(
            Failure(instance.id, f"{memory.verdicts.get(instance.id) or 'was not proven'} {late}")
            for instance in view.coming
        )
        if over_budget(journal, policy, len(failures)):
            count = journal.failed + len(memory.failures) - memory.forgiven + len(failures)
            return Halt(
                "failed",
                f"{count} new instance{'s' if count > 1 else ''} failed, max_failures is {policy.max_failures}; "
                f"last {failures[-1]}",
                failures,
            )
        return Drop(view.coming, failures)
    if view.owed > 0:
        why = memory.shortage or "AWS gave no reason"
        return Halt("failed", f"no instance was launched {late}: {why}", (Failure("", why),))
    if view.roles.old:
        sick = [f"{i.id}: {why}" for i in view.roles.old if (why := seen.verdict(i))]
        return Halt("failed", f"no old instance could be spared {late}{': ' + '; '.join(sick[:3]) if sick else ''}")
    return None


def _turn(seen: Observation, journal: Journal, policy: Policy, view: View, now: float) -> Step:
    memory, parts, surge = journal.memory, view.roles, journal.surge
    old = parts.old_units
    size = batch_units(policy, seen.group, view.desired)
    proven = any(instance.id in memory.proven for instance in parts.fresh)
    if policy.canary and not proven and not journal.back:  # what is rolled back to, was proven once
        size = min(size, policy.canary * seen.group.largest)
    if seen.group.largest > 1:
        return _weighted_turn(seen, journal, policy, view, size)
    slack = policy.max_unavailable.of(view.desired)
    closing = policy.held and (memory.open or surge > 0)
    launch = 0 if closing else min(size, old - surge)
    leave = min(old, surge + min(slack, launch))
    # One that serves may go only as far as the others carry the load; one that does not serve anybody may go at once.
    sick = units(instance for instance in parts.old if seen.verdict(instance))
    spare = _serving(seen, view, memory) - (view.desired - slack)
    leave = max(0, min(leave, sick + max(0, spare)))
    launch = max(0, min(launch, size - (surge - leave)))
    leave = min(leave, surge + launch)
    grow = max(0, launch - leave)
    room = _room(seen.group, journal, policy, view)
    if room is not None and grow > room:
        grow = room
        launch = leave + grow
    if leave == 0 and launch == 0:
        why = "MaxSize leaves no room" if room == 0 else "old instances are needed until others are healthy"
        return Wait(now + policy.longest_poll, why)
    if grow and not view.settled:
        return Wait(now + policy.poll_interval, "AWS does not show the last change of the desired capacity yet")
    shrinking = max(0, leave - launch)
    following = min(size, old - leave) if closing and not policy.one_batch else launch
    choice = Choice(seen, parts.old, (*parts.fresh, *parts.kept), memory.draining)
    victims = choice.take(view.desired, leave, following)
    if policy.drained and (waiting := [v for v in victims if v.id not in memory.drained]):
        return Drain(tuple(waiting))
    named = name_successors(victims, memory, parts.fresh)
    after = surge - leave + launch
    max_to = (
        view.actual + grow if grow and view.actual + grow > user_max(seen.group, journal) + journal.headroom else None
    )
    resize = None
    if after != surge:
        own_max = user_max(seen.group, journal)
        headroom = max_to - own_max if max_to is not None else journal.headroom
        # A batch that takes its surge back at its end tells from the old ones how far that is (journal.settle).
        staying = old if closing or not policy.held else old - (leave - shrinking)
        resize = Resize(after, view.desired, staying, headroom, own_max)
    return Turn(
        victims=tuple(
            Victim(instance, successor, shrink=index < shrinking) for index, (instance, successor) in enumerate(named)
        ),
        launches=launch,
        grow_to=view.actual + grow if grow else None,
        max_to=max_to,
        point=needs_pointing(seen.group, journal),
        resize=resize,
        opens=policy.held and not closing,
        closes=closing,
    )


def _weighted_turn(seen: Observation, journal: Journal, policy: Policy, view: View, size: int) -> Step:
    """The turn where instances weigh differently.

    What AWS launches for a number of units cannot be known, so that there are two turns for each batch: raise the
    capacity; then, from what serves by now, let go as many as that carries, each together with its own weight.
    """
    memory, parts, surge = journal.memory, view.roles, journal.surge
    old = parts.old_units
    spare = _serving(seen, view, memory) - view.desired
    choice = Choice(seen, parts.old, (*parts.fresh, *parts.kept), memory.draining)
    room, victims = surge, list[Instance]()
    for dummy in parts.old:
        (instance,) = choice.take(view.desired, 1, 0)
        cost = 0 if seen.verdict(instance) else instance.weight
        if instance.weight <= room and cost <= spare:
            victims.append(instance)
            room -= instance.weight
            spare -= cost
    own_max = user_max(seen.group, journal)
    if victims:
        if policy.drained and (waiting := [v for v in victims if v.id not in memory.drained]):
            return Drain(tuple(waiting))
        resize = Resize(room, view.desired, old, journal.headroom, own_max)
        named = name_successors(victims, memory, parts.fresh)
        return Turn(tuple(Victim(*pair, shrink=True) for pair in named), resize=resize, closes=room == 0)
    grow = min(size, max(old - surge, 0)) or size
    room_left = _room(seen.group, journal, policy, view)
    if room_left is not None and grow > room_left:
        return Halt("failed", "MaxSize leaves no room for the next batch: raise MaxSize, or allow raise_max_size")
    grow_to = view.actual + grow
    max_to = grow_to if grow_to > own_max + journal.headroom else None
    headroom = max_to - own_max if max_to is not None else journal.headroom
    return Turn(
        launches=grow,
        grow_to=grow_to,
        max_to=max_to,
        point=needs_pointing(seen.group, journal),
        resize=Resize(surge + grow, view.desired, old, headroom, own_max),
        opens=True,
    )


def user_max(group: Group, journal: Journal) -> int:
    """MaxSize less what the roll raised it by; what the roll wrote itself may not show yet."""
    if journal.headroom and journal.max_size <= group.max <= journal.max_size + journal.headroom:
        return journal.max_size
    return group.max - journal.headroom


def _room(group: Group, journal: Journal, policy: Policy, view: View) -> int | None:
    """By how much the desired capacity may grow; None: by any number, because MaxSize may be raised."""
    return None if policy.raise_max_size else max(0, user_max(group, journal) - view.actual)


def name_successors(
    victims: Iterable[Instance], memory: Memory, fresh: Iterable[Instance]
) -> list[tuple[Instance, str]]:
    """Each victim with the proven instance that takes its place ("" none yet), of its own zone where there is one."""
    zones = {instance.id: instance.zone for instance in fresh}
    spare = [name for name in memory.spare if name in zones]
    named = []
    for victim in victims:
        successor = next((name for name in spare if zones[name] == victim.zone), spare[0] if spare else "")
        if successor:
            spare.remove(successor)
        named.append((victim, successor))
    return named


def _take_back(seen: Observation, journal: Journal, policy: Policy, view: View, now: float, *, by: int) -> Step:
    """Give up ``by`` of our own capacity: new instances that nobody needs, the least advanced first."""
    memory, parts = journal.memory, view.roles
    old = parts.old_units

    crowd = Counter(instance.zone for instance in (*parts.old, *parts.fresh, *parts.kept))

    def use(instance: Instance) -> tuple[int, bool, int, str]:
        """Least useful first; among equals one of the zone that holds most."""
        if instance.id in memory.proven:
            return (3, instance.id not in memory.spare, -crowd[instance.zone], instance.id)
        reached = memory.coming.get(instance.id, 0)
        return (reached, not seen.verdict(instance), -crowd[instance.zone], instance.id)

    # Launches that have not shown yet are given up first: writing the capacity down costs nobody an instance.
    unseen = min(by, max(0, view.owed))
    if unseen:
        if not view.settled or seen.at <= memory.triggered_at:  # AWS would choose who goes for a launch that it made
            return Wait(now + policy.poll_interval, "looking once more before the desired capacity is written")
        return Shrink(
            view.actual - unseen,
            Resize(journal.surge - unseen, view.desired, old, journal.headroom, user_max(seen.group, journal)),
        )
    # What AWS launched from something else is none of the new ones, but it came with our capacity.
    failed = {failure.instance_id for failure in memory.failures}
    ours = (*parts.fresh, *(instance for instance in parts.old if instance.id in failed))
    chosen: list[Instance] = []
    for instance in sorted(ours, key=use):
        if units(chosen) + instance.weight <= by:
            chosen.append(instance)
    if not chosen:
        if not view.settled:
            return Wait(now + policy.poll_interval, "AWS does not show the last change of the desired capacity yet")
        # Nobody of ours is left: somebody scaled in, and AWS took ours for it. The user's part is less by as much.
        # Nor does anybody of ours weigh so little.
        return Shrink(
            view.actual if parts.fresh and seen.group.largest == 1 else view.actual - by,
            Resize(journal.surge - by, view.desired, old, journal.headroom, user_max(seen.group, journal)),
        )
    chosen = _spare_the_healthy(seen, chosen, policy, view)
    taken = units(chosen)
    return Drop(
        tuple(chosen),
        resize=Resize(journal.surge - taken, view.desired, old, journal.headroom, user_max(seen.group, journal)),
    )


def _spare_the_healthy(seen: Observation, chosen: list[Instance], policy: Policy, view: View) -> list[Instance]:
    """Where the healthy ones among the chosen are needed, old ones that serve nobody go in their place."""
    if seen.health is None:
        return chosen
    parts = view.roles
    serving = units(i for i in (*parts.old, *parts.fresh, *parts.kept) if not seen.verdict(i))
    needed = view.desired - policy.max_unavailable.of(view.desired)
    sick = [instance for instance in parts.old if seen.verdict(instance) and instance not in chosen]
    for instance in reversed(chosen):  # the most useful first
        short = serving - units(i for i in chosen if not seen.verdict(i)) < needed
        other = next((i for i in sick if i.weight == instance.weight), None)
        if short and other is not None and not seen.verdict(instance):
            sick.remove(other)
            chosen = [other if i is instance else i for i in chosen]
    return chosen


def _wind_down(seen: Observation, journal: Journal, policy: Policy, view: View, now: float) -> Step:
    """Leave the group as it was found."""
    memory = journal.memory
    if journal.surge > 0:
        return _take_back(seen, journal, policy, view, now, by=journal.surge)
    raised = journal.headroom > 0
    pinned = journal.spec if journal.spec and _pinned(seen.group, journal, policy, now) else ""
    floats = journal.floats(seen.group) if pinned_overrides(seen.group, journal) else {}
    if (raised or pinned or floats) and not memory.restored:
        return Restore(user_max(seen.group, journal) if raised else None, pinned, floats)
    if memory.leaving and memory.ending in ("completed", "advanced", "rolled_back"):
        patience = policy.batch_timeout + (memory.delays.terminate if memory.delays else 0.0)
        if now - memory.progress_at > patience and memory.delays is None:
            return AskDelays()
        if now - memory.progress_at <= patience:
            since = max(memory.gone[name] for name in memory.leaving)
            until = timing.look_for(now, since, memory.drain, policy.poll_interval, policy.longest_poll)
            return Wait(until, f"{len(memory.leaving)} old draining")
        return Halt("failed", f"still terminating after {patience:g} s: {', '.join(sorted(memory.leaving))}")
    if _took_back(seen.group, memory):
        return _recycle(seen, journal, policy, now)
    if journal.suspended and not memory.resumed:
        return Resume(journal.suspended)
    return Forget()


def _floats(group: Group, journal: Journal) -> bool:
    """Whether the group launches the target by itself (and we never wrote the number that it stands for)."""
    if journal.memory.pointed_at:
        return False
    if journal.spec and (group.template is None or group.template.version == journal.spec):
        return True
    return journal.target.template.same(group.template)


def pinned_overrides(group: Group, journal: Journal) -> bool:
    """Whether overrides of the group have the numbers that we wrote in place of floating versions."""
    has = {name: group.overrides.get(name) for name in journal.floats(group)}
    return bool(has) and all(template is not None and not floating(template.version) for template in has.values())


def _pinned(group: Group, journal: Journal, policy: Policy, now: float) -> bool:
    """Whether the group has the number that we wrote; what somebody else wrote since stays."""
    pointed = journal.memory.pointed_at
    return journal.target.template.same(group.template) or (pointed > 0 and now - pointed < policy.lag)
