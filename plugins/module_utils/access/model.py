# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The access file, read into frozen data. Every name in it must be declared, and nobody is everybody."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
_PERSON: Final = re.compile(r"[^@\s]+@[^@\s]+")
_PERIOD: Final = re.compile(r"[1-9][0-9]*[mhd]")
# Addresses of nodes: https://tailscale.com/kb/1033/ip-and-dns-addresses
_TAILNET: Final = ("100.64.0.0/10", "fd7a:115c:a1e0::/48")
_TOP: Final = ("people", "machines", "services", "allow", "ssh", "tests")


class AccessError(Exception):
    """A sentence for the user: the place in the access file, the reason, the way out."""


@dataclass(frozen=True)
class Service:
    """Ports of machines. `address` is what Twingate resolves inside the remote network; "" keeps it from there.

    A service with `networks` is on hosts that are in no tailnet: `machines` are then the routers on the way to them.
    """

    name: str
    machines: tuple[str, ...]
    ports: tuple[int, ...]
    protocol: str = "tcp"
    address: str = ""
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Allow:
    """`sources` (people's groups, machines, single persons) reach `services`."""

    sources: tuple[str, ...]
    services: tuple[str, ...]


@dataclass(frozen=True)
class Ssh:
    """People come in by Tailscale SSH, as these users, without keys on hosts. `check`: how long a fresh login counts."""

    sources: tuple[str, ...]
    machines: tuple[str, ...]
    users: tuple[str, ...]
    check: str = ""


@dataclass(frozen=True)
class Case:
    """A test: `source` reaches `reaches` and does not reach `refused`; services, or `ssh:USER@MACHINE`."""

    source: str
    reaches: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class Access:
    """The whole file. `machines` maps each class of machines to the people who may bring one in, `routes` to the networks that
    such a machine may route for others."""

    people: Mapping[str, tuple[str, ...]]
    machines: Mapping[str, tuple[str, ...]]
    services: Mapping[str, Service]
    allow: tuple[Allow, ...]
    ssh: tuple[Ssh, ...]
    cases: tuple[Case, ...]
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_access(document: Any) -> Access:
    """Read what the YAML of an access file holds. Raises AccessError."""
    top = _mapping(document, "the access file", _TOP)
    people = {
        _name(name, "people"): _people(given, f"people.{name}")
        for name, given in _mapping(top.get("people") or {}, "people").items()
    }
    machines: dict[str, tuple[str, ...]] = {}
    routes: dict[str, tuple[str, ...]] = {}
    for name, given in _mapping(top.get("machines") or {}, "machines").items():
        where = f"machines.{name}"
        found = _mapping(given or {}, where, ("owners", "routes"))
        owners = _words(found.get("owners") or [], f"{where}.owners")
        _known(owners, people, f"{where}.owners", "people")
        machines[_name(name, "machines")] = owners
        routes[name] = _networks(found.get("routes") or [], f"{where}.routes")
    twice = sorted(set(people) & set(machines))
    if twice:
        raise AccessError(f"{twice[0]} names both people and machines: rename one")
    services = {
        _name(name, "services"): _service(name, given, machines, routes)
        for name, given in _mapping(top.get("services") or {}, "services").items()
    }
    allow = tuple(
        _allow(given, f"allow[{number}]", people, machines, services)
        for number, given in enumerate(_list(top.get("allow"), "allow"))
    )
    ssh = tuple(
        _ssh(given, f"ssh[{number}]", people, machines) for number, given in enumerate(_list(top.get("ssh"), "ssh"))
    )
    cases = tuple(
        _case(given, f"tests[{number}]", people, machines, services)
        for number, given in enumerate(_list(top.get("tests"), "tests"))
    )
    return Access(people, machines, services, allow, ssh, cases, {name: to for name, to in routes.items() if to})


def _service(name: str, given: Any, machines: Mapping[str, Any], routes: Mapping[str, tuple[str, ...]]) -> Service:
    where = f"services.{name}"
    found = _mapping(given, where, ("runs_on", "behind", "at", "ports", "protocol", "address"))
    key = "behind" if "behind" in found else "runs_on"
    if ("behind" in found) != ("at" in found) or ("behind" in found and "runs_on" in found):
        raise AccessError(
            f"{where} must say either runs_on, machines of the tailnet, or behind and at: which routers lead to which addresses"
        )
    on = _words(found.get(key), f"{where}.{key}")
    _known(on, machines, f"{where}.{key}", "machines")
    networks = _networks(found.get("at") or [], f"{where}.at")
    if "behind" in found and not networks:
        raise AccessError(f"{where}.at must have an address or a network, such as 10.0.4.7")
    for machine in on:
        for network in networks:
            if not any(within(network, route) for route in routes[machine]):
                leads = ", ".join(routes[machine]) or "nowhere"
                raise AccessError(
                    f"{where}.at has {network}, and {machine} leads to {leads}: see machines.{machine}.routes"
                )
    ports = found.get("ports")
    ports = ports if isinstance(ports, list) else [ports]
    if (
        not on
        or not ports
        or any(isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536 for port in ports)
    ):
        raise AccessError(f"{where} must say on which machines it runs ({key}) and its ports, each from 1 to 65535")
    protocol = found.get("protocol", "tcp")
    if protocol not in ("tcp", "udp"):
        raise AccessError(f"{where}.protocol must be tcp or udp, not {protocol}")
    return Service(name, on, tuple(sorted(set(ports))), protocol, str(found.get("address") or ""), networks)


def _allow(given: Any, where: str, people: Mapping[str, Any], machines: Mapping[str, Any], services: Mapping[str, Any]) -> Allow:  # fmt: skip
    found = _mapping(given, where, ("from", "to"))
    sources, targets = (
        _sources(found.get("from"), f"{where}.from", people, machines),
        _words(found.get("to"), f"{where}.to"),
    )
    _known(targets, services, f"{where}.to", "services")
    if not targets:
        raise AccessError(f"{where} must name the services that it allows (to)")
    return Allow(sources, targets)


def _ssh(given: Any, where: str, people: Mapping[str, Any], machines: Mapping[str, Any]) -> Ssh:
    found = _mapping(given, where, ("from", "to", "as", "check"))
    sources = _sources(found.get("from"), f"{where}.from", people, {})
    targets, users = _words(found.get("to"), f"{where}.to"), _words(found.get("as"), f"{where}.as")
    _known(targets, machines, f"{where}.to", "machines")
    if not targets or not users:
        raise AccessError(f"{where} must name machines (to) and the users as whom people come in (as)")
    if "root" in users or "*" in users:
        raise AccessError(f"{where}.as must not be root or everybody: name an ordinary user, who may use sudo")
    check = str(found.get("check") or "")
    if check and not _PERIOD.fullmatch(check):
        raise AccessError(f"{where}.check must be a period such as 12h, not {check}")
    return Ssh(sources, targets, users, check)


def _case(given: Any, where: str, people: Mapping[str, Any], machines: Mapping[str, Any], services: Mapping[str, Any]) -> Case:  # fmt: skip
    found = _mapping(given, where, ("from", "to", "not_to"))
    sources = _sources(found.get("from"), f"{where}.from", people, machines, stranger=True)
    if len(sources) != 1:
        raise AccessError(f"{where}.from must be one: a person, a group of people or machines")
    reaches, refused = (
        _words(found.get("to") or [], f"{where}.to"),
        _words(found.get("not_to") or [], f"{where}.not_to"),
    )
    for target in (*reaches, *refused):
        user, at, machine = target.removeprefix("ssh:").partition("@")
        good = (target.startswith("ssh:") and user and at and machine in machines) or target in services
        if not good:
            raise AccessError(f"{where} names {target}, which is neither a service nor ssh:USER@MACHINES")
    if not reaches and not refused:
        raise AccessError(f"{where} tests nothing: give to or not_to")
    return Case(sources[0], reaches, refused)


def _sources(given: Any, where: str, people: Mapping[str, Any], machines: Mapping[str, Any], *, stranger: bool = False) -> tuple[str, ...]:  # fmt: skip
    words = _words(given, where)
    if not words:
        raise AccessError(f"{where} is missing: name people or machines")
    for word in words:
        if word in ("*", "any", "all"):
            raise AccessError(f"{where} is everybody: name who it is for")
        if word not in people and word not in machines and not _PERSON.fullmatch(word):
            raise AccessError(
                f"{where} names {word}, which is not declared{' among people' if not machines else ' among people or machines'}"
            )
        known = any(word in members for members in people.values())
        if _PERSON.fullmatch(word) and not known and not stranger:
            raise AccessError(
                f"{where} names {word}, who is in no group of people: put them into one, so that leaving is one change"
            )
    return words


def _people(given: Any, where: str) -> tuple[str, ...]:
    members = _words(given, where)
    for member in members:
        if not _PERSON.fullmatch(member):
            raise AccessError(f"{where} has {member}, which is no address such as ana@example.org")
    return members


def within(network: str, other: str) -> bool:
    """Whether a network lies wholly in another one, both as `_networks` gives them."""
    inner, outer = ipaddress.ip_network(network), ipaddress.ip_network(other)
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


def _networks(given: Any, where: str) -> tuple[str, ...]:
    """Networks as 10.0.0.0/16; an address is one of its own. The internet is none, nor what tailnets have for themselves."""
    found = []
    for word in _words(given, where):
        try:
            network = ipaddress.ip_network(word)
        except ValueError:
            network = None
        if network is None:
            raise AccessError(f"{where} has {word}, which is no network such as 10.0.0.0/16")
        if network.prefixlen == 0 or any(within(str(network), tailnet) for tailnet in _TAILNET):
            raise AccessError(f"{where} has {word}: name networks of your own, and not the internet or a tailnet's")
        found.append(str(network))
    return tuple(found)


def _known(words: Iterable[str], declared: Iterable[str], where: str, what: str) -> None:
    there = list(declared)
    for word in words:
        if word not in there:
            raise AccessError(
                f"{where} names {word}, which is not declared among {what}; there are {', '.join(there) or 'none'}"
            )


def _name(given: Any, where: str) -> str:
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise AccessError(f"{where} has the name {given}: lower-case letters, digits and dashes only")
    return given


def _words(given: Any, where: str) -> tuple[str, ...]:
    words = [given] if isinstance(given, str) else given
    if words is None:
        return ()
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise AccessError(f"{where} must be a name or a list of names")
    return tuple(dict.fromkeys(words))


def _list(given: Any, where: str) -> list[Any]:
    if given is not None and not isinstance(given, list):
        raise AccessError(f"{where} must be a list")
    return given or []


def _mapping(given: Any, where: str, known: Iterable[str] = ()) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise AccessError(f"{where} must be a mapping")
    unknown = sorted(set(map(str, given)) - set(known)) if known else []
    if unknown:
        raise AccessError(f"{where} has {unknown[0]}, which means nothing; it may have {', '.join(known)}")
    return given
