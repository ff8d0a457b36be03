# SPDX-License-Identifier: GPL-3.0-or-later
"""cuda_runtime: which packages it means, where they must come from, and what it refuses before apt is told anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plugins.playbook_runs import ROOT, run_playbook

ROLE = ROOT / "roles" / "cuda_runtime"
SOURCES = "URIs: http://deb.debian.org/debian\n\nURIs: http://security.debian.org/debian-security\n"
NVIDIA = "\nURIs: https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64/\n"


def play(tmp_path: Path, sources: str = SOURCES, **given: Any) -> tuple[str, str]:
    """The role's tasks but the first and the last: its preferences, and what it said."""
    tasks = yaml.safe_load((ROLE / "tasks/install.yml").read_text())
    assert (
        tasks[0]["name"].endswith("Check the host") and tasks[-1]["ansible.builtin.apt"]["install_recommends"] is False
    )
    (tmp_path / "nvidia.sources").write_text(sources)
    text = json.dumps(tasks[1:-1]).replace(
        "/etc/apt/sources.list.d/boring-fleet-nvidia.sources", str(tmp_path / "nvidia.sources")
    )
    chosen = json.loads(
        text.replace("/etc/apt/preferences.d", str(tmp_path)).replace(
            "preferences.j2", str(ROLE / "templates/preferences.j2")
        )
    )
    for task in chosen:
        task.get("ansible.builtin.template", {}).pop("owner", None)
        task.get("ansible.builtin.template", {}).pop("group", None)
    played = {
        "hosts": "h1",
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        "vars": {"ansible_facts": {"distribution": "Debian", "distribution_major_version": "13"}},
        "tasks": chosen,
    }
    dummy, said = run_playbook(tmp_path, [played], "-e", json.dumps(given))
    made = tmp_path / "boring-fleet-cuda"
    return made.read_text() if made.exists() else "", " ".join(said.split())


def test_debians_own(tmp_path: Path) -> None:
    made, said = play(tmp_path, cuda_runtime_version="12.4", cuda_runtime_libraries=["cudart", "cublas"])
    assert made.splitlines()[1:] == [
        "Package: libcudart12 libcublas12 libcublaslt12",
        "Pin: release o=Debian",
        "Pin-Priority: 995",
    ], said


def test_nvidias_for_a_driver_of_theirs(tmp_path: Path) -> None:
    made, said = play(
        tmp_path, SOURCES + NVIDIA, cuda_runtime_version="13.0", cuda_runtime_libraries=["cudart", "cublas", "nvrtc"]
    )
    assert made.splitlines()[1:] == [
        "Package: cuda-cudart-13-0 libcublas-13-0 cuda-nvrtc-13-0",
        "Pin: origin developer.download.nvidia.com",
        "Pin-Priority: 995",
    ], said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "cuda_runtime_version is '' and has to be one such as 12.4"),
        ({"cuda_runtime_version": "12"}, "cuda_runtime_version is '12' and has to be"),
        ({"cuda_runtime_version": "12.4", "cuda_runtime_libraries": ["cudnn"]}, "cuda_runtime_libraries has cudnn and can have cudart, cublas"),
        ({"cuda_runtime_version": "12.4", "cuda_runtime_libraries": []}, "cuda_runtime_libraries has none"),
        ({"cuda_runtime_version": "12.8"}, "Debian 13 has CUDA 12.4 and not 12.8, and this image's driver is Debian's: take that version"),
    ],
)  # fmt: skip
def test_what_it_refuses(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    made, words = play(tmp_path, **given)
    assert (made, said in words) == ("", True), words


def test_every_library_has_packages_in_both_releases() -> None:
    known = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    for release in ("12", "13"):
        assert set(known["__cuda_runtime_debian"][release]["libraries"]) == set(known["__cuda_runtime_known"])
