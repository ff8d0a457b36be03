# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tool printed, as outputs by name.

Terraform and OpenTofu print `{name: {sensitive, type, value}}`, Pulumi a flat `{name: value}` in which a secret is
`[secret]` unless it was asked for. A saved flat file does not say whether it was, so all of it counts as secret.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError

HIDDEN: Final = "[secret]"
NO_OUTPUTS: Final = "it is not a JSON object of outputs, as 'output -json' and 'stack output --json' print it"
_WRAPPER: Final = "[command]"
_TOO_DEEP: Final = "it is nested too deeply: make it flatter"
_DEEPEST: Final = 100  # lists and objects in one another; outputs of people have less than ten
_WIDE: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


@dataclass(frozen=True)
class Output:
    """One output. `hidden`: the value that the tool gave is not the real one, or not all of it.

    `assumed`: nothing says that it is secret, and nothing says that it is not.
    """

    value: Any = field(repr=False)
    secret: bool = False
    hidden: bool = False
    assumed: bool = False


def read_outputs(
    text: str, layout: str, *, all_secret: bool = False, public: Collection[str] = ()
) -> dict[str, Output]:
    """The outputs in a tool's JSON; `layout` is `terraform`, `pulumi` or `any` for a saved file of either.

    `all_secret` marks Pulumi's values that were asked for with their secrets, as nothing tells them apart then; those of
    a saved file are marked always. `public` names the ones that are not secret all the same.
    Raises StackError without a name of the source; the caller knows it.
    """
    document = read_json(text)
    if not isinstance(document, dict):
        raise StackError(NO_OUTPUTS)
    if layout == "any":
        if {"terraform_version", "format_version"} & set(document) or {"deployment", "version"} <= set(document):
            raise StackError("it is a state, not outputs: save what 'output -json' or 'stack output --json' prints")
        layout = _layout_of(document)
        all_secret = True
    if layout == "terraform":
        return _terraform(document, public)
    return _pulumi(document, all_secret, public)


def decode(data: bytes) -> str:
    """The text of a file; a byte order mark is not part of it. Raises StackError without a name of the file."""
    for mark, encoding in _WIDE:
        if data.startswith(mark):
            raise StackError(_wide(encoding))
    if b"\0" in data[:4]:
        raise StackError(_wide("UTF-16 or UTF-32"))
    place = -1
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:  # holds the bytes, so it must not become anybody's cause
        place = exc.start
    line = data.count(b"\n", 0, place) + 1
    raise StackError(f"it is not UTF-8: byte {place + 1}, in line {line}, is broken; save it again")


def read_json(text: str, no_json: str = "") -> Any:
    """What a JSON text holds. Raises StackError, which never holds the text; of one that is none it says `no_json`, if that is given."""
    twice: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(members)
        if len(made) < len(members):
            names = [name for name, dummy in members]
            twice.extend(name for name in made if names.count(name) > 1)
        return made

    problem = ""
    document = None
    try:
        document = json.loads(text, object_pairs_hook=pairs, parse_constant=_no_number)
        json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as exc:
        problem = no_json or _no_json(text, exc)
    except UnicodeEncodeError:
        problem = "it holds bytes that are not UTF-8, or half of a character: save it again as UTF-8"
    except ValueError:  # the constants that JSON has not got, and numbers of thousands of digits
        problem = "it holds a number that is none of JSON's (NaN, Infinity) or too long: give that value as text"
    except RecursionError:
        problem = _TOO_DEEP
    if twice:
        problem = f"it names {twice[0]} twice: take one of them out"
    if problem:
        raise StackError(problem)
    return document


def _wide(encoding: str) -> str:
    return f"it is {encoding}, which PowerShell's '>' writes: save it as UTF-8"


def _no_number(word: str) -> Any:
    raise ValueError(word)


def _no_json(text: str, error: json.JSONDecodeError) -> str:
    begin = text.lstrip("\ufeff \t\r\n")
    if begin.startswith(_WRAPPER):
        return (
            "it begins with '[command]', a line that a wrapper of the CI writes around the tool's output:"
            " switch the wrapper off (terraform_wrapper: false), or call the tool itself"
        )
    if begin.startswith("{") and error.msg == "Extra data":
        return "it has other text after the JSON object: save only what the tool prints"
    if not begin.startswith("{") and any(line.lstrip().startswith("{") for line in begin.splitlines()):
        return "it has other text before the JSON object, of a log or of a wrapper: save only what the tool prints"
    return NO_OUTPUTS


def _layout_of(document: Mapping[str, Any]) -> str:
    """Which of the two a saved file is; a mixture is neither."""
    alike = [
        name for name, entry in document.items() if isinstance(entry, dict) and {"sensitive", "value"} <= set(entry)
    ]
    if not alike:
        return "pulumi"
    other = next((name for name in document if name not in alike), None)
    if other is not None:
        raise StackError(
            f"it mixes Terraform's outputs ({alike[0]}) with others ({other}): save each stack in its own file"
        )
    unsaid = next((name for name in alike if not _wrapped(document[name])), None)
    if unsaid is not None:
        raise StackError(f"it does not say whether {unsaid} is sensitive: save again what 'output -json' prints")
    return "terraform"


def _terraform(document: Mapping[str, Any], public: Collection[str]) -> dict[str, Output]:
    if not all(map(_wrapped, document.values())):
        raise StackError("it is not what 'output -json' prints: save that, and nothing else")
    for name in public:
        if name in document and document[name]["sensitive"]:
            raise StackError(
                f"it says that {name} is sensitive, and the option public that it is not: take it out there"
            )
    return {name: Output(entry["value"], secret=entry["sensitive"]) for name, entry in document.items()}


def _pulumi(document: Mapping[str, Any], all_secret: bool, public: Collection[str]) -> dict[str, Output]:
    made: dict[str, Output] = {}
    for name, value in document.items():
        hidden = _hides(value)
        if hidden and name in public:
            raise StackError(
                f"{name} is '[secret]' in it, and the option public says that it is not: take it out there"
            )
        assumed = all_secret and not hidden and name not in public
        made[name] = Output(value, secret=hidden or assumed, hidden=hidden, assumed=assumed)
    return made


def _wrapped(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "value" in entry and isinstance(entry.get("sensitive"), bool)


def _hides(value: Any) -> bool:
    """Whether `[secret]` is anywhere in it. A loop, since what calls itself fails at some depth."""
    level = [value]
    for dummy in range(_DEEPEST):
        if not level:
            return False
        if HIDDEN in (part for part in level if isinstance(part, str)):
            return True
        level = [
            child
            for part in level
            if isinstance(part, (dict, list))
            for child in (part.values() if isinstance(part, dict) else part)
        ]
    raise StackError(_TOO_DEEP)
