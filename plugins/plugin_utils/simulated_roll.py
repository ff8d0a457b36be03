# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A roll before anyone runs it: asg_rollout's own core and AWS side, over the local cloud's group model and its clock.

The same group and options always end the same; a seed is another day.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import parse_policy
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.result import Result
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.roll import Roll
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.checks import Place
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.owner import Owner
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Request
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import Event

_LARGEST = 10_000  # instances


@dataclass(frozen=True)
class Fleet:
    """The group that is imagined; times in seconds."""

    name: str
    size: int
    min_size: int
    max_size: int
    zones: int
    target_groups: int
    boot_time: float  # from launch to InService
    boot_spread: float  # boots take up to so much more or less
    healthy_after: float  # from InService to healthy in every target group
    drain_time: float  # the target groups' deregistration delay
    failure_rate: float  # share of new instances that never become healthy
    seed: int

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Fleet:
        """From a module's parameters. Raises RolloutError that names the option and the fix."""
        size = given["size"]
        low = given["min_size"] if given["min_size"] is not None else size
        high = given["max_size"] if given["max_size"] is not None else size
        limits: dict[str, tuple[float, float]] = {
            "size": (1, _LARGEST),
            "zones": (1, 6),
            "target_groups": (0, 10),
            "boot_time": (0, 7200),
            "boot_spread": (0, given["boot_time"]),
            "healthy_after": (0, 7200),
            "drain_time": (0, 3600),
            "failure_rate": (0, 1),
        }
        for option, (least, most) in limits.items():
            if not least <= given[option] <= most:
                raise RolloutError(f"{option} is {given[option]}: it must be between {least:g} and {most:g}")
        if not 0 <= low <= size <= high:
            raise RolloutError(f"min_size {low}, size {size} and max_size {high} must be in this order")
        names = ("zones", "target_groups", "boot_time", "boot_spread", "healthy_after", "drain_time", "failure_rate")
        return cls(given["name"], size, low, high, seed=given["seed"], **{name: given[name] for name in names})


@dataclass(frozen=True)
class Outcome:
    """What the roll would be like."""

    result: Result
    events: tuple[Event, ...]
    surge: int  # the most instances beyond the group's own size at any moment
    surge_hours: float  # hours of instances beyond the group's own size, boots and drains included

    def summary(self, fleet: Fleet, price: float | None) -> str:
        """One sentence for people."""
        result = self.result
        minutes = f"{result.seconds / 60:.1f} min" if result.seconds >= 90 else f"{result.seconds:.0f} s"
        cost = f", {self.surge_hours * price:.2f} at {price:g} an hour" if price is not None else ""
        end = f" It would fail: {result.message}" if result.failed else ""
        return (
            f"{len(result.replaced)} of {fleet.size} replaced in {minutes}, never fewer than "
            f"{result.lowest_in_service} in service, up to {self.surge} beyond the size "
            f"({self.surge_hours:.2f} instance hours{cost}), {result.api_calls.total()} API calls.{end}"
        )


def _local_cloud() -> None:
    """Make the collection's own copy of the local cloud importable under its one name, unless one is already."""
    if "localcloud" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "localcloud", Path(__file__).parents[2] / "localcloud" / "__init__.py"
    )
    if spec is None or spec.loader is None:
        raise ImportError("the collection has no localcloud")
    module = importlib.util.module_from_spec(spec)
    sys.modules["localcloud"] = module
    spec.loader.exec_module(module)


def simulate(fleet: Fleet, options: Mapping[str, Any]) -> Outcome:
    """Roll the whole fleet to a new template version; ``options`` as asg_rollout has them, all with their defaults.

    Every health check and drain of ours passes as soon as the application answers. Raises RolloutError for bad options
    and where botocore, whose service models the simulation uses, is missing.
    """
    try:
        _local_cloud()
        from localcloud.autoscaling.simulation import SimulatedCloud  # noqa: PLC0415
        from localcloud.faults import BootFault, TargetFault  # noqa: PLC0415
    except ImportError as exc:
        raise RolloutError(f"simulating takes Python's botocore on the controller ({exc}): pip install boto3") from exc
    policy, checks, drain = parse_policy(options)
    random = Random(fleet.seed)  # noqa: S311 - not for secrets: the same seed is to give the same day
    seen_by_checks = fleet.target_groups > 0 or bool(checks)

    def boot(number: int) -> float:
        if number <= fleet.size:
            return 1.0  # those that are there when the roll begins
        if random.random() < fleet.failure_rate:
            cloud.faults.arm(TargetFault() if seen_by_checks else BootFault(outcome="die"))
        return max(0.0, fleet.boot_time + random.uniform(-fleet.boot_spread, fleet.boot_spread))

    cloud = SimulatedCloud(
        boot=boot, healthy_after=fleet.healthy_after, deregistration_delay=fleet.drain_time, zones=fleet.zones
    )
    cloud.create_group(
        fleet.name,
        fleet.size,
        target_groups=fleet.target_groups,
        version="1",
        MinSize=fleet.min_size,
        MaxSize=fleet.max_size,
        HealthCheckType="ELB" if fleet.target_groups else "EC2",
        HealthCheckGracePeriod=max(300, int(fleet.healthy_after) + 60),  # 300 is the console's default
    )
    cloud.new_template_version(fleet.name)
    latest = {"LaunchTemplateName": fleet.name, "Version": "$Latest"}
    cloud.handle(
        "autoscaling", "UpdateAutoScalingGroup", {"AutoScalingGroupName": fleet.name, "LaunchTemplate": latest}
    )

    def ask(places: Iterable[Place]) -> dict[str, str]:
        return {
            place.instance_id: "" if cloud.answers(place.instance_id) else "the application does not answer"
            for place in places
        }

    clients: dict[str, Any] = {}
    events: list[Event] = []
    watch, began = cloud.watch(fleet.name), cloud.now()
    result = Roll(
        Cloud(
            lambda service: clients.setdefault(service, cloud.client(service)),
            clock=cloud.now,
            sleep=cloud.sleep,
            patience=policy.batch_timeout,
            jitter=random.random,
        ),
        Request(fleet.name, "completed", None),
        policy,
        clock=cloud.now,
        sleep=cloud.sleep,
        owner=Owner("simulation", ""),
        emit=events.append,
        prober=ask if checks else None,
        drainer=ask if drain else None,
    ).run(False)
    cloud.sleep(fleet.drain_time + fleet.boot_time + 60)  # the last ones leave
    hosts = cloud.hosts.by_id.values()
    lived = sum((host.ended or cloud.now()) - max(host.launched, began) for host in hosts if not _over(host, began))
    extra = max(0.0, lived - fleet.size * (cloud.now() - began))
    return Outcome(result, tuple(events), watch.highest_total - fleet.size, round(extra / 3600, 4))


def _over(host: Any, began: float) -> bool:
    return host.ended is not None and host.ended <= began
