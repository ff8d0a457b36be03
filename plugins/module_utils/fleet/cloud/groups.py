# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch templates and Auto Scaling groups. A host that runs is never touched: what is new is a version that the next host has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet import scaling
from ansible_collections.boring.fleet.plugins.module_utils.fleet.boot import digest
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls, tag_list
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.observe import Observer
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import (
    FLEET,
    SERVICE,
    SETTINGS,
    Group,
    Hook,
    Seen,
    Template,
)

_GRACE: Final = 300  # seconds in which a new host may fail the checks of its load balancer
# EC2 and Auto Scaling hear of a new instance profile some seconds later.
_NOT_YET: Final = ("Invalid IAM Instance Profile", "InvalidIamInstanceProfile", "valid fully-formed launch template")
_NOT_YET_SECONDS: Final = 60.0
# AWS is busy with hosts that come or go.
_AGAIN: Final = ("ScalingActivityInProgress", "ResourceInUse")
_NO_TEMPLATE: Final = ("InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateName.NotFoundException")
_ALIVE: Final = ("pending", "running", "shutting-down", "stopping", "stopped")


class GroupMaker:
    """Makes, changes and removes them. `patience` is for hosts, in seconds."""

    def __init__(self, calls: Calls, seen: Seen, observer: Observer, patience: float) -> None:
        self._calls, self._seen, self._observer, self._patience = calls, seen, observer, patience
        self._made: list[str] = []  # groups of this run whose hosts were not waited for yet

    # -- launch templates ------------------------------------------------------------------------------------------

    def make_template(self, name: str, data: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Its first version."""
        tags = {**tags, SETTINGS: f"1:{digest(data)}"}
        made = self._calls.patiently(
            lambda: self._calls.write(
                "ec2", "CreateLaunchTemplate", f"make the launch template {name}", LaunchTemplateName=name, LaunchTemplateData=data,
                TagSpecifications=[{"ResourceType": "launch-template", "Tags": tag_list(tags)}],
            ),
            _NOT_YET,
            _NOT_YET_SECONDS,
        )["LaunchTemplate"]  # fmt: skip
        self._seen.templates[name] = Template(made["LaunchTemplateId"], 1, tags)

    def change_template(self, name: str, data: Mapping[str, Any]) -> None:
        """Another version, unless the latest is this one already; then the tag that says what it holds."""
        now = self._seen.templates[name]
        latest = now.latest
        if now.data is None or digest(now.data) != digest(data):
            latest = self._calls.write(
                "ec2", "CreateLaunchTemplateVersion", f"write a version of the launch template {name}",
                LaunchTemplateId=now.id, LaunchTemplateData=data,
            )["LaunchTemplateVersion"]["VersionNumber"]  # fmt: skip
        settings = {SETTINGS: f"{latest}:{digest(data)}"}
        self._calls.write(
            "ec2",
            "CreateTags",
            f"say what the launch template {name} holds",
            Resources=[now.id],
            Tags=tag_list(settings),
        )
        self._seen.templates[name] = dataclasses.replace(now, latest=latest, tags={**now.tags, **settings}, data=None)

    def remove_template(self, name: str) -> None:
        """Remove it with all versions."""
        try:
            self._calls.write(
                "ec2",
                "DeleteLaunchTemplate",
                f"remove the launch template {name}",
                LaunchTemplateId=self._seen.templates[name].id,
            )
        except AwsError as exc:
            if exc.code not in _NO_TEMPLATE:
                raise
        del self._seen.templates[name]

    # -- groups ----------------------------------------------------------------------------------------------------

    def make(self, name: str, wanted: Mapping[str, Any], tags: Mapping[str, str], uses: Sequence[str]) -> None:
        """Make it with its hooks, once the hosts of the groups `uses` are in service."""
        self.wait([one for one in uses if one in self._made])
        size, template = wanted["size"], self._seen.templates[wanted["template"]["name"]]
        self._calls.patiently(
            lambda: self._calls.write(
                "autoscaling", "CreateAutoScalingGroup", f"make the group {name}", AutoScalingGroupName=name,
                LaunchTemplate={"LaunchTemplateId": template.id, "Version": str(template.latest)},
                MinSize=size["min"], MaxSize=size["max"], DesiredCapacity=size["desired"], VPCZoneIdentifier=",".join(self._seen.hosts),
                TargetGroupARNs=[self._seen.targets[one].arn for one in wanted["target_groups"]],
                HealthCheckType=wanted["health_check"], HealthCheckGracePeriod=_GRACE, DefaultCooldown=0,
                LifecycleHookSpecificationList=[_hook(hook) for hook in wanted["lifecycle_hooks"]], Tags=_tags(name, tags),
            ),
            _NOT_YET,
            _NOT_YET_SECONDS,
        )  # fmt: skip
        self._follow(name, wanted, tags)
        if size["desired"]:
            self._made.append(name)
        self._seen.groups[name] = Group(
            size["min"],
            size["max"],
            size["desired"],
            (),
            wanted["health_check"],
            {},
            tags,
            str(template.latest),
            (),
            0,
            False,
            False,
        )

    def change(self, name: str, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Bring it to what is wanted. How many hosts it has now is somebody else's decision, within min and max."""
        now, size = self._seen.groups[name], wanted["size"]
        more: dict[str, Any] = {}
        if not now.rolling and (now.min, now.max) != (size["min"], size["max"]):
            more |= {"MinSize": size["min"], "MaxSize": size["max"]}
        targets = {self._seen.targets[one].arn for one in wanted["target_groups"]}
        doing = f"change the group {name}"
        if added := sorted(targets - set(now.targets)):
            self._calls.write(
                "autoscaling", "AttachLoadBalancerTargetGroups", doing, AutoScalingGroupName=name, TargetGroupARNs=added
            )
        if now.health_check != wanted["health_check"]:
            more |= {"HealthCheckType": wanted["health_check"], "HealthCheckGracePeriod": _GRACE}
        if more:
            self._calls.write("autoscaling", "UpdateAutoScalingGroup", doing, AutoScalingGroupName=name, **more)
        if gone := sorted(set(now.targets) - targets):
            self._calls.write(
                "autoscaling", "DetachLoadBalancerTargetGroups", doing, AutoScalingGroupName=name, TargetGroupARNs=gone
            )
        hooks = {hook["name"]: hook for hook in wanted["lifecycle_hooks"]}
        for one, hook in hooks.items():
            about = Hook(hook["transition"], hook["heartbeat_timeout"], hook["default_result"])
            if now.hooks.get(one) != about:
                self._calls.write("autoscaling", "PutLifecycleHook", doing, AutoScalingGroupName=name, **_hook(hook))
        for one in sorted(set(now.hooks) - set(hooks)):
            self._calls.write(
                "autoscaling", "DeleteLifecycleHook", doing, AutoScalingGroupName=name, LifecycleHookName=one
            )
        if any(now.tags.get(key) != value for key, value in tags.items()):
            self._calls.write("autoscaling", "CreateOrUpdateTags", doing, Tags=_tags(name, tags))
        resource = scaling.label(self._seen, wanted["scale"]) if wanted["scale"] else ""
        if scaling.seen_words(now.scale, tags[FLEET], tags[SERVICE], resource) != scaling.words(wanted["scale"]):
            self._follow(name, wanted, tags)

    def _follow(self, name: str, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Bring its scaling policy to what is wanted: one, or none."""
        scale = wanted["scale"]
        if scale:
            about = scaling.policy(tags[FLEET], tags[SERVICE], scale, scaling.label(self._seen, scale))
            doing = f"say what the group {name} follows"
            self._calls.write(
                "autoscaling", "PutScalingPolicy", doing, AutoScalingGroupName=name, PolicyName=scaling.POLICY, **about
            )
        elif name in self._seen.groups and self._seen.groups[name].scale is not None:
            self._calls.write(
                "autoscaling",
                "DeletePolicy",
                f"let the group {name} follow nothing",
                AutoScalingGroupName=name,
                PolicyName=scaling.POLICY,
            )

    def remove(self, name: str) -> None:
        """Remove it with its hosts. `gone` waits for them."""
        try:
            if not self._seen.groups[name].deleting:
                self._calls.patiently(lambda: self._delete(name), _AGAIN, self._patience)
        except AwsError as exc:
            if "not found" not in exc.text:
                raise
        del self._seen.groups[name]

    def _delete(self, name: str) -> Any:
        return self._calls.write(
            "autoscaling",
            "DeleteAutoScalingGroup",
            f"remove the group {name}",
            AutoScalingGroupName=name,
            ForceDelete=True,
        )

    def detach(self, arn: str) -> None:
        """Take a target group that goes from the groups that stay."""
        for name, group in self._seen.groups.items():
            if arn in group.targets:
                self._calls.write(
                    "autoscaling",
                    "DetachLoadBalancerTargetGroups",
                    f"change the group {name}",
                    AutoScalingGroupName=name,
                    TargetGroupARNs=[arn],
                )

    def gone(self, fleet: str, services: Sequence[str], groups: Sequence[str]) -> None:
        """Wait until no host of these services is left, and no group."""
        only = [
            {"Name": f"tag:{FLEET}", "Values": [fleet]},
            {"Name": f"tag:{SERVICE}", "Values": list(services)},
            {"Name": "instance-state-name", "Values": list(_ALIVE)},
        ]

        def ended() -> bool:
            there = self._calls.every(
                "ec2", "DescribeInstances", "Reservations", "wait for the hosts to end", Filters=only
            )
            return not there and not self._observer.in_service(groups)

        self._calls.until(ended, self._patience, f"hosts of {', '.join(services)} have not ended")

    def wait(self, groups: Sequence[str]) -> None:
        """Wait until the hosts of these new groups are in service."""
        if not groups:
            return
        state: dict[str, tuple[int, int]] = {}

        def ready() -> bool:
            state.update(self._observer.in_service(groups))
            return all(have >= want for have, want in state.values())

        try:
            self._calls.until(ready, self._patience, "not in service")
        except AwsError as exc:
            behind = [
                f"{name} ({have} of {want}){self._why(name)}" for name, (have, want) in state.items() if have < want
            ]
            raise AwsError(f"after {self._patience:g} s hosts are not in service: {'; '.join(behind) or exc}") from exc
        self._made = [name for name in self._made if name not in groups]

    def wait_for_all(self) -> None:
        """Wait for the hosts of all groups that this run made."""
        self.wait(list(self._made))

    def _why(self, name: str) -> str:
        """AWS's words for the last thing that did not work."""
        answer = self._calls.read(
            "autoscaling",
            "DescribeScalingActivities",
            f"ask why {name} is not ready",
            AutoScalingGroupName=name,
            MaxRecords=10,
        )
        for activity in answer.get("Activities") or ():
            if activity.get("StatusCode") in ("Failed", "Cancelled"):
                return f": {activity.get('StatusMessage') or activity.get('Description') or ''}"
        return ""


def _hook(hook: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "LifecycleHookName": hook["name"],
        "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{hook['transition'].upper()}",
        "HeartbeatTimeout": hook["heartbeat_timeout"],
        "DefaultResult": hook["default_result"],
    }


def _tags(name: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """A version belongs to a host by its launch template: the group's own, given to a host of an older one, would lie."""
    return [
        {
            "Key": key,
            "Value": value,
            "PropagateAtLaunch": key != "boring:version",
            "ResourceId": name,
            "ResourceType": "auto-scaling-group",
        }
        for key, value in sorted(tags.items())
    ]
