# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Redis and its Sentinel should be, and the files that say so. Pure: the filter redis_files calls it, and the hosts of a fleet for themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from ansible_collections.boring.fleet.plugins.module_utils.quoting.control import control_character
from ansible_collections.boring.fleet.plugins.module_utils.quoting.redis_conf import directive, line
from ansible_collections.boring.fleet.plugins.module_utils.redis.acl import (
    SHORTEST_PASSWORD,
    User,
    compiled,
    digest,
    is_faulty,
    marked,
)
from ansible_collections.boring.fleet.plugins.module_utils.variables.typed import typed

OWN_USERS = ("default", "admin", "replica", "sentinel", "exporter")
SECRET_SETTINGS = frozenset({"masterauth", "requirepass", "tls-client-key-file-pass", "tls-key-file-pass"})
_PURPOSES = {
    "cache": {"maxmemory-policy": "allkeys-lru", "appendonly": "no", "save": ""},
    "store": {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "3600 1 300 100 60 10000",
    },
}
_TLS_CLIENTS = {"none": "no", "optional": "optional", "required": "yes"}
# What each needs for its work and no more
_REPLICA_RULES = "+psync +replconf +ping"
_SENTINEL_RULES = (
    "resetchannels &__sentinel__:hello +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info"
    " +client|setname +client|kill +script|kill"
)
# no CONFIG GET, which tells the replicas' password, and no SLOWLOG GET, which tells data
_EXPORTER_RULES = "resetchannels +ping +info +client|setname +slowlog|len +latency|latest +latency|histogram"
_EVERYTHING = "~* &* +@all"
# at a Sentinel; a node that lost its data asks there who the master is
_AMONG_SENTINELS = (
    "resetchannels &__sentinel__:hello +ping +publish +client|setname +sentinel|is-master-down-by-addr"
    " +sentinel|get-master-addr-by-name"
)
_ASKING_SENTINELS = (
    "&* +ping +hello +command +role +client|id +client|getname +client|setname +subscribe +psubscribe"
    " +sentinel|get-master-addr-by-name +sentinel|master +sentinel|masters +sentinel|myid +sentinel|replicas"
    " +sentinel|sentinels"
)
_ROLE = "Managed by Ansible (boring.fleet.redis)"
_ADDRESS = re.compile(r"[0-9.]+|.*:.*")


@dataclass(frozen=True)
class Desired:
    """The role's variables, without ``redis_`` before them; `maxmemory` is in bytes, and `announce` is what the set knows it by."""

    engine: str = "redis"
    purpose: str = "cache"
    bind: Sequence[str] = ("127.0.0.1",)
    port: int = 6379
    tls: bool = False
    tls_dir: str = "/etc/redis/tls"
    tls_clients: str = "optional"
    nodes: Sequence[str] = ()
    announce: str = ""
    replica_password: str = field(default="", repr=False)
    min_replicas: int = 1
    sentinel: bool = False
    sentinel_name: str = "main"
    sentinel_port: int = 26379
    sentinel_password: str = field(default="", repr=False)
    sentinel_quorum: int = 2
    sentinel_down_after_seconds: int = 5
    sentinel_failover_timeout_seconds: int = 60
    exporter_password: str = field(default="", repr=False)
    users: Sequence[Mapping[str, object]] = field(default=(), repr=False)
    admin_password: str = field(default="", repr=False)
    maxmemory: int = 256 << 20
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def etc(self) -> str:
        """Directory of the configuration."""
        return f"/etc/{self.engine}"

    @property
    def data_dir(self) -> str:
        """Directory of the data, and of what Redis writes for itself."""
        return f"/var/lib/{self.engine}"


def desired(variables: Mapping[str, object]) -> Desired:
    """From variables by name, numbers and truths also as text. Raises ValueError for one that there is not."""
    return typed(Desired, variables)


def _tls_files(wanted: Desired) -> dict[str, str]:
    return {
        "tls-ca-cert-file": f"{wanted.tls_dir}/ca.pem",
        "tls-cert-file": f"{wanted.tls_dir}/cert.pem",
        "tls-key-file": f"{wanted.tls_dir}/key.pem",
    }


def _tls_settings(wanted: Desired) -> dict[str, str]:
    return {
        "tls-auth-clients": _TLS_CLIENTS[wanted.tls_clients],
        "tls-protocols": "TLSv1.2 TLSv1.3",
        "tls-replication": "yes",
    }


def _own_settings(wanted: Desired) -> dict[str, str]:
    return {
        "aclfile": f"{wanted.etc}/users.acl",
        "bind": " ".join(wanted.bind),
        "dir": wanted.data_dir,
        "disable-thp": "yes",
        "enable-debug-command": "no",
        "enable-module-command": "no",
        "enable-protected-configs": "no",
        "logfile": "",
        "maxmemory": str(wanted.maxmemory),
        "port": "0" if wanted.tls else str(wanted.port),
        "protected-mode": "yes",
        "tcp-keepalive": "300",
    }


def _replication_settings(wanted: Desired) -> dict[str, str]:
    """Who is master is Redis's and Sentinel's to say, so `replicaof` is never here."""
    return {
        "masterauth": wanted.replica_password,
        "masteruser": "replica",
        "min-replicas-max-lag": "10",
        "min-replicas-to-write": str(wanted.min_replicas),
        "replica-announce-ip": wanted.announce,
        "replica-announce-port": str(wanted.port),
        # A master that was killed takes writes again once its replicas have copied it: not to wait five seconds for more than there are.
        "repl-diskless-sync-max-replicas": str(len(wanted.nodes) - 1),
    }


def settings(wanted: Desired) -> dict[str, str]:
    """Every setting, its value in the form in which CONFIG GET gives it: that is how the role proves what the server runs with."""
    return {
        **_own_settings(wanted),
        **({**_tls_files(wanted), "tls-port": str(wanted.port), **_tls_settings(wanted)} if wanted.tls else {}),
        **(_replication_settings(wanted) if wanted.nodes else {}),
        **_PURPOSES[wanted.purpose],
        **{name: str(value) for name, value in wanted.settings.items()},
    }


# Has a variable or a file of its own, or opens a hole that the role promises is shut
REFUSED_SETTINGS = (
    (set(_own_settings(Desired())) - {"disable-thp", "tcp-keepalive"})
    | set(_replication_settings(Desired()))
    | set(_tls_settings(Desired()))
    | set(_tls_files(Desired()))
    | {
        "appenddirname",
        "appendfilename",
        "daemonize",
        "dbfilename",
        "include",
        "loadmodule",
        "pidfile",
        "rename-command",
        "replicaof",
        "requirepass",
        "slaveof",
        "supervised",
        "tls-port",
        "unixsocket",
        "unixsocketperm",
        "user",
    }
)


def refusals(wanted: Desired) -> list[str]:
    """Why this is not made, a sentence each, without a secret. Looks at every text before it gets into a file."""
    found = []
    faulty = [str(user["name"]) for user in wanted.users if is_faulty(user, OWN_USERS)]
    if faulty:
        found.append(
            f"Redis user {', '.join(faulty)}: the name must be plain and none of the role's own; give password_sha256 (64 hex digits)"
            f" or a password of {SHORTEST_PASSWORD} characters or more; rules must not switch the user or its passwords."
        )
    refused = sorted(set(wanted.settings) & REFUSED_SETTINGS)
    if refused:
        found.append(
            f"redis_settings may not set {', '.join(refused)}: the role has a variable for it, or promises that it stays as it is."
        )
    for name, text in _texts(wanted):
        character = control_character(text)
        if character:
            found.append(f"{name} holds {character}, which no configuration file can hold; choose another value.")
    # A Sentinel writes its own file anew without quoting what is in it, and would not start again.
    if any(each in wanted.sentinel_password for each in "\"' "):
        found.append(
            "redis_sentinel_password holds a blank or a quotation mark, with which a Sentinel spoils its own file; choose another one."
        )
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", wanted.sentinel_name):
        found.append("redis_sentinel_name must be plain: letters, digits and . _ -")
    return found


def _texts(wanted: Desired) -> list[tuple[str, str]]:
    """Every text that comes into a file or is hashed, by the variable that has it."""
    found = []
    for each in fields(wanted):
        given = getattr(wanted, each.name)
        if isinstance(given, str):
            found.append((f"redis_{each.name}", given))
        elif each.name in ("bind", "nodes"):
            found += [(f"redis_{each.name}", str(text)) for text in given]
    for user in wanted.users:
        for key in ("password", "old_password"):
            found.append((f"redis_users, the {key} of {user['name']!r},", str(user.get(key, ""))))
    for name, value in wanted.settings.items():
        found += [("redis_settings, a name of a setting,", str(name)), (f"redis_settings, {name!s:.40},", str(value))]
    return found


def users(wanted: Desired) -> tuple[str, ...]:
    """The lines of Redis's ACL file."""
    own = (
        ("admin", wanted.admin_password, _EVERYTHING),
        ("replica", wanted.replica_password, _REPLICA_RULES),
        ("sentinel", wanted.sentinel_password, _SENTINEL_RULES),
        ("exporter", wanted.exporter_password, _EXPORTER_RULES),
    )
    found = [User("default")]
    found += [User(name, tuple(rules.split()), (digest(password),)) for name, password, rules in own if password]
    return marked([*found, *map(compiled, wanted.users)])


def sentinel_users(wanted: Desired) -> tuple[str, ...]:
    """The lines of the Sentinel's ACL file."""
    own = (
        ("admin", wanted.admin_password, _EVERYTHING),
        ("sentinel", wanted.sentinel_password, _AMONG_SENTINELS),
    )
    found = [User("default")]
    found += [User(name, tuple(rules.split()), (digest(password),)) for name, password, rules in own if password]
    for user in map(compiled, wanted.users):
        found.append(User(user.name, tuple(_ASKING_SENTINELS.split()), user.hashes))
    return tuple(user.line() for user in found)


def sentinel_settings(wanted: Desired) -> dict[str, str]:
    """In the words of SENTINEL MASTER and SENTINEL SET."""
    return {
        "down-after-milliseconds": str(wanted.sentinel_down_after_seconds * 1000),
        "failover-timeout": str(wanted.sentinel_failover_timeout_seconds * 1000),
        "quorum": str(wanted.sentinel_quorum),
    }


def _text(by: str, heading: str, lines: Sequence[str]) -> str:
    return "\n".join([f"# {by}. {heading}", *lines, ""])


def config_text(wanted: Desired, by: str = _ROLE) -> str:
    """``managed.conf``; `by` is who writes it. Raises ValueError."""
    # lines of `save` add up; the first one starts afresh
    lines = [directive("save", "")]
    lines += [directive(name, value) for name, value in sorted(settings(wanted).items())]
    return _text(by, "The server reads it last, so nothing that Redis writes for itself goes over it.", lines)


def sentinel_config_text(wanted: Desired, by: str = _ROLE) -> str:
    """``sentinel-managed.conf``; `by` is who writes it. Raises ValueError."""
    # Names need four settings, or Sentinels tell clients addresses that no certificate is for (redis/redis#8282)
    names = "yes" if any(not _ADDRESS.fullmatch(node) for node in wanted.nodes) else "no"
    lines = [
        directive("aclfile", f"{wanted.etc}/sentinel-users.acl"),
        directive("bind", " ".join(wanted.bind)),
        directive("dir", wanted.data_dir),
        directive("logfile", ""),
        directive("protected-mode", "no"),
        *(directive(name, value) for name, value in _sentinel_ports(wanted).items()),
        line("sentinel", "announce-ip", wanted.announce),
        line("sentinel", "announce-port", str(wanted.sentinel_port)),
        line("sentinel", "resolve-hostnames", names),
        line("sentinel", "announce-hostnames", names),
        line("sentinel", "deny-scripts-reconfig", "yes"),
        line("sentinel", "sentinel-user", "sentinel"),
        line("sentinel", "sentinel-pass", wanted.sentinel_password),
    ]
    return _text(by, "Whom it watches is in the Sentinel's own file.", lines)


def _sentinel_ports(wanted: Desired) -> dict[str, str]:
    if not wanted.tls:
        return {"port": str(wanted.sentinel_port)}
    return {"port": "0", **_tls_files(wanted), **_tls_settings(wanted), "tls-port": str(wanted.sentinel_port)}


def sentinel_own_text(wanted: Desired, master: str) -> str:
    """``sentinel.conf`` as the Sentinel first finds it; from then on the file is its own. Raises ValueError."""
    name, of = wanted.sentinel_name, sentinel_settings(wanted)
    lines = [
        line("sentinel", "monitor", name, master, str(wanted.port), of.pop("quorum")),
        line("sentinel", "auth-user", name, "sentinel"),
        line("sentinel", "auth-pass", name, wanted.sentinel_password),
        line("sentinel", "parallel-syncs", name, "1"),
        *(line("sentinel", option, name, value) for option, value in of.items()),
    ]
    return "\n".join([*lines, ""])


def own_text(wanted: Desired, master: str) -> str:
    """``redis.conf`` as Redis first finds it; from then on the file is its own. Raises ValueError."""
    return "" if master == wanted.announce else line("replicaof", master, str(wanted.port)) + "\n"


def member_text(wanted: Desired) -> str:
    """``set.json``, which tells the unit before each start that this is a node of a set, and whom to ask about it."""
    tls = _tls_files(wanted) if wanted.tls else {}
    return json.dumps(
        {
            "announce": wanted.announce,
            "data_dir": wanted.data_dir,
            "engine": wanted.engine,
            "name": wanted.sentinel_name,
            "nodes": list(wanted.nodes),
            "password": wanted.sentinel_password if wanted.sentinel else "",
            "port": wanted.port,
            "sentinel": wanted.sentinel,
            "sentinel_port": wanted.sentinel_port,
            "tls": wanted.tls,
            "ca": tls.get("tls-ca-cert-file", ""),
            "cert": tls.get("tls-cert-file", ""),
            "key": tls.get("tls-key-file", ""),
        },
        indent=1,
    )
