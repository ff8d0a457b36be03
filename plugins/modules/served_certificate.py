#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: served_certificate
short_description: Say whether a server presents the certificate on disk
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Connects to a server, takes the certificate that it presents, and compares it with a file. A service that was told to
    reload has its new certificate in use only when it presents it.
  - Trusts nothing and verifies nothing else.
attributes:
  check_mode:
    description: Only looks, so it does the same.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
options:
  host:
    description: Address of the server.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the server.
    type: int
    required: true
  greets:
    description: The server says a line in the clear before TLS begins, as NATS does.
    type: bool
    default: false
  file:
    description: PEM file on the host whose first certificate should be presented.
    type: path
    required: true
  cert:
    description: Certificate to show to a server that asks for one. PEM file on the host.
    type: path
  key:
    description: Key of O(cert). PEM file on the host.
    type: path
  timeout:
    description: Seconds for the connection, and again for the answer.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: See whether Redis uses its new certificate
  boring.fleet.served_certificate:
    port: 6379
    file: /etc/redis/tls/cert.pem
  register: redis_certificate
  failed_when: not redis_certificate.same
"""

RETURN = r"""
same:
  description: Whether the server presents the certificate in O(file).
  returned: always
  type: bool
  sample: true
served:
  description: SHA-256 of the certificate that the server presents; empty when it presents none.
  returned: always
  type: str
  sample: 6b6ba2b1f2ab0a7f8a1f1e5a9f2ffef3ac9c0b39d2a6c3c9f3a9c9f3d2c1b0a9
reason:
  description: Why the server presents none, or empty.
  returned: always
  type: str
  sample: ""
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.tls.served import (
    ServedError,
    Server,
    fingerprint,
    first_certificate,
    served,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "required": True},
            "greets": {"type": "bool", "default": False},
            "file": {"type": "path", "required": True},
            "cert": {"type": "path"},
            "key": {"type": "path", "no_log": False},
            "timeout": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        wanted = fingerprint(first_certificate(Path(options["file"]).read_text()))
    except (OSError, ValueError) as exc:
        module.fail_json(msg=f"{options['file']} holds no certificate: {exc}; name a PEM file.")
    server = Server(
        options["host"],
        options["port"],
        options["greets"],
        options["cert"] or "",
        options["key"] or "",
        float(options["timeout"]),
    )
    try:
        presented, reason = served(server), ""
    except ServedError as exc:
        presented, reason = "", str(exc)
    module.exit_json(changed=False, same=presented == wanted, served=presented, reason=reason)


if __name__ == "__main__":
    main()
