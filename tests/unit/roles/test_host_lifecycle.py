# SPDX-License-Identifier: GPL-3.0-or-later
"""The role brings every part of the program that a host needs, and no other; they run with nothing else on the path."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.unit.roles.module_parts import MODULES, ROOT, needed


def brought() -> list[str]:
    tasks = yaml.safe_load((ROOT / "roles" / "host_lifecycle" / "tasks" / "install.yml").read_text())
    (task,) = [task for task in tasks if task["name"] == "Install | Parts of the program"]
    return list(task["loop"])


def test_all_parts_are_brought_and_no_others() -> None:
    assert set(brought()) == needed([MODULES / "host" / "main.py"])
    assert len(brought()) == len(set(brought()))


def test_they_run_without_anything_else(tmp_path: Path) -> None:
    library = tmp_path / "ansible_collections" / "boring" / "fleet" / "plugins" / "module_utils"
    for part in brought():
        (library / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(MODULES / part, library / part)
    program = tmp_path / "host-lifecycle"
    text = (ROOT / "roles" / "host_lifecycle" / "files" / "host-lifecycle").read_text()
    assert '"/usr/local/lib/host-lifecycle"' in text
    program.write_text(text.replace('"/usr/local/lib/host-lifecycle"', f'"{tmp_path}"'))
    done = subprocess.run(
        [sys.executable, "-BIS", program, "nonsense"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "usage: host-lifecycle run | step enter|leave|keep | respond\n"), (
        done.stderr
    )
