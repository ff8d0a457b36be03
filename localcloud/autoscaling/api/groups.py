# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups: create, change, delete, describe; their size and their processes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from localcloud.autoscaling import placement, shapes, words
from localcloud.autoscaling.api.base import Params, check_percentages, page
from localcloud.autoscaling.api.configuration import Configuration
from localcloud.autoscaling.api.hooks import Hooks
from localcloud.autoscaling.api.scaling import Scaling
from localcloud.autoscaling.api.tags import Tags, tag_matches
from localcloud.autoscaling.api.traffic import Traffic
from localcloud.autoscaling.state import ENTERING_STANDBY, PROCESSES, STANDBY, Activity, Group
from localcloud.errors import ApiError

_KEPT = {
    "AvailabilityZoneDistribution": "distribution", "CapacityRebalance": "capacity_rebalance", "Context": "context",
    "DefaultCooldown": "cooldown", "DeletionProtection": "deletion_protection", "DesiredCapacityType": "desired_capacity_type",
    "HealthCheckGracePeriod": "grace", "NewInstancesProtectedFromScaleIn": "protect_new", "PlacementGroup": "placement_group",
    "ServiceLinkedRoleARN": "service_role",
}  # fmt: skip
"""Parameters that are kept as they come, and where."""


class Groups(Configuration, Hooks, Scaling, Tags, Traffic):
    def _op_create_auto_scaling_group(self, params: Params, region: str) -> None:
        name = params["AutoScalingGroupName"]
        if name in self._groups.get(region, {}):
            raise words.group_exists(name)
        if params.get("LaunchConfigurationName") or params.get("InstanceId"):
            raise words.no_launch_configurations("ValidationError")
        low, high = int(params["MinSize"]), int(params["MaxSize"])
        desired = int(params.get("DesiredCapacity", low))
        _check_sizes(low, high, desired)
        group = Group(
            name=name,
            arn=f"arn:aws:autoscaling:{region}:{self._account}:autoScalingGroup:{self._new_id()}"
            f":autoScalingGroupName/{name}",
            region=region,
            created=self._clock.now(),
            min_size=low,
            max_size=high,
            desired=0,
            zones=[],
            subnets={},
            service_role=f"arn:aws:iam::{self._account}:role/aws-service-role/autoscaling.amazonaws.com"
            "/AWSServiceRoleForAutoScaling",
        )
        if not (params.get("LaunchTemplate") or params.get("MixedInstancesPolicy")):
            raise words.invalid(
                "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or "
                "MixedInstancesPolicy parameter."
            )
        self._apply(group, params)
        if not group.zones:
            raise words.invalid("At least one Availability Zone or VPC Subnet is required.")
        self._set_tags(group, params.get("Tags") or [])
        for spec in params.get("LifecycleHookSpecificationList") or []:
            self._put_hook(group, spec)
        self._attach_places(group, params.get("TargetGroupARNs") or [], params.get("LoadBalancerNames") or [])
        self._attach_sources(group, params.get("TrafficSources") or [])
        self._groups.setdefault(region, {})[name] = group
        self.model.set_desired(group, desired, "created an AutoScalingGroup")

    def _op_update_auto_scaling_group(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        low = int(params.get("MinSize", group.min_size))
        high = int(params.get("MaxSize", group.max_size))
        if low > high:
            raise words.min_above_max(low, high)
        # Without a desired capacity of their own, the bounds carry it along.
        desired = int(params.get("DesiredCapacity", min(max(group.desired, low), high)))
        _check_sizes(low, high, desired)
        self._apply(group, params)
        group.min_size, group.max_size = low, high
        self.model.set_desired(
            group, desired, f"update of AutoScalingGroup constraints to min: {low}, max: {high}, desired: {desired}"
        )

    def _apply(self, group: Group, params: Params) -> None:
        """Check everything first, then set what Create and Update have in common."""
        template, mixed = self._configuration(params)
        subnets, zones = self._places(group, params)
        _check_settings(params)
        if template or mixed:
            group.template, group.mixed = template, mixed
        group.subnets, group.zones = subnets, zones
        for parameter, field in _KEPT.items():
            setattr(group, field, params.get(parameter, getattr(group, field)))
        group.health_check_type = params.get("HealthCheckType") or group.health_check_type
        group.termination_policies = list(params.get("TerminationPolicies") or group.termination_policies)
        if params.get("MaxInstanceLifetime") is not None:
            group.max_lifetime = params["MaxInstanceLifetime"] or None
        if "DefaultInstanceWarmup" in params:
            group.default_warmup = params["DefaultInstanceWarmup"] if params["DefaultInstanceWarmup"] >= 0 else None
        if (maintenance := params.get("InstanceMaintenancePolicy")) is not None:
            unset = maintenance.get("MinHealthyPercentage") in (None, -1)
            group.maintenance_policy = None if unset else dict(maintenance)
        group.next_launch = 0.0

    def _places(self, group: Group, params: Params) -> tuple[dict[str, str], list[str]]:
        """The subnets with their zones, and the zones."""
        subnets, zones = dict(group.subnets), list(group.zones)
        if params.get("VPCZoneIdentifier"):
            subnets = {}
            for subnet in (part.strip() for part in params["VPCZoneIdentifier"].split(",")):
                try:
                    subnets[subnet] = self.model.subnets.zone(subnet)
                except ApiError as refusal:
                    raise words.invalid(refusal.message) from refusal
            zones = list(dict.fromkeys(subnets.values()))
        if params.get("AvailabilityZones"):
            wanted = list(dict.fromkeys(params["AvailabilityZones"]))
            if subnets and set(wanted) != set(zones):
                raise words.invalid(
                    "The availability zones of the specified subnets and the AutoScalingGroup do not match"
                )
            zones = wanted
        return subnets, zones

    def _op_delete_auto_scaling_group(self, params: Params, region: str) -> None:
        group = self._group(params, region)
        force = params.get("ForceDelete", False)
        if group.deleting:
            return
        protection = group.deletion_protection
        if protection == "prevent-all-deletion" or (force and protection == "prevent-force-deletion"):
            raise words.invalid(
                f"Deletion protection {protection} is enabled for AutoScalingGroup {group.name}. Disable deletion "
                "protection and try again."
            )
        if not force:
            if any(i.counted or i.state in (STANDBY, ENTERING_STANDBY) for i in group.instances.values()):
                raise words.delete_with_instances()
            if group.instances or group.warm:
                raise words.delete_with_activities()
        group.desired = group.min_size = group.max_size = 0
        group.status = "Delete in progress"
        self._forget_scaling(group)
        self.model.terminate_now(group)

    def _op_describe_auto_scaling_groups(self, params: Params, region: str) -> dict[str, Any]:
        shown = self._shown(region)
        names = params.get("AutoScalingGroupNames")
        if names:
            shown = [shape for shape in shown if shape["AutoScalingGroupName"] in names]
        for wanted in params.get("Filters") or []:
            shown = [shape for shape in shown if tag_matches(shape["Tags"], wanted["Name"], wanted.get("Values", []))]
        return page("AutoScalingGroups", shown, params, default=50, most=100)

    def _op_set_desired_capacity(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        desired = params["DesiredCapacity"]
        if desired > group.max_size:
            raise words.desired_above_max(desired, group.max_size)
        if desired < group.min_size:
            raise words.desired_below_min(desired, group.min_size)
        if params.get("HonorCooldown"):
            running = next((a for a in reversed(group.activities.values()) if a.end is None), None)
            if running is not None:
                raise words.activity_blocks(running.id)
            if self._clock.now() < group.cooldown_until:
                latest = next(reversed(group.activities), "")
                raise words.activity_blocks(latest)
        if desired != group.desired:
            group.cooldown_until = self._clock.now() + group.cooldown
        self.model.set_desired(group, desired, "explicitly set group desired capacity")

    def _op_suspend_processes(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        stamp = words.stamp(self._clock.now())
        for process in _processes(params):
            group.suspended.setdefault(process, f"User suspended at {stamp}")

    def _op_resume_processes(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        for process in _processes(params):
            group.suspended.pop(process, None)

    def _op_describe_scaling_activities(self, params: Params, region: str) -> dict[str, Any]:
        owners = [(group, False) for group in self._groups.get(region, {}).values()]
        if params.get("IncludeDeletedGroups"):
            owners += [(group, True) for group in self._deleted.get(region, [])]
        name, ids = params.get("AutoScalingGroupName"), params.get("ActivityIds")
        if name and name not in {group.name for group, _ in owners}:
            raise words.no_group(name)
        found: list[tuple[Activity, Group, bool]] = []
        for group, deleted in owners:
            if name and group.name != name:
                continue
            chosen = group.activities.values()
            if ids:
                chosen = [group.activities[i] for i in ids if i in group.activities]  # type: ignore[assignment]
            found += [(activity, group, deleted) for activity in chosen]
        for wanted in params.get("Filters") or []:
            found = [row for row in found if _activity_matches(row[0], wanted["Name"], wanted.get("Values", []))]
        order = {id(row[0]): index for index, row in enumerate(found)}
        found.sort(key=lambda row: (row[0].start, order[id(row[0])]), reverse=True)
        result = page("Activities", found, params, default=100, most=100)
        result["Activities"] = [shapes.activity(*row) for row in result["Activities"]]
        return result


def _check_settings(params: Params) -> None:
    """Raise ApiError for values that a group cannot have."""
    for policy in params.get("TerminationPolicies") or []:
        if policy not in placement.TERMINATION_POLICIES:
            raise words.invalid(f"Termination policy {policy} is not valid.")
    lifetime = params.get("MaxInstanceLifetime")
    if lifetime and not 86400 <= lifetime <= 31536000:
        raise words.invalid("MaxInstanceLifetime must be 0 or between 86400 and 31536000 seconds.")
    kind = params.get("HealthCheckType") or "EC2"
    if any(part.strip() not in ("EC2", "ELB", "EBS", "VPC_LATTICE") for part in kind.split(",")):
        raise words.invalid(f"Invalid HealthCheckType {kind}.")
    maintenance = params.get("InstanceMaintenancePolicy") or {}
    check_percentages(maintenance.get("MinHealthyPercentage"), maintenance.get("MaxHealthyPercentage"))


def _check_sizes(low: int, high: int, desired: int) -> None:
    if low < 0 or high < 0:
        raise words.invalid(f"Min and max size must not be negative: {low}, {high}")
    if low > high:
        raise words.min_above_max(low, high)
    if not low <= desired <= high:
        raise words.desired_out_of_bounds(desired, low, high)


def _processes(params: Params) -> list[str]:
    wanted = params.get("ScalingProcesses") or list(PROCESSES)
    for process in wanted:
        if process not in PROCESSES:
            raise words.invalid(f"1 validation error detected: {process} is not a valid scaling process.")
    return list(wanted)


def _activity_matches(activity: Activity, name: str, values: list[str]) -> bool:
    if name == "Status":
        return activity.status in values
    if name in ("StartTimeLowerBound", "StartTimeUpperBound"):
        bound = datetime.fromisoformat(values[0].replace("Z", "+00:00")).timestamp()
        return activity.start >= bound if name == "StartTimeLowerBound" else activity.start <= bound
    raise words.invalid(
        f"Filter type {name} is not correct. Allowed Filter types are: StartTimeLowerBound StartTimeUpperBound Status"
    )
