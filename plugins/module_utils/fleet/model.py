# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that was read: every default applied, every name known to exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet.values import CPU, REQUESTS, Egress


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of data service: its port, what its nodes open for each other, who may serve."""

    port: int
    peers: tuple[int, ...]
    role: str
    schemes: tuple[str, str]  # of its URL: with TLS, in plain text
    master: tuple[int, str]  # where one of several nodes answers 200 if it is the one that takes writes; 0 if all do


# The ports of the roles' defaults.
KINDS: Final[Mapping[str, Kind]] = {
    "nats": Kind(4222, (6222,), "boring.fleet.nats", ("tls", "nats"), (0, "")),
    "redis": Kind(6379, (6379, 26379), "boring.fleet.redis", ("rediss", "redis"), (6380, "/master")),
}


@dataclass(frozen=True)
class Network:
    """Where the fleet is. Empty: the account's default VPC, one subnet a zone, the hosts' subnets, the VPC's own range."""

    vpc_id: str
    subnet_ids: tuple[str, ...]
    public_subnet_ids: tuple[str, ...]
    clients: tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """A class of hosts. `lock`: "" for none. Of its GPUs, None for what is left as it is: `mig` as profiles on each, () for MIG off;
    `power_limit` in watts; `clocks` in MHz. `gpus`: how many a host has, 0 for as many as it has."""

    name: str
    profile: str
    lock: str
    instance_type: str
    may_lack_gpu: bool
    gpus: int = 0
    mig: tuple[str, ...] | None = None
    power_limit: int | None = None
    clocks: tuple[int, int] | None = None

    @property
    def gpu(self) -> bool:
        return is_gpu(self.profile)


def is_gpu(profile: str) -> bool:
    """Whether images of the profile have a driver: the profiles gpu, gpu-tesla, ..."""
    return profile == "gpu" or profile.startswith("gpu-")


@dataclass(frozen=True)
class Data:
    """A service with state. `disk` in GiB, 0 for none; `limits` are variables of its role."""

    name: str
    kind: str
    machine: str
    nodes: int
    purpose: str
    disk: int
    limits: Mapping[str, Any] = field(hash=False)
    may_lose_data: bool
    plaintext: bool

    @property
    def kept(self) -> bool:
        """Whether what it holds must not be lost."""
        return self.kind == "nats" or self.purpose == "store"


@dataclass(frozen=True)
class Size:
    """How many hosts."""

    min: int
    max: int
    desired: int


@dataclass(frozen=True)
class Scale:
    """What its group follows. `metric` is cpu, requests or one of the service's own, which is at `port` of the host then, else 0."""

    metric: str
    target: float
    warmup: int
    port: int

    @property
    def own(self) -> bool:
        """Whether its hosts put the metric themselves."""
        return self.metric not in (CPU, REQUESTS)


@dataclass(frozen=True)
class Container:
    """`command` is empty and `user` is "" for the image's own; `port` is 0 without one."""

    image: str
    command: tuple[str, ...]
    user: str
    port: int


@dataclass(frozen=True)
class Certificate:
    """Either an ARN or two files."""

    arn: str = ""
    certificate_file: str = ""
    key_file: str = ""


@dataclass(frozen=True)
class Expose:
    """`hosts` is empty for any host. `port` is the load balancer's."""

    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    certificate: Certificate | None
    port: int


@dataclass(frozen=True)
class Service:
    """A service without state. Exactly one of `roles` and `container`; `port` is 0 for one that serves nobody; `egress` is None
    for everything."""

    name: str
    machine: str
    roles: tuple[str, ...]
    container: Container | None
    role_variables: Mapping[str, Any] = field(hash=False)
    role_files: Mapping[str, str] = field(hash=False)
    inputs: tuple[str, ...]
    version: str
    size: Size
    scale: Scale | None
    port: int
    health: str
    tls: bool
    expose: Expose | None
    uses: tuple[str, ...]
    environment: Mapping[str, str] = field(hash=False)
    secrets: Mapping[str, str] = field(hash=False)
    files: tuple[Mapping[str, Any], ...] = field(hash=False)
    isolated: bool
    egress: tuple[Egress, ...] | None
    roll: Mapping[str, Any] = field(hash=False)

    @property
    def listens(self) -> int:
        """Where its process listens on the host: only what comes from outside is sent on to a container's other port. 0 without one."""
        return self.container.port if self.container else self.port


@dataclass(frozen=True)
class Fleet:
    """A whole file. `order` has data services first, then services, each after all that it uses."""

    name: str
    region: str
    network: Network
    machines: Mapping[str, Machine] = field(hash=False)
    data: Mapping[str, Data] = field(hash=False)
    services: Mapping[str, Service] = field(hash=False)
    order: tuple[str, ...] = ()

    @cached_property
    def _users(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for service in self.services.values():
            for used in service.uses:
                found.setdefault(used, []).append(service.name)
        return {used: tuple(names) for used, names in found.items()}

    def users_of(self, name: str) -> tuple[str, ...]:
        """The services that use a service or a data service."""
        return self._users.get(name, ())
