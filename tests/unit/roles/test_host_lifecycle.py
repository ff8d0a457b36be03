# SPDX-License-Identifier: GPL-3.0-or-later
"""The role brings every part of the program that a host needs, and no other; they run with nothing else on the path."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from ansible_collections.boring.fleet.plugins.module_utils.image import fingerprint, reads, template

ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / "plugins" / "module_utils"
PREFIX = "ansible_collections.boring.fleet.plugins.module_utils."


def brought() -> list[str]:
    tasks = yaml.safe_load((ROOT / "roles" / "host_lifecycle" / "tasks" / "install.yml").read_text())
    (task,) = [task for task in tasks if task["name"] == "Install | Read the parts of the program"]
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


def test_all_parts_are_brought_and_no_others() -> None:
    assert set(brought()) == needed("host/main.py")
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


def test_a_changed_part_makes_another_image() -> None:
    """The fingerprint of an image with this role is made of them."""
    given = {"family": "shop-web", "roles": ["boring.fleet.host_lifecycle"]}
    profile = [ROOT / "packer/images/cpu.pkrvars.hcl"]
    seen = template.read(ROOT / "packer", only=["amazon-ebs.debian"], var_files=profile, given=given)
    read = reads.of(seen, {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections")})
    files = set(fingerprint.gather(ROOT / "packer", [], reads=read).files)
    assert {f"../plugins/module_utils/{part}" for part in brought()} <= files
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
