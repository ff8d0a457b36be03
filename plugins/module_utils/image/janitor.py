# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What builds left behind that were killed together with the machine they ran on, and images that no build confirmed.

A build tags everything temporary with who it is and until when it may take. Only what says both, and whose time is over
by its own word, is removed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.calls import Api
from ansible_collections.boring.fleet.plugins.module_utils.image.cloud import BUILDER, CONFIRMED, EXPIRES, UNCONFIRMED
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.tags import tags_of

_OVER = frozenset({"shutting-down", "terminated"})
_POLL = 2.0
_TRIES = 5  # EC2 takes a moment until it knows that a snapshot's image is gone
# In this order nothing is removed while something else needs it.
KINDS = ("instance", "launch template", "key pair", "image", "snapshot", "volume", "security group")
_GONE = ("NotFound", "Unavailable", "IncorrectState")


@dataclass(frozen=True)
class Thing:
    """One thing of a build; `expires` is None when it does not say, or not readably. `parts` are an image's snapshots."""

    id: str
    kind: str
    builder: str
    expires: float | None
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


@dataclass(frozen=True)
class Leftovers:
    """One build that is over, and what is left of it."""

    builder: str
    things: tuple[Thing, ...]

    def as_dict(self, now: float) -> dict[str, Any]:
        """For the module's answer."""
        ended = max(thing.expires or 0.0 for thing in self.things)
        return {
            "builder": self.builder,
            # 0 is what never was of use, such as an image of a build that failed.
            "expired_hours": round((now - ended) / 3600, 1) if ended else 0.0,
            "things": list(map(str, self.things)),
        }


@dataclass
class Removed:
    """What is gone, and what AWS refused to remove, with its reason."""

    things: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def things(ec2: Any) -> list[Thing]:
    """Everything temporary of every build in the region. Raises ImageError."""
    api = Api(ec2, "ec2")
    tagged = [{"Name": "tag-key", "Values": [BUILDER]}]
    hosts = [
        host
        for reservation in api.pages("describe_instances", "Reservations", Filters=tagged)
        for host in reservation["Instances"]
        if host["State"]["Name"] not in _OVER
    ]
    images = api.pages("describe_images", "Images", Owners=["self"])
    used = Counter(snapshot for image in images for snapshot in _snapshots(image))
    found = [
        *(_thing("instance", str(host["InstanceId"]), host) for host in hosts),
        *(
            _thing("launch template", str(one["LaunchTemplateId"]), one)
            for one in api.pages("describe_launch_templates", "LaunchTemplates", Filters=tagged)
        ),
        *(
            _thing("key pair", str(key["KeyName"]), key)
            for key in api.call("describe_key_pairs", "KeyPairs", Filters=tagged)
        ),
        *(
            _thing("image", str(image["ImageId"]), image, tuple(one for one in _snapshots(image) if used[one] == 1))
            for image in images
            if BUILDER in tags_of(image) and (CONFIRMED not in tags_of(image) or UNCONFIRMED in tags_of(image))
        ),
        *(
            _thing("snapshot", str(one["SnapshotId"]), one)
            for one in api.pages("describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=tagged)
            if one["SnapshotId"] not in used
        ),
        *(
            _thing("volume", str(one["VolumeId"]), one)
            for one in api.pages("describe_volumes", "Volumes", Filters=tagged)
            if one.get("State") not in ("deleting", "deleted")
        ),
        *(
            _thing("security group", str(group["GroupId"]), group)
            for group in api.pages("describe_security_groups", "SecurityGroups", Filters=tagged)
        ),
    ]
    return sorted(found, key=lambda thing: KINDS.index(thing.kind))


def _snapshots(image: Mapping[str, Any]) -> tuple[str, ...]:
    devices = image.get("BlockDeviceMappings") or ()
    return tuple(str(device["Ebs"]["SnapshotId"]) for device in devices if (device.get("Ebs") or {}).get("SnapshotId"))


def _thing(kind: str, identity: str, described: Mapping[str, Any], parts: tuple[str, ...] = ()) -> Thing:
    tags = tags_of(described)
    try:
        expires: float | None = float(tags[EXPIRES])
    except (KeyError, ValueError):
        expires = None
    return Thing(identity, kind, tags.get(BUILDER, ""), expires, parts)


def expired(found: Sequence[Thing], now: float, grace: float) -> list[Leftovers]:
    """Builds of which everything says that its time was over `grace` seconds ago, the oldest name first."""
    builds: dict[str, list[Thing]] = {}
    for thing in found:
        if thing.builder:
            builds.setdefault(thing.builder, []).append(thing)
    return [
        Leftovers(builder, tuple(parts))
        for builder, parts in sorted(builds.items())
        if all(part.expires is not None and part.expires + grace < now for part in parts)
    ]


def remove(
    ec2: Any,
    leftovers: Sequence[Leftovers],
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Removed:
    """Remove what is left of builds. One refusal does not stop the rest; each is in the answer."""
    api = Api(ec2, "ec2")
    done = Removed()
    every = sorted((thing for left in leftovers for thing in left.things), key=lambda thing: KINDS.index(thing.kind))
    hosts = [thing.id for thing in every if thing.kind == "instance"]
    waited = False
    for thing in every:
        if thing.kind in ("volume", "security group") and hosts and not waited:
            _until_gone(api, hosts, deadline, clock, sleep)
            waited = True
        try:
            for what, method, arguments in _calls(thing):
                _unless_gone(api, method, arguments, sleep)
                done.things.append(what)
        except ImageError as exc:
            done.refused.append(f"{thing}: {exc}")
    return done


def _unless_gone(api: Api, method: str, arguments: Mapping[str, Any], sleep: Callable[[float], None]) -> None:
    for attempt in range(1, _TRIES + 1):
        try:
            api.answer(method, **arguments)
            return
        except ImageError as exc:
            code = str(getattr(exc.__cause__, "code", ""))
            if any(word in code for word in _GONE):
                return
            if code != "InvalidSnapshot.InUse" or attempt == _TRIES:
                raise
        sleep(_POLL)


def _calls(thing: Thing) -> list[tuple[str, str, dict[str, Any]]]:
    """What is removed, by which call, with what."""
    simple: dict[str, tuple[str, str]] = {
        "launch template": ("delete_launch_template", "LaunchTemplateId"),
        "key pair": ("delete_key_pair", "KeyName"),
        "snapshot": ("delete_snapshot", "SnapshotId"),
        "volume": ("delete_volume", "VolumeId"),
        "security group": ("delete_security_group", "GroupId"),
    }
    if thing.kind == "instance":
        return [(str(thing), "terminate_instances", {"InstanceIds": [thing.id]})]
    if thing.kind == "image":
        parts = [(f"snapshot {part}", "delete_snapshot", {"SnapshotId": part}) for part in thing.parts]
        return [(str(thing), "deregister_image", {"ImageId": thing.id}), *parts]
    method, argument = simple[thing.kind]
    return [(str(thing), method, {argument: thing.id})]


def _until_gone(
    api: Api, hosts: Sequence[str], deadline: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    """A volume and a security group go only after their instance. What goes wrong here is said when they are refused."""
    while clock() < deadline:
        try:
            found = api.pages("describe_instances", "Reservations", InstanceIds=list(hosts))
        except ImageError:
            return
        if all(host["State"]["Name"] == "terminated" for group in found for host in group["Instances"]):
            return
        sleep(_POLL)
