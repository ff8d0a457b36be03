# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared of a host's GPUs, and what was seen of them. Plain values, as they go to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Declared:
    """What the image (its lock) and the class of machines say. `gpus`: at least so many, 0 for as many as PCI shows."""

    module_version: str = ""
    gpus: int = 0
    mig: tuple[str, ...] | None = None  # profiles on each GPU, as 3g.20gb; () for MIG off; None for as it is
    power_limit: int = 0  # watts; 0 for the GPU's own
    clocks: tuple[int, int] | None = None  # MHz, the lowest and the highest


@dataclass(frozen=True)
class Mig:
    """One MIG device of a GPU."""

    profile: str
    uuid: str


@dataclass(frozen=True)
class Gpu:
    """One GPU, as NVML tells. None where the GPU does not have it. `lost` is NVML's reason when the GPU does not answer."""

    index: int
    bus_id: str = ""
    uuid: str = ""
    name: str = ""
    lost: str = ""
    persistence: bool | None = None
    ecc_errors: int | None = None  # uncorrected, since the driver was loaded
    rows_pending: bool | None = None
    rows_failed: bool | None = None
    mig_on: bool | None = None
    mig: tuple[Mig, ...] = ()
    fabric: str = ""  # "", not started, in progress, completed
    fabric_status: str = ""  # why a completed registration failed
    power_limit: int | None = None  # watts


@dataclass(frozen=True)
class Xid:
    """A fault that NVIDIA's module wrote into the kernel's log."""

    number: int
    bus_id: str
    said: str


@dataclass(frozen=True)
class Seen:
    """One look at a host."""

    pci: tuple[str, ...] = ()  # addresses of its GPUs
    switches: int = 0  # NVSwitches on PCI
    module_version: str = ""  # of the module that is loaded; "" when none is
    uvm: bool = False
    nvml: str = ""  # why NVML cannot be used; "" when it can
    driver_version: str = ""  # of the libraries
    gpus: tuple[Gpu, ...] = ()
    fabric_manager: str = ""  # systemd's word for it; "" where the host has no such unit
    xids: tuple[Xid, ...] = ()
    computed: Mapping[str, str] | None = field(
        default=None, hash=False
    )  # UUID -> why no kernel ran as it should; None: not tried


@dataclass(frozen=True)
class Problem:
    """Which check failed, and one sentence: the thing, the reason, the way out."""

    check: str
    sentence: str


def declared(image: Mapping[str, Any], host: Mapping[str, Any]) -> Declared:
    """From what the image holds (/usr/share/boring.fleet/gpu.json) and what the host got at boot (/etc/fleet/gpu.json)."""
    mig = host.get("mig")
    clocks = host.get("clocks") or None
    return Declared(
        module_version=str(image.get("module_version", "")),
        gpus=int(host.get("gpus", 0)),
        mig=None if mig is None else tuple(str(profile) for profile in mig),
        power_limit=int(host.get("power_limit", 0)),
        clocks=(int(clocks[0]), int(clocks[1])) if clocks else None,
    )
