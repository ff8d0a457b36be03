# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to a running Redis: bad ones refused, live ones applied live, drift undone, the rest by a restart."""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).parent))
from authority import PASSPHRASE, Authority, context, scenario_ca, served
from redis_client import Client, RefusedError

ADMIN = "correct-horse-battery-staple-admin"
APP = {
    "name": "app",
    "password": "correct-horse-battery-staple-app",
    "rules": ["~app:*", "+@read", "+@write", "+@connection"],
}


def pids(everywhere: dict[str, Host]) -> dict[str, str]:
    return {name: host.check_output("systemctl show -P MainPID redis-server") for name, host in everywhere.items()}


def files(everywhere: dict[str, Host]) -> dict[str, str]:
    return {
        name: host.check_output("cat /etc/redis/users.acl /etc/redis/managed.conf") for name, host in everywhere.items()
    }


def address(host: Host) -> str:
    return host.check_output("hostname -I").split()[0]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("debian-12", {"redis_users": [{**APP, "rules": ["+@nonsense"]}]}),
        ("debian-13", {"redis_settings": {"maxmemory-samples": "many"}}),
    ],
    ids=["users", "settings"],
)
def test_a_bad_configuration_never_replaces_a_good_one(
    change: Callable[..., Any], everywhere: dict[str, Host], name: str, bad: dict[str, Any]
) -> None:
    before, running = files(everywhere), pids(everywhere)
    play = change(limit=name, **bad)
    assert not play.ok
    assert "failed to validate" in play.output
    assert ("+@nonsense" if "redis_users" in bad else "maxmemory-samples") in play.output, "Redis's reason"
    assert not re.search("#[0-9a-f]{64}", play.output), "no hash of a password"
    assert files(everywhere) == before
    assert pids(everywhere) == running


def test_users_and_settings_change_without_a_restart(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    running = pids(everywhere)
    late = {"name": "late", "password": "correct-horse-battery-staple-late", "rules": ["~late:*", "+get"]}
    kept = {name: Client(address(host), "app", APP["password"]) for name, host in everywhere.items()}  # type: ignore[arg-type]
    changing = {**APP, "password": "correct-horse-battery-staple-new", "old_password": APP["password"]}
    play = change(redis_users=[changing, late], redis_maxmemory="32MB")
    assert play.ok, play.output
    assert pids(everywhere) == running
    for name, host in everywhere.items():
        assert kept[name]("PING") == "PONG", "nobody is cut off"
        for password in (changing["password"], APP["password"]):
            with Client(address(host), "app", password) as client:  # type: ignore[arg-type]
                assert client("PING") == "PONG"
        with Client(address(host), "late", "correct-horse-battery-staple-late") as client:
            assert client("GET", "late:x") is None
        with pytest.raises(RefusedError, match="WRONGPASS"):  # no longer named
            Client(address(host), "reader", "correct-horse-battery-staple-reader")
        with Client(address(host), "admin", ADMIN) as admin:
            assert admin("CONFIG", "GET", "maxmemory") == ["maxmemory", str(32 * 1024 * 1024)]


def test_a_setting_changed_by_hand_is_found_and_undone(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    running = pids(everywhere)
    for host in everywhere.values():
        with Client(address(host), "admin", ADMIN) as admin:
            admin("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
            admin("ACL", "SETUSER", "intruder", "on", "nopass", "+@all", "~*")
            admin("CONFIG", "SET", "appendonly", "no")
    play = change()
    assert play.ok, play.output
    assert all(play.changed.values())
    assert pids(everywhere) == running
    for host in everywhere.values():
        with Client(address(host), "admin", ADMIN) as admin:
            assert admin("CONFIG", "GET", "maxmemory-policy") == ["maxmemory-policy", "noeviction"]
            assert "intruder" not in admin("ACL", "USERS")  # type: ignore[operator]
            assert admin("CONFIG", "GET", "appendonly") == ["appendonly", "yes"]
        with pytest.raises(RefusedError, match="WRONGPASS"):  # was valid beside the old one before
            Client(address(host), "app", "correct-horse-battery-staple-new")


def test_certificates_are_renewed_without_a_restart_or_a_lost_connection(
    change: Callable[..., Any], everywhere: dict[str, Host]
) -> None:
    running = pids(everywhere)
    before = {name: served(address(host), 6379) for name, host in everywhere.items()}
    clients = {name: Client(address(host), "app", APP["password"]) for name, host in everywhere.items()}  # type: ignore[arg-type]
    early = {"certificates_days": 400, "certificates_renew_days": 100}  # what there is has 90 days
    play = change(entry="renew", **early)
    assert play.ok, play.output
    for name, host in everywhere.items():
        assert served(address(host), 6379) != before[name]
        assert clients[name]("PING") == "PONG"
        Client(address(host), "app", APP["password"])  # type: ignore[arg-type]
    assert pids(everywhere) == running


def test_certificates_that_are_not_good_never_replace_good_ones(
    change: Callable[..., Any], everywhere: dict[str, Host], tmp_path: Path
) -> None:
    """The user's own CA: an expired certificate, then one for another host, then a good one; then its signing command.

    On one host: the certificates are the same role's on both releases.
    """
    own = Authority.stranger(tmp_path)
    limit = "debian-13"
    place = address(everywhere[limit])
    before = served(place, 6379)

    def files(folder: str, expired: bool = False, name: str = place) -> dict[str, Any]:
        found = own.issue(tmp_path / folder, names=(place,), expired=expired)
        return {
            "certificates_source": "files",
            "certificates_names": [name],
            "certificates_files": {
                "cert": str(found.cert), "key": str(found.key), "ca": str(own.directory / "ca.pem"),
            },
        }  # fmt: skip

    for bad, why in (
        (files("expired", expired=True), "ends on"),
        (files("another", name="elsewhere.example"), "is not for elsewhere"),
    ):
        play = change(limit=limit, **bad)
        assert not play.ok
        assert why in " ".join(play.output.split())
        assert served(place, 6379) == before
    running = pids(everywhere)
    play = change(limit=limit, **files("good"))
    assert play.ok, play.output
    assert pids(everywhere) == running, "another CA is no reason for a restart"
    Client(place, tls=context(ca=own.directory / "ca.pem"))
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(place)
    play = change(
        limit=limit,
        certificates_source="command",
        certificates_ca_file=str(own.directory / "ca.pem"),
        certificates_command=[
            "openssl", "x509", "-req", "-days", "20", "-copy_extensions", "copy",
            "-CA", str(own.directory / "ca.pem"), "-CAkey", str(own.directory / "ca.key"),
        ],
    )  # fmt: skip
    assert play.ok, play.output
    Client(place, tls=context(ca=own.directory / "ca.pem"))


def test_client_certificates_can_be_required_without_a_restart(
    change: Callable[..., Any], everywhere: dict[str, Host], tmp_path: Path
) -> None:
    running = pids(everywhere)
    play = change(redis_tls_clients="required")
    assert play.ok, play.output
    assert pids(everywhere) == running
    good = Authority(scenario_ca(), PASSPHRASE).issue(tmp_path)
    for host in everywhere.values():
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            Client(address(host), "app", APP["password"])  # type: ignore[arg-type]
        with Client(address(host), "admin", ADMIN, tls=context(good)) as admin:
            assert admin("PING") == "PONG"


def test_another_password_for_the_administrator_takes_a_restart(
    change: Callable[..., Any], everywhere: dict[str, Host]
) -> None:
    running = pids(everywhere)
    play = change(redis_admin_password="another-horse-battery-staple-admin")
    assert play.ok, play.output
    for name, host in everywhere.items():
        assert pids(everywhere)[name] != running[name]
        with pytest.raises(RefusedError, match="WRONGPASS"):
            Client(address(host), "admin", ADMIN)


def test_back_to_where_it_was_and_then_nothing_changes(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    assert change().ok
    assert change().changed == dict.fromkeys(everywhere, 0)
