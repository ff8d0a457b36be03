# SPDX-License-Identifier: GPL-3.0-or-later
"""An AWS account in this process (moto's), what deploys do to it, and everything that it has, to compare."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.drive import (
    Deployment,
    Options,
    Result,
    destroy,
)
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.keeper import Keeper
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet

REGION = "eu-central-1"
_ID = re.compile(r"/[0-9a-f]{16}\b")  # of a load balancer or target group
_FAST = Config(retries={"total_max_attempts": 1}, parameter_validation=True)


class KilledError(BaseException):
    """The process ends in the middle of a run."""


class Client:
    """A boto3 client. `before` is called with each operation. Two things that moto forgets and AWS does not are done here: hooks that a
    group is made with, and the tags of a certificate that is imported again."""

    def __init__(self, service: str, before: Callable[[str], None]) -> None:
        self.boto = boto3.client(service, region_name=REGION, config=_FAST)
        self._before = before

    def __getattr__(self, name: str) -> Any:
        def call(**params: Any) -> Any:
            self._before(name)
            kept = []
            if name == "import_certificate" and "CertificateArn" in params:
                kept = self.boto.list_tags_for_certificate(CertificateArn=params["CertificateArn"])["Tags"]
            answer = getattr(self.boto, name)(**params)
            if kept:
                self.boto.add_tags_to_certificate(CertificateArn=params["CertificateArn"], Tags=kept)
            if name == "create_auto_scaling_group":
                for hook in params["LifecycleHookSpecificationList"]:
                    self.boto.put_lifecycle_hook(AutoScalingGroupName=params["AutoScalingGroupName"], **hook)
            return answer

        return call


class Account:
    """One account, and one desk with its state directories."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.operations: list[str] = []
        self.killed_at = -1  # the call that is not made any more
        self._clients: dict[str, Client] = {}
        self.images: dict[str, str] = {}
        self.now: Callable[[], float] = time.time
        self.forget()

    def forget(self) -> None:
        """Begin anew, in an account that is empty."""
        self.image, self.other_image = (
            self.raw("ec2").register_image(Name=name, RootDeviceName="/dev/xvda")["ImageId"]
            for name in ("one", "other")
        )
        self.operations.clear()

    def raw(self, service: str) -> Any:
        """A client whose calls are nobody's."""
        return self(service).boto

    def __call__(self, service: str) -> Client:
        if service not in self._clients:
            self._clients[service] = Client(service, self._before)
        return self._clients[service]

    def _before(self, operation: str) -> None:
        if len(self.operations) == self.killed_at:
            raise KilledError(operation)
        self.operations.append(operation)

    def _parts(self, options: dict[str, Any], name: str) -> tuple[Calls, Keeper, Options]:
        self.operations.clear()
        calls = Calls(self, clock=self.now, sleep=lambda seconds: None, patience=5)
        return calls, Keeper(self.path / name, self.path), Options(**{"patience": 30.0, **options})

    def deploy(self, variables: dict[str, Any], *, check: bool = False, **options: Any) -> Result:
        fleet = read_fleet(variables)
        families = {image["family"]: self.image for image in lists(fleet)["images"]}
        calls, keeper, given = self._parts({"images": {**families, **self.images}, **options}, fleet.name)
        return Deployment(fleet, calls, keeper, given).run(check=check)

    def destroy(self, name: str, *, check: bool = False, **options: Any) -> Result:
        calls, keeper, given = self._parts(options, name)
        return destroy(name, REGION, calls, keeper, given, check=check)

    # -- everything that there is ----------------------------------------------------------------------------------

    def everything(self) -> dict[str, Any]:
        """By kind and name; ids, dates and values that are random are left out, so that two accounts can be compared."""
        ec2, elb, iam = map(self.raw, ("ec2", "elbv2", "iam"))
        security = {
            one["GroupId"]: one["GroupName"]
            for one in ec2.describe_security_groups()["SecurityGroups"]
            if one["GroupName"] != "default"
        }
        targets = {
            one["TargetGroupArn"]: one["TargetGroupName"] for one in elb.describe_target_groups()["TargetGroups"]
        }
        acm = self.raw("acm")
        certificates = {}
        for one in acm.list_certificates()["CertificateSummaryList"]:
            arn = one["CertificateArn"]
            tags = {tag["Key"]: tag["Value"] for tag in acm.list_tags_for_certificate(CertificateArn=arn)["Tags"]}
            certificates[arn] = tags.get("boring:certificate", "of somebody")
        names = {**security, **targets, **certificates}
        return {
            "security": sorted(
                (one["GroupName"], _named(one["IpPermissions"], names), _named(one["IpPermissionsEgress"], names))
                for one in ec2.describe_security_groups()["SecurityGroups"]
                if one["GroupId"] in security
            ),
            "balancers": self._balancers(elb, names),
            "targets": sorted(
                (one["TargetGroupName"], one["Port"], one.get("HealthCheckPath"), one["HealthCheckPort"])
                for one in elb.describe_target_groups()["TargetGroups"]
            ),
            "roles": sorted(
                (
                    one["RoleName"],
                    json.dumps([each["PolicyDocument"] for each in one["RolePolicyList"]]),
                    [each["InstanceProfileName"] for each in one["InstanceProfileList"]],
                )
                for one in iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
                if not one["RoleName"].startswith("AWSServiceRole")
            ),
            "profiles": sorted(one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]),
            "certificates": sorted(certificates.values()),
            "parameters": sorted(
                one["Name"]
                for page in self.raw("ssm")
                .get_paginator("describe_parameters")
                .paginate(ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": ["/boring"]}])
                for one in page["Parameters"]
            ),
            **self._groups(ec2, targets),
        }

    def _balancers(self, elb: Any, names: dict[str, str]) -> list[Any]:
        found = []
        for one in elb.describe_load_balancers()["LoadBalancers"]:
            listeners = []
            for listener in elb.describe_listeners(LoadBalancerArn=one["LoadBalancerArn"])["Listeners"]:
                rules = elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
                listeners.append(
                    (
                        listener["Port"],
                        listener["Protocol"],
                        _named(listener.get("Certificates", []), names),
                        [(rule["Priority"], _named(rule["Actions"], names)) for rule in rules],
                    )
                )
            found.append(
                (
                    one["LoadBalancerName"],
                    one.get("Scheme"),
                    _named(one["SecurityGroups"], names),
                    sorted(listeners, key=str),
                )
            )
        return sorted(found, key=str)

    def _groups(self, ec2: Any, targets: dict[str, str]) -> dict[str, Any]:
        groups = self.raw("autoscaling")
        described = groups.describe_auto_scaling_groups()["AutoScalingGroups"]
        instances = [one for each in ec2.describe_instances()["Reservations"] for one in each["Instances"]]
        return {
            "templates": sorted(
                (one["LaunchTemplateName"], one["LatestVersionNumber"])
                for one in ec2.describe_launch_templates()["LaunchTemplates"]
            ),
            "groups": sorted(
                (
                    one["AutoScalingGroupName"], one["MinSize"], one["MaxSize"], one["DesiredCapacity"],
                    sorted(targets[arn] for arn in one["TargetGroupARNs"]), one["LaunchTemplate"]["Version"],
                )
                for one in described
            ),
            "policies": sorted(
                (one["AutoScalingGroupName"], policy["PolicyName"], _ID.sub("", json.dumps(policy["TargetTrackingConfiguration"], sort_keys=True)))
                for one in described
                for policy in groups.describe_policies(AutoScalingGroupName=one["AutoScalingGroupName"])["ScalingPolicies"]
            ),
            "hooks": sorted(
                (one["AutoScalingGroupName"], hook["LifecycleHookName"])
                for one in described
                for hook in groups.describe_lifecycle_hooks(AutoScalingGroupName=one["AutoScalingGroupName"])["LifecycleHooks"]
            ),
            "hosts": sum(one["State"]["Name"] == "running" for one in instances),
        }  # fmt: skip


def _named(value: Any, names: dict[str, str]) -> str:
    """JSON with names in place of ids; lists are in an order that does not depend on how they came to be."""

    def sorted_through(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: sorted_through(each) for key, each in one.items()}
        if isinstance(one, list):
            return sorted(map(sorted_through, one), key=lambda each: json.dumps(each, sort_keys=True))
        return names.get(one, one) if isinstance(one, str) else one

    return json.dumps(sorted_through(value), sort_keys=True)
