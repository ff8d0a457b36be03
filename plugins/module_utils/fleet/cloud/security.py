# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups: make them empty, then open and close exactly what differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls, tag_list
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import Rule, SecurityGroup, Seen

_PEERS: Final = {
    "group": ("UserIdGroupPairs", "GroupId"),
    "cidr": ("IpRanges", "CidrIp"),
    "cidr6": ("Ipv6Ranges", "CidrIpv6"),
    "prefix": ("PrefixListIds", "PrefixListId"),
}
_WAYS: Final = ("ingress", "egress")
# A new group lets everything out.
_NEW_EGRESS: Final = frozenset({Rule("all", 0, 0, "cidr", "0.0.0.0/0")})
_BUSY: Final = ("DependencyViolation", "InvalidGroup.InUse")
_GONE: Final = "InvalidGroup.NotFound"


class SecurityMaker:
    """Makes, changes and removes them."""

    def __init__(self, calls: Calls, seen: Seen, patience: float) -> None:
        self._calls, self._seen, self._patience = calls, seen, patience

    def make(self, name: str, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Without rules but AWS's own."""
        answer = self._calls.write(
            "ec2", "CreateSecurityGroup", f"make the security group {name}",
            GroupName=name, Description=wanted["description"], VpcId=self._seen.vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tag_list(tags)}],
        )  # fmt: skip
        self._seen.security[name] = SecurityGroup(answer["GroupId"], self._seen.vpc, tags, egress=_NEW_EGRESS)

    def change(self, name: str, wanted: Mapping[str, Any], kept: Iterable[str]) -> None:
        """Open and close. Rules for the groups `kept`, which left the file and are there yet, stay."""
        group = self._seen.security[name]
        peers = {self._seen.security[one].id for one in kept if one in self._seen.security}
        for way in _WAYS:
            now = group.ingress if way == "ingress" else group.egress
            then = frozenset(self._rule(rule) for rule in wanted[way])
            then |= {rule for rule in now if rule.peer in peers}
            # What is new is opened before what is old is closed, so that nothing is cut off in between.
            self._write("Authorize", way, name, group.id, then - now)
            self._write("Revoke", way, name, group.id, now - then)
            self._remember(name, way, then)

    def remove(self, name: str) -> None:
        """Remove it, and before that all rules of the fleet's other groups that name it."""
        gone = self._seen.security[name]
        for other, group in list(self._seen.security.items()):
            for way in _WAYS:
                rules = group.ingress if way == "ingress" else group.egress
                mine = frozenset(rule for rule in rules if rule.peer == gone.id)
                self._write("Revoke", way, other, group.id, mine)
                self._remember(other, way, rules - mine)
        try:
            self._calls.patiently(
                lambda: self._calls.write(
                    "ec2", "DeleteSecurityGroup", f"remove the security group {name}", GroupId=gone.id
                ),
                _BUSY,
                self._patience,
            )
        except AwsError as exc:
            if exc.code != _GONE:
                raise
        del self._seen.security[name]

    def _remember(self, name: str, way: str, rules: frozenset[Rule]) -> None:
        group = self._seen.security[name]
        self._seen.security[name] = (
            dataclasses.replace(group, ingress=rules) if way == "ingress" else dataclasses.replace(group, egress=rules)
        )

    def _rule(self, rule: Mapping[str, Any]) -> Rule:
        peer = rule["peer"]
        if "group" in peer:
            return Rule(
                rule["protocol"], rule["from_port"], rule["to_port"], "group", self._seen.security[peer["group"]].id
            )
        kind = "cidr6" if ":" in peer["cidr"] else "cidr"
        return Rule(rule["protocol"], rule["from_port"], rule["to_port"], kind, peer["cidr"])

    def _write(self, verb: str, way: str, name: str, identity: str, rules: Iterable[Rule]) -> None:
        permissions = [permission(rule) for rule in sorted(rules)]
        if permissions:
            self._calls.write(
                "ec2", f"{verb}SecurityGroup{way.capitalize()}", f"{'open' if verb == 'Authorize' else 'close'} ports of {name}",
                GroupId=identity, IpPermissions=permissions,
            )  # fmt: skip


def permission(rule: Rule) -> dict[str, Any]:
    """A rule as EC2's API takes it."""
    several, one = _PEERS[rule.kind]
    ports = {} if rule.protocol == "all" else {"FromPort": rule.first, "ToPort": rule.last}
    return {"IpProtocol": "-1" if rule.protocol == "all" else rule.protocol, **ports, several: [{one: rule.peer}]}
