#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_provenance
short_description: Write a signed statement about what an image was made of
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Reads the tags of an image in EC2 and writes an in-toto statement with SLSA's provenance about it, in a DSSE envelope that is
    signed with a key of yours. The fingerprint, the source image, the SBOM's digest and what was proven are in it.
  - openssl signs. Whoever has the public key can verify it with openssl alone.
options:
  image:
    description: Id of the image.
    type: str
    required: true
  key:
    description: Path of an Ed25519 private key in PEM, without a passphrase.
    type: path
    required: true
  dest:
    description: File to write the envelope to. Its directory must exist.
    type: path
    required: true
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
- name: Say what the image was made of
  boring.fleet.image_provenance:
    image: "{{ engine.images[0].id }}"
    key: ~/.config/boring/provenance.pem
    dest: build/engine.provenance.json
"""

RETURN = r"""
statement:
  description: What was signed.
  returned: success
  type: dict
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.image import provenance, sbom
from ansible_collections.boring.fleet.plugins.module_utils.image.calls import Api
from ansible_collections.boring.fleet.plugins.module_utils.image.cloud import region_of
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.tags import tags_of


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "image": {"type": "str", "required": True},
            "key": {"type": "path", "required": True, "no_log": False},
            "dest": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (ImageError, AwsError) as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"{exc.filename or module.params['dest']}: {exc.strerror}")


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    ec2 = Aws(AwsOptions.from_params(given)).client("ec2")
    found = Api(ec2, "ec2").call("describe_images", "Images", ImageIds=[given["image"]])
    if not found:
        raise ImageError(f"{given['image']} is not there: name an image of this region")
    tags = tags_of(found[0])
    document = provenance.statement(
        image=given["image"],
        region=region_of(ec2),
        tags=tags,
        sbom=tags.get(sbom.TAG, ""),
        verified=tags.get("boring:verified", ""),
    )
    # Ed25519 is deterministic: the same statement and key make the same bytes.
    envelope = provenance.sign(document, Path(given["key"]))
    dest = Path(given["dest"])
    changed = not dest.is_file() or dest.read_text(encoding="utf-8") != envelope
    if changed and not module.check_mode:
        dest.write_text(envelope, encoding="utf-8")
    return {"changed": changed, "statement": document}


if __name__ == "__main__":
    main()
