# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers of a fleet, when certificates end, and data services of which no host takes connections, as AWS tells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import names
from ansible_collections.boring.fleet.plugins.module_utils.fleet.balancers import DATA, INTERNAL, PUBLIC
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status import pem
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.ask import Ask, batches
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import Balancer

_PARTS: Final = (PUBLIC, INTERNAL, DATA)
_PARAMETERS: Final = 10  # as many as SSM takes by name


@dataclass
class Balancers:
    """`certificates`: listeners by the ARN of the certificate that they have; `behind`: target groups of listeners for data, by name."""

    found: list[Balancer] = field(default_factory=list)
    certificates: dict[str, list[str]] = field(default_factory=dict)
    behind: dict[str, str] = field(default_factory=dict)


def balancers(ask: Ask, fleet: str) -> Balancers:
    """The load balancers of a fleet with what their listeners name."""
    parts = {names.balancer(fleet, part): part for part in _PARTS}
    seen = Balancers()
    answer = ask.some("elbv2", "DescribeLoadBalancers", "LoadBalancers", "look for load balancers")
    for raw in sorted(answer, key=lambda one: str(one["LoadBalancerName"])):
        name = str(raw["LoadBalancerName"])
        if name not in parts:
            continue
        state = str((raw.get("State") or {}).get("Code") or "")
        seen.found.append(Balancer(name, parts[name], str(raw.get("DNSName") or ""), state))
        doing = f"read the listeners of the load balancer {name}"
        for listener in ask.some(
            "elbv2", "DescribeListeners", "Listeners", doing, LoadBalancerArn=raw["LoadBalancerArn"]
        ):
            for arn in _certificates_of(ask, listener, parts[name]):
                seen.certificates.setdefault(arn, []).append(f"{name}:{listener.get('Port')}")
            for action in listener.get("DefaultActions") or ():
                if parts[name] == DATA and (target := action.get("TargetGroupArn")):
                    seen.behind[target.rpartition("targetgroup/")[2].partition("/")[0]] = target
    seen.found.sort(key=lambda one: _PARTS.index(one.part))
    return seen


def _certificates_of(ask: Ask, listener: Mapping[str, Any], part: str) -> list[str]:
    arns = {one["CertificateArn"] for one in listener.get("Certificates") or () if one.get("CertificateArn")}
    if arns and part == PUBLIC:  # listeners inside have one each
        more = ask.some(
            "elbv2", "DescribeListenerCertificates", "Certificates", "read the certificates of a listener",
            ListenerArn=listener["ListenerArn"],
        )  # fmt: skip
        arns |= {one["CertificateArn"] for one in more}
    return sorted(arns)


def ends_in_acm(ask: Ask, certificates: Mapping[str, list[str]]) -> dict[str, float]:
    """When the certificates of listeners end."""
    found: dict[str, float] = {}
    for arn, listeners in certificates.items():
        about = ask.one("acm", "DescribeCertificate", "Certificate", f"read the certificate {arn}", CertificateArn=arn)
        if about and about.get("NotAfter"):
            where = listeners[0] if len(listeners) == 1 else f"{listeners[0]} and {len(listeners) - 1} more"
            found[f"the certificate of {about.get('DomainName') or arn} at {where}"] = about["NotAfter"].timestamp()
    return found


def ends_in_parameters(ask: Ask, fleet: str, services: Iterable[str], model: Mapping[str, Any]) -> dict[str, float]:
    """When the certificates end that the fleet's authority signed, and its own: their public parts are in parameters."""
    wanted = {names.parameter(fleet, "authority", "certificate"): "the fleet's authority"}
    if model:
        signed = [one for one in model["certificates"] if one["kind"] == "signed"]
        wanted |= {one["certificate"]: f"the certificate {one['name']}" for one in signed}
    else:  # whether a group is of a data service only the file says
        kinds = [(kind, one) for one in sorted(services) for kind in ("data", "services")]
        for kind, one in (*kinds, ("balancers", INTERNAL)):
            wanted[names.parameter(fleet, kind, one, "certificate")] = f"the certificate {kind}/{one}"
    found: dict[str, float] = {}
    for some in batches(sorted(wanted), _PARAMETERS):
        doing = "read the certificates of the fleet"
        answer = ask.one("ssm", "GetParameters", "Parameters", doing, Names=some, WithDecryption=False)
        for one in answer or ():
            try:
                found[wanted[one["Name"]]] = pem.ends(one["Value"])
            except ValueError as exc:
                ask.unknown.append(f"the parameter {one['Name']} does not say when its certificate ends: {exc}")
    return found


def silent(ask: Ask, fleet: str, services: Iterable[str], behind: Mapping[str, str]) -> dict[str, str]:
    """Why nobody can connect to a data service whose hosts register themselves as targets; `behind` has only these target groups."""
    found: dict[str, str] = {}
    for service in services:
        arn = behind.get(names.target_group(fleet, service))
        if arn is None:
            continue
        doing = f"read the health of the target group of {service}"
        answer = ask.one("elbv2", "DescribeTargetHealth", "TargetHealthDescriptions", doing, TargetGroupArn=arn)
        states = [str((one.get("TargetHealth") or {}).get("State")) for one in answer or ()]
        if answer is not None and "healthy" not in states:
            found[service] = (
                f"none of its {len(states)} targets takes connections: see which host is the master"
                if states
                else "no host takes connections: none has registered itself with the load balancer"
            )
    return found
