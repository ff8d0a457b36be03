# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a NATS server run what is on disk? It is asked, for `systemctl reload` succeeds where it refused (nats-io/nats-server#7990)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CONFIGURATION, UNIT = "configuration", "unit"
# For one that runs and does not answer: it reads its store, or was just started
_SILENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Written:
    """When files were written, seconds since the epoch: `unit` takes a restart, `configuration` a reload."""

    unit: float
    configuration: float


@dataclass(frozen=True)
class Seen:
    """What a server says of itself, seconds since the epoch; None where it does not answer. `runs`: whether systemd says so.

    It may run and not answer where it is asked now: its address is what changed, or it hangs.
    """

    started: float | None
    loaded: float | None
    runs: bool
    digest: str = ""

    @property
    def up(self) -> bool:
        """Whether it answers."""
        return self.started is not None


def seconds(text: object) -> float:
    """Seconds since the epoch of a time as Go writes it, with up to nine digits of a second. Raises ValueError."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", str(text))
    if match is None:
        raise ValueError(f"{text!r} is no time")
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
    return whole.timestamp() + float(match[2] or 0)


def seen(varz: Mapping[str, Any] | None, *, active: bool) -> Seen:
    """`varz`: the answer of the monitoring endpoint, None without one. Raises ValueError."""
    if varz is None:
        return Seen(None, None, active)
    return Seen(
        seconds(varz.get("start")), seconds(varz.get("config_load_time")), True, str(varz.get("config_digest", ""))
    )


def differs(found: Seen, written: Written) -> tuple[str, ...]:
    """What on disk it does not run with."""
    if found.started is None or found.loaded is None:
        return (CONFIGURATION, UNIT)
    return (
        *([CONFIGURATION] if found.loaded < written.configuration else []),
        *([UNIT] if found.started < written.unit else []),
    )


def wait(
    look: Callable[[], Seen],
    written: Written,
    patience: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Seen:
    """Look until it runs what is on disk, or until `patience` (seconds) ends. One that runs and does not answer has 30 seconds at least."""
    begun = clock()
    while True:
        found = look()
        longest = max(patience, _SILENCE_SECONDS) if found.runs and not found.up else patience
        if not differs(found, written) or clock() >= begun + longest:
            return found
        sleep(0.5)


def reload_is_enough(found: Seen, written: Written) -> bool:
    """Whether it only has to read its configuration again. Certificates count as that: it reads them again, too."""
    return found.up and differs(found, written) == (CONFIGURATION,)
