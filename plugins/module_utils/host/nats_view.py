# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the servers of a NATS cluster say of it: who is in, which stream is where, and what is not in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_LEADERLESS: Final = "the cluster has no meta leader"


@dataclass(frozen=True)
class Group:
    """The replicas of a stream or a consumer, as its leader sees them. `leader` is "" without one."""

    account: str
    stream: str
    consumer: str
    wanted: int
    leader: str
    current: frozenset[str]  # with the leader
    late: frozenset[str]
    offline: frozenset[str]

    @property
    def what(self) -> str:
        return f"consumer {self.consumer} of the stream {self.stream}" if self.consumer else f"stream {self.stream}"

    @property
    def peers(self) -> frozenset[str]:
        return self.current | self.late | self.offline


@dataclass(frozen=True)
class Cluster:
    """All of it. `leader` is the meta group's, "" without one; `members` are the meta group, `silent` those that it has not heard of lately.

    `heard` are the servers whose answers this is made of: a stream with one replica only its own server knows.
    """

    leader: str
    members: frozenset[str]
    silent: frozenset[str]
    heard: frozenset[str]
    groups: tuple[Group, ...] = field(default=())

    def of(self, node: str) -> list[Group]:
        """What has a replica on a node."""
        return [group for group in self.groups if node in group.peers]

    def streams_of(self, node: str) -> list[tuple[str, str]]:
        """Account and name of each stream that has a replica on a node, or a consumer with one."""
        return sorted({(group.account, group.stream) for group in self.of(node)})


def read(answers: Iterable[Mapping[str, Any]]) -> Cluster:
    """From the answers of all servers to $SYS.REQ.SERVER.PING.JSZ, with accounts, streams, consumers and configurations."""
    leader, members, silent, heard = "", set[str](), set[str](), set[str]()
    groups: dict[tuple[str, str, str], Group] = {}
    for answer in answers:
        server = str((answer.get("server") or {}).get("name") or "")
        data = answer.get("data") or {}
        meta = data.get("meta_cluster") or {}
        if meta:  # else JetStream does not run there yet, and it says nothing of its streams
            heard.add(server)
        if server and meta.get("leader") == server:
            leader = server
            replicas = meta.get("replicas") or []
            members = {server, *(str(one["name"]) for one in replicas)}
            silent = {str(one["name"]) for one in replicas if one.get("offline") or not one.get("current")}
        for group in _groups(data, server):
            key = (group.account, group.stream, group.consumer)
            # the leader knows best; one that only has a replica tells at least that there is such a stream
            if key not in groups or group.leader == server:
                groups[key] = group
    return Cluster(
        leader, frozenset(members), frozenset(silent), frozenset(heard), tuple(groups[key] for key in sorted(groups))
    )


def _groups(data: Mapping[str, Any], server: str) -> Iterable[Group]:
    for account in data.get("account_details") or []:
        for stream in account.get("stream_detail") or []:
            where = str(account.get("id") or account.get("name")), str(stream["name"])
            wanted = int((stream.get("config") or {}).get("num_replicas") or 1)
            yield _group((*where, ""), wanted, stream.get("cluster") or {}, server)
            for consumer in stream.get("consumer_detail") or []:
                own = int((consumer.get("config") or {}).get("num_replicas") or 0) or wanted
                yield _group((*where, str(consumer["name"])), own, consumer.get("cluster") or {}, server)


def _group(where: tuple[str, str, str], wanted: int, told: Mapping[str, Any], server: str) -> Group:
    leader = str(told.get("leader") or "")
    replicas = told.get("replicas") or []
    offline = {str(one["name"]) for one in replicas if one.get("offline")}
    current = {str(one["name"]) for one in replicas if one.get("current")} - offline
    late = {str(one["name"]) for one in replicas} - current - offline
    # one that is no leader lists the others, itself not
    (current if leader else late).add(leader or server)
    if server not in current | late | offline:
        late.add(server)
    return Group(*where, wanted, leader, frozenset(current), frozenset(late), frozenset(offline))


def unheard(cluster: Cluster, node: str) -> str:
    """Whose answer is missing to know what a node and all that are not silent have, as a clause, "" when none is."""
    if not cluster.leader:
        return _LEADERLESS
    missing = sorted((cluster.members - cluster.silent | {node}) - cluster.heard)
    return f"{' and '.join(missing)} did not say in time which streams it has" if missing else ""


def fault(cluster: Cluster) -> str:
    """What is not in order, as a clause, "" when all is."""
    if not cluster.leader:
        return _LEADERLESS
    for group in cluster.groups:
        if not group.leader:
            return f"the {group.what} has no leader, as more than half of its replicas are away"
        late = sorted(group.late | group.offline)
        if late:
            return f"the replica of the {group.what} on {' and '.join(late)} is not current"
        if len(group.peers) < group.wanted:
            return f"the {group.what} has {len(group.peers)} of {group.wanted} replicas"
    return ""
