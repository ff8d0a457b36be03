#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_model
short_description: Check a fleet file, and say what it needs on AWS
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Reads the variables of a fleet file, applies defaults, and refuses the file whole, with every mistake and its path at once.
  - Returns what AWS must have for it as lists that playbooks loop over, in the order of C(uses). It asks AWS nothing and changes nothing.
  - The file is described in the collection's C(docs/fleet.md); C(docs/fleet.schema.json) is its JSON Schema.
attributes:
  check_mode:
    description: Always only reads.
    support: full
  diff_mode:
    description: There is nothing to differ.
    support: none
options:
  variables:
    description:
      - The variables C(fleet_name), C(fleet_region), C(fleet_network), C(fleet_machines), C(fleet_data), C(fleet_services) and
        C(fleet_overrides).
      - Others may be among them. One that looks like a misspelt one of these is refused.
    type: dict
    required: true
  only:
    description: Return the images of these services and data services only.
    type: list
    elements: str
    default: []
  account:
    description: Number of the AWS account, for the policies of roles. Without it they are written for any account.
    type: str
    default: ""
  addresses:
    description:
      - DNS names of the load balancers inside, C(internal) and C(data), once there are any. Environments hold names that lead nowhere until
        then.
    type: dict
    default: {}
  numbers:
    description:
      - RV(fleet.numbers) of an earlier run, or as AWS has them, which stay as they are. Without it they are the same every time too, but for
        one that another service needs as well.
    type: dict
    default: {}
  packer_dir:
    description:
      - Directory of the Packer template. When given, profiles and lock files must be there, and the images and layers of RV(fleet) have
        C(lock_path).
    type: path
  collections_paths:
    description:
      - Where Ansible looks for collections. When given, roles must be there, and the images of RV(fleet) have C(role_paths), the directories of
        their roles, which are what O(boring.fleet.image_build#module:inputs) takes.
    type: list
    elements: path
  required:
    description: With V(false), variables that hold no fleet are no mistake, and RV(fleet) is empty then.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Read the fleet
  boring.fleet.fleet_model:
    variables:
      fleet_name: shop
      fleet_region: eu-central-1
      fleet_data:
        cache: {kind: redis}
      fleet_services:
        web:
          roles: [acme.shop.web]
          size: {min: 2, max: 4}
          port: 8000
          expose: {hosts: [shop.example.org]}
          uses: [cache]
  register: read

- name: Read the one that -e @fleet.yml gave, whatever it has
  boring.fleet.fleet_model:
    variables: "{{ dict(names | zip(query('ansible.builtin.vars', *names))) }}"
  vars:
    names: "{{ query('ansible.builtin.varnames', '^fleet_(name|region|network|machines|data|services|overrides)$') }}"

- name: Show who may reach whom
  ansible.builtin.debug:
    var: read.fleet.security_groups
"""

RETURN = r"""
fleet:
  description: What the fleet needs. Passwords, keys and hashes are made when it is deployed; only the names of their parameters are here.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: shop
    region:
      description: Its region.
      type: str
    network:
      description: C(vpc_id), C(subnet_ids) and C(public_subnet_ids), empty for the defaults.
      type: dict
    tags:
      description: Tags of everything that belongs to it.
      type: dict
      sample: {"boring:fleet": shop}
    parameter_prefix:
      description: What the names of all parameters begin with that are made for it.
      type: str
      sample: /boring/fleets/shop
    order:
      description: Data services, then services, each after all that it uses.
      type: list
      elements: str
      sample: [cache, web]
    image_layers:
      description: Kernel and driver that images rest on, one a C(profile) and C(lock) of a class that is used.
      type: list
      elements: dict
    images:
      description:
        - One a service, and one for all data services of a kind and class. C(for) names them, C(roles) come into it in this order, C(container)
          is the OCI image that does, or null.
      type: list
      elements: dict
    security_groups:
      description:
        - One a service, data service (C(for)) and load balancer (C(balancer)), with C(ingress) and C(egress).
        - The C(peer) of a rule is one of C(group), C(cidr) and C(vpc), which is the VPC's own range.
      type: list
      elements: dict
    authority:
      description: The fleet's own certificate authority, and the parameter that has its certificate.
      type: dict
    certificates:
      description:
        - Those that are C(signed) by the authority, C(imported) from files, and C(named) by an ARN. C(host) is the service whose hosts have it,
          empty where a load balancer does. C({internal}) and C({data}) among the C(dns_names) stand for the address of that load balancer.
      type: list
      elements: dict
    parameters:
      description:
        - Parameters with who may read them (C(readers)). C(made) says what a deploy puts there, empty for those that you write yourself.
      type: list
      elements: dict
    users:
      description: Users of data services, with the parameters of C(password), for the service, and C(verifier), a hash of it for the node.
      type: list
      elements: dict
    roles:
      description: IAM roles with their C(trust) and C(policy); instance profiles have the same names.
      type: list
      elements: dict
    target_groups:
      description: Target groups with their C(health) checks.
      type: list
      elements: dict
    load_balancers:
      description: Load balancers, C(part) is C(public), C(internal) or C(data), with C(listeners) and their C(rules) by priority.
      type: list
      elements: dict
    groups:
      description:
        - Auto Scaling groups in C(order), each with its C(template), C(lifecycle_hooks), the options of its C(roll), and what it follows to grow and
          shrink by itself (C(scale)), or null.
      type: list
      elements: dict
    rolls:
      description:
        - The same groups as M(boring.fleet.asg_rollout) takes them, each C(group) with the options that its service says, and with the newest version
          of its launch template as what to roll to.
      type: list
      elements: dict
      sample: [{group: shop-web, for: web, launch_template: {name: shop-web, version: $Latest}, batch_size: 25%}]
    numbers:
      description: Ports and priorities that were chosen, by their key.
      type: dict
    warnings:
      description: What is allowed and should be known. They are shown as warnings too.
      type: list
      elements: str
mistakes:
  description: What is wrong with the file, each with C(path) and C(words).
  returned: failure
  type: list
  elements: dict
  sample: [{path: fleet_services.web.size.max, words: 1 is less than min 2}]
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.fleet.images import role_directory
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import FleetError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import holds_fleet, read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.fleet.rules import Known

_PROFILE = ".pkrvars.hcl"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "variables": {"type": "dict", "required": True},
            "only": {"type": "list", "elements": "str", "default": []},
            "account": {"type": "str", "default": ""},
            "addresses": {"type": "dict", "default": {}},
            "numbers": {"type": "dict", "default": {}},
            "packer_dir": {"type": "path"},
            "collections_paths": {"type": "list", "elements": "path"},
            "required": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        found = run(module.params)
    except FleetError as exc:
        module.fail_json(msg=str(exc), mistakes=[asdict(mistake) for mistake in exc.mistakes])
    for warning in found.get("warnings", ()):
        module.warn(warning)
    module.exit_json(changed=False, fleet=found)


def run(given: dict[str, Any]) -> dict[str, Any]:
    """The lists; empty for no fleet where none is needed. Raises FleetError."""
    if not given["required"] and not holds_fleet(given["variables"]):
        return {}
    packer, collections = given["packer_dir"], [Path(path) for path in given["collections_paths"] or ()]
    fleet = read_fleet(given["variables"], known=_known(Path(packer) if packer else None, collections))
    found = lists(
        fleet, account=given["account"], addresses=given["addresses"], kept=given["numbers"], only=given["only"]
    )
    for image in found["images"] if collections else ():
        image["role_paths"] = [str(role_directory(role, collections)) for role in image["roles"]]
    for made in (*found["images"], *found["image_layers"]) if packer else ():
        below = Path(packer) / made["lock"]
        made["lock_path"] = str(below if below.is_file() else Path(made["lock"]).absolute()) if made["lock"] else ""
    return found


def _known(packer: Path | None, collections: list[Path]) -> Known:
    known = Known()
    if packer:
        profiles = frozenset(path.name.removesuffix(_PROFILE) for path in packer.glob(f"images/*{_PROFILE}"))
        known = Known(profiles, lambda path: (packer / path).is_file() or Path(path).is_file())
    if collections:
        known = replace(known, has_role=lambda role: role_directory(role, collections) is not None)
    return known


if __name__ == "__main__":
    main()
