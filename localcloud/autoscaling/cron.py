# SPDX-License-Identifier: GPL-3.0-or-later
"""Recurring times: five fields of cron in a time zone, as scheduled actions have them. Pure.

A local time that a change of clocks leaves out is left out; one that comes twice is taken once, the first time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_NAMES = {
    "month": dict(
        zip(
            ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
            range(1, 13),
            strict=True,
        )
    ),
    "weekday": dict(zip(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], range(7), strict=True)),
}
_FURTHEST_DAYS = 366 * 9  # 29 February comes at least every eight years


class CronError(ValueError):
    """The expression cannot be read, or never comes."""


def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises CronError."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise CronError(f"there is no time zone {name}") from None


def following(expression: str, time_zone: str, after: float) -> float:
    """The first time after ``after``, both unix seconds. Raises CronError."""
    words = expression.split()
    if len(words) != len(_FIELDS):
        raise CronError(f"it has {len(words)} fields and not {len(_FIELDS)}")
    minutes, hours, days, months, weekdays = (_values(word, *field) for word, field in zip(words, _FIELDS, strict=True))
    weekdays = {day % 7 for day in weekdays}
    any_day, any_weekday = words[2].startswith("*"), words[4].startswith("*")

    def fits(day: date) -> bool:
        by_day, by_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        both = by_day and by_weekday if any_day or any_weekday else by_day or by_weekday
        return day.month in months and both

    place = zone(time_zone)
    day = datetime.fromtimestamp(after, place).date()
    for _ in range(_FURTHEST_DAYS):
        if fits(day):
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    local = datetime(day.year, day.month, day.day, hour, minute)
                    at = local.replace(tzinfo=place).timestamp()
                    if at > after and datetime.fromtimestamp(at, UTC).astimezone(place).replace(tzinfo=None) == local:
                        return at
        day += timedelta(days=1)
    raise CronError("it never comes")


def _values(word: str, field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, high
        else:
            start = _number(first, field, low, high)
            end = _number(last, field, low, high) if dash else (high if slash else start)
        if end < start or (slash and (not step.isdecimal() or int(step) == 0)):
            raise CronError(f"{part} is no {field}")
        found.update(range(start, end + 1, int(step) if slash else 1))
    return found


def _number(word: str, field: str, low: int, high: int) -> int:
    named = _NAMES.get(field, {}).get(word.upper())
    if named is not None:
        return named
    if not word.isdecimal() or not low <= int(word) <= high:
        raise CronError(f"{word or 'nothing'} is no {field}")
    return int(word)
