# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with GPUs that are not there: NVML's calls over plain values, a sysfs below a folder, and programs that only note what they are told."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = "580.95.05"
NOT_SUPPORTED, NOT_FOUND, LOST = 3, 6, 15
WORDS = {
    NOT_SUPPORTED: b"Not Supported",
    NOT_FOUND: b"Not Found",
    LOST: b"GPU is lost",
    18: b"Driver/library version mismatch",
}


@dataclass
class Gpu:
    """One GPU. None: it does not have that."""

    bus: int
    name: str = "NVIDIA H100 80GB HBM3"
    lost: bool = False
    persistence: int = 1
    ecc: int | None = 0
    corrected: int = 7
    rows: tuple[int, int] | None = (0, 0)  # waiting, failed
    mig_mode: int | None = None
    mig: list[str] = field(default_factory=list)
    fabric: int = 0
    fabric_status: int = 0
    limit: int | None = 700_000
    clocks: tuple[int, int] | None = None
    needs_reset: bool = False

    @property
    def uuid(self) -> str:
        return f"GPU-{self.bus:08x}"


class Nvml:
    """libnvidia-ml as ctypes would load it: every call takes what the real one takes and answers with a code."""

    def __init__(self, gpus: Sequence[Gpu], version: str = VERSION, init: int = 0) -> None:
        self.gpus, self.version, self.init = list(gpus), version, init
        self.calls: list[str] = []

    def _gpu(self, handle: ctypes.c_void_p) -> Gpu:
        return self.gpus[(handle.value or 0) % 1000 - 1]

    def nvmlInit_v2(self) -> int:
        return self.init

    def nvmlShutdown(self) -> int:
        return 0

    def nvmlErrorString(self, code: int) -> bytes:
        return WORDS.get(code, b"Unknown Error")

    def nvmlSystemGetDriverVersion(self, text: Any, _length: Any) -> int:
        text.value = self.version.encode()
        return 0

    def nvmlDeviceGetCount_v2(self, number: Any) -> int:
        number._obj.value = len(self.gpus)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        if self.gpus[index.value].lost:
            return LOST
        handle._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetPciInfo_v3(self, handle: Any, info: Any) -> int:
        info._obj.busId = f"00000000:{self._gpu(handle).bus:02X}:00.0".encode()
        return 0

    def nvmlDeviceGetName(self, handle: Any, text: Any, _length: Any) -> int:
        gpu, device = self._gpu(handle), handle.value // 1000
        text.value = (gpu.name + (f" MIG {gpu.mig[device - 1]}" if device else "")).encode()
        return 0

    def nvmlDeviceGetUUID(self, handle: Any, text: Any, _length: Any) -> int:
        gpu, device = self._gpu(handle), handle.value // 1000
        text.value = (f"MIG-{gpu.bus:08x}-{device}" if device else gpu.uuid).encode()
        return 0

    def _tell(self, number: Any, value: int | None) -> int:
        if value is None:
            return NOT_SUPPORTED
        number._obj.value = value
        return 0

    def nvmlDeviceGetPersistenceMode(self, handle: Any, number: Any) -> int:
        return self._tell(number, self._gpu(handle).persistence)

    def nvmlDeviceGetTotalEccErrors(self, handle: Any, kind: Any, _counter: Any, number: Any) -> int:
        gpu = self._gpu(handle)
        return self._tell(number, gpu.ecc if kind.value or gpu.ecc is None else gpu.corrected)

    def nvmlDeviceGetRemappedRows(
        self, handle: Any, corrected: Any, uncorrected: Any, pending: Any, failed: Any
    ) -> int:
        rows = self._gpu(handle).rows
        if rows is None:
            return NOT_SUPPORTED
        corrected._obj.value = uncorrected._obj.value = 0
        pending._obj.value, failed._obj.value = rows
        return 0

    def nvmlDeviceGetRetiredPagesPendingStatus(self, handle: Any, number: Any) -> int:
        return self._tell(number, 0)

    def nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> int:
        mode = self._gpu(handle).mig_mode
        return self._tell(current, mode) or self._tell(pending, mode)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any, number: Any) -> int:
        return self._tell(number, 7)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: Any, device: Any) -> int:
        if index.value >= len(self._gpu(handle).mig):
            return NOT_FOUND
        device._obj.value = handle.value + 1000 * (index.value + 1)
        return 0

    def nvmlDeviceGetGpuFabricInfo(self, handle: Any, info: Any) -> int:
        gpu = self._gpu(handle)
        info._obj.state, info._obj.status = gpu.fabric, gpu.fabric_status
        return 0

    def nvmlDeviceGetPowerManagementLimit(self, handle: Any, number: Any) -> int:
        return self._tell(number, self._gpu(handle).limit)

    def nvmlDeviceSetPowerManagementLimit(self, handle: Any, number: Any) -> int:
        self._gpu(handle).limit = number.value
        self.calls.append(f"limit {number.value}")
        return 0

    def nvmlDeviceSetGpuLockedClocks(self, handle: Any, low: Any, high: Any) -> int:
        self._gpu(handle).clocks = (low.value, high.value)
        return 0

    def nvmlDeviceSetMigMode(self, handle: Any, mode: Any, now: Any) -> int:
        gpu = self._gpu(handle)
        self.calls.append(f"mig {mode.value}")
        now._obj.value = (
            21 if gpu.needs_reset else 0
        )  # NVML_ERROR_RESET_REQUIRED and its like: it comes with the next reset
        if not gpu.needs_reset:
            gpu.mig_mode = mode.value
        return 0

    def nvmlDeviceGetTemperature(self, handle: Any, _sensor: Any, number: Any) -> int:
        return self._tell(number, 41)

    def nvmlDeviceGetPowerUsage(self, handle: Any, number: Any) -> int:
        return self._tell(number, 123_400)

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.total, memory._obj.used = 85_520_809_984, 1_073_741_824
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: Any, busy: Any) -> int:
        if self._gpu(handle).mig_mode:
            return NOT_SUPPORTED
        busy._obj.gpu, busy._obj.memory = 37, 12
        return 0


class Programs:
    """journalctl, systemctl, nvidia-smi and the kernel that is computed: each answers what is laid down for its first words."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.ran: list[str] = []
        self.computed: list[str] = []
        self.wrong: dict[str, str] = {}
        self.on: Callable[[str], None] = lambda line: None

    def __call__(
        self, argv: Sequence[str], seconds: float = 60, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        assert seconds <= 120
        line = " ".join(argv)
        if argv[-1] == "compute":
            uuid = (environment or {})["CUDA_VISIBLE_DEVICES"]
            self.computed.append(uuid)
            reason = self.wrong.get(uuid, "")
            return (1, reason) if reason else (0, "every sum is right")
        self.ran.append(line)
        self.on(line)
        return next((answer for begin, answer in self.answers.items() if line.startswith(begin)), (0, ""))


def sysfs(root: Path, gpus: Sequence[int], *, switches: int = 0, module: str = VERSION, uvm: bool = True) -> None:
    """PCI with a network card and so many GPUs and NVSwitches, and the modules that are loaded."""
    devices = root / "sys/bus/pci/devices"
    there = [("0000:00:05.0", "0x1d0f", "0x020000")]
    there += [(f"0000:{bus:02x}:00.0", "0x10de", "0x030200") for bus in gpus]
    there += [(f"0000:c{number}:00.0", "0x10de", "0x068000") for number in range(switches)]
    for address, vendor, kind in there:
        (devices / address).mkdir(parents=True)
        (devices / address / "vendor").write_text(vendor + "\n")
        (devices / address / "class").write_text(kind + "\n")
    if module:
        (root / "sys/module/nvidia").mkdir(parents=True)
        (root / "sys/module/nvidia/version").write_text(module + "\n")
    if uvm:
        (root / "sys/module/nvidia_uvm").mkdir(parents=True)
        (root / "dev").mkdir(exist_ok=True)
        (root / "dev/nvidia-uvm").write_text("")
