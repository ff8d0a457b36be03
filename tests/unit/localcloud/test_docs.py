# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/localcloud.md says of the local cloud what its code does: operations, what hosts may call, faults."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.session import get_session

from localcloud.authorization import Authorization
from localcloud.autoscaling.service import AutoScaling
from localcloud.clock import VirtualClock
from localcloud.cloudwatch.service import CloudWatch
from localcloud.faults import KINDS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "localcloud.md").read_text(encoding="utf-8")
SERVICES = {
    "ACM": "acm", "Auto Scaling": "autoscaling", "CloudWatch": "monitoring", "EC2": "ec2", "ELBv2": "elasticloadbalancing", "SSM": "ssm",
}  # fmt: skip


def table(heading: str) -> dict[str, str]:
    """The rows of the table whose head begins so: first cell to the rest."""
    rows: dict[str, str] = {}
    lines = iter(PAGE[PAGE.index(f"| {heading}") :].splitlines()[2:])
    for line in lines:
        if not line.startswith("|"):
            break
        first, _, rest = line.strip("| ").partition(" | ")
        rows[first.strip("`")] = rest
    return rows


def words(text: str) -> set[str]:
    return set(re.findall(r"\b[A-Z][A-Za-z]+\b", text))


def test_the_operations_of_our_own_services() -> None:
    said = table("service | operations")
    every = get_session().get_service_model("autoscaling").operation_names
    lacking = {n for n in every if not hasattr(AutoScaling, "_op_" + re.sub(r"(?<!^)(?=[A-Z])", "_", n).lower())}
    assert words(said["Auto Scaling"]) == lacking
    assert words(said["CloudWatch"]) == set(CloudWatch(VirtualClock()).operations)


def test_what_hosts_may_call() -> None:
    said = table("service | what hosts may call, if their role allows it")
    cloud: Any = SimpleNamespace()
    calls = Authorization(cloud, VirtualClock().now).calls
    assert {(SERVICES[name], call) for name, row in said.items() if name in SERVICES for call in words(row)} == set(
        calls
    )
    assert set(said) == {*SERVICES, "STS"}


def test_every_fault_with_a_test_that_there_is() -> None:
    said = table("fault | what happens")
    assert set(said) == set(KINDS)
    for row in said.values():
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            places = [ROOT / "tests" / kind / "localcloud" / file for kind in ("unit", "contract")]
            assert any(f"def {test}(" in place.read_text() for place in places if place.exists()), f"{file}::{test}"
