# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run from its beginning to its end: what is to be done, the lock, the way that is taken, and how it went."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.situation import serving
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import encode, encode_record
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.wording import (
    capacity_changes,
    says_group_gone,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.batches import Batches
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.instance_refresh import InstanceRefresh
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.opening import Opener, Opening, difference
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.places import Places, Prober
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.result import Result
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.session import GRACE, Session
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.owner import Owner
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Group,
    NoGroupError,
    Observation,
    RolloutError,
    Sizes,
    Template,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import (
    Capacity,
    Course,
    Ending,
    Launches,
    Lock,
    Memory,
    Writes,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy, Request
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import Event, Halt


class Roll:
    """One run over one group; for ``stopped`` and ``emit`` see Session."""

    def __init__(
        self,
        cloud: Cloud,
        request: Request,
        policy: Policy,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        owner: Owner,
        emit: Callable[[Event], None] = lambda event: None,
        stopped: Callable[[], str] = lambda: "",
        prober: Prober | None = None,
        drainer: Prober | None = None,
    ) -> None:
        session = self._session = Session(cloud, request, policy, clock, sleep, owner, emit, stopped)
        self._opener = Opener(cloud, request, policy, clock=session.clock, owner=owner, sorter=session.sorter)
        self._places = Places(cloud, prober, drainer)

    def run(self, check_mode: bool = False) -> Result:
        """Do what the request says. Never raises for what AWS or the group may hold: a failed Result says why."""
        session = self._session
        result, cloud, began = session.result, session.cloud, session.own_clock()
        try:
            self._run("planned" if check_mode else session.request.state)
        except Exception as exc:  # nobody should have to read a traceback to find out what became of the group
            result.message = str(exc) if isinstance(exc, (AwsError, RolloutError)) else _mistake(exc)
            gone = (
                session.begun
                if isinstance(exc, NoGroupError)
                else isinstance(exc, AwsError) and says_group_gone(str(exc))
            )
            if gone:
                result.message = session.deleted()
            aborted = session.begun and session.memory.ending.state == "aborted"
            result.state, result.failed = "aborted" if aborted else "failed", True
            if not cloud.writes:
                result.message = f"{result.message.rstrip('.')}. Nothing was changed"
        result.seconds = session.own_clock() - began
        result.api_calls = cloud.calls
        result.changed = result.changed or cloud.writes > 0
        if session.begun:
            memory = session.memory
            result.replaced, result.failures = memory.old.pairs, memory.losses.failures
            if memory.course.lowest is not None:
                result.lowest_in_service = memory.course.lowest
        if result.state != "planned":
            session.narrator.finished(result.as_dict(), result.message, result.failed)
        return result

    # ---- the whole -------------------------------------------------------------------------------------------------

    def _run(self, state: str) -> None:
        session, result = self._session, self._session.result
        group = session.cloud.group(session.name)
        looked = session.clock()
        result.before = result.during = result.after = Sizes.of(group)
        if state == "aborted":
            self._abort(group)
            return
        try:
            opening = self._opener.open(group)
        except (AwsError, RolloutError) as exc:
            if state == "planned" or not self._opener.may_take_over(group):
                raise
            self._take_over(group, Ending("failed", str(exc), blind=True))  # what was left must not stay for that
            return
        plan = opening.plan
        session.record, session.born = opening.record, dict(opening.seen.born)
        result.plan, result.before, result.during, result.after = plan, plan.before, plan.before, plan.before
        result.lowest_in_service = serving(opening.seen)
        result.diff = difference(opening)
        result.warnings = list(opening.warnings)
        if state == "planned":
            result.state, result.done = "planned", not plan.due
            result.changed = not plan.refusals and bool(plan.due or opening.moves)
            result.message = "; ".join(plan.refusals)
            result.warnings = [*plan.refusals, *opening.warnings]
            return
        if opening.idle:
            result.state, result.done = state, True
            result.message = f"nothing to do: every instance of the group {group.name} is as it should be"
            return
        if plan.refusals:
            raise RolloutError("; ".join(plan.refusals))
        if opening.left is None and (why := session.stopped()):
            result.state, result.failed = "aborted", True
            result.message = f"{why} before anything was changed"
            return
        self._claim(opening, looked)
        self._drive(state, opening)

    def _claim(self, opening: Opening, looked: float) -> None:
        """Take the lock. Whether it was really this run that got it, the next look tells.

        The group was described at ``looked``: changes that AWS dates later are not accounted for yet.
        """
        session = self._session
        group, journal, plan, fresh = opening.seen.group, opening.journal, opening.plan, opening.left is None
        tags = {TAG_JOURNAL: encode(journal)}
        if fresh and plan.due and not journal.back:
            session.record = opening.recorded
            tags[TAG_RECORD] = encode_record(opening.recorded)
        asked = session.request.state == "rolled_back"
        try:
            known = session.cloud.activities(group.name)
        except AwsError:
            known = ()  # whether that matters, the looks will tell
        now = session.clock()
        session.group = group
        session.journal = replace(
            journal,
            memory=Memory(
                lock=Lock(taken_from="" if opening.left is None else opening.left.owner),
                launches=Launches(known=frozenset(activity.id for activity in known), triggered_at=now),
                capacity=Capacity(
                    heard=frozenset(item.sentence for item in capacity_changes(known) if item.at < looked)
                ),
                course=Course(trusting=fresh, progress_at=now),
                ending=Ending(cause="" if fresh or not journal.back or asked else "an earlier run of this roll failed"),
            ),
        )
        session.narrator.started(plan, journal, session.policy, resumed=not fresh)
        session.cloud.tag(group.name, tags)

    def _drive(self, state: str, opening: Opening) -> None:
        """Roll to the end. Whatever breaks, the group is put back first, and then it is said what broke."""
        session = self._session
        session.result.state = state
        by_aws = InstanceRefresh(session, opening) if session.journal.refresh else None
        try:
            if by_aws is not None:
                by_aws.run()
            else:
                Batches(session, self._opener.destinations, self._places).run()
        except NoGroupError:
            raise
        except Exception as exc:
            why = str(exc) if isinstance(exc, (AwsError, RolloutError)) else _mistake(exc)
            self._give_up(why, by_aws)
        self._conclude()

    def _give_up(self, why: str, by_aws: InstanceRefresh | None) -> None:
        """Put the group back with nothing but looks at the group itself, and writes."""
        session = self._session
        ending = session.memory.ending
        reason = f"{ending.reason}; {why}" if ending.reason and why not in ending.reason else why
        if not ending.state:
            session.narrator.halted(Halt("failed", why))
        session.keep(ending=replace(ending, state=ending.state or "failed", reason=reason, blind=True))
        session.cloud.patience = min(session.cloud.patience, GRACE)
        try:
            if by_aws is not None:
                by_aws.give_up()
            else:
                Batches(session, self._opener.destinations, self._places).run()
        except NoGroupError:
            raise
        except (AwsError, RolloutError) as exc:
            if says_group_gone(str(exc)):  # descriptions may show it for a while still
                raise RolloutError(session.deleted()) from exc
            again = f"; {exc}" if str(exc) not in reason else ""
            raise RolloutError(f"{reason}{again}. {session.left_as()}") from exc

    # ---- abort, and the end ----------------------------------------------------------------------------------------

    def _abort(self, group: Group) -> None:
        result = self._session.result
        result.state = "aborted"
        if self._opener.left_behind(group) is not None:
            self._take_over(group, Ending("aborted"))
            return
        result.message = f"nothing to abort: no roll of the group {group.name} is under way or was left behind"
        try:
            result.lowest_in_service = serving(Observation(group, self._session.cloud.health(group)[0]))
            result.done = self._opener.open(group).idle
        except (AwsError, RolloutError):
            result.done = False  # there is nothing that it could be rolled to

    def _take_over(self, group: Group, ending: Ending) -> None:
        """Put back what another run left behind, from the group alone."""
        session = self._session
        opening = self._opener.recover(group)
        result, journal, left = session.result, opening.journal, opening.left
        if left is None:
            raise RuntimeError("the journal that was there a moment ago")
        result.plan = opening.plan
        result.before = result.during = result.after = Sizes(group.min, journal.max_size, journal.desired)
        session.group, session.record = group, opening.record
        session.journal = replace(
            journal,
            suspended=left.suspended,
            memory=Memory(
                lock=Lock(taken_from=left.owner),
                capacity=Capacity(heard=opening.heard),
                writes=Writes(suspended=bool(left.suspended)),
                course=Course(progress_at=session.clock()),
                ending=ending,
            ),
        )
        tags = {TAG_JOURNAL: encode(session.journal)}
        dead = session.owner.is_dead(left.owner)
        if opening.record is not None and not dead:
            # Its owner may live, and look next when the journal is gone already.
            tags[TAG_RECORD] = encode_record(replace(opening.record, stopped=session.clock()))
        session.cloud.tag(group.name, tags)
        if not dead:
            session.sleep(session.policy.poll_interval)  # what its owner is doing at this moment ends meanwhile
        self._drive(ending.state, opening)

    def _conclude(self) -> None:
        """Look once more at what the roll left, and say it."""
        session = self._session
        result, journal = session.result, session.journal
        memory = journal.memory
        group = session.cloud.group(session.name)
        result.after = self._after(group)
        seen = Observation(group, born=session.born)
        parts = session.situation(seen).roles
        result.state, result.done = memory.ending.state, not (parts.old or parts.apart)
        result.failures = memory.losses.failures
        if memory.ending.state in ("completed", "advanced") and result.done and journal.spec and not journal.back:
            newest = self._newest()
            if newest is not None and not newest.same(journal.target.template):
                result.state, result.done = "superseded", False
                result.message = (
                    f"{journal.spec} moved to version {newest.version} while version "
                    f"{journal.target.template.version} was being rolled out: run again to roll to it"
                )
        if result.state in ("completed", "advanced") or (result.state == "rolled_back" and not memory.ending.cause):
            still = f"; still terminating: {', '.join(sorted(memory.old.listed))}" if memory.old.listed else ""
            result.message = result.message or f"replaced {len(memory.old.pairs)} of the group {group.name}{still}"
            return
        if result.state == "superseded" or (result.state == "aborted" and self._session.request.state == "aborted"):
            result.message = result.message or memory.ending.reason or f"the roll of the group {group.name} was aborted"
            return
        result.failed = True
        serving = Counter(
            instance.template.label if instance.template else "no template"
            for instance in group.instances
            if instance.in_service and instance.id not in memory.old.terminated
        )
        in_service = ", ".join(f"{count} on {label}" for label, count in sorted(serving.items())) or "nobody"
        reasons = [memory.ending.cause, memory.ending.reason, "rolled back" if result.state == "rolled_back" else ""]
        why = "; ".join(text.rstrip(".") for text in reasons if text)
        result.message = (
            f"{why}. Replaced {len(memory.old.pairs)}; the group {group.name} was left with {result.after}, "
            f"in service: {in_service}"
        )

    def _newest(self) -> Template | None:
        """What the floating version stands for by now; None where AWS does not say."""
        journal = self._session.journal
        try:
            return self._session.cloud.resolve(replace(journal.target.template, version=journal.spec))
        except (AwsError, RolloutError):
            return None

    def _after(self, group: Group) -> Sizes:
        """The group's sizes; where AWS does not show the roll's last writes yet, what they made of them."""
        session = self._session
        now = session.situation(Observation(group))
        most = session.journal.max_size if session.memory.writes.restored else group.max
        return Sizes(group.min, most, now.actual)


def _mistake(exc: Exception) -> str:
    return (
        f"this is a mistake in asg_rollout, please report it: {type(exc).__name__}: {exc} ({_where(exc)}). "
        "What the roll changed is noted in the group's tags: the same task again, or state=aborted, takes it up"
    )


def _where(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
