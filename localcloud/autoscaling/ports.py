# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Auto Scaling group drives: hosts, load-balancer targets, launch templates and subnets.

The group model knows nothing else of the world, so the same model runs over podman hosts and over simulated ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol


@dataclass(frozen=True)
class LaunchOrder:
    """One instance to be launched, as RunInstances would be asked for it."""

    group: str
    template_id: str
    template_version: int
    zone: str
    subnet_id: str
    instance_type: str | None  # None: the launch template's own
    tags: dict[str, str] = field(default_factory=dict)
    client_token: str = ""  # the same token never launches twice
    spot: bool = False
    image_id: str | None = None  # an override's own image; None: the launch template's


class HostStatus(Enum):
    """How a host is, as far as EC2's status checks can tell."""

    PENDING = "pending"  # not booted yet
    UP = "up"  # systemd reached running or degraded, and cloud-init is done
    IMPAIRED = "impaired"  # runs, but its status checks fail
    STOPPED = "stopped"  # stopped (a warm pool's) or stopping
    GONE = "gone"  # terminated, or never known


class Hosts(Protocol):
    """EC2, as a group uses it. Calls return at once; what they began shows in ``statuses``."""

    def launch(self, order: LaunchOrder) -> str:
        """Begin a launch; the EC2 instance id. Raises ApiError with the words of RunInstances."""
        ...

    def statuses(self, ids: Iterable[str]) -> dict[str, HostStatus]:
        """The status of each id that was asked for."""
        ...

    def terminate(self, instance_id: str) -> None:
        """Begin a termination. An instance that is gone already is no error."""
        ...

    def stop(self, instance_id: str) -> None:
        """Begin a stop (warm pools)."""
        ...

    def start(self, instance_id: str) -> None:
        """Begin the start of a stopped host (warm pools)."""
        ...

    def instance_type(self, instance_id: str) -> str:
        """The instance's type; raises ApiError InvalidInstanceID.NotFound (also used to attach instances)."""
        ...


@dataclass(frozen=True)
class TargetHealth:
    """What a target group says of one target, in the words of DescribeTargetHealth."""

    state: str  # initial, healthy, unhealthy, unused, draining, unavailable
    reason: str | None = None
    description: str | None = None


class Targets(Protocol):
    """The target groups of ELBv2. Calls return at once."""

    def register(self, arn: str, instance_id: str) -> None:
        """Register on the target group's own port. Raises ApiError TargetGroupNotFound."""
        ...

    def deregister(self, arn: str, instance_id: str) -> None:
        """Begin to drain; the target is listed as draining until the deregistration delay is over."""
        ...

    def health(self, arn: str) -> dict[str, TargetHealth]:
        """Every target by instance id, draining ones included until they are gone. Raises ApiError TargetGroupNotFound."""
        ...


class Templates(Protocol):
    """Launch templates."""

    def resolve(self, id_or_name: str, version: str) -> tuple[str, str, int]:
        """(id, name, version number); ``version`` may be ``$Latest`` or ``$Default``. Raises ApiError."""
        ...

    def check(self, template_id: str, version: str, instance_type: str | None, image_id: str | None) -> None:
        """Raise ApiError, in the words of RunInstances, for what could not be launched.

        :param instance_type: an override's; None: the launch template's own.
        :param image_id: likewise.
        """
        ...


class Subnets(Protocol):
    """Subnets of the VPC."""

    def zone(self, subnet_id: str) -> str:
        """The subnet's Availability Zone. Raises ApiError InvalidSubnetID.NotFound."""
        ...

    def default_subnet(self, zone: str) -> str:
        """The zone's default subnet, for groups that name zones only. Raises ApiError."""
        ...


class Alarms(Protocol):
    """CloudWatch, as target tracking uses it."""

    def put(self, alarm: dict[str, Any], region: str) -> str:
        """PutMetricAlarm; the alarm's ARN."""
        ...

    def delete(self, names: list[str], region: str) -> None:
        """DeleteAlarms. Those that are gone are no error."""
        ...
