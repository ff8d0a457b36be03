# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes of a data service: who they are, how they find each other, and the certificate that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Aws, Instance
from ansible_collections.boring.fleet.plugins.module_utils.host.machine import Machine
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told

_HOSTS: Final = "/etc/hosts"
_BEGIN, _END = "# nodes of this data service (host_lifecycle)", "# end of the nodes"
_SOON: Final = 14 * 86_400  # seconds before the end of a certificate at which it is said


@dataclass(frozen=True)
class Peers:
    """All nodes that AWS knows, this one too. `gone` asks whether an instance is none of them any more."""

    me: Instance
    nodes: tuple[Instance, ...]  # that run or begin to, the oldest first
    known: frozenset[str]  # also those that are switched off
    addresses: frozenset[str]  # of all that are known

    @property
    def others(self) -> tuple[Instance, ...]:
        return tuple(one for one in self.nodes if one.id != self.me.id)

    @property
    def formed(self) -> bool:
        """Whether the group has been in service: a node gets out of Pending only when it has joined."""
        return any(one.lifecycle and not one.lifecycle.startswith("Pending") for one in self.others)

    @property
    def leaving(self) -> tuple[str, ...]:
        """The others that are about to go, by their ids: the least of all that leave goes first."""
        return tuple(sorted(one.id for one in self.others if one.lifecycle.startswith("Terminating")))


def look(aws: Aws, told: Told, me: str) -> Peers:
    """Ask EC2. Raises HostError while it does not list this host itself."""
    found = aws.instances(told.fleet, told.service)
    nodes = tuple(one for one in found if one.state in ("pending", "running"))
    mine = next((one for one in nodes if one.id == me), None)
    if mine is None:
        raise HostError(
            f"EC2 does not list {me} among the hosts of {told.service} of the fleet {told.fleet}: its tags come late, or are not there"
        )
    return Peers(mine, nodes, frozenset(one.id for one in found), frozenset(one.address for one in found))


def name(told: Told, instance: str) -> str:
    """The name of a node, for which its certificate is."""
    return f"{instance}.{told.domain}"


def with_names(text: str, told: Told, nodes: Sequence[Instance], more: Mapping[str, str]) -> str:
    """The text of /etc/hosts with the nodes' names in it, and `more` names with their addresses."""
    before, found, rest = text.partition(f"{_BEGIN}\n")
    after = rest.partition(f"{_END}\n")[2] if found else ""
    known = {**more, **{name(told, one.id): one.address for one in nodes}}
    lines = "".join(f"{address} {one}\n" for one, address in sorted(known.items()))
    if before and not before.endswith("\n"):
        before += "\n"
    return f"{before}{_BEGIN}\n{lines}{_END}\n{after}"


def write_names(machine: Machine, told: Told, nodes: Sequence[Instance], more: Mapping[str, str] | None = None) -> None:
    """Bring /etc/hosts to what EC2 says."""
    text = machine.read(_HOSTS)
    wanted = with_names(text, told, nodes, more or {})
    if wanted != text:
        machine.overwrite(_HOSTS, wanted)


def secret(told: Told, values: Mapping[str, str], what: str) -> str:
    """One of the values by its name in host.json. Raises HostError when it cannot be in a file of one line."""
    where = told.parameters[what]
    value = values[where]
    if not value or not value.isprintable():
        raise HostError(
            f"the parameter {where} is {'empty' if not value else 'not one line of plain characters'}: write it anew",
            never=True,
        )
    return value


def write_certificate(
    machine: Machine, told: Told, values: Mapping[str, str], *, folder: str, group: str, own_name: str
) -> bool:
    """Certificate, key and authority, once they fit; whether one differed. Raises HostError."""
    texts = {
        "cert.pem": values[told.parameters["certificate"]],
        "key.pem": values[told.parameters["key"]],
        "ca.pem": values[told.parameters["authority"]],
    }
    candidate = f"{folder}/.candidate"
    for file, text in texts.items():
        machine.write(f"{candidate}/{file}", text if text.endswith("\n") else f"{text}\n", "root", group, 0o640)
    _check(machine, candidate, told.parameters["certificate"], own_name)
    changed = [
        machine.write(f"{folder}/{file}", machine.read(f"{candidate}/{file}"), "root", group, 0o640) for file in texts
    ]
    machine.run(["rm", "-rf", "--", candidate])
    return any(changed)


def _check(machine: Machine, folder: str, where: str, own_name: str) -> None:
    """By openssl, which says no reason that holds a secret."""
    cert, key, authority = (f"{folder}/{file}.pem" for file in ("cert", "key", "ca"))
    again = "renew it by the playbook renew_certificates, or deploy the fleet again"
    code, said = machine.run(["openssl", "x509", "-in", cert, "-noout", "-checkend", "0", "-enddate"])
    if "notAfter=" not in said:
        raise HostError(f"the parameter {where} is no certificate: {again}")
    if code:
        raise HostError(f"the certificate of {where} ended at {_ends(said)}: {again}")
    code, said = machine.run(["openssl", "x509", "-in", cert, "-noout", "-checkhost", own_name])
    if code or "does match" not in said:
        raise HostError(f"the certificate of {where} is not for {own_name}: {again}")
    code, said = machine.run(["openssl", "verify", "-CAfile", authority, "-untrusted", cert, cert])
    if code:
        reason = said.strip().splitlines()[-1:] or ["no reason"]
        raise HostError(f"the fleet's authority did not sign the certificate of {where} ({reason[0]}): {again}")
    public = [
        machine.run(["openssl", "x509", "-in", cert, "-noout", "-pubkey"]),
        machine.run(["openssl", "pkey", "-in", key, "-pubout"]),
    ]
    if any(code for code, dummy in public) or public[0][1].strip() != public[1][1].strip():
        raise HostError(f"the certificate of {where} and its key do not belong together: {again}")


def ends_soon(machine: Machine, folder: str) -> str:
    """A sentence when the certificate has two weeks or less, else ""."""
    code, said = machine.run(
        ["openssl", "x509", "-in", f"{folder}/cert.pem", "-noout", "-checkend", str(_SOON), "-enddate"]
    )
    if not code or "notAfter=" not in said:
        return ""
    return f"the certificate ends at {_ends(said)}: renew it, then roll this group"


def _ends(said: str) -> str:
    return said.partition("notAfter=")[2].splitlines()[0].strip()
