# SPDX-License-Identifier: GPL-3.0-or-later
"""The smoke test of a real GPU, without one: it must fail for each thing that is not as it should be."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "packer/locks/debian-13-amd64-proprietary.lock.json"
VERSION = json.loads(LOCK.read_text())["driver"]["module_version"]


@pytest.fixture
def smoke() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_smoke", ROOT / "playbooks/files/gpu_smoke.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.COUNT = 1024  # type: ignore[attr-defined]
    return module


class Gpu:
    """CUDA's calls over this machine's own memory; `off` is what the GPU adds too much to the last sum."""

    def __init__(self, off: float = 0.0) -> None:
        self.off = off
        self.calls: list[str] = []
        self.memory: list[Any] = []

    def __call__(self, name: str, *given: Any) -> None:
        self.calls.append(name)
        if name == "cuDeviceGetName":
            given[0].value = b"A GPU"
        if name == "cuMemAlloc_v2":
            self.memory.append((ctypes.c_float * (given[1].value // 4))())
            given[0]._obj.value = len(self.memory) - 1
        if name == "cuMemcpyHtoD_v2":
            self.memory[given[0].value][:] = given[1][:]
        if name == "cuLaunchKernel":
            left, right, total = self.memory
            blocks, threads = given[1], given[4]
            for place in range(blocks * threads):
                total[place] = left[place] + right[place]
            total[len(total) - 1] += self.off
        if name == "cuMemcpyDtoH_v2":
            given[0][:] = self.memory[given[1].value][:]


def test_every_sum_counts_and_the_context_is_given_back(smoke: ModuleType) -> None:
    assert smoke.smoke(Gpu(), 0) == {"name": "A GPU", "right": True}
    wrong = Gpu(off=1.0)
    assert smoke.smoke(wrong, 0) == {"name": "A GPU", "right": False}
    assert wrong.calls[-1] == "cuCtxDestroy_v2"


def play(tmp_path: Path, said: str, python: str = "") -> subprocess.CompletedProcess[str]:
    """The playbook on this machine, with programs that say what they are told to."""
    programs = {
        "nvidia-smi": f"printf '%b' '{said}'\n[ -n '{said}' ]",
        **({"python3": f"cat >/dev/null\n{python}"} if python else {}),
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"), "-i", "gpu-host,", "-c", "local",
            "-e", f"gpu_smoke_lock={LOCK}", str(ROOT / "playbooks/gpu_smoke.yml"),
        ],
        env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


GOOD = f"NVIDIA A10G, {VERSION}, Enabled\\n"


@pytest.mark.parametrize(
    ("said", "python", "reason"),
    [
        ("", "", "nvidia-smi finds no GPU"),
        ("NVIDIA A10G, 535.1, Enabled\\n", "", f"should be driver {VERSION}"),
        (f"NVIDIA A10G, {VERSION}, Disabled\\n", "", "with persistence Enabled"),
        (
            GOOD,
            'echo \'{"gpus": [], "error": "cuInit: CUDA_ERROR_NO_DEVICE"}\'; exit 1',
            "No kernel ran as it should: cuInit",
        ),
        (GOOD * 2, 'echo \'{"gpus": [{"name": "A10G", "right": true}]}\'', "No kernel ran as it should"),
        (GOOD, 'echo \'{"gpus": [{"name": "A10G", "right": true}]}\'', ""),
    ],
)
def test_the_playbook(tmp_path: Path, said: str, python: str, reason: str) -> None:
    done = play(tmp_path, said, python)
    text = " ".join((done.stdout + done.stderr).split())
    assert (done.returncode == 0) == (not reason), text
    assert reason in text
