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
  - An image is looked at before the channel points at it. It must be available, have the tags that
    M(boring.fleet.image_build) gives to what it has built and looked at, be proven as far as O(require) says, and be of the family and the
    architecture that the channel holds.
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
        failed, or less than O(require).
    type: bool
    default: false
  require:
    description:
      - How far the image must be proven, by its tag V(boring:verified) - V(built) is what M(boring.fleet.image_build) gives, V(booted) that
        hosts of it were started and looked at, V(hardware) that its driver ran on a real GPU. Each includes those before.
      - With O(unverified) it is not asked.
    type: str
    choices: [built, booted, hardware]
    default: booted
  share_with:
    description:
      - Who else may launch the image and its copies. Nobody is taken off.
      - Accounts get a grant of the keys that an image is encrypted with. For organisations the key's policy must say it. AWS's own keys,
        such as an account's default key for volumes, cannot be shared, and AWS refuses it.
    type: dict
    suboptions:
      accounts:
        description: Accounts, by their 12 digits. They may read the snapshots as well.
        type: list
        elements: str
        default: []
      organizations:
        description: ARNs of organisations and of their units.
        type: list
        elements: str
        default: []
  copies:
    description:
      - Other regions where the channel is to point at a copy of the image. Copies are encrypted, have the image's tags, and are
        made once.
      - All of them are there before the channel of any region moves. With O(state=rolled_back) the channel of each region goes back
        by its own history, and nothing is copied.
    type: list
    elements: dict
    default: []
    suboptions:
      region:
        description: The region.
        type: str
        required: true
      kms_key_id:
        description:
          - Key of that region to encrypt with.
          - When omitted, the account's default key for volumes.
        type: str
  timeout:
    description: Seconds to wait for all copies.
    type: int
    default: 3600
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
    copies:
      - region: us-east-1
        kms_key_id: alias/images

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
copies:
  description: What was done in the other regions.
  returned: success
  type: list
  elements: dict
  contains:
    region:
      description: The region.
      type: str
    image:
      description: The image that the channel points at there; empty in check mode when the copy is not there yet.
      type: str
    copied:
      description: Whether this task made the copy.
      type: bool
shared:
  description: Whether this task let somebody launch the image or a copy who could not before.
  returned: success
  type: bool
revived:
  description: The image whose date of deprecation was taken away; empty when none had one.
  returned: success
  type: str
"""

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.image import copies, publish
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
            "require": {"type": "str", "choices": list(publish.LEVELS), "default": "booted"},
            "share_with": {
                "type": "dict",
                "options": {
                    "accounts": {"type": "list", "elements": "str", "default": []},
                    "organizations": {"type": "list", "elements": "str", "default": []},
                },
            },
            "copies": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"region": {"type": "str", "required": True}, "kms_key_id": {"type": "str"}},
            },
            "timeout": {"type": "int", "default": 3600},
            "deprecate_after": {"type": "int"},
        },
        required_if=[("state", "present", ["image"])],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (ImageError, AwsError) as exc:
        module.fail_json(msg=str(exc))


class Region:
    """One region's clients and channel."""

    def __init__(self, aws: Aws, module: AnsibleModule) -> None:
        self.name = str(aws.region)
        self.ec2 = aws.client("ec2")
        self.kms = aws.client("kms") if module.params["share_with"] else None
        self.channel = Channel(
            module.params["channel"],
            ssm=aws.client("ssm"),
            ec2=self.ec2,
            now=datetime.now(UTC),
            check=module.check_mode,
        )


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    days = given["deprecate_after"]
    if days is not None and not 1 <= days <= 3650:
        raise ImageError(f"deprecate_after is {days}: give a number of days from 1 to 3650, or leave it out")
    options = AwsOptions.from_params(given)
    home = Region(Aws(options), module)
    others = [Region(Aws(replace(options, region=wanted["region"])), module) for wanted in given["copies"]]
    names = [home.name, *(other.name for other in others)]
    if len(set(names)) < len(names):
        raise ImageError(
            f"copies names {next(name for name in names if names.count(name) > 1)} twice, or the image's own region"
        )
    made: list[copies.Copy] = []
    shared = False
    wanted_readers = given["share_with"] or {"accounts": [], "organizations": []}
    readers = copies.Readers(tuple(wanted_readers["accounts"]), tuple(wanted_readers["organizations"]))
    copies.check_readers(readers)
    if given["state"] == "present":
        proof = {"unverified": given["unverified"], "require": given["require"]}
        described = home.channel.check_image(given["image"], **proof)
        for other, wanted in zip(others, given["copies"], strict=True):
            key = wanted["kms_key_id"] or ""
            made.append(copies.ensure(other.ec2, other.name, described, home.name, key=key, check=module.check_mode))
        deadline = time.monotonic() + given["timeout"]
        for other, copy in zip(others, made, strict=True):
            if not module.check_mode:
                copies.wait(other.ec2, copy, deadline=deadline)
        for region, image in [
            (home, given["image"]),
            *((other, copy.image) for other, copy in zip(others, made, strict=True)),
        ]:
            if image and readers.permissions():
                described = region.channel.check_image(image, unverified=True)
                shared = copies.share(region.ec2, region.kms, described, readers, check=module.check_mode) or shared
        there = [
            other.channel.present(copy.image, unverified=True, deprecate_after=days)
            for other, copy in zip(others, made, strict=True)
            if copy.image
        ]
        moved = home.channel.present(given["image"], **proof, deprecate_after=days)
    else:
        there = [other.channel.rolled_back(deprecate_after=days) for other in others]
        made = [copies.Copy(other.name, back.image, False) for other, back in zip(others, there, strict=True)]
        moved = home.channel.rolled_back(deprecate_after=days)
    return {
        "changed": moved.changed or shared or any(one.changed for one in there) or any(copy.made for copy in made),
        "channel": home.channel.name,
        "image": moved.image,
        "previous": moved.previous,
        "history": [version.as_dict() for version in reversed(moved.history)],
        "copies": [copy.as_dict() for copy in made],
        "shared": shared,
        "deprecated": moved.deprecated,
        "revived": moved.revived,
        "diff": {"before": f"{moved.previous or 'no channel'}\n", "after": f"{moved.image}\n"},
    }


if __name__ == "__main__":
    main()
