# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""The grammar of dotenv files, as the dotenv package for Node reads them; nothing is evaluated.

`NAME=value` or `NAME: value`, perhaps after `export`. A value in single, double or back quotes may go over several lines and
hold `#`; only between double quotes `\n` and `\r` become characters, and a backslash before a quote stays. A value
without quotes ends at `#` or at the end of the line. What is no assignment is passed over, and the last of two wins.
No variable and no command in a value is expanded.

dotenv has it as one regular expression, which goes back over what it read. Here each character is looked at a few times at
most, whatever the text is; what is read is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

# JavaScript's idea of white space and of a line's end, which decides what the file means. Python's differs.
_SPACES: Final = "\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_TRIMMED: Final = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_QUOTES: Final = "'\"`"
_SPACE: Final = re.compile(rf"[{_SPACES}]*")
_EXPORT: Final = re.compile(rf"export[{_SPACES}]+(?=[A-Za-z0-9_.-])")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_SIGN: Final = re.compile(rf"[{_SPACES}]*=|:[{_SPACES}]")
_LINE_END: Final = re.compile(r"[\n\u2028\u2029]|\Z")
_BARE: Final = re.compile(r"[^#\r\n]*")
_UNESCAPED: Final = {mark: re.compile(rf"(?<!\\){mark}") for mark in _QUOTES}
_CLOSING: Final = re.compile(r"['\"`](?![^\n\u2028\u2029])")


@dataclass(frozen=True)
class Assignment:
    """One assignment: what stands between its quotes as it is written, and the quote it begins with ("" for none)."""

    name: str
    inside: str = field(repr=False)
    quote: str = ""
    line: int = 0

    @property
    def value(self) -> str:
        """What dotenv reads."""
        if self.quote != '"':
            return self.inside
        return self.inside.replace("\\n", "\n").replace("\\r", "\r")


def parse(text: str) -> dict[str, str]:
    """The assignments of a dotenv file by name, in the order of the file."""
    return {found.name: found.value for found in assignments(text)}


def assignments(text: str) -> Iterator[Assignment]:
    """The assignments of a dotenv file, in the order of the file; a name may come twice."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    place = counted = 0
    line = 1
    while (place := past(_SPACE, text, place)) < len(text):
        line, counted = line + text.count("\n", counted, place), place
        exported = _EXPORT.match(text, place)
        name = _NAME.match(text, exported.end() if exported else place)
        sign = _SIGN.match(text, name.end()) if name else None
        if name is None or sign is None:
            place = _past_line(text, place)
            continue
        raw, place = _value(text, sign.end())
        yield Assignment(name[0], *_unquoted(raw.strip(_TRIMMED)), line)


def _value(text: str, begin: int) -> tuple[str, int]:
    """A value with its quotes, and where the next line is to be looked for."""
    first = past(_SPACE, text, begin)
    mark = text[first : first + 1]
    if mark and mark in _QUOTES:
        close = _UNESCAPED[mark].search(text, first + 1)
        end = close.start() if close else text.rfind(mark, first + 1)
        # The last quote that may end it does; those before it are escaped ones.
        while end > first:
            after = _after_quote(text, end + 1)
            if after >= 0:
                return text[first : end + 1], after
            end = text.rfind(mark, first + 1, end)
    end = past(_BARE, text, begin)
    return text[begin:end], _past_line(text, end) if text[end : end + 1] == "#" else end


def _after_quote(text: str, place: int) -> int:
    """Where a line ends behind a quote, with white space or a comment between; -1 where something else is."""
    after = past(_SPACE, text, place)
    if after == len(text):
        return after
    if text[after] == "#":
        return _past_line(text, after)
    return after if _LINE_END.search(text, place, after + 1).start() < after else -1  # type: ignore[union-attr]


def _unquoted(value: str) -> tuple[str, str]:
    """What is between the quotes of a value, and its first quote; one that is not closed is a part of it."""
    quote = value[0] if value and value[0] in _QUOTES else ""
    if "\u2028" not in value and "\u2029" not in value:
        closed = quote and len(value) > 1 and value[-1] == quote
        return (value[1:-1] if closed else value), quote
    # These two end lines to JavaScript, and a line that begins with a quote may end with it, lines below
    closing = {found[0]: found.start() for found in _CLOSING.finditer(value)}
    parts: list[str] = []
    place = 0
    while place < len(value):
        end = closing.get(value[place], -1)
        if end > place:
            parts.append(value[place + 1 : end])
            place = end + 1
            continue
        end = min(_past_line(value, place) + 1, len(value))
        parts.append(value[place:end])
        place = end
    return "".join(parts), quote


def past(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Where what matches at a place ends; the place itself where nothing does."""
    found = pattern.match(text, place)
    return found.end() if found else place


def _past_line(text: str, place: int) -> int:
    found = _LINE_END.search(text, place)
    return found.start() if found else len(text)
