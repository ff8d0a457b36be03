# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same access as Twingate's resources: what people reach, by address, on these ports alone. Machines use the tailnet."""

from __future__ import annotations

from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.access.model import Access

_NOTHING: dict[str, Any] = {"policy": "RESTRICTED", "ports": []}


def resources(access: Access, remote_network: str) -> dict[str, Any]:
    """Groups and resources in the fields of Twingate's API (`resourceCreate`), by name and in order."""
    reached: dict[str, set[str]] = {}
    for allow in access.allow:
        groups = {word for word in allow.sources if word in access.people}
        for name in allow.services:
            if groups and access.services[name].address:
                reached.setdefault(name, set()).update(groups)
    made = []
    for name, groups in sorted(reached.items()):
        service = access.services[name]
        open_ports = {"policy": "RESTRICTED", "ports": [{"start": port, "end": port} for port in service.ports]}
        made.append(
            {
                "name": name,
                "address": service.address,
                "remoteNetwork": remote_network,
                "protocols": {
                    "allowIcmp": False,
                    "tcp": open_ports if service.protocol == "tcp" else _NOTHING,
                    "udp": open_ports if service.protocol == "udp" else _NOTHING,
                },
                "groups": sorted(groups),
            }
        )
    used = sorted({group for resource in made for group in resource["groups"]})
    return {"groups": {group: sorted(access.people[group]) for group in used}, "resources": made}
