# SPDX-License-Identifier: GPL-3.0-or-later
"""The module twingate_connector in one real run against the fake API, at -vvv: no token and no key is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.twingate import FakeTwingate, Server
from tests.unit.plugins.playbook_runs import run_playbook


def test_a_connector_from_nothing_to_nothing(tmp_path: Path) -> None:
    fake = FakeTwingate(latency=0.05, faults={"connectorGenerateTokens": ["lost"], "connectorCreate": ["503"]})
    server = Server(fake)
    (tmp_path / "key").write_text(fake.key + "\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "open").write_text(fake.key)
    (tmp_path / "open").chmod(0o644)
    file = {"tokens_file": "{{ playbook_dir }}/zone-a.env"}

    def connector(register: str, **options: Any) -> dict[str, Any]:
        given = {
            "url": server.url,
            "remote_network": "production",
            "name": "zone-a",
            "api_key_file": "{{ playbook_dir }}/key",
        }
        return {
            "boring.fleet.twingate_connector": {**given, **options},
            "register": register,
            "check_mode": register == "dry",
            "ignore_errors": register.startswith("not_"),
        }

    tasks = [
        connector("dry", **file),
        connector("first", **file),
        connector("again", **file),
        connector("not_alive", state="alive", wait_seconds=0),
        connector("not_there", name="zone-b", state="alive"),
        connector("not_writable", name="zone-b", tokens_file="/nowhere/x"),
        connector("not_closed", api_key_file="{{ playbook_dir }}/open"),
        connector("gone", state="absent"),
        connector("gone_again", state="absent"),
        {
            "ansible.builtin.assert": {
                "that": [
                    "dry is changed and dry.steps | length == 3 and dry.connector is none",
                    "first is changed and first.connector.state == 'DEAD_NO_HEARTBEAT'",
                    "again is not changed",
                    "'is DEAD_NO_HEARTBEAT after 0 s' in not_alive.msg",
                    "'there is no connector zone-b in production' in not_there.msg",
                    "'so no tokens were made' in not_writable.msg",
                    "'chmod 600' in not_closed.msg",
                    "gone is changed and gone_again is not changed",
                ]
            }
        },
    ]
    try:
        code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": tasks}])
    finally:
        server.close()
    assert code == 0, output
    assert len(fake.issued) == 4, "the first pair was lost on the way, so there is a second"
    access, refresh = fake.issued[2:]
    assert (
        tmp_path / "zone-a.env"
    ).read_text() == f"TWINGATE_ACCESS_TOKEN={access}\nTWINGATE_REFRESH_TOKEN={refresh}\n"
    assert (tmp_path / "zone-a.env").stat().st_mode & 0o777 == 0o600
    assert fake.key not in output
    assert "hunter2" not in output
