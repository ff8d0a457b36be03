# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS as the status asks it: for the whole fleet at once where AWS allows that, every call with a deadline. Changes nothing, decides nothing.

Calls: a constant number for the fleet, one for each 100 or 200 hosts, images and templates, one for each 10 certificates in parameters; then
for each service one for every target group, and one for its activities where something is not well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status import listeners
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.ask import Ask, batches
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import (
    FLEET,
    SERVICE,
    Found,
    Machine,
    Seen,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import decode, decode_record
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.destination import Destinations
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import ARGUMENTS, parse_policy
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.caller import Caller
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.parse import Parser
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Group, RolloutError, Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy, Request

_SOME: Final = 200  # values of one filter
_STATUSES: Final = 100  # hosts in one question for their status


@dataclass
class _Templates:
    """Launch templates by id; floating versions are known from one answer for all of them."""

    known: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def resolve(self, template: Template) -> Template:
        """As Destinations wants it."""
        if template.version.isdecimal() or not template.id:
            return template
        found = self.known.get(template.id)
        if found is None:
            raise RolloutError(f"there is no {template.label}: give the group another launch template")
        number = found["LatestVersionNumber" if template.version == "$Latest" else "DefaultVersionNumber"]
        return Template(template.id, str(found["LaunchTemplateName"]), str(number))


class Look:
    """Asks. `client` gives boto3's client of a service; a call that is throttled is made again for `patience` seconds."""

    def __init__(
        self,
        client: Callable[[str], Any],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        patience: float = 60.0,
    ) -> None:
        self._caller = Caller(client, clock=clock, sleep=sleep, patience=patience)
        self._cloud = Cloud(client, clock=clock, sleep=sleep, patience=patience)
        self._ask = Ask(self._caller)

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return self._caller.calls.total() + self._cloud.calls.total()

    def at(self, fleet: str, model: Mapping[str, Any]) -> Seen:
        """Everything about a fleet. `model` is what fleet_model returned, empty without a file. Raises AwsError where AWS cannot be asked at all."""
        rolls = {one["group"]: one for one in model.get("rolls", ())}
        groups = self._groups(fleet)
        templates = self._templates(groups)
        machines = self._machines([instance.id for group in groups for instance in group.instances])
        scaling = self._scaling({group.name for group in groups})
        found = self._with_images(
            [self._found(group, rolls.get(group.name, {}), templates, scaling) for group in groups], machines
        )
        services = [group.tags.get(SERVICE) or group.name for group in groups]
        balancers = listeners.balancers(self._ask, fleet)
        attached = {arn for group in groups for arn in group.target_groups}
        alone = {name: arn for name, arn in balancers.behind.items() if arn not in attached}
        ends = listeners.ends_in_parameters(self._ask, fleet, services, model)
        return Seen(
            tuple(found),
            machines,
            self._images({one.image for one in machines.values()} | {one.image for one in found}),
            tuple(balancers.found),
            {**ends, **listeners.ends_in_acm(self._ask, balancers.certificates)},
            listeners.silent(self._ask, fleet, services, alone),
            tuple(self._ask.unknown),
        )

    def _groups(self, fleet: str) -> list[Group]:
        doing = f"find the Auto Scaling groups of the fleet {fleet}"
        which = [{"Name": f"tag:{FLEET}", "Values": [fleet]}]
        answer = self._ask.pages(
            "autoscaling", "DescribeAutoScalingGroups", "AutoScalingGroups", doing, Filters=which, MaxRecords=100
        )
        return [
            replace(
                Parser().group(raw), tags={tag["Key"]: str(tag.get("Value") or "") for tag in raw.get("Tags") or ()}
            )
            for raw in answer
        ]

    def _templates(self, groups: Iterable[Group]) -> _Templates:
        used = [template for group in groups for template in (group.template, *group.overrides.values()) if template]
        wanted = sorted({template.name for template in used if template.id})
        found: dict[str, Mapping[str, Any]] = {}
        for some in batches(wanted, _SOME):
            which = [{"Name": "launch-template-name", "Values": some}]
            doing = "read the launch templates of the fleet"
            for raw in self._ask.pages("ec2", "DescribeLaunchTemplates", "LaunchTemplates", doing, Filters=which):
                found[raw["LaunchTemplateId"]] = raw
        return _Templates(found)

    def _machines(self, ids: list[str]) -> dict[str, Machine]:
        found: dict[str, Machine] = {}
        for some in batches(sorted(ids), _SOME):
            which = [{"Name": "instance-id", "Values": some}]
            doing = "look at the hosts of the fleet"
            for reservation in self._ask.pages("ec2", "DescribeInstances", "Reservations", doing, Filters=which):
                for raw in reservation.get("Instances") or ():
                    launched = raw.get("LaunchTime")
                    found[raw["InstanceId"]] = Machine(
                        str(raw.get("ImageId") or ""),
                        launched.timestamp() if launched else 0.0,
                        {tag["Key"]: tag["Value"] for tag in raw.get("Tags") or ()},
                    )
        for some in batches(sorted(found), _STATUSES):
            doing = "read EC2's checks of the hosts"
            for raw in self._ask.some("ec2", "DescribeInstanceStatus", "InstanceStatuses", doing, InstanceIds=some):
                if raw["InstanceId"] in found:
                    found[raw["InstanceId"]] = replace(found[raw["InstanceId"]], trouble=_trouble(raw))
        return found

    def _found(
        self, group: Group, roll: Mapping[str, Any], templates: _Templates, scaling: Mapping[str, list[str]]
    ) -> Found:
        policy = _policy(roll)
        found = Found(group, policy, scaling=tuple(scaling.get(group.name, ())))
        try:
            value, record = group.tags.get(TAG_JOURNAL), group.tags.get(TAG_RECORD)
            left = decode(value) if value else None
            # As `rolls` of fleet_model have it: to what was deployed last, whatever version the group itself names.
            own = group.template
            asked = replace(own, version="$Latest") if own and own.id else None
            destinations = Destinations(templates, Request(group.name, template=asked), policy)
            destination = destinations.of(group, left, decode_record(record) if record else None)
            found = replace(found, target=destination.target)
        except (AwsError, RolloutError) as exc:
            found = replace(found, no_target=str(exc))
        if group.balanced and group.instances:
            nothing: tuple[dict[str, str] | None, tuple[str, ...]] = (None, ())
            health, idle = self._ask.maybe(lambda: self._cloud.health(group), nothing)
            found = replace(found, health=health, idle=idle)
        serving = [one for one in group.instances if one.in_service and not (found.health or {}).get(one.id)]
        if len(serving) < max(group.desired, len(group.instances)):
            found = replace(found, activities=self._ask.maybe(lambda: self._cloud.activities(group.name), ()))
        return found

    def _with_images(self, found: list[Found], machines: Mapping[str, Machine]) -> list[Found]:
        """The image of each launch template: that of a host launched from it, else the templates are asked, all at once."""
        known: dict[tuple[str, str], str] = {}
        targets = [one.target.template for one in found if one.target and one.target.template.id]
        for instance in (instance for one in found for instance in one.group.instances):
            if instance.template and instance.id in machines:
                known.setdefault((instance.template.id, instance.template.version), machines[instance.id].image)
        if any((one.id, one.version) not in known for one in targets):
            doing, versions = "read the launch templates of the fleet", ["$Latest", "$Default"]
            known |= self._images_of(doing, Versions=versions)
        for one in targets:
            if (one.id, one.version) not in known:  # neither newest nor default
                known |= self._images_of(f"read the {one.label}", LaunchTemplateId=one.id, Versions=[one.version])
        return [
            replace(one, image=known.get((one.target.template.id, one.target.template.version), ""))
            if one.target
            else one
            for one in found
        ]

    def _images_of(self, doing: str, **which: Any) -> dict[tuple[str, str], str]:
        """Images by id and version of a launch template."""
        answer = self._ask.some(
            "ec2", "DescribeLaunchTemplateVersions", "LaunchTemplateVersions", doing, MaxResults=200, **which
        )
        return {
            (str(raw["LaunchTemplateId"]), str(raw["VersionNumber"])): str(
                (raw.get("LaunchTemplateData") or {}).get("ImageId") or ""
            )
            for raw in answer
        }

    def _images(self, ids: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for some in batches(sorted(one for one in ids if one.startswith("ami-")), _SOME):
            which = [{"Name": "image-id", "Values": some}]
            for raw in self._ask.some("ec2", "DescribeImages", "Images", "read the names of images", Filters=which):
                found[raw["ImageId"]] = str(raw.get("Name") or "")
        return found

    def _scaling(self, groups: set[str]) -> dict[str, list[str]]:
        """Sizes that will change by themselves, in words, by group: of the region at once."""
        found: dict[str, list[str]] = {}
        asked = (
            ("DescribeScheduledActions", "ScheduledUpdateGroupActions", _scheduled),
            ("DescribePolicies", "ScalingPolicies", _target),
        )
        for operation, key, words in asked if groups else ():
            doing = "read how sizes change by themselves"
            for raw in self._ask.some("autoscaling", operation, key, doing, MaxRecords=100):
                if raw.get("AutoScalingGroupName") in groups:
                    found.setdefault(raw["AutoScalingGroupName"], []).append(words(raw))
        return found


def _policy(roll: Mapping[str, Any]) -> Policy:
    """How the fleet's file would have this group rolled."""
    options = {name: value for name, value in roll.items() if name in ARGUMENTS and name != "group"}
    checked = ArgumentSpecValidator(ARGUMENTS).validate({"group": "any", **options})
    return parse_policy(checked.validated_parameters)[0]


def _trouble(raw: Mapping[str, Any]) -> str:
    """What EC2's status checks and its scheduled events say against a host."""
    said = [
        f"EC2's {what} check fails"
        for what, key in (("system", "SystemStatus"), ("instance", "InstanceStatus"))
        if (raw.get(key) or {}).get("Status") == "impaired"
    ]
    for event in raw.get("Events") or ():
        why = str(event.get("Description") or "no reason given")
        if not why.startswith(("[Completed]", "[Canceled]")):
            said.append(f"EC2 has planned {event.get('Code')} for it ({why})")
    return "; ".join(said)


def _scheduled(raw: Mapping[str, Any]) -> str:
    """`min 2, desired 4 at 0 7 * * 1-5 (Europe/Berlin)`"""
    words = (("min", "MinSize"), ("max", "MaxSize"), ("desired", "DesiredCapacity"))
    sizes = [f"{word} {raw[key]}" for word, key in words if raw.get(key) is not None]
    if raw.get("Recurrence"):
        when = f"{raw['Recurrence']} ({raw.get('TimeZone') or 'UTC'})"
    else:
        when = (
            raw["StartTime"].strftime("%Y-%m-%d %H:%M UTC") if raw.get("StartTime") else "a time that AWS does not tell"
        )
    return f"{', '.join(sizes)} at {when}"


def _target(raw: Mapping[str, Any]) -> str:
    """`ASGAverageCPUUtilization at 60`, or the name of a policy of another kind."""
    about = raw.get("TargetTrackingConfiguration")
    if not about:
        return f"policy {raw.get('PolicyName')} ({raw.get('PolicyType')})"
    ready = (about.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType")
    own = (about.get("CustomizedMetricSpecification") or {}).get("MetricName")
    return f"{ready or own or 'a metric'} at {about.get('TargetValue'):g}"
