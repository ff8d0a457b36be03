# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to a running Redis: bad ones refused, live ones applied live, drift undone, the rest by a restart."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).parent))
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
    "bad",
    [{"redis_users": [{**APP, "rules": ["+@nonsense"]}]}, {"redis_settings": {"maxmemory-samples": "many"}}],
    ids=["users", "settings"],
)
def test_a_bad_configuration_never_replaces_a_good_one(
    change: Callable[..., Any], everywhere: dict[str, Host], bad: dict[str, Any]
) -> None:
    before, running = files(everywhere), pids(everywhere)
    play = change(**bad)
    assert not play.ok
    assert "failed to validate" in play.output
    assert files(everywhere) == before
    assert pids(everywhere) == running


def test_users_and_settings_change_without_a_restart(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    running = pids(everywhere)
    late = {"name": "late", "password": "correct-horse-battery-staple-late", "rules": ["~late:*", "+get"]}
    play = change(redis_users=[APP, late], redis_maxmemory="32MB")
    assert play.ok, play.output
    assert pids(everywhere) == running
    for host in everywhere.values():
        with Client(address(host), "late", "correct-horse-battery-staple-late") as client:
            assert client("GET", "late:x") is None
        with pytest.raises(RefusedError, match="WRONGPASS"):  # no longer named
            Client(address(host), "reader", "correct-horse-battery-staple-reader")
        with Client(address(host), "admin", ADMIN) as admin:
            assert admin("CONFIG", "GET", "maxmemory") == ["maxmemory", str(32 * 1024 * 1024)]


def test_a_setting_changed_by_hand_is_found_and_undone(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    assert change().ok
    running = pids(everywhere)
    for host in everywhere.values():
        with Client(address(host), "admin", ADMIN) as admin:
            admin("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
            admin("ACL", "SETUSER", "intruder", "on", "nopass", "+@all", "~*")
            admin("CONFIG", "SET", "appendonly", "no")
    play = change()
    assert play.ok, play.output
    assert play.changed == dict.fromkeys(everywhere, 2)  # ACL LOAD, CONFIG SET
    assert pids(everywhere) == running
    for host in everywhere.values():
        with Client(address(host), "admin", ADMIN) as admin:
            assert admin("CONFIG", "GET", "maxmemory-policy") == ["maxmemory-policy", "noeviction"]
            assert "intruder" not in admin("ACL", "USERS")  # type: ignore[operator]
            assert admin("CONFIG", "GET", "appendonly") == ["appendonly", "yes"]


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
