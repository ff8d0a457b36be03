# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What EC2 knows: source images, images of ours by their tags, and what a build left running.

Every function takes the boto3 client of the region it asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError, explain
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.tags import Described, tags_of
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Lookup

FINGERPRINT = "boring:fingerprint"
FAMILY = "boring:family"
BUILD = "boring:build"
CONFIRMED = "boring:confirmed"  # written last: a build of image_build ended well, and this source it was made of
UNCONFIRMED = "boring:unconfirmed"  # why an image is none
SOURCE = "boring:source"  # id of the image below
BUILDER = "boring:builder"  # on everything temporary: which run it belongs to
EXPIRES = "boring:expires"  # on everything temporary: seconds since 1970 after which nobody needs it


def call(client: Any, method: str, /, *, doing: str, **arguments: Any) -> Any:
    """One call of a client. Raises ImageError with a sentence instead of what boto3 raises."""
    try:
        return getattr(client, method)(**arguments)
    except Exception as exc:  # boto3's exceptions have no common base that needs no import
        if type(exc).__module__.partition(".")[0] not in ("botocore", "boto3") and not isinstance(exc, AwsError):
            raise
        raise ImageError(str(explain(exc, service="ec2", doing=doing))) from exc


def newest(found: Iterable[Described]) -> Described | None:
    """The newest that can be used; the id decides between two of the same second."""
    usable = [image for image in found if image.get("State") == "available"]
    return max(usable, key=lambda image: (image.get("CreationDate", ""), image["ImageId"]), default=None)


def resolve(ec2: Any, lookup: Lookup, what: str) -> str:
    """The id of the image that a lookup finds now, as Packer would choose it. `what` is the source's or data source's name."""
    shown = ", ".join(f"{name}={','.join(values)}" for name, values in lookup.filters)
    answer = call(
        ec2,
        "describe_images",
        doing=f"look for the source image of {what}",
        Filters=[{"Name": name, "Values": list(values)} for name, values in lookup.filters],
        Owners=list(lookup.owners),
        **({"IncludeDeprecated": True} if lookup.deprecated else {}),
    )
    image = newest(answer["Images"])
    if image is None:
        raise ImageError(
            f"no source image for {what} in {region_of(ec2)}: owner {', '.join(lookup.owners)} has none with "
            f"{shown}; correct the name or the owner in the variables, or choose another region"
        )
    return str(image["ImageId"])


def with_fingerprint(ec2: Any, fingerprint: str) -> list[Described]:
    """Our images of this fingerprint that can be used; pending and failed ones do not count."""
    answer = call(
        ec2,
        "describe_images",
        doing="look for an image with this fingerprint",
        Owners=["self"],
        Filters=_filters({f"tag:{FINGERPRINT}": [fingerprint]}),
    )
    return [image for image in answer["Images"] if image.get("State") == "available"]


def newest_of_builds(ec2: Any, family: str, builds: Sequence[str]) -> Described | None:
    """Our newest confirmed image of the same build of the same family."""
    answer = call(
        ec2,
        "describe_images",
        doing=f"look for the newest image of {family}",
        Owners=["self"],
        Filters=_filters({f"tag:{FAMILY}": [family], f"tag:{BUILD}": list(builds)}),
    )
    return newest(image for image in answer["Images"] if CONFIRMED in tags_of(image))


def named_with(ec2: Any, part: str) -> dict[str, str]:
    """Id -> name of our images with `part` in their names, in whatever state these are."""
    answer = call(
        ec2,
        "describe_images",
        doing="look for images of the same name",
        Owners=["self"],
        Filters=_filters({"name": [f"*{part}*"]}),
    )
    return {str(image["ImageId"]): str(image.get("Name", "")) for image in answer["Images"]}


def made_by(ec2: Any, builder: str, mentioned: Iterable[str], since: float) -> list[str]:
    """Our unconfirmed images that a run tagged as its own, or that it `mentioned` and were made after `since` (seconds since 1970)."""
    answer = call(
        ec2, "describe_images", doing="look for images of the build", Owners=["self"],
        Filters=_filters({f"tag:{BUILDER}": [builder]}),
    )  # fmt: skip
    images = list(answer["Images"])
    if wanted := sorted(set(mentioned)):
        answer = call(
            ec2, "describe_images", doing="look for images of the build", Owners=["self"], Filters=_filters({"image-id": wanted}),
        )  # fmt: skip
        begun = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")[:19]
        images += [image for image in answer["Images"] if str(image.get("CreationDate", "9"))[:19] >= begun]
    return list(dict.fromkeys(str(image["ImageId"]) for image in images if CONFIRMED not in tags_of(image)))


def unconfirm(ec2: Any, image_ids: Sequence[str], builder: str, why: str) -> None:
    """Mark images as not good, so that nobody finds them again and `image_janitor` removes them, the next time it runs."""
    tags = {BUILDER: builder, EXPIRES: "0", UNCONFIRMED: why[:255]}
    call(
        ec2, "create_tags", doing=f"mark {', '.join(image_ids)} as unconfirmed", Resources=list(image_ids),
        Tags=[{"Key": key, "Value": value} for key, value in sorted(tags.items())],
    )  # fmt: skip
    call(
        ec2, "delete_tags", doing=f"take the fingerprint from {', '.join(image_ids)}", Resources=list(image_ids),
        Tags=[{"Key": key} for key in (FINGERPRINT, CONFIRMED)],
    )  # fmt: skip


def confirm(ec2: Any, image_id: str, tags: Mapping[str, str]) -> str:
    """Make sure that a new image can be used and has all `tags`; answers its name."""
    answer = call(ec2, "describe_images", doing=f"look at the new image {image_id}", ImageIds=[image_id])
    image = next(iter(answer["Images"]), None)
    if image is None or image.get("State") != "available":
        state = image.get("State") if image else "gone"
        raise ImageError(f"Packer ended well but its image {image_id} is {state}; look at it in EC2 and build again")
    there = tags_of(image)
    missing = {key: value for key, value in tags.items() if there.get(key) != value}
    if missing:
        call(
            ec2,
            "create_tags",
            doing=f"tag the new image {image_id}",
            Resources=[image_id],
            Tags=[{"Key": key, "Value": value} for key, value in sorted(missing.items())],
        )
    temporary = [key for key in (BUILDER, EXPIRES, UNCONFIRMED) if key in there]
    if temporary:
        call(
            ec2, "delete_tags", doing=f"take the build's own tags from {image_id}", Resources=[image_id],
            Tags=[{"Key": key} for key in temporary],
        )  # fmt: skip
    return str(image.get("Name", ""))


def remove_leftovers(
    ec2: Any,
    builder: str,
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Terminate and delete what a run tagged as its own and did not remove; answers what that was.

    A security group goes only after its instance, so this waits for that until `deadline` on `clock`.
    """
    mine = _filters({f"tag:{BUILDER}": [builder]})
    removed: list[str] = []

    def instances(*states: str) -> list[str]:
        answer = call(
            ec2, "describe_instances", doing="look for what the build left running",
            Filters=[*mine, {"Name": "instance-state-name", "Values": list(states)}],
        )  # fmt: skip
        return [host["InstanceId"] for group in answer["Reservations"] for host in group["Instances"]]

    running = instances("pending", "running", "stopping", "stopped")
    if running:
        call(ec2, "terminate_instances", doing=f"terminate {', '.join(running)}", InstanceIds=running)
        removed += running
    keys = call(ec2, "describe_key_pairs", doing="look for the build's key pairs", Filters=mine)["KeyPairs"]
    for key in keys:
        call(ec2, "delete_key_pair", doing=f"delete the key pair {key['KeyName']}", KeyName=key["KeyName"])
        removed.append(key["KeyName"])
    groups = call(ec2, "describe_security_groups", doing="look for the build's security groups", Filters=mine)
    if groups["SecurityGroups"]:
        while instances("pending", "running", "stopping", "stopped", "shutting-down") and clock() < deadline:
            sleep(2)
    for group in groups["SecurityGroups"]:
        identity = group["GroupId"]
        call(ec2, "delete_security_group", doing=f"delete the security group {identity}", GroupId=identity)
        removed.append(identity)
    return removed


def region_of(ec2: Any) -> str:
    return str(ec2.meta.region_name)


def _filters(wanted: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": list(values)} for name, values in sorted(wanted.items())]
