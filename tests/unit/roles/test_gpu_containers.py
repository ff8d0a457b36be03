# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers get of a host's GPUs: the CDI specification, and the settings of a unit that runs a container by systemd itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gpu_host import cdi
from gpu_host.host import Host
from tests.fakes.gpus import Programs

LIB = "/usr/lib/x86_64-linux-gnu"
LDCONFIG = f"""412 libs found in cache `/etc/ld.so.cache'
\tlibnvidia-ml.so.1 (libc6,x86-64) => {LIB}/libnvidia-ml.so.1
\tlibcudart.so.12 (libc6,x86-64) => {LIB}/libcudart.so.12
\tlibcuda.so.1 (libc6,x86-64) => {LIB}/libcuda.so.1
\tlibcuda.so (libc6,x86-64) => {LIB}/libcuda.so
\tlibEGL_nvidia.so.0 (libc6,x86-64) => {LIB}/libEGL_nvidia.so.0
\tlibEGL.so.1 (libc6,x86-64) => {LIB}/libEGL.so.1
\tlibc.so.6 (libc6,x86-64) => {LIB}/libc.so.6
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for node in (
        "nvidia0",
        "nvidia10",
        "nvidia2",
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-uvm-tools",
        "nvidia-caps/nvidia-cap1",
        "null",
    ):
        (tmp_path / "dev" / node).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev" / node).write_text("")
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/nvidia-smi").write_text("")
    programs = Programs()
    programs.answers["/usr/sbin/ldconfig -p"] = (0, LDCONFIG)
    return Host(tmp_path, programs, lambda: None, ["gpu"])


def specification(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((host.root / cdi.SPECIFICATION).read_text())
    return found


def test_a_specification_of_this_boot(host: Host) -> None:
    assert cdi.refresh(host, []) == ["/run/cdi/nvidia.json has 4 devices"]
    found = specification(host)
    assert (found["kind"], [device["name"] for device in found["devices"]]) == (
        "nvidia.com/gpu",
        ["0", "2", "10", "all"],
    )
    assert found["devices"][1]["containerEdits"]["deviceNodes"] == [{"path": "/dev/nvidia2"}]
    everyone = found["containerEdits"]
    assert [node["path"] for node in everyone["deviceNodes"]] == [
        "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-caps/nvidia-cap1",
    ]  # fmt: skip
    mounted = [mount["hostPath"] for mount in everyone["mounts"]]
    assert mounted == [
        f"{LIB}/libEGL_nvidia.so.0", f"{LIB}/libcuda.so", f"{LIB}/libcuda.so.1", f"{LIB}/libnvidia-ml.so.1", "/usr/bin/nvidia-smi",
    ], "the driver's, never the runtime's nor anybody else's"  # fmt: skip


def test_the_settings_of_a_unit(host: Host, tmp_path: Path) -> None:
    cdi.refresh(host, ["container-service.service"])
    path = host.root / "run/systemd/system/container-service.service.d/50-gpu.conf"
    lines = path.read_text().splitlines()
    assert lines[1:4] == ["[Service]", "PrivateDevices=no", "DevicePolicy=closed"]
    assert {
        f"DeviceAllow=/dev/{node} rw" for node in ("nvidia0", "nvidia2", "nvidia10", "nvidiactl", "nvidia-uvm")
    } <= set(lines)
    assert f"BindReadOnlyPaths=-{LIB}/libcuda.so.1:{LIB}/libcuda.so.1" in lines
    assert host.run.ran[-1] == "systemctl daemon-reload"  # type: ignore[attr-defined]
    if not shutil.which("systemd-analyze"):
        pytest.fail("systemd-analyze is needed: apt-get install systemd")
    unit = tmp_path / "container-service.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n" + "\n".join(lines[2:]) + "\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert str(unit) not in done.stderr, done.stderr


def test_nvidias_own_where_the_toolkit_is(host: Host) -> None:
    (host.root / "usr/bin/nvidia-ctk").write_text("")
    theirs = {
        "cdiVersion": "0.8.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia7"}]}}],
    }

    def write(line: str) -> None:
        if line.startswith("nvidia-ctk cdi generate"):
            (host.root / cdi.SPECIFICATION).write_text(json.dumps(theirs))

    host.run.on = write  # type: ignore[attr-defined]
    cdi.refresh(host, ["a.service"])
    assert specification(host) == theirs
    assert "DeviceAllow=/dev/nvidia7 rw" in (host.root / "run/systemd/system/a.service.d/50-gpu.conf").read_text()


def test_a_toolkit_that_fails(host: Host) -> None:
    (host.root / "usr/bin/nvidia-ctk").write_text("")
    host.run.answers["nvidia-ctk"] = (1, "failed to initialize NVML")  # type: ignore[attr-defined]
    assert cdi.refresh(host, []) == ["/run/cdi/nvidia.json has 4 devices"]


def test_a_host_without(tmp_path: Path) -> None:
    assert cdi.refresh(Host(tmp_path, Programs(), lambda: None, ["gpu"]), []) == ["/run/cdi/nvidia.json has 0 devices"]
