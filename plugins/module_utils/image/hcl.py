# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read HCL2 and its JSON form into blocks and expressions; `expression` evaluates these.

One pass over the text, so that time grows with its length, whatever it holds. What nests deeper than any template that people
write is refused, like everything else that is not HCL, with the file and the line.
Grammar: https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

DEEPEST: Final = 60  # levels of blocks, brackets and templates in each other
LONGEST_NUMBER: Final = 300  # digits
_WAY_OUT: Final = "run `packer validate` to see more"


# --- Expressions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Literal:
    """A string without templates, a number, true, false or null."""

    value: Any


@dataclass(frozen=True, slots=True)
class Template:
    """A string with expressions in it; directives are expressions that make text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Traversal:
    """`name.attribute[index]`; a step is an expression, or None for `*`. `root` is the name, or an expression in brackets."""

    root: str | Node
    steps: tuple[Node | None, ...]
    at: str  # file and line, for messages


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[Node, ...]
    expands: bool  # the last argument is a list of arguments
    at: str


@dataclass(frozen=True, slots=True)
class List:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Object:
    items: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Conditional:
    condition: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Chain:
    """Operators of one precedence from left to right."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class For:
    """A `for` expression: of a list, of an object (with `key`), or of a template (`text`)."""

    names: tuple[str, ...]
    source: Node
    key: Node | None
    value: Node
    condition: Node | None
    grouped: bool = False
    text: bool = False


Node: TypeAlias = "Literal | Template | Traversal | Call | List | Object | Conditional | Chain | Unary | For"
NODES: Final = (Literal, Template, Traversal, Call, List, Object, Conditional, Chain, Unary, For)


@dataclass(frozen=True)
class Block:
    """`type "label" { ... }`: the expression of each attribute, and the blocks inside.

    `spans` are where in the file the expressions of attributes are; there are none in JSON.
    """

    type: str
    labels: tuple[str, ...] = ()
    attributes: Mapping[str, Node] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    at: str = ""
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def all(self, *types: str) -> Iterator[Block]:
        """The blocks of some types directly inside."""
        return (block for block in self.blocks if block.type in types)


def parse(text: str, origin: str) -> Block:
    """Parse a file into a block without a type; `origin` is its name for error messages. Raises ImageError."""
    return _Parser(text, origin).file()


def parse_template(text: str, origin: str) -> Node:
    """Parse the whole text as a template, as `templatefile` does."""
    return _Parser(text, origin).whole_template()


# --- JSON --------------------------------------------------------------------------------------------------------

# How many labels a block has; in a build also its steps. Whatever is not here is an attribute, and a block without labels too.
_TOP: Final = {"variable": 1, "variables": 0, "local": 1, "locals": 0, "source": 2, "data": 2, "build": 0, "packer": 0}
_IN_BUILD: Final = {
    "source": 1,
    "provisioner": 1,
    "error-cleanup-provisioner": 1,
    "post-processor": 1,
    "post-processors": 0,
}
_PLAIN: Final = frozenset({"variables", "locals"})  # every key is an attribute


def parse_json(text: str, origin: str) -> Block:
    """Parse a file in HCL's JSON form. Raises ImageError."""
    return _Json(origin).top(read_json(text, origin))


def read_json(text: str, origin: str) -> Any:
    """JSON whose numbers can be counted with and whose depth can be walked. Raises ImageError."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ImageError(f"{origin} nests too deeply to be read: {_WAY_OUT}") from None
    except ValueError as exc:
        reason = str(exc).partition(";")[0] if "digits" in str(exc) else str(exc)
        raise ImageError(f"{origin} is broken: {reason}; {_WAY_OUT}") from None
    if depth_of(value) > DEEPEST:
        raise ImageError(f"{origin} nests more than {DEEPEST} levels deep, which is more than can be read; {_WAY_OUT}")
    return value


def depth_of(value: Any) -> int:
    """How deeply lists and objects nest, without recursion."""
    deepest, level = 0, [value]
    while level := [
        inner
        for outer in level
        if isinstance(outer, dict | list)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        deepest += 1
        if deepest > 10 * DEEPEST:
            break
    return deepest


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


class _Json:
    def __init__(self, origin: str) -> None:
        self._origin = origin

    def top(self, value: Any) -> Block:
        if not isinstance(value, dict):
            raise ImageError(f"{self._origin} is broken: it holds no object; {_WAY_OUT}")
        return Block("", (), {}, tuple(self._blocks(value, _TOP)), self._origin)

    def _blocks(self, value: Mapping[str, Any], known: Mapping[str, int]) -> Iterator[Block]:
        for name, inner in value.items():
            if name in known:
                yield from self._labelled(name, (), inner, known[name])
            elif isinstance(inner, dict):
                yield self._body(name, (), inner, {})
            elif isinstance(inner, list):
                yield from (self._body(name, (), one, {}) for one in inner if isinstance(one, dict))

    def _labelled(self, name: str, labels: tuple[str, ...], value: Any, more: int) -> Iterator[Block]:
        if isinstance(value, list):
            for one in value:
                yield from self._labelled(name, labels, one, more)
        elif not isinstance(value, dict):
            raise ImageError(f"{self._origin} is broken: {'.'.join((name, *labels))} holds no object; {_WAY_OUT}")
        elif more:
            for label, inner in value.items():
                yield from self._labelled(name, (*labels, label), inner, more - 1)
        else:
            yield self._body(name, labels, value, _IN_BUILD if name in ("build", "post-processors") else {})

    def _body(self, name: str, labels: tuple[str, ...], value: Mapping[str, Any], known: Mapping[str, int]) -> Block:
        # In a variable a default is a value as it stands, never a template.
        literal = name in ("variable", "variables")
        attributes = {
            key: Literal(inner) if literal else self.node(inner)
            for key, inner in value.items()
            if key not in known and key != "//"
        }
        blocks = () if name in _PLAIN else tuple(self._blocks(value, known))
        return Block(name, labels, attributes, blocks, self._origin)

    def node(self, value: Any) -> Node:
        if isinstance(value, str):
            return _Parser(value, self._origin).whole_template() if "{" in value else Literal(value)
        if isinstance(value, list):
            return List(tuple(map(self.node, value)))
        if isinstance(value, dict):
            return Object(tuple((self.node(key), self.node(inner)) for key, inner in value.items() if key != "//"))
        return Literal(value)


# --- HCL ---------------------------------------------------------------------------------------------------------

_BLANK: Final = re.compile(r"[ \t\r\ufeff]+|(?:#|//)[^\n]*")
_BLANK_LINES: Final = re.compile(r"[ \t\r\n\ufeff]+|(?:#|//)[^\n]*")
_NAME: Final = re.compile(r"[^\W\d][\w-]*")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_HEREDOC: Final = re.compile(r"<<(-?)([^\W\d][\w-]*)[ \t\r]*\n")
_QUOTED_TEXT: Final = re.compile(r'[^"\\$%\n]+')
_TEXT: Final = re.compile(r"[^$%]+")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_OPERATORS: Final = (("||",), ("&&",), ("==", "!="), ("<=", ">=", "<", ">"), ("+", "-"), ("*", "/", "%"))
_PRECEDENCE: Final = {operator: level for level, row in enumerate(_OPERATORS) for operator in row}
_OPERATOR: Final = re.compile(r"\|\||&&|==|!=|<=|>=|[<>+\-*/%]")
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_INDEX: Final = re.compile(r"\d+")
_ASSIGNS: Final = re.compile(r"[ \t]*[=:]")
_HEX: Final = {"u": re.compile(r"[0-9a-fA-F]{4}"), "U": re.compile(r"[0-9a-fA-F]{8}")}
_SPACE: Final = re.compile(r"\s+")


class _Parser:
    def __init__(self, text: str, origin: str, depth: int = 0) -> None:
        self._text, self._origin, self._at = text, origin, 0
        self._depth = depth
        self._lines: list[int] | None = None

    # --- Places and refusals ---

    def _place(self, at: int | None = None) -> str:
        if self._lines is None:
            self._lines = [found.start() for found in re.finditer("\n", self._text)]
        return f"{self._origin}, line {bisect_right(self._lines, (self._at if at is None else at) - 1) + 1}"

    def _refuse(self, reason: str = "", at: int | None = None) -> NoReturn:
        if not reason and self._at >= len(self._text):
            raise ImageError(f"{self._origin}, the file ends too early; {_WAY_OUT}")
        found = _NAME.match(self._text, self._at)
        word = found[0][:40] if found else self._text[self._at : self._at + 1]
        raise ImageError(f"{self._place(at)}: {reason or f'{word!r} was not expected'}; {_WAY_OUT}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            self._refuse(f"this nests more than {DEEPEST} levels deep, which is more than can be read")

    # --- Words ---

    def _skip(self, lines: bool) -> None:
        blank = _BLANK_LINES if lines else _BLANK
        while True:
            if found := blank.match(self._text, self._at):
                self._at = found.end()
            elif self._text.startswith("/*", self._at):
                end = self._text.find("*/", self._at + 2)
                if end < 0:
                    self._refuse("a comment is not closed")
                self._at = end + 2
            else:
                return

    def _next(self, sign: str) -> bool:
        if self._text.startswith(sign, self._at):
            self._at += len(sign)
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._next(sign):
            self._refuse()

    def _name(self) -> str:
        found = _NAME.match(self._text, self._at)
        if not found:
            self._refuse()
        self._at = found.end()
        return found[0]

    def _peek_name(self) -> str:
        found = _NAME.match(self._text, self._at)
        return found[0] if found else ""

    # --- Blocks ---

    def file(self) -> Block:
        attributes, blocks, spans = self._body("")
        return Block("", (), attributes, blocks, self._origin, spans)

    def _body(self, closing: str) -> tuple[dict[str, Node], tuple[Block, ...], dict[str, tuple[int, int]]]:
        attributes: dict[str, Node] = {}
        spans: dict[str, tuple[int, int]] = {}
        blocks: list[Block] = []
        self._deeper()
        while True:
            self._skip(lines=True)
            if self._at >= len(self._text):
                if closing:
                    self._refuse()
                break
            if closing and self._next(closing):
                break
            begin = self._at
            name = self._name()
            self._skip(lines=False)
            if not self._text.startswith("==", self._at) and self._next("="):
                self._skip(lines=False)
                start = self._at
                if name in attributes:
                    self._refuse(f"{name} is set a second time", begin)
                attributes[name] = self._expression(lines=False)
                spans[name] = (start, self._at)
                self._end_of_attribute(closing)
            else:
                blocks.append(self._block(name, begin))
        self._depth -= 1
        return attributes, tuple(blocks), spans

    def _end_of_attribute(self, closing: str) -> None:
        self._skip(lines=False)
        here = self._text[self._at : self._at + 1]
        if here not in ("", "\n", closing or "\n"):
            self._refuse()

    def _block(self, name: str, begin: int) -> Block:
        labels: list[str] = []
        while not self._next("{"):
            if self._next('"'):
                label = self._quoted()
                if not isinstance(label, Literal):
                    self._refuse("a label is plain text")
                labels.append(str(label.value))
            else:
                labels.append(self._name())
            self._skip(lines=False)
        at = self._place(begin)
        attributes, blocks, spans = self._body("}")
        return Block(name, tuple(labels), attributes, blocks, at, spans)

    # --- Expressions ---

    def _expression(self, *, lines: bool) -> Node:
        """`lines`: inside of brackets, where a newline is a blank."""
        self._deeper()
        node = self._operation(lines)
        self._skip(lines)
        if self._next("?"):
            self._skip(lines=True)
            yes = self._expression(lines=lines)
            self._skip(lines=True)
            self._expect(":")
            self._skip(lines=True)
            node = Conditional(node, yes, self._expression(lines=lines))
        self._depth -= 1
        return node

    def _operation(self, lines: bool) -> Node:
        operands, operators = [self._unary(lines)], []
        while True:
            self._skip(lines)
            found = _OPERATOR.match(self._text, self._at)
            if not found:
                break
            self._at = found.end()
            operators.append(found[0])
            self._skip(lines=True)
            operands.append(self._unary(lines))
        return _by_precedence(operands, operators)

    def _unary(self, lines: bool) -> Node:
        signs: list[str] = []
        while (here := self._text[self._at : self._at + 1]) in ("-", "!") and here:
            if len(signs) >= DEEPEST:
                self._refuse(f"this nests more than {DEEPEST} levels deep, which is more than can be read")
            self._at += 1
            signs.append(here)
            self._skip(lines)
        node = self._postfix(lines)
        for sign in reversed(signs):
            node = Unary(sign, node)
        return node

    def _postfix(self, lines: bool) -> Node:
        begin = self._at
        root = self._primary(lines)
        steps: list[Node | None] = []
        while True:
            if lines:
                self._skip(lines)
            if self._text.startswith("...", self._at):
                break
            if self._next("."):
                self._skip(lines)
                if self._next("*"):
                    steps.append(None)
                elif found := _INDEX.match(self._text, self._at):
                    self._at = found.end()
                    steps.append(Literal(int(found[0][:18])))
                else:
                    steps.append(Literal(self._name()))
            elif self._next("["):
                self._skip(lines=True)
                if self._next("*"):
                    steps.append(None)
                else:
                    steps.append(self._expression(lines=True))
                self._skip(lines=True)
                self._expect("]")
            else:
                break
        if isinstance(root, str):
            return Traversal(root, tuple(steps), self._place(begin))
        return Traversal(root, tuple(steps), self._place(begin)) if steps else root

    def _primary(self, lines: bool) -> Node | str:
        text, at = self._text, self._at
        here = text[at : at + 1]
        if here == '"':
            self._at += 1
            return self._quoted()
        if here == "(":
            self._at += 1
            self._skip(lines=True)
            node = self._expression(lines=True)
            self._skip(lines=True)
            self._expect(")")
            return node
        if here == "[":
            return self._list()
        if here == "{":
            return self._object()
        if here == "<" and (found := _HEREDOC.match(text, at)):
            return self._heredoc(found)
        if found := _NUMBER.match(text, at):
            self._at = found.end()
            return Literal(self._number(found[0], at))
        name = self._name()
        while self._text.startswith("::", self._at):
            self._at += 2
            name += "::" + self._name()
        if self._text.startswith("(", self._at):
            return self._call(name, at)
        return Literal(_CONSTANTS[name]) if name in _CONSTANTS else name

    def _number(self, text: str, at: int) -> int | float:
        if len(text) > LONGEST_NUMBER:
            self._refuse(f"a number of {len(text)} digits is more than can be read", at)
        if not set(text) & set(".eE"):
            return int(text)
        value = float(text)
        if not math.isfinite(value):
            self._refuse(f"the number {text[:20]} is too large", at)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value

    def _call(self, name: str, at: int) -> Call:
        self._at += 1
        arguments: list[Node] = []
        expands = False
        self._skip(lines=True)
        while not self._next(")"):
            arguments.append(self._expression(lines=True))
            self._skip(lines=True)
            if self._next("..."):
                expands = True
                self._skip(lines=True)
            if not self._next(",") and not self._text.startswith(")", self._at):
                self._refuse()
            self._skip(lines=True)
        return Call(name, tuple(arguments), expands, self._place(at))

    def _list(self) -> Node:
        self._at += 1
        self._skip(lines=True)
        if self._peek_name() == "for":
            return self._for("]")
        items: list[Node] = []
        while not self._next("]"):
            items.append(self._expression(lines=True))
            self._skip(lines=True)
            if not self._next(",") and not self._text.startswith("]", self._at):
                self._refuse()
            self._skip(lines=True)
        return List(tuple(items))

    def _object(self) -> Node:
        self._at += 1
        self._skip(lines=True)
        if self._peek_name() == "for":
            return self._for("}")
        items: list[tuple[Node, Node]] = []
        while not self._next("}"):
            key = self._key()
            self._skip(lines=False)
            if not self._next("=") and not self._next(":"):
                self._refuse()
            self._skip(lines=True)
            items.append((key, self._expression(lines=False)))
            self._skip(lines=False)
            if self._text[self._at : self._at + 1] not in (",", "\n", "}"):
                self._refuse()
            self._skip(lines=True)
            if self._next(","):
                self._skip(lines=True)
        return Object(tuple(items))

    def _key(self) -> Node:
        name = self._peek_name()
        if name and _ASSIGNS.match(self._text, self._at + len(name)):
            self._at += len(name)
            return Literal(name)
        return self._expression(lines=False)

    def _for(self, closing: str) -> For:
        self._at += 3
        self._skip(lines=True)
        names, source = self._for_head()
        self._skip(lines=True)
        self._expect(":")
        self._skip(lines=True)
        value = self._expression(lines=True)
        self._skip(lines=True)
        key = None
        if closing == "}":
            self._expect("=>")
            self._skip(lines=True)
            key, value = value, self._expression(lines=True)
            self._skip(lines=True)
        grouped = self._next("...")
        self._skip(lines=True)
        condition = None
        if self._peek_name() == "if":
            self._at += 2
            self._skip(lines=True)
            condition = self._expression(lines=True)
            self._skip(lines=True)
        self._expect(closing)
        return For(names, source, key, value, condition, grouped)

    def _for_head(self) -> tuple[tuple[str, ...], Node]:
        names = [self._name()]
        self._skip(lines=True)
        if self._next(","):
            self._skip(lines=True)
            names.append(self._name())
            self._skip(lines=True)
        if self._name() != "in":
            self._refuse()
        self._skip(lines=True)
        return tuple(names), self._expression(lines=True)

    # --- Templates ---

    def _quoted(self) -> Node:
        """After the opening quote."""
        begin = self._at - 1
        parts: list[Node] = []
        plain: list[str] = []
        text = self._text
        while True:
            here = text[self._at : self._at + 1]
            if here == '"':
                self._at += 1
                break
            if here in ("", "\n"):
                self._refuse("a string is not closed", begin)
            if here == "\\":
                plain.append(self._escape())
            elif here in "$%":
                self._special(parts, plain, stops=())
            else:
                end = found.end() if (found := _QUOTED_TEXT.match(text, self._at)) else self._at + 1
                plain.append(text[self._at : end])
                self._at = end
        return _template(parts, plain)

    def _escape(self) -> str:
        sign = self._text[self._at + 1 : self._at + 2]
        if sign in _HEX:
            found = _HEX[sign].match(self._text, self._at + 2)
            if found and int(found[0], 16) <= 0x10FFFF:
                self._at = found.end()
                return chr(int(found[0], 16))
        if sign not in _ESCAPES or not sign:
            self._refuse(f"\\{sign} is no escape")
        self._at += 2
        return _ESCAPES[sign]

    def whole_template(self) -> Node:
        return self._parts(())[0]

    def _parts(self, stops: tuple[str, ...]) -> tuple[Node, str]:
        """Template text up to the end, or to one of the directives in `stops`, which is taken and answered."""
        parts: list[Node] = []
        plain: list[str] = []
        while self._at < len(self._text):
            if found := _TEXT.match(self._text, self._at):
                plain.append(found[0])
                self._at = found.end()
            elif stopped := self._special(parts, plain, stops):
                return _template(parts, plain), stopped
        if stops:
            self._refuse(f"%{{ {stops[-1]} }} is missing")
        return _template(parts, plain), ""

    def _special(self, parts: list[Node], plain: list[str], stops: tuple[str, ...]) -> str:
        """At `$` or `%`: text, an expression, or a directive. Answers the directive that ends the text around it."""
        text, sign = self._text, self._text[self._at]
        if text.startswith(sign * 2 + "{", self._at):
            plain.append(sign + "{")
            self._at += 3
            return ""
        if not text.startswith(sign + "{", self._at):
            plain.append(sign)
            self._at += 1
            return ""
        begin = self._at
        self._at += 2
        if self._next("~"):
            plain[:] = ["".join(plain).rstrip()]
        if plain and (before := "".join(plain)):
            parts.append(Literal(before))
        plain.clear()
        self._skip(lines=True)
        if sign == "$":
            parts.append(self._expression(lines=True))
            self._close(begin)
            return ""
        word = self._name()
        self._skip(lines=True)
        if word in stops:
            self._close(begin)
            return word
        self._deeper()
        if word == "if":
            condition = self._expression(lines=True)
            self._close(begin)
            yes, stopped = self._parts(("else", "endif"))
            no: Node = Literal("")
            if stopped == "else":
                no, stopped = self._parts(("endif",))
            parts.append(Conditional(condition, Template((yes, Literal(""))), Template((no, Literal("")))))
        elif word == "for":
            names, source = self._for_head()
            self._close(begin)
            body, stopped = self._parts(("endfor",))
            parts.append(For(names, source, None, body, None, text=True))
        else:
            self._refuse(f"%{{ {word} }} was not expected", begin)
        self._depth -= 1
        return ""

    def _close(self, begin: int) -> None:
        self._skip(lines=True)
        trim = self._next("~")
        if not self._next("}"):
            self._refuse("a template is not closed" if self._at >= len(self._text) else "", begin)
        if trim and (found := _SPACE.match(self._text, self._at)):
            self._at = found.end()

    def _heredoc(self, found: re.Match[str]) -> Node:
        begin, mark = self._at, found[2]
        at, lines = found.end(), []
        while True:
            end = self._text.find("\n", at)
            line = self._text[at:] if end < 0 else self._text[at:end]
            if line.strip() == mark:
                break
            if end < 0:
                self._refuse(f"the text that ends with {mark} is not closed", begin)
            lines.append(line + "\n")
            at = end + 1
        self._at = len(self._text) if end < 0 else end
        if found[1]:
            indents = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
            lines = [line[min(indents, default=0) :] if line.strip() else line.lstrip(" \t") for line in lines]
        inner = _Parser("".join(lines), self._place(begin), self._depth)
        return inner.whole_template()


def _by_precedence(operands: list[Node], operators: list[str]) -> Node:
    """Operators that bind most first; those of one precedence become one chain, whatever their number."""
    for level in reversed(range(len(_OPERATORS))):
        if not operators:
            break
        if all(_PRECEDENCE[operator] != level for operator in operators):
            continue
        grouped: list[Node] = []
        left: list[str] = []
        rest: list[tuple[str, Node]] = []
        first = operands[0]
        for operator, operand in zip(operators, operands[1:], strict=True):
            if _PRECEDENCE[operator] == level:
                rest.append((operator, operand))
            else:
                grouped.append(Chain(first, tuple(rest)) if rest else first)
                left.append(operator)
                first, rest = operand, []
        grouped.append(Chain(first, tuple(rest)) if rest else first)
        operands, operators = grouped, left
    return operands[0]


def _template(parts: list[Node], plain: list[str]) -> Node:
    if plain and (text := "".join(plain)):
        parts.append(Literal(text))
    if not parts:
        return Literal("")
    if len(parts) == 1:
        return parts[0]  # "${x}" is x, whatever its type
    return Template(tuple(parts))
