# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2's security groups: what moto lacks of them, and what they mean for the packet filter."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from moto.ec2.exceptions import EC2ClientError, InvalidCIDRSubnetError, InvalidSecurityGroupNotFoundError
from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import Instance
from moto.ec2.models.security_groups import SecurityGroup, SecurityGroupRule
from moto.ec2.models.vpcs import VPC
from moto.ec2.utils import is_valid_cidr
from moto.elbv2.models import elbv2_backends

from localcloud.hosts.groups import Group, Rule

_NAMES = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "all": "-1"}
_PEERS = {"CidrIpv4": "CidrIp", "CidrIpv6": "CidrIpv6"}


class SecurityGroups(EC2Backend):
    """Security groups as AWS has them."""

    def create_vpc(self, *args: Any, **kwargs: Any) -> VPC:
        """With a default group whose members reach each other, as on AWS."""
        vpc = super().create_vpc(*args, **kwargs)
        default = self.get_default_security_group(vpc.id)
        if default is not None and not default.ingress_rules:
            members = {"GroupId": default.id, "UserId": self.account_id}
            default.add_ingress_rule(
                SecurityGroupRule(self, "-1", default.id, None, None, None, members, is_egress=False)
            )
        return vpc

    def delete_vpc(self, vpc_id: str) -> VPC:
        """Its default group goes with it, though rules name it and nobody may delete it."""
        default = self.get_default_security_group(vpc_id)
        if default is None:
            return super().delete_vpc(vpc_id)
        rules, default.is_default, default.ingress_rules = default.ingress_rules, False, []
        try:
            return super().delete_vpc(vpc_id)
        except Exception:
            default.is_default, default.ingress_rules = True, rules
            raise

    def authorize_security_group_ingress(
        self, group_name_or_id: str, ip_protocol: str, from_port: Any, to_port: Any, *args: Any, **kwargs: Any
    ) -> tuple[list[SecurityGroupRule], SecurityGroup]:
        ports = _ports(ip_protocol, from_port, to_port)
        return super().authorize_security_group_ingress(group_name_or_id, ip_protocol, *ports, *args, **kwargs)

    def authorize_security_group_egress(
        self, group_name_or_id: str, ip_protocol: str, from_port: Any, to_port: Any, *args: Any, **kwargs: Any
    ) -> tuple[list[SecurityGroupRule], SecurityGroup]:
        ports = _ports(ip_protocol, from_port, to_port)
        return super().authorize_security_group_egress(group_name_or_id, ip_protocol, *ports, *args, **kwargs)

    def revoke_security_group_ingress(
        self, group_name_or_id: str, ip_protocol: str, from_port: Any, to_port: Any, *args: Any, **kwargs: Any
    ) -> None:
        ports = _ports(ip_protocol, from_port, to_port) if ip_protocol else (from_port, to_port)
        super().revoke_security_group_ingress(group_name_or_id, ip_protocol, *ports, *args, **kwargs)

    def revoke_security_group_egress(
        self, group_name_or_id: str, ip_protocol: str, from_port: Any, to_port: Any, *args: Any, **kwargs: Any
    ) -> None:
        ports = _ports(ip_protocol, from_port, to_port) if ip_protocol else (from_port, to_port)
        super().revoke_security_group_egress(group_name_or_id, ip_protocol, *ports, *args, **kwargs)

    def modify_security_group_rules(self, group_id: str, rules: dict[str, dict[str, Any]]) -> None:
        """As moto's, and whom a rule is about changes too."""
        for new in rules.values():
            if "FromPort" in new and "ToPort" in new and "IpProtocol" in new:
                new["FromPort"], new["ToPort"] = _ports(new["IpProtocol"], new["FromPort"], new["ToPort"])
            if new.get("CidrIpv4") and not is_valid_cidr(new["CidrIpv4"]):
                raise InvalidCIDRSubnetError(cidr=new["CidrIpv4"])
            other = new.get("ReferencedGroupId")
            if other and self.get_security_group_from_id(other) is None:
                raise InvalidSecurityGroupNotFoundError(other)
        super().modify_security_group_rules(group_id, rules)
        group = self.get_security_group_by_name_or_id(group_id)
        for rule_id, new in rules.items():
            rule = group.get_rule(rule_id) if group is not None else None
            if rule is None:
                continue
            rule.ip_protocol = _NAMES.get(str(rule.ip_protocol).lower(), rule.ip_protocol)
            rule.from_port = None if rule.ip_protocol == "-1" else int(new["FromPort"])
            rule.to_port = None if rule.ip_protocol == "-1" else int(new["ToPort"])
            about = {"Description": new["Description"]} if new.get("Description") else {}
            network = {old: new[key] for key, old in _PEERS.items() if new.get(key)}
            other = new.get("ReferencedGroupId")
            rule.ip_range = {**network, **about} if network else {}
            rule.source_group = {"GroupId": other, "UserId": self.account_id, **about} if other else {}
            rule.prefix_list_id = new.get("PrefixListId")

    def delete_security_group(self, name: str | None = None, group_id: str | None = None) -> None:
        """Refused while an instance, a load balancer or another group's rule has it."""
        group = self.get_security_group_by_name_or_id(group_id or name or "")
        if group is not None:
            if group.is_default:
                raise EC2ClientError(
                    "CannotDelete", f'the specified group: "{group.id}" name: "default" cannot be deleted by a user'
                )
            if self._used(group):
                raise EC2ClientError("DependencyViolation", f"resource {group.id} has a dependent object")
        super().delete_security_group(name, group_id)

    def _used(self, group: SecurityGroup) -> bool:
        if any(group in eni.group_set for eni in self.enis.values() if _in_use(eni)):
            return True
        if any(group.id in groups for groups in self.balancers().values()):
            return True
        return any(
            rule.source_group.get("GroupId") == group.id
            for groups in self.groups.values()
            for other in groups.values()
            if other is not group
            for rule in (*other.ingress_rules, *other.egress_rules)
        )

    def modify_instance_security_groups(self, instance_id: str, new_group_id_list: list[str]) -> Instance:
        """The groups of an instance are those of its first interface."""
        groups = self._known_groups(new_group_id_list)
        instance = super().modify_instance_security_groups(instance_id, new_group_id_list)
        instance.nics[0]._group_set = groups
        return instance

    def modify_network_interface_attribute(
        self, eni_id: str, group_ids: list[str], source_dest_check: bool | None = None, description: str | None = None
    ) -> None:
        groups = self._known_groups(group_ids)
        super().modify_network_interface_attribute(eni_id, group_ids, source_dest_check, description)
        eni = self.get_network_interface(eni_id)
        if groups and eni.instance is not None and eni.device_index == 0:
            eni.instance.security_groups = groups

    def _known_groups(self, ids: Iterable[str]) -> list[SecurityGroup]:
        found = []
        for one in ids:
            group = self.get_security_group_from_id(one)
            if group is None:
                raise InvalidSecurityGroupNotFoundError(one)
            found.append(group)
        return found

    # -- what the packet filter makes of it --------------------------------------------------------------------------

    def balancers(self) -> dict[str, tuple[str, ...]]:
        """The ids of the security groups of every load balancer, by its address."""
        every = elbv2_backends[self.account_id][self.region_name].load_balancers.values()
        return {str(one.dns_name): tuple(one.security_groups or ()) for one in every}

    def filtered(self) -> tuple[Group, ...]:
        """Every group that has members, and those that their rules name."""
        members: dict[str, set[str]] = {}
        for eni in self.enis.values():
            if _in_use(eni) and eni.private_ip_address:
                for group in eni.group_set:
                    members.setdefault(group.id, set()).add(eni.private_ip_address)
        for address, groups in self.balancers().items():
            for group_id in groups:
                members.setdefault(group_id, set()).add(address)
        known = {group.id: group for groups in self.groups.values() for group in groups.values()}
        found = {
            group_id: Group(
                group_id,
                _sorted(addresses),
                tuple(self._rules(known[group_id].ingress_rules, known)),
                tuple(self._rules(known[group_id].egress_rules, known)),
            )
            for group_id, addresses in members.items()
            if group_id in known
        }
        named = {rule.group for group in found.values() for rule in (*group.ingress, *group.egress) if rule.group}
        return tuple(found.get(group_id) or Group(group_id) for group_id in sorted({*found, *named}))

    def _rules(self, rules: Iterable[SecurityGroupRule], known: Mapping[str, SecurityGroup]) -> Iterator[Rule]:
        for rule in rules:
            protocol = str(rule.ip_protocol)
            if protocol in ("icmpv6", "58"):
                continue  # hosts have no IPv6
            ports = (-1 if rule.from_port is None else rule.from_port, -1 if rule.to_port is None else rule.to_port)
            if rule.cidr_ipv4:
                yield Rule(protocol, *ports, network=str(ipaddress.IPv4Network(rule.cidr_ipv4, strict=False)))
            elif rule.source_group.get("GroupId") in known:
                yield Rule(protocol, *ports, group=str(rule.source_group["GroupId"]))
            elif rule.prefix_list_id:
                listed = self.managed_prefix_lists.get(rule.prefix_list_id)
                entries = listed.entries.get(listed.version or 0, []) if listed is not None else []
                for entry in entries:
                    with contextlib.suppress(ValueError):  # of IPv6
                        yield Rule(protocol, *ports, network=str(ipaddress.IPv4Network(entry["Cidr"], strict=False)))


def _in_use(eni: Any) -> bool:
    """Whether an interface belongs to an instance that is not at its end."""
    return eni.instance is not None and eni.instance.state != "terminated"


def _sorted(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(addresses, key=ipaddress.IPv4Address))


def _ports(protocol: str, first: Any, last: Any) -> tuple[Any, Any]:
    """The ports of a rule (of ICMP: type and code). For a protocol that has none AWS takes what is given as all.

    Raises EC2ClientError for what there is not: the packet filter takes nothing that is wrong.
    """
    name = _NAMES.get(str(protocol).lower(), str(protocol).lower())
    if name == "-1":
        return first, last
    if name not in ("tcp", "udp", "icmp", "icmpv6"):
        if not name.isdecimal() or int(name) > 255:
            raise EC2ClientError(
                "InvalidParameterValue", f"Invalid value '{protocol}' for IP protocol. Unknown protocol."
            )
        return -1, -1
    if first is None or last is None:
        raise EC2ClientError(
            "InvalidParameterValue", "Invalid value for portRange. Must specify both from and to ports with TCP/UDP."
        )
    low, high = int(first), int(last)
    if name in ("icmp", "icmpv6"):
        if not (-1 <= low <= 255 and -1 <= high <= 255):
            raise EC2ClientError("InvalidParameterValue", f"ICMP code ({high}) or type ({low}) out of range")
        return low, high
    for port in (low, high):
        if not 0 <= port <= 65535:
            raise EC2ClientError("InvalidParameterValue", f"TCP/UDP port ({port}) out of range")
    if low > high:
        raise EC2ClientError("InvalidParameterValue", f"Invalid TCP/UDP port range ({low}:{high})")
    return low, high
