#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image
short_description: Say which digest a container image has, and fetch it
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Asks a registry what a tag stands for, so that what is built from it can be pinned by digest, and refuses an image for another architecture.
  - With O(directory) it fetches the image too, as an OCI archive, every piece checked against its digest. One that is there is not fetched
    again, unless it is damaged.
  - Logins are those of C(docker login) and C(podman login), of this machine, with their helpers. They are sent over TLS only, and to nobody but the
    registry and whom it has its tokens from.
attributes:
  check_mode:
    description: Says the digest, and fetches nothing.
    support: full
  diff_mode:
    description: There is nothing to differ.
    support: none
options:
  image:
    description:
      - The image with its registry, by tag or by digest. One by digest is only looked up with O(directory).
      - A registry on this machine itself (C(localhost), C(127.0.0.1)) is asked without TLS, as Docker does.
    type: str
    required: true
  architecture:
    description: Which machine it has to be for, as images call it.
    type: str
    default: amd64
  directory:
    description: Where to keep the archive, on the machine that the module runs on. It is called after the digest.
    type: path
  ca_file:
    description:
      - Certificates of authorities that the registry's own host is checked by. Without it, and for all other hosts that the registry has tokens or
        pieces from, those count that Docker and podman take for that host (C(certs.d)), else the machine's own.
    type: path
  timeout:
    description: How long to wait for an answer, and for more of one, in seconds.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Ask what the tag stands for
  boring.fleet.container_image:
    image: registry.example.org/shop/web:1.4.2
  register: web

- name: Fetch that very image
  boring.fleet.container_image:
    image: "{{ web.image }}"
    directory: ~/.cache/boring-fleet/containers
"""

RETURN = r"""
digest:
  description: The digest. Of an image for several architectures it is the one of the list, which names them all.
  returned: success
  type: str
  sample: sha256:5d0b3c9f5f1c7e4b2a3d8a9b7c6e5f4d3c2b1a09f8e7d6c5b4a39281706f5e4d
image:
  description: The image by that digest.
  returned: success
  type: str
  sample: registry.example.org/shop/web@sha256:5d0b3c9f5f1c7e4b2a3d8a9b7c6e5f4d3c2b1a09f8e7d6c5b4a39281706f5e4d
archive:
  description: The archive, where O(directory) was given.
  returned: success
  type: str
  sample: /root/.cache/boring-fleet/containers/5d0b3c9f5f1c7e4b2a3d8a9b7c6e5f4d3c2b1a09f8e7d6c5b4a39281706f5e4d-amd64.tar
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.oci.edge import registry
from ansible_collections.boring.fleet.plugins.module_utils.oci.reference import OciError, parse


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "required": True},
            "architecture": {"type": "str", "default": "amd64"},
            "directory": {"type": "path"},
            "ca_file": {"type": "path"},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        image = parse(given["image"])
        how = {"seconds": given["timeout"], "ca_file": given["ca_file"] or ""}
        digest = image.digest or registry(image, given["architecture"], **how).resolve()
        named, archive, changed = image.at(digest), "", False
        if given["directory"]:
            keeper = registry(named, given["architecture"], **how)
            path, changed = keeper.keep(Path(given["directory"]), fetch=not module.check_mode)
            archive = str(path)
    except OciError as exc:
        module.fail_json(msg=f"container_image: {exc}.")
    module.exit_json(changed=changed, digest=digest, image=str(named), archive=archive)


if __name__ == "__main__":
    main()
