# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of a roll that AWS does as an instance refresh: start it, watch it, end it, and report alike.

Lock, journal and report are those of every roll. Of a refresh that is under way the journal keeps the id, so that a
run that was killed finds it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError, UnansweredError
from ansible_collections.boring.fleet.plugins.module_utils.rollout import refresh as mapping
from ansible_collections.boring.fleet.plugins.module_utils.rollout import step as core
from ansible_collections.boring.fleet.plugins.module_utils.rollout import timing
from ansible_collections.boring.fleet.plugins.module_utils.rollout.journal import TAG_JOURNAL
from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    NEW_REFRESH,
    Activity,
    Delays,
    Failure,
    Halt,
    Instance,
    Observation,
    Pair,
    Refresh,
    RolloutError,
    Window,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.opening import Opening
from ansible_collections.boring.fleet.plugins.module_utils.rollout.plan import roles

if TYPE_CHECKING:
    from ansible_collections.boring.fleet.plugins.module_utils.rollout.runner import Roll

_ATTEMPTS = 3
_CANNOT_BE_ROLLED_BACK = "IrreversibleInstanceRefresh"


class Refresher:
    """Drives the instance refresh of a roll that has its journal on the group already."""

    def __init__(self, roll: Roll, opening: Opening) -> None:
        self._roll = roll
        self._opening = opening
        self._name = roll.request.group
        self._preferences = mapping.preferences(opening.seen.group, opening.plan, roll.policy)
        self._old = {i.id: i for i in (*self._due(opening.seen), *roles(opening.seen, roll.journal, roll.policy).apart)}
        self._delays: Delays | None = None
        self._asked_to_end = False
        self._told_that_blind = False

    def run(self) -> None:
        """From here to the end of the refresh; the journal is off the group then."""
        refresh = self._begin()
        while True:
            refresh = self._look(refresh)
            if self._roll.journal.memory.lost:
                self._roll.remember(ending="aborted", reason=f"taken over by {self._roll.journal.memory.lost}")
                return
            if refresh is None or not refresh.running:
                break
            if self._roll.told_to_stop() or self._fails(refresh) or self._roll.journal.memory.ending:
                self._ask_to_end(refresh)
            self._roll.beat()
            now, policy = self._roll.clock(), self._roll.policy
            since = max(self._roll.journal.memory.progress_at, self._roll.journal.started)
            until = timing.look_for(now, since, Window(), policy.poll_interval, policy.longest_poll)
            self._roll.sleep(until - now)
            if self._asked_to_end and now - self._roll.journal.memory.progress_at > self._patience() + policy.lag:
                break
        self._end(refresh)

    def give_up(self) -> None:
        """Cancel what is under way, as far as AWS lets us, and put the group back. Raises AwsError where it cannot."""
        roll = self._roll
        try:
            roll.cloud.cancel_refresh(self._name)
        except AwsError as exc:
            reason = f"{roll.journal.memory.reason}; the instance refresh may go on: {exc}"
            roll.remember(reason=reason)
        self._restore()
        roll.cloud.untag(self._name, TAG_JOURNAL)

    def _due(self, seen: Observation) -> tuple[Instance, ...]:
        return roles(seen, self._roll.journal, self._roll.policy).old

    # ---- beginning ---------------------------------------------------------------------------------------------

    def _begin(self) -> Refresh | None:
        """The refresh of this roll: one that an earlier run started, or a new one."""
        roll, left = self._roll, self._opening.left
        own = self._own() if left is not None else None
        if roll.journal.memory.ending:  # state=aborted
            return own
        if own is not None and own.running:
            if roll.request.state == "rolled_back" and left is not None and not left.back:
                return self._undo(own)
            return own
        if own is not None and own.status == "Successful" and not (roll.journal.back and left and not left.back):
            return own  # it ended while nobody looked
        if not self._old and not self._opening.plan.due:
            return None
        return self._start()

    def _own(self) -> Refresh | None:
        journal = self._roll.journal
        known = journal.refresh if journal.refresh != NEW_REFRESH else ""
        return next((one for one in self._roll.cloud.refreshes(self._name, known) if journal.owns(one)), None)

    def _start(self) -> Refresh:
        roll = self._roll
        roll.rejournal(refresh=NEW_REFRESH, started=float(int(roll.clock())))
        if self._opening.left is not None:
            roll.note()  # the claim said so of a new roll
        group = self._opening.seen.group
        desired = mapping.desired_configuration(group, roll.journal)
        try:
            name = self._ask_to_start(desired)
        except UnansweredError:
            raise  # it may have been started
        except AwsError as exc:
            roll.cloud.untag(self._name, TAG_JOURNAL)
            raise RolloutError(f"{exc}. The group was left as it was") from exc
        roll.rejournal(refresh=name)
        roll.note()
        roll.remember(triggered_at=roll.clock(), progress_at=roll.clock())
        bounds = f"{self._preferences['MinHealthyPercentage']} to {self._preferences['MaxHealthyPercentage']} %"
        roll.narrator.say(f"AWS refreshes the group: instance refresh {name}, {bounds} of the capacity")
        return Refresh(name, "Pending")

    def _ask_to_start(self, desired: dict[str, Any] | None) -> str:
        """Start it once, also where the answer is lost; its id."""
        roll = self._roll
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return roll.cloud.start_refresh(self._name, self._preferences, desired)
            except UnansweredError as exc:
                roll.sleep(roll.policy.poll_interval)
                found = self._own()
                if found is not None:
                    return found.id
                if exc.not_offered and attempt == _ATTEMPTS:
                    raise AwsError(str(exc), operation=exc.operation) from exc
        raise UnansweredError("AWS did not answer when it was asked three times to start an instance refresh")

    def _undo(self, own: Refresh) -> Refresh:
        """Have AWS roll back what is under way, or cancel it and refresh to what there was."""
        roll = self._roll
        if own.status == "RollbackInProgress":
            return own
        try:
            roll.cloud.roll_back_refresh(self._name)
        except AwsError as exc:
            if exc.code != _CANNOT_BE_ROLLED_BACK:
                raise
        else:
            roll.narrator.say(f"AWS rolls the instance refresh {own.id} back")
            return own
        roll.cloud.cancel_refresh(self._name)
        deadline = roll.clock() + self._patience()
        while (now := self._own()) is not None and now.running:
            if roll.clock() > deadline:
                raise RolloutError(f"the instance refresh {own.id} is still {now.status}: try again later")
            roll.sleep(roll.policy.poll_interval)
        return self._start()

    # ---- watching ----------------------------------------------------------------------------------------------

    def _look(self, refresh: Refresh | None) -> Refresh | None:
        roll, now = self._roll, self._roll.clock()
        group = roll.cloud.group(self._name)
        health: Mapping[str, str] | None = None
        activities: tuple[Activity, ...] = ()
        try:  # AWS does the roll: these only tell more of it
            health, dummy = roll.cloud.health(group)
            activities = roll.cloud.activities(self._name)
        except AwsError as exc:
            if not self._told_that_blind:
                self._told_that_blind = True
                roll.narrator.say(f"watching goes on without it: {exc}")
        if refresh is not None:
            refresh = next(iter(roll.cloud.refreshes(self._name, refresh.id)), refresh)
        seen = Observation(group, health, now, {}, activities, self._opening.seen.born)
        before = roll.journal
        roll.take_in(seen)
        left = [name for name in self._old if name not in {i.id for i in self._still_here(seen)}]
        for name in left:
            self._replaced(self._old.pop(name))
        roll.narrator.looked(seen, before, roll.journal, roll.policy)
        return refresh

    def _still_here(self, seen: Observation) -> Iterable[Instance]:
        return (i for i in seen.group.instances if i.id in self._old and not i.leaving)

    def _replaced(self, old: Instance) -> None:
        """An old one left. Its successor is the new one that was proven before all others, or the next to be."""
        roll, memory, now = self._roll, self._roll.journal.memory, self._roll.clock()
        gone = {**memory.gone, old.id: now}
        if not old.counted:
            roll.remember(gone=gone, progress_at=now, pairs=(*memory.pairs, Pair(old.id, "", 0.0)))
        elif memory.spare:
            new = memory.spare[0]
            pair = Pair(old.id, new, round(now - memory.began.get(new, now), 1))
            roll.remember(gone=gone, progress_at=now, pairs=(*memory.pairs, pair), spare=memory.spare[1:])
        else:
            roll.remember(gone=gone, progress_at=now, widows=(*memory.widows, old.id))

    def _patience(self) -> float:
        """For how long nothing may happen: our own limit, and the pauses that AWS was asked for."""
        pauses = float(self._preferences["InstanceWarmup"] + self._preferences.get("CheckpointDelay", 0))
        others = self._delays.launch + self._delays.terminate if self._delays else 0.0
        return self._roll.policy.batch_timeout + pauses + others

    def _fails(self, refresh: Refresh) -> bool:
        """Whether the roll is to stop; it is noted why."""
        roll, journal, policy = self._roll, self._roll.journal, self._roll.policy
        memory = journal.memory
        if memory.ending or refresh.status in ("Cancelling", "RollbackInProgress"):
            return False
        reason = core.over_budget(journal, policy)
        failures: tuple[Failure, ...] = ()
        if memory.refusal:
            reason = f"AWS refused to launch an instance: {memory.refusal}"
            failures = (Failure("", memory.refusal),)
        elif not reason and roll.clock() - memory.progress_at > self._patience():
            if self._delays is None:
                self._delays = roll.cloud.delays(self._opening.seen.group)
                return False
            why = refresh.reason or memory.shortage or next((v for v in memory.verdicts.values() if v), "")
            reason = f"nothing happened for {self._patience():g} s (batch_timeout){f': {why}' if why else ''}"
        if not reason:
            return False
        kept = tuple(dict.fromkeys((*memory.failures, *failures)))
        roll.remember(ending="failed", reason=reason, failures=kept)
        roll.narrator.halted(Halt("failed", reason, failures))
        return True

    # ---- ending ------------------------------------------------------------------------------------------------

    def _ask_to_end(self, refresh: Refresh) -> None:
        """Cancel, or have AWS roll back where that is wanted."""
        if self._asked_to_end:
            return
        self._asked_to_end = True
        roll = self._roll
        roll.remember(progress_at=roll.clock())
        if refresh.status in ("Cancelling", "RollbackInProgress"):
            return
        if roll.policy.rollback and roll.journal.memory.ending == "failed" and not roll.journal.back:
            roll.cloud.roll_back_refresh(self._name)
            roll.narrator.say(f"AWS rolls the instance refresh {refresh.id} back")
        else:
            roll.cloud.cancel_refresh(self._name)
            roll.narrator.say(f"the instance refresh {refresh.id} is cancelled")

    def _end(self, refresh: Refresh | None) -> None:
        roll = self._roll
        memory = roll.journal.memory
        status = refresh.status if refresh is not None else "Successful"
        why = (refresh.reason if refresh is not None else "") or "AWS gave no reason"
        if status == "Successful":
            self._pair_the_rest()
            if memory.ending != "aborted":
                roll.remember(ending="rolled_back" if roll.journal.back else "completed", reason="")
        elif status == "RollbackSuccessful":
            asked = roll.request.state == "rolled_back"
            roll.remember(ending="rolled_back", cause="" if asked else memory.reason or why, reason="")
        elif status == "Cancelled" or (refresh is not None and refresh.running):
            still = f"the instance refresh is still {status}" if status != "Cancelled" else ""
            cancelled = "" if memory.ending else "somebody cancelled the instance refresh"
            reason = "; ".join(filter(None, (memory.reason, cancelled, still)))
            roll.remember(ending=memory.ending or "aborted", reason=reason)
        else:
            reason = "; ".join(filter(None, (memory.reason, f"the instance refresh is {status}: {why}")))
            failures = memory.failures or (Failure("", why),)
            roll.remember(ending="failed", reason=reason, failures=failures)
        self._restore()
        roll.cloud.untag(self._name, TAG_JOURNAL)

    def _pair_the_rest(self) -> None:
        """AWS says that all are replaced; who was not proven by our own clock yet, is by AWS's."""
        roll, memory = self._roll, self._roll.journal.memory
        taken = {pair.new for pair in memory.pairs}
        rest = [*memory.spare, *(name for name in memory.coming if name not in memory.spare)]
        pairs = list(memory.pairs)
        for old, new in zip(memory.widows, [name for name in rest if name not in taken], strict=False):
            pairs.append(Pair(old, new, round(roll.clock() - memory.began.get(new, roll.clock()), 1)))
        roll.remember(pairs=tuple(pairs), widows=())

    def _restore(self) -> None:
        """Put floating versions back, where AWS made the numbers that it was given the group's own."""
        roll, journal = self._roll, self._roll.journal
        group = roll.cloud.group(self._name)
        floats = journal.floats(group) if core.pinned_overrides(group, journal) else {}
        has = journal.target.template
        if journal.back or not has.same(group.template) or not (journal.spec or floats):
            if (
                not journal.back
                and not self._opening.plan.due
                and self._opening.moves
                and journal.memory.ending == "completed"
            ):
                roll.cloud.update(
                    self._name, template=replace(has, version=journal.spec or has.version), mixed=group.mixed
                )
            return
        template = replace(has, version=journal.spec) if journal.spec else has
        roll.cloud.update(self._name, template=template, mixed=group.mixed, versions=floats)
