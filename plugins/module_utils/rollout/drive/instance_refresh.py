# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of a roll that AWS does as an instance refresh: start it, watch it, end it, and report alike.

Lock, journal and report are those of every session. Of a refresh that is under way the journal keeps the id, so that a
run that was killed finds it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError, UnansweredError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import preferences, timing
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import step as core
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.situation import pinned_overrides
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.opening import Opening
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.session import Session
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Activity,
    Delays,
    Instance,
    Observation,
    Refresh,
    RolloutError,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import NEW_REFRESH, TAG_JOURNAL
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Failure, Pair, Window
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import Halt

_ATTEMPTS = 3
_CANNOT_BE_ROLLED_BACK = "IrreversibleInstanceRefresh"


class InstanceRefresh:
    """Drives the instance refresh of a roll that has its journal on the group already."""

    def __init__(self, session: Session, opening: Opening) -> None:
        self._session = session
        self._opening = opening
        self._name = session.request.group
        self._preferences = preferences.preferences(opening.seen.group, opening.plan, session.policy)
        self._old = {i.id: i for i in (*self._due(opening.seen), *session.situation(opening.seen).roles.apart)}
        self._delays: Delays | None = None
        self._asked_to_end = False
        self._said_that_blind = False

    def run(self) -> None:
        """From here to the end of the refresh; the journal is off the group then."""
        refresh = self._begin()
        while True:
            refresh = self._look(refresh)
            if self._session.journal.memory.lock.lost_to:
                self._session.end_as("aborted", f"taken over by {self._session.memory.lock.lost_to}")
                return
            if refresh is None or not refresh.running:
                break
            if self._session.asked_to_stop() or self._fails(refresh) or self._session.journal.memory.ending.state:
                self._ask_to_end(refresh)
            self._session.beat()
            now, policy = self._session.clock(), self._session.policy
            since = max(self._session.journal.memory.course.progress_at, self._session.journal.started)
            until = timing.look_for(now, since, Window(), policy.poll_interval, policy.longest_poll)
            self._session.sleep(until - now)
            if (
                self._asked_to_end
                and now - self._session.journal.memory.course.progress_at > self._patience() + policy.lag
            ):
                break
        self._end(refresh)

    def give_up(self) -> None:
        """Cancel what is under way, as far as AWS allows it, and put the group back. Raises AwsError where it cannot."""
        session = self._session
        try:
            session.cloud.cancel_refresh(self._name)
        except AwsError as exc:
            ending = session.memory.ending
            session.end_as(ending.state, f"{ending.reason}; the instance refresh may go on: {exc}")
        self._restore()
        session.cloud.untag(self._name, TAG_JOURNAL)

    def _due(self, seen: Observation) -> tuple[Instance, ...]:
        return self._session.situation(seen).roles.old

    # ---- beginning ---------------------------------------------------------------------------------------------

    def _begin(self) -> Refresh | None:
        """The refresh of this roll: one that an earlier run started, or a new one."""
        session, left = self._session, self._opening.left
        own = self._own() if left is not None else None
        if session.journal.memory.ending.state:  # state=aborted
            return own
        if own is not None and own.running:
            if session.request.state == "rolled_back" and left is not None and not left.back:
                return self._undo(own)
            return own
        if own is not None and own.status == "Successful" and not (session.journal.back and left and not left.back):
            return own  # it ended while nobody looked
        if not self._old and not self._opening.plan.due:
            return None
        return self._start()

    def _own(self) -> Refresh | None:
        journal = self._session.journal
        known = journal.refresh if journal.refresh != NEW_REFRESH else ""
        return next((one for one in self._session.cloud.refreshes(self._name, known) if journal.owns(one)), None)

    def _start(self) -> Refresh:
        session = self._session
        session.journal = replace(session.journal, refresh=NEW_REFRESH, started=float(int(session.clock())))
        if self._opening.left is not None:
            session.note()  # the claim said so of a new roll
        group = self._opening.seen.group
        desired = preferences.desired_configuration(group, session.journal)
        try:
            name = self._ask_to_start(desired)
        except UnansweredError:
            raise  # it may have been started
        except AwsError as exc:
            session.cloud.untag(self._name, TAG_JOURNAL)
            raise RolloutError(f"{exc}. The group was left as it was") from exc
        session.journal = replace(session.journal, refresh=name)
        session.note()
        session.keep(launches=replace(session.memory.launches, triggered_at=session.clock()))
        session.progressed()
        bounds = f"{self._preferences['MinHealthyPercentage']} to {self._preferences['MaxHealthyPercentage']} %"
        session.narrator.say(f"AWS refreshes the group: instance refresh {name}, {bounds} of the capacity")
        return Refresh(name, "Pending")

    def _ask_to_start(self, desired: dict[str, Any] | None) -> str:
        """Start it once, also where the answer is lost; its id."""
        session = self._session
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return session.cloud.start_refresh(self._name, self._preferences, desired)
            except UnansweredError as exc:
                session.sleep(session.policy.poll_interval)
                found = self._own()
                if found is not None:
                    return found.id
                if exc.not_offered and attempt == _ATTEMPTS:
                    raise AwsError(str(exc), operation=exc.operation) from exc
        raise UnansweredError("AWS did not answer when it was asked three times to start an instance refresh")

    def _undo(self, own: Refresh) -> Refresh:
        """Have AWS roll back what is under way, or cancel it and refresh to what there was."""
        session = self._session
        if own.status == "RollbackInProgress":
            return own
        try:
            session.cloud.roll_back_refresh(self._name)
        except AwsError as exc:
            if exc.code != _CANNOT_BE_ROLLED_BACK:
                raise
        else:
            session.narrator.say(f"AWS rolls the instance refresh {own.id} back")
            return own
        session.cloud.cancel_refresh(self._name)
        deadline = session.clock() + self._patience()
        while (now := self._own()) is not None and now.running:
            if session.clock() > deadline:
                raise RolloutError(f"the instance refresh {own.id} is still {now.status}: try again later")
            session.sleep(session.policy.poll_interval)
        return self._start()

    # ---- watching ----------------------------------------------------------------------------------------------

    def _look(self, refresh: Refresh | None) -> Refresh | None:
        session, now = self._session, self._session.clock()
        group = session.cloud.group(self._name)
        health: Mapping[str, str] | None = None
        activities: tuple[Activity, ...] = ()
        try:  # AWS does the roll: these only tell more of it
            health, dummy = session.cloud.health(group)
            activities = session.cloud.activities(self._name)
        except AwsError as exc:
            if not self._said_that_blind:
                self._said_that_blind = True
                session.narrator.say(f"watching goes on without it: {exc}")
        if refresh is not None:
            refresh = next(iter(session.cloud.refreshes(self._name, refresh.id)), refresh)
        seen = Observation(group, health, now, {}, activities, self._opening.seen.born)
        session.group = group
        session.take_in(seen)
        left = [name for name in self._old if name not in {i.id for i in self._still_here(seen)}]
        for name in left:
            self._replaced(self._old.pop(name))
        return refresh

    def _still_here(self, seen: Observation) -> Iterable[Instance]:
        return (i for i in seen.group.instances if i.id in self._old and not i.leaving)

    def _replaced(self, old: Instance) -> None:
        """An old one left. Its successor is the new one that was proven before all others, or the next to be."""
        session, memory, now = self._session, self._session.memory, self._session.clock()
        done = replace(memory.old, terminated={**memory.old.terminated, old.id: now})
        new = memory.new
        if not old.counted:
            done = replace(done, pairs=(*done.pairs, Pair(old.id, "", 0.0)))
        elif new.spare:
            successor, *spare = new.spare
            pair = Pair(old.id, successor, round(now - new.began.get(successor, now), 1))
            done, new = replace(done, pairs=(*done.pairs, pair)), replace(new, spare=tuple(spare))
        else:
            done = replace(done, unpaired=(*done.unpaired, old.id))
        session.keep(old=done, new=new)
        session.progressed()

    def _patience(self) -> float:
        """For how long nothing may happen: batch_timeout, and the pauses that AWS was asked for."""
        pauses = float(self._preferences["InstanceWarmup"] + self._preferences.get("CheckpointDelay", 0))
        others = self._delays.launch + self._delays.terminate if self._delays else 0.0
        return self._session.policy.batch_timeout + pauses + others

    def _fails(self, refresh: Refresh) -> bool:
        """Whether the roll is to stop; it is noted why."""
        session, journal, policy = self._session, self._session.journal, self._session.policy
        memory = journal.memory
        if memory.ending.state or refresh.status in ("Cancelling", "RollbackInProgress"):
            return False
        reason = core.over_budget(journal, policy)
        failures: tuple[Failure, ...] = ()
        if memory.launches.refusal:
            reason = f"AWS refused to launch an instance: {memory.launches.refusal}"
            failures = (Failure("", memory.launches.refusal),)
        elif not reason and session.clock() - memory.course.progress_at > self._patience():
            if self._delays is None:
                self._delays = session.cloud.delays(self._opening.seen.group)
                return False
            launches, verdicts = memory.launches, memory.new.verdicts.values()
            why = launches.blocked or refresh.reason or launches.shortage or next(filter(None, verdicts), "")
            reason = f"nothing happened for {self._patience():g} s (batch_timeout){f': {why}' if why else ''}"
        if not reason:
            return False
        self._failed(reason, failures)
        session.narrator.halted(Halt("failed", reason, failures))
        return True

    def _failed(self, reason: str, failures: Iterable[Failure]) -> None:
        losses = self._session.memory.losses
        kept = tuple(dict.fromkeys((*losses.failures, *failures)))
        self._session.keep(losses=replace(losses, failures=kept))
        self._session.end_as("failed", reason)

    # ---- ending ------------------------------------------------------------------------------------------------

    def _ask_to_end(self, refresh: Refresh) -> None:
        """Cancel, or have AWS roll back where that is wanted."""
        if self._asked_to_end:
            return
        self._asked_to_end = True
        session = self._session
        session.progressed()
        if refresh.status in ("Cancelling", "RollbackInProgress"):
            return
        if session.policy.rollback and session.journal.memory.ending.state == "failed" and not session.journal.back:
            session.cloud.roll_back_refresh(self._name)
            session.narrator.say(f"AWS rolls the instance refresh {refresh.id} back")
        else:
            session.cloud.cancel_refresh(self._name)
            session.narrator.say(f"the instance refresh {refresh.id} is cancelled")

    def _end(self, refresh: Refresh | None) -> None:
        session = self._session
        memory = session.journal.memory
        status = refresh.status if refresh is not None else "Successful"
        why = (refresh.reason if refresh is not None else "") or "AWS gave no reason"
        if status == "Successful":
            self._pair_the_rest()
            if memory.ending.state != "aborted":
                session.end_as("rolled_back" if session.journal.back else "completed", "")
        elif status == "RollbackSuccessful":
            asked = session.request.state == "rolled_back"
            cause = "" if asked else memory.ending.reason or why
            session.keep(ending=replace(memory.ending, state="rolled_back", cause=cause, reason=""))
        elif status == "Cancelled" or (refresh is not None and refresh.running):
            still = f"the instance refresh is still {status}" if status != "Cancelled" else ""
            cancelled = "" if memory.ending.state else "somebody cancelled the instance refresh"
            reason = "; ".join(filter(None, (memory.ending.reason, cancelled, still)))
            session.end_as(memory.ending.state or "aborted", reason)
        else:
            reason = "; ".join(filter(None, (memory.ending.reason, f"the instance refresh is {status}: {why}")))
            self._failed(reason, () if memory.losses.failures else (Failure("", why),))
        self._restore()
        session.cloud.untag(self._name, TAG_JOURNAL)

    def _pair_the_rest(self) -> None:
        """AWS says that all are replaced; those that this roll has not proven yet, are by AWS's word."""
        session, memory = self._session, self._session.journal.memory
        taken = {pair.new for pair in memory.old.pairs}
        rest = [*memory.new.spare, *(name for name in memory.new.coming if name not in memory.new.spare)]
        pairs = list(memory.old.pairs)
        for old, new in zip(memory.old.unpaired, [name for name in rest if name not in taken], strict=False):
            pairs.append(Pair(old, new, round(session.clock() - memory.new.began.get(new, session.clock()), 1)))
        session.keep(old=replace(memory.old, pairs=tuple(pairs), unpaired=()))

    def _restore(self) -> None:
        """Put floating versions back, where AWS made the numbers that it was given the group's own."""
        session, journal = self._session, self._session.journal
        group = session.cloud.group(self._name)
        floats = journal.floats(group) if pinned_overrides(group, journal) else {}
        has = journal.target.template
        if journal.back or not has.same(group.template) or not (journal.spec or floats):
            if (
                not journal.back
                and not self._opening.plan.due
                and self._opening.moves
                and journal.memory.ending.state == "completed"
            ):
                session.cloud.update(
                    self._name, template=replace(has, version=journal.spec or has.version), mixed=group.mixed
                )
            return
        template = replace(has, version=journal.spec) if journal.spec else has
        session.cloud.update(self._name, template=template, mixed=group.mixed, versions=floats)
