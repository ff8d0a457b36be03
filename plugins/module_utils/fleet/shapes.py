# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of values: each reads what YAML or the command line gave, and says what it is as JSON Schema and in a table.

`read` never raises: it notes what is wrong and returns something of the right type, so that the rest can be read as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import (
    Report,
    closest,
    kind,
    shown,
    suggestion,
)

REQUIRED: Final = object()
_TRUE: Final = ("true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")
# A file of variables may compute a value: what Ansible will make of it is not known to an editor.
TEMPLATE: Final = {"type": "string", "pattern": r"\{\{|\{%"}
_DEEPEST: Final = 20


class Shape(Protocol):
    """What a value must be."""

    @property
    def name(self) -> str:
        """Its type in a table."""

    def read(self, given: Any, path: str, report: Report) -> Any:
        """The value, or what stands for it when it is wrong."""

    def schema(self) -> dict[str, Any]:
        """As JSON Schema (draft 2020-12)."""


@dataclass(frozen=True)
class Text:
    """Text on one line. `must` completes "... must"."""

    must: str = "be text"
    pattern: str = ""
    longest: int = 1024
    name: str = "str"

    def read(self, given: Any, path: str, report: Report) -> str:
        if not isinstance(given, str):
            quotes = "; put it in quotes" if isinstance(given, (bool, int, float)) else ""
            report.add(path, f"must {self.must}, not {kind(given)}{quotes}")
            return ""
        if not given or not given.isprintable():
            report.add(
                path, f"must {self.must}, not {'an empty text' if not given else 'text with control characters'}"
            )
        elif self.pattern and not re.fullmatch(self.pattern, given):
            report.add(path, f"{shown(given)} must {self.must}")
        elif len(given) > self.longest:
            report.add(path, f"{shown(given)} is {len(given)} characters long, and may have at most {self.longest}")
        else:
            return given
        return ""

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": self.longest}
        return {"anyOf": [{**found, "pattern": f"^(?:{self.pattern})$"}, TEMPLATE]} if self.pattern else found


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]
    name: str = "str"

    def read(self, given: Any, path: str, report: Report) -> str:
        if given in self.words and isinstance(given, str):
            return given
        near = closest(given, self.words) if isinstance(given, str) else ""
        hint = f"; did you mean {near}?" if near else ""
        report.add(path, f"must be {' or '.join(self.words)}, not {shown(given)}{hint}")
        return ""

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(self.words)}, TEMPLATE]}


@dataclass(frozen=True)
class Whole:
    """A whole number. Text of digits is one too: that is what the command line gives."""

    least: int
    most: int
    name: str = "int"

    def read(self, given: Any, path: str, report: Report) -> int:
        number = given
        if isinstance(given, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", given.strip()):
            number = int(given)
        if isinstance(number, bool) or not isinstance(number, int):
            report.add(path, f"must be a whole number, not {shown(given)}")
        elif number < self.least:
            report.add(path, f"{shown(number)} is less than {self.least}")
        elif number > self.most:
            report.add(path, f"{shown(number)} is more than {self.most}")
        else:
            return number
        return self.least

    def schema(self) -> dict[str, Any]:
        digits = {"type": "string", "pattern": "^ *[+-]?[0-9]{1,18} *$"}
        return {"anyOf": [{"type": "integer", "minimum": self.least, "maximum": self.most}, digits, TEMPLATE]}


@dataclass(frozen=True)
class Number:
    """A number above 0, with a fraction or without. Text of digits is one too: that is what the command line gives."""

    most: float
    name: str = "float"

    def read(self, given: Any, path: str, report: Report) -> float:
        number = given
        if isinstance(given, str) and re.fullmatch(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", given.strip()):
            number = float(given)
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            report.add(path, f"must be a number, not {shown(given)}")
        elif number <= 0:
            report.add(path, f"{shown(given)} must be more than 0")
        elif number > self.most:
            report.add(path, f"{shown(given)} is more than {self.most:.0f}")
        else:
            return float(number)
        return 1.0

    def schema(self) -> dict[str, Any]:
        digits = {"type": "string", "pattern": r"^ *[+]?[0-9]{1,18}(?:\.[0-9]{1,18})? *$"}
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": self.most}, digits, TEMPLATE]}


@dataclass(frozen=True)
class Flag:
    """True or false, also in the words that YAML and the command line have for them."""

    name: str = "bool"

    def read(self, given: Any, path: str, report: Report) -> bool:
        if isinstance(given, bool):
            return given
        if isinstance(given, str) and given.strip().lower() in _TRUE + _FALSE:
            return given.strip().lower() in _TRUE
        report.add(path, f"must be true or false, not {shown(given)}")
        return False

    def schema(self) -> dict[str, Any]:
        words = [form for word in _TRUE + _FALSE for form in dict.fromkeys((word, word.title(), word.upper()))]
        return {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": f"^ *(?:{'|'.join(words)}) *$"}, TEMPLATE]}


@dataclass(frozen=True)
class Checked:
    """A value that the function `parse` checks and converts. It raises ValueError with what the text must be: "must ..." or "is ..."."""

    parse: Callable[[Any], Any]
    example: Any
    types: tuple[str, ...] = ("string",)
    name: str = "str"

    def read(self, given: Any, path: str, report: Report) -> Any:
        try:
            return self.parse(given)
        except ValueError as exc:
            report.add(path, str(exc))
        return self.parse(self.example)

    def schema(self) -> dict[str, Any]:
        return {"type": list(self.types), "examples": [self.example]}


@dataclass(frozen=True)
class ListOf:
    """A list, in order; nothing twice, unless `repeats`."""

    of: Shape
    fewest: int = 0
    repeats: bool = False

    @property
    def name(self) -> str:
        return f"list of {self.of.name}"

    def read(self, given: Any, path: str, report: Report) -> list[Any]:
        if not isinstance(given, (list, tuple)):
            report.add(path, f"must be a list, not {kind(given)}")
            return []
        if len(given) < self.fewest:
            report.add(path, "is an empty list: name at least one, or leave the key out")
        found: list[Any] = []
        for number, entry in enumerate(given):
            at = f"{path}[{number}]"
            value = self.of.read(entry, at, report)
            if value in found and not self.repeats and report.sound(at):
                report.add(at, f"{shown(entry)} is here twice")
            found.append(value)
        return found

    def schema(self) -> dict[str, Any]:
        entries = {
            "type": "array",
            "items": self.of.schema(),
            "minItems": self.fewest,
            "uniqueItems": not self.repeats,
        }
        return {"anyOf": [entries, TEMPLATE]}


@dataclass(frozen=True)
class MapOf:
    """A mapping whose keys are the user's own. `key_must` completes "the name ... must"."""

    of: Shape
    key_pattern: str
    key_must: str

    @property
    def name(self) -> str:
        return "dict"

    def read(self, given: Any, path: str, report: Report) -> dict[str, Any]:
        if not isinstance(given, Mapping):
            report.add(path, f"must be a mapping, not {kind(given)}")
            return {}
        found = {}
        for key, value in given.items():
            at = f"{path}.{shown(key)}"
            if not isinstance(key, str):
                report.add(at, f"the name must be text, not {kind(key)}: put it in quotes")
            elif not re.fullmatch(self.key_pattern, key):
                report.add(at, f"the name must {self.key_must}")
            else:
                found[key] = self.of.read(value, at, report)
        return found

    def schema(self) -> dict[str, Any]:
        names = {"pattern": f"^(?:{self.key_pattern})$"}
        return {
            "anyOf": [{"type": "object", "propertyNames": names, "additionalProperties": self.of.schema()}, TEMPLATE]
        }


@dataclass(frozen=True)
class Key:
    """One key of a mapping. `words` is its line in the table; a default of None means that there is none."""

    shape: Shape
    words: str
    default: Any = None


@dataclass(frozen=True)
class Keys:
    """A mapping with a fixed set of keys."""

    keys: Mapping[str, Key] = field(hash=False)
    title: str = ""  # of its table in the docs

    @property
    def name(self) -> str:
        return "dict"

    def read(self, given: Any, path: str, report: Report) -> dict[str, Any]:
        if not isinstance(given, Mapping):
            report.add(path, f"must be a mapping, not {kind(given)}")
            return self._defaults(path)
        for key in given:
            if key not in self.keys:
                at = f"{path}.{shown(key)}" if path else shown(key)
                report.add(at, f"there is no such key; {suggestion(str(key), self.keys)}")
                if near := closest(str(key), self.keys):
                    report.spoil(f"{path}.{near}" if path else near)
        found = {}
        for name, key in self.keys.items():
            at = f"{path}.{name}" if path else name
            if name not in given:
                if key.default is REQUIRED and report.sound(at):
                    report.add(at, f"is missing: {_begun(key.words)}")
                found[name] = _default(key, at)
            elif given[name] is None:
                report.add(
                    at, "is empty: give it a value" + ("" if key.default is REQUIRED else ", or leave the key out")
                )
                found[name] = _default(key, at)
            else:
                found[name] = key.shape.read(given[name], at, report)
        return found

    def _defaults(self, path: str) -> dict[str, Any]:
        return {name: _default(key, f"{path}.{name}") for name, key in self.keys.items()}

    def schema(self) -> dict[str, Any]:
        properties = {}
        for name, key in self.keys.items():
            properties[name] = {"description": key.words, **key.shape.schema()}
            if key.default is not None and key.default is not REQUIRED:
                properties[name]["default"] = key.default
        required = [name for name, key in self.keys.items() if key.default is REQUIRED]
        found = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return {"anyOf": [found, TEMPLATE]}


def _begun(words: str) -> str:
    """The first sentence, as it goes on after a colon."""
    first = words.split(". ", maxsplit=1)[0].rstrip(".")
    return first if first[:2].isupper() else first[0].lower() + first[1:]


def _default(key: Key, path: str) -> Any:
    """What a key has that is not there or not readable. Of a required one something of its type, which nobody will use."""
    if key.default is None:
        return None
    return (
        key.shape.read(key.default, path, Report())
        if key.default is not REQUIRED
        else key.shape.read(None, path, Report())
    )


@dataclass(frozen=True)
class Either:
    """Text of one shape or a mapping of another."""

    text: Shape
    keys: Keys

    @property
    def name(self) -> str:
        return f"{self.text.name} or dict"

    def read(self, given: Any, path: str, report: Report) -> Any:
        return (self.keys if isinstance(given, Mapping) else self.text).read(given, path, report)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.text.schema(), self.keys.schema()]}


@dataclass(frozen=True)
class Anything:
    """What JSON can hold, for others to understand."""

    name: str = "any"

    def read(self, given: Any, path: str, report: Report) -> Any:
        if problem := _unclean(given, 0):
            report.add(path, problem)
            return None
        return given

    def schema(self) -> dict[str, Any]:
        return {}


def _unclean(value: Any, depth: int) -> str:
    if depth > _DEEPEST:
        return f"is nested more than {_DEEPEST} levels deep"
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be something that JSON can hold, not {value}"
    if isinstance(value, Mapping):
        strange = [key for key in value if not isinstance(key, str)]
        if strange:
            return f"has the key {shown(strange[0])}, which is {kind(strange[0])}: put it in quotes"
        return next(filter(None, (_unclean(part, depth + 1) for part in value.values())), "")
    if isinstance(value, (list, tuple)):
        return next(filter(None, (_unclean(part, depth + 1) for part in value)), "")
    if value is None or isinstance(value, (str, bool, int, float)):
        return ""
    return f"must be something that JSON can hold, not {kind(value)}"
