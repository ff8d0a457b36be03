# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis nodes that join, hand over and die, with real servers and Sentinels on loopback and a client that writes meanwhile.

The same is tested on hosts (tests/contract); the decisions alone are in test_redis_node.py.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client, RedisError
from tests.unit.plugins.module_utils.host import data_group
from tests.unit.plugins.module_utils.host.redis_loopback import APP, Group

pytestmark = pytest.mark.timeout(240)


def writing(group: Group) -> data_group.Writer:
    """Each number is one key; it is acknowledged when the server said OK."""

    def connect() -> Client:
        """To the master, as the load balancer would."""
        for node in group.here:
            try:
                client = Client(node.address, 6379, node.login("app", APP), 1.0)
            except RedisError:
                continue
            try:
                client("SET", "probe", "1")
            except RedisError:
                client.close()
                continue
            return client
        raise RedisError("no master")

    def write(client: Client, number: int) -> None:
        client("SET", f"key-{number}", "1")
        time.sleep(0.001)  # some hundreds a second

    return data_group.Writer(connect, write, RedisError)


def lost(group: Group, writer: data_group.Writer) -> int:
    """How many acknowledged writes the master does not have."""
    (master,) = group.masters()
    found = 0
    for first in range(0, writer.acknowledged, 500):
        keys = [f"key-{number}" for number in range(first, min(first + 500, writer.acknowledged))]
        found += int(group.nodes[master].ask(6379, "EXISTS", *keys))
    return writer.acknowledged - found


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    found = Group(tmp_path)
    yield found
    found.end()


@pytest.fixture
def three(group: Group) -> Group:
    group.enter(*[group.launch() for _ in range(3)])
    assert group.masters() == ["i-01"], "the oldest of a new set"
    return group


def test_all_three_are_replaced_one_by_one_under_load_and_nothing_is_lost(three: Group) -> None:
    with writing(three) as writer:
        for old in list(three.nodes.values()):
            three.enter(three.launch())
            three.leave(old, 90)
            assert {node.knows()["sentinels"] for node in three.here} == {2}, "who left is forgotten at once"
            assert len(three.masters()) == 1
    assert three.registered == {"i-04", "i-05", "i-06"} == {node.id for node in three.here}
    assert writer.acknowledged > 100
    assert lost(three, writer) == 0
    assert writer.pause < 20


def test_the_master_that_died_is_replaced(three: Group) -> None:
    with writing(three) as writer:
        three.nodes["i-01"].kill()
        three.away.add("i-01")
        three.enter(three.launch())
        three.keep()
    assert len(three.masters()) == 1
    assert lost(three, writer) == 0


def test_the_next_master_dies_as_soon_as_the_first_has_left(three: Group) -> None:
    """Sentinels that still counted the one that left would be too few to agree."""
    with writing(three) as writer:
        three.enter(three.launch())
        three.leave(three.nodes["i-01"], 90)
        die(three, master(three))
        three.enter(three.launch())
    assert len(three.masters()) == 1
    assert lost(three, writer) == 0


def test_the_next_master_dies_before_the_first_is_forgotten(three: Group) -> None:
    """Two of the four Sentinels that each of them counts are too few to agree on another master."""
    with writing(three) as writer:
        three.enter(three.launch())
        die(three, "i-01")
        die(three, master(three))
        decided = master(three, keep=True)
        three.enter(three.launch())
    assert any("another becomes it" in said for node in three.here for said in node.said)
    assert three.masters() == [decided]
    assert lost(three, writer) == 0


def test_a_master_that_was_cut_off_takes_no_write_when_it_is_back(three: Group) -> None:
    """Its zone was away, or its machine stood still: it believes that it is the master until it hears otherwise."""
    old = three.nodes["i-01"]
    with writing(three) as writer:
        for process in old.processes.values():
            process.send_signal(signal.SIGSTOP)
        until(lambda: master(three) != "i-01", three)
        before = writer.acknowledged
        until(lambda: writer.acknowledged > before + 100, three)
        for process in old.processes.values():
            process.send_signal(signal.SIGCONT)
        until(lambda: old.info().get("role") == "slave", three)
        time.sleep(2)
    assert len(three.masters()) == 1
    assert lost(three, writer) == 0


def test_a_second_master_that_nobody_knows_any_more_follows_the_first(three: Group) -> None:
    """It was failed over while a node entered, and a Sentinel forgot it: what follows it takes its writes for kept, for ever."""
    new = three.launch()
    three.enter(new)
    old = three.nodes["i-01"]
    for node in three.here:  # a master that forgets and is forgotten: as after a reset in the wrong moment
        if node is not old and node is not new:
            node.ask(26379, "SENTINEL", "REMOVE", "main")
    old.ask(26379, "SENTINEL", "REMOVE", "main")
    new.ask(26379, "SENTINEL", "REMOVE", "main")
    three.nodes["i-02"].ask(6379, "REPLICAOF", "NO", "ONE")
    three.nodes["i-03"].ask(6379, "REPLICAOF", three.nodes["i-02"].address, "6379")
    for node in three.here:
        node.ask(26379, "SENTINEL", "MONITOR", "main", three.nodes["i-02"].address, "6379", "2")
        for option, value in (("auth-user", "sentinel"), ("auth-pass", three.values["/s"])):
            node.ask(26379, "SENTINEL", "SET", "main", option, value)
    assert sorted(three.masters()) == ["i-01", "i-02"]
    assert old.info()["connected_slaves"] == "1"
    until(lambda: three.masters() == ["i-02"], three)
    until(lambda: {node.info().get("master_host") for node in three.here} == {None, three.nodes["i-02"].address}, three)
    assert any("this node follows 127.0.21.2 now" in said for said in old.said)


def until(there: Callable[[], bool], group: Group, seconds: float = 90) -> None:
    """With rounds of keep.d."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        for node in group.here:
            with suppress(HostError):
                node.node.keep()
        time.sleep(1)


def die(group: Group, name: str) -> None:
    group.nodes[name].kill()
    group.away.add(name)


def master(group: Group, *, keep: bool = False) -> str:
    """Who it is, once there is one; with rounds of keep.d meanwhile, or none."""
    end = time.monotonic() + 90
    while not (found := group.masters()):
        assert time.monotonic() < end, "nobody became the master"
        for node in group.here if keep else ():
            with suppress(HostError):
                node.node.keep()
        time.sleep(1)
    return found[0]


def test_the_last_that_hold_the_data_stay(three: Group) -> None:
    for name in ("i-01", "i-02"):
        three.lifecycle[name] = "Terminating:Wait"
    for name in ("i-01", "i-02"):
        with pytest.raises(HostError, match="1 other nodes hold all data; 2 must, before this one goes"):
            three.nodes[name].node.leave()
    assert len(three.here) == 3


def test_a_new_node_never_becomes_a_second_master(three: Group) -> None:
    """All others are there and none answers: they form a set, so that it waits for them."""
    for node in three.nodes.values():
        node.kill()
    new = three.launch()
    with pytest.raises(HostError, match="would be a second master without data"):
        new.node.enter()
    assert not new.runs("redis-server.service")
    for node in list(three.nodes.values())[:3]:
        node.start()
    three.enter(new)
    assert new.info()["role"] == "slave"


def test_a_cache_of_one_starts_empty(tmp_path: Path) -> None:
    group = Group(tmp_path, nodes=1, purpose="cache")
    node = group.launch()
    try:
        group.enter(node)
        assert node.info()["role"] == "master"
        group.leave(node, 90)
        assert not node.runs("redis-server.service")
        group.away.clear()
        node.node.leave()  # another step failed, and all of them run again
        assert not node.runs("redis-server.service")
    finally:
        group.end()


def test_after_a_power_cut_a_master_whose_disk_is_empty_takes_the_data_of_the_others(three: Group) -> None:
    """All end at once, and the master's disk comes back empty: it must not be the master that the others copy."""
    with writing(three) as writer:
        pass
    time.sleep(1.5)  # fsync every second
    for node in three.nodes.values():
        node.kill()
    shutil.rmtree(three.nodes["i-01"].folder / "var" / "lib" / "redis")
    (three.nodes["i-01"].folder / "var" / "lib" / "redis").mkdir()
    three.enter(*three.nodes.values(), seconds=90)
    assert lost(three, writer) == 0
    assert three.masters() != ["i-01"]
