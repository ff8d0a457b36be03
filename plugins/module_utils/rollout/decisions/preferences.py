# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A roll as AWS's instance refresh does it: options as its preferences, and what it cannot honour, by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.plan import Plan
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import floating
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Group
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match, Policy
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.specs import template_spec, with_template

_BATCHES = "use strategy=batches"


def refused_options(params: Mapping[str, Any]) -> Iterable[str]:
    """Sentences about options that no instance refresh can honour, whatever the group is like."""
    if params["state"] == "advanced":
        yield f"state=advanced cannot be honoured by strategy=instance_refresh, which has no single batches: {_BATCHES}"
    if params.get("health_checks"):
        yield (
            "health_checks cannot be honoured by strategy=instance_refresh, which knows only what EC2 and the load "
            f"balancers say: {_BATCHES}, or leave health_checks out"
        )
    if params.get("drain"):
        yield (
            "drain cannot be honoured by strategy=instance_refresh, which tells nobody before it terminates: "
            f"{_BATCHES}, or give the group a lifecycle hook"
        )
    if params.get("instances"):
        yield f"instances cannot be honoured by strategy=instance_refresh, which chooses them itself: {_BATCHES}"
    if params["match"] == "age":
        yield f"match=age cannot be honoured by strategy=instance_refresh, which does not look at ages: {_BATCHES}"


def refused(group: Group, journal: Journal, plan: Plan, policy: Policy) -> Iterable[str]:
    """Sentences about what stands against an instance refresh of this group."""
    if "InstanceRefresh" in group.suspended:
        reason = group.suspended["InstanceRefresh"]
        yield f"the process InstanceRefresh of the group {group.name} is suspended ({reason}): resume it first"
    if policy.rollback and not journal.back:
        has = group.template
        if has is None or floating(has.version) or journal.target.template.same(has):
            why = (
                f"the group has the version {has.version}"
                if has is not None and floating(has.version)
                else "the group has what it is rolled to already"
            )
            yield (
                f"on_failure=rollback cannot be honoured by strategy=instance_refresh, because {why} and AWS rolls back "
                "only to another version with a number: give the group that number and name the new one in "
                f"launch_template, or {_BATCHES}"
            )
    number = plan.due - len(plan.warm)
    sizes = [len(batch) for batch in plan.batches]
    if policy.bake_time > 0 and len(set(_percentages(sizes))) < len(sizes):
        yield (
            f"bake_time cannot be honoured by strategy=instance_refresh after each of {len(sizes)} batches of {number} "
            f"instances, because it pauses at whole percentages: raise batch_size, or {_BATCHES}"
        )
    elif _wants_canary(sizes) and sizes[0] * 100 < number:
        yield (
            f"canary={policy.canary} cannot be honoured by strategy=instance_refresh with {number} instances, because it "
            f"pauses at whole percentages: set canary to 0 or at least {ceil(number / 100)}, or {_BATCHES}"
        )


def warnings(group: Group) -> Iterable[str]:
    """What people should know."""
    if group.balanced and not group.health_types & {"ELB", "VPC_LATTICE"}:
        yield (
            f"the group {group.name} has load balancers, but HealthCheckType {','.join(sorted(group.health_types)) or 'EC2'}"
            ": an instance refresh does not wait for their verdict; set ELB, or use strategy=batches"
        )


def preferences(group: Group, plan: Plan, policy: Policy) -> dict[str, Any]:
    """Preferences of StartInstanceRefresh; rounded so that it never takes more than the options allow."""
    desired = max(1, plan.before.desired)
    size = min(max((len(batch) for batch in plan.batches), default=1), desired)
    slack = min(policy.max_unavailable.of(desired), size, desired)
    low = ceil(100 * (desired - slack) / desired)
    high = min(100 + 100 * (size - slack) // desired, low + 100, 200)
    found: dict[str, Any] = {
        "MinHealthyPercentage": low,
        "MaxHealthyPercentage": high,
        "InstanceWarmup": ceil(policy.min_healthy_time),
        "SkipMatching": policy.match is Match.TEMPLATE,
        "ScaleInProtectedInstances": "Ignore" if policy.protected == "skip" else "Refresh",
        "StandbyInstances": "Terminate" if policy.standby == "replace" else "Ignore",
    }
    if policy.rollback:
        found["AutoRollback"] = True
    if high == 100 and low == 100:
        # So it launches one ahead; with no maximum it would terminate first.
        found["MaxHealthyPercentage"] = 100 + max(1, 100 // desired)
    sizes = [len(batch) for batch in plan.batches]
    if policy.bake_time > 0 and sizes:
        found["CheckpointPercentages"] = _percentages(sizes)
        found["CheckpointDelay"] = ceil(policy.bake_time)
    elif _wants_canary(sizes):
        found["CheckpointPercentages"] = [_percentages(sizes)[0], 100]
        found["CheckpointDelay"] = ceil(policy.min_healthy_time)
    return found


def _wants_canary(sizes: list[int]) -> bool:
    """Whether the first batch is smaller than those after it."""
    return len(sizes) > 1 and sizes[0] < sizes[1]


def _percentages(sizes: list[int]) -> list[int]:
    """At which percentage each batch is complete."""
    total, done, found = sum(sizes), 0, []
    for size in sizes:
        done += size
        found.append(max(1, 100 * done // total))
    return found


def desired_configuration(group: Group, journal: Journal) -> dict[str, Any] | None:
    """What to launch, where that is not what the group has; with numbers, so that it cannot move meanwhile."""
    target = journal.target
    numbers = {name: template.version for name, template in target.by_type.items()}
    if group.mixed:
        wanted = with_template(group.mixed, target.template, numbers)
        return None if wanted == group.mixed else {"MixedInstancesPolicy": wanted}
    if target.template.same(group.template) or not target.template.id:
        return None
    return {"LaunchTemplate": template_spec(target.template)}
