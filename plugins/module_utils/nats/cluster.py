# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A NATS cluster with JetStream, as one of its servers sees it: what is missing, and how to be rid of a server that never comes back."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Asking, NatsError

# Elections, and a server that starts. After that nobody who is gone comes back by itself.
_GRACE_SECONDS = 30.0
# JetStream's code of a refusal (2.12 and later): the meta group is busy with another change of its members, such as a server that joins.
_MEMBERS_CHANGE = 10202


class Connection(Asking, Protocol):
    """A connection that is given back."""

    def close(self) -> None:
        """Give it back."""


# Path of the monitoring endpoint to its answer, whatever its status. Raises OSError and ValueError.
Monitor = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True)
class Peer:
    """Another server of a group, as the group's leader sees it. `there`: whether they are connected.

    What NATS itself calls offline says nothing of a server that died a while ago (2.15.1).
    """

    name: str
    current: bool
    there: bool
    lag: int


@dataclass(frozen=True)
class Group:
    """The meta group, or the servers that have a stream. Only its leader knows the peers."""

    leader: str
    peers: tuple[Peer, ...]


@dataclass(frozen=True)
class Stream:
    """A stream of which the server has a replica."""

    account: str
    name: str
    replicas: int
    group: Group


@dataclass(frozen=True)
class View:
    """What one server says. `health`: why it is not healthy, in its words; empty when it is."""

    server: str
    health: str
    meta: Group
    size: int
    accounts: tuple[str, ...]
    streams: tuple[Stream, ...]


@dataclass(frozen=True)
class Fault:
    """One clause. `heals`: whether waiting can help."""

    clause: str
    heals: bool = True


def look(monitor: Monitor) -> View:
    """Ask a server. Raises OSError, and ValueError for what is no NATS server with JetStream in a cluster."""
    health = monitor("/healthz")
    told = monitor("/jsz?accounts=true&streams=true&config=true")
    meta = told.get("meta_cluster")
    name = monitor("/varz").get("server_name")
    connected = {str(route.get("remote_name", "")) for route in monitor("/routez").get("routes") or []}
    if not isinstance(name, str) or not isinstance(meta, Mapping):
        raise ValueError("it is no NATS server of a cluster with JetStream")
    details = told.get("account_details") or []
    streams = [
        Stream(
            str(account.get("name", "")),
            str(stream.get("name", "")),
            int((stream.get("config") or {}).get("num_replicas", 1)),
            _group(stream.get("cluster") or {}, connected),
        )
        for account in details
        for stream in account.get("stream_detail") or []
    ]
    said = "" if health.get("status") == "ok" else str(health.get("error") or health.get("status") or "no answer")
    accounts = tuple(str(account.get("name", "")) for account in details)
    return View(name, said, _group(meta, connected), int(meta.get("cluster_size", 0)), accounts, tuple(streams))


def _group(told: Mapping[str, Any], connected: Container[str]) -> Group:
    peers = [
        Peer(
            str(each.get("name", "")), bool(each.get("current")), each.get("name") in connected, int(each.get("lag", 0))
        )
        for each in told.get("replicas") or []
    ]
    return Group(str(told.get("leader", "")), tuple(peers))


def faults(view: View, servers: Sequence[str]) -> list[Fault]:
    """Why the cluster of these servers is not whole, as this one sees it. `servers`: their names."""
    found = [Fault(f"{view.server} says: {view.health}")] if view.health else []
    if not view.meta.leader:
        found.append(Fault(f"{view.server} finds no leader of the meta group"))
    elif view.size != len(servers):
        found.append(Fault(f"the meta group has {view.size} servers, and the cluster {len(servers)}"))
    if view.meta.leader == view.server:
        found += _faults_of_meta(view, servers)
    for stream in view.streams:
        found += _faults_of(stream, view, servers)
    return found


def _faults_of_meta(view: View, servers: Sequence[str]) -> Iterator[Fault]:
    for peer in view.meta.peers:
        if peer.name not in servers and not peer.there:
            yield Fault(
                f"{peer.name} is gone and still counts in the meta group. If it never comes back, run the playbook"
                f" boring.fleet.forget_nats_peer with -e nats_peer={peer.name}",
                heals=False,
            )
        elif not peer.there:
            yield Fault(f"{peer.name} of the meta group is not there")
        elif not peer.current:
            yield Fault(f"{peer.name} of the meta group is {peer.lag} entries behind")
    known = {view.server, *(peer.name for peer in view.meta.peers)}
    for name in servers:
        if name not in known:
            yield Fault(f"{name} is not in the meta group")


def _faults_of(stream: Stream, view: View, servers: Sequence[str]) -> Iterator[Fault]:
    where = f"stream {stream.name} of account {stream.account}"
    if stream.replicas > 1 and not stream.group.leader:
        yield Fault(f"{where} has no leader, for too few of its {stream.replicas} replicas are there")
    if stream.group.leader != view.server:
        return
    for peer in stream.group.peers:
        if not peer.there:
            yield Fault(f"{where} misses its replica on {peer.name}, which is gone", heals=peer.name in servers)
        elif not peer.current:
            yield Fault(f"{where} has a replica on {peer.name} that is {peer.lag} messages behind")
    if len(stream.group.peers) + 1 < stream.replicas:
        yield Fault(f"{where} has {len(stream.group.peers) + 1} of its {stream.replicas} replicas")


def wait_until_whole(
    monitor: Monitor,
    servers: Sequence[str],
    patience: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> View:
    """Wait until a server finds the cluster whole. Raises NatsError after `patience` seconds, or sooner where waiting cannot help."""
    begun = clock()
    while True:
        try:
            view = look(monitor)
            found = faults(view, servers)
        except (OSError, ValueError) as exc:
            found = [Fault(f"its monitoring does not answer: {exc or type(exc).__name__}")]
        else:
            if not found:
                return view
        waited = clock() - begun
        hopeless = any(not fault.heals for fault in found) and waited >= _GRACE_SECONDS
        if hopeless or waited >= patience:
            raise NatsError(f"The NATS cluster is not whole: {'; '.join(fault.clause for fault in found)}.")
        sleep(1.0)


@dataclass(frozen=True)
class Stored:
    """A stream of an account, as all servers together tell it. `leader` is empty where nobody leads it."""

    account: str
    name: str
    leader: str


def forgettable(peer: str, view: View, stored: Sequence[Stored]) -> str:
    """Why `peer` must not be removed from the cluster, as a sentence; empty where it may.

    `view` is the meta leader's. A stream that somebody leads has all its messages at the leader. One that nobody leads may have its only
    copy at the peer, and that copy may come back with it.
    """
    found = next((each for each in view.meta.peers if each.name == peer), None)
    if peer == view.server:
        return f"{peer} is the leader of the meta group and there; stop it first."
    if found is None:
        return ""
    if found.there:
        return f"{peer} is there; only a server that never comes back is forgotten. Stop it first."
    alive = 1 + sum(each.there for each in view.meta.peers)
    if 2 * alive <= view.size:
        return f"Only {alive} of {view.size} servers are there, which is no majority; bring others back before {peer} is forgotten."
    lost = [f"{stream.name} of account {stream.account}" for stream in stored if not stream.leader]
    if lost:
        return (
            f"Nobody leads the stream {', '.join(lost)}, so {peer} may have its only copy. Bring {peer} back, or remove the stream if it may"
            f" be lost, before {peer} is forgotten."
        )
    return ""


def stored_of(client: Asking, account: str) -> list[Stored]:
    """All streams of the client's account, those that do not answer too. Raises NatsError."""
    names: list[str] = []
    while True:
        answer = _checked(client.ask("$JS.API.STREAM.NAMES", {"offset": len(names)}))
        page = [str(name) for name in answer.get("streams") or []]
        names += page
        if not page or len(names) >= int(answer.get("total", 0)):
            break
    return [Stored(account, name, _leader(client, name)) for name in names]


def _leader(client: Asking, name: str) -> str:
    try:
        answer = client.ask(f"$JS.API.STREAM.INFO.{name}")
    except NatsError:  # nobody who leads it, nobody who answers
        return ""
    return "" if answer.get("error") else str((answer.get("cluster") or {}).get("leader", ""))


def forget(client: Asking, peer: str, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Remove a server from the meta group, and from every stream. Raises NatsError. The client is of the system account."""
    until = clock() + _GRACE_SECONDS
    while True:
        answer = client.ask("$JS.API.SERVER.REMOVE", {"peer": peer})
        if (answer.get("error") or {}).get("err_code") != _MEMBERS_CHANGE or clock() >= until:
            _checked(answer)
            return
        sleep(0.5)


def forget_peer(
    peer: str,
    view: View,
    accounts: Mapping[str, Callable[[], Connection]],
    system: Callable[[], Connection] | None,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> bool:
    """Forget `peer` if the server of this view leads the meta group, which still has the peer; whether that is so.

    `accounts`: a connection for every account with JetStream. `system`: one of the system account, or None to only look. Waits while the cluster
    is busy with another change of its members. Raises NatsError.
    """
    if view.meta.leader != view.server or (peer != view.server and peer not in [each.name for each in view.meta.peers]):
        return False
    unknown = sorted({*view.accounts} - {*accounts})
    if unknown:
        raise NatsError(
            f"{peer} may have the only copy of a stream of account {', '.join(unknown)}, and no user is named who could look;"
            f" name one with a password in accounts."
        )
    stored: list[Stored] = []
    for account, connect in accounts.items():
        client = connect()
        try:
            stored += stored_of(client, account)
        finally:
            client.close()
    why = forgettable(peer, view, stored)
    if why:
        raise NatsError(why)
    if system is not None:
        client = system()
        try:
            forget(client, peer, clock, sleep)
        finally:
            client.close()
    return True


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    error = answer.get("error")
    if error:
        raise NatsError(
            f"JetStream refused: {error.get('description', error)}; see whether the cluster has its majority."
        )
    return answer
