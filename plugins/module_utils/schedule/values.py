# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all parts know. Times are unix seconds. Pure."""

from __future__ import annotations

from dataclasses import dataclass


class ScheduleError(Exception):
    """One sentence: what is wrong with a calendar, an option or a group, and the way out."""


@dataclass(frozen=True, order=True)
class Event:
    """Something that people come for. `load` is what is expected in all while it lasts; `lead` seconds before it capacity is there."""

    start: float
    end: float
    name: str
    load: float
    lead: float


@dataclass(frozen=True)
class Size:
    """Ordinary sizes of a group, without any event."""

    min: int
    max: int
    desired: int


@dataclass(frozen=True)
class Needs:
    """How load becomes instances: `per_instance` of it is one's share, and `headroom` (0.2: a fifth) is kept free above.

    `tail` seconds after its end an event still counts. More instances than `limit` are refused, unless that is 0.
    """

    per_instance: float
    headroom: float
    tail: float
    limit: int


@dataclass(frozen=True)
class Step:
    """From `at` on a group has at least `min` instances. `desired` is set where it gets smaller; `why` names the events that count."""

    at: float
    min: int
    max: int
    desired: int | None
    why: tuple[str, ...]
