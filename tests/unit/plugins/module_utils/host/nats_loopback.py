# SPDX-License-Identifier: GPL-3.0-or-later
"""A NATS data group on loopback: each node has an address of its own (127.0.20.x), real servers, and nothing of systemd or AWS."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.host import aws, nats_node, told
from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from tests.programs import nats_server
from tests.unit.plugins.module_utils.host import data_group
from tests.unit.plugins.module_utils.host.authority import Authority

SYSTEM, CLUSTER, APP = (
    'system "password" of \\ the $tests äß',
    "cluster-password/of the?tests",
    "app-password-of-the-tests",
)
DOMAIN = "bus.shop.fleet.internal"


class Group(data_group.Group["Node"]):
    """`verifier` is the hash of the password of the user app."""

    def __init__(self, folder: Path, verifier: str, nodes: int = 3) -> None:
        authority = Authority()
        # by names on a host; here, where /etc/hosts is everybody's, servers reach each other by addresses
        certificate, key = authority.sign([f"*.{DOMAIN}", *(f"127.0.20.{number}" for number in range(1, 10))])
        values = {
            "/s": SYSTEM, "/c": CLUSTER, "/v": verifier, "/cert": certificate, "/key": key, "/ca": authority.certificate,
        }  # fmt: skip
        given = told.Told(
            "shop", "bus", "nats", "eu-central-1", "shop-bus", "", "enter", "leave", 120, nodes, "", False, DOMAIN, 0, "", False, "",
            {"nats_jetstream_max_file": "200MB"},
            {"system": "/s", "cluster": "/c", "certificate": "/cert", "key": "/key", "authority": "/ca"},
            (told.User("app", "/v", {"account": "APP"}),),
        )  # fmt: skip
        super().__init__(given, values, lambda name, number: Node(self, folder, name, f"127.0.20.{number}"))

    def keep(self, want: str, seconds: float = 60) -> None:
        """Rounds of keep.d on all nodes that run, until one says something."""
        end = time.monotonic() + seconds
        while not any(want in line for node in self.nodes.values() for line in node.said):
            assert time.monotonic() < end, {node.id: node.said for node in self.nodes.values()}
            for node in self.nodes.values():
                if node.runs:
                    try:
                        node.node.keep()
                    except told.HostError as exc:
                        node.said.append(f"(keep) {exc}")
            time.sleep(0.5)


class Node(data_group.Node):
    """One host with one server."""

    def __init__(self, group: Group, folder: Path, name: str, address: str) -> None:
        super().__init__(folder, name, address)
        self.process: subprocess.Popen[bytes] | None = None
        there: Any = group
        self.node = nats_node.NatsNode(
            group.told, name, there, self, self.connect, self.healthy, time.monotonic, time.sleep, self.said.append, 1.0
        )
        self.put("/etc/hosts", "127.0.0.1 localhost\n")

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def healthy(self) -> str:
        try:
            answer = aws.http_request("GET", f"http://{self.address}:8222/healthz", {}, None)
        except OSError:
            return nats_node.health(0, b"")
        return nats_node.health(answer.status, answer.body)

    def connect(self, password: str, user: str = "system", seconds: float = 5.0) -> Client:
        return Client([(self.address, 4222)], self.login(user, password), seconds)

    def login(self, user: str, password: str) -> Login:
        return Login(user, password, ca=str(self.at("/etc/nats/tls/ca.pem")), name=f"{self.id}.{DOMAIN}")

    # -- Machine -------------------------------------------------------------------------------------------------------

    def write(self, path: str, text: str, owner: str, group: str, mode: int) -> bool:
        assert (owner, group, mode) == ("root", "nats", 0o640)
        return self.put(path, text)

    def overwrite(self, path: str, text: str) -> None:
        self.put(path, text)

    def run(self, argv: Sequence[str], seconds: float = 30) -> tuple[int, str]:
        if argv[0] == "systemctl":
            return self._systemctl(argv[1])
        if argv[0] == "nats-server":
            self.overwrite(argv[-1], self._mapped(self.read(argv[-1])))
        mapped = [str(self.at(word)) if word.startswith("/") else word for word in argv]
        return self.host.run([nats_server() if mapped[0] == "nats-server" else mapped[0], *mapped[1:]], seconds)

    def _systemctl(self, verb: str) -> tuple[int, str]:
        if verb == "is-active":
            return (0, "active\n") if self.runs else (3, "inactive\n")
        if verb in ("stop", "restart") and self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        if verb in ("start", "restart") and not self.runs:
            self._start()
        return 0, ""

    def _mapped(self, text: str) -> str:
        """With addresses in place of names, as there is no /etc/hosts of its own here, and paths below the node's folder."""
        text = text.replace("0.0.0.0", self.address)
        text = text.replace("127.0.0.1:8222", f"{self.address}:8222")
        text = text.replace("/etc/nats/tls", str(self.at("/etc/nats/tls")))
        text = text.replace('"/var/lib/nats"', f'"{self.at("/var/lib/nats")}"')
        lines = [line.split() for line in self.read("/etc/hosts").splitlines() if line.endswith(DOMAIN)]
        names = {name: address for address, name in lines}
        # as URLs are compared, another name of the same address is another port that nobody listens at
        text = re.sub(rf"i-\d+-(\d+)\.{DOMAIN}:6222", lambda found: f"{self.address}:{6300 + int(found[1])}", text)
        return re.sub(rf"i-\d+(-\d+)?\.{DOMAIN}", lambda found: names[found[0]], text)

    def _start(self) -> None:
        self.overwrite("/run/nats.conf", self._mapped(self.read("/etc/nats/nats.conf")))
        log = self.at("/log").open("ab")
        self.process = subprocess.Popen([nats_server(), "-c", str(self.at("/run/nats.conf"))], stdout=log, stderr=log)
        end = time.monotonic() + 20
        while self.healthy() == "its monitoring does not answer":
            assert time.monotonic() < end, self.at("/log").read_text()[-2000:]
            time.sleep(0.1)
