# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core: what a roll does next. Pure: values in, one step out.

observe.remember() has taken the observation into the journal's memory, next_step() decides.

The turn, in the group's units: ``old`` instances are due, ``surge`` of the desired capacity is ours, ``size`` may be
replaced together and ``slack`` may be missing. Then ``old - surge`` have still to be launched, so

    launch    = min(size, old - surge)
    terminate = min(old, surge + min(slack, launch))

and the surge becomes surge - terminate + launch. Where as many are terminated as launched, nothing is written but the
terminations: AWS launches a successor for each. What goes beyond is a change of the desired capacity: upwards one
write, downwards terminations that take the capacity with them, so that AWS never chooses a victim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ansible_collections.boring.fleet.plugins.module_utils.rollout import timing
from ansible_collections.boring.fleet.plugins.module_utils.rollout.journal import floating
from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    AZ_REBALANCE,
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
    Policy,
    Recycle,
    Resize,
    Restore,
    Resume,
    Shrink,
    Step,
    Suspend,
    Turn,
    Victim,
    Wait,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.observe import (
    View,
    needs_pointing,
    serving_units,
    survey,
    took_back,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.plan import (
    Choice,
    batch_units,
    stale,
    units,
)

_BEAT = 0.6  # the lock is renewed after this part of lock_timeout


def next_step(seen: Observation, journal: Journal, policy: Policy, now: float) -> Step:
    """What to do now."""
    memory = journal.memory
    if memory.lost:
        return Finish("aborted", f"the roll was taken over by {memory.lost}: nothing more is done here")
    view = survey(seen, journal, policy, now)
    if now >= next_beat(journal, policy) or memory.unsaved:
        return Beat()
    if seen.group.status:
        return Finish("failed", f"the group {seen.group.name} is being deleted ({seen.group.status})")
    if memory.ending:
        return _wind_down(seen, journal, policy, view, now)
    if reason := _moved(seen.group, journal, policy, now):
        return Halt("superseded", reason)
    if reason := over_budget(journal, policy):
        return Halt("failed", reason)
    if memory.capacity.puzzled_since:
        return Wait(now + policy.poll_interval, "somebody changed the desired capacity, and AWS has not said how")
    if needs_pointing(seen.group, journal) and (journal.back or not _floats(seen.group, journal)):
        return Turn(point=True)  # at once: until then AWS goes on launching what is being left
    if memory.refusal and view.owed > 0:
        return Halt("failed", f"AWS refused to launch an instance: {memory.refusal}", (Failure("", memory.refusal),))
    parts = view.roles
    old = parts.old_units
    if AZ_REBALANCE in journal.suspended and not memory.suspended and parts.old:
        return Suspend((AZ_REBALANCE,))
    if journal.surge > old and (not old or seen.group.largest == 1):
        return _take_back(seen, journal, policy, view, now, by=journal.surge - old)
    if memory.blocked and (old or not view.quiet):
        if now - memory.progress_at > policy.batch_timeout:
            return Halt("failed", f"{memory.blocked}, for {policy.batch_timeout:g} s (batch_timeout)")
        return Wait(now + policy.poll_interval, f"{memory.blocked}: waiting for somebody to resume it")
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
    memory = journal.memory
    late = f"for {policy.batch_timeout:g} s (batch_timeout)"
    hooked = [instance for instance in view.coming if instance.state == "Pending:Wait"]
    if hooked and memory.delays is None:
        return AskDelays()
    if memory.delays is not None and now - memory.progress_at > policy.batch_timeout + memory.delays.launch:
        hooked = []  # beyond this not even a heartbeat keeps a hook alive
    if memory.interrupted and not hooked:
        last = memory.taken[-1]
        return Halt("failed", f"no new instance was proven {late}, because they are taken away; last {last}", (last,))
    # While a launch hook has an instance, it is the hook's own timeout that counts, and AWS that watches it.
    late_ones = [instance for instance in view.coming if instance not in hooked]
    if late_ones:
        failures = tuple(
            Failure(instance.id, f"{memory.verdicts.get(instance.id) or 'was not proven'} {late}")
            for instance in late_ones
        )
        if over_budget(journal, policy, len(failures)):
            count = journal.failed + len(memory.failures) - memory.forgiven + len(failures)
            return Halt(
                "failed",
                f"{count} new instance{'s' if count > 1 else ''} failed, max_failures is {policy.max_failures}; "
                f"last {failures[-1]}",
                failures,
            )
        return Drop(tuple(late_ones), failures)
    if hooked:
        return None
    if view.owed > 0:
        why = memory.shortage or "AWS gave no reason"
        return Halt("failed", f"no instance was launched {late}: {why}", (Failure("", why),))
    if view.roles.old:
        sick = [f"{i.id}: {seen.sick[i.id]}" for i in view.roles.old if i.id in seen.sick]
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
    sick = units(seen.group.by_id[name] for name in seen.sick if parts.part.get(name) == "old")
    spare = serving_units(seen, view, memory) - (view.desired - slack)
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
    max_to = view.actual + grow if grow and view.actual + grow > journal.max_size + journal.headroom else None
    resize = None
    if after != surge:
        own_max = journal.max_size
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
    spare = serving_units(seen, view, memory) - view.desired
    choice = Choice(seen, parts.old, (*parts.fresh, *parts.kept), memory.draining)
    room, victims = surge, list[Instance]()
    for dummy in parts.old:
        (instance,) = choice.take(view.desired, 1, 0)
        cost = 0 if instance.id in seen.sick else instance.weight
        if instance.weight <= room and cost <= spare:
            victims.append(instance)
            room -= instance.weight
            spare -= cost
    own_max = journal.max_size
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


def _room(group: Group, journal: Journal, policy: Policy, view: View) -> int | None:
    """By how much the desired capacity may grow; None: by any number, because MaxSize may be raised."""
    return None if policy.raise_max_size else max(0, journal.max_size - view.actual)


def name_successors(
    victims: Iterable[Instance], memory: Memory, fresh: Iterable[Instance]
) -> list[tuple[Instance, str]]:
    """Each victim with the proven instance that takes its place ("" none yet), of its own zone where there is one."""
    zones = {instance.id: instance.zone for instance in fresh} if memory.spare else {}
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
        return (reached, instance.id not in seen.sick, -crowd[instance.zone], instance.id)

    # Launches that have not shown yet are given up first: writing the capacity down costs nobody an instance.
    unseen = min(by, max(0, view.owed))
    if unseen:
        if not view.settled or seen.at <= memory.triggered_at:  # AWS would choose who goes for a launch that it made
            return Wait(now + policy.poll_interval, "looking once more before the desired capacity is written")
        return Shrink(
            view.actual - unseen,
            Resize(journal.surge - unseen, view.desired, old, journal.headroom, journal.max_size),
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
            view.actual - by,
            Resize(journal.surge - by, view.desired, old, journal.headroom, journal.max_size),
        )
    chosen = _spare_the_healthy(seen, chosen, policy, view)
    taken = units(chosen)
    return Drop(
        tuple(chosen),
        resize=Resize(journal.surge - taken, view.desired, old, journal.headroom, journal.max_size),
    )


def _spare_the_healthy(seen: Observation, chosen: list[Instance], policy: Policy, view: View) -> list[Instance]:
    """Where the healthy ones among the chosen are needed, old ones that serve nobody go in their place."""
    if seen.health is None:
        return chosen
    parts = view.roles
    serving = units(i for i in (*parts.old, *parts.fresh, *parts.kept) if i.id not in seen.sick)
    needed = view.desired - policy.max_unavailable.of(view.desired)
    sick = [instance for instance in parts.old if instance.id in seen.sick and instance not in chosen]
    for instance in reversed(chosen):  # the most useful first
        short = serving - units(i for i in chosen if i.id not in seen.sick) < needed
        other = next((i for i in sick if i.weight == instance.weight), None)
        if short and other is not None and instance.id not in seen.sick:
            sick.remove(other)
            chosen = [other if i is instance else i for i in chosen]
    return chosen


def _wind_down(seen: Observation, journal: Journal, policy: Policy, view: View, now: float) -> Step:
    """Leave the group as it was found."""
    memory = journal.memory
    if journal.back and memory.cause and needs_pointing(seen.group, journal):
        return Turn(point=True)  # stopped on the way back from a failed roll, whose template is no way to leave a group
    if memory.capacity.puzzled_since:
        return Wait(now + policy.poll_interval, "somebody changed the desired capacity, and AWS has not said how")
    if journal.surge > 0:
        return _take_back(seen, journal, policy, view, now, by=journal.surge)
    raised = journal.headroom > 0
    pinned = journal.spec if journal.spec and _pinned(seen.group, journal, policy, now) else ""
    floats = journal.floats(seen.group) if pinned_overrides(seen.group, journal) else {}
    if (raised or pinned or floats) and not memory.restored:
        return Restore(journal.max_size if raised else None, pinned, floats)
    if memory.leaving and memory.ending in ("completed", "advanced", "rolled_back"):
        patience = policy.batch_timeout + (memory.delays.terminate if memory.delays else 0.0)
        if now - memory.progress_at > patience and memory.delays is None:
            return AskDelays()
        if now - memory.progress_at <= patience:
            since = max(memory.gone[name] for name in memory.leaving)
            until = timing.look_for(now, since, memory.drain, policy.poll_interval, policy.longest_poll)
            return Wait(until, f"{len(memory.leaving)} old draining")
    if took_back(seen.group, memory) and not memory.blind:
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
