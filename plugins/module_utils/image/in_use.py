# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that are in use, each with the SBOM that says what is in it, or why nobody can say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image import cloud, sbom, usage
from ansible_collections.boring.fleet.plugins.module_utils.image.calls import Api
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.tags import tags_of


@dataclass(frozen=True)
class InUse:
    """One image. `problem` is a sentence, "" if `sbom` and `release` are known; `foreign`: not made by image_build."""

    id: str
    name: str
    family: str
    used_by: tuple[str, ...]
    sbom: str = ""
    release: str = ""
    problem: str = ""
    foreign: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "used_by": list(self.used_by)}


def look(groups: Collection[str], folder: Path, *, ec2: Any, autoscaling: Any, ssm: Any) -> list[InUse]:
    """Every image that hosts run or that groups start hosts from, by its id. Raises ImageError at any doubt."""
    used = usage.in_use(groups, ec2=ec2, autoscaling=autoscaling, ssm=ssm)
    boms = sbom.by_digest(folder)
    # Asked for by a filter and not by id, so that one that is gone is missing from the answer and is no error.
    filters = [{"Name": "image-id", "Values": sorted(used)}]
    found = Api(ec2, "ec2").pages("describe_images", "Images", Filters=filters) if used else []
    images = {str(image["ImageId"]): image for image in found}
    return [_judged(image, images.get(image), tuple(words), boms) for image, words in sorted(used.items())]


def _judged(
    identity: str, image: Mapping[str, Any] | None, used_by: tuple[str, ...], boms: Mapping[str, Path]
) -> InUse:
    if image is None:
        why = f"the image {identity} is gone, and {used_by[0]} uses it: nobody can say what is in it; replace its hosts"
        return InUse(identity, "", "", used_by, problem=why)
    name, tags = str(image.get("Name") or ""), tags_of(image)
    family, digest = tags.get(cloud.FAMILY, ""), tags.get(sbom.TAG, "")
    if cloud.FINGERPRINT not in tags:
        return InUse(identity, name, family, used_by, foreign=True)
    if not digest:
        why = f"the image {identity} ({name}) has no tag {sbom.TAG}: it was built without an SBOM; build it anew"
        return InUse(identity, name, family, used_by, problem=why)
    path = boms.get(digest)
    if path is None:
        why = f"the SBOM of the image {identity} ({name}) is not in the folder: it is the one with the SHA-256 {digest}"
        return InUse(identity, name, family, used_by, problem=why)
    try:
        return InUse(identity, name, family, used_by, sbom=str(path), release=sbom.release_of(path))
    except ImageError as exc:
        return InUse(identity, name, family, used_by, problem=str(exc))
