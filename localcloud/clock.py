# SPDX-License-Identifier: GPL-3.0-or-later
"""Clocks: everything in the local cloud that needs the time is given one of these."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time as unix seconds, UTC."""

    def now(self) -> float: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()


class VirtualClock:
    """A clock that moves only when it is told to; simulated hours cost nothing."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:  # 2026-01-01T00:00:00Z
        self._now = start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward. Time never runs backwards: a negative step raises ValueError."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back {-seconds} s")
        self._now += seconds
