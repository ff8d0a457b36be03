# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe that a port accepts connections."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class TcpConnect:
    """A TCP connection, opened and closed."""

    port: int
    timeout: float = 5.0

    def probe(self, address: str) -> str:
        """Connect to one address."""
        try:
            socket.create_connection((address, self.port), timeout=self.timeout).close()
        except TimeoutError:
            return f"{address}:{self.port} did not accept a connection within {self.timeout:g} s"
        except OSError as exc:
            return f"{address}:{self.port} refused a connection: {exc.strerror or exc}"
        return ""
