# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of a simulated cloud see of each other."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any, Protocol

from localcloud.autoscaling.ports import TargetHealth
from localcloud.faults import Faults

Params = dict[str, Any]
REGION = "eu-central-1"
HEALTHY = TargetHealth("healthy")
FAILING = TargetHealth("unhealthy", "Target.FailedHealthChecks", "Health checks failed")
TIMEOUT = TargetHealth("unhealthy", "Target.Timeout", "Request timed out")


@dataclass
class Watch:
    """What happened to a group since the watch began."""

    group: str
    lowest_healthy: int  # fewest instances in service, healthy in every target group and answering, at any moment
    lowest_in_service: int
    highest_total: int  # most instances that were not on their way out
    launched: list[str] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)


class Data(Protocol):
    """What is known of launch templates."""

    missing_images: set[str]

    def data(self, template_id: str, version: int) -> dict[str, Any]: ...


class World(Protocol):
    """The cloud."""

    faults: Faults
    notice: float
    address: Callable[[int], str]
    watches: list[Watch]

    @property
    def templates(self) -> Data: ...
    @property
    def hosts(self) -> Container[str]: ...
    def now(self) -> float: ...
    def at(self, seconds: float, action: Callable[[], None]) -> None: ...
    def answers(self, host: str) -> bool: ...
    def health_changed(self, instance_id: str, health: TargetHealth) -> None: ...
    def look_at_health(self) -> None: ...
