# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of a service, whose answers are a list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host.service_node import ServiceNode
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told, read

TOLD: Told = read(
    '{"fleet": "shop", "service": "web", "kind": "service", "region": "eu-central-1", "group": "shop-web", "port": 8000, "health": "/up"}'
)


class World:
    def __init__(self, *answers: int, told: Told = TOLD) -> None:
        self.answers, self.time = list(answers), 0.0
        self.asked: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.node = ServiceNode(told, self.ask, lambda: self.time, self.sleep, self.said.append)

    def ask(self, method: str, path: str) -> int:
        self.asked.append((method, path))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_it_enters_once_it_is_ready() -> None:
    world = World(0, 503, 200)
    world.node.enter()
    assert world.asked == [("GET", "/up")] * 3


@pytest.mark.parametrize(("status", "words"), [(0, "does not answer"), (503, "answers 503")])
def test_one_that_does_not_get_ready_is_named(status: int, words: str) -> None:
    with pytest.raises(HostError, match=f"web at port 8000, /up, {words}"):
        World(status).node.enter()


def test_it_leaves_once_nothing_is_in_hand() -> None:
    world = World(503, 503, 200)
    world.node.leave()
    assert world.asked == [("POST", "/drain")] * 3
    assert world.said == ["web has nothing in hand any more"]


@pytest.mark.parametrize("status", [0, 403, 404, 405])
def test_one_that_cannot_be_drained_goes(status: int) -> None:
    world = World(status)
    world.node.leave()
    assert "it cannot be drained, and the load balancer sends it nothing more" in world.said[0]


def test_work_without_end_is_said() -> None:
    with pytest.raises(HostError, match="web at port 8000, /drain, still has work in hand"):
        World(503).node.leave()


def test_one_that_serves_nobody_enters_and_leaves_at_once() -> None:
    world = World(0, told=replace(TOLD, port=0, health=""))
    world.node.enter()
    world.node.leave()
    assert world.asked == []
