# SPDX-License-Identifier: GPL-3.0-or-later
"""The newest release of a collection that the locks hold, whatever Python the machine has: a peer to measure against.

The `ansible` wheels are locked in requirements/collections.txt, the newest one for newer Pythons only. What a benchmark
runs of it is one module with its clock and clients replaced, which works on every Python that the project supports.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "build" / "bench"


def collection(name: str) -> tuple[Path, str]:
    """A directory for sys.path that holds the collection (as ``amazon.aws``), and the collection's version."""
    version, requirement = _newest_wheel()
    place = BENCH / f"ansible-{version}"
    manifest = place / "ansible_collections" / Path(*name.split(".")) / "MANIFEST.json"
    if not manifest.is_file():
        _extract(name, version, requirement, place)
    return place, str(json.loads(manifest.read_text())["collection_info"]["version"])


def _newest_wheel() -> tuple[str, str]:
    """The highest locked version of `ansible`, and its line with the hashes but without the marker."""
    lock = (ROOT / "requirements" / "collections.txt").read_text().replace("\\\n", " ")
    found = re.findall(r"^ansible==([\d.]+)[^\n]*", lock, re.MULTILINE)
    version = max(found, key=lambda text: [int(part) for part in text.split(".")])
    line = next(line for line in lock.splitlines() if line.startswith(f"ansible=={version} "))
    return version, " ".join([f"ansible=={version}", *re.findall(r"--hash=\S+", line)])


def _extract(name: str, version: str, requirement: str, place: Path) -> None:
    print(f"bench: fetching {name} out of ansible {version} ...", file=sys.stderr, flush=True)
    BENCH.mkdir(parents=True, exist_ok=True)
    lock, wheels = BENCH / "ansible.txt", BENCH / "wheels"
    lock.write_text(requirement + "\n")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "--no-deps", "--ignore-requires-python"]
    subprocess.run([*pip, "--only-binary=:all:", "-d", str(wheels), "-r", str(lock)], check=True, timeout=900)
    with zipfile.ZipFile(next(wheels.glob(f"ansible-{version}-*.whl"))) as wheel:
        prefix = f"ansible_collections/{name.replace('.', '/')}/"
        members = [member for member in wheel.namelist() if member.startswith(prefix) and "/tests/" not in member]
        wheel.extractall(place, members)
