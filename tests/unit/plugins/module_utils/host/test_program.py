# SPDX-License-Identifier: GPL-3.0-or-later
"""The program itself, as its unit starts it, with steps that are programs and AWS's stand-in on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.host.test_aws import SECRET, Server

ROOT = Path(__file__).resolve().parents[5]
START = """
import sys
from pathlib import Path
from ansible_collections.boring.fleet.plugins.module_utils.host import main, told
folder = Path(sys.argv[1])
main.METADATA, told.PATH, main.FOLDER, main.STATE = sys.argv[2], str(folder / "host.json"), folder, folder / "state.json"
sys.exit(main.main(["host-lifecycle", "run"]))
"""


class Host:
    """A folder in place of /etc/fleet."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        told = {"fleet": "shop", "service": "web", "kind": "service", "region": "eu-central-1", "group": "shop-web",
                "endpoint": server.url, "hooks": {"enter": "enter", "leave": "leave", "heartbeat": 30}}  # fmt: skip
        (folder / "host.json").write_text(json.dumps(told))
        self.started: list[subprocess.Popen[str]] = []

    def step(self, where: str, text: str) -> None:
        path = self.folder / f"{where}.d" / "50-fleet"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", START, self.folder, self.server.url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, umask=0o077,
            env={**os.environ, "PYTHONPATH": str(ROOT / "build" / "collections")},
        )  # fmt: skip
        self.started.append(process)
        return process

    def completed(self) -> list[tuple[str, str]]:
        return [
            (one["LifecycleHookName"], one["LifecycleActionResult"])
            for one in self.server.asked
            if one["Action"] == "CompleteLifecycleAction"
        ]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    server = Server()
    server.state = "Pending:Wait"
    server.paths["autoscaling/target-lifecycle-state"] = "InService"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = Host(tmp_path, server)
    yield found
    for process in found.started:
        process.kill()
        process.wait(10)
    server.shutdown()
    server.server_close()


def until(there: Callable[[], bool], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_of_a_step_it_goes_on_there(host: Host, number: signal.Signals) -> None:
    done = host.folder / "done"
    host.step("enter", f"umask > {host.folder}/umask")
    host.step("leave", f"test -e {done} || {{ touch {host.folder}/leaving; exec sleep 25; }}; echo drained")
    first = host.start()
    until(lambda: host.completed() == [("enter", "CONTINUE")])
    assert (host.folder / "umask").read_text() == "0022\n", "directories that it makes are open to their services"
    host.server.state = "Terminating:Wait"
    host.server.paths["autoscaling/target-lifecycle-state"] = "Terminated"
    until((host.folder / "leaving").exists)
    first.send_signal(number)
    first.wait(20)
    assert host.completed() == [("enter", "CONTINUE")], "not completed before it has left"
    done.touch()
    second = host.start()
    said, dummy = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert host.completed() == [("enter", "CONTINUE"), ("leave", "CONTINUE")]
    assert "drained\n" in said
    assert "enters" not in said
    assert SECRET not in said
    assert not [line for line in Path("/proc").glob("[0-9]*/cmdline") if _holds(line, SECRET)]


def _holds(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False


def test_a_host_json_of_another_hand_ends_it_for_good(host: Host) -> None:
    (host.folder / "host.json").write_text("{}")
    process = host.start()
    said, dummy = process.communicate(timeout=60)
    assert process.returncode == 78
    assert "'fleet' is missing): deploy the fleet again" in said
    assert len(said.splitlines()) == 1
