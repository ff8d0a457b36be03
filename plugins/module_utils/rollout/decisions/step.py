# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core: what a roll does next. Pure: a situation in, one step out.

learning.remember() has taken the observation into the journal's memory, next_step() decides.

The turn, in the group's units: ``old`` instances are due, ``surge`` of the desired capacity is the roll's, ``size`` may
be replaced together and ``slack`` may be missing. Then ``old - surge`` have still to be launched, so

    launch    = min(size, old - surge)
    terminate = min(old, surge + min(slack, launch))

and the surge becomes surge - terminate + launch. Where as many are terminated as launched, nothing is written but the
terminations: AWS launches a successor for each. What goes beyond is a change of the desired capacity: upwards one
write, downwards terminations that take the capacity with them, so that AWS never chooses who goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import timing, unwinding
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.choice import Choice
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.plan import batch_units
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import units
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.situation import (
    Situation,
    needs_pointing,
    serving_units,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import AZ_REBALANCE, Instance
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Failure, Memory
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import (
    AskDelays,
    Beat,
    Drain,
    Drop,
    Finish,
    Halt,
    Resize,
    Step,
    Suspend,
    Turn,
    Victim,
    Wait,
)

_BEAT = 0.6  # the lock is renewed after this part of lock_timeout


def next_step(s: Situation) -> Step:
    """What to do now."""
    memory = s.memory
    if memory.lock.lost_to:
        return Finish("aborted", f"the roll was taken over by {memory.lock.lost_to}: nothing more is done here")
    if s.now >= next_beat(s.journal, s.policy) or memory.writes.unsaved:
        return Beat()
    if s.group.status:
        return Finish("failed", f"the group {s.group.name} is being deleted ({s.group.status})")
    if memory.ending.state:
        return unwinding.next_step(s)
    return _trouble(s) or _preparation(s) or _progress(s)


def _trouble(s: Situation) -> Step | None:
    """What ends the roll, or holds it up, whatever its course."""
    launches = s.memory.launches
    if reason := _moved(s):
        return Halt("superseded", reason)
    if reason := over_budget(s.journal, s.policy):
        return Halt("failed", reason)
    if s.memory.capacity.puzzled_since:
        return Wait(s.now + s.policy.poll_interval, unwinding.UNEXPLAINED)
    if needs_pointing(s.group, s.journal) and (s.journal.back or not _floats(s)):
        return Turn(point=True)  # at once: until then AWS goes on launching what is being left
    if launches.refusal and s.owed > 0:
        why = f"AWS refused to launch an instance: {launches.refusal}"
        return Halt("failed", why, (Failure("", launches.refusal),))
    return None


def _preparation(s: Situation) -> Step | None:
    """What comes before the next batch may be looked at."""
    memory, old, blocked = s.memory, s.roles.old_units, s.memory.launches.blocked
    if AZ_REBALANCE in s.journal.suspended and not memory.writes.suspended and s.roles.old:
        return Suspend((AZ_REBALANCE,))
    if s.journal.surge > old and (not old or s.group.largest == 1):
        return unwinding.take_back(s, by=s.journal.surge - old)
    if not blocked or (not old and s.quiet):
        return None
    if s.now - memory.course.progress_at > s.policy.batch_timeout:
        return Halt("failed", f"{blocked}, for {s.policy.batch_timeout:g} s (batch_timeout)")
    return Wait(s.now + s.policy.poll_interval, f"{blocked}: waiting for somebody to resume it")


def _progress(s: Situation) -> Step:
    """Wait for what is on its way, or do the next batch."""
    memory, parts = s.memory, s.roles
    baking = memory.course.baked_since > 0 and s.now - memory.course.baked_since < s.policy.bake_time and s.quiet
    # To be healthy for long enough is no lack of progress.
    proving = any(instance.id in memory.new.healthy_since for instance in s.coming)
    patience = s.policy.batch_timeout + (s.policy.min_healthy_time if proving else 0.0)
    waited = s.now - memory.course.progress_at > patience and not baking
    if waited and (late := _stuck(s)):
        return late
    if s.group.warm_pool and not memory.writes.recycled:
        return unwinding.recycle(s)
    if not s.quiet:
        return _wait_for_new_ones(s)
    if baking:
        until = timing.look_at(
            s.now, memory.course.baked_since + s.policy.bake_time, s.policy.poll_interval, s.policy.longest_poll
        )
        return Wait(until, "baking", tuple(instance.id for instance in parts.fresh) if s.policy.checked else ())
    if not parts.old:
        if parts.apart and not (s.policy.one_batch and memory.course.batches):
            return Turn(tuple(Victim(instance, apart=True) for instance in parts.apart))
        return Halt("rolled_back" if s.journal.back else "advanced" if s.policy.one_batch else "completed", "")
    if s.policy.one_batch and memory.course.batches and not memory.course.open:
        return Halt("advanced", "")
    return _turn(s)


def next_beat(journal: Journal, policy: Policy) -> float:
    """When the lock has to be renewed."""
    return journal.beat + policy.lock_timeout * _BEAT


def over_budget(journal: Journal, policy: Policy, more: Iterable[Failure] = ()) -> str:
    """Why no further failure is tolerated; "" while it is."""
    losses = journal.memory.losses
    failures = (*losses.failures, *more)
    count = journal.failed + len(failures) - losses.forgiven
    if count <= policy.max_failures:
        return ""
    last = str(failures[-1]) if failures else "in an earlier run"
    return f"{count} new instance{'s' if count > 1 else ''} failed, max_failures is {policy.max_failures}; last {last}"


def _moved(s: Situation) -> str:
    """Whether somebody gave the group another template than the one that is being rolled out."""
    pointed = s.memory.writes.pointed_at
    if not pointed or s.policy.may_be_late(pointed, s.now) or s.journal.target.template.same(s.group.template):
        return ""
    has = s.group.template.label if s.group.template else "a mixed instances policy without a launch template"
    return f"somebody gave the group {has} while {s.journal.target.template.label} was being rolled out"


def _wait_for_new_ones(s: Situation) -> Wait:
    memory = s.memory
    since = [memory.new.healthy_since.get(instance.id) for instance in s.coming]
    healthy = [moment for moment in since if moment is not None]
    probe = tuple(i.id for i in s.coming if i.id in memory.new.healthy_since) if s.policy.checked else ()
    if s.owed <= 0 and len(healthy) == len(since):
        due = max(healthy) + s.policy.min_healthy_time
        until = timing.look_at(s.now, due, s.policy.poll_interval, s.policy.longest_poll)
        return Wait(until, f"proving {len(since)} new", probe)
    until = timing.look_for(
        s.now,
        memory.launches.triggered_at or memory.course.progress_at,
        memory.launches.boot,
        s.policy.poll_interval,
        s.policy.longest_poll,
    )
    return Wait(until, f"{len(since) - len(healthy) + max(0, s.owed)} new on the way", probe)


def _stuck(s: Situation) -> Step | None:
    """There was no progress for batch_timeout."""
    memory = s.memory
    late = f"for {s.policy.batch_timeout:g} s (batch_timeout)"
    hooked = [instance for instance in s.coming if instance.state == "Pending:Wait"]
    if hooked and memory.delays is None:
        return AskDelays()
    if memory.delays is not None and s.now - memory.course.progress_at > s.policy.batch_timeout + memory.delays.launch:
        hooked = []  # beyond this not even a heartbeat keeps a hook alive
    if memory.losses.interrupted and not hooked:
        last = memory.losses.taken[-1]
        return Halt("failed", f"no new instance was proven {late}, because they are taken away; last {last}", (last,))
    # While a launch hook has an instance, it is the hook's own timeout that counts, and AWS that watches it.
    late_ones = [instance for instance in s.coming if instance not in hooked]
    if late_ones:
        failures = tuple(
            Failure(instance.id, f"{memory.new.verdicts.get(instance.id) or 'was not proven'} {late}")
            for instance in late_ones
        )
        if reason := over_budget(s.journal, s.policy, failures):
            return Halt("failed", reason, failures)
        return Drop(tuple(late_ones), failures)
    if hooked:
        return None
    if s.owed > 0:
        why = memory.launches.shortage or "AWS gave no reason"
        return Halt("failed", f"no instance was launched {late}: {why}", (Failure("", why),))
    if s.roles.old:
        sick = [f"{i.id}: {s.seen.sick[i.id]}" for i in s.roles.old if i.id in s.seen.sick]
        return Halt("failed", f"no old instance could be spared {late}{': ' + '; '.join(sick[:3]) if sick else ''}")
    return None


def _turn(s: Situation) -> Step:
    memory, parts, surge = s.memory, s.roles, s.journal.surge
    old = parts.old_units
    size = batch_units(s.policy, s.group, s.desired)
    proven = any(instance.id in memory.new.proven for instance in parts.fresh)
    if s.policy.canary and not proven and not s.journal.back:  # what is rolled back to, was proven once
        size = min(size, s.policy.canary * s.group.largest)
    if s.group.largest > 1:
        return _weighted_turn(s, size)
    slack = s.policy.max_unavailable.of(s.desired)
    closing = s.policy.held and (memory.course.open or surge > 0)
    launch = 0 if closing else min(size, old - surge)
    leave = min(old, surge + min(slack, launch))
    # One that serves may go only as far as the others carry the load; one that does not serve anybody may go at once.
    sick = units(s.group.by_id[name] for name in s.seen.sick if parts.part.get(name) == "old")
    spare = serving_units(s, memory) - (s.desired - slack)
    leave = max(0, min(leave, sick + max(0, spare)))
    launch = max(0, min(launch, size - (surge - leave)))
    leave = min(leave, surge + launch)
    grow = max(0, launch - leave)
    room = _room(s)
    if room is not None and grow > room:
        grow = room
        launch = leave + grow
    if leave == 0 and launch == 0:
        why = "MaxSize leaves no room" if room == 0 else "old instances are needed until others are healthy"
        return Wait(s.now + s.policy.longest_poll, why)
    if grow and not s.settled:
        return Wait(s.now + s.policy.poll_interval, "AWS does not show the last change of the desired capacity yet")
    shrinking = max(0, leave - launch)
    following = min(size, old - leave) if closing and not s.policy.one_batch else launch
    choice = Choice(s.seen, parts.old, (*parts.fresh, *parts.kept), memory.old.draining)
    victims = choice.take(s.desired, leave, following)
    if s.policy.drained and (waiting := [v for v in victims if v.id not in memory.old.drained]):
        return Drain(tuple(waiting))
    named = name_successors(victims, memory, parts.fresh)
    after = surge - leave + launch
    max_to = s.actual + grow if grow and s.actual + grow > s.journal.max_size + s.journal.headroom else None
    resize = None
    if after != surge:
        own_max = s.journal.max_size
        headroom = max_to - own_max if max_to is not None else s.journal.headroom
        # A batch that takes its surge back at its end tells from the old ones how far that is (sizes.settle).
        staying = old if closing or not s.policy.held else old - (leave - shrinking)
        resize = Resize(after, s.desired, staying, headroom, own_max)
    return Turn(
        victims=tuple(
            Victim(instance, successor, shrink=index < shrinking) for index, (instance, successor) in enumerate(named)
        ),
        launches=launch,
        grow_to=s.actual + grow if grow else None,
        max_to=max_to,
        point=needs_pointing(s.group, s.journal),
        resize=resize,
        opens=s.policy.held and not closing,
        closes=closing,
    )


def _weighted_turn(s: Situation, size: int) -> Step:
    """The turn where instances weigh differently.

    What AWS launches for a number of units cannot be known, so that there are two turns for each batch: raise the
    capacity; then, from what serves by now, let go as many as that carries, each together with its own weight.
    """
    memory, parts, surge = s.memory, s.roles, s.journal.surge
    old = parts.old_units
    spare = serving_units(s, memory) - s.desired
    choice = Choice(s.seen, parts.old, (*parts.fresh, *parts.kept), memory.old.draining)
    room, victims = surge, list[Instance]()
    for dummy in parts.old:
        (instance,) = choice.take(s.desired, 1, 0)
        cost = 0 if instance.id in s.seen.sick else instance.weight
        if instance.weight <= room and cost <= spare:
            victims.append(instance)
            room -= instance.weight
            spare -= cost
    own_max = s.journal.max_size
    if victims:
        if s.policy.drained and (waiting := [v for v in victims if v.id not in memory.old.drained]):
            return Drain(tuple(waiting))
        resize = Resize(room, s.desired, old, s.journal.headroom, own_max)
        named = name_successors(victims, memory, parts.fresh)
        return Turn(tuple(Victim(*pair, shrink=True) for pair in named), resize=resize, closes=room == 0)
    grow = min(size, max(old - surge, 0)) or size
    room_left = _room(s)
    if room_left is not None and grow > room_left:
        return Halt("failed", "MaxSize leaves no room for the next batch: raise MaxSize, or allow raise_max_size")
    grow_to = s.actual + grow
    max_to = grow_to if grow_to > own_max + s.journal.headroom else None
    headroom = max_to - own_max if max_to is not None else s.journal.headroom
    return Turn(
        launches=grow,
        grow_to=grow_to,
        max_to=max_to,
        point=needs_pointing(s.group, s.journal),
        resize=Resize(surge + grow, s.desired, old, headroom, own_max),
        opens=True,
    )


def _room(s: Situation) -> int | None:
    """By how much the desired capacity may grow; None: by any number, because MaxSize may be raised."""
    return None if s.policy.raise_max_size else max(0, s.journal.max_size - s.actual)


def name_successors(
    victims: Iterable[Instance], memory: Memory, fresh: Iterable[Instance]
) -> list[tuple[Instance, str]]:
    """Each victim with the proven instance that takes its place ("" none yet), of its own zone where there is one."""
    zones = {instance.id: instance.zone for instance in fresh} if memory.new.spare else {}
    spare = [name for name in memory.new.spare if name in zones]
    named = []
    for victim in victims:
        successor = next((name for name in spare if zones[name] == victim.zone), spare[0] if spare else "")
        if successor:
            spare.remove(successor)
        named.append((victim, successor))
    return named


def _floats(s: Situation) -> bool:
    """Whether the group launches the target by itself, and the roll never wrote the number that it stands for."""
    if s.memory.writes.pointed_at:
        return False
    has, spec = s.group.template, s.journal.spec
    if spec and (has is None or has.version == spec):
        return True
    return s.journal.target.template.same(has)
