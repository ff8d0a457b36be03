# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock against an archive that lost a package, or has another file under its name: named before anything is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[3] / "roles" / "nvidia_driver" / "files" / "check_lock.py"
LOCKED = [
    {"name": "libcuda1", "version": "550.163.01-2", "architecture": "amd64", "sha256": "aa"},
    {"name": "nvidia-smi", "version": "550.163.01-2", "architecture": "amd64", "sha256": "bb"},
]
WHOLE = """Package: libcuda1
Version: 550.163.01-2
Description: CUDA
 of NVIDIA: the library
SHA256: aa

Package: nvidia-smi
Version: 550.163.01-4
SHA256: cc

Package: nvidia-smi
Version: 550.163.01-2
SHA256: bb
"""


def said(tmp_path: Path, shown: str) -> list[str]:
    (tmp_path / "shown").write_text(shown)
    program = tmp_path / "apt-cache"
    # As apt-cache does when it has none of what it was asked for, which must not read as "all is well".
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/shown\n[ -s {tmp_path}/shown ] || exit 100\n")
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(CHECK)], input=json.dumps(LOCKED), env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_an_archive_that_has_it_all(tmp_path: Path) -> None:
    assert said(tmp_path, WHOLE) == []


@pytest.mark.parametrize(
    ("shown", "lines"),
    [
        (WHOLE.replace("550.163.01-2\nSHA256: bb", "550.163.01-3\nSHA256: bb"), ["nvidia-smi 550.163.01-2 is not in the archive"]),
        (WHOLE.replace("aa", "dd"), ["libcuda1 550.163.01-2 is another file in the archive than in the lock"]),
        ("", ["libcuda1 550.163.01-2 is not in the archive", "nvidia-smi 550.163.01-2 is not in the archive"]),
    ],
)  # fmt: skip
def test_what_it_lost_is_named(tmp_path: Path, shown: str, lines: list[str]) -> None:
    assert said(tmp_path, shown) == lines
