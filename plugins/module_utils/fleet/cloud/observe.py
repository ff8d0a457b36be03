# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at all that AWS has of a fleet: by its tag and in batches, so that calls grow with pages and not with services."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet import names
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls, some, tags_of
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import FleetError, Mistake
from ansible_collections.boring.fleet.plugins.module_utils.fleet.scaling import POLICY as POLICY_OF_GROUP
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import (
    CERTIFICATE,
    DIGEST,
    FLEET,
    SETTINGS,
    Balancer,
    Group,
    Hook,
    Imported,
    Listener,
    ListenerRule,
    Parameter,
    Role,
    Rule,
    SecurityGroup,
    Seen,
    Target,
    Template,
)

POLICY: Final = "fleet"  # name of the inline policy
REGION: Final = "boring:region"  # of IAM roles, which belong to no region
_KEY_TYPES: Final = ["RSA_1024", "RSA_2048", "RSA_3072", "RSA_4096", "EC_prime256v1", "EC_secp384r1", "EC_secp521r1"]
_FILTER: Final = 200  # values that EC2 takes in one filter
_ROLLING: Final = "boring:rollout"  # the journal of a roll under way: asg_rollout has its values in hand then


@dataclasses.dataclass(frozen=True)
class Where:
    """What is looked for. Empty: as in the fleet's network. `wanted` are names by kind, which must not be somebody else's."""

    fleet: str
    region: str
    vpc_id: str = ""
    subnet_ids: Sequence[str] = ()
    public_subnet_ids: Sequence[str] = ()
    families: Sequence[str] = ()
    images: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secrets: Sequence[str] = ()
    wanted: Mapping[str, Iterable[str]] = dataclasses.field(default_factory=dict)


class Observer:
    """Looks."""

    def __init__(self, calls: Calls, where: Where) -> None:
        self._calls = calls
        self._where = where
        self._ours = {"Name": f"tag:{FLEET}", "Values": [where.fleet]}

    def look(self, *, network: bool = True) -> Seen:
        """Everything; without ``network`` only what carries the fleet's tags. Raises AwsError, and FleetError for a network that is not there."""
        account = self._calls.read("sts", "GetCallerIdentity", "ask which account this is")["Account"]
        vpc, networks, hosts, public = self._network() if network else ("", (), (), ())
        seen = Seen(self._where.fleet, account, vpc, networks, hosts, public, self._images())
        seen.security = self._security()
        seen.roles = self._roles()
        seen.parameters = self._parameters()
        seen.certificates = self._certificates()
        seen.targets, other_targets = self._targets()
        self.look_at_balancers(seen)
        seen.templates = self._templates()
        seen.groups = self._groups()
        seen.missing_secrets = self._missing_secrets()
        seen.foreign = tuple(self._foreign(seen, other_targets))
        return seen

    # -- where it is -----------------------------------------------------------------------------------------------

    def _network(self) -> tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        where = self._where
        only = (
            [{"Name": "vpc-id", "Values": [where.vpc_id]}]
            if where.vpc_id
            else [{"Name": "is-default", "Values": ["true"]}]
        )
        vpcs = self._calls.every("ec2", "DescribeVpcs", "Vpcs", "look the VPC up", Filters=only)
        if len(vpcs) != 1:
            words = f"there is no VPC {where.vpc_id} in {where.region}" if where.vpc_id else ""
            raise FleetError(
                [
                    Mistake(
                        "fleet_network.vpc_id", words or f"there is no default VPC in {where.region}: name the fleet's"
                    )
                ]
            )
        vpc = vpcs[0]
        blocks = [one["CidrBlock"] for one in vpc.get("CidrBlockAssociationSet") or ()] or [vpc["CidrBlock"]]
        mine = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
        subnets = self._calls.every("ec2", "DescribeSubnets", "Subnets", "look its subnets up", Filters=mine)
        hosts = self._subnets(subnets, where.subnet_ids, "subnet_ids")
        public = (
            self._subnets(subnets, where.public_subnet_ids, "public_subnet_ids") if where.public_subnet_ids else hosts
        )
        return vpc["VpcId"], tuple(sorted(blocks)), hosts, public

    def _subnets(self, subnets: list[dict[str, Any]], given: Sequence[str], key: str) -> tuple[str, ...]:
        there = {one["SubnetId"] for one in subnets}
        wrong = [one for one in given if one not in there]
        if wrong:
            raise FleetError(
                [Mistake(f"fleet_network.{key}", f"there is no {' and no '.join(wrong)} in the fleet's VPC")]
            )
        if given:
            return tuple(given)
        zones: dict[str, str] = {}
        for one in sorted(subnets, key=lambda one: (not one.get("DefaultForAz"), one["SubnetId"])):
            zones.setdefault(one["AvailabilityZone"], one["SubnetId"])
        if not zones:
            raise FleetError([Mistake(f"fleet_network.{key}", "the VPC has no subnet: make one a zone")])
        return tuple(zones[zone] for zone in sorted(zones))

    def _images(self) -> dict[str, str]:
        found: dict[str, str] = {}
        newest: dict[str, tuple[str, str]] = {}
        there: set[str] = set()
        for families in some(self._where.families, _FILTER):
            only = [{"Name": "tag:boring:family", "Values": list(families)}, {"Name": "state", "Values": ["available"]}]
            for image in self._calls.every(
                "ec2", "DescribeImages", "Images", "look for the images", Owners=["self"], Filters=only
            ):
                family = tags_of(image.get("Tags"))["boring:family"]
                newest[family] = max(newest.get(family, ("", "")), (str(image.get("CreationDate")), image["ImageId"]))
                there.add(image["ImageId"])
        given = {family: one for family, one in self._where.images.items() if family in self._where.families}
        for ids in some(sorted(set(given.values()) - there), _FILTER):
            only = [{"Name": "image-id", "Values": list(ids)}]
            images = self._calls.every(
                "ec2", "DescribeImages", "Images", "look for the images that were built", Filters=only
            )
            there |= {image["ImageId"] for image in images}
        for family in self._where.families:
            if given.get(family) in there:
                found[family] = given[family]
            elif family in newest:
                found[family] = newest[family][1]
        return found

    # -- who may do what -------------------------------------------------------------------------------------------

    def _security(self) -> dict[str, SecurityGroup]:
        listed = self._calls.every(
            "ec2", "DescribeSecurityGroups", "SecurityGroups", "look at the security groups", Filters=[self._ours]
        )
        return {
            one["GroupName"]: SecurityGroup(
                one["GroupId"],
                one.get("VpcId") or "",
                tags_of(one.get("Tags")),
                rules_of(one.get("IpPermissions")),
                rules_of(one.get("IpPermissionsEgress")),
            )
            for one in listed
        }

    def _roles(self) -> dict[str, Role]:
        listed = self._calls.every(
            "iam",
            "GetAccountAuthorizationDetails",
            "RoleDetailList",
            "look at the IAM roles",
            Filter=["Role"],
            MaxItems=1000,
        )
        found = {}
        for one in listed:
            policies = {
                policy["PolicyName"]: _document(policy["PolicyDocument"]) for policy in one.get("RolePolicyList") or ()
            }
            profiles = [profile["InstanceProfileName"] for profile in one.get("InstanceProfileList") or ()]
            found[one["RoleName"]] = Role(
                tags_of(one.get("Tags")),
                _document(one.get("AssumeRolePolicyDocument") or {}),
                policies.get(POLICY),
                tuple(policies),
                one["RoleName"] in profiles,
            )
        self._other_roles = {name for name, role in found.items() if not self._is_ours(role)}
        return {name: role for name, role in found.items() if self._is_ours(role)}

    def _is_ours(self, role: Role) -> bool:
        return role.tags.get(FLEET) == self._where.fleet and role.tags.get(REGION) == self._where.region

    def _parameters(self) -> dict[str, Parameter]:
        prefix = names.prefix(self._where.fleet)
        path = {"Key": "Path", "Option": "Recursive", "Values": [prefix]}
        tag = {"Key": f"tag:{FLEET}", "Option": "Equals", "Values": [self._where.fleet]}
        doing = "look at the fleet's parameters"
        tagged = {
            one["Name"]
            for one in self._calls.every(
                "ssm", "DescribeParameters", "Parameters", doing, ParameterFilters=[path, tag], MaxResults=50
            )
        }
        # Secret ones stay encrypted.
        listed = self._calls.every(
            "ssm",
            "GetParametersByPath",
            "Parameters",
            doing,
            Path=prefix,
            Recursive=True,
            WithDecryption=False,
            MaxResults=10,
        )
        self._other_parameters = {one["Name"] for one in listed} - tagged
        return {
            one["Name"]: Parameter(
                one["Type"], one["Value"] if one["Type"] == "String" else "", one["LastModifiedDate"].timestamp()
            )
            for one in listed
            if one["Name"] in tagged
        }

    def _missing_secrets(self) -> tuple[str, ...]:
        missing: list[str] = []
        for wanted in some(sorted(set(self._where.secrets)), 10):
            answer = self._calls.read("ssm", "GetParameters", "look for the secrets of services", Names=list(wanted))
            missing += answer.get("InvalidParameters") or []
        return tuple(sorted(missing))

    def _certificates(self) -> dict[str, Imported]:
        try:
            listed = self._calls.every(
                "acm",
                "ListCertificates",
                "CertificateSummaryList",
                "look at the certificates in ACM",
                Includes={"keyTypes": _KEY_TYPES},
            )
        except AwsError as exc:
            if not exc.not_offered:
                raise
            return {}  # an endpoint without ACM has none
        found = {}
        for one in listed:
            if one.get("Type", "IMPORTED") != "IMPORTED":
                continue
            arn = one["CertificateArn"]
            answer = self._calls.read("acm", "ListTagsForCertificate", f"read the tags of {arn}", CertificateArn=arn)
            tags = tags_of(answer.get("Tags"))
            if tags.get(FLEET) == self._where.fleet and CERTIFICATE in tags:
                found[tags[CERTIFICATE]] = Imported(arn, tags.get(DIGEST, ""), tags)
        return found

    # -- load balancers --------------------------------------------------------------------------------------------

    def _tags(self, arns: Sequence[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for several in some(arns, 20):
            answer = self._calls.read(
                "elbv2", "DescribeTags", "read tags of load balancing", ResourceArns=list(several)
            )
            found |= {one["ResourceArn"]: tags_of(one.get("Tags")) for one in answer["TagDescriptions"]}
        return found

    def look_at_balancers(self, seen: Seen) -> None:
        """Put the load balancers with all that belongs to them in."""
        listed = self._calls.every("elbv2", "DescribeLoadBalancers", "LoadBalancers", "look at the load balancers")
        mine = {names.balancer(self._where.fleet, part): part for part in ("public", "internal", "data")}
        listed = [one for one in listed if one["LoadBalancerName"] in mine]
        tags = self._tags([one["LoadBalancerArn"] for one in listed])
        self._other_balancers = set()
        seen.balancers = {}
        for one in listed:
            name, about = one["LoadBalancerName"], tags.get(one["LoadBalancerArn"], {})
            if about.get(FLEET) != self._where.fleet:
                self._other_balancers.add(name)
                continue
            seen.balancers[name] = Balancer(
                one["LoadBalancerArn"],
                one.get("DNSName") or "",
                one["Type"],
                one["Scheme"],
                one.get("VpcId") or "",
                tuple(one.get("SecurityGroups") or ()),
                about,
            )
        for name, balancer in seen.balancers.items():
            routed = mine[name] == "public"
            listeners = {
                one.port: one for one in self._listeners(name, balancer.arn, self._target_names, routed=routed)
            }
            seen.balancers[name] = dataclasses.replace(balancer, listeners=listeners)

    def _listeners(self, name: str, arn: str, targets: Mapping[str, str], *, routed: bool) -> Iterable[Listener]:
        doing = f"look at the listeners of {name}"
        for one in self._calls.every("elbv2", "DescribeListeners", "Listeners", doing, LoadBalancerArn=arn):
            certificates = [each["CertificateArn"] for each in one.get("Certificates") or ()]
            rules: list[ListenerRule] = []
            if routed:  # inside, a listener has a default and nothing else
                found = self._calls.every("elbv2", "DescribeRules", "Rules", doing, ListenerArn=one["ListenerArn"])
                rules = [_rule(each, targets) for each in found if str(each["Priority"]) != "default"]
                if certificates:
                    found = self._calls.every(
                        "elbv2", "DescribeListenerCertificates", "Certificates", doing, ListenerArn=one["ListenerArn"]
                    )
                    certificates += [
                        each["CertificateArn"] for each in found if each["CertificateArn"] not in certificates
                    ]
            yield Listener(
                one["ListenerArn"],
                int(one["Port"]),
                one["Protocol"],
                one.get("SslPolicy") or "" if certificates else "",
                tuple(certificates),
                action_of(one.get("DefaultActions") or (), targets),
                tuple(rules),
            )

    def _targets(self) -> tuple[dict[str, Target], set[str]]:
        listed = self._calls.every("elbv2", "DescribeTargetGroups", "TargetGroups", "look at the target groups")
        tags = self._tags([one["TargetGroupArn"] for one in listed])
        self._target_names = {one["TargetGroupArn"]: one["TargetGroupName"] for one in listed}
        found: dict[str, Target] = {}
        others: set[str] = set()
        for one in listed:
            about = tags.get(one["TargetGroupArn"], {})
            if about.get(FLEET) != self._where.fleet:
                others.add(one["TargetGroupName"])
                continue
            port = str(one.get("HealthCheckPort") or "traffic-port")
            health = {
                "protocol": one.get("HealthCheckProtocol") or "",
                "port": int(port) if port.isdecimal() else int(one["Port"]),
                "path": one.get("HealthCheckPath") or "",
            }
            found[one["TargetGroupName"]] = Target(
                one["TargetGroupArn"], one.get("VpcId") or "", one["Protocol"], int(one["Port"]), health, about
            )
        return found, others

    # -- groups ----------------------------------------------------------------------------------------------------

    def _templates(self) -> dict[str, Template]:
        listed = self._calls.every(
            "ec2",
            "DescribeLaunchTemplates",
            "LaunchTemplates",
            "look at the launch templates",
            Filters=[self._ours],
            MaxResults=200,
        )
        return {
            one["LaunchTemplateName"]: Template(
                one["LaunchTemplateId"], int(one["LatestVersionNumber"]), tags_of(one.get("Tags"))
            )
            for one in listed
        }

    def read_templates(self, seen: Seen, digests: Mapping[str, str]) -> None:
        """Read what the latest versions hold of launch templates that do not say themselves that it is this."""
        for name, template in seen.templates.items():
            known = template.tags.get(SETTINGS) == f"{template.latest}:{digests.get(name, '')}"
            if name not in digests or template.data is not None or known:
                continue
            versions = self._calls.every(
                "ec2", "DescribeLaunchTemplateVersions", "LaunchTemplateVersions", f"read the launch template {name}",
                LaunchTemplateId=template.id, Versions=[str(template.latest)],
            )  # fmt: skip
            if versions:
                seen.templates[name] = dataclasses.replace(template, data=versions[0]["LaunchTemplateData"])

    def _groups(self) -> dict[str, Group]:
        listed = self._calls.every(
            "autoscaling",
            "DescribeAutoScalingGroups",
            "AutoScalingGroups",
            "look at the groups",
            Filters=[self._ours],
            MaxRecords=100,
        )
        policies = self._policies() if listed else {}
        return {one["AutoScalingGroupName"]: self._group(one, policies) for one in listed}

    def _policies(self) -> dict[str, Any]:
        """By the names of groups. AWS lists those of the whole region at once, and of several groups only so."""
        try:
            listed = self._calls.every(
                "autoscaling",
                "DescribePolicies",
                "ScalingPolicies",
                "look at the scaling policies",
                PolicyTypes=["TargetTrackingScaling"],
                MaxRecords=100,
            )
        except AwsError as exc:
            if not exc.not_offered:
                raise
            return {}  # an endpoint without policies has none
        return {one["AutoScalingGroupName"]: one for one in listed if one["PolicyName"] == POLICY_OF_GROUP}

    def _group(self, one: Mapping[str, Any], policies: Mapping[str, Any]) -> Group:
        name, tags = one["AutoScalingGroupName"], tags_of(one.get("Tags"))
        answer = self._calls.read(
            "autoscaling", "DescribeLifecycleHooks", f"read the hooks of the group {name}", AutoScalingGroupName=name
        )
        instances = one.get("Instances") or ()
        return Group(
            int(one["MinSize"]),
            int(one["MaxSize"]),
            int(one["DesiredCapacity"]),
            tuple(one.get("TargetGroupARNs") or ()),
            one.get("HealthCheckType") or "EC2",
            {hook["LifecycleHookName"]: _hook(hook) for hook in answer.get("LifecycleHooks") or ()},
            tags,
            str((one.get("LaunchTemplate") or {}).get("Version") or ""),
            tuple(str((each.get("LaunchTemplate") or {}).get("Version") or "") for each in instances),
            sum(
                each.get("LifecycleState") == "InService" and each.get("HealthStatus") == "Healthy"
                for each in instances
            ),
            bool(tags.get(_ROLLING)),
            bool(one.get("Status")),
            policies.get(name),
        )

    def in_service(self, group_names: Sequence[str]) -> dict[str, tuple[int, int]]:
        """How many hosts of each group are in service, and how many it wants."""
        found = {}
        for several in some(group_names, 50):
            for one in self._calls.every(
                "autoscaling", "DescribeAutoScalingGroups", "AutoScalingGroups", "wait for the groups",
                AutoScalingGroupNames=list(several),
            ):  # fmt: skip
                instances = one.get("Instances") or ()
                ready = sum(
                    each.get("LifecycleState") == "InService" and each.get("HealthStatus") == "Healthy"
                    for each in instances
                )
                found[one["AutoScalingGroupName"]] = (ready, int(one["DesiredCapacity"]))
        return found

    # -- what belongs to somebody else -----------------------------------------------------------------------------

    def _foreign(self, seen: Seen, targets: set[str]) -> Iterable[tuple[str, str]]:
        wanted = {kind: set(wanted) for kind, wanted in self._where.wanted.items()}
        for kind, others in (
            ("load balancer", self._other_balancers),
            ("target group", targets),
            ("role", self._other_roles),
            ("parameter", self._other_parameters),
        ):
            yield from ((kind, name) for name in sorted(wanted.get(kind, set()) & others))
        missing = sorted(wanted.get("security group", set()) - set(seen.security))
        for several in some(missing, _FILTER):
            only = [{"Name": "vpc-id", "Values": [seen.vpc]}, {"Name": "group-name", "Values": list(several)}]
            found = self._calls.every(
                "ec2", "DescribeSecurityGroups", "SecurityGroups", "look for namesakes", Filters=only
            )
            yield from (("security group", one["GroupName"]) for one in found)
        for several in some(sorted(wanted.get("launch template", set()) - set(seen.templates)), _FILTER):
            only = [{"Name": "launch-template-name", "Values": list(several)}]
            found = self._calls.every(
                "ec2", "DescribeLaunchTemplates", "LaunchTemplates", "look for namesakes", Filters=only
            )
            yield from (("launch template", one["LaunchTemplateName"]) for one in found)
        for several in some(sorted(wanted.get("group", set()) - set(seen.groups)), 50):
            found = self._calls.every(
                "autoscaling",
                "DescribeAutoScalingGroups",
                "AutoScalingGroups",
                "look for namesakes",
                AutoScalingGroupNames=list(several),
            )
            yield from (("group", one["AutoScalingGroupName"]) for one in found)


def rules_of(permissions: Any) -> frozenset[Rule]:
    """EC2's permissions as rules, one a peer."""
    found = set()
    for one in permissions or ():
        protocol = "all" if one["IpProtocol"] == "-1" else one["IpProtocol"]
        first, last = (0, 0) if protocol == "all" else (int(one.get("FromPort") or 0), int(one.get("ToPort") or 0))
        for key, kind, peer in (
            ("UserIdGroupPairs", "group", "GroupId"),
            ("IpRanges", "cidr", "CidrIp"),
            ("Ipv6Ranges", "cidr6", "CidrIpv6"),
            ("PrefixListIds", "prefix", "PrefixListId"),
        ):
            found |= {Rule(protocol, first, last, kind, each[peer]) for each in one.get(key) or ()}
    return frozenset(found)


def action_of(actions: Iterable[Mapping[str, Any]], targets: Mapping[str, str]) -> dict[str, Any]:
    """ELBv2's actions as the lists of a fleet have them; `targets` are names by ARN."""
    given = list(actions)
    if len(given) != 1:
        return {"type": "other"}
    one = given[0]
    if one["Type"] == "forward":
        arn = one.get("TargetGroupArn") or ""
        several: list[Any] = list((one.get("ForwardConfig") or {}).get("TargetGroups") or ())
        if not arn and len(several) == 1:
            arn = several[0]["TargetGroupArn"]
        return {"type": "forward", "target_group": targets.get(arn, arn)} if arn else {"type": "other"}
    if one["Type"] == "redirect":
        about = one["RedirectConfig"]
        status = int(str(about.get("StatusCode", "")).rpartition("_")[2] or 0)
        port = str(about.get("Port", ""))
        return {
            "type": "redirect",
            "protocol": about.get("Protocol"),
            "port": int(port) if port.isdecimal() else 0,
            "status": status,
        }
    if one["Type"] == "fixed-response":
        return {"type": "fixed", "status": int(one["FixedResponseConfig"]["StatusCode"])}
    return {"type": "other"}


def _rule(one: Mapping[str, Any], targets: Mapping[str, str]) -> ListenerRule:
    hosts: list[str] = []
    paths: list[str] = []
    known = True
    for condition in one.get("Conditions") or ():
        values = condition.get("Values") or ()
        if condition["Field"] == "host-header":
            hosts += (condition.get("HostHeaderConfig") or {}).get("Values") or values
        elif condition["Field"] == "path-pattern":
            paths += (condition.get("PathPatternConfig") or {}).get("Values") or values
        else:
            known = False
    path = "/" if paths == ["/*"] else paths[0] if paths else ""
    action = action_of(one.get("Actions") or (), targets) if known and len(hosts) < 2 else {"type": "other"}
    return ListenerRule(one["RuleArn"], int(one["Priority"]), hosts[0] if hosts else "", path, action)


def _hook(hook: Mapping[str, Any]) -> Hook:
    kind = "launching" if str(hook["LifecycleTransition"]).endswith("LAUNCHING") else "terminating"
    return Hook(kind, int(hook.get("HeartbeatTimeout") or 0), hook.get("DefaultResult") or "ABANDON")


def _document(given: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(unquote(given)) if isinstance(given, str) else dict(given)
    return found
