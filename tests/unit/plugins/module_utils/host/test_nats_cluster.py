# SPDX-License-Identifier: GPL-3.0-or-later
"""NATS nodes that join, leave and die, with real servers on loopback and a client that writes meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host import peers
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError
from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client, NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.snapshot import Snapshots, mismatch
from tests.unit.plugins.module_utils.host import data_group
from tests.unit.plugins.module_utils.host.nats_loopback import APP, SYSTEM, Group, Node

pytestmark = pytest.mark.timeout(240)


def writing(group: Group) -> data_group.Writer:
    """A careful client: each message has an id, and is sent again until it is acknowledged."""

    def connect() -> Client:
        for node in group.nodes.values():
            with suppress(NatsError):
                return node.connect(APP, "app", 1.0)
        raise NatsError("nobody answers")

    def write(client: Client, number: int) -> None:
        answer = client.ask(f"kept.{number}", {"number": number})
        if "error" in answer:
            raise NatsError(str(answer))

    return data_group.Writer(connect, write, NatsError)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    hashed = bcrypt.hashpw(APP.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()
    found = Group(tmp_path, hashed)
    yield found
    found.end()


@pytest.fixture
def three(group: Group) -> Group:
    nodes = [group.launch() for _ in range(3)]
    group.enter(*nodes)
    made = ask(nodes[0], "$JS.API.STREAM.CREATE.KEPT", {"name": "KEPT", "subjects": ["kept.>"], "num_replicas": 3})
    assert "error" not in made, made
    ask(nodes[0], "$JS.API.CONSUMER.DURABLE.CREATE.KEPT.work", {"stream_name": "KEPT", "config": {"durable_name": "work", "ack_policy": "explicit"}})  # fmt: skip
    return group


def ask(node: Node, subject: str, payload: dict[str, Any]) -> dict[str, Any]:
    client = node.connect(APP, "app")
    try:
        return client.ask(subject, payload)
    finally:
        client.close()


def stream(group: Group) -> dict[str, Any]:
    node = next(node for node in group.nodes.values() if node.runs)
    return ask(node, "$JS.API.STREAM.INFO.KEPT", {})


def homes(group: Group) -> set[str]:
    cluster = stream(group)["cluster"]
    return {cluster["leader"], *(one["name"] for one in cluster["replicas"])}


def until_current(group: Group, replicas: int) -> None:
    """As many replicas as before, beside the leader's. On a busy machine one is behind for moments while a client writes."""
    end = time.monotonic() + 20
    while (found := [one["current"] for one in stream(group)["cluster"]["replicas"]]) != [True] * replicas:
        assert time.monotonic() < end, found
        time.sleep(0.2)


def members(group: Group) -> set[str]:
    node = next(node for node in group.nodes.values() if node.runs)
    there: Any = group
    return set(node.node._view(SYSTEM, peers.look(there, group.told, node.id)).members)


def test_all_three_are_replaced_one_by_one_under_load_and_nothing_is_lost(three: Group) -> None:
    with writing(three) as writer:
        for old in list(three.nodes.values()):
            three.enter(three.launch())
            three.leave(old, 60)
            assert not old.runs
            old.node.leave()  # another step failed, and all of them run again
            assert not old.runs
            until_current(three, 2)
    assert homes(three) == {"i-04", "i-05", "i-06"}
    assert members(three) == {"i-04", "i-05", "i-06"}
    assert stream(three)["state"]["messages"] >= writer.acknowledged > 100
    assert writer.pause < 10


def test_a_node_without_a_place_for_its_replicas_stays(three: Group) -> None:
    node = three.nodes["i-02"]
    three.lifecycle[node.id] = "Terminating:Wait"
    with pytest.raises(HostError, match="the group needs one more before this one goes"):
        node.node.leave()
    assert node.runs
    assert homes(three) == {"i-01", "i-02", "i-03"}


def test_a_node_that_died_is_forgotten_once_another_has_its_replicas(three: Group) -> None:
    with writing(three) as writer:
        three.nodes["i-01"].kill()
        three.away.add("i-01")
        three.enter(three.launch())
        three.keep("i-01 is gone for good")
    assert homes(three) == {"i-02", "i-03", "i-04"}
    assert members(three) == {"i-02", "i-03", "i-04"}
    assert stream(three)["state"]["messages"] >= writer.acknowledged > 100


def test_empty_nodes_never_form_a_cluster_of_their_own(three: Group) -> None:
    """Two of three are lost for good, and the last is away for a while: two empty ones must not elect a leader that forgets the stream.

    nats-server 2.9 lets them, if each counts no more routes than there are nodes.
    """
    for name in ("i-01", "i-02", "i-03"):
        three.nodes[name].kill()
    three.away |= {"i-01", "i-02"}
    new = [three.launch(), three.launch()]
    with pytest.raises(AssertionError, match="not in step"):
        three.enter(*new, seconds=20)
    last = three.nodes["i-03"]
    last.run(["systemctl", "start", "nats-server.service"])
    with pytest.raises(AssertionError, match="not in step"):
        three.enter(*new, seconds=10)
    assert last.exists("/var/lib/nats/jetstream/APP/streams/KEPT"), "its last copy is still there"


def test_a_stream_of_a_cluster_comes_back_with_all_its_replicas(three: Group) -> None:
    """NATS's own backup, as data_backup takes it, through a server that leads nothing or everything."""
    node = three.nodes["i-02"]
    snapshots = Snapshots([(node.address, 4222)], node.login("app", APP), 20)
    for number in range(200):
        snapshots.ask(f"kept.{number}", {"number": number, "text": "x" * 3000})
    messages = [snapshots.ask("$JS.API.STREAM.MSG.GET.KEPT", {"seq": number + 1})["message"] for number in range(200)]
    pieces: list[bytes] = []
    saved = snapshots.save("KEPT", pieces.append, 60)
    snapshots.remove("KEPT")
    snapshots.load("KEPT", saved["config"], saved["state"], iter(pieces), 60)
    end = time.monotonic() + 60
    while (why := mismatch(saved["state"], saved["state"], snapshots.info("KEPT")["state"])) or not all(
        replica["current"] for replica in stream(three)["cluster"]["replicas"]
    ):
        assert time.monotonic() < end, (why, stream(three))
        time.sleep(0.2)
    assert homes(three) == {"i-01", "i-02", "i-03"}
    again = [snapshots.ask("$JS.API.STREAM.MSG.GET.KEPT", {"seq": number + 1})["message"] for number in range(200)]
    assert again == messages
    with pytest.raises(NatsError, match="already in use"):
        snapshots.load("KEPT", saved["config"], saved["state"], iter(pieces), 60)
    snapshots.close()
