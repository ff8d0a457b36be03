# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS as a roll uses it: few calls, each counted and with a deadline, answers as values. Decides nothing.

Clients are boto3's, or have their shape. A poll is one DescribeAutoScalingGroups and, when asked for, one
DescribeTargetHealth a target group and one DescribeScalingActivities, whatever the size of the group.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import (
    UNKNOWN_OPERATION,
    AwsError,
    UnansweredError,
    explain,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.journal import TAG_JOURNAL, TAG_RECORD
from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    Activity,
    Group,
    Instance,
    RolloutError,
    Template,
)

_FIRST_DELAY = 1.0
_LONGEST_DELAY = 20.0
_BEFORE_FIRST_ANSWER = 3  # attempts to reach an endpoint that never answered yet
_IDS_A_CALL = 200  # as many values as EC2 takes in one filter, and answers without paging
_RUNNING_REFRESHES = frozenset({"Pending", "InProgress", "Cancelling", "Baking", "RollbackInProgress"})
_INSTANCE_ID = re.compile(r"\bi-[0-9a-zA-Z]+\b")


@dataclass(frozen=True, slots=True)
class Machine:
    """What DescribeInstances tells of an instance."""

    address: str  # private
    launched: float


class Cloud:
    """One group's side of AWS.

    ``client`` gives the client of a service. A call that AWS throttles or is too busy for is made again with jitter
    for up to ``patience`` seconds; so is one that got no answer, if doing it twice does no harm.
    """

    def __init__(
        self,
        client: Callable[[str], Any],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        patience: float = 900.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._answered = False
        self._parsed: dict[str, tuple[Any, Instance]] = {}
        self.patience = patience
        self.calls: Counter[str] = Counter()
        self.writes = 0

    # ---- looking ---------------------------------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        """The group. Raises RolloutError when there is none of this name."""
        answer = self._call(
            "autoscaling",
            "DescribeAutoScalingGroups",
            f"describe the Auto Scaling group {name}",
            AutoScalingGroupNames=[name],
        )
        groups = [group for group in answer.get("AutoScalingGroups", ()) if group["AutoScalingGroupName"] == name]
        if not groups:
            raise RolloutError(f"there is no Auto Scaling group {name}: check the option group, and the region")
        return self._parse_group(groups[0])

    def _parse_group(self, raw: Mapping[str, Any]) -> Group:
        policy = raw.get("MixedInstancesPolicy") or {}
        mixed = policy.get("LaunchTemplate") or {}
        spec = raw.get("LaunchTemplate") or mixed.get("LaunchTemplateSpecification")
        template = parse_template(spec)
        if template is None and raw.get("LaunchConfigurationName"):
            template = Template("", raw["LaunchConfigurationName"])
        sources = raw.get("TrafficSources") or ()
        by_type: dict[str, list[str]] = {}
        for source in sources:
            by_type.setdefault(source.get("Type") or "", []).append(source["Identifier"])
        return Group(
            name=raw["AutoScalingGroupName"],
            min=raw["MinSize"],
            max=raw["MaxSize"],
            desired=raw["DesiredCapacity"],
            template=template,
            instances=tuple(self._parse_instance(item) for item in raw.get("Instances") or ()),
            zones=tuple(raw.get("AvailabilityZones") or ()),
            suspended={
                item["ProcessName"]: item.get("SuspensionReason") or "no reason given"
                for item in raw.get("SuspendedProcesses") or ()
            },
            target_groups=tuple(dict.fromkeys([*(raw.get("TargetGroupARNs") or ()), *by_type.get("elbv2", ())])),
            balancers=tuple(dict.fromkeys([*(raw.get("LoadBalancerNames") or ()), *by_type.get("elb", ())])),
            lattice=tuple(by_type.get("vpc-lattice", ())),
            tags={
                tag["Key"]: tag.get("Value") or ""
                for tag in raw.get("Tags") or ()
                if tag["Key"] in (TAG_JOURNAL, TAG_RECORD)
            },
            status=raw.get("Status") or "",
            mixed=policy if mixed else {},
            overrides={
                item["InstanceType"]: parse_template(item.get("LaunchTemplateSpecification"))
                for item in mixed.get("Overrides") or ()
                if item.get("InstanceType")
            },
            warm_pool=bool(raw.get("WarmPoolConfiguration")),
        )

    def _parse_instance(self, raw: Mapping[str, Any]) -> Instance:
        """Most instances look as they did at the last poll; then the same value is given out again."""
        name = raw["InstanceId"]
        known = self._parsed.get(name)
        if known is not None and known[0] == raw:
            return known[1]
        template = parse_template(raw.get("LaunchTemplate"))
        if template is None and raw.get("LaunchConfigurationName"):
            template = Template("", raw["LaunchConfigurationName"])
        instance = Instance(
            id=name,
            zone=raw.get("AvailabilityZone") or "",
            state=raw["LifecycleState"],
            healthy=str(raw.get("HealthStatus") or "").lower() == "healthy",
            template=template,
            type=raw.get("InstanceType") or "",
            protected=bool(raw.get("ProtectedFromScaleIn")),
            weight=int(raw.get("WeightedCapacity") or 1),
        )
        self._parsed[name] = (raw, instance)
        return instance

    def health(self, group: Group) -> tuple[dict[str, str], tuple[str, ...]]:
        """Why each instance is not healthy everywhere ("" it is), and the target groups that no balancer uses.

        An instance that some target group or load balancer does not list is missing from the answer.
        """
        places: list[dict[str, str]] = []
        idle = []
        for arn in group.target_groups:
            label = arn.rpartition("targetgroup/")[2].partition("/")[0] or arn
            answer = self._call(
                "elbv2",
                "DescribeTargetHealth",
                f"read the health of the target group {label}",
                TargetGroupArn=arn,
            )
            place: dict[str, str] = {}
            unused = 0
            for item in answer.get("TargetHealthDescriptions") or ():
                health = item.get("TargetHealth") or {}
                state = health.get("State") or "unknown"
                words = ": ".join(filter(None, (health.get("Reason"), health.get("Description"))))
                unused += health.get("Reason") == "Target.NotInUse"
                why = (
                    ""
                    if state == "healthy"
                    else f"target group {label} reports {state}{f' ({words})' if words else ''}"
                )
                name = item["Target"]["Id"]
                place[name] = place.get(name) or why  # registered on several ports: all of them must be healthy
            if place and unused >= len(place):
                idle.append(label)
            places.append(place)
        for balancer in group.balancers:
            answer = self._call(
                "elb",
                "DescribeInstanceHealth",
                f"read the health of the load balancer {balancer}",
                LoadBalancerName=balancer,
            )
            places.append(
                {
                    item["InstanceId"]: ""
                    if item.get("State") == "InService"
                    else f"load balancer {balancer} reports {item.get('State')} ({item.get('Description') or ''})"
                    for item in answer.get("InstanceStates") or ()
                }
            )
        if not places:
            return {instance.id: "" for instance in group.instances}, ()
        everywhere = set(places[0]).intersection(*places[1:])
        merged = {name: next((place[name] for place in places if place[name]), "") for name in everywhere}
        return merged, tuple(idle)

    def activities(self, name: str) -> tuple[Activity, ...]:
        """Recent scaling activities that tell why an instance was not launched or left."""
        answer = self._call(
            "autoscaling",
            "DescribeScalingActivities",
            f"read the scaling activities of the group {name}",
            AutoScalingGroupName=name,
            MaxRecords=100,
        )
        found = []
        for item in answer.get("Activities") or ():
            description = item.get("Description") or ""
            launch = description.startswith("Launching")
            failed = item.get("StatusCode") in ("Failed", "Cancelled")
            if launch and not failed:
                continue
            message = " ".join(str(item.get("StatusMessage") or item.get("Cause") or description).split())
            named = _INSTANCE_ID.search(description.partition("Status Reason")[0])
            found.append(Activity(item["ActivityId"], message, named.group() if named else "", launch))
        return tuple(sorted(found, key=lambda activity: not activity.launch))

    def running_refresh(self, name: str) -> str:
        """The id of an instance refresh that is under way, "" for none."""
        try:
            answer = self._call(
                "autoscaling",
                "DescribeInstanceRefreshes",
                f"look for an instance refresh of the group {name}",
                AutoScalingGroupName=name,
                MaxRecords=10,
            )
        except AwsError as exc:
            if exc.code in UNKNOWN_OPERATION or exc.status in (404, 405, 501):
                return ""  # an endpoint without instance refreshes has none under way
            raise
        for item in answer.get("InstanceRefreshes") or ():
            if item.get("Status") in _RUNNING_REFRESHES:
                return str(item["InstanceRefreshId"])
        return ""

    def resolve(self, template: Template) -> Template:
        """The launch template with its id, name and version number. Raises AwsError when there is none such."""
        by: dict[str, Any] = {"LaunchTemplateId": template.id} if template.id else {"LaunchTemplateName": template.name}
        label = f"launch template {template.id or template.name}"
        try:
            answer = self._call(
                "ec2",
                "DescribeLaunchTemplateVersions",
                f"read version {template.version} of the {label}",
                Versions=[template.version],
                **by,
            )
        except AwsError as exc:
            if exc.code not in UNKNOWN_OPERATION and exc.status not in (404, 405, 501):
                raise
            return self._resolve_without_versions(template, label)
        versions = answer.get("LaunchTemplateVersions") or ()
        if not versions:
            raise RolloutError(f"the {label} has no version {template.version}: check the option launch_template")
        found = versions[0]
        return Template(found["LaunchTemplateId"], found.get("LaunchTemplateName") or "", str(found["VersionNumber"]))

    def _resolve_without_versions(self, template: Template, label: str) -> Template:
        """For endpoints that know launch templates, but do not list their versions."""
        by: dict[str, Any] = (
            {"LaunchTemplateIds": [template.id]} if template.id else {"LaunchTemplateNames": [template.name]}
        )
        answer = self._call("ec2", "DescribeLaunchTemplates", f"read the {label}", **by)
        found = answer["LaunchTemplates"][0]
        numbers = {"$Latest": found["LatestVersionNumber"], "$Default": found["DefaultVersionNumber"]}
        version = str(numbers.get(template.version, template.version))
        return Template(found["LaunchTemplateId"], found.get("LaunchTemplateName") or "", version)

    def machines(self, ids: Iterable[str]) -> dict[str, Machine]:
        """Address and launch time of instances; those that EC2 does not know (yet) are missing."""
        found: dict[str, Machine] = {}
        wanted = sorted(ids)
        for start in range(0, len(wanted), _IDS_A_CALL):
            some = wanted[start : start + _IDS_A_CALL]
            try:
                answer = self._instances(InstanceIds=some)
            except AwsError as exc:
                if exc.code != "InvalidInstanceID.NotFound":
                    raise
                # One of them is too new for EC2 to know, or gone for good; a filter leaves it out.
                answer = self._instances(Filters=[{"Name": "instance-id", "Values": some}])
            for reservation in answer.get("Reservations") or ():
                for item in reservation.get("Instances") or ():
                    launched = item.get("LaunchTime")
                    if item["InstanceId"] in some:
                        found[item["InstanceId"]] = Machine(
                            item.get("PrivateIpAddress") or "", launched.timestamp() if launched else 0.0
                        )
        return found

    def _instances(self, **params: Any) -> Any:
        return self._call("ec2", "DescribeInstances", "look up the addresses of instances", **params)

    # ---- acting ----------------------------------------------------------------------------------------------------

    def tag(self, name: str, tags: Mapping[str, str]) -> None:
        """Write tags of the group that its instances do not get."""
        self._write(
            "CreateOrUpdateTags",
            f"write the journal into the tags of the group {name}",
            Tags=[_tag(name, key) | {"Value": value, "PropagateAtLaunch": False} for key, value in tags.items()],
        )

    def untag(self, name: str, key: str) -> None:
        self._write("DeleteTags", f"delete the tag {key} of the group {name}", Tags=[_tag(name, key)])

    def suspend(self, name: str, processes: Iterable[str]) -> None:
        names = list(processes)
        self._write(
            "SuspendProcesses",
            f"suspend {', '.join(names)} of the group {name}",
            AutoScalingGroupName=name,
            ScalingProcesses=names,
        )

    def resume(self, name: str, processes: Iterable[str]) -> None:
        names = list(processes)
        self._write(
            "ResumeProcesses",
            f"resume {', '.join(names)} of the group {name}",
            AutoScalingGroupName=name,
            ScalingProcesses=names,
        )

    def update(
        self,
        name: str,
        *,
        desired: int | None = None,
        max_size: int | None = None,
        template: Template | None = None,
        mixed: Mapping[str, Any] | None = None,
    ) -> None:
        """Write what is given, all in one call; ``mixed`` is the policy that is to launch ``template``, if any."""
        given: dict[str, Any] = {}
        if desired is not None:
            given["DesiredCapacity"] = desired
        if max_size is not None:
            given["MaxSize"] = max_size
        if template is not None and mixed:
            given["MixedInstancesPolicy"] = _with_template(mixed, template)
        elif template is not None and template.id:
            given["LaunchTemplate"] = {"LaunchTemplateId": template.id, "Version": template.version}
        elif template is not None:
            given["LaunchConfigurationName"] = template.name
        self._write("UpdateAutoScalingGroup", f"update the group {name}", AutoScalingGroupName=name, **given)

    def terminate(self, instance_id: str, *, shrink: bool) -> bool:
        """Terminate; ``shrink`` takes the desired capacity along. False: it was on its way out or gone already.

        Raises UnansweredError when it is not known whether AWS did it.
        """
        try:
            self._write(
                "TerminateInstanceInAutoScalingGroup",
                f"terminate {instance_id}",
                twice=False,
                InstanceId=instance_id,
                ShouldDecrementDesiredCapacity=shrink,
            )
        except AwsError as exc:
            text = exc.text.lower()
            gone = ("not found", "no managed instance", "terminating", "terminated")
            if exc.code == "ValidationError" and "min size" not in text and any(words in text for words in gone):
                return False
            raise
        return True

    # ---- calls -----------------------------------------------------------------------------------------------------

    def _write(self, operation: str, doing: str, *, twice: bool = True, **params: Any) -> Any:
        self.writes += 1
        return self._call("autoscaling", operation, doing, twice=twice, **params)

    def _call(self, service: str, operation: str, doing: str, *, twice: bool = True, **params: Any) -> Any:
        """One operation, tried again where that may help. ``twice``: doing it two times does no harm."""
        method = getattr(self._client(service), _snake(operation))
        started = self._clock()
        attempt = 0
        while True:
            attempt += 1
            self.calls[operation] += 1
            try:
                answer = method(**params)
            except Exception as exc:
                error = explain(exc, service=service, operation=operation, doing=doing)
                again = error.throttled or error.busy
                if isinstance(error, UnansweredError):
                    again = twice and (self._answered or attempt < _BEFORE_FIRST_ANSWER)
                if not again or self._clock() - started >= self.patience:
                    raise error from exc
                longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(attempt - 1, 10))
                self._sleep(longest * (0.5 + 0.5 * self._jitter()))
            else:
                self._answered = True
                return answer


def parse_template(spec: Mapping[str, Any] | None) -> Template | None:
    """A LaunchTemplateSpecification as a value; None for none. AWS's default version is $Default."""
    if not spec:
        return None
    return Template(
        spec.get("LaunchTemplateId") or "",
        spec.get("LaunchTemplateName") or "",
        str(spec.get("Version") or "$Default"),
    )


def _with_template(policy: Mapping[str, Any], template: Template) -> dict[str, Any]:
    """A mixed instances policy as it was described, with another version; AWS takes ids or names, not both."""
    launch = dict(policy["LaunchTemplate"])
    launch["LaunchTemplateSpecification"] = {"LaunchTemplateId": template.id, "Version": template.version}
    overrides = []
    for item in launch.get("Overrides") or ():
        own = dict(item)
        if spec := parse_template(own.get("LaunchTemplateSpecification")):
            own["LaunchTemplateSpecification"] = {"LaunchTemplateId": spec.id, "Version": spec.version}
        overrides.append(own)
    if overrides:
        launch["Overrides"] = overrides
    return {**policy, "LaunchTemplate": launch}


def _tag(group: str, key: str) -> dict[str, Any]:
    return {"ResourceId": group, "ResourceType": "auto-scaling-group", "Key": key}


def _snake(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
