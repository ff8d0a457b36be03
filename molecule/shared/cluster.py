# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of clusters share: a writer that writes while something happens, and playbooks as their users run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testinfra.host import Host


@contextmanager
def writing(program: str, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Let a writer beside this file write all the while, and a second before and after. What it tells at its end is in the
    dictionary that was yielded, once the block is left."""
    told: dict[str, Any] = {}
    writer = subprocess.Popen(
        [sys.executable, Path(__file__).with_name(program), json.dumps(settings)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        time.sleep(1)
        yield told
        time.sleep(1)
        writer.send_signal(signal.SIGTERM)
        told |= json.loads(writer.communicate(timeout=90)[0])
    finally:
        writer.kill()
        writer.wait(timeout=10)


def play(name: str, **variables: object) -> str:
    """Run a playbook of the collection on the scenario's hosts, with its variables; what Ansible said."""
    scenario = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
    done = subprocess.run(
        ["ansible-playbook", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], f"boring.fleet.{name}",
         "--extra-vars", f"@{scenario / 'vars' / 'scenario.yml'}", "--extra-vars", json.dumps(variables)],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pids(everywhere: dict[str, Host], unit: str) -> dict[str, str]:
    """Main process of a unit, by host."""
    return {name: host.check_output(f"systemctl show -P MainPID {unit}") for name, host in everywhere.items()}
