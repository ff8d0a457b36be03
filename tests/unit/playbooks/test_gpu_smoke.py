# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_smoke: the host's own check, made by hand. It fails for seven of eight GPUs, knows MIG, and says so of a host whose Python does not work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "packer/locks/debian-13-amd64-proprietary.lock.json"
VERSION = json.loads(LOCK.read_text())["driver"]["module_version"]

# The role's program, on a host that is made up: what a test lays down decides about its GPUs.
PROGRAM = """#!{python}
import sys
sys.path[:0] = [{root!r}, {files!r}, {collections!r}]
from pathlib import Path
from gpu_host import program
from gpu_host.host import Host
from tests.fakes.gpus import Gpu, Nvml, Programs, sysfs

root = Path({place!r})
gpus = [Gpu(0x10 + number) for number in range(8)]
version, pci = {version!r}, 8
{state}
sysfs(root, [0x10 + number for number in range(pci)], module=version)
library = Nvml(gpus, version)
real = program.real
sys.exit(program.main(["--root", str(root), *sys.argv[1:]], lambda root: program.Outside(
    root, Host(root, Programs(), lambda: library, ["gpu"]), None, None, real(root).now, print, None)))
"""


def play(tmp_path: Path, script: str) -> str:
    """What the playbook says of a host whose program this is; 'well' when it fails for nothing."""
    program = tmp_path / "gpu"
    program.write_text(script)
    program.chmod(0o755)
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"), "-i", "gpu-host,", "-c", "local",
            "-e", json.dumps({"gpu_smoke_lock": str(LOCK), "gpu_smoke_program": str(program), "gpu_smoke_become": False}),
            str(ROOT / "playbooks/gpu_smoke.yml"),
        ],
        env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    text = " ".join((done.stdout + done.stderr).split())
    return "well" if done.returncode == 0 else text


@pytest.fixture
def host(tmp_path: Path) -> Callable[[str], str]:
    def run(state: str) -> str:
        files = str(ROOT / "roles/nvidia_driver/files")
        return play(
            tmp_path,
            PROGRAM.format(
                python=sys.executable,
                root=str(ROOT),
                files=files,
                collections=str(ROOT / "build/collections"),
                place=str(tmp_path / "root"),
                version=VERSION,
                state=state,
            ),
        )

    return run


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("", "well"),
        ("for gpu in gpus: gpu.mig_mode, gpu.mig = 1, ['3g.40gb', '4g.40gb']", "well"),
        ("del gpus[3]", "the driver knows 7 of 8 GPUs, not 0000:13:00.0"),
        ("version = '535.1'", f"the module is version 535.1, and the image's lock says {VERSION}"),
        ("gpus[2].persistence = 0", "persistence is off on GPU 2"),
        ("gpus, pci = [], 0", "the host has no GPU"),
    ],
)
def test_what_it_says(host: Callable[[str], str], state: str, reason: str) -> None:
    assert reason in host(state)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/no/such/python3\n", "/gpu cannot run on gpu-host"),
        ("#!/bin/sh\necho 'Fatal Python error: init_fs_encoding' >&2; exit 1\n", "Fatal Python error: init_fs_encoding): the host needs an image"),
        ("#!/bin/sh\nexit 0\n", "cannot run on gpu-host"),
    ],
)  # fmt: skip
def test_a_host_without_a_working_python(tmp_path: Path, script: str, reason: str) -> None:
    said = play(tmp_path, script)
    assert reason in said
    assert "Traceback" not in said
