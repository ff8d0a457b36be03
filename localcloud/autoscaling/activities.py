# SPDX-License-Identifier: GPL-3.0-or-later
"""What a group is driven with, and the scaling activities that tell what it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from localcloud.autoscaling.ports import Hosts, Subnets, Targets, Templates
from localcloud.autoscaling.state import Activity, Group, Instance
from localcloud.clock import Clock

NEVER = float("inf")
SIX_WEEKS = 42 * 86400.0


@dataclass(frozen=True)
class Timing:
    """How fast the group reacts, in seconds."""

    proceed: float = 0.0  # how long an instance stays in a ":Proceed" state
    health_interval: float = 5.0  # between two looks at instances in service
    first_retry: float = 10.0  # after a refused launch; doubles each time ...
    last_retry: float = 300.0  # ... up to this
    shun_zone: float = 120.0  # how long a zone that had no capacity is left alone


class Activities:
    """The ports, the clock, and the activities of groups. Holds no group itself, so that whoever does can keep them where it likes."""

    def __init__(
        self,
        *,
        hosts: Hosts,
        targets: Targets,
        templates: Templates,
        subnets: Subnets,
        clock: Clock,
        new_id: Callable[[], str],
        timing: Timing | None = None,
    ) -> None:
        self.hosts = hosts
        self.targets = targets
        self.templates = templates
        self.subnets = subnets
        self.clock = clock
        self.new_id = new_id
        self.timing = timing or Timing()

    def begin(
        self, group: Group, description: str, cause: str, *, instance: Instance, now: float, progress: int = 0
    ) -> Activity:
        """Begin an activity about an instance."""
        return self._begin(
            group,
            description,
            cause,
            zone=instance.zone,
            subnet=instance.subnet,
            instance_id=instance.id,
            now=now,
            progress=progress,
        )

    def _begin(
        self,
        group: Group,
        description: str,
        cause: str,
        *,
        zone: str,
        now: float,
        subnet: str | None = None,
        instance_id: str | None = None,
        progress: int = 0,
    ) -> Activity:
        """Begin an activity, also about an instance that is not there yet."""
        activity = Activity(
            id=self.new_id(),
            description=description,
            cause=cause,
            start=now,
            status="InProgress",
            details=details(subnet, zone),
            instance_id=instance_id,
            progress=progress,
        )
        group.activities[activity.id] = activity
        oldest = next(iter(group.activities))
        if group.activities[oldest].start < now - SIX_WEEKS:  # AWS forgets them as well
            del group.activities[oldest]
        return activity

    @staticmethod
    def _progress(group: Group, activity_id: str | None, status: str, progress: int) -> None:
        activity = group.activities.get(activity_id or "")
        if activity is not None and activity.end is None:
            activity.status = status
            activity.progress = progress

    def _finish(self, group: Group, activity_id: str | None, now: float) -> None:
        self.close(group, activity_id, "Successful", now)

    def _fail(self, group: Group, activity_id: str | None, message: str, now: float) -> None:
        self.close(group, activity_id, "Failed", now, message)

    @staticmethod
    def close(group: Group, activity_id: str | None, status: str, now: float, message: str | None = None) -> None:
        """End an activity that has not ended."""
        activity = group.activities.get(activity_id or "")
        if activity is not None and activity.end is None:
            activity.status = status
            activity.progress = 100
            activity.end = now
            if message is not None:
                activity.message = message
                activity.description += f".  Status Reason: {message}"


def details(subnet: str | None, zone: str) -> str:
    """The Details of an activity."""
    found = {"Subnet ID": subnet} if subnet else {}
    return json.dumps(found | {"Availability Zone": zone}, separators=(",", ":"))
