# SPDX-License-Identifier: GPL-3.0-or-later
"""What is missing in a cluster, and forgetting a server: judged from what servers say, and on a real cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.cluster import (
    Fault,
    Group,
    Peer,
    Stored,
    Stream,
    View,
    faults,
    forget,
    forget_peer,
    forgettable,
    look,
    wait_until_whole,
)
from ansible_collections.boring.fleet.plugins.module_utils.nats.stream import Stream as Wanted
from ansible_collections.boring.fleet.plugins.module_utils.nats.stream import carry_out, plan
from tests.unit.plugins.module_utils.nats.loopback import SERVERS, Cluster, three_servers, until

REAL = {"clock": time.monotonic, "sleep": time.sleep}
N2, N3 = Peer("n2", True, True, 0), Peer("n3", True, True, 0)
GONE = dataclasses.replace(N3, current=False, there=False)
KEPT = Stream("APP", "KEPT", 3, Group("n1", (N2, N3)))
WHOLE = View("n1", "", Group("n1", (N2, N3)), 3, ("APP",), (KEPT,))


def said(view: View, servers: tuple[str, ...] = SERVERS) -> str:
    return "; ".join(fault.clause for fault in faults(view, servers))


def test_a_whole_cluster_has_no_fault() -> None:
    assert faults(WHOLE, SERVERS) == []
    follower = dataclasses.replace(WHOLE, server="n2", meta=Group("n1", ()), streams=())
    assert faults(follower, SERVERS) == []


@pytest.mark.parametrize(
    ("view", "clause"),
    [
        (dataclasses.replace(WHOLE, health="not current"), "n1 says: not current"),
        (dataclasses.replace(WHOLE, meta=Group("", ())), "n1 finds no leader of the meta group"),
        (dataclasses.replace(WHOLE, size=2, meta=Group("n1", (N2,))), "n3 is not in the meta group"),
        (dataclasses.replace(WHOLE, meta=Group("n1", (N2, GONE))), "n3 of the meta group is not there"),
        (dataclasses.replace(WHOLE, meta=Group("n1", (N2, dataclasses.replace(N3, current=False, lag=7)))), "n3 of the meta group is 7 entries behind"),
        (dataclasses.replace(WHOLE, streams=(Stream("APP", "KEPT", 3, Group("n1", (N2, GONE))),)), "stream KEPT of account APP misses its replica on n3"),
        (dataclasses.replace(WHOLE, streams=(Stream("APP", "KEPT", 3, Group("n1", (N2,))),)), "stream KEPT of account APP has 2 of its 3 replicas"),
        (dataclasses.replace(WHOLE, streams=(Stream("APP", "KEPT", 3, Group("", ())),)), "stream KEPT of account APP has no leader"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(view: View, clause: str) -> None:
    assert clause in said(view)


def test_only_a_server_that_the_cluster_does_not_have_any_more_is_hopeless() -> None:
    view = dataclasses.replace(WHOLE, size=4, meta=Group("n1", (N2, GONE, dataclasses.replace(N2, name="n4"))))
    found = faults(view, ("n1", "n2", "n4"))
    assert [fault.heals for fault in found] == [True, False]
    assert "-e nats_peer=n3" in found[1].clause
    assert all(fault.heals for fault in faults(dataclasses.replace(view, size=4), ("n1", "n2", "n3", "n4")))
    assert Fault("x").heals


def test_waiting_ends_with_the_reason_and_sooner_where_it_cannot_help() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def monitor(path: str) -> Mapping[str, Any]:
        if path == "/varz":
            return {"server_name": "n1"}
        if path == "/healthz":
            return {"status": "ok"}
        if path == "/routez":
            return {"routes": [{"remote_name": "n2"}]}
        gone = {"name": "n3", "current": False}
        return {"meta_cluster": {"leader": "n1", "cluster_size": 2, "replicas": [gone]}}

    with pytest.raises(NatsError, match="n3 is gone and still counts"):
        wait_until_whole(monitor, ["n1", "n2"], 300, lambda: now[0], sleep)
    assert now[0] == 30
    with pytest.raises(NatsError, match="n3 of the meta group is not there"):
        wait_until_whole(monitor, ["n1", "n3"], 300, lambda: now[0], sleep)
    assert now[0] == 330

    def silent(path: str) -> Mapping[str, Any]:
        raise OSError("refused")

    with pytest.raises(NatsError, match="its monitoring does not answer: refused"):
        wait_until_whole(silent, ["n1"], 3, lambda: now[0], sleep)


def test_who_may_be_forgotten() -> None:
    view = dataclasses.replace(WHOLE, meta=Group("n1", (N2, GONE)))
    led, orphan = Stored("APP", "KEPT", "n1"), Stored("APP", "ONLY", "")
    assert forgettable("n3", view, [led]) == ""
    assert "may have its only copy" in forgettable("n3", view, [led, orphan])
    assert "ONLY of account APP" in forgettable("n3", view, [led, orphan])
    assert "n2 is there" in forgettable("n2", view, [led])
    assert "stop it first" in forgettable("n1", view, [led])
    alone = dataclasses.replace(WHOLE, meta=Group("n1", (dataclasses.replace(GONE, name="n2"), GONE)))
    assert "no majority" in forgettable("n3", alone, [led])
    with pytest.raises(NatsError, match="account APP, and no user is named"):
        forget_peer("n3", view, {}, None, **REAL)
    assert not forget_peer("n9", view, {}, None, **REAL)


class Joining:
    """A cluster that takes no change of its members for some time."""

    def __init__(self, until: float) -> None:
        self.now = 0.0
        self.until = until

    def ask(self, subject: str, body: object = None) -> dict[str, Any]:
        assert (subject, body) == ("$JS.API.SERVER.REMOVE", {"peer": "n3"})
        if self.now >= self.until:
            return {"success": True}
        return {"error": {"code": 400, "err_code": 10202, "description": "cluster member change is in progress"}}

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_server_is_forgotten_when_another_has_joined() -> None:
    cluster = Joining(10)
    forget(cluster, "n3", lambda: cluster.now, cluster.sleep)
    assert cluster.now == 10
    cluster = Joining(100)
    with pytest.raises(NatsError, match="member change is in progress"):
        forget(cluster, "n3", lambda: cluster.now, cluster.sleep)
    assert cluster.now == 30


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with three_servers(tmp_path) as made:
        yield made


@pytest.mark.timeout(280)
def test_a_server_replaced_under_a_new_name_is_named_and_can_be_forgotten(cluster: Cluster) -> None:
    app = cluster.client("n1")
    carry_out(
        app,
        plan(
            Wanted("KEPT", {"subjects": ["kept.>"], "num_replicas": 3, "storage": "file", "max_bytes": 1 << 20}), None
        ),
    )
    cluster.whole(*SERVERS)
    leader = cluster.leader(*SERVERS)
    dead = next(name for name in SERVERS if name != leader)
    singles = []
    for number in range(20):  # placed where JetStream likes
        name = f"ONLY{number}"
        carry_out(app, plan(Wanted(name, {"subjects": [f"only.{number}"], "num_replicas": 1, "storage": "file"}), None))
        if app.ask(f"$JS.API.STREAM.INFO.{name}")["cluster"]["leader"] == dead:
            singles.append(name)
            break
    assert singles
    app.close()
    alive = tuple(name for name in SERVERS if name != dead)
    cluster.kill(dead)
    cluster.start("n4", [*alive, "n4"])
    servers = (*alive, "n4")
    until(lambda: look(cluster.monitor(cluster.leader(*servers))).size == 4)
    until(lambda: any(not peer.there for peer in look(cluster.monitor(cluster.leader(*servers))).meta.peers))
    with pytest.raises(NatsError) as missing:
        cluster.whole(
            cluster.leader(*servers), *(name for name in servers if name != cluster.leader(*servers)), speed=20
        )
    assert f"{dead} is gone and still counts in the meta group" in str(missing.value)
    until(lambda: f"stream KEPT of account APP misses its replica on {dead}" in " ".join(
        fault.clause for name in alive for fault in faults(look(cluster.monitor(name)), servers)
    ))  # fmt: skip
    leader = cluster.leader(*servers)
    view = look(cluster.monitor(leader))
    accounts = {"APP": lambda: cluster.client(leader)}
    with pytest.raises(NatsError, match="may have its only copy") as refused:
        forget_peer(dead, view, accounts, lambda: cluster.client(leader, "op"), **REAL)
    assert singles[0] in str(refused.value)
    for name in singles:  # given up, which takes no answer of a leader
        client = cluster.client(leader)
        with contextlib.suppress(NatsError):
            client.ask(f"$JS.API.STREAM.DELETE.{name}")
        client.close()
    until(lambda: _unled(cluster, leader) == [])
    assert forget_peer(dead, view, accounts, None, **REAL), "check mode"
    assert look(cluster.monitor(leader)).size == 4
    assert forget_peer(dead, view, accounts, lambda: cluster.client(leader, "op"), **REAL)
    cluster.whole(*servers)
    info = cluster.client(leader).ask("$JS.API.STREAM.INFO.KEPT")["cluster"]
    assert {info["leader"], *(each["name"] for each in info["replicas"])} == set(servers)
    assert not forget_peer(dead, look(cluster.monitor(cluster.leader(*servers))), accounts, None, **REAL)


def _unled(cluster: Cluster, leader: str) -> list[str]:
    client = cluster.client(leader)
    names = client.ask("$JS.API.STREAM.NAMES").get("streams") or []
    found = []
    for name in names:
        try:
            if not client.ask(f"$JS.API.STREAM.INFO.{name}")["cluster"].get("leader"):
                found.append(name)
        except (NatsError, KeyError):
            found.append(name)
    client.close()
    return found
