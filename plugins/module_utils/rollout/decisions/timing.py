# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When to look again: polls are spent where they tell something. Pure.

A roll does the same thing many times, so it can learn how long a boot takes. Each look narrows a window: not ready
yet at ``low`` seconds, ready at ``high``. The next batch is looked at in the middle of the window until that is a
second wide, so that what a roll loses by looking late soon goes to nothing.
"""

from __future__ import annotations

from math import ceil

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Window

PRECISE = 2.0  # seconds
_STRETCH = 1.02  # a step may be this much longer than the longest, where that saves a look
_GROWTH = 1.0  # of the age, while nothing is known


def learn(window: Window, low: float, high: float) -> Window:
    """The window after it was seen unready at ``low`` seconds and ready at ``high``."""
    if high <= 0:
        return window
    low = max(0.0, min(low, high))
    if window.known and low < window.high and window.low < high:
        return Window(max(low, window.low), min(high, window.high))
    return Window(low, high)


def expected(window: Window) -> float:
    """The age at which a look should be worth it; 0 when nothing is known."""
    if window.high - window.low <= PRECISE:
        return window.high
    return (window.low + window.high) / 2


def look_at(now: float, due: float, shortest: float, longest: float) -> float:
    """When to look for something that is due at ``due``, in even steps of at most ``longest``."""
    ahead = due - now
    if ahead <= shortest:
        return now + shortest
    return now + ahead / ceil(ahead / (longest * _STRETCH))


def look_for(now: float, since: float, window: Window, shortest: float, longest: float) -> float:
    """When to look for something that began at ``since`` and takes as long as ``window`` tells."""
    age = now - since
    usual = expected(window)
    if age < usual:
        return look_at(now, since + usual, shortest, longest)
    late = age - usual if window.known else age
    return now + min(longest, max(shortest, late * _GROWTH))
