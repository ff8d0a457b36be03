# SPDX-License-Identifier: GPL-3.0-or-later
"""A role brings every part of the program that a host needs, and no other; they run with nothing else on the path."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.boring.fleet.plugins.module_utils.image import fingerprint, reads, template
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
    (loop,) = [task["loop"] for task in tasks if task["name"].endswith("arts of the program") and "loop" in task]
    return list(loop)


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


def test_a_changed_part_makes_another_image() -> None:
    """The fingerprint of an image with this role is made of them."""
    given = {"family": "shop-web", "roles": ["boring.fleet.host_lifecycle"]}
    profile = [ROOT / "packer/images/cpu.pkrvars.hcl"]
    seen = template.read(ROOT / "packer", only=["amazon-ebs.debian"], var_files=profile, given=given)
    read = reads.of(seen, {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections")})
    files = set(fingerprint.gather(ROOT / "packer", [], reads=read).files)
    assert {f"../plugins/module_utils/{part}" for part in brought("host_lifecycle")} <= files
    assert {f"../roles/host_lifecycle/files/{name}" for name in ("host-lifecycle", "unpack")} <= files


def test_parts_are_written_once(tmp_path: Path) -> None:
    unpack = (ROOT / "roles" / "host_lifecycle" / "files" / "unpack").read_text()
    library = tmp_path / "library"

    def run(texts: dict[str, str], *more: str) -> str:
        command = [sys.executable, "-BI", "-c", unpack, str(library), *more]
        return subprocess.run(
            command, input=json.dumps(texts), capture_output=True, text=True, timeout=60, check=True
        ).stdout

    parts = {"host/__init__.py": "", "host/aws.py": "# ü\n"}
    assert run(parts, "--check") == "changed\n"
    assert not library.exists()
    assert run(parts) == "changed\n"
    assert {path: (library / path).read_text() for path in parts} == parts
    assert (library / "host" / "aws.py").stat().st_mode & 0o777 == 0o644
    assert run(parts) == run(parts, "--check") == ""
    assert run({**parts, "host/aws.py": "another\n"}) == "changed\n"
    assert (library / "host" / "aws.py").read_text() == "another\n"
