# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS has of a fleet, as it was seen: values by name, no judgement. `cloud/observe.py` fills them in, `found.py` says what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FLEET, SERVICE, KIND = "boring:fleet", "boring:service", "boring:kind"
# Written after the last step of making or changing something, so that a run that was killed in between is known by its want.
SETTINGS: Final = "boring:settings"
CERTIFICATE, DIGEST = "boring:certificate", "boring:digest"
DATA: Final = "data"


@dataclass(frozen=True, order=True)
class Rule:
    """A rule of a security group. `kind` of the peer: group (`peer` is an id), cidr, cidr6 or prefix. Ports are 0 for all."""

    protocol: str
    first: int
    last: int
    kind: str
    peer: str


@dataclass(frozen=True)
class SecurityGroup:
    id: str
    vpc: str
    tags: Mapping[str, str]
    ingress: frozenset[Rule] = frozenset()
    egress: frozenset[Rule] = frozenset()


@dataclass(frozen=True)
class Parameter:
    """`value` is "" of a secret one. `changed`: seconds since 1970."""

    type: str
    value: str
    changed: float


@dataclass(frozen=True)
class Imported:
    """A certificate in ACM that was imported for this fleet. `digest` is that of its PEM."""

    arn: str
    digest: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Role:
    """An IAM role and the instance profile of the same name. `policy` is the fleet's inline policy, None without one."""

    tags: Mapping[str, str]
    trust: Mapping[str, Any]
    policy: Mapping[str, Any] | None
    policies: tuple[str, ...]
    profile: bool


@dataclass(frozen=True)
class ListenerRule:
    """A rule for a host ("" for any) and a path. `action` is as in the lists of a fleet; one that they do not have is {"type": "other"}."""

    arn: str
    priority: int
    host: str
    path: str
    action: Mapping[str, Any]


@dataclass(frozen=True)
class Listener:
    """`certificates` are ARNs, that of the default first."""

    arn: str
    port: int
    protocol: str
    policy: str
    certificates: tuple[str, ...]
    default: Mapping[str, Any]
    rules: tuple[ListenerRule, ...] = ()


@dataclass(frozen=True)
class Balancer:
    arn: str
    address: str
    type: str
    scheme: str
    vpc: str
    security: tuple[str, ...]
    tags: Mapping[str, str]
    listeners: Mapping[int, Listener] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A target group. `health` as in the lists of a fleet."""

    arn: str
    vpc: str
    protocol: str
    port: int
    health: Mapping[str, Any]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Template:
    """A launch template. `data` is its latest version, None where it was not asked for."""

    id: str
    latest: int
    tags: Mapping[str, str]
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Hook:
    transition: str
    heartbeat: int
    default: str


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group. `targets` are ARNs; `instances` the template version of each host; `in_service` how many hosts are;
    `scale` the policy that the fleet makes, as AWS describes it."""

    min: int
    max: int
    desired: int
    targets: tuple[str, ...]
    health_check: str
    hooks: Mapping[str, Hook]
    tags: Mapping[str, str]
    template: str
    instances: tuple[str, ...]
    in_service: int
    rolling: bool
    deleting: bool
    scale: Mapping[str, Any] | None = None


@dataclass
class Seen:
    """All of it, by name. Who makes something puts it here, so that what comes after knows its id."""

    fleet: str
    account: str
    vpc: str
    networks: tuple[str, ...]  # address ranges of the VPC
    hosts: tuple[str, ...]  # subnets
    public: tuple[str, ...]
    images: dict[str, str]  # by family
    missing_secrets: tuple[str, ...] = ()
    foreign: tuple[tuple[str, str], ...] = ()  # kind and name of what belongs to somebody else
    security: dict[str, SecurityGroup] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    certificates: dict[str, Imported] = field(default_factory=dict)
    balancers: dict[str, Balancer] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    templates: dict[str, Template] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
