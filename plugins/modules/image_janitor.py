#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_janitor
short_description: Remove what killed image builds left behind
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - M(boring.fleet.image_build) removes what a build leaves behind, unless it is killed together with its machine. Then this
    module does.
  - A build tags its instance, volumes, snapshots, launch template of a Spot request, key pair and security group with V(boring:builder),
    which build it is, and V(boring:expires), until when it may take. They are removed when everything of a build says that its time is over.
    What has no such tags is never touched.
  - An image has the same tags until it is confirmed. One that a build made before it failed, or that was never confirmed, goes with its
    snapshots.
  - One refusal of AWS does not stop the rest. All of them are named at the end, and the task fails then.
options:
  grace:
    description: Seconds to wait after a build's time is over.
    type: int
    default: 600
extends_documentation_fragment:
  - boring.fleet.aws
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
notes:
  - >-
    Needs the permissions ec2:DescribeInstances, ec2:DescribeLaunchTemplates, ec2:DescribeKeyPairs, ec2:DescribeImages,
    ec2:DescribeSnapshots, ec2:DescribeVolumes and ec2:DescribeSecurityGroups, and to remove ec2:TerminateInstances,
    ec2:DeleteLaunchTemplate, ec2:DeleteKeyPair, ec2:DeregisterImage, ec2:DeleteSnapshot, ec2:DeleteVolume and
    ec2:DeleteSecurityGroup.
seealso:
  - module: boring.fleet.image_build
"""

EXAMPLES = r"""
- name: Remove what builds left behind that were killed
  boring.fleet.image_janitor:
    region: eu-central-1
"""

RETURN = r"""
leftovers:
  description: What was left of each build, and was removed, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    builder:
      description: Which build it was.
      type: str
    expired_hours:
      description: For how long its time was over.
      type: float
      sample: 2.5
    things:
      description: Its instances, launch templates, key pairs, images, snapshots, volumes and security groups.
      type: list
      elements: str
      sample: [instance i-0123456789abcdef0, key pair packer_1]
removed:
  description: What was removed, in order; with a failed task as well.
  returned: when not in check mode
  type: list
  elements: str
refused:
  description: What AWS refused to remove, with its reason.
  returned: when something was refused
  type: list
  elements: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.image import janitor
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

_WAIT = 180.0  # seconds for an instance to be gone, so that its security group can go


def main() -> None:
    module = AnsibleModule(
        argument_spec={**ARGUMENT_SPEC, "grace": {"type": "int", "default": 600}},
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (ImageError, AwsError) as exc:
        module.fail_json(msg=str(exc))


def run(module: AnsibleModule) -> dict[str, Any]:
    grace = module.params["grace"]
    if grace < 0:
        raise ImageError(f"grace is {grace}: give 0 seconds or more")
    ec2 = Aws(AwsOptions.from_params(module.params)).client("ec2")
    now = time.time()
    found = janitor.expired(janitor.things(ec2), now, grace)
    answer: dict[str, Any] = {"changed": bool(found), "leftovers": [left.as_dict(now) for left in found]}
    if module.check_mode:
        return answer
    done = janitor.remove(ec2, found, deadline=time.monotonic() + _WAIT)
    answer = {**answer, "changed": bool(done.things), "removed": done.things}
    if done.refused:
        said = "; ".join(done.refused)
        module.fail_json(
            msg=f"not all that builds left behind could be removed: {said}", refused=done.refused, **answer
        )
    return answer


if __name__ == "__main__":
    main()
