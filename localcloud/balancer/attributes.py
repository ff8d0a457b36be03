# SPDX-License-Identifier: GPL-3.0-or-later
"""What ELBv2 takes for settings that are left out, which attributes there are, and when a second creation is the same as the first.

Source: the API reference of Elastic Load Balancing (CreateTargetGroup, LoadBalancerAttribute, TargetGroupAttribute).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.errors import ApiError


@dataclass(frozen=True)
class Attribute:
    """One attribute: its default, and the values that it takes."""

    default: str
    takes: Callable[[str], bool]
    says: str  # what it takes, for the refusal


def _number(default: int, low: int, high: int) -> Attribute:
    return Attribute(
        str(default),
        lambda text: text.isdecimal() and low <= int(text) <= high,
        f"must be between '{low}-{high}' inclusive",
    )


def _one_of(default: str, *others: str) -> Attribute:
    every = (default, *others)
    return Attribute(default, lambda text: text in every, f"must be one of [{', '.join(sorted(every))}]")


def _flag(default: str) -> Attribute:
    return _one_of(default, "true" if default == "false" else "false")


def _text(default: str, pattern: str = r".{0,256}") -> Attribute:
    return Attribute(default, lambda text: re.fullmatch(pattern, text) is not None, "is not valid")


_OFF_OR_PERCENT = Attribute(
    "off",
    lambda text: text == "off" or (text.isdecimal() and 1 <= int(text) <= 100),
    "must be 'off' or between '1-100' inclusive",
)
_LOGS = {"s3.enabled": _flag("false"), "s3.bucket": _text(""), "s3.prefix": _text("")}
_EVERY_BALANCER = {
    **{f"access_logs.{key}": value for key, value in _LOGS.items()},
    "deletion_protection.enabled": _flag("false"),
    "zonal_shift.config.enabled": _flag("false"),
}
BALANCERS: dict[str, dict[str, Attribute]] = {
    "application": {
        **_EVERY_BALANCER,
        **{f"connection_logs.{key}": value for key, value in _LOGS.items()},
        **{f"health_check_logs.{key}": value for key, value in _LOGS.items()},
        "client_keep_alive.seconds": _number(3600, 60, 604800),
        "idle_timeout.timeout_seconds": _number(60, 1, 4000),
        "ipv6.deny_all_igw_traffic": _flag("false"),
        "load_balancing.cross_zone.enabled": _one_of("true"),
        "routing.http.desync_mitigation_mode": _one_of("defensive", "monitor", "strictest"),
        "routing.http.drop_invalid_header_fields.enabled": _flag("false"),
        "routing.http.preserve_host_header.enabled": _flag("false"),
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": _flag("false"),
        "routing.http.xff_client_port.enabled": _flag("false"),
        "routing.http.xff_header_processing.mode": _one_of("append", "preserve", "remove"),
        "routing.http2.enabled": _flag("true"),
        "waf.fail_open.enabled": _flag("false"),
    },
    "network": {
        **_EVERY_BALANCER,
        "dns_record.client_routing_policy": _one_of(
            "any_availability_zone", "availability_zone_affinity", "partial_availability_zone_affinity"
        ),
        "ipv6.deny_all_igw_traffic": _flag("false"),
        "load_balancing.cross_zone.enabled": _flag("false"),
        "secondary_ips.auto_assigned.per_subnet": _number(0, 0, 7),
    },
}
_EVERY_GROUP = {
    "deregistration_delay.timeout_seconds": _number(300, 0, 3600),
    "load_balancing.cross_zone.enabled": _one_of("use_load_balancer_configuration", "true", "false"),
    "stickiness.enabled": _flag("false"),
    "target_group_health.dns_failover.minimum_healthy_targets.count": Attribute(
        "1", lambda text: text == "off" or text.isdecimal(), "must be 'off' or a number"
    ),
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": _OFF_OR_PERCENT,
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": Attribute(
        "1", lambda text: text.isdecimal() and int(text) >= 1, "must be a number from 1 on"
    ),
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": _OFF_OR_PERCENT,
}
GROUPS: dict[str, dict[str, Attribute]] = {
    "application": {
        **_EVERY_GROUP,
        "load_balancing.algorithm.anomaly_mitigation": _one_of("off", "on"),
        "load_balancing.algorithm.type": _one_of("round_robin", "least_outstanding_requests", "weighted_random"),
        "slow_start.duration_seconds": Attribute(
            "0", lambda text: text == "0" or (text.isdecimal() and 30 <= int(text) <= 900), "must be 0 or between '30-900' inclusive"
        ),
        "stickiness.app_cookie.cookie_name": _text(""),
        "stickiness.app_cookie.duration_seconds": _number(86400, 1, 604800),
        "stickiness.lb_cookie.duration_seconds": _number(86400, 1, 604800),
        "stickiness.type": _one_of("lb_cookie", "app_cookie"),
    },
    "network": {
        **_EVERY_GROUP,
        "deregistration_delay.connection_termination.enabled": _flag("false"),
        "preserve_client_ip.enabled": _flag("true"),
        "proxy_protocol_v2.enabled": _flag("false"),
        "stickiness.type": _one_of("source_ip"),
        "target_health_state.unhealthy.connection_termination.enabled": _flag("true"),
        "target_health_state.unhealthy.draining_interval_seconds": _number(0, 0, 360000),
    },
}  # fmt: skip


def group_kind(protocol: str | None) -> str:
    """The kind of load balancer that a target group of this protocol serves."""
    return "application" if protocol in ("HTTP", "HTTPS") else "network"


def defaults(known: Mapping[str, Attribute]) -> dict[str, str]:
    return {key: attribute.default for key, attribute in known.items()}


def check(given: list[dict[str, str]], known: Mapping[str, Mapping[str, Attribute]], kind: str, what: str) -> None:
    """Raise ApiError for attributes that there are not, and for values that they do not take.

    :param known: by kind of load balancer.
    :param what: "Load balancer" or "Target group".
    """
    for item in given:
        key, value = item["Key"], str(item.get("Value", ""))
        attribute = known[kind].get(key)
        if attribute is None:
            if any(key in other for other in known.values()):
                raise ApiError(
                    "InvalidConfigurationRequest",
                    f"{what} attribute key '{key}' is not supported on {what.lower()}s of type '{kind}'",
                )
            raise ApiError("ValidationError", f"{what} attribute key '{key}' is not recognized")
        if not attribute.takes(value):
            raise ApiError("ValidationError", f"'{key}' value '{value}' {attribute.says}")


def complete_group(params: dict[str, Any]) -> dict[str, Any]:
    """CreateTargetGroup with what AWS takes for what it does not say."""
    protocol = params.get("Protocol")
    check_protocol = params.get("HealthCheckProtocol") or ("HTTP" if group_kind(protocol) == "application" else "TCP")
    speaks_http = check_protocol in ("HTTP", "HTTPS")
    if protocol == "HTTPS" and "HealthCheckProtocol" not in params:
        check_protocol = "HTTPS"
    return {
        "HealthCheckProtocol": check_protocol,
        "HealthCheckPort": "traffic-port",
        **({"HealthCheckPath": "/"} if speaks_http else {}),
        **(
            {"Matcher": {"HttpCode": "200" if group_kind(protocol) == "application" else "200-399"}}
            if speaks_http
            else {}
        ),
        "HealthCheckIntervalSeconds": 30,
        "HealthCheckTimeoutSeconds": 5 if group_kind(protocol) == "application" else 10,
        "HealthyThresholdCount": 5,
        "UnhealthyThresholdCount": 2,
        "TargetType": "instance",
        **params,
    }


def same_balancer(params: dict[str, Any], described: dict[str, Any]) -> bool:
    """Whether a load balancer is as CreateLoadBalancer would make it."""
    subnets = [*params.get("Subnets", []), *(item["SubnetId"] for item in params.get("SubnetMappings", []))]
    return (
        params.get("Type", "application") == described["Type"]
        and params.get("Scheme", "internet-facing") == described["Scheme"]
        and params.get("IpAddressType", "ipv4") == described["IpAddressType"]
        and set(subnets) == {zone["SubnetId"] for zone in described["AvailabilityZones"]}
        and (
            "SecurityGroups" not in params or set(params["SecurityGroups"]) == set(described.get("SecurityGroups", []))
        )
    )


def same_group(params: dict[str, Any], described: dict[str, Any]) -> bool:
    """Whether a target group is as CreateTargetGroup would make it."""
    wanted = {key: value for key, value in complete_group(params).items() if key not in ("Name", "Tags")}
    return all(str(value) == str(described.get(key)) for key, value in wanted.items())


def same_listener(params: dict[str, Any], described: dict[str, Any]) -> bool:
    """Whether a listener is as CreateListener would make it."""
    return (
        params.get("Protocol") == described.get("Protocol")
        and int(params.get("Port") or 0) == int(described.get("Port") or 0)
        and params.get("SslPolicy", described.get("SslPolicy")) == described.get("SslPolicy")
        and [c.get("CertificateArn") for c in params.get("Certificates", [])]
        == [c.get("CertificateArn") for c in described.get("Certificates", [])]
        and [_action(action) for action in params.get("DefaultActions", [])]
        == [_action(action) for action in described.get("DefaultActions", [])]
    )


def _action(action: dict[str, Any]) -> Any:
    if action.get("Type") != "forward":
        return {key: value for key, value in action.items() if key != "Order"}
    groups = (action.get("ForwardConfig") or {}).get("TargetGroups") or [
        {"TargetGroupArn": action.get("TargetGroupArn")}
    ]
    return sorted((group["TargetGroupArn"], int(group.get("Weight", 1))) for group in groups)
