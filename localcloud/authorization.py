# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts may do: each call's actions, resources and condition keys, put to the policies of the role.

Source: the "Service Authorization Reference" for actions, resources and keys; refusals are in AWS's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.acm.models import acm_backends
from moto.elbv2.models import elbv2_backends
from moto.iam.models import iam_backends
from moto.ssm.models import ssm_backends

from localcloud import policy, wire
from localcloud.cloud import Cloud
from localcloud.ec2.launch import ACCOUNT
from localcloud.errors import ApiError
from localcloud.policy import NotModelledError, Question, Verdict

Params = Mapping[str, Any]
_PREFIXES = {"monitoring": "cloudwatch"}
"""What actions begin with where it is not the service's name in signatures."""
_ABSENT = (
    "aws:resourcetag/", "aws:requesttag/", "aws:tagkeys", "aws:principaltag/", "ec2:resourcetag/", "autoscaling:resourcetag/",
    "elasticloadbalancing:resourcetag/", "ssm:resourcetag/", "aws:multifactorauth", "aws:sourcevpce", "aws:sourcevpc", "aws:username",
    "aws:federatedprovider", "aws:sourcearn", "aws:sourceaccount", "aws:calledvia", "aws:principalservicename", "aws:referer",
    "aws:principalorg", "cloudwatch:namespace", "ec2:createaction",
)  # fmt: skip
"""Condition keys that are modelled, and absent from a request that has no such thing."""


@dataclass(frozen=True)
class Resource:
    """What a call is about, with the tags it has; ``keys`` are further condition keys, their names in lower case."""

    arn: str = "*"
    tags: Mapping[str, str] | None = None
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Caller:
    """A host, as its role."""

    role: str
    instance_id: str
    address: str

    @property
    def arn(self) -> str:
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.role}/{self.instance_id}"


class Authorization:
    """Decides by the policies of roles in the cloud's IAM. Called with the cloud's lock held."""

    def __init__(self, cloud: Cloud, now: Callable[[], float]) -> None:
        self._cloud = cloud
        self._now = now
        find = _Resources(cloud)
        self._calls: dict[tuple[str, str], Callable[[Params, str], list[Resource]]] = {
            **{("autoscaling", name): find.of_group for name in _OF_GROUP},
            ("autoscaling", "SetInstanceHealth"): find.of_member,
            ("ec2", "CreateTags"): find.of_tagging,
            ("ec2", "DeleteTags"): find.of_tagging,
            ("elasticloadbalancing", "RegisterTargets"): find.of_target_group,
            ("elasticloadbalancing", "DeregisterTargets"): find.of_target_group,
            ("monitoring", "PutMetricData"): find.of_metrics,
            **{("ssm", name): find.of_parameters for name in ("GetParameter", "GetParameters", "GetParametersByPath")},
            **{("acm", name): find.of_certificate for name in _OF_CERTIFICATE},
            **{(service, name): _unnamed for service, names in _UNNAMED.items() for name in names},
        }

    @property
    def calls(self) -> list[tuple[str, str]]:
        """What hosts can call: services, as signatures have them, and operations."""
        return sorted(self._calls)

    def knows(self, service: str, operation: str) -> bool:
        """Whether hosts can make this call here, if their role allows it."""
        return (service, operation) in self._calls

    def check(self, caller: Caller, service: str, operation: str, params: Params, region: str) -> None:
        """Raise ApiError unless the host may make this call."""
        role = next((one for one in iam_backends[ACCOUNT]["aws"].roles.values() if one.name == caller.role), None)
        action = f"{_PREFIXES.get(service, service)}:{operation}"
        own = [] if role is None else [*role.policies.values(), *map(_document, role.managed_policies.values())]
        identity = _statements(own)
        boundary = (
            _statements([_document(_policy(role.permissions_boundary_arn))])
            if role and role.permissions_boundary_arn
            else None
        )
        find = self._calls.get((service, operation))
        if find is None:
            if policy.could_allow(identity, action) and (boundary is None or policy.could_allow(boundary, action)):
                raise wire.not_implemented(service, f"{operation} by hosts")
            raise _denied(caller, service, action, "*", _NO_POLICY.format(action))
        for resource in find(params, region) or [Resource()]:  # what is about nothing must be allowed on everything
            question = Question(action, resource.arn, self._context(caller, role, resource, region), _ABSENT)
            try:
                why = _refusal(
                    action,
                    policy.decide(identity, question),
                    None if boundary is None else policy.decide(boundary, question),
                )
            except NotModelledError as error:
                what = f"{error} in the policies of the role {caller.role}, on which {action} hangs,"
                raise ApiError(
                    "NotImplemented", f"The local cloud does not model {what} of AWS IAM; AWS does.", 501
                ) from None
            if why:
                raise _denied(caller, service, action, resource.arn, why)

    def _context(self, caller: Caller, role: Any, resource: Resource, region: str) -> dict[str, tuple[str, ...]]:
        now = self._now()
        own = {
            "aws:currenttime": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "aws:epochtime": f"{now:.0f}",
            "aws:ec2instancesourceprivateipv4": caller.address,
            "aws:principalaccount": ACCOUNT,
            "aws:principalarn": f"arn:aws:iam::{ACCOUNT}:role{getattr(role, 'path', '/')}{caller.role}",
            "aws:principaltype": "AssumedRole",
            "aws:principalisawsservice": "false",
            "aws:requestedregion": region,
            "aws:resourceaccount": ACCOUNT,
            "aws:securetransport": "true",  # as AWS's own endpoints are reached
            "aws:sourceip": caller.address,
            "aws:userid": f"{getattr(role, 'id', '')}:{caller.instance_id}",
            "aws:viaawsservice": "false",
            "ec2:region": region,
            "ec2:sourceinstancearn": f"arn:aws:ec2:{region}:{ACCOUNT}:instance/{caller.instance_id}",
        }
        context = {key: (value,) for key, value in own.items()}
        for tag in getattr(role, "tags", None) or ():
            context[f"aws:principaltag/{tag['Key'].lower()}"] = (str(tag["Value"]),)
        service = resource.arn.split(":")[2] if ":" in resource.arn else ""
        for key, value in (resource.tags or {}).items():
            for name in ("aws", service):
                context[f"{name}:resourcetag/{key.lower()}"] = (value,)
        return {**context, **resource.keys}


class _Resources:
    """What each call is about, out of the state of the cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def of_group(self, params: Params, region: str) -> list[Resource]:
        return [self._group(str(params.get("AutoScalingGroupName", "*")), region)]

    def of_member(self, params: Params, region: str) -> list[Resource]:
        return [self._group(self._cloud.autoscaling.members().get(str(params.get("InstanceId")), "*"), region)]

    def _group(self, name: str, region: str) -> Resource:
        group = self._cloud.autoscaling.group(name, region)
        if group is None:
            return Resource(f"arn:aws:autoscaling:{region}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/{name}")
        return Resource(group.arn, {key: tag.value for key, tag in group.tags.items()})

    def of_tagging(self, params: Params, region: str) -> list[Resource]:
        given = {str(tag.get("Key", "")): str(tag.get("Value", "")) for tag in params.get("Tags") or []}
        keys: dict[str, tuple[str, ...]] = {f"aws:requesttag/{key.lower()}": (value,) for key, value in given.items()}
        if given:
            keys["aws:tagkeys"] = tuple(given)
        backend, found = self._cloud.backend(), []
        for name in params.get("Resources") or []:
            kind = _EC2_KINDS.get(str(name).rpartition("-")[0], "*")
            arn = f"arn:aws:ec2:{region}:{'' if kind == 'image' else ACCOUNT}:{kind}/{name}"
            found.append(Resource(arn, {str(k): str(v) for k, v in backend.tags.get(name, {}).items()}, keys))
        return found

    def of_target_group(self, params: Params, region: str) -> list[Resource]:
        arn = str(params.get("TargetGroupArn"))
        return [Resource(arn, elbv2_backends[ACCOUNT][region].tagging_service.get_tag_dict_for_resource(arn))]

    def of_metrics(self, params: Params, _region: str) -> list[Resource]:
        return [Resource(keys={"cloudwatch:namespace": (str(params.get("Namespace")),)})]

    def of_parameters(self, params: Params, region: str) -> list[Resource]:
        names = [params[key] for key in ("Name", "Path") if key in params] or params.get("Names") or []
        tags: Mapping[str, Mapping[str, str]] = ssm_backends[ACCOUNT][region]._resource_tags.get("Parameter") or {}
        found = []
        for name in map(str, names):
            plain = name if name.startswith("arn:") else name.partition(":")[0]
            arn = plain if name.startswith("arn:") else f"arn:aws:ssm:{region}:{ACCOUNT}:parameter/{plain.lstrip('/')}"
            found.append(Resource(arn, dict(tags.get(plain, {}))))
        return found

    def of_certificate(self, params: Params, region: str) -> list[Resource]:
        arn = str(params.get("CertificateArn") or f"arn:aws:acm:{region}:{ACCOUNT}:certificate/*")
        certificate = acm_backends[ACCOUNT][region]._certificates.get(arn)
        return [Resource(arn, {} if certificate is None else {k: str(v or "") for k, v in certificate.tags.items()})]


def _unnamed(_params: Params, _region: str) -> list[Resource]:
    return [Resource()]


_OF_GROUP = ("CompleteLifecycleAction", "RecordLifecycleActionHeartbeat")
_OF_CERTIFICATE = (
    "DescribeCertificate",
    "ExportCertificate",
    "GetCertificate",
    "ImportCertificate",
    "ListTagsForCertificate",
)
_UNNAMED = {
    "autoscaling": (
        "DescribeAutoScalingGroups", "DescribeAutoScalingInstances", "DescribeInstanceRefreshes", "DescribeLifecycleHooks", "DescribeTags",
        "DescribeWarmPool",
    ),
    "ec2": (
        "DescribeAvailabilityZones", "DescribeInstanceStatus", "DescribeInstances", "DescribeRegions", "DescribeTags", "DescribeVolumes",
    ),
    "elasticloadbalancing": ("DescribeLoadBalancers", "DescribeTargetGroups", "DescribeTargetHealth"),
    "monitoring": ("GetMetricData", "GetMetricStatistics", "ListMetrics"),
    "ssm": ("DescribeParameters",),
    "acm": ("ListCertificates",),
}  # fmt: skip
"""Calls that policies allow on "*" only."""
_EC2_KINDS = {
    "ami": "image", "eni": "network-interface", "i": "instance", "key": "key-pair", "lt": "launch-template", "sg": "security-group",
    "snap": "snapshot", "subnet": "subnet", "vol": "volume", "vpc": "vpc",
}  # fmt: skip
_NO_POLICY = "because no identity-based policy allows the {} action"


def _refusal(action: str, identity: Verdict, boundary: Verdict | None) -> str:
    """Why it may not be done; empty if it may."""
    if identity is Verdict.DENIED:
        return "with an explicit deny in an identity-based policy"
    if boundary is Verdict.DENIED:
        return "with an explicit deny in a permissions boundary"
    if identity is Verdict.NOT_ALLOWED:
        return _NO_POLICY.format(action)
    if boundary is Verdict.NOT_ALLOWED:
        return f"because no permissions boundary allows the {action} action"
    return ""


def _denied(caller: Caller, service: str, action: str, resource: str, why: str) -> ApiError:
    on = "" if resource == "*" else f" on resource: {resource}"
    said = f"User: {caller.arn} is not authorized to perform: {action}{on} {why}"
    if service == "ec2":
        return ApiError("UnauthorizedOperation", f"You are not authorized to perform this operation. {said}", 403)
    if wire.speaks_json(service):
        return ApiError("AccessDeniedException", said)
    return ApiError("AccessDenied", said, 403)


def _statements(documents: Iterable[str]) -> list[policy.Statement]:
    return [one for document in documents for one in policy.statements(document)]


def _policy(arn: str) -> Any:
    return iam_backends[ACCOUNT]["aws"].managed_policies[arn]


def _document(managed: Any) -> str:
    return str(next(version.document for version in managed.versions if version.is_default))
