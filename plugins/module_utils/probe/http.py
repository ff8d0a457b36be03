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
    """A request and the statuses that count as yes.

    Certificates are not verified unless `validate_certs` says so: hosts are asked by address, certificates are for names, and
    what answers wrongly fails by its status. With it, the certificate must be for `server_name` (without one, for the address)
    and come from an authority in the file `ca`, or without one from those that the machine trusts.
    """

    port: int
    path: str = "/"
    scheme: str = "http"
    method: str = "GET"
    statuses: Statuses = Statuses(((200, 200),))
    timeout: float = 5.0  # seconds for each step: connect, send, first answer
    validate_certs: bool = False
    ca: str = ""
    server_name: str = ""

    def context(self) -> ssl.SSLContext:
        """How TLS is spoken. Raises OSError if `ca` cannot be read, also for what is no certificate (ssl.SSLError)."""
        context = ssl.create_default_context(cafile=self.ca or None)
        if not self.validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def probe(self, address: str) -> str:
        """Send it to one address."""
        where = f"{self.scheme}://{address}:{self.port}{self.path}"
        connection = http.client.HTTPConnection(address, self.port, timeout=self.timeout)
        try:
            if self.scheme == "https":
                connection = _Tls(address, self.port, self.timeout, self.context(), self.server_name or address)
            connection.request(self.method, self.path, headers={"User-Agent": "boring.fleet", "Connection": "close"})
            status = connection.getresponse().status
        except TimeoutError:
            return f"{where} did not answer within {self.timeout:g} s"
        except ssl.SSLCertVerificationError as exc:
            return f"{where} has a certificate that is not trusted: {exc.verify_message}"
        except (OSError, http.client.HTTPException) as exc:
            return f"{where} failed: {exc or type(exc).__name__}"
        finally:
            connection.close()
        return "" if status in self.statuses else f"{where} answered {status}, not {self.statuses}"


class _Tls(http.client.HTTPSConnection):
    """To an address, with the certificate of a name."""

    def __init__(self, address: str, port: int, timeout: float, context: ssl.SSLContext, name: str) -> None:
        super().__init__(address, port, timeout=timeout, context=context)
        self._tls, self._name = context, name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)
