# SPDX-License-Identifier: GPL-3.0-or-later
"""The nats role on real hosts, from inside and from outside."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).parent))
from authority import Authority, context
from nats_client import Client, RefusedError

PASSWORDS = {user: f"correct-horse-battery-staple-{user}" for user in ("app", "reader", "other", "admin")}


def test_runs_and_starts_at_boot(host: Host) -> None:
    assert host.service("nats-server").is_running
    assert host.service("nats-server").is_enabled


def test_anonymous_is_refused(address: str) -> None:
    with pytest.raises(RefusedError, match="Authorization Violation"):
        Client(address)


def test_plain_text_is_refused(address: str) -> None:
    """A client that goes on without TLS, whatever the server's greeting says."""
    with pytest.raises((RefusedError, ConnectionResetError)):
        Client(address, "app", PASSWORDS["app"], plain=True)


def test_a_client_that_trusts_another_ca_refuses_the_server(address: str, tmp_path: Path) -> None:
    stranger = Authority.stranger(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(address, "app", PASSWORDS["app"], tls=context(ca=stranger.directory / "ca.pem"))


def test_an_old_tls_is_refused(address: str) -> None:
    old = context()
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Client(address, "app", PASSWORDS["app"], tls=old)


def test_the_key_is_the_services_alone(host: Host) -> None:
    own = host.file("/etc/nats/tls/key.pem")
    assert (own.user, own.group, own.mode) == ("root", "nats", 0o640)


@pytest.mark.parametrize(
    ("user", "password"),
    [("app", "wrong"), ("app", ""), ("app", PASSWORDS["other"]), ("nobody", PASSWORDS["app"]), ("", "")],
)
def test_wrong_password_is_refused(address: str, user: str, password: str) -> None:
    with pytest.raises(RefusedError, match="Authorization Violation"):
        Client(address, user, password)


def test_the_hash_is_no_password(host: Host, address: str) -> None:
    config = host.file("/etc/nats/nats.conf").content_string
    hashed = next(line.split('"')[1] for line in config.splitlines() if "password:" in line)
    with pytest.raises(RefusedError, match="Authorization Violation"):
        Client(address, "app", hashed)


@pytest.mark.parametrize("user", sorted(PASSWORDS))
def test_each_user_is_let_in(address: str, user: str) -> None:
    with Client(address, user, PASSWORDS[user]) as client:
        assert client.info["auth_required"]


def test_permissions_hold(address: str) -> None:
    with (
        Client(address, "reader", PASSWORDS["reader"]) as reader,
        pytest.raises(RefusedError, match="Violation for Publish"),
    ):
        reader.publish("events.x", "hello")
    with (
        Client(address, "reader", PASSWORDS["reader"]) as reader,
        pytest.raises(RefusedError, match="Violation for Sub"),
    ):
        reader.subscribe("secrets.>")


def test_accounts_do_not_see_each_other(address: str) -> None:
    with (
        Client(address, "other", PASSWORDS["other"], timeout=2) as other,
        Client(address, "reader", PASSWORDS["reader"]) as same,
        Client(address, "app", PASSWORDS["app"]) as app,
    ):
        other.subscribe(">")
        same.subscribe("events.>")
        app.publish("events.one", "hello")
        assert same.message() == "hello"
        with pytest.raises(TimeoutError):
            other.message()


def test_only_clients_port_is_open_to_the_outside(host: Host, address: str) -> None:
    for port in (8222, 6222):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=5)
    assert host.check_output("ss -Htln 'sport = 8222'").split()[3] == "127.0.0.1:8222"


def test_a_stream_and_its_messages_survive_a_restart(host: Host, address: str) -> None:
    name = f"KEPT{time.monotonic_ns()}"
    with Client(address, "app", PASSWORDS["app"]) as app:
        app.request(
            f"$JS.API.STREAM.CREATE.{name}",
            {"name": name, "subjects": [name], "storage": "file", "max_bytes": 1_000_000},
        )
        assert app.request(name, {"part": 1})["seq"] == 1
    host.check_output("systemctl restart nats-server")
    with connect_when_up(address) as app:
        assert app.request(f"$JS.API.STREAM.INFO.{name}")["state"]["messages"] == 1
        app.request(f"$JS.API.STREAM.DELETE.{name}")


def connect_when_up(address: str) -> Client:
    deadline = time.monotonic() + 15
    while True:
        try:
            return Client(address, "app", PASSWORDS["app"])
        except (OSError, RefusedError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_jetstream_has_its_limits_and_its_place(host: Host) -> None:
    varz = json.loads(host.check_output("curl -fsS http://127.0.0.1:8222/varz"))
    assert varz["jetstream"]["config"]["max_storage"] == 64 * 1024 * 1024
    assert varz["jetstream"]["config"]["store_dir"] == "/var/lib/nats/jetstream"
    assert not host.file("/tmp/nats").exists


def test_a_stream_over_the_limit_is_refused(address: str) -> None:
    with Client(address, "app", PASSWORDS["app"]) as app:
        answer = app.request(
            "$JS.API.STREAM.CREATE.BIG", {"name": "BIG", "subjects": ["big"], "storage": "file", "max_bytes": 10**9}
        )
        assert "insufficient storage" in answer["error"]["description"]


def test_secrets_are_nowhere_to_be_read(host: Host) -> None:
    """Not as text anywhere, and their hashes only in the one file that is root's and the server's."""
    # brackets keep a search from finding itself, in the process list and in sudo's log
    needle, hashed = "[c]orrect-horse", "[$]2b[$]11[$]"
    assert host.run(f"ps -eo args | grep '{needle}'").rc == 1
    assert host.run(f"journalctl --no-pager | grep '{needle}'").rc == 1
    assert host.run(f"journalctl --no-pager | grep '{hashed}'").rc == 1
    assert host.run(f"systemctl cat nats-server | grep -E '{needle}|{hashed}'").rc == 1
    assert host.run(f"grep -rlsI '{needle}' /etc /var/lib /var/log /run /tmp /root /home /usr/local").stdout == ""
    assert host.run(f"grep -rls '{hashed}' /etc /var/lib /run /tmp /root /home").stdout.split() == [
        "/etc/nats/nats.conf"
    ]
    config = host.file("/etc/nats/nats.conf")
    assert (config.user, config.group, config.mode) == ("root", "nats", 0o640)
    store = host.file("/var/lib/nats")
    assert (store.user, store.mode) == ("nats", 0o750)


def test_sandbox(host: Host) -> None:
    host.check_output("systemd-analyze security --no-pager --threshold=20 nats-server.service")
    host.check_output("systemd-analyze verify --man=no nats-server.service")
    pid = host.check_output("systemctl show -P MainPID nats-server")
    status = host.file(f"/proc/{pid}/status").content_string
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert "CapBnd:\t0000000000000000" in status
    assert host.check_output(f"stat -c %U /proc/{pid}") == "nats"
    # the promise itself, not only the settings: the server's view of the file system is read-only outside its store
    assert host.run(f"nsenter --target {pid} --mount touch /etc/nats/x").rc != 0
    assert host.run(f"nsenter --target {pid} --mount touch /var/lib/nats/x").rc == 0
    host.check_output("rm /var/lib/nats/x")


def test_a_stop_gives_the_server_its_lame_duck(host: Host) -> None:
    shown = dict(
        line.split("=", 1)
        for line in host.check_output(
            "systemctl show nats-server -p TimeoutStopUSec -p KillSignal -p ExecStop --timestamp=unix"
        ).splitlines()
    )
    assert shown["KillSignal"] == "12", "SIGUSR2 starts the lame duck"
    assert shown["TimeoutStopUSec"] == "1min"
    assert shown.get("ExecStop", "") == ""


@pytest.fixture
def running_again(host: Host, address: str) -> Iterator[None]:
    """Whatever a test does to the server, it runs afterwards."""
    yield
    host.check_output("systemctl start nats-server")
    connect_when_up(address)


@pytest.mark.usefixtures("running_again")
def test_a_connected_client_is_told_before_the_server_goes(host: Host, address: str) -> None:
    with Client(address, "app", PASSWORDS["app"], timeout=45) as app:
        app.subscribe("still.there")
        host.check_output("systemctl --no-block stop nats-server")
        began = time.monotonic()
        told = json.loads(app.expect(b"INFO").removeprefix(b"INFO "))
        assert told["ldm"] is True
        app.publish("still.there", "yes", wait=False)  # a lame duck serves on
        assert app.message() == "yes"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, 4222), timeout=5)
        with pytest.raises((RefusedError, ConnectionResetError), match=r"closed|Server Shutdown|reset"):
            app.expect(b"never")
        assert time.monotonic() - began > 3, "the grace period was not kept"
    deadline = time.monotonic() + 60
    while host.run("systemctl is-active nats-server").stdout.strip() == "deactivating":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert host.run("systemctl is-failed nats-server").stdout.strip() == "inactive"
