# SPDX-License-Identifier: GPL-3.0-or-later
"""Auto Scaling's state in the shapes that boto3 returns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from localcloud.autoscaling import underway
from localcloud.autoscaling.state import (
    Activity,
    Group,
    Hook,
    Instance,
    Policy,
    Refresh,
    Schedule,
    TemplateRef,
    WarmPool,
)


def when(seconds: float | None) -> datetime | None:
    """Unix seconds as boto3 has times; None if there is no such time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def given(**fields: Any) -> dict[str, Any]:
    """The fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None}


def template(ref: TemplateRef) -> dict[str, str]:
    return {"LaunchTemplateId": ref.id, "LaunchTemplateName": ref.name, "Version": ref.version}


def instance(item: Instance) -> dict[str, Any]:
    """One of a group's Instances. The same dict until the instance changes: not to be written to."""
    if item.shown is not None:  # a thousand of them are asked for again and again
        return item.shown
    shape: dict[str, Any] = {
        "InstanceId": item.id,
        "InstanceType": item.type,
        "AvailabilityZone": item.zone,
        "LifecycleState": item.state,
        "HealthStatus": "Healthy" if item.healthy else "Unhealthy",
        "ProtectedFromScaleIn": item.protected,
    }
    if item.template is not None:
        shape["LaunchTemplate"] = template(item.template)
    if item.image_id is not None:
        shape["ImageId"] = item.image_id
    item.shown = shape
    return shape


def weighted(item: Instance) -> dict[str, Any]:
    """One of the Instances of a group whose types have weights."""
    return {**instance(item), "WeightedCapacity": str(item.weight)}


def group(item: Group) -> dict[str, Any]:
    """One entry of DescribeAutoScalingGroups."""
    weights = item.mixed is not None and any(
        "WeightedCapacity" in choice for choice in item.mixed["LaunchTemplate"].get("Overrides") or []
    )
    members = item.instances.values()
    return given(
        AutoScalingGroupName=item.name,
        AutoScalingGroupARN=item.arn,
        LaunchTemplate=template(item.template) if item.template else None,
        MixedInstancesPolicy=item.mixed,
        MinSize=item.min_size,
        MaxSize=item.max_size,
        DesiredCapacity=item.desired,
        DefaultCooldown=item.cooldown,
        AvailabilityZones=list(item.zones),
        LoadBalancerNames=list(item.load_balancers),
        TargetGroupARNs=list(item.target_groups),
        HealthCheckType=item.health_check_type,
        HealthCheckGracePeriod=item.grace,
        Instances=[weighted(i) for i in members] if weights else [i.shown or instance(i) for i in members],
        CreatedTime=when(item.created),
        SuspendedProcesses=[
            {"ProcessName": name, "SuspensionReason": reason} for name, reason in sorted(item.suspended.items())
        ],
        PlacementGroup=item.placement_group,
        VPCZoneIdentifier=",".join(item.subnets),
        EnabledMetrics=[{"Metric": metric, "Granularity": "1Minute"} for metric in item.metrics],
        Status=item.status,
        Tags=tags(item),
        TerminationPolicies=list(item.termination_policies),
        NewInstancesProtectedFromScaleIn=item.protect_new,
        ServiceLinkedRoleARN=item.service_role,
        MaxInstanceLifetime=item.max_lifetime,
        CapacityRebalance=item.capacity_rebalance,
        WarmPoolConfiguration=warm_pool(item.warm_pool) if item.warm_pool else None,
        WarmPoolSize=len(item.warm) if item.warm_pool else None,
        Context=item.context,
        DesiredCapacityType=item.desired_capacity_type,
        DefaultInstanceWarmup=item.default_warmup,
        TrafficSources=traffic_sources(item),
        InstanceMaintenancePolicy=item.maintenance_policy,
        AvailabilityZoneDistribution=item.distribution,
        DeletionProtection=item.deletion_protection,
    )


def tags(item: Group) -> list[dict[str, Any]]:
    return [
        {
            "ResourceId": item.name,
            "ResourceType": "auto-scaling-group",
            "Key": key,
            "Value": tag.value,
            "PropagateAtLaunch": tag.propagate,
        }
        for key, tag in sorted(item.tags.items())
    ]


def traffic_sources(item: Group) -> list[dict[str, str]]:
    return [
        *({"Identifier": arn, "Type": "elbv2"} for arn in item.target_groups),
        *({"Identifier": name, "Type": "elb"} for name in item.load_balancers),
        *item.traffic_sources,
    ]


def activity(item: Activity, owner: Group, deleted: bool = False) -> dict[str, Any]:
    return given(
        ActivityId=item.id,
        AutoScalingGroupName=owner.name,
        AutoScalingGroupARN=owner.arn,
        AutoScalingGroupState="Deleted" if deleted else None,
        Description=item.description,
        Cause=item.cause,
        StartTime=when(item.start),
        EndTime=when(item.end),
        StatusCode=item.status,
        StatusMessage=item.message,
        Progress=item.progress,
        Details=item.details,
    )


def hook(item: Hook, owner: Group) -> dict[str, Any]:
    return given(
        LifecycleHookName=item.name,
        AutoScalingGroupName=owner.name,
        LifecycleTransition=item.transition,
        NotificationTargetARN=item.target_arn,
        RoleARN=item.role_arn,
        NotificationMetadata=item.metadata,
        HeartbeatTimeout=item.heartbeat,
        GlobalTimeout=int(item.global_timeout),
        DefaultResult=item.default_result,
    )


def warm_pool(item: WarmPool) -> dict[str, Any]:
    return given(
        MinSize=item.min_size,
        MaxGroupPreparedCapacity=item.max_prepared,
        PoolState=item.state,
        Status="PendingDelete" if item.deleting else None,
        InstanceReusePolicy={"ReuseOnScaleIn": True} if item.reuse_on_scale_in else None,
    )


def refresh(item: Refresh, owner: Group) -> dict[str, Any]:
    """One entry of DescribeInstanceRefreshes."""
    details = None
    if item.rolling_back:
        details = given(
            RollbackReason=item.reason,
            RollbackStartTime=when(item.rolled_back_at),
            PercentageCompleteOnRollback=item.percentage_on_rollback,
            InstancesToUpdateOnRollback=item.left_on_rollback,
        )
    return given(
        InstanceRefreshId=item.id,
        AutoScalingGroupName=owner.name,
        Status=item.status,
        StatusReason=item.reason,
        StartTime=when(item.start),
        EndTime=when(item.end),
        PercentageComplete=underway.percentage_complete(item),
        InstancesToUpdate=underway.instances_to_update(item),
        Preferences=item.preferences,
        DesiredConfiguration=item.desired_configuration,
        RollbackDetails=details,
        Strategy="Rolling",
    )


def schedule(item: Schedule, owner: Group) -> dict[str, Any]:
    """One entry of DescribeScheduledActions; StartTime is when it runs next."""
    return given(
        AutoScalingGroupName=owner.name,
        ScheduledActionName=item.name,
        ScheduledActionARN=item.arn,
        Time=when(item.due),
        StartTime=when(item.due),
        EndTime=when(item.end),
        Recurrence=item.recurrence,
        MinSize=item.min_size,
        MaxSize=item.max_size,
        DesiredCapacity=item.desired,
        TimeZone=item.time_zone,
    )


def policy(item: Policy, owner: Group) -> dict[str, Any]:
    """One entry of DescribePolicies."""
    return given(
        AutoScalingGroupName=owner.name,
        PolicyName=item.name,
        PolicyARN=item.arn,
        PolicyType=item.kind,
        AdjustmentType=item.adjustment_type,
        MinAdjustmentMagnitude=item.min_magnitude,
        ScalingAdjustment=item.adjustment,
        Cooldown=item.cooldown,
        StepAdjustments=item.steps,
        MetricAggregationType=(item.aggregation or "Average") if item.kind == "StepScaling" else None,
        EstimatedInstanceWarmup=item.warmup,
        Alarms=alarms(item),
        TargetTrackingConfiguration=item.target,
        Enabled=item.enabled,
    )


def alarms(item: Policy) -> list[dict[str, str]]:
    return [{"AlarmName": name, "AlarmARN": arn} for name, arn in item.alarms.items()]
