# SPDX-License-Identifier: GPL-3.0-or-later
"""The NATS protocol by hand, so that a test sees every word that the server says."""

from __future__ import annotations

import json
import socket
import ssl
from types import TracebackType
from typing import Any

from authority import context


class RefusedError(Exception):
    """The server answered with -ERR, or closed the connection."""


class Client:
    """One connection, over TLS unless `plain`. Every wait ends after `timeout` seconds."""

    def __init__(
        self,
        address: str,
        user: str | None = None,
        password: str = "",
        *,
        port: int = 4222,
        timeout: float = 10,
        tls: ssl.SSLContext | None = None,
        plain: bool = False,
    ) -> None:
        self._socket = socket.create_connection((address, port), timeout=timeout)
        self.info: dict[str, Any] = json.loads(self._greeting().removeprefix(b"INFO "))
        if not plain:
            self._socket = (tls or context()).wrap_socket(self._socket, server_hostname=address)
        self._lines = self._socket.makefile("rb")
        self._asked = 8  # the last question's subscription; the one that `subscribe` makes is 1
        options: dict[str, Any] = {
            "verbose": False,
            "pedantic": False,
            "protocol": 1,
            "headers": True,
            "no_responders": True,
        }
        if user is not None:
            options |= {"user": user, "pass": password}
        self._say(f"CONNECT {json.dumps(options)}\r\nPING\r\n")
        self.expect(b"PONG")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _greeting(self) -> bytes:
        """The line before TLS, byte by byte: what follows it belongs to TLS."""
        line = b""
        while not line.endswith(b"\n"):
            byte = self._socket.recv(1)
            if not byte:
                raise RefusedError("closed")
            line += byte
        return line

    def _say(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def _line(self) -> bytes:
        line = self._lines.readline()
        if not line:
            raise RefusedError("closed")
        return line.rstrip(b"\r\n")

    def expect(self, *starts: bytes) -> bytes:
        """The next line that starts with one of `starts`; raises RefusedError on -ERR."""
        while True:
            line = self._line()
            if line.startswith(starts):
                return line
            if line.startswith(b"-ERR"):
                raise RefusedError(line.decode())
            if line == b"PING":
                self._say("PONG\r\n")

    def publish(self, subject: str, payload: str = "", *, wait: bool = True) -> None:
        """Publish, and wait until the server had it: a refusal comes before the answer to a PING."""
        self._say(f"PUB {subject} {len(payload)}\r\n{payload}\r\n")
        if wait:
            self._say("PING\r\n")
            self.expect(b"PONG")

    def subscribe(self, subject: str) -> None:
        self._say(f"SUB {subject} 1\r\nPING\r\n")
        self.expect(b"PONG")

    def message(self) -> str:
        """The payload of the next message, headers left out."""
        words = self.expect(b"MSG", b"HMSG").split()
        body = self._lines.read(int(words[-1]) + 2)[:-2]
        return body[int(words[-2]) if words[0] == b"HMSG" else 0 :].decode()

    def request(self, subject: str, payload: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream's API."""
        # A number of its own: the server may answer before it has forgotten the last subscription.
        self._asked += 1
        self._say(f"SUB _INBOX.test {self._asked}\r\nUNSUB {self._asked} 1\r\n")
        text = json.dumps(payload) if payload is not None else ""
        self._say(f"PUB {subject} _INBOX.test {len(text)}\r\n{text}\r\n")
        words = self.expect(b"MSG _INBOX.test", b"HMSG _INBOX.test").split()
        body = self._lines.read(int(words[-1]) + 2)[:-2]
        if words[0] == b"HMSG":
            raise RefusedError(body.decode())
        answer: dict[str, Any] = json.loads(body)
        return answer
