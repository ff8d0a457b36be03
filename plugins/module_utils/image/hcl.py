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
from collections.abc import Iterator, Mapping
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


def evaluate(tokens: tuple[Token, ...], scope: Mapping[str, Any]) -> Any:
    """The value of an expression, or UNKNOWN.

    `scope` maps the first name of a reference to what it holds: `{"var": {"family": "api"}, "path": {"root": "."}}`.
    """
    return _Expression(tuple(token for token in tokens if token.kind != "newline"), scope).value()


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


class _Expression:
    """A recursive descent over literals, lists, objects and references; anything left over makes it UNKNOWN."""

    def __init__(self, tokens: tuple[Token, ...], scope: Mapping[str, Any]) -> None:
        self._tokens, self._scope, self._at = tokens, scope, 0

    def value(self) -> Any:
        result = self._term()
        return result if self._at == len(self._tokens) else UNKNOWN

    def _sign(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        return token.text if token and token.kind == "sign" else ""

    def _take(self, sign: str) -> bool:
        taken = self._sign() == sign
        self._at += taken
        return taken

    def _term(self) -> Any:
        if self._at >= len(self._tokens):
            return UNKNOWN
        token = self._tokens[self._at]
        self._at += 1
        if token.kind == "string":
            return self._text(token.text)
        if token.kind == "number":
            return float(token.text) if set(token.text) & set(".eE") else int(token.text)
        if token.kind == "name":
            return self._reference(token.text)
        if token.text == "-" and self._at < len(self._tokens) and self._tokens[self._at].kind == "number":
            number = self._term()
            return -number
        if token.text == "[":
            return self._list()
        if token.text == "{":
            return self._object()
        return UNKNOWN

    def _reference(self, name: str) -> Any:
        literals = {"true": True, "false": False, "null": None}
        if name in literals:
            return literals[name]
        result: Any = self._scope.get(name, UNKNOWN)
        while self._take("."):
            if self._at >= len(self._tokens) or self._tokens[self._at].kind != "name":
                return UNKNOWN
            key = self._tokens[self._at].text
            self._at += 1
            result = result.get(key, UNKNOWN) if isinstance(result, Mapping) else UNKNOWN
        return result

    def _list(self) -> Any:
        items: list[Any] = []
        while not self._take("]"):
            before = self._at
            items.append(self._term())
            if not (self._take(",") or self._sign() == "]") or self._at == before:
                return UNKNOWN
        return items

    def _object(self) -> Any:
        items: dict[str, Any] = {}
        while not self._take("}"):
            if self._at >= len(self._tokens) or self._tokens[self._at].kind not in ("name", "string"):
                return UNKNOWN
            key = self._tokens[self._at].text
            self._at += 1
            if not (self._take("=") or self._take(":")):
                return UNKNOWN
            items[key] = self._term()
            self._take(",")
        return items

    def _text(self, raw: str) -> Any:
        """A quoted string with its escapes undone and its references filled in."""
        parts: list[str] = []
        position = 0
        while position < len(raw):
            if raw[position] == "\\" and position + 1 < len(raw):
                escape = raw[position + 1]
                if escape in _ESCAPES:
                    parts.append(_ESCAPES[escape])
                    position += 2
                    continue
                return UNKNOWN
            if raw.startswith(("$${", "%%{"), position):
                parts.append(raw[position + 1 : position + 3])
                position += 3
            elif raw.startswith("%{", position):
                return UNKNOWN
            elif raw.startswith("${", position):
                end = _end_of_template(raw, position + 2)
                inner = tuple(_tokens(raw[position + 2 : end - 1], "a string"))
                value = evaluate(inner, self._scope)
                if isinstance(value, bool):
                    value = str(value).lower()
                if not isinstance(value, str | int | float):
                    return UNKNOWN
                if raw[:position] == "" and end == len(raw):
                    return evaluate(inner, self._scope)
                parts.append(str(value))
                position = end
            else:
                parts.append(raw[position])
                position += 1
        return "".join(parts)
