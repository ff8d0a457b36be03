# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups and their rules: what is used is open, nothing else. Groups name groups; only clients are an address range.

A rule has `peer`, which is one of C(group) (a name), C(cidr), or C(vpc) (the VPC's own range), and ports of TCP; no ports are all
of every protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.fleet import balancers, names
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import KINDS, Fleet

_ANYWHERE = ("0.0.0.0/0", "::/0")


def security_groups(fleet: Fleet, kept: Mapping[str, int]) -> list[dict[str, Any]]:
    """One a service, data service and load balancer."""
    targets, ports = balancers.target_groups(fleet), balancers.ports(fleet, kept)
    found = [_balancer(fleet, one, targets, ports) for one in balancers.load_balancers(fleet, kept)]
    behind: dict[str, list[dict[str, Any]]] = {}
    for target in targets:
        behind.setdefault(target["for"], []).append(target)
    for name in fleet.order:
        ingress = [
            _rule({"group": names.balancer_security(fleet.name, target["balancer"])}, port)
            for target in behind.get(name, ())
            for port in sorted({target["port"], target["health"]["port"]})
        ]
        egress = _egress(fleet, name, ports)
        if name in fleet.data:
            mine = {"group": names.group(fleet.name, name)}
            ingress += [_rule(mine, port) for port in KINDS[fleet.data[name].kind].peers if fleet.data[name].nodes > 1]
        found.append(
            {
                "name": names.group(fleet.name, name),
                "for": name,
                "balancer": "",
                "description": f"{name} of the fleet {fleet.name}",
                "ingress": _sorted(ingress),
                "egress": _sorted(egress),
            }
        )
    return found


def _balancer(
    fleet: Fleet, one: Mapping[str, Any], targets: list[dict[str, Any]], ports: Mapping[str, int]
) -> dict[str, Any]:
    part = one["part"]
    if part == balancers.PUBLIC:
        peers: list[dict[str, Any]] = [{"cidr": cidr} for cidr in fleet.network.clients] or [{"vpc": True}]
        ingress = [_rule(peer, listener["port"]) for listener in one["listeners"] for peer in peers]
    else:
        ingress = [
            _rule({"group": names.group(fleet.name, user)}, ports[listener["for"]])
            for listener in one["listeners"]
            for user in fleet.users_of(listener["for"])
        ]
    egress = [
        _rule({"group": names.group(fleet.name, target["for"])}, port)
        for target in targets
        if target["balancer"] == part
        for port in sorted({target["port"], target["health"]["port"]})
    ]
    words = {
        balancers.PUBLIC: "Clients of",
        balancers.INTERNAL: "Services among each other in",
        balancers.DATA: "Services and data of",
    }
    return {
        "name": one["security_group"],
        "for": "",
        "balancer": part,
        "description": f"{words[part]} the fleet {fleet.name}",
        "ingress": _sorted(ingress),
        "egress": _sorted(egress),
    }


def _egress(fleet: Fleet, name: str, ports: Mapping[str, int]) -> list[dict[str, Any]]:
    service = fleet.services.get(name)
    if service is None or service.egress is None:
        return [_rule({"cidr": cidr}) for cidr in _ANYWHERE]
    found = [_rule({"cidr": one.cidr}, one.first, one.last) for one in service.egress]
    for used in service.uses:
        part = balancers.DATA if used in fleet.data else balancers.INTERNAL
        found.append(_rule({"group": names.balancer_security(fleet.name, part)}, ports[used]))
    return found


def _rule(peer: Mapping[str, Any], first: int = 0, last: int = 0) -> dict[str, Any]:
    """A rule; without ports for everything."""
    return {"peer": dict(peer), "protocol": "tcp" if first else "all", "from_port": first, "to_port": last or first}


def _sorted(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each once, in an order that does not change."""
    found = {(str(sorted(rule["peer"].items())), rule["from_port"], rule["to_port"]): rule for rule in rules}
    return [found[key] for key in sorted(found)]
