# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""What dotenvx makes of a value after decryption, as @dotenvx/primitives 3.3 does.

Outside of single quotes `$(command)` is run; a value without one has `$NAME`, `${NAME}` and `${NAME:-default}` (also with `-`,
`:+` and `+`) replaced and then `\$` written as `$`. Here references are to variables above in the same file only, and
both they and commands are refused unless they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import Assignment

_REFERENCE: Final = re.compile(r"(?<!\\)\$\{(?P<braced>[^{}]+)\}|(?<!\\)\$(?P<bare>[A-Za-z_][A-Za-z0-9_]*)")
_OPERATOR: Final = re.compile(r":\+|\+|:-|-")
_MOST: Final = 100  # references or commands in one value; more is a mistake or does not end
_UNCLOSED: Final = 3  # `$(` without an end in one value; each is looked for up to the value's end
_LARGEST: Final = 4 * 1024 * 1024

# A command and the variables above it -> what it prints, or None where it fails
# pylint: disable-next=unsupported-binary-operation
Shell = Callable[[str, Mapping[str, str]], str | None]


@dataclass(frozen=True)
class Rules:
    """What to do about references (`refuse`, `expand`, `keep`) and commands (`refuse`, `run`, `keep`)."""

    references: str = "refuse"
    commands: str = "refuse"
    shell: Shell = field(default=lambda command, above: None, repr=False)


def inside_of(assignment: Assignment) -> str:
    """What dotenvx reads between the quotes: unlike dotenv it knows `\\t`, and an escaped quote in single quotes."""
    if assignment.quote == "'":
        return assignment.inside.replace("\\'", "'")
    if assignment.quote == '"':
        return assignment.inside.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")
    return assignment.inside


def evaluate(
    plain: Iterable[tuple[str, str, str, int]], wanted: Sequence[str], rules: Rules, file: str
) -> dict[str, str]:
    """The values by name, of `(name, decrypted value, quote, line)` in the order of the file.

    Raises DotenvError where one of `wanted` (all, if there are none) cannot be had; what nobody wants does not matter.
    """
    lines = [*plain]
    above = _Above(frozenset(name for name, *dummy in lines))
    for name, value, quote, number in lines:
        problem, result = "", value
        if quote != "'":
            try:
                result = _evaluated(value, above, rules)
            except _ProblemError as exc:
                problem = str(exc)
                above.lines[name] = number
        above.add(name, result, problem, literal=quote == "'")
    values, problems = above.values, above.problems
    for name in wanted or values:
        if name in problems:
            raise DotenvError(f"the value of {name} in {file}, line {above.lines[name]}, {problems[name]}")
    return values


class _ProblemError(Exception):
    """The rest of a sentence that begins with the value's name. Never a value."""


@dataclass
class _Above:
    """The variables above a line: their values, what is wrong with some and in which line, and which stood in single quotes.

    `named` are all that the file sets. Only such a name is shown: what else follows a `$` may be a part of a password.
    """

    named: frozenset[str]
    values: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    literals: set[str] = field(default_factory=set)

    def shown(self, name: str) -> str:
        """A variable as a message may name it."""
        return f"the variable {name}" if name in self.named else "a variable"

    def add(self, name: str, value: str, problem: str, *, literal: bool) -> None:
        self.values[name] = value
        self.problems.pop(name, None)
        if problem:
            self.problems[name] = problem
        if literal:  # dotenvx does not forget it when a later line sets the variable otherwise
            self.literals.add(name)


def _evaluated(value: str, above: _Above, rules: Rules) -> str:
    found = commands_in(value)
    if found and rules.commands == "refuse":
        raise _ProblemError(
            "holds a command, '$(...)', which dotenvx would run:"
            " set commands=run, set commands=keep if it is a part of the value, or write the value in single quotes"
        )
    if found and rules.commands == "run":
        ran = value
        for command in found:
            printed = rules.shell(command, above.values)
            if printed is None:
                raise _ProblemError("holds a command that failed or took too long: run it by hand to see why")
            ran = ran.replace(f"$({command})", printed.rstrip("\r\n"), 1)
        if ran != value:
            return ran
    if rules.references == "expand":
        value = _expanded(value, above)
    elif rules.references == "refuse":
        reference = _REFERENCE.search(value)
        if reference:
            raise _ProblemError(
                f"refers to {above.shown(_name(reference)[0])}, which dotenvx would put in its place: set references=expand,"
                r" set references=keep if it is a part of the value, or write \$ for the sign"
            )
    return value.replace("\\$", "$")


def commands_in(value: str) -> list[str]:
    """What stands in the value's `$(...)`, outermost only; quotes and parentheses within it are followed."""
    found: list[str] = []
    unclosed = 0
    begin = value.find("$(")
    while begin >= 0:
        end = _end_of_command(value, begin + 2)
        if end > 0:
            found.append(value[begin + 2 : end])
        else:
            unclosed += 1
        if unclosed > _UNCLOSED or len(found) > _MOST:
            raise _ProblemError(
                f"holds '$(' too often: {_MOST} commands, and {_UNCLOSED} that do not end, are the most"
            )
        begin = value.find("$(", end + 1 if end > 0 else begin + 2)
    return found


def _end_of_command(value: str, place: int) -> int:
    """Where the parenthesis closes that was opened before `place`; -1 where none does."""
    quotes = [""]  # of each open parenthesis the quote that is open in it
    while place < len(value):
        char, quote = value[place], quotes[-1]
        if char == "\\" and quote != "'":
            place += 1
        elif quote:
            if char == quote:
                quotes[-1] = ""
            elif quote != "'" and value.startswith("$(", place):
                quotes.append("")
                place += 1
        elif char in "'\"`":
            quotes[-1] = char
        elif char == "(":
            quotes.append("")
        elif char == ")":
            quotes.pop()
            if not quotes:
                return place
        place += 1
    return -1


def _name(reference: re.Match[str]) -> tuple[str, str, str]:
    """A reference's variable, its operator and what follows that."""
    text = reference["braced"] or reference["bare"]
    operator = _OPERATOR.search(text)
    if not operator:
        return text, "", ""
    return text[: operator.start()], operator[0], text[operator.end() :]


def _expanded(value: str, above: _Above) -> str:
    for dummy in range(_MOST):
        reference = _REFERENCE.search(value)
        if not reference:
            return value
        name, operator, other = _name(reference)
        if name in above.problems:
            raise _ProblemError(f"refers to {name}, whose value {above.problems[name]}")
        if name not in above.values and not operator:
            raise _ProblemError(
                f"refers to {above.shown(name)}, which no line above in the file sets: set it there, give a default as in ${{NAME:-}},"
                r" or write \$ where the sign is a part of the value"
            )
        held = above.values.get(name, "")
        if operator in (":+", "+"):
            new = other if (held if operator == ":+" else name in above.values) else ""
        else:
            new = held if held or (name in above.values and operator != ":-") else other
        value = value[: reference.start()] + new + value[reference.end() :]
        if len(value) > _LARGEST:
            break
        if value == above.values.get(name) or (name in above.literals and _REFERENCE.search(held)):
            return value  # what stood in single quotes is not read again
    raise _ProblemError(f"has more than {_MOST} references, or ones that lead to each other without end")
