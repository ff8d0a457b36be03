# SPDX-License-Identifier: GPL-3.0-or-later
"""The user_data entry points of roles, most of them of redis and nats, run for real by ansible-playbook; they touch no host.

What they render is what configure writes, so this is also the test of the templates and of what preflight refuses.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ansible_collections.boring.fleet.plugins.module_utils.nats.wire import RefusedError as NatsRefusedError
from ansible_collections.boring.fleet.plugins.module_utils.nats.wire import Wire
from tests.programs import nats_server, self_signed

ROOT = Path(__file__).resolve().parents[3]
ADMIN = "a-long-enough-password"
BCRYPT = "$2a$11$" + "a" * 53


Files = dict[str, str]
Found = TypeVar("Found")


class RefusedError(Exception):
    """The play failed; the text is what a person would read."""


@pytest.fixture
def user_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Files]:
    """Run a role's user_data with some variables; what it renders, by path. Raises RefusedError."""
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", str(ROOT / "build" / "collections"))
    monkeypatch.setenv("ANSIBLE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "none.cfg"))
    monkeypatch.setenv("ANSIBLE_INJECT_FACT_VARS", "false")
    monkeypatch.setenv("ANSIBLE_NOCOLOR", "true")
    (tmp_path / "none.cfg").write_text("")

    def run(role: str, **variables: Any) -> Files:
        result = tmp_path / "result.json"
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [
                {
                    "ansible.builtin.include_role": {"name": f"boring.fleet.{role}", "tasks_from": "user_data"},
                    "vars": variables,
                },
                {
                    "ansible.builtin.copy": {
                        "dest": str(result),
                        "content": f"{{{{ {role}_user_data | to_json }}}}",
                        "mode": "0600",
                    }
                },
            ],
        }
        (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            ["ansible-playbook", "-vv", str(tmp_path / "play.yml")],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for secret in (ADMIN, "the-password-of-app"):
            assert secret not in done.stdout + done.stderr, "a password was shown"
        if done.returncode:
            raise RefusedError(done.stdout + done.stderr)
        files = json.loads(result.read_text())
        assert all(file["permissions"] == "0640" and file["owner"].startswith("root:") for file in files)
        return {file["path"]: file["content"] for file in files}

    return run


def app(**more: Any) -> dict[str, Any]:
    return {"name": "app", "password": "the-password-of-app", "rules": ["~app:*", "+@read"]} | more


def test_redis_hashes_passwords_and_turns_default_off(user_data: Callable[..., Files]) -> None:
    changing = app(name="changing", old_password="an-old-password-of-it")
    files = user_data("redis", redis_users=[app(), changing], redis_admin_password=ADMIN)
    lines = files["/etc/redis/users.acl"].splitlines()
    assert lines[0] == "user default reset off"
    assert lines[1] == f"user admin reset on #{hashlib.sha256(ADMIN.encode()).hexdigest()} ~* &* +@all"
    assert lines[2] == f"user app reset on #{hashlib.sha256(b'the-password-of-app').hexdigest()} ~app:* +@read"
    old = hashlib.sha256(b"an-old-password-of-it").hexdigest()
    assert lines[3] == lines[2].replace("user app ", "user changing ").replace(" ~app", f" #{old} ~app")
    marked = hashlib.sha256("\n".join(lines[:-1]).encode()).hexdigest()[:16]
    assert lines[4] == f"user managed-by-ansible-{marked} reset off"


@pytest.mark.parametrize(
    ("purpose", "wanted"),
    [
        ("cache", {"maxmemory-policy": "allkeys-lru", "appendonly": "no", "save": '""'}),
        ("store", {"maxmemory-policy": "noeviction", "appendonly": "yes", "save": "3600 1 300 100 60 10000"}),
    ],
)
def test_redis_purpose_decides_persistence(
    user_data: Callable[..., Files], purpose: str, wanted: dict[str, str]
) -> None:
    files = user_data("redis", redis_purpose=purpose, redis_settings={"maxmemory-samples": "7"})
    settings = dict(
        line.split(" ", 1)
        for line in files["/etc/redis/managed.conf"].splitlines()
        if line and not line.startswith("#")
    )
    common = {"bind": "127.0.0.1", "maxmemory": "268435456", "enable-debug-command": "no", "maxmemory-samples": "7"}
    assert settings | wanted | common == settings


SET: dict[str, Any] = {
    "redis_nodes": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
    "redis_announce": "10.0.0.2",
    "redis_bind": ["0.0.0.0"],
    "redis_tls": True,
    "redis_purpose": "store",
    "redis_replica_password": "the-password-of-replica",
}


def test_a_replica_set_speaks_tls_only_and_never_says_who_is_master(user_data: Callable[..., Files]) -> None:
    files = user_data("redis", **SET, redis_exporter_password="the-password-of-exporter")
    lines = files["/etc/redis/managed.conf"].splitlines()
    for line in (
        "port 0", "tls-port 6379", "tls-replication yes", "tls-auth-clients optional", "min-replicas-to-write 1",
        "masteruser replica", "masterauth the-password-of-replica", "replica-announce-ip 10.0.0.2",
        'tls-protocols "TLSv1.2 TLSv1.3"',
    ):  # fmt: skip
        assert line in lines
    assert not any(line.startswith(("replicaof", "slaveof")) for line in lines)
    acl = files["/etc/redis/users.acl"]
    digest = hashlib.sha256(b"the-password-of-replica").hexdigest()
    assert f"user replica reset on #{digest} +psync +replconf +ping\n" in acl
    assert "the-password-of" not in acl
    assert "user sentinel" not in acl  # no password, no user


def test_valkey_is_the_same_under_its_own_names(user_data: Callable[..., Files]) -> None:
    redis, valkey = user_data("redis"), user_data("redis", redis_engine="valkey")
    assert set(valkey) == {"/etc/valkey/users.acl", "/etc/valkey/managed.conf"}
    assert valkey["/etc/valkey/users.acl"] == redis["/etc/redis/users.acl"]
    assert valkey["/etc/valkey/managed.conf"] == redis["/etc/redis/managed.conf"].replace(
        "/etc/redis/", "/etc/valkey/"
    ).replace("/var/lib/redis", "/var/lib/valkey")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"redis_bind": ["0.0.0.0"]}, "would carry passwords and data in the clear"),
        ({"redis_bind": ["127.0.0.1", "10.0.0.5"]}, "would carry passwords and data in the clear"),
        ({"redis_users": [app(name="default")]}, "Redis user default"),
        ({"redis_users": [app(name="two words")]}, "Redis user two words"),
        ({"redis_users": [app(password="short")]}, "Redis user app"),
        ({"redis_users": [{"name": "app", "password_sha256": "abc", "rules": []}]}, "Redis user app"),
        ({"redis_users": [app(old_password="short")]}, "Redis user app"),
        ({"redis_users": [{"name": "app", "rules": []}]}, "Redis user app"),
        ({"redis_users": [app(rules=["nopass"])]}, "Redis user app"),
        ({"redis_users": [app(rules=[">clear"])]}, "Redis user app"),
        ({"redis_users": [app(), app()]}, "names a user twice"),
        ({"redis_admin_password": "short"}, "must have 16 characters"),
        ({"redis_settings": {"enable-debug-command": "yes"}}, "may not set enable-debug-command"),
        ({"redis_settings": {"requirepass": "x"}}, "may not set requirepass"),
        ({"redis_maxmemory": "0B"}, "without a limit Redis takes all memory"),
        ({"redis_purpose": "both"}, "value of redis_purpose must be one of"),
        (SET | {"redis_purpose": "cache"}, "loses everything when its master restarts empty"),
        (SET | {"redis_settings": {"appendonly": "no"}}, "loses everything when its master restarts empty"),
        (SET | {"redis_tls": False, "redis_allow_plaintext": True}, "A replica set needs redis_tls"),
        (SET | {"redis_announce": "10.0.0.9"}, "with this host (10.0.0.9) among them"),
        (SET | {"redis_replica_password": "short"}, "must have 16 characters"),
        (SET | {"redis_nodes": ["10.0.0.1", "10.0.0.2"], "redis_sentinel": True}, "needs three or more redis_nodes"),
        (SET | {"redis_settings": {"replicaof": "10.0.0.2 6379"}}, "may not set replicaof"),
        ({"redis_users": [app(name="sentinel")]}, "Redis user sentinel"),
        ({"redis_exporter": True}, "redis_exporter needs redis_exporter_password"),
        (
            {"redis_exporter": True, "redis_exporter_password": "p" * 16, "redis_exporter_listen": "127.0.0.1:9121 -x"},
            "an address and a port",
        ),
        (
            SET | {"redis_replica_password": "the-password-of-replica\nport 1"},
            "redis_replica_password holds a line feed",
        ),
        (SET | {"redis_sentinel_password": "the password of sentinel"}, "redis_sentinel_password holds a blank"),
        ({"redis_engine": "keydb"}, "value of redis_engine must be one of"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
def test_redis_refuses(user_data: Callable[..., Files], variables: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        user_data("redis", **variables)
    assert sentence in " ".join(str(refusal.value).split())


def nats_user(**more: Any) -> dict[str, Any]:
    return {"user": "app", "password_bcrypt": BCRYPT} | more


def test_nats_keeps_hashes_accounts_and_monitoring_apart(user_data: Callable[..., Files]) -> None:
    users = [nats_user(permissions={"publish": {"deny": [">"]}}), nats_user(user="op", account="SYS")]
    text = user_data("nats", nats_users=users)["/etc/nats/nats.conf"]
    assert text.count(BCRYPT) == 2
    assert 'http: "127.0.0.1:8222"' in text
    assert 'host: "127.0.0.1"' in text
    assert 'store_dir: "/var/lib/nats"' in text
    assert 'permissions: {"publish": {"deny": [">"]}}' in text
    assert text.index('"APP"') < text.index('user: "app"') < text.index('"SYS"') < text.index('user: "op"')
    assert "server_name" not in text


def test_nats_hashes_a_password_the_same_way_every_time(user_data: Callable[..., Files]) -> None:
    user = {"user": "app", "password": "the-password-of-app", "salt": "any"}
    first = user_data("nats", nats_users=[user])["/etc/nats/nats.conf"]
    assert user_data("nats", nats_users=[user])["/etc/nats/nats.conf"] == first
    assert '"$2b$11$' in first


def test_nats_writes_addresses_of_ipv6_right(user_data: Callable[..., Files]) -> None:
    text = user_data("nats", nats_users=[nats_user()], nats_listen_host="::1", nats_monitor_host="::1")[
        "/etc/nats/nats.conf"
    ]
    assert 'http: "[::1]:8222"' in text


CLUSTER: dict[str, Any] = {
    "nats_server_name": "n1",
    "nats_tls": True,
    "nats_cluster_name": "test",
    "nats_cluster_hosts": ["10.0.0.1", "10.0.0.2", "n3.example.org:6333"],
}
NKEY = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def test_a_cluster_with_nkeys_leaf_nodes_and_limits_is_valid_to_nats(
    user_data: Callable[..., Files], tmp_path: Path
) -> None:
    self_signed(tmp_path)
    text = user_data(
        "nats",
        **CLUSTER,
        nats_tls_dir=str(tmp_path),
        nats_store_dir=str(tmp_path / "store"),
        nats_users=[nats_user(), {"user": "robot", "nkey": NKEY}],
        nats_account_limits={"APP": {"max_file": "1GB", "max_mem": 0, "max_streams": 3, "max_consumers": 9}},
        nats_leafnodes_port=7422,
        nats_leafnode_remotes=[{"url": "tls://hub.example.org:7422", "user": "leaf", "password": "p@ss/word"}],
    )["/etc/nats/nats.conf"]
    assert 'routes: ["tls://10.0.0.1:6222", "tls://10.0.0.2:6222", "tls://n3.example.org:6333"]' in text
    assert 'url: "tls://leaf:p%40ss%2Fword@hub.example.org:7422"' in text
    assert f'nkey: "{NKEY}"' in text
    assert text.count("verify: true") == 2  # routes and leaf nodes, always
    assert "verify: false" in text  # clients, unless told
    (tmp_path / "nats.conf").write_text(text)
    tested = subprocess.run(
        [nats_server(), "-t", "-c", tmp_path / "nats.conf"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stderr


def wire(port: int, ca: Path, login: Callable[[str], dict[str, str]]) -> Wire:
    """NATS's protocol over TLS, for a login by nkey too. Every wait ends after ten seconds."""
    tls = ssl.create_default_context(cafile=str(ca))
    return Wire(
        ("127.0.0.1", port),
        lambda plain: tls.wrap_socket(plain, server_hostname="127.0.0.1"),
        lambda info: login(info.get("nonce", "")),
        10.0,
    )


@contextmanager
def running(config: Path) -> Iterator[None]:
    """A nats-server with this configuration, until it is left."""
    server = subprocess.Popen([nats_server(), "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.kill()
        server.wait(timeout=10)


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def until(attempt: Callable[[], Found]) -> Found:
    """What it returns as soon as it raises nothing."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return attempt()
        except (OSError, RefusedError, NatsRefusedError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_messages_go_through_a_leaf_node_and_a_user_comes_in_by_its_nkey(
    user_data: Callable[..., Files], tmp_path: Path
) -> None:
    self_signed(tmp_path, "127.0.0.1")
    own, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    raw = bytes([20 << 3]) + own.public_key().public_bytes_raw()
    nkey = base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")
    app = {"user": "app", "password": "the-password-of-app", "salt": "app"}
    hub, leaf, hub_monitor, leaf_monitor, leafnodes = free_ports(5)
    common = {"nats_tls": True, "nats_tls_dir": str(tmp_path)}
    (tmp_path / "hub.conf").write_text(
        user_data(
            "nats", **common, nats_server_name="hub", nats_port=hub, nats_monitor_port=hub_monitor,
            nats_store_dir=str(tmp_path / "hub"), nats_leafnodes_port=leafnodes,
            nats_users=[app, {"user": "robot", "nkey": nkey}],
        )["/etc/nats/nats.conf"]
    )  # fmt: skip
    (tmp_path / "leaf.conf").write_text(
        user_data(
            "nats", **common, nats_server_name="leaf", nats_port=leaf, nats_monitor_port=leaf_monitor,
            nats_store_dir=str(tmp_path / "leaf"), nats_users=[app],
            nats_leafnode_remotes=[
                {"url": f"tls://127.0.0.1:{leafnodes}", "user": "app", "password": "the-password-of-app"}
            ],
        )["/etc/nats/nats.conf"]
    )  # fmt: skip

    def signed_by(key: Ed25519PrivateKey) -> Callable[[str], dict[str, str]]:
        return lambda nonce: {
            "nkey": nkey,
            "sig": base64.urlsafe_b64encode(key.sign(nonce.encode())).decode().rstrip("="),
        }

    def password(_: str) -> dict[str, str]:
        return {"user": "app", "pass": "the-password-of-app"}

    ca = tmp_path / "ca.pem"
    with running(tmp_path / "hub.conf"), running(tmp_path / "leaf.conf"):
        robot = until(lambda: wire(hub, ca, signed_by(own)))
        with pytest.raises(NatsRefusedError, match="Authorization Violation"):
            wire(hub, ca, signed_by(other))
        robot.begin()
        robot.say(b"SUB orders 1\r\nPING\r\n")
        robot.expect(b"PONG")
        sender = until(lambda: wire(leaf, ca, password))

        def told() -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{leaf_monitor}/leafz?subs=true", timeout=5) as answer:
                if b'"orders"' not in answer.read():
                    raise RefusedError("the leaf does not know yet that somebody behind the hub listens")

        until(told)
        sender.begin()
        robot.begin()
        sender.say(b"PUB orders 5\r\nhello\r\n")
        assert robot.message() == (b"", b"hello")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (CLUSTER | {"nats_tls": False}, "A NATS cluster needs nats_tls"),
        (CLUSTER | {"nats_cluster_hosts": ["10.0.0.1", "10.0.0.2"]}, "3 or 5 different nats_cluster_hosts"),
        (CLUSTER | {"nats_server_name": ""}, "a nats_server_name"),
        ({"nats_leafnodes_port": 7422}, "Leaf nodes need nats_tls"),
        ({"nats_users": [{"user": "robot", "nkey": "SUAM"}]}, "NATS user robot"),
        ({"nats_binary": "/tmp/nats-server"}, "needs nats_binary_sha256"),
        ({"nats_listen_host": "0.0.0.0"}, "would carry passwords and messages in the clear"),
        ({"nats_monitor_host": "0.0.0.0"}, "would tell everyone who is connected"),
        ({"nats_users": []}, "must name at least one user"),
        ({"nats_users": [nats_user(), nats_user()]}, "each only once"),
        ({"nats_users": [{"user": "app", "password_bcrypt": "clear text"}]}, "NATS user app"),
        ({"nats_users": [{"user": "app", "password": "the-password-of-app"}]}, "NATS user app"),
        ({"nats_users": [{"user": "app"}]}, "NATS user app"),
        ({"nats_lame_duck_seconds": 5}, "NATS takes 30 or more"),
        ({"nats_max_payload": "1MB\nport: 1"}, "nats_max_payload holds a line feed"),
        ({"nats_users": [nats_user(user="a\x1bb")]}, "nats_users holds an escape"),
        (
            {"nats_account_limits": {"APP": {"max_file": "5GB"}}},
            "5GB (APP) of max_file, which is 5GB, and there is 1 x 4GB",
        ),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
def test_nats_refuses(user_data: Callable[..., Files], variables: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        user_data("nats", **({"nats_users": [nats_user()]} | variables))
    assert sentence in " ".join(str(refusal.value).split())


def test_a_password_comes_by_one_way(user_data: Callable[..., Files]) -> None:
    given = {
        "conversion_engine_nats_url": "nats://10.0.0.5:4222", "conversion_engine_nats_user": "conversion",
        "conversion_engine_nats_password": "the-password-of-nats", "conversion_engine_host_secrets": True,
    }  # fmt: skip
    with pytest.raises(
        RefusedError, match="the host fetches its passwords; leave conversion_engine_nats_password"
    ) as found:
        user_data("conversion_engine", **given)
    assert "the-password-of-nats" not in str(found.value)
