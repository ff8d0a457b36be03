# SPDX-License-Identifier: GPL-3.0-or-later
"""Names fit what AWS takes, whatever fleets and services are called, and no two are alike."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.fleet import keys, names

FLEET = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True) | st.sampled_from(
    ["internal", "internal-tools", "sg", "sg-1", "a--b", "a-"]
)
SERVICE = st.from_regex(r"[a-z][a-z0-9]{0,20}(-[a-z0-9]{1,20}){0,2}", fullmatch=True).filter(
    lambda name: re.fullmatch(keys.NAME, name)
)
BALANCER = re.compile(r"(?=.{1,32}$)(?!internal-)[a-z0-9]+(-[a-z0-9]+)*")


@settings(max_examples=300)
@given(fleet=FLEET, service=SERVICE)
def test_every_name_fits(fleet: str, service: str) -> None:
    for part in ("public", "internal", "data"):
        assert BALANCER.fullmatch(names.balancer(fleet, part))
        assert re.fullmatch(r"(?!sg-)[a-z0-9.-]{1,255}", names.balancer_security(fleet, part))
    for part in ("", "internal"):
        assert BALANCER.fullmatch(names.target_group(fleet, service, part))
    assert re.fullmatch(r"(?!sg-)[a-z0-9-]{3,128}", names.group(fleet, service))
    assert re.fullmatch(r"[a-z0-9.-]{1,64}", names.role(fleet, service, "ap-southeast-1"))
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,30}", names.family(fleet, service))
    assert len(names.parameter(fleet, "data", service, "users", service, "password")) < 900


@settings(max_examples=300)
@given(one=st.tuples(FLEET, SERVICE), other=st.tuples(FLEET, SERVICE))
def test_two_are_alike_only_when_they_are_one(one: tuple[str, str], other: tuple[str, str]) -> None:
    for name in (names.group, names.target_group, names.family):
        assert (name(*one) == name(*other)) == (one == other)


def test_every_way_to_cut_a_word_into_fleet_and_service() -> None:
    word = "a-b-c-d-e"
    cuts = [(word[:at], word[at + 1 :]) for at, letter in enumerate(word) if letter == "-"]
    found = [names.group(fleet, service) for fleet, service in cuts]
    assert len(set(found)) == len(found)
    inside = [names.target_group(fleet, service, "internal") for fleet, service in cuts]
    assert not set(found) & set(inside)
    plain = [
        names.balancer(fleet, part)
        for fleet, part in itertools.product({cut[0] for cut in cuts}, ("public", "internal", "data"))
    ]
    assert len(set(plain)) == len(plain)


def test_long_names_stay_readable() -> None:
    found = names.target_group("conversion-production", "thumbnails-for-the-archive")
    assert len(found) <= 32 and found.startswith("conversion-producti")
    assert found != names.target_group("conversion-production", "thumbnails-for-the-archives")


@given(wanted=st.sets(st.text(max_size=5), max_size=20), kept=st.dictionaries(st.text(max_size=5), st.integers(0, 40)))
def test_numbers_are_all_different_and_within(wanted: set[str], kept: dict[str, int]) -> None:
    found = names.numbers(wanted, 10, 29, kept)
    assert set(found) == wanted and len(set(found.values())) == len(wanted)
    assert all(10 <= number <= 29 for number in found.values())
    assert names.numbers(wanted, 10, 29, found) == found
    free = {name: number for name, number in kept.items() if name in wanted and 10 <= number <= 29}
    if len(set(free.values())) == len(free):
        assert free.items() <= found.items()


def test_numbers_are_the_same_on_every_machine() -> None:
    # Names that want the same number are served in their order, whatever the order of a set is here.
    assert names.numbers("abcdef", 1, 6, {}) == {"a": 4, "b": 5, "c": 3, "d": 6, "e": 2, "f": 1}


def test_more_names_than_numbers() -> None:
    with pytest.raises(ValueError, match="3 names for 2 numbers"):
        names.numbers("abc", 1, 2, {})
