# SPDX-License-Identifier: GPL-3.0-or-later
"""From Debian 12's Redis 7.0 to Debian 13's 8.0 by replication, as docs/redis.md says it, under writes that go on all the while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis_login import connect
from testinfra.host import Host

EARLY = 20_000  # keys that are there before the new one is looked at


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Writing(threading.Thread):
    """Writes one key after another, until the server is gone."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self.acknowledged: list[int] = []

    def run(self) -> None:
        with connect(self._address, "app") as client:
            for number in range(10_000_000):
                try:
                    client.set(f"app:late:{number}", number)
                except (redis.RedisError, OSError):
                    return
                self.acknowledged.append(number)
                time.sleep(0.002)


def test_the_role_makes_the_newer_one_a_replica(addresses: dict[str, str]) -> None:
    with connect(addresses["old"]) as old, connect(addresses["new"]) as new:
        assert old.info("server")["redis_version"].startswith("7.0.")
        assert new.info("server")["redis_version"].startswith("8.0.")
        assert old.info("replication")["role"] == "master"
        until(lambda: new.info("replication")["master_link_status"] == "up")
        assert new.info("replication")["master_host"] == addresses["old"]
    with connect(addresses["new"], "app") as app, pytest.raises(redis.exceptions.ReadOnlyError):
        app.set("app:x", 1)


def test_data_moves_to_the_newer_version(
    everywhere: dict[str, Host], addresses: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(addresses["old"], "app") as app:
        pipeline = app.pipeline(transaction=False)
        for number in range(EARLY):
            pipeline.set(f"app:early:{number}", number)
        pipeline.hset("app:hash", mapping={"field": "value"})
        pipeline.xadd("app:stream", {"field": "value"})
        pipeline.set("app:expires", "soon", ex=3600)
        pipeline.execute()
    writer = Writing(addresses["old"])
    writer.start()
    time.sleep(1)
    with connect(addresses["old"]) as old, connect(addresses["new"]) as new:
        old.execute_command("CLIENT", "PAUSE", "30000", "WRITE")
        held = time.monotonic()
        until(lambda: new.info("replication")["slave_repl_offset"] >= old.info("replication")["master_repl_offset"])
        new.execute_command("REPLICAOF", "NO", "ONE")
        new.execute_command("CONFIG", "REWRITE")
        paused = time.monotonic() - held
        everywhere["old"].check_output("systemctl disable --now redis-server")
    writer.join(timeout=20)
    assert not writer.is_alive()
    with connect(addresses["new"], "app") as app:
        kept = set(app.scan_iter("app:*", count=10_000))
        lost = {f"app:late:{number}" for number in writer.acknowledged} - kept
        with capsys.disabled():
            print(
                f"\nredis, from 7.0 to 8.0: {EARLY} keys from before, {len(writer.acknowledged)} acknowledged writes meanwhile, "
                f"lost {len(lost)}; writes held up for {paused * 1000:.0f} ms"
            )
        assert writer.acknowledged
        assert not lost
        assert {f"app:early:{number}" for number in range(EARLY)} <= kept
        assert app.hgetall("app:hash") == {"field": "value"}
        assert app.xrange("app:stream")[0][1] == {"field": "value"}
        assert 0 < app.ttl("app:expires") <= 3600
        assert app.set("app:x", 1)


def test_the_newer_one_stays_the_master(
    everywhere: dict[str, Host], addresses: dict[str, str], change: Callable[..., Any]
) -> None:
    """Also after a restart, and when the role comes again, which knows no old one any more."""
    everywhere["new"].check_output("systemctl restart redis-server")
    with connect(addresses["new"]) as new:
        until(lambda: answers(new))
        assert new.info("replication")["role"] == "master"
        size = new.dbsize()
        assert size > EARLY
        alone = change(limit="new", redis_nodes=[])
        assert alone.ok, alone.output
        assert change(limit="new", redis_nodes=[]).changed == {"new": 0}
        assert new.info("replication")["role"] == "master"
        assert new.dbsize() == size


def answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
