# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a NATS server should be, and the file that says so. Pure: the filter nats_files calls it, and the hosts of a fleet for themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from urllib.parse import quote

from ansible_collections.boring.fleet.plugins.module_utils.nats.sizes import human_size, number
from ansible_collections.boring.fleet.plugins.module_utils.quoting.control import control_character
from ansible_collections.boring.fleet.plugins.module_utils.quoting.nats_conf import key, size, string, value
from ansible_collections.boring.fleet.plugins.module_utils.variables.typed import typed

SYSTEM_ACCOUNT = "SYS"
DEFAULT_ACCOUNT = "APP"
SYSTEM_USER, CLUSTER_USER = "system", "cluster"
LIMITS = ("max_consumers", "max_file", "max_mem", "max_streams")
# Clients are told at once, then closed one by one after this grace; it must be shorter than the lame duck itself.
_LAME_DUCK_GRACE_SECONDS = 5
_INTERVAL = re.compile(r"always|[1-9][0-9]{0,5}(ms|s|m|h)")
_BCRYPT = re.compile(r"\$2[ab]\$\d\d\$[./A-Za-z0-9]{53}")
_NKEY = re.compile(r"U[A-Z2-7]{55}")
_WITH_PORT = re.compile(r"([^:]+|\[.*\]):[0-9]+")


@dataclass(frozen=True)
class Desired:
    """The role's variables, without ``nats_`` before them. Each of `users` has `password_bcrypt` or `nkey`; a password may be beside it.

    Not of the role: `system_password` is that of the user `system` of the system account, "" for none. With a `cluster_password` servers show it to
    each other, not only certificates. `cluster_advertise` is whether clients learn the addresses of the other servers.
    """

    server_name: str = ""
    listen_host: str = "127.0.0.1"
    port: int = 4222
    tls: bool = False
    tls_dir: str = "/etc/nats/tls"
    tls_clients: str = "none"
    cluster_name: str = ""
    cluster_hosts: Sequence[str] = ()
    cluster_listen_host: str = ""
    cluster_port: int = 6222
    cluster_password: str = field(default="", repr=False)
    cluster_advertise: bool = True
    system_password: str = field(default="", repr=False)
    leafnodes_port: int = 0
    leafnode_remotes: Sequence[Mapping[str, str]] = field(default=(), repr=False)
    monitor_host: str = "127.0.0.1"
    monitor_port: int = 8222
    users: Sequence[Mapping[str, object]] = field(default=(), repr=False)
    account_limits: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    max_payload: str = "1MB"
    max_connections: int = 4096
    store_dir: str = "/var/lib/nats"
    jetstream_max_memory: str = "256MB"
    jetstream_max_file: str = "4GB"
    sync_interval: str = ""
    lame_duck_seconds: int = 30


def desired(variables: Mapping[str, object]) -> Desired:
    """From variables by name, numbers and truths also as text. Raises ValueError for one that there is not."""
    return typed(Desired, variables)


def refusals(wanted: Desired) -> list[str]:
    """Why this is not made, a sentence each, without a secret. Looks at every text before it gets into a file."""
    found = []
    without = [str(user["user"]) for user in wanted.users if not is_hashed(user)]
    if without:
        found.append(
            f"NATS user {', '.join(without)}: give password_bcrypt, starting with $2a$ or $2b$ ('nats server passwd' makes one), or"
            f" password together with salt, or nkey, a public key that starts with U."
        )
    for name, text in _texts(wanted):
        character = control_character(text)
        if character:
            found.append(f"{name} holds {character}, which no configuration file can hold; choose another value.")
    found += _refused_sizes(wanted)
    if wanted.sync_interval and not _INTERVAL.fullmatch(wanted.sync_interval):
        found.append(
            "nats_sync_interval is neither always nor a time such as 10s: correct it, or leave it empty for 2m."
        )
    for account in accounts(wanted):
        if '"' in account or "\\" in account:
            found.append(f"NATS account {account}: nats.conf has no way to write such a name; choose another one.")
    return found or _refused_limits(wanted)


def is_hashed(user: Mapping[str, object]) -> bool:
    """Whether a user has what may be in a file: a bcrypt hash, or the public half of a key."""
    if user.get("nkey") is not None:
        return _NKEY.fullmatch(str(user["nkey"])) is not None
    return _BCRYPT.fullmatch(str(user.get("password_bcrypt", ""))) is not None


def _texts(wanted: Desired) -> Iterator[tuple[str, str]]:
    """Every text that comes into the file or is hashed, by the variable that has it."""
    for each in fields(wanted):
        given = getattr(wanted, each.name)
        if isinstance(given, str):
            yield f"nats_{each.name}", given
        elif isinstance(given, Sequence):
            yield from ((f"nats_{each.name}", text) for text in _inside(given))
    yield from (("nats_account_limits", text) for text in _inside(wanted.account_limits))


def _inside(given: object) -> Iterator[str]:
    if isinstance(given, Mapping):
        for name, part in given.items():
            yield str(name)
            yield from _inside(part)
    elif isinstance(given, Sequence) and not isinstance(given, str):
        for part in given:
            yield from _inside(part)
    else:
        yield str(given)


def _refused_sizes(wanted: Desired) -> Iterator[str]:
    given = [
        ("nats_max_payload", wanted.max_payload),
        ("nats_jetstream_max_memory", wanted.jetstream_max_memory),
        ("nats_jetstream_max_file", wanted.jetstream_max_file),
    ]
    for account, limits in wanted.account_limits.items():
        for name, limit in limits.items():
            if name in LIMITS:
                given.append((f"{name} of nats_account_limits {account}", str(limit)))
            else:
                yield f"nats_account_limits {account} has {name}, which is none of {', '.join(LIMITS)}."
    for name, text in given:
        try:
            size(text)
        except ValueError as exc:
            yield f"{name}: {exc}."


def _refused_limits(wanted: Desired) -> list[str]:
    """What accounts may use must be there: on one server, or on all of a cluster together, for a limit counts every replica."""
    found = []
    servers = max(1, len(wanted.cluster_hosts)) if wanted.cluster_name else 1
    for limit, variable, each in (
        ("max_file", "nats_jetstream_max_file", wanted.jetstream_max_file),
        ("max_mem", "nats_jetstream_max_memory", wanted.jetstream_max_memory),
    ):
        parts = {
            account: str(limits[limit])
            for account, limits in sorted(wanted.account_limits.items())
            if limit in limits and number(str(limits[limit])) > 0
        }
        most = servers * number(each)
        if sum(map(number, parts.values())) > most:
            found.append(
                f"nats_account_limits lets accounts use {' + '.join(f'{text} ({account})' for account, text in parts.items())} of {limit},"
                f" which is {human_size(sum(map(number, parts.values())))}, and there is {servers} x {each} ({variable}) = {human_size(most)}. A limit"
                f" counts every replica of every stream; lower the limits, or raise {variable}."
            )
    return found


def accounts(wanted: Desired) -> list[str]:
    """All accounts, the system's too."""
    return sorted({SYSTEM_ACCOUNT, *(str(user.get("account") or DEFAULT_ACCOUNT) for user in wanted.users)})


def routes(wanted: Desired) -> list[str]:
    """URLs of the cluster's servers."""
    login = f"{CLUSTER_USER}:{quote(wanted.cluster_password, safe='')}@" if wanted.cluster_password else ""
    return [
        f"{'tls' if wanted.tls else 'nats'}://{login}{host if _WITH_PORT.fullmatch(host) else f'{_bracketed(host)}:{wanted.cluster_port}'}"
        for host in wanted.cluster_hosts
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def config_text(wanted: Desired, by: str = "Managed by Ansible (boring.fleet.nats)") -> str:
    """``nats.conf``; `by` is its first line. Raises ValueError."""
    lines = [f"# {by}"]
    if wanted.server_name:
        lines.append(f"server_name: {string(wanted.server_name)}")
    lines += [
        f"host: {string(wanted.listen_host)}",
        f"port: {wanted.port}",
        f"http: {string(f'{_bracketed(wanted.monitor_host)}:{wanted.monitor_port}')}",
    ]
    if wanted.tls:
        # 1.2 and newer by itself, and 2.9 has no word for it
        lines += ["", *_tls(wanted, verify=wanted.tls_clients == "required")]
    if wanted.cluster_name:
        lines += [
            "",
            "cluster {",
            f"  name: {string(wanted.cluster_name)}",
            f"  host: {string(wanted.cluster_listen_host or wanted.listen_host)}",
            f"  port: {wanted.cluster_port}",
            *_indented(_among_servers(wanted)),
            "}",
        ]
    if wanted.leafnodes_port or wanted.leafnode_remotes:
        lines += ["", "leafnodes {", *_indented(_leafnodes(wanted)), "}"]
    lines += [
        "",
        "# the journal has the time",
        "logtime: false",
        "",
        f"max_payload: {size(wanted.max_payload)}",
        f"max_connections: {wanted.max_connections}",
        "",
        f'lame_duck_duration: "{wanted.lame_duck_seconds}s"',
        f'lame_duck_grace_period: "{_LAME_DUCK_GRACE_SECONDS}s"',
        "",
        "jetstream {",
        f"  store_dir: {string(wanted.store_dir)}",
        f"  max_memory_store: {size(wanted.jetstream_max_memory)}",
        f"  max_file_store: {size(wanted.jetstream_max_file)}",
        *([f"  sync_interval: {string(wanted.sync_interval)}"] if wanted.sync_interval else []),
        "}",
        "",
        "accounts {",
        *(text for account in accounts(wanted) for text in _indented(_account(wanted, account))),
        "}",
        f"system_account: {SYSTEM_ACCOUNT}",
        "",
    ]
    return "\n".join(lines)


def _among_servers(wanted: Desired) -> list[str]:
    lines = [f"routes: {value(routes(wanted))}"]
    if wanted.cluster_password:
        login = f"user: {string(CLUSTER_USER)}, password: {string(wanted.cluster_password)}, timeout: 5"
        lines.append(f"authorization {{ {login} }}")
    if not wanted.cluster_advertise:
        lines.append("no_advertise: true")
    return [*lines, *(_tls(wanted, verify=True) if wanted.tls else [])]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {text}" for text in lines]


def _tls(wanted: Desired, *, verify: bool) -> list[str]:
    """Of another server always verified: its certificate is what lets it in. Five seconds, for many clients may come back at once."""
    return ["tls {", *_indented(_tls_files(wanted)), f"  verify: {value(verify)}", "  timeout: 5", "}"]


def _tls_files(wanted: Desired) -> list[str]:
    return [
        f"cert_file: {string(f'{wanted.tls_dir}/cert.pem')}",
        f"key_file: {string(f'{wanted.tls_dir}/key.pem')}",
        f"ca_file: {string(f'{wanted.tls_dir}/ca.pem')}",
    ]


def _leafnodes(wanted: Desired) -> list[str]:
    lines = []
    if wanted.leafnodes_port:
        lines += [f"host: {string(wanted.listen_host)}", f"port: {wanted.leafnodes_port}", *_tls(wanted, verify=True)]
    if wanted.leafnode_remotes:
        lines.append("remotes: [")
        for remote in wanted.leafnode_remotes:
            login = f"{quote(remote['user'], safe='')}:{quote(remote['password'], safe='')}"
            lines += [
                "  {",
                f"    url: {string(f'tls://{login}@' + remote['url'].removeprefix('tls://'))}",
                f"    account: {string(remote.get('account') or DEFAULT_ACCOUNT)}",
                f"    tls {{ {', '.join(_tls_files(wanted))} }}",
                "  }",
            ]
        lines.append("]")
    return lines


def _account(wanted: Desired, account: str) -> list[str]:
    lines = [f"{key(account)} {{"]
    limits = wanted.account_limits.get(account)
    if account != SYSTEM_ACCOUNT and limits:
        lines += ["  jetstream {", *(f"    {name}: {size(limit)}" for name, limit in sorted(limits.items())), "  }"]
    elif account != SYSTEM_ACCOUNT:
        lines.append("  jetstream: enabled")
    lines.append("  users: [")
    if account == SYSTEM_ACCOUNT and wanted.system_password:
        lines.append(f"    {{ user: {string(SYSTEM_USER)}, password: {string(wanted.system_password)} }}")
    for user in wanted.users:
        if (user.get("account") or DEFAULT_ACCOUNT) == account:
            lines += ["    {", *(f"      {text}" for text in _user(user)), "    }"]
    return [*lines, "  ]", "}"]


def _user(user: Mapping[str, object]) -> list[str]:
    if user.get("nkey") is not None:
        lines = [f"nkey: {string(str(user['nkey']))}"]
    else:
        lines = [f"user: {string(str(user['user']))}", f"password: {string(str(user['password_bcrypt']))}"]
    if user.get("permissions") is not None:
        lines.append(f"permissions: {value(user['permissions'])}")
    return lines
