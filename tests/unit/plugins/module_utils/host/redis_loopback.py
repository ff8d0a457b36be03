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
from tests.unit.plugins.module_utils.host.authority import Authority

ADMIN, APP = 'admin "password" of the \\ tests', "app-password-of-the-tests"
DOMAIN = "store.shop.fleet.internal"
_FILES = {"redis-server.service": redis_config.OWN, "redis-sentinel.service": redis_config.SENTINEL_OWN}
_MANAGED = {"redis-server.service": redis_config.CONFIG, "redis-sentinel.service": redis_config.SENTINEL_CONFIG}


class Group:
    """The nodes that AWS would know, and their parameters."""

    def __init__(self, folder: Path, nodes: int = 3, purpose: str = "store") -> None:
        self.folder, self.server = folder, redis_server(folder)
        self.nodes: dict[str, Node] = {}
        self.away: set[str] = set()
        self.lifecycle: dict[str, str] = {}
        self.registered: set[str] = set()
        hashed = hashlib.sha256(APP.encode()).hexdigest()
        authority = Authority()
        certificate, key = authority.sign([f"*.{DOMAIN}"])
        self.values = {"/cert": certificate, "/key": key, "/ca": authority.certificate}
        self.values |= {
            "/a": ADMIN,
            "/r": "replica-password",
            "/s": "sentinel-password-!$%&()*+,-./:;<=>?@[]^_`{|}~",
            "/v": hashed,
        }
        rules = {"rules": ["~*", "&*", "+@all", "-@admin", "-@dangerous"]}
        self.told = told.Told(
            "shop", "store", "redis", "eu-central-1", "shop-store", "", "enter", "leave", 120, nodes, purpose, False, DOMAIN,
            0, "", False, "shop-store", {}, {"admin": "/a", "replica": "/r", "sentinel": "/s", "certificate": "/cert", "key": "/key", "authority": "/ca"}, (told.User("app", "/v", rules),),
        )  # fmt: skip

    def launch(self) -> Node:
        number = len(self.nodes) + 1
        node = Node(self, f"i-{number:02d}", f"127.0.21.{number}")
        self.nodes[node.id] = node
        self.lifecycle[node.id] = "Pending:Wait"
        return node

    def enter(self, *nodes: Node, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        left = list(nodes)
        while left:
            for node in list(left):
                try:
                    node.node.enter()
                except told.HostError as exc:
                    assert time.monotonic() < end, f"{node.id}: {exc}"
                else:
                    self.lifecycle[node.id] = "InService"
                    left.remove(node)
            time.sleep(0.2)

    def leave(self, node: Node, seconds: float = 90) -> None:
        self.lifecycle[node.id] = "Terminating:Wait"
        end = time.monotonic() + seconds
        while True:
            try:
                node.node.leave()
            except told.HostError as exc:
                assert time.monotonic() < end, exc
                time.sleep(0.5)
            else:
                break
        self.away.add(node.id)

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

    def end(self) -> None:
        for node in self.nodes.values():
            node.kill()

    # -- what the nodes ask AWS ----------------------------------------------------------------------------------------

    def instances(self, fleet: str, service: str) -> list[aws.Instance]:
        return [
            aws.Instance(node.id, node.address, "running", node.id, self.lifecycle[node.id])
            for node in self.nodes.values()
            if node.id not in self.away
        ]

    def parameters(self, names: Sequence[str]) -> dict[str, str]:
        return {name: self.values[name] for name in names}

    def register(self, target_group: str, instance: str, *, away: bool = False) -> None:
        assert target_group == "shop-store"
        (self.registered.discard if away else self.registered.add)(instance)


class Node:
    """One host: files below a folder, a server and a Sentinel."""

    def __init__(self, group: Group, name: str, address: str) -> None:
        self.id, self.address, self.group = name, address, group
        self.folder = group.folder / name
        self.said: list[str] = []
        self.may_start = False
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.host = machine.Host()
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
        self._at("/var/lib/redis").mkdir(parents=True)

    def connect(self, node: aws.Instance, port: int, password: str, user: str = "admin") -> Client:
        return Client(node.address, port, self.group.nodes[node.id].login(user, password), 2.0)

    def login(self, user: str, password: str) -> Login:
        return Login(user, password, ca=str(self._at("/etc/redis/tls/ca.pem")), name=f"{self.id}.{DOMAIN}")

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

    def _at(self, path: str) -> Path:
        return self.folder / path.lstrip("/")

    def exists(self, path: str) -> bool:
        return self._at(path).exists()

    def read(self, path: str) -> str:
        return self.host.read(str(self._at(path)))

    def write(self, path: str, text: str, owner: str, group: str, mode: int) -> bool:
        assert (group, mode) == ("redis", 0o640)
        if self.exists(path) and self.read(path) == text:
            return False
        self._at(path).parent.mkdir(parents=True, exist_ok=True)
        self._at(path).write_text(text)
        return True

    def overwrite(self, path: str, text: str) -> None:
        assert path == machine.MAY_START
        self.may_start = True

    def run(self, argv: Sequence[str], seconds: float = 30) -> tuple[int, str]:
        if argv[0] != "systemctl":
            return self.host.run([str(self._at(word)) if word.startswith("/") else word for word in argv], seconds)
        verb, unit = argv[1], argv[-1]
        if verb == "is-active":
            return 0 if self.runs(unit) else 3, ""
        if unit == "redis-responder.service":
            return 0, ""
        if verb in ("stop", "restart") and unit in self.processes:
            self.processes[unit].send_signal(signal.SIGTERM)
            self.processes[unit].wait(60)
        if verb in ("start", "restart"):
            self._start(unit)
        return 0, ""

    def _start(self, unit: str) -> None:
        assert self.may_start, "a unit of a fleet's host waits until it was looked at what it has"
        text = self.read(_MANAGED[unit]).replace("0.0.0.0", self.address)
        for path in ("/etc/redis", "/var/lib/redis"):
            text = text.replace(path, str(self._at(path)))
        managed = self._at(f"/run/{unit}.conf")
        managed.parent.mkdir(parents=True, exist_ok=True)
        managed.write_text(text)
        log = self._at(f"/{unit}.log").open("ab")
        more = ["--sentinel"] if "sentinel" in unit else []
        argv = [
            str(self.group.server),
            str(self._at(_FILES[unit])),
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
        raise AssertionError(self._at(f"/{unit}.log").read_text()[-2000:])
