# SPDX-License-Identifier: GPL-3.0-or-later
"""When the role redis restarts a server: real runs of its tasks, with a server and a systemctl that stand in for the host's."""

from __future__ import annotations

import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.plugins.playbook_runs import run_playbook

pytestmark = pytest.mark.timeout(240)


@contextmanager
def server(answer: bytes) -> Iterator[int]:
    """The port of one that gives this answer to everything."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(4096):
                self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made.server_address[1]
        made.shutdown()


def apply(folder: Path, port: int, state: str, sub: str, nodes: list[str]) -> tuple[str, bool]:
    """What the tasks say, and whether they restarted the server."""
    log = folder / "systemctl.log"
    program = folder / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\nprintf "LoadState=loaded\\nActiveState={state}\\nSubState={sub}\\n"\n'
    )
    program.chmod(0o755)
    role = {"name": "boring.fleet.redis", "tasks_from": "apply"}
    given = {
        "redis_port": port, "redis_tls": False, "redis_nodes": nodes, "redis_admin_password": "admin-password-of-the-tests",
        "redis_replica_password": "replica-password-of-the-tests", "__redis_patience": 1,
    }  # fmt: skip
    (folder / "given.yml").write_text(str(given))
    play = {"hosts": "h1", "tasks": [{"ansible.builtin.include_role": role}]}
    path = f"{program.parent}:{os.environ['PATH']}"
    dummy, output = run_playbook(folder, [play], "-e", "@given.yml", env={"PATH": path})
    return " ".join(output.split()), any(
        line.startswith(("restart ", "start ")) for line in log.read_text().splitlines()
    )


SET = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


@pytest.mark.parametrize(
    ("answer", "state", "sub", "why"),
    [
        (b"-WRONGPASS invalid username-password pair\r\n", "active", "running", "runs and does not let the user admin in: "),
        (b"", "activating", "start", "runs and does not answer: "),
    ],
)  # fmt: skip
def test_a_running_node_of_a_set_is_not_restarted(
    tmp_path: Path, answer: bytes, state: str, sub: str, why: str
) -> None:
    with server(answer) as port:
        said, restarted = apply(tmp_path, port, state, sub, SET)
    assert f"Redis on h1 {why}" in said
    assert "The role restarts no running node of a replica set" in said
    assert not restarted


def test_a_node_of_a_set_that_does_not_run_is_restarted(tmp_path: Path) -> None:
    with server(b"") as port:
        pass
    assert apply(tmp_path, port, "failed", "failed", SET)[1]


def test_a_lone_server_is_restarted_for_another_password(tmp_path: Path) -> None:
    with server(b"-WRONGPASS invalid username-password pair\r\n") as port:
        assert apply(tmp_path, port, "active", "running", [])[1]
