# SPDX-License-Identifier: GPL-3.0-or-later
"""What ELBv2 refuses and moto lets through, in AWS's words; and what this load balancer cannot do, said at once."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any

from localcloud.balancer import attributes, tls
from localcloud.balancer.model import encrypted
from localcloud.errors import ApiError

# (smallest, largest): the constraints of the service model
_RANGES = {
    "HealthCheckIntervalSeconds": (5, 300),
    "HealthCheckTimeoutSeconds": (2, 120),
    "HealthyThresholdCount": (2, 10),
    "UnhealthyThresholdCount": (2, 10),
    "Port": (1, 65535),
    "Priority": (1, 50000),
}
_CODES = re.compile(r"[2-4]\d\d(-[2-4]\d\d)?(,[2-4]\d\d(-[2-4]\d\d)?)*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}")
_NAME = re.compile(r"(?!internal-)[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?")
_HERE = "The local cloud has no such load balancer: "


def check(operation: str, params: dict[str, Any], moto: Any) -> None:
    """Refuse an operation before moto sees it.

    :param moto: moto's backend of the region.
    :raises ApiError: the refusal.
    """
    for name, (low, high) in _RANGES.items():
        value = params.get(name)
        if value is not None:
            _in_range(name, int(value), low, high)
    special = _CHECKS.get(operation)
    if special is not None:
        special(params, moto)
    for field in ("DefaultActions", "Actions"):
        _actions(params.get(field) or [])
    _conditions(params.get("Conditions") or [])


def targets(group: Any, ids: Iterable[str], find: Callable[[str], Any]) -> None:
    """Refuse targets that ELBv2 would not register.

    :param group: moto's target group.
    :param find: an instance (with ``state`` and ``vpc``) by id, or None.
    """
    stopped, strange = [], []
    for target in ids:
        if group.target_type == "ip":
            try:
                ipaddress.IPv4Address(target)
            except ValueError:
                raise ApiError("ValidationError", f"'{target}' is not a valid IPv4 address") from None
            continue
        if not re.fullmatch(r"i-[0-9a-f]+", target):
            raise ApiError("ValidationError", f"Instance ID '{target}' is not valid")
        instance = find(target)
        if instance is None or instance.vpc != group.vpc_id:
            strange.append(target)
        elif instance.state != "running":
            stopped.append(target)
    if strange:
        listed = ", ".join(f"'{target}'" for target in strange)
        raise ApiError(
            "InvalidTarget", f"The following targets are not in the target group VPC '{group.vpc_id}': {listed}"
        )
    if stopped:
        listed = ", ".join(f"'{target}'" for target in stopped)
        raise ApiError(
            "InvalidTarget", f"The following targets are not in a running state and cannot be registered: {listed}"
        )


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if low <= value <= high:
        return
    bound = f"greater than or equal to {low}" if value < low else f"less than or equal to {high}"
    raise ApiError(
        "ValidationError",
        f"1 validation error detected: Value '{value}' at '{name[0].lower()}{name[1:]}' failed to satisfy constraint: "
        f"Member must have value {bound}",
    )


def _create_load_balancer(params: dict[str, Any], moto: Any) -> None:
    name = params["Name"]
    if not _NAME.fullmatch(name):
        raise ApiError(
            "ValidationError",
            f"The load balancer name '{name}' must have 1 to 32 letters, digits and hyphens, must not begin or end "
            "with a hyphen, and must not begin with 'internal-'",
        )
    kind = params.get("Type", "application")
    _security_groups(params, moto)
    if kind not in ("application", "network"):
        raise ApiError("InvalidConfigurationRequest", f"{_HERE}type {kind}; application and network are there.")
    if any(item.name == name for item in moto.load_balancers.values()):
        raise ApiError(
            "DuplicateLoadBalancerName",
            f"A load balancer with the same name '{name}' exists, but with different settings",
        )
    subnets = [*params.get("Subnets", []), *(item["SubnetId"] for item in params.get("SubnetMappings", []))]
    zones = [subnet.availability_zone for item in subnets if (subnet := _subnet(moto, item))]
    if len(set(zones)) != len(zones):
        raise ApiError(
            "InvalidConfigurationRequest",
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        )
    if kind == "application" and zones and len(zones) < 2:
        raise ApiError("ValidationError", "At least two subnets in two different Availability Zones must be specified")


def _subnet(moto: Any, subnet_id: str) -> Any:
    """EC2's subnet, or None: moto refuses an unknown one in its own words."""
    return next((zone[subnet_id] for zone in moto.ec2_backend.subnets.values() if subnet_id in zone), None)


def _load_balancer_attributes(params: dict[str, Any], moto: Any) -> None:
    found = moto.load_balancers.get(params["LoadBalancerArn"])
    if found is not None:
        attributes.check(params.get("Attributes") or [], attributes.BALANCERS, found.type, "Load balancer")


def _delete_load_balancer(params: dict[str, Any], moto: Any) -> None:
    arn = params["LoadBalancerArn"]
    found = moto.load_balancers.get(arn)
    if found is not None and str(found.attrs.get("deletion_protection.enabled")).lower() == "true":
        raise ApiError(
            "OperationNotPermitted",
            f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
        )


def _create_target_group(params: dict[str, Any], moto: Any) -> None:
    kind = params.get("TargetType", "instance")
    if kind not in ("instance", "ip"):
        raise ApiError("InvalidConfigurationRequest", f"{_HERE}targets of type {kind}; instance and ip are there.")
    _protocol(params.get("Protocol"), ("TLS", "HTTP", "HTTPS", "TCP"), "target groups")
    if params.get("ProtocolVersion") not in (None, "HTTP1"):
        raise ApiError(
            "InvalidConfigurationRequest", f"{_HERE}protocol version {params['ProtocolVersion']}; HTTP1 is there."
        )
    if any(group.name == params["Name"] for group in moto.target_groups.values()):
        raise ApiError(
            "DuplicateTargetGroupName",
            f"A target group with the same name '{params['Name']}' exists, but with different settings",
        )
    _health_check(params, None)


def _modify_target_group(params: dict[str, Any], moto: Any) -> None:
    _health_check(params, moto.target_groups.get(params["TargetGroupArn"]))


def _health_check(params: dict[str, Any], group: Any) -> None:
    _protocol(params.get("HealthCheckProtocol"), ("HTTP", "HTTPS", "TCP"), "health checks")
    codes = (params.get("Matcher") or {}).get("HttpCode")
    if codes is not None and not _CODES.fullmatch(codes):
        raise ApiError(
            "ValidationError", f"Health check matcher HTTP code '{codes}' must be within '200-499' inclusive"
        )
    port = params.get("HealthCheckPort")
    if port not in (None, "traffic-port"):
        if not str(port).isdigit():
            raise ApiError("ValidationError", f"Health check port '{port}' must be a port or 'traffic-port'")
        _in_range("HealthCheckPort", int(port), 1, 65535)
    path = params.get("HealthCheckPath")
    if path is not None and not re.fullmatch(r"/[!-~]{0,1023}", path):
        raise ApiError("ValidationError", f"Health check path '{path}' must begin with '/' and hold no spaces")
    interval = params.get("HealthCheckIntervalSeconds") or (group and group.health_check_interval_seconds)
    timeout = params.get("HealthCheckTimeoutSeconds") or (group and group.health_check_timeout_seconds)
    protocol = params.get("Protocol") or (group and group.protocol)
    kind = params.get("HealthCheckProtocol") or (group and group.health_check_protocol)
    where = params.get("HealthCheckPort") or (group and group.health_check_port) or "traffic-port"
    if protocol in ("HTTPS", "TLS") and kind == "HTTP" and where == "traffic-port":
        raise ApiError(
            "InvalidConfigurationRequest",
            f"{_HERE}HTTP health checks of {protocol} targets on their own port; HTTPS and TCP are there, and HTTP on another port.",
        )
    if interval and timeout and protocol in ("HTTP", "HTTPS") and int(interval) <= int(timeout):
        raise ApiError("ValidationError", "Health check interval must be greater than the timeout.")


def _create_listener(params: dict[str, Any], moto: Any) -> None:
    balancer = moto.load_balancers.get(params["LoadBalancerArn"])
    if balancer is None:
        return  # moto says so
    _listener_protocol(params, balancer, None)
    _certificates(params, needed=encrypted(params.get("Protocol")))
    if any(int(item.port) == int(params.get("Port") or 0) for item in balancer.listeners.values()):
        raise ApiError("DuplicateListener", "A listener already exists on this port for this load balancer")
    _association(params.get("DefaultActions") or [], balancer, moto)


def _modify_listener(params: dict[str, Any], moto: Any) -> None:
    listener, balancer = _listener(params["ListenerArn"], moto)
    if listener is None:
        return
    _listener_protocol(params, balancer, listener)
    becomes = encrypted(params.get("Protocol")) and not listener.certificates
    _certificates(params, needed=becomes)
    port = params.get("Port")
    if port is not None and any(
        item is not listener and int(item.port) == int(port) for item in balancer.listeners.values()
    ):
        raise ApiError("DuplicateListener", "A listener already exists on this port for this load balancer")
    _association(params.get("DefaultActions") or [], balancer, moto)


def _create_rule(params: dict[str, Any], moto: Any) -> None:
    listener, balancer = _listener(params["ListenerArn"], moto)
    if listener is not None:
        _association(params.get("Actions") or [], balancer, moto)


def _listener_protocol(params: dict[str, Any], balancer: Any, listener: Any) -> None:
    protocol = params.get("Protocol") or (listener and listener.protocol)
    if protocol in ("UDP", "TCP_UDP", "QUIC", "TCP_QUIC", "GENEVE"):
        raise ApiError(
            "UnsupportedProtocol", f"{_HERE}protocol {protocol} for listeners; HTTP, HTTPS, TCP and TLS are there."
        )
    fitting = ("HTTP", "HTTPS") if balancer.type == "application" else ("TCP", "TLS")
    if protocol not in fitting:
        raise ApiError("ValidationError", f"Protocol '{protocol}' must be one of '{', '.join(fitting)}'")
    if not encrypted(protocol):
        for name in ("Certificates", "SslPolicy"):
            if params.get(name):
                what = "certificates" if name == "Certificates" else "SSL policy"
                raise ApiError("InvalidConfigurationRequest", f"You cannot specify {what} for {protocol} listeners")
    alpn = params.get("AlpnPolicy") or []
    if alpn not in ([], ["None"]) and (protocol != "TLS" or len(alpn) != 1 or alpn[0] not in tls.ALPN_POLICIES):
        raise ApiError(
            "ALPNPolicyNotSupported", f"ALPN policy '{', '.join(alpn)}' is not supported for {protocol} listeners"
        )
    if (params.get("MutualAuthentication") or {}).get("Mode", "off") != "off":
        raise ApiError("InvalidConfigurationRequest", f"{_HERE}mutual authentication is not modelled.")


def _certificates(params: dict[str, Any], *, needed: bool) -> None:
    given = params.get("Certificates") or []
    if not given and needed:
        raise ApiError("ValidationError", f"A certificate must be specified for {params['Protocol']} listeners")
    if len(given) > 1:
        raise ApiError("ValidationError", "Only one certificate can be specified as the default certificate")


def _listener_certificates(params: dict[str, Any], moto: Any) -> Any:
    """The listener of a call about its further certificates."""
    listener, _ = _listener(params["ListenerArn"], moto)
    if listener is not None and not encrypted(listener.protocol):
        raise ApiError(
            "InvalidConfigurationRequest", f"You cannot specify certificates for {listener.protocol} listeners"
        )
    return listener


def _add_certificates(params: dict[str, Any], moto: Any) -> None:
    _listener_certificates(params, moto)
    for item in params.get("Certificates") or []:
        if item.get("IsDefault"):
            raise ApiError("ValidationError", "You cannot set the isDefault parameter of a certificate")


def _remove_certificates(params: dict[str, Any], moto: Any) -> None:
    listener = _listener_certificates(params, moto)
    for item in params.get("Certificates") or []:
        if listener is not None and item.get("CertificateArn") == listener.certificates[0]:
            raise ApiError("OperationNotPermitted", "The default certificate of a listener cannot be removed")


def _set_security_groups(params: dict[str, Any], moto: Any) -> None:
    _security_groups(params, moto)
    found = moto.load_balancers.get(params["LoadBalancerArn"])
    if (
        found is not None
        and found.type == "network"
        and bool(found.security_groups) != bool(params.get("SecurityGroups"))
    ):
        raise ApiError(
            "InvalidConfigurationRequest",
            "Security groups cannot be set on a Network Load Balancer that was created without, nor all be taken from one that was "
            "created with them",
        )


def _security_groups(params: dict[str, Any], moto: Any) -> None:
    for group in params.get("SecurityGroups") or []:
        if moto.ec2_backend.get_security_group_from_id(group) is None:
            raise ApiError("InvalidSecurityGroup", f"Security group '{group}' does not exist")


def _listener(arn: str, moto: Any) -> tuple[Any, Any]:
    for balancer in moto.load_balancers.values():
        if arn in balancer.listeners:
            return balancer.listeners[arn], balancer
    return None, None


def _association(actions: list[dict[str, Any]], balancer: Any, moto: Any) -> None:
    """A target group serves one load balancer, and speaks its protocol."""
    if balancer.type == "network" and actions and (len(_forwarded(actions)) != 1 or actions[0]["Type"] != "forward"):
        raise ApiError(
            "InvalidLoadBalancerAction",
            f"{_HERE}a TLS or a TCP listener with anything but one forward to one target group.",
        )
    for arn in _forwarded(actions):
        group = moto.target_groups.get(arn)
        if group is None:
            raise ApiError("TargetGroupNotFound", f"Target groups '{arn}' not found")
        wanted = ("HTTP", "HTTPS") if balancer.type == "application" else ("TCP", "TLS")
        if group.protocol not in wanted:
            raise ApiError(
                "InvalidConfigurationRequest",
                f"The protocol {group.protocol} of target group '{arn}' does not fit a load balancer of type {balancer.type}",
            )
        if any(used != balancer.arn for used in group.load_balancer_arns):
            raise ApiError(
                "TargetGroupAssociationLimit",
                f"The following target groups cannot be associated with more than one load balancer: {arn}",
            )


def _forwarded(actions: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for action in actions:
        if action.get("Type") == "forward":
            several = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
            found += [item["TargetGroupArn"] for item in several] or [action["TargetGroupArn"]]
    return found


def _actions(actions: list[dict[str, Any]]) -> None:
    for action in actions:
        if action.get("Type") not in ("forward", "redirect", "fixed-response"):
            raise ApiError(
                "InvalidLoadBalancerAction",
                f"{_HERE}action {action.get('Type')}; forward, redirect and fixed-response are there.",
            )
        sticky = (action.get("ForwardConfig") or {}).get("TargetGroupStickinessConfig") or {}
        if sticky.get("Enabled"):
            raise ApiError("InvalidConfigurationRequest", f"{_HERE}stickiness of target groups is not modelled.")


def _conditions(conditions: list[dict[str, Any]]) -> None:
    for condition in conditions:
        header = (condition.get("HttpHeaderConfig") or {}).get("HttpHeaderName")
        if header is not None and not _HEADER.fullmatch(header):
            raise ApiError("ValidationError", f"The HTTP header name '{header}' is not valid")
        for block in (condition.get("SourceIpConfig") or {}).get("Values", []):
            try:
                ipaddress.ip_network(block)
            except ValueError:
                raise ApiError("ValidationError", f"The source IP '{block}' is not a valid CIDR block") from None


def _target_group_attributes(params: dict[str, Any], moto: Any) -> None:
    given, group = params.get("Attributes") or [], moto.target_groups.get(params["TargetGroupArn"])
    if group is not None:
        attributes.check(given, attributes.GROUPS, attributes.group_kind(group.protocol), "Target group")
    for item in given:
        if item["Key"] == "stickiness.enabled" and str(item["Value"]).lower() == "true":
            raise ApiError("InvalidConfigurationRequest", f"{_HERE}sticky sessions are not modelled.")


def _protocol(value: str | None, known: tuple[str, ...], what: str) -> None:
    if value in ("TLS", "UDP", "TCP_UDP", "GENEVE", "HTTPS", "QUIC") and value not in known:
        raise ApiError(
            "InvalidConfigurationRequest", f"{_HERE}protocol {value} for {what}; {', '.join(known)} are there."
        )


_CHECKS: dict[str, Callable[[dict[str, Any], Any], None]] = {
    "CreateLoadBalancer": _create_load_balancer,
    "DeleteLoadBalancer": _delete_load_balancer,
    "CreateTargetGroup": _create_target_group,
    "ModifyTargetGroup": _modify_target_group,
    "ModifyTargetGroupAttributes": _target_group_attributes,
    "ModifyLoadBalancerAttributes": _load_balancer_attributes,
    "CreateListener": _create_listener,
    "ModifyListener": _modify_listener,
    "CreateRule": _create_rule,
    "AddListenerCertificates": _add_certificates,
    "RemoveListenerCertificates": _remove_certificates,
    "SetSecurityGroups": _set_security_groups,
}
