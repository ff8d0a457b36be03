# SPDX-License-Identifier: GPL-3.0-or-later
"""A real control plane and real nodes in user space, for tests in one process and for scenarios that go on after it.

`python -m tests.tailnet.control start ADDRESS FOLDER` makes one that hosts reach; it ends by itself after 45 minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

PROGRAMS = Path(__file__).resolve().parents[2] / "build" / "tailnet"
PATIENCE = 30.0
LONGEST = "2700"  # seconds that any program of ours may live, whatever becomes of the run


def wait_for(what: str, look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Headscale:
    """A control plane that can be stopped and started again, also by another process than the one that made it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = yaml.safe_load((folder / "config.yaml").read_text())
        self.url: str = self.config["server_url"]
        self.policy = folder / "policy.json"

    @classmethod
    def new(
        cls, folder: Path, address: str = "127.0.0.1", policy: Mapping[str, Any] | None = None, **more: Any
    ) -> Headscale:
        port = free_port()
        (folder / "policy.json").write_text(json.dumps(policy or {"acls": []}))
        config = {
            "server_url": f"{'https' if 'tls_cert_path' in more else 'http'}://{address}:{port}",
            "listen_addr": f"{address}:{port}",
            "metrics_listen_addr": "",
            "grpc_listen_addr": f"127.0.0.1:{free_port()}",
            "unix_socket": str(folder / "headscale.sock"),
            "noise": {"private_key_path": str(folder / "noise.key")},
            "prefixes": {"v4": "100.64.0.0/10", "allocation": "sequential"},
            "derp": {
                "server": {
                    "enabled": True, "region_id": 999, "region_code": "test", "region_name": "test",
                    "stun_listen_addr": f"{address}:{free_port()}", "private_key_path": str(folder / "derp.key"),
                    "automatically_add_embedded_derp_region": True,
                },
                "urls": [], "paths": [], "auto_update_enabled": False,
            },
            "ephemeral_node_inactivity_timeout": "66s",
            "disable_check_updates": True,
            "database": {"type": "sqlite", "sqlite": {"path": str(folder / "db.sqlite")}},
            "policy": {"mode": "file", "path": str(folder / "policy.json")},
            "dns": {"magic_dns": False, "override_local_dns": False, "base_domain": "tailnet.test"},
            "log": {"level": "info"},
            **more,
        }  # fmt: skip
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        made = cls(folder)
        made.start()
        made.call("users", "create", "fleet")
        return made

    @property
    def runs(self) -> bool:
        return (self.folder / "pid").exists()

    def start(self) -> None:
        """Start it and wait until it answers, and answers for its nodes too."""
        with (self.folder / "headscale.log").open("ab") as log:
            process = subprocess.Popen(
                ["timeout", LONGEST, PROGRAMS / "headscale", "--config", self.folder / "config.yaml", "serve"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        (self.folder / "pid").write_text(str(process.pid))
        address, _, port = self.config["listen_addr"].rpartition(":")

        def answers() -> bool:
            assert process.poll() is None, (self.folder / "headscale.log").read_text()[-2000:]
            with socket.socket() as one:
                return one.connect_ex((address, int(port))) == 0 and (self.folder / "headscale.sock").exists()

        wait_for("headscale", answers)

    def stop(self) -> None:
        """End it and wait until its port is closed; it may be gone already."""
        file = self.folder / "pid"
        if not file.exists():
            return
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.killpg(int(file.read_text()), signal.SIGKILL)
        file.unlink()
        address, _, port = self.config["listen_addr"].rpartition(":")

        def closed() -> bool:
            with socket.socket() as one:
                return one.connect_ex((address, int(port))) != 0

        wait_for("the end of headscale", closed)
        (self.folder / "headscale.sock").unlink(missing_ok=True)

    def call(self, *argv: str) -> str:
        done = subprocess.run(
            [PROGRAMS / "headscale", "--config", self.folder / "config.yaml", *argv],
            capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *argv: str) -> Any:
        return json.loads(self.call(*argv, "--output", "json")) or []

    def key(self, *options: str, user: str = "fleet") -> str:
        [number] = [str(found["id"]) for found in self.json("users", "list") if found["name"] == user]
        return str(self.json("preauthkeys", "create", "--user", number, *options)["key"])

    def nodes(self) -> list[str]:
        return sorted(node["given_name"] for node in self.json("nodes", "list"))

    def online(self, name: str) -> bool:
        return any(node["given_name"] == name and node.get("online") for node in self.json("nodes", "list"))


class Node:
    """A tailscaled in user space, which takes no interface and no root."""

    def __init__(self, folder: Path, **environment: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.socket = folder / "sock"
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "timeout", LONGEST, PROGRAMS / "tailscaled", "--tun=userspace-networking", f"--statedir={folder}",
                    f"--socket={self.socket}", "--port=0", "--no-logs-no-support",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "TS_DEBUG_FIREWALL_MODE": "nftables", "HOME": str(folder), **environment},
            )  # fmt: skip
        wait_for("tailscaled", self.socket.exists)

    def __call__(self, *argv: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """`tailscale ARGV` on this node."""
        return subprocess.run(
            [PROGRAMS / "tailscale", f"--socket={self.socket}", *argv],
            capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


def main(action: str, *given: str) -> None:
    if action == "start":
        address, folder = given
        Path(folder).mkdir(parents=True, exist_ok=True)
        print(Headscale.new(Path(folder), address).url)
    elif (Path(given[0]) / "config.yaml").exists():
        Headscale(Path(given[0])).stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
