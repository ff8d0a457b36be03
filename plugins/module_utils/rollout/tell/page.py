# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report between files: events and probes in, a page out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils import output
from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.report import (
    Probe,
    render_picture,
    render_report,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.story import tell
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import Event

_LAST: Final = 253402300800.0  # the first second of the year 10000, for which no calendar has a name


@dataclass(frozen=True)
class Page:
    """A page, or a picture, and how to put it in place."""

    html: str

    def write(self, dest: str, move: Callable[[str, str], object], option: str = "dest") -> None:
        """Write beside ``dest`` and ``move`` there, so that nobody sees half a page. Raises RolloutError."""
        try:
            output.write(option, dest, self.html, move)
        except output.OutputError as exc:
            raise RolloutError(str(exc)) from exc


def draw(events: list[str], title: str, probes: str | None) -> tuple[dict[str, Page], list[str]]:
    """The page (``dest``) and the SVG (``picture``), and the groups in them. Raises RolloutError for a file that cannot be read."""
    lines = [event for path in events for event in read_events(path)]
    samples = list(read_probes(probes)) if probes else None
    page = Page(render_report(lines, title=title, probes=samples))
    return {"dest": page, "picture": Page(render_picture(lines, probes=samples))}, [
        story.group for story in tell(lines)
    ]


def differs(page: Page, dest: str) -> bool:
    """Whether ``dest`` is anything but this page."""
    try:
        return Path(dest).read_text(encoding="utf-8") != page.html
    except (OSError, UnicodeDecodeError):
        return True


def read_events(path: str) -> Iterator[Event]:
    """Events of a file; the torn last line of a killed run is passed over."""
    for item in _lines(path, "events"):
        if isinstance(item, dict):
            for name in ("time", "since"):
                _refuse_no_moment(item.get(name), f"events {path}")
            yield item


def read_probes(path: str) -> Iterator[Probe]:
    """Samples of a file."""
    for item in _lines(path, "probes"):
        if isinstance(item, (dict, list)) and item:
            _refuse_no_moment(item.get("time") if isinstance(item, dict) else item[0], f"probes {path}")
        try:
            if isinstance(item, dict):
                yield float(item["time"]), bool(item["ok"])
            else:
                yield float(item[0]), bool(item[1])
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            raise RolloutError(f"probes {path} holds {item!r}: each line has time and ok") from exc


def _refuse_no_moment(value: Any, where: str) -> None:
    """Raise RolloutError for a number that is no time; what is no number is others' matter."""
    try:
        at = float(value)
    except (TypeError, ValueError):
        return
    except OverflowError:
        at = float("inf")
    if not 0 <= at < _LAST:  # nor is nan
        raise RolloutError(f"{where} holds a time that is none ({at:g}): it must be seconds since 1970")


def _lines(path: str, option: str) -> Iterator[Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise RolloutError(f"{option} {path} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue
