# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a NATS node, as it writes it for itself when it boots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told, User
from ansible_collections.boring.fleet.plugins.module_utils.nats import desired

CONFIG: Final = "/etc/nats/nats.conf"
TLS: Final = desired.Desired.tls_dir
STORE: Final = desired.Desired.store_dir
PORT: Final = desired.Desired.port
MONITOR: Final = desired.Desired.monitor_port
SYSTEM: Final = desired.SYSTEM_USER  # also the parameter with its password
CLUSTER: Final = desired.CLUSTER_USER
LAME_DUCK: Final = desired.Desired.lame_duck_seconds


def without_routes(text: str) -> list[str]:
    """What a running server must have as it is written: routes it learns from the others."""
    return [line for line in text.splitlines() if not line.startswith("  routes: ")]


def render(
    told: Told, own: str, verifiers: Mapping[str, str], *, system: str, cluster: str, route_names: Sequence[str]
) -> str:
    """`own` is the instance's id, `verifiers` are bcrypt hashes by user, `system` and `cluster` passwords; no routes for a single server.

    Raises HostError for what NATS would not take.
    """
    given = {
        **{name.removeprefix("nats_"): limit for name, limit in told.limits.items()},
        "server_name": own,
        "listen_host": "0.0.0.0",  # noqa: S104 - who comes near is the security group's to say
        "tls": not told.plaintext,
        "cluster_name": f"{told.fleet}.{told.service}" if route_names else "",
        "cluster_hosts": route_names,
        "cluster_password": cluster,
        # Clients come through the load balancer: a node's own address is closed to them.
        "cluster_advertise": False,
        "system_password": system,
        "users": [_user(user, verifiers[user.name]) for user in told.users],
    }
    try:
        wanted = desired.desired(given)
        # of a cluster that begins there are more routes than servers
        refusals = desired.refusals(replace(wanted, cluster_hosts=route_names[: told.nodes]))
        if not refusals:
            return desired.config_text(wanted, "Written by host_lifecycle when this host booted")
    except (TypeError, ValueError, AttributeError) as exc:
        refusals = [f"NATS's configuration cannot be written: {exc}."]
    raise HostError(f"{' '.join(refusals)} Correct the fleet's file and deploy it.", never=True)


def _user(user: User, hashed: str) -> dict[str, object]:
    found = {**user.rights, "user": user.name, "password_bcrypt": hashed}
    if not desired.is_hashed(found):
        raise HostError(f"the parameter {user.verifier} is no bcrypt hash: deploy the fleet again", never=True)
    return found
