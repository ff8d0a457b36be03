# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image in other regions: copied once, encrypted, with its tags, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.calls import Api
from ansible_collections.boring.fleet.plugins.module_utils.image.cloud import newest, tags_of
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

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
    answer = api.answer(
        "copy_image",
        Name=str(described.get("Name") or origin),
        Description=str(described.get("Description") or ""),
        SourceImageId=described["ImageId"],
        SourceRegion=source_region,
        Encrypted=True,
        **({"KmsKeyId": key} if key else {}),
    )
    image = str(answer["ImageId"])
    # At once, and not when it is available: who is killed meanwhile finds it again.
    tags = {**tags_of(described), COPY_OF: origin}
    api.answer(
        "create_tags",
        Resources=[image],
        Tags=[{"Key": name, "Value": value} for name, value in sorted(tags.items()) if not name.startswith("aws:")],
    )
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
