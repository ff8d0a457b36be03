# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON Schema over the outputs by name. Refusals say what is wanted and what type is there, never a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError
from ansible_collections.boring.fleet.plugins.module_utils.stack.types import Mismatch, type_of

try:
    import jsonschema
    from referencing import Registry
except ImportError:
    jsonschema = Registry = None  # type: ignore[assignment,misc]

_MISSING: Final = "missing"


def schema_mismatches(schema: Any, values: Mapping[str, Any]) -> Iterator[tuple[str, Mismatch]]:
    """What the schema refuses: an output's name ("" for the whole) and what is wrong there. Raises StackError."""
    if jsonschema is None:
        raise StackError(
            "schema needs the Python library jsonschema 4.18 or newer on the controller; 'pip install jsonschema', or use types"
        )
    if not isinstance(schema, (dict, bool)):
        raise StackError("schema must be a JSON Schema: a mapping, or a file that holds one")
    problem = ""
    found: list[Any] = []
    try:
        validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        validator.check_schema(schema)
        # An empty registry: a schema must not make the controller fetch something.
        found = list(validator(schema, registry=Registry()).iter_errors(dict(values)))
    except jsonschema.SchemaError as exc:
        problem = "it is no valid JSON Schema at " + ("/".join(map(str, exc.absolute_path)) or "its top")
    except Exception as exc:  # the library has several for a reference that leads nowhere, and they changed names
        problem = f"it cannot be used ({type(exc).__name__}): a $ref must stay inside the schema"
    if problem:
        raise StackError(f"schema is refused: {problem}")
    for error in sorted(found, key=lambda one: [str(part) for part in one.absolute_path]):
        yield from _explain(error)


def _explain(error: Any) -> Iterator[tuple[str, Mismatch]]:
    path = list(error.absolute_path)
    name = str(path[0]) if path else ""
    inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path[1:])
    if error.validator == "required":
        for wanted in error.validator_value:
            if wanted not in error.instance:
                kind = _wanted((error.schema.get("properties") or {}).get(wanted, {}))
                yield (
                    (name, Mismatch(f"{inside}.{wanted}", kind, _MISSING))
                    if name
                    else (
                        str(wanted),
                        Mismatch("", kind, _MISSING),
                    )
                )
    elif error.validator == "additionalProperties" and isinstance(error.instance, dict) and not name:
        known = error.schema.get("properties") or {}
        for extra in sorted(set(error.instance) - set(known)):
            yield str(extra), Mismatch("", "no such output", type_of(error.instance[extra]))
    elif error.validator == "type":
        yield name, Mismatch(inside, _wanted(error.schema), type_of(error.instance))
    else:
        rule = str(error.validator)
        value = error.validator_value
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            rule = f"{rule} {value}"
        yield name, Mismatch(inside, f"{_wanted(error.schema)} with {rule}", type_of(error.instance))


def _wanted(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return " | ".join(kind) if isinstance(kind, list) else str(kind or "a value")
