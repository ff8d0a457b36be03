# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that boot from the data image: without user data nothing runs and nothing fails, with it both services run.

The scenario's hosts are the image under construction. Each is committed, and hosts are booted from the commit the way the
local cloud does it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from localcloud.hosts.podman import HostSpec, Podman, boot_state

PASSWORD = "correct-horse-battery-staple-app"
SEED = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "seed"


@contextmanager
def booted(podman: Podman, spec: HostSpec) -> Iterator[Host]:
    """A host for as long as the block runs."""
    podman.run(spec)
    try:
        deadline = time.monotonic() + 90
        while boot_state(podman.pid(spec.name)) not in {"running", "degraded"}:
            assert time.monotonic() < deadline, f"{spec.name} did not come up"
            time.sleep(0.3)
        yield testinfra.get_host(f"podman://{spec.name}")
    finally:
        podman.remove(spec.name)


@pytest.fixture(scope="session")
def podman() -> Podman:
    return Podman()


@pytest.fixture(scope="session")
def image(platform: dict[str, Any], podman: Podman) -> Iterator[tuple[str, dict[str, str]]]:
    """The data image of one release, and the labels by which the scenario's destroy finds what is started from it."""
    name = platform["container"]
    labels = {
        "boring.fleet.molecule": podman(
            "inspect", "--format", '{{index .Config.Labels "boring.fleet.molecule"}}', name
        ).strip()
    }
    tag = f"localhost/molecule-{labels['boring.fleet.molecule']}:{platform['name']}"
    podman.commit(name, tag)
    try:
        yield tag, labels
    finally:
        podman.untag([tag])


@pytest.fixture(scope="session")
def unconfigured(image: tuple[str, dict[str, str]], podman: Podman, platform: dict[str, Any]) -> Iterator[Host]:
    with booted(
        podman, HostSpec(f"{platform['container']}-plain", image[0], hostname="plain", labels=image[1])
    ) as host:
        yield host


@pytest.fixture(scope="session")
def configured(
    image: tuple[str, dict[str, str]], podman: Podman, platform: dict[str, Any]
) -> Iterator[tuple[Host, str]]:
    """A host with the seed that converge made, and its address."""
    spec = HostSpec(f"{platform['container']}-seeded", image[0], hostname="seeded", seed=SEED, labels=image[1])
    with booted(podman, spec) as host:
        yield host, podman.address(spec.name)


@pytest.mark.parametrize("service", ["redis-server", "nats-server"])
def test_an_unconfigured_service_idles(unconfigured: Host, service: str) -> None:
    assert unconfigured.check_output(f"systemctl is-enabled {service}") == "enabled"
    assert unconfigured.run(f"systemctl is-active {service}").stdout.strip() == "inactive"


def test_an_unconfigured_host_has_no_failed_unit(unconfigured: Host) -> None:
    assert unconfigured.check_output("systemctl is-system-running") == "running"
    assert unconfigured.check_output("ss -Htln 'sport = 6379 or sport = 4222 or sport = 8222'") == ""


def test_a_configured_host_has_no_failed_unit(configured: tuple[Host, str]) -> None:
    assert configured[0].check_output("systemctl is-system-running") == "running"


@pytest.mark.parametrize(
    ("path", "owner", "group"),
    [
        ("/etc/redis/managed.conf", "root", "redis"),
        ("/etc/redis/users.acl", "root", "redis"),
        ("/etc/nats/nats.conf", "root", "nats"),
    ],
)
def test_cloud_init_kept_the_files_from_others(configured: tuple[Host, str], path: str, owner: str, group: str) -> None:
    file = configured[0].file(path)
    assert (file.user, file.group, file.mode) == (owner, group, 0o640)


def test_redis_serves_the_user_that_the_user_data_named(configured: tuple[Host, str]) -> None:
    with socket.create_connection((configured[1], 6379), timeout=10) as connection:
        answers = connection.makefile("rb")
        connection.sendall(b"PING\r\n")
        assert answers.readline().startswith(b"-NOAUTH")
        connection.sendall(f"AUTH app {PASSWORD}\r\n".encode())
        assert answers.readline() == b"+OK\r\n"
        connection.sendall(b"SET key value\r\n")
        assert answers.readline() == b"+OK\r\n"


def test_nats_serves_the_user_that_the_user_data_named(configured: tuple[Host, str]) -> None:
    with socket.create_connection((configured[1], 4222), timeout=10) as connection:
        answers = connection.makefile("rb")
        assert b'"auth_required":true' in answers.readline()
        connection.sendall(f'CONNECT {{"verbose":false,"user":"app","pass":"{PASSWORD}"}}\r\nPING\r\n'.encode())
        assert answers.readline() == b"PONG\r\n"


def test_both_come_back_after_a_restart(configured: tuple[Host, str]) -> None:
    host, address = configured
    for service in ("redis-server", "nats-server"):
        host.check_output(f"systemctl restart {service}")
        assert host.check_output(f"systemctl is-active {service}") == "active"
    with socket.create_connection((address, 4222), timeout=10):
        pass
