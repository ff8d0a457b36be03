# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's management library (libnvidia-ml, NVML API reference) through ctypes: what it tells of each GPU, and what it sets."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gpu_host.facts import Gpu, Mig

LIBRARY = "libnvidia-ml.so.1"
NOT_SUPPORTED, NOT_FOUND, FUNCTION_NOT_FOUND = 3, 6, 13
_FABRIC = {1: "not started", 2: "in progress", 3: "completed"}
CORRECTED, UNCORRECTED, _VOLATILE = 0, 1, 0


class NvmlError(Exception):
    """A call that failed: which, and NVML's own words."""

    def __init__(self, call: str, code: int, words: str) -> None:
        super().__init__(f"{call}: {words}")
        self.code = code


class PciInfo(ctypes.Structure):
    """nvmlPciInfo_t."""

    _fields_ = [
        ("busIdLegacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("pciDeviceId", ctypes.c_uint),
        ("pciSubSystemId", ctypes.c_uint),
        ("busId", ctypes.c_char * 32),
    ]


class FabricInfo(ctypes.Structure):
    """nvmlGpuFabricInfo_t."""

    _fields_ = [
        ("clusterUuid", ctypes.c_ubyte * 16),
        ("status", ctypes.c_int),
        ("cliqueId", ctypes.c_uint),
        ("state", ctypes.c_ubyte),
    ]


class Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Utilization(ctypes.Structure):
    """nvmlUtilization_t, in percent."""

    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


def load() -> Any:
    """The library of this host. Raises OSError."""
    return ctypes.CDLL(LIBRARY)


class Nvml:
    """The library, between nvmlInit and nvmlShutdown; every answer is looked at."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def call(self, name: str, *arguments: Any) -> None:
        """Raises NvmlError."""
        try:
            code = getattr(self._library, name)(*arguments)
        except AttributeError:
            raise NvmlError(name, FUNCTION_NOT_FOUND, "this driver does not have it") from None
        if code:
            raise NvmlError(name, code, self._words(code))

    def maybe(self, name: str, *arguments: Any) -> bool:
        """Whether the GPU has what is asked for. Raises NvmlError for every other failure."""
        try:
            self.call(name, *arguments)
        except NvmlError as error:
            if error.code in (NOT_SUPPORTED, FUNCTION_NOT_FOUND):
                return False
            raise
        return True

    def _words(self, code: int) -> str:
        try:
            words = self._library.nvmlErrorString
            if isinstance(self._library, ctypes.CDLL):
                words.restype = ctypes.c_char_p
            return str((words(code) or b"").decode(errors="replace")) or f"error {code}"
        except AttributeError:
            return f"error {code}"

    # --- The host ----------------------------------------------------------------------------------------------------

    def driver_version(self) -> str:
        return self.text("nvmlSystemGetDriverVersion")

    def count(self) -> int:
        number = ctypes.c_uint()
        self.call("nvmlDeviceGetCount_v2", ctypes.byref(number))
        return number.value

    def handle(self, index: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def handles(self) -> Iterator[tuple[int, ctypes.c_void_p]]:
        """The GPUs that answer."""
        for index in range(self.count()):
            try:
                yield index, self.handle(index)
            except NvmlError:
                continue

    # --- One GPU -----------------------------------------------------------------------------------------------------

    def text(self, name: str, *handle: ctypes.c_void_p) -> str:
        said = ctypes.create_string_buffer(96)
        self.call(name, *handle, said, ctypes.c_uint(96))
        return said.value.decode(errors="replace")

    def number(self, name: str, handle: ctypes.c_void_p, *arguments: Any) -> int | None:
        """None where the GPU does not have it."""
        found = ctypes.c_uint()
        return found.value if self.maybe(name, handle, *arguments, ctypes.byref(found)) else None

    def bus_id(self, handle: ctypes.c_void_p) -> str:
        """As sysfs has it: 0000:17:00.0."""
        pci = PciInfo()
        self.call("nvmlDeviceGetPciInfo_v3", handle, ctypes.byref(pci))
        return sysfs_address(pci.busId.decode())

    def ecc_errors(self, handle: ctypes.c_void_p, kind: int = UNCORRECTED) -> int | None:
        """Since the driver was loaded."""
        errors = ctypes.c_ulonglong()
        given = (ctypes.c_int(kind), ctypes.c_int(_VOLATILE), ctypes.byref(errors))
        return errors.value if self.maybe("nvmlDeviceGetTotalEccErrors", handle, *given) else None

    def rows(self, handle: ctypes.c_void_p) -> tuple[bool | None, bool | None]:
        """Whether rows wait for a reset to be remapped, and whether a remapping failed. Older GPUs retire pages instead."""
        corrected, uncorrected, pending, failed = (ctypes.c_uint() for dummy in range(4))
        four = [ctypes.byref(one) for one in (corrected, uncorrected, pending, failed)]
        if self.maybe("nvmlDeviceGetRemappedRows", handle, *four):
            return bool(pending.value), bool(failed.value)
        pages = self.number("nvmlDeviceGetRetiredPagesPendingStatus", handle)
        return (None if pages is None else bool(pages)), None

    def mig(self, handle: ctypes.c_void_p) -> tuple[bool | None, tuple[Mig, ...]]:
        """Whether MIG is on (None where there is none), and its devices."""
        current, pending = ctypes.c_uint(), ctypes.c_uint()
        if not self.maybe("nvmlDeviceGetMigMode", handle, ctypes.byref(current), ctypes.byref(pending)):
            return None, ()
        devices = []
        for index in range(self.number("nvmlDeviceGetMaxMigDeviceCount", handle) or 0) if current.value else ():
            device = ctypes.c_void_p()
            try:
                self.call("nvmlDeviceGetMigDeviceHandleByIndex", handle, ctypes.c_uint(index), ctypes.byref(device))
            except NvmlError as error:
                if error.code in (NOT_FOUND, NOT_SUPPORTED):
                    continue
                raise
            name = self.text("nvmlDeviceGetName", device)  # of a MIG device it ends with its profile
            devices.append(Mig(name.rpartition(" ")[2], self.text("nvmlDeviceGetUUID", device)))
        return bool(current.value), tuple(devices)

    def fabric(self, handle: ctypes.c_void_p) -> tuple[str, str]:
        """How far the GPU is with joining the NVLink fabric, and why it failed."""
        info = FabricInfo()
        if not self.maybe("nvmlDeviceGetGpuFabricInfo", handle, ctypes.byref(info)):
            return "", ""
        state = _FABRIC.get(info.state, "")
        return state, self._words(info.status) if state == "completed" and info.status else ""

    def gpu(self, index: int) -> Gpu:
        """All of one GPU. What NVML refuses because the GPU is gone is its `lost`."""
        bus_id = ""
        try:
            handle = self.handle(index)
            bus_id = self.bus_id(handle)
            persistence = self.number("nvmlDeviceGetPersistenceMode", handle)
            pending, failed = self.rows(handle)
            mig_on, mig = self.mig(handle)
            fabric, status = self.fabric(handle)
            watts = self.number("nvmlDeviceGetPowerManagementLimit", handle)
            return Gpu(
                index=index,
                bus_id=bus_id,
                uuid=self.text("nvmlDeviceGetUUID", handle),
                name=self.text("nvmlDeviceGetName", handle),
                persistence=None if persistence is None else bool(persistence),
                ecc_errors=self.ecc_errors(handle),
                rows_pending=pending,
                rows_failed=failed,
                mig_on=mig_on,
                mig=mig,
                fabric=fabric,
                fabric_status=status,
                power_limit=None if watts is None else round(watts / 1000),
            )
        except NvmlError as error:
            return Gpu(index=index, bus_id=bus_id, lost=str(error))


def sysfs_address(bus_id: str) -> str:
    """NVML writes 00000000:17:00.0 and the kernel's log 0000:17:00; sysfs has 0000:17:00.0."""
    domain, colon, rest = bus_id.lower().partition(":")
    if not colon or ":" not in rest:
        return bus_id.lower()
    return f"{domain[-4:].rjust(4, '0')}:{rest}" + ("" if "." in rest else ".0")


@contextmanager
def session(loader: Callable[[], Any]) -> Iterator[Nvml]:
    """NVML, initialised. Raises NvmlError, also for a library that is not there."""
    try:
        nvml = Nvml(loader())
    except OSError as error:
        raise NvmlError(LIBRARY, FUNCTION_NOT_FOUND, f"it cannot be loaded: {error}") from None
    nvml.call("nvmlInit_v2")
    try:
        yield nvml
    finally:
        nvml.maybe("nvmlShutdown")
