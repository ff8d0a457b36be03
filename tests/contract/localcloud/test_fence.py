# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts reach of the machine that they run on: what the cloud serves, and nothing else of its network."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localcloud.hosts.podman import Podman
from localcloud.settings import settings_of
from tests.contract.localcloud.test_ec2 import Cloud, podman, pytestmark, traces

__all__ = ["pytestmark"]
NEAR, FAR = "198.51.100.2", "203.0.113.213"  # a neighbour of this machine, and somebody behind it


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], timeout=30, check=True, capture_output=True)


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A machine beside this one, and what starts a program there."""
    name = f"n{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("link", "add", name, "type", "veth", "peer", "name", "out", "netns", name)
        ip("address", "add", "198.51.100.1/24", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "address", "add", f"{NEAR}/24", "dev", "out")
        ip("-n", name, "address", "add", f"{FAR}/32", "dev", "out")
        ip("-n", name, "link", "set", "out", "up")
        ip("-n", name, "route", "add", "default", "via", "198.51.100.1")
        ip("route", "add", f"{FAR}/32", "via", NEAR)
        with subprocess.Popen(
            ["ip", "netns", "exec", name, "python3", "-m", "http.server", "8000"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        ) as server:  # fmt: skip
            yield server
            server.kill()
    finally:
        subprocess.run(["ip", "link", "delete", name], timeout=30, check=False, capture_output=True)
        subprocess.run(["ip", "netns", "delete", name], timeout=30, check=False, capture_output=True)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, neighbour: object) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("cloud"))
    made.up()
    yield made
    made.command("down")
    assert traces(made) == []
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, timeout=30, check=True).stdout
    assert f"lc_{made.name}" not in tables


@pytest.fixture(scope="module")
def host(cloud: Cloud) -> str:
    return cloud.up_host(cloud.base("debian-13"))


def inside(cloud: Cloud, host: str, command: str) -> str:
    done = subprocess.run(
        ["podman", "exec", f"lc-{cloud.name}-{host}", "sh", "-c", command],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def reaches(cloud: Cloud, host: str, address: str, port: int) -> bool:
    return inside(cloud, host, f"timeout 5 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo yes") == "yes"


@contextmanager
def listening() -> Iterator[int]:
    """A service of this machine, on all its addresses."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server.getsockname()[1]


def test_the_metadata_is_where_it_is_on_aws(cloud: Cloud, host: str) -> None:
    at = "http://169.254.169.254/latest"
    token = inside(cloud, host, f"curl -sm 10 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {at}/api/token")
    assert inside(cloud, host, f"curl -sm 10 -H 'X-aws-ec2-metadata-token: {token}' {at}/meta-data/instance-id") == host
    assert inside(cloud, host, f"curl -sm 10 -o /dev/null -w '%{{http_code}}' {at}/meta-data/instance-id") == "401"
    evil = inside(cloud, host, f"curl -sm 10 -H 'Host: evil.example' {at}/meta-data/instance-id")
    assert "use the endpoint" in evil


def test_no_service_of_this_machine_is_reached_but_the_cloud_s(cloud: Cloud, host: str) -> None:
    gateway = settings_of(cloud.directory, cloud.name).gateway
    assert reaches(cloud, host, gateway, cloud.port)
    with listening() as port:
        mine = json.loads(
            subprocess.run(["ip", "-j", "-4", "address"], capture_output=True, timeout=30, check=True).stdout
        )
        addresses = [one["local"] for link in mine for one in link["addr_info"] if not one["local"].startswith("127.")]
        assert {gateway, "198.51.100.1"} <= set(addresses)
        assert [address for address in addresses if reaches(cloud, host, address, port)] == []
        with socket.create_connection((gateway, port), timeout=10):
            pass  # it is there


def test_neighbours_are_not_reached_and_the_internet_is(cloud: Cloud, host: str) -> None:
    assert not reaches(cloud, host, NEAR, 8000)
    assert reaches(cloud, host, FAR, 8000)
    with socket.create_connection((NEAR, 8000), timeout=10):
        pass


def test_hosts_reach_each_other(cloud: Cloud, host: str) -> None:
    other = cloud.up_host(cloud.base("debian-13"))
    assert reaches(cloud, host, cloud.instance(other)["PrivateIpAddress"], 22)
    cloud.client().terminate_instances(InstanceIds=[other])


def test_the_gateway_s_hardware_address_stays_whatever_hosts_come_and_go(cloud: Cloud, host: str) -> None:
    """A bridge takes the lowest of its ports' addresses: with the end of that host all the others lost their gateway for 30 s."""
    bridge = Podman().bridge(f"lc-{cloud.name}")

    def address() -> str:
        return Path(f"/sys/class/net/{bridge}/address").read_text().strip()

    before, lower = address(), f"l{os.getpid()}"
    ip("link", "add", lower, "address", "02:00:00:00:00:01", "type", "veth")
    try:
        ip("link", "set", lower, "master", bridge)
        assert address() == before
    finally:
        ip("link", "delete", lower)
    assert reaches(cloud, host, settings_of(cloud.directory, cloud.name).gateway, cloud.port)


def test_a_network_that_up_names_is_open(cloud: Cloud, host: str) -> None:
    cloud.command("stop")
    cloud.command("up", "--reach", "198.51.100.0/24")
    cloud.until(host, "running")
    assert reaches(cloud, host, NEAR, 8000)
    assert podman("ps", "--format={{.Names}}")
    cloud.command("stop")
    cloud.command("up", "--reach")
    cloud.until(host, "running")
    assert not reaches(cloud, host, NEAR, 8000)
