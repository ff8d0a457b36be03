# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be converted to what, and with which options. Pure: needs neither OpenCascade nor the network."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from . import CONVERTER_REVISION
from .errors import InputError


@dataclass(frozen=True)
class Format:
    """A file format: `name` is also its file extension."""

    name: str
    label: str
    media_type: str


FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        Format("step", "STEP", "model/step"),
        Format("stl", "STL", "model/stl"),
        Format("obj", "OBJ", "model/obj"),
        Format("ply", "PLY", "application/octet-stream"),
        Format("glb", "GLB", "model/gltf-binary"),
    )
}

#: A STEP file holds exact surfaces; they cannot be had back from triangles.
OUTPUT_FORMATS = tuple(name for name in FORMATS if name != "step")


@dataclass(frozen=True)
class Range:
    """A number option: its default and its bounds, both included."""

    default: float
    low: float
    high: float
    unit: str


#: How finely curved STEP surfaces become triangles. Meshes are already triangles and take no options.
STEP_OPTIONS: Mapping[str, Range] = {
    "deflection": Range(0.1, 0.001, 100.0, "mm between the surface and its triangles"),
    "angle": Range(15.0, 1.0, 60.0, "degrees between neighbouring triangles"),
}


def known(name: str) -> Format:
    """The format called `name` in any case; InputError names those that are known."""
    found = FORMATS.get(name.lower())
    if found is None:
        raise InputError(f"Format '{name[:32]}' is unknown: use one of {', '.join(FORMATS)}.")
    return found


def pair(source: str, output: str) -> tuple[Format, Format]:
    """Both formats of a conversion, or InputError when there is no such conversion."""
    src, dst = known(source), known(output)
    if dst.name not in OUTPUT_FORMATS:
        raise InputError(
            f"Nothing converts to {dst.label}, which holds exact surfaces: "
            f"use one of {', '.join(OUTPUT_FORMATS)} as output format."
        )
    return src, dst


def options(source: Format, given: Mapping[str, str]) -> dict[str, float]:
    """Checked options of a conversion from `source`, defaults filled in; InputError for a wrong one."""
    allowed = STEP_OPTIONS if source.name == "step" else {}
    for name in given:
        if name not in allowed:
            what = ", ".join(allowed) if allowed else "none, since it holds triangles already"
            raise InputError(f"Option '{name[:32]}' is unknown: options for {source.label} are {what}.")
    values: dict[str, float] = {}
    for name, bounds in allowed.items():
        text = given.get(name)
        try:
            value = bounds.default if text is None else float(text)
        except ValueError:
            value = math.nan
        if not bounds.low <= value <= bounds.high:
            raise InputError(
                f"Option {name} is '{(text or '')[:32]}': give a number from {bounds.low:g} to {bounds.high:g} "
                f"({bounds.unit})."
            )
        values[name] = value
    return values


def cache_key(source_sha256: str, source: str, output: str, chosen: Mapping[str, float]) -> str:
    """Names a conversion by content: equal keys mean equal results of this converter revision."""
    text = "|".join([source_sha256, source, output, *(f"{k}={chosen[k]!r}" for k in sorted(chosen))])
    return f"conversion:{CONVERTER_REVISION}:{hashlib.sha256(text.encode()).hexdigest()}"


def check_head(source: Format, head: bytes) -> None:
    """Refuse at once what cannot be `source` by its first bytes (at least 256 of them, or all there are)."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    wrong = {
        "step": not text.startswith(b"ISO-10303-21"),
        "ply": not text.startswith(b"ply"),
        "glb": not head.startswith(b"glTF"),
    }.get(source.name, False)
    if wrong:
        raise InputError(f"This is not a {source.label} file: its first bytes are not those of one.", 422)
