# SPDX-License-Identifier: GPL-3.0-or-later
"""A role brings every part of the program that a host needs, and no other; they run with nothing else on the path."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / "plugins" / "module_utils"
PREFIX = "ansible_collections.boring.fleet.plugins.module_utils."


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


def needed(first: str) -> set[str]:
    found: set[str] = set()
    todo = [first]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found |= {path, str(Path(path).parent / "__init__.py")}
        for node in ast.walk(ast.parse((MODULES / path).read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PREFIX):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                file = name.removeprefix(PREFIX).replace(".", "/") + ".py"
                if (MODULES / file).is_file():
                    todo.append(file)
    return found


@pytest.mark.parametrize(("role", "name", "first", "usage"), PROGRAMS)
def test_all_parts_are_brought_and_no_others(role: str, name: str, first: str, usage: str) -> None:
    assert set(brought(role)) == needed(first)
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
