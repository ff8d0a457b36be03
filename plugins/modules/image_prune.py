#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_prune
short_description: Remove old machine images of a family that nothing refers to
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Looks at everything in the region that may use an image, decides, and deletes only with O(apply=true). By default it
    says what it would do.
  - An image stays, whatever its age, while any version of any launch template, a launch configuration, an Auto Scaling group
    or an instance that is not terminated refers to it, while a parameter of Systems Manager names it or a roll back by
    M(boring.fleet.image_publish) would go to it, while it is public, shared with another account disabled, or protected against
    deregistration, while an image that stays was made of it (V(boring:source)), when it was launched within O(min_age), and while it is one
    of the newest O(keep) of its build and architecture.
  - Any call that fails, is denied, or is throttled to the end while that is looked up means that nothing is deleted, and the
    task fails and names the call.
  - The snapshots of an image go with it, except those that another image or the block devices of a launch template use, or that are shared
    with another account.
  - Not looked at - other regions and accounts, spot fleet requests that name an image without a launch template, and
    encrypted parameters.
options:
  family:
    description:
      - The family whose images are judged, by their tag V(boring:family). Others are never touched.
    type: str
    required: true
  keep:
    description:
      - So many of the newest of each build (V(boring:build)) and architecture stay. Images that are not available, or that a build made before
        it failed, do not count.
    type: int
    default: 3
  min_age:
    description:
      - Days from which an image may go.
    type: int
    default: 14
  max_delete:
    description:
      - At most so many go at once, oldest first. The others stay until the next time.
    type: int
    default: 10
  apply:
    description:
      - Really delete. Without it this is a dry run.
    type: bool
    default: false
extends_documentation_fragment:
  - boring.fleet.aws
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Shows the family's images before and after.
    support: full
notes:
  - >-
    Needs the permissions ec2:DescribeImages, ec2:DescribeImageAttribute, ec2:DescribeSnapshotAttribute, ec2:DescribeInstances, ec2:DescribeLaunchTemplates,
    ec2:DescribeLaunchTemplateVersions, autoscaling:DescribeAutoScalingGroups, autoscaling:DescribeLaunchConfigurations,
    ssm:DescribeParameters, ssm:GetParameters and ssm:GetParameterHistory, and to delete ec2:DeregisterImage and
    ec2:DeleteSnapshot.
seealso:
  - module: boring.fleet.image_build
  - module: boring.fleet.image_publish
"""

EXAMPLES = r"""
- name: Say which images of the engine may go
  boring.fleet.image_prune:
    family: engine
    region: eu-central-1
  register: old

- name: Show them
  ansible.builtin.debug:
    var: old.delete

- name: Remove them
  boring.fleet.image_prune:
    family: engine
    keep: 5
    min_age: 30
    apply: true
    region: eu-central-1
"""

RETURN = r"""
delete:
  description: Images that were deleted, or would be, oldest first.
  returned: success
  type: list
  elements: dict
  contains: &image
    id:
      description: Id of the image.
      type: str
      sample: ami-0123456789abcdef0
    name:
      description: Name of the image.
      type: str
      sample: boring-engine-3f1c0a6d5e0b
    age_days:
      description: Whole days since it was made; null when EC2 does not say.
      type: int
      sample: 42
    reasons:
      description: Why it goes, or all that keeps it.
      type: list
      elements: str
      sample: [launch template engine version 7, Auto Scaling group engine]
keep:
  description: Images of the family that stay, newest first.
  returned: success
  type: list
  elements: dict
  contains: *image
snapshots:
  description: Snapshots that were deleted with their images, or would be.
  returned: success
  type: list
  elements: str
applied:
  description: Whether this run deleted what O(ignore:delete) lists.
  returned: success
  type: bool
deleted:
  description: Ids of the images and snapshots that were gone when the task failed.
  returned: when deleting failed
  type: list
  elements: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.image import prune
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.retention import Policy


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "family": {"type": "str", "required": True},
            "keep": {"type": "int", "default": 3},
            "min_age": {"type": "int", "default": 14},
            "max_delete": {"type": "int", "default": 10},
            "apply": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    done = prune.Done()
    try:
        module.exit_json(**run(module, done))
    except (ImageError, AwsError) as exc:
        deleted = [*done.images, *done.snapshots]
        module.fail_json(msg=str(exc), **({"changed": True, "deleted": deleted} if deleted else {}))


def run(module: AnsibleModule, done: prune.Done) -> dict[str, Any]:
    given = module.params
    if not given["family"].strip():
        raise ImageError("family is empty: name the family whose images may go, as their tag boring:family has it")
    for option in ("keep", "min_age", "max_delete"):
        if given[option] < 0:
            raise ImageError(f"{option} is {given[option]}: give 0 or more")
    aws = Aws(AwsOptions.from_params(given))
    ec2 = aws.client("ec2")
    policy = Policy(given["keep"], given["min_age"], given["max_delete"])
    plan = prune.plan(
        given["family"],
        policy,
        ec2=ec2,
        autoscaling=aws.client("autoscaling"),
        ssm=aws.client("ssm"),
        now=time.time(),
    )
    apply = given["apply"] and not module.check_mode
    if apply:
        prune.carry_out(plan, done, ec2=ec2)
    return {
        "changed": given["apply"] and bool(plan.verdict.delete),
        "applied": apply,
        "delete": [judged.as_dict() for judged in plan.verdict.delete],
        "keep": [judged.as_dict() for judged in plan.verdict.keep],
        "snapshots": list(plan.snapshots),
        "diff": prune.as_diff(plan),
    }


if __name__ == "__main__":
    main()
