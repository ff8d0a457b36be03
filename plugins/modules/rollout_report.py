#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_report
short_description: Draw rolls of Auto Scaling groups as one HTML page
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Reads the events that M(boring.fleet.asg_rollout) wrote to O(boring.fleet.asg_rollout#module:events_path) and writes
    one self-contained HTML page, with a bar for every instance, the capacity over time and, when a roll failed, the
    reason on top.
attributes:
  check_mode:
    description: Says whether the page would change, and writes nothing.
    support: full
  diff_mode:
    description: A picture has no useful difference.
    support: none
options:
  events:
    description: Files of events, drawn in this order.
    type: list
    elements: path
    required: true
  dest:
    description: The page to write. Its directory must exist.
    type: path
    required: true
  title:
    description: Title of the page.
    type: str
    default: Roll
  picture:
    description: An SVG picture to write besides, for places that show no HTML. Its directory must exist.
    type: path
  probes:
    description:
      - File with a client's requests during the roll, a JSON line for each. A line is an object with C(time) in unix
        seconds and C(ok), or a list of the two.
    type: path
seealso:
  - module: boring.fleet.asg_rollout
"""

EXAMPLES = r"""
- name: Roll, and keep the events
  boring.fleet.asg_rollout:
    group: api
    events_path: build/roll-api.jsonl

- name: Draw it
  boring.fleet.rollout_report:
    events: [build/roll-api.jsonl]
    dest: build/roll.html
    title: API
"""

RETURN = r"""
dest:
  description: The page.
  returned: success
  type: str
  sample: build/roll.html
groups:
  description: The groups that are drawn.
  returned: success
  type: list
  elements: str
  sample: [api, engine]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.page import differs, draw
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "events": {"type": "list", "elements": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "title": {"type": "str", "default": "Roll"},
            "picture": {"type": "path"},
            "probes": {"type": "path"},
        },
        supports_check_mode=True,
    )
    changed = False
    try:
        drawn, groups = draw(module.params["events"], module.params["title"], module.params["probes"])
        for option, page in drawn.items():
            path = module.params[option]
            if path and differs(page, path):
                changed = True
                if not module.check_mode:
                    page.write(path, module.atomic_move, option)
    except RolloutError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=changed, dest=module.params["dest"], groups=groups)


if __name__ == "__main__":
    main()
