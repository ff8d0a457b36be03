# SPDX-License-Identifier: GPL-3.0-or-later
"""When a NATS node may go, with stand-ins for the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host import machine, nats_config
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Instance
from ansible_collections.boring.fleet.plugins.module_utils.host.nats_node import NatsNode
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told

TOLD = Told(
    "shop", "bus", "nats", "eu-central-1", "shop-bus", "", "enter", "leave", 120, 3, "", True, "bus.shop.fleet.internal", 0, "", False,
    "", {}, {"system": "/s"},
)  # fmt: skip
REMOVED = ("$JS.API.SERVER.REMOVE", {"peer": "i-1"})


def view(leader: str, *others: str) -> list[dict[str, Any]]:
    """What the servers say of a cluster of four with one stream: its leader, "" for none, and its other replicas."""
    meta = {"leader": "i-2", "replicas": [{"name": name, "current": True} for name in ("i-1", "i-3", "i-4")]}
    cluster = {"leader": leader, "replicas": [{"name": name, "current": True} for name in others]}
    stream = {"name": "KEPT", "config": {"num_replicas": 3}, "cluster": cluster}
    return [
        {
            "server": {"name": "i-2"},
            "data": {"meta_cluster": meta, "account_details": [{"id": "APP", "stream_detail": [stream]}]},
        }
    ]


class World:
    """The node i-1, and what a look at the cluster says, one after the other; the last one stays."""

    def __init__(self, *views: list[dict[str, Any]]) -> None:
        self.views, self.sent = list(views), list[tuple[str, Any]]()
        self.files = {nats_config.CONFIG: "config"}
        self.now = 0.0
        there: Any = self
        self.node = NatsNode(
            TOLD, "i-1", there, there, lambda _: there, lambda: "", lambda: self.now, self.sleep, lambda _: None
        )

    def sleep(self, seconds: float) -> None:
        self.now += 60

    def ask_all(self, subject: str, payload: Any, most: int, seconds: float) -> list[dict[str, Any]]:
        return self.views.pop(0) if len(self.views) > 1 else self.views[0]

    def ask(self, subject: str, payload: Any = None) -> dict[str, Any]:
        self.sent.append((subject, payload))
        return {}

    def close(self) -> None:
        pass

    def instances(self, fleet: str, service: str) -> list[Instance]:
        return [
            Instance(f"i-{number}", f"10.0.0.{number}", "running", str(number), "InService") for number in (1, 2, 3, 4)
        ]

    def parameters(self, names: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(names, "password")

    def exists(self, path: str) -> bool:
        return path in self.files

    def overwrite(self, path: str, text: str) -> None:
        self.files[path] = text

    def run(self, argv: Sequence[str], seconds: float = 30) -> tuple[int, str]:
        return 0, ""


def test_it_goes_when_the_others_have_all_and_not_before() -> None:
    world = World(view("i-1", "i-2", "i-3"), view("", "i-2", "i-3", "i-4"), view("i-2", "i-3", "i-4"))
    world.node.leave()
    assert [subject for subject, dummy in world.sent] == ["$JS.API.ACCOUNT.STREAM.MOVE.APP.KEPT", REMOVED[0]]
    assert not world.views[1:], "it looked until the stream had a leader again"
    assert machine.LEFT in world.files


def test_it_stays_while_a_stream_that_it_gave_away_has_no_leader() -> None:
    world = World(view("i-1", "i-2", "i-3"), view("", "i-2", "i-3", "i-4"))
    with pytest.raises(HostError, match="replicas are still being moved away: the stream KEPT has no leader"):
        world.node.leave()
    assert REMOVED not in world.sent
    assert machine.LEFT not in world.files


def test_it_gives_nothing_away_while_a_stream_is_not_in_order() -> None:
    world = World(view("i-2", "i-1"))
    with pytest.raises(HostError, match="the stream KEPT has 2 of 3 replicas: waiting until it is"):
        world.node.leave()
    assert world.sent == []
