# SPDX-License-Identifier: GPL-3.0-or-later
"""A local cloud of its own for the integration tests, and the playbooks as a user runs them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from localcloud.settings import Settings, settings_of
from tests.unit.plugins.module_utils.host.authority import Authority

ROOT = Path(__file__).resolve().parents[2]
NAME, PORT, SUBNET = "integration", 4599, "172.29.0.0/16"
INSIDE = f"http://172.29.0.1:{PORT}"  # where hosts reach their metadata and SSM


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and what it started: Ansible's workers are sessions of their own, with the modules below them."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    doomed = [process.pid]
    for one in doomed:
        doomed += [child for child, parent in parents.items() if parent == one]
    for one in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.wait(timeout=30)


@dataclass
class Fleet:
    """The conversion product on its cloud, by the fleet files of quickstart: its state directory, and the playbooks over it."""

    cloud: Settings
    state: Path

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "fleet_name": NAME,
            "fleet_state_dir": str(self.state),
            "fleet_image_variables": {"ssh_interface": "private_ip"},
            "host_secrets_endpoint": INSIDE,
            "quickstart_tls": str(self.state / "tls"),
            "quickstart_version": "1.0.0",
        }

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.cloud.environment,
            "PYTHONPATH": str(ROOT / "engine" / "src"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        }

    def _argv(self, playbook: str, *arguments: str, **settings: Any) -> list[str]:
        files = [ROOT / "playbooks/vars/conversion.yml", ROOT / "playbooks/vars/quickstart.yml"]
        return [
            str(Path(sys.executable).parent / "ansible-playbook"), f"boring.fleet.{playbook}",
            *(part for path in files for part in ("-e", f"@{path}")), "-e", json.dumps(self.settings | settings), *arguments,
        ]  # fmt: skip

    def certify(self, *addresses: str) -> None:
        """Another certificate of the load balancer, of an authority of its own in ca.pem."""
        authority, tls = Authority(), self.state / "tls"
        certificate, key = authority.sign([NAME, *addresses])
        tls.mkdir(exist_ok=True)
        for name, text in (("ca.pem", authority.certificate), ("certificate.pem", certificate), ("key.pem", key)):
            (tls / name).write_text(text)

    def play(
        self, playbook: str, *arguments: str, seconds: int = 900, **settings: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._argv(playbook, *arguments, **settings),
            cwd=ROOT, env=self.environment, timeout=seconds, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, playbook: str, scratch: Path, **settings: Any) -> subprocess.Popen[bytes]:
        """The playbook, for whoever wants to ``kill_all`` of it: what it cannot clear away then stays in `scratch`."""
        own = {"TMPDIR": str(scratch), "ANSIBLE_REMOTE_TMP": str(scratch / "ansible")}
        return subprocess.Popen(
            self._argv(playbook, **settings),
            cwd=ROOT, env={**self.environment, **own}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def must_play(self, playbook: str, *arguments: str, **settings: Any) -> str:
        done = self.play(playbook, *arguments, **settings)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def arm(self, **fault: Any) -> None:
        """Have the cloud fail so."""
        command = [sys.executable, "-m", "localcloud", "faults", "--name", NAME, json.dumps(fault)]
        subprocess.run(command, cwd=ROOT, timeout=60, check=True, stdout=subprocess.DEVNULL)

    def client(self, service: str) -> Any:
        return boto3.client(service, **self.cloud.client)

    def group(self, service: str) -> dict[str, Any]:
        found = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[f"{NAME}-{service}"])
        return dict(found["AutoScalingGroups"][0])

    @property
    def host(self) -> str:
        """Where the load balancer is."""
        return str(json.loads((self.state / "deployed.json").read_text())["addresses"]["public"])

    @property
    def reached(self) -> list[str]:
        """Options of a client."""
        return ["--url", f"https://{self.host}", "--cacert", str(self.state / "tls" / "ca.pem")]


@dataclass
class Load:
    """The client that converts without pause; it ends by itself when nobody ends it."""

    fleet: Fleet
    samples: Path
    summary: Path

    def __enter__(self) -> Load:
        self.stop = self.summary.with_suffix(".stop")
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "conversion.client", "load", *self.fleet.reached,
                "--until", str(self.stop), "--seconds", "900", "--concurrency", "2",
                "--out", str(self.samples), "--summary", str(self.summary),
            ],
            env=self.fleet.environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(2)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.touch()
        try:
            self.process.wait(timeout=60)
        finally:
            if self.process.poll() is None:
                self.process.kill()

    @property
    def result(self) -> dict[str, Any]:
        return dict(json.loads(self.summary.read_text()))


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    place = ["--name", NAME, "--port", str(PORT), "--subnet", SUBNET]
    command = [sys.executable, "-m", "localcloud"]
    subprocess.run([*command, "up", *place, "--base", "debian-13"], cwd=ROOT, timeout=600, check=True)
    try:
        yield Fleet(settings_of(ROOT / "build" / "localcloud", NAME), tmp_path_factory.mktemp("fleet"))
    finally:
        subprocess.run([*command, "down", "--name", NAME], cwd=ROOT, timeout=300, check=True)
