# SPDX-License-Identifier: GPL-3.0-or-later
"""The power of all nodes is cut at once while a client writes 500 times a second: what was synced is there after the boot.

The disks are real file systems, and the cut loses what the kernel had not written.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client as NatsClient
from ansible_collections.boring.fleet.plugins.module_utils.nats.client import NatsError
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client as RedisClient
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import RedisError
from tests.unit.plugins.module_utils.host import nats_loopback, redis_loopback
from tests.unit.plugins.module_utils.host.disks import Disk, cut_power

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the disks are mounted"),
]
WHOLE_SECONDS = 120
LOAD_SECONDS = 12
A_SECOND = 500


class Writer(threading.Thread):
    """Writes at a rate, and remembers when each number was acknowledged."""

    def __init__(self, write: Callable[[int], None]) -> None:
        super().__init__(daemon=True)
        self.write = write
        self.acknowledged: dict[int, float] = {}
        self.stop = threading.Event()

    def run(self) -> None:
        begin, number = time.monotonic(), 0
        while not self.stop.is_set():
            with suppress(NatsError, RedisError):
                self.write(number)
                self.acknowledged[number] = time.monotonic()
            number += 1
            time.sleep(max(0.0, begin + number / A_SECOND - time.monotonic()))

    def until(self, moment: float) -> set[int]:
        return {number for number, at in self.acknowledged.items() if at <= moment}


@pytest.fixture
def disks() -> Iterator[dict[str, Disk]]:
    found: dict[str, Disk] = {}
    yield found
    for disk in found.values():
        disk.end()


@pytest.fixture
def bus(tmp_path: Path, disks: dict[str, Disk], monkeypatch: pytest.MonkeyPatch) -> Iterator[nats_loopback.Group]:
    """Three nodes that sync once a second: their own two minutes are the same, and too long for a test."""
    real = nats_loopback.Node._mapped
    monkeypatch.setattr(
        nats_loopback.Node,
        "_mapped",
        lambda self, text: real(self, text).replace(
            "jetstream {\n  store", 'jetstream {\n  sync_interval: "1s"\n  store'
        ),
    )
    group = nats_loopback.Group(
        tmp_path, bcrypt.hashpw(nats_loopback.APP.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()
    )
    try:
        for _ in range(3):
            node = group.launch()
            disks[node.id] = Disk(tmp_path / f"{node.id}.img", node.folder / "var" / "lib" / "nats")
        group.enter(*group.nodes.values())
        yield group
    finally:
        group.end()


def test_nats_loses_nothing_that_was_synced(bus: nats_loopback.Group, disks: dict[str, Disk]) -> None:
    nodes = list(bus.nodes.values())
    client: NatsClient = nodes[0].connect(nats_loopback.APP, "app")
    made = client.ask("$JS.API.STREAM.CREATE.KEPT", {"name": "KEPT", "subjects": ["kept.>"], "num_replicas": 3})
    assert "error" not in made, made
    # What says that there is a stream, NATS syncs never; the kernel writes it within half a minute.
    for disk in disks.values():
        disk.sync()

    def write(number: int) -> None:
        answer = client.ask(f"kept.{number}", {"number": number})
        if "error" in answer:
            raise NatsError(str(answer))

    writer = Writer(write)
    writer.start()
    time.sleep(LOAD_SECONDS)
    cut_power([node.process for node in nodes if node.process], disks.values())
    cut = time.monotonic()
    writer.stop.set()
    writer.join(30)
    synced = writer.until(cut - 4)
    assert len(synced) > 1000, "that was no load"

    for node in nodes:
        disks[node.id].boot()
        node.run(["systemctl", "start", "nats-server"])
    found = _whole(nodes, time.monotonic() + WHOLE_SECONDS)
    reader = nodes[1].connect(nats_loopback.APP, "app")
    there = {
        int(answer["message"]["subject"].partition(".")[2])
        for number in range(found["first_seq"], found["last_seq"] + 1)
        if "message" in (answer := reader.ask("$JS.API.STREAM.MSG.GET.KEPT", {"seq": number}))
    }
    assert synced - there == set()
    reader.close()


def _whole(nodes: list[nats_loopback.Node], end: float) -> dict[str, Any]:
    """The stream's state, once every node is healthy and all replicas are current."""
    while True:
        why = [node.healthy() for node in nodes]
        with suppress(NatsError):
            client = nodes[0].connect(nats_loopback.APP, "app")
            try:
                info = client.ask("$JS.API.STREAM.INFO.KEPT", {})
            finally:
                client.close()
            replicas = (info.get("cluster") or {}).get("replicas") or []
            if not any(why) and len(replicas) == 2 and all(one["current"] for one in replicas):
                return dict(info["state"])
            why.append(str(info.get("error") or replicas))
        assert time.monotonic() < end, why
        time.sleep(0.5)


@pytest.fixture
def store(tmp_path: Path, disks: dict[str, Disk]) -> Iterator[redis_loopback.Group]:
    group = redis_loopback.Group(tmp_path)
    try:
        for _ in range(3):
            node = group.launch()
            disks[node.id] = Disk(tmp_path / f"{node.id}.img", node.folder / "var" / "lib" / "redis")
        group.enter(*group.nodes.values())
        time.sleep(12)  # a Sentinel asks for new replicas every ten seconds
        yield group
    finally:
        group.end()


def test_redis_loses_nothing_that_was_synced(store: redis_loopback.Group, disks: dict[str, Disk]) -> None:
    nodes = list(store.nodes.values())
    (master,) = store.masters()
    client: RedisClient = RedisClient(
        store.nodes[master].address, 6379, store.nodes[master].login("app", redis_loopback.APP), 5.0
    )
    writer = Writer(lambda number: client("SET", f"key-{number}", "1"))
    writer.start()
    time.sleep(LOAD_SECONDS)
    cut_power([process for node in nodes for process in node.processes.values()], disks.values())
    cut = time.monotonic()
    writer.stop.set()
    writer.join(30)
    synced = writer.until(cut - 3)  # fsync every second, and one that takes one
    assert len(synced) > 1000, "that was no load"

    for node in nodes:
        disks[node.id].boot()
    end = time.monotonic() + WHOLE_SECONDS
    store.enter(*nodes, seconds=WHOLE_SECONDS)
    while len(masters := store.masters()) != 1 or store.nodes[masters[0]].info().get("connected_slaves") != "2":
        assert time.monotonic() < end, masters
        time.sleep(0.5)
    (master,) = masters
    reader = RedisClient(store.nodes[master].address, 6379, store.nodes[master].login("app", redis_loopback.APP), 5.0)
    lost = [number for number in sorted(synced) if not reader("EXISTS", f"key-{number}")]
    assert lost == []
    reader.close()
