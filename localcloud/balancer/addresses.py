# SPDX-License-Identifier: GPL-3.0-or-later
"""The address that a load balancer has: of the hosts' network, so that hosts reach it too; or of loopback, without hosts.

The same name gets the same address next time.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from localcloud.balancer.haproxy import BalancerError
from localcloud.errors import ApiError
from localcloud.hosts.podman import HostError

_ATTEMPTS = 1000


class Addresses(Protocol):
    """Where load balancers are."""

    def choose(self, seed: str, taken: Iterable[str]) -> str:
        """An address that nobody has. Raises ApiError if there is none."""
        ...

    def hold(self, addresses: Collection[str]) -> None:
        """Have these on this machine, and no others. Raises BalancerError."""
        ...


class Loopback:
    """In 127.64.0.1 .. 127.191.255.254: this machine has all of them."""

    def choose(self, seed: str, taken: Iterable[str]) -> str:
        return loopback_address(seed, taken)

    def hold(self, addresses: Collection[str]) -> None: ...


class Network:
    """In the last quarter of the hosts' network, where no default subnet is.

    :param subnets: the subnets that there are; what is in one is a host's.
    :param hold: has the addresses on this machine; raises HostError.
    """

    def __init__(
        self,
        network: ipaddress.IPv4Network,
        subnets: Callable[[], Iterable[ipaddress.IPv4Network]],
        hold: Callable[[Collection[str]], None],
    ) -> None:
        self._quarter = list(network.subnets(prefixlen_diff=2))[-1]
        self._subnets = subnets
        self._hold = hold

    def choose(self, seed: str, taken: Iterable[str]) -> str:
        used, room, subnets = set(taken), self._quarter.num_addresses - 2, list(self._subnets())
        for attempt in range(_ATTEMPTS):
            address = self._quarter[1 + int.from_bytes(_digest(seed, attempt)[:4]) % room]
            if str(address) not in used and not any(address in subnet for subnet in subnets):
                return str(address)
        raise _none_left()

    def hold(self, addresses: Collection[str]) -> None:
        try:
            self._hold([one for one in addresses if ipaddress.IPv4Address(one) in self._quarter])
        except HostError as error:
            raise BalancerError(str(error)) from error


def loopback_address(seed: str, taken: Iterable[str] = ()) -> str:
    """A load balancer's own address in 127.64.0.1 .. 127.191.255.254: the same seed gives the same address."""
    used = set(taken)
    for attempt in range(_ATTEMPTS):
        digest = _digest(seed, attempt)
        address = str(ipaddress.IPv4Address(bytes((127, 64 + digest[0] % 128, digest[1], 1 + digest[2] % 254))))
        if address not in used:
            return address
    raise _none_left()


def _digest(seed: str, attempt: int) -> bytes:
    return hashlib.sha256(f"{seed}#{attempt}".encode()).digest()


def _none_left() -> ApiError:
    return ApiError(
        "TooManyLoadBalancers", "You have reached the limit on the number of load balancers for your account."
    )
