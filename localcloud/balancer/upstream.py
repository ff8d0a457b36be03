# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's ELBv2 behind the same dict-to-dict interface as our own services, and a reading of its state as a View."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize
from botocore.awsrequest import AWSRequest
from moto.core.request import normalize_request
from moto.elbv2.models import ELBv2Backend, elbv2_backends
from moto.elbv2.responses import ELBV2Response
from moto.elbv2.ssl_policies import SSL_POLICIES

from localcloud import acm
from localcloud.balancer import tls
from localcloud.balancer.model import (
    Action,
    Condition,
    FixedResponse,
    Forward,
    HealthCheck,
    Listener,
    Redirect,
    Rule,
    TargetGroup,
    Tls,
    View,
    encrypted,
)
from localcloud.errors import ApiError

_CONFIG = {
    "host-header": "HostHeaderConfig",
    "http-header": "HttpHeaderConfig",
    "http-request-method": "HttpRequestMethodConfig",
    "path-pattern": "PathPatternConfig",
    "query-string": "QueryStringConfig",
    "source-ip": "SourceIpConfig",
}
_REDIRECT = {"Protocol": "#{protocol}", "Port": "#{port}", "Host": "#{host}", "Path": "/#{path}"}


class MotoElbv2:
    """moto's ELBv2 as a localcloud Service: what a client would get over HTTP, without the HTTP."""

    def __init__(self) -> None:
        loader = botocore.loaders.Loader()
        self._model = botocore.model.ServiceModel(loader.load_service_model("elbv2", "service-2"), "elbv2")
        self._serializer = botocore.serialize.create_serializer("query")
        self._parser = botocore.parsers.create_parser("query")

    def handle(self, operation: str, params: dict[str, Any], region: str) -> dict[str, Any]:
        """Run one operation in moto; see localcloud.service.Service."""
        model = self._model.operation_model(operation)
        body = self._serializer.serialize_to_request(params, model)["body"]
        url = f"https://elasticloadbalancing.{region}.amazonaws.com/"
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "Authorization": f"AWS4-HMAC-SHA256 Credential=local/20260101/{region}/elasticloadbalancing/aws4_request",
        }
        request = AWSRequest("POST", url, headers=headers, data=urlencode(body)).prepare()
        try:
            status, reply_headers, reply = ELBV2Response.dispatch(normalize_request(request))
        except NotImplementedError:
            raise ApiError(
                "NotImplemented",
                f"The local cloud does not model {operation} of Elastic Load Balancing; AWS does.",
                501,
            ) from None
        raw = reply if isinstance(reply, bytes) else str(reply).encode()
        answer: dict[str, Any] = self._parser.parse(
            {"status_code": status, "headers": reply_headers, "body": raw}, model.output_shape
        )
        if status >= 300:
            error = answer.get("Error", {})
            raise ApiError(error.get("Code", "InternalFailure"), error.get("Message", ""), status)
        answer.pop("ResponseMetadata", None)
        return answer


def backends(account: str) -> dict[str, ELBv2Backend]:
    """moto's state of every region that was used so far."""
    return dict(elbv2_backends[account])


def backend(account: str, region: str) -> ELBv2Backend:
    """moto's state of one region; made when it is first asked for."""
    try:
        return elbv2_backends[account][region]
    except KeyError:
        raise ApiError("ValidationError", f"There is no region {region}") from None


def used_groups(moto: ELBv2Backend) -> dict[str, list[Any]]:
    """The ARNs of the target groups that a listener or rule forwards to, each with the load balancers that do."""
    used: dict[str, list[Any]] = {}
    for balancer in moto.load_balancers.values():
        for listener in balancer.listeners.values():
            for rule in listener.rules.values():
                for action in rule.actions:
                    for arn, _ in _weights(action.data):
                        if balancer not in used.setdefault(arn, []):
                            used[arn].append(balancer)
    return used


def view(every: list[ELBv2Backend]) -> View:
    """What HAProxy has to serve, over all regions."""
    listeners: list[Listener] = []
    groups: dict[str, TargetGroup] = {}
    files: dict[str, bytes] = {}
    for moto in every:
        for balancer in moto.load_balancers.values():
            idle = int(balancer.attrs.get("idle_timeout.timeout_seconds", 60))
            for item in balancer.listeners.values():
                rules = _rules(item)
                if balancer.type == "network":
                    idle = int(item.attributes.get("tcp.idle_timeout.seconds", 350))
                listeners.append(
                    Listener(
                        arn=item.arn,
                        address=balancer.dns_name,
                        port=int(item.port),
                        protocol=item.protocol,
                        rules=rules,
                        idle_timeout=idle,
                        tls=_tls(moto, balancer, item, files),
                    )
                )
                for rule in rules:
                    if isinstance(rule.action, Forward):
                        for arn, _ in rule.action.weights:
                            source = "" if balancer.dns_name.startswith("127.") else balancer.dns_name
                            groups[arn] = target_group(moto.target_groups[arn], idle, source)
    return View(
        tuple(sorted(listeners, key=lambda item: item.frontend)),
        tuple(sorted(groups.values(), key=lambda item: item.arn)),
        files,
    )


def _tls(moto: ELBv2Backend, balancer: Any, listener: Any, files: dict[str, bytes]) -> Tls | None:
    """How a listener ends TLS; its certificates come to the ``files``."""
    if not encrypted(listener.protocol):
        return None
    served = [acm.served(moto.account_id, moto.region_name, arn) for arn in listener.certificates]
    files.update(served)
    if balancer.type == "application":
        offers = "h2,http/1.1" if balancer.attrs.get("routing.http2.enabled", "true") == "true" else "http/1.1"
    else:
        offers = tls.alpn((listener.alpn_policy or ["None"])[0])
    policy = SSL_POLICIES[listener.ssl_policy or tls.DEFAULT_POLICY]
    return Tls(tuple(name for name, _ in served), tuple(policy["ssl_protocols"]), tuple(policy["ciphers"]), offers)


def has_policy(name: str) -> bool:
    """Whether there is such a security policy."""
    return name in SSL_POLICIES


def target_group(group: Any, idle_timeout: int = 60, source: str = "") -> TargetGroup:
    """moto's target group as ours."""
    port = str(group.health_check_port or "traffic-port")
    return TargetGroup(
        arn=group.arn,
        protocol=group.protocol,
        port=int(group.port),
        algorithm=str(group.attributes.get("load_balancing.algorithm.type", "round_robin")),
        idle_timeout=idle_timeout,
        source=source,
        check=HealthCheck(
            protocol=group.health_check_protocol,
            port=None if port == "traffic-port" else int(port),
            path=group.health_check_path or "/",
            codes=(getattr(group, "matcher", None) or {}).get("HttpCode") or "200",
            interval=int(group.health_check_interval_seconds),
            timeout=int(group.health_check_timeout_seconds),
            healthy=int(group.healthy_threshold_count),
            unhealthy=int(group.unhealthy_threshold_count),
        ),
    )


def deregistration_delay(group: Any) -> int:
    """Seconds that a deregistered target is left to finish what it began."""
    return int(group.attributes.get("deregistration_delay.timeout_seconds", 300))


def _rules(listener: Any) -> tuple[Rule, ...]:
    ordered = sorted(listener._non_default_rules.values(), key=lambda rule: int(rule.priority))
    rules = [Rule(_action(rule.actions), tuple(_conditions(rule.conditions))) for rule in ordered]
    return (*rules, Rule(_action(listener.default_actions)))


def _action(actions: list[Any]) -> Action:
    # the overlay lets only these three types in, one an action list
    data = actions[-1].data
    if data["Type"] == "fixed-response":
        fixed = data["FixedResponseConfig"]
        return FixedResponse(
            int(fixed["StatusCode"]), fixed.get("ContentType") or "text/plain", fixed.get("MessageBody") or ""
        )
    if data["Type"] == "redirect":
        return _redirect(data["RedirectConfig"])
    return Forward(tuple(_weights(data)))


def _redirect(config: dict[str, Any]) -> Redirect:
    part = {**_REDIRECT, **{key: value for key, value in config.items() if value}}
    query = part.get("Query", "#{query}")
    protocol = part["Protocol"].lower()
    location = f"{protocol}://{part['Host']}:{part['Port']}{part['Path']}" + (f"?{query}" if query else "")
    return Redirect(location, 301 if config["StatusCode"] == "HTTP_301" else 302)


def _weights(data: dict[str, Any]) -> list[tuple[str, int]]:
    if data.get("Type") != "forward":
        return []
    listed = (data.get("ForwardConfig") or {}).get("TargetGroups") or []
    if listed:
        return [(item["TargetGroupArn"], int(item.get("Weight", 1))) for item in listed]
    return [(data["TargetGroupArn"], 1)]


def _conditions(conditions: list[dict[str, Any]]) -> list[Condition]:
    found = []
    for condition in conditions:
        kind = condition["Field"]
        config = condition.get(_CONFIG[kind]) or {}
        values = config.get("Values") or condition.get("Values") or []
        if kind == "query-string":
            found.append(Condition(kind, pairs=tuple((item.get("Key", ""), item["Value"]) for item in values)))
        else:
            found.append(Condition(kind, tuple(values), header=config.get("HttpHeaderName", "")))
    return found
