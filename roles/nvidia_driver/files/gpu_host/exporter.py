# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of GPUs for Prometheus, by NVML: for hosts without NVIDIA's DCGM. GET /metrics, in the text format 0.0.4."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from gpu_host import nvml, state

_TEMPERATURE_OF_GPU = 0
SECONDS = 10  # for one request

# Name -> kind and what it means
METRICS = {
    "gpu_ready": ("gauge", "Whether the last check of all GPUs of this host found nothing (1) or something (0)."),
    "gpu_devices": ("gauge", "GPUs that answer."),
    "gpu_temperature_celsius": ("gauge", "Temperature of the GPU."),
    "gpu_power_watts": ("gauge", "Power that the GPU draws."),
    "gpu_power_limit_watts": ("gauge", "Power that the GPU may draw."),
    "gpu_memory_total_bytes": ("gauge", "Memory of the GPU."),
    "gpu_memory_used_bytes": ("gauge", "Memory in use."),
    "gpu_utilization_ratio": ("gauge", "Part of the time in which a kernel ran; none under MIG."),
    "gpu_memory_utilization_ratio": ("gauge", "Part of the time in which memory was read or written; none under MIG."),
    "gpu_ecc_errors_total": ("counter", "Memory errors since the driver was loaded, corrected or not."),
    "gpu_rows_pending": ("gauge", "Whether rows of memory wait for a reset to be remapped."),
    "gpu_rows_failed": ("gauge", "Whether a row of memory could not be remapped."),
    "gpu_xid_errors": ("gauge", "Kinds of faults (Xid) in the kernel's log since the host booted."),
}

Sample = tuple[str, dict[str, str], float]


def text(library: Callable[[], Any], path: Path) -> str:
    """One scrape. Never fails: a driver that does not answer has no devices."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for name, labels, value in samples(library, path):
        found.setdefault(name, []).append((labels, value))
    lines = []
    for name, (kind, meaning) in METRICS.items():
        if name in found:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [
                f"{name}{_labels(labels)} {value:g}" if value < 1e6 else f"{name}{_labels(labels)} {int(value)}"
                for labels, value in found[name]
            ]
    return "\n".join(lines) + "\n"


def _labels(labels: dict[str, str]) -> str:
    escaped = {
        name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for name, value in labels.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}" if labels else ""


def samples(library: Callable[[], Any], path: Path) -> Iterator[Sample]:
    document = state.read(path)
    if document:
        yield "gpu_ready", {}, float(bool(document.get("ready")))
        for xid in document.get("xids", []):
            yield "gpu_xid_errors", {"pci": str(xid["bus_id"]), "xid": str(xid["number"])}, 1.0
    devices = 0
    try:
        with nvml.session(library) as session:
            for index, handle in session.handles():
                try:
                    yield from _gpu(session, index, handle)
                except nvml.NvmlError:
                    continue
                devices += 1
    except nvml.NvmlError:
        devices = 0
    yield "gpu_devices", {}, float(devices)


def _gpu(session: nvml.Nvml, index: int, handle: ctypes.c_void_p) -> Iterator[Sample]:
    labels = {
        "gpu": str(index),
        "uuid": session.text("nvmlDeviceGetUUID", handle),
        "name": session.text("nvmlDeviceGetName", handle),
    }
    for name, call, arguments, unit in (
        ("gpu_temperature_celsius", "nvmlDeviceGetTemperature", (ctypes.c_int(_TEMPERATURE_OF_GPU),), 1),
        ("gpu_power_watts", "nvmlDeviceGetPowerUsage", (), 1000),
        ("gpu_power_limit_watts", "nvmlDeviceGetPowerManagementLimit", (), 1000),
    ):
        value = session.number(call, handle, *arguments)
        if value is not None:
            yield name, labels, value / unit
    memory = nvml.Memory()
    if session.maybe("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory)):
        yield "gpu_memory_total_bytes", labels, float(memory.total)
        yield "gpu_memory_used_bytes", labels, float(memory.used)
    busy = nvml.Utilization()
    if session.maybe("nvmlDeviceGetUtilizationRates", handle, ctypes.byref(busy)):
        yield "gpu_utilization_ratio", labels, busy.gpu / 100
        yield "gpu_memory_utilization_ratio", labels, busy.memory / 100
    for word, kind in (("corrected", nvml.CORRECTED), ("uncorrected", nvml.UNCORRECTED)):
        errors = session.ecc_errors(handle, kind)
        if errors is not None:
            yield "gpu_ecc_errors_total", {**labels, "kind": word}, float(errors)
    for name, whether in zip(("gpu_rows_pending", "gpu_rows_failed"), session.rows(handle), strict=True):
        if whether is not None:
            yield name, labels, float(whether)


def server(address: str, port: int, library: Callable[[], Any], path: Path) -> HTTPServer:
    """One request at a time, each with a deadline: NVML is not asked by many at once."""

    class Handler(BaseHTTPRequestHandler):
        timeout = SECONDS

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, "metrics are at /metrics")
                return
            body = text(library, path).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: a scrape is no news."""

    return HTTPServer((address, port), Handler)


def serve(address: str, port: int, library: Callable[[], Any], path: Path) -> int:
    try:
        server(address, port, library, path).serve_forever()
    except OSError as error:
        print(f"{address}:{port} cannot be listened on: {error.strerror}", flush=True)
        return 1
    return 0
