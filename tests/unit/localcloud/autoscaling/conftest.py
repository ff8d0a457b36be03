# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated cloud with one group of three, and shorthands to look at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.autoscaling.simulation import SimulatedCloud

BOOT = 60.0
HEALTHY = 10.0
DRAIN = 30.0
SHUTDOWN = 5.0


@pytest.fixture
def cloud() -> SimulatedCloud:
    """Three zones, no group yet. Boot 60 s, healthy 10 s later, 30 s of draining, 5 s to shut down."""
    return SimulatedCloud(boot=BOOT, healthy_after=HEALTHY, deregistration_delay=DRAIN, shutdown=SHUTDOWN, notice=15.0)


@pytest.fixture
def web(cloud: SimulatedCloud) -> SimulatedCloud:
    """The cloud with the group "web": 1 to 6, three desired, all healthy in its target group."""
    cloud.create_group("web", size=3, MinSize=1, MaxSize=6)
    return cloud


@pytest.fixture
def refused() -> Callable[..., str]:
    """Call something that must be refused; the refusal as "Code: message"."""

    def call(method: Callable[..., Any], **params: Any) -> str:
        with pytest.raises(ClientError) as caught:
            method(**params)
        error = caught.value.response["Error"]
        return f"{error['Code']}: {error['Message']}"

    return call


def states(cloud: SimulatedCloud, group: str = "web") -> dict[str, str]:
    """Lifecycle state by instance id."""
    return {i["InstanceId"]: i["LifecycleState"] for i in cloud.shape(group)["Instances"]}


def count(cloud: SimulatedCloud, state: str, group: str = "web") -> int:
    """How many instances are in this state."""
    return list(states(cloud, group).values()).count(state)


def activities(cloud: SimulatedCloud, group: str = "web") -> list[dict[str, Any]]:
    """Scaling activities, newest first."""
    found: list[dict[str, Any]] = cloud.client("autoscaling").describe_scaling_activities(AutoScalingGroupName=group)[
        "Activities"
    ]
    return found
