# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a NATS node, as it writes it for itself when it boots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told

CONFIG: Final = "/etc/nats/nats.conf"
TLS: Final = "/etc/nats/tls"
STORE: Final = "/var/lib/nats"
PORT, ROUTES, MONITOR = 4222, 6222, 8222
SYSTEM: Final = "system"  # the user of the account SYS, and the parameter with its password
CLUSTER: Final = "cluster"
LAME_DUCK: Final = 30  # seconds, as the role's unit has it
_GRACE: Final = 5
_SIZE: Final = re.compile(r"[0-9]+\s*(|[KMGT]i?B?|B)", re.IGNORECASE)
_DEFAULTS: Final[Mapping[str, Any]] = {
    "nats_jetstream_max_memory": "256MB",
    "nats_jetstream_max_file": "4GB",
    "nats_max_payload": "1MB",
    "nats_max_connections": 4096,
    "nats_account_limits": {},
}


def quoted(text: str) -> str:
    """A text in double quotes, as NATS reads it. Raises HostError for characters that it cannot hold."""
    if not text.isprintable():
        raise HostError(f"{text[:40]!r} has control characters, which NATS's configuration cannot hold", never=True)
    return json.dumps(text, ensure_ascii=False)


def without_routes(text: str) -> list[str]:
    """What a running server must have as it is written: routes it learns from the others."""
    return [line for line in text.splitlines() if not line.startswith("  routes: ")]


def render(
    told: Told, own: str, verifiers: Mapping[str, str], *, system: str, cluster: str, route_names: Sequence[str]
) -> str:
    """`own` is the instance's id, `verifiers` are bcrypt hashes by user, `system` and `cluster` passwords; no routes for a single server."""
    limits = {**_DEFAULTS, **told.limits}
    lines = [
        "# Written by host_lifecycle when this host booted",
        f"server_name: {quoted(own)}",
        'host: "0.0.0.0"',
        f"port: {PORT}",
        f'http: "127.0.0.1:{MONITOR}"',
        "logtime: false",
        f"max_payload: {_size(limits, 'nats_max_payload')}",
        f"max_connections: {int(limits['nats_max_connections'])}",
        f'lame_duck_duration: "{LAME_DUCK}s"',
        f'lame_duck_grace_period: "{_GRACE}s"',
        *([] if told.plaintext else ["tls {", *_tls(verify=False), "}"]),
        "jetstream {",
        f"  store_dir: {quoted(STORE)}",
        f"  max_memory_store: {_size(limits, 'nats_jetstream_max_memory')}",
        f"  max_file_store: {_size(limits, 'nats_jetstream_max_file')}",
        "}",
    ]
    if route_names:
        scheme = "nats" if told.plaintext else "tls"
        urls = [f"{scheme}://{CLUSTER}:{quote(cluster, safe='')}@{name}:{ROUTES}" for name in route_names]
        lines += [
            "cluster {",
            f"  name: {quoted(f'{told.fleet}.{told.service}')}",
            '  host: "0.0.0.0"',
            f"  port: {ROUTES}",
            # Clients come through the load balancer: a node's own address is closed to them.
            "  no_advertise: true",
            f"  authorization {{ user: {quoted(CLUSTER)}, password: {quoted(cluster)}, timeout: 5 }}",
            f"  routes: {json.dumps(urls)}",
            *([] if told.plaintext else ["  tls {", *_tls(verify=True), "  }"]),
            "}",
        ]
    return "\n".join([*lines, *_accounts(told, limits["nats_account_limits"], verifiers, system)]) + "\n"


def _accounts(told: Told, limits: Mapping[str, Any], verifiers: Mapping[str, str], system: str) -> list[str]:
    users: dict[str, list[str]] = {"SYS": [f"{{ user: {quoted(SYSTEM)}, password: {quoted(system)} }}"], "APP": []}
    for user in told.users:
        hashed = verifiers[user.name]
        if not re.fullmatch(r"\$2[ab]\$\d\d\$[./A-Za-z0-9]{53}", hashed):
            raise HostError(f"the parameter {user.verifier} is no bcrypt hash: deploy the fleet again", never=True)
        rights = user.rights.get("permissions")
        more = f", permissions: {json.dumps(rights)}" if rights else ""
        entry = f"{{ user: {quoted(user.name)}, password: {quoted(hashed)}{more} }}"
        users.setdefault(str(user.rights.get("account") or "APP"), []).append(entry)
    lines = ["accounts {"]
    for account, entries in sorted(users.items()):
        lines.append(f"  {quoted(account)} {{")
        if account != "SYS":
            own = limits.get(account)
            values = ", ".join(f"{name}: {value}" for name, value in sorted(own.items())) if own else ""
            lines.append(f"    jetstream {{ {values} }}" if own else "    jetstream: enabled")
        lines += ["    users: [", *(f"      {entry}" for entry in entries), "    ]", "  }"]
    return [*lines, "}", "system_account: SYS"]


def _tls(*, verify: bool) -> list[str]:
    files = {"cert_file": "cert.pem", "key_file": "key.pem", "ca_file": "ca.pem"}
    lines = [f"    {key}: {quoted(f'{TLS}/{file}')}" for key, file in files.items()]
    return [*lines, f"    verify: {json.dumps(verify)}", "    timeout: 5"]


def _size(limits: Mapping[str, Any], name: str) -> str:
    value = str(limits[name]).strip()
    if not _SIZE.fullmatch(value):
        raise HostError(f"{name} {value!r} is no size such as 4GB: correct the fleet's file and deploy it", never=True)
    return value.replace(" ", "")
