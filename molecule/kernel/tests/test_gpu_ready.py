# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of the GPUs under a real systemd, on a host that has none."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from testinfra.host import Host

CLASS = "/etc/fleet/gpu.json"


def state(host: Host, unit: str) -> str:
    return host.check_output(f"systemctl show -P ActiveState {unit}")


@pytest.fixture
def clean(host: Host) -> Iterator[Host]:
    host.check_output("systemctl restart gpu-ready.service")
    yield host
    host.check_output(f"rm -f {CLASS} /run/boring.fleet/gpu.json; systemctl stop gpu-watch.timer needs-gpu.service")
    host.check_output("systemctl unset-environment AWS_EC2_METADATA_SERVICE_ENDPOINT")
    host.check_output("systemctl reset-failed; systemctl restart gpu-ready.service")


def test_a_host_that_needs_none(clean: Host) -> None:
    assert state(clean, "gpu-ready.service") == "active"
    assert state(clean, "gpu-watch.timer") == "inactive"
    assert clean.run("systemctl start gpu-exporter.service needs-gpu.service").rc == 0
    assert state(clean, "gpu-exporter.service") == "inactive"
    assert clean.run("systemctl start gpu-containers.service").rc == 0
    assert state(clean, "gpu-containers.service") == "inactive"
    assert not clean.file("/run/cdi").exists
    assert state(clean, "needs-gpu.service") == "active"
    assert clean.check_output("systemctl list-units --failed --plain --no-legend") == ""
    entered = clean.run("run-parts --report /etc/fleet/enter.d")
    assert (entered.rc, "this host has no GPU, and its class needs none" in entered.stdout) == (0, True)
    found = json.loads(clean.check_output("cat /run/boring.fleet/gpu.json"))
    assert found["ready"] and found["declared"]["module_version"]


def test_a_class_with_gpus_on_a_host_without(clean: Host) -> None:
    clean.check_output(f"printf '%s' '{{\"gpus\": 1}}' >{CLASS}; rm -f /run/boring.fleet/gpu.json")
    clean.check_output("systemctl set-environment AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9")
    assert clean.run("systemctl restart gpu-ready.service").rc != 0
    assert state(clean, "gpu-watch.timer") == "active"
    assert clean.run("systemctl start needs-gpu.service").rc != 0
    assert state(clean, "needs-gpu.service") == "inactive"
    entered = clean.run("/etc/fleet/enter.d/40-gpu")
    assert entered.rc == 78
    assert entered.stdout.strip() == "PCI shows 0 GPUs, and this class of machines has 1: replace the host"
    journal = clean.check_output("journalctl --unit gpu-ready --output cat --no-pager")
    assert "Auto Scaling was not notified: the instance metadata service does not answer" in journal
    assert "Traceback" not in journal
    assert clean.run("systemctl start gpu-watch.service").rc != 0


@pytest.mark.parametrize(("unit", "ceiling"), [("gpu-exporter", 20), ("gpu-watch", 75)])
def test_they_are_sandboxed(host: Host, unit: str, ceiling: int) -> None:
    judged = host.run(f"systemd-analyze security --no-pager --threshold={ceiling} {unit}.service")
    assert judged.rc == 0, judged.stdout.splitlines()[-1]
