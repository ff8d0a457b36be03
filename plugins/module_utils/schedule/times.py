# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as people write them in calendars. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import ScheduleError

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SHORT = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_ISO = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_LONGEST = 366 * 86400


def zone(name: str, where: str) -> tzinfo:
    """A time zone by its name. Raises ScheduleError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ScheduleError(
            f"{where}: the time zone '{name[:60]}' is not known: write one as in Europe/Berlin, or UTC."
        ) from exc


def moment(text: str, zone_of_calendar: tzinfo | None, where: str) -> float:
    """A time as 2026-12-05T10:00:00+01:00, or without the offset in the calendar's zone; a day is its midnight. Raises ScheduleError."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as exc:
        raise ScheduleError(
            f"{where} is '{text[:60]}', which is no time: write it as in 2026-12-05T10:00+01:00."
        ) from exc
    return stamp(found, zone_of_calendar, where)


def stamp(found: datetime, zone_of_calendar: tzinfo | None, where: str) -> float:
    """Unix seconds of a time, in the calendar's zone if it has none of its own. Raises ScheduleError."""
    if found.tzinfo is None:
        if zone_of_calendar is None:
            raise ScheduleError(
                f"{where} does not say its time zone: end it with an offset as +01:00, or name a time zone for the calendar."
            )
        found = found.replace(tzinfo=zone_of_calendar)
    return found.astimezone(UTC).timestamp()


def midnight(day: date) -> datetime:
    """The day's first moment, in no zone yet."""
    return datetime.combine(day, time())


def seconds(text: str, where: str) -> float:
    """A span as 45m, 1h30m, 90s, PT45M or a plain number of seconds. Raises ScheduleError."""
    plain = text.strip()
    match = _SHORT.fullmatch(plain.lower()) if plain else None
    iso = _ISO.fullmatch(plain.upper()) if len(plain) > 1 else None
    if re.fullmatch(r"\d{1,9}", plain):
        found = int(plain)
    elif match and any(match.groups()):
        found = sum(int(count or 0) * _UNITS[unit] for unit, count in zip("dhms", match.groups(), strict=True))
    elif iso and any(iso.groups()):
        found = sum(
            int(count or 0) * size for size, count in zip((604800, 86400, 3600, 60, 1), iso.groups(), strict=True)
        )
    else:
        raise ScheduleError(f"{where} is '{plain[:60]}', which is no span of time: write it as in 45m, 1h30m or PT45M.")
    if found > _LONGEST:
        raise ScheduleError(f"{where} is '{plain[:60]}', which is more than a year: write a shorter one.")
    return float(found)
