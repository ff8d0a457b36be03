# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pick outputs by name: all that is wanted is there, of the type that is wanted, and no secret by accident."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError
from ansible_collections.boring.fleet.plugins.module_utils.stack.outputs import Output
from ansible_collections.boring.fleet.plugins.module_utils.stack.schema import schema_mismatches
from ansible_collections.boring.fleet.plugins.module_utils.stack.types import Mismatch, Type

_SHOWN: Final = 5  # of many faults, and of many names


@dataclass(frozen=True)
class Picked:
    """Values by name; `secret` if one of them is."""

    values: Mapping[str, Any] = field(repr=False)
    secret: bool = False


def pick(
    outputs: Mapping[str, Output],
    names: Sequence[str],
    source: str,
    *,
    types: Mapping[str, Type] | None = None,
    schema: Any = None,
    allow_secrets: bool = False,
    why_empty: Callable[[], str] = lambda: "apply it first, or name the right workspace, stack or directory",
) -> Picked:
    """The outputs `names`, or all where there are none. `source` names the stack in errors. Raises StackError.

    What `types` and `schema` say is held against all outputs, not only the wanted ones: a play must not run half.
    `why_empty` says what to do about a stack without outputs, should any be needed.
    """
    if not outputs and (names or any(not kind.optional for kind in (types or {}).values())):
        raise StackError(f"{source} has no outputs at all: {why_empty()}")
    for name in names:
        if name not in outputs:
            raise StackError(f"{source} has no output {name}{_instead(name, outputs)}")
    faults = [
        *_wrong_types(outputs, types or {}),
        *(_wrong_schema(outputs, schema) if schema is not None else ()),
    ]
    if faults:
        raise StackError(f"{source} does not fit: {_listed(faults, '; ')}")
    wanted = list(dict.fromkeys(names)) or list(outputs)
    secret = [name for name in wanted if outputs[name].secret]
    if secret and not allow_secrets:
        what, are = ("the output", "is") if len(secret) == 1 else ("the outputs", "are")
        way = "set allow_secrets=true" if names else "name the outputs that you want, or set allow_secrets=true"
        guess = ""
        if any(outputs[name].assumed for name in secret):
            guess = " as far as anybody can tell"
            way = f"a saved file of Pulumi does not say what is secret, so list in public what is not, or {way}"
        raise StackError(f"{what} {_listed(secret, ', ')} of {source} {are} secret{guess}: {way}")
    hidden = [name for name in wanted if outputs[name].hidden]
    if hidden:
        raise StackError(
            f"the value of {_listed(hidden, ', ')} is not in {source}, only '[secret]': save it with --show-secrets, or ask the tool"
        )
    return Picked({name: outputs[name].value for name in wanted}, secret=bool(secret))


def _instead(name: str, outputs: Iterable[str]) -> str:
    """The closest names that there are; of names far away too, as one of them is what the user looks for."""
    lowered = {candidate.lower(): candidate for candidate in outputs}
    close = [lowered[found] for found in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    if close:
        return f"; the closest names are {', '.join(close)}" if len(close) > 1 else f"; the closest name is {close[0]}"
    return f"; it has {_listed(sorted(outputs), ', ')}"


def _wrong_types(outputs: Mapping[str, Output], types: Mapping[str, Type]) -> Iterator[str]:
    for name, kind in types.items():
        if name in outputs:
            if not outputs[name].hidden:
                for found in kind.mismatches(outputs[name].value):
                    yield _fault(name, found, outputs)
        elif not kind.optional:
            yield _fault(name, Mismatch("", str(kind), "missing"), outputs)


def _wrong_schema(outputs: Mapping[str, Output], schema: Any) -> Iterator[str]:
    values = {name: output.value for name, output in outputs.items()}
    for name, found in schema_mismatches(schema, values):
        if name not in outputs or not outputs[name].hidden:
            yield _fault(name, found, outputs)


def _fault(name: str, found: Mismatch, outputs: Iterable[str]) -> str:
    where = f"the output {name}{found.path}" if name else "the whole"
    if found.found == "missing":
        return f"{where} must be {found.wanted} and is missing" + (_instead(name, outputs) if not found.path else "")
    return f"{where} must be {found.wanted} and is {found.found}"


def _listed(items: Sequence[str], joint: str) -> str:
    more = len(items) - _SHOWN
    return joint.join(items[:_SHOWN]) + (f"{joint}and {more} more" if more > 0 else "")
