# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host was given when it was launched: /etc/fleet/host.json, in which nothing is secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PATH: Final = "/etc/fleet/host.json"


class HostError(Exception):
    """One sentence: the thing, the reason, the way out. `never` when another try cannot help."""

    def __init__(self, sentence: str, *, never: bool = False) -> None:
        super().__init__(sentence)
        self.never = never


@dataclass(frozen=True)
class User:
    """A user of a data service. `verifier` is the parameter with the hash of its password; `rights` are in the words of its kind."""

    name: str
    verifier: str
    rights: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Follows:
    """What the group of a service follows: a metric that the service serves at /metrics of a port of this host."""

    metric: str
    namespace: str  # in CloudWatch
    port: int
    tls: bool


@dataclass(frozen=True)
class Told:
    """The file. `kind` is nats, redis or service; `endpoint` is "" on AWS; what a kind does not have is empty or 0."""

    fleet: str
    service: str
    kind: str
    region: str
    group: str
    endpoint: str
    enter_hook: str
    leave_hook: str
    heartbeat: int  # seconds
    nodes: int
    purpose: str
    plaintext: bool
    domain: str  # of the nodes' names
    port: int
    health: str
    tls: bool
    target_group: str  # the name of that in which the host registers itself
    limits: Mapping[str, Any] = field(hash=False)
    parameters: Mapping[str, str] = field(hash=False)  # authority, certificate, key, and inner users by their name
    users: tuple[User, ...] = ()
    follows: Follows | None = None

    @property
    def kept(self) -> bool:
        """Whether what it holds must not be lost."""
        return self.kind == "nats" or self.purpose == "store"


def read(text: str) -> Told:
    """Raises HostError when the file is not what the model writes."""
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise TypeError("it is no mapping")
        hooks = raw.get("hooks") or {}
        return Told(
            fleet=str(raw["fleet"]),
            service=str(raw["service"]),
            kind=str(raw["kind"]),
            region=str(raw["region"]),
            group=str(raw["group"]),
            endpoint=str(raw.get("endpoint") or ""),
            enter_hook=str(hooks.get("enter") or ""),
            leave_hook=str(hooks.get("leave") or ""),
            heartbeat=int(hooks.get("heartbeat") or 120),
            nodes=int(raw.get("nodes") or 1),
            purpose=str(raw.get("purpose") or ""),
            plaintext=bool(raw.get("plaintext")),
            domain=str(raw.get("domain") or ""),
            port=int(raw.get("port") or 0),
            health=str(raw.get("health") or ""),
            tls=bool(raw.get("tls")),
            target_group=str(raw.get("target_group") or ""),
            limits=dict(raw.get("limits") or {}),
            parameters=dict(raw.get("parameters") or {}),
            users=tuple(
                User(str(one["name"]), str(one["verifier"]), dict(one.get("rights") or {}))
                for one in raw.get("users") or ()
            ),
            follows=_follows(raw.get("follows")),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        reason = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise HostError(f"{PATH} is not as deploy writes it ({reason}): deploy the fleet again", never=True) from exc


def _follows(raw: Mapping[str, Any] | None) -> Follows | None:
    if not raw:
        return None
    return Follows(str(raw["metric"]), str(raw["namespace"]), int(raw["port"]), bool(raw.get("tls")))
