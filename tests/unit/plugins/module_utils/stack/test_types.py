# SPDX-License-Identifier: GPL-3.0-or-later
"""The short list of types: its grammar and what it refuses."""

from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError
from ansible_collections.boring.fleet.plugins.module_utils.stack.types import Mismatch, read_types, type_of

CONTRACT = "{vpc_id: str, subnet_ids: list[str], port: int}"


def refused(kind: Any, value: Any) -> list[Mismatch]:
    return list(read_types({"x": kind})["x"].mismatches(value))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("str", ""), ("int", 0), ("float", 1), ("float", 1.5), ("bool", True), ("null", None), ("any", {"a": [None]}),
        ("list", [1, "a"]), ("list[str]", []), ("list[list[int]]", [[1], []]), ("dict", {"a": 1}), ("dict[int]", {"a": 1}),
        ("dict[str, list[str]]", {"a": ["b"]}), ("str?", None), ("str | int", 1), ("list[str|null]", ["a", None]),
        ("{host: str, port: int?}", {"host": "h"}), ("{host: str}", {"host": "h", "more": 1}), ("{}", {}),
        ("string", "a"), ("number", 2), ("map[string]", {"a": "b"}), ("set[string]", ["a"]),
        ({"host": "str", "ports": ["int"]}, {"host": "h", "ports": [1]}), (None, None), ('{"a-b": str,}', {"a-b": "x"}),
    ],
)  # fmt: skip
def test_fits(kind: Any, value: Any) -> None:
    assert refused(kind, value) == []


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("str", 1, ("", "str", "int")),
        ("int", "443", ("", "int", "str")),
        ("int", True, ("", "int", "bool")),
        ("int", 1.0, ("", "int", "float")),
        ("bool", 1, ("", "bool", "int")),
        ("float", True, ("", "float", "bool")),
        ("str", None, ("", "str", "null")),
        ("list[str]", "a,b", ("", "list[str]", "str")),
        ("list[str]", ["a", 1], ("[1]", "str", "int")),
        ("list[str]", {"a": 1}, ("", "list[str]", "dict")),
        ("dict[int]", {"a": "x"}, (".a", "int", "str")),
        ("dict", [1, 2], ("", "dict", "list[int]")),
        ("{db: {port: int}}", {"db": {"port": "x"}}, (".db.port", "int", "str")),
        ("{db: {port: int}}", {"db": {}}, (".db.port", "int", "missing")),
        ("str?", 1, ("", "str", "int")),
        ("str | list[int]", 1, ("", "str | list[int]", "int")),
    ],
)
def test_refuses(kind: Any, value: Any, expected: tuple[str, str, str]) -> None:
    assert refused(kind, value) == [Mismatch(*expected)]


def test_all_faults_are_found() -> None:
    assert [found.path for found in refused("list[str]", [1, "a", 2])] == ["[0]", "[2]"]


def test_the_contracts_own_text() -> None:
    types = read_types(CONTRACT)
    assert {name: str(kind) for name, kind in types.items()} == {
        "vpc_id": "str",
        "subnet_ids": "list[str]",
        "port": "int",
    }
    assert read_types({"vpc_id": "str", "subnet_ids": "list[str]", "port": "int"}) == types


@pytest.mark.parametrize(
    "kind", ["str", "list[str]", "dict[list[int]]", "{a: str, b: int?}", "str | int", "int?", "any"]
)
def test_a_type_prints_as_it_is_written(kind: str) -> None:
    assert str(read_types({"x": kind})["x"]) == kind
    assert read_types({"x": str(read_types({"x": kind})["x"])}) == read_types({"x": kind})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"x": "strin"}, "types.x is no type: 'strin' is none of str, int"),
        ({"x": "list[str"}, r"types.x is no type: '\]' is missing"),
        ({"x": "list[]"}, "types.x is no type"),
        ({"x": "str int"}, "'int' is too much"),
        ({"x": "dict[int, str]"}, "the names in a dict are always str"),
        ({"x": ""}, "a type is missing"),
        ({"x": "str!"}, "'!' is not understood"),
        ({"x": 5}, "types.x is no type"),
        ({"x": {"y": []}}, "types.x.y is no type"),
        ("{a str}", "':' is missing"),
        ("{: str}", "a name is missing"),
        ("{a: str b}", "'}' is missing"),
        ("str", "types must be a mapping"),
        (["str"], "types must be a mapping"),
    ],
)
def test_what_is_no_type(given: Any, words: str) -> None:
    with pytest.raises(StackError, match=words):
        read_types(given)


def test_types_of_values() -> None:
    values = [None, True, 1, 1.5, "a", [], [1], [1, "a"], {}]
    assert [type_of(value) for value in values] == [
        "null",
        "bool",
        "int",
        "float",
        "str",
        "list",
        "list[int]",
        "list",
        "dict",
    ]
