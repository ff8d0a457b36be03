#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_server
short_description: Bring the users and settings of a running Redis to what they should be
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Asks the server for its settings and users, changes live what differs, and says what only a restart can change. It
    restarts nothing.
  - Users are changed by C(ACL SETUSER), for C(ACL LOAD) of Redis 7.0 cuts off every client.
  - Needs nothing on the host but Python.
extends_documentation_fragment: [boring.fleet.login]
attributes:
  check_mode:
    description: Says what differs, and changes nothing.
    support: full
  diff_mode:
    description: Shows settings and users that differ, passwords and their hashes left out.
    support: full
options:
  host:
    description: Address of the server. At a loopback address, its certificate may be for another name.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the server.
    type: int
    default: 6379
  user:
    description: User that may change settings and users.
    type: str
    default: admin
  settings:
    description: Settings by name, each in the form in which C(CONFIG GET) gives it.
    type: dict
    default: {}
  secret_settings:
    description: Settings whose values nobody may see.
    type: dict
    default: {}
  users:
    description: All lines of the ACL file, the last of them the user that says which file it is. Without any, users stay as they are.
    type: list
    elements: str
    default: []
  again:
    description: Names of O(settings) to tell the server again though they are the same, because a file that they name has changed.
    type: list
    elements: str
    default: []
  unit:
    description: A file of the unit. A server that started before it was written must restart.
    type: path
  service:
    description: The unit.
    type: str
    default: redis-server.service
  patience:
    description: Seconds until the server must let the user in and have loaded its data. A wrong password is not waited for.
    type: int
    default: 3
"""

EXAMPLES = r"""
- name: More memory, without a restart
  boring.fleet.redis_server:
    settings: {maxmemory: "536870912"}
    password: "{{ redis_admin_password }}"
    ca: /etc/redis/tls/ca.pem
"""

RETURN = r"""
reachable:
  description: Whether the server let the user in.
  returned: success
  type: bool
runs:
  description: Whether it runs, though it may not let the user in.
  returned: success
  type: bool
reason:
  description: Why it did not.
  returned: success
  type: str
  sample: ""
differs:
  description: Names of settings that still differ, C(users) if they do, and C(unit) if the server is older than its unit.
  returned: success
  type: list
  elements: str
  sample: [databases]
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.server import (
    Wanted,
    apply,
    connect,
    look,
    plan,
    runs,
    settle,
)
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import LOGIN_OPTIONS, Login


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 6379},
            "user": {"type": "str", "default": "admin"},
            **LOGIN_OPTIONS,
            "settings": {"type": "dict", "default": {}},
            "secret_settings": {"type": "dict", "default": {}, "no_log": True},
            "users": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "again": {"type": "list", "elements": "str", "default": []},
            "unit": {"type": "path"},
            "service": {"type": "str", "default": "redis-server.service"},
            "patience": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    options = module.params
    login = Login.of(options, any_name=True)
    unit = Path(options["unit"] or "/")
    wanted = Wanted(
        {name: str(value) for name, value in {**options["settings"], **options["secret_settings"]}.items()},
        options["users"],
        options["again"],
        unit.stat().st_mtime if unit.is_file() else 0.0,
    )
    names = sorted(wanted.settings)
    try:
        redis = connect(
            lambda: Client(options["host"], options["port"], login), options["patience"], time.monotonic, time.sleep
        )
    except RedisError as exc:
        show = ["timeout", "10", "systemctl", "show", "--property=ActiveState,SubState", options["service"]]
        there = runs(module.run_command(show)[1])
        module.exit_json(changed=False, reachable=False, runs=there, reason=str(exc), differs=[])
    try:
        made = plan(wanted, look(redis, names))
        left = made
        if made.steps and not module.check_mode:
            apply(redis, made)
            left = plan(wanted, settle(redis, names, time.monotonic, time.sleep))
    except RedisError as exc:
        module.fail_json(msg=str(exc))
    finally:
        redis.close()
    module.exit_json(
        changed=bool(made.steps),
        reachable=True,
        runs=True,
        reason="",
        differs=list(left.differs),
        diff={"before": made.before, "after": made.after},
    )


if __name__ == "__main__":
    main()
