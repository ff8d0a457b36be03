#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nats_cluster
short_description: Wait for a NATS cluster with JetStream to be whole
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - A server finds its cluster whole when it is healthy, knows the meta leader, and every group that it leads, the meta group and those of
    the streams, has all its replicas, and they are current. Ask every server, for only leaders know the others.
  - Says what is missing, by the names of servers and streams. Where waiting cannot help, because a server is gone that O(servers) does
    not name, it says so after half a minute.
  - Needs nothing on the host but Python.
attributes:
  check_mode:
    description: Changes nothing in any case.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
options:
  servers:
    description: Names of all servers of the cluster.
    type: list
    elements: str
    required: true
  monitor_url:
    description: Monitoring endpoint of the server that is asked, without a path.
    type: str
    default: http://127.0.0.1:8222
  patience:
    description: Seconds until the cluster must be whole.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Before the next server is stopped
  boring.fleet.nats_cluster:
    servers: [nats-1, nats-2, nats-3]
"""

RETURN = r"""
server:
  description: Name of the server that was asked.
  returned: success
  type: str
  sample: nats-1
meta_leader:
  description: Name of the server that leads the meta group.
  returned: success
  type: str
  sample: nats-3
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.cluster import wait_until_whole
from ansible_collections.boring.fleet.plugins.module_utils.nats.monitor import HttpMonitor


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "str", "required": True},
            "monitor_url": {"type": "str", "default": "http://127.0.0.1:8222"},
            "patience": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        view = wait_until_whole(
            HttpMonitor(options["monitor_url"]), options["servers"], options["patience"], time.monotonic, time.sleep
        )
    except NatsError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=False, server=view.server, meta_leader=view.meta.leader)


if __name__ == "__main__":
    main()
