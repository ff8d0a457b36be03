# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the backups of this host are, for people and for monitoring: a file in JSON, and one as Prometheus reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.backup.manifest import Found, human

_LATE: float = 2  # times the interval


@dataclass(frozen=True)
class State:
    """Of one source, as the last run found it. Times are unix seconds, 0 for never; `trouble` is a sentence or "".

    `every`: seconds between two backups. `since`: from when on there should be backups. `good`: the newest whole one in the target, whoever
    made it. `empty`: the service holds nothing, so that none is taken.
    """

    source: str
    every: int
    since: int = 0
    looked: int = 0
    good: str = ""
    taken: int = 0
    size: int = 0
    count: int = 0
    empty: bool = False
    trouble: str = ""

    def with_found(self, found: Found) -> State:
        """The same with what is in the target."""
        newest = found.good[0] if found.good else None
        return replace(
            self,
            good=newest.id if newest else "",
            taken=newest.taken if newest else 0,
            size=newest.size if newest else 0,
            count=found.count,
        )


def late(state: State, now: float) -> str:
    """Why the newest backup is too old, as a sentence; empty where it is not."""
    if state.empty or now - max(state.taken, state.since) < _LATE * state.every:
        return ""
    if not state.taken:
        return f"There is no whole backup of {state.source}: look at journalctl -u data-backup."
    return (
        f"The newest whole backup of {state.source} is {ago(now - state.taken)} old: look at journalctl -u data-backup."
    )


def line(state: State, now: float) -> str:
    """For a person."""
    good = (
        f"{state.good}, {ago(now - state.taken)} old, {human([state.size])}, one of {state.count}"
        if state.good
        else "no backup, for it holds nothing"
        if state.empty
        else "no backup"
    )
    return f"{state.source}: {good}" + (f"; the last run failed: {state.trouble}" if state.trouble else "")


def ago(seconds: float) -> str:
    """A length of time for a person."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} seconds"


def dump(states: Mapping[str, State]) -> str:
    """As JSON."""
    return json.dumps({name: asdict(state) for name, state in sorted(states.items())}, indent=1) + "\n"


def load(text: str) -> dict[str, State]:
    """What a file says; nothing for one that is not there, or was cut off."""
    try:
        raw: dict[str, dict[str, Any]] = json.loads(text)
        return {name: State(**one) for name, one in raw.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def metrics(states: Mapping[str, State]) -> str:
    """As Prometheus's exporter for nodes reads it out of a file."""
    lines = []
    for name, text, value in (
        ("last_good_timestamp_seconds", "When the newest whole backup was taken, 0 for never.", lambda one: one.taken),
        ("last_good_bytes", "Size of the newest whole backup.", lambda one: one.size),
        ("count", "Backups in the target.", lambda one: one.count),
        ("empty", "Whether the service holds nothing, so that no backup is taken.", lambda one: int(one.empty)),
        ("trouble", "Whether the last run failed.", lambda one: int(bool(one.trouble))),
    ):
        lines += [f"# HELP data_backup_{name} {text}", f"# TYPE data_backup_{name} gauge"]
        lines += [f'data_backup_{name}{{source="{source}"}} {value(one)}' for source, one in sorted(states.items())]
    return "\n".join(lines) + "\n"
