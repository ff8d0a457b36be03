# SPDX-License-Identifier: GPL-3.0-or-later
"""Three Redis and three Sentinels under a steady load, while everything happens to them that does happen.

Each test prints what a client felt. What must hold on every machine is asserted: no write is lost that a client saw confirmed
by a replica (WAIT), none at all where things were planned, and the set is whole again afterwards. How long a pause was, and
how many writes a crash took that only the master had acknowledged, is printed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from authority import PASSPHRASE, Authority, Identity, scenario_ca, served
from cluster import pids, play, writing
from redis_login import PASSWORD, connect
from testinfra.host import Host

# a roll waits for every node to be whole again, each of them
pytestmark = pytest.mark.timeout(900)


def master_of(addresses: dict[str, str]) -> str:
    """Name of the host that the Sentinels take for the master."""
    for address in addresses.values():
        try:
            with connect(address, port=26379) as sentinel:
                found = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[0]
                return next(name for name, each in addresses.items() if each == found)
        except (redis.RedisError, OSError):
            continue
    raise AssertionError("no Sentinel answers")


def wait_until_whole(change: Callable[..., Any]) -> None:
    """By the role's own judgement, which the tests of its core hold to account."""
    result = change(entry="whole")
    assert result.ok, result.output


@pytest.fixture
def load(
    addresses: dict[str, str],
    tmp_path: Path,
    change: Callable[..., Any],
    figures: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Any]:
    """`with load("what happens"):` writes all the while, then waits for the set to be whole, and counts."""

    @contextmanager
    def run(what: str, *, planned: bool = False) -> Iterator[None]:
        prefix = what.replace(" ", "-")
        paths = {kind: str(tmp_path / kind) for kind in ("acknowledged", "confirmed")}
        settings = {
            "hosts": list(addresses.values()), "user": "app", "prefix": prefix, **paths,
        }  # fmt: skip
        with writing("redis_writer.py", settings) as told:
            yield
        wait_until_whole(change)
        with connect(addresses[master_of(addresses)]) as client:
            kept = {int(key.rsplit(":", 1)[1]) for key in client.scan_iter(f"app:{prefix}:*", count=10_000)}
        lost = {kind: len(set(json.loads(Path(path).read_text())) - kept) for kind, path in paths.items()}
        with capsys.disabled():
            print(
                f"\nredis, {what}: {told['confirmed']} writes confirmed by a replica, lost {lost['confirmed']}; "
                f"{told['acknowledged']} acknowledged, lost {lost['acknowledged']}; longest pause "
                f"{told['longest_pause_ms']} ms, errors of a client that retries {told['errors']}"
            )
        figures[what] = told | {"lost": lost["confirmed"], "lost_unconfirmed": lost["acknowledged"]}
        assert told["confirmed"] > 0
        assert lost["confirmed"] == 0
        if planned:
            assert lost["acknowledged"] == 0

    return run


def test_units_are_in_their_sandbox(everywhere: dict[str, Host]) -> None:
    for host in everywhere.values():
        for unit in ("redis-server", "redis-sentinel"):
            host.check_output(f"systemd-analyze security --no-pager --threshold=20 {unit}.service")
            host.check_output(f"systemd-analyze verify --man=no {unit}.service")


def test_each_user_may_do_its_work_and_no_more(addresses: dict[str, str]) -> None:
    address = addresses[master_of(addresses)]
    may_not = {
        "replica": [("GET", "app:x"), ("CONFIG", "GET", "*"), ("INFO",)],
        "sentinel": [("GET", "app:x"), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("ACL", "LIST")],
        "exporter": [("GET", "app:x"), ("CONFIG", "GET", "masterauth"), ("KEYS", "*"), ("SLOWLOG", "GET")],
    }
    for user, commands in may_not.items():
        with connect(address, user) as client:
            assert client.execute_command("PING")
            for command in commands:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command)
    with connect(address, "exporter") as exporter:
        assert exporter.info("replication")["connected_slaves"] == 2
    with connect(address, "app", 26379) as sentinel:
        assert sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[0] == address
        for words in (("SENTINEL", "FAILOVER", "main"), ("SENTINEL", "SET", "main", "quorum", "1"), ("ACL", "LIST")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                sentinel.execute_command(*words)


@pytest.mark.parametrize("port", [6379, 26379])
def test_the_wrong_are_refused_by_redis_and_by_sentinel(addresses: dict[str, str], tmp_path: Path, port: int) -> None:
    address = addresses["redis-1"]
    ours, stranger = Authority(scenario_ca(), PASSPHRASE), Authority.stranger(tmp_path)

    def attempt(identity: Identity | None = None, ca: Path | None = None, **login: str) -> Any:
        with redis.Redis(
            host=address, port=port, ssl=True, ssl_ca_certs=str(ca or scenario_ca() / "ca.pem"), retry=None,
            ssl_certfile=str(identity.cert) if identity else None, ssl_keyfile=str(identity.key) if identity else None,
            socket_timeout=5, **login,
        ) as client:  # fmt: skip
            return client.execute_command("PING")

    good = {"username": "admin", "password": PASSWORD.format("admin")}
    assert attempt(**good)
    with pytest.raises(redis.AuthenticationError):  # anonymous
        attempt()
    with pytest.raises(redis.AuthenticationError):
        attempt(username="admin", password="wrong")
    with pytest.raises((redis.ConnectionError, OSError)):  # wrong CA, for the client
        attempt(ca=stranger.directory / "ca.pem", **good)
    for bad in (stranger.issue(tmp_path / "stranger"), ours.issue(tmp_path / "expired", expired=True)):
        with pytest.raises((redis.ConnectionError, OSError)):
            attempt(identity=bad, **good)
    with pytest.raises((redis.ConnectionError, OSError)), redis.Redis(host=address, port=port, retry=None) as plain:
        plain.ping()


def test_secrets_are_where_they_must_be_and_nowhere_else(everywhere: dict[str, Host]) -> None:
    # brackets keep a search from finding itself
    needle = "[c]orrect-horse"
    for host in everywhere.values():
        assert host.run(f"ps -eo args | grep '{needle}'").rc == 1
        assert host.run(f"journalctl --no-pager | grep '{needle}'").rc == 1
        found = host.run(
            f"grep -rlsI '{needle}' /etc /var/lib /var/log /run /tmp /root /home /usr/local"
        ).stdout.split()
        assert set(found) <= {
            "/etc/redis/managed.conf", "/etc/redis/sentinel-managed.conf", "/etc/redis/set.json",
            "/var/lib/redis/redis.conf", "/var/lib/redis/sentinel.conf",
        }  # fmt: skip
        for path in found:
            assert host.file(path).mode & 0o007 == 0


def test_a_node_that_forgets_is_refused(change: Callable[..., Any]) -> None:
    for bad in ({"redis_purpose": "cache"}, {"redis_settings": {"appendonly": "no"}}):
        result = change(**bad)
        assert not result.ok
        assert "loses everything when its master restarts empty" in " ".join(result.output.split())


def test_every_node_is_rolled(everywhere: dict[str, Host], addresses: dict[str, str], load: Callable[..., Any]) -> None:
    before, sentinels, master = (
        pids(everywhere, "redis-server"),
        pids(everywhere, "redis-sentinel"),
        master_of(addresses),
    )
    with load("roll", planned=True):
        play("roll_redis", redis_roll_restart=True)
    after = pids(everywhere, "redis-server")
    assert all(after[name] != before[name] for name in everywhere)
    assert all(pid != sentinels[name] for name, pid in pids(everywhere, "redis-sentinel").items())
    assert master_of(addresses) != master
    started = {
        name: host.check_output("systemctl show -P ActiveEnterTimestampMonotonic redis-server")
        for name, host in everywhere.items()
    }
    assert max(started, key=lambda name: int(started[name])) == master, "the master was not the last"


def test_a_second_run_follows_the_true_master(
    everywhere: dict[str, Host], addresses: dict[str, str], change: Callable[..., Any]
) -> None:
    """After a failover the inventory's first node is no master, and nobody makes it one."""
    master = master_of(addresses)
    assert master != "redis-1"
    assert change().changed == dict.fromkeys(everywhere, 0)
    assert master_of(addresses) == master


def test_a_master_is_killed(everywhere: dict[str, Host], addresses: dict[str, str], load: Callable[..., Any]) -> None:
    master = master_of(addresses)
    with load("kill -9 of the master"):
        everywhere[master].check_output("systemctl kill --signal=KILL redis-server")
        time.sleep(8)


def test_a_master_is_cut_off(everywhere: dict[str, Host], addresses: dict[str, str], load: Callable[..., Any]) -> None:
    master = master_of(addresses)
    with load("master cut from the network"):
        everywhere[master].check_output(
            "systemd-run --collect sh -c 'ip link set eth0 down; sleep 15; ip link set eth0 up'"
        )
        time.sleep(16)
    assert master_of(addresses) != master


def test_a_disk_is_full(everywhere: dict[str, Host], addresses: dict[str, str], load: Callable[..., Any]) -> None:
    """A replica's: its append-only file cannot grow, and the others go on."""
    name = next(name for name in sorted(everywhere) if name != master_of(addresses))
    host = everywhere[name]
    with load("full disk of a replica", planned=True):
        host.run("dd if=/dev/zero of=/var/lib/redis/fill bs=1M; dd if=/dev/zero of=/var/lib/redis/fill2 bs=4k")
        time.sleep(5)
        host.check_output("rm /var/lib/redis/fill /var/lib/redis/fill2")


def test_certificates_are_renewed_everywhere(
    everywhere: dict[str, Host], addresses: dict[str, str], load: Callable[..., Any]
) -> None:
    running = pids(everywhere, "redis-server")
    before = {(name, port): served(address, port) for name, address in addresses.items() for port in (6379, 26379)}
    with load("certificates renewed", planned=True):
        play("renew_certificates", certificates_days=400, certificates_renew_days=100)
    assert pids(everywhere, "redis-server") == running
    for (name, port), old in before.items():
        assert served(addresses[name], port) != old
