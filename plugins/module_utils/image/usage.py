# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What refers to an image, asked of AWS.

Fail-closed: a call that is refused, denied, throttled to the end or answered by halves raises ImageError, and so nothing
is deleted. All versions of all launch templates count, not only the default ones: a group or a person may use any.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image import publish
from ansible_collections.boring.fleet.plugins.module_utils.image.calls import Api
from ansible_collections.boring.fleet.plugins.module_utils.image.channel import versions_of
from ansible_collections.boring.fleet.plugins.module_utils.image.cloud import (
    BUILD,
    BUILDER,
    CONFIRMED,
    FAMILY,
    SOURCE,
    UNCONFIRMED,
)
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.retention import Seen
from ansible_collections.boring.fleet.plugins.module_utils.image.tags import tags_of

_ALIAS = "resolve:ssm:"
_GROUP_TAG = "aws:autoscaling:groupName"
_TEN = 10  # as many names GetParameters takes
_TOO_OLD = "this boto3 does not know {what}, without which an image in use could be taken for unused: update boto3"


@dataclass
class Usage:
    """Image id -> what refers to it, in words, each once."""

    by_image: dict[str, list[str]] = field(default_factory=dict)
    snapshots: set[str] = field(default_factory=set)  # that a launch template or configuration starts volumes from

    def add(self, image: str | None, what: str) -> None:
        if image and what not in (there := self.by_image.setdefault(image, [])):
            there.append(what)

    def add_all(self, text: str, what: str) -> None:
        """Every image id that stands in a text."""
        for image in publish.IMAGE_ID.findall(text):
            self.add(image, what)


def own_images(ec2: Any) -> list[Seen]:
    """All images of this account in the region; disabled and deprecated ones too, since their snapshots count."""
    api = Api(ec2, "ec2")
    for name in ("LastLaunchedTime", "DeregistrationProtection"):
        if not api.tells("Image", name):
            raise ImageError(_TOO_OLD.format(what=f"an image's {name}"))
    hidden = {name: True for name in ("IncludeDeprecated", "IncludeDisabled") if api.takes("describe_images", name)}
    return [_seen(image) for image in api.pages("describe_images", "Images", Owners=["self"], **hidden)]


def _seen(image: Mapping[str, Any]) -> Seen:
    launched = image.get("LastLaunchedTime")
    tags = tags_of(image)
    return Seen(
        id=str(image["ImageId"]),
        name=str(image.get("Name") or ""),
        family=tags.get(FAMILY, ""),
        architecture=str(image.get("Architecture") or ""),
        state=str(image.get("State") or ""),
        created=seconds(image.get("CreationDate")),
        launched=seconds(launched) if launched else 0.0,
        public=bool(image.get("Public")),
        protection=str(image.get("DeregistrationProtection") or ""),
        snapshots=tuple(
            str(device["Ebs"]["SnapshotId"])
            for device in image.get("BlockDeviceMappings") or ()
            if (device.get("Ebs") or {}).get("SnapshotId")
        ),
        build=tags.get(BUILD, ""),
        below=tags.get(SOURCE, ""),
        unconfirmed=UNCONFIRMED in tags or (BUILDER in tags and CONFIRMED not in tags),
    )


def seconds(text: Any) -> float | None:
    """AWS's time as seconds since 1970; None for what is none."""
    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(str(text).replace("Z", "+00:00"))
        return None if moment.tzinfo is None else moment.timestamp()
    except ValueError:
        return None


def gather(images: Iterable[Seen], *, ec2: Any, autoscaling: Any, ssm: Any) -> Usage:
    """What refers to images and snapshots of this region, and who else may use those in `images`. Raises ImageError at any doubt."""
    found = Usage()
    api = Api(ec2, "ec2")
    groups = Api(autoscaling, "autoscaling")
    templates = _launch_templates(api, found)
    configurations = groups.pages("describe_launch_configurations", "LaunchConfigurations")
    for configuration in configurations:
        found.add(configuration.get("ImageId"), f"launch configuration {configuration['LaunchConfigurationName']}")
        found.snapshots.update(_snapshots_of(configuration))
    by_configuration = {entry["LaunchConfigurationName"]: entry.get("ImageId") for entry in configurations}
    aliases = {alias: words for template in templates.values() for alias, words in template.aliases.items()}
    _groups(
        groups.pages("describe_auto_scaling_groups", "AutoScalingGroups"), templates, by_configuration, aliases, found
    )
    _instances(api, found)
    _parameters(Api(ssm, "ssm"), aliases, found)
    for seen in images:
        _shares(api, seen, found)
    return found


def in_use(only: Collection[str] = (), *, ec2: Any, autoscaling: Any, ssm: Any) -> dict[str, list[str]]:
    """The images that hosts run, and those that groups would start hosts from; not those of versions that nobody uses.

    `only` are names of groups; without any, all of the region and hosts of no group too. Raises ImageError.
    """
    found = Usage()
    api, groups = Api(ec2, "ec2"), Api(autoscaling, "autoscaling")
    templates = _launch_templates(api, Usage())
    by_configuration = {
        entry["LaunchConfigurationName"]: entry.get("ImageId")
        for entry in groups.pages("describe_launch_configurations", "LaunchConfigurations")
    }
    there = groups.pages("describe_auto_scaling_groups", "AutoScalingGroups")
    if missing := set(only) - {group["AutoScalingGroupName"] for group in there}:
        raise ImageError(f"there is no Auto Scaling group {min(missing)} in this region: correct the name in groups")
    aliases: dict[str, str] = {}
    wanted = [group for group in there if not only or group["AutoScalingGroupName"] in only]
    _groups(wanted, templates, by_configuration, aliases, found)
    _instances(api, found, only)
    _resolve(Api(ssm, "ssm"), aliases, found)
    return {image: words for image, words in found.by_image.items() if not image.startswith(_ALIAS)}


def _groups(
    groups: Iterable[Mapping[str, Any]],
    templates: Mapping[str, _Template],
    by_configuration: Mapping[Any, str | None],
    aliases: dict[str, str],
    found: Usage,
) -> None:
    """What groups start hosts from; parameters that name it go into `aliases`."""
    for group in groups:
        name = f"Auto Scaling group {group['AutoScalingGroupName']}"
        found.add(by_configuration.get(group.get("LaunchConfigurationName")), name)
        images = [_image_of(wanted, templates) for wanted in _specifications(group)]
        for image in [*images, *_override_images(group)]:
            found.add(image, name)
            if image and image.startswith(_ALIAS):
                aliases.setdefault(image.removeprefix(_ALIAS), name)


def _instances(api: Api, found: Usage, only: Collection[str] = ()) -> None:
    """What hosts run that are not gone, those of the groups in `only` if there are any."""
    for reservation in api.pages("describe_instances", "Reservations"):
        for host in reservation["Instances"]:
            state = host["State"]["Name"]
            if state != "terminated" and (not only or tags_of(host).get(_GROUP_TAG) in only):
                found.add(host.get("ImageId"), f"instance {host['InstanceId']} ({state})")


# --- Launch templates and the groups that use them ---------------------------------------------------------------------


@dataclass
class _Template:
    name: str
    default: str = ""
    latest: str = ""
    images: dict[str, str] = field(default_factory=dict)  # version -> image, or resolve:ssm: and a parameter
    aliases: dict[str, str] = field(default_factory=dict)  # parameter -> which version names it, in words


def _launch_templates(api: Api, found: Usage) -> dict[str, _Template]:
    """By id and by name."""
    templates: dict[str, _Template] = {}
    for entry in api.pages("describe_launch_templates", "LaunchTemplates"):
        identity, name = str(entry["LaunchTemplateId"]), str(entry["LaunchTemplateName"])
        template = _Template(
            name, str(entry.get("DefaultVersionNumber", "")), str(entry.get("LatestVersionNumber", ""))
        )
        templates[identity] = templates[name] = template
        for version in api.pages(
            "describe_launch_template_versions", "LaunchTemplateVersions", LaunchTemplateId=identity
        ):
            number = str(version["VersionNumber"])
            image = str(version["LaunchTemplateData"].get("ImageId") or "")
            what = f"launch template {name} version {number}"
            found.snapshots.update(_snapshots_of(version["LaunchTemplateData"]))
            if image.startswith(_ALIAS):
                template.aliases[image.removeprefix(_ALIAS)] = what
            else:
                found.add(image, what)
            template.images[number] = image
    return templates


def _snapshots_of(described: Mapping[str, Any]) -> set[str]:
    devices = described.get("BlockDeviceMappings") or ()
    return {str(device["Ebs"]["SnapshotId"]) for device in devices if (device.get("Ebs") or {}).get("SnapshotId")}


def _specifications(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every launch template that a group names, those of a mixed instances policy's overrides too."""
    mixed = (group.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
    named = [group.get("LaunchTemplate"), mixed.get("LaunchTemplateSpecification")]
    named += [override.get("LaunchTemplateSpecification") for override in mixed.get("Overrides") or ()]
    named += [host.get("LaunchTemplate") for host in group.get("Instances") or ()]
    return [entry for entry in named if entry]


def _override_images(group: Mapping[str, Any]) -> list[str]:
    """Images that the overrides of a mixed instances policy name themselves."""
    mixed = (group.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
    return [str(override["ImageId"]) for override in mixed.get("Overrides") or () if override.get("ImageId")]


def _image_of(wanted: Mapping[str, Any], templates: Mapping[str, _Template]) -> str | None:
    template = templates.get(wanted.get("LaunchTemplateId") or wanted.get("LaunchTemplateName") or "")
    if template is None:
        return None
    version = str(wanted.get("Version") or "$Default")
    return template.images.get({"$Default": template.default, "$Latest": template.latest}.get(version, version))


# --- Parameters --------------------------------------------------------------------------------------------------------


def _parameters(api: Api, aliases: Mapping[str, str], found: Usage) -> None:
    """Every parameter that names an image, and where a roll back would point it.

    SecureStrings are left alone: EC2 takes no image from one, and secrets are nobody's business here.
    """
    readable = [
        str(entry["Name"])
        for entry in api.pages("describe_parameters", "Parameters")
        if entry.get("Type") != "SecureString"
    ]
    for name, value in _values(api, readable).items():
        if not publish.IMAGE_ID.search(value):
            continue
        found.add_all(value, f"parameter {name}")
        history = versions_of(api.pages("get_parameter_history", "Parameters", Name=name))
        if before := publish.image_before(history):
            found.add(before, f"parameter {name} before its present value, where a roll back goes")
    _resolve(api, aliases, found)


def _resolve(api: Api, aliases: Mapping[str, str], found: Usage) -> None:
    # A template may pin a version of a parameter (name:3), or name one of another account (its ARN).
    for alias, what in aliases.items():
        for entry in api.call("get_parameters", "Parameters", Names=[alias]):
            found.add_all(str(entry["Value"]), f"{what} through the parameter {alias}")


def _values(api: Api, names: list[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for start in range(0, len(names), _TEN):
        some = names[start : start + _TEN]
        for entry in api.call("get_parameters", "Parameters", Names=some):
            values[str(entry["Name"])] = str(entry["Value"])
        if unread := [name for name in some if name not in values]:
            raise ImageError(
                f"cannot call ssm:GetParameters: it did not answer for {unread[0]}, which may name an image; run this again"
            )
    return values


# --- Shares ------------------------------------------------------------------------------------------------------------


def _shares(api: Api, image: Seen, found: Usage) -> None:
    for permission in api.call(
        "describe_image_attribute", "LaunchPermissions", ImageId=image.id, Attribute="launchPermission"
    ):
        for kind, value in permission.items():
            found.add(image.id, "public" if kind == "Group" else f"shared with {value}")


def shared_snapshots(ec2: Any, snapshots: Iterable[str]) -> set[str]:
    """Those of our snapshots that another account may use. Raises ImageError."""
    api = Api(ec2, "ec2")
    shared: set[str] = set()
    for snapshot in snapshots:
        try:
            permissions = api.call(
                "describe_snapshot_attribute",
                "CreateVolumePermissions",
                SnapshotId=snapshot,
                Attribute="createVolumePermission",
            )
        except ImageError as exc:
            if getattr(exc.__cause__, "code", "") != "InvalidSnapshot.NotFound":
                raise
            continue
        if permissions:
            shared.add(snapshot)
    return shared
