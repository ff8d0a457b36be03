# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop: look, decide, act. Clock, sleep, clients and probes are passed in.

Every change is noted in the group's tags before its first call, and in memory after every call, so that the roll can
be taken up from any point, by this process or by the next one.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError, UnansweredError
from ansible_collections.boring.fleet.plugins.module_utils.rollout import observe
from ansible_collections.boring.fleet.plugins.module_utils.rollout import step as core
from ansible_collections.boring.fleet.plugins.module_utils.rollout.aws import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.checks import Place
from ansible_collections.boring.fleet.plugins.module_utils.rollout.journal import (
    TAG_JOURNAL,
    TAG_RECORD,
    Record,
    encode,
    encode_record,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    AskDelays,
    Beat,
    Capacity,
    Delays,
    Drain,
    Drop,
    Event,
    Finish,
    Forget,
    Group,
    Halt,
    Instance,
    Journal,
    Match,
    Memory,
    NoGroupError,
    Observation,
    Pair,
    Policy,
    Recycle,
    Resize,
    Restore,
    Resume,
    RolloutError,
    Shrink,
    Sizes,
    Step,
    Suspend,
    Template,
    Turn,
    Victim,
    Wait,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.narrator import Narrator
from ansible_collections.boring.fleet.plugins.module_utils.rollout.opening import Opener, Opening, difference
from ansible_collections.boring.fleet.plugins.module_utils.rollout.owner import Owner
from ansible_collections.boring.fleet.plugins.module_utils.rollout.plan import roles
from ansible_collections.boring.fleet.plugins.module_utils.rollout.refresher import Refresher
from ansible_collections.boring.fleet.plugins.module_utils.rollout.result import Request, Result
from ansible_collections.boring.fleet.plugins.module_utils.rollout.wording import capacity_changes, says_at_min_size

_SHORTEST_NAP = 0.05
_REFUSALS = 5  # so often in a row a look may be from before somebody scaled in to MinSize
_ADDRESSED = ("running", "stopping", "stopped")  # states in which an instance has all the addresses it will have
_GRACE = 60.0  # how long calls are tried again once the roll was told to stop


# Runs every health check against every place at once; why each fails, "" where all pass.
Prober = Callable[[Iterable[Place]], Mapping[str, str]]


class Roll:
    """One run over one group.

    ``stopped`` says why the run should end ("" while it should not); it is asked between calls and after sleeps.
    ``emit`` takes events (see narrator).
    """

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
        self.cloud = cloud
        self.request = request
        self.policy = policy
        self._own_clock = clock
        self.sleep = sleep
        self.owner = owner
        self._opener = Opener(cloud, request, policy, clock=self.clock, owner=owner)
        self.stopped = stopped
        self.prober = prober
        self.drainer = drainer
        self.narrator = Narrator(emit, self.clock, request.group)
        self.result = Result(request.group, "failed")
        self._began = clock()
        self._born: dict[str, float] = {}
        self._places: dict[str, Place] = {}
        self._record: Record | None = None
        self._group: Group | None = None  # as of the last look
        self._stopping = False
        self._broke_off = False
        self._journal: Journal | None = None

    def clock(self) -> float:
        """AWS's time: launch times, tags and activities are compared with it, whatever this machine's clock says."""
        return self._own_clock() + self.cloud.ahead

    def run(self, check_mode: bool = False) -> Result:
        """Do what the request says. Never raises for what AWS or the group may hold: a failed Result says why."""
        try:
            self._run("planned" if check_mode else self.request.state)
        except (AwsError, RolloutError) as exc:
            self._broke_off = True
            self.result.message = str(exc)
        except Exception as exc:  # nobody should have to read a traceback to find out what became of the group
            self._broke_off = True
            self.result.message = _mistake(exc)
        result = self.result
        if self._broke_off:
            stopped = self._journal is not None and self._journal.memory.ending == "aborted"
            result.state, result.failed = "aborted" if stopped else "failed", True
            if not self.cloud.writes:
                result.message = f"{result.message.rstrip('.')}. Nothing was changed"
        result.seconds = self._own_clock() - self._began
        result.api_calls = self.cloud.calls
        result.changed = result.changed or self.cloud.writes > 0
        if self._journal is not None:
            memory = self._journal.memory
            result.replaced, result.failures = memory.pairs, memory.failures
            if memory.lowest is not None:
                result.lowest_in_service = memory.lowest
        if result.state != "planned":
            self.narrator.finished(result.as_dict(), result.message, result.failed)
        return result

    # ---- the whole ---------------------------------------------------------------------------------------------

    def _run(self, state: str) -> None:
        group = self.cloud.group(self.request.group)
        result = self.result
        result.before = result.during = result.after = Sizes.of(group)
        if state == "aborted":
            self._abort(group)
            return
        try:
            opening = self._opener.open(group)
        except (AwsError, RolloutError) as exc:
            if state == "planned" or not self._opener.may_take_over(group):
                raise
            self._take_over(group, "failed", str(exc))  # what an earlier run left must not stay for that
            return
        plan = opening.plan
        self._record, self._born = opening.record, dict(opening.seen.born)
        result.plan, result.before, result.during, result.after = plan, plan.before, plan.before, plan.before
        result.lowest_in_service = observe.serving(opening.seen)
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
        if opening.left is None and (why := self.stopped()):
            result.state, result.failed = "aborted", True
            result.message = f"{why} before anything was changed"
            return
        self._claim(opening)
        self._drive(state, opening)

    def _claim(self, opening: Opening) -> None:
        """Take the lock. Whether it was really us who got it, the next look tells."""
        group, journal, plan, fresh = opening.seen.group, opening.journal, opening.plan, opening.left is None
        tags = {TAG_JOURNAL: encode(journal)}
        if fresh and plan.due and not journal.back:
            self._record = opening.recorded
            tags[TAG_RECORD] = encode_record(opening.recorded)
        asked = self.request.state == "rolled_back"
        try:
            known = self.cloud.activities(group.name)
        except AwsError:
            known = ()  # whether that matters, the looks will tell
        self._journal = replace(
            journal,
            memory=Memory(
                heir_of="" if opening.left is None else opening.left.owner,
                trusting=fresh,
                activities=frozenset(activity.id for activity in known),
                capacity=Capacity(heard=frozenset(change.sentence for change in capacity_changes(known))),
                triggered_at=self.clock(),
                progress_at=self.clock(),
                cause="" if fresh or not journal.back or asked else "an earlier run of this roll failed",
            ),
        )
        self._group = group
        self.narrator.started(plan, journal, self.policy, resumed=not fresh)
        self.cloud.tag(group.name, tags)

    # ---- the loop ----------------------------------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("a roll has its journal from its first step on")
        return self._journal

    def rejournal(self, **changes: Any) -> None:
        """Change the journal; note() writes it."""
        self._journal = replace(self.journal, **changes)

    def remember(self, **changes: Any) -> None:
        """Change what this run knows."""
        self._journal = replace(self.journal, memory=replace(self.journal.memory, **changes))

    def _drive(self, state: str, opening: Opening | None) -> None:
        """Roll to the end. Whatever breaks, the group is put back first, and then it is said what broke."""
        self.result.state = state
        refresher = Refresher(self, opening) if self.journal.refresh and opening is not None else None
        try:
            if refresher is not None:
                refresher.run()
            else:
                self._loop()
        except NoGroupError:
            raise RolloutError(self._deleted()) from None
        except Exception as exc:
            why = str(exc) if isinstance(exc, (AwsError, RolloutError)) else _mistake(exc)
            self._give_up(why, refresher)
        self._conclude()

    def _give_up(self, why: str, refresher: Refresher | None) -> None:
        """Put the group back with nothing but looks at the group itself, and writes."""
        memory = self.journal.memory
        if not memory.ending or memory.blind:
            reason = f"{memory.reason}; {why}" if memory.reason and why not in memory.reason else why
            self.remember(ending=memory.ending or "failed", reason=reason)
        if not memory.ending:
            self.narrator.halted(Halt("failed", why))
        self.remember(blind=True)
        self.cloud.patience = min(self.cloud.patience, _GRACE)
        try:
            if refresher is not None:
                refresher.give_up()
            else:
                self._loop()
        except NoGroupError:
            raise RolloutError(self._deleted()) from None
        except (AwsError, RolloutError) as exc:
            again = f"; {exc}" if str(exc) not in self.journal.memory.reason else ""
            raise RolloutError(f"{self.journal.memory.reason or why}{again}. {self._left_as()}") from exc

    def _deleted(self) -> str:
        return (
            f"the Auto Scaling group {self.request.group} was deleted while it was being rolled: "
            "there is nothing left to put back"
        )

    def _left_as(self) -> str:
        """How the group was left by a roll that could not put it back, as far as this process knows."""
        journal, group = self.journal, self._group
        sizes = Sizes(group.min if group else 0, journal.max_size + journal.headroom, journal.desired + journal.surge)
        own = []
        if journal.surge:
            own.append(f"{journal.surge} of the desired capacity are the roll's")
        if journal.headroom:
            own.append(f"MaxSize is raised by {journal.headroom}")
        if journal.memory.suspended and not journal.memory.resumed:
            own.append(f"{', '.join(journal.suspended)} is suspended")
        if journal.refresh:
            own.append("its instance refresh may be under way")
        own.append(f"the roll's journal is in the tag {TAG_JOURNAL}")
        return (
            f"The group {self.request.group} was left with {sizes}; {', '.join(own)}. Once AWS answers again, "
            "state=aborted puts it back, and the same task again goes on"
        )

    def _loop(self) -> None:
        seen = self._observe()
        refused = 0
        while True:
            stopping = self._stopping
            if self.told_to_stop() and not stopping:
                seen = self._observe()  # in another light: who serves decides who of ours may go
            step = core.next_step(seen, self.journal, self.policy, self.clock())
            if isinstance(step, Wait):
                self._wait(step)
                seen = self._observe()
                continue
            if isinstance(step, Finish):
                self.remember(ending=step.state, reason=step.reason)
                self._withdraw(seen.group)
                return
            try:
                self._act(seen, step)
                if isinstance(step, Drain | Recycle) or (isinstance(step, Halt) and not self.journal.memory.ending):
                    seen = self._observe()  # time has passed, or all is seen in another light
                refused = 0
            except AwsError as exc:
                if says_at_min_size(exc.text) and refused < _REFUSALS:
                    # Somebody scaled in after what the look showed, and took what was to leave.
                    refused += 1
                    self.sleep(self.policy.poll_interval)
                    seen = self._observe()
                    continue
                if self.journal.memory.ending:
                    raise
                self._act(seen, Halt("failed", str(exc)))
                seen = self._observe()
            if isinstance(step, Forget):
                return

    def _withdraw(self, group: Group) -> None:
        """What a roll that somebody else ended wrote meanwhile into the tag of the journal goes."""
        if encode(self.journal).partition(" ")[0] == group.tags.get(TAG_JOURNAL, "").partition(" ")[0]:
            self.cloud.untag(group.name, TAG_JOURNAL)

    def told_to_stop(self) -> bool:
        """Whether the run was told to stop, by now or before."""
        if not self._stopping and (why := self.stopped()):
            self._stopping = True
            self.cloud.patience = _GRACE
            if not self.journal.memory.ending:
                self.remember(ending="aborted", reason=why)
                self.narrator.say(f"{why}: putting the group back as it was")
        return self._stopping

    def beat(self) -> None:
        """Renew the lock when it is time."""
        if self.clock() >= core.next_beat(self.journal, self.policy):
            self.note()

    def take_in(self, seen: Observation) -> None:
        """Remember what was observed."""
        self._journal = observe.remember(seen, self.journal, self.policy, self.clock())
        self._widen(seen.group)

    def _observe(self) -> Observation:
        """Look at the group and at what decides something now. Only the group itself must answer."""
        journal, policy, now = self.journal, self.policy, self.clock()
        self._group = group = self.cloud.group(self.request.group)
        seen = Observation(group, None, now, born=self._born)
        try:
            seen = self._look_closer(seen, journal, now)
        except (AwsError, RolloutError) as exc:
            if isinstance(exc, NoGroupError):
                raise
            self.remember(blind=True)
            if not self.journal.memory.ending:
                self._act(seen, Halt("failed", str(exc)))
        self.take_in(seen)
        self.narrator.looked(seen, journal, self.journal, policy)
        return seen

    def _look_closer(self, seen: Observation, journal: Journal, now: float) -> Observation:
        group, policy = seen.group, self.policy
        first = journal.memory.lowest is None and not journal.memory.blind
        view = observe.survey(seen, journal, policy, now)
        if first or observe.wants_health(view, journal):
            seen = replace(seen, health=self.cloud.health(group)[0])
        if observe.wants_activities(view, seen, journal, policy, now):
            seen = replace(seen, activities=self.cloud.activities(group.name))
            if names := observe.found_dead(seen, journal, policy, now):
                seen = replace(seen, ended=self._why_ended(names))
        if observe.wants_warm(group, journal):
            seen = replace(seen, warm=self.cloud.warm_instances(group.name))
        if seen.health is not None and self.prober is not None:
            parts = roles(seen, journal, policy)
            seen = replace(seen, checks=self._probe([i for i in parts.fresh if i.id not in seen.sick]))
        return seen

    def _why_ended(self, names: Iterable[str]) -> dict[str, str]:
        """EC2's codes of why instances ended; none where it may not be asked."""
        try:
            return {name: machine.ended for name, machine in self.cloud.machines(names).items()}
        except AwsError:
            return {}

    def _probe(self, instances: Iterable[Instance]) -> Mapping[str, str]:
        wanted = {instance.id: instance for instance in instances}
        if self.prober is None or not wanted:
            return {}
        self._find(wanted)
        found = dict(self.prober([self._places[name] for name in wanted if name in self._places]))
        for name in wanted:
            if name not in self._places:
                found[name] = "EC2 does not know it yet"
        return found

    def _wait(self, step: Wait) -> None:
        """Sleep; probe on the way, which costs no API call, and let a failing probe break the proof."""
        self.narrator.waiting(step)
        while (ahead := step.until - self.clock()) > 0:
            if not self._stopping and self.stopped():
                return
            if not step.probe or self.prober is None:
                # Longer than the lock allows only with a lock_timeout of seconds.
                self.sleep(min(ahead, max(core.next_beat(self.journal, self.policy) - self.clock(), _SHORTEST_NAP)))
                self.beat()
                continue
            self.sleep(min(ahead, self.policy.poll_interval))
            if step.until - self.clock() <= 0:
                return
            places = [self._places[name] for name in step.probe if name in self._places]
            broken = {name for name, why in self.prober(places).items() if why}
            if broken:
                memory = self.journal.memory
                since = {name: moment for name, moment in memory.healthy_since.items() if name not in broken}
                self.remember(healthy_since=since, proven=memory.proven - broken)

    def _widen(self, group: Group) -> None:
        """Keep the widest sizes that were seen."""
        during = self.result.during
        if during is None:
            return
        self.result.during = Sizes(group.min, max(during.max, group.max), max(during.desired, group.desired))

    # ---- acting ------------------------------------------------------------------------------------------------

    def _act(self, seen: Observation, step: Step) -> None:
        name = self.request.group
        match step:
            case Beat():
                self.note()
            case Suspend(processes):
                self.cloud.suspend(name, processes)
                self.remember(suspended=True)
            case Turn():
                self._turn(seen, step)
            case Drain(instances):
                self._drain(seen, instances)
            case Recycle(instances):
                self.cloud.recycle(instance.id for instance in instances)
                self.narrator.say(f"recycling {len(instances)} of the warm pool")
                self.sleep(self.policy.poll_interval)
            case AskDelays():
                try:
                    delays = self.cloud.delays(seen.group)
                except AwsError:
                    delays = Delays()
                self.remember(delays=delays)
                self.narrator.say(
                    f"lifecycle hooks and load balancers may take {delays.launch:g} s for a launch, "
                    f"{delays.terminate:g} s for a termination"
                )
            case Drop():
                self._drop(step)
            case Shrink(to, resize):
                self.note(resize)
                if to != self._shown(seen):
                    self.cloud.update(name, desired=to)
                    self._wrote(self._shown(seen), to, update=True)
                self._journal = replace(self.journal, surge=resize.surge)
                self._note_open_batch()
            case Restore(max_size, spec, floats):
                has = self.journal.target.template
                template = replace(has, version=spec) if spec else has if floats else None
                self.cloud.update(name, max_size=max_size, template=template, mixed=seen.group.mixed, versions=floats)
                if max_size is not None:
                    self._wrote_max(max_size)
                    self.rejournal(headroom=0, headroom_before=0)
                self.remember(restored=True)
            case Resume(processes):
                self.cloud.resume(name, processes)
                self.remember(resumed=True)
            case Forget():
                self._forget(seen)
            case Halt(state, reason, failures):
                memory = self.journal.memory
                kept = tuple(dict.fromkeys((*memory.failures, *failures)))
                self.remember(ending=state, reason=reason, failures=kept, recycled=False)
                self.narrator.halted(step)
                if state == "failed" and self.policy.rollback and not memory.blind:
                    self._turn_back(reason)
            case _:
                raise RolloutError(f"there is no way to do {type(step).__name__}")

    def _turn_back(self, reason: str) -> None:
        """Roll to what the instances had before, by the same means: what is new becomes old."""
        journal, record, group = self.journal, self._record, self._group
        if journal.back or record is None or group is None:
            return
        if record.template.same(journal.target.template) and not record.own.versions:
            return
        try:
            target, pins = self._opener.before(record, group)
        except (AwsError, RolloutError) as exc:
            self.remember(ending="failed", reason=f"{reason}; it cannot be rolled back: {exc}")
            return
        self._journal = replace(
            journal,
            target=target,
            spec="",
            pins=tuple(pin for pin in journal.pins if pin in pins),
            failed=0,
            back=True,
            memory=replace(
                journal.memory,
                trusting=True,
                cause=reason,
                forgiven=len(journal.memory.failures),
                ending="",
                reason="",
                coming={},
                healthy_since={},
                missing={},
                inherited=(),
                refused_zones={},
                proven=frozenset(),
                spare=(),
                widows=(),
                refusal="",
                shortage="",
                open=False,
                shown=False,
                pointed_at=0.0,
                progress_at=self.clock(),
            ),
        )
        self.narrator.say(f"rolling back to {self.journal.target.template.label}")
        self.note()

    def _shown(self, seen: Observation) -> int:
        """The group's desired capacity as it is now, our last write and those of others since included."""
        return observe.survey(seen, self.journal, self.policy, self.clock()).actual

    def note(self, resize: Resize | None = None) -> None:
        """Write the journal: a change that is about to be made, and a sign of life.

        What an open batch raised, its end takes back step by step; the tag says that from its beginning on, so that
        the end needs no note of its own (journal.settle).
        """
        journal = self.journal
        journal = replace(
            journal,
            beat=self.clock(),
            pending=journal.surge,
            headroom_before=journal.headroom,
            memory=replace(journal.memory, unsaved=False),
        )
        if resize is not None:
            journal = replace(
                journal,
                pending=resize.surge,
                desired=resize.desired,
                old=resize.old,
                headroom=resize.headroom,
                max_size=resize.max_size,
            )
        failed = journal.failed + len(journal.memory.failures) - journal.memory.forgiven
        told = replace(journal, failed=failed)
        if resize is None and journal.memory.open:
            told = replace(told, surge=0)
        self.cloud.tag(self.request.group, {TAG_JOURNAL: encode(told)})
        self._journal = journal

    def _note_open_batch(self) -> None:
        """The end of a batch relies on what the tag said at its beginning: when that changed, it is said again."""
        if self.journal.memory.open:
            self.note()

    def _wrote(self, before: int, after: int, *, update: bool = False) -> None:
        """The desired capacity was changed by this roll; ``update``: as a number."""
        capacity, now = self.journal.memory.capacity, self.clock()
        late = capacity.written_at and now - capacity.written_at < self.policy.lag
        recent = capacity.written_range if late else (before, before)
        capacity = replace(
            capacity,
            written_at=now,
            written_to=after,
            written_range=(min(before, after, *recent), max(before, after, *recent)),
            own=capacity.own | {(before, after)} if update else capacity.own,
        )
        self.remember(capacity=capacity)
        if self.result.during is not None:
            self.result.during = replace(self.result.during, desired=max(self.result.during.desired, after))

    def _wrote_max(self, after: int) -> None:
        """MaxSize was written."""
        journal = self.journal
        shown = {
            after,
            journal.max_size,
            journal.max_size + journal.headroom,
            journal.max_size + journal.headroom_before,
        }
        capacity = journal.memory.capacity
        self.remember(capacity=replace(capacity, max_written_at=self.clock(), max_shown=capacity.max_shown | shown))

    def _turn(self, seen: Observation, step: Turn) -> None:
        name, now = self.request.group, self.clock()
        if step.resize is not None and not (step.closes and self.journal.memory.open):
            self.note(step.resize)
        journal = self.journal
        desired = journal.desired + journal.surge
        point = journal.target.template if step.point else None
        numbers = {name: template.version for name, template in journal.target.by_type.items()}
        if point is not None and (step.victims or step.grow_to is None):
            # What the terminations launch must be of the new template already.
            self.cloud.update(name, template=point, mixed=seen.group.mixed, versions=numbers)
            point = None
        if step.point:
            self.remember(pointed_at=self.clock())
        if step.launches:
            self.remember(triggered_at=now, unready=0.0)
        if step.victims or step.launches:
            self.remember(progress_at=self.clock())
        gone: dict[str, float] = {}
        try:
            for victim in step.victims:
                if not self._stopping and self.stopped():
                    return
                shrink = victim.shrink
                done = self._terminate(victim.instance, shrink=shrink)
                gone[victim.instance.id] = self.clock()
                if done and shrink:
                    self._wrote(desired, desired - victim.instance.weight)
                    desired -= victim.instance.weight
                    self._journal = replace(self.journal, surge=self.journal.surge - victim.instance.weight)
        finally:
            self._let_go(gone, step.victims)
        # Only now: launched before, new ones would go to zones that are about to have room.
        if step.grow_to is not None:
            self.cloud.update(
                name,
                desired=step.grow_to,
                max_size=step.max_to,
                template=point,
                mixed=seen.group.mixed,
                versions=numbers,
            )
            self._wrote(desired, step.grow_to, update=True)
            if step.max_to is not None:
                self._wrote_max(step.max_to)
            self._journal = replace(self.journal, surge=self.journal.surge + step.grow_to - desired)
            if step.max_to is not None and self.result.during is not None:
                self.result.during = replace(self.result.during, max=max(self.result.during.max, step.max_to))
        memory = self.journal.memory
        if step.opens:
            self.remember(open=True)
        if step.closes and self.journal.surge == 0:
            self._journal = replace(
                self.journal, memory=observe.close_batch(self.journal.memory, self.policy, self.clock())
            )
        elif step.victims and (not self.policy.held or step.victims[0].apart):
            self.remember(batches=memory.batches + 1)
        self.narrator.turned(step, self.journal)

    def _drain(self, seen: Observation, instances: Iterable[Instance]) -> None:
        """Tell instances that they will leave, again and again until they say that they are done.

        Returns after the longest poll at the latest, so that the group is looked at meanwhile.
        """
        waiting = {instance.id: instance for instance in instances}
        memory, began = self.journal.memory, self.clock()
        self._find(waiting, also=roles(seen, self.journal, self.policy).old)
        fresh = [name for name in waiting if name not in memory.draining]
        if fresh:
            self.remember(draining={**memory.draining, **dict.fromkeys(fresh, began)}, progress_at=began)
            self.narrator.say(f"draining {', '.join(fresh)}")
        pause = self.policy.poll_interval
        while True:
            answers = (
                self.drainer([self._places[name] for name in waiting if name in self._places]) if self.drainer else {}
            )
            # One that is not healthy is asked, and goes: what serves nobody cannot be made to cooperate.
            done = {name for name in waiting if answers.get(name) == "" or name in seen.sick}
            if done:
                memory = self.journal.memory
                self.remember(drained=memory.drained | done, progress_at=self.clock())
                waiting = {name: instance for name, instance in waiting.items() if name not in done}
            late = self.clock() - self.journal.memory.progress_at > self.policy.batch_timeout
            if late and waiting:
                name = next(iter(waiting))
                why = answers.get(name) or "EC2 does not know it"
                self._act_halt(f"{name} was not drained for {self.policy.batch_timeout:g} s (batch_timeout): {why}")
            if not waiting or late or self.stopped() or self.clock() - began >= self.policy.longest_poll:
                return
            self.sleep(pause)

    def _act_halt(self, reason: str) -> None:
        step = Halt("failed", reason)
        self.remember(ending=step.state, reason=reason)
        self.narrator.halted(step)

    def _find(self, wanted: Mapping[str, Instance], also: Iterable[Instance] = ()) -> None:
        """Look up where instances are found, those that are not known yet, and in the same call others."""
        if all(name in self._places for name in wanted):
            return
        zones = {instance.id: instance.zone for instance in (*also, *wanted.values())}
        unknown = [name for name in zones if name not in self._places]
        for name, machine in self.cloud.machines(unknown).items():
            if machine.address or machine.state in _ADDRESSED:
                self._places[name] = Place(name, machine.address, zones[name])

    def _drop(self, step: Drop) -> None:
        if step.resize is not None:
            self.note(step.resize)
        desired = self.journal.desired + self.journal.surge
        gone: dict[str, float] = {}
        try:
            for instance in step.instances:
                shrink = step.resize is not None
                done = self._terminate(instance, shrink=shrink)
                gone[instance.id] = self.clock()
                if done and shrink:
                    self._wrote(desired, desired - instance.weight)
                    desired -= instance.weight
                    self._journal = replace(self.journal, surge=self.journal.surge - instance.weight)
        finally:
            self._let_go(gone)
        memory = self.journal.memory
        ids = {instance.id for instance in step.instances}
        self.remember(
            failures=(*memory.failures, *step.failures),
            coming={name: rank for name, rank in memory.coming.items() if name not in ids},
            spare=tuple(name for name in memory.spare if name not in ids),
            proven=memory.proven - ids,
            progress_at=self.clock(),
        )
        if step.resize is None:
            self.remember(triggered_at=self.clock(), unready=0.0)
        if step.resize is not None:
            self._note_open_batch()
        self.narrator.dropped(step)

    def _terminate(self, instance: Instance, *, shrink: bool) -> bool:
        """Terminate, and find out whether it happened when AWS gave no answer."""
        done = True
        for dummy in range(5):
            try:
                done = self.cloud.terminate(instance.id, shrink=shrink)
                break
            except UnansweredError:
                self.sleep(self.policy.poll_interval)
                group = self.cloud.group(self.request.group)
                now = group.by_id.get(instance.id)
                if now is None or now.leaving:
                    break
        else:
            raise AwsError(f"AWS did not answer when it was asked five times to terminate {instance.id}")
        return done

    def _let_go(self, gone: Mapping[str, float], victims: Iterable[Victim] = ()) -> None:
        """Remember who was told to terminate and when, and who takes the victims' places.

        All of a batch at once, because each time copies everything.
        """
        if not gone:
            return
        memory = self.journal.memory
        pairs, widows, taken = list(memory.pairs), list(memory.widows), set[str]()
        for victim in victims:
            name, successor = victim.instance.id, victim.successor
            if name not in gone:
                continue  # told to stop before
            if victim.apart:
                pairs.append(Pair(name, "", 0.0))
            elif successor:
                pairs.append(Pair(name, successor, round(gone[name] - memory.began.get(successor, gone[name]), 1)))
                taken.add(successor)
            else:
                widows.append(name)
        self.remember(
            gone={**memory.gone, **gone},
            leaving=memory.leaving | gone.keys(),
            pairs=tuple(pairs),
            widows=tuple(widows),
            spare=tuple(name for name in memory.spare if name not in taken),
        )

    def _forget(self, seen: Observation) -> None:
        """Delete the journal. Who is due by age, or all, only the start tells: the record keeps it while some are left."""
        name, record = self.request.group, self._record
        if self.policy.match is not Match.TEMPLATE and record is not None and self.request.state != "aborted":
            unfinished = bool(roles(seen, self.journal, self.policy).old)
            if unfinished != record.unfinished:
                self.cloud.tag(name, {TAG_RECORD: encode_record(replace(record, unfinished=unfinished))})
        self.cloud.untag(name, TAG_JOURNAL)

    # ---- abort, and the end ------------------------------------------------------------------------------------

    def _abort(self, group: Group) -> None:
        result = self.result
        result.state = "aborted"
        if self._opener.left_behind(group) is None:
            result.message = f"nothing to abort: no roll of the group {group.name} is under way or was left behind"
            try:
                result.lowest_in_service = observe.serving(Observation(group, self.cloud.health(group)[0]))
                result.done = self._opener.open(group).idle
            except (AwsError, RolloutError):
                result.done = False  # there is nothing that it could be rolled to
            return
        self._take_over(group, "aborted", "")

    def _take_over(self, group: Group, ending: str, reason: str) -> None:
        """Put back what another run left behind, from the group alone."""
        opening = self._opener.recover(group)
        result, journal, left = self.result, opening.journal, opening.left
        if left is None:
            raise RuntimeError("the journal that was there a moment ago")
        result.plan = opening.plan
        result.before = result.during = result.after = Sizes(group.min, journal.max_size, journal.desired)
        journal = replace(journal, suspended=left.suspended)
        self._group, self._record = group, opening.record
        self._journal = replace(
            journal,
            memory=Memory(
                heir_of=left.owner,
                ending=ending,
                reason=reason,
                blind=bool(reason),
                progress_at=self.clock(),
                suspended=bool(left.suspended),
                capacity=Capacity(heard=opening.heard),
            ),
        )
        tags = {TAG_JOURNAL: encode(journal)}
        dead = self.owner.is_dead(left.owner)
        if opening.record is not None and not dead:
            # Its owner may live, and look next when the journal is gone already.
            tags[TAG_RECORD] = encode_record(replace(opening.record, stopped=self.clock()))
        self.cloud.tag(group.name, tags)
        if not dead:
            self.sleep(self.policy.poll_interval)  # what its owner is doing at this moment ends meanwhile
        self._drive(ending, opening)

    def _conclude(self) -> None:
        """Look once more at what the roll left, and say it."""
        result, journal = self.result, self.journal
        memory = journal.memory
        try:
            group = self.cloud.group(self.request.group)
        except NoGroupError:
            raise RolloutError(self._deleted()) from None
        result.after = self._after(group)
        seen = Observation(group, born=self._born)
        parts = roles(seen, journal, self.policy)
        result.state, result.done = memory.ending, not (parts.old or parts.apart)
        result.failures = memory.failures
        if memory.ending in ("completed", "advanced") and result.done and journal.spec and not journal.back:
            newest = self._newest()
            if newest is not None and not newest.same(journal.target.template):
                result.state, result.done = "superseded", False
                result.message = (
                    f"{journal.spec} moved to version {newest.version} while version "
                    f"{journal.target.template.version} was being rolled out: run again to roll to it"
                )
        if result.state in ("completed", "advanced") or (result.state == "rolled_back" and not memory.cause):
            still = f"; still terminating: {', '.join(sorted(memory.leaving))}" if memory.leaving else ""
            result.message = result.message or f"replaced {len(memory.pairs)} of the group {group.name}{still}"
            return
        if result.state == "superseded" or (result.state == "aborted" and self.request.state == "aborted"):
            result.message = result.message or memory.reason or f"the roll of the group {group.name} was aborted"
            return
        result.failed = True
        serving = Counter(
            instance.template.label if instance.template else "no template"
            for instance in group.instances
            if instance.in_service and instance.id not in memory.gone
        )
        in_service = ", ".join(f"{count} on {label}" for label, count in sorted(serving.items())) or "nobody"
        reasons = [memory.cause, memory.reason, "rolled back" if result.state == "rolled_back" else ""]
        why = "; ".join(text.rstrip(".") for text in reasons if text)
        result.message = (
            f"{why}. Replaced {len(memory.pairs)}; the group {group.name} was left with {result.after}, "
            f"in service: {in_service}"
        )

    def _newest(self) -> Template | None:
        """What the floating version stands for by now; None where AWS does not say."""
        journal = self.journal
        try:
            return self.cloud.resolve(replace(journal.target.template, version=journal.spec))
        except (AwsError, RolloutError):
            return None

    def _after(self, group: Group) -> Sizes:
        """The group's sizes; where AWS does not show our last writes yet, what they made of them."""
        memory = self.journal.memory
        view = observe.survey(Observation(group), self.journal, self.policy, self.clock())
        return Sizes(group.min, self.journal.max_size if memory.restored else group.max, view.actual)


def _mistake(exc: Exception) -> str:
    return (
        f"this is a mistake in asg_rollout, please report it: {type(exc).__name__}: {exc} ({_where(exc)}). "
        "What the roll changed is noted in the group's tags: the same task again, or state=aborted, takes it up"
    )


def _where(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
