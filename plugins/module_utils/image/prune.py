# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Old images removed: look at everything, decide, and only then delete."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image import retention, usage
from ansible_collections.boring.fleet.plugins.module_utils.image.calls import Api
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.retention import Policy, Seen, Verdict

_GONE = ("InvalidSnapshot.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")
_TRIES, _PAUSE = 5, 2.0  # EC2 takes a moment until it knows that a snapshot's image is gone


@dataclass(frozen=True)
class Plan:
    """The verdict, all images of the account, the snapshots that would go, and those that stay whatever becomes of their images."""

    verdict: Verdict
    images: tuple[Seen, ...]
    snapshots: tuple[str, ...]
    held: frozenset[str] = frozenset()


@dataclass
class Done:
    """What was deleted so far."""

    images: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)


def plan(family: str, policy: Policy, *, ec2: Any, autoscaling: Any, ssm: Any, now: float) -> Plan:
    """Look and decide. Raises ImageError when anything could not be seen: then nothing may be deleted."""
    try:
        images = usage.own_images(ec2)
        ours = [image for image in images if image.family == family]
        used = usage.gather(ours, ec2=ec2, autoscaling=autoscaling, ssm=ssm)
        others = [image for image in images if image.family != family]
        verdict = retention.decide(ours, used.by_image, policy, now, others)
        going = _snapshots(verdict, images, used.snapshots)
        held = frozenset(used.snapshots | usage.shared_snapshots(ec2, going))
    except (ImageError, LookupError, TypeError, ValueError, AttributeError) as exc:
        told = str(exc) if isinstance(exc, ImageError) else f"an answer of AWS cannot be read ({exc!r}); run this again"
        raise ImageError(f"nothing was deleted, because not all that may use an image could be seen: {told}") from exc
    return Plan(verdict, tuple(images), tuple(snapshot for snapshot in going if snapshot not in held), held)


def _snapshots(verdict: Verdict, images: Sequence[Seen], held: Set[str]) -> list[str]:
    """The snapshots that go with the images: each with the last of them that uses it, or not at all."""
    left = list(images)
    going: list[str] = []
    for judged in verdict.delete:
        left = [image for image in left if image.id != judged.image.id]
        removable = retention.removable_snapshots(judged.image, left)
        going += [snapshot for snapshot in removable if snapshot not in going and snapshot not in held]
    return going


def carry_out(plan: Plan, done: Done, *, ec2: Any, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete what the plan says, oldest first, writing down in `done` what is gone. Stops at the first refusal."""
    api = Api(ec2, "ec2")
    left = list(plan.images)
    for judged in plan.verdict.delete:
        image = judged.image
        _unless_gone(api, "deregister_image", ImageId=image.id)
        done.images.append(image.id)
        left = [other for other in left if other.id != image.id]
        for snapshot in retention.removable_snapshots(image, left):
            if snapshot in plan.held:
                continue
            try:
                _delete_snapshot(api, snapshot, sleep)
            except ImageError as exc:
                raise ImageError(
                    f"{image.id} is deregistered, but its snapshot {snapshot} is still there ({exc}): delete it by hand"
                ) from exc
            done.snapshots.append(snapshot)


def _delete_snapshot(api: Api, snapshot: str, sleep: Callable[[float], None]) -> None:
    for attempt in range(1, _TRIES + 1):
        try:
            _unless_gone(api, "delete_snapshot", SnapshotId=snapshot)
            return
        except ImageError as exc:
            if _code(exc) != "InvalidSnapshot.InUse" or attempt == _TRIES:
                raise
            sleep(_PAUSE)


def _unless_gone(api: Api, method: str, **what: str) -> None:
    try:
        api.answer(method, **what)
    except ImageError as exc:
        if _code(exc) not in _GONE:
            raise


def _code(exc: ImageError) -> str:
    return str(getattr(exc.__cause__, "code", ""))


def as_diff(plan: Plan) -> dict[str, str]:
    """Before and after for `--diff`: the family's images by name, newest first."""
    stay = [f"{judged.image.id} {judged.image.name}\n" for judged in plan.verdict.keep]
    going = [f"{judged.image.id} {judged.image.name}\n" for judged in reversed(plan.verdict.delete)]
    return {"before": "".join([*stay, *going]), "after": "".join(stay)}
