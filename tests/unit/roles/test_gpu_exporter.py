# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of GPUs, over HTTP and as Prometheus' own parser reads them."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpu_host import exporter
from tests.fakes.gpus import Gpu, Nvml


def values(text: str) -> dict[tuple[str, str, str], float]:
    """(name, GPU, what else) -> value."""
    return {
        (
            sample.name,
            sample.labels.get("gpu", ""),
            sample.labels.get("kind", sample.labels.get("xid", "")),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"ready": False, "xids": [{"number": 79, "bus_id": "0000:11:00.0", "said": ""}]}))
    return path


def test_every_metric_of_two_gpus(state: Path) -> None:
    library = Nvml([Gpu(0x10), Gpu(0x11, name='A "GPU"', mig_mode=1, ecc=3)])
    found = values(exporter.text(lambda: library, state))
    assert {name for name, *_ in found} == set(exporter.METRICS)
    assert found["gpu_ready", "", ""] == 0
    assert found["gpu_devices", "", ""] == 2
    assert found["gpu_xid_errors", "", "79"] == 1
    assert found["gpu_temperature_celsius", "0", ""] == 41
    assert found["gpu_power_watts", "0", ""] == 123.4
    assert found["gpu_memory_total_bytes", "0", ""] == 85_520_809_984, "to the byte"
    assert found["gpu_utilization_ratio", "0", ""] == 0.37
    assert ("gpu_utilization_ratio", "1", "") not in found, "NVML does not tell it under MIG"
    assert (found["gpu_ecc_errors_total", "1", "uncorrected"], found["gpu_ecc_errors_total", "1", "corrected"]) == (
        3,
        7,
    )


def test_a_lost_gpu_and_a_broken_driver(tmp_path: Path) -> None:
    library = Nvml([Gpu(0x10), Gpu(0x11, lost=True)])
    found = values(exporter.text(lambda: library, tmp_path / "absent"))
    assert found["gpu_devices", "", ""] == 1
    assert "gpu_ready" not in {name for name, *_ in found}, "nobody checked yet"

    def load() -> Any:
        raise OSError("no library")

    assert values(exporter.text(load, tmp_path / "absent")) == {("gpu_devices", "", ""): 0}


@pytest.fixture
def port(state: Path) -> Iterator[int]:
    server = exporter.server("127.0.0.1", 0, lambda: Nvml([Gpu(0x10)]), state)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def test_it_answers(port: int) -> None:
    def get(path: str) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()

    status, kind, body = get("/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"gpu_devices 1\n" in body
    assert get("/")[0] == 404


def test_a_port_that_is_taken(port: int, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exporter.serve("127.0.0.1", port, lambda: Nvml([]), state) == 1
    assert "cannot be listened on: Address already in use" in capsys.readouterr().out
