# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that reach a user. Each message is one sentence: the thing, the reason, the way out."""

from __future__ import annotations


class ConversionError(Exception):
    """Base of all errors whose message may be shown to a user."""


class InputError(ConversionError):
    """The request or the file is at fault; the same request fails again. `status` is the HTTP answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class UnavailableError(ConversionError):
    """A service that we need (queue, disk, worker) cannot serve now; the same request may work later."""


class BusyError(ConversionError):
    """Too much is asked for at once, by this client or by all; the same request may work after `seconds`."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = max(1, round(seconds))


class SettingsError(ConversionError):
    """A setting is missing or malformed; the process cannot start."""


def one_line(said: object) -> str:
    """What a client or a job said, fit to be shown and logged: one line of printable characters, of bounded length."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(said)[:1000])
    return " ".join(text.split())
