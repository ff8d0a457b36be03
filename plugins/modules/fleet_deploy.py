#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_deploy
short_description: Bring a fleet up on AWS, or take it away
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Makes all that M(boring.fleet.fleet_model) lists for a fleet file; security groups and their rules, load balancers, target groups, listeners,
    IAM roles and instance profiles, passwords, certificates, launch templates and Auto Scaling groups.
  - Looks first, by the fleet's tag and in batches, plans, and does just what the plan says. A second run changes nothing. A run that was killed is
    finished by the next one.
  - Hosts that run are never touched. What is new is a version of a launch template, which C(boring.fleet.roll) brings to them. How many hosts
    a group has is decided once, when it is made, and from then on by what its C(scale) follows and by people.
  - What has a name that the fleet needs and not its tag is somebody else's, and refused before anything is made.
extends_documentation_fragment: [boring.fleet.aws]
attributes:
  check_mode:
    description: Looks and plans.
    support: full
  diff_mode:
    description: The plan, a line a change. Names, never values of variables, files or parameters.
    support: full
options:
  variables:
    description: The variables of the fleet file, as O(boring.fleet.fleet_model#module:variables) takes them.
    type: dict
    required: true
  state:
    description:
      - V(present) brings the fleet up. V(absent) takes it away, all that carries its tag, in the reverse order, and waits for its hosts to end.
      - What holds data and secrets stays even so, unless O(destroy_data) names the fleet.
    type: str
    choices: [present, absent]
    default: present
  remove:
    description: Remove what left the file. Without it, it is only named.
    type: bool
    default: false
  destroy_data:
    description: Name of the fleet, to take its data, passwords and certificates away with O(state=absent).
    type: str
    default: ""
  images:
    description: Ids of images by family. For others, the newest one with the tag C(boring:family).
    type: dict
    default: {}
  state_dir:
    description:
      - Directory in which the key of the fleet's own authority is, C(authority/ca.key), made once and readable for its owner only.
      - Whoever deploys the fleet needs it to sign certificates.
    type: path
    required: true
  base_dir:
    description: Where relative paths of certificates in the file begin. Default is the directory where the module runs.
    type: path
    default: "."
  host_secrets_endpoint:
    description: Address at which hosts find Parameter Store, if not AWS's own, as O(boring.fleet.host_secrets#role:main:host_secrets_endpoint).
    type: str
    default: ""
  host_secrets_metadata:
    description: Address at which hosts find their metadata, if not the usual one.
    type: str
    default: ""
  wait_timeout:
    description: For how many seconds to wait for hosts of new groups to be in service, and for hosts of removed ones to end.
    type: float
    default: 900
requirements:
  - The Python library C(cryptography) where the module runs, and C(bcrypt) for a fleet with NATS.
"""

EXAMPLES = r"""
- name: Bring the fleet up
  boring.fleet.fleet_deploy:
    variables:
      fleet_name: shop
      fleet_region: eu-central-1
      fleet_services:
        web:
          roles: [acme.shop.web]
          size: {min: 2, max: 4}
          port: 8000
          expose: {hosts: [shop.example.org]}
    state_dir: /srv/fleets/shop

- name: Take it away, with its data
  boring.fleet.fleet_deploy:
    variables:
      fleet_name: shop
      fleet_region: eu-central-1
    state_dir: /srv/fleets/shop
    state: absent
    destroy_data: shop
"""

RETURN = r"""
plan:
  description: What was to be done, a line a change. Signs are C(+), C(~) and C(-); groups that would be due for a roll come after.
  returned: success
  type: list
  elements: str
  sample: ["+ target group shop-web", "~ group shop-web: max 10 -> 12", "roll shop-web: image ami-0a -> ami-0b"]
text:
  description: The plan, and how much it is.
  returned: success
  type: str
addresses:
  description: DNS names of the load balancers, C(public), C(internal) and C(data).
  returned: success
  type: dict
  sample: {public: shop-123.eu-central-1.elb.amazonaws.com}
groups:
  description: Auto Scaling groups in the order of C(uses).
  returned: success
  type: list
  elements: str
rolls:
  description: Groups that would be due for a roll.
  returned: success
  type: list
  elements: str
api_calls:
  description: How often each AWS operation was called.
  returned: success
  type: dict
mistakes:
  description: What is wrong, each with C(path) and C(words).
  returned: failure
  type: list
  elements: dict
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.fleet.boot import HostSecrets
from ansible_collections.boring.fleet.plugins.module_utils.fleet.certificates import CertificateError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.drive import Deployment, Options, Result, destroy
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.keeper import Keeper
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import FleetError, Mistake
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "variables": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "remove": {"type": "bool", "default": False},
            "destroy_data": {"type": "str", "default": ""},
            "images": {"type": "dict", "default": {}},
            "state_dir": {"type": "path", "required": True},
            "base_dir": {"type": "path", "default": "."},
            "host_secrets_endpoint": {"type": "str", "default": "", "no_log": False},
            "host_secrets_metadata": {"type": "str", "default": "", "no_log": False},
            "wait_timeout": {"type": "float", "default": 900},
        },
        supports_check_mode=True,
    )
    calls: list[Calls] = []
    try:
        result = run(module.params, module.check_mode, calls)
    except FleetError as exc:
        module.fail_json(msg=str(exc), mistakes=[asdict(mistake) for mistake in exc.mistakes])
    except (AwsError, CertificateError) as exc:
        begun = calls and calls[0].writes
        module.fail_json(
            msg=f"{exc}. What was done so far stays, and the next run goes on from there." if begun else str(exc)
        )
    for warning in result.warnings:
        module.warn(warning)
    module.exit_json(
        changed=result.changed,
        plan=[str(line) for line in (*result.planned.changes, *result.planned.rolls)],
        text=result.text,
        addresses=result.addresses,
        groups=result.groups,
        rolls=[roll.group for roll in result.planned.rolls],
        api_calls=dict(calls[0].counted),
        diff={"prepared": result.text},
    )


def run(given: dict[str, Any], check: bool, made: list[Calls]) -> Result:
    """Bring it up or take it away; its calls come into `made`. Raises FleetError, AwsError, CertificateError."""
    fleet = read_fleet(given["variables"])
    if given["destroy_data"] not in ("", fleet.name):
        raise FleetError(
            [Mistake("fleet_destroy_data", f"this is the fleet {fleet.name}, and not {given['destroy_data']}")]
        )
    # Calls are tried again by Calls, which knows which of them may be done twice.
    aws = Aws(AwsOptions.from_params({**given, "region": given["region"] or fleet.region}), attempts=1)
    calls = Calls(aws.client, clock=time.time, sleep=time.sleep)
    made.append(calls)
    keeper = Keeper(Path(given["state_dir"]), Path(given["base_dir"]))
    options = Options(
        remove=given["remove"],
        destroy_data=bool(given["destroy_data"]),
        images=given["images"],
        secrets=HostSecrets(endpoint=given["host_secrets_endpoint"], metadata=given["host_secrets_metadata"]),
        patience=given["wait_timeout"],
    )
    if given["state"] == "present":
        return Deployment(fleet, calls, keeper, options).run(check=check)
    return destroy(fleet.name, fleet.region, calls, keeper, options, check=check)


if __name__ == "__main__":
    main()
