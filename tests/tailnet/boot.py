# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role tailscale leaves on a host for its boot, laid out in a folder: settings and key as its user_data renders them, and
the program with these paths in place of a host's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.unit.plugins.playbook_runs import ROOT, run_playbook


def lay_out(folder: Path, key: str, cli: str, **variables: Any) -> None:
    """Fill `folder`: key, settings.json, tailnet-join, and `cli` as the command that it calls for `tailscale`."""
    given = folder / "given"
    given.write_text(key + "\n")
    tasks = [
        {
            "ansible.builtin.include_role": {"name": "boring.fleet.tailscale", "tasks_from": "user_data"},
            "vars": {"tailscale_auth_key_file": str(given), **variables},
        },
        {
            "ansible.builtin.copy": {
                "dest": str(folder / "files.json"),
                "content": "{{ tailscale_user_data | to_json }}",
                "mode": "0600",
            }
        },
    ]
    code, output = run_playbook(folder, [{"hosts": "h1", "tasks": tasks}])
    assert code == 0, output
    assert key not in output, "in no output, at -vvv"
    files = {file["path"]: file for file in json.loads((folder / "files.json").read_text())}
    assert files["/etc/tailnet/key"]["permissions"] == "0600"
    assert key not in files["/etc/tailnet/settings.json"]["content"]
    (folder / "key").write_text(files["/etc/tailnet/key"]["content"])
    (folder / "settings.json").write_text(files["/etc/tailnet/settings.json"]["content"])
    program(folder / "cli", cli)
    text = (ROOT / "roles" / "tailscale" / "files" / "tailnet-join").read_text()
    for place, ours in (
        ("/usr/local/bin/tailnet-cli", "cli"),
        ("/etc/tailnet/settings.json", "settings.json"),
        ("/etc/tailnet/key", "key"),
    ):
        assert f'"{place}"' in text
        text = text.replace(f'"{place}"', f'"{folder / ours}"')
    (folder / "tailnet-join").write_text(text)
    reasons = ROOT / "plugins" / "module_utils" / "tailscale" / "reasons.py"
    (folder / "reasons.py").write_text(reasons.read_text())


def run(folder: Path, action: str, jobs: str = "") -> tuple[int, str]:
    """Code and words of `tailnet-join` where systemd has these jobs."""
    program(folder / "systemctl", f"#!/bin/sh\necho '{jobs}'\n")
    done = subprocess.run(
        [sys.executable, folder / "tailnet-join", action],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
