# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that end a roll. A signal only sets a flag: an exception in the middle of a boto3 call would be retried by it."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupt:
    """Notes the first signal, and wakes whoever sleeps."""

    def __init__(self) -> None:
        self._why = ""
        self._wake = threading.Event()

    def install(self) -> None:
        """From now on signals are noted here."""
        for number in _SIGNALS:
            signal.signal(number, self._noted)

    def _noted(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self._why:
            self._why = f"stopped by {signal.Signals(number).name}"
            self._wake.set()

    def why(self) -> str:
        """Which signal came; "" none."""
        return self._why

    def sleep(self, seconds: float) -> None:
        """Sleep, or until the first signal. Later sleeps last: there is work to be done in order."""
        if self._wake.wait(max(0.0, seconds)) and self._why:
            self._wake.clear()
