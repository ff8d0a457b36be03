# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running Sentinel brought to what it should be about its set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Answers

_PASSWORD = "auth-pass"  # noqa: S105 - the name of an option


@dataclass(frozen=True)
class Plan:
    """What SENTINEL SET is told; nothing where all is as it should be."""

    change: Mapping[str, str] = field(repr=False)
    before: Mapping[str, str]
    after: Mapping[str, str]


def look(sentinel: Answers, name: str) -> dict[str, str]:
    """What the Sentinel says of its set. Raises RedisError, also where it does not know the set."""
    flat = sentinel("SENTINEL", "MASTER", name)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def plan(name: str, wanted: Mapping[str, str], password: str, seen: Mapping[str, str], own_file: str) -> Plan:
    """`own_file` is the text that the Sentinel keeps for itself, the only place that tells its password."""
    change = {option: value for option, value in wanted.items() if seen.get(option) != value}
    before = {option: seen.get(option, "(none)") for option in change}
    after = dict(change)
    if f"sentinel auth-pass {name} {password}" not in [text.replace('"', "") for text in own_file.splitlines()]:
        change[_PASSWORD] = password
        before[_PASSWORD], after[_PASSWORD] = "(secret)", "(another secret)"
    return Plan(change, before, after)


def apply(sentinel: Answers, name: str, made: Plan) -> None:
    """Raises RedisError."""
    if made.change:
        sentinel("SENTINEL", "SET", name, *(part for pair in made.change.items() for part in pair))
