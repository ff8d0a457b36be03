# SPDX-License-Identifier: GPL-3.0-or-later
"""A role brings every part of the program that a host needs, and no other; they run with nothing else on the path."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.roles.module_parts import MODULES, ROOT, needed

# role, program, its first module, what it says to words that mean nothing
PROGRAMS = [
    (
        "host_lifecycle",
        "host-lifecycle",
        "host/main.py",
        "usage: host-lifecycle run | step enter|leave|keep | respond\n",
    ),
    (
        "data_backup",
        "data-backup",
        "backup/main.py",
        "usage: data-backup run | list | status | check CONFIG | ready SOURCE | restore SOURCE BACKUP|latest\n",
    ),
]


def brought(role: str) -> list[str]:
    tasks = yaml.safe_load((ROOT / "roles" / role / "tasks" / "install.yml").read_text())
    (task,) = [task for task in tasks if task["name"] == "Install | Parts of the program"]
    return list(task["loop"])


@pytest.mark.parametrize(("role", "name", "first", "usage"), PROGRAMS)
def test_all_parts_are_brought_and_no_others(role: str, name: str, first: str, usage: str) -> None:
    assert set(brought(role)) == needed([MODULES / first])
    assert len(brought(role)) == len(set(brought(role)))


@pytest.mark.parametrize(("role", "name", "first", "usage"), PROGRAMS)
def test_they_run_without_anything_else(role: str, name: str, first: str, usage: str, tmp_path: Path) -> None:
    library = tmp_path / "ansible_collections" / "boring" / "fleet" / "plugins" / "module_utils"
    for part in brought(role):
        (library / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(MODULES / part, library / part)
    program = tmp_path / name
    text = (ROOT / "roles" / role / "files" / name).read_text()
    assert f'"/usr/local/lib/{name}"' in text
    program.write_text(text.replace(f'"/usr/local/lib/{name}"', f'"{tmp_path}"'))
    done = subprocess.run(
        [sys.executable, "-BIS", program, "nonsense"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, usage), done.stderr
