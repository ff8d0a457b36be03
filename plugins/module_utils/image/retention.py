# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images of a family may go: a pure function over what was seen, with the reason for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

DAY = 86400.0
USABLE = "available"
DISABLED = "disabled"
# Under way, or gone already: nothing that a retention decides about.
_MOVING = frozenset({"pending", "transient"})
GONE = frozenset({"deregistered"})


@dataclass(frozen=True)
class Seen:
    """An image as EC2 describes it. Times are seconds since 1970; None where EC2 did not say, or not readably."""

    id: str
    name: str
    family: str
    architecture: str
    state: str
    created: float | None
    launched: float | None = None  # when an instance was last launched from it; 0: never
    public: bool = False
    protection: str = ""  # against deregistration; "" and "disabled": none
    snapshots: tuple[str, ...] = ()
    build: str = ""  # tag boring:build
    below: str = ""  # tag boring:source: the image that it was made of
    unconfirmed: bool = False  # a build made it and did not end well


@dataclass(frozen=True)
class Policy:
    """How many of each build of a family stay, for each architecture, from which age (days) one may go, and how many may go at once."""

    keep: int = 3
    min_age: int = 14
    max_delete: int = 10


@dataclass(frozen=True)
class Judged:
    """One image with its verdict's reasons."""

    image: Seen
    age_days: int | None
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the module's answer."""
        return {
            "id": self.image.id,
            "name": self.image.name,
            "age_days": self.age_days,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True)
class Verdict:
    """What goes, oldest first, and what stays, newest first."""

    delete: tuple[Judged, ...] = ()
    keep: tuple[Judged, ...] = field(default=())


def decide(
    images: Iterable[Seen],
    usage: Mapping[str, Sequence[str]],
    policy: Policy,
    now: float,
    others: Iterable[Seen] = (),
) -> Verdict:
    """Judge the images of one family. `usage` maps an image's id to what refers to it, in words; `others` are images that all stay."""
    there = [image for image in images if image.state not in GONE]
    newest = _newest(there, policy.keep)
    delete: list[Judged] = []
    keep: list[Judged] = []
    for image in there:
        age = None if image.created is None else max(0.0, now - image.created)
        reasons = list(dict.fromkeys([*usage.get(image.id, ()), *_reasons_to_stay(image, age, policy, now)]))
        if image.id in newest:
            reasons.append(f"one of the newest {policy.keep} of {_kind(image)}")
        days = None if age is None else int(age // DAY)
        if reasons:
            keep.append(Judged(image, days, tuple(reasons)))
        else:
            delete.append(Judged(image, days, (f"{days} days old", _surplus(image, policy), "nothing refers to it")))
    delete.sort(key=lambda judged: _age_key(judged.image))
    others = list(others)
    while True:
        going, spared = delete[: policy.max_delete], delete[policy.max_delete :]
        staying = [*others, *(judged.image for judged in [*keep, *spared])]
        below = {image.below: image for image in staying if image.below}
        held = [judged for judged in going if judged.image.id in below]
        if not held:
            break
        delete = [judged for judged in delete if judged not in held]
        keep += [replace(judged, reasons=(_below(below[judged.image.id]),)) for judged in held]
    late = (f"may go, but max_delete is {policy.max_delete}: next time",)
    keep = [*keep, *(replace(judged, reasons=late) for judged in spared)]
    return Verdict(tuple(going), tuple(sorted(keep, key=lambda judged: _age_key(judged.image), reverse=True)))


def _below(image: Seen) -> str:
    return f"below {image.id} ({image.name}), which stays"


def _reasons_to_stay(image: Seen, age: float | None, policy: Policy, now: float) -> list[str]:
    """What the image itself says against its removal."""
    reasons: list[str] = []
    limit = policy.min_age * DAY
    if image.state in _MOVING:
        reasons.append(f"still {image.state}")
    if image.state == DISABLED:
        reasons.append("disabled")
    if age is None:
        reasons.append("its age is not known")
    elif age < limit:
        reasons.append(f"younger than min_age ({policy.min_age} days)")
    if image.launched is None:
        reasons.append("when it was last launched is not known")
    elif image.launched and now - image.launched < limit:
        reasons.append(f"launched within min_age ({policy.min_age} days)")
    if image.public:
        reasons.append("public")
    if image.protection not in ("", "disabled"):
        reasons.append(f"protected against deregistration ({image.protection})")
    return reasons


def _newest(images: Iterable[Seen], count: int) -> set[str]:
    """The newest of each build and architecture. One that cannot be started, or is not confirmed, takes no other's place."""
    kinds: dict[str, list[Seen]] = {}
    for image in images:
        if image.state == USABLE and not image.unconfirmed:
            kinds.setdefault(_kind(image), []).append(image)
    return {image.id for kind in kinds.values() for image in sorted(kind, key=_age_key, reverse=True)[:count]}


def _age_key(image: Seen) -> tuple[float, str]:
    """Oldest first; the id decides between two of the same second."""
    return (image.created or 0.0, image.id)


def _kind(image: Seen) -> str:
    return " ".join(filter(None, (image.family, image.build, image.architecture)))


def _surplus(image: Seen, policy: Policy) -> str:
    if image.state != USABLE:
        return f"cannot be used ({image.state})"
    if image.unconfirmed:
        return "its build did not end well"
    return f"not one of the newest {policy.keep} of {_kind(image)}"


def removable_snapshots(image: Seen, others: Iterable[Seen]) -> list[str]:
    """The snapshots of an image that none of the other images uses."""
    used = {snapshot for other in others if other.id != image.id for snapshot in other.snapshots}
    return [snapshot for snapshot in dict.fromkeys(image.snapshots) if snapshot not in used]
