# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the parts of an HCL2 file that need no evaluation engine: blocks, attributes, plain values, references.

Enough to know which variables a template declares, which image its sources start from and where its manifest goes,
without starting Packer. Everything else (functions, operators, conditionals, heredocs) is `UNKNOWN`, never guessed.
Grammar: https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError


class Unknown:
    """The value of an expression that only Packer can evaluate."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\ufeff]+)
  | (?P<comment>(?:\#|//)[^\n]*|/\*.*?\*/)
  | (?P<newline>\n)
  | (?P<heredoc><<-?(?P<mark>[A-Za-z_]\w*)\r?\n.*?\n[ \t]*(?P=mark)(?=\r?\n|\Z))
  | (?P<quote>")
  | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
  | (?P<name>[^\W\d][\w-]*)
  | (?P<sign>\.\.\.|&&|\|\||==|!=|<=|>=|=>|::|[-+*/%!<>=?:.,(){}\[\]])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_OPENING: Final = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Token:
    """One word of the file; `kind` is the name of its group above, or `string` with its raw content."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class Block:
    """`type "label" { ... }`: the tokens of each attribute's expression, and the blocks inside."""

    type: str
    labels: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[Token, ...]] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()

    def all(self, *types: str) -> Iterator[Block]:
        """The blocks of one type directly inside; a `dynamic` one counts as what it makes."""
        for block in self.blocks:
            if block.type in types:
                yield block
            elif block.type == "dynamic" and block.labels and block.labels[0] in types:
                yield from block.all("content")


def parse(text: str, origin: str) -> Block:
    """Parse a file into a block without a type; `origin` is its name for error messages."""
    reader = _Reader(list(_tokens(text, origin)), origin)
    return reader.body("", (), closing="")


def evaluate(tokens: Sequence[Token], scope: Mapping[str, Any]) -> Any:
    """The value of an expression, or UNKNOWN. In lists and objects what is not understood is UNKNOWN by itself.

    `scope` maps the first name of a reference to what it holds: `{"var": {"family": "api"}, "path": {"root": "."}}`.
    """
    words = [token for token in tokens if token.kind != "newline"]
    if not words:
        return UNKNOWN
    first = words[0]
    if len(words) == 1 and first.kind == "string":
        return _filled_in(first.text, scope)
    if len(words) == 1 and first.kind == "number":
        return _number(first.text)
    if len(words) == 2 and first.text == "-" and words[1].kind == "number":
        return -_number(words[1].text)
    if first.kind == "name":
        return _reference(words, scope)
    inside = _inside(tokens)
    if inside is None or (inside and inside[0].text == "for"):
        return UNKNOWN
    if first.text == "[":
        return [evaluate(item, scope) for item in _split(inside, ",")]
    return _object(inside, scope) if first.text == "{" else UNKNOWN


def _number(text: str) -> int | float:
    return float(text) if set(text) & set(".eE") else int(text)


def _reference(words: Sequence[Token], scope: Mapping[str, Any]) -> Any:
    literals = {"true": True, "false": False, "null": None}
    if len(words) == 1 and words[0].text in literals:
        return literals[words[0].text]
    if len(words) % 2 == 0 or any(dot.text != "." for dot in words[1::2]):
        return UNKNOWN
    value: Any = scope
    for word in words[::2]:
        value = value.get(word.text, UNKNOWN) if word.kind == "name" and isinstance(value, Mapping) else UNKNOWN
    return value


def _inside(tokens: Sequence[Token]) -> list[Token] | None:
    """What the brackets around a whole expression hold; None when none go around all of it."""
    start = next(at for at, token in enumerate(tokens) if token.kind != "newline")
    inner: list[Token] = []
    depth = 0
    for at in range(start, len(tokens)):
        token = tokens[at]
        if token.kind == "sign" and token.text in _OPENING:
            depth += 1
        elif token.kind == "sign" and token.text in _OPENING.values():
            depth -= 1
            if depth == 0:
                return inner if all(rest.kind == "newline" for rest in tokens[at + 1 :]) else None
        if depth == 0:
            return None
        if at > start:
            inner.append(token)
    return None


def _split(tokens: Iterable[Token], *separators: str) -> list[list[Token]]:
    """The parts between separators that stand outside of brackets; empty ones are left out."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        sign = token.text if token.kind in ("sign", "newline") else ""
        depth += (sign in _OPENING) - (sign in _OPENING.values())
        if depth == 0 and sign in separators:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if any(token.kind != "newline" for token in part)]


def _object(inside: Iterable[Token], scope: Mapping[str, Any]) -> Any:
    items: dict[str, Any] = {}
    for part in _split(inside, ",", "\n"):
        if len(part) < 3 or part[0].kind not in ("name", "string") or part[1].text not in ("=", ":"):
            return UNKNOWN
        items[part[0].text] = evaluate(part[2:], scope)
    return items


def _filled_in(raw: str, scope: Mapping[str, Any]) -> Any:
    """A quoted string with its escapes undone and its references filled in."""
    parts: list[Any] = []
    position = 0
    while position < len(raw):
        if raw[position] == "\\":
            if raw[position + 1] not in _ESCAPES:
                return UNKNOWN
            parts.append(_ESCAPES[raw[position + 1]])
            position += 2
        elif raw.startswith(("$${", "%%{"), position):
            parts.append(raw[position + 1 : position + 3])
            position += 3
        elif raw.startswith("%{", position):
            return UNKNOWN
        elif raw.startswith("${", position):
            end = _end_of_template(raw, position + 2)
            parts.append(evaluate(list(_tokens(raw[position + 2 : end - 1], "a string")), scope))
            position = end
        else:
            parts.append(raw[position])
            position += 1
    if len(parts) == 1 and raw.startswith("${"):
        return parts[0]  # "${x}" is x, whatever its type
    if not all(isinstance(part, str | int | float) for part in parts):
        return UNKNOWN
    return "".join(str(part).lower() if isinstance(part, bool) else str(part) for part in parts)


def _tokens(text: str, origin: str) -> Iterator[Token]:
    position, line = 0, 1
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise ImageError(f"{origin}, line {line}: {text[position]!r} is not HCL; run `packer validate` to see more")
        kind, start, position = str(found.lastgroup), line, found.end()
        if found["heredoc"] is not None:
            kind = "heredoc"
        content = found[0]
        if kind == "quote":
            end = _end_of_string(text, position)
            if end < 0:
                raise ImageError(f"{origin}, line {line}: a string is not closed; run `packer validate` to see more")
            content, position, kind = text[position : end - 1], end, "string"
        line += content.count("\n")
        if kind not in ("space", "comment"):
            yield Token(kind, content, start)


def _end_of_string(text: str, position: int) -> int:
    """Where a quoted string that begins before `position` ends: after its closing quote, templates inside skipped."""
    while position < len(text):
        here = text[position]
        if here == "\\":
            position += 2
        elif here == '"':
            return position + 1
        elif text.startswith(("$${", "%%{"), position):
            position += 3
        elif text.startswith(("${", "%{"), position):
            position = _end_of_template(text, position + 2)
            if position < 0:
                return -1
        elif here == "\n":
            return -1
        else:
            position += 1
    return -1


def _end_of_template(text: str, position: int) -> int:
    depth = 1
    while position < len(text):
        here = text[position]
        if here == '"':
            position = _end_of_string(text, position + 1)
            if position < 0:
                return -1
            continue
        depth += {"{": 1, "}": -1}.get(here, 0)
        position += 1
        if depth == 0:
            return position
    return -1


class _Reader:
    def __init__(self, tokens: list[Token], origin: str) -> None:
        self._tokens, self._origin, self._at = tokens, origin, 0

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _refuse(self, token: Token | None) -> ImageError:
        where = f"line {token.line}: {token.text!r} was not expected" if token else "the file ends too early"
        return ImageError(f"{self._origin}, {where}; run `packer validate` to see more")

    def body(self, block_type: str, labels: tuple[str, ...], closing: str) -> Block:
        attributes: dict[str, tuple[Token, ...]] = {}
        blocks: list[Block] = []
        while True:
            token = self._peek()
            if token is None:
                if closing:
                    raise self._refuse(None)
                break
            self._at += 1
            if token.kind == "newline" or (token.kind, token.text) == ("sign", ","):
                continue
            if token.kind == "sign" and token.text == closing:
                break
            if token.kind not in ("name", "string"):
                raise self._refuse(token)
            after = self._peek()
            if after is not None and after.kind == "sign" and after.text == "=":
                self._at += 1
                attributes[token.text] = self._expression()
            else:
                blocks.append(self._block(token))
        return Block(block_type, labels, attributes, tuple(blocks))

    def _block(self, head: Token) -> Block:
        labels: list[str] = []
        while (token := self._peek()) is not None and token.kind in ("name", "string"):
            labels.append(token.text)
            self._at += 1
        if token is None or token.text != "{" or token.kind != "sign":
            raise self._refuse(token)
        self._at += 1
        return self.body(head.text, tuple(labels), closing="}")

    def _expression(self) -> tuple[Token, ...]:
        """Everything up to the end of the line or of the block, brackets kept whole."""
        taken: list[Token] = []
        expected: list[str] = []
        while (token := self._peek()) is not None:
            sign = token.text if token.kind == "sign" else ""
            if not expected and (token.kind == "newline" or sign == "}"):
                break
            if sign in _OPENING:
                expected.append(_OPENING[sign])
            elif expected and sign == expected[-1]:
                expected.pop()
            taken.append(token)
            self._at += 1
        if expected or not taken:
            raise self._refuse(self._peek())
        return tuple(taken)
