# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that AWS must have for a fleet, as lists for playbooks to loop over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import (
    access,
    balancers,
    groups,
    images,
    names,
    network,
)
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import FleetError, Mistake, suggestion
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import Fleet

# Quotas that AWS raises when asked: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
_RULES: Final = 60
_LISTENERS: Final = 50


def lists(
    fleet: Fleet,
    *,
    account: str = "",
    addresses: Mapping[str, str] | None = None,
    kept: Mapping[str, int] | None = None,
    only: Sequence[str] = (),
    endpoint: str = "",
) -> dict[str, Any]:
    """The lists, JSON-clean. Raises FleetError when `only` names what the fleet does not have.

    `addresses` are the DNS names of the load balancers `data` and `internal`, once there are any. `kept` are the numbers that
    AWS has: priorities of rules by their `key`, ports inside by `data NAME` and `internal NAME`. `endpoint` is where hosts reach AWS, if
    that is not AWS itself.
    """
    unknown = [name for name in only if name not in fleet.order]
    if unknown:
        raise FleetError(
            Mistake("fleet_only", f"there is no {name}; {suggestion(name, fleet.order)}") for name in unknown
        )
    now = kept or {}
    found: dict[str, Any] = {
        "name": fleet.name,
        "region": fleet.region,
        "network": {
            "vpc_id": fleet.network.vpc_id,
            "subnet_ids": list(fleet.network.subnet_ids),
            "public_subnet_ids": list(fleet.network.public_subnet_ids),
        },
        "tags": {"boring:fleet": fleet.name},
        "parameter_prefix": names.prefix(fleet.name),
        "order": list(fleet.order),
        "image_layers": images.layers(fleet),
        "images": images.only(images.images(fleet), tuple(only)),
        "security_groups": network.security_groups(fleet, now),
        "authority": access.authority(fleet),
        "certificates": access.certificates(fleet),
        "parameters": access.parameters(fleet),
        "users": access.users(fleet),
        "roles": access.roles(fleet, account),
        "target_groups": balancers.target_groups(fleet),
        "load_balancers": balancers.load_balancers(fleet, now),
        "groups": groups.groups(fleet, addresses or {}, now, account, endpoint),
    }
    found["rolls"] = [_roll(group) for group in found["groups"]]
    return {**found, "numbers": _numbers(found, fleet, now), "warnings": _warnings(fleet, found)}


def _roll(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group stays at the version that it was made with or rolled to, so that a deploy alone brings nothing new into it: a roll says which."""
    newest = {"name": group["template"]["name"], "version": "$Latest"}
    return {"launch_template": newest, **group["roll"], "group": group["name"], "for": group["for"]}


def _numbers(found: Mapping[str, Any], fleet: Fleet, kept: Mapping[str, int]) -> dict[str, int]:
    """Every number that was chosen, to be given as `kept` next time."""
    at = balancers.ports(fleet, kept)
    inside = {f"{'data' if name in fleet.data else 'internal'} {name}": number for name, number in at.items()}
    return inside | {
        rule["key"]: rule["priority"]
        for balancer in found["load_balancers"]
        for listener in balancer["listeners"]
        for rule in listener["rules"]
    }


def _warnings(fleet: Fleet, found: Mapping[str, Any]) -> list[str]:
    """What is allowed and should be known before it is deployed."""
    said = []
    for balancer in found["load_balancers"]:
        if balancer["scheme"] == "internet-facing":
            said += [
                f"fleet_services.{name}.expose has no certificate, and the load balancer is on the internet: what it serves can be read on the way"
                for name in sorted(
                    {service.name for service, expose in balancers.exposed(fleet) if not expose.certificate}
                )
            ]
        if len(balancer["listeners"]) > _LISTENERS:
            said.append(
                f"the load balancer {balancer['name']} has {len(balancer['listeners'])} listeners; AWS allows {_LISTENERS} unless it is asked for more"
            )
    for group in found["security_groups"]:
        for way in ("ingress", "egress"):
            if len(group[way]) > _RULES:
                said.append(
                    f"the security group {group['name']} has {len(group[way])} {way} rules; AWS allows {_RULES} unless it is asked for more"
                )
    said += [
        f"fleet_services.{service.name} has a port, and nobody reaches it: expose it, or name it in the uses of another service"
        for service in fleet.services.values()
        if service.port and not service.expose and not fleet.users_of(service.name)
    ]
    for data in fleet.data.values():
        if not fleet.users_of(data.name):
            said.append(f"fleet_data.{data.name} is used by nobody: name it in the uses of a service, or take it out")
        if data.plaintext and fleet.users_of(data.name):
            said.append(f"fleet_data.{data.name} is in plain text: passwords can be read on the way")
    return said
