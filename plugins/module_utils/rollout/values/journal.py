# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll keeps in the tags of its group."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Group, Refresh, Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Memory
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Target

TAG_JOURNAL = "boring:rollout"
TAG_RECORD = "boring:rollout-record"
NEW_REFRESH = "new"
SKEW = 60.0  # by how much the clock that an instance refresh began by may be ahead of AWS's


@dataclass(frozen=True, slots=True)
class Journal:
    """What a roll has done to the group and means to undo. All but ``memory`` is kept in a tag of the group.

    ``surge`` is how much of the group's desired capacity is the roll's own; while a write is under way ``pending`` is
    what it will be afterwards, and ``desired``, ``max_size`` and ``old`` are what tells, after a kill, whether that
    write happened (journal.settle).
    """

    owner: str
    beat: float
    started: float
    target: Target
    spec: str = ""  # the floating version that the group had, or is to have, in place of the pinned number
    pins: tuple[tuple[int, str], ...] = ()  # the same of a mixed instances policy's overrides, by their place in it
    surge: int = 0
    pending: int = 0
    desired: int = 0  # the user's
    headroom: int = 0  # by how much MaxSize was raised
    headroom_before: int = 0  # the same before the write that is under way
    max_size: int = 0  # the user's
    old: int = 0  # instances that were due then
    suspended: tuple[str, ...] = ()
    failed: int = 0
    back: bool = False  # this is a roll back
    held: bool = False  # each batch takes back at its end what it raised
    refresh: str = ""  # the instance refresh that does it, NEW_REFRESH before its id is known; "" done in batches
    memory: Memory = field(default_factory=Memory, compare=False)

    def floats(self, group: Group) -> dict[str, str]:
        """The floating versions that overrides of the group had, by instance type."""
        types = list(group.overrides)
        return {types[place]: version for place, version in self.pins if place < len(types)}

    def owns(self, refresh: Refresh) -> bool:
        """Whether this roll started the instance refresh."""
        return refresh.id == self.refresh or (self.refresh == NEW_REFRESH and refresh.started >= self.started - SKEW)


@dataclass(frozen=True, slots=True)
class OwnVersions:
    """The versions of launch templates that overrides of a policy have of their own.

    In the order of the templates' ids, of which only a digest is kept: the group itself has the ids.
    """

    digest: str = ""
    versions: tuple[str, ...] = ()

    @classmethod
    def of(cls, by_id: Mapping[str, str]) -> OwnVersions:
        return cls(_digest_of(by_id), tuple(by_id[name] for name in sorted(by_id))) if by_id else cls()

    def by_id(self, ids: Iterable[str]) -> dict[str, str]:
        """The version by the template's id; {} where the policy names other templates by now."""
        names = sorted(set(ids))
        return (
            dict(zip(names, self.versions, strict=True)) if self.versions and _digest_of(names) == self.digest else {}
        )


def _digest_of(ids: Iterable[str]) -> str:
    return hashlib.sha256(",".join(sorted(ids)).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Record:
    """What TAG_RECORD says of the last roll: what instances were launched from before it."""

    template: Template
    started: float
    unfinished: bool = False  # more of it is to come
    own: OwnVersions = OwnVersions()
    stopped: float = 0.0  # when somebody asked for state=aborted; 0: nobody
