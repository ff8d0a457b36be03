# SPDX-License-Identifier: GPL-3.0-or-later
"""What the versions of a channel mean."""

from __future__ import annotations

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import publish
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.publish import Version

A, B, C = (f"ami-{letter * 17}" for letter in "abc")


def history(*entries: str) -> list[Version]:
    """Images in order; one after `<` was written by a roll back."""
    return [
        Version(number, entry.lstrip("<"), note=f"{publish.ROLLED_BACK} x" if entry.startswith("<") else "")
        for number, entry in enumerate(entries, 1)
    ]


@pytest.mark.parametrize(
    ("entries", "target"),
    [
        ((A, B), A),
        ((A, B, C), B),
        ((A, B, B), A),  # the same image written twice is one
        ((A, B, f"<{A}"), A),  # rolled back already: nothing moves
        ((A, B, f"<{A}", C), A),  # published anew: the one before that
        ((A, B, f"<{A}", B), A),
        ((A, B, A), B),  # A was published again, not rolled back to
    ],
)
def test_where_a_roll_back_goes(entries: tuple[str, ...], target: str) -> None:
    assert publish.roll_back_target("/c", history(*entries)) == target


def test_a_roll_back_stays_where_it_is_however_often() -> None:
    seen = history(A, B, C)
    for dummy in range(3):
        target = publish.roll_back_target("/c", seen)
        if target != publish.current(seen):
            seen = [*seen, Version(len(seen) + 1, target, note=f"{publish.ROLLED_BACK} {publish.current(seen)}")]
    assert [version.image for version in seen] == [A, B, C, B]


@pytest.mark.parametrize(("entries", "reason"), [((), "does not exist"), ((A,), "never pointed"), ((A, A), "never")])
def test_nothing_to_go_back_to(entries: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        publish.roll_back_target("/c", history(*entries))


@pytest.mark.parametrize("name", ["/boring/images/gpu/stable", "/a", "/A.b-c_9/x"])
def test_channels(name: str) -> None:
    publish.check_channel(name)


@pytest.mark.parametrize(
    "name", ["", "gpu", "/", "/a/", "//a", "/a b", "/a\n", "/aws/x", "/SSM/x", "/a/" * 5, "/a" * 16, "/" + "a" * 1001]
)
def test_what_is_no_channel(name: str) -> None:
    with pytest.raises(ImageError, match="channel"):
        publish.check_channel(name)


def test_a_parameter_that_is_no_channel_is_left_alone() -> None:
    publish.check_ours("/c", [])
    publish.check_ours("/c", history(A))
    with pytest.raises(ImageError, match="not the id of an image"):
        publish.check_ours("/c", [Version(1, "postgres://somewhere")])


def test_what_counts_as_verified() -> None:
    good = {"boring:fingerprint": "0" * 64}
    publish.check_verified(A, good)
    publish.check_verified(A, {**good, "boring:verified": "booted without GPU; not loaded on hardware"})
    for tags in ({}, {"boring:fingerprint": ""}, {"boring:fingerprint": "0" * 63}, {"Name": "x"}):
        with pytest.raises(ImageError, match="unverified"):
            publish.check_verified(A, tags)
    with pytest.raises(ImageError, match="failed: 2 units"):
        publish.check_verified(A, {**good, "boring:verified": "failed: 2 units"})


def test_ids_in_texts() -> None:
    text = f'{{"a": "{A}", "b": "ami-01234567"}} ami-012345678 xami- {B}0'
    assert publish.IMAGE_ID.findall(text) == [A, "ami-01234567"]


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ("", "built"),
        ("built, proven from the inside; not booted", "built"),
        ("built, signed, versions equal; not booted, not loaded on hardware", "built"),
        ("built, booted without GPU", "booted"),
        ("built, signed, versions equal, booted without GPU; not loaded on hardware", "booted"),
        ("booted", "booted"),
        ("built, signed, versions equal, booted; loaded on Tesla T4, driver 550.163.01, a kernel ran", "hardware"),
        ("hardware", "hardware"),
    ],
)
def test_how_far_it_is_proven(said: str, level: str) -> None:
    """In the words that image_build, prove-images and gpu_smoke write."""
    assert publish.level({"boring:verified": said}) == level
    for require in publish.LEVELS:
        if publish.LEVELS.index(require) <= publish.LEVELS.index(level):
            publish.check_level(A, {"boring:verified": said}, require)
        else:
            with pytest.raises(ImageError, match=f"{A} is proven as {level} .*, and require is {require}: "):
                publish.check_level(A, {"boring:verified": said}, require)
