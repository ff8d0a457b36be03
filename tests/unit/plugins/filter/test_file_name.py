# SPDX-License-Identifier: GPL-3.0-or-later
"""Any name as the name of a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.filter.file_name import FilterModule

file_name = FilterModule().filters()["file_name"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web.eu-central-1", "web.eu-central-1"),
        ("team/web", "team%2Fweb"),
        ("web api+1", "web%20api%2B1"),
        ("..", "%2E."),
        ("100%", "100%25"),
    ],
)
def test_a_name_becomes_a_file(name: str, expected: str) -> None:
    assert file_name(name) == expected


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255))
def test_every_name_of_a_group_is_one_file_in_the_directory(name: str) -> None:
    found = file_name(name)
    assert Path("dir", found).parent == Path("dir")
    assert Path("dir", found).name == found
    assert len(f"{found}.events.jsonl") < 255
    assert not found.startswith(".")


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert file_name("a" * 250) != file_name("a" * 251)


@pytest.mark.parametrize("name", ["", None, 3])
def test_what_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(AnsibleFilterError, match="not empty"):
        file_name(name)
