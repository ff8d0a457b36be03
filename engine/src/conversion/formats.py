# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be converted to what, and with which options. Pure: needs neither OpenCascade nor the network."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from . import CONVERTER_REVISION, __version__
from .errors import InputError

#: A checked option: numbers as numbers, choices as words.
Option = float | str


@dataclass(frozen=True)
class Format:
    """A file format: `name` is also its file extension.

    `exact`: it holds surfaces, not triangles. `unit`: its files say in which unit they are. `up`: which axis points up by
    its custom. `storages`: its ways to be written, the default first.
    """

    name: str
    label: str
    media_type: str
    exact: bool = False
    unit: bool = False
    up: str = "z"
    storages: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        Format("step", "STEP", "model/step", exact=True, unit=True),
        Format("iges", "IGES", "model/iges", exact=True, unit=True),
        Format("brep", "BREP", "application/octet-stream", exact=True),
        Format("stl", "STL", "model/stl", storages=("binary", "ascii")),
        Format("obj", "OBJ", "model/obj"),
        Format("ply", "PLY", "application/octet-stream", storages=("binary", "ascii")),
        Format("glb", "GLB", "model/gltf-binary", unit=True, up="y"),
        Format("gltf", "glTF", "model/gltf+json", unit=True, up="y"),
        Format("3mf", "3MF", "model/3mf", unit=True),
        Format("off", "OFF", "application/octet-stream"),
    )
}
ALIASES: Mapping[str, str] = {"stp": "step", "igs": "iges"}

MESH_OUTPUTS = ("stl", "obj", "ply", "glb", "3mf")
#: These hold exact surfaces; they cannot be had back from triangles.
EXACT_OUTPUTS = ("step", "brep")
OUTPUT_FORMATS = (*MESH_OUTPUTS, *EXACT_OUTPUTS)

#: What can be asked of a file besides another format: the result is JSON numbers, or a picture.
PROPERTIES: Mapping[str, Format] = {
    name: Format(name, name.replace("-", " "), "application/json")
    for name in ("mass", "volume", "surface-area", "center-of-mass", "bounding-box")
}
PREVIEW = Format("png", "PNG", "image/png")
RESULTS: Mapping[str, Format] = {**FORMATS, **PROPERTIES, "png": PREVIEW}

#: Millimetres a unit.
LENGTHS: Mapping[str, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "in": 25.4, "ft": 304.8, "yd": 914.4}
#: Kilograms a unit.
MASSES: Mapping[str, float] = {"kg": 1.0, "g": 1e-3, "lb": 0.45359237}
_POWERS: Mapping[str, int] = {"volume": 3, "surface-area": 2, "center-of-mass": 1, "bounding-box": 1}


@dataclass(frozen=True)
class Range:
    """A number option: its bounds, both included, and its default, None where there is none."""

    default: float | None
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Choice:
    """An option that is one of some words; None: no default."""

    default: str | None
    words: tuple[str, ...]


@dataclass(frozen=True)
class Color:
    """A colour as six hexadecimal digits, or a word for none."""

    default: str


Rule = Range | Choice | Color

#: How finely curved surfaces become triangles. Meshes are already triangles and take none of these.
FINENESS: Mapping[str, Rule] = {
    "deflection": Range(None, 1e-6, 1000.0, "mm between the surface and its triangles"),
    "relative_deflection": Range(0.0005, 1e-5, 0.1, "of the size, between the surface and its triangles"),
    "angle": Range(15.0, 1.0, 60.0, "degrees between neighbouring triangles"),
}
VIEWS = ("iso", "front", "top", "right")
_PICTURE: Mapping[str, Rule] = {
    "width": Range(512.0, 16.0, 2048.0, "pixels"),
    "height": Range(512.0, 16.0, 2048.0, "pixels"),
    "view": Choice("iso", VIEWS),
    "background": Color("ffffff"),
}


def known(name: str) -> Format:
    """The format called `name` in any case; InputError names those that are known."""
    plain = name.lower()
    found = FORMATS.get(ALIASES.get(plain, plain))
    if found is None:
        raise InputError(f"Format '{name[:32]}' is unknown: use one of {', '.join(FORMATS)}.")
    return found


def needs_gpu(output: Format, checked: Mapping[str, Option], source_bytes: int, *, pixels: int, source: int) -> bool:
    """Whether a job is for an engine with a GPU: a preview of more than so many `pixels`, or of a file of more bytes than `source`."""
    if output is not PREVIEW:
        return False
    return float(checked["width"]) * float(checked["height"]) > pixels or source_bytes > source


def pair(source: str, output: str) -> tuple[Format, Format]:
    """Both formats of a conversion, or InputError when there is no such conversion."""
    src, dst = known(source), known(output)
    if dst.name not in OUTPUT_FORMATS:
        raise InputError(f"Nothing converts to {dst.label}: use one of {', '.join(OUTPUT_FORMATS)} as output format.")
    if dst.exact and not src.exact:
        raise InputError(
            f"Nothing converts to {dst.label} from {src.label}: {dst.label} holds exact surfaces, and triangles do not give "
            f"them back; use one of {', '.join(MESH_OUTPUTS)} as output format."
        )
    return src, dst


def allowed(source: Format, output: Format) -> dict[str, Rule]:
    """The options that a result of `output`, a format or a property or a picture, from `source` may have."""
    found: dict[str, Rule] = {
        "units": Choice(None, tuple(LENGTHS)),
        "up": Choice(source.up, ("y", "z")),
    }
    if source.exact and not output.exact and output.name not in PROPERTIES:
        found |= FINENESS
    if output.name in FORMATS:
        found["output_units"] = Choice(None, tuple(LENGTHS))
        found["output_up"] = Choice(output.up, ("y", "z"))
        if output.storages:
            found["storage"] = Choice(output.storages[0], output.storages)
    elif output.name == "mass":
        found["material_density"] = Range(None, 1e-6, 1e6, "kg/m3")
        found["output_unit"] = Choice("kg", tuple(MASSES))
    elif output.name in PROPERTIES:
        suffix = {1: "", 2: "2", 3: "3"}[_POWERS[output.name]]
        found["output_unit"] = Choice(f"mm{suffix}", tuple(f"{name}{suffix}" for name in LENGTHS))
    else:
        found |= _PICTURE
    return found


def operation_type(output: Format) -> str:
    """What an operation with this result is called in its record."""
    if output.name in FORMATS:
        return "file_conversion"
    return "file_preview" if output is PREVIEW else f"file_{output.name.replace('-', '_')}"


def required(given: dict[str, str], name: str, what: str) -> str:
    """Take an option that has no default out of `given`; InputError when it is not there."""
    if name not in given:
        raise InputError(f"Option {name} is missing: give {what}.")
    return given.pop(name)


def options(source: Format, output: Format, given: Mapping[str, str]) -> dict[str, Option]:
    """Checked options of a result, defaults filled in; InputError for a wrong one names the closest that is known.

    `units` and `output_units` have no default here: what was not given and is guessed is said in a warning.
    """
    rules = allowed(source, output)
    for name in given:
        if name not in rules:
            raise InputError(_unknown(name, source, output, rules))
    if "deflection" in given and "relative_deflection" in given:
        raise InputError("Options deflection and relative_deflection exclude each other: give one of them.")
    values: dict[str, Option] = {}
    for name, rule in rules.items():
        text = given.get(name)
        value = _value(name, rule, text)
        if value is not None and not (name == "relative_deflection" and "deflection" in given):
            values[name] = value
    if "material_density" in rules and "material_density" not in values:
        raise InputError(
            "Option material_density is missing: give the material's density in kg/m3, such as 7850 for steel."
        )
    return values


def _value(name: str, rule: Rule, text: str | None) -> Option | None:
    if text is None:
        return rule.default
    if isinstance(rule, Choice):
        if text.lower() not in rule.words:
            raise InputError(f"Option {name} is '{text[:32]}': use one of {', '.join(rule.words)}.")
        return text.lower()
    if isinstance(rule, Color):
        plain = text.removeprefix("#").lower()
        if plain != "transparent" and not re.fullmatch(r"[0-9a-f]{6}", plain):
            raise InputError(
                f"Option {name} is '{text[:32]}': give six hexadecimal digits, as in ffffff, or transparent."
            )
        return plain
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    whole = rule.unit != "pixels" or (math.isfinite(value) and value.is_integer())
    if not rule.low <= value <= rule.high or not whole:
        raise InputError(
            f"Option {name} is '{text[:32]}': give a {'whole ' if rule.unit == 'pixels' else ''}number from {rule.low:g} to "
            f"{rule.high:g} ({rule.unit})."
        )
    return value


def _unknown(name: str, source: Format, output: Format, rules: Mapping[str, object]) -> str:
    if name in FINENESS and not source.exact:
        return f"Option '{name}' is unknown for {source.label}, which holds triangles already: its options are {', '.join(rules)}."
    if name in ("storage", *FINENESS):
        return f"Option '{name}' is unknown for results in {output.label}: their options are {', '.join(rules)}."
    close = difflib.get_close_matches(name.lower(), rules, 1, 0.0)
    return f"Option '{name[:32]}' is unknown: did you mean {close[0]}? Options here are {', '.join(rules)}."


def cache_key(source_sha256: str, source: str, output: str, chosen: Mapping[str, Option]) -> str:
    """Names a conversion by content: equal keys mean equal results of this version of the converter."""
    text = "|".join([source_sha256, source, output, *(f"{k}={chosen[k]!r}" for k in sorted(chosen))])
    return f"conversion:{__version__}.{CONVERTER_REVISION}:{hashlib.sha256(text.encode()).hexdigest()}"


def check_head(source: Format, head: bytes) -> None:
    """Refuse at once what cannot be `source` by its first bytes (at least 256 of them, or all there are)."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    wrong = {
        "step": not text.startswith(b"ISO-10303-21"),
        "ply": not text.startswith(b"ply"),
        "glb": not head.startswith(b"glTF"),
        "gltf": not text.startswith(b"{"),
        "3mf": not head.startswith(b"PK"),
        "brep": not text.startswith((b"DBRep_DrawableShape", b"CASCADE Topology", b"Open CASCADE Topology")),
    }.get(source.name, False)
    if wrong:
        raise InputError(f"This is not a {source.label} file: its first bytes are not those of one.", 422)
