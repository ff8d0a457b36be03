# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NATS's protocol over one connection: log in, publish, subscribe, read messages. Every wait ends at a deadline."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_LONGEST_LINE = 1 << 20
_LONGEST_BODY = 64 << 20

# Makes TLS of a plain connection
Encrypt = Callable[[socket.socket], socket.socket]


class RefusedError(ValueError):
    """What the server said with -ERR, or that it is no NATS server."""


class Message(NamedTuple):
    """A message as it came. `head` and `reply` are empty where there are none."""

    subject: str
    reply: str
    head: bytes
    body: bytes


class Wire:
    """One connection, logged in. `info` is what the server said first."""

    def __init__(
        self,
        address: tuple[str, int],
        encrypt: Encrypt | None,
        login: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`login` makes the options of CONNECT from `info`. Raises OSError and RefusedError."""
        self._timeout = timeout
        self._clock = clock
        self._buffer = b""
        self.begin()
        self._socket = socket.create_connection(address, timeout=timeout)
        try:
            # byte by byte: what follows the greeting belongs to TLS
            self.info: dict[str, Any] = json.loads(self._line(1).removeprefix(b"INFO "))
            if encrypt:
                self._socket = encrypt(self._socket)
            options = {
                "verbose": False, "pedantic": False, "protocol": 1, "headers": True, "no_responders": True,
                "lang": "boring.fleet", "version": "1", **login(self.info),
            }  # fmt: skip
            self.say(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
            self.expect(b"PONG")
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Give the connection back."""
        self._socket.close()

    def begin(self, seconds: float = 0) -> None:
        """From now on the time counts for what is said and read next: `seconds`, 0 for the usual time."""
        self._deadline = self._clock() + (seconds or self._timeout)

    def say(self, data: bytes) -> None:
        """Send. Raises OSError."""
        self._wait()
        self._socket.sendall(data)

    def expect(self, *starts: bytes) -> bytes:
        """The next line that starts with one of `starts`. Raises OSError, and RefusedError for -ERR."""
        while True:
            line = self._line()
            if line.startswith(starts):
                return line
            if line.startswith(b"-ERR"):
                raise RefusedError(line[5:].decode(errors="replace").strip("' "))
            if line == b"PING":
                self.say(b"PONG\r\n")

    def message(self) -> tuple[bytes, bytes]:
        """Headers, empty where there are none, and body of the next message. Raises OSError and RefusedError."""
        return self.whole_message()[2:]

    def whole_message(self) -> Message:
        """The next message. Raises OSError and RefusedError."""
        words = self.expect(b"MSG ", b"HMSG ").split()
        size = int(words[-1])
        if size > _LONGEST_BODY:
            raise RefusedError("the answer is too long")
        while len(self._buffer) < size + 2:
            self._more()
        body, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
        headers = words[0] == b"HMSG"
        head = int(words[-2]) if headers else 0
        reply = words[3].decode() if len(words) > 4 + headers else ""
        return Message(words[1].decode(), reply, body[:head], body[head:])

    def _wait(self) -> None:
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _more(self, at_most: int = 65536) -> None:
        self._wait()
        data = self._socket.recv(at_most)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self._buffer += data

    def _line(self, step: int = 65536) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_LINE:
                raise RefusedError("this is no NATS server")
            self._more(step)
        line, dummy, self._buffer = self._buffer.partition(b"\r\n")
        return line
