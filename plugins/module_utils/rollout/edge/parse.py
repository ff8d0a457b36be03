# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS's shapes as values, and back. Emulations leave keys out: what a roll can do without may be missing."""

from __future__ import annotations

import itertools
import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Activity,
    Group,
    Instance,
    Members,
    Template,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.specs import parse_template


class Parser:
    """Most instances look as they did at the last poll; then the same value is given out again."""

    def __init__(self) -> None:
        self._raw: dict[str, Mapping[str, Any]] = {}
        self._known: dict[str, Instance] = {}
        self._listed: Sequence[Mapping[str, Any]] = ()
        self._latest = Members.of(())
        self._serials = itertools.count(1)
        self._templates: dict[Template | None, Template | None] = {}

    def group(self, raw: Mapping[str, Any]) -> Group:
        """One entry of DescribeAutoScalingGroups."""
        policy = raw.get("MixedInstancesPolicy") or {}
        mixed = policy.get("LaunchTemplate") or {}
        template = parse_template(raw.get("LaunchTemplate") or mixed.get("LaunchTemplateSpecification"))
        if template is None and raw.get("LaunchConfigurationName"):
            template = Template("", raw["LaunchConfigurationName"])
        by_type: dict[str, list[str]] = {}
        for source in raw.get("TrafficSources") or ():
            by_type.setdefault(source.get("Type") or "", []).append(source["Identifier"])
        overrides = mixed.get("Overrides") or ()
        pool = raw.get("WarmPoolConfiguration") or {}
        members = self._members(raw.get("Instances") or ())
        return Group(
            name=raw["AutoScalingGroupName"],
            min=raw["MinSize"],
            max=raw["MaxSize"],
            desired=raw["DesiredCapacity"],
            template=template,
            instances=members.instances,
            members=members,
            zones=tuple(raw.get("AvailabilityZones") or ()),
            suspended={
                item["ProcessName"]: item.get("SuspensionReason") or "no reason given"
                for item in raw.get("SuspendedProcesses") or ()
            },
            target_groups=tuple(dict.fromkeys([*(raw.get("TargetGroupARNs") or ()), *by_type.get("elbv2", ())])),
            balancers=tuple(dict.fromkeys([*(raw.get("LoadBalancerNames") or ()), *by_type.get("elb", ())])),
            lattice=tuple(by_type.get("vpc-lattice", ())),
            tags={
                tag["Key"]: tag.get("Value") or ""
                for tag in raw.get("Tags") or ()
                if tag["Key"] in (TAG_JOURNAL, TAG_RECORD)
            },
            tag_count=sum(not tag["Key"].startswith("aws:") for tag in raw.get("Tags") or ()),
            status=raw.get("Status") or "",
            mixed=policy if mixed else {},
            overrides={
                item["InstanceType"]: parse_template(item.get("LaunchTemplateSpecification"))
                for item in overrides
                if item.get("InstanceType")
            },
            any_type=not all(item.get("InstanceType") for item in overrides),
            weight=max((int(item.get("WeightedCapacity") or 1) for item in overrides), default=1),
            health_types=frozenset(filter(None, str(raw.get("HealthCheckType") or "").split(","))),
            warm_pool=bool(pool),
            reuses_warm=bool((pool.get("InstanceReusePolicy") or {}).get("ReuseOnScaleIn")),
        )

    def _members(self, raw: Sequence[Mapping[str, Any]]) -> Members:
        """A group's instances; where none changed the very value of before, so that nobody has to look again."""
        if len(raw) == len(self._listed) and all(map(operator.is_, raw, self._listed)):
            return self._latest
        self._listed = raw
        names = [item["InstanceId"] for item in raw]
        before = map(self._raw.get, names)
        known, latest = self._known, self._latest
        changed = []
        for item in itertools.compress(raw, map(operator.is_not, before, raw)):
            was = known.get(item["InstanceId"])
            if self.instance(item) is not was:
                changed.append(item["InstanceId"])
        found = tuple(map(known.__getitem__, names))
        if len(found) != len(latest.instances) or not all(map(operator.is_, found, latest.instances)):
            news = {*changed, *(latest.by_id.keys() ^ names)}
            self._latest = latest.followed_by(found, sorted(news), next(self._serials))
        return self._latest

    def instance(self, raw: Mapping[str, Any]) -> Instance:
        """One instance of a group or of its warm pool."""
        name = raw["InstanceId"]
        if self._raw.get(name) == raw:
            return self._known[name]
        template = parse_template(raw.get("LaunchTemplate"))
        if template is None and raw.get("LaunchConfigurationName"):
            template = Template("", raw["LaunchConfigurationName"])
        template = self._templates.setdefault(template, template)  # one value for all that have it
        instance = Instance(
            id=name,
            zone=raw.get("AvailabilityZone") or "",
            state=raw["LifecycleState"],
            healthy=str(raw.get("HealthStatus") or "").lower() == "healthy",
            template=template,
            type=raw.get("InstanceType") or "",
            protected=bool(raw.get("ProtectedFromScaleIn")),
            weight=int(raw.get("WeightedCapacity") or 1),
        )
        self._raw[name], self._known[name] = raw, instance
        return instance


def parse_activity(raw: Mapping[str, Any]) -> Activity:
    """One of DescribeScalingActivities."""
    try:
        details = json.loads(raw.get("Details") or "{}")
    except ValueError:
        details = {}
    return Activity(
        id=str(raw["ActivityId"]),
        description=str(raw.get("Description") or ""),
        status=str(raw.get("StatusCode") or ""),
        cause=" ".join(str(raw.get("Cause") or "").split()),
        message=" ".join(str(raw.get("StatusMessage") or "").split()),
        zone=str(details.get("Availability Zone") or "") if isinstance(details, dict) else "",
        started=raw["StartTime"].timestamp() if raw.get("StartTime") else 0.0,
    )
