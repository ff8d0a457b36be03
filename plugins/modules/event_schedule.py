#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: event_schedule
short_description: Have capacity for the events of a calendar
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Reads a calendar, iCalendar or YAML, in which events say when they begin and end, which load is expected and how long before them the capacity
    has to be there. It makes an Auto Scaling group's scheduled actions what those events need, and draws a picture of it.
  - At the beginning the group's min is raised to what the load needs, and its max if that is less. At the end both go back, and the desired capacity with
    them. Of events at the same time the loads are added.
  - Only actions whose names are O(prefix) and a moment, as in V(event-20261205T0800Z), are touched. Those that no event needs any more are deleted.
  - The group's min and max are brought to the calendar's at once, within some minutes, where they differ - when an event was written down too late,
    or was taken out while it lasted, or when a deploy set them back. So run it after a deploy, and every night for the days to come.
  - A calendar that cannot be understood as a whole is refused, with the place and the reason, and nothing is changed.
options:
  group:
    description: Name of the Auto Scaling group.
    type: str
    required: true
  calendar:
    description:
      - File with the events, where the module runs. V(.ics) is iCalendar, V(.yml), V(.yaml) and V(.json) are YAML.
      - In YAML C(events) is a list of C(name), C(start), C(end), C(load) and perhaps C(lead_time), and C(time_zone) says the zone of times without an
        offset.
      - In iCalendar the load is in the description, in a line C(load - 1200) with a colon instead of the dash, and the lead time in a line
        C(lead time) in the same way; or they are in the properties C(X-EXPECTED-LOAD) and C(X-LEAD-TIME). Repetitions are read by day and by week.
      - Exactly one of O(calendar) and O(events).
    type: path
  events:
    description: The events themselves, as the list C(events) of a YAML calendar.
    type: list
    elements: dict
  time_zone:
    description: Zone of times that do not say it, as in V(Europe/Berlin). What the calendar says itself goes before it.
    type: str
  size:
    description: Sizes of the group when there is no event.
    type: dict
    required: true
    suboptions:
      min:
        description: Fewest instances.
        type: int
        required: true
      max:
        description: Most instances.
        type: int
        required: true
      desired:
        description: To what the group goes back after an event. By default O(size.min).
        type: int
  load_per_instance:
    description: How much of the load one instance carries, in the unit of the calendar's loads.
    type: float
    required: true
  headroom:
    description: Which part of the load is added to be safe. V(0.2) is a fifth.
    type: float
    default: 0.2
  lead_time:
    description: How long before an event that does not say it the capacity has to be there, as V(30m) or V(1h30m). A boot should fit into it several times.
    type: str
    default: 30m
  tail:
    description: How long after its end an event still counts.
    type: str
    default: 15m
  days:
    description: For how many days from now actions are made. The end of an event that begins in these days is always made.
    type: int
    default: 14
  limit:
    description: Refuse a calendar for which more instances than this would be needed. V(0) is no limit.
    type: int
    default: 0
  set_desired:
    description:
      - Set the desired capacity too where the group gets smaller.
      - Turn it off for a group with a scaling policy that makes it smaller by itself, when the load is gone.
    type: bool
    default: true
  prefix:
    description: What the names of the actions begin with.
    type: str
    default: event
  picture:
    description: Write the picture of planned capacity here, as a page (V(.html)) or as V(.svg) alone. Its directory must exist.
    type: path
  price_per_hour:
    description: What one instance costs in an hour, for the picture and RV(plan). V(0) says hours instead.
    type: float
    default: 0
  currency:
    description: Of O(price_per_hour).
    type: str
    default: USD
extends_documentation_fragment:
  - boring.fleet.aws
attributes:
  check_mode:
    description: Says what it would do. Writes no picture.
    support: full
  diff_mode:
    description: Shows the group's actions of this module before and after. The picture is a report, and no change.
    support: full
notes:
  - Needs the permissions autoscaling:DescribeAutoScalingGroups, autoscaling:DescribeScheduledActions,
    autoscaling:BatchPutScheduledUpdateGroupAction and autoscaling:BatchDeleteScheduledAction.
seealso:
  - module: boring.fleet.fleet_deploy
"""

EXAMPLES = r"""
- name: Have capacity for the shop's sales
  boring.fleet.event_schedule:
    group: shop-web
    calendar: sales.yml
    size: {min: 2, max: 10}
    load_per_instance: 150
    picture: capacity.html
    price_per_hour: 0.0416
    region: eu-central-1

- name: The same from a calendar that people keep, for the next month, with a bound
  boring.fleet.event_schedule:
    group: shop-web
    calendar: events.ics
    time_zone: Europe/Berlin
    size: {min: 2, max: 10}
    load_per_instance: 150
    lead_time: 45m
    days: 31
    limit: 60
    region: eu-central-1

- name: One event, written down here
  boring.fleet.event_schedule:
    group: shop-web
    events:
      - {name: Winter sale, start: "2026-12-05T10:00+01:00", end: "2026-12-05T22:00+01:00", load: 4000, lead_time: 1h}
    size: {min: 2, max: 10}
    load_per_instance: 150
    region: eu-central-1
"""

RETURN = r"""
actions:
  description: The scheduled actions that the group has now, or would have.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, sample: event-20261205T0800Z}
    at: {description: "When it runs, in unix seconds.", type: float}
    min: {description: Fewest instances from then on., type: int}
    max: {description: Most instances from then on., type: int}
    desired: {description: Desired capacity; null where it is left to the group., type: int}
put:
  description: Names of those that were made or changed.
  returned: success
  type: list
  elements: str
deleted:
  description: Names of those that were deleted.
  returned: success
  type: list
  elements: str
plan:
  description: What is planned.
  returned: success
  type: dict
  contains:
    events: {description: Names of the events that count., type: list, elements: str}
    peak: {description: Most instances at a time., type: int}
    hours: {description: Hours of instances., type: float}
    hours_without: {description: The same without any event., type: float}
    hours_at_peak: {description: "The same, with the most instances all the time.", type: float}
    cost: {description: What O(ignore:plan.hours) cost; null without a price., type: float}
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls
from ansible_collections.boring.fleet.plugins.module_utils.schedule.run import run
from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import ScheduleError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "group": {"type": "str", "required": True},
            "calendar": {"type": "path"},
            "events": {"type": "list", "elements": "dict"},
            "time_zone": {"type": "str"},
            "size": {
                "type": "dict",
                "required": True,
                "options": {
                    "min": {"type": "int", "required": True},
                    "max": {"type": "int", "required": True},
                    "desired": {"type": "int"},
                },
            },
            "load_per_instance": {"type": "float", "required": True},
            "headroom": {"type": "float", "default": 0.2},
            "lead_time": {"type": "str", "default": "30m"},
            "tail": {"type": "str", "default": "15m"},
            "days": {"type": "int", "default": 14},
            "limit": {"type": "int", "default": 0},
            "set_desired": {"type": "bool", "default": True},
            "prefix": {"type": "str", "default": "event"},
            "picture": {"type": "path"},
            "price_per_hour": {"type": "float", "default": 0},
            "currency": {"type": "str", "default": "USD"},
        },
        mutually_exclusive=[("calendar", "events")],
        required_one_of=[("calendar", "events")],
        supports_check_mode=True,
    )
    try:
        aws = Aws(AwsOptions.from_params(module.params), attempts=1)
        calls = Calls(aws.client, clock=time.time, sleep=time.sleep)
        result = run(module.params, calls, now=time.time(), check=module.check_mode, move=module.atomic_move)
    except (ScheduleError, AwsError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
