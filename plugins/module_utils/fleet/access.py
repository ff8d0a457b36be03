# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may know what: parameters, users of data services, certificates, and IAM roles that may read just these."""

from __future__ import annotations

from dataclasses import asdict
from operator import itemgetter
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import balancers, environment, names, scaling
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import Data, Fleet

# What users of NATS and Redis may do: all that clients need, nothing that administers the server.
_RIGHTS: Final[dict[str, Any]] = {
    "nats": {"account": "APP"},
    "redis": {"rules": ["~*", "&*", "+@all", "-@admin", "-@dangerous"]},
}
# Users among the nodes themselves and of whoever administers them.
INNER: Final = {"nats": ("cluster", "system"), "redis": ("admin", "replica", "sentinel")}
# Names that a data service gives to users of its own, so that no service of that name can be one.
TAKEN: Final = {"nats": INNER["nats"], "redis": (*INNER["redis"], "default", "exporter", "responder")}
# The tag of its own instance in which a host says how far it is.
TAG: Final = "boring:lifecycle"
_HASHES: Final = {"nats": "bcrypt", "redis": "sha256"}


def users(fleet: Fleet) -> list[dict[str, Any]]:
    """One user for each pair of a service and a data service that it uses. The host of the service reads `password`, the data node `verifier`, a hash of it."""
    return [
        {
            "data": name,
            "name": user,
            "password": environment.password(fleet, name, user),
            "verifier": names.parameter(fleet.name, "data", name, "users", user, "verifier"),
            "hash": _HASHES[fleet.data[name].kind],
            **_RIGHTS[fleet.data[name].kind],
        }
        for name in balancers.used_data(fleet)
        for user in sorted(fleet.users_of(name))
    ]


def certificates(fleet: Fleet) -> list[dict[str, Any]]:
    """Signed by the fleet's authority (`signed`), imported from files (`imported`), or there already (`named`).

    `host` is the service or data service whose hosts have it; "" for those of a load balancer, which are in ACM. `dns_names` hold
    `{data}` and `{internal}` where the address of that load balancer belongs.
    """
    found = []
    for name in fleet.order:
        if name in fleet.data and not fleet.data[name].plaintext:
            found.append(_signed(fleet, "data", name, [*_own_names(fleet, name), "{data}"]))
        elif name in fleet.services and fleet.services[name].tls:
            found.append(_signed(fleet, "services", name, _own_names(fleet, name)))
    if balancers.used_services(fleet):
        found.append({**_signed(fleet, "balancers", balancers.INTERNAL, ["{internal}"]), "host": ""})
    for service, expose in balancers.exposed(fleet):
        if expose.certificate:
            kind = "named" if expose.certificate.arn else "imported"
            found.append(
                {"name": balancers.exposed_certificate(service), "kind": kind, "host": "", **asdict(expose.certificate)}
            )
    return sorted(found, key=itemgetter("name"))


def authority(fleet: Fleet) -> dict[str, str]:
    """The fleet's own authority: hosts read its certificate. Its key stays where the fleet is deployed from."""
    return {"name": f"{fleet.name} fleet", "certificate": names.parameter(fleet.name, "authority", "certificate")}


def domain(fleet: Fleet, name: str) -> str:
    """In which the hosts of a service or data service have their names, which only they themselves resolve."""
    return f"{name}.{fleet.name}.fleet.internal"


def _own_names(fleet: Fleet, name: str) -> list[str]:
    return [domain(fleet, name), f"*.{domain(fleet, name)}"]


def _signed(fleet: Fleet, what: str, name: str, dns_names: list[str]) -> dict[str, Any]:
    return {
        "name": f"{what}/{name}",
        "kind": "signed",
        "host": name,
        "dns_names": dns_names,
        "certificate": names.parameter(fleet.name, what, name, "certificate"),
        "key": names.parameter(fleet.name, what, name, "key"),
    }


def checks_tls(fleet: Fleet, name: str) -> bool:
    """Whether hosts need the authority's certificate: they serve by one that it signed, or use what does."""
    if name in fleet.data:
        return not fleet.data[name].plaintext
    return fleet.services[name].tls or bool(fleet.services[name].uses)


def parameters(fleet: Fleet) -> list[dict[str, Any]]:
    """Parameter Store. `made` says how the value comes to be when the fleet is deployed; "" for those that you write yourself.

    `readers` are the services and data services whose hosts may read it.
    """
    found: list[dict[str, Any]] = []

    def add(name: str, made: str, readers: list[str], *, secret: bool = True) -> None:
        found.append(
            {"name": name, "made": made, "type": "SecureString" if secret else "String", "readers": sorted(readers)}
        )

    everyone = [name for name in fleet.order if checks_tls(fleet, name)]
    if everyone:
        add(authority(fleet)["certificate"], "authority", everyone, secret=False)
    for data in fleet.data.values():
        for inner in INNER[data.kind]:
            add(inner_password(fleet, data, inner), "password", [data.name])
    for user in users(fleet):
        add(user["password"], "password", [user["name"]])
        add(user["verifier"], f"{user['hash']} of {user['password']}", [user["data"]])
    for one in certificates(fleet):
        if one["kind"] == "signed":
            readers = [one["host"]] if one["host"] else []
            add(one["certificate"], "certificate", readers, secret=False)
            add(one["key"], "key", readers)
    own: dict[str, list[str]] = {}
    for service in fleet.services.values():
        for where in service.secrets.values():
            own.setdefault(where, []).append(service.name)
    for where, readers in own.items():
        add(where, "", sorted(set(readers)))
    return sorted(found, key=lambda one: str(one["name"]))


def inner_password(fleet: Fleet, data: Data, user: str) -> str:
    """The password of a user of the data service itself."""
    return names.parameter(fleet.name, "data", data.name, "inner", user)


def roles(fleet: Fleet, account: str) -> list[dict[str, Any]]:
    """One IAM role, with an instance profile of the same name, a service and data service. An isolated host has none.

    `account` is the number of the AWS account; "" writes policies for any, in which a role can reach only its own all the same.
    """
    partition = (
        "aws-cn" if fleet.region.startswith("cn-") else "aws-us-gov" if fleet.region.startswith("us-gov-") else "aws"
    )
    place = f"{fleet.region}:{account or '*'}"
    readable: dict[str, list[str]] = {name: [] for name in fleet.order}
    for one in parameters(fleet):
        for reader in one["readers"]:
            readable[reader].append(f"arn:{partition}:ssm:{place}:parameter{one['name']}")
    found = []
    for name in fleet.order:
        if not has_role(fleet, name, readable[name]):
            continue
        service = fleet.services.get(name)
        statements: list[dict[str, Any]] = []
        if readable[name]:
            statements.append({"Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": sorted(readable[name])})
        if service is None or not service.isolated:
            group = names.group(fleet.name, name)
            looks = ["autoscaling:DescribeAutoScalingInstances", "ec2:DescribeInstances"]
            if _registers(fleet, name):
                looks.append("elasticloadbalancing:DescribeTargetGroups")
            actions = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
            if service is not None and fleet.machines[service.machine].gpu:
                actions.append("autoscaling:SetInstanceHealth")  # a host whose GPUs stop working says so
            statements += [
                {
                    "Effect": "Allow",
                    "Action": actions,
                    "Resource": [
                        f"arn:{partition}:autoscaling:{place}:autoScalingGroup:*:autoScalingGroupName/{group}"
                    ],
                },
                # These cannot be narrowed to a resource.
                {"Effect": "Allow", "Action": looks, "Resource": ["*"]},
                # Where a person sees why a host does not enter or leave.
                {
                    "Effect": "Allow",
                    "Action": ["ec2:CreateTags"],
                    "Resource": [f"arn:{partition}:ec2:{place}:instance/*"],
                    "Condition": {
                        "StringEquals": {
                            "aws:ResourceTag/boring:fleet": fleet.name,
                            "aws:ResourceTag/boring:service": name,
                        },
                        "ForAllValues:StringEquals": {"aws:TagKeys": [TAG]},
                    },
                },
            ]
        if service is not None and service.scale and service.scale.own:
            statements.append(
                {
                    "Effect": "Allow",
                    "Action": ["cloudwatch:PutMetricData"],
                    "Resource": ["*"],  # metrics are no resources: a namespace is what they can be told apart by
                    "Condition": {"StringEquals": {"cloudwatch:namespace": scaling.NAMESPACE}},
                }
            )
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": f"ec2.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"},
            "Action": "sts:AssumeRole",
        }
        if _registers(fleet, name):
            target = names.target_group(fleet.name, name)
            statements.append(
                {
                    "Effect": "Allow",
                    "Action": ["elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"],
                    "Resource": [f"arn:{partition}:elasticloadbalancing:{place}:targetgroup/{target}/*"],
                }
            )
        found.append(
            {
                "name": names.role(fleet.name, name, fleet.region),
                "for": name,
                "trust": {"Version": "2012-10-17", "Statement": [trust]},
                "policy": {"Version": "2012-10-17", "Statement": statements},
            }
        )
    return found


def _registers(fleet: Fleet, name: str) -> bool:
    """Whether its hosts put themselves behind their load balancer."""
    return name in fleet.data and bool(fleet.users_of(name)) and balancers.only_master(fleet, name)


def has_role(fleet: Fleet, name: str, readable: list[str]) -> bool:
    """Whether its hosts may do anything on AWS: an isolated one may not, unless it has secrets to fetch and a way there."""
    service = fleet.services.get(name)
    return service is None or not service.isolated or bool(readable)
