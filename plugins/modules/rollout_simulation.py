#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is a virtual module that is entirely implemented as an action plugin and runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_simulation
short_description: Draw the roll of an Auto Scaling group before anyone runs it
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Rolls a group that exists only on paper, with the very code of M(boring.fleet.asg_rollout), over a model of Auto
    Scaling with a clock of its own. An hour of boots takes a fraction of a second, and nothing is called or changed.
  - Tells how long the roll would take, the lowest capacity, what the surge would cost and how many API calls it would
    make, and draws the same page as M(boring.fleet.rollout_report).
  - The same group, options and seed always give the same answer.
requirements:
  - botocore on the controller
attributes:
  check_mode:
    description: Simulates, and writes no file.
    support: full
  diff_mode:
    description: A picture has no useful difference.
    support: none
options:
  name:
    description: Name of the group in page and picture.
    type: str
    default: simulated
  size:
    description: Desired capacity, up to 10,000.
    type: int
    required: true
  min_size:
    description: MinSize. O(size) when omitted.
    type: int
  max_size:
    description: MaxSize. O(size) when omitted.
    type: int
  zones:
    description: Availability Zones, up to 6.
    type: int
    default: 3
  target_groups:
    description: Attached target groups, up to 10.
    type: int
    default: 1
  boot_time:
    description: Seconds from the launch of an instance until it is InService.
    type: float
    default: 90
  boot_spread:
    description: Seconds by which boots take more or less, at most.
    type: float
    default: 0
  healthy_after:
    description: Seconds from InService until every target group finds an instance healthy.
    type: float
    default: 10
  drain_time:
    description: The target groups' deregistration delay in seconds.
    type: float
    default: 30
  failure_rate:
    description: Share of new instances that never become healthy, from 0 to 1.
    type: float
    default: 0
  hourly_price:
    description: What an instance costs an hour, in whatever currency. Without it no cost is told.
    type: float
  seed:
    description: Another number is another day, with other boot times and failures.
    type: int
    default: 1
  options:
    description:
      - Options of M(boring.fleet.asg_rollout), such as C(batch_size), C(max_unavailable) or C(min_healthy_time).
      - Those that name a real group, template or instance are refused. Health checks and drains pass as soon as the
        application answers.
    type: dict
    default: {}
  dest:
    description: HTML page to write. Its directory must exist.
    type: path
  picture:
    description: SVG picture to write. Its directory must exist.
    type: path
seealso:
  - module: boring.fleet.asg_rollout
  - module: boring.fleet.rollout_report
"""

EXAMPLES = r"""
- name: What would a roll of 40 engines be like, four at a time?
  boring.fleet.rollout_simulation:
    size: 40
    boot_time: 180
    drain_time: 300
    failure_rate: 0.02
    hourly_price: 0.71
    options: {batch_size: 10%, max_failures: 2}
    dest: build/simulated.html
"""

RETURN = r"""
msg:
  description: All of it in a sentence.
  returned: always
  type: str
  sample: 40 of 40 replaced in 34.5 min, never fewer than 40 in service, up to 4 beyond the size (4.62 instance hours,
    3.28 at 0.71 an hour), 141 API calls.
would_fail:
  description: Whether the roll would fail, with failures beyond C(max_failures).
  returned: success
  type: bool
seconds:
  description: How long the roll would take.
  returned: success
  type: float
lowest_in_service:
  description: The least capacity in service and healthy everywhere.
  returned: success
  type: int
surge:
  description: The most instances beyond O(size) at any moment, those that are leaving not counted.
  returned: success
  type: int
surge_hours:
  description: Instance hours beyond those of O(size) instances, boots and drains included.
  returned: success
  type: float
surge_cost:
  description: RV(surge_hours) times O(hourly_price). Null without a price.
  returned: success
  type: float
api_calls:
  description: Calls to AWS.
  returned: success
  type: int
roll:
  description: More of what M(boring.fleet.asg_rollout) would return.
  returned: success
  type: dict
  contains:
    state: {description: How the roll would end., type: str, returned: success}
    done: {description: Whether nothing would be left to do., type: bool, returned: success}
    plan: {description: Its plan., type: dict, returned: success}
    replaced: {description: Old and new instances., type: list, elements: dict, returned: success}
    failures: {description: New instances that failed., type: list, elements: dict, returned: success}
    sizes: {description: "Sizes before, during and after.", type: dict, returned: success}
    api_calls: {description: Calls by operation., type: dict, returned: success}
"""
