# SPDX-License-Identifier: GPL-3.0-or-later
"""What every scenario's tests share: `host` is a testinfra host, once for each host of the scenario."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for localcloud and molecule's own modules


def _inventory() -> dict[str, dict[str, Any]]:
    """Variables of every host, by inventory name, as Ansible resolves them."""
    text = subprocess.run(
        ["ansible-inventory", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], "--list"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    hosts: dict[str, dict[str, Any]] = json.loads(text)["_meta"]["hostvars"]
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


@pytest.fixture(scope="session")
def host(platform: dict[str, Any]) -> Host:
    """The host under test. Commands run in it as root, through podman."""
    return testinfra.get_host(f"podman://{platform['ansible_host']}")


@pytest.fixture(scope="session")
def address(platform: dict[str, Any]) -> str:
    """The host's address on the podman network: what an outsider (this machine) would connect to."""
    return subprocess.run(
        ["podman", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", platform["ansible_host"]],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()
