# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Redis client: connect with TLS, log in, one command at a time."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

_LONGEST_LINE = 1 << 20


class RedisError(Exception):
    """One sentence: the thing, the reason, the way out."""


class ConnectionLostError(RedisError):
    """The server could not be reached, or the connection ended before its answer."""


class Answers(Protocol):
    """What the core needs of a connection. Raises RedisError."""

    def __call__(self, *words: str) -> Any:
        """Say one command; text, number, list or None comes back."""

    def close(self) -> None:
        """Give the connection back."""


def _connected(host: str, port: int, timeout: float) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout=timeout)
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(timeout)
        made.connect(host)
    except BaseException:
        made.close()
        raise
    return made


class Client:
    """One connection. Every command ends within `timeout` seconds."""

    def __init__(
        self,
        host: str,
        port: int,
        login: Login,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect and log in; a `host` that begins with a slash is a socket's path, and no user logs nobody in. Raises RedisError."""
        self._where = f"{host}:{port}"
        self._timeout = timeout
        self._clock = clock
        self._buffer = b""
        try:
            self._socket = _connected(host, port, timeout)
            try:
                if login.tls:
                    self._socket = login.encrypted(self._socket, host)
                if login.user:
                    self("AUTH", login.user, login.password)
            except BaseException:
                self._socket.close()
                raise
        except OSError as exc:
            raise self._broken(exc) from exc

    def close(self) -> None:
        """Give the connection back."""
        self._socket.close()

    def __call__(self, *words: str) -> Any:
        """Say one command; text, number, list or None comes back. Raises RedisError."""
        self._deadline = self._clock() + self._timeout
        try:
            self._wait()
            self._socket.sendall(self._packed([word.encode() for word in words]))
            return self._answer(words[0])
        except (OSError, ValueError) as exc:
            raise self._broken(exc) from exc

    def _packed(self, words: Sequence[bytes]) -> bytes:
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def _text(self, body: bytes) -> Any:
        return body.decode(errors="replace")

    def _broken(self, exc: Exception) -> ConnectionLostError:
        reason = "no answer in time" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
        return ConnectionLostError(
            f"{self._where}: {reason}; see whether it runs with TLS and the certificates that we have."
        )

    def _wait(self) -> None:
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _more(self) -> None:
        self._wait()
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_LINE:
                raise ValueError("this is no Redis server")
            self._more()
        line, dummy, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _body(self, length: int) -> bytes:
        pieces, have = [self._buffer], len(self._buffer)
        while have < length + 2:  # not piece by piece onto what is there: that copies a large value again and again
            self._buffer = b""
            self._more()
            pieces.append(self._buffer)
            have += len(self._buffer)
        whole = b"".join(pieces)
        self._buffer = whole[length + 2 :]
        return whole[:length]

    def _answer(self, command: str) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RedisError(
                f"{self._where} refused {command}: {rest.decode(errors='replace')}; see the user's rights."
            )
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            if length < 0:
                return None
            return self._text(self._body(length))
        if kind == b"*":
            return [self._answer(command) for dummy in range(int(rest))]
        raise ValueError("this is no Redis server")
