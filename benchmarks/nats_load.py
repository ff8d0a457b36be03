# SPDX-License-Identifier: GPL-3.0-or-later
"""How many messages a second a NATS server takes from one client: as what `nats bench` measures, in a process of its own.

The client says its messages in blocks that were made before, so that the server's speed is measured and not Python's.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from dataclasses import dataclass

BLOCK = 500  # messages said at once
PAYLOAD = b"x" * 128
WAIT = 30.0  # seconds for any answer


@dataclass(frozen=True)
class Server:
    """Where to connect, and the CA to trust; without one in plain text."""

    host: str
    port: int
    user: str
    password: str
    ca: str | None


class Connection:
    """One connection, logged in. Raises OSError, or RuntimeError with what the server said."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection((server.host, server.port), timeout=WAIT)
        self._beyond, self._rest = 0, b""
        self._asked = 8  # the last question's subscription; a load's is 1
        greeting = b""
        while not greeting.endswith(b"\n"):
            greeting += self._socket.recv(1)  # what follows the line belongs to TLS
        if server.ca is not None:
            self._socket = ssl.create_default_context(cafile=server.ca).wrap_socket(
                self._socket, server_hostname=server.host
            )
        options = {
            "verbose": False,
            "user": server.user,
            "pass": server.password,
            "headers": True,
            "no_responders": True,
        }
        self.say(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        self.await_count(b"PONG\r\n", 1)

    def say(self, text: bytes) -> None:
        self._socket.sendall(text)

    def await_count(self, word: bytes, count: int) -> None:
        """Read until `word` came `count` times more; what comes beyond that counts for the next call."""
        count -= self._beyond
        while count > 0:
            found = self._socket.recv(1 << 18)
            if not found:
                raise RuntimeError("the server closed the connection")
            text = self._rest + found
            if b"-ERR" in text:
                raise RuntimeError(text[text.index(b"-ERR") :][:100].decode(errors="replace"))
            count -= text.count(word)
            # a word that is cut in two is whole with the next part, and one that was counted is not counted again
            cut = text.rfind(word)
            self._rest = text[max(cut + len(word) if cut >= 0 else 0, len(text) - len(word) + 1) :]
        self._beyond = -count

    def ask(self, subject: str, payload: dict[str, object]) -> None:
        """Ask JetStream's API, and believe no error but that there is nothing to delete."""
        text = json.dumps(payload).encode()
        # A number of its own: the server may answer before it has forgotten the last subscription.
        self._asked += 1
        subscribe = b"SUB answer %d\r\nUNSUB %d 1\r\n" % (self._asked, self._asked)
        self.say(subscribe + b"PUB %s answer %d\r\n%s\r\n" % (subject.encode(), len(text), text))
        answer = b""
        while not re.search(rb"H?MSG answer \d+ [^\r]*\r\n.*\r\n", answer, re.DOTALL):
            answer += self._socket.recv(1 << 16)
        if b'"error"' in answer and b"stream not found" not in answer:
            raise RuntimeError(answer[:300].decode(errors="replace"))

    def close(self) -> None:
        self._socket.close()


def core(server: Server, seconds: float) -> float:
    """Messages a second that the server takes and gives back to the same client."""
    connection = Connection(server)
    connection.say(b"SUB load 1\r\n")
    block = b"PUB load %d\r\n%s\r\n" % (len(PAYLOAD), PAYLOAD) * BLOCK
    try:
        return _rate(connection, block, b"MSG load 1 ", seconds)
    finally:
        connection.close()


def jetstream(server: Server, seconds: float) -> float:
    """Messages a second that are acknowledged by a stream in a file."""
    connection = Connection(server)
    connection.ask("$JS.API.STREAM.DELETE.LOAD", {})
    connection.ask(
        "$JS.API.STREAM.CREATE.LOAD",
        {"name": "LOAD", "subjects": ["kept"], "storage": "file", "max_bytes": 256 << 20, "discard": "old"},
    )
    connection.say(b"SUB ack 1\r\n")
    block = b"PUB kept ack %d\r\n%s\r\n" % (len(PAYLOAD), PAYLOAD) * BLOCK
    try:
        return _rate(connection, block, b"MSG ack 1 ", seconds)
    finally:
        connection.ask("$JS.API.STREAM.DELETE.LOAD", {})
        connection.close()


def _rate(connection: Connection, block: bytes, word: bytes, seconds: float) -> float:
    """Say blocks, two in flight, until the time is over."""
    done = 0
    connection.say(block)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        connection.say(block)
        connection.await_count(word, BLOCK)
        done += BLOCK
    elapsed = time.monotonic() - began
    connection.await_count(word, BLOCK)
    return done / elapsed
