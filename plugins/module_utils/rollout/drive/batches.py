# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of a roll in batches: look, decide, act."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError, UnansweredError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import learning, situation, wording
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import step as core
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import encode, encode_record
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.destination import Destinations
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.places import Places
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.session import Session
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Activity,
    Delays,
    Group,
    Instance,
    NoGroupError,
    Observation,
    RolloutError,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import (
    Ending,
    Launches,
    Newcomers,
    Pair,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import (
    AskDelays,
    Beat,
    Drain,
    Drop,
    Finish,
    Forget,
    Halt,
    Recycle,
    Restore,
    Resume,
    Shrink,
    Step,
    Suspend,
    Turn,
    Victim,
    Wait,
)

_SHORTEST_NAP = 0.05
_REFUSALS = 5  # so often in a row a look may be from before somebody scaled in to MinSize
_UNANSWERED = 5  # so often a termination may get no answer


class Batches:
    """Drives a roll that has its journal on the group already."""

    def __init__(self, session: Session, destinations: Destinations, places: Places) -> None:
        self._session = session
        self._destinations = destinations
        self._places = places

    def run(self) -> None:
        """From here to the end of the roll; the journal is off the group then. Raises AwsError and RolloutError."""
        session = self._session
        seen = self._observe()
        refused = 0
        while True:
            stopping = session.stopping
            if session.asked_to_stop() and not stopping:
                seen = self._observe()  # in another light: who serves decides which new ones may go
            step = core.next_step(session.situation(seen))
            if isinstance(step, Wait):
                self._wait(step)
                seen = self._observe()
                continue
            if isinstance(step, Finish):
                session.end_as(step.state, step.reason)
                self._withdraw(seen.group)
                return
            try:
                self._act(seen, step)
                if isinstance(step, Drain | Recycle) or (isinstance(step, Halt) and not session.memory.ending.state):
                    seen = self._observe()  # time has passed, or all is seen in another light
                refused = 0
            except AwsError as exc:
                if wording.says_at_min_size(exc.text) and refused < _REFUSALS:
                    # Somebody scaled in after what the look showed, and took what was to leave.
                    refused += 1
                    session.sleep(session.policy.poll_interval)
                    seen = self._observe()
                    continue
                if session.memory.ending.state:
                    raise
                self._act(seen, Halt("failed", str(exc)))
                seen = self._observe()
            if isinstance(step, Forget):
                return

    def _withdraw(self, group: Group) -> None:
        """What a roll that somebody else ended wrote meanwhile into the tag of the journal goes."""
        own = encode(self._session.journal).partition(" ")[0]
        if own == group.tags.get(TAG_JOURNAL, "").partition(" ")[0]:
            self._session.cloud.untag(group.name, TAG_JOURNAL)

    # ---- looking ---------------------------------------------------------------------------------------------------

    def _observe(self) -> Observation:
        """Look at the group and at what decides something now. Only the group itself must answer."""
        session = self._session
        now = session.clock()
        session.group = group = session.cloud.group(session.name)
        seen = Observation(group, None, now, born=session.born)
        try:
            seen = self._look_closer(seen)
        except NoGroupError:
            raise
        except (AwsError, RolloutError) as exc:
            session.go_blind()
            if not session.memory.ending.state:
                self._act(seen, Halt("failed", str(exc)))
        session.take_in(seen)
        return seen

    def _look_closer(self, seen: Observation) -> Observation:
        session, group = self._session, seen.group
        now = session.situation(seen)
        first = session.memory.course.lowest is None and not session.memory.ending.blind
        if first or situation.wants_health(now):
            seen = replace(seen, health=session.cloud.health(group)[0])
        if situation.wants_activities(now):
            seen = replace(seen, activities=self._activities())
            if names := situation.found_dead(session.situation(seen)):
                seen = replace(seen, ended=self._why_ended(names))
        if situation.wants_warm(now):
            seen = replace(seen, warm=session.cloud.warm_instances(group.name))
        if seen.health is not None and self._places.checked:
            parts = session.sorter.sort(seen, session.journal, session.policy)
            # What is rolled back from failed: those of it that do not answer serve nobody.
            checked = (*parts.fresh, *parts.old) if session.journal.back else parts.fresh
            seen = replace(seen, checks=self._places.probe(i for i in checked if i.id not in seen.sick))
        return seen

    def _activities(self) -> tuple[Activity, ...]:
        """What AWS says it did; nothing where it does not answer any more, and the roll ends without."""
        session = self._session
        try:
            return session.cloud.activities(session.name)
        except AwsError:
            if not session.memory.ending.blind:
                raise
            return ()

    def _why_ended(self, names: Iterable[str]) -> dict[str, str]:
        """EC2's codes of why instances ended; none where it may not be asked."""
        try:
            return {name: machine.ended for name, machine in self._session.cloud.machines(names).items()}
        except AwsError:
            return {}

    def _wait(self, step: Wait) -> None:
        """Sleep; probe on the way, which costs no API call, and let a failing probe break the proof."""
        session = self._session
        session.narrator.waiting(step)
        while (ahead := step.until - session.clock()) > 0:
            if not session.stopping and session.stopped():
                return
            if not step.probe or not self._places.checked:
                # Longer than the lock allows only with a lock_timeout of seconds.
                beat = core.next_beat(session.journal, session.policy) - session.clock()
                session.sleep(min(ahead, max(beat, _SHORTEST_NAP)))
                session.beat()
                continue
            session.sleep(min(ahead, session.policy.poll_interval))
            if step.until - session.clock() <= 0:
                return
            if broken := self._places.probe_again(step.probe):
                new = session.memory.new
                since = {name: moment for name, moment in new.healthy_since.items() if name not in broken}
                session.keep(new=replace(new, healthy_since=since, proven=new.proven - broken))

    # ---- acting ----------------------------------------------------------------------------------------------------

    def _act(self, seen: Observation, step: Step) -> None:
        acts: dict[type, Callable[[], None]] = {
            Beat: self._session.note,
            AskDelays: lambda: self._ask_delays(seen.group),
            Forget: lambda: self._forget(seen),
        }
        match step:
            case Suspend(processes):
                self._session.cloud.suspend(self._session.name, processes)
                self._session.keep(writes=replace(self._session.memory.writes, suspended=True))
            case Resume(processes):
                self._session.cloud.resume(self._session.name, processes)
                self._session.keep(writes=replace(self._session.memory.writes, resumed=True))
            case Turn():
                self._turn(seen, step)
            case Drain(instances):
                self._drain(seen, instances)
            case Recycle(instances):
                self._recycle(instances)
            case Drop():
                self._drop(step)
            case Shrink():
                self._shrink(seen, step)
            case Restore():
                self._restore(seen.group, step)
            case Halt():
                self._halt(step)
            case _:
                acts[type(step)]()

    def _ask_delays(self, group: Group) -> None:
        session = self._session
        try:
            delays = session.cloud.delays(group)
        except AwsError:
            delays = Delays()
        session.keep(delays=delays)
        session.narrator.say(
            f"lifecycle hooks and load balancers may take {delays.launch:g} s for a launch, "
            f"{delays.terminate:g} s for a termination"
        )

    def _recycle(self, instances: tuple[Instance, ...]) -> None:
        session = self._session
        session.cloud.recycle(instance.id for instance in instances)
        session.narrator.say(f"recycling {len(instances)} of the warm pool")
        session.sleep(session.policy.poll_interval)

    def _shrink(self, seen: Observation, step: Shrink) -> None:
        session = self._session
        session.note(step.resize)
        before = session.situation(seen).actual
        if step.to != before:
            session.cloud.update(session.name, desired=step.to)
            session.wrote(before, step.to, ended="")
        session.journal = replace(session.journal, surge=step.resize.surge)
        session.note_open_batch()

    def _restore(self, group: Group, step: Restore) -> None:
        session = self._session
        has = session.journal.target.template
        template = replace(has, version=step.spec) if step.spec else has if step.floats else None
        session.cloud.update(
            session.name, max_size=step.max_size, template=template, mixed=group.mixed, versions=step.floats
        )
        if step.max_size is not None:
            session.wrote_max(step.max_size)
            session.journal = replace(session.journal, headroom=0, headroom_before=0)
        session.keep(writes=replace(session.memory.writes, restored=True))

    def _halt(self, step: Halt) -> None:
        session = self._session
        memory = session.memory
        failures = tuple(dict.fromkeys((*memory.losses.failures, *step.failures)))
        session.keep(
            losses=replace(memory.losses, failures=failures),
            ending=replace(memory.ending, state=step.state, reason=step.reason),
            writes=replace(memory.writes, recycled=False),
        )
        session.narrator.halted(step)
        if step.state == "failed" and session.policy.rollback:
            self._turn_back(step.reason)

    def _turn_back(self, reason: str) -> None:
        """Roll to what the instances had before, by the same means: what is new becomes old."""
        session = self._session
        journal, record, group = session.journal, session.record, session.group
        if journal.back or record is None or group is None:
            return
        if record.template.same(journal.target.template) and not record.own.versions:
            return
        memory = journal.memory
        if memory.ending.blind:
            session.end_as("failed", f"{reason}; it is not rolled back, because nothing could be proven")
            return
        try:
            goal = self._destinations.before(record, group)
        except (AwsError, RolloutError) as exc:
            session.end_as("failed", f"{reason}; it cannot be rolled back: {exc}")
            return
        session.journal = replace(
            journal,
            target=goal.target,
            spec="",
            pins=tuple(pin for pin in journal.pins if pin in goal.pins),
            failed=0,
            back=True,
            memory=replace(
                memory,
                new=Newcomers(began=memory.new.began),
                losses=replace(memory.losses, forgiven=len(memory.losses.failures), inherited=(), interrupted=False),
                old=replace(memory.old, unpaired=()),
                launches=Launches(
                    known=memory.launches.known,
                    listed=memory.launches.listed,
                    triggered_at=memory.launches.triggered_at,
                    boot=memory.launches.boot,
                ),
                writes=replace(memory.writes, pointed_at=0.0),
                course=replace(memory.course, trusting=True, open=False, progress_at=session.clock()),
                ending=Ending(cause=reason),
            ),
        )
        session.narrator.say(f"rolling back to {session.journal.target.template.label}")
        session.note()

    def _turn(self, seen: Observation, step: Turn) -> None:
        session = self._session
        name, now = session.name, session.clock()
        if step.resize is not None and not (step.closes and session.memory.course.open):
            session.note(step.resize)
        journal = session.journal
        desired = journal.desired + journal.surge
        point = journal.target.template if step.point else None
        numbers = {kind: template.version for kind, template in journal.target.by_type.items()}
        if point is not None and (step.victims or step.grow_to is None):
            # What the terminations launch must be of the new template already.
            session.cloud.update(name, template=point, mixed=seen.group.mixed, versions=numbers)
            point = None
        if step.point:
            session.keep(writes=replace(session.memory.writes, pointed_at=session.clock()))
        if step.launches:
            session.keep(launches=replace(session.memory.launches, triggered_at=now, unready=0.0))
        if step.victims or step.launches:
            session.progressed()
        if not self._terminate_all(step, desired):
            return
        # Only now: launched before, new ones would go to zones that are about to have room.
        if step.grow_to is not None:
            desired = session.journal.desired + session.journal.surge
            session.cloud.update(
                name,
                desired=step.grow_to,
                max_size=step.max_to,
                template=point,
                mixed=seen.group.mixed,
                versions=numbers,
            )
            session.wrote(desired, step.grow_to, ended="")
            if step.max_to is not None:
                session.wrote_max(step.max_to)
            session.journal = replace(session.journal, surge=session.journal.surge + step.grow_to - desired)
        course = session.memory.course
        if step.opens:
            session.keep(course=replace(course, open=True))
        if step.closes and session.journal.surge == 0:
            session.keep(course=learning.close_batch(session.memory.course, session.policy, session.clock()))
        elif step.victims and (not session.policy.held or step.victims[0].apart):
            session.keep(course=replace(session.memory.course, batches=course.batches + 1))
        session.narrator.turned(step, session.journal)

    def _terminate_all(self, step: Turn, desired: int) -> bool:
        """Terminate a turn's victims, one after the other; False when somebody stopped the roll meanwhile."""
        session = self._session
        gone: dict[str, float] = {}
        try:
            for victim in step.victims:
                if not session.stopping and session.stopped():
                    return False
                done = self._terminate(victim.instance, shrink=victim.shrink)
                gone[victim.instance.id] = session.clock()
                if done and victim.shrink:
                    session.wrote(desired, desired - victim.instance.weight, ended=victim.instance.id)
                    desired -= victim.instance.weight
                    session.journal = replace(session.journal, surge=session.journal.surge - victim.instance.weight)
        finally:
            self._let_go(gone, step.victims)
        return True

    def _drain(self, seen: Observation, instances: Iterable[Instance]) -> None:
        """Ask instances to drain, again and again until they say that they have.

        Returns after the longest poll at the latest, so that the group is looked at meanwhile.
        """
        session = self._session
        waiting = {instance.id: instance for instance in instances}
        old, began = session.memory.old, session.clock()
        self._places.find(waiting.values(), also=session.situation(seen).roles.old)
        if fresh := [name for name in waiting if name not in old.draining]:
            session.keep(old=replace(old, draining={**old.draining, **dict.fromkeys(fresh, began)}))
            session.progressed()
            session.narrator.say(f"draining {', '.join(fresh)}")
        while True:
            answers = self._places.drain(waiting)
            # One that is not healthy is asked, and goes: what serves nobody cannot be made to cooperate.
            done = {name for name in waiting if answers.get(name) == "" or name in seen.sick}
            if done:
                session.keep(old=replace(session.memory.old, drained=session.memory.old.drained | done))
                session.progressed()
                waiting = {name: instance for name, instance in waiting.items() if name not in done}
            late = session.clock() - session.memory.course.progress_at > session.policy.batch_timeout
            if late and waiting:
                name = next(iter(waiting))
                why = f"for {session.policy.batch_timeout:g} s (batch_timeout): {answers.get(name) or 'no answer'}"
                halt = Halt("failed", f"{name} was not drained {why}")
                session.end_as(halt.state, halt.reason)
                session.narrator.halted(halt)
            if not waiting or late or session.stopped() or session.clock() - began >= session.policy.longest_poll:
                return
            session.sleep(session.policy.poll_interval)

    def _drop(self, step: Drop) -> None:
        session = self._session
        if step.resize is not None:
            session.note(step.resize)
        desired = session.journal.desired + session.journal.surge
        gone: dict[str, float] = {}
        try:
            for instance in step.instances:
                shrink = step.resize is not None
                done = self._terminate(instance, shrink=shrink)
                gone[instance.id] = session.clock()
                if done and shrink:
                    session.wrote(desired, desired - instance.weight, ended=instance.id)
                    desired -= instance.weight
                    session.journal = replace(session.journal, surge=session.journal.surge - instance.weight)
        finally:
            self._let_go(gone)
        new, losses = session.memory.new, session.memory.losses
        ids = {instance.id for instance in step.instances}
        session.keep(
            losses=replace(losses, failures=(*losses.failures, *step.failures)),
            new=replace(
                new,
                coming={name: rank for name, rank in new.coming.items() if name not in ids},
                spare=tuple(name for name in new.spare if name not in ids),
                proven=new.proven - ids,
            ),
        )
        session.progressed()
        if step.resize is None:
            session.keep(launches=replace(session.memory.launches, triggered_at=session.clock(), unready=0.0))
        else:
            session.note_open_batch()
        session.narrator.dropped(step)

    def _terminate(self, instance: Instance, *, shrink: bool) -> bool:
        """Terminate, and find out whether it happened when AWS gave no answer; whether this roll's call did it."""
        session = self._session
        for dummy in range(_UNANSWERED):
            try:
                cause = session.cloud.terminate(instance.id, shrink=shrink)
            except UnansweredError:
                session.sleep(session.policy.poll_interval)
                now = session.cloud.group(session.name).by_id.get(instance.id)
                if now is None or now.leaving:
                    return True
            except AwsError as exc:
                if wording.says_gone(exc.code, exc.text):
                    return False
                raise
            else:
                return wording.was_by_caller(cause, shrink=shrink)
        raise AwsError(f"AWS did not answer when it was asked {_UNANSWERED} times to terminate {instance.id}")

    def _let_go(self, gone: Mapping[str, float], victims: Iterable[Victim] = ()) -> None:
        """Remember who was terminated and when, and who takes the victims' places.

        All of a batch at once, because each time copies everything.
        """
        if not gone:
            return
        session = self._session
        old, new = session.memory.old, session.memory.new
        pairs, unpaired, taken = list(old.pairs), list(old.unpaired), set[str]()
        for victim in victims:
            name, successor = victim.instance.id, victim.successor
            if name not in gone:
                continue  # the roll was stopped before
            if victim.apart:
                pairs.append(Pair(name, "", 0.0))
            elif successor:
                pairs.append(Pair(name, successor, round(gone[name] - new.began.get(successor, gone[name]), 1)))
                taken.add(successor)
            else:
                unpaired.append(name)
        session.keep(
            old=replace(
                old,
                terminated={**old.terminated, **gone},
                listed=old.listed | gone.keys(),
                pairs=tuple(pairs),
                unpaired=tuple(unpaired),
            ),
            new=replace(new, spare=tuple(name for name in new.spare if name not in taken)),
        )

    def _forget(self, seen: Observation) -> None:
        """Delete the journal. Who is due by age, or all, only the start tells: the record keeps it while some are left."""
        session = self._session
        name, record = session.name, session.record
        if session.policy.match is not Match.TEMPLATE and record is not None and session.request.state != "aborted":
            unfinished = bool(session.situation(seen).roles.old)
            if unfinished != record.unfinished:
                session.cloud.tag(name, {TAG_RECORD: encode_record(replace(record, unfinished=unfinished))})
        session.cloud.untag(name, TAG_JOURNAL)
