#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nats_peer
short_description: Make a NATS cluster forget a server that never comes back
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - A server that is gone for good still counts in the meta group and in its streams, which are one replica short. This module removes
    it, and JetStream makes new replicas on the servers that are there.
  - Refuses a server that is there, one whose absence leaves no majority, and one that may come back with the only copy of a stream,
    because nobody leads that stream.
  - Run it on all servers; it does something on the leader of the meta group only.
  - Needs nothing on the host but Python.
extends_documentation_fragment: [boring.fleet.login]
attributes:
  check_mode:
    description: Says what it would do, and refuses what it would refuse.
    support: full
  diff_mode:
    description: There is nothing to show but the server, which is named.
    support: none
options:
  peer:
    description: Name of the server to forget.
    type: str
    required: true
  accounts:
    description: A user of every account with JetStream, to look whether all streams are led. An account without one is a refusal.
    type: list
    elements: dict
    default: []
    suboptions:
      account:
        description: Name of the account.
        type: str
        required: true
      user:
        description: A user who may do everything in it.
        type: str
        required: true
      password:
        description: The user's password.
        type: str
        required: true
  monitor_url:
    description: Monitoring endpoint of the server that is asked, without a path.
    type: str
    default: http://127.0.0.1:8222
  host:
    description: Address of the server.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the server.
    type: int
    default: 4222
  user:
    description: A user of the system account.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: The host of nats-3 is gone, and nats-4 is in its place
  boring.fleet.nats_peer:
    peer: nats-3
    accounts:
      - {account: APP, user: app, password: "{{ vault_nats_app }}"}
    user: operator
    password: "{{ vault_nats_operator }}"
    ca: /etc/nats/tls/ca.pem
"""

RETURN = r"""
leads:
  description: Whether the server that was asked leads the meta group.
  returned: success
  type: bool
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client, NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.cluster import forget_peer, look
from ansible_collections.boring.fleet.plugins.module_utils.nats.monitor import HttpMonitor
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import LOGIN_OPTIONS, Login


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "peer": {"type": "str", "required": True},
            "accounts": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "account": {"type": "str", "required": True},
                    "user": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                },
            },
            "monitor_url": {"type": "str", "default": "http://127.0.0.1:8222"},
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 4222},
            "user": {"type": "str", "required": True},
            **LOGIN_OPTIONS,
        },
        supports_check_mode=True,
    )
    options = module.params

    def connect(user: str, password: str) -> Client:
        login = Login.of({**options, "user": user, "password": password})
        return Client([(options["host"], options["port"])], login)

    logins = {each["account"]: (each["user"], each["password"]) for each in options["accounts"]}
    try:
        view = look(HttpMonitor(options["monitor_url"]))
        changed = forget_peer(
            options["peer"],
            view,
            {account: lambda login=login: connect(*login) for account, login in logins.items()},
            None if module.check_mode else lambda: connect(options["user"], options["password"]),
            clock=time.monotonic,
            sleep=time.sleep,
        )
    except NatsError as exc:
        module.fail_json(msg=str(exc))
    except (OSError, ValueError) as exc:
        module.fail_json(msg=f"{options['monitor_url']} does not answer: {exc}; see whether NATS runs.")
    module.exit_json(changed=changed, leads=view.meta.leader == view.server)


if __name__ == "__main__":
    main()
