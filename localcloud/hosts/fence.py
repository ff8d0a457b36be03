# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's packet filter around the hosts of one cloud.

Hosts reach each other, the internet (packages come from there), and of this machine what the cloud serves: metadata and SSM,
also under AWS's own address of the metadata, and names. The networks that this machine is in are closed to them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from localcloud.hosts.podman import HostError

METADATA = "169.254.169.254"
"""Where instances find their metadata, on AWS and here."""
_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_SECONDS = 30


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

    def rules(self, attached: Iterable[str], resolvers: Iterable[str]) -> str:
        """A script for nft.

        :param attached: the IPv4 networks that this machine has an address in.
        :param resolvers: this machine's name servers.
        """
        closed = [str(n) for n in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, {*_PRIVATE, *attached}))]
        names = [address for address in resolvers if "." in address]
        open_ = f"ip daddr {{ {', '.join(self.reach)} }} accept" if self.reach else ""
        asked = f"ip daddr {{ {', '.join(names)} }} meta l4proto {{ tcp, udp }} th dport 53 accept" if names else ""
        return f"""\
table inet {self.table}
delete table inet {self.table}
table inet {self.table} {{
    chain metadata {{
        type nat hook prerouting priority dstnat - 5;
        iifname "{self.interface}" ip daddr {METADATA} tcp dport 80 dnat ip to {self.gateway}:{self.port}
    }}
    chain to_machine {{
        type filter hook input priority filter - 5;
        iifname != "{self.interface}" accept
        ct state established,related accept
        meta l4proto {{ icmp, ipv6-icmp }} accept
        ip daddr {self.gateway} tcp dport {self.port} accept
        ip daddr {self.gateway} meta l4proto {{ tcp, udp }} th dport 53 accept
        reject
    }}
    chain through_machine {{
        type filter hook forward priority filter - 5;
        iifname != "{self.interface}" accept
        oifname "{self.interface}" accept
        ct state established,related accept
        {asked}
        {open_}
        ip daddr {{ {", ".join(closed)} }} reject
        meta nfproto ipv6 reject
    }}
}}
"""

    def up(self) -> None:
        """Put it in force, in place of one from before. Raises HostError."""
        _nft(self.rules(_attached(), _resolvers()))

    def down(self) -> None:
        """Take it away; it is no error if there is none."""
        with contextlib.suppress(HostError):
            _nft(f"delete table inet {self.table}\n")


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
