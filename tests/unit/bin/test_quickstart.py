# SPDX-License-Identifier: GPL-3.0-or-later
"""What quickstart tells: figures from what the playbook saw."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

loader = SourceFileLoader("quickstart", str(Path(__file__).resolve().parents[3] / "bin" / "quickstart"))
spec = spec_from_loader("quickstart", loader)
assert spec is not None
quickstart = module_from_spec(spec)
loader.exec_module(quickstart)


def image(number: int, *, skipped: bool) -> dict[str, Any]:
    return {"id": f"ami-{number}", "fingerprint": f"{number:064x}", "seconds": 1.5, "skipped": skipped}


def roll(replaced: int, lowest: int, calls: int) -> dict[str, Any]:
    return {
        "state": "completed",
        "replaced": [{"old": f"i-{at}", "new": f"i-9{at}", "seconds": 9.0} for at in range(replaced)],
        "lowest_in_service": lowest,
        "api_calls": {"DescribeAutoScalingGroups": calls, "TerminateInstanceInAutoScalingGroup": replaced},
        "seconds": 30.0,
        "sizes": {},
    }


@pytest.fixture
def proof() -> dict[str, Any]:
    return {
        "changed": True,
        "images_first": {"api": image(1, skipped=False), "engine": image(2, skipped=False)},
        "images": {"api": image(1, skipped=True), "engine": image(3, skipped=False)},
        "hosts": [
            {
                "instance_id": "i-1",
                "tags": {"boring:service": "api"},
                "private_ip_address": "172.31.0.9",
                "placement": {"availability_zone": "eu-central-1a"},
            }
        ],
        "address": "http://127.1.2.3",
        "conversions": 6,
        "rolls": {"engine": roll(2, 2, 20), "api": roll(3, 3, 30)},
        "load": {"requests": 500, "failed": 1},
        "report": "/tmp/report.html",
    }


def test_the_figures(proof: dict[str, Any]) -> None:
    summary = quickstart.summarise(proof, 300)
    assert summary["replaced"] == 5
    assert summary["conversions"] == 6 + 499
    assert (summary["requests"], summary["failed"]) == (500, 1)
    assert summary["lowest_in_service"] == 2
    assert summary["api_calls"] == 20 + 2 + 30 + 3
    assert summary["seconds"] == 300
    assert summary["hosts"] == [{"id": "i-1", "service": "api", "address": "172.31.0.9", "zone": "eu-central-1a"}]


def test_an_image_that_the_change_left_alone_is_told_as_it_was_built(proof: dict[str, Any]) -> None:
    summary = quickstart.summarise(proof, 300)
    assert summary["rebuilt"] == ["engine"]
    assert summary["images"]["api"]["skipped"] is False
    assert summary["images"]["engine"]["id"] == "ami-3"


def test_a_run_that_changed_nothing_skipped_every_image(proof: dict[str, Any]) -> None:
    proof |= {"changed": False, "images_first": {"api": image(1, skipped=True), "engine": image(3, skipped=True)}}
    proof["images"] = proof["images_first"]
    proof["rolls"] = {"api": roll(0, 0, 2) | {"lowest_in_service": None}}
    summary = quickstart.summarise(proof, 30)
    assert summary["rebuilt"] == []
    assert summary["lowest_in_service"] == 1
    assert all(entry["skipped"] for entry in summary["images"].values())


def test_it_prints_a_line_that_people_look_for(proof: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    proof["load"]["failed"] = 0
    quickstart.show(quickstart.summarise(proof, 300))
    out = capsys.readouterr().out
    assert "requests failed: 0" in out
    assert "curl --data-binary" in out
