# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at this host: PCI and modules in sysfs, NVML, the kernel's log, systemd, and a kernel on every GPU.

The root of the file system, the programs and NVML's library are passed in.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gpu_host import nvml
from gpu_host.facts import Gpu, Seen, Xid

SECONDS = 60  # for one program
_NVIDIA, _MELLANOX = "0x10de", "0x15b3"
_DISPLAY, _BRIDGE = "0x03", "0x0680"
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?(?P<bus>[0-9a-fA-F:.]+)\): (?P<number>\d+)(?:, (?P<said>.*))?")

Run = Callable[..., "tuple[int, str]"]  # argv, seconds, environment -> status, what it said


def run(argv: Sequence[str], seconds: float = SECONDS, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The status of a program and all that it said; 124 after its time, 127 when it is not there."""
    try:
        done = subprocess.run(
            [*argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"{argv[0]} was not done in {seconds:g} s"
    except OSError as error:
        return 127, f"{argv[0]} cannot be run: {error.strerror}"
    return done.returncode, done.stdout.decode(errors="replace").strip()


class Host:
    """This host, or one that a test made."""

    def __init__(self, root: Path, run: Run, library: Callable[[], Any], compute: Sequence[str]) -> None:
        """`compute`: the program that runs a kernel on the one GPU that CUDA_VISIBLE_DEVICES names."""
        self.root, self.run, self.library = root, run, library
        self._compute = compute

    def text(self, path: str) -> str:
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def pci(self, vendor: str, kind: str = "") -> tuple[str, ...]:
        """Addresses of a vendor's devices whose class begins so."""
        try:
            devices = sorted((self.root / "sys/bus/pci/devices").iterdir())
        except OSError:
            return ()
        return tuple(
            device.name
            for device in devices
            if self.text(f"sys/bus/pci/devices/{device.name}/vendor") == vendor
            and self.text(f"sys/bus/pci/devices/{device.name}/class").startswith(kind)
        )

    def gpus(self) -> tuple[str, ...]:
        return self.pci(_NVIDIA, _DISPLAY)

    def switches(self) -> int:
        """NVLink switches: bridges of NVIDIA's on PCI, or the adapters of Mellanox that Blackwell's are behind. As has-nvidia.sh has it."""
        behind = [one for one in self.pci(_MELLANOX) if "SMDL=SW_MNG" in self.text(f"sys/bus/pci/devices/{one}/vpd")]
        return len(self.pci(_NVIDIA, _BRIDGE)) + len(behind)

    def look(self, *, compute: bool) -> Seen:
        """All that can be seen; with a kernel on every GPU if `compute`."""
        pci = self.gpus()
        if not pci:
            return Seen(xids=self.xids())
        module = self.text("sys/module/nvidia/version")
        broken, version, found = "", "", ()  # type: str, str, tuple[Gpu, ...]
        try:
            with nvml.session(self.library) as session:
                version = session.driver_version()
                found = tuple(session.gpu(index) for index in range(session.count()))
        except nvml.NvmlError as error:
            broken = str(error)
        switches = self.switches()
        return Seen(
            pci=pci,
            switches=switches,
            module_version=module,
            uvm=(self.root / "sys/module/nvidia_uvm").is_dir() and (self.root / "dev/nvidia-uvm").exists(),
            nvml=broken,
            driver_version=version,
            gpus=found,
            fabric_manager=self._unit("nvidia-fabricmanager.service") if switches else "",
            xids=self.xids(),
            computed=self.computed(found) if compute and not broken else None,
        )

    def xids(self) -> tuple[Xid, ...]:
        """Xids in the kernel's log since the host booted, each once."""
        dummy, said = self.run(["journalctl", "--dmesg", "--output=cat", "--no-pager", "--quiet", "--grep=NVRM: Xid"])
        found = {
            (int(one["number"]), one["bus"]): Xid(
                int(one["number"]), nvml.sysfs_address(one["bus"]), (one["said"] or "")[:200]
            )
            for one in _XID.finditer(said)
        }
        return tuple(found.values())

    def _unit(self, name: str) -> str:
        dummy, said = self.run(["systemctl", "show", "--property=LoadState,ActiveState", name])
        state = dict(line.partition("=")[::2] for line in said.splitlines())
        return "" if state.get("LoadState") == "not-found" else state.get("ActiveState", "")

    def computed(self, gpus: Sequence[Gpu]) -> dict[str, str]:
        """UUID of each GPU, or of each of its MIG devices -> why no kernel ran as it should. Each in a process of its own: one that hangs
        or crashes says nothing of the others."""
        uuids = [
            uuid
            for gpu in gpus
            if not gpu.lost
            for uuid in ([device.uuid for device in gpu.mig] if gpu.mig_on else [gpu.uuid])
        ]
        with ThreadPoolExecutor(max_workers=max(1, min(16, len(uuids)))) as pool:
            return dict(zip(uuids, pool.map(self._one, uuids), strict=True))

    def _one(self, uuid: str) -> str:
        status, said = self.run([*self._compute, "compute"], SECONDS, {"CUDA_VISIBLE_DEVICES": uuid})
        if status == 0:
            return ""
        last = said.splitlines()[-1] if said else ""
        return last or f"the program ended with {status}"
