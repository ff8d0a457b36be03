# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host's GPUs. Pure: a look at the host in, sentences out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from gpu_host.facts import Declared, Gpu, Problem, Seen, Xid

# Faults of the program that used the GPU, which is well afterwards (NVIDIA's "XID Errors", and what NVIDIA's device plugin for Kubernetes
# leaves out). 63 and 94 are left to the rows that are then waiting for a reset.
OF_PROGRAMS = frozenset({13, 31, 43, 45, 63, 68, 94, 109})
XID_WORDS = {
    48: "an uncorrectable memory error",
    62: "its micro-controller halted",
    64: "a row of its memory could not be remapped",
    74: "an NVLink error",
    79: "it fell off the bus",
    95: "a memory error that was not contained",
    119: "its firmware (GSP) does not answer",
    120: "its firmware (GSP) failed",
    140: "an unrecovered memory error",
}
REPLACE = "replace the host"


def problems(seen: Seen, declared: Declared, most: int = 0) -> list[Problem]:
    """Everything that is wrong, the cause before what follows from it. `most`: GPUs that this host had at one time since it booted."""
    wanted = max(declared.gpus, most, len(seen.pci))
    if not wanted:
        return []
    found = list(_pci(seen, declared, most))
    if found and not seen.pci:
        return found
    found += _driver(seen, declared)
    if seen.nvml:
        return [
            *found,
            *_xids(seen.xids),
            Problem("nvml", f"the driver does not answer: {seen.nvml}; look at journalctl -k, else {REPLACE}"),
        ]
    found += _counts(seen)
    found += _xids(seen.xids)
    for gpu in seen.gpus:
        found += _gpu(gpu, declared)
    found += _fabric(seen)
    found += _computed(seen)
    return found


def serious(seen: Seen) -> list[Xid]:
    """Xids that a healthy GPU does not have."""
    return [xid for xid in seen.xids if xid.number not in OF_PROGRAMS]


def _pci(seen: Seen, declared: Declared, most: int) -> Iterator[Problem]:
    there = len(seen.pci)
    if there < declared.gpus:
        yield Problem("pci", f"PCI shows {there} GPUs, and this class of machines has {declared.gpus}: {REPLACE}")
    elif there < most:
        yield Problem(
            "pci", f"PCI shows {there} GPUs, and showed {most} since the host booted: one fell off the bus; {REPLACE}"
        )


def _driver(seen: Seen, declared: Declared) -> Iterator[Problem]:
    if not seen.module_version:
        yield Problem(
            "module",
            "NVIDIA's module is not loaded: look at journalctl -k, and at whether the image has it for its kernel",
        )
    elif declared.module_version and seen.module_version != declared.module_version:
        yield Problem(
            "module",
            f"the module is version {seen.module_version}, and the image's lock says {declared.module_version}: "
            "build the image anew, nothing may update a driver on a host",
        )
    if seen.driver_version and seen.module_version and seen.driver_version != seen.module_version:
        yield Problem(
            "libraries",
            f"the driver's libraries are version {seen.driver_version} and its module is {seen.module_version}: build the image anew",
        )
    if not seen.uvm:
        yield Problem(
            "uvm",
            "nvidia-uvm is not there, without which CUDA cannot start: look at modprobe nvidia-uvm and nvidia-modprobe -u",
        )


def _counts(seen: Seen) -> Iterator[Problem]:
    if len(seen.gpus) < len(seen.pci):
        known = {gpu.bus_id for gpu in seen.gpus}
        missing = [address for address in seen.pci if address not in known]
        yield Problem(
            "count",
            f"the driver knows {len(seen.gpus)} of {len(seen.pci)} GPUs{_without(missing, len(seen.pci) - len(seen.gpus))}: {REPLACE}",
        )


def _without(missing: Sequence[str], count: int) -> str:
    """Which are missing, where that is clear: one that does not answer may have no address, and would look as if it were missing too."""
    return f", not {', '.join(missing)}" if len(missing) == count else ""


def _gpu(gpu: Gpu, declared: Declared) -> Iterator[Problem]:
    name = f"GPU {gpu.index}" + (f" ({gpu.bus_id})" if gpu.bus_id else "")
    if gpu.lost:
        yield Problem("lost", f"{name} does not answer: {gpu.lost}; {REPLACE}")
        return
    if gpu.persistence is False:
        yield Problem("persistence", f"persistence is off on {name}: look at systemctl status nvidia-persistenced")
    if gpu.ecc_errors:
        yield Problem("ecc", f"{name} had {gpu.ecc_errors} uncorrected memory errors: {REPLACE}")
    if gpu.rows_failed:
        yield Problem("rows", f"{name} could not remap a broken row of its memory: {REPLACE}")
    elif gpu.rows_pending:
        yield Problem("rows", f"{name} has rows of memory that it remaps at its next reset: {REPLACE}")
    yield from _mig(gpu, declared, name)
    if declared.power_limit and gpu.power_limit is not None and gpu.power_limit != declared.power_limit:
        yield Problem(
            "power",
            f"{name} is limited to {gpu.power_limit} W, and its class says {declared.power_limit}: give a limit that it allows",
        )


def _mig(gpu: Gpu, declared: Declared, name: str) -> Iterator[Problem]:
    if declared.mig is None:
        return
    there = [device.profile for device in gpu.mig]
    if declared.mig and not gpu.mig_on:
        yield Problem(
            "mig",
            f"MIG is off on {name}, and its class has {', '.join(declared.mig)}: a GPU without MIG needs another class",
        )
    elif not declared.mig and gpu.mig_on:
        yield Problem("mig", f"MIG is on on {name}, and its class has none: reset the GPU, or declare mig")
    elif Counter(there) != Counter(declared.mig):
        yield Problem(
            "mig",
            f"{name} has the MIG devices {', '.join(there) or 'none'}, and its class has {', '.join(declared.mig)}: declare what fits it",
        )


def _fabric(seen: Seen) -> Iterator[Problem]:
    if seen.switches and seen.fabric_manager != "active":
        state = seen.fabric_manager or "not installed"
        yield Problem(
            "fabric",
            f"the host has NVLink switches and its fabric manager is {state}: lock nvidia-fabricmanager with the driver, or look at its journal",
        )
    if len(seen.gpus) < 2:
        return
    for gpu in seen.gpus:
        if gpu.fabric in ("not started", "in progress"):
            yield Problem(
                "fabric",
                f"GPU {gpu.index} has not joined the NVLink fabric ({gpu.fabric}): look at nvidia-fabricmanager's journal",
            )
        elif gpu.fabric_status:
            yield Problem("fabric", f"GPU {gpu.index} could not join the NVLink fabric: {gpu.fabric_status}; {REPLACE}")


def _xids(xids: Sequence[Xid]) -> Iterator[Problem]:
    for xid in dict.fromkeys((xid.number, xid.bus_id) for xid in serious(Seen(xids=tuple(xids)))):
        number, bus_id = xid
        words = XID_WORDS.get(number, "see NVIDIA's list of Xid errors")
        yield Problem("xid", f"the GPU {bus_id} had Xid {number} since the host booted, {words}: {REPLACE}")


def _computed(seen: Seen) -> Iterator[Problem]:
    for uuid, reason in (seen.computed or {}).items():
        if reason:
            yield Problem("cuda", f"no kernel ran as it should on {uuid}: {reason}; {REPLACE}")
