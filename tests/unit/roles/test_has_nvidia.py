# SPDX-License-Identifier: GPL-3.0-or-later
"""The condition of GPU services, against made-up trees of sysfs: no GPU is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles" / "nvidia_driver" / "files" / "has-nvidia.sh"
NIC, VGA = ("0x1af4", "0x020000"), ("0x1013", "0x030000")  # virtio, Cirrus
T4, A100, H100 = (("0x10de", code) for code in ("0x030200", "0x030200", "0x030200"))
AUDIO, NVSWITCH = ("0x10de", "0x040300"), ("0x10de", "0x068000")


def ask(root: Path, what: str, *devices: tuple[str, str]) -> int:
    for number, (vendor, kind) in enumerate(devices):
        device = root / "bus/pci/devices" / f"0000:00:{number:02x}.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    env = {"PATH": "/usr/bin:/bin", "SYSFS_ROOT": str(root)}
    return subprocess.run(["sh", str(SCRIPT), what], env=env, timeout=10, check=False).returncode


@pytest.mark.parametrize(
    ("devices", "gpu", "switch"),
    [
        ((), 1, 1),
        ((NIC, VGA), 1, 1),
        ((NIC, AUDIO), 1, 1),
        ((NIC, T4), 0, 1),
        ((NIC, VGA, A100, NVSWITCH), 0, 0),
        ((NVSWITCH,), 1, 0),
        ((H100, H100), 0, 1),
    ],
)
def test_what_a_host_has(tmp_path: Path, devices: tuple[tuple[str, str], ...], gpu: int, switch: int) -> None:
    assert ask(tmp_path / "a", "gpu", *devices) == gpu
    assert ask(tmp_path / "b", "switch", *devices) == switch


def test_switches_of_blackwell(tmp_path: Path) -> None:
    """They are not on PCI; the adapter that leads to them is, beside others of its kind."""
    assert ask(tmp_path, "switch", T4, ("0x15b3", "0x020700"), ("0x15b3", "0x020700")) == 1
    for number, product in ((1, "SMDL=CX7"), (2, "SMDL=SW_MNG")):
        (tmp_path / f"bus/pci/devices/0000:00:{number:02x}.0/vpd").write_bytes(b"\x82\x00" + product.encode())
        assert ask(tmp_path, "switch") == (1 if number == 1 else 0)
    assert ask(tmp_path, "gpu") == 0


def test_one_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    assert ask(tmp_path, "gpu", NIC, NIC, T4, ("0x15b3", "0x020700"), ("0x15b3", "0x020700")) == 0
    devices = tmp_path / "bus/pci/devices"
    (devices / "0000:00:00.0/vendor").write_text("")
    (devices / "0000:00:01.0/class").unlink()
    (devices / "0000:00:01.0/class").symlink_to("/proc/self/mem")
    (devices / "0000:00:03.0/vpd").symlink_to("/proc/self/mem")  # whose beginning is EIO
    (devices / "0000:00:04.0/vpd").write_bytes(b"\x82\x00SMDL=SW_MNG")
    assert ask(tmp_path, "gpu") == 0
    assert ask(tmp_path, "switch") == 0


def test_a_question_that_is_none(tmp_path: Path) -> None:
    assert ask(tmp_path, "tpu") == 2


def test_a_host_without_pci_has_none(tmp_path: Path) -> None:
    assert ask(tmp_path / "absent", "gpu") == 1
