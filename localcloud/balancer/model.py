# SPDX-License-Identifier: GPL-3.0-or-later
"""What HAProxy has to be told: listeners, rules and target groups as plain values, free of moto and of processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def backend_name(arn: str) -> str:
    """The name of a target group's backend: the group's name and the unique end of its ARN."""
    name, unique = arn.split(":targetgroup/", 1)[-1].rsplit("/", 1)
    return f"{name}.{unique}"


def encrypted(protocol: str | None) -> bool:
    """Whether listeners of this protocol have certificates."""
    return protocol in ("HTTPS", "TLS")


@dataclass(frozen=True)
class HealthCheck:
    """A target group's health check. Times in seconds."""

    protocol: str  # HTTP, HTTPS or TCP
    port: int | None  # None: the target's own port ("traffic-port")
    path: str
    codes: str  # AWS's matcher, such as "200-299,302"; unused with TCP
    interval: int
    timeout: int
    healthy: int  # consecutive successes that bring an unhealthy target back
    unhealthy: int  # consecutive failures that take a target out


@dataclass(frozen=True)
class TargetGroup:
    """A target group that at least one listener forwards to."""

    arn: str
    protocol: str  # HTTP, HTTPS, TCP or TLS: how targets are spoken to
    port: int
    check: HealthCheck
    algorithm: str = "round_robin"  # or least_outstanding_requests
    idle_timeout: int = 60  # the load balancer's, seconds
    source: str = ""  # the address that targets see: the load balancer's own; empty where it is one of loopback

    @property
    def backend(self) -> str:
        """The name of HAProxy's backend."""
        return backend_name(self.arn)


@dataclass(frozen=True)
class Condition:
    """One condition of a rule: true if any of its values matches."""

    kind: str  # path-pattern, host-header, http-header, http-request-method, query-string, source-ip
    values: tuple[str, ...] = ()
    header: str = ""  # the header's name, for http-header
    pairs: tuple[tuple[str, str], ...] = ()  # (key or "", value), for query-string


@dataclass(frozen=True)
class Forward:
    """Send to target groups, by weight."""

    weights: tuple[tuple[str, int], ...]  # (target group ARN, weight)


@dataclass(frozen=True)
class Redirect:
    """Answer with a redirect; the location still holds AWS's placeholders (#{host}, #{path}, ...)."""

    location: str
    status: int


@dataclass(frozen=True)
class FixedResponse:
    """Answer without a target."""

    status: int
    content_type: str
    body: str


Action = Forward | Redirect | FixedResponse


@dataclass(frozen=True)
class Rule:
    """Conditions (all must hold) and what follows. A listener's default rule has none."""

    action: Action
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Tls:
    """How a listener ends TLS."""

    certificates: tuple[str, ...]  # names of PEM files, the default one first
    versions: tuple[str, ...]  # of its security policy: TLSv1, TLSv1.1, TLSv1.2, TLSv1.3
    ciphers: tuple[str, ...]  # the preferred first
    alpn: str = ""  # protocols that it offers, such as "h2,http/1.1"


@dataclass(frozen=True)
class Listener:
    """One address and port."""

    arn: str
    address: str
    port: int
    protocol: str  # HTTP, HTTPS, TCP or TLS
    rules: tuple[Rule, ...]  # by priority, the default rule last
    idle_timeout: int = 60
    tls: Tls | None = None  # of HTTPS and TLS

    @property
    def frontend(self) -> str:
        """The name of HAProxy's frontend: load balancer, port, unique end of the ARN."""
        parts = self.arn.split("/")
        return f"{parts[-3]}.{self.port}.{parts[-1]}"


@dataclass(frozen=True)
class View:
    """Everything that decides HAProxy's configuration, less the targets themselves."""

    listeners: tuple[Listener, ...] = ()
    groups: tuple[TargetGroup, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # the PEM files, with private keys, by name


@dataclass(frozen=True)
class Server:
    """A target as HAProxy knows it."""

    backend: str
    name: str
    address: str
    port: int
    sick: bool = False  # an injected fault: its checks go to a port where nothing listens
