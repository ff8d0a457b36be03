#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_set
short_description: Wait for a Redis replica set under Sentinel to be whole, or hand over its master
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - A set is whole when every Sentinel names the same master and has its quorum, that one and no other says that it is
    master, and every replica follows it, has copied its data and keeps up.
  - A hand-over holds writes up until every replica has all of them, and then lets Sentinel fail over, so none is lost.
    Sentinel's own failover does not wait (redis/redis#13118).
  - Needs nothing on the host but Python.
extends_documentation_fragment: [boring.fleet.login]
attributes:
  check_mode:
    description: Looks, and hands nothing over.
    support: full
  diff_mode:
    description: There is nothing to show but who is master, which is returned.
    support: none
options:
  state:
    description:
      - V(whole) waits until the set is whole.
      - V(handed_over) waits for that too, and if O(node) is the master lets another become it.
      - V(known) does not wait, and asks only whom the Sentinels take for the master.
    type: str
    choices: [whole, handed_over, known]
    default: whole
  node:
    description: Address of the node that is to be no master. Needed by V(handed_over).
    type: str
  nodes:
    description: Addresses of all nodes, as Sentinel names them. On each is a Redis and a Sentinel.
    type: list
    elements: str
    required: true
  name:
    description: Name that the Sentinels have for the set.
    type: str
    default: main
  port:
    description: Port of every Redis.
    type: int
    default: 6379
  sentinel_port:
    description: Port of every Sentinel.
    type: int
    default: 26379
  user:
    description: User of Redis and of Sentinel.
    type: str
    default: admin
  patience:
    description: Seconds until the set must be whole.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Before one node is stopped
  boring.fleet.redis_set:
    state: handed_over
    node: "{{ ansible_host }}"
    nodes: "{{ redis_nodes }}"
    password: "{{ redis_admin_password }}"
    ca: /etc/redis/tls/ca.pem
"""

RETURN = r"""
master:
  description: Address of the master, at the end. With O(state=known) empty where no Sentinel says one.
  returned: success
  type: str
  sample: 10.0.0.12
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Answers, Client, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import (
    Sets,
    hand_over,
    known_master,
    wait_until_whole,
)
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import LOGIN_OPTIONS, Login


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["whole", "handed_over", "known"], "default": "whole"},
            "node": {"type": "str"},
            "nodes": {"type": "list", "elements": "str", "required": True},
            "name": {"type": "str", "default": "main"},
            "port": {"type": "int", "default": 6379},
            "sentinel_port": {"type": "int", "default": 26379},
            "user": {"type": "str", "default": "admin"},
            **LOGIN_OPTIONS,
            "patience": {"type": "int", "default": 120},
        },
        required_if=[("state", "handed_over", ["node"])],
        supports_check_mode=True,
    )
    options = module.params
    login = Login.of(options)

    def redis(address: str) -> Answers:
        return Client(address, options["port"], login)

    def sentinel(address: str) -> Answers:
        return Client(address, options["sentinel_port"], login)

    sets = Sets(options["nodes"], options["name"], redis, sentinel)
    patience = float(options["patience"])
    try:
        if options["state"] == "known":
            module.exit_json(changed=False, master=known_master(sets))
        master = wait_until_whole(sets, patience, time.monotonic, time.sleep)
        changed = options["state"] == "handed_over" and master == options["node"]
        if changed and not module.check_mode:
            master = hand_over(sets, options["node"], patience, time.monotonic, time.sleep)
    except RedisError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=changed, master=master)


if __name__ == "__main__":
    main()
