# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calendars as text into events. Every fault is one sentence that names its place. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import tzinfo
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.schedule import ics, times
from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import Event, ScheduleError

_KEYS = ("name", "start", "end", "load", "lead_time")
_CALENDAR_KEYS = ("time_zone", "events")
_LARGEST = 1e15


def from_ics(text: str, zone_name: str, lead: float, horizon: float) -> list[Event]:
    """Events of an iCalendar file (RFC 5545), repetitions up to `horizon`. Raises ScheduleError."""
    given = times.zone(zone_name, "time_zone") if zone_name else None
    events = []
    for entry in ics.entries(text, given, horizon):
        load = _load(entry.load, f"the load of {entry.where}")
        span = lead if entry.lead is None else times.seconds(entry.lead, f"the lead time of {entry.where}")
        events.append(_event(Event(entry.start, entry.end, entry.name, load, span), entry.where))
    return _checked(events)


def from_data(data: Any, zone_name: str, lead: float) -> list[Event]:
    """Events of a YAML file, as its values: `events`, and perhaps `time_zone`; or only the list. Raises ScheduleError."""
    if isinstance(data, list):
        data = {"events": data}
    if not isinstance(data, Mapping) or "events" not in data:
        raise ScheduleError("The calendar has no list 'events': write one, with name, start, end and load of each.")
    _known(data, _CALENDAR_KEYS, "the calendar")
    named = data.get("time_zone") or zone_name
    given = times.zone(str(named), "time_zone") if named else None
    rows = data["events"]
    if not isinstance(rows, list):
        raise ScheduleError("events is no list: write one entry for each event.")
    return _checked([_row(row, f"events[{number}]", given, lead) for number, row in enumerate(rows)])


def _row(row: Any, where: str, given: tzinfo | None, lead: float) -> Event:
    if not isinstance(row, Mapping):
        raise ScheduleError(f"{where} is no event: write name, start, end and load.")
    _known(row, _KEYS, where)
    for key in _KEYS[:4]:
        if row.get(key) in (None, ""):
            raise ScheduleError(f"{where} has no {key}: write name, start, end and load of every event.")
    name = str(row["name"])
    start = times.moment(str(row["start"]), given, f"{where}.start")
    end = times.moment(str(row["end"]), given, f"{where}.end")
    load = _load(str(row["load"]), f"{where}.load")
    given_lead = row.get("lead_time")
    span = lead if given_lead is None else times.seconds(str(given_lead), f"{where}.lead_time")
    return _event(Event(start, end, name, load, span), f"{where} ({name[:60]})")


def _known(row: Mapping[Any, Any], keys: tuple[str, ...], where: str) -> None:
    for key in row:
        if key not in keys:
            close = difflib.get_close_matches(str(key), keys, 1, 0.5)
            raise ScheduleError(
                f"{where} has '{str(key)[:60]}', which is not known: {f'did you mean {close[0]}?' if close else 'use ' + ', '.join(keys) + '.'}"
            )


def _load(text: str | None, where: str) -> float:
    if text is None:
        raise ScheduleError(
            f"{where} is not said: write a line 'load: 1200' into its description, or 0 if it needs nothing."
        )
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found <= _LARGEST:
        raise ScheduleError(f"{where} is '{text[:60]}': write a number of 0 or more, without separators.")
    return found


def _event(event: Event, where: str) -> Event:
    if event.end <= event.start:
        raise ScheduleError(f"{where} ends before it begins: its end has to be later than its start.")
    return replace(event, name=" ".join(event.name.split())[:100] or "event")


def _checked(events: list[Event]) -> list[Event]:
    seen: set[tuple[str, float]] = set()
    for one in events:
        if (one.name, one.start) in seen:
            raise ScheduleError(f"'{one.name}' is there twice at the same time: leave one of them out.")
        seen.add((one.name, one.start))
    return sorted(events)
