# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy of a tailnet, as Tailscale and headscale read it: deny by default, one rule for each allowed pair.

https://tailscale.com/kb/1337/policy-syntax describes it. headscale knows no `tests` in it; ours are run before it is written.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.access.model import Access, Case, Service


def policy(access: Access, dialect: str) -> dict[str, Any]:
    """The policy document; `dialect` is tailscale or headscale."""
    made: dict[str, Any] = {
        "groups": {f"group:{name}": sorted(members) for name, members in sorted(access.people.items())},
        # A machine whose tag nobody owns joins by a key that carries the tag, and in no other way.
        "tagOwners": {f"tag:{name}": [f"group:{owner}" for owner in sorted(owners)] for name, owners in sorted(access.machines.items())},
        "acls": [],
        "ssh": [],
    }  # fmt: skip
    hosts = {
        name: network for service in access.services.values() for name, network in _targets(service).items() if network
    }
    if hosts:
        made["hosts"] = dict(sorted(hosts.items()))
    if access.routes:
        made["autoApprovers"] = {"routes": _approvers(access)}
    for allow in access.allow:
        for name in allow.services:
            service = access.services[name]
            ports = ",".join(map(str, service.ports))
            made["acls"].append(
                {
                    "action": "accept",
                    "proto": service.protocol,
                    "src": [_source(access, word) for word in allow.sources],
                    "dst": [f"{name}:{ports}" for name in _targets(service)],
                }
            )
    for ssh in access.ssh:
        sources = [_source(access, word) for word in ssh.sources]
        targets = [f"tag:{machine}" for machine in ssh.machines]
        # A rule for SSH lets nobody through to the port, which takes a rule of its own.
        reached = [f"{target}:22" for target in targets]
        made["acls"].append({"action": "accept", "proto": "tcp", "src": sources, "dst": reached})
        rule = {
            "action": "check" if ssh.check else "accept",
            "src": sources,
            "dst": targets,
            "users": list(ssh.users),
        }
        made["ssh"].append(rule | ({"checkPeriod": ssh.check} if ssh.check else {}))
    if dialect == "tailscale":
        made["tests"] = [found for case in access.cases if (found := _test(access, case))]
    return made


def _approvers(access: Access) -> dict[str, list[str]]:
    """Route -> tags of the nodes that get it without a person who approves it; several stand in for each other."""
    found: dict[str, list[str]] = {}
    for machine, routes in sorted(access.routes.items()):
        for route in routes:
            found.setdefault(route, []).append(f"tag:{machine}")
    return dict(sorted(found.items()))


def _targets(service: Service) -> dict[str, str]:
    """What a rule names -> the network that the name stands for; "" where it is a tag. No service has _ in its name."""
    if not service.networks:
        return {f"tag:{machine}": "" for machine in service.machines}
    several = len(service.networks) > 1
    return {
        f"{service.name}_{number}" if several else service.name: network
        for number, network in enumerate(service.networks, 1)
    }


def _source(access: Access, word: str) -> str:
    if word in access.people:
        return f"group:{word}"
    return f"tag:{word}" if word in access.machines else word


def _test(access: Access, case: Case) -> dict[str, Any] | None:
    """The case in Tailscale's own words, which know no groups as sources and no SSH here."""
    source = _source(access, case.source)
    if source.startswith("group:"):
        if not access.people[case.source]:
            return None
        source = access.people[case.source][0]
    found: dict[str, Any] = {"src": source}
    for key, targets in (("accept", case.reaches), ("deny", case.refused)):
        services = [access.services[target] for target in targets if target in access.services]
        where = [f"{name}:{port}" for service in services for name in _targets(service) for port in service.ports]
        if where:
            found[key] = where
    return found if len(found) > 1 else None
