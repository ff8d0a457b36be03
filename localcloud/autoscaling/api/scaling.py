# SPDX-License-Identifier: GPL-3.0-or-later
"""Scheduled actions and scaling policies."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

from localcloud.autoscaling import cron, scaling, shapes, words
from localcloud.autoscaling.api.base import Api, Params, page
from localcloud.autoscaling.ports import Alarms
from localcloud.autoscaling.state import Group, Policy, Schedule
from localcloud.errors import ApiError

MAX_SCHEDULES, MAX_POLICIES = 125, 50
_ADJUSTMENTS = ("ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity")
_STATISTICS = {
    None: "Average",
    "Average": "Average",
    "Maximum": "Maximum",
    "Minimum": "Minimum",
    "SampleCount": "SampleCount",
    "Sum": "Sum",
}


class Scaling(Api):
    """What changes a group's sizes by itself.

    ``alarms`` are CloudWatch's; without them target tracking is refused.
    """

    alarms: Alarms | None = None

    def alarm(self, policy_arn: str, alarm: str, value: float, threshold: float) -> None:
        """An alarm is in state ALARM, and this policy is its action."""
        with self._lock:
            for group in self._all():
                policy = next((one for one in group.policies.values() if one.arn == policy_arn), None)
                if policy is not None and group.runs("AlarmNotification") and not group.deleting:
                    who, why = scaling.alarm_cause(alarm, policy.name)
                    scaling.execute(self.model, group, policy, who=who, why=why, value=value, threshold=threshold)

    def has_policy(self, arn: str) -> bool:
        with self._lock:
            return any(policy.arn == arn for group in self._all() for policy in group.policies.values())

    def _forget_scaling(self, group: Group) -> None:
        """What a group that is deleted has no more."""
        if self.alarms is not None:
            self.alarms.delete([name for policy in group.policies.values() for name in policy.alarms], group.region)
        group.schedules, group.policies = {}, {}

    # ---- scheduled actions ---------------------------------------------------------------------------------------

    def _op_put_scheduled_update_group_action(self, params: Params, region: str) -> None:
        self._schedule(self._live_group(params, region), params)

    def _op_batch_put_scheduled_update_group_action(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        failed = []
        for one in params["ScheduledUpdateGroupActions"]:
            try:
                self._schedule(group, one)
            except ApiError as error:
                failed.append(_failed(one["ScheduledActionName"], error))
        return {"FailedScheduledUpdateGroupActions": failed}

    def _schedule(self, group: Group, params: Params) -> None:
        name, now = params["ScheduledActionName"], self._clock.now()
        known = group.schedules.get(name)
        if known is None and len(group.schedules) >= MAX_SCHEDULES:
            raise ApiError(
                "LimitExceeded", f"ScheduledActions by this AutoScalingGroup exceed the limit of {MAX_SCHEDULES}."
            )
        start, end = _seconds(params.get("StartTime") or params.get("Time")), _seconds(params.get("EndTime"))
        schedule = Schedule(
            name=name,
            arn=known.arn
            if known
            else f"arn:aws:autoscaling:{group.region}:{self._account}:scheduledUpdateGroupAction:{self._new_id()}"
            f":autoScalingGroupName/{group.name}:scheduledActionName/{name}",
            due=0.0,
            start=start,
            end=end,
            recurrence=params.get("Recurrence"),
            time_zone=params.get("TimeZone"),
            min_size=params.get("MinSize"),
            max_size=params.get("MaxSize"),
            desired=params.get("DesiredCapacity"),
        )
        _check_schedule(schedule, now)
        schedule.due = scaling.first_due(schedule, now)
        if end is not None and schedule.due > end:
            raise words.invalid("The end time must be after the first time that the action would run.")
        group.schedules[name] = schedule

    def _op_describe_scheduled_actions(self, params: Params, region: str) -> dict[str, Any]:
        name, wanted = params.get("AutoScalingGroupName"), params.get("ScheduledActionNames")
        groups = [self._group(params, region)] if name else list(self._groups.get(region, {}).values())
        low, high = _seconds(params.get("StartTime")), _seconds(params.get("EndTime"))
        rows = [
            shapes.schedule(one, group)
            for group in groups
            for one in sorted(group.schedules.values(), key=lambda one: one.due)
            if (not wanted or one.name in wanted)
            and (low is None or one.due >= low)
            and (high is None or one.due <= high)
        ]
        return page("ScheduledUpdateGroupActions", rows, params, default=50, most=100)

    def _op_delete_scheduled_action(self, params: Params, region: str) -> None:
        _unschedule(self._live_group(params, region), params["ScheduledActionName"])

    def _op_batch_delete_scheduled_action(self, params: Params, region: str) -> dict[str, Any]:
        group, failed = self._live_group(params, region), []
        for name in params["ScheduledActionNames"]:
            try:
                _unschedule(group, name)
            except ApiError as error:
                failed.append(_failed(name, error))
        return {"FailedScheduledActions": failed}

    # ---- policies ------------------------------------------------------------------------------------------------

    def _op_put_scaling_policy(self, params: Params, region: str) -> dict[str, Any]:
        group, name = self._live_group(params, region), params["PolicyName"]
        known = group.policies.get(name)
        if known is None and len(group.policies) >= MAX_POLICIES:
            raise ApiError(
                "LimitExceeded", f"Scaling policies by this AutoScalingGroup exceed the limit of {MAX_POLICIES}."
            )
        policy = Policy(
            name=name,
            arn=known.arn
            if known
            else f"arn:aws:autoscaling:{group.region}:{self._account}:scalingPolicy:{self._new_id()}"
            f":autoScalingGroupName/{group.name}:policyName/{name}",
            kind=params.get("PolicyType", "SimpleScaling"),
            enabled=params.get("Enabled", True),
            adjustment_type=params.get("AdjustmentType"),
            adjustment=params.get("ScalingAdjustment"),
            min_magnitude=params.get("MinAdjustmentMagnitude", params.get("MinAdjustmentStep")),
            cooldown=params.get("Cooldown"),
            steps=list(params.get("StepAdjustments") or []),
            aggregation=params.get("MetricAggregationType"),
            warmup=params.get("EstimatedInstanceWarmup"),
            target=params.get("TargetTrackingConfiguration"),
        )
        _check_policy(policy)
        if policy.kind == "TargetTrackingScaling":
            policy.alarms = self._track(group, policy, known)
        elif known is not None and known.alarms:
            raise words.invalid("Changing the type of an existing policy is not allowed.")
        group.policies[name] = policy
        return {"PolicyARN": policy.arn, "Alarms": shapes.alarms(policy)}

    def _track(self, group: Group, policy: Policy, known: Policy | None) -> dict[str, str]:
        """Make the two alarms of a target tracking policy, as AWS does."""
        metric = (policy.target or {}).get("CustomizedMetricSpecification")
        if self.alarms is None or metric is None:
            raise words.not_modelled(
                "target tracking of predefined metrics: put your own metric, and name it in CustomizedMetricSpecification,"
            )
        target = float((policy.target or {})["TargetValue"])
        names = (
            list(known.alarms)
            if known is not None and known.alarms
            else [f"TargetTracking-{group.name}-Alarm{word}-{self._new_id()}" for word in ("High", "Low")]
        )
        shared = {
            "AlarmActions": [policy.arn],
            "AlarmDescription": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.arn}.",
            "Namespace": metric["Namespace"],
            "MetricName": metric["MetricName"],
            "Dimensions": metric.get("Dimensions") or [],
            "Statistic": _STATISTICS[metric.get("Statistic")],
            "Period": metric.get("Period", 60),
        }
        high = {"ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 3, "Threshold": target}
        low = {"ComparisonOperator": "LessThanThreshold", "EvaluationPeriods": 15, "Threshold": target * 0.9}
        return {
            name: self.alarms.put({"AlarmName": name, **shared, **own}, group.region)
            for name, own in zip(names, (high, low), strict=True)
        }

    def _op_describe_policies(self, params: Params, region: str) -> dict[str, Any]:
        groups = (
            [self._group(params, region)]
            if params.get("AutoScalingGroupName")
            else self._groups.get(region, {}).values()
        )
        names, kinds = params.get("PolicyNames"), params.get("PolicyTypes")
        rows = [
            shapes.policy(one, group)
            for group in groups
            for one in group.policies.values()
            if (not names or one.name in names or one.arn in names) and (not kinds or one.kind in kinds)
        ]
        return page("ScalingPolicies", rows, params, default=50, most=100)

    def _op_delete_policy(self, params: Params, region: str) -> None:
        group, policy = self._policy(params, region)
        if self.alarms is not None:
            self.alarms.delete(list(policy.alarms), group.region)
        del group.policies[policy.name]

    def _op_execute_policy(self, params: Params, region: str) -> None:
        group, policy = self._policy(params, region)
        if policy.kind == "TargetTrackingScaling":
            raise words.invalid("Target tracking scaling policies cannot be executed.")
        if policy.kind == "StepScaling" and ("MetricValue" not in params or "BreachThreshold" not in params):
            raise words.invalid(
                "MetricValue and BreachThreshold must be specified to execute a policy of type StepScaling."
            )
        if params.get("HonorCooldown") and self._clock.now() < group.cooldown_until:
            raise words.activity_blocks(next(reversed(group.activities), ""))
        if policy.kind == "SimpleScaling" and not params.get("HonorCooldown"):
            group.cooldown_until = 0.0
        who, why = scaling.user_cause(policy.name)
        value, threshold = params.get("MetricValue", 0.0), params.get("BreachThreshold", 0.0)
        scaling.execute(self.model, group, policy, who=who, why=why, value=value, threshold=threshold)

    def _policy(self, params: Params, region: str) -> tuple[Group, Policy]:
        named = params["PolicyName"]
        groups = (
            [self._live_group(params, region)]
            if params.get("AutoScalingGroupName")
            else self._groups.get(region, {}).values()
        )
        for group in groups:
            for policy in group.policies.values():
                if policy.arn == named or (policy.name == named and params.get("AutoScalingGroupName")):
                    return group, policy
        raise words.invalid(f"PolicyName {named} not found.")

    def _op_describe_adjustment_types(self, _params: Params, _region: str) -> dict[str, Any]:
        return {"AdjustmentTypes": [{"AdjustmentType": name} for name in _ADJUSTMENTS]}


def _check_schedule(schedule: Schedule, now: float) -> None:
    """Raise ApiError for what AWS would not schedule."""
    if schedule.min_size is schedule.max_size is schedule.desired is None:
        raise words.invalid("At least one of MinSize, MaxSize or DesiredCapacity must be specified.")
    low, high, desired = schedule.min_size, schedule.max_size, schedule.desired
    if low is not None and high is not None and low > high:
        raise words.min_above_max(low, high)
    if desired is not None and not (low or 0) <= desired <= (desired if high is None else high):
        raise words.desired_out_of_bounds(desired, low or 0, desired if high is None else high)
    if schedule.recurrence is None and schedule.start is None:
        raise words.invalid("Either a start time or a recurrence must be specified.")
    if schedule.start is not None and schedule.start < now:
        raise words.invalid("Given start time is in the past")
    if schedule.end is not None and schedule.end < now:
        raise words.invalid("Given end time is in the past")
    if schedule.end is not None and schedule.start is not None and schedule.end <= schedule.start:
        raise words.invalid("Given start time must be before the end time")
    if schedule.time_zone is not None:
        if schedule.recurrence is None:
            raise words.invalid("A time zone can be specified for recurring actions only.")
        try:
            cron.zone(schedule.time_zone)
        except cron.CronError as error:
            raise words.invalid(f"Given time zone {schedule.time_zone} is invalid: {error}.") from None


def _check_policy(policy: Policy) -> None:
    """Raise ApiError for a policy that AWS would not take, or that is not modelled."""
    if policy.kind == "PredictiveScaling":
        raise words.not_modelled("predictive scaling")
    if policy.kind not in ("SimpleScaling", "StepScaling", "TargetTrackingScaling"):
        raise words.invalid(f"Unsupported PolicyType {policy.kind}.")
    if policy.kind == "TargetTrackingScaling":
        _check_target(policy)
        return
    if policy.adjustment_type not in _ADJUSTMENTS:
        raise words.invalid(f"AdjustmentType must be one of {', '.join(_ADJUSTMENTS)}.")
    if policy.min_magnitude and policy.adjustment_type != "PercentChangeInCapacity":
        raise words.invalid("MinAdjustmentMagnitude is only supported by the adjustment type PercentChangeInCapacity.")
    if policy.kind == "SimpleScaling":
        if policy.adjustment is None or policy.steps:
            raise words.invalid("A policy of type SimpleScaling has a ScalingAdjustment and no StepAdjustments.")
        return
    if policy.adjustment is not None or policy.cooldown is not None or not policy.steps:
        raise words.invalid(
            "A policy of type StepScaling has StepAdjustments, and neither ScalingAdjustment nor Cooldown."
        )
    _check_steps(policy.steps)


def _check_target(policy: Policy) -> None:
    if not policy.target:
        raise words.invalid("TargetTrackingConfiguration must be specified for policies of type TargetTrackingScaling.")
    if policy.adjustment_type or policy.adjustment is not None or policy.steps or policy.cooldown is not None:
        raise words.invalid(
            "A policy of type TargetTrackingScaling has a TargetTrackingConfiguration and no adjustments or cooldown."
        )
    if float(policy.target["TargetValue"]) <= 0:
        raise words.invalid("TargetValue must be greater than 0.")
    metric = policy.target.get("CustomizedMetricSpecification") or {}
    if metric.get("Metrics"):
        raise words.not_modelled("metric math in target tracking policies")
    if metric.get("Statistic") not in _STATISTICS:
        raise words.invalid(f"Statistic {metric['Statistic']} is not valid.")


def _check_steps(steps: list[dict[str, Any]]) -> None:
    """Intervals must not overlap or leave gaps."""
    bounds = sorted(
        (one.get("MetricIntervalLowerBound", float("-inf")), one.get("MetricIntervalUpperBound", float("inf")))
        for one in steps
    )
    for low, high in bounds:
        if low >= high:
            raise words.invalid("The lower bound of a step adjustment must be less than its upper bound.")
    for (_, high), (low, _) in itertools.pairwise(bounds):
        if high != low:
            raise words.invalid(f"StepAdjustment intervals can't {'overlap' if low < high else 'have gaps'}.")


def _unschedule(group: Group, name: str) -> None:
    if name not in group.schedules:
        raise words.invalid(f"Scheduled action name not found: {name}")
    del group.schedules[name]


def _failed(name: str, error: ApiError) -> dict[str, Any]:
    return {"ScheduledActionName": name, "ErrorCode": error.code, "ErrorMessage": error.message}


def _seconds(at: Any) -> float | None:
    if at is None:
        return None
    return (at if isinstance(at, datetime) else datetime.fromisoformat(str(at).replace("Z", "+00:00"))).timestamp()
