# SPDX-License-Identifier: GPL-3.0-or-later
"""Three servers and a stream on all of them, under a steady load, while everything happens to them that does happen.

Each test prints what a client felt. What must hold on every machine is asserted: no acknowledged message is lost, and the
cluster is whole again afterwards. How long a pause was is printed only.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from authority import context, served
from cluster import pids, play, writing
from testinfra.host import Host

PASSWORD = "correct-horse-battery-staple-app"
CONFIG = "/etc/nats/nats.conf"
BINARY = Path(sys.executable).parent / "nats-server"
NEWER = {"nats_binary": str(BINARY), "nats_binary_sha256": hashlib.sha256(BINARY.read_bytes()).hexdigest()}


# a roll waits for every node to be whole again, each of them
pytestmark = pytest.mark.timeout(900)


def ask(host: Host, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output(f"curl -sS --max-time 5 'http://127.0.0.1:8222/{path}'"))
    return found


def streams(host: Host) -> list[dict[str, Any]]:
    accounts = ask(host, "jsz?accounts=true&streams=true").get("account_details") or []
    return [stream for account in accounts for stream in account.get("stream_detail") or []]


def stream_leader(everywhere: dict[str, Host]) -> str:
    found: str = next(stream["cluster"]["leader"] for stream in streams(next(iter(everywhere.values()))))
    return found


def wait_until_whole(everywhere: dict[str, Host], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while True:
        said = {
            name: host.run("curl -sS --max-time 5 http://127.0.0.1:8222/healthz").stdout
            for name, host in everywhere.items()
        }
        if all('"status":"ok"' in text.replace(" ", "") for text in said.values()):
            return
        assert time.monotonic() < deadline, said
        time.sleep(0.5)


@pytest.fixture
def load(
    addresses: dict[str, str], figures: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Any]:
    """`with load("what happens"):` writes all the while, and then counts."""

    @contextmanager
    def run(what: str) -> Iterator[None]:
        subject = f"kept.{what.replace(' ', '-')}"
        settings = {"hosts": list(addresses.values()), "user": "app", "password": PASSWORD, "subject": subject}
        with writing("nats_writer.py", settings) as told:
            yield
        kept = asyncio.run(read(list(addresses.values()), subject))
        lost = len(set(range(told["acknowledged"])) - kept)
        with capsys.disabled():
            print(
                f"\nnats, {what}: {told['acknowledged']} acknowledged writes, lost {lost}, "
                f"longest pause {told['longest_pause_ms']} ms, errors of a client that retries {told['errors']}"
            )
        figures[what] = told | {"lost": lost}
        assert told["acknowledged"] == told["sent"], "a client that retries got everything through"
        assert lost == 0

    return run


async def read(hosts: list[str], subject: str) -> set[int]:
    """The numbers of all messages that the stream has."""
    connection = await nats.connect(
        [f"tls://{host}:4222" for host in hosts], user="app", password=PASSWORD, tls=context()
    )
    try:
        stream = connection.jetstream(timeout=10)
        last = (await stream.get_last_msg("KEPT", subject)).seq or 0
        subscription = await stream.subscribe(subject, ordered_consumer=True)
        found: set[int] = set()
        at = 0
        while at < last:
            message = await subscription.next_msg(timeout=20)
            found.add(int(message.data))
            at = message.metadata.sequence.stream
        return found
    finally:
        await connection.close()


def test_three_servers_are_one_cluster(everywhere: dict[str, Host]) -> None:
    wait_until_whole(everywhere)
    deadline = time.monotonic() + 60
    while not all(streams(host) for host in everywhere.values()):  # each gets its replica when it gets to it
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for host in everywhere.values():
        assert ask(host, "jsz")["meta_cluster"]["cluster_size"] == 3
        assert len(streams(host)[0]["cluster"]["replicas"]) == 2
        assert ask(host, "varz")["cluster"]["tls_verify"]
        host.check_output("systemd-analyze security --no-pager --threshold=20 nats-server.service")


@pytest.mark.parametrize("state", ["left-out", "lost"])
def test_a_server_that_does_not_find_back_starts_again(
    everywhere: dict[str, Host], change: Callable[..., Any], state: str
) -> None:
    leader = ask(everywhere["nats-1"], "jsz")["meta_cluster"]["leader"]
    one = next(name for name in sorted(everywhere) if name != leader)
    monitor = base64.b64encode(Path(__file__).with_name("forgetful_monitor.py").read_bytes()).decode()
    for host in everywhere.values():
        host.check_output(f"echo {monitor} | base64 -d > /tmp/monitor.py")
        host.check_output(f"systemd-run --collect --unit=forgetful python3 /tmp/monitor.py {one} {state}")
        host.check_output("curl -sS --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8299/jsz")
    running = pids(everywhere, "nats-server")
    try:
        patience = {"__nats_meta_patience": 2, "__nats_lost_patience": 2}
        result = change(entry="whole", __nats_their_url="http://127.0.0.1:8299", **patience)
    finally:
        for host in everywhere.values():
            host.check_output("systemctl stop forgetful; rm /tmp/monitor.py")
    assert result.ok, result.output
    after = pids(everywhere, "nats-server")
    assert {name for name in after if after[name] != running[name]} == {one}
    wait_until_whole(everywhere)


def test_nobody_joins_without_a_certificate_of_the_ca(everywhere: dict[str, Host], addresses: dict[str, str]) -> None:
    """A stranger's nats-server, with the right cluster name, reaches the port and gets no route."""
    host = everywhere["nats-1"]
    host.check_output(
        "mkdir -p /tmp/stranger && cd /tmp/stranger && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-subj /CN=stranger -days 1 -keyout key.pem -out cert.pem 2>/dev/null"
    )
    tls = ", tls: {cert_file: /tmp/stranger/cert.pem, key_file: /tmp/stranger/key.pem, insecure: true}"
    for kind in ("", tls):
        host.check_output(
            'printf \'%s\' \'server_name: s, listen: "127.0.0.1:14222", cluster {name: molecule, listen: "127.0.0.1:16222", '
            f'routes: ["tls://{addresses["nats-2"]}:6222"]{kind}}}\' > /tmp/stranger/nats.conf'
        )
        host.run("timeout 4 /usr/sbin/nats-server -c /tmp/stranger/nats.conf > /tmp/stranger/log 2>&1")
        log = host.file("/tmp/stranger/log").content_string
        assert "Server is ready" in log, log
        for other in everywhere.values():
            assert {route["remote_name"] for route in ask(other, "routez")["routes"]} <= set(everywhere)
    host.check_output("rm -r /tmp/stranger")


def test_a_restart_is_left_to_the_roll(everywhere: dict[str, Host], change: Callable[..., Any]) -> None:
    """The role itself reloads what can be reloaded, and does not restart all servers at once."""
    running = pids(everywhere, "nats-server")
    result = change(nats_max_payload="2MB")
    assert result.ok, result.output
    assert all(ask(host, "varz")["max_payload"] == 2 << 20 for host in everywhere.values())
    result = change(nats_monitor_port=8223)
    assert not result.ok
    assert "run the playbook boring.fleet.roll_nats" in " ".join(result.output.split())
    assert pids(everywhere, "nats-server") == running
    assert change().ok


def test_an_upgrade_rolls_through_the_cluster(everywhere: dict[str, Host], load: Callable[[str], Any]) -> None:
    """From Debian's 2.10 to the newest, with the stream's messages from before."""
    before = {name: ask(host, "varz")["version"] for name, host in everywhere.items()}
    assert all(version.startswith("2.10.") for version in before.values())
    with load("before"):
        pass
    leader = ask(everywhere["nats-1"], "jsz")["meta_cluster"]["leader"]
    with load("roll with an upgrade"):
        said = play("roll_nats", **NEWER)
    after = {name: ask(host, "varz") for name, host in everywhere.items()}
    assert all(found["version"].startswith("2.15.") for found in after.values())
    assert max(after, key=lambda name: after[name]["start"]) == leader, "the meta leader was not the last"
    for name, host in everywhere.items():  # the proof of a reload that newer servers give
        tested = host.run(f"/usr/local/sbin/nats-server -t -c {CONFIG}")
        assert after[name]["config_digest"] in tested.stdout + tested.stderr
    assert "boring.fleet.nats : Verify | Digest of what runs" in said
    running = pids(everywhere, "nats-server")
    play("roll_nats", **NEWER)  # there is nothing left to do
    assert pids(everywhere, "nats-server") == running


def test_a_leader_is_killed(everywhere: dict[str, Host], load: Callable[[str], Any]) -> None:
    with load("kill -9 of the leader"):
        everywhere[stream_leader(everywhere)].check_output("systemctl kill --signal=KILL nats-server")
        time.sleep(5)
        wait_until_whole(everywhere)


def test_a_leader_is_cut_off(
    everywhere: dict[str, Host],
    load: Callable[[str], Any],
    change: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """NATS 2.15.1 does not always find back by itself; what a roll begins with finds it and starts it again."""
    running = pids(everywhere, "nats-server")
    with load("leader cut from the network"):
        everywhere[stream_leader(everywhere)].check_output(
            "systemd-run --collect sh -c 'ip link set eth0 down; sleep 10; ip link set eth0 up'"
        )
        time.sleep(11)
        result = change(entry="whole", **NEWER)
        assert result.ok, result.output
    wait_until_whole(everywhere)
    with capsys.disabled():
        print(
            f"started again: {[name for name, pid in pids(everywhere, 'nats-server').items() if pid != running[name]]}"
        )


def test_a_disk_is_full(everywhere: dict[str, Host], load: Callable[[str], Any]) -> None:
    name = next(name for name in sorted(everywhere) if name != stream_leader(everywhere))
    host = everywhere[name]
    with load("full disk"):
        host.run("dd if=/dev/zero of=/var/lib/nats/fill bs=1M; dd if=/dev/zero of=/var/lib/nats/fill2 bs=4k")
        time.sleep(8)
        host.check_output("rm /var/lib/nats/fill /var/lib/nats/fill2")
        host.check_output("systemctl restart nats-server")
        wait_until_whole(everywhere)


def test_certificates_are_renewed_everywhere(
    everywhere: dict[str, Host], addresses: dict[str, str], load: Callable[[str], Any]
) -> None:
    running = pids(everywhere, "nats-server")
    ports = ((4222, True), (6222, False))  # a route begins with the handshake
    before = {
        (name, port): served(address, port, greets=greets)
        for name, address in addresses.items()
        for port, greets in ports
    }
    with load("certificates renewed"):
        play("renew_certificates", certificates_days=400, certificates_renew_days=100, **NEWER)
    assert pids(everywhere, "nats-server") == running
    after = {
        (name, port): served(address, port, greets=greets)
        for name, address in addresses.items()
        for port, greets in ports
    }
    assert all(after[where] != before[where] for where in before)
