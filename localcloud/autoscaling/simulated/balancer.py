# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated target groups and classic load balancers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from localcloud.autoscaling.ports import TargetHealth
from localcloud.autoscaling.simulated.world import FAILING, HEALTHY, REGION, Params, World
from localcloud.errors import ApiError

_ARN = f"arn:aws:elasticloadbalancing:{REGION}:123456789012"
_INITIAL = TargetHealth("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
_UNUSED = TargetHealth(
    "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
)
_DRAINING = TargetHealth("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")


@dataclass
class _Place:
    """A target group or a classic load balancer."""

    name: str
    arn: str
    port: int
    deregistration_delay: float
    healthy_after: float
    listening: bool
    classic: bool = False
    health: dict[str, TargetHealth] = field(default_factory=dict)
    turn: dict[str, int] = field(default_factory=dict)  # guards against events of an earlier registration
    shapes: dict[str, dict[str, Any]] = field(default_factory=dict)
    healthy: set[str] = field(default_factory=set)

    def put(self, instance_id: str, health: TargetHealth) -> None:
        self.health[instance_id] = health
        (self.healthy.add if health.state == "healthy" else self.healthy.discard)(instance_id)
        state = {"State": health.state, "Reason": health.reason, "Description": health.description}
        self.shapes[instance_id] = {
            "Target": {"Id": instance_id, "Port": self.port},
            "HealthCheckPort": str(self.port),
            "TargetHealth": {key: value for key, value in state.items() if value is not None},
        }

    def drop(self, instance_id: str) -> None:
        self.health.pop(instance_id, None)
        self.healthy.discard(instance_id)
        self.shapes.pop(instance_id, None)


class SimulatedTargets:
    """Target groups and classic load balancers: the port, and the part of their APIs that callers look at."""

    def __init__(self, cloud: World, healthy_after: float, deregistration_delay: float) -> None:
        self._cloud = cloud
        self._healthy_after = healthy_after
        self._deregistration_delay = deregistration_delay
        self.places: dict[str, _Place] = {}

    def create(
        self,
        name: str,
        *,
        port: int = 80,
        healthy_after: float | None = None,
        deregistration_delay: float | None = None,
        listening: bool = True,
        classic: bool = False,
    ) -> str:
        """A target group (its ARN), or a classic load balancer (its name). Not listening: no load balancer uses it."""
        arn = name if classic else f"{_ARN}:targetgroup/{name}/{len(self.places) + 1:016x}"
        delay = self._deregistration_delay if deregistration_delay is None else deregistration_delay
        after = self._healthy_after if healthy_after is None else healthy_after
        self.places[arn] = _Place(name, arn, port, delay, after, listening, classic)
        return arn

    def place(self, arn: str) -> _Place:
        if arn not in self.places:
            what = "TargetGroupNotFound" if arn.startswith("arn:") else "LoadBalancerNotFound"
            raise ApiError(
                what,
                f"Target groups '{arn}' not found"
                if arn.startswith("arn:")
                else "There is no ACTIVE Load Balancer named '" + arn + "'",
            )
        return self.places[arn]

    def register(self, arn: str, instance_id: str) -> None:
        place = self.place(arn)
        turn = place.turn[instance_id] = place.turn.get(instance_id, 0) + 1
        place.put(instance_id, _INITIAL if place.listening else _UNUSED)

        def checked() -> None:
            if place.turn[instance_id] == turn and place.listening and instance_id in place.health:
                place.put(instance_id, HEALTHY if self._cloud.answers(instance_id) else FAILING)
                if not self._cloud.answers(instance_id):
                    self._cloud.at(self._cloud.notice, self._cloud.look_at_health)

        self._cloud.at(place.healthy_after, checked)

    def deregister(self, arn: str, instance_id: str) -> None:
        place = self.place(arn)
        if instance_id not in place.health or place.health[instance_id].state == "draining":
            return
        turn = place.turn[instance_id] = place.turn.get(instance_id, 0) + 1
        if not place.listening or place.deregistration_delay <= 0:
            place.drop(instance_id)
            return
        place.put(instance_id, _DRAINING)

        def drained() -> None:
            if place.turn[instance_id] == turn:
                place.drop(instance_id)

        self._cloud.at(place.deregistration_delay, drained)

    def health(self, arn: str) -> dict[str, TargetHealth]:
        return self.place(arn).health

    def measured(self, instance_id: str, health: TargetHealth) -> None:
        """A health check's verdict, for every place where the instance takes traffic."""
        for place in self.places.values():
            known = place.health.get(instance_id)
            if known is not None and known.state in ("healthy", "unhealthy"):
                place.put(instance_id, health)

    def elbv2_describe_target_health(self, params: Params) -> dict[str, Any]:
        place = self.place(params["TargetGroupArn"])
        if not params.get("Targets"):
            return {"TargetHealthDescriptions": list(place.shapes.values())}
        rows = []
        for target in params["Targets"]:
            if target["Id"] not in self._cloud.hosts:
                raise ApiError("InvalidTarget", f"The following targets are not valid instances: '{target['Id']}'")
            unregistered = {
                "Target": {"Id": target["Id"], "Port": place.port},
                "TargetHealth": {
                    "State": "unused",
                    "Reason": "Target.NotRegistered",
                    "Description": "Target is not registered to the target group",
                },
            }
            rows.append(place.shapes.get(target["Id"], unregistered))
        return {"TargetHealthDescriptions": rows}

    def elbv2_register_targets(self, params: Params) -> None:
        for target in params["Targets"]:
            self.register(params["TargetGroupArn"], target["Id"])

    def elbv2_deregister_targets(self, params: Params) -> None:
        for target in params["Targets"]:
            self.deregister(params["TargetGroupArn"], target["Id"])

    def elbv2_describe_target_groups(self, params: Params) -> dict[str, Any]:
        places = [place for place in self.places.values() if not place.classic]
        if params.get("TargetGroupArns"):
            places = [self.place(arn) for arn in params["TargetGroupArns"]]
        if params.get("Names"):
            places = [place for place in places if place.name in params["Names"]]
        if params.get("LoadBalancerArn"):
            places = [p for p in places if p.listening and params["LoadBalancerArn"] == _load_balancer(p)]
        return {
            "TargetGroups": [
                {
                    "TargetGroupArn": place.arn,
                    "TargetGroupName": place.name,
                    "Protocol": "HTTP",
                    "Port": place.port,
                    "TargetType": "instance",
                    "HealthCheckIntervalSeconds": 10,
                    "HealthyThresholdCount": 2,
                    "UnhealthyThresholdCount": 2,
                    "LoadBalancerArns": [_load_balancer(place)] if place.listening else [],
                }
                for place in places
            ]
        }

    def elbv2_describe_target_group_attributes(self, params: Params) -> dict[str, Any]:
        place = self.place(params["TargetGroupArn"])
        delay = {"Key": "deregistration_delay.timeout_seconds", "Value": f"{place.deregistration_delay:.0f}"}
        return {"Attributes": [delay, {"Key": "slow_start.duration_seconds", "Value": "0"}]}

    def elbv2_describe_load_balancers(self, params: Params) -> dict[str, Any]:
        arns = {_load_balancer(p): p for p in self.places.values() if p.listening and not p.classic}
        chosen = [arn for arn in arns if not params.get("LoadBalancerArns") or arn in params["LoadBalancerArns"]]
        return {
            "LoadBalancers": [
                {"LoadBalancerArn": arn, "LoadBalancerName": arns[arn].name, "State": {"Code": "active"}}
                for arn in chosen
            ]
        }

    def elbv2_describe_listeners(self, params: Params) -> dict[str, Any]:
        arns = {_load_balancer(p): p for p in self.places.values() if p.listening and not p.classic}
        place = arns.get(params.get("LoadBalancerArn", ""))
        if place is None:
            return {"Listeners": []}
        action = {"Type": "forward", "TargetGroupArn": place.arn}
        return {"Listeners": [{"LoadBalancerArn": _load_balancer(place), "Port": 80, "DefaultActions": [action]}]}

    def elb_describe_instance_health(self, params: Params) -> dict[str, Any]:
        place = self.place(params["LoadBalancerName"])
        wanted = [i["InstanceId"] for i in params.get("Instances") or []]
        rows = []
        for instance_id, health in place.health.items():
            if health.state != "draining" and (not wanted or instance_id in wanted):
                state = "InService" if health.state == "healthy" else "OutOfService"
                rows.append({"InstanceId": instance_id, "State": state, "ReasonCode": "N/A", "Description": "N/A"})
        missing = [i for i in wanted if i not in {row["InstanceId"] for row in rows}]
        if missing:
            raise ApiError("InvalidInstance", f"Could not find EC2 instance {missing[0]}.")
        return {"InstanceStates": rows}

    def elb_describe_load_balancers(self, params: Params) -> dict[str, Any]:
        wanted = params.get("LoadBalancerNames")
        names = [p.name for p in self.places.values() if p.classic and (not wanted or p.name in wanted)]
        return {"LoadBalancerDescriptions": [{"LoadBalancerName": name} for name in names]}


def _load_balancer(place: _Place) -> str:
    return f"{_ARN}:loadbalancer/app/{place.name}/{place.arn[-16:]}"
