# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy of a tailnet, as Tailscale and headscale read it: deny by default, one rule for each allowed pair.

https://tailscale.com/kb/1337/policy-syntax describes it. headscale knows no `tests` in it; ours are run before it is written.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.access.model import Access, Case


def policy(access: Access, dialect: str) -> dict[str, Any]:
    """The policy document; `dialect` is tailscale or headscale."""
    made: dict[str, Any] = {
        "groups": {f"group:{name}": sorted(members) for name, members in sorted(access.people.items())},
        # A machine whose tag nobody owns joins by a key that carries the tag, and in no other way.
        "tagOwners": {f"tag:{name}": [f"group:{owner}" for owner in sorted(owners)] for name, owners in sorted(access.machines.items())},
        "acls": [],
        "ssh": [],
    }  # fmt: skip
    for allow in access.allow:
        for name in allow.services:
            service = access.services[name]
            ports = ",".join(map(str, service.ports))
            made["acls"].append(
                {
                    "action": "accept",
                    "proto": service.protocol,
                    "src": [_source(access, word) for word in allow.sources],
                    "dst": [f"tag:{machine}:{ports}" for machine in service.machines],
                }
            )
    for ssh in access.ssh:
        rule = {
            "action": "check" if ssh.check else "accept",
            "src": [_source(access, word) for word in ssh.sources],
            "dst": [f"tag:{machine}" for machine in ssh.machines],
            "users": list(ssh.users),
        }
        made["ssh"].append(rule | ({"checkPeriod": ssh.check} if ssh.check else {}))
    if dialect == "tailscale":
        made["tests"] = [found for case in access.cases if (found := _test(access, case))]
    return made


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
        where = [
            f"tag:{machine}:{port}" for service in services for machine in service.machines for port in service.ports
        ]
        if where:
            found[key] = where
    return found if len(found) > 1 else None
