# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of AWS about a shop, for the tests: everything well, and changed as a test says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.judge import judge
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import (
    Balancer,
    FleetStatus,
    Found,
    Machine,
    Seen,
    Status,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Group, Instance, Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Target
from tests.unit.plugins.module_utils.fleet.fleets import shop

NOW: Final = 1_800_000_000.0
ARN: Final = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/shop-web/0"


@cache
def model() -> dict[str, Any]:
    """What fleet_model says of the shop."""
    return lists(read_fleet(shop()))


def host(service: str, number: int, **changes: Any) -> Instance:
    """The host number `number` of a service, in service on version 2 of its template."""
    zone = f"eu-central-1{'abc'[number % 3]}"
    template = Template(f"lt-{service}", f"shop-{service}", str(changes.pop("version", 2)))
    return replace(Instance(f"i-{service}{number}", zone, "InService", True, template), **changes)


def found(service: str, size: int = 2, *, hosts: tuple[Instance, ...] | None = None, **changes: Any) -> Found:
    """A group whose hosts are in service; `changes` are of Found, those called `group_...` of its Group."""
    instances = tuple(host(service, number) for number in range(size)) if hosts is None else hosts
    of_group = {name.removeprefix("group_"): changes.pop(name) for name in list(changes) if name.startswith("group_")}
    template = Template(f"lt-{service}", f"shop-{service}", "2")
    tags = {"boring:fleet": "shop", "boring:service": service, "boring:version": "1.4.2", **of_group.pop("tags", {})}
    values: dict[str, Any] = {"name": f"shop-{service}", "min": size, "max": size + 2, "desired": size, **of_group}
    group = Group(template=replace(template, version="$Latest"), instances=instances, tags=tags, **values)
    return Found(group, target=Target(template), image="ami-2", **changes)


def seen(*changed: Found, **more: Any) -> Seen:
    """The shop's groups, those that are given in place of the ordinary ones, and a load balancer for clients."""
    groups = {one["for"]: found(one["for"], one["size"]["desired"]) for one in model()["groups"]}
    groups |= {one.group.tags["boring:service"]: one for one in changed}
    machines = {
        instance.id: Machine("ami-2", NOW - 86400, {"boring:version": "1.4.2"})
        for one in groups.values()
        for instance in one.group.instances
    }
    machines |= more.pop("machines", {})
    balancers = tuple(
        Balancer(one["name"], one["part"], f"{one['name']}.elb.example") for one in model()["load_balancers"]
    )
    return Seen(tuple(groups.values()), machines, {"ami-2": "shop-web-20261130"}, balancers, **more)


def judged(*changed: Found, **more: Any) -> FleetStatus:
    """The shop's status with its file."""
    return judge(seen(*changed, **more), NOW, fleet="shop", region="eu-central-1", model=model())


def of(service: str, status: FleetStatus) -> Status:
    return next(one for one in status.services if one.service == service)
