#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_status_info
short_description: Say how a fleet is
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Finds the Auto Scaling groups with the tag C(boring:fleet), and says of each its version and image, how many hosts are in service of how
    many, which are behind, what the last roll did, why hosts are not well, and when certificates end.
  - Which hosts are behind is what M(boring.fleet.asg_rollout) would replace, decided by the same code.
  - With what M(boring.fleet.fleet_model) returned, groups that are missing, or left the file, are named, and the picture shows who uses what.
  - It only reads. Calls to AWS are made for the whole fleet at once where AWS allows that, and each ends after a minute.
options:
  name:
    description: Name of the fleet.
    type: str
    required: true
  model:
    description: What M(boring.fleet.fleet_model) returned as RV(boring.fleet.fleet_model#module:fleet). Empty without a file.
    type: dict
    default: {}
  page:
    description: Write a page with a picture of the fleet here. Its directory must exist.
    type: path
  json:
    description: Write RV(status) here as JSON. Its directory must exist.
    type: path
  warn_days:
    description: Warn of certificates that end in so many days or fewer.
    type: int
    default: 30
extends_documentation_fragment:
  - boring.fleet.aws
attributes:
  check_mode:
    description: Reads, and writes no files.
    support: full
  diff_mode:
    description: Changes nothing. Page and JSON are reports, and no change.
    support: none
seealso:
  - module: boring.fleet.asg_rollout
  - module: boring.fleet.fleet_model
"""

EXAMPLES = r"""
- name: How is the shop?
  boring.fleet.fleet_status_info:
    name: shop
    region: eu-central-1
    page: shop.html
  register: shop

- name: Fail when somebody should look
  ansible.builtin.assert:
    that: shop.status.well
    fail_msg: "{{ shop.lines | join('\n') }}"
"""

RETURN = r"""
status:
  description: The fleet.
  returned: success
  type: dict
  contains:
    fleet: {description: Its name., type: str, sample: shop}
    region: {description: Its region., type: str}
    at: {description: "When it was asked for, in unix seconds.", type: int}
    well: {description: Whether no group is ill and no certificate about to end., type: bool}
    services:
      description: Services and data services in the order of the file, then others.
      type: list
      elements: dict
      contains:
        service: {description: Its name., type: str, sample: web}
        group: {description: Its Auto Scaling group; empty when there is none., type: str, sample: shop-web}
        kind: {description: C(service) or C(data)., type: str}
        in_file: {description: Whether the file has it; null when none was given., type: bool}
        ill: {description: Whether somebody should look., type: bool}
        version: {description: Its version., type: str}
        template: {description: What new hosts are launched from., type: str}
        image: {description: Image of that., type: str}
        image_name: {description: Name of the image., type: str}
        min: {description: Fewest hosts., type: int}
        max: {description: Most hosts., type: int}
        desired: {description: Hosts that there should be., type: int}
        in_service: {description: Hosts in service and healthy everywhere., type: int}
        behind: {description: Hosts that a roll would replace., type: int}
        zones: {description: Number of hosts by zone., type: dict}
        hosts:
          description: Hosts with C(id), C(zone), C(state), C(version), C(image), C(why) one is not well, and C(behind), why it would be replaced.
          type: list
          elements: dict
        roll:
          description: Last roll, C(state) (C(none), C(done), C(under way), C(cut off), C(unfinished), C(stopped), C(unreadable)), C(words), C(by) and C(began).
          type: dict
        problems: {description: What is wrong with the group as a whole., type: list, elements: str}
        scaling: {description: Sizes that change by themselves., type: list, elements: str}
        uses: {description: What it uses., type: list, elements: str}
        exposed: {description: Whether clients reach it., type: bool}
        isolated: {description: Whether it reaches nothing., type: bool}
    balancers:
      description: Load balancers with C(name), C(part), C(address) and C(state).
      type: list
      elements: dict
    certificates:
      description: Certificates with C(name), C(ends), C(days) and C(words), a warning.
      type: list
      elements: dict
    unknown: {description: What could not be asked., type: list, elements: str}
lines:
  description: The same for people, a line a group.
  returned: success
  type: list
  elements: str
calls:
  description: Calls to AWS that were made.
  returned: success
  type: int
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.files import write
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.judge import judge
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.lines import lines
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.look import Look
from ansible_collections.boring.fleet.plugins.module_utils.output import OutputError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "name": {"type": "str", "required": True},
            "model": {"type": "dict", "default": {}},
            "page": {"type": "path"},
            "json": {"type": "path"},
            "warn_days": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        aws = Aws(AwsOptions.from_params(given), attempts=1)
        look = Look(aws.client, clock=time.time, sleep=time.sleep)
        seen = look.at(given["name"], given["model"])
        found = judge(
            seen,
            time.time(),
            fleet=given["name"],
            region=aws.region or "",
            model=given["model"],
            warn_days=given["warn_days"],
        )
        if not module.check_mode:
            write(found, module.atomic_move, page=given["page"], json_path=given["json"])
    except (AwsError, RolloutError, OutputError) as exc:
        module.fail_json(msg=str(exc))
    for one in found.certificates:
        if one.words:
            module.warn(one.words)
    module.exit_json(changed=False, status=found.as_dict(), lines=lines(found), calls=look.calls)


if __name__ == "__main__":
    main()
