# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis data group on loopback: each node has an address of its own (127.0.21.x), a real server and a real Sentinel."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.host import aws, machine, redis_config, redis_node, told
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import fields
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from tests.programs import redis_server
from tests.unit.plugins.module_utils.host import data_group
from tests.unit.plugins.module_utils.host.authority import Authority

ADMIN, APP = 'admin "password" of the \\ tests', "app-password-of-the-tests"
DOMAIN = "store.shop.fleet.internal"
_FILES = {"redis-server.service": redis_config.OWN, "redis-sentinel.service": redis_config.SENTINEL_OWN}
_MANAGED = {"redis-server.service": redis_config.CONFIG, "redis-sentinel.service": redis_config.SENTINEL_CONFIG}


class Group(data_group.Group["Node"]):
    """`registered` are the nodes behind the load balancer."""

    def __init__(self, folder: Path, nodes: int = 3, purpose: str = "store") -> None:
        self.server = redis_server(folder)
        self.registered: set[str] = set()
        hashed = hashlib.sha256(APP.encode()).hexdigest()
        authority = Authority()
        certificate, key = authority.sign([f"*.{DOMAIN}"])
        values = {
            "/cert": certificate,
            "/key": key,
            "/ca": authority.certificate,
            "/a": ADMIN,
            "/r": "replica-password",
            "/s": "sentinel-password-!#$%&\\()*+,-./:;<=>?@[]^_`{|}~",
            "/v": hashed,
        }
        rules = {"rules": ["~*", "&*", "+@all", "-@admin", "-@dangerous"]}
        given = told.Told(
            "shop", "store", "redis", "eu-central-1", "shop-store", "", "enter", "leave", 120, nodes, purpose, False, DOMAIN,
            0, "", False, "shop-store", {}, {"admin": "/a", "replica": "/r", "sentinel": "/s", "certificate": "/cert", "key": "/key", "authority": "/ca"}, (told.User("app", "/v", rules),),
        )  # fmt: skip
        super().__init__(given, values, lambda name, number: Node(self, folder, name, f"127.0.21.{number}"))

    def keep(self, seconds: float = 60) -> None:
        """Rounds of keep.d on all nodes, until every Sentinel knows just who is there."""
        end = time.monotonic() + seconds
        while True:
            for node in self.here:
                node.node.keep()
            time.sleep(1)
            counts = {node.id: node.knows() for node in self.here}
            if all(
                count == {"replicas": len(self.here) - 1, "sentinels": len(self.here) - 1} for count in counts.values()
            ):
                return
            assert time.monotonic() < end, counts

    @property
    def here(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.id not in self.away and node.runs("redis-server.service")]

    def masters(self) -> list[str]:
        return [node.id for node in self.here if node.info().get("role") == "master"]

    def register(self, target_group: str, instance: str, *, away: bool = False) -> None:
        assert target_group == "shop-store"
        (self.registered.discard if away else self.registered.add)(instance)


class Node(data_group.Node):
    """One host with a server and a Sentinel."""

    def __init__(self, group: Group, folder: Path, name: str, address: str) -> None:
        super().__init__(folder, name, address)
        self.group = group
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        there: Any = group
        self.node = redis_node.RedisNode(
            group.told,
            name,
            there,
            self,
            self.connect,
            time.monotonic,
            time.sleep,
            self.said.append,
            3.0,
        )
        self.at("/var/lib/redis").mkdir(parents=True)

    def connect(self, node: aws.Instance, port: int, password: str, user: str = "admin") -> Client:
        return Client(node.address, port, self.group.nodes[node.id].login(user, password), 2.0)

    def login(self, user: str, password: str) -> Login:
        return Login(user, password, ca=str(self.at("/etc/redis/tls/ca.pem")), name=f"{self.id}.{DOMAIN}")

    def ask(self, port: int, *words: str) -> Any:
        client = Client(self.address, port, self.login("admin", ADMIN), 2.0)
        try:
            return client(*words)
        finally:
            client.close()

    def info(self) -> dict[str, str]:
        try:
            return fields(self.ask(6379, "INFO"))
        except RedisError:
            return {}

    def knows(self) -> dict[str, int]:
        try:
            return {
                "replicas": len(self.ask(26379, "SENTINEL", "REPLICAS", "main")),
                "sentinels": len(self.ask(26379, "SENTINEL", "SENTINELS", "main")),
            }
        except RedisError:
            return {}

    def runs(self, unit: str) -> bool:
        return unit in self.processes and self.processes[unit].poll() is None

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(10)

    def start(self) -> None:
        """As at a boot: systemd starts what is configured."""
        for unit in _FILES:
            self._start(unit)

    # -- Machine -------------------------------------------------------------------------------------------------------

    def write(self, path: str, text: str, owner: str, group: str, mode: int) -> bool:
        assert (group, mode) == ("redis", 0o640)
        return self.put(path, text)

    def overwrite(self, path: str, text: str) -> None:
        self.put(path, text)

    def run(self, argv: Sequence[str], seconds: float = 30) -> tuple[int, str]:
        if argv[0] != "systemctl":
            return self.host.run([str(self.at(word)) if word.startswith("/") else word for word in argv], seconds)
        verb, unit = argv[1], argv[-1]
        if verb == "is-active":
            return (0, "active\n") if self.runs(unit) else (3, "inactive\n")
        if unit == "redis-responder.service":
            return 0, ""
        if verb in ("stop", "restart") and unit in self.processes:
            self.processes[unit].send_signal(signal.SIGTERM)
            self.processes[unit].wait(60)
        if verb in ("start", "restart") and not self.runs(unit):
            self._start(unit)
        return 0, ""

    def _start(self, unit: str) -> None:
        assert self.exists(machine.MAY_START), "a unit of a fleet's host waits until it was looked at what it has"
        text = self.read(_MANAGED[unit]).replace("0.0.0.0", self.address)
        for path in ("/etc/redis", "/var/lib/redis"):
            text = text.replace(path, str(self.at(path)))
        managed = self.at(f"/run/{unit}.conf")
        managed.parent.mkdir(parents=True, exist_ok=True)
        managed.write_text(text)
        log = self.at(f"/{unit}.log").open("ab")
        more = ["--sentinel"] if "sentinel" in unit else []
        argv = [
            str(self.group.server),
            str(self.at(_FILES[unit])),
            *more,
            "--include",
            str(managed),
            "--daemonize",
            "no",
        ]
        self.processes[unit] = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self.folder)
        port = redis_config.SENTINEL if more else redis_config.PORT
        end = time.monotonic() + 20
        while time.monotonic() < end and self.runs(unit):
            with contextlib.suppress(RedisError):
                self.ask(port, "PING")
                return
            time.sleep(0.1)
        raise AssertionError(self.at(f"/{unit}.log").read_text()[-2000:])
