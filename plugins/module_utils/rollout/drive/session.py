# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every way to roll drives with: the journal and its tag, the clock, the lock, the events.

Every change is noted in the group's tag before its first call, and in memory after every call, so that the roll can be
taken up from any point, by this process or by the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import step as core
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.learning import remember
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import Sorter
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.situation import Situation
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import encode
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.result import Result
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.owner import Owner
from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.narrator import Narrator
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Delays,
    Group,
    Observation,
    Sizes,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import (
    TAG_JOURNAL,
    Journal,
    Record,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import (
    Capacity,
    Course,
    Ending,
    Launches,
    Leavers,
    Losses,
    Memory,
    Newcomers,
    Writes,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy, Request
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import Event, Resize

GRACE = 60.0  # how long calls are tried again once the roll is to end


@dataclass
class Session:
    """One run over one group.

    ``stopped`` says why the run should end ("" while it should not); it is asked between calls and after sleeps.
    ``emit`` takes events (see narrator).
    """

    cloud: Cloud
    request: Request
    policy: Policy
    own_clock: Callable[[], float]
    sleep: Callable[[float], None]
    owner: Owner
    emit: Callable[[Event], None]
    stopped: Callable[[], str]
    result: Result = field(init=False)
    narrator: Narrator = field(init=False)
    sorter: Sorter = field(default_factory=Sorter)
    born: dict[str, float] = field(default_factory=dict)  # launch times, where the policy needs them
    record: Record | None = None
    group: Group | None = None  # as of the last look
    stopping: bool = False
    _journal: Journal | None = None

    def __post_init__(self) -> None:
        self.result = Result(self.request.group, "failed")
        self.narrator = Narrator(self.emit, self.clock, self.request.group)

    @property
    def name(self) -> str:
        """The group's."""
        return self.request.group

    def clock(self) -> float:
        """AWS's time: launch times, tags and activities are compared with it, whatever this machine's clock says."""
        return self.own_clock() + self.cloud.ahead

    # ---- the journal -----------------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether the roll has a journal."""
        return self._journal is not None

    @property
    def journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("a roll has its journal from its first step on")
        return self._journal

    @journal.setter
    def journal(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def memory(self) -> Memory:
        return self.journal.memory

    def keep(
        self,
        *,
        new: Newcomers | None = None,
        losses: Losses | None = None,
        old: Leavers | None = None,
        launches: Launches | None = None,
        capacity: Capacity | None = None,
        writes: Writes | None = None,
        course: Course | None = None,
        ending: Ending | None = None,
        delays: Delays | None = None,
    ) -> None:
        """Change what this run knows: the records that are given."""
        has = self.memory
        memory = replace(
            has,
            new=new or has.new,
            losses=losses or has.losses,
            old=old or has.old,
            launches=launches or has.launches,
            capacity=capacity or has.capacity,
            writes=writes or has.writes,
            course=course or has.course,
            ending=ending or has.ending,
            delays=delays or has.delays,
        )
        self.journal = replace(self.journal, memory=memory)

    def progressed(self) -> None:
        """Something was done: from now on batch_timeout counts anew."""
        self.keep(course=replace(self.memory.course, progress_at=self.clock()))

    def end_as(self, state: str, reason: str) -> None:
        """Decide how the roll ends."""
        self.keep(ending=replace(self.memory.ending, state=state, reason=reason))

    def go_blind(self) -> None:
        """From now on nothing but the group itself is asked for."""
        self.keep(ending=replace(self.memory.ending, blind=True))

    def note(self, resize: Resize | None = None) -> None:
        """Write the journal: a change that is about to be made, and a sign of life.

        What an open batch raised, its end takes back step by step; the tag says that from its beginning on, so that
        the end needs no note of its own (decisions.sizes.settle).
        """
        journal = self.journal
        memory = replace(journal.memory, writes=replace(journal.memory.writes, unsaved=False))
        journal = replace(
            journal,
            beat=self.clock(),
            pending=journal.surge,
            headroom_before=journal.headroom,
            memory=memory,
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
        written = replace(journal, failed=journal.failed + len(memory.losses.failures) - memory.losses.forgiven)
        if resize is None and memory.course.open:
            written = replace(written, surge=0)
        self.cloud.tag(self.name, {TAG_JOURNAL: encode(written)})
        self.journal = journal

    def note_open_batch(self) -> None:
        """The end of a batch relies on what the tag said at its beginning: when that changed, it is said again."""
        if self.memory.course.open:
            self.note()

    def beat(self) -> None:
        """Renew the lock when it is time."""
        if self.clock() >= core.next_beat(self.journal, self.policy):
            self.note()

    # ---- looking ---------------------------------------------------------------------------------------------------

    def situation(self, seen: Observation) -> Situation:
        """An observation in the light of the journal."""
        return Situation.of(seen, self.journal, self.policy, self.clock(), self.sorter)

    def take_in(self, seen: Observation) -> None:
        """Remember what was observed, and tell what is new."""
        before = self.journal
        self.journal = remember(seen, before, self.policy, self.clock(), self.sorter)
        during, group = self.result.during, seen.group
        if during is not None:
            self.result.during = Sizes(group.min, max(during.max, group.max), max(during.desired, group.desired))
        self.narrator.looked(seen, before, self.journal, self.sorter.sort(seen, self.journal, self.policy))

    # ---- own writes ------------------------------------------------------------------------------------------------

    def wrote(self, before: int, after: int, *, ended: str) -> None:
        """The desired capacity was changed by this roll: with the end of an instance, or as a number (``ended`` is empty)."""
        capacity, now = self.memory.capacity, self.clock()
        late = self.policy.may_be_late(capacity.written_at, now)
        recent = capacity.written_range if late else (before, before)
        self.keep(
            capacity=replace(
                capacity,
                written_at=now,
                written_to=after,
                written_with=ended,
                written_range=(min(before, after, *recent), max(before, after, *recent)),
                own=capacity.own if ended else capacity.own | {(before, after)},
            )
        )
        if self.result.during is not None:
            self.result.during = replace(self.result.during, desired=max(self.result.during.desired, after))

    def wrote_max(self, after: int) -> None:
        """MaxSize was written."""
        journal, capacity = self.journal, self.memory.capacity
        shown = {after, *(journal.max_size + room for room in (0, journal.headroom, journal.headroom_before))}
        self.keep(capacity=replace(capacity, max_written_at=self.clock(), max_shown=capacity.max_shown | shown))
        if self.result.during is not None:
            self.result.during = replace(self.result.during, max=max(self.result.during.max, after))

    # ---- the end ---------------------------------------------------------------------------------------------------

    def asked_to_stop(self) -> bool:
        """Whether the run was asked to stop, by now or before."""
        if not self.stopping and (why := self.stopped()):
            self.stopping = True
            self.cloud.patience = GRACE
            if not self.memory.ending.state:
                self.end_as("aborted", why)
                self.narrator.say(f"{why}: putting the group back as it was")
        return self.stopping

    def deleted(self) -> str:
        meanwhile = "while it was being rolled: there is nothing left to put back" if self.begun else "meanwhile"
        return f"the Auto Scaling group {self.name} was deleted {meanwhile}"

    def left_as(self) -> str:
        """How the group was left by a roll that could not put it back, as far as this process knows."""
        journal, writes = self.journal, self.memory.writes
        least = self.group.min if self.group else 0
        sizes = Sizes(least, journal.max_size + journal.headroom, journal.desired + journal.surge)
        own = []
        if journal.surge:
            own.append(f"{journal.surge} of the desired capacity are the roll's")
        if journal.headroom:
            own.append(f"MaxSize is raised by {journal.headroom}")
        if writes.suspended and not writes.resumed:
            own.append(f"{', '.join(journal.suspended)} is suspended")
        if journal.refresh:
            own.append("its instance refresh may be under way")
        own.append(f"the roll's journal is in the tag {TAG_JOURNAL}")
        return (
            f"The group {self.name} was left with {sizes}; {', '.join(own)}. Once AWS answers again, "
            "state=aborted puts it back, and the same task again goes on"
        )
