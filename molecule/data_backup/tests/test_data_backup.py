# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on real hosts: backed up by its own units, wiped, and restored by the playbook that people use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from authority import scenario_ca
from testinfra.host import Host

from ansible_collections.boring.fleet.plugins.module_utils.nats.snapshot import Snapshots as Nats
from ansible_collections.boring.fleet.plugins.module_utils.redis.snapshot import Snapshots as Redis
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

pytestmark = pytest.mark.timeout(600)
PASSWORD = "correct-horse-battery-staple-"
IDENTITY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "identity"
VALUES = {b"key:%d" % number: os.urandom(2000) for number in range(200)}


def login(user: str) -> Login:
    return Login(user, PASSWORD + user, ca=str(scenario_ca() / "ca.pem"))


def nats(address: str) -> Nats:
    return Nats([(address, 4222)], login("app"))


def redis(address: str) -> Redis:
    return Redis(address, 6379, login("admin"))


def take(host: Host) -> int:
    """A backup of everything, now: nothing is too young."""
    host.run_test("rm -rf /srv/backups/bus /srv/backups/store")
    return int(host.run("systemctl start data-backup.service").rc)


def test_it_looks_again_and_again(host: Host) -> None:
    timer = host.service("data-backup.timer")
    assert timer.is_running
    assert timer.is_enabled
    assert host.run("systemctl show -P Result data-backup.service").stdout.strip() == "success"


def test_secrets_are_its_own(host: Host) -> None:
    secrets = host.file("/etc/data-backup/secrets.json")
    assert (secrets.user, secrets.group, secrets.mode) == ("root", "data-backup", 0o640)
    for file in ("/etc/data-backup/config.json", "/var/lib/data-backup/status.json"):
        assert host.file(file).mode == 0o644
        assert PASSWORD not in host.file(file).content_string
    assert PASSWORD not in host.run("journalctl --unit data-backup.service --no-pager").stdout
    spied = host.run("runuser -u data-backup -- cat /etc/data-backup/secrets.json")
    assert PASSWORD in spied.stdout
    assert host.run("runuser -u nobody -- cat /etc/data-backup/secrets.json").rc != 0


def test_what_comes_back_is_what_was(
    host: Host, platform: dict[str, Any], address: str, change: Callable[..., Any]
) -> None:
    bus, store = nats(address), redis(address)
    bus.ask("$JS.API.STREAM.DELETE.KEPT", {})  # of a verify before
    assert "error" not in bus.ask("$JS.API.STREAM.CREATE.KEPT", {"name": "KEPT", "subjects": ["kept.>"]})
    for number in range(100):
        bus.ask(f"kept.{number % 3}", {"number": number, "text": "x" * 1000})
    messages = [bus.ask("$JS.API.STREAM.MSG.GET.KEPT", {"seq": number + 1})["message"] for number in range(100)]
    store.many([(b"SET", key, value) for key, value in VALUES.items()])
    assert take(host) == 0, host.run("journalctl --unit data-backup.service --no-pager -n 20").stdout
    status = json.loads(host.run("runuser -u nobody -- cat /var/lib/data-backup/status.json").stdout)
    assert {name for name, one in status.items() if one["good"] and not one["trouble"]} == {"bus", "store"}
    assert host.run("runuser -u nobody -- /usr/local/sbin/data-backup status").rc == 0
    found = host.run("grep -rl --binary-files=text -e kept. -e key: /srv/backups").stdout.split()
    assert not [file for file in found if not file.endswith("manifest.json")]

    name = platform["name"]
    given: dict[str, Any] = {"restore_hosts": "all", "restore_identity_file": str(IDENTITY)}
    play = change(
        limit=name, **given, restore_source="store", restore_user="admin", restore_password=PASSWORD + "admin"
    )
    assert not play.ok
    assert "Nothing is restored into store: it has 200 keys" in play.output
    bus.close()
    store.close()
    host.check_output(
        "systemctl stop redis-server nats-server && rm -rf /var/lib/redis/appendonlydir /var/lib/redis/dump.rdb /var/lib/nats/jetstream && systemctl start redis-server nats-server"
    )
    for source, user in (("store", "admin"), ("bus", "app")):
        play = change(limit=name, **given, restore_source=source, restore_user=user, restore_password=PASSWORD + user)
        assert play.ok, play.output
        assert "are back and as they were" in play.output
        assert PASSWORD not in play.output
        assert "AGE-SECRET-KEY" not in play.output
    bus, store = nats(address), redis(address)
    assert [bus.ask("$JS.API.STREAM.MSG.GET.KEPT", {"seq": number + 1})["message"] for number in range(100)] == messages
    assert dict(zip(VALUES, store.many([(b"GET", key) for key in VALUES]), strict=True)) == VALUES
    assert host.service("data-backup.timer").is_running
    assert host.run("ls /var/lib/data-backup").stdout.split() == ["data_backup.prom", "lock", "status.json"]
    bus.close()
    store.close()


def test_a_target_that_is_full_is_said_and_holds_no_half_of_a_backup(host: Host, address: str) -> None:
    store = redis(address)
    store.many([(b"SET", b"more:%d" % number, os.urandom(2000)) for number in range(2000)])
    host.check_output("mount -t tmpfs -o size=1m,uid=data-backup tmpfs /srv/backups")
    try:
        assert host.run("systemctl start data-backup.service").rc != 0
        said = host.run("journalctl --unit data-backup.service --no-pager -n 20").stdout
        assert "No space left on device" in said
        assert not host.run("find /srv/backups/store -type f").stdout.split()
        assert (
            'data_backup_trouble{source="store"} 1' in host.file("/var/lib/data-backup/data_backup.prom").content_string
        )
    finally:
        host.check_output("umount /srv/backups && systemctl reset-failed data-backup.service")
        store.many([(b"DEL", *(b"more:%d" % number for number in range(2000)))])
        store.close()
    assert host.run("systemctl start data-backup.service").rc == 0
    assert 'data_backup_trouble{source="store"} 0' in host.file("/var/lib/data-backup/data_backup.prom").content_string
