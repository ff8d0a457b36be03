# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs against a simulated cloud, on a virtual clock: capacity is there before the doors open, and gone after."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls
from ansible_collections.boring.fleet.plugins.module_utils.schedule.plan import plan
from ansible_collections.boring.fleet.plugins.module_utils.schedule.run import run
from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import Event, Needs, ScheduleError, Size
from localcloud.autoscaling.simulation import SimulatedCloud
from tests.browser import browser

HOUR = 3600.0
GIVEN: dict[str, Any] = {
    "group": "web", "calendar": None, "time_zone": None, "size": {"min": 2, "max": 6, "desired": None}, "load_per_instance": 100.0,
    "headroom": 0.0, "lead_time": "30m", "tail": "15m", "days": 14, "limit": 0, "set_desired": True, "prefix": "event", "picture": None,
    "price_per_hour": 0.0, "currency": "USD",
}  # fmt: skip


@pytest.fixture
def cloud() -> SimulatedCloud:
    made = SimulatedCloud(boot=120)
    made.create_group("web", 2, MinSize=2, MaxSize=6)
    made.sleep(300)
    return made


def at(cloud: SimulatedCloud, hours: float) -> str:
    return (datetime.fromtimestamp(cloud.now(), UTC) + timedelta(hours=hours)).isoformat()


def sale(
    cloud: SimulatedCloud, begin: float, end: float, load: float, name: str = "sale", **more: Any
) -> dict[str, Any]:
    return {"name": name, "start": at(cloud, begin), "end": at(cloud, end), "load": load, **more}


def go(cloud: SimulatedCloud, events: list[dict[str, Any]], *, check: bool = False, **changes: Any) -> dict[str, Any]:
    calls = Calls(cloud.client, clock=cloud.now, sleep=cloud.sleep)
    given = {**GIVEN, "events": events, **changes}
    return run(given, calls, now=cloud.now(), check=check, move=shutil.move)


def sizes(cloud: SimulatedCloud) -> tuple[int, int, int]:
    group = cloud.shape("web")
    return group["MinSize"], group["MaxSize"], group["DesiredCapacity"]


def listed(cloud: SimulatedCloud) -> dict[str, dict[str, Any]]:
    found = cloud.client("autoscaling").describe_scheduled_actions(AutoScalingGroupName="web")
    return {one["ScheduledActionName"]: one for one in found["ScheduledUpdateGroupActions"]}


def test_a_virtual_day(cloud: SimulatedCloud) -> None:
    doors, opened = cloud.now() + 6 * HOUR, []
    events = [sale(cloud, 6, 9, 800), sale(cloud, 8, 10, 400, "late show")]
    made = go(cloud, events)
    assert made["changed"] and len(made["put"]) == len(listed(cloud)) == 4
    assert made["plan"]["peak"] == 12

    while cloud.now() < doors + 6 * HOUR:
        hour = (cloud.now() - doors) / HOUR
        here = len(cloud.in_service("web"))
        opened.append((hour, here))
        if 0 <= hour <= 3:
            assert here >= 8, hour
        if 2 <= hour <= 3:
            assert here == 12, hour
        if hour < -0.55 or hour > 4.5:
            assert here == 2, hour
        cloud.sleep(300)
    assert sizes(cloud) == (2, 6, 2)
    assert listed(cloud) == {}
    assert max(here for _, here in opened) == 12


def test_a_second_run_changes_nothing_and_check_mode_neither(cloud: SimulatedCloud) -> None:
    events = [sale(cloud, 6, 9, 800)]
    planned = go(cloud, events, check=True)
    assert planned["changed"] and listed(cloud) == {}
    before, after = planned["diff"]["before"], planned["diff"]["after"]
    assert before == ""
    assert re.findall(r"^event-\d{8}T\d{4}Z at .* UTC: (.*)$", after, re.M) == [
        "min 8, max 8",
        "min 2, max 6, desired 2",
    ]
    assert go(cloud, events) == planned
    calls = len(cloud.log)
    again = go(cloud, events)
    assert (again["changed"], again["put"], again["deleted"]) == (False, [], [])
    assert again["diff"]["before"] == again["diff"]["after"] == after
    assert {one.operation for one in cloud.log[calls:]} == {"DescribeAutoScalingGroups", "DescribeScheduledActions"}
    cloud.sleep(600)  # later it is the same still
    assert go(cloud, events)["changed"] is False
    cloud.sleep(6 * HOUR)  # and in the middle of it
    assert sizes(cloud)[0] == 8
    assert go(cloud, events)["changed"] is False


def test_an_event_that_moves_grows_or_goes(cloud: SimulatedCloud) -> None:
    cloud.client("autoscaling").put_scheduled_update_group_action(
        AutoScalingGroupName="web", ScheduledActionName="nightly", Recurrence="0 3 * * *", DesiredCapacity=3
    )
    first = go(cloud, [sale(cloud, 6, 9, 800)])
    moved = go(cloud, [sale(cloud, 7, 9, 800)])
    assert (len(moved["put"]), moved["deleted"]) == (1, [first["put"][0]])
    grown = go(cloud, [sale(cloud, 7, 9, 900)])
    assert (grown["put"], grown["deleted"]) == ([moved["put"][0]], [])
    assert listed(cloud)[grown["put"][0]]["MinSize"] == 9
    gone = go(cloud, [])
    assert len(gone["deleted"]) == 2
    assert list(listed(cloud)) == ["nightly"]


def test_a_longer_prefix_s_actions_are_others(cloud: SimulatedCloud) -> None:
    other = go(cloud, [sale(cloud, 20, 21, 500)], prefix="event-b")["put"]
    mine = go(cloud, [sale(cloud, 6, 9, 800)])
    assert mine["deleted"] == []
    assert go(cloud, [])["deleted"] == sorted(mine["put"])
    assert sorted(listed(cloud)) == sorted(other)


def test_an_event_that_comes_late_and_one_that_is_called_off_while_it_lasts(cloud: SimulatedCloud) -> None:
    events = [sale(cloud, -0.5, 5, 800)]
    late = go(cloud, events)
    assert late["put"][0] == "event-now"
    assert go(cloud, events)["changed"] is False
    cloud.sleep(300)
    assert sizes(cloud) == (8, 8, 8)
    assert go(cloud, events)["changed"] is False
    off = go(cloud, [])
    assert (off["put"], len(off["deleted"])) == (["event-now"], 1)
    cloud.sleep(300)
    assert sizes(cloud) == (2, 6, 2)
    assert go(cloud, [])["changed"] is False


def test_a_deploy_that_set_sizes_back_is_mended(cloud: SimulatedCloud) -> None:
    events = [sale(cloud, 0.6, 5, 800)]
    go(cloud, events)
    cloud.sleep(HOUR)
    cloud.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName="web", MinSize=2, MaxSize=8)
    assert go(cloud, events)["put"] == ["event-now"]
    cloud.sleep(300)
    assert sizes(cloud)[0] == 8


def test_a_group_with_a_policy_of_its_own_keeps_its_desired_capacity(cloud: SimulatedCloud) -> None:
    go(cloud, [sale(cloud, 1, 2, 800)], set_desired=False)
    assert [one.get("DesiredCapacity") for one in listed(cloud).values()] == [None, None]
    cloud.sleep(3 * HOUR)
    assert sizes(cloud) == (2, 6, 6)


def test_the_end_of_an_event_at_the_edge_is_scheduled_too(cloud: SimulatedCloud) -> None:
    go(cloud, [sale(cloud, 23, 30, 800), sale(cloud, 29, 32, 900, "next"), sale(cloud, 48, 50, 900, "far")], days=1)
    assert [one["MinSize"] for one in listed(cloud).values()] == [8, 17, 9, 2]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"group": "wbe"}, "There is no Auto Scaling group wbe in this region"),
        ({"limit": 7}, "sale would need 8 instances, more than the limit of 7"),
        ({"size": {"min": 3, "max": 2, "desired": None}}, "size is min 3, desired 3, max 2"),
        ({"load_per_instance": 0.0}, "load_per_instance is 0.0"),
        ({"headroom": -1.0}, "headroom is -1.0"),
        ({"days": 0}, "days is 0"),
        ({"limit": -1}, "limit is -1"),
        ({"prefix": "a b"}, "prefix is 'a b'"),
        ({"picture": "a.png"}, "picture: a.png is of no known kind"),
        ({"price_per_hour": -1.0}, "price_per_hour is -1.0"),
        ({"lead_time": "long"}, "lead_time is 'long', which is no span of time"),
        ({"events": None, "calendar": "a.txt"}, "The calendar a.txt is of no known kind"),
        ({"picture": "/nowhere/a.svg"}, "picture: /nowhere/a.svg cannot be written"),
    ],
)
def test_wrong_options_are_refused(cloud: SimulatedCloud, changes: dict[str, Any], sentence: str) -> None:
    changes = {"events": [sale(cloud, 6, 9, 800)], **changes}
    with pytest.raises(ScheduleError, match=re.escape(sentence)):
        go(cloud, **changes)


def test_another_action_at_the_same_moment_is_refused(cloud: SimulatedCloud) -> None:
    made = go(cloud, [sale(cloud, 6, 9, 800)], check=True)["actions"][0]
    cloud.client("autoscaling").put_scheduled_update_group_action(
        AutoScalingGroupName="web", ScheduledActionName="mine", DesiredCapacity=3, StartTime=datetime.fromtimestamp(made["at"], UTC)
    )  # fmt: skip
    with pytest.raises(ScheduleError, match="scheduled action mine at the same moment"):
        go(cloud, [sale(cloud, 6, 9, 800)])


def test_more_than_a_group_may_have_is_refused_and_many_are_made(cloud: SimulatedCloud) -> None:
    many = [
        sale(cloud, 4 * number + 1, 4 * number + 2, 300 + 100 * (number % 3), f"show {number}") for number in range(70)
    ]
    assert len(go(cloud, many[:62])["put"]) == 124
    shifted = [{**one, "start": at(cloud, 4 * number + 1.2)} for number, one in enumerate(many[:62])]
    assert go(cloud, shifted)["changed"] is True
    assert go(cloud, shifted)["changed"] is False
    with pytest.raises(ScheduleError, match="140 scheduled actions would be needed beside 0 others"):
        go(cloud, many)


def test_what_it_costs() -> None:
    needs, size = Needs(100, 0.2, 0, 0), Size(2, 6, 2)
    event = Event(10 * HOUR, 20 * HOUR, "sale", 1000, HOUR)
    planned = plan([event], size, needs, start=0, end=24 * HOUR)
    assert [(one.at / HOUR, one.min, one.max, one.desired) for one in planned.steps] == [
        (0, 2, 6, None), (9, 12, 12, None), (20, 2, 6, 2),
    ]  # fmt: skip
    assert planned.hours() == 13 * 2 + 11 * 12
    assert (planned.hours_at(2), planned.hours_at(planned.peak)) == (48, 288)
    exact = plan([Event(0, HOUR, "sale", 500, 0)], size, Needs(100, 0, 0, 0), start=0, end=HOUR * 2)
    assert exact.peak == 5, "five times a hundred are five, not six"


@pytest.fixture
def drawn(cloud: SimulatedCloud, tmp_path: Path) -> Callable[..., Path]:
    def draw(name: str, **changes: Any) -> Path:
        events = [
            sale(cloud, 26, 40, 2000, "Winter <b>sale</b> & more"),
            sale(cloud, 39, 60, 900, "A very long name of an event, " * 3),
            sale(cloud, 330, 334, 5000, "at the very end"),
        ]
        go(cloud, events, picture=str(tmp_path / name), price_per_hour=0.0416, **changes)
        return tmp_path / name

    return draw


def test_the_picture_alone_is_sound(drawn: Callable[..., Path]) -> None:
    tree = ElementTree.parse(drawn("a.svg")).getroot()  # noqa: S314 - it is our own
    labels = ["".join(one.itertext()) for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "Winter <b>sale</b> & more, load 2000: 20 instances" in labels
    assert {"20", "9", "50"} <= set(labels)
    assert tree.get("aria-label") == "Planned capacity of web: from 2 to 50 instances"


def test_the_page_in_a_browser(drawn: Callable[..., Path], tmp_path: Path) -> None:
    path = drawn("a.html")
    assert re.search(r"<dt>planned</dt><dd>[0-9.]+ USD</dd>", path.read_text())
    with browser(tmp_path / "profile") as page:
        colors = set()
        for dark, width in ((False, 1200), (True, 1200), (False, 390)):
            page.open(path, width=width, dark=dark, phone=width < 500)
            colors.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
            assert page.evaluate("document.querySelectorAll('tbody tr, table tr').length") == 4
            assert page.complaints() == []
        assert len(colors) == 2
        outside = (
            "[...document.querySelectorAll('svg text')].map(t => [t.textContent, t.getBBox()])"
            ".filter(([t, b]) => b.x < 0 || b.x + b.width > 1160).map(([t, b]) => t)"
        )
        assert page.evaluate(outside) == []
        page.picture(tmp_path / "page.png")
