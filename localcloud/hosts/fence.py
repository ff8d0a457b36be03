# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filter around the hosts of one cloud: what separates them from this machine, and from each other.

Hosts reach the internet (packages come from there), and of this machine what the cloud serves: metadata, also under AWS's own address
of it, AWS's API, and names. The networks that this machine is in are closed to them. What hosts and load balancers
reach of each other, and who reaches them, is what their security groups say.

All of it is in this machine's network, outside of the hosts, whose root can change nothing of it. Hosts are ports of one bridge, and
a bridge would carry their frames past the rules. So it carries none from port to port: this machine answers for every address (proxy
ARP) and routes between hosts, where connections are tracked. A port sends under its host's own address only.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.hosts import groups as groups_
from localcloud.hosts.groups import Group
from localcloud.hosts.podman import HostError

METADATA = "169.254.169.254"
"""Where instances find their metadata, on AWS and here."""
SSH = 22
_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_HARDWARE = "06:6c"
"""What the hardware addresses of hosts begin with; their IPv4 address is the rest."""
_SECONDS = 30
_SET = "3"  # NET_ADDR_SET: an interface's address that somebody chose


def hardware_address(address: str) -> str:
    """The hardware address of a host, out of its IPv4 address."""
    return f"{_HARDWARE}:{ipaddress.IPv4Address(address).packed.hex(':')}"


@dataclass(frozen=True)
class Ground:
    """What the filter is about at one moment.

    :param groups: every security group with members, and those that their rules name.
    :param balancers: the addresses of load balancers.
    :param unbound: those of them that have no security groups.
    :param ports: the address of each running host by the number of its interface on the bridge.
    """

    groups: tuple[Group, ...] = ()
    balancers: tuple[str, ...] = ()
    unbound: tuple[str, ...] = ()
    ports: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fence:
    """What separates one cloud's hosts from the machine.

    :param reach: networks or addresses that hosts may reach although they are private or this machine is in them.
    """

    cloud: str
    interface: str  # the bridge of the hosts
    gateway: str  # this machine's address on it
    port: int  # of the cloud's API, there
    reach: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        return "lc_" + self.cloud.replace("-", "_")

    @property
    def label(self) -> str:
        """What marks the addresses of this cloud's load balancers on the loopback interface."""
        return f"lo:{hashlib.sha256(self.cloud.encode()).hexdigest()[:10]}"

    def rules(self, attached: Iterable[str], resolvers: Iterable[str], groups: Iterable[Group] = ()) -> str:
        """A script for nft that makes the tables anew, with their sets empty.

        :param attached: the IPv4 networks that this machine has an address in.
        :param resolvers: this machine's name servers.
        """
        closed = [str(n) for n in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, {*_PRIVATE, *attached}))]
        names = [address for address in resolvers if "." in address]
        open_ = f"ip daddr {{ {', '.join(self.reach)} }} accept" if self.reach else ""
        asked = f"ip daddr {{ {', '.join(names)} }} meta l4proto {{ tcp, udp }} th dport 53 accept" if names else ""
        listed = list(groups)
        sets = "\n".join(groups_.declarations(listed))
        chains = "\n".join(groups_.chains(listed, "unbound", f'oifname != "{self.interface}" ip daddr != @balancers'))
        return f"""\
table inet {self.table}
delete table inet {self.table}
table inet {self.table} {{
    set balancers {{ type ipv4_addr; }}
    set unbound {{ type ipv4_addr; }}
{sets}
    chain metadata {{
        type nat hook prerouting priority dstnat - 5;
        iifname "{self.interface}" ip daddr {METADATA} tcp dport 80 dnat ip to {self.gateway}:{self.port}
    }}
    chain to_machine {{
        type filter hook input priority filter - 5;
        iifname != "{self.interface}" accept
        ct state established,related accept
        ip daddr @balancers goto sends
        meta l4proto {{ icmp, ipv6-icmp }} accept
        ip daddr {self.gateway} tcp dport {self.port} accept
        ip daddr {self.gateway} meta l4proto {{ tcp, udp }} th dport 53 accept
        reject
    }}
    chain through_machine {{
        type filter hook forward priority filter - 5;
        iifname != "{self.interface}" oifname != "{self.interface}" accept
        ct state established,related accept
        iifname != "{self.interface}" goto receives
        {asked}
        goto sends
    }}
    chain from_machine {{
        type filter hook output priority filter - 5;
        oifname != "{self.interface}" accept
        icmp type redirect drop
        ct state established,related accept
        ip saddr @balancers goto sends
        tcp dport {SSH} accept
        meta l4proto icmp accept
        goto receives
    }}
    chain outside {{
        {open_}
        ip daddr {{ {", ".join(closed)} }} reject
        meta nfproto ipv6 reject
        accept
    }}
{chains}
}}
table bridge {self.table}
delete table bridge {self.table}
table bridge {self.table} {{
    set ports {{ type iface_index; }}
    set bound {{ type iface_index . ipv4_addr; }}
    chain from_hosts {{
        type filter hook prerouting priority -300;
        iif @ports ether type ip iif . ip saddr != @bound drop
        iif @ports ether type arp iif . arp saddr ip != @bound drop
        iif @ports ether type != {{ ip, arp }} drop
    }}
    chain between_hosts {{
        type filter hook forward priority -300;
        ether saddr & ff:ff:00:00:00:00 == {_HARDWARE}:00:00:00:00 drop
        iif @ports drop
    }}
}}
"""

    def elements(self, ground: Ground) -> dict[str, tuple[str, ...]]:
        """What is in each set, by its family, table and name."""
        mine = f"inet {self.table}"
        return {
            f"{mine} balancers": ground.balancers,
            f"{mine} unbound": ground.unbound,
            **{f"{mine} {groups_.set_name(group.id)}": group.members for group in ground.groups},
            f"bridge {self.table} ports": tuple(str(port) for port in ground.ports),
            f"bridge {self.table} bound": tuple(f"{port} . {address}" for port, address in ground.ports.items()),
        }

    def up(self) -> Gate:
        """Put it in force, in place of one from before; nothing is let through to hosts yet. Raises HostError."""
        gate = Gate(self, _attached(), _resolvers())
        gate.apply(Ground())
        return gate

    def down(self) -> None:
        """Take it away; it is no error if there is none."""
        for family in ("inet", "bridge"):
            with contextlib.suppress(HostError):
                _nft(f"delete table {family} {self.table}\n")
        _ip("address", "flush", "dev", "lo", "label", self.label, missing=True)


class Gate:
    """The filter in force. Each change is one transaction of nft.

    :param attached: the networks that this machine is in.
    :param resolvers: its name servers.
    """

    def __init__(self, fence: Fence, attached: list[str], resolvers: list[str]) -> None:
        self._fence = fence
        self._attached = attached
        self._resolvers = resolvers
        self._rules = ""
        self._elements: dict[str, tuple[str, ...]] = {}
        self._held: set[str] | None = None

    def apply(self, ground: Ground) -> None:
        """Let through what ``ground`` says, from now on; connections that are open go on. Raises HostError."""
        rules = self._fence.rules(self._attached, self._resolvers, ground.groups)
        elements = self._fence.elements(ground)
        before = self._elements if rules == self._rules else {}
        script = "" if rules == self._rules else rules
        for name, wanted in elements.items():
            if wanted != before.get(name, ()):
                script += f"flush set {name}\n"
                script += f"add element {name} {{ {', '.join(wanted)} }}\n" if wanted else ""
        if script:
            if ground.ports:
                self._route()
            _nft(script)
            self._rules, self._elements = rules, elements

    def hold(self, addresses: Collection[str]) -> None:
        """Have these addresses, of load balancers, on this machine and no others. Raises HostError."""
        label = self._fence.label
        if self._held is None:
            _ip("address", "flush", "dev", "lo", "label", label, missing=True)
            self._held = set()
        for address in sorted({*addresses} - self._held):
            _ip("address", "add", f"{address}/32", "dev", "lo", "label", label)
            self._held.add(address)
        for address in sorted(self._held - {*addresses}):
            _ip("address", "delete", f"{address}/32", "dev", "lo", missing=True)
            self._held.discard(address)

    def _route(self) -> None:
        """Answer on the bridge for every host. Podman makes the bridge with the first host, so it is done each time.

        A bridge without an address of its own takes the lowest of its ports'. When that host is ended the address
        changes, and all others send into the void until they ask for it again, some 30 s later. So it keeps the first one.
        """
        name = self._fence.interface
        with contextlib.suppress(FileNotFoundError):  # the last host is gone, and the bridge with it
            try:
                Path(f"/proc/sys/net/ipv4/conf/{name}/proxy_arp_pvlan").write_text("1")
                Path(f"/proc/sys/net/ipv4/neigh/{name}/proxy_delay").write_text("0")
                link = Path(f"/sys/class/net/{name}")
                address = (link / "address").read_text().strip()
                kept = (link / "addr_assign_type").read_text().strip() == _SET
            except FileNotFoundError:
                raise
            except OSError as error:
                raise HostError(
                    f"This machine cannot route between hosts ({error.filename}: {error.strerror})."
                ) from None
            if not kept:
                _ip("link", "set", "dev", name, "address", address, missing=True)


def _nft(script: str) -> None:
    try:
        done = subprocess.run(
            ["nft", "--file", "-"], input=script, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise HostError("nft is missing: install it (apt-get install nftables).") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"nft was not done after {_SECONDS} s: look at `nft list ruleset`.") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise HostError(f"nft could not close this machine's network to hosts: {said}.")


def _ip(*words: str, missing: bool = False) -> None:
    """Run ip(8). Raises HostError, but not where what is to be taken away may be ``missing``."""
    try:
        done = subprocess.run(
            ["ip", *words], capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"`ip {' '.join(words)}` could not be run ({error}): is iproute2 installed?") from None
    if done.returncode and not missing and "File exists" not in done.stderr:
        raise HostError(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}.")


def _attached() -> list[str]:
    """The networks of this machine's interfaces."""
    try:
        said = subprocess.run(
            ["ip", "-json", "-4", "address"], capture_output=True, text=True, timeout=_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"This machine's networks cannot be seen ({error}): is iproute2 installed?") from None
    found = [(a["local"], a["prefixlen"]) for link in json.loads(said) for a in link.get("addr_info", [])]
    return [str(ipaddress.IPv4Interface(f"{local}/{length}").network) for local, length in found]


def _resolvers() -> list[str]:
    with contextlib.suppress(OSError):
        lines = Path("/etc/resolv.conf").read_text().splitlines()
        return [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return []
