# SPDX-License-Identifier: GPL-3.0-or-later
"""The redis role on real hosts, from inside and from outside."""

from __future__ import annotations

import socket
import ssl
import stat
import sys
import time
from pathlib import Path

import pytest
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).parent))
from authority import PASSPHRASE, Authority, context, scenario_ca
from redis_client import Client, RefusedError

PASSWORDS = {user: f"correct-horse-battery-staple-{user}" for user in ("app", "reader", "admin")}


def connect_when_up(address: str, user: str = "app") -> Client:
    deadline = time.monotonic() + 15
    while True:
        try:
            return Client(address, user, PASSWORDS[user])
        except (OSError, RefusedError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_runs_and_starts_at_boot(host: Host) -> None:
    assert host.service("redis-server").is_running
    assert host.service("redis-server").is_enabled


def test_plain_text_is_refused(address: str) -> None:
    with pytest.raises((RefusedError, ConnectionResetError)), Client(address, plain=True) as client:
        client("PING")


def test_a_client_that_trusts_another_ca_refuses_the_server(address: str, tmp_path: Path) -> None:
    stranger = Authority.stranger(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(address, tls=context(ca=stranger.directory / "ca.pem"))


@pytest.mark.parametrize("kind", ["stranger", "expired"])
def test_a_wrong_or_expired_client_certificate_is_refused(address: str, tmp_path: Path, kind: str) -> None:
    ca = Authority.stranger(tmp_path) if kind == "stranger" else Authority(scenario_ca(), PASSPHRASE)
    identity = ca.issue(tmp_path / "client", expired=kind == "expired")
    with pytest.raises((ssl.SSLError, ConnectionResetError)), Client(address, tls=context(identity)) as client:
        client("AUTH", "app", PASSWORDS["app"])


def test_a_good_client_certificate_is_no_password(address: str, tmp_path: Path) -> None:
    identity = Authority(scenario_ca(), PASSPHRASE).issue(tmp_path)
    with Client(address, tls=context(identity)) as client, pytest.raises(RefusedError, match="NOAUTH"):
        client("PING")
    with Client(address, "app", PASSWORDS["app"], tls=context(identity)) as client:
        assert client("PING") == "PONG"


def test_an_old_tls_is_refused(address: str) -> None:
    old = context()
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Client(address, tls=old)


def test_keys_are_where_they_belong(host: Host) -> None:
    key = scenario_ca() / "ca.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "ENCRYPTED" in key.read_text()
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    own = host.file("/etc/redis/tls/key.pem")
    assert (own.user, own.group, own.mode) == ("root", "redis", 0o640)
    assert sorted(host.file("/etc/redis/tls").listdir()) == ["ca.pem", "cert.pem", "key.pem", "loaded"]


@pytest.mark.parametrize(
    "command", [("PING",), ("GET", "app:x"), ("ACL", "LIST"), ("CONFIG", "GET", "*"), ("HELLO", "3")]
)
def test_anonymous_is_refused(address: str, command: tuple[str, ...]) -> None:
    with Client(address) as client, pytest.raises(RefusedError, match="NOAUTH"):
        client(*command)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("app", "wrong"),
        ("app", ""),
        ("app", PASSWORDS["reader"]),
        ("nobody", PASSWORDS["app"]),
        ("default", ""),
        ("default", "x"),
    ],
)
def test_wrong_password_is_refused(address: str, user: str, password: str) -> None:
    with pytest.raises(RefusedError, match="WRONGPASS"):
        Client(address, user, password)


def test_the_user_default_is_off(address: str) -> None:
    with Client(address, "admin", PASSWORDS["admin"]) as admin:
        default = next(line for line in admin("ACL", "LIST") if line.startswith("user default "))  # type: ignore[attr-defined]
    assert " off " in default
    assert "nopass" not in default
    assert default.endswith("-@all")


def test_the_hash_is_no_password_and_the_mark_no_user(host: Host, address: str) -> None:
    lines = host.file("/etc/redis/users.acl").content_string.splitlines()
    hashed = next(
        word[1:] for line in lines if line.startswith("user app ") for word in line.split() if word.startswith("#")
    )
    mark = lines[-1].split()[1]
    assert mark.startswith("managed-by-ansible-")
    for user, password in (("app", hashed), (mark, ""), (mark, "x")):
        with pytest.raises(RefusedError, match="WRONGPASS"):
            Client(address, user, password)


def test_each_user_may_what_its_rules_say_and_no_more(address: str) -> None:
    with Client(address, "app", PASSWORDS["app"]) as app:
        assert app("SET", "app:x", "1") == "OK"
        for command in (
            ("SET", "other:x", "1"),
            ("CONFIG", "GET", "*"),
            ("FLUSHALL",),
            ("KEYS", "*"),
            ("ACL", "LIST"),
        ):
            with pytest.raises(RefusedError, match="NOPERM"):
                app(*command)
    with Client(address, "reader", PASSWORDS["reader"]) as reader:
        assert reader("GET", "app:x") == "1"
        with pytest.raises(RefusedError, match="NOPERM"):
            reader("SET", "app:x", "2")


def test_dangerous_commands_are_off_even_for_the_administrator(address: str) -> None:
    with Client(address, "admin", PASSWORDS["admin"]) as admin:
        for command in (
            ("DEBUG", "SLEEP", "0"),
            ("MODULE", "LOAD", "/tmp/x.so"),
            ("CONFIG", "SET", "dir", "/tmp"),
            ("CONFIG", "SET", "dbfilename", "x.so"),
            ("CONFIG", "SET", "enable-debug-command", "yes"),
        ):
            with pytest.raises(RefusedError, match="ERR"):
                admin(*command)


def test_a_store_keeps_its_data_over_a_restart(host: Host, address: str) -> None:
    value = str(time.monotonic_ns())
    with Client(address, "app", PASSWORDS["app"]) as app:
        app("SET", "app:kept", value)
    host.check_output("systemctl restart redis-server")
    with connect_when_up(address) as app:
        assert app("GET", "app:kept") == value


def test_a_store_keeps_its_data_over_a_kill(host: Host, address: str) -> None:
    value = str(time.monotonic_ns())
    with Client(address, "app", PASSWORDS["app"]) as app:
        app("SET", "app:killed", value)
    time.sleep(1.5)  # appendfsync everysec
    host.check_output("systemctl kill --signal=KILL redis-server")
    with connect_when_up(address) as app:
        assert app("GET", "app:killed") == value


def test_what_redis_rewrites_goes_neither_over_ours_nor_away(host: Host, address: str) -> None:
    """CONFIG REWRITE keeps what Redis was told in a file of its own; the role's file is read last and wins."""
    before = host.file("/etc/redis/managed.conf").content_string
    with Client(address, "admin", PASSWORDS["admin"]) as admin:
        admin("CONFIG", "SET", "maxmemory", "12345678")
        admin("CONFIG", "SET", "slowlog-max-len", "77")
        assert admin("CONFIG", "REWRITE") == "OK"
    own = host.file("/var/lib/redis/redis.conf")
    assert "slowlog-max-len 77" in own.content_string
    assert own.user == "redis"
    assert host.file("/etc/redis/managed.conf").content_string == before
    host.check_output("systemctl restart redis-server")
    with connect_when_up(address, "admin") as admin:
        assert admin("CONFIG", "GET", "maxmemory") == ["maxmemory", str(64 * 1024 * 1024)]
        assert admin("CONFIG", "GET", "slowlog-max-len") == ["slowlog-max-len", "77"]
        assert admin("CONFIG", "GET", "save") == ["save", "3600 1 300 100 60 10000"]
    host.check_output("truncate -s 0 /var/lib/redis/redis.conf")


def test_redis_cannot_write_to_its_managed_files(address: str) -> None:
    with Client(address, "admin", PASSWORDS["admin"]) as admin, pytest.raises(RefusedError, match="ERR"):
        admin("ACL", "SAVE")


def test_only_the_clients_port_is_open(host: Host, address: str) -> None:
    assert [line.split()[3] for line in host.check_output("ss -Htlnp | grep redis").splitlines()] == ["0.0.0.0:6379"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 26379), timeout=5)


def test_secrets_are_nowhere_to_be_read(host: Host) -> None:
    """Not as text anywhere, and their hashes only in the one file that is root's and the server's."""
    digest = host.file("/etc/redis/users.acl").content_string.split("#")[1][:64]
    # brackets keep a search from finding itself, in the process list and in sudo's log
    needle, hashed = "[c]orrect-horse", f"[{digest[0]}]{digest[1:]}"
    assert host.run(f"ps -eo args | grep -E '{needle}|{hashed}'").rc == 1
    assert host.run(f"journalctl --no-pager | grep -E '{needle}|{hashed}'").rc == 1
    assert host.run(f"systemctl cat redis-server | grep -E '{needle}|{hashed}'").rc == 1
    # the exporter's password alone, which it must say to Redis
    found = host.run(f"grep -rlsI '{needle}' /etc /var/lib /var/log /run /tmp /root /home /usr/local").stdout.split()
    assert found == ["/etc/redis/exporter.json"]
    assert host.run(f"grep -rls '{hashed}' /etc /var/lib /var/log /run /tmp /root /home").stdout.split() == [
        "/etc/redis/users.acl"
    ]
    for path in ("/etc/redis/users.acl", "/etc/redis/managed.conf", "/etc/redis/exporter.json"):
        file = host.file(path)
        assert (file.user, file.group, file.mode) == ("root", "redis", 0o640)
    assert host.file("/var/lib/redis").mode & 0o007 == 0


def test_the_exporter_tells_figures_to_the_host_alone(host: Host, address: str) -> None:
    said = host.check_output("curl -fsS --max-time 5 http://127.0.0.1:9121/metrics").splitlines()
    assert "redis_up 1" in said
    assert any(line.startswith("redis_memory_used_bytes ") for line in said)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 9121), timeout=5)
    host.check_output("systemd-analyze security --no-pager --threshold=20 prometheus-redis-exporter.service")
    pid = host.check_output("systemctl show -P MainPID prometheus-redis-exporter")
    for hidden in ("/etc/redis/users.acl", "/etc/redis/managed.conf", "/var/lib/redis/redis.conf"):
        assert host.run(f"nsenter --target {pid} --mount grep -c . {hidden}").rc != 0
    assert host.run(f"nsenter --target {pid} --mount grep -c . /etc/redis/exporter.json").rc == 0


def test_sandbox(host: Host) -> None:
    host.check_output("systemd-analyze security --no-pager --threshold=20 redis-server.service")
    host.check_output("systemd-analyze verify --man=no redis-server.service")
    pid = host.check_output("systemctl show -P MainPID redis-server")
    status = host.file(f"/proc/{pid}/status").content_string
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert "CapBnd:\t0000000000000000" in status
    assert host.check_output(f"stat -c %U /proc/{pid}") == "redis"
    # the promise itself, not only the settings
    assert host.run(f"nsenter --target {pid} --mount touch /etc/redis/x").rc != 0
    assert host.run(f"nsenter --target {pid} --mount /usr/bin/env true").rc != 0, (
        "programs other than redis-server may run"
    )
