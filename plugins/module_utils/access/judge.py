# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the test cases of an access file on the policies that were rendered from it, as their readers understand them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.access.model import Access, Case, within


def failures(access: Access, policy: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing that is reached and should not be, or should be and is not."""
    found: list[str] = []
    for case in access.cases:
        for principal in _principals(access, case):
            for targets, wanted in ((case.reaches, True), (case.refused, False)):
                found += [
                    f"{principal} {'does not reach' if wanted else 'reaches'} {target}"
                    for target in targets
                    if _reaches(access, policy, principal, target, wanted=wanted) != wanted
                ]
    return found


def untested(access: Access) -> list[str]:
    """Services of which no case says who is refused: nobody would notice if everybody reached them."""
    refused = {target for case in access.cases for target in case.refused}
    return sorted(set(access.services) - refused)


def _principals(access: Access, case: Case) -> Iterator[str]:
    """Each member of a group is tried by themselves: a rule may name one and not the others."""
    if case.source in access.people:
        yield from access.people[case.source]
    else:
        yield f"tag:{case.source}" if case.source in access.machines else case.source


def _reaches(access: Access, policy: Mapping[str, Any], principal: str, target: str, *, wanted: bool) -> bool:
    if target.startswith("ssh:"):
        user, dummy, machine = target.removeprefix("ssh:").partition("@")
        return _pair(policy, principal, "tcp", f"tag:{machine}", 22) and any(
            _matches(policy, rule["src"], principal) and f"tag:{machine}" in rule["dst"] and user in rule["users"]
            for rule in policy["ssh"]
        )
    service = access.services[target]
    # What is behind routers is reached by a rule for its addresses; one for the routers themselves leads no further.
    places = service.networks or tuple(f"tag:{machine}" for machine in service.machines)
    pairs = [_pair(policy, principal, service.protocol, place, port) for place in places for port in service.ports]
    # To reach a service is to reach all of it; to be refused is to reach nothing of it.
    return all(pairs) if wanted else any(pairs)


def _pair(policy: Mapping[str, Any], principal: str, protocol: str, place: str, port: int) -> bool:
    for rule in policy["acls"]:
        if (
            rule["action"] == "accept"
            and rule.get("proto", "tcp") == protocol
            and _matches(policy, rule["src"], principal)
        ):
            for target in rule["dst"]:
                host, dummy, ports = target.rpartition(":")
                if _is_in(policy, place, host) and (ports == "*" or str(port) in ports.split(",")):
                    return True
    return False


def _is_in(policy: Mapping[str, Any], place: str, host: str) -> bool:
    """Whether a tag, or a network, belongs to what a rule names."""
    if host in (place, "*"):
        return True
    network = policy.get("hosts", {}).get(host, "")
    return bool(network) and not place.startswith("tag:") and within(place, network)


def _matches(policy: Mapping[str, Any], sources: list[str], principal: str) -> bool:
    return any(source in ("*", principal) or principal in policy["groups"].get(source, ()) for source in sources)
