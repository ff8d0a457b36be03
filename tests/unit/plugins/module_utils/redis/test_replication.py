# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica set under Sentinel: judged from what its nodes say, and handed over on a real one."""

from __future__ import annotations

import dataclasses
import itertools
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.redis.client import (
    Answers,
    Client,
    ConnectionLostError,
    RedisError,
)
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import (
    Node,
    Sets,
    fault,
    fields,
    hand_over,
    wait_until_whole,
)
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from tests.programs import redis_server

A = Node("a", "master", 5_000_000, True, False, "", "a", "OK 3 usable Sentinels", 2)
B = Node("b", "slave", 5_000_000, True, False, "a", "a", "OK 3 usable Sentinels", 2)
C = dataclasses.replace(B, address="c")


def test_a_whole_set_has_no_fault() -> None:
    assert fault([A, B, C]) == ""
    assert fault([A, dataclasses.replace(B, offset=4_999_000), C]) == ""  # under load


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sentinel_master": "b"}, "do not agree"),
        ({"sentinel_master": ""}, "do not agree"),
        ({"role": "master", "master": ""}, "a and b is master"),
        ({"master": "c"}, "b follows c, not a"),
        ({"link_up": False}, "b has lost its master"),
        ({"syncing": True}, "still copying"),
        ({"offset": 1}, "4999999 bytes behind"),
        ({"quorum": "NOQUORUM 1 usable"}, "no quorum"),
        ({"promotable": 1}, "sees 1 of 2 replicas"),
    ],
)
def test_each_fault_is_told(change: dict[str, object], why: str) -> None:
    assert why in fault([A, dataclasses.replace(B, **change), C])  # type: ignore[arg-type]


def test_a_set_whose_sentinels_name_another_than_who_says_so_is_not_whole() -> None:
    nodes = [dataclasses.replace(node, sentinel_master="b") for node in (A, B, C)]
    assert fault(nodes) == "a is master, and its Sentinels say b"


def test_info_becomes_a_dictionary() -> None:
    assert fields("# Replication\r\nrole:master\r\nslave0:ip=b,port=1\r\n") == {
        "role": "master",
        "slave0": "ip=b,port=1",
    }


def test_a_set_that_does_not_answer_is_a_sentence_and_takes_no_longer_than_told() -> None:
    clock = itertools.count()

    def nobody(address: str) -> Answers:
        raise RedisError(f"{address}: Connection refused; see.")

    with pytest.raises(RedisError, match="The replica set main is not whole: a: Connection refused; bring it in order"):
        wait_until_whole(Sets(["a"], "main", nobody, nobody), 5, lambda: float(next(clock)), lambda _: None)
    assert next(clock) < 10


class FakeSet:
    """Three nodes in memory. `lag`: bytes that b and c are behind while writes are paused. `cuts`: how many connections to
    the old master end without an answer once another is master. `busy`: how often Sentinel is asked before its failover is over,
    which succeeds unless it `gives_up`."""

    def __init__(self, lag: int = 0, cuts: int = 0, busy: int = 0, *, gives_up: bool = False) -> None:
        self.master = "a"
        self.cuts = cuts
        self.busy, self.gives_up, self.failing_over = busy, gives_up, False
        self.lag = lag
        self.said: list[str] = []

    def looks(self) -> list[str]:
        """SENTINEL MASTER, one of `busy` times while the failover is under way."""
        if self.failing_over:
            self.busy -= 1
            if self.busy < 0:
                self.failing_over, self.master = False, "a" if self.gives_up else "b"
        return ["name", "main", "flags", "master,failover_in_progress" if self.failing_over else "master"]

    def sets(self) -> Sets:
        return Sets(
            ["a", "b", "c"], "main",
            lambda address: FakeConnection(self, address), lambda address: FakeConnection(self, address),
        )  # fmt: skip


@dataclasses.dataclass
class FakeConnection:
    """To the Redis and to the Sentinel of one node: they have no command in common."""

    of: FakeSet
    address: str

    def close(self) -> None:
        pass

    def __call__(self, *words: str) -> Any:
        command = " ".join(words)
        if self.address != self.of.master and self.of.cuts and words[0] in ("REPLICAOF", "CLIENT"):
            self.of.cuts -= 1
            raise ConnectionLostError(f"{self.address}: the server closed the connection; see.")
        if command == "INFO replication":
            if self.address != self.of.master:
                return (
                    f"role:slave\r\nmaster_host:{self.of.master}\r\nmaster_link_status:up\r\n"
                    "master_sync_in_progress:0\r\nslave_repl_offset:100\r\n"
                )
            replicas = [node for node in "abc" if node != self.of.master]
            return "role:master\r\nmaster_repl_offset:100\r\n" + "".join(
                f"slave{number}:ip={node},port=6379,state=online,offset={100 - self.of.lag},lag=0\r\n"
                for number, node in enumerate(replicas)
            )
        if words[:2] == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME"):
            return [self.of.master, "6379"]
        if words[:2] == ("SENTINEL", "CKQUORUM"):
            return "OK 3 usable Sentinels"
        if words[:2] == ("SENTINEL", "REPLICAS"):
            return [["flags", "slave", "master-link-status", "ok"]] * 2
        if words[:2] == ("SENTINEL", "MASTER"):
            return self.of.looks()
        self.of.said.append(command)
        if words[:2] == ("SENTINEL", "FAILOVER"):
            self.of.failing_over = True
        return "OK"


def test_a_hand_over_pauses_writes_until_the_old_master_follows() -> None:
    clock = itertools.count()
    fake = FakeSet()
    assert hand_over(fake.sets(), "a", 60, lambda: float(next(clock)), lambda _: None) == "b"
    assert fake.said == [
        "CLIENT PAUSE 30000 WRITE",
        "SENTINEL FAILOVER main",
        "REPLICAOF b 6379",
        "CONFIG REWRITE",
        "CLIENT KILL TYPE normal SKIPME yes",
        "CLIENT UNPAUSE",
    ]


def test_a_slow_failover_pauses_writes_until_it_is_over() -> None:
    """Writes that the old master takes meanwhile would be lost."""
    clock = itertools.count()
    fake = FakeSet(busy=50)
    assert hand_over(fake.sets(), "a", 60, lambda: float(next(clock)), lambda _: None) == "b"
    assert fake.said[2:52] == ["CLIENT PAUSE 30000 WRITE"] * 50
    assert fake.said[52:] == [
        "REPLICAOF b 6379",
        "CONFIG REWRITE",
        "CLIENT KILL TYPE normal SKIPME yes",
        "CLIENT UNPAUSE",
    ]


def test_writes_go_on_when_sentinel_gives_up() -> None:
    clock = itertools.count()
    fake = FakeSet(busy=2, gives_up=True)
    with pytest.raises(
        RedisError, match="Sentinel could not make another node the master of main; see the Sentinel's log on a"
    ):
        hand_over(fake.sets(), "a", 60, lambda: float(next(clock)), lambda _: None)
    assert fake.said[-1] == "CLIENT UNPAUSE"
    assert not any(command.startswith("REPLICAOF") for command in fake.said)


def test_a_hand_over_goes_on_when_the_failover_cuts_its_connection() -> None:
    clock = itertools.count()
    fake = FakeSet(cuts=3)
    assert hand_over(fake.sets(), "a", 60, lambda: next(clock) / 10, lambda _: None) == "b"
    assert fake.said[-1] == "CLIENT UNPAUSE"


def test_an_old_master_that_stays_away_is_a_sentence() -> None:
    clock = itertools.count()
    with pytest.raises(RedisError, match="the server closed the connection"):
        hand_over(FakeSet(cuts=10**6).sets(), "a", 60, lambda: float(next(clock)), lambda _: None)
    assert next(clock) < 300


def test_who_is_no_master_hands_nothing_over() -> None:
    clock = itertools.count()
    fake = FakeSet()
    assert hand_over(fake.sets(), "c", 60, lambda: float(next(clock)), lambda _: None) == "a"
    assert fake.said == []


def test_a_hand_over_to_replicas_that_lack_writes_does_not_begin() -> None:
    clock = itertools.count()
    fake = FakeSet(lag=1)
    with pytest.raises(RedisError, match="No replica of a has all of its writes"):
        hand_over(fake.sets(), "a", 60, lambda: next(clock) / 10, lambda _: None)
    assert fake.said == ["CLIENT PAUSE 30000 WRITE", "CLIENT UNPAUSE"]
    assert fake.master == "a"


PASSWORD = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real Redis on loopback."""
    home = tmp_path_factory.mktemp("redis")
    (home / "users.acl").write_text(f"user default off\nuser admin on >{PASSWORD} ~* &* +@all\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
    with subprocess.Popen(
        [redis_server(home), "--bind", "127.0.0.1", "--port", str(found), "--aclfile", "users.acl", "--save", ""],
        cwd=home, stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    Client("127.0.0.1", found, Login("admin", PASSWORD, tls=False)).close()
                    break
                except RedisError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield found
        finally:
            process.kill()


def test_a_real_server_answers_in_every_kind(port: int) -> None:
    client = Client("127.0.0.1", port, Login("admin", PASSWORD, tls=False))
    assert client("SET", "k", "v" * 100_000) == "OK"
    assert client("GET", "k") == "v" * 100_000
    assert client("GET", "nothing") is None
    assert client("DBSIZE") == 1
    assert client("CONFIG", "GET", "port") == ["port", str(port)]
    with pytest.raises(RedisError, match=r"refused NONSENSE: ERR unknown command .*; see the user's rights"):
        client("NONSENSE")
    client.close()


def test_who_may_not_come_in_is_told_so(port: int) -> None:
    with pytest.raises(RedisError, match="refused AUTH: WRONGPASS"):
        Client("127.0.0.1", port, Login("admin", "wrong", tls=False))
    with pytest.raises(RedisError, match=rf"127.0.0.1:{port}: .*; see whether it runs with TLS"):
        Client("127.0.0.1", port, Login("admin", PASSWORD), timeout=2)
    assert PASSWORD not in repr(Login("admin", PASSWORD))
