# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels of images as pure data: what a parameter's versions mean, and where it may point next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.tags import tags_of

PUBLISHED = "published by boring.fleet"
ROLLED_BACK = "rolled back by boring.fleet from"
IMAGE_ID = re.compile(r"ami-(?:[0-9a-f]{17}|[0-9a-f]{8})(?![0-9a-f])")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_CHANNEL = re.compile(r"(?:/[A-Za-z0-9_.-]+){1,15}")
_RESERVED = ("aws", "ssm")


@dataclass(frozen=True)
class Version:
    """One version of a channel's parameter: where it pointed since `at` (ISO 8601), and the note that came with it."""

    number: int
    image: str
    at: str = ""
    note: str = ""

    @property
    def rolled_back(self) -> bool:
        return self.note.startswith(ROLLED_BACK)

    def as_dict(self) -> dict[str, Any]:
        """For the module's answer."""
        return {"version": self.number, "image": self.image, "at": self.at, "rolled_back": self.rolled_back}


History = Sequence[Version]  # oldest first; empty when there is no such channel yet


def check_channel(name: str) -> None:
    """Raises ImageError for a name that cannot be a channel's."""
    if not _CHANNEL.fullmatch(name) or len(name) > 1000:
        raise ImageError(
            f"the channel {name!r} is not a parameter's path: give one like /boring/images/gpu/stable, at most 15 parts of "
            "letters, digits, dots, dashes and underscores"
        )
    if name.split("/")[1].lower().startswith(_RESERVED):
        raise ImageError(f"the channel {name} begins with a name that AWS keeps for itself: choose another path")


def current(history: History) -> str:
    """Where the channel points; empty when it does not exist."""
    return history[-1].image if history else ""


def check_ours(channel: str, history: History) -> None:
    """Raises ImageError when the parameter holds something else than the id of an image."""
    if history and not IMAGE_ID.fullmatch(current(history)):
        raise ImageError(
            f"the parameter {channel} holds something that is not the id of an image: name another channel, or delete it"
        )


def image_before(history: History) -> str:
    """The image that the current one replaced; empty when there was none."""
    now = current(history)
    return next(
        (seen.image for seen in reversed(history) if seen.image != now and IMAGE_ID.fullmatch(seen.image)),
        "",
    )


def roll_back_target(channel: str, history: History) -> str:
    """Where a roll back points the channel; the current image when it was rolled back already.

    Rolling back is a state and not a step: doing it again changes nothing until something is published anew. Otherwise
    a play that is run twice would bring the bad image back. Raises ImageError when there is nothing to go back to.
    """
    if not history:
        raise ImageError(f"the channel {channel} does not exist, so it cannot be rolled back: publish an image first")
    if history[-1].rolled_back:
        return current(history)
    before = image_before(history)
    if not before:
        raise ImageError(
            f"the channel {channel} has never pointed at another image than {current(history)}, so it cannot be rolled back: "
            "publish the image that is wanted with state present"
        )
    return before


def check_verified(image_id: str, tags: Mapping[str, str]) -> None:
    """Raises ImageError for an image that `image_build` did not build and look at, or whose proof failed."""
    if not _FINGERPRINT.fullmatch(tags.get("boring:fingerprint", "")):
        raise ImageError(
            f"{image_id} has no tag boring:fingerprint as image_build gives it to what it has built and looked at: build it "
            "with image_build, or set unverified to publish it all the same"
        )
    if tags.get("boring:verified", "").startswith("failed"):
        raise ImageError(
            f"{image_id} failed its proof ({tags['boring:verified']}): publish another, or set unverified to publish it all "
            "the same"
        )


# How far an image was proven, in the words of its tag boring:verified; each includes those before.
LEVELS = ("built", "booted", "hardware")


def level(tags: Mapping[str, str]) -> str:
    """How far an image was proven; what says nothing was built and no more."""
    said = tags.get("boring:verified", "").lower()
    if re.search(r"\bhardware\b|\bloaded on\b", re.sub(r"\bnot (loaded )?on hardware\b", "", said)):
        return "hardware"
    return "booted" if re.search(r"(?<!not )\bbooted\b", said) else "built"


def check_level(image_id: str, tags: Mapping[str, str], require: str) -> None:
    """Raises ImageError for an image that is proven less than `require` says."""
    proven = level(tags)
    if LEVELS.index(proven) < LEVELS.index(require):
        said = tags.get("boring:verified") or "no tag boring:verified"
        way = "boot it and look" if require == "booted" else "run playbooks/gpu_smoke.yml on a host of it"
        raise ImageError(
            f"{image_id} is proven as {proven} ({said}), and require is {require}: {way}, or set require to {proven}"
        )


def check_same_kind(image: Mapping[str, Any], held: Mapping[str, Any], channel: str) -> None:
    """Raises ImageError when a channel would lead its readers to another family or architecture. Both as EC2 describes them."""
    before, after = tags_of(held).get("boring:family", ""), tags_of(image).get("boring:family", "")
    if before and after and before != after:
        raise ImageError(
            f"{image['ImageId']} is of the family {after}, and the channel {channel} holds {before} ({held['ImageId']}): publish it to a "
            "channel of its own"
        )
    was, now = str(held.get("Architecture") or ""), str(image.get("Architecture") or "")
    if was and now and was != now:
        raise ImageError(
            f"{image['ImageId']} is for {now}, and the channel {channel} holds an image for {was} ({held['ImageId']}): publish it to a channel "
            "of its own"
        )
