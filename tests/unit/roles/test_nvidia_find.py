# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role nvidia_driver looks for: nothing is said of a machine that is right, and one line of each thing that is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FIND = Path(__file__).resolve().parents[3] / "roles" / "nvidia_driver" / "files" / "find.sh"
KERNEL, VERSION, MODULE = "6.12.117+deb13-cloud-amd64", "550.163.01", "nvidia-current"

# A machine's programs, as they answer when all is well.
PROGRAMS = {
    "dpkg-query": "echo nvidia-smi 550.163.01-2; echo libcuda1 550.163.01-2; echo libcuda10 535.1-1",
    "apt-mark": "echo nvidia-smi; echo libcuda1",
    "modinfo": f"""
        echo 'srcversion:     2F1A'
        echo 'license:        NVIDIA'
        echo 'version:        {VERSION}'
        echo 'vermagic:       {KERNEL} SMP preempt mod_unload'
        echo 'signer:         boring.fleet modules'
        echo 'parm:           version:of something else'""",
    "modprobe": f"""
        case "$*" in
          *nouveau*) echo "install /bin/false" ;;
          *) echo "insmod /lib/modules/{KERNEL}/updates/dkms/{MODULE}.ko.xz" ;;
        esac""",
    "lsinitramfs": "echo etc/modprobe.d/boring-fleet-nouveau.conf",
    "apt-get": "echo Inst libssl3 '[3.0.1] (3.0.2)'",
}


def found(tmp_path: Path, **instead: str) -> list[str]:
    """What it says of a machine where some programs answer something else."""
    for name, script in {**PROGRAMS, **{name.replace("_", "-"): script for name, script in instead.items()}}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["sh", str(FIND), KERNEL, VERSION, "proprietary", MODULE],
        # As the role gives it, with the line's end that Ansible adds.
        input="nvidia-smi 550.163.01-2\nlibcuda1 550.163.01-2\n\n",
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_nothing_is_said_when_all_is_well(tmp_path: Path) -> None:
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("program", "answers", "said"),
    [
        ("dpkg_query", ":", "nvidia-smi is nothing and not 550.163.01-2"),
        ("dpkg_query", "echo libcuda1 550.163.01-4", "libcuda1 is 550.163.01-4 and not 550.163.01-2"),
        ("apt_mark", ":", "nvidia-smi is not held"),
        ("apt_mark", "echo nvidia-smi; echo libcuda10", "libcuda1 is not held"),
        ("modinfo", "exit 1", f"the module {MODULE} is not signed"),
        ("modinfo", f"echo vermagic:  {KERNEL.replace('117', '94')} SMP", f"the module {MODULE} is made for '6.12.94+deb13-cloud-amd64 SMP'"),
        ("modprobe", f"echo insmod /lib/modules/{KERNEL}/kernel/nouveau.ko", "nouveau can be loaded"),
        ("modprobe", "echo install /bin/false", f"modprobe does not find {MODULE} for {KERNEL}"),
        ("lsinitramfs", "echo usr/lib/modules/x/nouveau.ko.xz", "nouveau is in the initramfs"),
        ("lsinitramfs", "echo etc/fstab", "the initramfs does not know that nouveau is kept out"),
        ("apt_get", "echo Inst nvidia-smi '[550] (560)'", "an upgrade would touch nvidia-smi"),
        ("apt_get", "echo Remv linux-image-6.12.117 '[6.12]'", "an upgrade would touch linux-image-6.12.117"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, program: str, answers: str, said: str) -> None:
    assert said in found(tmp_path, **{program: answers})
