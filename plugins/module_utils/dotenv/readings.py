# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How other readers of dotenv files read the same text, so that a value which means something else to them is known.

python-dotenv 1.2 reads `#` in a value without quotes as dotenv does only after white space, knows more escapes and no back
quotes, and expands `${NAME}`. `docker run --env-file` takes the rest of each line as it is, quotes too.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import parse, past

_SHOWN: Final = 5  # of many names
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|\Z)")
_BLANK: Final = re.compile(r"\s*")
_KEY: Final = re.compile(
    r"(?:export[^\S\r\n]+)?(?:'(?P<quoted>[^']+)'|(?P<bare>[^=#\s]+))[^\S\r\n]*(?P<sign>=[^\S\r\n]*)?"
)
_SINGLE: Final = re.compile(r"'(?P<inside>(?:\\.|[^'\\])*)'", re.DOTALL)
_DOUBLE: Final = re.compile(r'"(?P<inside>(?:\\.|[^"\\])*)"', re.DOTALL)
_BARE: Final = re.compile(r"[^\r\n]*")
_END: Final = re.compile(r"[^\S\r\n]*(?:#[^\r\n]*)?(?:\r\n|\n|\r|\Z)")
_COMMENT: Final = re.compile(r"\s#")
_SINGLE_ESCAPE: Final = re.compile(r"\\[\\']")
_DOUBLE_ESCAPE: Final = re.compile(r"\\[\\'\"abfnrtv]")


def differing(text: str, values: Mapping[str, str], names: Iterable[str], readers: Iterable[str]) -> str:
    """A sentence about the values `names` that some of `readers` read otherwise than `values` says; "" for none.

    Docker never takes quotes away, so for it only what is between them counts.
    """
    read = {reader: _READERS[reader](text) for reader in readers}
    found = {
        name: [reader for reader in read if not _same(reader, read[reader].get(name), values[name])]
        for name in dict.fromkeys(names)
        if name in values
    }
    odd = [f"{name} ({', '.join(others)})" for name, others in found.items() if others]
    if not odd:
        return ""
    more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
    return (
        f"means something else to other readers of such a text: {', '.join(odd[:_SHOWN])}{more}; all agree on a value in single"
        " quotes, on one line, without a quote, a backslash or '${' in it"
    )


def python_dotenv(text: str) -> dict[str, str]:
    """What python-dotenv reads, before it expands `${NAME}`."""
    text = text.removeprefix("\ufeff")
    found: dict[str, str] = {}
    place = 0
    while (place := past(_BLANK, text, place)) < len(text):
        key = _KEY.match(text, place)
        if key is None:
            place = past(_LINE, text, place)
            continue
        value, after = _python_value(text, key.end(), key["sign"]) if key["sign"] else (None, key.end())
        end = _END.match(text, after)
        if end is None:
            place = past(_LINE, text, after)
            continue
        place = end.end()
        if value is not None:
            found[key["quoted"] or key["bare"]] = value
    return found


def _python_value(text: str, place: int, sign: str) -> tuple[str | None, int]:
    mark = text[place : place + 1]
    if mark == "#" and len(sign) > 1:
        return "", place
    if mark in ("'", '"') and mark:
        quoted, escape = (_SINGLE, _SINGLE_ESCAPE) if mark == "'" else (_DOUBLE, _DOUBLE_ESCAPE)
        match = quoted.match(text, place)
        if match is None:
            return None, place
        return escape.sub(lambda found: codecs.decode(found[0], "unicode-escape"), match["inside"]), match.end()
    end = past(_BARE, text, place)
    comment = _COMMENT.search(text, place, end)
    return text[place : comment.start() if comment else end].rstrip(), end


def docker(text: str) -> dict[str, str]:
    """What `docker run --env-file` reads; a name without a value is the caller's variable and not in it."""
    found: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").split("\n"):
        name, sign, value = line.removesuffix("\r").lstrip().partition("=")
        if sign and name and not name.startswith("#") and not re.search(r"\s", name):
            found[name] = value
    return found


def _same(reader: str, found: str | None, value: str) -> bool:
    if reader == "Docker":
        return found is not None and (
            found == value or (found[:1] + value + found[:1] == found and found[:1] in ("'", '"', "`"))
        )
    return found == value and (reader != "python-dotenv" or not _expands(value))


def _expands(value: str) -> bool:
    """Whether python-dotenv finds `${NAME}` or `${NAME:-default}` in it, by looking at each character a few times at most."""
    brace = colon = -1
    place = value.find("${")
    while place >= 0:
        if brace < place:
            brace = value.find("}", place)
        if colon < place:
            colon = value.find(":", place) % (len(value) + 1)  # none: behind the end
        if brace < 0:
            return False
        if colon > brace or value.startswith(":-", colon):
            return True
        place = value.find("${", place + 2)
    return False


_READERS: Final = {"dotenv": parse, "python-dotenv": python_dotenv, "Docker": docker}
