# SPDX-License-Identifier: GPL-3.0-or-later
"""What image_verify finds wrong with an image: its size. The rest is about real packages and kernels, in every build."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FIND = Path(__file__).resolve().parents[3] / "roles" / "image_verify" / "files" / "find.sh"
DU = """
case "$*" in
  "-xsm /") printf '3100\\t/\\n' ;;
  *) printf '40\\t/usr/share/doc\\n1900\\t/usr/lib/firmware\\n2300\\t/usr/lib\\n3000\\t/usr\\n' ;;
esac
"""


def found(tmp_path: Path, *budget: str) -> list[str]:
    for name, script in {"dpkg": ":", "dkms": ":", "apt-get": ":", "apt-mark": ":", "du": DU}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["sh", str(FIND), *budget], input="\n", env={"PATH": f"{tmp_path}:/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if line.startswith("it takes")]


@pytest.mark.parametrize("budget", [(), ("0",), ("3100",)])
def test_a_size_within_its_budget(tmp_path: Path, budget: tuple[str, ...]) -> None:
    assert found(tmp_path, *budget) == []


def test_a_size_beyond_it_and_what_takes_it(tmp_path: Path) -> None:
    assert found(tmp_path, "3099") == [
        "it takes 3100 MB and may take 3099; most of it is in /usr/lib/firmware (1900 MB), /usr/share/doc (40 MB)"
    ]
