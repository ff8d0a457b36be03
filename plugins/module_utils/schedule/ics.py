# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iCalendar (RFC 5545), as far as people's calendars write it. Pure.

Repetitions are read by day and by week; others, and exceptions to single ones, are refused: what is not understood must not be left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.schedule import times
from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import ScheduleError

_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_RULE_KEYS = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "WKST"}
_MOST = 20_000  # repetitions that are looked at
_LARGEST = 4 << 20  # characters


@dataclass(frozen=True)
class Entry:
    """One event as it is written. `load` and `lead` are text, None where the event says none."""

    name: str
    start: float
    end: float
    load: str | None
    lead: str | None
    where: str


@dataclass(frozen=True)
class _Line:
    name: str
    params: dict[str, str]
    value: str


def entries(text: str, given: tzinfo | None, horizon: float) -> Iterator[Entry]:
    """Every event that is not cancelled, and its repetitions up to `horizon`. Raises ScheduleError."""
    if len(text) > _LARGEST:
        raise ScheduleError("The calendar is larger than 4 MiB: export the part of it that is needed.")
    lines = list(_lines(text))
    if not lines or (lines[0].name, lines[0].value.upper()) != ("BEGIN", "VCALENDAR"):
        raise ScheduleError("The calendar is no iCalendar file: it does not begin with BEGIN:VCALENDAR.")
    if (lines[-1].name, lines[-1].value.upper()) != ("END", "VCALENDAR"):
        raise ScheduleError("The calendar is cut off: it does not end with END:VCALENDAR.")
    zone = given
    for line in lines:
        if line.name == "X-WR-TIMEZONE" and given is None:
            zone = times.zone(line.value, "X-WR-TIMEZONE")
    for number, block in enumerate(_events(lines)):
        yield from _event(block, f"event {number + 1}", zone, horizon)


def _lines(text: str) -> Iterator[_Line]:
    unfolded = re.sub(r"\r?\n[ \t]", "", text.lstrip("\ufeff").strip())
    for number, raw in enumerate(re.split(r"\r?\n", unfolded), 1):
        if not raw.strip():
            continue
        match = re.fullmatch(r'([A-Za-z0-9-]+)((?:;[^:;="]+=(?:"[^"]*"|[^:;"]*))*):(.*)', raw, re.S)
        if match is None:
            raise ScheduleError(f"Line {number} of the calendar is not of the form NAME:VALUE: '{raw[:60]}'.")
        params = re.findall(r';([^:;="]+)=(?:"([^"]*)"|([^:;"]*))', match.group(2))
        yield _Line(
            match.group(1).upper(), {key.upper(): quoted or plain for key, quoted, plain in params}, match.group(3)
        )


def _events(lines: list[_Line]) -> Iterator[list[_Line]]:
    """The lines of each VEVENT, without those of alarms in it."""
    inside: list[str] = []
    block: list[_Line] = []
    for line in lines:
        if line.name == "BEGIN":
            inside.append(line.value.upper())
        elif line.name == "END":
            if not inside or inside.pop() != line.value.upper():
                raise ScheduleError(f"The calendar is damaged: END:{line.value[:60]} ends what was not begun.")
            if line.value.upper() == "VEVENT":
                yield block
                block = []
        elif inside and inside[-1] == "VEVENT":
            block.append(line)


def _event(block: list[_Line], number: str, zone: tzinfo | None, horizon: float) -> Iterator[Entry]:
    found = {line.name: line for line in block}
    summary = _plain(found["SUMMARY"].value).strip() if "SUMMARY" in found else ""
    where = f"'{summary[:60]}'" if summary else number
    if "STATUS" in found and found["STATUS"].value.upper() == "CANCELLED":
        return
    for name in ("RECURRENCE-ID", "RDATE"):
        if name in found:
            raise ScheduleError(
                f"{where} has {name}, a repetition that differs from the others: write it as an event of its own."
            )
    if "DTSTART" not in found:
        raise ScheduleError(f"{where} has no DTSTART: every event says when it begins.")
    start, day = _time(found["DTSTART"], zone, where)
    length = _length(found, start, zone, where, day=day)
    load, lead = _said(found, "X-EXPECTED-LOAD", "load"), _said(found, "X-LEAD-TIME", "lead(?: time)?")
    without = [
        _time(_Line(line.name, line.params, value), zone, where)
        for line in block
        if line.name == "EXDATE"
        for value in line.value.split(",")
    ]
    excluded = {moment.date() if whole else moment for moment, whole in without}
    rule = found.get("RRULE")
    for begin in [start] if rule is None else _repeated(start, rule.value, zone, where, horizon):
        if begin not in excluded and begin.date() not in excluded:
            moment = times.stamp(begin, zone, f"the start of {where}")
            yield Entry(summary or number, moment, moment + length, load, lead, where)


def _time(line: _Line, zone: tzinfo | None, where: str) -> tuple[datetime, bool]:
    """A time and whether it is a whole day. In its own zone, that of the calendar, or none."""
    match = re.fullmatch(r"(\d{8})(?:T(\d{6})(Z?))?", line.value.strip())
    try:
        if match is None:
            raise ValueError
        if match.group(2) is None:
            moment = times.midnight(date.fromisoformat(match.group(1)))
        else:
            moment = datetime.strptime(match.group(1) + match.group(2), "%Y%m%d%H%M%S")
    except ValueError as exc:
        raise ScheduleError(
            f"{line.name} of {where} is '{line.value[:60]}', which is no time: write it as in 20261205T100000Z."
        ) from exc
    if match.group(3):
        return moment.replace(tzinfo=UTC), False
    if "TZID" in line.params:
        zone = times.zone(line.params["TZID"], f"{line.name} of {where}")
    return moment.replace(tzinfo=zone), match.group(2) is None


def _length(found: dict[str, _Line], start: datetime, zone: tzinfo | None, where: str, *, day: bool) -> float:
    if "DTEND" in found:
        end = times.stamp(_time(found["DTEND"], zone, where)[0], zone, f"the end of {where}")
        return end - times.stamp(start, zone, f"the start of {where}")
    if "DURATION" in found:
        return times.seconds(found["DURATION"].value, f"DURATION of {where}")
    if day:
        return 86400.0
    raise ScheduleError(f"{where} has no DTEND and no DURATION: every event says when it ends.")


def _said(found: dict[str, _Line], name: str, word: str) -> str | None:
    """What a property of ours says, or a line of the description, as people can write it everywhere."""
    if name in found:
        return found[name].value.strip()
    if "DESCRIPTION" not in found:
        return None
    text = re.sub(r"<[^>]{0,99}>", "\n", _plain(found["DESCRIPTION"].value))
    match = re.search(rf"(?im)^\s*{word}\s*[:=]\s*(\S+(?: \S+)*)\s*$", text)
    return match.group(1) if match else None


def _plain(value: str) -> str:
    return re.sub(r"\\([\\;,nN])", lambda match: "\n" if match.group(1) in "nN" else match.group(1), value)


def _repeated(start: datetime, rule: str, zone: tzinfo | None, where: str, horizon: float) -> Iterator[datetime]:
    """Repetitions in local time, so that ten o'clock stays ten o'clock when the clocks change."""
    parts = _rule(rule, where)
    last = _last(parts["UNTIL"], start.tzinfo or zone, where) if "UNTIL" in parts else None
    days = {_DAYS.index(one) for one in parts["BYDAY"].split(",")} if "BYDAY" in parts else {start.weekday()}
    weekly, interval, count = parts["FREQ"] == "WEEKLY", int(parts.get("INTERVAL", 1)), int(parts.get("COUNT", 0))
    monday = start - timedelta(days=start.weekday())
    given = 0
    for number in range(_MOST):
        moment = start + timedelta(days=number)
        if weekly:
            if (moment - monday).days // 7 % interval or moment.weekday() not in days:
                continue
        elif number % interval:
            continue
        at = times.stamp(moment, zone, f"the start of {where}")
        if at > horizon or (last is not None and at > last) or (count and given >= count):
            return
        given += 1
        yield moment
    raise ScheduleError(f"{where} repeats since more than {_MOST} days: let it begin later.")


def _last(until: str, zone: tzinfo | None, where: str) -> float:
    """The last moment of a repetition: of a day its end."""
    moment, whole = _time(_Line("UNTIL", {}, until), zone, where)
    return times.stamp(moment + timedelta(days=1 if whole else 0), zone, f"the UNTIL of {where}") - (1 if whole else 0)


def _rule(rule: str, where: str) -> dict[str, Any]:
    parts = dict(part.partition("=")[::2] for part in rule.upper().split(";") if part)
    days = parts.get("BYDAY", "MO").split(",")
    numbers = (parts.get(name, "1") for name in ("INTERVAL", "COUNT"))
    understood = (
        parts.get("FREQ") in ("DAILY", "WEEKLY")
        and not set(parts) - _RULE_KEYS
        and all(day in _DAYS for day in days)
        and ("BYDAY" not in parts or parts["FREQ"] == "WEEKLY")
        and parts.get("WKST", "MO") == "MO"
        and all(re.fullmatch(r"[1-9]\d{0,4}", number) for number in numbers)
    )
    if not understood:
        raise ScheduleError(
            f"{where} repeats by '{rule[:100]}', which is not understood: only days and weeks are (FREQ=DAILY or WEEKLY with INTERVAL, "
            "COUNT, UNTIL, BYDAY); write its repetitions as events of their own."
        )
    return parts
