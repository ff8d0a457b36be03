# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before a roll: what is there, what is to be done, and what stands against it. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import floor

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import preferences
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.plan import Plan, make_plan
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import Sorter
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.sizes import settle
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import (
    decode,
    decode_record,
    floating,
    named,
    too_long,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.wording import (
    capacity_changes,
    shrunk_by_terminations,
    subject,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.destination import (
    Destination,
    Destinations,
    merged_pins,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import MOST_ACTIVITIES, Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.owner import Owner
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    AZ_REBALANCE,
    Group,
    Observation,
    RolloutError,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import (
    NEW_REFRESH,
    TAG_JOURNAL,
    TAG_RECORD,
    Journal,
    OwnVersions,
    Record,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Memory
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match, Policy, Request, Target

_DAY = 86400.0  # for how long a roll by age, or of all, that was left unfinished is taken up again


@dataclass(frozen=True)
class Opening:
    """All that is known before the first write."""

    seen: Observation
    journal: Journal
    left: Journal | None  # of a roll that was left behind, or is under way
    record: Record | None  # of the last roll
    plan: Plan
    moves: bool  # the group is to get another template
    recorded: Record  # of this roll, if it is a new one
    warnings: tuple[str, ...] = ()
    heard: frozenset[str] = frozenset()  # AWS's sentences about changes of the capacity that are accounted for

    @property
    def idle(self) -> bool:
        """There is nothing to do."""
        return not self.plan.due and not self.moves and self.left is None


class Opener:
    """Looks at a group and makes the plan."""

    def __init__(
        self,
        cloud: Cloud,
        request: Request,
        policy: Policy,
        *,
        clock: Callable[[], float],
        owner: Owner,
        sorter: Sorter,
    ) -> None:
        self._cloud = cloud
        self._request = request
        self._policy = policy
        self._clock = clock
        self._owner = owner
        self._sorter = sorter
        self.destinations = Destinations(cloud, request, policy)

    def open(self, group: Group) -> Opening:
        """The plan for a group as it was described. Raises RolloutError where there cannot be one, and AwsError."""
        left = self.left_behind(group)
        record = decode_record(group.tags.get(TAG_RECORD, ""))
        goal = self.destinations.of(group, left, record)
        target, spec = goal.target, goal.spec
        journal = self._journal(group, goal, left, record)
        policy = self._policy
        born = self._births(group)
        health, idle = self._cloud.health(group)
        warm = self._cloud.warm_instances(group.name) if group.warm_pool else ()
        seen = Observation(group, health, born=born, idle=idle, warm=warm)
        heard: frozenset[str] = frozenset()
        if left is not None:
            journal, heard = self._settle(seen, journal, left)
        plan = make_plan(seen, journal, policy, self._sorter)
        moves = not target.template.same(group.template) and group.template is not None
        moves = moves and not (spec and group.template is not None and group.template.version == spec)
        recorded = came_from(group, journal, plan)
        refused = [*plan.refusals, *self._strangers(group, left), *self._others(group, left)]
        warned: tuple[str, ...] = ()
        if plan.due or moves:
            kept = record if record is not None and (left is not None or journal.back) else recorded
            refused += too_long(group, journal, kept, plan.during.max, begins=left is None)
        if policy.refreshes and plan.due:
            warned = tuple(preferences.warnings(group))
            if left is None:
                refused += preferences.refused(group, journal, plan, policy)
        return Opening(
            seen, journal, left, record, replace(plan, refusals=tuple(refused)), moves, recorded, warned, heard
        )

    def recover(self, group: Group) -> Opening:
        """What a roll that is to be aborted left behind, from the group alone: nothing else has to answer.

        Raises RolloutError when its journal cannot be read.
        """
        left = self.left_behind(group)
        if left is None:
            raise RolloutError(f"no roll of the group {group.name} is under way")
        record = decode_record(group.tags.get(TAG_RECORD, ""))
        known = (group.template, record.template if record else None, *(i.template for i in group.instances))
        own = {name: template for name, template in group.overrides.items() if template is not None}
        by_type = {name: template for name, template in own.items() if not floating(template.version)}
        target = Target(named(left.target.template, known), by_type)
        journal = self._journal(group, Destination(target, left.spec, left.pins), left, record)
        try:
            born = self._births(group)
        except AwsError:
            born = {}
        seen = Observation(group, born=born)
        journal, heard = self._settle(seen, journal, left)
        plan = make_plan(seen, journal, self._policy, self._sorter)
        return Opening(seen, journal, left, record, plan, False, came_from(group, journal, plan), heard=heard)

    def _births(self, group: Group) -> dict[str, float]:
        """When instances were launched, where the policy needs that."""
        if self._policy.match is Match.TEMPLATE:
            return {}
        machines = self._cloud.machines(instance.id for instance in group.instances)
        return {name: machine.launched for name, machine in machines.items()}

    def _settle(self, seen: Observation, journal: Journal, left: Journal) -> tuple[Journal, frozenset[str]]:
        """The journal with the sizes as a killed run and others since left them, and what AWS said of that."""
        group, old = seen.group, self._sorter.sort(seen, journal, self._policy).old_units
        try:
            activities = self._cloud.activities(group.name)
        except AwsError:
            activities = ()
        if left.held and left.pending > left.surge and old < left.old:
            # Old instances left. AWS may have replaced some by itself, which shrank nothing.
            recent = [item for item in activities if item.started >= int(left.beat)]
            if len(recent) < MOST_ACTIVITIES:
                old = max(old, left.old - shrunk_by_terminations(recent))
        changes = capacity_changes(activities)
        since = [change for change in changes if change.at >= int(left.beat)]
        in_doubt = sum(change.at < int(left.beat) + 1 for change in since)
        settled = settle(replace(journal, old=left.old, held=left.held), group, old, since, in_doubt)
        return replace(settled, held=journal.held), frozenset(change.sentence for change in changes)

    def left_behind(self, group: Group) -> Journal | None:
        """The journal that is on the group. Raises RolloutError when no roll wrote it."""
        value = group.tags.get(TAG_JOURNAL)
        return decode(value) if value else None

    def may_take_over(self, group: Group) -> bool:
        """Whether there is a journal on the group that nobody holds any more."""
        left = self.left_behind(group)
        if left is None:
            return False
        return self._owner.is_dead(left.owner) or self._clock() - left.beat > self._policy.lock_timeout

    def _others(self, group: Group, left: Journal | None) -> list[str]:
        """Sentences about rolls and refreshes that are under way."""
        found = []
        if left is not None and not self._owner.is_dead(left.owner):
            silence = self._clock() - left.beat
            if silence <= self._policy.lock_timeout:
                found.append(
                    f"a roll of the group {group.name} by {left.owner} is under way (last sign of life "
                    f"{silence:.0f} s ago): wait for it, stop it with state=aborted, or let lock_timeout "
                    f"({self._policy.lock_timeout:g} s) pass"
                )
        running = next((item for item in self._cloud.refreshes(group.name) if item.running), None)
        if running is not None and not (left is not None and left.refresh and left.owns(running)):
            found.append(
                f"the instance refresh {running.id} of the group {group.name} is under way: "
                "wait for it or cancel it first"
            )
        if left is not None and bool(left.refresh) != self._policy.refreshes:
            has = "instance_refresh" if left.refresh else "batches"
            found.append(
                f"a roll of the group {group.name} with strategy={has} was left behind: "
                f"end it with that strategy, or give it up with state=aborted"
            )
        return found

    def _strangers(self, group: Group, left: Journal | None) -> list[str]:
        """A sentence about instances that the user named, and that the group neither has nor had."""
        if left is not None or not self._policy.instances:
            return []
        missing = self._policy.instances - {instance.id for instance in group.instances}
        if missing:
            missing -= {subject(activity) for activity in self._cloud.activities(group.name)}
        if missing:
            machines = self._cloud.machines(missing)
            missing -= {name for name, it in machines.items() if it.state in ("shutting-down", "terminated")}
        if not missing:
            return []
        names = ", ".join(sorted(missing))
        return [f"instances names {names}, which the group {group.name} does not have: correct the list"]

    # ---- the journal -------------------------------------------------------------------------------------------

    def _journal(self, group: Group, goal: Destination, left: Journal | None, record: Record | None) -> Journal:
        now, policy = self._clock(), self._policy
        # EC2 tells launches to the second.
        started = float(floor(now))
        if policy.match is not Match.TEMPLATE and record and record.unfinished and now - record.started < _DAY:
            started = record.started
        suspends = policy.suspend_az_rebalance and AZ_REBALANCE not in group.suspended and not policy.refreshes
        journal = Journal(
            owner=self._owner.name,
            beat=now,
            started=started,
            target=goal.target,
            spec=goal.spec,
            pins=goal.pins,
            desired=group.desired,
            max_size=group.max,
            suspended=(AZ_REBALANCE,) if suspends else (),
            back=self._request.state == "rolled_back",
            held=policy.held or group.largest > 1,
            refresh=NEW_REFRESH if policy.refreshes else "",
        )
        if left is None:
            return journal
        return replace(
            left,
            owner=self._owner.name,
            beat=now,
            target=goal.target,
            spec=goal.spec,
            pins=goal.pins if journal.back and not left.back else merged_pins(left.pins, goal.pins),
            suspended=tuple(dict.fromkeys((*left.suspended, *journal.suspended))),
            back=journal.back or (left.back and policy.rollback),
            held=journal.held,
            memory=Memory(),
        )


def came_from(group: Group, journal: Journal, plan: Plan) -> Record:
    """What a roll back returns to: the group's template, or what most of the due instances run; overrides likewise."""
    due = [item.instance for batch in plan.batches for item in batch]
    target, has = journal.target, group.template
    if has is None or floating(has.version) or target.template.same(has):
        own = {name for name, template in group.overrides.items() if template is not None}
        others = Counter(i.template for i in due if i.template is not None and i.type not in own)
        has = next((one for one, dummy in others.most_common() if not target.template.same(one)), target.template)
    versions = {template.id: template.version for template in target.by_type.values() if template.id}
    for template_id in versions:
        ran = Counter(i.template.version for i in due if i.template is not None and i.template.id == template_id)
        if ran:
            versions[template_id] = ran.most_common(1)[0][0]
    return Record(has, journal.started, own=OwnVersions.of(versions))


def difference(opening: Opening) -> dict[str, str]:
    """The group's instances and sizes before and after, for --diff."""
    group, plan, target = opening.seen.group, opening.plan, opening.journal.target
    due = {item.instance.id for batch in plan.batches for item in batch}
    before, after = [f"group {group.name}: {plan.before}"], [f"group {group.name}: {plan.before}"]
    for instance in sorted(group.instances, key=lambda instance: instance.id):
        has = instance.template.label if instance.template else "no template"
        before.append(f"{instance.id} ({instance.zone}): {has}")
        if instance.id in due:
            wanted = target.by_type.get(instance.type, target.template)
            after.append(f"successor of {instance.id} ({instance.zone}): {wanted.label}")
        else:
            after.append(before[-1])
    return {"before": "\n".join(before) + "\n", "after": "\n".join(after) + "\n"}
