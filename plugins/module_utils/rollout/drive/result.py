# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll is asked for, and what it returns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.plan import Plan
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Sizes, Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Failure, Pair


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for, beyond how to roll."""

    group: str
    state: str = "completed"
    template: Template | None = None  # to move the group to


@dataclass
class Result:
    """What a roll did; also on failure."""

    group: str
    state: str
    message: str = ""
    failed: bool = False
    changed: bool = False
    done: bool = False
    plan: Plan | None = None
    replaced: tuple[Pair, ...] = ()
    failures: tuple[Failure, ...] = ()
    before: Sizes | None = None
    during: Sizes | None = None
    after: Sizes | None = None
    api_calls: Counter[str] = field(default_factory=Counter)
    lowest_in_service: int | None = None
    seconds: float = 0.0
    diff: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The module's return values."""
        given = {"before": self.before, "during": self.during, "after": self.after}
        sizes = {name: size.as_dict() if size else {} for name, size in given.items()}
        no_plan = {"batches": [], "sizes": sizes, "surge": 0, "refusals": []}
        return {
            "changed": self.changed,
            "group": self.group,
            "state": self.state,
            "done": self.done,
            "plan": self.plan.as_dict() if self.plan else no_plan,
            "replaced": [{"old": pair.old, "new": pair.new, "seconds": pair.seconds} for pair in self.replaced],
            "failures": [{"instance_id": item.instance_id, "reason": item.reason} for item in self.failures],
            "sizes": sizes,
            "api_calls": dict(sorted(self.api_calls.items())),
            "lowest_in_service": self.lowest_in_service,
            "seconds": round(self.seconds, 1),
            "diff": self.diff,
        }
