# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's own NATS protocol for tests, which say every word and see every answer."""

from __future__ import annotations

import json
import ssl
from types import TracebackType
from typing import Any

from authority import context

from ansible_collections.boring.fleet.plugins.module_utils.nats.wire import RefusedError, Wire

__all__ = ["Client", "RefusedError"]


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
        login = {} if user is None else {"user": user, "pass": password}
        chosen = tls or context()
        self._wire = Wire(
            (address, port),
            None if plain else lambda raw: chosen.wrap_socket(raw, server_hostname=address),
            lambda info: login,
            timeout,
        )
        self.info = self._wire.info
        self._asked = 8  # the last question's subscription; the one that `subscribe` makes is 1

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.close()

    def _say(self, text: str) -> None:
        self._wire.begin()
        self._wire.say(text.encode())

    def expect(self, *starts: bytes) -> bytes:
        """The next line that starts with one of `starts`; raises RefusedError on -ERR."""
        self._wire.begin()
        return self._wire.expect(*starts)

    def publish(self, subject: str, payload: str = "", *, wait: bool = True) -> None:
        """Publish, and wait until the server had it: a refusal comes before the answer to a PING."""
        self._say(f"PUB {subject} {len(payload)}\r\n{payload}\r\n")
        if wait:
            self._say("PING\r\n")
            self._wire.expect(b"PONG")

    def subscribe(self, subject: str) -> None:
        self._say(f"SUB {subject} 1\r\nPING\r\n")
        self._wire.expect(b"PONG")

    def message(self) -> str:
        """The payload of the next message, headers left out."""
        self._wire.begin()
        return self._wire.message()[1].decode()

    def request(self, subject: str, payload: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream's API."""
        # A number of its own: the server may answer before it has forgotten the last subscription.
        self._asked += 1
        self._say(f"SUB _INBOX.test {self._asked}\r\nUNSUB {self._asked} 1\r\n")
        text = json.dumps(payload) if payload is not None else ""
        self._say(f"PUB {subject} _INBOX.test {len(text)}\r\n{text}\r\n")
        head, body = self._wire.message()
        if head:
            raise RefusedError(head.decode())
        answer: dict[str, Any] = json.loads(body)
        return answer
