# SPDX-License-Identifier: GPL-3.0-or-later
"""What is the same for every account, or refused: types, limits, launch configurations, the names of metrics."""

from __future__ import annotations

from typing import Any

from localcloud.autoscaling import placement, words
from localcloud.autoscaling.api.base import Api, Params
from localcloud.autoscaling.state import LAUNCHING, PROCESSES, TERMINATION

METRICS = (
    "GroupMinSize",
    "GroupMaxSize",
    "GroupDesiredCapacity",
    "GroupInServiceInstances",
    "GroupPendingInstances",
    "GroupStandbyInstances",
    "GroupTerminatingInstances",
    "GroupTotalInstances",
    "GroupInServiceCapacity",
    "GroupPendingCapacity",
    "GroupStandbyCapacity",
    "GroupTerminatingCapacity",
    "GroupTotalCapacity",
)


class Fixed(Api):
    def _op_enable_metrics_collection(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        if params["Granularity"] != "1Minute":
            raise words.invalid(f"Invalid granularity {params['Granularity']}. Use 1Minute.")
        wanted = params.get("Metrics") or METRICS
        group.metrics += [metric for metric in wanted if metric not in group.metrics]

    def _op_disable_metrics_collection(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        unwanted = params.get("Metrics") or METRICS
        group.metrics = [metric for metric in group.metrics if metric not in unwanted]

    def _op_describe_notification_configurations(self, _params: Params, _region: str) -> dict[str, Any]:
        return {"NotificationConfigurations": []}

    def _op_create_launch_configuration(self, _params: Params, _region: str) -> None:
        raise words.no_launch_configurations("UnsupportedOperation")  # AWS's answer to accounts of 2024 and later

    def _op_describe_launch_configurations(self, _params: Params, _region: str) -> dict[str, Any]:
        return {"LaunchConfigurations": []}

    def _op_describe_account_limits(self, _params: Params, region: str) -> dict[str, Any]:
        return {
            "MaxNumberOfAutoScalingGroups": 500,
            "MaxNumberOfLaunchConfigurations": 0,
            "NumberOfAutoScalingGroups": len(self._groups.get(region, {})),
            "NumberOfLaunchConfigurations": 0,
        }

    def _op_describe_scaling_process_types(self, _params: Params, _region: str) -> dict[str, Any]:
        return {"Processes": [{"ProcessName": name} for name in PROCESSES]}

    def _op_describe_termination_policy_types(self, _params: Params, _region: str) -> dict[str, Any]:
        return {"TerminationPolicyTypes": list(placement.TERMINATION_POLICIES)}

    def _op_describe_lifecycle_hook_types(self, _params: Params, _region: str) -> dict[str, Any]:
        return {"LifecycleHookTypes": [LAUNCHING, TERMINATION]}

    def _op_describe_metric_collection_types(self, _params: Params, _region: str) -> dict[str, Any]:
        return {
            "Metrics": [{"Metric": metric} for metric in METRICS],
            "Granularities": [{"Granularity": "1Minute"}],
        }
