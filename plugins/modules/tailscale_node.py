#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tailscale_node
short_description: Join a host to a tailnet, set its preferences, take it out
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Joins with a key that stays in its file, never on a command line, and only where the host has not joined. After that
    preferences are changed one by one, so what you do not name stays as it is.
  - headscale works the same, by O(login_server).
  - Every command has a deadline. Where a node does not come up, the message has the reason that the node itself knows.
attributes:
  check_mode:
    description: Says which steps would be taken, and takes none.
    support: full
  diff_mode:
    description: Shows the preferences that change.
    support: full
options:
  state:
    description:
      - V(up) is joined and connected.
      - V(down) keeps the node and disconnects it.
      - V(absent) logs out, which expires the node's key, and takes an ephemeral node out of the tailnet at once. For a host
        that ends.
    type: str
    choices: [up, down, absent]
    default: up
  auth_key_file:
    description:
      - File on the host with a key, which only its owner may read. An OAuth client's secret is one too, and needs O(tags).
      - Needed only where the host has not joined, or its key has expired.
    type: path
  login_server:
    description: Address of the control plane, for headscale. A node that joined another one is refused.
    type: str
  hostname:
    description: Name of the node.
    type: str
  tags:
    description: Tags of the node, as V(tag:api). They are given when it joins; other ones are refused later.
    type: list
    elements: str
  advertise_routes:
    description:
      - Networks that the node routes for others. An empty list takes them back.
      - Nodes with the same ones stand in for each other. The control plane must approve them; the access file of
        M(boring.fleet.access_policy) says in advance whose it approves.
    type: list
    elements: str
  advertise_exit_node:
    description: Whether others may go to the internet through this node.
    type: bool
  accept_routes:
    description: Whether the node uses routes of others.
    type: bool
  accept_dns:
    description: Whether the tailnet sets the host's DNS.
    type: bool
  ssh:
    description: Whether Tailscale's own SSH server runs, which needs no keys on the host.
    type: bool
  shields_up:
    description: Whether the node refuses all connections from others.
    type: bool
  snat_subnet_routes:
    description:
      - Whether hosts behind a subnet router see the router as the sender. Without that they need a way back to the
        tailnet's addresses, through the one router that routes at the moment.
    type: bool
  stateful_filtering:
    description: Whether a subnet router forwards only what belongs to a connection that somebody in the tailnet opened.
    type: bool
  timeout:
    description: Seconds that joining and each change may take.
    type: float
    default: 30
  socket:
    description: Where C(tailscaled) listens, if not in the usual place.
    type: path
  executable:
    description: The program.
    type: str
    default: tailscale
seealso:
  - module: boring.fleet.access_policy
"""

EXAMPLES = r"""
- name: Join at first boot; later runs only look
  boring.fleet.tailscale_node:
    auth_key_file: /run/tailscale-key
    tags: [tag:api]
    accept_dns: false
    ssh: true

- name: A subnet router on headscale
  boring.fleet.tailscale_node:
    login_server: https://headscale.example.org
    auth_key_file: /run/tailscale-key
    advertise_routes: [10.0.0.0/16]

- name: Leave, in the drain of a host that ends
  boring.fleet.tailscale_node:
    state: absent
"""

RETURN = r"""
node:
  description: The node as it says itself.
  returned: success
  type: dict
  sample:
    state: Running
    name: api-1.example.ts.net
    addresses: [100.64.0.1]
    tags: [tag:api]
    routes: []
    online: true
    control: "https://controlplane.tailscale.com"
    health: []
steps:
  description: What was done, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [join]
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.access import read_key_file
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.tailscale.converge import Done, Tools, converge
from ansible_collections.boring.fleet.plugins.module_utils.tailscale.node import Node, TailscaleError, Wish, read_wish
from ansible_collections.boring.fleet.plugins.module_utils.tailscale.process import runner

OAUTH = "tskey-client-"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["up", "down", "absent"], "default": "up"},
            "auth_key_file": {"type": "path", "no_log": False},
            "login_server": {"type": "str"},
            "hostname": {"type": "str"},
            "tags": {"type": "list", "elements": "str"},
            "advertise_routes": {"type": "list", "elements": "str"},
            "advertise_exit_node": {"type": "bool"},
            "accept_routes": {"type": "bool"},
            "accept_dns": {"type": "bool"},
            "ssh": {"type": "bool"},
            "shields_up": {"type": "bool"},
            "snat_subnet_routes": {"type": "bool"},
            "stateful_filtering": {"type": "bool"},
            "timeout": {"type": "float", "default": 30},
            "socket": {"type": "path"},
            "executable": {"type": "str", "default": "tailscale"},
        },
        supports_check_mode=True,
    )
    given = module.params
    problem = ""
    try:
        wish = read_wish(given)
        done = run(given, wish, dry=module.check_mode)
    except (TailscaleError, DotenvError) as exc:
        problem = str(exc)
    if problem:
        module.fail_json(msg=f"tailscale_node: {problem}")
    module.exit_json(
        changed=bool(done.steps),
        steps=done.steps,
        node=told(done.node),
        diff={"before": lines(done.before), "after": lines(done.after)},
    )


def run(given: dict[str, Any], wish: Wish, *, dry: bool) -> Done:
    """Options in, the core; the key is read only to know its kind and to keep it out of messages."""
    if given["timeout"] <= 0:
        raise TailscaleError(f"timeout must be more than 0 seconds, not {given['timeout']:g}")
    file = given["auth_key_file"] or ""
    key = ""
    if file and wish.state == "up" and Path(file).exists():
        key = read_key_file(Path(file)).strip()
        if key.startswith(OAUTH) and not wish.tags:
            raise TailscaleError(
                f"{file} holds the secret of an OAuth client, which lets in only nodes with tags: set tags"
            )
    program = [given["executable"], *([f"--socket={given['socket']}"] if given["socket"] else [])]
    tools = Tools(
        runner(program),
        clock=time.monotonic,
        sleep=time.sleep,
        censor=lambda text: text.replace(key, "***") if key else text,
    )
    return converge(tools, wish, file if key else "", seconds=given["timeout"], dry=dry)


def told(node: Node) -> dict[str, Any]:
    """What a user may see of a node."""
    return {
        "state": node.backend,
        "name": node.name,
        "addresses": list(node.addresses),
        "tags": list(node.tags),
        "routes": list(node.routes),
        "online": node.online,
        "control": node.control,
        "health": list(node.health),
    }


def lines(values: dict[str, Any]) -> str:
    """Preferences for a diff."""
    return "".join(f"{name}: {value}\n" for name, value in sorted(values.items()))


if __name__ == "__main__":
    main()
