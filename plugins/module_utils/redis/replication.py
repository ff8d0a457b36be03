# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica set under Sentinel: is it whole, who is its master, and how does another become it without losing a write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Answers, ConnectionLostError, RedisError

# A replica asks every second; while a load is on, it is always a little behind.
_NEAR = 1 << 20
# Writes wait for as long as Sentinel takes. Should who asked for that die, they go on after this time
_PAUSE_MS = 30_000
_FAILOVER_SECONDS = 120.0
_REPLICAS_SECONDS = 3.0
_SENTINEL_AGREED = "OK"


@dataclass(frozen=True)
class Node:
    """What one Redis says of its replication, and what the Sentinel beside it believes."""

    address: str
    role: str
    offset: int
    link_up: bool
    syncing: bool
    master: str  # of a replica: whose; empty for a master
    sentinel_master: str  # what the Sentinel here gives to clients
    quorum: str  # the Sentinel's answer to CKQUORUM
    promotable: int  # how many replicas the Sentinel would take for a master


@dataclass(frozen=True)
class Sets:
    """How to talk to a set: a connection to a node's Redis, or to its Sentinel, made when asked for."""

    nodes: Sequence[str]
    name: str
    redis: Callable[[str], Answers]
    sentinel: Callable[[str], Answers]


def fields(text: str) -> dict[str, str]:
    """INFO as a dictionary."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


def ask(sets: Sets, address: str) -> Node:
    """One node's view. Raises RedisError when its Redis or its Sentinel does not answer."""
    redis = sets.redis(address)
    try:
        info = fields(redis("INFO", "replication"))
    finally:
        redis.close()
    sentinel = sets.sentinel(address)
    try:
        believed = sentinel("SENTINEL", "GET-MASTER-ADDR-BY-NAME", sets.name)
        try:
            quorum = str(sentinel("SENTINEL", "CKQUORUM", sets.name))
        except RedisError as exc:
            quorum = str(exc)
        replicas = sentinel("SENTINEL", "REPLICAS", sets.name) if believed else []
    finally:
        sentinel.close()
    replica = info.get("role") == "slave"
    return Node(
        address,
        info.get("role", ""),
        int(info.get("slave_repl_offset" if replica else "master_repl_offset", 0)),
        not replica or info.get("master_link_status") == "up",
        replica and info.get("master_sync_in_progress") != "0",
        info.get("master_host", "") if replica else "",
        str(believed[0]) if believed else "",
        quorum,
        sum(_promotable(dict(zip(each[::2], each[1::2], strict=True))) for each in replicas),
    )


def known_master(sets: Sets) -> str:
    """Whom the first Sentinel that answers takes for the master; empty where none answers, or knows the set."""
    for address in sets.nodes:
        try:
            believed = _say(sets.sentinel, address, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sets.name)
        except RedisError:
            continue
        if believed:
            return str(believed[0])
    return ""


def _promotable(replica: Mapping[str, str]) -> bool:
    """Sentinel learns of a link that came up only when it asks again, up to ten seconds later."""
    return replica.get("flags") == "slave" and replica.get("master-link-status") == "ok"


def fault(nodes: Sequence[Node]) -> str:
    """Why the set is not whole, as one clause; empty when it is."""
    believed = {node.sentinel_master for node in nodes}
    if len(believed) != 1 or "" in believed:
        return "its Sentinels do not agree on the master: " + ", ".join(
            f"{node.address} says {node.sentinel_master or 'nothing'}" for node in nodes
        )
    masters = [node.address for node in nodes if node.role == "master"]
    if len(masters) != 1:
        return f"{' and '.join(masters) or 'nobody'} is master"
    master = masters[0]
    if believed != {master}:
        return f"{master} is master, and its Sentinels say {believed.pop()}"
    for node in nodes:
        if not node.quorum.startswith(_SENTINEL_AGREED):
            return f"the Sentinel on {node.address} has no quorum: {node.quorum}"
        if node.promotable < len(nodes) - 1:
            return f"the Sentinel on {node.address} sees {node.promotable} of {len(nodes) - 1} replicas in order"
    top = next(node.offset for node in nodes if node.address == master)
    for node in nodes:
        if node.role == "master":
            continue
        if node.master != master:
            return f"{node.address} follows {node.master or 'nobody'}, not {master}"
        if not node.link_up:
            return f"{node.address} has lost its master"
        if node.syncing:
            return f"{node.address} is still copying from its master"
        if top - node.offset > _NEAR:
            return f"{node.address} is {top - node.offset} bytes behind its master"
    return ""


def wait_until_whole(sets: Sets, patience: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> str:
    """The master's address, once the set is whole. Raises RedisError after `patience` seconds."""
    deadline = clock() + patience
    while True:
        try:
            nodes = [ask(sets, address) for address in sets.nodes]
            why = fault(nodes)
        except RedisError as exc:
            nodes, why = [], str(exc).partition(";")[0]
        if not why:
            return next(node.address for node in nodes if node.role == "master")
        if clock() >= deadline:
            raise RedisError(f"The replica set {sets.name} is not whole: {why}; bring it in order, then go on.")
        sleep(0.5)


def hand_over(
    sets: Sets, address: str, patience: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> str:
    """Let another than `address` be master; who is it now. Raises RedisError.

    Sentinel's own failover does not wait for writes on their way, and makes the old master a replica only seconds after it
    named the new one. So writes are held up until a replica has all of them, and until the old master is a replica or Sentinel
    gave up: what it took in between would be lost.
    """
    master = wait_until_whole(sets, patience, clock, sleep)
    if master != address:
        return master
    deadline = clock() + _FAILOVER_SECONDS

    def insist(*words: str) -> Any:
        """Ask the old master again when the connection is lost: who makes it a replica cuts all that are open."""
        while True:
            try:
                return _say(sets.redis, master, *words)
            except ConnectionLostError:
                if clock() >= deadline:
                    raise
                sleep(0.1)

    pause = "CLIENT", "PAUSE", str(_PAUSE_MS), "WRITE"
    _say(sets.redis, master, *pause)
    try:
        _wait_for_replicas(sets, master, clock, sleep)
        _say(sets.sentinel, master, "SENTINEL", "FAILOVER", sets.name)
        while not (named := _named(sets, master)):
            if clock() >= deadline:
                raise RedisError(f"{address} is still the master of {sets.name}; see its Sentinels' logs.")
            insist(*pause)
            sleep(0.2)
        insist("REPLICAOF", *named)
        insist("CONFIG", "REWRITE")
        insist("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    finally:
        insist("CLIENT", "UNPAUSE")
    return wait_until_whole(sets, patience, clock, sleep)


def _named(sets: Sets, master: str) -> list[str]:
    """Address and port of the next master, by the Sentinel beside this one; empty while it is busy. Raises RedisError when it gave up."""
    flat = _say(sets.sentinel, master, "SENTINEL", "MASTER", sets.name)
    busy = "failover_in_progress" in dict(zip(flat[::2], flat[1::2], strict=True)).get("flags", "")
    named = [str(part) for part in _say(sets.sentinel, master, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sets.name)]
    if named[0] != master:
        return named
    if not busy:
        raise RedisError(
            f"Sentinel could not make another node the master of {sets.name}; see the Sentinel's log on {master}."
        )
    return []


def _say(connect: Callable[[str], Answers], address: str, *words: str) -> Any:
    """One command over a connection of its own."""
    connection = connect(address)
    try:
        return connection(*words)
    finally:
        connection.close()


def _wait_for_replicas(sets: Sets, master: str, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Every replica that is connected has all that the master has. Writes are paused, so it is a matter of milliseconds."""
    deadline = clock() + _REPLICAS_SECONDS
    while True:
        info: Mapping[str, str] = fields(_say(sets.redis, master, "INFO", "replication"))
        top = int(info["master_repl_offset"])
        found = [dict(part.split("=", 1) for part in info[key].split(",")) for key in info if _is_replica(key)]
        if found and all(each.get("state") == "online" and int(each.get("offset", -1)) >= top for each in found):
            return
        if clock() >= deadline:
            raise RedisError(f"No replica of {master} has all of its writes; bring replication in order, then go on.")
        sleep(0.02)


def _is_replica(key: str) -> bool:
    return key.startswith("slave") and key[5:].isdigit()
