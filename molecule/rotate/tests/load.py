# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of Redis or NATS under load until they are told to stop: `load.py redis|nats DIRECTORY ADDRESS...`.

One client for each address writes on a connection that it keeps, and logs in anew for every tenth write. Each takes another secret when
DIRECTORY/secret changes: new connection first, then the end of the old one. DIRECTORY/used has the digest of the secret that all use.
A write is never tried again, so each one that fails counts, and a login only where the server closed in the middle of it. Prints
a line "running", and at the end one JSON object:
{"writes", "logins", "errors": [first texts], "cut_off", "resets", "secrets", "longest_pause_ms"}.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import nats
import redis.asyncio

PAUSE = 0.005  # seconds between two writes of a client
FRESH = 10  # a login for so many writes


class RedisClient:
    @classmethod
    async def connect(cls, address: str, secret: str, told: dict[str, Any]) -> RedisClient:
        made = cls()
        made.connection = redis.asyncio.Redis(
            host=address, username="app", password=secret, socket_timeout=5, socket_connect_timeout=5,
            single_connection_client=True, retry=None,
        )  # fmt: skip
        await made.connection.ping()
        # It would connect again by itself, which is to be seen.
        made.number = await made.connection.client_id()
        made.told = told
        return made

    async def write(self, number: int) -> None:
        await self.connection.set("app:x", number)
        if number % FRESH == 0 and await self.connection.client_id() != self.number:
            self.told["cut_off"] += 1
            self.number = await self.connection.client_id()

    async def close(self) -> None:
        await self.connection.aclose()


class NatsClient:
    @classmethod
    async def connect(cls, address: str, secret: str, told: dict[str, Any]) -> NatsClient:
        async def cut_off() -> None:
            if not made.closing:
                told["cut_off"] += 1

        async def quiet(_: Exception) -> None:
            """What it costs is counted where it writes."""

        made = cls()
        made.closing = False
        user, _, password = secret.partition(":")
        made.connection = await nats.connect(
            f"nats://{address}:4222", user=user, password=password, connect_timeout=5, allow_reconnect=False,
            disconnected_cb=cut_off, error_cb=quiet,
        )  # fmt: skip
        return made

    async def write(self, number: int) -> None:
        await self.connection.jetstream(timeout=5).publish("load.x", str(number).encode())

    async def close(self) -> None:
        self.closing = True
        await self.connection.close()


async def client(kind: Any, address: str, folder: Path, told: dict[str, Any], stop: asyncio.Event) -> None:
    file = folder / "secret"
    seen, secret = file.stat().st_mtime_ns, file.read_text()
    kept = await kind.connect(address, secret, told)
    if kind is NatsClient:
        await kept.connection.jetstream().add_stream(name="load", subjects=["load.*"], max_msgs=10)
    number, last = 0, time.monotonic()
    while not stop.is_set():
        try:
            if file.stat().st_mtime_ns != seen:
                seen, secret = file.stat().st_mtime_ns, file.read_text()
                fresh = await kind.connect(address, secret, told)
                await kept.close()
                kept = fresh
                told["secrets"].add(secret)
            await kept.write(number)
            told["writes"] += 1
            if number % FRESH == 0:
                try:
                    another = await kind.connect(address, secret, told)
                except ConnectionResetError:
                    # NATS closes at a reload who is in the middle of logging in; with the same secret it is let in then.
                    told["resets"] += 1
                    another = await kind.connect(address, secret, told)
                await another.close()
                told["logins"] += 1
            told["used"][address] = hashlib.sha256(secret.encode()).hexdigest()
        except Exception as exc:
            told["errors"].append(f"{address}: {exc!r}")
            await asyncio.sleep(0.1)
        now = time.monotonic()
        told["longest_pause_ms"] = max(told["longest_pause_ms"], round((now - last) * 1000))
        number, last = number + 1, now
        await asyncio.sleep(PAUSE)
    await kept.close()


async def main(service: str, place: str, *addresses: str) -> None:
    kind = {"redis": RedisClient, "nats": NatsClient}[service]
    folder, stop = Path(place), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    told: dict[str, Any] = {
        "writes": 0,
        "logins": 0,
        "errors": [],
        "cut_off": 0,
        "resets": 0,
        "secrets": set(),
        "longest_pause_ms": 0,
    }
    used = told["used"] = {}
    clients = [asyncio.create_task(client(kind, address, folder, told, stop)) for address in addresses]
    while len(used) < len(addresses):
        await asyncio.sleep(0.05)
        for one in clients:
            if one.done():
                one.result()
    print("running", flush=True)
    while not stop.is_set():
        if len(set(used.values())) == 1:
            (folder / "used").write_text(next(iter(used.values())))
        await asyncio.sleep(0.1)
    await asyncio.gather(*clients)
    errors = told["errors"]
    del told["used"]
    print(
        json.dumps(
            told | {"errors": [*errors[:5], f"{len(errors)} in all"] if errors else [], "secrets": len(told["secrets"])}
        )
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
