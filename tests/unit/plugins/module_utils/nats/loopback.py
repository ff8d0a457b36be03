# SPDX-License-Identifier: GPL-3.0-or-later
"""A NATS cluster on loopback: each server has an address of its own (127.0.8.x), and the configuration that the role writes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client, NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.cluster import look, wait_until_whole
from ansible_collections.boring.fleet.plugins.module_utils.nats.desired import Desired, config_text
from ansible_collections.boring.fleet.plugins.module_utils.nats.monitor import HttpMonitor
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from tests.programs import nats_server, self_signed

SERVERS = ("n1", "n2", "n3")
ADDRESSES = {f"n{number}": f"127.0.8.{number}" for number in range(1, 5)}
PORT = 17410
PASSWORD = "correct-horse"


class Cluster:
    """Servers that are started and killed by their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self_signed(folder, *ADDRESSES.values())

    def start(self, name: str, hosts: list[str]) -> None:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, b"2b")).decode()
        wanted = Desired(
            server_name=name, listen_host=ADDRESSES[name], port=PORT, tls=True, tls_dir=str(self.folder), cluster_name="c",
            cluster_hosts=[ADDRESSES[each] for each in hosts], cluster_port=PORT + 1, monitor_host=ADDRESSES[name],
            monitor_port=PORT + 2, store_dir=str(self.folder / name), jetstream_max_file="100MB",
            users=[{"user": "app", "password_bcrypt": hashed}, {"user": "op", "password_bcrypt": hashed, "account": "SYS"}],
            account_limits={"APP": {"max_file": "60MB", "max_mem": 0}},
        )  # fmt: skip
        config = self.folder / f"{name}.conf"
        config.write_text(config_text(wanted))
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen([nats_server(), "-c", str(config)], stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait(timeout=10)

    def client(self, name: str, user: str = "app") -> Client:
        login = Login(user, PASSWORD, True, str(self.folder / "ca.pem"))
        return Client([(ADDRESSES[name], PORT)], login, 5.0)

    def monitor(self, name: str) -> HttpMonitor:
        return HttpMonitor(f"http://{ADDRESSES[name]}:{PORT + 2}")

    def whole(self, *names: str, speed: float = 1.0) -> None:
        """With a clock that runs faster."""
        for name in names:
            wait_until_whole(self.monitor(name), names, 90 * speed, lambda: speed * time.monotonic(), time.sleep)

    def leader(self, *names: str) -> str:
        return next(name for name in names if look(self.monitor(name)).meta.leader == name)


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except (NatsError, OSError, ValueError, StopIteration):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextmanager
def three_servers(folder: Path) -> Iterator[Cluster]:
    """A cluster that is whole, until it is left."""
    made = Cluster(folder)
    try:
        for name in SERVERS:
            made.start(name, list(SERVERS))
        made.whole(*SERVERS)
        yield made
    finally:
        for name in list(made.running):
            made.kill(name)
