# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from calendars, and by which sentence a bad one is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.schedule import apply
from ansible_collections.boring.fleet.plugins.module_utils.schedule.calendar import from_data, from_ics
from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import Event, ScheduleError

LEAD = 1800.0
FAR = datetime(2030, 1, 1, tzinfo=UTC).timestamp()


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def row(**changes: Any) -> dict[str, Any]:
    return {"name": "sale", "start": "2026-12-05T10:00Z", "end": "2026-12-05T12:00Z", "load": "100", **changes}


def calendar(*lines: str, before: str = "", end: str = "END:VCALENDAR") -> str:
    """An iCalendar file with one event of these lines."""
    return "\r\n".join(
        filter(None, ["BEGIN:VCALENDAR", "VERSION:2.0", before, "BEGIN:VEVENT", *lines, "END:VEVENT", end])
    )


def event(*more: str, start: str = "DTSTART:20261205T100000Z", end: str = "DTEND:20261205T120000Z", **rest: str) -> str:
    return calendar("SUMMARY:Winter sale", start, end, "DESCRIPTION:load: 4000", *more, **rest)


def ics(text: str, zone: str = "") -> list[Event]:
    return from_ics(text, zone, LEAD, FAR)


def starts(text: str, zone: str = "") -> list[str]:
    return [f"{datetime.fromtimestamp(one.start, UTC):%m-%d %H:%M}" for one in ics(text, zone)]


def test_yaml_in_all_its_ways(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        "time_zone: Europe/Berlin\nevents:\n"
        "  - {name: winter, start: 2026-12-05T10:00, end: 2026-12-05T12:00:00+01:00, load: 1.5e3, lead_time: 1h30m}\n"
        "  - {name: summer, start: 2026-07-05 10:00, end: 2026-07-06, load: 0, lead_time: PT45M}\n"
    )
    values = apply.yaml_values(apply.read_calendar(str(tmp_path / "a.yml")), "a.yml")
    assert from_data(values, "", LEAD) == [
        Event(utc("2026-07-05T08:00"), utc("2026-07-05T22:00"), "summer", 0, 2700),
        Event(utc("2026-12-05T09:00"), utc("2026-12-05T11:00"), "winter", 1500, 5400),
    ]
    assert from_data([row(lead_time=600)], "", LEAD)[0].lead == 600
    assert from_data([row()], "", LEAD)[0].lead == LEAD
    assert from_data([], "", LEAD) == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("text", "The calendar has no list 'events'"),
        ({"evnts": []}, "The calendar has no list 'events'"),
        ({"events": [], "timezone": "UTC"}, "the calendar has 'timezone', which is not known: did you mean time_zone?"),
        ({"events": {}}, "events is no list"),
        ({"events": [], "time_zone": "Mars/Base"}, "the time zone 'Mars/Base' is not known"),
        ({"events": [], "time_zone": "../../etc/passwd"}, "is not known"),
        ([1], "events[0] is no event"),
        ([row(), row(start="")], "events[1] has no start"),
        ([{"name": "a"}], "events[0] has no start"),
        ([row(lod=1)], "events[0] has 'lod', which is not known: did you mean load?"),
        ([row(start="soon")], "events[0].start is 'soon', which is no time"),
        ([row(start="2026-02-30T10:00Z")], "events[0].start is '2026-02-30T10:00Z', which is no time"),
        ([row(start="2026-12-05T10:00")], "events[0].start does not say its time zone"),
        ([row(end="2026-12-05T09:00Z")], "events[0] (sale) ends before it begins"),
        ([row(end="2026-12-05T10:00Z")], "events[0] (sale) ends before it begins"),
        ([row(load="many")], "events[0].load is 'many': write a number"),
        ([row(load="-1")], "events[0].load is '-1'"),
        ([row(load="nan")], "events[0].load is 'nan'"),
        ([row(load="inf")], "events[0].load is 'inf'"),
        ([row(load="1,000")], "events[0].load is '1,000'"),
        ([row(lead_time="a while")], "events[0].lead_time is 'a while', which is no span of time"),
        ([row(lead_time="-5m")], "events[0].lead_time is '-5m'"),
        ([row(lead_time="9999d")], "more than a year"),
        ([row(), row(load=5)], "'sale' is there twice at the same time"),
    ],
)
def test_bad_yaml_is_refused_by_one_sentence(data: Any, sentence: str) -> None:
    refused(lambda: from_data(data, "", LEAD), sentence)


def refused(read: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ScheduleError) as error:
        read()
    said = str(error.value)
    assert sentence in said
    assert said[-1] in ".?"
    assert "\n" not in said
    assert len(said) < 400


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yml").write_bytes(b"events: \xe4")
    refused(lambda: apply.read_calendar(str(tmp_path / "none.yml")), "cannot be read: No such file")
    refused(lambda: apply.read_calendar(str(tmp_path / "latin.yml")), "is not in UTF-8")
    refused(lambda: apply.yaml_values("events: [", "a.yml"), "a.yml is no YAML in line 1")
    refused(lambda: apply.yaml_values("[" * 5000, "a.yml"), "a.yml is no YAML")
    assert apply.yaml_values("!!python/object/apply:os.system [true]", "a.yml") == ["true"]


def test_icalendar_as_people_s_programs_write_it() -> None:
    text = event(
        "DESCRIPTION:See <br>load: 4000<br>Lead time: 1h\\nand\\, so on",
        "BEGIN:VALARM", "TRIGGER:-PT15M", "DESCRIPTION:load: 9", "END:VALARM",
    ).replace("load: 4000\r\n", "none\r\n")  # fmt: skip
    text = text.replace("Winter sale", "Winter\r\n  sale\\; big")
    assert ics(text) == [Event(utc("2026-12-05T10:00"), utc("2026-12-05T12:00"), "Winter sale; big", 4000, 3600)]
    own = event("X-EXPECTED-LOAD:70", "X-LEAD-TIME:PT2H", end="DURATION:PT90M")
    assert ics(own) == [Event(utc("2026-12-05T10:00"), utc("2026-12-05T11:30"), "Winter sale", 70, 7200)]
    assert ics(event("STATUS:CANCELLED")) == []
    assert ics(event().replace("\r\n", "\n"))[0].name == "Winter sale"
    assert ics("\ufeff" + event())[0].load == 4000


def test_times_and_zones_of_icalendar() -> None:
    local = 'DTSTART;TZID="Europe/Berlin":20261205T100000', "DTEND;TZID=Europe/Berlin:20261205T120000"
    assert starts(event(start=local[0], end=local[1])) == ["12-05 09:00"]
    floating = event(start="DTSTART:20261205T100000", end="DTEND:20261205T120000")
    assert starts(floating, "Europe/Berlin") == ["12-05 09:00"]
    assert starts(floating.replace("VERSION:2.0", "X-WR-TIMEZONE:America/New_York")) == ["12-05 15:00"]
    day = event(start="DTSTART;VALUE=DATE:20261205", end="DTEND;VALUE=DATE:20261207")
    (one,) = ics(day, "Europe/Berlin")
    assert (one.start, one.end - one.start) == (utc("2026-12-04T23:00"), 2 * 86400)
    assert ics(event(start="DTSTART;VALUE=DATE:20261205", end=""), "UTC")[0].end == utc("2026-12-06T00:00")


def test_repetitions_follow_the_clock_on_the_wall() -> None:
    weekly = event(
        "RRULE:FREQ=WEEKLY;COUNT=4;BYDAY=SA,SU",
        start="DTSTART;TZID=Europe/Berlin:20261024T100000", end="DTEND;TZID=Europe/Berlin:20261024T120000",
    )  # fmt: skip
    assert starts(weekly) == ["10-24 08:00", "10-25 09:00", "10-31 09:00", "11-01 09:00"]
    assert starts(event("RRULE:FREQ=DAILY;INTERVAL=2;UNTIL=20261210")) == ["12-05 10:00", "12-07 10:00", "12-09 10:00"]
    assert starts(event("RRULE:FREQ=DAILY;UNTIL=20261206T100000Z")) == ["12-05 10:00", "12-06 10:00"]
    without = event("RRULE:FREQ=DAILY;COUNT=4", "EXDATE:20261206T100000Z", "EXDATE;VALUE=DATE:20261207")
    assert starts(without) == ["12-05 10:00", "12-08 10:00"]
    assert starts(event("RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=2")) == ["12-05 10:00", "12-19 10:00"]
    near = from_ics(event("RRULE:FREQ=DAILY"), "", LEAD, utc("2026-12-07T00:00"))
    assert len(near) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "does not begin with BEGIN:VCALENDAR"),
        ("<html>", "Line 1 of the calendar is not of the form NAME:VALUE"),
        ("BEGIN:VCARD\nEND:VCARD", "does not begin with BEGIN:VCALENDAR"),
        (event(end="").partition("END:VEVENT")[0], "The calendar is cut off"),
        (event(end="DTEND:20261205T110000Z").replace("END:VEVENT\r\n", ""), "The calendar is damaged"),
        (event("rubbish"), "Line 8 of the calendar is not of the form NAME:VALUE: 'rubbish'"),
        (event(start=""), "'Winter sale' has no DTSTART"),
        (event(end=""), "'Winter sale' has no DTEND and no DURATION"),
        (event(end="DTEND:20261205T090000Z"), "'Winter sale' ends before it begins"),
        (event(start="DTSTART:tomorrow"), "DTSTART of 'Winter sale' is 'tomorrow', which is no time"),
        (event(start="DTSTART:20261305T100000Z"), "which is no time"),
        (event(start="DTSTART:20261205T100000"), "the start of 'Winter sale' does not say its time zone"),
        (event(start="DTSTART;TZID=Custom 1:20261205T100000"), "the time zone 'Custom 1' is not known"),
        (event().replace("load: 4000", "bring cake"), "the load of 'Winter sale' is not said"),
        (event().replace("load: 4000", "load: 4.000 people"), "the load of 'Winter sale' is '4.000 people'"),
        (event("X-LEAD-TIME:early"), "the lead time of 'Winter sale' is 'early'"),
        (event("RRULE:FREQ=MONTHLY"), "'Winter sale' repeats by 'FREQ=MONTHLY', which is not understood"),
        (event("RRULE:FREQ=DAILY;BYSETPOS=1"), "which is not understood"),
        (event("RRULE:FREQ=WEEKLY;BYDAY=1MO"), "which is not understood"),
        (event("RRULE:FREQ=DAILY;COUNT=0"), "which is not understood"),
        (event("RECURRENCE-ID:20261205T100000Z"), "'Winter sale' has RECURRENCE-ID"),
        (event("RDATE:20261205T100000Z"), "'Winter sale' has RDATE"),
        (event("RRULE:FREQ=DAILY", start="DTSTART:19000101T000000Z", end="DURATION:PT1H"), "repeats since more than"),
    ],
)  # fmt: skip
def test_bad_icalendar_is_refused_by_one_sentence(text: str, sentence: str) -> None:
    refused(lambda: ics(text), sentence)
