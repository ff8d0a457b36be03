# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's driver on a host without a GPU: whole, signed, for the lock's kernel, and in nobody's way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

LOCK = Path(__file__).resolve().parents[3] / "packer" / "locks" / "debian-13-amd64-proprietary.lock.json"


@pytest.fixture(scope="session")
def lock() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(LOCK.read_text())
    return found


@pytest.mark.parametrize("part", ["", "-uvm", "-modeset", "-drm"])
def test_every_module_is_for_the_locks_kernel_and_signed(host: Host, lock: dict[str, Any], part: str) -> None:
    kernel, name = lock["kernel"]["release"], lock["driver"]["module"] + part
    about = {
        field: host.check_output(f"modinfo -k {kernel} -F {field} {name}").splitlines()[0]
        for field in ("vermagic", "signer", "filename")
    }
    assert about["vermagic"].split()[0] == kernel
    assert about["signer"] == "boring.fleet modules"
    assert about["filename"].startswith(f"/lib/modules/{kernel}/updates/dkms/")
    assert kernel != host.check_output("uname -r")


def test_module_and_userland_have_one_version(host: Host, lock: dict[str, Any]) -> None:
    version = lock["driver"]["module_version"]
    assert host.check_output(f"modinfo -k {lock['kernel']['release']} -F version {lock['driver']['module']}") == version
    for package in ("libcuda1", "nvidia-smi", "libnvidia-ml1"):
        assert host.package(package).version.startswith(version)


def test_the_signing_key_is_nowhere(host: Host) -> None:
    for path in ("/run/boring-fleet-signing", "/var/lib/dkms/mok.key"):
        assert not host.file(path).exists
    found = host.run(  # the host's own keys for SSH apart: an image has none, and this host is up
        "grep -rlsE --exclude='ssh_host_*_key' -e '-----BEGIN ([A-Z]+ )?PRIVATE KEY-----'"
        " /etc /root /usr/share/boring.fleet /var/lib/dkms"
    )
    assert found.stdout == ""
    assert host.file("/usr/share/boring.fleet/modules.der").size > 0


def test_nouveau_is_kept_out_of_the_initramfs_too(host: Host, lock: dict[str, Any]) -> None:
    files = host.check_output(f"lsinitramfs /boot/initrd.img-{lock['kernel']['release']}")
    assert "nouveau.ko" not in files
    assert "etc/modprobe.d/boring-fleet-nouveau.conf" in files


def test_gpu_services_do_not_fail_without_a_gpu(host: Host) -> None:
    assert host.run("/usr/lib/boring.fleet/has-nvidia gpu").rc == 1
    assert host.run("systemctl start nvidia-persistenced.service").rc == 0
    assert host.check_output("systemctl show -P ActiveState nvidia-persistenced.service") == "inactive"
    assert host.check_output("systemctl list-units --failed --no-legend") == ""


def test_an_upgrade_touches_neither_kernel_nor_driver(host: Host, lock: dict[str, Any]) -> None:
    names = {package["name"] for package in lock["packages"]}
    lines = host.check_output("apt-get --simulate -o Debug::NoLocking=1 dist-upgrade").splitlines()
    touched = {line.split()[1] for line in lines if line.startswith(("Inst ", "Remv "))}
    assert not touched & names
    assert not [name for name in touched if name.startswith("linux-image-")]


def test_an_upgrade_that_would_come_stays_out(host: Host, lock: dict[str, Any]) -> None:
    """A newer driver in the archive: apt sees it, and does not take it."""
    host.check_output(
        "mkdir -p /tmp/next/pool /tmp/next/x/DEBIAN && cd /tmp/next && printf 'Package: nvidia-smi\\nVersion: 999.0-1\\n"
        "Architecture: amd64\\nMaintainer: x <x@example.org>\\nDescription: newer\\n' >x/DEBIAN/control"
        " && dpkg-deb --build x pool/nvidia-smi.deb >/dev/null"
        " && printf 'Package: nvidia-smi\\nVersion: 999.0-1\\nArchitecture: amd64\\nFilename: ./pool/nvidia-smi.deb\\nSize: '>Packages"
        " && stat -c %s pool/nvidia-smi.deb >>Packages && printf 'SHA256: ' >>Packages"
        " && sha256sum pool/nvidia-smi.deb | cut -d' ' -f1 >>Packages"
        " && echo 'deb [trusted=yes] file:/tmp/next ./' >/etc/apt/sources.list.d/next.list && apt-get -qq update"
    )
    try:
        assert "999.0-1" in host.check_output("apt-cache policy nvidia-smi")
        assert "nvidia-smi" not in host.check_output(
            "apt-get --simulate -o Debug::NoLocking=1 dist-upgrade | grep ^Inst || true"
        )
    finally:
        host.check_output("rm -rf /tmp/next /etc/apt/sources.list.d/next.list && apt-get -qq update")
