# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a Redis node and the Sentinel beside it, as it writes them for itself when it boots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told
from ansible_collections.boring.fleet.plugins.module_utils.redis import desired
from ansible_collections.boring.fleet.plugins.module_utils.redis.desired import Desired

ETC: Final = "/etc/redis"
TLS: Final = f"{ETC}/tls"
CONFIG: Final = f"{ETC}/managed.conf"
ACL: Final = f"{ETC}/users.acl"
SENTINEL_CONFIG: Final = f"{ETC}/sentinel-managed.conf"
SENTINEL_ACL: Final = f"{ETC}/sentinel-users.acl"
RESPONDER: Final = f"{ETC}/responder.json"
DATA: Final = "/var/lib/redis"
# These two belong to Redis and its Sentinel, which write down there what they decided.
OWN: Final = f"{DATA}/redis.conf"
SENTINEL_OWN: Final = f"{DATA}/sentinel.conf"
# The address of the master with which this node began, and that it has had all data since: beside the data, to be lost with it.
BEGAN: Final = f"{DATA}/began-with"
JOINED: Final = f"{DATA}/joined"
PORT, SENTINEL, RESPONDER_PORT = 6379, 26379, 6380
NAME: Final = "main"
MIN_REPLICAS: Final = 1
_DOWN_SECONDS, _FAILOVER_SECONDS = 3, 20
_BACKLOG: Final = 16 << 20  # what a replica may miss while the master changes, and need not copy everything for
_BY: Final = "Written by host_lifecycle when this host booted"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_UNITS: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY: Final = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40, "b": 1}


@dataclass(frozen=True)
class Passwords:
    """Of the users of the service itself; without a set, `replica` and `sentinel` are empty. `responder` is this host's own, made when it booted."""

    admin: str = field(repr=False)
    replica: str = field(repr=False)
    sentinel: str = field(repr=False)
    responder: str = field(repr=False)


def wanted(told: Told, address: str, verifiers: Mapping[str, str], passwords: Passwords) -> Desired:
    """What this node should be. `verifiers` are SHA-256 in hex by user. Raises HostError for what Redis would not take."""
    users: list[Mapping[str, object]] = [
        {"name": "responder", "password": passwords.responder, "rules": ["resetchannels", "+info", "+ping"]}
    ]
    for user in told.users:
        if not _HASH.fullmatch(verifiers[user.name]):
            raise HostError(f"the parameter {user.verifier} is no SHA-256 in hex: deploy the fleet again", never=True)
        users.append({"name": user.name, "password_sha256": verifiers[user.name], "rules": user.rights.get("rules")})
    found = Desired(
        purpose="store" if told.kept else "cache",
        bind=("0.0.0.0",),  # noqa: S104 - who comes near is the security group's to say
        tls=not told.plaintext,
        # only how many counts: they find each other by their Sentinels
        nodes=(address,) * told.nodes if told.nodes > 1 else (),
        announce=address,
        replica_password=passwords.replica,
        min_replicas=MIN_REPLICAS if told.kept else 0,
        sentinel=told.nodes > 1,
        sentinel_password=passwords.sentinel,
        sentinel_down_after_seconds=_DOWN_SECONDS,
        sentinel_failover_timeout_seconds=_FAILOVER_SECONDS,
        users=users,
        admin_password=passwords.admin,
        maxmemory=_bytes(str(told.limits.get("redis_maxmemory") or "256MB")),
        settings={"repl-backlog-size": str(_BACKLOG)} if told.nodes > 1 else {},
    )
    if refusals := desired.refusals(found):
        raise HostError(f"{' '.join(refusals)} Correct the fleet's file, or write the parameter anew.", never=True)
    return found


def files(found: Desired) -> dict[str, str]:
    """What the server reads, and the Sentinel of a set, by path. Clients come through the load balancer and ask no Sentinel; its responder does."""
    texts = {CONFIG: desired.config_text(found, _BY), ACL: _lines(desired.users(found))}
    if found.sentinel:
        texts[SENTINEL_CONFIG] = desired.sentinel_config_text(found, _BY)
        asking = [user for user in found.users if user["name"] == "responder"]
        texts[SENTINEL_ACL] = _lines(desired.sentinel_users(replace(found, users=asking)))
    return texts


def responder(told: Told, passwords: Passwords, own: str, address: str) -> str:
    """responder.json: how the small program that answers the load balancer comes in. `own` is the name of this node, `address` what the
    Sentinel beside it calls it."""
    return json.dumps(
        {
            "password": passwords.responder,
            "name": own,
            "ca": "" if told.plaintext else f"{TLS}/ca.pem",
            "sentinel": address if told.nodes > 1 else "",
            "replicas": MIN_REPLICAS if told.nodes > 1 and told.purpose == "store" else 0,
        }
    )


def _lines(lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _bytes(text: str) -> int:
    """As Redis counts: 1m is a million, 1mb is 1024 * 1024."""
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    unit = found[2] if found else "?"
    if not found or unit not in {**_UNITS, **_BINARY}:
        raise HostError(
            f"redis_maxmemory {text!r} is no size such as 256MB: correct the fleet's file and deploy it", never=True
        )
    return int(found[1]) * {**_UNITS, **_BINARY}[unit]
