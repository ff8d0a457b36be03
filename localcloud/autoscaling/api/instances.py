# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of groups: describe, terminate, health, protection, standby, attach and detach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localcloud.autoscaling import shapes, words
from localcloud.autoscaling.api.base import Api, Params, few, page
from localcloud.autoscaling.ports import HostStatus
from localcloud.autoscaling.state import ENTERING_STANDBY, IN_SERVICE, STANDBY, Activity, Group, Instance


class Instances(Api):
    def _op_describe_auto_scaling_instances(self, params: Params, region: str) -> dict[str, Any]:
        ids = few(params.get("InstanceIds") or [], 50)
        rows = []
        for group in self._groups.get(region, {}).values():
            for item in (*group.instances.values(), *group.warm.values()):
                if not ids or item.id in ids:
                    shape = shapes.instance(item) | {"AutoScalingGroupName": group.name}
                    rows.append(shape | {"HealthStatus": shape["HealthStatus"].upper()})
        return page("AutoScalingInstances", rows, params, default=50, most=50)

    def _op_terminate_instance_in_auto_scaling_group(self, params: Params, region: str) -> dict[str, Any]:
        several = "InstanceIds" in params
        if several == ("InstanceId" in params) or several != ("AutoScalingGroupName" in params):
            raise words.invalid(
                "Valid requests must contain either InstanceId, or InstanceIds together with AutoScalingGroupName."
            )
        ids = few(params["InstanceIds"], 100) if several else [params["InstanceId"]]
        found = []
        for instance_id in ids:
            group = self._owner(instance_id, region)
            if group is None or group.deleting:
                raise words.no_instance(instance_id)
            if instance_id in group.warm:
                raise words.invalid(
                    f"Instance {instance_id} is in a warm pool. This operation cannot be called on instances in a warm pool."
                )
            found.append((group, instance_id))
        activities = [
            shapes.activity(self.model.terminate(group, i, params["ShouldDecrementDesiredCapacity"]), group)
            for group, i in found
        ]
        return {"Activities": activities} if several else {"Activity": activities[0]}

    def _op_set_instance_health(self, params: Params, region: str) -> None:
        status = params["HealthStatus"]
        if status not in ("Healthy", "Unhealthy"):
            raise words.invalid(f"Invalid health status {status}. Valid values are Healthy and Unhealthy.")
        group = self._owner(params["InstanceId"], region)
        if group is None or params["InstanceId"] not in group.instances:
            raise words.no_instance(params["InstanceId"])
        instance = group.instances[params["InstanceId"]]
        graced = params.get("ShouldRespectGracePeriod", True)
        if status == "Healthy":
            instance.healthy = True
        elif not (graced and self._clock.now() < (instance.in_service_since or self._clock.now()) + group.grace):
            self.model.unhealthy(group, instance, "a user health-check")

    def _op_set_instance_protection(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        members = self._members(group, few(params["InstanceIds"], 50))
        for instance in members:
            if instance.state not in (IN_SERVICE, ENTERING_STANDBY, STANDBY):
                raise words.not_in_state(instance.id, "InService or EnteringStandby or Standby")
        for instance in members:
            instance.protected = params["ProtectedFromScaleIn"]

    @staticmethod
    def _members(group: Group, ids: Iterable[str]) -> list[Instance]:
        for instance_id in ids:
            if instance_id not in group.instances:
                raise words.not_in_group(instance_id, group.name)
        return [group.instances[i] for i in ids]

    def _op_enter_standby(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        ids = few(params.get("InstanceIds") or [], 20)
        return _activities(group, self.model.enter_standby(group, ids, params["ShouldDecrementDesiredCapacity"]))

    def _op_exit_standby(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        return _activities(group, self.model.exit_standby(group, few(params.get("InstanceIds") or [], 20)))

    def _op_detach_instances(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        ids = few(params.get("InstanceIds") or [], 20)
        return _activities(group, self.model.detach(group, ids, params["ShouldDecrementDesiredCapacity"]))

    def _op_attach_instances(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        ids = few(params.get("InstanceIds") or [], 20)
        for instance_id in ids:
            owner = self._owner(instance_id, region)
            if owner is not None:
                raise words.invalid(f"Instance {instance_id} is already part of AutoScalingGroup:{owner.name}")
            status = self.model.hosts.statuses([instance_id])[instance_id]
            if status in (HostStatus.GONE, HostStatus.STOPPED):
                raise words.invalid(
                    f"Invalid Instance(s) found: {instance_id}. Instances must be in the running state."
                )
        self.model.attach(group, ids)


def _activities(group: Group, activities: list[Activity]) -> dict[str, Any]:
    return {"Activities": [shapes.activity(activity, group) for activity in activities]}
