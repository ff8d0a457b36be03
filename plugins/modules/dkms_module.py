#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dkms_module
short_description: Build, install and prove one kernel module for one kernel
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Builds a module with dkms for the kernel that is named, which need not be the running one, and then looks at the result
    itself - C(modinfo) must find every module that was built below C(/lib/modules/KERNEL/updates), made for that kernel,
    and signed.
  - A module that was skipped, is missing, is not signed, or is hidden by one of the kernel's own is a failure, whatever
    dkms returned. dkms of Debian 12 and 13 ends well in all these cases.
  - When a build fails, the message has the compiler's first error.
  - dkms never makes a signing key of its own while this module runs it, so none is left in an image.
options:
  name:
    description: Name of the module's source, as in C(/usr/src/NAME-VERSION).
    type: str
    required: true
  version:
    description: Version of the module's source.
    type: str
    required: true
  kernel:
    description: Release of the kernel, such as V(6.12.94+deb13-cloud-amd64). Its headers must be installed.
    type: str
    required: true
  state:
    description:
      - V(present) makes sure that it is there and passes the proof.
      - V(absent) removes it from this kernel. The source stays.
    type: str
    choices: [present, absent]
    default: present
  signed:
    description: Whether every module must be signed.
    type: bool
    default: true
  signer:
    description:
      - Common name of the certificate that every module must be signed with.
      - When omitted, anybody's signature will do.
    type: str
  signing_key:
    description:
      - Path of the private key to sign with, on the machine where the module runs. Keep it in memory (C(/run)), and remove it
        afterwards.
    type: path
  signing_certificate:
    description: Path of the certificate, in DER.
    type: path
  timeout:
    description: Seconds that the build may take.
    type: int
    default: 1800
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
"""

EXAMPLES = r"""
- name: Build NVIDIA's module for the image's kernel
  boring.fleet.dkms_module:
    name: nvidia-current
    version: 550.163.01
    kernel: 6.12.94+deb13-cloud-amd64
    signing_key: /run/boring-signing/key.pem
    signing_certificate: /usr/share/boring.fleet/modules.der
    signer: boring.fleet modules
"""

RETURN = r"""
modules:
  description: The modules that are there and passed the proof.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the module.
      type: str
      sample: nvidia
    file:
      description: Path of its file.
      type: str
    version:
      description: Its version, empty when it has none.
      type: str
      sample: 550.163.01
    vermagic:
      description: The kernel that it was made for.
      type: str
      sample: 6.12.94+deb13-cloud-amd64 SMP preempt mod_unload modversions
    license:
      description: Its licence.
      type: str
    signer:
      description: Common name of who signed it, empty when nobody did.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.image import dkms
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "kernel": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "signed": {"type": "bool", "default": True},
            "signer": {"type": "str"},
            "signing_key": {"type": "path", "no_log": False},
            "signing_certificate": {"type": "path"},
            "timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    given = module.params
    present = given["state"] == "present"
    try:
        one = dkms.Dkms(
            dkms.Wanted(
                given["name"],
                given["version"],
                given["kernel"],
                given["signed"] and present,
                given["signer"] or "",
                given["signing_key"] or "",
                given["signing_certificate"] or "",
                float(max(1, given["timeout"])),
            )
        )
        done = one.present(check=module.check_mode) if present else one.absent(check=module.check_mode)
        module.exit_json(**dkms.as_facts(done))
    except (ImageError, OSError) as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
