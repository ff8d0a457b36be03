# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node makes of the servers' own words, in the shape in which nats-server 2.10 to 2.15 gives them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host import nats_view


def replica(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "current": True, "active": 10**8, **more}


def answer(
    server: str, streams: list[dict[str, Any]], leader: str = "a", replicas: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    meta: dict[str, Any] = {"leader": leader}
    if server == leader:
        meta["replicas"] = replicas if replicas is not None else [replica("b"), replica("c")]
    details = [{"name": "APP", "id": "APP", "stream_detail": streams}]
    return {"server": {"name": server}, "data": {"meta_cluster": meta, "account_details": details}}


def stream(
    leader: str, *replicas: dict[str, Any], wanted: int = 3, consumers: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {
        "name": "KEPT", "config": {"num_replicas": wanted}, "cluster": {"leader": leader, "replicas": list(replicas)},
        "consumer_detail": consumers or [],
    }  # fmt: skip


def test_the_leader_of_a_stream_knows_best() -> None:
    late = stream("a", replica("a", current=False), replica("c", offline=True))
    found = nats_view.read(
        [answer("b", [late]), answer("a", [stream("a", replica("b"), replica("c"))]), answer("c", [late])]
    )
    assert found.leader == "a"
    assert found.members == {"a", "b", "c"}
    assert found.groups[0].current == {"a", "b", "c"}
    assert nats_view.fault(found) == ""
    assert found.streams_of("b") == [("APP", "KEPT")]
    assert found.of("d") == []


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([], "the cluster has no meta leader"),
        ([answer("b", [stream("a")])], "the cluster has no meta leader"),
        ([answer("a", [stream("a", replica("b", current=False), replica("c"))])], "the replica of the stream KEPT on b is not current"),
        ([answer("a", [stream("a", replica("b", offline=True), replica("c"))])], "the replica of the stream KEPT on b is not current"),
        ([answer("a", [stream("a", replica("b"))])], "the stream KEPT has 2 of 3 replicas"),
        ([answer("a", []), answer("b", [stream("")])], "the stream KEPT has no leader"),
        (
            [answer("a", [stream("a", replica("b"), replica("c"), consumers=[
                {"name": "work", "config": {}, "cluster": {"leader": "a", "replicas": [replica("b")]}}])])],
            "the consumer work of the stream KEPT has 2 of 3 replicas",
        ),
    ],
)  # fmt: skip
def test_what_is_not_in_order_is_named(answers: list[dict[str, Any]], reason: str) -> None:
    assert nats_view.fault(nats_view.read(answers)).startswith(reason)


def test_a_member_that_nobody_heard_of_is_silent() -> None:
    found = nats_view.read([answer("a", [], replicas=[replica("b"), replica("c", current=False, active=10**11)])])
    assert found.silent == {"c"}


def test_a_consumer_of_one_replica_is_complete() -> None:
    consumer = {"name": "own", "config": {"num_replicas": 1}, "cluster": {"leader": "b"}}
    found = nats_view.read(
        [answer("b", [stream("a", consumers=[consumer])]), answer("a", [stream("a", replica("b"), replica("c"))])]
    )
    assert nats_view.fault(found) == ""
    assert [group.consumer for group in found.of("b")] == ["", "own"]
