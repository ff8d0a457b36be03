# SPDX-License-Identifier: GPL-3.0-or-later
"""Backed up, wiped, restored, compared to the byte: a real NATS and a real Redis. And what is no backup is never restored."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.backup.target import Directory
from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError
from ansible_collections.boring.fleet.plugins.module_utils.nats.snapshot import Snapshots as NatsSnapshots
from ansible_collections.boring.fleet.plugins.module_utils.redis.snapshot import Snapshots as RedisSnapshots
from ansible_collections.boring.fleet.plugins.module_utils.redis.snapshot import copy, differences
from tests.programs import redis_server
from tests.unit.plugins.module_utils.backup.services import Keys, Nats, Program, Redis, World


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    server = Nats(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis", redis_server(tmp_path))
    server.start()
    yield server
    server.stop()


def stream(client: NatsSnapshots, name: str, **config: Any) -> None:
    answer = client.ask(f"$JS.API.STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"], **config})
    assert "error" not in answer, answer


def publish(client: NatsSnapshots, name: str, messages: int, size: int = 200) -> None:
    for number in range(messages):
        client.ask(f"{name}.{number % 7}", {"number": number, "text": base64.b64encode(os.urandom(size)).decode()})


def every_message(client: NatsSnapshots, name: str) -> list[Any]:
    """All that a stream holds, in NATS's own words: number, subject, time, headers and bytes."""
    state = client.info(name)["state"]
    found = []
    for number in range(state["first_seq"], state["last_seq"] + 1):
        answer = client.ask(f"$JS.API.STREAM.MSG.GET.{name}", {"seq": number})
        if answer.get("error", {}).get("code") != 404:
            found.append(answer["message"])
    return found


def consumers(client: NatsSnapshots, name: str) -> list[Any]:
    found = client.ask(f"$JS.API.CONSUMER.LIST.{name}", {})["consumers"]
    return [
        {key: one[key] for key in ("name", "config", "ack_floor", "num_pending", "num_ack_pending")} for one in found
    ]


def test_streams_come_back_to_the_byte(nats: Nats, world: World, tmp_path: Path) -> None:
    client = nats.client()
    stream(client, "KEPT")
    stream(client, "WORK", retention="workqueue")
    stream(client, "QUICK", storage="memory")
    publish(client, "KEPT", 300, 4000)
    publish(client, "WORK", 20)
    client.ask("$JS.API.STREAM.MSG.DELETE.KEPT", {"seq": 17})
    client.ask(
        "$JS.API.CONSUMER.DURABLE.CREATE.WORK.w",
        {"stream_name": "WORK", "config": {"durable_name": "w", "ack_policy": "explicit"}},
    )
    before = {
        name: (every_message(client, name), consumers(client, name), client.info(name)["config"])
        for name in ("KEPT", "WORK")
    }
    assert len(before["KEPT"][0]) == 299
    backup = world.program("p", nats.source())
    code, said = backup("run")
    assert code == 0, said
    assert "QUICK is kept in memory" in said
    stored = [path for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert len(stored) == 3
    assert all(b"KEPT.0" not in path.read_bytes() for path in stored), "what is stored is encrypted"
    assert not list((tmp_path / "p" / "state").glob("spool")), "nothing stays in the spool"

    code, said = backup.restore("bus")
    assert code == 1
    assert (
        "Nothing is restored into bus: its stream KEPT has had 300 messages. It takes a service that is new and empty"
        in said
    )
    client.close()

    nats.wipe()
    client = nats.client()
    stream(client, "WORK")  # as a service makes it that has started meanwhile, and never used it
    code, said = backup.restore("bus")
    assert code == 0, said
    assert "stream KEPT: 299 messages with 0 consumers are back and as they were" in said
    after = {
        name: (every_message(client, name), consumers(client, name), client.info(name)["config"])
        for name in ("KEPT", "WORK")
    }
    assert after == before
    client.close()


def test_an_age_limit_ends_what_is_too_old_and_says_so(nats: Nats, world: World, tmp_path: Path) -> None:
    client = nats.client()
    stream(client, "SHORT", max_age=3 * 10**9, duplicate_window=10**9)
    publish(client, "SHORT", 5)
    backup = world.program("p", nats.source())
    assert backup("run")[0] == 0
    client.close()
    nats.wipe()
    time.sleep(3)
    code, said = backup.restore("bus")
    assert code == 0, said
    assert "SHORT: 5 messages with 0 consumers are back and as they were; 5 of them are older than its max_age" in said
    client = nats.client()
    assert client.info("SHORT")["config"]["max_age"] == 3 * 10**9
    client.close()
    nats.wipe()
    code, said = backup.restore("bus", keep_old=True)
    assert (code, "SHORT: 5 messages with 0 consumers are back and as they were; it has no max_age now" in said) == (
        0,
        True,
    )
    client = nats.client()
    assert client.info("SHORT")["state"]["messages"] == 5
    client.close()


def test_a_backup_under_load_is_compared_too(nats: Nats, world: World, tmp_path: Path) -> None:
    client = nats.client()
    stream(client, "BUSY")
    publish(client, "BUSY", 500, 3000)
    stop = threading.Event()

    def write() -> None:
        other = nats.client()
        while not stop.is_set():
            publish(other, "BUSY", 10)
        other.close()

    writer = threading.Thread(target=write)
    writer.start()
    backup = world.program("p", nats.source())
    try:
        assert backup("run")[0] == 0
    finally:
        stop.set()
        writer.join(timeout=30)
    last = client.info("BUSY")["state"]["last_seq"]
    written = every_message(client, "BUSY")
    client.close()
    nats.wipe()
    code, said = backup.restore("bus")
    assert code == 0, said
    client = nats.client()
    found = every_message(client, "BUSY")
    assert 500 <= len(found) < last
    assert found == written[: len(found)]
    client.close()


def fill(client: RedisSnapshots) -> None:
    client("SET", "text", "value")
    client.many([(b"SET", b"bytes\x00\xff", bytes(range(256)) * 100)])
    client("SET", "ends", "later", "PXAT", str(int(time.time() * 1000) + 3_600_000))
    client.many([(b"SADD", b"set", *(str(number).encode() for number in range(3000)))])
    client.many([(b"HSET", b"hash", *(word for number in range(2000) for word in (b"f%d" % number, os.urandom(20))))])
    client("ZADD", "ranks", "1.5", "a", "2", "b")
    client("RPUSH", "list", *map(str, range(500)))
    client("XADD", "log", "1-1", "field", "value")
    client("XGROUP", "CREATE", "log", "readers", "0")
    client("SELECT", "3")
    client.many([(b"SET", b"other:%d" % number, os.urandom(50)) for number in range(2000)])
    client("SELECT", "0")
    client("FUNCTION", "LOAD", "#!lua name=mine\nredis.register_function('one', function() return 1 end)")


def everything(client: RedisSnapshots) -> dict[tuple[int, bytes], Any]:
    """All keys of all databases, as their commands give them."""
    found: dict[tuple[int, bytes], Any] = {}
    for database in client.databases():
        client.choose(database)
        for name in [key for keys in client.scan() for key in keys]:
            kind = client.many([(b"TYPE", name)])[0]
            ask = {
                "string": (b"GET", name), "set": (b"SMEMBERS", name), "hash": (b"HGETALL", name), "list": (b"LRANGE", name, b"0", b"-1"),
                "zset": (b"ZRANGE", name, b"0", b"-1", b"WITHSCORES"), "stream": (b"XRANGE", name, b"-", b"+"),
            }[kind]  # fmt: skip
            value, ends = client.many([ask, (b"PEXPIRETIME", name)])
            if kind == "set":
                value = sorted(value)
            if kind == "hash":
                value = dict(zip(value[::2], value[1::2], strict=True))
            found[database, name] = (kind, value, ends)
    return found


def test_keys_come_back_to_the_byte(redis: Redis, world: World, tmp_path: Path) -> None:
    client = redis.client()
    fill(client)
    before, groups = everything(client), (client.choose(0), client("XINFO", "GROUPS", "log"))[1]
    assert len(before) == 2008
    backup = world.program("p", redis.source())
    code, said = backup("run")
    assert code == 0, said
    code, said = backup.restore("store")
    assert code == 1
    assert "Nothing is restored into store: it has 2008 keys" in said
    client.close()

    redis.wipe()
    assert backup.ask("ready", "store", user="admin") == (0, "store is empty and takes data\n")
    code, said = backup.restore("store", user="backup")
    assert code == 1
    assert "refused" in said
    code, said = backup.restore("store")
    assert code == 0, said
    assert "2008 keys are back and as they were" in said
    client = redis.client()
    assert everything(client) == before
    client.choose(0)
    assert client("XINFO", "GROUPS", "log") == groups
    assert client("FCALL", "one", "0") == 1
    client.close()


def test_a_difference_is_found(redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Redis(tmp_path / "other", redis.program)
    other.start("--enable-debug-command", "local")
    try:
        there, here = other.client(), redis.client()
        for client in (there, here):
            client.many([(b"SADD", b"set", *(str(number).encode() for number in range(2000)))])
            client("SET", "text", "value", "PXAT", "4102444800000")
        assert differences(there, here, time.time, time.monotonic) == []
        here("SREM", "set", "7")
        here("PEXPIREAT", "text", "4102444800001")
        there("SET", "only", "there")
        here("SELECT", "2")
        here("SET", "more", "here")
        assert sorted(differences(there, here, time.time, time.monotonic)) == [
            "database 2 is in no backup",
            "key 'only' of database 0 is missing",
            "key 'set' of database 0 has another value",
            "key 'text' of database 0 ends at another time",
        ]
        here("FLUSHALL")
        here("SELECT", "0")
        here("SET", "only", "written meanwhile")
        real = there.scan
        monkeypatch.setattr(there, "scan", lambda: (keys for keys in real() for _ in range(2)))  # as SCAN may
        assert copy(there, here, time.monotonic) == 3
        assert differences(there, here, time.time, time.monotonic)[0] == "key 'only' of database 0 has another value"
        for client in (there, here):
            client.close()
    finally:
        other.stop()


def test_a_replica_is_asked_and_its_master_is_not(redis: Redis, world: World, tmp_path: Path) -> None:
    client = redis.client()
    client("SET", "key", "value")
    replica = Redis(tmp_path / "replica", redis.program)
    replica.start(
        "--replicaof",
        "127.0.0.1",
        str(redis.port),
        "--masteruser",
        "admin",
        "--masterauth",
        "correct-horse-battery-staple",
    )
    try:
        end = time.monotonic() + 30
        while client.info("replication").get("slave0", "").count("online") == 0:
            assert time.monotonic() < end
            time.sleep(0.1)
        first = world.program("p1", redis.source())
        code, said = first("run")
        assert (code, "this is the master, and its replicas take the backups" in said) == (0, True), said
        second = world.program("p2", replica.source())
        code, said = second("run")
        assert (code, "is whole" in said) == (0, True), said
        code, said = second.ask("ready", "store", user="admin")
        assert (code, "it is a replica, and its master is 127.0.0.1" in said) == (1, True), said
        code, said = first("run")
        assert (code, "the next one is not due" in said) == (0, True), "it sees what the other has taken"
    finally:
        replica.stop()
    client.close()


@pytest.fixture
def taken(redis: Redis, world: World, tmp_path: Path) -> Iterator[tuple[Program, Path]]:
    """A backup of a Redis that is empty since: what may be restored, and where it is."""
    client = redis.client()
    client.many([(b"SET", b"key:%d" % number, os.urandom(1000)) for number in range(100)])
    backup = world.program("p", redis.source())
    code, said = backup("run")
    assert code == 0, said
    client("FLUSHALL")
    client.close()
    (folder,) = (tmp_path / "target" / "store").iterdir()
    yield backup, folder


def test_what_is_no_whole_backup_is_refused(
    taken: tuple[Program, Path], redis: Redis, world: World, tmp_path: Path
) -> None:
    backup, folder = taken
    part, manifest = folder / "0000.000000", folder / "manifest.json"
    whole, text = part.read_bytes(), manifest.read_text()

    part.write_bytes(whole[:-1])
    said = backup.restore("store")[1]
    assert f"has {len(whole) - 1} bytes and not {len(whole)}: the backup is not whole" in said
    part.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    code, said = backup.restore("store", folder.name)
    assert (code, "its checksum is another" in said) == (1, True), said
    part.unlink()
    assert "0000.000000 is missing" in backup.restore("store")[1]
    part.write_bytes(whole)

    manifest.write_text(text.replace('"keys": 100', '"keys": 101'))
    assert "is not sealed by data_backup_seal" in backup.restore("store")[1]
    manifest.write_text(text[:-20])
    assert "is no manifest of a backup, or only a part of one" in backup.restore("store")[1]
    manifest.write_text(text)
    moved = folder.with_name(folder.name[:-1] + ("0" if folder.name[-1] != "0" else "1"))
    folder.rename(moved)
    assert "somebody moved it" in backup.restore("store")[1]
    moved.rename(folder)
    manifest.unlink()
    assert "There is no whole backup of store in the target" in backup.restore("store")[1]
    manifest.write_text(text)

    (tmp_path / "other").mkdir()
    stranger = Keys(tmp_path / "other")
    said = backup.restore("store", identity=stranger.identity)[1]
    assert "age did not decrypt: no identity matched" in said
    client = redis.client()
    assert client.databases() == {}, "nothing of all that was restored"
    client.close()
    assert backup.restore("store")[0] == 0


def test_a_full_target_leaves_no_backup_and_the_last_good_one(
    taken: tuple[Program, Path], redis: Redis, world: World
) -> None:
    backup, folder = taken
    client = redis.client()
    client("SET", "key", "value")
    client.close()
    world.later(400)
    real = Directory.put

    def full(self: Directory, key: str, data: bytes) -> None:
        if key.endswith("manifest.json"):
            raise BackupError(
                f"{key} cannot be written: No space left on device; look at the directory, its disk and its owner."
            )
        real(self, key, data)

    world.patch.setattr(Directory, "put", full)
    code, said = backup("run")
    assert code == 1
    assert "store is not backed up" in said
    assert "No space left on device" in said
    status = json.loads((backup.paths.state / "status.json").read_text())["store"]
    assert status["good"] == folder.name
    assert "No space left" in status["trouble"]
    assert backup("status")[0] == 1
    assert 'data_backup_trouble{source="store"} 1' in (backup.paths.state / "data_backup.prom").read_text()
    world.patch.setattr(Directory, "put", real)
    assert backup("run")[0] == 0
    assert 'data_backup_trouble{source="store"} 0' in (backup.paths.state / "data_backup.prom").read_text()
    code, said = backup("list")
    assert said.count("bytes, on") == 2
    assert "not finished" not in said, "what was written of the one that failed is gone"


def test_an_empty_service_pushes_no_backup_out(taken: tuple[Program, Path], world: World) -> None:
    backup, folder = taken
    world.later(90 * 86400)
    code, said = backup("run")
    assert (code, "store holds nothing: no backup is taken" in said) == (0, True), said
    assert folder.is_dir()
    assert 'data_backup_empty{source="store"} 1' in (backup.paths.state / "data_backup.prom").read_text()


def test_a_service_that_is_away_is_said_and_grows_late(taken: tuple[Program, Path], redis: Redis, world: World) -> None:
    backup, dummy = taken
    redis.stop()
    code, said = backup("run")
    assert (code, "not due" in said) == (0, True), said
    world.later(3 * 3600)
    code, said = backup("run")
    assert code == 1
    assert "Connection refused" in said
    assert "The newest whole backup of store is 3 hours old" in said
    redis.start()


def test_a_clock_that_was_ahead_does_not_end_the_backups(redis: Redis, world: World) -> None:
    client = redis.client()
    client("SET", "key", "value")
    client.close()
    backup = world.program("p", redis.source())
    world.later(30 * 86400)
    assert backup("run")[0] == 0
    world.later(-30 * 86400)
    code, said = backup("run")
    assert (code, "it was taken in the future: look at the clock" in said, "is whole: data" in said) == (
        0,
        True,
        True,
    ), said
    assert "the next one is not due" in backup("run")[1]
    assert backup("list")[1].count("bytes, on") == 2


def test_one_source_that_fails_is_not_the_others_fault(redis: Redis, world: World) -> None:
    client = redis.client()
    client("SET", "key", "value")
    client.close()
    backup = world.program(
        "p", {"name": "bus", "kind": "nats", "port": 1, "user": "backup", "tls": False}, redis.source()
    )
    (world.folder / "target" / "bus").write_text("a file where a folder belongs")
    code, said = backup("run")
    assert (code, "bus is not backed up: " in said, "store/" in said and "is whole: data" in said) == (1, True, True), (
        said
    )
