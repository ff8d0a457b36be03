# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificate does a server present, and is it the one on disk?"""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from dataclasses import dataclass

_PEM_BEGIN, _PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
# A NATS server says one line before TLS; a longer one is no NATS server's.
_LONGEST_LINE = 65536


class ServedError(Exception):
    """One sentence: the server, the reason, the way out."""


@dataclass(frozen=True)
class Server:
    """Where to ask. `greets`: the server says a line in the clear before TLS begins, as NATS does."""

    host: str
    port: int
    greets: bool = False
    # Shown to a server that asks for one: PEM files of a certificate and its key
    cert: str = ""
    key: str = ""
    timeout: float = 5.0


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, in hexadecimal."""
    return hashlib.sha256(der).hexdigest()


def first_certificate(pem: str) -> bytes:
    """The first certificate of a PEM text, as DER: a server presents that one as its own. Raises ValueError."""
    begin = pem.index(_PEM_BEGIN)
    end = pem.index(_PEM_END, begin)
    return ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_PEM_END)] + "\n")


def _context(server: Server) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The question is what is presented, not whether to trust it: it is compared with the file.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if server.cert:
        context.load_cert_chain(server.cert, server.key or None)
    return context


def _greeting(plain: socket.socket, deadline: float) -> None:
    """Read the line before TLS byte by byte, for what follows belongs to TLS."""
    for dummy in range(_LONGEST_LINE):
        if time.monotonic() > deadline:
            raise TimeoutError
        byte = plain.recv(1)
        if byte == b"\n":
            return
        if not byte:
            raise ConnectionError("the connection was closed before TLS")
    raise ConnectionError("the line before TLS does not end")


def served(server: Server) -> str:
    """Fingerprint of the certificate that the server presents. Raises ServedError."""
    deadline = time.monotonic() + server.timeout
    try:
        context = _context(server)
    except (OSError, ssl.SSLError) as exc:
        raise ServedError(f"The client certificate {server.cert} cannot be used: {exc}; name another.") from exc
    try:
        with socket.create_connection((server.host, server.port), timeout=server.timeout) as plain:
            if server.greets:
                _greeting(plain, deadline)
            with context.wrap_socket(plain, server_hostname=server.host) as encrypted:
                der = encrypted.getpeercert(binary_form=True)
    except (OSError, ssl.SSLError) as exc:
        reason = "no answer in time" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
        raise ServedError(
            f"{server.host}:{server.port} presented no certificate: {reason}; see whether the service runs with TLS."
        ) from exc
    if not der:
        raise ServedError(
            f"{server.host}:{server.port} presented no certificate; see whether the service runs with TLS."
        )
    return fingerprint(der)
