# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run knows beyond the tag on the group; a killed run loses it and finds it again by looking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Delays


@dataclass(frozen=True, slots=True)
class Failure:
    """A new instance that did not make it ("" for a launch that AWS refused)."""

    instance_id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.instance_id}: {self.reason}" if self.instance_id else self.reason


@dataclass(frozen=True, slots=True)
class Pair:
    """An old instance and the new one that took its place."""

    old: str
    new: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Window:
    """What the looks so far tell of how long something takes: not yet at ``low`` seconds, done at ``high``."""

    low: float = 0.0
    high: float = 0.0  # 0: never seen to the end

    @property
    def known(self) -> bool:
        return self.high > 0


@dataclass(frozen=True, slots=True)
class Lock:
    """Whose the roll is."""

    seen: bool = False  # the group showed this run's own journal
    taken_from: str = ""  # whose lock was taken over; descriptions may show it for a while
    lost_to: str = ""  # who has the roll, when it is not this run
    erased: int = 0  # how often somebody deleted the journal from the group's tags


@dataclass(frozen=True, slots=True)
class Newcomers:
    """New instances, from their launch to the proof."""

    coming: Mapping[str, int] = field(default_factory=dict)  # those not proven, by the best that they reached (Rank)
    healthy_since: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)  # why they are not healthy
    missing: Mapping[str, int] = field(default_factory=dict)  # for how many polls they were not listed
    proven: frozenset[str] = frozenset()
    spare: tuple[str, ...] = ()  # proven, and not paired with an old one yet
    began: Mapping[str, float] = field(default_factory=dict)  # when their launch was set off


@dataclass(frozen=True, slots=True)
class Losses:
    """New instances that were lost."""

    failures: tuple[Failure, ...] = ()
    forgiven: int = 0  # failures from before the roll was turned back
    taken: tuple[Failure, ...] = ()  # those that AWS or somebody took away, which is no failure
    interrupted: bool = False  # some were, since there was progress
    inherited: tuple[int, ...] = ()  # how far those had come: to come as far again is no progress


@dataclass(frozen=True, slots=True)
class Leavers:
    """Instances that the roll terminated, and those that are about to be."""

    terminated: Mapping[str, float] = field(default_factory=dict)  # and when
    listed: frozenset[str] = frozenset()  # of these, still on the group's list
    draining: Mapping[str, float] = field(default_factory=dict)  # asked to drain, and when
    drained: frozenset[str] = frozenset()
    unpaired: tuple[str, ...] = ()  # terminated before any new one took their place
    pairs: tuple[Pair, ...] = ()
    still_listed: float = 0.0  # the age at which terminated ones were last seen listed
    leave: Window = Window()  # how long it takes until they are off the list


@dataclass(frozen=True, slots=True)
class Launches:
    """What AWS launches, and what it says of that."""

    known: frozenset[str] = frozenset()  # ids of activities that are accounted for
    refusal: str = ""  # waiting cannot help
    shortage: str = ""  # it can
    refused_zones: Mapping[str, str] = field(default_factory=dict)  # where launches were refused, and why
    blocked: str = ""  # a process that the roll needs is suspended
    listed: frozenset[str] = frozenset()  # all instances that were ever listed
    shown: bool = False  # the last look showed the group with the template that is rolled out
    triggered_at: float = 0.0  # launches were last set off
    unready: float = 0.0  # the age at which they were last seen not ready
    boot: Window = Window()  # how long it takes until they are


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the roll wrote of the group's sizes, which descriptions may show late, and what it heard of others."""

    written_at: float = 0.0  # the desired capacity; 0: not written
    written_to: int = 0
    written_with: str = ""  # the instance whose termination changed it; "" for a number
    written_range: tuple[int, int] = (0, 0)  # all that it was by the last writes, which may still be shown
    max_written_at: float = 0.0  # MaxSize; 0: not written
    max_shown: frozenset[int] = frozenset()  # what MaxSize was by the last writes
    own: frozenset[tuple[int, int]] = frozenset()  # changes of the desired capacity that the roll wrote
    heard: frozenset[str] = frozenset()  # sentences of AWS about changes that are accounted for
    puzzled_since: float = 0.0  # the desired capacity was changed, and AWS has not said how; 0: it is explained


@dataclass(frozen=True, slots=True)
class Writes:
    """What the roll wrote, beside the sizes."""

    pointed_at: float = 0.0  # the group's template; 0: not written
    suspended: bool = False
    restored: bool = False
    resumed: bool = False
    recycled: bool = False  # the warm pool holds nothing that is due any more
    unsaved: bool = False  # the journal has changed, and the tag does not say so yet


@dataclass(frozen=True, slots=True)
class Course:
    """How far the roll is."""

    trusting: bool = False  # at the first look of a new roll: what serves already needs no proof
    open: bool = False  # a held batch is under way
    batches: int = 0
    baked_since: float = 0.0  # 0: no bake
    progress_at: float = 0.0
    serving: int = 0  # the capacity in service and healthy everywhere, as of the last look
    lowest: int | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How the roll ends, once that is decided."""

    state: str = ""  # that the roll is being wound down to
    reason: str = ""
    cause: str = ""  # why a failed roll is being rolled back
    blind: bool = False  # something cannot be read any more: only the group is asked for


@dataclass(frozen=True, slots=True)
class Memory:
    """All of it."""

    lock: Lock = Lock()
    new: Newcomers = Newcomers()
    losses: Losses = Losses()
    old: Leavers = Leavers()
    launches: Launches = Launches()
    capacity: Capacity = Capacity()
    writes: Writes = Writes()
    course: Course = Course()
    ending: Ending = Ending()
    delays: Delays | None = None  # None: not asked
