# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy would do: the lists that a file gives against what AWS has. Pure, short, and nothing secret in it.

Both sides are resources: by kind and name the facts that a deploy sets. Where a fact is a mapping, as an environment or files are, only the
names of what changed are shown and never a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

Fact = str | int | bool | tuple[str, ...] | Mapping[str, str]  # pylint: disable=unsupported-binary-operation
Facts = Mapping[str, Fact]
Resources = Mapping[str, Mapping[str, Facts]]

# In the order in which a deploy makes them.
KINDS: Final = (
    "security group",
    "load balancer",
    "role",
    "certificate",
    "parameter",
    "target group",
    "listener",
    "launch template",
    "group",
)

SETTINGS: Final = "settings"


@dataclass(frozen=True)
class Change:
    """One line of a plan. `sign` is + for what is made, ~ for what is changed, - for what left the file."""

    sign: str
    kind: str
    name: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = f"{self.sign} {self.kind} {self.name}"
        return f"{line}: {', '.join(self.details)}" if self.details else line


@dataclass(frozen=True)
class Roll:
    """A group that a roll would then have something to do for."""

    group: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"roll {self.group}: {', '.join(self.reasons)}"


@dataclass(frozen=True)
class Plan:
    """`changes` in the order in which they are made, removals last and in the opposite order; `rolls` in the order of `uses`."""

    changes: tuple[Change, ...]
    rolls: tuple[Roll, ...]
    removes: bool = False  # whether what left the file goes now

    @property
    def text(self) -> str:
        """All of it for people, and how much it is."""
        count = {sign: sum(change.sign == sign for change in self.changes) for sign in "+~-"}
        if not self.changes and not self.rolls:
            return "Nothing to do.\n"
        end = f"{count['+']} to make, {count['~']} to change, {count['-']} to remove, {len(self.rolls)} to roll then."
        if count["-"] and not self.removes:
            end += " What is to be removed stays until -e fleet_remove=true."
        return "".join(f"{line}\n" for line in (*self.changes, *self.rolls, end))


def plan(wanted: Resources, found: Resources, order: Iterable[str], behind: Mapping[str, int] | None = None) -> Plan:
    """Compare. `order` are the groups' names in the order of `uses`, `behind` how many hosts of a group run an older template.

    A fact that is called settings is a digest of all the rest: it is named only where nothing else differs.
    """
    changes: list[Change] = []
    for kind in KINDS:
        now, then = found.get(kind, {}), wanted.get(kind, {})
        for name, facts in then.items():
            if name not in now:
                changes.append(Change("+", kind, name, _first(kind, facts)))
            elif details := _differences(now[name], facts):
                changes.append(Change("~", kind, name, details))
    for kind in reversed(KINDS):
        gone = set(found.get(kind, {})) - set(wanted.get(kind, {}))
        changes += [Change("-", kind, name) for name in sorted(gone)]
    return Plan(tuple(changes), tuple(_rolls(wanted, found, order, behind or {})))


def _rolls(wanted: Resources, found: Resources, order: Iterable[str], behind: Mapping[str, int]) -> Iterable[Roll]:
    now, then = found.get("launch template", {}), wanted.get("launch template", {})
    for name in order:
        if name not in found.get("group", {}):
            continue
        reasons = list(_differences(now[name], then[name])) if name in now and name in then else []
        if not reasons and (count := behind.get(name, 0)):
            reasons = [f"{count} {'host runs' if count == 1 else 'hosts run'} an older template"]
        if reasons:
            yield Roll(name, tuple(reasons))


def _first(kind: str, facts: Facts) -> tuple[str, ...]:
    """What people want to know of something new: what is open, and how many hosts."""
    if kind == "security group":
        return tuple(f"open to {rule}" for rule in facts["ingress"]) if isinstance(facts["ingress"], tuple) else ()
    if kind == "group":
        follows = (f"scale {facts['scale']}",) if facts.get("scale") else ()
        return (f"{facts['min']} to {facts['max']} hosts", *follows)
    return ()


def _differences(now: Facts, then: Facts) -> tuple[str, ...]:
    """What changes, in words. A fact that AWS does not tell is not compared."""
    said: list[str] = []
    for name, value in then.items():
        if name not in now or now[name] == value or name == SETTINGS:
            continue
        before = now[name]
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            for key in sorted({*value, *before}):
                if before.get(key) != value.get(key):
                    sign = "+" if key not in before else "-" if key not in value else "~"
                    said.append(f"{sign} {name} {key}")
        elif isinstance(value, tuple) and isinstance(before, tuple):
            said += [f"+ {name} {one}" for one in value if one not in before]
            said += [f"- {name} {one}" for one in before if one not in value]
        else:
            said.append(f"{name} {_shown(before)} -> {_shown(value)}")
    if not said and now.get(SETTINGS, then.get(SETTINGS)) != then.get(SETTINGS):
        said.append("settings")
    return tuple(said)


def _shown(value: Fact) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int)) and value != "" else "none" if not value else "other"
