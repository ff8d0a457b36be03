# SPDX-License-Identifier: GPL-3.0-or-later
"""Which builds are over, by their own word."""

from __future__ import annotations

from ansible_collections.boring.fleet.plugins.module_utils.image.janitor import Thing, expired

NOW = 1_800_000_000.0


def names(*things: Thing, grace: float = 600) -> list[str]:
    return [left.builder for left in expired(things, NOW, grace)]


def test_only_what_is_over_by_its_own_word() -> None:
    over = Thing("i-1", "instance", "a", NOW - 601)
    assert names(over) == ["a"]
    assert names(over, grace=602) == []
    assert names(Thing("i-1", "instance", "a", NOW + 1)) == []
    assert names(Thing("i-1", "instance", "a", None)) == []
    assert names(Thing("i-1", "instance", "", NOW - 9999)) == []


def test_a_build_goes_as_a_whole_or_not_at_all() -> None:
    """A build that was taken up again, or a tag that somebody edited: any doubt keeps all of it."""
    old, new = Thing("i-1", "instance", "a", NOW - 9999), Thing("k", "key pair", "a", NOW + 10)
    assert names(old, new) == []
    assert names(old, Thing("k", "key pair", "a", None)) == []
    (left,) = expired([old, Thing("k", "key pair", "a", NOW - 7200)], NOW, 600)
    assert left.as_dict(NOW) == {"builder": "a", "expired_hours": 2.0, "things": ["instance i-1", "key pair k"]}
