#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_sentinel
short_description: Bring what a running Sentinel knows of its set to what it should be
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Asks a Sentinel for the options of its set, and changes those that differ with C(SENTINEL SET).
  - Who is master is the Sentinels' to say, and never changed.
  - Needs nothing on the host but Python.
extends_documentation_fragment: [boring.fleet.login]
attributes:
  check_mode:
    description: Says what differs, and changes nothing.
    support: full
  diff_mode:
    description: Shows the options that differ, without the password.
    support: full
options:
  host:
    description: Address of the Sentinel. At a loopback address, its certificate may be for another name.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the Sentinel.
    type: int
    default: 26379
  name:
    description: Name that the Sentinel has for the set.
    type: str
    default: main
  user:
    description: User of the Sentinel.
    type: str
    default: admin
  settings:
    description: Options in the words of C(SENTINEL MASTER) and C(SENTINEL SET), such as C(quorum).
    type: dict
    default: {}
  auth_pass:
    description: Password with which the Sentinel logs in at Redis.
    type: str
    required: true
  own_file:
    description: The file that the Sentinel keeps for itself, which alone tells what its password is.
    type: path
    required: true
  patience:
    description: Seconds until the Sentinel must let the user in.
    type: int
    default: 15
"""

EXAMPLES = r"""
- name: Miss the master sooner
  boring.fleet.redis_sentinel:
    settings: {down-after-milliseconds: "3000"}
    auth_pass: "{{ redis_sentinel_password }}"
    own_file: /var/lib/redis/sentinel.conf
    password: "{{ redis_admin_password }}"
    ca: /etc/redis/tls/ca.pem
"""

RETURN = r"""
differs:
  description: Names of the options that were changed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [quorum]
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.sentinel import apply, look, plan
from ansible_collections.boring.fleet.plugins.module_utils.redis.server import connect
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import LOGIN_OPTIONS, Login


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 26379},
            "name": {"type": "str", "default": "main"},
            "user": {"type": "str", "default": "admin"},
            **LOGIN_OPTIONS,
            "settings": {"type": "dict", "default": {}},
            "auth_pass": {"type": "str", "required": True, "no_log": True},
            "own_file": {"type": "path", "required": True},
            "patience": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    options = module.params
    name, login = options["name"], Login.of(options, any_name=True)
    wanted = {option: str(value) for option, value in options["settings"].items()}
    try:
        own = Path(options["own_file"]).read_text(encoding="utf-8")
        sentinel = connect(
            lambda: Client(options["host"], options["port"], login), options["patience"], time.monotonic, time.sleep
        )
        try:
            made = plan(name, wanted, options["auth_pass"], look(sentinel, name), own)
            if not module.check_mode:
                apply(sentinel, name, made)
        finally:
            sentinel.close()
    except RedisError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(
            msg=f"{options['own_file']} cannot be read: {exc.strerror}; see whether the Sentinel was ever started."
        )
    module.exit_json(
        changed=bool(made.change),
        differs=sorted(made.change),
        diff={"before": dict(made.before), "after": dict(made.after)},
    )


if __name__ == "__main__":
    main()
