# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS as a roll uses it: few calls, each counted and with a deadline, answers as values. Decides nothing.

A poll is one DescribeAutoScalingGroups and, when asked for, one DescribeTargetHealth a target group and one
DescribeScalingActivities, whatever the size of the group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.caller import Caller
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.parse import Parser, parse_activity
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Activity,
    Delays,
    Group,
    Instance,
    NoGroupError,
    Refresh,
    RolloutError,
    Template,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.specs import template_spec, with_template

_IDS_A_CALL = 200  # as many values as EC2 takes in one filter, and answers without paging
_NO_HEALTH: dict[str, str] = {}
MOST_ACTIVITIES = 100  # scaling activities in one answer, which is as many as AWS gives
_PAGES = 50  # of an answer that comes in pages


@dataclass(frozen=True, slots=True)
class Machine:
    """What DescribeInstances tells of an instance."""

    address: str  # private, IPv4 or, where it has none, IPv6; "" it has neither
    launched: float
    state: str = ""
    ended: str = ""  # EC2's code of why it ended


class Cloud:
    """One group's side of AWS; for ``client``, ``patience`` and ``jitter`` see Caller."""

    def __init__(
        self,
        client: Callable[[str], Any],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        patience: float = 900.0,
        **options: Any,
    ) -> None:
        self._caller = Caller(client, clock=clock, sleep=sleep, patience=patience, **options)
        self._parser = Parser()
        self._activities: dict[tuple[str, str], Activity] = {}

    @property
    def calls(self) -> Counter[str]:
        """How often each operation was called."""
        return self._caller.calls

    @property
    def writes(self) -> int:
        """How many calls changed something, or may have."""
        return self._caller.writes

    @property
    def ahead(self) -> float:
        """By how many seconds AWS's clock is ahead of this one's, as its first answer said."""
        return self._caller.ahead

    @property
    def patience(self) -> float:
        """For how many seconds a call is tried again."""
        return self._caller.patience

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._caller.patience = seconds

    # ---- looking ---------------------------------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        """The group. Raises NoGroupError when there is none of this name."""
        answer = self._caller.read(
            "autoscaling",
            "DescribeAutoScalingGroups",
            f"describe the Auto Scaling group {name}",
            AutoScalingGroupNames=[name],
        )
        groups = [group for group in answer.get("AutoScalingGroups", ()) if group["AutoScalingGroupName"] == name]
        if not groups:
            raise NoGroupError(f"there is no Auto Scaling group {name}: check the option group, and the region")
        return self._parser.group(groups[0])

    def warm_instances(self, name: str) -> tuple[Instance, ...]:
        """The instances of the group's warm pool."""
        found: list[Instance] = []
        more: dict[str, Any] = {}
        for dummy in range(_PAGES):
            answer = self._caller.look(
                "autoscaling",
                "DescribeWarmPool",
                f"look into the warm pool of the group {name}",
                AutoScalingGroupName=name,
                **more,
            )
            found.extend(self._parser.instance(item) for item in answer.get("Instances") or ())
            if not answer.get("NextToken"):
                break
            more = {"NextToken": answer["NextToken"]}
        return tuple(found)

    def delays(self, group: Group) -> Delays:
        """How long lifecycle hooks and load balancers may hold an instance of the group up, as far as the permissions reach.

        Of a hook it is the global timeout: a heartbeat renews the shorter one, and where none comes AWS itself goes on.
        """
        hooks = {"LAUNCHING": 0.0, "TERMINATING": 0.0}
        drain = 0.0
        try:
            answer = self._caller.look(
                "autoscaling",
                "DescribeLifecycleHooks",
                f"read the lifecycle hooks of the group {group.name}",
                AutoScalingGroupName=group.name,
            )
            for hook in answer.get("LifecycleHooks") or ():
                kind = str(hook.get("LifecycleTransition") or "").rpartition("_")[2]
                longest = hook.get("GlobalTimeout") or hook.get("HeartbeatTimeout") or 3600
                hooks[kind] = max(hooks.get(kind, 0.0), float(longest))
            for arn in group.target_groups:
                answer = self._caller.look(
                    "elbv2",
                    "DescribeTargetGroupAttributes",
                    f"read the deregistration delay of the target group {_label(arn)}",
                    TargetGroupArn=arn,
                )
                for item in answer.get("Attributes") or ():
                    if item.get("Key") == "deregistration_delay.timeout_seconds":
                        drain = max(drain, float(item.get("Value") or 0))
        except AwsError as exc:
            if not exc.denied:
                raise
        return Delays(hooks["LAUNCHING"], hooks["TERMINATING"] + drain)

    def health(self, group: Group) -> tuple[dict[str, str], tuple[str, ...]]:
        """Why each instance is not healthy everywhere ("" it is), and why new ones may never become so, in sentences.

        An instance that some target group or load balancer does not list is missing from the answer.
        """
        places: list[dict[str, str]] = []
        idle: list[str] = []
        for arn in group.target_groups:
            label = _label(arn)
            answer = self._caller.read(
                "elbv2",
                "DescribeTargetHealth",
                f"read the health of the target group {label}",
                TargetGroupArn=arn,
            )
            targets = answer.get("TargetHealthDescriptions") or ()
            place = {item["Target"]["Id"]: "" for item in targets}
            unused: set[str] = set()
            for item in [i for i in targets if i.get("TargetHealth", _NO_HEALTH).get("State") != "healthy"]:
                health, name = item.get("TargetHealth", _NO_HEALTH), item["Target"]["Id"]
                if health.get("Reason") == "Target.NotInUse":
                    unused.add(name)
                # Registered on several ports: all of them must be healthy.
                place[name] = place[name] or _target_words(
                    label, health.get("State") or "unknown", health.get("Reason"), health.get("Description")
                )
            if unused:
                idle.extend(_never_healthy(label, group, place, unused))
            places.append(place)
        for arn in group.lattice:
            place = self._lattice_health(arn)
            if place and all(" UNUSED" in why for why in place.values()):
                idle.append(_no_balancer(_label(arn), group.name))
            places.append(place)
        for balancer in group.balancers:
            answer = self._caller.read(
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
        if len(places) == 1:
            return places[0], tuple(idle)
        everywhere = set(places[0]).intersection(*places[1:])
        merged = {name: next((place[name] for place in places if place[name]), "") for name in everywhere}
        return merged, tuple(idle)

    def _lattice_health(self, arn: str) -> dict[str, str]:
        """A VPC Lattice target group's verdicts."""
        place: dict[str, str] = {}
        more: dict[str, Any] = {}
        for dummy in range(_PAGES):
            answer = self._caller.read(
                "vpc-lattice",
                "ListTargets",
                f"read the health of the VPC Lattice target group {_label(arn)}",
                targetGroupIdentifier=arn,
                **more,
            )
            for item in answer.get("items") or ():
                why = _target_words(_label(arn), item.get("status") or "unknown", item.get("reasonCode"))
                place[item["id"]] = place.get(item["id"]) or why
            if not answer.get("nextToken"):
                break
            more = {"nextToken": answer["nextToken"]}
        return place

    def activities(self, name: str) -> tuple[Activity, ...]:
        """The group's last scaling activities, newest first, MOST_ACTIVITIES at most."""
        answer = self._caller.look(
            "autoscaling",
            "DescribeScalingActivities",
            f"read the scaling activities of the group {name}",
            AutoScalingGroupName=name,
            MaxRecords=MOST_ACTIVITIES,
        )
        found = {}
        for item in answer.get("Activities") or ():
            # Most have ended, and look as they did.
            key = (item["ActivityId"], f"{item.get('StatusCode')} {item.get('StatusMessage')}")
            found[key] = self._activities.get(key) or parse_activity(item)
        self._activities = found
        return tuple(found.values())

    def refreshes(self, name: str, refresh_id: str = "") -> tuple[Refresh, ...]:
        """The group's instance refreshes, newest first, or one of them; none where the endpoint does not have any."""
        which: dict[str, Any] = {"InstanceRefreshIds": [refresh_id]} if refresh_id else {"MaxRecords": 10}
        answer = self._caller.look(
            "autoscaling",
            "DescribeInstanceRefreshes",
            f"look for an instance refresh of the group {name}",
            AutoScalingGroupName=name,
            **which,
        )
        return tuple(
            Refresh(
                id=str(item["InstanceRefreshId"]),
                status=str(item.get("Status") or ""),
                reason=" ".join(str(item.get("StatusReason") or "").split()),
                started=item["StartTime"].timestamp() if item.get("StartTime") else 0.0,
                percent=int(item.get("PercentageComplete") or 0),
                left=int(item.get("InstancesToUpdate") or 0),
            )
            for item in answer.get("InstanceRefreshes") or ()
        )

    def resolve(self, template: Template) -> Template:
        """The launch template with its id, name and version number. Raises AwsError when there is none such."""
        by: dict[str, Any] = {"LaunchTemplateId": template.id} if template.id else {"LaunchTemplateName": template.name}
        label = f"launch template {template.id or template.name}"
        try:
            answer = self._caller.read(
                "ec2",
                "DescribeLaunchTemplateVersions",
                f"read version {template.version} of the {label}",
                Versions=[template.version],
                **by,
            )
        except AwsError as exc:
            if not exc.not_offered:
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
        answer = self._caller.read("ec2", "DescribeLaunchTemplates", f"read the {label}", **by)
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
                            _address(item),
                            launched.timestamp() if launched else 0.0,
                            str((item.get("State") or {}).get("Name") or ""),
                            str((item.get("StateReason") or {}).get("Code") or ""),
                        )
        return found

    def _instances(self, **params: Any) -> Any:
        return self._caller.read("ec2", "DescribeInstances", "look up the addresses of instances", **params)

    # ---- acting ----------------------------------------------------------------------------------------------------

    def tag(self, name: str, tags: Mapping[str, str]) -> None:
        """Write tags of the group that its instances do not get."""
        self._caller.write(
            "autoscaling",
            "CreateOrUpdateTags",
            f"write the journal into the tags of the group {name}",
            Tags=[_tag(name, key) | {"Value": value, "PropagateAtLaunch": False} for key, value in tags.items()],
        )

    def untag(self, name: str, key: str) -> None:
        self._caller.write(
            "autoscaling", "DeleteTags", f"delete the tag {key} of the group {name}", Tags=[_tag(name, key)]
        )

    def suspend(self, name: str, processes: Iterable[str]) -> None:
        names = list(processes)
        self._caller.write(
            "autoscaling",
            "SuspendProcesses",
            f"suspend {', '.join(names)} of the group {name}",
            AutoScalingGroupName=name,
            ScalingProcesses=names,
        )

    def resume(self, name: str, processes: Iterable[str]) -> None:
        names = list(processes)
        self._caller.write(
            "autoscaling",
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
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """Write what is given, all in one call.

        ``mixed`` is the policy that is to launch ``template``, if any, and ``versions`` those of its overrides that
        change, by instance type.
        """
        given: dict[str, Any] = {}
        if desired is not None:
            given["DesiredCapacity"] = desired
        if max_size is not None:
            given["MaxSize"] = max_size
        if template is not None and mixed:
            given["MixedInstancesPolicy"] = with_template(mixed, template, versions)
        elif template is not None and template.id:
            given["LaunchTemplate"] = template_spec(template)
        elif template is not None:
            given["LaunchConfigurationName"] = template.name
        self._caller.write(
            "autoscaling", "UpdateAutoScalingGroup", f"update the group {name}", AutoScalingGroupName=name, **given
        )

    def terminate(self, instance_id: str, *, shrink: bool) -> str:
        """Terminate; ``shrink`` takes the desired capacity along. What AWS gives as the cause of the termination.

        Raises UnansweredError when it is not known whether AWS did it.
        """
        answer = self._caller.write(
            "autoscaling",
            "TerminateInstanceInAutoScalingGroup",
            f"terminate {instance_id}",
            twice=False,
            InstanceId=instance_id,
            ShouldDecrementDesiredCapacity=shrink,
        )
        return str(((answer or {}).get("Activity") or {}).get("Cause") or "")

    def start_refresh(self, name: str, preferences: Mapping[str, Any], desired: Mapping[str, Any] | None) -> str:
        """Start an instance refresh; its id. Raises UnansweredError when it is not known whether AWS did it."""
        answer = self._caller.write(
            "autoscaling",
            "StartInstanceRefresh",
            f"start an instance refresh of the group {name}",
            twice=False,
            AutoScalingGroupName=name,
            Strategy="Rolling",
            Preferences=dict(preferences),
            **({"DesiredConfiguration": dict(desired)} if desired else {}),
        )
        return str(answer["InstanceRefreshId"])

    def cancel_refresh(self, name: str) -> bool:
        """Cancel the refresh that is under way; False: there is none any more."""
        return self._end_refresh("CancelInstanceRefresh", f"cancel the instance refresh of the group {name}", name)

    def roll_back_refresh(self, name: str) -> bool:
        """Have AWS roll the refresh back that is under way; False: there is none any more."""
        return self._end_refresh("RollbackInstanceRefresh", f"roll the instance refresh of the group {name} back", name)

    def _end_refresh(self, operation: str, doing: str, name: str) -> bool:
        try:
            self._caller.write("autoscaling", operation, doing, AutoScalingGroupName=name)
        except AwsError as exc:
            if exc.code in ("ActiveInstanceRefreshNotFound", "ActiveInstanceRefreshNotFoundFault"):
                return False
            raise
        return True

    def recycle(self, ids: Iterable[str]) -> None:
        """Terminate instances of a warm pool; Auto Scaling does that for none but those in the group."""
        names = sorted(ids)
        self._caller.write(
            "ec2", "TerminateInstances", f"terminate {', '.join(names)} of the warm pool", InstanceIds=names
        )


def _address(item: Mapping[str, Any]) -> str:
    """Where an instance is reached inside its network: by IPv4 or, where it has none, by IPv6; "" not at all."""
    if item.get("PrivateIpAddress"):
        return str(item["PrivateIpAddress"])
    cards = item.get("NetworkInterfaces") or ()
    found = [address.get("Ipv6Address") for card in cards for address in card.get("Ipv6Addresses") or ()]
    return str(item.get("Ipv6Address") or next(filter(None, found), ""))


def _never_healthy(label: str, group: Group, place: Iterable[str], unused: set[str]) -> Iterable[str]:
    """Why targets that get no traffic never will, in sentences."""
    zones = {instance.id: instance.zone for instance in group.instances}
    used = {zones.get(name, "") for name in place if name not in unused}
    if not used:
        yield _no_balancer(label, group.name)
        return
    # A zone in which every target is unused is one that the load balancer does not serve.
    for zone in sorted({zones.get(name, "") for name in unused} - used - {""}):
        yield _dark_zone(label, group.name, zone)


def _no_balancer(label: str, group: str) -> str:
    return (
        f"the target group {label} of the group {group} is used by no load balancer, so its targets never "
        "become healthy: add it to a listener, or detach it from the group"
    )


def _dark_zone(label: str, group: str, zone: str) -> str:
    return (
        f"the load balancer of the target group {label} does not serve the zone {zone} of the group {group}, so targets "
        "there never become healthy: enable the zone for the load balancer, or take it from the group"
    )


def _label(arn: str) -> str:
    """A target group's name, out of its ARN."""
    return arn.rpartition("targetgroup/")[2].partition("/")[0] or arn


def _target_words(label: str, state: str, *reasons: str | None) -> str:
    """Why a target is not healthy; "" when it is."""
    if state.lower() == "healthy":
        return ""
    words = ": ".join(filter(None, reasons))
    return f"target group {label} reports {state}{f' ({words})' if words else ''}"


def _tag(group: str, key: str) -> dict[str, Any]:
    return {"ResourceId": group, "ResourceType": "auto-scaling-group", "Key": key}
