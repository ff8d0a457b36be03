# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis node joins its replica set, hands over when it leaves, and its Sentinel forgets who is gone.

A node of a set starts as a replica of the master that the Sentinels of the others name. It is a master without data only as the oldest node of a
set of which nobody has been in service yet: a host gets out of Pending only when it has joined.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.host import machine as machines
from ansible_collections.boring.fleet.plugins.module_utils.host import peers, redis_config
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Aws, Instance
from ansible_collections.boring.fleet.plugins.module_utils.host.machine import Machine
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Answers, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.desired import Desired, own_text, sentinel_own_text
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import Sets, fields, hand_over

UNIT: Final = "redis-server.service"
SENTINEL_UNIT: Final = "redis-sentinel.service"
RESPONDER_UNIT: Final = "redis-responder.service"
_START: Final = 600.0  # seconds: a large file is loaded
_HAND_OVER: Final = 120.0
_FORGET: Final = 30.0  # seconds for the others to notice that a node has left
_SURE: Final = 10.0  # seconds: Sentinels correct a replica that they know within eight
_KNOWN: Final = 20.0  # seconds for a Sentinel to know all others again
_INNER: Final = ("admin", "replica", "sentinel")
_KINDS: Final = ("REPLICAS", "SENTINELS")


@dataclass
class RedisNode:
    """`connect` makes a connection to a node's port with the administrator's password. It raises RedisError."""

    told: Told
    me: str
    aws: Aws
    machine: Machine
    connect: Callable[[Instance, int, str], Answers]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    patience: float = 900.0  # seconds in one try for a node to copy the data

    # -- enter ---------------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Write what the servers need, start them, and wait until this node has all data. Raises HostError with what is missing."""
        found = peers.look(self.aws, self.told, self.me)
        wanted = self._write(found)
        if self.told.nodes > 1:
            self._begin(found, wanted)
        elif not self.machine.exists(redis_config.OWN):
            self.machine.write(redis_config.OWN, "", "redis", "redis", 0o640)
        self.machine.overwrite(machines.MAY_START, "")
        for unit in [UNIT, *([SENTINEL_UNIT] if self.told.nodes > 1 else [])]:
            machines.unit(self.machine, "start", unit, _START)
        self._until_in_step(found, wanted.admin_password)
        if self.told.nodes > 1:
            self._until_known(found, wanted.admin_password)
        self.machine.write(redis_config.JOINED, f"{self.me}\n", "redis", "redis", 0o640)
        if self.told.target_group:
            machines.unit(self.machine, "restart", RESPONDER_UNIT, 30)
            self.aws.register(self.told.target_group, self.me)

    def _write(self, found: peers.Peers) -> Desired:
        told = self.told
        inner = _INNER if told.nodes > 1 else ("admin",)
        files = [] if told.plaintext else ["authority", "certificate", "key"]
        names = [told.parameters[one] for one in [*inner, *files]] + [user.verifier for user in told.users]
        values = self.aws.parameters(names)
        own = peers.name(told, self.me)
        changed = False
        if not told.plaintext:
            changed = peers.write_certificate(
                self.machine, told, values, folder=redis_config.TLS, group="redis", own_name=own
            )
        known = {one: peers.secret(told, values, one) for one in inner}
        passwords = redis_config.Passwords(
            known["admin"], known.get("replica", ""), known.get("sentinel", ""), self._responder()
        )
        verifiers = {user.name: values[user.verifier] for user in told.users}
        wanted = redis_config.wanted(told, found.me.address, verifiers, passwords)
        texts = {
            **redis_config.files(wanted),
            redis_config.RESPONDER: redis_config.responder(told, passwords, own, found.me.address),
        }
        for path, text in texts.items():
            changed = self.machine.write(path, text, "root", "redis", 0o640) or changed
        if changed:
            self._read_again()
        return wanted

    def _responder(self) -> str:
        """The password of the program that answers the load balancer: this host's own, as long as it lives."""
        try:
            known = str(json.loads(self.machine.read(redis_config.RESPONDER))["password"])
        except (ValueError, KeyError, TypeError):
            return secrets.token_hex(24)
        return known

    def _read_again(self) -> None:
        """Restart what a try before this one started: nobody relies on a node that enters."""
        for unit in (UNIT, SENTINEL_UNIT):
            if not machines.ended(self.machine, unit):
                machines.unit(self.machine, "restart", unit, _START)

    def _begin(self, found: peers.Peers, wanted: Desired) -> None:
        """Whose replica this node is. Once it was in step, that is for Redis and its Sentinel to decide, which write it down."""
        if self.machine.exists(redis_config.JOINED):
            return
        master = self._master(found, wanted.admin_password)
        if self.machine.read(redis_config.BEGAN) == master:
            return
        own = own_text(wanted, master)
        self.say(f"this node begins as {f'a replica of {master}' if own else 'the first master of a new set'}")
        for unit in (SENTINEL_UNIT, UNIT):  # in a try before this one the master was another
            machines.unit(self.machine, "stop", unit, _START)
        self.machine.write(redis_config.SENTINEL_OWN, sentinel_own_text(wanted, master), "redis", "redis", 0o640)
        self.machine.write(redis_config.OWN, own, "redis", "redis", 0o640)
        self.machine.write(redis_config.BEGAN, master, "redis", "redis", 0o640)

    def _master(self, found: peers.Peers, admin: str) -> str:
        """The address of the master. Raises HostError when it is not known for sure."""
        said = Counter(one for one in (self._believed(other, admin) for other in found.others) if one)
        if said:
            address, votes = said.most_common(1)[0]
            if votes < sum(said.values()):
                raise HostError(f"the Sentinels do not agree on the master: {', '.join(sorted(said))}")
            if address == found.me.address:
                if self.machine.read(redis_config.BEGAN) == address:
                    return address  # the first master of a new set, by a try before this one
                raise HostError(
                    "the Sentinels take this host for the master, and it has no data: they must fail over first"
                )
            self._must_be_master(found, address, admin)
            return address
        if found.formed:
            raise HostError(
                "no Sentinel of the nodes that are in service answers: this node would be a second master without data, and waits for them"
            )
        if len(found.nodes) < self.told.nodes:
            raise HostError(
                f"{len(found.nodes)} of {self.told.nodes} nodes of a new set are there: waiting for the others"
            )
        first = found.nodes[0]
        if first.id != self.me:
            raise HostError(f"waiting for {first.id}, the oldest node of this new set, to be its first master")
        return first.address

    def _must_be_master(self, found: peers.Peers, address: str, admin: str) -> None:
        """A node that copies from one that just died would never hear of the next master."""
        if not self._is_master(found, address, admin):
            raise HostError(
                f"the Sentinels name {address} as the master, and it is none now: waiting until they fail over"
            )

    def _is_master(self, found: peers.Peers, address: str, admin: str) -> bool:
        """Whether another node that has this address answers that it is a master."""
        node = next((one for one in found.others if one.address == address), None)
        return node is not None and self._replication(node, admin).get("role") == "master"

    def _replication(self, node: Instance, admin: str) -> dict[str, str]:
        """Nothing where it does not answer."""
        try:
            return fields(self._ask(node, redis_config.PORT, admin, "INFO", "replication"))
        except RedisError:
            return {}

    def _believed(self, node: Instance, admin: str) -> str:
        """What the Sentinel of another node takes for the master, "" when it does not answer."""
        try:
            sentinel = self.connect(node, redis_config.SENTINEL, admin)
            try:
                found = sentinel("SENTINEL", "GET-MASTER-ADDR-BY-NAME", redis_config.NAME)
            finally:
                sentinel.close()
        except RedisError:
            return ""
        return str(found[0]) if found else ""

    def _until_in_step(self, found: peers.Peers, admin: str) -> None:
        deadline = self.clock() + self.patience
        while why := self._behind(found.me, admin) or self._writing(found.me, admin):
            if self.clock() >= deadline:
                raise HostError(f"Redis is not in step: {why}")
            self.sleep(1)

    def _until_known(self, found: peers.Peers, admin: str) -> None:
        """A replica that the Sentinels do not know yet would go on following a master that they replaced, and let it take writes."""
        deadline = self.clock() + self.patience
        while who := self._strangers(found, admin):
            info = self._replication(found.me, admin)
            named = {one for one in (self._believed(node, admin) for node in _joined(found.others)) if one}
            if info.get("role") == "master":
                return
            if info and named and info.get("master_host") not in named:
                raise HostError(f"it follows {info.get('master_host')}, and the Sentinels name {min(named)} by now")
            if self.clock() >= deadline:
                raise HostError(f"the Sentinel of {who[0]} does not know this replica yet: it asks every ten seconds")
            self.sleep(1)

    def _strangers(self, found: peers.Peers, admin: str) -> list[str]:
        """Nodes whose Sentinel answers, and does not know this one."""
        strangers = []
        for node in _joined(found.others):
            try:
                known = self._known(node, admin)
            except RedisError:
                continue
            if known.get(("REPLICAS", found.me.address)) is not False:
                strangers.append(node.id)
        return strangers

    def _behind(self, node: Instance, admin: str) -> str:
        try:
            info = fields(self._ask(node, redis_config.PORT, admin, "INFO"))
        except RedisError as exc:
            return str(exc)
        if info.get("loading") == "1":
            return "it loads its data"
        if info.get("role") == "slave" and info.get("master_sync_in_progress") != "0":
            return f"it copies from its master {info.get('master_host')}"
        if info.get("role") == "slave" and info.get("master_link_status") != "up":
            return f"it does not reach its master {info.get('master_host')}"
        return ""

    def _writing(self, node: Instance, admin: str) -> str:
        """Data that was copied is on disk only after the first append-only file, and until then a Redis does not end when it is asked to."""
        try:
            info = fields(self._ask(node, redis_config.PORT, admin, "INFO", "persistence"))
        except RedisError as exc:
            return str(exc)
        busy = info.get("aof_rewrite_in_progress") == "1" or info.get("aof_rewrite_scheduled") == "1"
        return "it writes its append-only file" if busy else ""

    # -- leave ---------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Let another be master, if this one is, and end. Raises HostError while the others are too few for that."""
        if not self.machine.exists(redis_config.CONFIG):
            return  # it never joined
        found = peers.look(self.aws, self.told, self.me)
        admin = self._admin()
        if not self.machine.exists(machines.LEFT):
            self._let_go(found, admin)
            self.machine.overwrite(machines.LEFT, "")
        for unit in (SENTINEL_UNIT, UNIT):
            machines.unit(self.machine, "stop", unit, _START)
        if self.told.nodes > 1:
            self._be_forgotten(found, admin)

    def _let_go(self, found: peers.Peers, admin: str) -> None:
        """Nobody needs this node any more. One whose server failed has nothing to hand over, but what is on its disk may be all there is."""
        ended = machines.ended(self.machine, UNIT)
        if self.told.nodes > 1 and (not ended or (self.told.kept and self.machine.exists(redis_config.JOINED))):
            ready = self._others_ready(found, admin)
            if not ended:
                self._hand_over(found, ready, admin)
        self._away()
        if not ended and (why := self._writing(found.me, admin)):
            raise HostError(f"{why}: it ends after that")

    def _others_ready(self, found: peers.Peers, admin: str) -> list[Instance]:
        """The others that stay and hold all data. Raises HostError when they are too few."""
        staying = [
            one for one in found.others if one.id not in found.leaving and not one.lifecycle.startswith("Pending")
        ]
        ready = [one for one in staying if not self._behind(one, admin)]
        need = 1 + (redis_config.MIN_REPLICAS if self.told.kept else 0)
        if len(ready) < need:
            away = "" if len(staying) == len(ready) else f", and {len(staying) - len(ready)} are not in step"
            raise HostError(f"{len(ready)} other nodes hold all data{away}; {need} must, before this one goes")
        return ready

    def _hand_over(self, found: peers.Peers, ready: list[Instance], admin: str) -> None:
        try:
            info = fields(self._ask(found.me, redis_config.PORT, admin, "INFO", "replication"))
        except RedisError as exc:
            raise HostError(f"whether this node is the master is not known: {exc}") from exc
        if info.get("role") != "master":
            return
        by_address = {one.address: one for one in [found.me, *ready]}
        sets = Sets(
            list(by_address),
            redis_config.NAME,
            lambda address: self.connect(by_address[address], redis_config.PORT, admin),
            lambda address: self.connect(by_address[address], redis_config.SENTINEL, admin),
        )
        try:
            master = hand_over(sets, found.me.address, _HAND_OVER, self.clock, self.sleep)
        except RedisError as exc:
            raise HostError(str(exc)) from exc
        self.say(f"{master} is the master now")

    def _away(self) -> None:
        if self.told.target_group:
            self.aws.register(self.told.target_group, self.me, away=True)

    def _be_forgotten(self, found: peers.Peers, admin: str) -> None:
        """For as long as the others count the Sentinel that left, one of them more must live for a failover. `keep` does it where this cannot."""
        deadline = self.clock() + _FORGET
        try:
            while any(self._known(one, admin).keys() & _both(found.me.address) for one in _joined(found.others)):
                if self.clock() >= deadline:
                    break
                self._forget(found.others, admin)
                self.sleep(1)
        except RedisError as exc:
            self.say(f"the others forget this node later: {exc}")

    # -- keep ----------------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """What a node does from time to time: keep the set in order, and look when its certificate ends."""
        if self.told.nodes > 1:
            self._keep_set()
        if not self.told.plaintext and (why := peers.ends_soon(self.machine, redis_config.TLS)):
            raise HostError(why)

    def _keep_set(self) -> None:
        """As the master, let the Sentinels forget who is gone; without one, help them to another."""
        found = peers.look(self.aws, self.told, self.me)
        admin = self._admin()
        try:
            if stray := self._stray(found, admin):
                self.sleep(_SURE)
                if stray == self._stray(found, admin):
                    self._follow(found, admin, stray)
            elif fields(self._ask(found.me, redis_config.PORT, admin, "INFO", "replication")).get("role") == "master":
                self._forget(found.nodes, admin)
            elif found.me == next(iter(_joined(found.nodes)), None):
                self._fail_over(found, admin)
        except RedisError as exc:
            raise HostError(str(exc)) from exc

    def _stray(self, found: peers.Peers, admin: str) -> str:
        """The address of the master where this node neither is that nor follows it; "" where all is well, or nothing is sure.

        Sentinels correct only those that they know as replicas.
        """
        joined = _joined(found.nodes)
        said = Counter(one for one in (self._believed(node, admin) for node in joined) if one)
        address, votes = said.most_common(1)[0] if said else ("", 0)
        if 2 * votes <= len(joined) or address == found.me.address:
            return ""
        info = fields(self._ask(found.me, redis_config.PORT, admin, "INFO", "replication"))
        if info.get("role") == "slave" and info.get("master_host") == address:
            return ""
        return address if self._is_master(found, address, admin) else ""

    def _follow(self, found: peers.Peers, admin: str, master: str) -> None:
        for words in (
            ("REPLICAOF", master, str(redis_config.PORT)),
            ("CONFIG", "REWRITE"),
            ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
        ):
            self._ask(found.me, redis_config.PORT, admin, *words)
        self.say(f"this node follows {master} now, which the Sentinels name as the master: it was not part of that set")

    def _forget(self, nodes: Sequence[Instance], admin: str) -> None:
        """Let the Sentinels forget who is none of `nodes` and down: one after the other, each when that before it knows all others again.

        One whose master is away must forget nobody. A Sentinel forgets all replicas and learns of them from the master: one that does not
        follow that now, such as the master before it, would be left to itself. Raises RedisError.
        """
        here = {one.address for one in nodes}
        for node in _joined(nodes):
            known = self._known(node, admin)
            gone = {address for (dummy, address), down in known.items() if down and address not in here}
            master = self._seen(node, admin)
            follow = {address for (what, address), down in known.items() if what == "REPLICAS" and not down}
            lost = {one.address for one in _joined(nodes)} - follow - {master.get("ip")}
            if not gone or lost or master.get("flags") != "master" or master.get("ip") not in here:
                continue
            self._ask(node, redis_config.SENTINEL, admin, "SENTINEL", "RESET", redis_config.NAME)
            stay = {each for each, down in known.items() if not down}
            deadline = self.clock() + _KNOWN
            while not stay <= self._known(node, admin).keys():
                if self.clock() >= deadline:
                    raise RedisError(f"the Sentinel of {node.id} does not know all others again; see its journal")
                self.sleep(0.5)
            self.say(f"the Sentinel of {node.id} forgot {', '.join(sorted(gone))}")

    def _known(self, node: Instance, admin: str) -> dict[tuple[str, str], bool]:
        """Whom a node's Sentinel counts, as REPLICAS or SENTINELS with an address, and whether it takes it for down."""
        found = {}
        for what in _KINDS:
            for each in self._ask(node, redis_config.SENTINEL, admin, "SENTINEL", what, redis_config.NAME):
                one = dict(zip(each[::2], each[1::2], strict=True))
                flags = set(str(one.get("flags", "")).split(","))
                found[what, str(one["ip"])] = bool({"s_down", "o_down", "disconnected"} & flags)
        return found

    def _seen(self, node: Instance, admin: str) -> dict[str, str]:
        """The master as a node's Sentinel sees it."""
        flat = self._ask(node, redis_config.SENTINEL, admin, "SENTINEL", "MASTER", redis_config.NAME)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def _fail_over(self, found: peers.Peers, admin: str) -> None:
        """When the master died and another before it is not forgotten, the Sentinels that are left are too few to agree: one node decides.

        Only where AWS has that master no more, so that it cannot be a second one. Raises RedisError.
        """
        master = self._seen(found.me, admin)
        flags = master["flags"].split(",")
        if "s_down" not in flags or "failover_in_progress" in flags or master["ip"] in found.addresses:
            return
        others = [down for (what, dummy), down in self._known(found.me, admin).items() if what == "SENTINELS"]
        live = 1 + others.count(False)
        if live > (1 + len(others)) // 2:
            return
        self._ask(found.me, redis_config.SENTINEL, admin, "SENTINEL", "FAILOVER", redis_config.NAME)
        self.say(
            f"the master {master['ip']} is gone, and {live} of {1 + len(others)} Sentinels are left: another becomes it"
        )

    # -- what all of them do -------------------------------------------------------------------------------------------

    def _admin(self) -> str:
        where = self.told.parameters["admin"]
        return self.aws.parameters([where])[where]

    def _ask(self, node: Instance, port: int, admin: str, *words: str) -> Any:
        connection = self.connect(node, port, admin)
        try:
            return connection(*words)
        finally:
            connection.close()


def _joined(nodes: Sequence[Instance]) -> list[Instance]:
    """Those whose Sentinel runs: not those that enter or leave."""
    return [one for one in nodes if not one.lifecycle.startswith(("Pending", "Terminating"))]


def _both(address: str) -> set[tuple[str, str]]:
    return {(what, address) for what in _KINDS}
