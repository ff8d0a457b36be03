# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring what a class of machines declares onto this host's GPUs, once at boot: nvidia-uvm, MIG, the power limit, clocks.

Nothing is touched that is as it is declared. What fails is said and left to the check that follows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from gpu_host import nvml
from gpu_host.facts import Declared, Gpu
from gpu_host.host import Host

_RESET_SECONDS = 120


def prepare(host: Host, declared: Declared) -> Iterator[str]:
    """Says what it did, or could not do: a line each."""
    # Services are sandboxed and cannot load it by themselves.
    if not (host.root / "sys/module/nvidia_uvm").is_dir():
        yield from _program(host, ["modprobe", "nvidia-uvm"], "nvidia-uvm is loaded")
    if not (host.root / "dev/nvidia-uvm").exists():
        yield from _program(host, ["nvidia-modprobe", "-u", "-c", "0"], "nvidia-uvm has its device node")
    try:
        if declared.mig is not None:
            yield from _mig(host, declared.mig)
        if declared.power_limit or declared.clocks:
            with nvml.session(host.library) as session:
                yield from _limits(session, declared)
    except nvml.NvmlError as error:
        yield f"the GPUs could not be set as declared: {error}"


def _program(host: Host, argv: list[str], well: str, seconds: float = 60) -> Iterator[str]:
    status, said = host.run(argv, seconds)
    yield well if status == 0 else f"{' '.join(argv)} failed: {said.splitlines()[-1] if said else status}"


def _mig(host: Host, wanted: tuple[str, ...]) -> Iterator[str]:
    """MIG on or off first, for which a GPU may need a reset that nobody may be using it for; then its devices."""
    with nvml.session(host.library) as session:
        gpus = [session.gpu(index) for index in range(session.count())]
        waiting = []
        for gpu in gpus:
            if gpu.lost or gpu.mig_on is None or gpu.mig_on == bool(wanted):
                continue
            now = ctypes.c_int()
            session.call(
                "nvmlDeviceSetMigMode", session.handle(gpu.index), ctypes.c_uint(bool(wanted)), ctypes.byref(now)
            )
            yield f"MIG is {'on' if wanted else 'off'} on GPU {gpu.index}{' after a reset' if now.value else ''}"
            if now.value:
                waiting.append(gpu)
    if waiting:
        yield from _reset(host, waiting)
    if not wanted:
        return
    for gpu in gpus:
        there = sorted(device.profile for device in gpu.mig)
        if gpu.lost or gpu.mig_on is None or (gpu.mig_on and there == sorted(wanted)):
            continue
        number = str(gpu.index)
        if there:
            yield from _program(
                host, ["nvidia-smi", "mig", "-i", number, "-dci"], f"GPU {number} gave up its compute instances"
            )
            yield from _program(
                host, ["nvidia-smi", "mig", "-i", number, "-dgi"], f"GPU {number} gave up its GPU instances"
            )
        make = ["nvidia-smi", "mig", "-i", number, "-cgi", ",".join(wanted), "-C"]
        yield from _program(host, make, f"GPU {number} is divided into {', '.join(wanted)}")


def _reset(host: Host, gpus: list[Gpu]) -> Iterator[str]:
    """Nothing may hold a GPU that is reset: the daemon of persistence does."""
    daemon = "nvidia-persistenced.service"
    host.run(["systemctl", "stop", daemon])
    for gpu in gpus:
        yield from _program(
            host, ["nvidia-smi", "--gpu-reset", "-i", str(gpu.index)], f"GPU {gpu.index} is reset", _RESET_SECONDS
        )
    host.run(["systemctl", "start", daemon])


def _limits(session: nvml.Nvml, declared: Declared) -> Iterator[str]:
    for index, handle in session.handles():
        watts = session.number("nvmlDeviceGetPowerManagementLimit", handle)
        if declared.power_limit and watts is not None and round(watts / 1000) != declared.power_limit:
            session.call("nvmlDeviceSetPowerManagementLimit", handle, ctypes.c_uint(declared.power_limit * 1000))
            yield f"GPU {index} is limited to {declared.power_limit} W"
        if declared.clocks:  # NVML does not tell which are set, and setting them again changes nothing
            low, high = declared.clocks
            session.call("nvmlDeviceSetGpuLockedClocks", handle, ctypes.c_uint(low), ctypes.c_uint(high))
            yield f"GPU {index} runs at {low} to {high} MHz"
