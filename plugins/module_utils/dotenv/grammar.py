# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""The grammar of dotenv files, as the dotenv package for Node reads them; nothing is evaluated.

`NAME=value` or `NAME: value`, perhaps after `export`. A value in single, double or back quotes may go over several lines and
hold `#`; only between double quotes `\n` and `\r` become characters, and a backslash before a quote stays. A value
without quotes ends at `#` or at the end of the line. What is no assignment is passed over, and the last of two wins.
No variable and no command in a value is expanded.
"""

from __future__ import annotations

import re
from typing import Final

# JavaScript's idea of white space and of a line's end, which decides what the file means. Python's differs.
_SPACES: Final = "\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_TRIMMED: Final = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_BEGIN: Final = r"(?<![^\n\u2028\u2029])"
_END: Final = r"(?![^\n\u2028\u2029])"


def _quoted(mark: str) -> str:
    return rf"[{_SPACES}]*{mark}(?:\\{mark}|[^{mark}])*{mark}"


_ASSIGNMENT: Final = re.compile(
    rf"{_BEGIN}[{_SPACES}]*"
    rf"(?:export[{_SPACES}]+)?"
    rf"(?P<name>[A-Za-z0-9_.-]+)"
    rf"(?:[{_SPACES}]*=|:[{_SPACES}])[{_SPACES}]*?"
    rf"(?P<value>{_quoted(chr(39))}|{_quoted(chr(34))}|{_quoted(chr(96))}|[^#\r\n]+)?"
    rf"[{_SPACES}]*(?:\#[^\n\r\u2028\u2029]*)?{_END}"
)
_IN_QUOTES: Final = re.compile(rf"{_BEGIN}(?P<mark>['\"`])(?P<inside>[\s\S]*)(?P=mark){_END}")


def parse(text: str) -> dict[str, str]:
    """The assignments of a dotenv file by name, in the order of the file."""
    found: dict[str, str] = {}
    for match in _ASSIGNMENT.finditer(re.sub("\r\n?", "\n", text)):
        value = (match["value"] or "").strip(_TRIMMED)
        double = value.startswith('"')
        value = _IN_QUOTES.sub(lambda quoted: quoted["inside"], value)
        if double:
            value = value.replace("\\n", "\n").replace("\\r", "\r")
        found[match["name"]] = value
    return found
