# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images may go: each reason to stay by itself, and what is left without any."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image.retention import (
    DAY,
    Policy,
    Seen,
    decide,
    removable_snapshots,
)

NOW = 1_800_000_000.0
OLD = Seen("ami-0old", "old", "gpu", "x86_64", "available", NOW - 100 * DAY, 0.0)


def aged(days: float, **more: Any) -> Seen:
    return replace(OLD, id=f"ami-{days}", name=f"image of {days}", created=NOW - days * DAY, **more)


def judged(image: Seen, policy: Policy | None = None, **usage: list[str]) -> list[str]:
    """The reasons that keep it, none when it goes."""
    verdict = decide([image], {image.id: usage.get("used", [])}, policy or Policy(keep=0), NOW)
    assert len(verdict.delete) + len(verdict.keep) == 1
    return [reason for one in verdict.keep for reason in one.reasons]


def test_an_old_image_that_nothing_uses_goes_and_says_why() -> None:
    (gone,) = decide([OLD], {}, Policy(keep=0), NOW).delete
    assert gone.as_dict() == {
        "id": "ami-0old",
        "name": "old",
        "age_days": 100,
        "reasons": ["100 days old", "not one of the newest 0 of gpu x86_64", "nothing refers to it"],
    }


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"created": NOW - 13.9 * DAY}, "younger than min_age (14 days)"),
        ({"created": None}, "its age is not known"),
        ({"launched": NOW - 13.9 * DAY}, "launched within min_age (14 days)"),
        ({"launched": None}, "when it was last launched is not known"),
        ({"public": True}, "public"),
        ({"protection": "enabled-without-cooldown"}, "protected against deregistration (enabled-without-cooldown)"),
        ({"protection": "enabled-with-cooldown"}, "protected against deregistration (enabled-with-cooldown)"),
        ({"state": "pending"}, "still pending"),
        ({"state": "disabled"}, "disabled"),
    ],
)
def test_each_reason_by_itself_keeps_it(more: dict[str, Any], reason: str) -> None:
    assert judged(OLD) == []
    assert judged(replace(OLD, **more)) == [reason]


@pytest.mark.parametrize(
    "more",
    [
        {"created": NOW - 14 * DAY},
        {"launched": NOW - 14 * DAY},
        {"launched": 0.0},
        {"protection": "disabled"},
        {"state": "failed"},
    ],
)
def test_what_is_no_reason(more: dict[str, Any]) -> None:
    assert judged(replace(OLD, **more)) == []


def test_usage_keeps_it_and_all_of_it_is_told() -> None:
    used = ["instance i-1 (stopped)", "parameter /x"]
    assert judged(replace(OLD, public=True), used=used) == [*used, "public"]


def test_two_used_images_protect_themselves_only() -> None:
    """A peer's `grep -v` over the list of used ones succeeded as soon as there were two."""
    one, two, three = aged(30), aged(31), aged(32)
    verdict = decide([one, two, three], {one.id: ["a"], two.id: ["b"]}, Policy(keep=0), NOW)
    assert [each.image for each in verdict.delete] == [three]


def test_the_newest_of_each_architecture_stay() -> None:
    images = [
        aged(days, architecture=arch)
        for arch, each in (("x86_64", (20, 30, 40)), ("arm64", (50, 60, 70)))
        for days in each
    ]
    verdict = decide(images, {}, Policy(keep=2), NOW)
    assert [one.image.id for one in verdict.delete] == ["ami-70", "ami-40"]
    assert verdict.keep[0].reasons == ("one of the newest 2 of gpu x86_64",)


def test_an_image_that_failed_does_not_take_a_place_among_the_newest() -> None:
    good, broken = aged(40), aged(20, state="failed")
    verdict = decide([good, broken], {}, Policy(keep=1), NOW)
    assert [one.image for one in verdict.keep] == [good]
    assert verdict.delete[0].reasons[1] == "cannot be used (failed)"


def test_images_that_are_deregistered_are_not_spoken_of() -> None:
    verdict = decide([replace(OLD, state="deregistered")], {}, Policy(), NOW)
    assert verdict.delete == verdict.keep == ()


def test_no_more_than_max_delete_at_once_and_the_oldest_first() -> None:
    images = [aged(days) for days in (20, 50, 30, 40)]
    verdict = decide(images, {}, Policy(keep=0, max_delete=2), NOW)
    assert [one.image.id for one in verdict.delete] == ["ami-50", "ami-40"]
    assert [one.reasons for one in verdict.keep] == [("may go, but max_delete is 2: next time",)] * 2
    assert decide(images, {}, Policy(keep=0, max_delete=0), NOW).delete == ()


def test_of_two_of_the_same_second_the_id_decides() -> None:
    one, two = replace(OLD, id="ami-1"), replace(OLD, id="ami-2")
    for images in ([one, two], [two, one]):
        assert [each.image.id for each in decide(images, {}, Policy(keep=1), NOW).delete] == ["ami-1"]


def test_a_snapshot_that_another_image_uses_stays() -> None:
    mine = replace(OLD, snapshots=("snap-1", "snap-2", "snap-1"))
    other = replace(OLD, id="ami-0other", family="", snapshots=("snap-2",))
    assert removable_snapshots(mine, [mine, other]) == ["snap-1"]
    assert removable_snapshots(mine, [mine]) == ["snap-1", "snap-2"]
