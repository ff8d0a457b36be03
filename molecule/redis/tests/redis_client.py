# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis's protocol by hand, so that a test sees every word that the server says."""

from __future__ import annotations

import socket
import ssl
from types import TracebackType

from authority import context


class RefusedError(Exception):
    """The server answered with an error, or closed the connection."""


class Client:
    """One connection, over TLS unless `plain`. Every wait ends after `timeout` seconds."""

    def __init__(
        self,
        address: str,
        user: str | None = None,
        password: str = "",
        *,
        port: int = 6379,
        timeout: float = 10,
        tls: ssl.SSLContext | None = None,
        plain: bool = False,
    ) -> None:
        self._socket = socket.create_connection((address, port), timeout=timeout)
        if not plain:
            self._socket = (tls or context()).wrap_socket(self._socket, server_hostname=address)
        self._lines = self._socket.makefile("rb")
        if user is not None:
            self("AUTH", user, password)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def __call__(self, *words: str) -> object:
        """Say one command; the answer as text, number, list or None. Raises RefusedError."""
        parts = [word.encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return self._answer()

    def _answer(self) -> object:
        line = self._lines.readline().rstrip(b"\r\n")
        if not line:
            raise RefusedError("closed")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RefusedError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._lines.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        return rest.decode()
