# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to a running NATS: the bad one refused, the small one reloaded, the large one restarted, the lost one made good."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).parent))
from authority import PASSPHRASE, Authority, context, scenario_ca, served
from nats_client import Client, RefusedError

CONFIG = "/etc/nats/nats.conf"


def varz(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output("curl -fsS http://127.0.0.1:8222/varz"))
    return found


def pids(everywhere: dict[str, Host]) -> dict[str, str]:
    return {name: host.check_output("systemctl show -P MainPID nats-server") for name, host in everywhere.items()}


def test_a_bad_configuration_never_replaces_a_good_one(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    before = {name: host.file(CONFIG).sha256sum for name, host in everywhere.items()}
    running = pids(everywhere)
    hashed = "$2b$11$NOj/jioh47wuBK5zgvsxkOJJ3/YFvomG4HFbtsJHrI7AiHA34Evnm"
    # what only NATS can judge; what the role can, it refuses before
    user = {"user": "app", "password_bcrypt": hashed, "permissions": {"publish": {"nonsense": "x"}}}
    play = change(nats_users=[user])
    assert not play.ok
    assert "failed to validate" in play.output
    assert "nonsense" in play.output, "NATS's reason"
    assert "$2b$" not in play.output, "no hash of a password"
    assert {name: host.file(CONFIG).sha256sum for name, host in everywhere.items()} == before
    assert pids(everywhere) == running


def test_a_change_is_reloaded_without_a_restart(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    running = pids(everywhere)
    play = change(nats_max_payload="2MB")
    assert play.ok, play.output
    assert pids(everywhere) == running
    for host in everywhere.values():
        assert varz(host)["max_payload"] == 2 * 1024 * 1024


def test_a_run_cut_off_before_its_reload_is_made_good(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    """The file is written, the server does not know, and no task of the next run finds the file changed."""
    for host in everywhere.values():
        host.check_output(f"sed -i 's/^max_payload: .*/max_payload: 1MB/' {CONFIG}")
        assert varz(host)["max_payload"] == 2 * 1024 * 1024
    play = change(nats_max_payload="1MB")
    assert play.ok, play.output
    for host in everywhere.values():
        assert varz(host)["max_payload"] == 1024 * 1024


def address(host: Host) -> str:
    return host.check_output("hostname -I").split()[0]


def test_certificates_are_renewed_without_a_restart_or_a_lost_connection(
    change: Callable[..., Any], everywhere: dict[str, Host]
) -> None:
    running = pids(everywhere)
    before = {name: served(address(host), 4222, greets=True) for name, host in everywhere.items()}
    clients = [Client(address(host), "app", "correct-horse-battery-staple-app") for host in everywhere.values()]
    early = {"certificates_days": 400, "certificates_renew_days": 100}  # what there is has 90 days
    play = change(entry="renew", **early)
    assert play.ok, play.output
    assert pids(everywhere) == running
    for name, host in everywhere.items():
        assert served(address(host), 4222, greets=True) != before[name]
    for client in clients:
        client.publish("still.there", "yes")


def test_client_certificates_can_be_required(
    change: Callable[..., Any], everywhere: dict[str, Host], tmp_path: Path
) -> None:
    play = change(nats_tls_clients="required")
    assert play.ok, play.output
    ours, stranger = Authority(scenario_ca(), PASSPHRASE), Authority.stranger(tmp_path)
    good = ours.issue(tmp_path / "good")
    bad = [ours.issue(tmp_path / "expired", expired=True), stranger.issue(tmp_path / "stranger"), None]
    for host in everywhere.values():
        for identity in bad:
            with pytest.raises((ssl.SSLError, ConnectionResetError, RefusedError)):
                Client(address(host), "app", "correct-horse-battery-staple-app", tls=context(identity))
        with pytest.raises(RefusedError, match="Authorization Violation"):  # a certificate is no password
            Client(address(host), "app", "wrong", tls=context(good))
        Client(address(host), "app", "correct-horse-battery-staple-app", tls=context(good))


def test_what_cannot_be_reloaded_is_restarted(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    """A reload with another port is refused by the server, in its log only."""
    running = pids(everywhere)
    play = change(nats_port=4333)
    assert play.ok, play.output
    assert "Restart, because a reload was not enough" in play.output
    for name, host in everywhere.items():
        assert pids(everywhere)[name] != running[name]
        assert varz(host)["port"] == 4333
        assert host.check_output("ss -Htln 'sport = 4222'") == ""


def test_back_to_where_it_was_and_then_nothing_changes(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    assert change().ok
    assert change().changed == dict.fromkeys(everywhere, 0)
