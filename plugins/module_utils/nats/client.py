# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small NATS client: connect with TLS, ask one question at a time. What a module needs, and no more."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

_LONGEST_LINE = 1 << 20
_LONGEST_BODY = 64 << 20


class NatsError(Exception):
    """One sentence: the thing, the reason, the way out."""


class Asking(Protocol):
    """What the stream's core needs of a connection."""

    def ask(self, subject: str, payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, give its answer."""


class Client:
    """One connection to the first server of a list that lets us in. Every wait ends at a deadline."""

    def __init__(
        self,
        servers: list[tuple[str, int]],
        login: Login,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect. `timeout` (seconds) is for the connection, and for each answer. Raises NatsError."""
        self._timeout = timeout
        self._clock = clock
        self._buffer = b""
        self._asked = 0
        reasons = []
        for host, port in servers:
            self._deadline = clock() + timeout
            try:
                self._connect(host, port, login)
            except (OSError, ValueError) as exc:
                reason = "no answer in time" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
                reasons.append(f"{host}:{port}: {reason}")
            else:
                return
        raise NatsError(f"No NATS server let us in ({'; '.join(reasons)}); see whether it runs, and the credentials.")

    def close(self) -> None:
        """Give the connection back."""
        self._socket.close()

    def ask(self, subject: str, payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, give the answer's JSON. Raises NatsError."""
        inbox = f"_INBOX.{secrets.token_hex(12)}"
        text = b"" if payload is None else json.dumps(payload).encode()
        self._deadline = self._clock() + self._timeout
        # A number of its own: the server may answer before it has forgotten the last subscription, and ignores a second of that number.
        self._asked += 1
        number = self._asked
        request = f"SUB {inbox} {number}\r\nUNSUB {number} 1\r\nPUB {subject} {inbox} {len(text)}\r\n"
        try:
            self._say(request.encode() + text + b"\r\n")
            return self._answer()
        except (OSError, ValueError) as exc:
            reason = "no answer in time" if isinstance(exc, TimeoutError) else str(exc)
            raise NatsError(
                f"NATS did not answer {subject}: {reason}; see whether JetStream has its majority, and the user's permissions."
            ) from exc

    def ask_all(self, subject: str, payload: Mapping[str, Any], most: int, seconds: float) -> list[dict[str, Any]]:
        """Send a request to all servers; the answers that came within `seconds`, `most` at most. Others may come later, so close the connection after it.

        Raises NatsError.
        """
        inbox = f"_INBOX.{secrets.token_hex(12)}"
        text = json.dumps(payload).encode()
        self._deadline = self._clock() + seconds
        self._asked += 1
        request = f"SUB {inbox} {self._asked}\r\nPUB {subject} {inbox} {len(text)}\r\n"
        found: list[dict[str, Any]] = []
        try:
            self._say(request.encode() + text + b"\r\n")
            while len(found) < most:
                found.append(self._answer())
        except TimeoutError:  # those that do not answer are not there
            pass
        except (OSError, ValueError) as exc:
            raise NatsError(f"NATS did not answer {subject}: {exc}; see the user's permissions.") from exc
        return found

    def _connect(self, host: str, port: int, login: Login) -> None:
        plain = socket.create_connection((host, port), timeout=self._timeout)
        self._socket = plain
        self._buffer = b""
        try:
            # byte by byte: what follows the greeting belongs to TLS
            info = json.loads(self._line(1).removeprefix(b"INFO "))
            if login.tls:
                self._socket = login.encrypted(plain, host)
            elif info.get("tls_required"):
                raise ValueError("the server speaks TLS only")
            options = {
                "verbose": False, "pedantic": False, "protocol": 1, "headers": True, "no_responders": True,
                "lang": "boring.fleet", "version": "1", "user": login.user, "pass": login.password,
            }  # fmt: skip
            self._say(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
            self._until(b"PONG")
        except BaseException:
            self._socket.close()
            raise

    def _say(self, data: bytes) -> None:
        self._wait()
        self._socket.sendall(data)

    def _wait(self) -> None:
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _more(self, at_most: int = 65536) -> None:
        self._wait()
        data = self._socket.recv(at_most)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data

    def _line(self, step: int = 65536) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_LINE:
                raise ValueError("this is no NATS server")
            self._more(step)
        line, dummy, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _until(self, *starts: bytes) -> bytes:
        while True:
            line = self._line()
            if line.startswith(starts):
                return line
            if line.startswith(b"-ERR"):
                raise ValueError(line[5:].decode(errors="replace").strip("' "))
            if line == b"PING":
                self._say(b"PONG\r\n")

    def _answer(self) -> dict[str, Any]:
        words = self._until(b"MSG ", b"HMSG ").split()
        size = int(words[-1])
        if size > _LONGEST_BODY:
            raise ValueError("the answer is too long")
        while len(self._buffer) < size + 2:
            self._more()
        body, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
        if words[0] == b"HMSG":
            head = int(words[-2])
            if b" 503" in body[:head].partition(b"\r\n")[0]:
                raise ValueError("nobody listens there, so the account has no JetStream")
            body = body[head:]
        answer = json.loads(body)
        if not isinstance(answer, dict):
            raise ValueError("the answer is no object")
        return answer
