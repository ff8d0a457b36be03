# SPDX-License-Identifier: GPL-3.0-or-later
"""A data group on loopback, of NATS or of Redis: what AWS would know of it, a folder in place of each node's disk, and a client that writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from ansible_collections.boring.fleet.plugins.module_utils.host import aws, machine, told


class Node:
    """One host. `node` is what is tested, this its Machine."""

    node: Any

    def __init__(self, folder: Path, name: str, address: str) -> None:
        self.folder, self.id, self.address = folder / name, name, address
        self.said: list[str] = []
        self.host = machine.Host()

    def kill(self) -> None:
        """At once, as when the power fails."""
        raise NotImplementedError

    def at(self, path: str) -> Path:
        return self.folder / path.lstrip("/")

    def exists(self, path: str) -> bool:
        return self.at(path).exists()

    def read(self, path: str) -> str:
        return self.host.read(str(self.at(path)))

    def put(self, path: str, text: str) -> bool:
        """Whether it differed."""
        if self.exists(path) and self.read(path) == text:
            return False
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).write_text(text)
        return True


N = TypeVar("N", bound=Node)


class Group(Generic[N]):
    """The nodes that AWS would know, those that are `away` left out, and their parameters. `make` takes the name of a node and its number."""

    def __init__(self, given: told.Told, values: dict[str, str], make: Callable[[str, int], N]) -> None:
        self.told, self.values, self.make = given, values, make
        self.nodes: dict[str, N] = {}
        self.away: set[str] = set()
        self.lifecycle: dict[str, str] = {}

    def launch(self) -> N:
        number = len(self.nodes) + 1
        node = self.make(f"i-{number:02d}", number)
        self.nodes[node.id] = node
        self.lifecycle[node.id] = "Pending:Wait"
        return node

    def enter(self, *nodes: N, seconds: float = 60) -> None:
        """As the lifecycle does: again and again, all of them side by side."""
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

    def leave(self, node: N, seconds: float) -> None:
        """As the lifecycle does: again and again, until it may go."""
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

    def end(self) -> None:
        for node in self.nodes.values():
            node.kill()

    # -- what the nodes ask AWS ----------------------------------------------------------------------------------------

    def instances(self, fleet: str, service: str) -> list[aws.Instance]:
        assert (fleet, service) == (self.told.fleet, self.told.service)
        return [
            aws.Instance(node.id, node.address, "running", node.id, self.lifecycle[node.id])
            for node in self.nodes.values()
            if node.id not in self.away
        ]

    def parameters(self, names: Sequence[str]) -> dict[str, str]:
        return {name: self.values[name] for name in names}


class Writer(threading.Thread):
    """Writes one number after the other, each again until it is acknowledged. `pause`: the longest time in which none was."""

    def __init__(self, connect: Callable[[], Any], write: Callable[[Any, int], None], refused: type[Exception]) -> None:
        """`connect` and `write` raise `refused`."""
        super().__init__(daemon=True)
        self.connect, self.write, self.refused = connect, write, refused
        self.stop, self.first = threading.Event(), threading.Event()
        self.acknowledged, self.pause = 0, 0.0

    def __enter__(self) -> Writer:
        self.start()
        assert self.first.wait(20), "nothing was acknowledged"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join(30)

    def run(self) -> None:
        client: Any = None
        last = time.monotonic()
        while not self.stop.is_set():
            try:
                client = client or self.connect()
                self.write(client, self.acknowledged)
            except self.refused:
                if client is not None:
                    client.close()
                client = None
                time.sleep(0.05)
                continue
            self.acknowledged += 1
            self.pause, last = max(self.pause, time.monotonic() - last), time.monotonic()
            self.first.set()
