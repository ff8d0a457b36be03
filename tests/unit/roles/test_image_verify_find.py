# SPDX-License-Identifier: GPL-3.0-or-later
"""What image_verify finds wrong with an image: its size and what is held. The rest is about real packages and kernels, in every build."""

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


def find(tmp_path: Path, *budget: str, held: str = "", holds: str = ":") -> list[str]:
    for name, script in {"dpkg": ":", "dkms": ":", "apt-get": ":", "apt-mark": holds, "du": DU}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["sh", str(FIND), *budget], input=f"{held}\n", env={"PATH": f"{tmp_path}:/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def found(tmp_path: Path, *budget: str) -> list[str]:
    return [line for line in find(tmp_path, *budget) if line.startswith("it takes")]


def test_exactly_what_should_be_held_is_held(tmp_path: Path) -> None:
    assert {
        "libcuda10 is held, and would miss its security updates",
        "libcuda1 is not held",
    } <= set(find(tmp_path, held="libcuda1\nnvidia-smi", holds="echo libcuda10; echo nvidia-smi"))


@pytest.mark.parametrize("budget", [(), ("0",), ("3100",)])
def test_a_size_within_its_budget(tmp_path: Path, budget: tuple[str, ...]) -> None:
    assert found(tmp_path, *budget) == []


def test_a_size_beyond_it_and_what_takes_it(tmp_path: Path) -> None:
    assert found(tmp_path, "3099") == [
        "it takes 3100 MB and may take 3099; most of it is in /usr/lib/firmware (1900 MB), /usr/share/doc (40 MB)"
    ]
