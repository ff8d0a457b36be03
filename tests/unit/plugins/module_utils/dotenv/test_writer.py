# SPDX-License-Identifier: GPL-3.0-or-later
"""Vaults that are written are read again; while a key is changed there is always one that fits."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import parse
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.keys import keys_in_file
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.reader import open_file
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.writer import Files, Plan, Wish, plan, render
from tests.unit.plugins import dotenv_vectors as known

NAMES = (".env.vault", "key")


def counting() -> Callable[[int], bytes]:
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


RANDOM = counting()


def make(wish: Wish, vault: str | None = None, keys: str | None = None) -> Plan:
    return plan(wish, Files(vault, keys), NAMES, RANDOM)


def read(vault: str, keys: str, environment: str = "") -> dict[str, str]:
    return dict(open_file(vault, ".env.vault", environment, keys_in_file(keys, "key")).values)


def test_from_nothing() -> None:
    made = make(Wish("production", "A=1\n"))
    assert read(made.vault, made.keys) == {"A": "1"}
    assert made.keys.startswith("dotenv://:key_")
    assert not made.rotated
    assert made.keys.strip().endswith("?environment=production")


def test_the_same_again_changes_nothing() -> None:
    first = make(Wish("production", "A=1\n"))
    again = make(Wish("production", "A=1\n"), first.vault, first.keys)
    assert (again.vault, again.keys, again.keys_at_last) == (first.vault, first.keys, "")


def test_another_environment_leaves_the_first_alone() -> None:
    first = make(Wish("production", "A=1\n"))
    second = make(Wish("ci", "B=2\n"), first.vault)
    assert read(second.vault, first.keys) == {"A": "1"}
    assert read(second.vault, second.keys) == {"B": "2"}


def test_a_rotation_never_leaves_a_reader_without_a_key() -> None:
    first = make(Wish("production", "A=1\n"))
    second = make(Wish("production", rotate=True), first.vault, first.keys)
    assert second.rotated
    old, new = first.keys.strip(), second.keys.strip().split(",")[0]
    assert second.keys.strip() == f"{new},{old}"
    # A reader that has both reads the vault of before and of after; the old key alone does not open the new one.
    assert read(first.vault, second.keys) == read(second.vault, second.keys) == {"A": "1"}
    with pytest.raises(DotenvError):
        read(second.vault, old)
    last = make(Wish("production", old_keys=0), second.vault, second.keys)
    assert (last.vault, last.keys_at_last) == (second.vault, f"{new}\n")
    done = make(Wish("production", old_keys=0), last.vault, last.keys_at_last)
    assert (done.vault, done.keys, done.keys_at_last) == (last.vault, last.keys_at_last, "")


def test_a_rotation_that_died_half_way_is_finished_by_the_next_run() -> None:
    first = make(Wish("production", "A=1\n"))
    second = make(Wish("production", rotate=True), first.vault, first.keys)
    # The key file was written, the vault was not.
    mended = make(Wish("production"), first.vault, second.keys)
    assert read(mended.vault, second.keys.split(",")[0]) == {"A": "1"}


def test_old_keys_are_forgotten_only_after_the_vault_is_written() -> None:
    first = make(Wish("production", "A=1\n"))
    at_once = make(Wish("production", rotate=True, old_keys=0), first.vault, first.keys)
    assert read(first.vault, at_once.keys) == {"A": "1"}
    assert at_once.keys_at_last.count("dotenv://") == 1


def test_the_public_vector_keeps_its_neighbours() -> None:
    key = known.uri(known.PRODUCTION_KEY) + "\n"
    made = make(Wish("production", "HELLO=changed\n"), known.VAULT, key)
    assert made.keys == key
    assert read(made.vault, key) == {"HELLO": "changed"}
    before, after = parse(known.VAULT), parse(made.vault)
    assert {name for name in before if before[name] != after[name]} == {"DOTENV_VAULT_PRODUCTION"}
    assert dict(made.before) == {"HELLO": "Production"}


@pytest.mark.parametrize(
    ("wish", "vault", "keys", "words"),
    [
        (Wish("production"), None, None, r"\.env\.vault has no environment production yet: give src or values"),
        (Wish("production", "A=1"), known.VAULT, known.uri(known.OTHER_KEY), "no key in key fits"),
        (Wish("production", "A=1"), known.VAULT, None, "no key in key fits"),
        (Wish("pro-duction", "A=1"), None, None, "letters, digits and underscores"),
        (Wish("production", "A=1"), None, "hunter2hunter2", "key 1 of 1 in the key file key is no DOTENV_KEY"),
        (Wish("broken", "A=1"), known.VAULT, known.uri(known.OTHER_KEY), "the environment broken .* is malformed"),
    ],
)
def test_refusals(wish: Wish, vault: str | None, keys: str | None, words: str) -> None:
    with pytest.raises(DotenvError, match=words) as refusal:
        make(wish, vault, keys)
    assert "hunter2" not in str(refusal.value)
    assert known.OTHER_KEY not in str(refusal.value)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_][A-Z0-9_]{0,6}", fullmatch=True),
        st.text(st.sampled_from("ab'\"`\\nr #=\n\r$é\u2028 "), max_size=12),
        max_size=4,
    )
)
def test_what_is_rendered_is_read_again_or_refused(values: dict[str, str]) -> None:
    try:
        text = render(values)
    except DotenvError as refusal:
        assert "cannot be written" in str(refusal)
        return
    assert parse(text) == values


@pytest.mark.parametrize(
    "values",
    [
        {"A": "plain", "B": "two words", "C": "it's", "D": 'say "hi"', "E": "a#b", "F": "", "G": "one\ntwo\n"},
        {"A": "back\\slash", "B": "ends in \\x", "C": r"keep \n as it is", "D": " spaces ", "E": "cr\rlf"},
        {"N": 5, "F": 1.5},
    ],
)
def test_ordinary_values_can_all_be_written(values: dict[str, object]) -> None:
    assert parse(render(values)) == {name: str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"A": "a'#b\"#c`#d"}, "the value of A cannot be written"),
        ({"A B": "x"}, "A B is no name"),
        ({"A": ["hunter2"]}, "the value of A must be text"),
        ({"A": True}, "the value of A must be text"),
        ({"A": None}, "the value of A must be text"),
    ],
)
def test_values_that_no_file_can_hold(values: dict[str, object], words: str) -> None:
    with pytest.raises(DotenvError, match=words) as refusal:
        render(values)
    assert "hunter2" not in str(refusal.value)
