# SPDX-License-Identifier: GPL-3.0-or-later
"""A podman whose containers are entries of a dictionary, for what decides about hosts without having any."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from localcloud.hosts import fleet as fleet_module
from localcloud.hosts.fence import Fence
from localcloud.hosts.podman import Container, HostError, HostSpec, Machine, Podman


class AtOnce(Executor):
    """Runs everything in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass
class FakeContainer:
    spec: HostSpec
    pid: int
    state: str = "starting"  # what systemd says; "gone" once it ended
    code: int = 0
    ignores_stop: bool = False


@dataclass
class FakePodman(Podman):
    """``containers_`` by name; ``calls`` in order; ``refuse`` makes the next call of a verb fail."""

    containers_: dict[str, FakeContainer] = field(default_factory=dict)
    images_: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    next_pid: int = 1000

    def __post_init__(self) -> None:
        super().__init__(Machine(unified_cgroups=True, files=1, processes=1))

    def require(self) -> None: ...

    def _told(self, verb: str, name: str = "") -> None:
        self.calls.append(f"{verb} {name}".strip())
        if verb in self.refuse:
            raise HostError(self.refuse.pop(verb))

    def __call__(self, *args: str, seconds: float = 60) -> str:
        verb, name = args[0], args[-1]
        self._told(" ".join([verb, *args[1:-1]]), name)
        if verb == "kill":
            container = self._get(name)
            if args[1] == "--signal=KILL":
                container.state, container.code = "gone", 137
            elif not container.ignores_stop:
                container.state, container.code = "gone", 130
        return ""

    def _get(self, name: str) -> FakeContainer:
        if name not in self.containers_:
            raise HostError(f"no such container {name}")
        return self.containers_[name]

    def run(self, spec: HostSpec) -> None:
        self._told("run", spec.name)
        self.next_pid += 1
        self.containers_[spec.name] = FakeContainer(spec, self.next_pid)

    def start(self, name: str) -> None:
        self._told("start", name)
        self.next_pid += 1
        self._get(name).pid, self._get(name).state = self.next_pid, "starting"

    def remove(self, *names: str) -> None:
        for name in names:
            self._told("remove", name)
            self.containers_.pop(name, None)

    def pid(self, name: str) -> int:
        return self._get(name).pid

    def port(self, pid: int) -> int:
        if "port" in self.refuse:
            raise HostError(self.refuse.pop("port"))
        return pid + 5000

    def exit_code(self, name: str) -> int:
        return self._get(name).code

    def containers(self, **labels: str) -> list[Container]:
        return [
            Container(name, item.state, 0 if item.state == "gone" else item.pid, item.spec.image, {})
            for name, item in self.containers_.items()
        ]

    def commit(self, name: str, tag: str) -> None:
        self._told("commit", name)
        self._get(name)
        self.images_.add(tag)

    def tag(self, image: str, *tags: str) -> None:
        self.images_.update(tags)

    def untag(self, tags: Any) -> None:
        self.images_ -= set(tags)

    def images(self, prefix: str) -> list[str]:
        return sorted(tag for tag in self.images_ if tag.startswith(prefix))

    def has_image(self, tag: str) -> bool:
        return True

    def ensure_network(self, name: str, subnet: str) -> None:
        self._told("network", name)

    def bridge(self, network: str) -> str:
        return "podman9"

    # what /proc and systemd would say

    def state_of(self, pid: int) -> str:
        return next((item.state for item in self.containers_.values() if item.pid == pid), "gone")

    def boot(self) -> None:
        """Let every host that starts come up."""
        for item in self.containers_.values():
            if item.state == "starting":
                item.state = "running"


def install(monkeypatch: pytest.MonkeyPatch, podman: FakePodman) -> None:
    """Make fleets look at the fake instead of /proc."""
    monkeypatch.setattr(fleet_module, "alive", lambda pid: podman.state_of(pid) != "gone")
    monkeypatch.setattr(fleet_module, "boot_state", podman.state_of)
    monkeypatch.setattr(
        Fence, "up", lambda fence: podman.calls.append(f"fence {fence.interface} {fence.gateway}:{fence.port}")
    )
