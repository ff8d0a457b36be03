# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups as chains and sets of nftables. Pure: from values to text.

A connection is let through if a rule of any group of the sender lets it out, and a rule of any group of the receiver lets it in.
Replies belong to a connection, so they are never looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class Rule:
    """What one rule lets through. Exactly one of ``network`` and ``group`` says whom it is about.

    :param protocol: ``-1`` for all, ``tcp``, ``udp``, ``icmp``, or the number of another one.
    :param first: the first port, or the type of ICMP; below 0 for all.
    :param last: the last port, or the code of ICMP; below 0 for all.
    :param network: IPv4, such as ``10.0.0.0/8``.
    :param group: the id of a security group; its members are meant.
    """

    protocol: str
    first: int = -1
    last: int = -1
    network: str = ""
    group: str = ""


@dataclass(frozen=True)
class Group:
    """A security group that somebody is a member of, or that a rule of such a group names."""

    id: str
    members: tuple[str, ...] = ()  # IPv4 addresses
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


def set_name(group: str) -> str:
    """The set of a group's members."""
    return group.replace("-", "_")


def declarations(groups: Iterable[Group]) -> list[str]:
    """The sets of all groups, without their members."""
    return [f"    set {set_name(group.id)} {{ type ipv4_addr; }}" for group in groups]


def chains(groups: Iterable[Group], unbound: str, outside: str) -> list[str]:
    """The chains ``sends`` and ``receives``: the first decides by who sends, and goes on to the second.

    :param unbound: the set of addresses that no rule is about: load balancers without security groups.
    :param outside: what leaves the hosts' network, as a match; the chain ``outside`` decides about it.
    """
    lines = ["    chain sends {", f"        ip saddr @{unbound} goto receives"]
    listed = list(groups)
    lines += [f"        ip saddr @{set_name(group.id)} jump out_{set_name(group.id)}" for group in listed]
    lines += ["        drop", "    }", "    chain receives {", f"        {outside} goto outside"]
    lines += [f"        ip daddr @{unbound} accept"]
    lines += [f"        ip daddr @{set_name(group.id)} jump in_{set_name(group.id)}" for group in listed]
    lines += ["        drop", "    }"]
    for group in listed:
        for chain, rules, peer, verdict in (
            ("out", group.egress, "daddr", "goto receives"),
            ("in", group.ingress, "saddr", "accept"),
        ):
            lines.append(f"    chain {chain}_{set_name(group.id)} {{")
            lines += [f"        {_match(rule, peer)}{verdict}" for rule in rules]
            lines.append("    }")
    return lines


def _match(rule: Rule, peer: str) -> str:
    """What a rule is about, with a space after it; empty if it is about everything."""
    words = []
    if rule.group:
        words.append(f"ip {peer} @{set_name(rule.group)}")
    elif rule.network != EVERYWHERE:
        words.append(f"ip {peer} {rule.network}")
    if rule.protocol in ("tcp", "udp"):
        if rule.first < 0 or (rule.first, rule.last) == (0, 65535):
            words.append(f"meta l4proto {rule.protocol}")
        else:
            ports = str(rule.first) if rule.first == rule.last else f"{rule.first}-{rule.last}"
            words.append(f"{rule.protocol} dport {ports}")
    elif rule.protocol == "icmp" and rule.first >= 0:
        words.append(f"icmp type {rule.first}" + (f" icmp code {rule.last}" if rule.last >= 0 else ""))
    elif rule.protocol != "-1":
        words.append(f"meta l4proto {rule.protocol}")
    return "".join(f"{word} " for word in words)
