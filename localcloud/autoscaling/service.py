# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of Amazon EC2 Auto Scaling over the group model: boto3's shapes in and out, AWS's refusals in its own words."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ..clock import Clock
from ..errors import ApiError
from ..faults import Faults
from . import placement, refresh, shapes, warmpool, words
from .model import NEVER, SIX_WEEKS, Model, Timing, template_of
from .ports import Hosts, HostStatus, LaunchOrder, Subnets, Targets, Templates
from .state import (
    ENTERING_STANDBY,
    IN_SERVICE,
    LAUNCHING,
    PROCESSES,
    STANDBY,
    TERMINATION,
    Activity,
    Group,
    Hook,
    HookWait,
    Instance,
    Refresh,
    Tag,
    TemplateRef,
    WarmPool,
    decode,
    encode,
)

Params = dict[str, Any]
T = TypeVar("T")

ACCOUNT = "123456789012"
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
MAX_HOOKS = 50
MAX_TAGS = 50


class _RefusingHosts:
    """The given hosts, with refused launches injected."""

    def __init__(self, hosts: Hosts, faults: Faults) -> None:
        self._hosts = hosts
        self._faults = faults

    def launch(self, order: LaunchOrder) -> str:
        refusal = self._faults.launch_refusal(order.zone)
        if refusal is not None:
            raise refusal
        return self._hosts.launch(order)

    def statuses(self, ids: Iterable[str]) -> dict[str, HostStatus]:
        return self._hosts.statuses(ids)

    def terminate(self, instance_id: str) -> None:
        self._hosts.terminate(instance_id)

    def stop(self, instance_id: str) -> None:
        self._hosts.stop(instance_id)

    def start(self, instance_id: str) -> None:
        self._hosts.start(instance_id)

    def instance_type(self, instance_id: str) -> str:
        return self._hosts.instance_type(instance_id)


class AutoScaling:
    """The service. One lock guards everything, so the server may call it from any thread."""

    def __init__(
        self,
        *,
        hosts: Hosts,
        targets: Targets,
        templates: Templates,
        subnets: Subnets,
        clock: Clock,
        faults: Faults | None = None,
        timing: Timing | None = None,
        account: str = ACCOUNT,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.faults = faults if faults is not None else Faults()
        self.model = Model(
            hosts=_RefusingHosts(hosts, self.faults),
            targets=targets,
            templates=templates,
            subnets=subnets,
            clock=clock,
            new_id=new_id,
            timing=timing,
        )
        self._clock = clock
        self._account = account
        self._new_id = new_id
        self._groups: dict[str, dict[str, Group]] = {}  # region -> name -> group
        self._deleted: dict[str, list[Group]] = {}  # region -> groups whose activities can still be asked for
        self._stale: dict[tuple[str, str], tuple[float, dict[str, Any] | None]] = {}  # what lag still shows, and until
        self._lock = threading.RLock()

    # ---- the server's side ---------------------------------------------------------------------------------------

    def handle(self, operation: str, params: Params, region: str) -> dict[str, Any]:
        """Run one operation; see :class:`localcloud.service.Service`."""
        method = getattr(self, "_op_" + re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower(), None)
        if method is None:
            raise words.not_modelled(operation)
        with self._lock:
            if operation.startswith("Describe"):
                result: dict[str, Any] = method(params, region)
                return result
            self._remember(params, region)
            result = method(params, region) or {}
            self.tick()
            return result

    def tick(self) -> None:
        """Move every group."""
        with self._lock:
            for region, groups in self._groups.items():
                for group in list(groups.values()):
                    self.model.tick(group)
                    if group.deleting and not group.instances and not group.warm:
                        del groups[group.name]
                        self._bury(region, group)

    def _bury(self, region: str, group: Group) -> None:
        """Keep a deleted group as long as AWS tells of its activities."""
        group.deleted = self._clock.now()
        kept = [old for old in self._deleted.get(region, []) if old.deleted >= group.deleted - SIX_WEEKS]
        self._deleted[region] = [*kept, group]

    def next_due(self) -> float:
        """When time alone will next have something to do (unix seconds; infinity when nothing is waiting)."""
        with self._lock:
            return min((self.model.next_due(group) for group in self._all()), default=NEVER)

    def look_at_health(self) -> None:
        """Have the next tick look at every instance in service."""
        with self._lock:
            for group in self._all():
                self.model.look_at_health(group)

    def rebalance_recommendation(self, instance_id: str) -> None:
        """EC2 recommends to leave this Spot instance."""
        with self._lock:
            for group in self._all():
                if instance_id in group.instances:
                    self.model.rebalance(group, instance_id)

    def group(self, name: str, region: str) -> Group | None:
        """A group's own state, for whoever watches it in the same process; None when there is none."""
        return self._groups.get(region, {}).get(name)

    def members(self) -> dict[str, str]:
        """Every instance of every group, to its group's name."""
        with self._lock:
            return {i: group.name for group in self._all() for i in (*group.instances, *group.warm)}

    def target_state(self, instance_id: str) -> str:
        """The steady state that an instance is in or on its way to, as its own metadata says; empty if it was in no group."""
        with self._lock:
            for group in self._all():
                instance = group.instances.get(instance_id) or group.warm.get(instance_id)
                if instance is not None:
                    return words.target_state(instance, group.warm_pool)
            everyone = [*self._all(), *(group for groups in self._deleted.values() for group in groups)]
            return "Detached" if any(instance_id in group.detached for group in everyone) else ""

    def dump(self) -> dict[str, Any]:
        """The whole state as JSON-able values."""
        with self._lock:
            return {
                "groups": {
                    region: [encode(group) for group in groups.values()] for region, groups in self._groups.items()
                },
                "deleted": {region: [encode(group) for group in groups] for region, groups in self._deleted.items()},
            }

    def load(self, state: dict[str, Any]) -> None:
        """Become the service that ``dump`` was called on."""
        with self._lock:
            self._groups = {
                region: {data["name"]: decode(Group, data) for data in groups}
                for region, groups in state["groups"].items()
            }
            self._deleted = {
                region: [decode(Group, data) for data in groups] for region, groups in state["deleted"].items()
            }
            self._stale = {}

    def _all(self) -> list[Group]:
        return [group for groups in self._groups.values() for group in groups.values()]

    # ---- lag -----------------------------------------------------------------------------------------------------

    def _remember(self, params: Params, region: str) -> None:
        """Before a write: what descriptions go on showing while they lag behind."""
        now, lag = self._clock.now(), self.faults.lag
        if lag <= 0:
            return
        names = {params.get("AutoScalingGroupName"), *(tag.get("ResourceId") for tag in params.get("Tags") or [])}
        if "InstanceId" in params:
            owner = self._owner(params["InstanceId"], region)
            names.add(owner.name if owner else None)
        for name in names - {None}:
            group = self._groups.get(region, {}).get(str(name))
            if now >= self._stale.get((region, str(name)), (0.0, None))[0]:
                self._stale[region, str(name)] = (now + lag, shapes.group(group) if group else None)

    def _shown(self, region: str) -> list[dict[str, Any]]:
        """Every group as DescribeAutoScalingGroups tells it, stale where that lags."""
        now = self._clock.now()
        self._stale = {key: entry for key, entry in self._stale.items() if entry[0] > now}
        shown = []
        for name, group in self._groups.get(region, {}).items():
            shape = self._stale[region, name][1] if (region, name) in self._stale else shapes.group(group)
            if shape is not None:
                shown.append(shape)
        return shown

    # ---- look-ups ------------------------------------------------------------------------------------------------

    def _group(self, params: Params, region: str) -> Group:
        name = params["AutoScalingGroupName"]
        group = self._groups.get(region, {}).get(name)
        if group is None:
            raise words.no_group(name)
        return group

    def _live_group(self, params: Params, region: str) -> Group:
        """A group that may be written to."""
        group = self._group(params, region)
        if group.deleting:
            raise words.pending_delete(group.name)
        return group

    def _owner(self, instance_id: str, region: str) -> Group | None:
        for group in self._groups.get(region, {}).values():
            if instance_id in group.instances or instance_id in group.warm:
                return group
        return None

    # ---- groups --------------------------------------------------------------------------------------------------

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
        subnets = dict(group.subnets)
        zones = list(group.zones)
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
        policies = params.get("TerminationPolicies")
        for policy in policies or []:
            if policy not in placement.TERMINATION_POLICIES:
                raise words.invalid(f"Termination policy {policy} is not valid.")
        lifetime = params.get("MaxInstanceLifetime")
        if lifetime and not 86400 <= lifetime <= 31536000:
            raise words.invalid("MaxInstanceLifetime must be 0 or between 86400 and 31536000 seconds.")
        kind = params.get("HealthCheckType")
        for part in (kind or "EC2").split(","):
            if part.strip() not in ("EC2", "ELB", "EBS", "VPC_LATTICE"):
                raise words.invalid(f"Invalid HealthCheckType {kind}.")
        maintenance = params.get("InstanceMaintenancePolicy")
        if maintenance is not None:
            _check_percentages(maintenance.get("MinHealthyPercentage"), maintenance.get("MaxHealthyPercentage"))

        if template or mixed:
            group.template, group.mixed = template, mixed
        group.subnets, group.zones = subnets, zones
        group.health_check_type = kind or group.health_check_type
        group.grace = params.get("HealthCheckGracePeriod", group.grace)
        group.cooldown = params.get("DefaultCooldown", group.cooldown)
        group.termination_policies = list(policies or group.termination_policies)
        group.protect_new = params.get("NewInstancesProtectedFromScaleIn", group.protect_new)
        group.placement_group = params.get("PlacementGroup", group.placement_group)
        group.capacity_rebalance = params.get("CapacityRebalance", group.capacity_rebalance)
        group.context = params.get("Context", group.context)
        group.desired_capacity_type = params.get("DesiredCapacityType", group.desired_capacity_type)
        group.distribution = params.get("AvailabilityZoneDistribution", group.distribution)
        group.deletion_protection = params.get("DeletionProtection", group.deletion_protection)
        group.service_role = params.get("ServiceLinkedRoleARN", group.service_role)
        if lifetime is not None:
            group.max_lifetime = lifetime or None
        if "DefaultInstanceWarmup" in params:
            group.default_warmup = params["DefaultInstanceWarmup"] if params["DefaultInstanceWarmup"] >= 0 else None
        if maintenance is not None:
            unset = maintenance.get("MinHealthyPercentage") in (None, -1)
            group.maintenance_policy = None if unset else dict(maintenance)
        group.next_launch = 0.0

    def _configuration(self, params: Params) -> tuple[TemplateRef | None, dict[str, Any] | None]:
        """The launch template or mixed instances policy of a request, checked and with both id and name filled in."""
        if params.get("LaunchConfigurationName"):
            raise words.invalid("Launch configuration name not found - no such launch configuration.")
        spec, policy = params.get("LaunchTemplate"), params.get("MixedInstancesPolicy")
        if spec and policy:
            raise words.invalid(
                "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or "
                "MixedInstancesPolicy parameter."
            )
        if spec:
            found = self._specification(spec)
            self._launchable(found, {})
            return template_of(found), None
        if not policy:
            return None, None
        launch = policy.get("LaunchTemplate") or {}
        if not launch.get("LaunchTemplateSpecification"):
            raise words.invalid(
                "Valid requests must contain a LaunchTemplateSpecification in the MixedInstancesPolicy."
            )
        filled: dict[str, Any] = {
            "LaunchTemplateSpecification": self._specification(launch["LaunchTemplateSpecification"])
        }
        overrides = []
        for override in (dict(given) for given in launch.get("Overrides") or []):
            if override.get("LaunchTemplateSpecification"):
                override["LaunchTemplateSpecification"] = self._specification(override["LaunchTemplateSpecification"])
            overrides.append(override)
        for override in overrides or [{}]:
            self._launchable(
                override.get("LaunchTemplateSpecification") or filled["LaunchTemplateSpecification"], override
            )
        if len({"WeightedCapacity" in override for override in overrides}) > 1:
            raise words.invalid("All instance type overrides must have a weighted capacity, or none of them.")
        if overrides:
            filled["Overrides"] = overrides
        distribution = {
            "OnDemandAllocationStrategy": "prioritized",
            "OnDemandBaseCapacity": 0,
            "OnDemandPercentageAboveBaseCapacity": 100,
            "SpotAllocationStrategy": "lowest-price",
            "SpotInstancePools": 2,
        } | (policy.get("InstancesDistribution") or {})
        return None, {"LaunchTemplate": filled, "InstancesDistribution": distribution}

    def _specification(self, spec: dict[str, Any]) -> dict[str, str]:
        if bool(spec.get("LaunchTemplateId")) == bool(spec.get("LaunchTemplateName")):
            raise words.invalid("Valid requests must contain either launchTemplateId or LaunchTemplateName")
        version = str(spec.get("Version") or "$Default")
        try:
            template_id, name, _ = self.model.templates.resolve(
                spec.get("LaunchTemplateId") or spec["LaunchTemplateName"], version
            )
        except ApiError as refusal:
            raise words.bad_template(refusal.message) from refusal
        return {"LaunchTemplateId": template_id, "LaunchTemplateName": name, "Version": version}

    def _launchable(self, spec: dict[str, str], override: dict[str, Any]) -> None:
        """As AWS: what RunInstances would refuse is refused when the group is made or changed."""
        try:
            self.model.templates.check(
                spec["LaunchTemplateId"], spec["Version"], override.get("InstanceType"), override.get("ImageId")
            )
        except ApiError as refusal:
            raise words.bad_template(refusal.message) from refusal

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
        self.model.terminate_now(group)

    def _op_describe_auto_scaling_groups(self, params: Params, region: str) -> dict[str, Any]:
        shown = self._shown(region)
        names = params.get("AutoScalingGroupNames")
        if names:
            shown = [shape for shape in shown if shape["AutoScalingGroupName"] in names]
        for wanted in params.get("Filters") or []:
            shown = [shape for shape in shown if _tag_matches(shape["Tags"], wanted["Name"], wanted.get("Values", []))]
        return _page("AutoScalingGroups", shown, params, default=50, most=100)

    def _op_describe_auto_scaling_instances(self, params: Params, region: str) -> dict[str, Any]:
        ids = params.get("InstanceIds")
        if ids and len(ids) > 50:
            raise words.invalid("The number of instance ids that may be passed in is limited to 50")
        rows = []
        for group in self._groups.get(region, {}).values():
            for item in (*group.instances.values(), *group.warm.values()):
                if not ids or item.id in ids:
                    shape = shapes.instance(item) | {"AutoScalingGroupName": group.name}
                    rows.append(shape | {"HealthStatus": shape["HealthStatus"].upper()})
        return _page("AutoScalingInstances", rows, params, default=50, most=50)

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

    # ---- instances -----------------------------------------------------------------------------------------------

    def _op_terminate_instance_in_auto_scaling_group(self, params: Params, region: str) -> dict[str, Any]:
        several = "InstanceIds" in params
        if several == ("InstanceId" in params) or several != ("AutoScalingGroupName" in params):
            raise words.invalid(
                "Valid requests must contain either InstanceId, or InstanceIds together with AutoScalingGroupName."
            )
        ids = _few(params["InstanceIds"], 100) if several else [params["InstanceId"]]
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
        ids = params["InstanceIds"]
        if len(ids) > 50:
            raise words.invalid("The number of instance ids that may be passed in is limited to 50")
        members = self._members(group, ids)
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
        ids = _few(params.get("InstanceIds") or [], 20)
        return _activities(group, self.model.enter_standby(group, ids, params["ShouldDecrementDesiredCapacity"]))

    def _op_exit_standby(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        return _activities(group, self.model.exit_standby(group, _few(params.get("InstanceIds") or [], 20)))

    def _op_detach_instances(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        ids = _few(params.get("InstanceIds") or [], 20)
        return _activities(group, self.model.detach(group, ids, params["ShouldDecrementDesiredCapacity"]))

    def _op_attach_instances(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        ids = _few(params.get("InstanceIds") or [], 20)
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

    # ---- activities ----------------------------------------------------------------------------------------------

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
        page = _page("Activities", found, params, default=100, most=100)
        page["Activities"] = [shapes.activity(*row) for row in page["Activities"]]
        return page

    # ---- tags ----------------------------------------------------------------------------------------------------

    def _op_create_or_update_tags(self, params: Params, region: str) -> None:
        wanted: dict[str, list[dict[str, Any]]] = {}
        for tag in params["Tags"]:
            wanted.setdefault(self._tagged(tag, region).name, []).append(tag)
        for name, tags in wanted.items():
            self._set_tags(self._groups[region][name], tags)

    def _op_delete_tags(self, params: Params, region: str) -> None:
        for tag in params["Tags"]:
            self._tagged(tag, region).tags.pop(tag["Key"], None)

    def _tagged(self, tag: dict[str, Any], region: str) -> Group:
        if tag.get("ResourceType", "auto-scaling-group") != "auto-scaling-group":
            raise words.invalid(f"Invalid resource type {tag['ResourceType']}. Use auto-scaling-group.")
        name = tag.get("ResourceId") or ""
        if name not in self._groups.get(region, {}):
            raise words.no_group(name)
        return self._groups[region][name]

    @staticmethod
    def _set_tags(group: Group, tags: list[dict[str, Any]]) -> None:
        for number, tag in enumerate(tags, 1):
            for field, most in (("Key", 128), ("Value", 256)):
                text = tag.get(field) or ""
                if len(text) > most:
                    raise words.invalid(
                        f"1 validation error detected: Value '{text}' at 'tags.{number}.member.{field.lower()}' failed "
                        f"to satisfy constraint: Member must have length less than or equal to {most}"
                    )
            if not tag.get("Key"):
                raise words.invalid(
                    f"1 validation error detected: Value '' at 'tags.{number}.member.key' failed to "
                    "satisfy constraint: Member must have length greater than or equal to 1"
                )
            if tag["Key"].startswith("aws:"):
                raise words.invalid("Tag keys starting with 'aws:' are reserved for internal use")
        if len(set(group.tags) | {tag["Key"] for tag in tags}) > MAX_TAGS:
            raise ApiError(
                "LimitExceeded", f"The number of tags for this Auto Scaling group exceeds the limit of {MAX_TAGS}"
            )
        for tag in tags:
            group.tags[tag["Key"]] = Tag(tag.get("Value") or "", bool(tag.get("PropagateAtLaunch", False)))

    def _op_describe_tags(self, params: Params, region: str) -> dict[str, Any]:
        rows = [tag for shape in self._shown(region) for tag in shape["Tags"]]
        fields = {"auto-scaling-group": "ResourceId", "key": "Key", "value": "Value"}
        for wanted in params.get("Filters") or []:
            values = wanted.get("Values", [])
            if wanted["Name"] == "propagate-at-launch":
                rows = [tag for tag in rows if str(tag["PropagateAtLaunch"]).lower() in values]
            elif wanted["Name"] in fields:
                rows = [tag for tag in rows if tag[fields[wanted["Name"]]] in values]
            else:
                raise words.invalid(
                    f"Filter type {wanted['Name']} is not correct. Allowed Filter types are: "
                    "auto-scaling-group key value propagate-at-launch"
                )
        return _page("Tags", rows, params, default=50, most=100)

    # ---- lifecycle hooks -----------------------------------------------------------------------------------------

    def _op_put_lifecycle_hook(self, params: Params, region: str) -> None:
        self._put_hook(self._live_group(params, region), params)

    @staticmethod
    def _put_hook(group: Group, params: Params) -> None:
        name = params["LifecycleHookName"]
        old = group.hooks.get(name)
        transition = params.get("LifecycleTransition") or (old.transition if old else None)
        if transition is None:
            raise words.invalid("Lifecycle transition is required for a new lifecycle hook.")
        if transition not in (LAUNCHING, TERMINATION):
            raise words.invalid(f"Invalid Lifecycle Transition {transition}.")
        heartbeat = params.get("HeartbeatTimeout", old.heartbeat if old else 3600)
        if not 30 <= heartbeat <= 7200:
            raise words.invalid("Heartbeat timeout must be between 30 and 7200 seconds.")
        result = params.get("DefaultResult", old.default_result if old else "ABANDON")
        if result not in ("CONTINUE", "ABANDON"):
            raise words.invalid(f"Invalid Lifecycle Action result {result}. Use CONTINUE or ABANDON.")
        if params.get("NotificationTargetARN"):
            raise words.not_modelled("lifecycle hooks with a notification target (SNS, SQS)")
        if old is None and len(group.hooks) >= MAX_HOOKS:
            raise ApiError(
                "LimitExceeded", f"The limit of {MAX_HOOKS} lifecycle hooks per AutoScalingGroup is reached."
            )
        group.hooks[name] = Hook(
            name=name,
            transition=transition,
            heartbeat=heartbeat,
            default_result=result,
            metadata=params.get("NotificationMetadata", old.metadata if old else None),
            target_arn=None,
            role_arn=params.get("RoleARN", old.role_arn if old else None),
        )

    def _op_describe_lifecycle_hooks(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        names = params.get("LifecycleHookNames")
        hooks = [hook for hook in group.hooks.values() if not names or hook.name in names]
        return {"LifecycleHooks": [shapes.hook(hook, group) for hook in hooks]}

    def _op_delete_lifecycle_hook(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        name = params["LifecycleHookName"]
        if name not in group.hooks:
            raise words.invalid(f"No Lifecycle Hook found with name {name}")
        hook = group.hooks.pop(name)
        for instance in group.instances.values():  # AWS completes what waits for it: ABANDON at launch, else CONTINUE
            for wait in instance.waits:
                if wait.hook == name and wait.result is None:
                    wait.result = "ABANDON" if hook.transition == LAUNCHING else "CONTINUE"

    def _op_complete_lifecycle_action(self, params: Params, region: str) -> None:
        if params["LifecycleActionResult"] not in ("CONTINUE", "ABANDON"):
            raise words.invalid(
                f"Invalid Lifecycle Action result {params['LifecycleActionResult']}. Use CONTINUE or ABANDON."
            )
        self._wait(params, region).result = params["LifecycleActionResult"]

    def _op_record_lifecycle_action_heartbeat(self, params: Params, region: str) -> None:
        wait = self._wait(params, region)
        wait.deadline = min(self._clock.now() + wait.heartbeat, wait.last)

    def _wait(self, params: Params, region: str) -> HookWait:
        group = self._group(params, region)
        name, token = params["LifecycleHookName"], params.get("LifecycleActionToken")
        instance_id = params.get("InstanceId")
        for instance in [*group.instances.values(), *group.warm.values()]:
            for wait in instance.waits if instance.state.endswith(":Wait") else ():
                ours = wait.token == token if token else instance.id == instance_id
                if wait.hook == name and ours and wait.result is None:
                    return wait
        raise words.no_lifecycle_action(instance_id, token)

    # ---- processes -----------------------------------------------------------------------------------------------

    def _op_suspend_processes(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        stamp = words.stamp(self._clock.now())
        for process in _processes(params):
            group.suspended.setdefault(process, f"User suspended at {stamp}")

    def _op_resume_processes(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        for process in _processes(params):
            group.suspended.pop(process, None)

    # ---- load balancers ------------------------------------------------------------------------------------------

    def _attach_places(self, group: Group, arns: Sequence[str], names: Sequence[str]) -> None:
        for places, what in ((arns, "Target Groups"), (names, "Load Balancers")):
            for place in places:
                try:
                    self.model.targets.health(place)
                except ApiError as refusal:
                    raise words.invalid(
                        f"Provided {what} may not be valid. Please ensure they exist and try again."
                    ) from refusal
        fresh = [place for place in arns if place not in group.target_groups]
        fresh_names = [place for place in names if place not in group.load_balancers]
        group.target_groups += fresh
        group.load_balancers += fresh_names
        self.model.register_all(group, [*fresh, *fresh_names])

    def _op_attach_load_balancer_target_groups(self, params: Params, region: str) -> None:
        self._attach_places(self._live_group(params, region), params["TargetGroupARNs"], [])

    def _op_attach_load_balancers(self, params: Params, region: str) -> None:
        self._attach_places(self._live_group(params, region), [], params["LoadBalancerNames"])

    def _op_detach_load_balancer_target_groups(self, params: Params, region: str) -> None:
        self._detach_places(self._live_group(params, region), params["TargetGroupARNs"], "Target Groups")

    def _op_detach_load_balancers(self, params: Params, region: str) -> None:
        self._detach_places(self._live_group(params, region), params["LoadBalancerNames"], "Load Balancers")

    def _detach_places(self, group: Group, places: Sequence[str], what: str) -> None:
        attached = group.target_groups if what == "Target Groups" else group.load_balancers
        for place in places:
            if place not in attached:
                raise words.invalid(f"Trying to remove {what} that are not part of the group")
        for place in places:
            attached.remove(place)
        self.model.deregister_all(group, places)

    def _op_describe_load_balancer_target_groups(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        rows = [
            {"LoadBalancerTargetGroupARN": arn, "State": self._place_state(group, arn)} for arn in group.target_groups
        ]
        return _page("LoadBalancerTargetGroups", rows, params, default=100, most=100)

    def _op_describe_load_balancers(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        rows = [{"LoadBalancerName": n, "State": self._place_state(group, n)} for n in group.load_balancers]
        return _page("LoadBalancers", rows, params, default=100, most=100)

    def _place_state(self, group: Group, place: str) -> str:
        """Adding: some are not registered; Added: all are; InService: one is healthy."""
        try:
            health = self.model.targets.health(place)
        except ApiError:
            return "Removed"
        serving = [i.id for i in group.instances.values() if i.state == IN_SERVICE]
        if any(i in health and health[i].state == "healthy" for i in serving):
            return "InService"
        return "Added" if all(i in health for i in serving) else "Adding"

    def _op_attach_traffic_sources(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        self._attach_sources(group, params["TrafficSources"])

    def _attach_sources(self, group: Group, sources: list[dict[str, str]]) -> None:
        kinds = [_source_type(source) for source in sources]
        self._attach_places(
            group,
            [source["Identifier"] for source, kind in zip(sources, kinds, strict=True) if kind == "elbv2"],
            [source["Identifier"] for source, kind in zip(sources, kinds, strict=True) if kind == "elb"],
        )
        for source, kind in zip(sources, kinds, strict=True):
            entry = {"Identifier": source["Identifier"], "Type": kind}
            if kind not in ("elb", "elbv2") and entry not in group.traffic_sources:
                group.traffic_sources.append(entry)

    def _op_detach_traffic_sources(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        for source in params["TrafficSources"]:
            kind = _source_type(source)
            if kind in ("elb", "elbv2"):
                what = "Load Balancers" if kind == "elb" else "Target Groups"
                self._detach_places(group, [source["Identifier"]], what)
            else:
                group.traffic_sources = [s for s in group.traffic_sources if s["Identifier"] != source["Identifier"]]

    def _op_describe_traffic_sources(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        wanted = params.get("TrafficSourceType")
        rows = []
        for source in shapes.traffic_sources(group):
            if wanted in (None, source["Type"]):
                known = source["Type"] in ("elb", "elbv2")
                state = self._place_state(group, source["Identifier"]) if known else "InService"
                rows.append(source | {"State": state, "TrafficSource": source["Identifier"]})
        return _page("TrafficSources", rows, params, default=50, most=50)

    # ---- instance refresh ----------------------------------------------------------------------------------------

    def _op_start_instance_refresh(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        if params.get("Strategy", "Rolling") != "Rolling":
            raise words.invalid(f"Invalid strategy {params['Strategy']}. Only Rolling is available here.")
        if refresh.running(group) is not None:
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
        return _page("InstanceRefreshes", rows, params, default=50, most=100)

    def _op_cancel_instance_refresh(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        item = refresh.running(group)
        if item is None or item.status == "Cancelling":
            raise _no_refresh(group)
        refresh.cancel(self.model, group, item, wait=params.get("WaitForTransitioningInstances", True))
        return {"InstanceRefreshId": item.id}

    def _op_rollback_instance_refresh(self, params: Params, region: str) -> dict[str, Any]:
        group = self._live_group(params, region)
        item = refresh.running(group)
        if item is None or item.status in ("Cancelling", "RollbackInProgress"):
            raise _no_refresh(group)
        why = _irreversible(group, item.desired_configuration)
        if why:
            raise ApiError("IrreversibleInstanceRefresh", f"The instance refresh cannot be rolled back: {why}")
        refresh.roll_back(self.model, group, item, "Rollback was requested by the user.")
        return {"InstanceRefreshId": item.id}

    # ---- warm pools ----------------------------------------------------------------------------------------------

    def _op_put_warm_pool(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        if group.mixed is not None:
            raise words.invalid(
                "You can't add a warm pool to an Auto Scaling group that has a mixed instances policy or a launch template "
                "or launch configuration that requests Spot Instances."
            )
        pool = group.warm_pool or WarmPool()
        if pool.deleting:
            raise words.invalid(f"The warm pool of AutoScalingGroup {group.name} is pending delete.")
        prepared = params.get("MaxGroupPreparedCapacity", pool.max_prepared)
        group.warm_pool = WarmPool(
            min_size=params.get("MinSize", pool.min_size),
            max_prepared=None if prepared == -1 else prepared,  # -1 takes the limit back
            state=params.get("PoolState", pool.state),
            reuse_on_scale_in=(params.get("InstanceReusePolicy") or {}).get("ReuseOnScaleIn", pool.reuse_on_scale_in),
        )

    def _op_describe_warm_pool(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        page = _page("Instances", [shapes.instance(i) for i in group.warm.values()], params, default=50, most=50)
        if group.warm_pool is not None:
            page["WarmPoolConfiguration"] = shapes.warm_pool(group.warm_pool)
        return page

    def _op_delete_warm_pool(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        if group.warm_pool is None:
            raise words.invalid(f"No warm pool found for AutoScalingGroup {group.name}")
        group.warm_pool.deleting = True  # until its instances are gone
        for instance in list(group.warm.values()):
            cause = f"At {words.stamp(self._clock.now())} the warm pool was deleted by a user request."
            warmpool.terminate(self.model, group, instance, cause, self._clock.now())

    # ---- small ones ----------------------------------------------------------------------------------------------

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

    def _op_describe_policies(self, _params: Params, _region: str) -> dict[str, Any]:
        return {"ScalingPolicies": []}

    def _op_describe_scheduled_actions(self, _params: Params, _region: str) -> dict[str, Any]:
        return {"ScheduledUpdateGroupActions": []}

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


def _activities(group: Group, activities: list[Activity]) -> dict[str, Any]:
    return {"Activities": [shapes.activity(activity, group) for activity in activities]}


def _page(key: str, rows: Sequence[Any], params: Params, *, default: int, most: int) -> dict[str, Any]:
    """One page of a description; the token is where the next one begins."""
    size = params.get("MaxRecords") or default
    if not 1 <= size <= most:
        raise words.invalid(
            f"1 validation error detected: Value '{size}' at 'maxRecords' failed to satisfy constraint: Member must have "
            f"value less than or equal to {most}"
        )
    token = params.get("NextToken") or "0"
    if not token.isdigit():
        raise ApiError("InvalidNextToken", f"The token '{token}' is invalid.")
    start = int(token)
    page: dict[str, Any] = {key: list(rows[start : start + size])}
    if start + size < len(rows):
        page["NextToken"] = str(start + size)
    return page


def _few(ids: list[T], most: int) -> list[T]:
    if len(ids) > most:
        raise words.invalid(f"The number of instance ids that may be passed in is limited to {most}")
    return ids


def _check_sizes(low: int, high: int, desired: int) -> None:
    if low < 0 or high < 0:
        raise words.invalid(f"Min and max size must not be negative: {low}, {high}")
    if low > high:
        raise words.min_above_max(low, high)
    if not low <= desired <= high:
        raise words.desired_out_of_bounds(desired, low, high)


def _check_percentages(low: int | None, high: int | None) -> None:
    if low in (None, -1) and high in (None, -1):
        return
    if low is not None and not 0 <= low <= 100:
        raise words.invalid("MinHealthyPercentage must be between 0 and 100.")
    if high is None:
        return
    if not 100 <= high <= 200:
        raise words.invalid("MaxHealthyPercentage must be between 100 and 200.")
    if low is None:
        raise words.invalid("MinHealthyPercentage must be specified when MaxHealthyPercentage is specified.")
    if high - low > 100:
        raise words.invalid("The difference between MaxHealthyPercentage and MinHealthyPercentage cannot exceed 100.")


def _check_preferences(preferences: dict[str, Any], wanted: dict[str, Any] | None, group: Group) -> None:
    if (preferences.get("AlarmSpecification") or {}).get("Alarms"):
        raise words.not_modelled("instance refreshes that watch CloudWatch alarms")
    _check_percentages(preferences.get("MinHealthyPercentage"), preferences.get("MaxHealthyPercentage"))
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


def _processes(params: Params) -> list[str]:
    wanted = params.get("ScalingProcesses") or list(PROCESSES)
    for process in wanted:
        if process not in PROCESSES:
            raise words.invalid(f"1 validation error detected: {process} is not a valid scaling process.")
    return list(wanted)


def _source_type(source: dict[str, str]) -> str:
    if source.get("Type"):
        return source["Type"]
    identifier = source["Identifier"]
    if ":targetgroup/" in identifier:
        return "vpc-lattice" if ":vpc-lattice:" in identifier else "elbv2"
    return "elb"


def _tag_matches(tags: list[dict[str, Any]], name: str, values: list[str]) -> bool:
    if name == "tag-key":
        return any(tag["Key"] in values for tag in tags)
    if name == "tag-value":
        return any(tag["Value"] in values for tag in tags)
    if name.startswith("tag:"):
        return any(tag["Key"] == name[4:] and tag["Value"] in values for tag in tags)
    raise words.invalid(f"Filter type {name} is not correct. Allowed Filter types are: tag-key tag-value tag:<key>")


def _activity_matches(activity: Activity, name: str, values: list[str]) -> bool:
    if name == "Status":
        return activity.status in values
    if name in ("StartTimeLowerBound", "StartTimeUpperBound"):
        bound = datetime.fromisoformat(values[0].replace("Z", "+00:00")).timestamp()
        return activity.start >= bound if name == "StartTimeLowerBound" else activity.start <= bound
    raise words.invalid(
        f"Filter type {name} is not correct. Allowed Filter types are: StartTimeLowerBound StartTimeUpperBound Status"
    )
