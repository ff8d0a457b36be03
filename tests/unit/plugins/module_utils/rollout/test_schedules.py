# SPDX-License-Identifier: GPL-3.0-or-later
"""Random schedules of faults, with the contract's guarantees as invariants. A seed is a schedule."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.journal import TAG_RECORD
from localcloud.autoscaling.simulation import SimulatedCloud

SEEDS = 60


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_group_is_left_as_found_whatever_happens(world: Any, seed: int) -> None:
    rng = Random(seed)
    size = rng.randint(1, 7)
    boots = [rng.uniform(20, 120) for _ in range(40)]
    cloud = SimulatedCloud(
        boot=lambda number: boots[number % len(boots)],
        healthy_after=rng.choice([0, 10]),
        deregistration_delay=rng.choice([0, 20, 60]),
        zones=rng.choice([1, 3]),
    )
    smallest, largest = rng.randint(0, size), size + rng.choice([4, 6])
    w = world(size, cloud=cloud, MinSize=smallest, MaxSize=largest)
    happened: list[str] = []
    more = 0

    def scale_out() -> None:
        nonlocal more
        shape = w.group
        if shape["DesiredCapacity"] + 1 > largest - 3:  # the room that the roll may use is not the user's
            return
        more += 1
        wanted = {"AutoScalingGroupName": "web", "DesiredCapacity": shape["DesiredCapacity"] + 1}
        cloud.autoscaling.handle("SetDesiredCapacity", wanted, "eu-central-1")

    def kill() -> None:
        if serving := cloud.in_service("web"):
            cloud.kill(rng.choice(serving))
            cloud.at(10, cloud.autoscaling.look_at_health)

    def flap() -> None:
        if serving := cloud.in_service("web"):
            name = rng.choice(serving)
            cloud.make_sick(name)
            cloud.at(rng.uniform(5, 60), lambda: cloud.cure(name))

    faults: dict[str, Any] = {
        "scale out": scale_out,
        "kill": kill,
        "flap": flap,
        "throttle": lambda: cloud.faults.add({"kind": "api", "times": rng.randint(1, 5)}),
        "lag": lambda: cloud.faults.add({"kind": "lag", "seconds": rng.choice([5, 20, 0])}),
        "bad boot": lambda: cloud.faults.add({"kind": "boot", "outcome": "die", "times": 1}),
        "bad application": lambda: cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": 1}),
        "no capacity": lambda: cloud.faults.add({"kind": "launch", "times": rng.randint(1, 3)}),
    }
    over = False
    for name in rng.sample([*faults, *faults], rng.randint(0, 5)):

        def happen(name: str = name) -> None:
            if not over:
                happened.append(f"{name} at {cloud.now():.0f}")
                faults[name]()

        cloud.at(rng.uniform(0, size * 120), happen)
    end = cloud.now() + rng.uniform(5, size * 100) if rng.random() < 0.2 else float("inf")
    slack = rng.choice([0, 0, 1])
    result = w.roll(
        batch_size=str(rng.randint(1, 3)),
        max_unavailable=str(slack),
        batch_timeout=rng.choice([300.0, 900.0]),
        max_failures=rng.choice([0, 1, 3]),
        canary=rng.choice([0, 1]),
        bake_time=rng.choice([0.0, 0.0, 30.0]),
        stopped=lambda: "stopped by SIGTERM" if cloud.now() >= end else "",
    )
    over = True
    cloud.faults.clear()
    story = f"{happened}: {result.state}, {result.message}"
    assert w.sizes == (smallest, largest, size + more), story
    assert w.suspended == [], story
    assert w.tags <= {TAG_RECORD}, story
    assert w.group["LaunchTemplate"]["Version"] == "$Latest", story
    w.settle()
    assert len(w.versions) == size + more, story
    if result.state == "completed":
        assert set(w.versions) == {"2"}, story
    if not any(item.startswith(("kill", "flap", "bad")) for item in happened) and len(cloud.zones) == 1:
        assert w.watch.lowest_healthy >= size - slack, story
        if result.state == "completed":
            assert len(w.watch.launched) == size + more, story
