# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a group larger and smaller by itself: one target tracking policy a group, after `scale` in the file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import balancers, names
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import Report
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import Fleet, Scale, Service
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import Seen
from ansible_collections.boring.fleet.plugins.module_utils.fleet.values import CPU, REQUESTS

POLICY: Final = "scale"
"""The name of the policy. One of another name is somebody else's, and stays as it is."""
NAMESPACE: Final = "boring.fleet"
"""Of the metrics that hosts put, and the only one in which their role may."""
_PREDEFINED: Final = {CPU: "ASGAverageCPUUtilization", REQUESTS: "ALBRequestCountPerTarget"}
_PERCENT: Final = 100
_USUAL: Final = ("Period", 60)  # whether or not AWS says so


def check(fleet: Fleet, service: Service, raw: Mapping[str, Any], at: str, report: Report) -> None:
    """Note what cannot be followed."""
    if service.scale is None:
        return
    path = f"{at}.scale"
    for where, why, others in _mistakes(fleet, service, service.scale, raw, at):
        if report.sound(f"{at}.{where}", f"{path}.metric", *others):
            report.add(f"{at}.{where}", why)
    size = service.size
    if size.min == size.max and report.sound(path, f"{at}.size"):
        report.add(
            path,
            f"min and max are both {size.min}, which leaves nothing to decide: make max more than min, or leave scale out",
        )
    if size.min == 0 and report.sound(f"{at}.size.min"):
        report.add(
            f"{at}.size.min",
            "0 leaves no host to measure, from which the group would never grow again: give 1 or more, or leave scale out",
        )


def _mistakes(
    fleet: Fleet, service: Service, scale: Scale, raw: Mapping[str, Any], at: str
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Where in the service, why, and what must be right for that to be judged."""
    if not scale.own:
        if raw["port"]:
            yield (
                "scale.port",
                f"is for a metric of the service's own, and AWS measures {scale.metric}: leave it out",
                (),
            )
        if scale.metric == CPU and scale.target > _PERCENT:
            yield "scale.target", f"{number(scale.target)} is more than {_PERCENT} percent of a processor", ()
        if scale.metric == REQUESTS and not service.expose and not fleet.users_of(service.name):
            why = "requests are counted by a load balancer, and there is none in front of it: expose it, or name it in the uses of another service"
            yield "scale.metric", why, (f"{at}.expose", *(f"fleet_services.{name}.uses" for name in fleet.services))
        return
    if not scale.port:
        why = f"{scale.metric} is the service's own, and there is no port at which its /metrics is: give scale a port"
        yield "scale.metric", why, (f"{at}.scale.port", f"{at}.port")
    if service.isolated:
        why = f"an isolated service has no way to tell AWS its {scale.metric}: take cpu or requests"
        yield "scale.metric", why, (f"{at}.isolated",)
    elif service.egress is not None and not any(one.first <= 443 <= one.last for one in service.egress):
        yield "egress", f"has no port 443, on which hosts tell AWS their {scale.metric}: add it", (f"{at}.isolated",)


def wanted(fleet: Fleet, service: Service) -> dict[str, Any] | None:
    """The entry of a group. `balancer` and `target_group` are those whose requests count, "" without."""
    scale = service.scale
    if scale is None:
        return None
    part = balancers.PUBLIC if service.expose else balancers.INTERNAL
    counts = scale.metric == REQUESTS
    return {
        "metric": scale.metric,
        "target": scale.target,
        "warmup": scale.warmup,
        "own": scale.own,
        "balancer": names.balancer(fleet.name, part) if counts else "",
        "target_group": balancers.target(fleet, service.name, part) if counts else "",
    }


def label(seen: Seen, scale: Mapping[str, Any]) -> str:
    """The load balancer and target group whose requests count, as Auto Scaling names them; "" for other metrics, and before they are there."""
    balancer, target = seen.balancers.get(scale["balancer"]), seen.targets.get(scale["target_group"])
    if balancer is None or target is None:
        return ""
    return f"{balancer.arn.partition(':loadbalancer/')[2]}/{target.arn.rpartition(':')[2]}"


def policy(fleet: str, service: str, scale: Mapping[str, Any], resource: str) -> dict[str, Any]:
    """What PutScalingPolicy takes beside names. `resource` is the label."""
    about: dict[str, Any] = {"TargetValue": scale["target"], "DisableScaleIn": False}
    if scale["own"]:
        about["CustomizedMetricSpecification"] = _own(fleet, service, scale["metric"])
    else:
        about["PredefinedMetricSpecification"] = _ready(scale["metric"], resource)
    return {
        "PolicyType": "TargetTrackingScaling",
        "EstimatedInstanceWarmup": scale["warmup"],
        "TargetTrackingConfiguration": about,
        "Enabled": True,
    }


def _own(fleet: str, service: str, metric: str) -> dict[str, Any]:
    return {
        "Namespace": NAMESPACE,
        "MetricName": metric,
        "Dimensions": [{"Name": "Fleet", "Value": fleet}, {"Name": "Service", "Value": service}],
        "Statistic": "Average",
    }


def _ready(metric: str, resource: str) -> dict[str, Any]:
    found = {"PredefinedMetricType": _PREDEFINED[metric]}
    return {**found, "ResourceLabel": resource} if resource else found


def words(scale: Mapping[str, Any] | None) -> str:
    """As a plan shows it; "" without."""
    return f"{scale['metric']} at {number(scale['target'])}, warmup {scale['warmup']} s" if scale else ""


def seen_words(found: Mapping[str, Any] | None, fleet: str, service: str, resource: str) -> str:
    """The same of a policy as AWS describes it. What a deploy would not have made so is named, so that it differs."""
    if found is None:
        return ""
    about = found.get("TargetTrackingConfiguration") or {}
    said = f"{_measured(about, fleet, service, resource)} at {number(float(about.get('TargetValue') or 0))}"
    warmup = found.get("EstimatedInstanceWarmup")
    said += f", warmup {warmup} s" if warmup is not None else ", no warmup"
    said += ", never fewer" if about.get("DisableScaleIn") else ""
    return said if found.get("Enabled", True) else f"{said}, disabled"


def _measured(about: Mapping[str, Any], fleet: str, service: str, resource: str) -> str:
    own = about.get("CustomizedMetricSpecification")
    if own:
        name = str(own.get("MetricName"))
        dimensions = sorted(own.get("Dimensions") or (), key=lambda one: str(one["Name"]))
        plain = {
            key: value for key, value in {**own, "Dimensions": dimensions}.items() if value and (key, value) != _USUAL
        }
        return name if plain == _own(fleet, service, name) else f"another {name}"
    ready = about.get("PredefinedMetricSpecification") or {}
    name = next(
        (word for word, one in _PREDEFINED.items() if one == ready.get("PredefinedMetricType")), "another metric"
    )
    same = name != REQUESTS or ready.get("ResourceLabel") == resource
    return name if same else f"{name} elsewhere"


def number(value: float) -> str:
    """As a person writes it."""
    return str(int(value)) if value == int(value) else str(value)
