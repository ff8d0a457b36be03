# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A short list of types: `{vpc_id: str, subnet_ids: list[str], port: int, db: {host: str, port: int}, note: str?}`.

    type   = choice { "|" choice }
    choice = ( name | "list" "[" type "]" | "dict" "[" [ "str" "," ] type "]" | record ) [ "?" ]
    record = "{" [ name ":" type { "," name ":" type } [ "," ] ] "}"
    name   = "str" | "int" | "float" | "bool" | "null" | "list" | "dict" | "any"

`?` allows null, and an output or field that is not there. `float` takes whole numbers too, `bool` is never an `int`.
Terraform's own words (string, number, map, object, set, tuple) mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError

_TOKEN: Final = re.compile(r"\s*(?:(?P<name>[A-Za-z_][\w.-]*|\"[^\"]*\"|'[^']*')|(?P<sign>[\[\]{}:,|?]))")
_ALIASES: Final = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "none": "null",
    "map": "dict",
    "object": "dict",
    "set": "list",
    "tuple": "list",
}
_PLAIN: Final = ("str", "int", "float", "bool", "null", "list", "dict", "any")


@dataclass(frozen=True)
class Mismatch:
    """Where a value is not of its type. `path` is empty, `[2]` or `.port`; `found` may be "missing"."""

    path: str
    wanted: str
    found: str


@dataclass(frozen=True)
class Type:
    """A type. `name` is one of the plain ones, `record` or `choice`."""

    name: str
    item: Type | None = None
    fields: tuple[tuple[str, Type], ...] = ()
    choices: tuple[Type, ...] = ()

    @property
    def optional(self) -> bool:
        return self.name in ("null", "any") or any(choice.optional for choice in self.choices)

    def __str__(self) -> str:
        if self.name == "choice":
            plain = [choice for choice in self.choices if choice.name != "null"]
            return f"{plain[0]}?" if len(plain) == 1 < len(self.choices) else " | ".join(map(str, self.choices))
        if self.name == "record":
            return "{" + ", ".join(f"{name}: {kind}" for name, kind in self.fields) + "}"
        return f"{self.name}[{self.item}]" if self.item else self.name

    def mismatches(self, value: Any, path: str = "") -> Iterator[Mismatch]:
        """All places where `value` is not of this type."""
        if self.name == "choice":
            every = [list(choice.mismatches(value, path)) for choice in self.choices]
            if all(every):
                # The one choice that is not null says more than "no choice fits"
                real = [found for found, choice in zip(every, self.choices, strict=True) if choice.name != "null"]
                yield from real[0] if len(real) == 1 else [Mismatch(path, str(self), type_of(value))]
        elif not _is(self.name, value):
            yield Mismatch(path, str(self), type_of(value))
        elif self.name == "record":
            for name, kind in self.fields:
                if name in value:
                    yield from kind.mismatches(value[name], f"{path}.{name}")
                elif not kind.optional:
                    yield Mismatch(f"{path}.{name}", str(kind), "missing")
        elif self.item and isinstance(value, list):
            for number, item in enumerate(value):
                yield from self.item.mismatches(item, f"{path}[{number}]")
        elif self.item:
            for name, item in value.items():
                yield from self.item.mismatches(item, f"{path}.{name}")


def read_types(given: Any) -> dict[str, Type]:
    """The option `types`, a mapping or its text, as types by output. Raises StackError."""
    if isinstance(given, str):
        record = _Reader(given, "types").whole()
        if record.name != "record":
            raise StackError("types must be a mapping of outputs to types, as in {vpc_id: str, subnet_ids: list[str]}")
        return dict(record.fields)
    if not isinstance(given, Mapping):
        raise StackError("types must be a mapping of outputs to types, as in {vpc_id: str, subnet_ids: list[str]}")
    return {str(name): _read(kind, f"types.{name}") for name, kind in given.items()}


def type_of(value: Any) -> str:
    """The type of a value in the words of this grammar; never the value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    for name, kind in (("int", int), ("float", float), ("str", str)):
        if isinstance(value, kind):
            return name
    if isinstance(value, list):
        inside = {type_of(item) for item in value}
        return f"list[{inside.pop()}]" if len(inside) == 1 else "list"
    return "dict" if isinstance(value, dict) else type(value).__name__


def _is(name: str, value: Any) -> bool:
    if name == "any":
        return True
    if name == "null":
        return value is None
    if isinstance(value, bool):
        return name == "bool"
    kinds: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "int": (int,),
        "float": (int, float),
        "list": (list,),
        "dict": (dict,),
        "record": (dict,),
    }
    return isinstance(value, kinds.get(name, ()))


def _read(given: Any, where: str) -> Type:
    if isinstance(given, str):
        return _Reader(given, where).whole()
    if given is None:
        return Type("null")
    if isinstance(given, Mapping):
        return Type("record", fields=tuple((str(name), _read(kind, f"{where}.{name}")) for name, kind in given.items()))
    if isinstance(given, list) and len(given) == 1:
        return Type("list", item=_read(given[0], f"{where}[]"))
    raise StackError(f"{where} is no type: write one such as str, list[str] or {{host: str, port: int}}")


class _Reader:
    """Recursive descent over one text."""

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._words: list[str] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if not match:
                self._refuse(f"'{text[position:].split(maxsplit=1)[0][:20]}' is not understood")
                return
            self._words.append(match["name"].strip("\"'") if match["name"] else match["sign"])
            position = match.end()
        self._words.append("")

    def whole(self) -> Type:
        found = self._type()
        if self._words[0]:
            self._refuse(f"'{self._words[0]}' is too much")
        return found

    def _type(self) -> Type:
        choices = [self._choice()]
        while self._take("|"):
            choices.append(self._choice())
        flat = [inner for choice in choices for inner in (choice.choices or (choice,))]
        return flat[0] if len(flat) == 1 else Type("choice", choices=tuple(dict.fromkeys(flat)))

    def _choice(self) -> Type:
        if self._take("{"):
            found = Type("record", fields=tuple(self._fields()))
        else:
            word = self._words.pop(0) if self._words[0] else ""
            name = _ALIASES.get(word, word)
            if name not in _PLAIN:
                self._refuse(f"'{word}' is none of {', '.join(_PLAIN)}" if word else "a type is missing")
            found = Type(name)
            if name in ("list", "dict") and self._take("["):
                found = Type(name, item=self._item(name))
        return Type("choice", choices=(found, Type("null"))) if self._take("?") else found

    def _item(self, name: str) -> Type:
        item = self._type()
        if name == "dict" and self._take(","):
            if item.name != "str":
                self._refuse("the names in a dict are always str")
            item = self._type()
        self._need("]")
        return item

    def _fields(self) -> Iterator[tuple[str, Type]]:
        while not self._take("}"):
            name = self._words.pop(0) if self._words[0] else ""
            if not name or name in "[]{}:,|?":
                self._refuse("a name is missing")
            self._need(":")
            yield name, self._type()
            if not self._take(","):
                self._need("}")
                return

    def _take(self, sign: str) -> bool:
        if self._words[0] != sign:
            return False
        self._words.pop(0)
        return True

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            self._refuse(f"'{sign}' is missing")

    def _refuse(self, reason: str) -> None:
        raise StackError(
            f"{self._where} is no type: {reason}; write one such as str, list[str] or {{host: str, port: int}}"
        )
