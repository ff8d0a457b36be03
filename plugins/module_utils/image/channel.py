# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A channel in AWS: a parameter of SSM whose value is an image's id and whose versions are the history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image import publish
from ansible_collections.boring.fleet.plugins.module_utils.image.calls import Api
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.publish import Version
from ansible_collections.boring.fleet.plugins.module_utils.image.tags import tags_of

_IMAGE_TYPE = "aws:ec2:image"  # SSM then checks the id itself, and a launch template may name the parameter


@dataclass(frozen=True)
class Moved:
    """Where the channel points, where it did before, and what else was done."""

    image: str
    previous: str
    history: tuple[Version, ...]
    changed: bool
    deprecated: str = ""  # the image that was given a date of deprecation
    revived: str = ""  # the image whose date was taken away


class Channel:
    """One channel. `check` means: change nothing, say what would be."""

    def __init__(self, name: str, *, ssm: Any, ec2: Any, now: datetime, check: bool = False) -> None:
        publish.check_channel(name)
        self.name = name
        self._ssm = Api(ssm, "ssm")
        self._ec2 = Api(ec2, "ec2")
        self._now = now
        self._check = check

    def present(
        self, image: str, *, unverified: bool = False, require: str = "built", deprecate_after: int | None = None
    ) -> Moved:
        """Point the channel at `image`, which must be there, usable, verified, and of the kind that the channel holds."""
        described = self.check_image(image, unverified=unverified, require=require)
        history = self._history()
        publish.check_ours(self.name, history)
        held = self._described(publish.current(history)) if history else None
        if held is not None:
            publish.check_same_kind(described, held, self.name)
        return self._move(history, image, publish.PUBLISHED, deprecate_after)

    def check_image(self, image: str, *, unverified: bool = False, require: str = "built") -> Mapping[str, Any]:
        """The image as EC2 describes it. Raises ImageError when it may not be published."""
        if not publish.IMAGE_ID.fullmatch(image):
            raise ImageError(f"{image!r} is not the id of an image: give one like ami-0123456789abcdef0")
        described = self._usable(image, "publish")
        if not unverified:
            publish.check_verified(image, tags_of(described))
            publish.check_level(image, tags_of(described), require)
        return described

    def rolled_back(self, *, deprecate_after: int | None = None) -> Moved:
        """Point the channel at the image before the current one, unless that was done already."""
        history = self._history()
        publish.check_ours(self.name, history)
        image = publish.roll_back_target(self.name, history)
        if image != publish.current(history):
            self._usable(image, "roll back to")
        note = f"{publish.ROLLED_BACK} {publish.current(history)}"
        return self._move(history, image, note, deprecate_after)

    # --- Parts -------------------------------------------------------------------------------------------------------

    def _history(self) -> tuple[Version, ...]:
        """Every version that SSM still has, oldest first (it keeps 100)."""
        try:
            entries = self._ssm.pages("get_parameter_history", "Parameters", Name=self.name)
        except ImageError as exc:
            if getattr(exc.__cause__, "code", "") == "ParameterNotFound":
                return ()
            raise
        for entry in entries:
            if entry.get("Type") == "SecureString":
                raise ImageError(f"the parameter {self.name} is a SecureString, not a channel: name another")
        return versions_of(entries)

    def _usable(self, image: str, to: str) -> Mapping[str, Any]:
        described = self._described(image)
        state = described.get("State", "") if described else "gone"
        if described is None or state != "available":
            raise ImageError(f"cannot {to} {image}: it is {state}; name an image of this region that is available")
        return described

    def _described(self, image: str) -> Mapping[str, Any] | None:
        try:
            found = self._ec2.call("describe_images", "Images", ImageIds=[image], IncludeDeprecated=True)
        except ImageError as exc:
            if getattr(exc.__cause__, "code", "").startswith(("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")):
                return None
            raise
        return next(iter(found), None)

    def _move(self, history: tuple[Version, ...], image: str, note: str, deprecate_after: int | None) -> Moved:
        previous = publish.current(history)
        changed = image != previous
        if changed:
            number = history[-1].number + 1 if history else 1
            if not self._check:
                number = self._write(image, note, exists=bool(history))
            history = (*history, Version(number, image, self._now.isoformat(timespec="seconds"), note))
        deprecated = revived = ""
        if deprecate_after is not None:
            revived = self._revive(image)
            deprecated = self._deprecate(publish.image_before(history), deprecate_after)
        return Moved(image, previous, history, changed or bool(deprecated or revived), deprecated, revived)

    def _write(self, image: str, note: str, *, exists: bool) -> int:
        answer = self._ssm.answer(
            "put_parameter",
            Name=self.name,
            Value=image,
            Description=note,
            Type="String",
            Overwrite=exists,
            **({} if exists else {"DataType": _IMAGE_TYPE}),
        )
        return int(answer["Version"])

    def _deprecate(self, image: str, days: int) -> str:
        """Give the image that was replaced a date, once; one that is gone needs none."""
        described = self._described(image) if image else None
        if described is None or described.get("DeprecationTime"):
            return ""
        if not self._check:
            at = self._now + timedelta(days=days)
            self._ec2.answer("enable_image_deprecation", ImageId=image, DeprecateAt=at)
        return image

    def _revive(self, image: str) -> str:
        """What a channel points at is not on its way out."""
        described = self._described(image)
        if described is None or not described.get("DeprecationTime"):
            return ""
        if not self._check:
            self._ec2.answer("disable_image_deprecation", ImageId=image)
        return image


def versions_of(entries: Iterable[Mapping[str, Any]]) -> tuple[Version, ...]:
    """What GetParameterHistory answered, oldest first."""
    versions = [
        Version(
            int(entry["Version"]),
            str(entry["Value"]),
            _iso(entry.get("LastModifiedDate")),
            entry.get("Description") or "",
        )
        for entry in entries
    ]
    return tuple(sorted(versions, key=lambda version: version.number))


def _iso(at: Any) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds") if isinstance(at, datetime) else ""
