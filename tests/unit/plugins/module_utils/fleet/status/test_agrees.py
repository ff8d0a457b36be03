# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the status calls behind, a roll would replace, and nothing else: the same decision, seen from both sides."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.judge import behind_of
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import Found, Machine
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.destination import Destinations
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match, Policy, Request
from tests.unit.plugins.module_utils.rollout.conftest import World


def behind(world: World, policy: Policy) -> set[str]:
    cloud = Cloud(world.cloud.client, clock=world.cloud.now, sleep=world.cloud.sleep)
    group = cloud.group("web")
    target = Destinations(cloud, Request("web"), policy).of(group, None, None).target
    machines = {
        name: Machine(launched=one.launched) for name, one in cloud.machines(one.id for one in group.instances).items()
    }
    return set(behind_of(Found(group, policy, target), machines, world.cloud.now()))


def protect(world: World) -> None:
    name = world.cloud.in_service("web")[0]
    world.cloud.client("autoscaling").set_instance_protection(
        AutoScalingGroupName="web", InstanceIds=[name], ProtectedFromScaleIn=True
    )


def half(world: World) -> None:
    """One host more, of the new version."""
    world.cloud.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    world.cloud.sleep(300)


def stand_by(world: World) -> None:
    world.cloud.client("autoscaling").enter_standby(
        AutoScalingGroupName="web", InstanceIds=[world.cloud.in_service("web")[0]], ShouldDecrementDesiredCapacity=True
    )
    world.cloud.sleep(60)


@pytest.mark.parametrize(
    ("prepare", "new_version", "options", "count"),
    [
        (None, False, {}, 0),
        (None, True, {}, 3),
        (half, True, {}, 3),
        (stand_by, True, {}, 2),
        (stand_by, True, {"standby": "replace"}, 3),
        (protect, True, {"protected": "skip"}, 2),
        (protect, True, {}, 3),
        (None, False, {"match": Match.ALL}, 3),
        (half, False, {"match": Match.AGE, "max_age": 330.0}, 3),
        (half, True, {"match": Match.AGE, "max_age": 1e6}, 0),
    ],
)
def test_the_plan_of_a_roll_has_the_hosts_that_are_behind(
    prepare: Any, new_version: bool, options: dict[str, Any], count: int
) -> None:
    world = World(3, new_version=new_version, MinSize=1, MaxSize=6)
    world.cloud.sleep(100)
    if prepare:
        prepare(world)
    plan = world.roll("planned", **options).plan
    assert plan is not None
    planned = {due.instance.id for batch in plan.batches for due in batch}
    assert planned == behind(world, Policy(**options))
    assert len(planned) == count
