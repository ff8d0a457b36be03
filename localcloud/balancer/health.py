# SPDX-License-Identifier: GPL-3.0-or-later
"""From what HAProxy measured to what DescribeTargetHealth says: pure parsers and the life of one target.

States, reasons and descriptions are those of the ELBv2 API reference (TargetHealth) and of the user guide's
"Health checks for Application Load Balancer target groups".
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import StrEnum

from localcloud.autoscaling.ports import TargetHealth

_MAINT = 0x01 | 0x02 | 0x20  # forced, inherited, by name resolution
_DRAIN = 0x08 | 0x10
_PASSED = "3"  # srv_check_result

REGISTERING = TargetHealth("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
CHECKING = TargetHealth("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
HEALTHY = TargetHealth("healthy")
DRAINING = TargetHealth("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
NOT_REGISTERED = TargetHealth("unused", "Target.NotRegistered", "Target is not registered to the target group")
NOT_IN_USE = TargetHealth(
    "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
)
WRONG_ZONE = TargetHealth(
    "unused", "Target.NotInUse", "Target is in an Availability Zone that is not enabled for the load balancer"
)


def invalid_state(state: str) -> TargetHealth:
    """An instance that is stopped or terminated gets neither checks nor traffic."""
    return TargetHealth("unused", "Target.InvalidState", f"Target is in the {state} state")


@dataclass(frozen=True)
class ServerStatus:
    """One server as HAProxy sees it now."""

    backend: str
    name: str
    address: str
    port: int
    up: bool  # the checks' verdict, whatever the administrative state
    maint: bool
    drain: bool
    sessions: int  # connections to it that are open now
    passed: bool  # the last check is done and passed; a check under way says no
    check: str  # L7OK, L7STS, L4CON, ...; "INI" or "" before the first
    code: str  # the HTTP status of the last check, "" if there was none


def parse(stat: str, servers_state: str) -> dict[tuple[str, str], ServerStatus]:
    """Servers by (backend, name), out of `show stat` (CSV) and `show servers state` (format 1)."""
    found: dict[tuple[str, str], ServerStatus] = {}
    lines = [line for line in servers_state.splitlines() if line.strip() and line != "1"]
    if not lines:
        return found
    columns = lines[0].lstrip("# ").split()
    measured = _stat_rows(stat)
    for line in lines[1:]:
        row = dict(zip(columns, line.split(), strict=False))
        key = (row["be_name"], row["srv_name"])
        numbers = measured.get(key, {})
        admin = int(row["srv_admin_state"])
        found[key] = ServerStatus(
            backend=key[0],
            name=key[1],
            address=row["srv_addr"],
            port=int(row["srv_port"]),
            up=row["srv_op_state"] != "0",
            maint=bool(admin & _MAINT),
            drain=bool(admin & _DRAIN),
            sessions=int(numbers.get("scur") or 0),
            # not from check_status: that says L4OK while a check waits for its answer
            passed=row["srv_check_result"] == _PASSED,
            check=numbers.get("check_status", "").removeprefix("* "),
            code=numbers.get("check_code", ""),
        )
    return found


def _stat_rows(stat: str) -> dict[tuple[str, str], dict[str, str]]:
    text = stat.lstrip().removeprefix("# ")
    return {(row["pxname"], row["svname"]): row for row in csv.DictReader(text.splitlines())}


def failure(status: ServerStatus, before: TargetHealth) -> TargetHealth:
    """Why checks fail, in AWS's words; while a check is under way, what was said ``before``."""
    if status.check in ("L4TOUT", "L6TOUT", "L7TOUT"):
        return TargetHealth("unhealthy", "Target.Timeout", "Request timed out")
    if status.check == "L7STS":
        return TargetHealth(
            "unhealthy", "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{status.code}]"
        )
    if status.check in ("L4OK", "L6OK", "L7OK", "INI", "") and before.state == "unhealthy":
        return before
    return TargetHealth("unhealthy", "Target.FailedHealthChecks", "Health checks failed")


class Phase(StrEnum):
    """How far a registered target has come."""

    INITIAL = "initial"
    SERVING = "serving"  # its first checks are done: healthy or unhealthy, as HAProxy finds
    DRAINING = "draining"  # deregistered, the deregistration delay runs


@dataclass
class Registration:
    """One target of one target group, from RegisterTargets until its deregistration delay is over."""

    target: str  # instance id or IP address
    port: int
    zone: str | None = None
    phase: Phase = Phase.INITIAL
    since: float = 0.0  # unix seconds: when the phase began
    until: float = 0.0  # unix seconds: when draining ends
    health: TargetHealth = REGISTERING
    sick: bool = False  # an injected fault: it never passes a check

    @property
    def server(self) -> str:
        """The name of HAProxy's server."""
        return f"{self.target}_{self.port}"

    def begin(self, phase: Phase, health: TargetHealth, now: float) -> None:
        """Enter a phase."""
        self.phase, self.health, self.since, self.until = phase, health, now, 0.0
