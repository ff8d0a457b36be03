# SPDX-License-Identifier: GPL-3.0-or-later
"""What every scenario's tests share: `host` is a testinfra host, once for each host of the scenario."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for localcloud and benchmarks
sys.path.insert(0, str(Path(__file__).resolve().parent / "shared"))
sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent / "build" / "collections")
)  # for the collection's own clients

from benchmarks.figures import keep


def _inventory() -> dict[str, dict[str, Any]]:
    """Variables of every host, by inventory name, as Ansible resolves them; `container` is podman's name for it."""
    text = subprocess.run(
        ["ansible-inventory", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], "--list"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    hosts: dict[str, dict[str, Any]] = json.loads(text)["_meta"]["hostvars"]
    for instance in yaml.safe_load(Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).read_text()):
        hosts[instance["instance"]]["container"] = instance["container"]
    return hosts


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that asks for a host once for each host."""
    if "platform" in metafunc.fixturenames:
        inventory = _inventory()
        metafunc.parametrize(
            "platform",
            [inventory[name] | {"name": name} for name in sorted(inventory)],
            ids=sorted(inventory),
            scope="session",
        )


def _connect(variables: dict[str, Any]) -> Host:
    """A testinfra host as root, over one SSH connection that is kept: far faster than one `podman exec` after another."""
    return testinfra.get_host(
        f"ssh://{variables['ansible_user']}@{variables['ansible_host']}?sudo=true",
        ssh_identity_file=variables["ansible_private_key_file"],
        ssh_extra_args="-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
    )


@pytest.fixture(scope="session")
def host(platform: dict[str, Any]) -> Host:
    """The host under test. Commands run in it as root."""
    return _connect(platform)


@pytest.fixture(scope="session")
def address(platform: dict[str, Any]) -> str:
    """The host's address on the podman network: what an outsider (this machine) would connect to."""
    found: str = platform["ansible_host"]
    return found


@dataclass(frozen=True)
class Play:
    """What came of a play on all hosts of the scenario."""

    ok: bool
    output: str
    changed: dict[str, int]  # by inventory name


@pytest.fixture(scope="session")
def change() -> Callable[..., Play]:
    """Run the scenario's change.yml on all hosts, or those of `limit`, with variables that go over the scenario's."""

    def run(*, limit: str = "all", **variables: object) -> Play:
        done = subprocess.run(
            [
                "ansible-playbook", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], "--limit", limit,
                "--extra-vars", json.dumps(variables), f"{os.environ['MOLECULE_SCENARIO_DIRECTORY']}/change.yml",
            ],
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        changed = {
            name: int(count) for name, count in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", output, re.MULTILINE)
        }
        return Play(done.returncode == 0, output, changed)

    return run


@pytest.fixture(scope="session")
def everywhere() -> dict[str, Host]:
    """All hosts of the scenario at once, by inventory name: for tests that run one play on all of them."""
    return {name: _connect(found) for name, found in _inventory().items()}


@pytest.fixture(scope="session")
def addresses(everywhere: dict[str, Host]) -> dict[str, str]:
    """What an outsider connects to, by inventory name."""
    return {name: host.check_output("hostname -I").split()[0] for name, host in everywhere.items()}


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a test puts here is kept for `make bench-data`, if no test of the session failed."""
    found: dict[str, Any] = {}
    yield found
    if not request.session.testsfailed:
        keep(Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]).name, found)
