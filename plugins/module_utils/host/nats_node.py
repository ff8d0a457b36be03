# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A NATS node joins its cluster, leaves it, and forgets others that are gone, without a stream that has fewer current replicas than it should."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.host import machine as machines
from ansible_collections.boring.fleet.plugins.module_utils.host import nats_config, nats_view, peers
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Aws
from ansible_collections.boring.fleet.plugins.module_utils.host.machine import Machine
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told
from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Answers, Asking, NatsError

UNIT: Final = "nats-server.service"
_STOP: Final = nats_config.LAME_DUCK + 60.0
_START: Final = 60.0
_MOVED: Final = 900.0  # seconds in one try for the replicas to be moved
_GATHER: Final = 2.0  # seconds in which all servers answer
_PING: Final = "$SYS.REQ.SERVER.PING.JSZ"
_ALL: Final = {"accounts": True, "streams": True, "consumer": True, "config": True}


class Connection(Asking, Protocol):
    """To the server on this host, as the user of the system account."""

    def ask_all(
        self, subject: str, payload: Mapping[str, Any], enough: Callable[[Answers], bool], seconds: float
    ) -> Answers:
        """Send a request, give the answers of all servers. Raises NatsError."""

    def close(self) -> None:
        """Give the connection back."""


@dataclass
class NatsNode:
    """`connect` takes the password of the system user and gives a new connection; `health` is /healthz: "" or why not."""

    told: Told
    me: str
    aws: Aws
    machine: Machine
    connect: Callable[[str], Connection]
    health: Callable[[], str]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    patience: float = 60.0  # seconds in one try for a node to be in step

    # -- enter ---------------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Write what the server needs, start it, and wait until it is in step. Raises HostError with what is still missing."""
        found = peers.look(self.aws, self.told, self.me)
        has_store = self.machine.exists(f"{nats_config.STORE}/jetstream")
        if self.told.nodes > 1 and not found.formed and not has_store and len(found.nodes) < self.told.nodes:
            raise HostError(
                f"{len(found.nodes)} of {self.told.nodes} nodes of a new cluster are there: waiting for the others"
            )
        self._write(found, joined=has_store)
        self.machine.overwrite(machines.MAY_START, "")
        machines.unit(self.machine, "start", UNIT, _START)
        deadline = self.clock() + self.patience
        while why := self.health():
            if self.clock() >= deadline:
                raise HostError(f"NATS is not in step: {why}")
            self.sleep(1)

    def _write(self, found: peers.Peers, *, joined: bool) -> None:
        """`joined`: it has a store, in which it knows the cluster."""
        told = self.told
        wanted = [nats_config.SYSTEM, nats_config.CLUSTER]
        files = [] if told.plaintext else ["authority", "certificate", "key"]
        names = [told.parameters[one] for one in [*wanted, *files]] + [user.verifier for user in told.users]
        values = self.aws.parameters(names)
        renewed = False
        if not told.plaintext:
            own = peers.name(told, self.me)
            renewed = peers.write_certificate(
                self.machine, told, values, folder=nats_config.TLS, group="nats", own_name=own
            )
        # these stay for as long as the server has not begun, so that there is one number of servers to begin with
        count = 0 if joined or not found.formed else len(found.nodes) + 1
        aliases = [peers.name(told, f"{self.me}-{number}") for number in range(1, count + 1)]
        peers.write_names(self.machine, told, found.nodes, dict.fromkeys(aliases, found.me.address))
        text = nats_config.render(
            told,
            self.me,
            {user.name: values[user.verifier] for user in told.users},
            system=peers.secret(told, values, nats_config.SYSTEM),
            cluster=peers.secret(told, values, nats_config.CLUSTER),
            route_names=self._routes(found, aliases),
        )
        runs = not machines.ended(self.machine, UNIT)
        known = self.machine.read(nats_config.CONFIG)
        if not runs or nats_config.without_routes(known) != nats_config.without_routes(text):
            self._replace(text)
            if runs:  # what was reloaded only in part is as bad as a restart, and nobody relies on a node that enters
                machines.unit(self.machine, "restart", UNIT, _STOP)
        elif renewed:
            machines.unit(self.machine, "reload", UNIT, _START)

    def _routes(self, found: peers.Peers, aliases: list[str]) -> list[str]:
        """None for a single server; else to all nodes, and by some more names to itself.

        A server with an empty store takes the number of its routes for the number of servers, more than half of which must elect a leader.
        One that joins a cluster must never elect one among other empty ones, for they would forget every stream: with so many routes it
        cannot. A route to itself it drops.
        """
        if self.told.nodes == 1 and not found.others:
            return []
        return [*sorted(peers.name(self.told, one.id) for one in found.nodes), *aliases]

    def _replace(self, text: str) -> None:
        """The configuration, if the server finds it valid."""
        if self.machine.read(nats_config.CONFIG) == text:
            return
        candidate = f"{nats_config.CONFIG}.candidate"
        self.machine.write(candidate, text, "root", "nats", 0o640)
        code, said = self.machine.run(["nats-server", "-t", "-c", candidate])
        self.machine.run(["rm", "-f", "--", candidate])
        if code:
            # its words may hold what is secret in that line
            line = said.partition(candidate)[2].split(":")[1:2]
            where = f", line {line[0]}" if line else ""
            raise HostError(
                f"nats-server refuses the configuration of this host{where}: correct the limits of the fleet's file",
                never=True,
            )
        self.machine.write(nats_config.CONFIG, text, "root", "nats", 0o640)

    # -- leave ---------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Move all replicas to others, go out of the meta group, end as a lame duck. Raises HostError with what is in the way."""
        if not self.machine.exists(nats_config.CONFIG):
            return  # it never joined
        if not self.machine.exists(machines.LEFT):
            found = peers.look(self.aws, self.told, self.me)
            if self.told.nodes > 1 or found.others:
                self._go_out(found)
            self.machine.overwrite(machines.LEFT, "")
        machines.unit(self.machine, "stop", UNIT, _STOP)

    def _go_out(self, found: peers.Peers) -> None:
        password = self._password()
        deadline = self.clock() + _MOVED
        asked: set[tuple[str, str]] = set()
        while True:
            cluster = self._view(password, found)
            if cluster.leader and self.me not in cluster.members:
                return  # it went out before
            first = [one for one in found.leaving if one < self.me and one in cluster.members - cluster.silent]
            if first:
                raise HostError(f"{first[0]} leaves first")
            unheard = nats_view.unheard(cluster, self.me)
            why = unheard or nats_view.fault(cluster)
            if why and (unheard or not asked):
                raise HostError(f"{why}: waiting, so that no message is lost")
            if not why and not cluster.of(self.me):
                break
            self._move(password, cluster, self.me, asked)
            if self.clock() >= deadline:
                left = ", ".join(sorted(group.what for group in cluster.of(self.me))[:3])
                raise HostError(f"replicas are still being moved away: {left or why}")
            self.sleep(1)
        if cluster.leader == self.me:
            self._request(password, "$JS.API.META.LEADER.STEPDOWN", {})
            self.sleep(2)
        self._request(password, "$JS.API.SERVER.REMOVE", {"peer": self.me})
        self.say(f"{self.me} holds no replica and is out of the cluster {self.told.service}")

    def _move(self, password: str, cluster: nats_view.Cluster, node: str, asked: set[tuple[str, str]]) -> None:
        """Ask for each stream's replica on a node to be moved: another server copies it, and only then it goes."""
        for account, stream in cluster.streams_of(node):
            if (account, stream) in asked:
                continue
            self._request(password, f"$JS.API.ACCOUNT.STREAM.MOVE.{account}.{stream}", {"server": node})
            asked.add((account, stream))
            self.say(f"the replica of the stream {stream} on {node} is being moved")

    # -- keep ----------------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """What a node does from time to time: know the names of new ones, and, as the meta leader, forget those that are gone."""
        found = peers.look(self.aws, self.told, self.me)
        peers.write_names(self.machine, self.told, found.nodes)
        if self.told.nodes > 1:
            self._forget(found)
        if not self.told.plaintext and (why := peers.ends_soon(self.machine, nats_config.TLS)):
            raise HostError(why)

    def _forget(self, found: peers.Peers) -> None:
        """A server that AWS has no more: its replicas are made anew on another, and then it goes out of the meta group."""
        password = self._password()
        cluster = self._view(password, found)
        if not cluster.leader:
            raise HostError(
                "the cluster has no meta leader: more than half of its servers are away, or it was just elected"
            )
        if cluster.leader != self.me:
            return
        lost = sorted(cluster.silent - found.known)
        if lost and (why := nats_view.unheard(cluster, self.me)):
            raise HostError(f"{why}: {lost[0]} is forgotten after that")
        for gone in lost:
            groups = cluster.of(gone)
            if not groups:
                self._request(password, "$JS.API.SERVER.REMOVE", {"peer": gone})
                self.say(f"{gone} is gone for good: the cluster forgot it")
                continue
            moving = {(one.account, one.stream) for one in groups if len(one.peers) > one.wanted and not one.consumer}
            self._move(password, cluster, gone, set(moving))

    # -- what all of them do -------------------------------------------------------------------------------------------

    def _password(self) -> str:
        where = self.told.parameters[nats_config.SYSTEM]
        return self.aws.parameters([where])[where]

    def _view(self, password: str, found: peers.Peers) -> nats_view.Cluster:
        def enough(answers: Answers) -> bool:
            """From all nodes by their names: a server that is none of them may answer, too."""
            cluster = nats_view.read(answers)
            return found.known <= cluster.heard and not nats_view.unheard(cluster, self.me)

        connection = self._connected(password)
        try:
            return nats_view.read(connection.ask_all(_PING, _ALL, enough, _GATHER))
        except NatsError as exc:
            raise HostError(str(exc)) from exc
        finally:
            connection.close()

    def _request(self, password: str, subject: str, payload: dict[str, Any]) -> None:
        connection = self._connected(password)
        try:
            answer = connection.ask(subject, payload)
        except NatsError as exc:
            raise HostError(str(exc)) from exc
        finally:
            connection.close()
        if error := answer.get("error"):
            raise HostError(f"NATS refused {subject}: {_words(error)}")

    def _connected(self, password: str) -> Connection:
        try:
            return self.connect(password)
        except NatsError as exc:
            raise HostError(str(exc)) from exc


def _words(error: Any) -> str:
    """Of JetStream, with the way out where it is known."""
    if not isinstance(error, dict):
        return json.dumps(error)[:200]
    text = str(error.get("description") or error)
    if "no suitable peers" in text or "insufficient" in text:
        return f"{text}: no other node may have another replica; the group needs one more before this one goes"
    return text


def health(status: int, body: bytes) -> str:
    """Why a server is not in step, by what /healthz answered; "" when it is. A status of 0 is no answer."""
    if status == 0:
        return "its monitoring does not answer"
    if status == 200:
        return ""
    try:
        return str(json.loads(body).get("error") or body.decode(errors="replace"))[:300]
    except (ValueError, AttributeError):
        return f"its health is {status}"
