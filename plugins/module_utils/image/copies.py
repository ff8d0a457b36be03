# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image in other regions: copied once, encrypted, with its tags, and waited for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.calls import Api
from ansible_collections.boring.fleet.plugins.module_utils.image.cloud import newest
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.tags import tags_of

COPY_OF = "boring:copy-of"  # region/id of the image it was copied from
_POLL = 5.0


@dataclass(frozen=True)
class Copy:
    """A copy, and whether this run made it. In check mode a copy that is yet to be made has no id."""

    region: str
    image: str
    made: bool

    def as_dict(self) -> dict[str, Any]:
        return {"region": self.region, "image": self.image, "copied": self.made}


def ensure(
    ec2: Any,
    region: str,
    described: Mapping[str, Any],
    source_region: str,
    *,
    key: str = "",
    check: bool = False,
) -> Copy:
    """Find the copy of an image in `region`, or begin one; `ec2` is that region's client. Copies are encrypted, always.

    A copy that failed does not count. Raises ImageError.
    """
    api = Api(ec2, "ec2")
    origin = f"{source_region}/{described['ImageId']}"
    found = api.pages(
        "describe_images", "Images", Owners=["self"], Filters=[{"Name": f"tag:{COPY_OF}", "Values": [origin]}]
    )
    usable = newest(found) or next((image for image in found if image.get("State") == "pending"), None)
    if usable is not None:
        return Copy(region, str(usable["ImageId"]), False)
    if check:
        return Copy(region, "", True)
    said = {**tags_of(described), COPY_OF: origin}
    tags = [{"Key": name, "Value": value} for name, value in sorted(said.items()) if not name.startswith("aws:")]
    answer = api.answer(
        "copy_image",
        Name=str(described.get("Name") or origin),
        Description=str(described.get("Description") or ""),
        SourceImageId=described["ImageId"],
        SourceRegion=source_region,
        Encrypted=True,
        # In the call itself: who is killed at any moment finds the copy again, and makes no second one.
        TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")],
        **({"KmsKeyId": key} if key else {}),
    )
    image = str(answer["ImageId"])
    made: Mapping[str, Any] = next(iter(api.call("describe_images", "Images", ImageIds=[image])), {})
    if tags_of(made).get(COPY_OF) != origin:  # what only answers like AWS may not know of tags in that call
        api.answer("create_tags", Resources=[image], Tags=tags)
    return Copy(region, image, True)


def wait(
    ec2: Any,
    copy: Copy,
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until the copy can be used. Raises ImageError when it fails, or is not there by `deadline` on `clock`."""
    api = Api(ec2, "ec2")
    while True:
        found = api.call("describe_images", "Images", ImageIds=[copy.image])
        described: Mapping[str, Any] = next(iter(found), {})
        state = str(described.get("State", "gone"))
        if state == "available":
            return
        if state != "pending":
            reason = (described.get("StateReason") or {}).get("Message", "EC2 does not say why")
            raise ImageError(
                f"the copy {copy.image} in {copy.region} is {state} ({reason}): look at it, and run this again"
            )
        if clock() >= deadline:
            raise ImageError(
                f"the copy {copy.image} in {copy.region} is not there yet: it goes on by itself; run this again, or raise timeout"
            )
        sleep(_POLL)


@dataclass(frozen=True)
class Readers:
    """Who else may launch an image: accounts by their numbers, organisations and their units by their ARNs."""

    accounts: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()

    def permissions(self) -> list[dict[str, str]]:
        """As EC2 takes them for an image."""
        return [
            *({"UserId": account} for account in self.accounts),
            *(
                {"OrganizationArn" if ":organization/" in arn else "OrganizationalUnitArn": arn}
                for arn in self.organizations
            ),
        ]


def check_readers(readers: Readers) -> None:
    """Raises ImageError for what is neither an account nor an organisation."""
    for account in readers.accounts:
        if not re.fullmatch(r"\d{12}", account):
            raise ImageError(f"share_with names the account {account!r}: give its 12 digits")
    for arn in readers.organizations:
        if not re.fullmatch(
            r"arn:aws[\w-]*:organizations::\d{12}:(organization/o-[a-z0-9]+|ou/o-[a-z0-9]+/ou-[a-z0-9-]+)", arn
        ):
            raise ImageError(
                f"share_with names {arn!r}: give the ARN of an organisation or of a unit, as AWS Organizations shows it"
            )


def share(ec2: Any, kms: Any, described: Mapping[str, Any], readers: Readers, *, check: bool = False) -> bool:
    """Let others launch an image, read its snapshots and use their keys; answers whether anything had to be done. Raises ImageError.

    Snapshots and keys can be shared with accounts only: for an organisation the key's policy says it. AWS's own keys cannot be shared, and AWS
    refuses it.
    """
    api = Api(ec2, "ec2")
    image = str(described["ImageId"])
    there = api.call("describe_image_attribute", "LaunchPermissions", ImageId=image, Attribute="launchPermission")
    missing = [permission for permission in readers.permissions() if permission not in there]
    snapshots = [
        str(device["Ebs"]["SnapshotId"])
        for device in described.get("BlockDeviceMappings") or ()
        if (device.get("Ebs") or {}).get("SnapshotId")
    ]
    changed = bool(missing)
    for snapshot in snapshots if readers.accounts else ():
        attribute = {"SnapshotId": snapshot, "Attribute": "createVolumePermission"}
        may = {
            entry.get("UserId")
            for entry in api.call("describe_snapshot_attribute", "CreateVolumePermissions", **attribute)
        }
        if new := [account for account in readers.accounts if account not in may]:
            changed = True
            if not check:
                api.answer("modify_snapshot_attribute", **attribute, OperationType="add", UserIds=new)
    changed = _grant(api, Api(kms, "kms"), snapshots, readers, check=check) or changed
    # Last: AWS refuses snapshots whose key others cannot use, and then nobody sees half an image.
    if missing and not check:
        api.answer("modify_image_attribute", ImageId=image, LaunchPermission={"Add": missing})
    return changed


# What EC2 does for an account that launches an encrypted image: reads it, and encrypts its own volume with another key.
_KEY_USE = ["Decrypt", "DescribeKey", "CreateGrant", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"]


def _grant(ec2: Api, kms: Api, snapshots: list[str], readers: Readers, *, check: bool) -> bool:
    """Let accounts use the keys of snapshots; each once."""
    if not snapshots or not readers.accounts:
        return False
    described = ec2.pages("describe_snapshots", "Snapshots", SnapshotIds=snapshots)
    changed = False
    for key in sorted({str(one["KmsKeyId"]) for one in described if one.get("Encrypted") and one.get("KmsKeyId")}):
        there = {str(grant.get("GranteePrincipal")) for grant in kms.pages("list_grants", "Grants", KeyId=key)}
        for account in readers.accounts:
            principal = f"arn:aws:iam::{account}:root"
            if principal in there:
                continue
            changed = True
            if not check:
                kms.answer("create_grant", KeyId=key, GranteePrincipal=principal, Operations=_KEY_USE)
    return changed
