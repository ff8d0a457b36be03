# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers, their listeners and rules, and the target groups behind them.

There are at most three: one that clients reach, one inside for services that others use, one inside for data (TCP, TLS goes through it).
Inside, each service has a port of its own, because the port is what a security group can tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import names
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import KINDS, Expose, Fleet, Service
from ansible_collections.boring.fleet.plugins.module_utils.fleet.values import is_public

PUBLIC, INTERNAL, DATA = "public", "internal", "data"
_PORTS: Final = {INTERNAL: (20000, 29999), DATA: (30000, 39999)}
# Priorities are 1 to 50000, the lowest first. Rules for a host come before those for any, longer paths before shorter ones; a number for each
# length, most of them for the path /, which most services have. A file has at most 100 rules (`rules`), so that none is ever full.
_HOST_BAND: Final = 12_500
_PATH_BAND: Final = 124
_LONGEST: Final = 81
# Of ELBv2 from TLS 1.2 on: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
TLS_POLICY: Final = "ELBSecurityPolicy-TLS13-1-2-2021-06"


def used_services(fleet: Fleet) -> list[str]:
    """Services that another one uses."""
    return [name for name in fleet.order if name in fleet.services and fleet.users_of(name)]


def used_data(fleet: Fleet) -> list[str]:
    """Data services that a service uses."""
    return [name for name in fleet.order if name in fleet.data and fleet.users_of(name)]


def exposed(fleet: Fleet) -> Iterator[tuple[Service, Expose]]:
    """Services that clients reach."""
    for name in fleet.order:
        service = fleet.services.get(name)
        if service is not None and service.expose is not None:
            yield service, service.expose


def exposed_certificate(service: Service) -> str:
    """The name of the certificate by which clients know it."""
    return f"exposed/{service.name}"


def ports(fleet: Fleet, kept: Mapping[str, int]) -> dict[str, int]:
    """Where each used service and data service listens inside."""
    return {
        **_ports(INTERNAL, used_services(fleet), kept),
        **_ports(DATA, used_data(fleet), kept),
    }


def _ports(part: str, wanted: list[str], kept: Mapping[str, int]) -> dict[str, int]:
    start = f"{part} "
    mine = {name.removeprefix(start): number for name, number in kept.items() if name.startswith(start)}
    return names.numbers(wanted, *_PORTS[part], mine)


def target_groups(fleet: Fleet) -> list[dict[str, Any]]:
    """One a service and balancer in front of it."""
    found = []
    behind = {PUBLIC: [service.name for service, dummy in exposed(fleet)], INTERNAL: used_services(fleet)}
    for part, services in behind.items():
        for name in services:
            service = fleet.services[name]
            found.append(
                {
                    "name": target(fleet, name, part),
                    "for": name,
                    "balancer": part,
                    "protocol": "HTTPS" if service.tls else "HTTP",
                    "port": service.port,
                    "health": {
                        "protocol": "HTTPS" if service.tls else "HTTP",
                        "port": service.port,
                        "path": service.health,
                    },
                    "attached": True,
                }
            )
    for name in used_data(fleet):
        kind, master = KINDS[fleet.data[name].kind], only_master(fleet, name)
        health: dict[str, Any] = {"protocol": "TCP", "port": kind.port, "path": ""}
        if master:
            health = {"protocol": "HTTP", "port": kind.master[0], "path": kind.master[1]}
        found.append(
            {
                "name": target(fleet, name, DATA),
                "for": name,
                "balancer": DATA,
                "protocol": "TCP",
                "port": kind.port,
                "health": health,
                # A roll waits until a host is healthy in every target group of its group, and a replica never is: these hosts register
                # themselves.
                "attached": not master,
            }
        )
    return found


def only_master(fleet: Fleet, data: str) -> bool:
    """Whether only one of its nodes takes writes, so that the load balancer must ask which."""
    return fleet.data[data].nodes > 1 and bool(KINDS[fleet.data[data].kind].master[0])


def target(fleet: Fleet, name: str, part: str) -> str:
    """The name of the target group of a service or data service behind a load balancer."""
    # A target group belongs to one load balancer, so that one that is exposed and used has two.
    return names.target_group(fleet.name, name, INTERNAL if part == INTERNAL else "")


def load_balancers(fleet: Fleet, kept: Mapping[str, int]) -> list[dict[str, Any]]:
    """Each with its listeners; a listener with its rules, by priority."""
    listeners = {PUBLIC: _public(fleet, kept), INTERNAL: _inside(fleet, kept), DATA: _data(fleet, kept)}
    online = any(map(is_public, fleet.network.clients))
    return [
        {
            "name": names.balancer(fleet.name, part),
            "part": part,
            "type": "network" if part == DATA else "application",
            "scheme": "internet-facing" if part == PUBLIC and online else "internal",
            "subnets": "public" if part == PUBLIC else "hosts",
            "security_group": names.balancer_security(fleet.name, part),
            "listeners": found,
        }
        for part, found in listeners.items()
        if found
    ]


def _public(fleet: Fleet, kept: Mapping[str, int]) -> list[dict[str, Any]]:
    by_port: dict[int, list[dict[str, Any]]] = {}
    certificates: dict[int, list[str]] = {}
    for service, expose in exposed(fleet):
        by_port.setdefault(expose.port, []).extend(_rules(fleet, service, expose))
        if expose.certificate:
            certificates.setdefault(expose.port, []).append(exposed_certificate(service))
    redirect = {port: {"type": "redirect", "protocol": "HTTPS", "port": port, "status": 301} for port in certificates}
    nothing = {"type": "fixed", "status": 404}
    plain = by_port.setdefault(80, []) if certificates else []
    default = dict.fromkeys(by_port, nothing)
    if len(redirect) == 1 and not plain:
        default[80] = next(iter(redirect.values()))
    else:
        plain += [{**rule, "action": redirect[port]} for port in redirect for rule in by_port[port]]
    return [
        {
            "port": port,
            "protocol": "HTTPS" if port in certificates else "HTTP",
            "tls_policy": TLS_POLICY if port in certificates else "",
            "certificates": certificates.get(port, []),
            "default": default[port],
            "rules": _numbered(port, by_port[port], kept),
        }
        for port in sorted(by_port)
    ]


def _rules(fleet: Fleet, service: Service, expose: Expose) -> list[dict[str, Any]]:
    """A rule a host and path: AWS takes at most five values in a rule, and its number stays when another host is added."""
    forward = {"type": "forward", "target_group": target(fleet, service.name, PUBLIC)}
    return [
        {
            "for": service.name,
            "host": host,
            "path": path,
            "hosts": [host] if host else [],
            "paths": ["/*"] if path == "/" else [path, f"{path}/*"],
            "action": forward,
        }
        for host in expose.hosts or ("",)
        for path in expose.paths
    ]


def _numbered(port: int, rules: list[dict[str, Any]], kept: Mapping[str, int]) -> list[dict[str, Any]]:
    bands: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for rule in rules:
        key = f"rule {port} {rule['host']}{rule['path']}"
        bands.setdefault(_band(rule["host"], rule["path"]), {})[key] = rule
    found = []
    mine = {key: number for key, number in kept.items() if key.startswith(f"rule {port} ")}
    for (low, high), members in bands.items():
        for key, number in names.numbers(members, low, high, mine).items():
            found.append({"priority": number, "key": key, **members[key]})
    return sorted(found, key=lambda rule: rule["priority"])


def _band(host: str, path: str) -> tuple[int, int]:
    """The priorities that a rule may have, so that what is more exact is asked first."""
    base = 1 + _HOST_BAND * ((2 if host.startswith("*") else 0) if host else 3)
    if path == "/":
        return base + (_LONGEST - 1) * _PATH_BAND, base + _HOST_BAND - 1
    low = base + (_LONGEST - len(path)) * _PATH_BAND
    return low, low + _PATH_BAND - 1


def _inside(fleet: Fleet, kept: Mapping[str, int]) -> list[dict[str, Any]]:
    at = ports(fleet, kept)
    return [
        {
            "port": at[name],
            "protocol": "HTTPS",
            "tls_policy": TLS_POLICY,
            "certificates": [f"balancers/{INTERNAL}"],
            "default": {"type": "forward", "target_group": target(fleet, name, INTERNAL)},
            "rules": [],
            "for": name,
        }
        for name in used_services(fleet)
    ]


def _data(fleet: Fleet, kept: Mapping[str, int]) -> list[dict[str, Any]]:
    at = ports(fleet, kept)
    return [
        {
            "port": at[name],
            "protocol": "TCP",
            "tls_policy": "",
            "certificates": [],
            "default": {"type": "forward", "target_group": target(fleet, name, DATA)},
            "rules": [],
            "for": name,
        }
        for name in used_data(fleet)
    ]
