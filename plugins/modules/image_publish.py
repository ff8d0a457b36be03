#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_publish
short_description: Point a channel at a machine image, or back at the one before
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - A channel is a parameter of AWS Systems Manager whose value is the id of an image, such as
    V(/boring/images/gpu/stable). Launch templates can name it as V(resolve:ssm:/boring/images/gpu/stable).
  - The versions of the parameter are the history. SSM keeps the last 100.
  - An image is looked at before the channel points at it. It must be available, and have the tags that
    M(boring.fleet.image_build) gives to what it has built and looked at.
options:
  image:
    description:
      - Id of the image. Required with O(state=present), not used with O(state=rolled_back).
    type: str
  channel:
    description:
      - Path of the parameter. It is made when it does not exist.
      - One that holds something else than the id of an image, or is encrypted, is refused.
    type: str
    required: true
  state:
    description:
      - V(present) points the channel at O(image).
      - V(rolled_back) points it at the image before the current one. It is a state, so doing it again changes nothing until
        something is published anew. To go further back, publish the image that is wanted.
    type: str
    choices: [present, rolled_back]
    default: present
  unverified:
    description:
      - Publish an image although it lacks the tag V(boring:fingerprint), or its tag V(boring:verified) says that its proof
        failed.
    type: bool
    default: false
  deprecate_after:
    description:
      - Give the image that the channel pointed at before a date of deprecation, this many days from now. EC2 hides it from
        others then; who uses it is not disturbed. The image that the channel points at loses a date it may have.
      - When omitted, dates stay as they are.
      - Give it to the last channel that an image goes through only.
    type: int
extends_documentation_fragment:
  - boring.fleet.aws
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Shows the image before and after.
    support: full
seealso:
  - module: boring.fleet.image_build
  - module: boring.fleet.image_prune
"""

EXAMPLES = r"""
- name: Publish what was built
  boring.fleet.image_publish:
    image: "{{ engine.images[0].id }}"
    channel: /boring/images/engine/stable
    deprecate_after: 30
    region: eu-central-1

- name: Go back to the image before
  boring.fleet.image_publish:
    channel: /boring/images/engine/stable
    state: rolled_back
    region: eu-central-1
"""

RETURN = r"""
channel:
  description: Path of the parameter.
  returned: success
  type: str
  sample: /boring/images/engine/stable
image:
  description: The image that the channel points at now.
  returned: success
  type: str
  sample: ami-0123456789abcdef0
previous:
  description: The image that it pointed at before this task; empty when there was no such channel.
  returned: success
  type: str
  sample: ami-0fedcba9876543210
history:
  description: What the channel has pointed at, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    version:
      description: Version of the parameter.
      type: int
    image:
      description: Id of the image.
      type: str
    at:
      description: When it was written, in ISO 8601.
      type: str
    rolled_back:
      description: Whether a roll back wrote it.
      type: bool
deprecated:
  description: The image that got a date of deprecation; empty when none did.
  returned: success
  type: str
revived:
  description: The image whose date of deprecation was taken away; empty when none had one.
  returned: success
  type: str
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.image.channel import Channel
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "image": {"type": "str"},
            "channel": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "rolled_back"], "default": "present"},
            "unverified": {"type": "bool", "default": False},
            "deprecate_after": {"type": "int"},
        },
        required_if=[("state", "present", ["image"])],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (ImageError, AwsError) as exc:
        module.fail_json(msg=str(exc))


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    days = given["deprecate_after"]
    if days is not None and not 1 <= days <= 3650:
        raise ImageError(f"deprecate_after is {days}: give a number of days from 1 to 3650, or leave it out")
    aws = Aws(AwsOptions.from_params(given))
    channel = Channel(
        given["channel"],
        ssm=aws.client("ssm"),
        ec2=aws.client("ec2"),
        now=datetime.now(UTC),
        check=module.check_mode,
    )
    if given["state"] == "present":
        moved = channel.present(given["image"], unverified=given["unverified"], deprecate_after=days)
    else:
        moved = channel.rolled_back(deprecate_after=days)
    return {
        "changed": moved.changed,
        "channel": channel.name,
        "image": moved.image,
        "previous": moved.previous,
        "history": [version.as_dict() for version in reversed(moved.history)],
        "deprecated": moved.deprecated,
        "revived": moved.revived,
        "diff": {"before": f"{moved.previous or 'no channel'}\n", "after": f"{moved.image}\n"},
    }


if __name__ == "__main__":
    main()
