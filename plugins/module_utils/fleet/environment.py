# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment that a service's process gets for what it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import names as aws
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import KINDS, Fleet, Service

AUTHORITY: Final = "/etc/fleet/authority.pem"


def word(name: str) -> str:
    """A name as the beginning of variables: `job-bus` is `JOB_BUS`."""
    return name.upper().replace("-", "_")


def names(fleet: Fleet, service: Service) -> dict[str, str]:
    """Every variable that comes from `uses`, with what it is for."""
    found: dict[str, str] = {}
    for used in service.uses:
        ends = ("URL", "HOST", "PORT", "USER", "PASSWORD", "CA_FILE") if used in fleet.data else ("URL", "CA_FILE")
        found |= {f"{word(used)}_{end}": used for end in ends}
    return found


def made(fleet: Fleet, service: Service, addresses: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, str]:
    """What is not secret of it. `addresses` are those of the load balancers by their part (data, internal), `ports` where each used
    service listens there."""
    found: dict[str, str] = {}
    for used in service.uses:
        start = word(used)
        if used in fleet.data:
            data = fleet.data[used]
            host, port = addresses["data"], ports[used]
            scheme = KINDS[data.kind].schemes[data.plaintext]
            found |= {
                f"{start}_URL": f"{scheme}://{host}:{port}",
                f"{start}_HOST": host,
                f"{start}_PORT": str(port),
                f"{start}_USER": service.name,
            }
            if not data.plaintext:
                found[f"{start}_CA_FILE"] = AUTHORITY
        else:
            found |= {f"{start}_URL": f"https://{addresses['internal']}:{ports[used]}", f"{start}_CA_FILE": AUTHORITY}
    return found


def secret(fleet: Fleet, service: Service) -> dict[str, str]:
    """The parameters of its secret variables: passwords for what it uses, and its own."""
    passwords = {
        f"{word(used)}_PASSWORD": password(fleet, used, service.name) for used in service.uses if used in fleet.data
    }
    return {**passwords, **service.secrets}


def password(fleet: Fleet, data: str, user: str) -> str:
    """The parameter with a user's password."""
    return aws.parameter(fleet.name, "data", data, "users", user, "password")


def file(variables: Mapping[str, str]) -> str:
    """Variables as systemd's EnvironmentFile, in double quotes, where a backslash stands before what would end or change them."""
    lines = []
    for name, value in sorted(variables.items()):
        quoted = "".join(f"\\{character}" if character in '"\\`$' else character for character in value)
        lines.append(f'{name}="{quoted}"\n')
    return "".join(lines)
