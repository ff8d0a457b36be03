# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a group launches and what it terminates: pure choices over a group's state.

After "Control which Auto Scaling instances terminate during scale in" and "Auto Scaling benefits" (rebalancing) of
the EC2 Auto Scaling user guide. Where AWS chooses at random, this chooses by id, so that a run can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from localcloud.autoscaling.state import COUNTED_STATES, Group, Instance

TERMINATION_POLICIES = (
    "AllocationStrategy",
    "ClosestToNextInstanceHour",
    "Default",
    "NewestInstance",
    "OldestInstance",
    "OldestLaunchConfiguration",
    "OldestLaunchTemplate",
)

_HOUR = 3600.0


def zone_counts(group: Group) -> dict[str, int]:
    """How many instances count towards desired in each zone of the group."""
    counts = Counter([instance.zone for instance in group.instances.values() if instance.state in COUNTED_STATES])
    return {zone: counts[zone] for zone in (*group.zones, *counts)}


def launch_zone(group: Group, now: float) -> str:
    """The zone with the fewest instances, leaving out those that just had no capacity (unless all had none)."""
    counts = zone_counts(group)
    open_zones = [zone for zone in group.zones if group.shunned_zones.get(zone, 0.0) <= now] or group.zones
    return min(open_zones, key=lambda zone: (counts[zone], group.zones.index(zone)))


def launch_subnet(group: Group, zone: str) -> str | None:
    """The zone's subnet with the fewest instances; None when the group names no subnets."""
    subnets = [subnet for subnet, its_zone in group.subnets.items() if its_zone == zone]
    if len(subnets) < 2:
        return subnets[0] if subnets else None
    used = [instance.subnet for instance in group.instances.values() if instance.counted]
    return min(subnets, key=lambda subnet: (used.count(subnet), subnets.index(subnet)))


def uneven_zones(group: Group, now: float) -> tuple[str, str] | None:
    """(the fullest zone, the emptiest) when they differ by more than one instance, else None."""
    counts = {z: n for z, n in zone_counts(group).items() if group.shunned_zones.get(z, 0.0) <= now}
    if len(counts) < 2:
        return None
    fullest = max(counts, key=lambda zone: counts[zone])
    emptiest = min(counts, key=lambda zone: counts[zone])
    return (fullest, emptiest) if counts[fullest] - counts[emptiest] > 1 else None


def victim(group: Group, current: Callable[[Instance], bool], now: float) -> Instance | None:
    """The instance that a scale-in takes: fullest zone first, then the group's termination policies.

    :param current: whether an instance runs the template that the group has now.
    :returns: None when every instance is protected.
    """
    candidates = [i for i in group.instances.values() if i.counted and not i.protected]
    if not candidates:
        return None
    counts = zone_counts(group)
    fullest = max(counts[i.zone] for i in candidates)
    candidates = [i for i in candidates if counts[i.zone] == fullest]
    for policy in group.termination_policies:
        candidates = _narrow(policy, candidates, current, now)
    return min(candidates, key=lambda i: (_hour_left(i, now), i.id))


def _narrow(policy: str, candidates: list[Instance], current: Callable[[Instance], bool], now: float) -> list[Instance]:
    if policy == "Default":
        return _least(_least(candidates, lambda i: _template_age(i, current)), lambda i: _hour_left(i, now))
    if policy in ("OldestLaunchTemplate", "OldestLaunchConfiguration"):
        return _least(candidates, lambda i: _template_age(i, current))
    if policy == "OldestInstance":
        return _least(candidates, lambda i: i.launched)
    if policy == "NewestInstance":
        return _least(candidates, lambda i: -i.launched)
    if policy == "ClosestToNextInstanceHour":
        return _least(candidates, lambda i: _hour_left(i, now))
    return candidates  # AllocationStrategy: one strategy here, so every instance is aligned with it


def _template_age(instance: Instance, current: Callable[[Instance], bool]) -> tuple[bool, int]:
    """Sorts instances of another template before those of the current one, and among them the lowest version."""
    version = int(instance.template.version) if instance.template else 0
    return current(instance), version


def _hour_left(instance: Instance, now: float) -> float:
    return _HOUR - (now - instance.launched) % _HOUR


def _least(candidates: list[Instance], key: Callable[[Instance], Any]) -> list[Instance]:
    least = min(key(i) for i in candidates)
    return [i for i in candidates if key(i) == least]


def overrides(mixed: dict[str, Any]) -> list[dict[str, Any]]:
    """The overrides of a mixed instances policy."""
    found: Iterable[dict[str, Any]] = mixed.get("LaunchTemplate", {}).get("Overrides") or []
    return list(found)
