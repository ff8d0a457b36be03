# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users in the words of Redis's ACL: compiled, read back, and what differs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MARK = "managed-by-ansible-"
SHORTEST_PASSWORD = 16
_HASH = re.compile(r"#[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_.:-]+")
# What switches a user or its passwords, or would be two rules
_NO_RULE = re.compile(r"on|off|nopass|reset|resetpass|[<>#!].*|.*[\s\x00-\x1f\x7f].*|", re.DOTALL)


@dataclass(frozen=True)
class User:
    """A user: `hashes` are SHA-256 of the passwords, in hexadecimal. Without any it is off."""

    name: str
    rules: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()

    def line(self) -> str:
        """As ACL files and ACL SETUSER take it."""
        switch = "on" if self.hashes else "off"
        return " ".join(("user", self.name, "reset", switch, *(f"#{each}" for each in self.hashes), *self.rules))


def digest(password: str) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(password.encode()).hexdigest()


def mark(lines: Sequence[str]) -> str:
    """Name of the user that says which file a server has loaded."""
    return MARK + digest("\n".join(lines))[:16]


def marked(users: Sequence[User]) -> tuple[str, ...]:
    """All lines of an ACL file. The mark is the last, so that a change that is cut off is made good by the next run."""
    lines = tuple(user.line() for user in users)
    return (*lines, User(mark(lines)).line())


def compiled(given: Mapping[str, object]) -> User:
    """A user from what the role's variables give of it. It must be free of `faults`."""
    hashes = []
    for of in ("password", "old_password"):
        if given.get(f"{of}_sha256") is not None:
            hashes.append(str(given[f"{of}_sha256"]))
        elif given.get(of) is not None:
            hashes.append(digest(str(given[of])))
    rules = given.get("rules")
    return User(
        str(given["name"]),
        tuple(map(str, rules)) if isinstance(rules, Sequence) and not isinstance(rules, str) else (),
        tuple(dict.fromkeys(hashes)),
    )


def is_faulty(given: Mapping[str, object], own: Sequence[str]) -> bool:
    """Whether a user is not safe or not clear. `own`: names that are the role's."""

    def has(of: str) -> bool | None:
        """Whether a good one is given; None without any."""
        if given.get(f"{of}_sha256") is not None:
            return _HEX.fullmatch(str(given[f"{of}_sha256"])) is not None
        return len(str(given[of])) >= SHORTEST_PASSWORD if given.get(of) is not None else None

    rules = compiled({"name": given["name"], "rules": given.get("rules")}).rules
    return (
        str(given["name"]) in own
        or not _NAME.fullmatch(str(given["name"]))
        or not has("password")
        or has("old_password") is False
        or any(_NO_RULE.fullmatch(rule) for rule in rules)
    )


@dataclass(frozen=True)
class Outline:
    """What can be compared of a user: Redis writes rules in other words than it was given, and the mark stands for them."""

    name: str
    on: bool
    anybody: bool
    hashes: frozenset[str]


def outline(line: str) -> Outline:
    """Of a line of an ACL file or of ACL LIST."""
    words = line.split()
    return Outline(
        words[1],
        "on" in words[2:],
        "nopass" in words[2:],
        frozenset(each for each in words[2:] if _HASH.fullmatch(each)),
    )


def commands(wanted: Sequence[str], found: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """What makes the running users those of the file; nothing where they are.

    Not ACL LOAD: that of Redis 7.0 cuts off every client.
    """
    if {outline(line) for line in wanted} == {outline(line) for line in found} and len(wanted) == len(found):
        return ()
    kept = {outline(line).name for line in wanted}
    return (
        *(("ACL", "SETUSER", *line.split()[1:]) for line in wanted[:-1]),
        *(("ACL", "DELUSER", outline(line).name) for line in found if outline(line).name not in kept),
        ("ACL", "SETUSER", *wanted[-1].split()[1:]),
    )


def readable(lines: Sequence[str]) -> dict[str, str]:
    """Users and their rules for a person, without hashes of passwords."""
    return {line.split()[1]: " ".join(_HASH.sub("#(hash)", line).split()[2:]) for line in lines}
