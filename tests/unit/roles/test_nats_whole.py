# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers of a NATS cluster `tasks_from: whole` starts again, from what they say, by the role's own variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.plugins.playbook_runs import ROOT, run_playbook

NO_LEADER = "JetStream has not established contact with a meta leader"
BEHIND = "JetStream is not current with the meta leader"


NAMES = [{"item": f"h{number}", "json": {"server_name": f"n{number}"}} for number in (1, 2, 3)]


def meta(host: str, leader: str, *replicas: str) -> dict[str, Any]:
    """/jsz of a server. Only the leader knows all replicas; since 2.15 others list those that are not themselves."""
    of = {"replicas": [{"name": name} for name in replicas]} if replicas else {}
    return {"item": host, "json": {"meta_cluster": {"leader": leader, **of}}}


def test_only_who_is_left_out_or_finds_no_leader_is_started_again(tmp_path: Path) -> None:
    cases = {
        "a leader that answers twice counts once": (
            {"__nats_meta": [meta("h1", "n1", "n2"), meta("h1", "n1", "n2"), meta("h3", "n1")]}, "__nats_members", ["n1", "n2"]
        ),
        "each of two leaders in a row counts once": (
            {"__nats_meta": [meta("h1", "n1", "n2"), meta("h2", "n2", "n1"), {"item": "h3"}]}, "__nats_members", ["n1", "n2"]
        ),
        "who is in no answer of a leader is left out": (
            {"__nats_meta": [meta("h1", "n1", "n2"), meta("h1", "n1", "n2")]}, "__nats_left_out", ["h3"]
        ),
        "a server that does not lead does not say that it is left out itself": (
            {"__nats_meta": [meta("h2", "n1", "n1", "n3"), {"item": "h1"}, {"item": "h3"}]}, "__nats_members", []
        ),
        "one that catches up has a leader": (
            {"__nats_lost": [{"item": "h1", "json": {"error": NO_LEADER}}, {"item": "h2", "json": {"error": BEHIND}}, {"item": "h3"}]},
            "__nats_leaderless", ["h1"],
        ),
    }  # fmt: skip
    play = {
        "hosts": "h1", "vars_files": [str(ROOT / "roles" / "nats" / "vars" / "main.yml")],
        "tasks": [
            {
                "name": name, "ansible.builtin.assert": {"that": f"{variable} | list == {wanted}", "quiet": True},
                "vars": {what: {"results": results} for what, results in {"__nats_names": NAMES, **given}.items()},
                "ignore_errors": True,
            }
            for name, (given, variable, wanted) in cases.items()
        ],
    }  # fmt: skip
    code, output = run_playbook(tmp_path, [play])
    assert code == 0
    assert "ignored=0" in output, output
