# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe over HTTP."""

from __future__ import annotations

import http.client
import re
import ssl
from dataclasses import dataclass


@dataclass(frozen=True)
class Statuses:
    """HTTP statuses as load balancers write them: ``200``, ``200-299``, ``200,204``."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Statuses:
        """Raises ValueError with a sentence."""
        ranges = []
        for part in str(text).split(","):
            match = re.fullmatch(r"\s*(\d{3})(?:\s*-\s*(\d{3}))?\s*", part)
            if match is None:
                raise ValueError(f"{text!r} is no HTTP status: write 200, 200-299 or 200,204")
            ranges.append((int(match[1]), int(match[2] or match[1])))
        return cls(tuple(ranges))

    def __contains__(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.ranges)

    def __str__(self) -> str:
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in self.ranges)


@dataclass(frozen=True)
class HttpRequest:
    """A request and the statuses that count as yes. Certificates are not verified: hosts are asked by address."""

    port: int
    path: str = "/"
    scheme: str = "http"
    method: str = "GET"
    statuses: Statuses = Statuses(((200, 200),))
    timeout: float = 5.0  # seconds for each step: connect, send, first answer

    def probe(self, address: str) -> str:
        """Send it to one address."""
        where = f"{self.scheme}://{address}:{self.port}{self.path}"
        connection: http.client.HTTPConnection
        if self.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(address, self.port, timeout=self.timeout, context=context)
        else:
            connection = http.client.HTTPConnection(address, self.port, timeout=self.timeout)
        try:
            connection.request(self.method, self.path, headers={"User-Agent": "boring.fleet", "Connection": "close"})
            status = connection.getresponse().status
        except TimeoutError:
            return f"{where} did not answer within {self.timeout:g} s"
        except (OSError, http.client.HTTPException) as exc:
            return f"{where} failed: {exc or type(exc).__name__}"
        finally:
            connection.close()
        return "" if status in self.statuses else f"{where} answered {status}, not {self.statuses}"
