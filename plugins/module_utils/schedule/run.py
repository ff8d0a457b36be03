# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the module: options in, result out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls
from ansible_collections.boring.fleet.plugins.module_utils.schedule import apply, calendar, picture, times
from ansible_collections.boring.fleet.plugins.module_utils.schedule.actions import Changes, changes
from ansible_collections.boring.fleet.plugins.module_utils.schedule.plan import Plan, plan
from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import Event, Needs, ScheduleError, Size

_DAY = 86400


def run(
    given: Mapping[str, Any], calls: Calls, *, now: float, check: bool, move: Callable[[str, str], object]
) -> dict[str, Any]:
    """What the module returns. Raises ScheduleError, AwsError."""
    size, needs = _size(given["size"]), _needs(given)
    _check(given)
    end = now + given["days"] * _DAY
    planned = plan(_events(given, end), size, needs, start=now, end=end)
    group, actions = apply.look(calls, given["group"])
    wanted = changes(planned, actions, group, prefix=given["prefix"], set_desired=given["set_desired"])
    if not check:
        apply.carry_out(calls, given["group"], wanted)
        if given["picture"]:
            apply.write_picture(given["picture"], _drawn(given, planned, needs), move)
    return {
        "changed": wanted.any,
        "actions": [asdict(one) for one in wanted.after],
        "put": [one.name for one in wanted.put],
        "deleted": list(wanted.delete),
        "plan": _about(planned, given["price_per_hour"]),
        "diff": _diff(given["group"], wanted),
    }


def _events(given: Mapping[str, Any], horizon: float) -> list[Event]:
    lead, zone = times.seconds(given["lead_time"], "lead_time"), given["time_zone"] or ""
    if given["events"] is not None:
        return calendar.from_data(given["events"], zone, lead)
    path = given["calendar"]
    kind = path.rpartition(".")[2].lower()
    if kind not in ("ics", "yml", "yaml", "json"):
        raise ScheduleError(f"The calendar {path} is of no known kind: name it .ics, .yml or .yaml.")
    text = apply.read_calendar(path)
    if kind == "ics":
        return calendar.from_ics(text, zone, lead, horizon)
    return calendar.from_data(apply.yaml_values(text, path), zone, lead)


def _size(given: Mapping[str, Any]) -> Size:
    low, high = given["min"], given["max"]
    desired = low if given["desired"] is None else given["desired"]
    if not 0 <= low <= desired <= high:
        raise ScheduleError(f"size is min {low}, desired {desired}, max {high}: give 0 or more, in this order.")
    return Size(low, high, desired)


def _needs(given: Mapping[str, Any]) -> Needs:
    share, headroom, limit = given["load_per_instance"], given["headroom"], given["limit"]
    if not 0 < share < 1e15:
        raise ScheduleError(f"load_per_instance is {share}: give a number above 0.")
    if not 0 <= headroom <= 10:
        raise ScheduleError(f"headroom is {headroom}: give a share from 0 to 10, as 0.2 for a fifth.")
    if limit < 0:
        raise ScheduleError(f"limit is {limit}: give 0 for no limit, or a number of instances.")
    return Needs(share, headroom, times.seconds(given["tail"], "tail"), limit)


def _check(given: Mapping[str, Any]) -> None:
    if not 1 <= given["days"] <= 366:
        raise ScheduleError(f"days is {given['days']}: give a number from 1 to 366.")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", given["prefix"]):
        raise ScheduleError(
            f"prefix is '{given['prefix'][:64]}': use letters, digits, '_', '.' and '-', at most 64 of them."
        )
    if not 0 <= given["price_per_hour"] < 1e9:
        raise ScheduleError(f"price_per_hour is {given['price_per_hour']}: give 0 or more.")
    if given["picture"] and not given["picture"].lower().endswith((".html", ".svg")):
        raise ScheduleError(f"picture: {given['picture']} is of no known kind: name it .html or .svg.")


def _drawn(given: Mapping[str, Any], planned: Plan, needs: Needs) -> str:
    if given["picture"].lower().endswith(".svg"):
        return picture.svg(planned, needs, given["group"]) + "\n"
    return picture.page(planned, needs, given["group"], price=given["price_per_hour"], currency=given["currency"])


def _about(planned: Plan, price: float) -> dict[str, Any]:
    hours = planned.hours()
    return {
        "events": [event.name for event in planned.events],
        "peak": planned.peak,
        "hours": round(hours, 2),
        "hours_without": round(planned.hours_at(planned.size.min), 2),
        "hours_at_peak": round(planned.hours_at(planned.peak), 2),
        "cost": round(hours * price, 2) if price else None,
    }


def _diff(group: str, wanted: Changes) -> dict[str, str]:
    before, after = (
        "".join(f"{one.name} at {one.words()}\n" for one in some) for some in (wanted.before, wanted.after)
    )
    return {"before": before, "after": after, "before_header": group, "after_header": group}
