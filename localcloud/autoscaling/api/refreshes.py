# SPDX-License-Identifier: GPL-3.0-or-later
"""Instance refreshes."""

from __future__ import annotations

from typing import Any

from localcloud.autoscaling import refresh, shapes, underway, words
from localcloud.autoscaling.api.base import Params, check_percentages, page
from localcloud.autoscaling.api.configuration import Configuration
from localcloud.autoscaling.model import template_of
from localcloud.autoscaling.state import Group, Refresh
from localcloud.errors import ApiError


class Refreshes(Configuration):
    def _op_start_instance_refresh(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        if params.get("Strategy", "Rolling") != "Rolling":
            raise words.invalid(f"Invalid strategy {params['Strategy']}. Only Rolling is available here.")
        if underway.running(group) is not None:
            raise ApiError(
                "InstanceRefreshInProgress",
                "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
            )
        preferences = dict(params.get("Preferences") or {})
        wanted = params.get("DesiredConfiguration")
        _check_preferences(preferences, wanted, group)
        template, mixed = self._configuration(wanted or {})
        item = Refresh(
            id=self._new_id(),
            status="Pending",
            start=self._clock.now(),
            preferences=refresh.with_defaults(preferences, group),
            desired_configuration=wanted,
            template=template,
            mixed=mixed,
        )
        refresh.begin(self.model, group, item)
        return {"InstanceRefreshId": item.id}

    def _op_describe_instance_refreshes(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        ids = params.get("InstanceRefreshIds")
        rows = [shapes.refresh(item, group) for item in group.refreshes if not ids or item.id in ids]
        return page("InstanceRefreshes", rows, params, default=50, most=100)

    def _op_cancel_instance_refresh(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        item = underway.running(group)
        if item is None or item.status == "Cancelling":
            raise _no_refresh(group)
        refresh.cancel(self.model, group, item, wait=params.get("WaitForTransitioningInstances", True))
        return {"InstanceRefreshId": item.id}

    def _op_rollback_instance_refresh(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        item = underway.running(group)
        if item is None or item.status in ("Cancelling", "RollbackInProgress"):
            raise _no_refresh(group)
        why = _irreversible(group, item.desired_configuration)
        if why:
            raise ApiError("IrreversibleInstanceRefresh", f"The instance refresh cannot be rolled back: {why}")
        refresh.roll_back(self.model, group, item, "Rollback was requested by the user.")
        return {"InstanceRefreshId": item.id}


def _check_preferences(preferences: dict[str, Any], wanted: dict[str, Any] | None, group: Group) -> None:
    if (preferences.get("AlarmSpecification") or {}).get("Alarms"):
        raise words.not_modelled("instance refreshes that watch CloudWatch alarms")
    check_percentages(preferences.get("MinHealthyPercentage"), preferences.get("MaxHealthyPercentage"))
    checkpoints = preferences.get("CheckpointPercentages") or []
    if checkpoints != sorted(set(checkpoints)) or any(not 1 <= c <= 100 for c in checkpoints):
        raise words.invalid("CheckpointPercentages must be unique values between 1 and 100 in ascending order.")
    for key, allowed in (
        ("ScaleInProtectedInstances", ("Refresh", "Ignore", "Wait")),
        ("StandbyInstances", ("Terminate", "Ignore", "Wait")),
    ):
        if preferences.get(key, "Wait") not in allowed:
            raise words.invalid(f"{key} must be one of {', '.join(allowed)}.")
    if preferences.get("AutoRollback") and not wanted:
        raise words.no_auto_rollback()
    why = _irreversible(group, wanted) if preferences.get("AutoRollback") else None
    if why:
        raise words.invalid(f"The request isn't valid. The AutoRollback parameter cannot be set to true: {why}")


def _irreversible(group: Group, wanted: dict[str, Any] | None) -> str | None:
    """Why an instance refresh of this group cannot be rolled back; None if it can."""
    if not wanted:
        return "there is no desired configuration specified for the instance refresh."
    spec = group.template
    if group.mixed:
        spec = template_of(group.mixed["LaunchTemplate"]["LaunchTemplateSpecification"])
    if spec is not None and spec.version in ("$Latest", "$Default"):
        return "the Auto Scaling group uses the launch template's $Latest or $Default version."
    return None


def _no_refresh(group: Group) -> ApiError:
    return ApiError(
        "ActiveInstanceRefreshNotFound",
        f"No in progress or pending Instance Refresh found for Auto Scaling group {group.name}",
    )
