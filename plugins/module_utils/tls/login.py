# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a client comes in at a service: a user with a password, and TLS around the connection."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The documentation fragment `login` describes them; `user` is documented by each module.
LOGIN_OPTIONS: dict[str, dict[str, Any]] = {
    "password": {"type": "str", "required": True, "no_log": True},
    "tls": {"type": "bool", "default": True},
    "ca": {"type": "path"},
    "cert": {"type": "path"},
    "key": {"type": "path", "no_log": False},
}


@dataclass(frozen=True)
class Login:
    """How to come in. `ca`, `cert`, `key`: PEM files; with `tls` off, plain text. `name`: what the certificate is for, if not the address.

    `any_name`: at a loopback address, a certificate that is for another name will do: nobody but this machine answers there.
    """

    user: str
    password: str = field(repr=False)
    tls: bool = True
    ca: str = ""
    cert: str = ""
    key: str = ""
    name: str = ""
    any_name: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any], any_name: bool = False) -> Login:
        """From a module's options."""
        return cls(
            options["user"],
            options["password"],
            options["tls"],
            options["ca"] or "",
            options["cert"] or "",
            options["key"] or "",
            any_name=any_name,
        )

    def encrypted(self, plain: socket.socket, host: str) -> socket.socket:
        """TLS over a connection to `host`, whose certificate must be for that name. Raises OSError, of which ssl.SSLError is one."""
        context = ssl.create_default_context(cafile=self.ca or None)
        context.check_hostname = not (self.any_name and _is_loopback(host))
        if self.cert:
            context.load_cert_chain(self.cert, self.key or None)
        return context.wrap_socket(plain, server_hostname=self.name or host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False
