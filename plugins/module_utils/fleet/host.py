# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/etc/fleet/host.json: what a host must know to join its group and to leave it. Nothing in it is secret: parameters are named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import access, balancers, names, scaling
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import Fleet, Scale, Service

PATH: Final = "/etc/fleet/host.json"
ENTER, LEAVE = "enter", "leave"
# A host that is dead stays for as long, so it is short; a living one sends heartbeats.
HEARTBEAT: Final = 120
_HOOKS: Final[Mapping[str, Any]] = {"enter": ENTER, "leave": LEAVE, "heartbeat": HEARTBEAT}


def text(fleet: Fleet, name: str, endpoint: str) -> str:
    """The file of a service or data service. `endpoint` is where hosts reach AWS, "" for AWS's own."""
    own = _data(fleet, name) if name in fleet.data else _service(fleet, name)
    return json.dumps(
        {
            "fleet": fleet.name,
            "service": name,
            "region": fleet.region,
            "group": names.group(fleet.name, name),
            "endpoint": endpoint,
            "hooks": _HOOKS,
            **own,
        },
        sort_keys=True,
    )


def _service(fleet: Fleet, name: str) -> Mapping[str, Any]:
    service = fleet.services[name]
    found = {
        "kind": "service",
        "port": service.listens,
        "health": service.health,
        "tls": service.tls,
    }
    return {**found, "follows": _follows(service, service.scale)} if service.scale and service.scale.own else found


def _follows(service: Service, scale: Scale) -> Mapping[str, Any]:
    """The metric that the host reads and puts. Only the service's own port has its TLS."""
    tls = service.tls and scale.port == service.listens
    return {"metric": scale.metric, "namespace": scaling.NAMESPACE, "port": scale.port, "tls": tls}


def _data(fleet: Fleet, name: str) -> Mapping[str, Any]:
    data = fleet.data[name]
    parameters = {inner: access.inner_password(fleet, data, inner) for inner in access.INNER[data.kind]}
    if not data.plaintext:
        signed = next(one for one in access.certificates(fleet) if one.get("host") == name)
        parameters |= {
            "authority": access.authority(fleet)["certificate"],
            "certificate": signed["certificate"],
            "key": signed["key"],
        }
    users = [
        {
            "name": user["name"],
            "verifier": user["verifier"],
            "rights": {key: user[key] for key in ("account", "rules", "permissions") if key in user},
        }
        for user in access.users(fleet)
        if user["data"] == name
    ]
    registers = bool(users) and balancers.only_master(fleet, name)
    return {
        "kind": data.kind,
        "nodes": data.nodes,
        "purpose": data.purpose,
        "plaintext": data.plaintext,
        "domain": access.domain(fleet, name),
        "limits": dict(data.limits),
        "parameters": parameters,
        "users": users,
        "target_group": names.target_group(fleet.name, name) if registers else "",
    }
