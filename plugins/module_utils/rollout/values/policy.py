# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll is asked for: the module's options as checked values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Instance, RolloutError, Template


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of instances, or a share of the group."""

    value: int
    percent: bool = False

    @classmethod
    def parse(cls, given: str | int, option: str, least: int) -> Amount:
        """From ``3``, ``"3"`` or ``"25%"``. Raises RolloutError that names the option."""
        text = str(given).strip()
        percent = text.endswith("%")
        digits = text[:-1].strip() if percent else text
        if not digits.isdecimal():
            raise RolloutError(f"{option} is {text!r}: give a number of instances or a share of the group such as 25%")
        value = int(digits)
        if percent and value > 100:
            raise RolloutError(f"{option} is {text!r}: a share of the group is at most 100%")
        if value < least:
            raise RolloutError(f"{option} is {text!r}: it must be at least {least}{'%' if percent else ''}")
        return cls(value, percent)

    def of(self, total: int, least: int = 0) -> int:
        """In units of a group of ``total``; a share is rounded down, yet never below ``least``."""
        return max(least, self.value * total // 100) if self.percent else self.value


@dataclass(frozen=True, slots=True)
class Target:
    """What the group's instances are to be launched from."""

    template: Template
    by_type: Mapping[str, Template] = field(default_factory=dict)  # overrides of a mixed instances policy
    types: frozenset[str] = frozenset()  # that the policy names; empty: any

    def misfit(self, instance: Instance) -> str:
        """Why the instance does not run it; "" when it does."""
        if self.types and instance.type not in self.types:
            return f"is of the type {instance.type}, which the mixed instances policy does not name"
        wanted = self.by_type.get(instance.type, self.template)
        if wanted.same(instance.template):
            return ""
        has = instance.template
        if has is None:
            return f"was not launched from {wanted.label}"
        if (has.id or has.name) == (wanted.id or wanted.name):
            return f"runs version {has.version}, not {wanted.version}"
        return f"runs {has.label}, not {wanted.label}"


class Match(Enum):
    """Which instances are due."""

    TEMPLATE = "template"
    AGE = "age"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Policy:
    """How to roll: the module's options, checked."""

    batch_size: Amount = Amount(1)
    max_unavailable: Amount = Amount(0)
    canary: int = 1
    min_healthy_time: float = 10.0
    bake_time: float = 0.0
    batch_timeout: float = 900.0
    max_failures: int = 1
    match: Match = Match.TEMPLATE
    max_age: float = 0.0
    instances: frozenset[str] = frozenset()
    standby: str = "ignore"
    protected: str = "replace"
    raise_max_size: bool = True
    suspend_az_rebalance: bool = True
    poll_interval: float = 5.0
    lock_timeout: float = 900.0
    one_batch: bool = False  # state=advanced
    checked: bool = False  # there are health checks of the application
    drained: bool = False  # instances are asked to drain before they leave
    rollback: bool = False  # a failed roll is rolled back
    refreshes: bool = False  # AWS rolls it

    @property
    def longest_poll(self) -> float:
        return 6 * self.poll_interval

    @property
    def lag(self) -> float:
        """For how many seconds descriptions may show what was before a write. At least 30, however often the roll looks."""
        return max(30.0, min(60.0, 12 * self.poll_interval))

    def may_be_late(self, written_at: float, now: float) -> bool:
        """Whether descriptions may still show what was before a write; ``written_at`` is 0 where there was none."""
        return written_at > 0 and now - written_at < self.lag

    @property
    def held(self) -> bool:
        """Whether each batch is finished, surge and all, before the next one may begin."""
        return self.one_batch or self.bake_time > 0


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for, beyond how to roll."""

    group: str
    state: str = "completed"
    template: Template | None = None  # to move the group to
