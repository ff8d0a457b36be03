# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a Redis node and the Sentinel beside it, as it writes them for itself when it boots."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told

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
QUORUM: Final = 2
_DOWN_MS, _FAILOVER_MS = 3000, 20_000
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_UNITS: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY: Final = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40, "b": 1}


@dataclass(frozen=True)
class Passwords:
    """Of the users of the service itself. `responder` is this host's own, made when it booted."""

    admin: str = field(repr=False)
    replica: str = field(repr=False)
    sentinel: str = field(repr=False)
    responder: str = field(repr=False)


def quoted(text: str) -> str:
    """A value as redis.conf takes it. Raises HostError for characters that it cannot hold."""
    if not text.isprintable():
        raise HostError("a value for Redis has control characters, which its configuration cannot hold", never=True)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def check_sentinel_password(password: str) -> None:
    """A Sentinel writes it into its own file without quotes, and then does not start again. Raises HostError."""
    if not re.fullmatch(r"[!$-&(-[\]-~]+", password):
        raise HostError(
            "the password of the user sentinel has a space, a quote, a # or a backslash, which a Sentinel cannot keep: write the parameter anew",
            never=True,
        )


def server(told: Told, address: str, passwords: Passwords) -> str:
    """managed.conf, which is read last: nothing that Redis writes for itself goes over it."""
    keeps = told.purpose == "store"
    values = {
        "aclfile": ACL,
        "bind": "0.0.0.0",  # noqa: S104 - who comes near is the security group's to say
        "dir": DATA,
        "disable-thp": "yes",
        "enable-debug-command": "no",
        "enable-module-command": "no",
        "enable-protected-configs": "no",
        "logfile": "",
        "maxmemory": str(_bytes(str(told.limits.get("redis_maxmemory") or "256MB"))),
        "maxmemory-policy": "noeviction" if keeps else "allkeys-lru",
        "appendonly": "yes" if keeps else "no",
        "port": str(PORT) if told.plaintext else "0",
        "protected-mode": "yes",
        "tcp-keepalive": "300",
    }
    if keeps:
        values["appendfsync"] = "everysec"
    if told.nodes > 1:
        values |= {
            "masterauth": passwords.replica,
            "masteruser": "replica",
            "min-replicas-max-lag": "10",
            "min-replicas-to-write": str(MIN_REPLICAS if keeps else 0),
            "replica-announce-ip": address,
            "replica-announce-port": str(PORT),
            # What a replica may miss while the master changes, and need not copy everything for.
            "repl-backlog-size": str(16 << 20),
            "repl-diskless-sync-max-replicas": str(told.nodes - 1),
        }
    lines = [
        "# Written by host_lifecycle when this host booted",
        'save ""',
        *(["save 3600 1 300 100 60 10000"] if keeps else []),
    ]
    if not told.plaintext:
        values |= {**_TLS_FILES, "tls-port": str(PORT), "tls-replication": "yes", "tls-auth-clients": "optional"}
        lines.append('tls-protocols "TLSv1.2 TLSv1.3"')
    return "\n".join([*lines, *(f"{name} {quoted(value)}" for name, value in sorted(values.items()))]) + "\n"


_TLS_FILES: Final = {
    "tls-ca-cert-file": f"{TLS}/ca.pem",
    "tls-cert-file": f"{TLS}/cert.pem",
    "tls-key-file": f"{TLS}/key.pem",
}


def users(told: Told, verifiers: Mapping[str, str], passwords: Passwords) -> str:
    """users.acl: hashes only. `verifiers` are SHA-256 in hex by user."""
    lines = ["user default reset off", _user("admin", _hash(passwords.admin), "~* &* +@all")]
    lines.append(_user("responder", _hash(passwords.responder), "resetchannels +info +ping"))
    if told.nodes > 1:
        lines.append(_user("replica", _hash(passwords.replica), "+psync +replconf +ping"))
        lines.append(
            _user(
                "sentinel",
                _hash(passwords.sentinel),
                "resetchannels &__sentinel__:hello +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info"
                " +client|setname +client|kill +script|kill",
            )
        )
    for user in told.users:
        lines.append(
            _user(user.name, _verifier(verifiers, user.name, user.verifier), " ".join(user.rights.get("rules") or []))
        )
    return "\n".join(lines) + "\n"


def sentinel_users(passwords: Passwords) -> str:
    """Clients come through the load balancer and ask no Sentinel."""
    lines = [
        "user default reset off",
        _user("admin", _hash(passwords.admin), "~* &* +@all"),
        _user(
            "sentinel",
            _hash(passwords.sentinel),
            "resetchannels &__sentinel__:hello +ping +publish +client|setname +sentinel|is-master-down-by-addr",
        ),
    ]
    return "\n".join(lines) + "\n"


def sentinel(told: Told, address: str, passwords: Passwords) -> str:
    """sentinel-managed.conf."""
    lines = [
        "# Written by host_lifecycle when this host booted",
        f"aclfile {SENTINEL_ACL}",
        "bind 0.0.0.0",
        f"dir {DATA}",
        'logfile ""',
        "protected-mode no",
    ]
    if told.plaintext:
        lines.append(f"port {SENTINEL}")
    else:
        lines += ["port 0", f"tls-port {SENTINEL}", "tls-replication yes", "tls-auth-clients optional"]
        lines += [f"{name} {value}" for name, value in _TLS_FILES.items()]
    lines += [
        f"sentinel announce-ip {address}",
        f"sentinel announce-port {SENTINEL}",
        "sentinel deny-scripts-reconfig yes",
        "sentinel sentinel-user sentinel",
        f"sentinel sentinel-pass {quoted(passwords.sentinel)}",
    ]
    return "\n".join(lines) + "\n"


def sentinel_own(master: str, passwords: Passwords) -> str:
    """sentinel.conf as it begins. From then on it is the Sentinel's."""
    return (
        f"sentinel monitor {NAME} {master} {PORT} {QUORUM}\n"
        f"sentinel auth-user {NAME} sentinel\n"
        f"sentinel auth-pass {NAME} {quoted(passwords.sentinel)}\n"
        f"sentinel parallel-syncs {NAME} 1\n"
        f"sentinel down-after-milliseconds {NAME} {_DOWN_MS}\n"
        f"sentinel failover-timeout {NAME} {_FAILOVER_MS}\n"
    )


def responder(told: Told, passwords: Passwords, own: str) -> str:
    """responder.json: how the small program that answers the load balancer comes in. `own` is the name of this node."""
    return json.dumps(
        {
            "password": passwords.responder,
            "name": own,
            "ca": "" if told.plaintext else _TLS_FILES["tls-ca-cert-file"],
            "replicas": MIN_REPLICAS if told.nodes > 1 and told.purpose == "store" else 0,
        }
    )


def _user(name: str, hashed: str, rules: str) -> str:
    return f"user {name} reset on #{hashed} {rules}".rstrip()


def _hash(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _verifier(verifiers: Mapping[str, str], name: str, where: str) -> str:
    if not _HASH.fullmatch(verifiers[name]):
        raise HostError(f"the parameter {where} is no SHA-256 in hex: deploy the fleet again", never=True)
    return verifiers[name]


def _bytes(text: str) -> int:
    """As Redis counts: 1m is a million, 1mb is 1024 * 1024."""
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    unit = found[2] if found else "?"
    if not found or unit not in {**_UNITS, **_BINARY}:
        raise HostError(
            f"redis_maxmemory {text!r} is no size such as 256MB: correct the fleet's file and deploy it", never=True
        )
    return int(found[1]) * {**_UNITS, **_BINARY}[unit]
