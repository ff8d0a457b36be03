#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_usage_info
short_description: Say which images hosts run, and where their SBOMs are
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Finds every image that a host runs, or that an Auto Scaling group would start a host from, in one region. Versions of launch
    templates that nobody uses do not count.
  - For each it looks for the SBOM that M(boring.fleet.image_build) wrote, by the SHA-256 in the image's tag C(boring:sbom), so that
    M(boring.fleet.image_cves) can look at what is in use and not only at what was just built.
  - An image without its SBOM is a problem in the result. An answer of AWS that cannot be had fails the task.
options:
  groups:
    description: Names of Auto Scaling groups. Without any, all groups of the region, and hosts of no group too.
    type: list
    elements: str
    default: []
  sboms:
    description: Folder with the SBOMs, V(*.cdx.json). M(boring.fleet.image_build) writes them into the default.
    type: path
    default: ~/.cache/boring.fleet/image_build
extends_documentation_fragment:
  - boring.fleet.aws
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
"""

EXAMPLES = r"""
- name: What runs here?
  boring.fleet.image_usage_info:
    region: eu-central-1
  register: used
"""

RETURN = r"""
images:
  description: Images that are in use, by their id.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: Id of the image., type: str, sample: ami-0123456789abcdef0}
    name: {description: Name of the image; empty when it is gone., type: str}
    family: {description: Its tag C(boring:family)., type: str, sample: engine}
    used_by: {description: What uses it., type: list, elements: str, sample: [Auto Scaling group main-engine]}
    sbom: {description: Path of its SBOM; empty when that is not there., type: str}
    release: {description: Debian release that the SBOM names., type: str, sample: debian-13}
    problem: {description: Why nobody can say what is in it; empty when the SBOM is there., type: str}
    foreign: {description: Whether it was not made by image_build., type: bool}
problems:
  description: The problems of all images.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.image import in_use
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "groups": {"type": "list", "elements": "str", "default": []},
            "sboms": {"type": "path", "default": "~/.cache/boring.fleet/image_build"},
        },
        supports_check_mode=True,
    )
    try:
        aws = Aws(AwsOptions.from_params(module.params))
        found = in_use.look(
            module.params["groups"],
            Path(module.params["sboms"]),
            ec2=aws.client("ec2"),
            autoscaling=aws.client("autoscaling"),
            ssm=aws.client("ssm"),
        )
    except (ImageError, AwsError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(
        changed=False,
        images=[one.as_dict() for one in found],
        problems=[one.problem for one in found if one.problem],
    )


if __name__ == "__main__":
    main()
