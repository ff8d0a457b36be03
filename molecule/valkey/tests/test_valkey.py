# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs when the engine is Valkey: its names. What the role promises is tested with Redis, and holds for both."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "redis" / "tests"))
from redis_client import Client, RefusedError

PASSWORD = "correct-horse-battery-staple-{}"


def test_it_is_valkey_and_starts_at_boot(host: Host, address: str) -> None:
    assert host.service("valkey-server").is_running
    assert host.service("valkey-server").is_enabled
    assert not host.package("redis-server").is_installed
    with Client(address, "admin", PASSWORD.format("admin")) as admin:
        assert "server_name:valkey" in str(admin("INFO", "server"))
        assert admin("CONFIG", "GET", "appendonly") == ["appendonly", "yes"]


def test_anonymous_the_wrong_password_and_plain_text_are_refused(address: str) -> None:
    with Client(address) as client, pytest.raises(RefusedError, match="NOAUTH"):
        client("GET", "app:x")
    with pytest.raises(RefusedError, match="WRONGPASS"):
        Client(address, "app", "wrong")
    with pytest.raises((RefusedError, ConnectionResetError)), Client(address, plain=True) as client:
        client("PING")


def test_a_user_may_what_its_rules_say_and_no_more(address: str) -> None:
    with Client(address, "app", PASSWORD.format("app")) as app:
        assert app("SET", "app:x", "1") == "OK"
        with pytest.raises(RefusedError, match="NOPERM"):
            app("CONFIG", "GET", "*")


def test_data_survives_a_kill(host: Host, address: str) -> None:
    with Client(address, "app", PASSWORD.format("app")) as app:
        app("SET", "app:kept", "yes")
    time.sleep(1.5)  # appendfsync everysec
    host.check_output("systemctl kill --signal=KILL valkey-server")
    deadline = time.monotonic() + 30
    while True:
        try:
            with Client(address, "app", PASSWORD.format("app")) as app:
                assert app("GET", "app:kept") == "yes"
                return
        except (OSError, RefusedError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_sandbox_and_exporter(host: Host) -> None:
    for unit in ("valkey-server", "prometheus-redis-exporter"):
        host.check_output(f"systemd-analyze security --no-pager --threshold=20 {unit}.service")
    assert "\nredis_up 1\n" in host.check_output("curl -fsS --max-time 5 http://127.0.0.1:9121/metrics")
