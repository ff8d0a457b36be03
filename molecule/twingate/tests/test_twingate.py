# SPDX-License-Identifier: GPL-3.0-or-later
"""Connectors on real hosts, with a fake of the API and a stub of the program: tokens, sandbox, and the roll."""
# ruff: noqa: S310 - the addresses are our own

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testinfra.host import Host

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
STUB = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "stub"


def connectors() -> dict[str, dict[str, Any]]:
    """The connectors by name, as the API has them."""
    url = json.loads((FOLDER / "twingate.json").read_text())["url"]
    query = "query { connectors(first: 50) { edges { node { name state version hostname remoteNetwork { name location } } } } }"
    request = urllib.request.Request(
        url,
        data=json.dumps({"query": query, "variables": {}}).encode(),
        headers={"X-API-KEY": (FOLDER / "twingate.key").read_text(), "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        edges = json.loads(answer.read())["data"]["connectors"]["edges"]
    return {edge["node"]["name"]: edge["node"] for edge in edges}


def tokens(host: Host) -> list[str]:
    return [line.partition("=")[2] for line in host.file("/etc/twingate/tokens.conf").content_string.splitlines()]


def test_each_host_is_a_connector_of_its_own(everywhere: dict[str, Host]) -> None:
    found = connectors()
    assert set(found) == {f"zone-{name}" for name in everywhere}
    assert {connector["state"] for connector in found.values()} == {"ALIVE"}
    assert all(connector["remoteNetwork"] == {"name": "production", "location": "AWS"} for connector in found.values())
    pairs = [tokens(host) for host in everywhere.values()]
    assert len({token for pair in pairs for token in pair}) == 4, "no token is on two hosts"


def test_tokens_are_in_their_file_and_nowhere_else(host: Host) -> None:
    for name in ("tokens.conf", "connector.conf"):
        file = host.file(f"/etc/twingate/{name}")
        assert (file.user, file.mode) == ("root", 0o600)
    assert host.file("/etc/twingate").mode == 0o700
    for token in tokens(host):
        for command in (
            "ps axww",
            "journalctl --no-pager",
            "systemctl show twingate-connector",
            "systemctl cat twingate-connector",
        ):
            assert token not in host.run(command).stdout
    # In brackets, or sudo's note of this very search in the journal would be what is found.
    assert not host.run("grep -rl 'fake-api-key-of-the-test[s]' /etc /var /root /home /tmp").stdout
    assert not [path for path in Path("/tmp").glob("twingate-*") if path.is_dir()], "and none on the controller"


def test_it_runs_as_nobody_in_a_sandbox(host: Host) -> None:
    assert host.service("twingate-connector").is_running
    assert host.service("twingate-connector").is_enabled
    pid = host.check_output("systemctl show --property=MainPID --value twingate-connector")
    assert host.check_output(f"stat -c %u /proc/{pid}") != "0"
    assert host.run("systemd-analyze security --no-pager --threshold=20 twingate-connector.service").rc == 0
    assert "twingate_connector_uptime_seconds" in host.check_output("curl -s http://127.0.0.1:9191/metrics")


def test_without_tokens_it_waits_and_nothing_fails(host: Host) -> None:
    """As on the first boot of an image."""
    try:
        host.check_output("mv /etc/twingate/tokens.conf /etc/twingate/away && systemctl restart twingate-connector")
        assert not host.service("twingate-connector").is_running
        assert host.run("systemctl is-failed twingate-connector").rc != 0
    finally:
        host.check_output("mv /etc/twingate/away /etc/twingate/tokens.conf && systemctl restart twingate-connector")


def program(version: str, broken: bool = False) -> dict[str, str]:
    """Another version of the stub, as the variables that name it."""
    text = STUB.read_text().replace('"1.72.0"', f'"{version}"')
    file = FOLDER / f"stub-{version}"
    file.write_text("#!/bin/sh\nexit 1\n" if broken else text)
    return {
        "twingate_connector_binary": str(file),
        "twingate_connector_binary_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def wait_until_all_are_alive() -> None:
    deadline = time.monotonic() + 20
    while {one["state"] for one in connectors().values()} != {"ALIVE"}:
        assert time.monotonic() < deadline, connectors()
        time.sleep(0.2)


class Watch:
    """Looks at the API all the while and keeps the fewest connectors that were alive at once."""

    def __enter__(self) -> Watch:
        self.fewest = 99
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._ended.wait(0.2):
            self.fewest = min(self.fewest, sum(one["state"] == "ALIVE" for one in connectors().values()))

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)


def test_a_roll_keeps_one_alive(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    wait_until_all_are_alive()
    with Watch() as watch:
        done = change(**program("1.73.0"))
    assert done.ok, done.output
    assert watch.fewest >= 1
    assert {connector["version"] for connector in connectors().values()} == {"1.73.0"}
    again = change(**program("1.73.0"))
    assert again.ok, again.output
    assert set(again.changed.values()) == {0}
    for host in everywhere.values():
        assert all(token not in done.output for token in tokens(host))


def test_a_version_that_does_not_come_up_stops_the_roll_after_one(change: Callable[..., Any]) -> None:
    wait_until_all_are_alive()
    try:
        with Watch() as watch:
            done = change(twingate_connector_alive_seconds=5, **program("1.74.0", broken=True))
        assert not done.ok
        assert "is DEAD_HEARTBEAT_TOO_OLD after 5 s" in done.output
        assert watch.fewest == 1, "the other one was left alone"
        assert sum(one["state"] == "ALIVE" for one in connectors().values()) == 1
    finally:
        mended = change(**program("1.73.0"))
    assert mended.ok, "a roll begins with the dead one, and all others are alive: " + mended.output
    assert {connector["state"] for connector in connectors().values()} == {"ALIVE"}
