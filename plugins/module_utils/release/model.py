# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions, releases, entries, and the one error of this subject."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Final

# A number of a version has at most nine digits: what is longer is no version, and Python refuses to read it.
_VERSION: Final = re.compile(
    r"(?<![\w.])v?(\d{1,9}(?:\.\d{1,9}){1,3})(?!\d|\.\d{10})"
    r"(?:(?:[-~+. ]| ?\()?((?:alpha|beta|rc|pre(?:view|[- ]?release)?|dev|nightly|unstable|snapshot|canary|milestone|release candidate"
    r"|early access)(?![a-z])[-.\d]*)|-(m\d+)\b)?",
    re.IGNORECASE,
)


class ReleaseError(Exception):
    """A sentence for the user: the feed or the option, the reason, the way out."""


@total_ordering
@dataclass(frozen=True)
class Version:
    """Numbers with dots; `mark` is what says that it is no finished release ("rc1"); `written` as its notes write it."""

    numbers: tuple[int, ...]
    mark: str = ""
    written: str = ""

    @classmethod
    def find(cls, text: str) -> Version | None:
        """The first version in a text such as `connector v1.72.0-rc1`."""
        match = _VERSION.search(text)
        return cls.of(match) if match else None

    @classmethod
    def find_all(cls, text: str) -> list[Version]:
        """Every version in a text, in its order."""
        return [cls.of(match) for match in _VERSION.finditer(text)]

    @classmethod
    def of(cls, match: re.Match[str]) -> Version:
        mark = (match[2] or match[3] or "").lower().rstrip("-.")
        return cls(tuple(map(int, match[1].split("."))), mark, match[1])

    def branch(self, depth: int) -> tuple[int, ...]:
        """The numbers that a line of releases has in common: 2.10 of 2.10.27 at a depth of two."""
        return (*self.numbers, 0, 0, 0)[:depth]

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[tuple[int, ...], int, str]:
        return (*self.numbers, 0, 0, 0)[:4], 0 if self.mark else 1, self.mark

    def __str__(self) -> str:
        return (self.written or ".".join(map(str, self.numbers))) + (f"-{self.mark}" if self.mark else "")


@dataclass(frozen=True)
class Entry:
    """One thing that a release says. `section` is the headings above it ("Linux / Fixed"), "" where there are none."""

    section: str
    text: str


@dataclass(frozen=True)
class Release:
    """A release of a feed, with its entries in the order of the feed. `date` is as the feed has it, "" if it has none.

    `withdrawn` is the sentence that says that the release was paused, pulled or withdrawn, "" where none does.
    """

    version: Version
    date: str
    entries: tuple[Entry, ...]
    withdrawn: str = ""
    title: str = ""
