# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll tells while it goes on: one event a change, for the terminal, the log and the report.

An event is a flat dict with ``time`` (unix seconds), ``group``, ``event`` (its kind) and mostly ``message`` (one line
for people). Kinds: plan, instance (``instance_id``, ``zone``, ``phase``, ``role``, ``template``, and ``since`` when it
boots), crowd (a line for many of these, which then have none), capacity (``serving``, ``desired``), turn, terminate,
drop, failure, wait, note, halt, finish (``result``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.plan import Plan
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import Roles
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Instance, Observation
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import Drop, Event, Halt, Turn, Wait

_ROLES = {"old": "old", "fresh": "new"}  # the others keep the one that they had
ERASED = (
    "the tag boring:rollout, in which the roll keeps its journal, is gone from the group: another tool that manages the "
    "group's tags may have deleted it"
)
_MANY = 4  # more that do the same at the same time have one line


class Narrator:
    """Turns observations and steps into events."""

    def __init__(self, emit: Callable[[Event], None], clock: Callable[[], float], group: str) -> None:
        self._emit = emit
        self._clock = clock
        self._group = group
        self._shown: dict[str, Instance] = {}
        self._instances: tuple[Instance, ...] = ()
        self._serial = 0
        self._phases: dict[str, str] = {}
        self._roles: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._capacity: tuple[int, int] | None = None
        self._failures = 0
        self._taken = 0
        self._waiting = ""
        self._due = 0
        self._left = 0

    def _tell(self, event: str, message: str = "", **data: Any) -> None:
        found: Event = {"time": round(self._clock(), 3), "group": self._group, "event": event}
        if message:
            found["message"] = message
        self._emit(found | data)

    def say(self, message: str) -> None:
        """A line for people."""
        self._tell("note", message)

    def started(self, plan: Plan, journal: Journal, policy: Policy, *, resumed: bool) -> None:
        sizes = "+".join(str(len(batch)) for batch in plan.batches[:12]) + ("+..." if len(plan.batches) > 12 else "")
        due = self._due = plan.due
        what = f"{due} to replace in batches of {sizes}, surge {plan.surge}" if due else "nothing left to replace"
        self._tell(
            "plan",
            f"{'taking up the roll' if resumed else 'rolling'} to {journal.target.template.label}: {what}",
            plan=plan.as_dict(),
            target=journal.target.template.label,
            max_unavailable=policy.max_unavailable.of(plan.before.desired),
        )

    def looked(self, seen: Observation, before: Journal, after: Journal, parts: Roles) -> None:
        """What an observation shows that was not known."""
        first = not self._phases
        self._follow(self._changed(seen, before, after), after, parts, first=first)
        self._miss(seen.group.by_id)
        self._report(before, after)
        if seen.health is not None:
            capacity = (after.memory.course.serving, after.desired)
            if capacity != self._capacity:
                self._capacity = capacity
                self._tell("capacity", serving=capacity[0], desired=capacity[1])

    def _changed(self, seen: Observation, before: Journal, after: Journal) -> list[Instance]:
        """Most are as they were: the same value, and in none of the roll's hands."""
        shown, listed, members = self._shown, seen.group.by_id, seen.group.members
        restless = {*before.memory.new.coming, *after.memory.new.coming, *after.memory.old.listed}
        if seen.group.instances is self._instances:
            names = sorted(listed.keys() & restless)
        elif members is not None and members.changed is not None and members.before == self._serial and shown:
            names = [name for name in sorted(restless.union(members.changed)) if name in listed]
        else:
            names = [name for name, i in listed.items() if shown.get(name) is not i or name in restless]
        self._instances, self._serial = seen.group.instances, members.serial if members else 0
        return [listed[name] for name in names]

    def _follow(self, changed: Iterable[Instance], after: Journal, parts: Roles, *, first: bool) -> None:
        """Each instance by its part and its phase."""
        memory = after.memory
        moved = []
        for instance in changed:
            self._shown[instance.id] = instance
            role = _ROLES.get(parts.part.get(instance.id, "")) or self._roles.get(instance.id, "kept")
            phase = _phase(instance, memory.new.coming, memory.old.terminated)
            if role == "new" and instance.id in memory.new.began:
                self._since.setdefault(instance.id, memory.new.began[instance.id])
            if self._phases.get(instance.id) != phase:
                moved.append((instance, role, phase))
            self._roles[instance.id] = role
        crowds = Counter(item[2] for item in moved)
        for instance, role, phase in moved:
            quiet = first or crowds[phase] > _MANY
            self._moved(instance, role, phase, memory.new.verdicts.get(instance.id, ""), quiet=quiet)
        if not first:
            self._crowds([item for item in moved if crowds[item[2]] > _MANY])

    def _miss(self, listed: Mapping[str, Instance]) -> None:
        """Those that are off the list."""
        left = [name for name in self._shown if name not in listed] if len(self._shown) > len(listed) else []
        for name in left:
            del self._shown[name]
            self._phases[name] = "gone"
            words = f"{name} is gone" if len(left) <= _MANY else ""
            self._tell("instance", words, instance_id=name, phase="gone", role=self._roles.get(name, ""))
        if len(left) > _MANY:
            self._tell("crowd", f"{len(left)} are gone")

    def _report(self, before: Journal, after: Journal) -> None:
        """What went wrong, and what others did."""
        was, memory = before.memory, after.memory
        for failure in memory.losses.failures[self._failures :]:
            self._tell("failure", f"failed: {failure}", instance_id=failure.instance_id, reason=failure.reason)
        self._failures = len(memory.losses.failures)
        for taken in memory.losses.taken[self._taken :]:
            self._tell("note", f"taken away, which is no failure of it: {taken}", instance_id=taken.instance_id)
        self._taken = len(memory.losses.taken)
        if memory.lock.erased > was.lock.erased:
            self._tell("note", f"{ERASED}: it is written anew")
        blocked, shortage = memory.launches.blocked, memory.launches.shortage
        if blocked != was.launches.blocked:
            self._tell("note", f"{blocked}: waiting for somebody to resume it" if blocked else "resumed")
        if (after.desired, after.max_size) != (before.desired, before.max_size) and was.lock.seen:
            self._tell("note", f"somebody changed the sizes: desired {after.desired}, max {after.max_size} from now on")
        if shortage and shortage != was.launches.shortage:
            self._tell("note", f"AWS could not launch yet: {shortage}")

    def _moved(self, instance: Instance, role: str, phase: str, verdict: str, *, quiet: bool) -> None:
        name = instance.id
        was = self._phases.get(name)
        self._phases[name] = phase
        now = self._clock()
        age = now - self._since.setdefault(name, now)
        line = {
            "booting": f"{name} launched in {instance.zone}",
            "warming": f"{name} in service, {verdict or 'healthy, being proven'}",
            "serving": f"{name} proven after {age:.0f} s" if was else f"{name} in service",
        }.get(phase, "")
        self._tell(
            "instance",
            "" if quiet else line,
            instance_id=name,
            zone=instance.zone,
            phase=phase,
            role=role,
            template=instance.template.version if instance.template else "",
            **({"since": round(self._since[name], 3)} if phase == "booting" else {}),
        )

    def _crowds(self, moved: Iterable[tuple[Instance, str, str]]) -> None:
        """One line for many that did the same: a big batch is to be read, not scrolled through."""
        crowds: dict[str, list[Instance]] = {}
        for item in moved:
            crowds.setdefault(item[2], []).append(item[0])
        for phase, many in crowds.items():
            ages = [self._clock() - self._since[instance.id] for instance in many]
            line = {
                "booting": f"{len(many)} launched in {', '.join(sorted({instance.zone for instance in many}))}",
                "warming": f"{len(many)} in service, being proven",
                "serving": f"{len(many)} proven after {min(ages):.0f} to {max(ages):.0f} s",
            }.get(phase)
            if line:
                self._tell("crowd", line)

    def turned(self, step: Turn, journal: Journal) -> None:
        known = [victim for victim in step.victims if victim.instance.id in journal.memory.old.terminated]
        for victim in known:
            self._leaves(victim.instance)
            self._left += 1
            took = f", {victim.successor} took its place" if victim.successor else ""
            words = f"{victim.instance.id} terminated{took} ({self._left} of {self._due})"
            self._tell("terminate", words if len(known) <= _MANY else "", instance_id=victim.instance.id)
        if len(known) > _MANY:
            self._tell("crowd", f"{len(known)} terminated ({self._left} of {self._due})")
        if step.launches:
            grown = f", desired capacity is {step.grow_to} for now" if step.grow_to is not None else ""
            raised = f", max size {step.max_to}" if step.max_to is not None else ""
            self._tell("turn", f"launching {step.launches}{grown}{raised}", launches=step.launches)
        elif step.point:
            self._tell("turn", f"the group now launches {journal.target.template.label}")

    def dropped(self, step: Drop) -> None:
        for instance in step.instances:
            self._leaves(instance)
            why = next((f.reason for f in step.failures if f.instance_id == instance.id), "not needed any more")
            self._tell("drop", f"{instance.id} given up: {why}", instance_id=instance.id, reason=why)
        self._failures += len(step.failures)

    def _leaves(self, instance: Instance) -> None:
        self._phases[instance.id] = "draining"
        self._tell(
            "instance",
            instance_id=instance.id,
            zone=instance.zone,
            phase="draining",
            role=self._roles.get(instance.id, ""),
            template=instance.template.version if instance.template else "",
        )

    def waiting(self, step: Wait) -> None:
        """An event only when it is for something else than before."""
        if step.why != self._waiting:
            self._waiting = step.why
            self._tell("wait", why=step.why, until=round(step.until, 3))

    def halted(self, step: Halt) -> None:
        self._failures += len(step.failures)
        if step.reason:
            self._tell("halt", f"stopping: {step.reason}", state=step.state, reason=step.reason)

    def finished(self, result: Mapping[str, Any], message: str, failed: bool) -> None:
        self._tell("finish", message, result=dict(result), failed=failed, state=result["state"])


def _phase(instance: Instance, coming: Mapping[str, int], gone: Mapping[str, float]) -> str:
    if instance.leaving or instance.id in gone:
        return "terminating" if instance.state.startswith(("Terminating:", "Terminated")) else "draining"
    if instance.state.startswith("Pending"):
        return "booting"
    if instance.id in coming:
        return "warming"
    return "serving"
