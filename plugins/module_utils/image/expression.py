# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an expression of a template is worth, and what it reads to be that: files, the environment, other services.

Every value is either known or `Unknown`, never guessed. There are two kinds of the unknown. What hangs on known things alone, by a function
that is not reckoned here, says nothing about whether an image has to be built: the things count. What comes from outside (the
environment, a secret's store, a data source) is written down in `Trace.unknown` as a sentence.
"""

from __future__ import annotations

import base64
import functools
import glob
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.image import hcl
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

_MOST_STEPS: Final = 200_000  # evaluations for one template: a thousand times what a large one takes
_LONGEST: Final = 1_000_000  # characters, or items: what is longer is not reckoned with here
_CLOCK: Final = frozenset({"timestamp", "uuidv4", "legacy_isotime", "legacy_strftime", "bcrypt"})
_OUTSIDE: Final = frozenset({"consul_key", "vault", "aws_secretsmanager", "aws_secretsmanager_raw"})


@dataclass(frozen=True)
class Unknown:
    """A value that cannot be said without Packer; `why` names what it hangs on."""

    why: str = "only Packer can say it"

    def __repr__(self) -> str:
        return "UNKNOWN"


@dataclass(frozen=True)
class SourceImage(Unknown):
    """The id of the image that a data source `amazon-ami` finds; `name` is the data source's."""

    name: str = ""


UNKNOWN: Final = Unknown()


@dataclass
class Trace:
    """What an evaluation came by.

    `files`: path -> who names it. `facts`: what was asked of the file system and the answer (which files match a pattern,
    whether one exists). `unknown`: sentences, each once.
    """

    files: dict[Path, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)

    def copy(self) -> Trace:
        return Trace(dict(self.files), dict(self.facts), dict(self.unknown))

    def add_unknown(self, sentence: str) -> None:
        self.unknown[sentence] = None


class Evaluation:
    """Evaluates expressions of one template. `resolve` gives what a name's first steps stand for: `("var", "family")`."""

    def __init__(self, directory: Path, trace: Trace, resolve: Callable[[Sequence[Any], str], tuple[Any, int]]) -> None:
        self._directory = directory
        self._trace = trace
        self._resolve = resolve
        self._steps = 0
        self._lenient = 0  # inside of what may fail without harm: try(), can(), a branch that may not be taken

    def value(self, node: hcl.Node, scope: Mapping[str, Any] | None = None) -> Any:
        """The value of an expression; in lists and objects each part is known or not by itself. Raises ImageError."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise ImageError(
                f"the template {self._directory} takes more than {_MOST_STEPS} steps to evaluate: make its loops shorter"
            )
        return self._OF[type(node)](self, node, scope or {})

    # --- Kinds of expressions ---

    def _literal(self, node: hcl.Literal, scope: Mapping[str, Any]) -> Any:
        return node.value

    def _template(self, node: hcl.Template, scope: Mapping[str, Any]) -> Any:
        parts = [self.value(part, scope) for part in node.parts]
        if unknown := _first_unknown(parts):
            return unknown
        try:
            return "".join(map(_text, parts))
        except TypeError:
            return UNKNOWN

    def _list(self, node: hcl.List, scope: Mapping[str, Any]) -> Any:
        return [self.value(item, scope) for item in node.items]

    def _object(self, node: hcl.Object, scope: Mapping[str, Any]) -> Any:
        made: dict[str, Any] = {}
        unknown: Unknown | None = None
        for key, item in node.items:
            name, value = self.value(key, scope), self.value(item, scope)
            if isinstance(name, Unknown):
                unknown = name
            else:
                made[_text(name) if isinstance(name, str | int | float | bool) else repr(name)] = value
        return unknown or made

    def _conditional(self, node: hcl.Conditional, scope: Mapping[str, Any]) -> Any:
        condition = _boolean(self.value(node.condition, scope))
        if isinstance(condition, bool):
            return self.value(node.yes if condition else node.no, scope)
        with self._may_fail():
            yes, no = self.value(node.yes, scope), self.value(node.no, scope)
        return yes if _known(yes) and yes == no else _as_unknown(condition)

    def _chain(self, node: hcl.Chain, scope: Mapping[str, Any]) -> Any:
        left = self.value(node.first, scope)
        for operator, operand in node.rest:
            if operator in ("&&", "||"):
                left = self._logical(operator, left, operand, scope)
            else:
                left = _operate(operator, left, self.value(operand, scope))
        return left

    def _logical(self, operator: str, left: Any, operand: hcl.Node, scope: Mapping[str, Any]) -> Any:
        """HCL evaluates both sides always."""
        right = _boolean(self.value(operand, scope))
        left = _boolean(left)
        decides = operator == "||"
        if left is decides or right is decides:
            return decides
        return _first_unknown([left, right]) or (right if isinstance(left, bool) else UNKNOWN)

    def _unary(self, node: hcl.Unary, scope: Mapping[str, Any]) -> Any:
        value = self.value(node.operand, scope)
        if isinstance(value, Unknown):
            return value
        if node.operator == "!":
            value = _boolean(value)
            return not value if isinstance(value, bool) else UNKNOWN
        value = _number(value)
        return -value if isinstance(value, int | float) else UNKNOWN

    def _traversal(self, node: hcl.Traversal, scope: Mapping[str, Any]) -> Any:
        keys = [None if step is None else self.value(step, scope) for step in node.steps]
        if not isinstance(node.root, str):
            return _walk(self.value(node.root, scope), keys)
        if node.root in scope:
            return _walk(scope[node.root], keys)
        value, used = self._resolve([node.root, *keys], node.at)
        return _walk(value, keys[max(used - 1, 0) :])

    def _for(self, node: hcl.For, scope: Mapping[str, Any]) -> Any:
        pairs = _pairs(self.value(node.source, scope))
        if isinstance(pairs, Unknown):
            # What the body reads is looked for all the same, with its names standing for nothing known.
            with self._may_fail():
                self.value(node.value, {**scope, **dict.fromkeys(node.names, pairs)})
            return pairs
        items: list[tuple[Any, Any]] = []
        for key, element in pairs:
            names = (key, element) if len(node.names) == 2 else (element,)
            inner = {**scope, **dict(zip(node.names, names, strict=False))}
            if node.condition is not None:
                chosen = _boolean(self.value(node.condition, inner))
                if not isinstance(chosen, bool):
                    return _as_unknown(chosen)
                if not chosen:
                    continue
            items.append((self.value(node.key, inner) if node.key else None, self.value(node.value, inner)))
        return _collected(node, items)

    def _call(self, node: hcl.Call, scope: Mapping[str, Any]) -> Any:
        name = node.name.removeprefix("core::")
        if name in ("try", "can", "coalesce"):
            return self._first_good(name, node, scope)
        arguments = [self.value(argument, scope) for argument in node.arguments]
        if node.expands and arguments:
            last = arguments.pop()
            if not isinstance(last, list):
                return _as_unknown(last)
            arguments += last
        if name == "env":
            shown = f"env({json.dumps(arguments[0])})" if arguments and isinstance(arguments[0], str) else "env()"
            return self._outside(
                f"{node.at}: {shown} is read from the environment, which nobody can compare later; give the variable its value with "
                "variables or var_files"
            )
        if name in _CLOCK:
            return Unknown(f"{name}() is different each time")
        if name in _OUTSIDE:
            return self._outside(
                f"{node.at}: {name}() asks another service, whose answer may change; give the value as a variable"
            )
        if name in _READERS:
            return _READERS[name](self, node, arguments)
        if name not in _KNOWN:
            return self._outside(
                f"{node.at}: the function {name}() is not known here, so what it reads is not known either; give its value as a variable"
            )
        if not all(map(_known_throughout, arguments)):
            return _first_unknown(arguments, deep=True) or UNKNOWN
        return _pure(name, arguments)

    def _first_good(self, name: str, node: hcl.Call, scope: Mapping[str, Any]) -> Any:
        """try, can, coalesce: arguments may fail."""
        with self._may_fail():
            values = [self.value(argument, scope) for argument in node.arguments]
        if name == "can":
            return (
                True
                if values and _known_throughout(values[0]) and isinstance(node.arguments[0], hcl.Literal)
                else UNKNOWN
            )
        if name == "coalesce":
            for value in values:
                if isinstance(value, Unknown):
                    return value
                if value is not None and value != "":
                    return value
            return UNKNOWN
        return values[0] if values and _known_throughout(values[0]) else _first_unknown(values, deep=True) or UNKNOWN

    # --- What is read ---

    def _outside(self, sentence: str) -> Unknown:
        self._trace.add_unknown(sentence)
        return Unknown(sentence.partition(": ")[2].partition(",")[0])

    @contextmanager
    def _may_fail(self) -> Iterator[None]:
        self._lenient += 1
        try:
            yield
        finally:
            self._lenient -= 1

    def path(self, text: str) -> Path:
        """A path as Packer takes it: `~` is the user's home, and what is relative lies in the template's directory."""
        return self._directory / expanded(text)

    def _path_of(self, node: hcl.Call, arguments: Sequence[Any]) -> Path | Unknown:
        given = arguments[0] if arguments else UNKNOWN
        if isinstance(given, str) and "\0" not in given:
            return self.path(given)
        why = given.why if isinstance(given, Unknown) else "it is no text"
        return self._outside(
            f"{node.at}: which file {node.name}() reads cannot be said, because {why}; name the file in the template, or give its path as a "
            "variable"
        )

    def _file(self, node: hcl.Call, arguments: Sequence[Any]) -> Any:
        path = self._path_of(node, arguments)
        if isinstance(path, Unknown):
            return path
        if not path.is_file():
            self._trace.facts[f"{node.name} {arguments[0]}"] = "absent"
            if self._lenient:
                return UNKNOWN
            raise ImageError(
                f"{node.at}: the file {path} that {node.name}() reads does not exist: correct the path, or make the file"
            )
        self._trace.files[path] = node.at
        try:
            content = path.read_bytes() if path.stat().st_size <= _LONGEST else b""
        except OSError as exc:
            raise ImageError(f"{node.at}: {path} cannot be read: {exc.strerror}; make it readable") from exc
        if node.name == "filebase64":
            return base64.b64encode(content).decode() if content else UNKNOWN
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return UNKNOWN
        return text if text or not path.stat().st_size else UNKNOWN

    def _templatefile(self, node: hcl.Call, arguments: Sequence[Any]) -> Any:
        text = self._file(node, arguments)
        if isinstance(text, Unknown):
            return text
        names = arguments[1] if len(arguments) > 1 else {}
        rendered = hcl.parse_template(text, str(arguments[0]))
        return self.value(rendered, names if isinstance(names, Mapping) else {})

    def _fileset(self, node: hcl.Call, arguments: Sequence[Any]) -> Any:
        path = self._path_of(node, arguments)
        pattern = arguments[1] if len(arguments) > 1 else UNKNOWN
        if isinstance(path, Unknown):
            return path
        if not isinstance(pattern, str):
            return self._path_of(node, [pattern])
        found: set[str] = set()
        for one in braces(pattern):
            found.update(glob.glob(one, root_dir=path, recursive=True, include_hidden=True))  # noqa: PTH207 (names below path)
        names = sorted(name.replace(os.sep, "/") for name in found if (path / name).is_file())
        self._trace.facts[f"fileset {arguments[0]} {pattern}"] = " ".join(names)
        self._trace.files.update({path / name: node.at for name in names})
        return names

    def _fileexists(self, node: hcl.Call, arguments: Sequence[Any]) -> Any:
        path = self._path_of(node, arguments)
        if isinstance(path, Unknown):
            return path
        self._trace.facts[f"fileexists {arguments[0]}"] = "there" if path.is_file() else "absent"
        return path.is_file()

    def _abspath(self, node: hcl.Call, arguments: Sequence[Any]) -> Any:
        given = arguments[0] if arguments else UNKNOWN
        return os.path.normpath(self.path(given)) if isinstance(given, str) else _as_unknown(given)

    def _pathexpand(self, node: hcl.Call, arguments: Sequence[Any]) -> Any:
        given = arguments[0] if arguments else UNKNOWN
        return expanded(given) if isinstance(given, str) else _as_unknown(given)

    _OF: Mapping[type, Callable[[Evaluation, Any, Mapping[str, Any]], Any]] = {
        hcl.Literal: _literal,
        hcl.Template: _template,
        hcl.Traversal: _traversal,
        hcl.Call: _call,
        hcl.List: _list,
        hcl.Object: _object,
        hcl.Conditional: _conditional,
        hcl.Chain: _chain,
        hcl.Unary: _unary,
        hcl.For: _for,
    }


_READERS: Final[Mapping[str, Callable[[Evaluation, hcl.Call, Sequence[Any]], Any]]] = {
    "file": Evaluation._file,
    "filebase64": Evaluation._file,
    "templatefile": Evaluation._templatefile,
    "fileset": Evaluation._fileset,
    "fileexists": Evaluation._fileexists,
    "abspath": Evaluation._abspath,
    "pathexpand": Evaluation._pathexpand,
}


def expanded(text: str) -> str:
    """A path with `~` filled in, as far as there is such a user."""
    return os.path.expanduser(text)  # noqa: PTH111 (pathlib's raises for a user that is not there)


# --- Values ------------------------------------------------------------------------------------------------------


def _known(value: Any) -> bool:
    return not isinstance(value, Unknown)


def _known_throughout(value: Any) -> bool:
    return _first_unknown([value], deep=True) is None


def _first_unknown(values: Sequence[Any], *, deep: bool = False) -> Unknown | None:
    for value in values:
        if isinstance(value, Unknown):
            return value
        if deep and isinstance(value, list | dict):
            inner = list(value.values()) if isinstance(value, dict) else value
            if unknown := _first_unknown(inner, deep=True):
                return unknown
    return None


def first_unknown(value: Any) -> Unknown | None:
    """What in a value cannot be said; None when all of it is known."""
    return _first_unknown([value], deep=True)


def _as_unknown(value: Any) -> Unknown:
    return value if isinstance(value, Unknown) else UNKNOWN


def _text(value: Any) -> str:
    """A value as a template writes it. Raises TypeError for what has no text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
    raise TypeError("no text")


def _boolean(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, UNKNOWN) if isinstance(value, str) else value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            number = float(value) if set(value) & set(".eE") else int(value[:400])
        except ValueError:
            return UNKNOWN
        return number if math.isfinite(number) else UNKNOWN
    return UNKNOWN if isinstance(value, bool) else value


def _operate(operator: str, left: Any, right: Any) -> Any:
    if not _known_throughout(left) or not _known_throughout(right):
        return _first_unknown([left, right], deep=True)
    if operator in ("==", "!="):
        same = left == right and isinstance(left, bool) == isinstance(right, bool)
        return same == (operator == "==")
    left, right = _number(left), _number(right)
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        return UNKNOWN
    if operator in ("<", ">", "<=", ">="):
        return {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[operator]
    try:
        result = _ARITHMETIC[operator](left, right)
    except (ArithmeticError, ValueError):
        return UNKNOWN
    return result if abs(result) < 1e300 else UNKNOWN


_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b if isinstance(a, int) and isinstance(b, int) and a % b == 0 else a / b,
    "%": lambda a, b: math.fmod(a, b) if isinstance(a, float) or isinstance(b, float) else int(math.fmod(a, b)),
}


def _walk(value: Any, keys: Sequence[Any]) -> Any:
    """`value` by attributes and indices; None is `*`, for which the rest applies to each element."""
    for at, key in enumerate(keys):
        if isinstance(value, Unknown):
            return value
        if key is None:
            elements = value if isinstance(value, list) else [] if value is None else [value]
            return [_walk(element, keys[at + 1 :]) for element in elements]
        if isinstance(key, Unknown):
            return key
        if isinstance(value, Mapping):
            value = value.get(key if isinstance(key, str) else str(key), UNKNOWN)
        elif isinstance(value, list):
            index = _number(key)
            value = value[index] if isinstance(index, int) and -1 < index < len(value) else UNKNOWN
        else:
            return UNKNOWN
    return value


def _pairs(value: Any) -> list[tuple[Any, Any]] | Unknown:
    if isinstance(value, list):
        return list(enumerate(value))
    if isinstance(value, Mapping):
        return sorted(value.items())
    return _as_unknown(value)


def _collected(node: hcl.For, items: Sequence[tuple[Any, Any]]) -> Any:
    if node.text:
        try:
            return _first_unknown([value for dummy, value in items]) or "".join(_text(value) for dummy, value in items)
        except TypeError:
            return UNKNOWN
    if node.key is None:
        return [value for dummy, value in items]
    made: dict[str, Any] = {}
    for key, value in items:
        if isinstance(key, Unknown) or not isinstance(key, str | int | float):
            return _as_unknown(key)
        if node.grouped:
            made.setdefault(_text(key), []).append(value)
        else:
            made[_text(key)] = value
    return made


def braces(pattern: str) -> list[str]:
    """`{a,b}*` as `a*` and `b*`."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found or len(pattern) > 1000:
        return [pattern]
    return [
        one
        for choice in found[1].split(",")[:50]
        for one in braces(pattern[: found.start()] + choice + pattern[found.end() :])
    ]


# --- Functions ---------------------------------------------------------------------------------------------------


def _pure(name: str, arguments: Sequence[Any]) -> Any:
    """A function of its arguments alone. What is not reckoned here is UNKNOWN, and hangs on nothing else all the same."""
    if name not in _FUNCTIONS:
        return UNKNOWN
    try:
        result = _FUNCTIONS[name](*arguments)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError):
        return UNKNOWN  # Packer says what is wrong with it
    too_long = isinstance(result, str | list | dict) and len(result) > _LONGEST
    return UNKNOWN if too_long else result


def _flatten(value: Any) -> list[Any]:
    return [one for item in value for one in (_flatten(item) if isinstance(item, list) else [item])]


def _distinct(value: Sequence[Any]) -> list[Any]:
    return functools.reduce(lambda kept, one: kept if one in kept else [*kept, one], value[:1000], [])


def _format(pattern: str, *values: Any) -> str:
    """Only %s, %d, %v, %q and %%: others have rules of their own."""
    left = list(values)

    def fill(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if found[0] not in ("%s", "%d", "%v"):
            raise ValueError(found[0])
        return _text(left.pop(0))

    return re.sub(r"%[^a-zA-Z%]*[a-zA-Z%]", fill, pattern)


def _substr(text: str, start: int, length: int) -> str:
    start = start + len(text) if start < 0 else start
    return text[start:] if length < 0 else text[start : start + length]


def _replace(text: str, old: str, new: str) -> Any:
    return UNKNOWN if len(old) > 1 and old[0] == old[-1] == "/" else text.replace(old, new)


def _lookup(names: Mapping[str, Any], key: str, *default: Any) -> Any:
    return names[key] if key in names else default[0]


def _title(text: str) -> str:
    return re.sub(r"(?<!\S)[a-z]", lambda found: found[0].upper(), text)


def _merge(*objects: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for one in objects if one is not None for key, value in one.items()}


def _json(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _range(*bounds: int) -> Any:
    made = range(*bounds)
    return list(made) if len(made) < 10_000 else UNKNOWN


def _hashed(algorithm: str) -> Callable[[str], str]:
    return lambda text: hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": lambda value: abs(_number(value)),
    "alltrue": lambda values: all(value in (True, "true") for value in values),
    "anytrue": lambda values: any(value in (True, "true") for value in values),
    "base64decode": lambda text: base64.b64decode(text, validate=True).decode(),
    "base64encode": lambda text: base64.b64encode(text.encode()).decode(),
    "basename": lambda text: os.path.basename(text.rstrip("/")) or text[:1],  # noqa: PTH119 (text, as Packer takes it)
    "ceil": lambda value: math.ceil(_number(value)),
    "chomp": lambda text: text.rstrip("\r\n"),
    "coalescelist": lambda *lists: next(one for one in lists if one),
    "compact": lambda values: [value for value in values if value not in ("", None)],
    "concat": lambda *lists: [item for one in lists for item in one],
    "contains": lambda values, value: value in values,
    "convert": lambda value, kind: UNKNOWN,
    "dirname": lambda text: os.path.dirname(text) or ".",  # noqa: PTH120
    "distinct": _distinct,
    "element": lambda values, index: values[index % len(values)],
    "endswith": lambda text, end: text.endswith(end),
    "flatten": _flatten,
    "floor": lambda value: math.floor(_number(value)),
    "format": _format,
    "index": lambda values, value: values.index(value),
    "join": lambda separator, *lists: separator.join(_text(item) for one in lists for item in one),
    "jsondecode": json.loads,
    "jsonencode": _json,
    "keys": sorted,
    "length": len,
    "lookup": _lookup,
    "lower": str.lower,
    "max": lambda *values: max(map(_number, values)),
    "md5": _hashed("md5"),
    "merge": _merge,
    "min": lambda *values: min(map(_number, values)),
    "range": _range,
    "replace": _replace,
    "reverse": lambda values: list(reversed(values)),
    "sha1": _hashed("sha1"),
    "sha256": _hashed("sha256"),
    "sha512": _hashed("sha512"),
    "slice": lambda values, start, end: values[start:end],
    "sort": lambda values: sorted(map(_text, values)),
    "split": lambda separator, text: text.split(separator) if separator else list(text),
    "startswith": lambda text, start: text.startswith(start),
    "strcontains": lambda text, part: part in text,
    "strrev": lambda text: text[::-1],
    "substr": _substr,
    "sum": lambda values: sum(map(_number, values)),
    "title": _title,
    "toset": lambda values: _distinct(sorted(values)),
    "trim": lambda text, characters: text.strip(characters),
    "trimprefix": lambda text, start: text.removeprefix(start),
    "trimspace": str.strip,
    "trimsuffix": lambda text, end: text.removesuffix(end),
    "upper": str.upper,
    "values": lambda names: [names[name] for name in sorted(names)],
    "zipmap": lambda keys, values: dict(zip(keys, values, strict=True)),
}

# Functions of Packer 1.12 to 1.15 that hang on their arguments alone.
_KNOWN: Final = frozenset(_FUNCTIONS) | frozenset(
    {
        "base64gzip", "chunklist", "cidrhost", "cidrnetmask", "cidrsubnet", "cidrsubnets", "csvdecode", "formatdate", "formatlist",
        "indent", "log", "parseint", "pow", "regex", "regexall", "regex_replace", "rfc3339_parse", "rsadecrypt", "setintersection",
        "setproduct", "setunion", "signum", "textdecodebase64", "textencodebase64", "timeadd", "tobool", "tolist", "tomap", "tonumber",
        "tostring", "unix_timestamp_parse", "urlencode", "uuidv5", "yamldecode", "yamlencode",
    }
)  # fmt: skip
