# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis's data as one file of its own kind (RDB), as a replica is given it; and back into an empty Redis, key by key."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client, ConnectionLostError, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import fields

_MAGIC: Final = (b"REDIS", b"VALKEY")
_EOF: Final = b"EOF:"
_MARK: Final = 40  # bytes after a file whose length is not known before
_STANDSTILL: Final = 60.0  # the server writes an empty line every ten seconds while it prepares
_AT_ONCE: Final = 50  # keys
_BATCH: Final = 8 << 20  # bytes in one go
# Beside the keys that are compared, and nobody's name
_OTHER: Final = b"boring.fleet:" + secrets.token_hex(16).encode()


class Snapshots(Client):
    """A connection that takes and gives bytes. Everything raises RedisError."""

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO."""
        return fields(self("INFO", section).decode(errors="replace"))

    def save(self, write: Callable[[bytes], None], seconds: float) -> None:
        """Write the RDB, piece by piece, within `seconds`: all data of one moment. The server ends the connection after it."""
        self("REPLCONF", "capa", "eof", "rdb-only", "1")  # eof: it may send what it has in memory, without a file
        end = self._clock() + seconds
        try:
            self._go(end)
            self._socket.sendall(b"SYNC\r\n")
            line = b""
            while not line:  # empty lines keep the connection alive
                self._go(end)
                line = self._line_feed()
            if line.startswith(b"-"):
                raise RedisError(
                    f"{self._where} refused SYNC: {line[1:].decode(errors='replace')}; see the user's rights."
                )
            if not line.startswith(b"$"):
                raise ValueError("this is no Redis server")
            self._file(line[1:], write, end)
        except (OSError, ValueError) as exc:
            raise self._broken(exc) from exc

    def many(self, commands: Sequence[Sequence[bytes]], passing: str = "") -> list[Any]:
        """The answers to commands that are sent at once; None for an error that has this word in it."""
        try:
            self._deadline = self._clock() + _STANDSTILL
            self._wait()
            self._socket.sendall(b"".join(self._packed(words) for words in commands))
            found = []
            for words in commands:
                self._deadline = self._clock() + _STANDSTILL
                try:
                    found.append(self._answer(words[0].decode()))
                except ConnectionLostError:
                    raise
                except RedisError as exc:
                    if not passing or passing not in str(exc):
                        raise
                    found.append(None)
            return found
        except (OSError, ValueError) as exc:
            raise self._broken(exc) from exc

    def databases(self) -> dict[int, int]:
        """The databases that have keys, and how many."""
        # as in db0:keys=3,expires=0,avg_ttl=0
        return {
            int(name[2:]): int(said.split(",")[0].partition("=")[2]) for name, said in self.info("keyspace").items()
        }

    def scan(self) -> Iterator[list[bytes]]:
        """All keys of the chosen database, some at a time."""
        cursor = b"0"
        while True:
            cursor, found = self.many([(b"SCAN", cursor, b"COUNT", str(_AT_ONCE).encode())])[0]
            if found:
                yield found
            if cursor == b"0":
                return

    def choose(self, database: int) -> None:
        """The database that is meant from now on."""
        self("SELECT", str(database))

    def _text(self, body: bytes) -> Any:
        return body

    def _go(self, end: float) -> None:
        self._deadline = min(end, self._clock() + _STANDSTILL)

    def _line_feed(self) -> bytes:
        while b"\n" not in self._buffer:
            self._more()
        line, dummy, self._buffer = self._buffer.partition(b"\n")
        return line.strip()

    def _file(self, head: bytes, write: Callable[[bytes], None], end: float) -> None:
        mark = head[len(_EOF) :] if head.startswith(_EOF) else b""
        left = 0 if mark else int(head)
        if mark and len(mark) != _MARK:
            raise ValueError("this is no Redis server")
        while len(self._buffer) < 9:
            self._go(end)
            self._more()
        if not self._buffer.startswith(_MAGIC):
            raise ValueError("what it sends is no RDB")
        while True:
            if mark:
                if self._buffer.endswith(mark):
                    write(self._buffer[:-_MARK])
                    return
                ready, self._buffer = self._buffer[:-_MARK], self._buffer[-_MARK:]
            else:
                ready, self._buffer = self._buffer[:left], self._buffer[left:]
                left -= len(ready)
            if ready:
                write(ready)
            if not mark and not left:
                return
            self._go(end)
            self._more()


def copy(scratch: Snapshots, live: Snapshots, on_time: Callable[[], object]) -> int:
    """Give an empty Redis all that another one has; how many keys. `on_time` raises when it takes too long. Raises RedisError.

    A key that is there already is left alone: SCAN may name one twice, and whether it is the same is for the comparison to find.
    """
    functions = scratch("FUNCTION", "DUMP")
    if functions:
        live.many([(b"FUNCTION", b"RESTORE", functions)])
    for database in scratch.databases():
        scratch.choose(database)
        live.choose(database)
        for keys in scratch.scan():
            on_time()
            commands: list[tuple[bytes, ...]] = []
            for key, payload, ends in _payloads(scratch, keys):
                commands.append((b"RESTORE", key, ends, payload, b"ABSTTL"))
                if sum(len(command[3]) for command in commands) > _BATCH:
                    live.many(commands, "BUSYKEY")
                    commands = []
            if commands:
                live.many(commands, "BUSYKEY")
    return sum(scratch.databases().values())


def differences(
    scratch: Snapshots, live: Snapshots, now: Callable[[], float], on_time: Callable[[], object]
) -> list[str]:
    """What a Redis has otherwise than another, a clause each, ten at most; `now` in unix seconds. Raises RedisError, and what `on_time` does.

    Each value is put beside the original under another key, and Redis itself says (DEBUG DIGEST-VALUE) whether they are the same: two
    servers may keep the members of a set in another order. What has ended meanwhile by its own time is no difference.
    """
    found: list[str] = []
    if scratch("FUNCTION", "DUMP") != live("FUNCTION", "DUMP"):
        found.append("its functions are others")
    there, here = scratch.databases(), live.databases()
    for database in sorted({*there, *here}):
        scratch.choose(database)
        live.choose(database)
        for keys in scratch.scan():
            on_time()
            found += [
                f"key {_shown(key)} of database {database} {why}" for key, why in _differing(scratch, live, keys, now)
            ]
            if len(found) >= 10:
                return found[:10]
        kept = (
            {key for keys in scratch.scan() for key in keys}
            if here.get(database, 0) > there.get(database, 0)
            else set()
        )
        if kept:
            more = [key for keys in live.scan() for key in keys if key not in kept]
            found += [f"key {_shown(key)} of database {database} is in no backup" for key in more]
        elif database not in there:
            found.append(f"database {database} is in no backup")
    return found[:10]


def _payloads(client: Snapshots, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Key, value as Redis serializes it, and when it ends in unix milliseconds, 0 for never; without keys that ended meanwhile."""
    asked = [command for key in keys for command in ((b"DUMP", key), (b"PEXPIRETIME", key))]
    answers = client.many(asked)
    for key, payload, ends in zip(keys, answers[::2], answers[1::2], strict=True):
        if payload is not None and ends != -2:
            yield key, payload, str(max(0, ends)).encode()


def _differing(
    scratch: Snapshots, live: Snapshots, keys: Sequence[bytes], now: Callable[[], float]
) -> Iterator[tuple[bytes, str]]:
    theirs = {key: (payload, ends) for key, payload, ends in _payloads(live, keys)}
    for key, dummy, ends in _payloads(scratch, keys):
        if key == _OTHER:
            continue
        if key not in theirs:
            if ends == b"0" or int(ends) > now() * 1000:
                yield key, "is missing"
            continue
        payload, its_end = theirs[key]
        if its_end != ends:
            yield key, "ends at another time"
            continue
        digests = scratch.many(
            [
                (b"RESTORE", _OTHER, ends, payload, b"REPLACE", b"ABSTTL"),
                (b"DEBUG", b"DIGEST-VALUE", key, _OTHER),
                (b"DEL", _OTHER),
            ]
        )[1]
        if digests[0] != digests[1] and (ends == b"0" or int(ends) > now() * 1000):
            yield key, "has another value"


def _shown(key: bytes) -> str:
    return repr(key[:60].decode(errors="replace"))


def watch(connect: Callable[[], Snapshots], ended: Callable[[], bool], seconds: float) -> Snapshots:
    """A connection to a server that has just been started, once it has read its file. Raises RedisError."""
    end = time.monotonic() + seconds
    said = "it does not answer"
    while time.monotonic() < end and not ended():
        try:
            client = connect()
            if client.info("persistence").get("loading") == "0":
                return client
            client.close()
            said = "it has not read its file"
        except RedisError as exc:
            said = str(exc).partition(";")[0]
        time.sleep(0.2)
    reason = "it ended" if ended() else said
    raise RedisError(f"A Redis that should read the backup does not run: {reason}; see its log, memory and version.")
