# SPDX-License-Identifier: GPL-3.0-or-later
"""What a NATS node decides when it leaves and when it forgets others, with stand-ins for the servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host import machine
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Instance
from ansible_collections.boring.fleet.plugins.module_utils.host.nats_node import NatsNode
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told

TOLD = Told(
    "shop", "bus", "nats", "eu-central-1", "shop-bus", "", "enter", "leave", 120, 3, "", False, "bus.shop.fleet.internal", 0, "", False, "",
    {}, {"system": "/s"},
)  # fmt: skip
Answer = dict[str, Any]


def answer(name: str, *streams: str, leads: bool = False, silent: Sequence[str] = ()) -> Answer:
    """A server of the cluster i-1, i-2, i-3 with streams of one replica."""
    meta: Answer = {"leader": "i-1"}
    if leads:
        meta["replicas"] = [
            {"name": other, "current": other not in silent} for other in ("i-1", "i-2", "i-3") if other != name
        ]
    details = [
        {"name": one, "config": {"num_replicas": 1}, "cluster": {"leader": name}, "consumer_detail": []}
        for one in streams
    ]
    return {
        "server": {"name": name},
        "data": {"meta_cluster": meta, "account_details": [{"name": "APP", "stream_detail": details}]},
    }


def view(leader: str, *others: str) -> list[Answer]:
    """What the servers i-1 to i-4 say of one stream of three replicas: its leader, "" for none, and its other replicas."""
    meta = {"leader": "i-2", "replicas": [{"name": name, "current": True} for name in ("i-1", "i-3", "i-4")]}
    cluster = {"leader": leader, "replicas": [{"name": name, "current": True} for name in others]}
    stream = {"name": "KEPT", "config": {"num_replicas": 3}, "cluster": cluster}
    said: Answer = {"meta_cluster": meta, "account_details": [{"id": "APP", "stream_detail": [stream]}]}
    rest = [{"server": {"name": name}, "data": {"meta_cluster": {"leader": "i-2"}}} for name in ("i-1", "i-3", "i-4")]
    return [{"server": {"name": "i-2"}, "data": said}, *rest]


class World:
    """`rounds` are the answers to one gathering after the other, the last one to all that follow."""

    def __init__(self, me: int, *rounds: list[Answer], there: Sequence[int] = (1, 2, 3)) -> None:
        self.rounds, self.sent = list(rounds), list[str]()
        self.files = {"/etc/nats/nats.conf"}
        self.known = [
            Instance(f"i-{number}", f"10.0.0.{number}", "running", str(number), "InService") for number in there
        ]
        self.now = 0.0
        world: Any = self
        self.node = NatsNode(
            TOLD, f"i-{me}", world, world, lambda _: world, lambda: "", lambda: self.now, self.sleep, lambda _: None
        )

    def sleep(self, seconds: float) -> None:
        self.now += 60

    def ask_all(
        self, subject: str, payload: object, enough: Callable[[list[Answer]], bool], seconds: float
    ) -> list[Answer]:
        answers = self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]
        found: list[Answer] = []
        for one in answers:
            if enough(found):
                break
            found.append(one)
        return found

    def ask(self, subject: str, payload: object) -> Answer:
        self.sent.append(subject)
        return {}

    def close(self) -> None:
        pass

    def instances(self, fleet: str, service: str) -> list[Instance]:
        return self.known

    def parameters(self, names: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(names, "password")

    def exists(self, path: str) -> bool:
        return path in self.files

    def read(self, path: str) -> str:
        return ""

    def overwrite(self, path: str, text: str) -> None:
        self.files.add(path)

    def run(self, argv: Sequence[str], seconds: float = 30) -> tuple[int, str]:
        self.sent.append(" ".join(argv[:2]))
        return 0, ""


LEADER, SECOND, THIRD = answer("i-1", leads=True), answer("i-2"), answer("i-3")
FOUR = (1, 2, 3, 4)
REMOVE = "$JS.API.SERVER.REMOVE"


def test_a_node_that_holds_nothing_goes() -> None:
    world = World(2, [LEADER, SECOND, THIRD])
    world.node.leave()
    assert world.sent == [REMOVE, "systemctl stop"]


@pytest.mark.parametrize(
    ("answers", "missing"),
    [
        ([LEADER, THIRD], "i-2"),
        ([LEADER, {"server": {"name": "i-2"}, "data": {"disabled": True}}, THIRD], "i-2"),
        ([answer("i-1", leads=True, silent=["i-2"]), THIRD], "i-2"),
        ([LEADER, answer("i-2")], "i-3"),
    ],
    ids=["its own", "its own without JetStream", "its own, and the leader takes it for late", "another's"],
)
def test_it_stays_until_it_is_known_what_is_stored(answers: list[Answer], missing: str) -> None:
    world = World(2, answers)
    with pytest.raises(HostError, match=f"^{missing} did not say in time which streams it has: waiting"):
        world.node.leave()
    assert world.sent == []


def test_an_answer_that_is_missing_while_replicas_are_moved_is_not_their_end() -> None:
    world = World(2, [LEADER, answer("i-2", "OWN"), THIRD], [LEADER, THIRD])
    with pytest.raises(HostError, match=r"^i-2 did not say"):
        world.node.leave()
    assert world.sent == ["$JS.API.ACCOUNT.STREAM.MOVE.APP.OWN"]


def test_a_server_that_is_none_of_the_nodes_takes_no_place() -> None:
    """As many answers as there are nodes are not those of the nodes."""
    world = World(2, [answer("i-0"), LEADER, THIRD, answer("i-2", "OWN")], [LEADER, SECOND, THIRD])
    world.node.leave()
    assert world.sent == ["$JS.API.ACCOUNT.STREAM.MOVE.APP.OWN", REMOVE, "systemctl stop"]


def test_one_that_is_silent_is_not_waited_for() -> None:
    world = World(2, [answer("i-1", leads=True, silent=["i-3"]), SECOND])
    world.node.leave()
    assert REMOVE in world.sent


def test_one_that_is_gone_is_forgotten_once_all_others_said_what_they_store() -> None:
    seen = answer("i-1", leads=True, silent=["i-3"])
    world = World(1, [seen], [seen, SECOND], there=(1, 2))
    world.node.told = replace(TOLD, plaintext=True)
    with pytest.raises(HostError, match=r"^i-2 did not say in time which streams it has: i-3 is forgotten after that"):
        world.node.keep()
    assert world.sent == []
    world.node.keep()
    assert world.sent == [REMOVE]


def test_it_goes_when_the_others_have_all_and_not_before() -> None:
    last = view("i-2", "i-3", "i-4")
    world = World(1, view("i-1", "i-2", "i-3"), view("", "i-2", "i-3", "i-4"), last, there=FOUR)
    world.node.leave()
    assert world.sent == ["$JS.API.ACCOUNT.STREAM.MOVE.APP.KEPT", REMOVE, "systemctl stop"]
    assert world.rounds == [last], "it looked until the stream had a leader again"
    assert machine.LEFT in world.files


def test_it_stays_while_a_stream_that_it_gave_away_has_no_leader() -> None:
    world = World(1, view("i-1", "i-2", "i-3"), view("", "i-2", "i-3", "i-4"), there=FOUR)
    with pytest.raises(HostError, match="replicas are still being moved away: the stream KEPT has no leader"):
        world.node.leave()
    assert REMOVE not in world.sent
    assert machine.LEFT not in world.files


def test_it_gives_nothing_away_while_a_stream_is_not_in_order() -> None:
    world = World(1, view("i-2", "i-1"), there=FOUR)
    with pytest.raises(HostError, match="the stream KEPT has 2 of 3 replicas: waiting"):
        world.node.leave()
    assert world.sent == []
