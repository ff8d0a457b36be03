# SPDX-License-Identifier: GPL-3.0-or-later
"""One job: a file in, a file out, with what was found on the way. Never silently wrong: compared, warned or refused.

Between reading and writing everything is millimetres with Z up: either exact shapes (exact.py) or a scene of triangles
(scene.py). Every result is read back from the bytes that were written and compared with its source.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..formats import EXACT_OUTPUTS, FORMATS, LENGTHS, MASSES, PROPERTIES, Format, Option
from ..progress import MESHED, PROGRESS, READ
from . import exact as exact_shapes
from . import gltf, obj, off, ply, preview, stl, threemf
from .measure import Statistics, compare, statistics
from .scene import IDENTITY, Matrix, Points, Scene, local_origin, refuse_not_finite, welded

#: From Y up to Z up: x stays, z becomes -y, y becomes z.
_UPRIGHT: Matrix = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
_READERS: Mapping[str, Callable[[bytes], Scene]] = {
    "stl": stl.read,
    "obj": obj.read,
    "ply": ply.read,
    "off": off.read,
    "glb": gltf.read_glb,
    "gltf": gltf.read_gltf,
    "3mf": threemf.read,
}
_LARGEST = 1e30  # mm; beyond, squares of coordinates are not numbers of 64 bits any more


@dataclass(frozen=True)
class Result:
    """What is said about a finished job: sentences, and the surface in numbers (mm, mm2, mm3)."""

    warnings: list[str] = field(default_factory=list)
    statistics: dict[str, Any] = field(default_factory=dict)


def convert(source: Path, src_format: str, target: Path, output_format: str, options: Mapping[str, Option]) -> Result:
    """Write to `target` what `output_format` names: a format, a property (as JSON) or a picture (png).

    `options` are those of formats.options. InputError, status 422, says in one sentence what is wrong with the file.
    """
    form = FORMATS[src_format]
    guessed = _unit_warnings(form, output_format, options)
    turn = _turn(form, str(options["up"]))
    if form.exact:
        shape = exact_shapes.read(source, src_format, _scale(form, options))
        PROGRESS.get()(READ)
        if output_format in EXACT_OUTPUTS or output_format in PROPERTIES:
            found = exact_shapes.measures(shape.turned(turn))
            if output_format in PROPERTIES:
                _write_property(target, output_format, options, found)
            else:
                _write_exact(shape, target, FORMATS[output_format], options, turn)
            return Result([*shape.warnings, *guessed], found.record())
        scene = exact_shapes.tessellated(shape, _fineness(options))
        exact_shapes.check_box(shape, scene)
    else:
        scene = _read(source.read_bytes(), form, _scale(form, options))
        PROGRESS.get()(READ)
    scene = scene.transformed(turn).warned(*guessed)
    found = statistics(scene)
    _refuse_empty(found, scene, form)
    PROGRESS.get()(MESHED)
    if found.volume is not None and found.volume < 0:
        scene = scene.warned("The surface is turned inside out: its volume counts as negative.")
    if output_format in FORMATS:
        return _written(scene, found, target, FORMATS[output_format], options)
    if output_format in PROPERTIES:
        _write_property(target, output_format, options, found)
    else:
        size = int(options["width"]), int(options["height"])
        target.write_bytes(preview.render(scene, *size, str(options["view"]), str(options["background"])))
    return Result(list(scene.warnings), found.record())


def _written(scene: Scene, found: Statistics, target: Path, output: Format, options: Mapping[str, Option]) -> Result:
    """Write triangles, read them back, compare."""
    factor = 1.0 if output.unit else 1 / LENGTHS[str(options.get("output_units", "mm"))]
    turn: Matrix = np.asarray(np.linalg.inv(_turn(output, str(options["output_up"]))))
    placed = scene.transformed(np.diag([factor, factor, factor, 1.0])).transformed(turn)
    data, moved, warnings = _encoded(placed, output.name, str(options.get("storage", "binary")))
    del placed
    again = _READERS[output.name](data).transformed(np.asarray(np.linalg.inv(turn)))
    again = again.transformed(np.diag([1 / factor, 1 / factor, 1 / factor, 1.0]))
    shift = np.linalg.inv(turn)[:3, :3] @ moved / factor
    result = statistics(again)
    result = replace(result, low=tuple((result.low + shift).tolist()), high=tuple((result.high + shift).tolist()))
    compare(found, result, output.label)
    target.write_bytes(data)
    where = replace(result, low=tuple((result.low - shift).tolist()), high=tuple((result.high - shift).tolist()))
    return Result(list(scene.warned(*warnings).warnings), where.record())


def _encoded(scene: Scene, name: str, storage: str) -> tuple[bytes, Points, list[str]]:
    """The file, how far it was moved, and what it could not carry."""
    nowhere = np.zeros(3)
    colored = any(mesh.paint is not None for mesh in scene.meshes)
    instances = sum(1 for _ in scene.instances())
    named = any(mesh.name for mesh in scene.meshes) or any(name for name, _, _ in scene.instances())
    lost = [word for word, is_lost in (("colours", colored and name != "glb"),
                                       ("names", named and name in ("stl", "ply")),
                                       ("the assembly's tree", instances > 1 and name != "glb")) if is_lost]  # fmt: skip
    label = FORMATS[name].label
    warnings = [f"{_listed(lost)} not carried over to {label}."] if lost else []
    if name == "glb":
        if _sheared(scene):
            scene = Scene.single(*_flat(scene))
            warnings.append("Instances became one mesh: they are skewed, which GLB cannot say.")
        if any(local_origin(mesh) is not None for mesh in scene.meshes):
            warnings.append(
                "A part is far from the origin: in GLB its vertices begin near it, and a node puts it in its place."
            )
        return gltf.write(scene), nowhere, warnings
    if name in ("3mf", "obj"):
        far = any(local_origin(mesh) is not None for mesh in scene.meshes)
        form = "%.17g" if far else "%.9g"
        if name == "3mf":
            return threemf.write(scene, form), nowhere, warnings
        return obj.write((welded(mesh) for mesh in scene.placed()), form), nowhere, warnings
    mesh = scene.flat()
    origin = local_origin(mesh)
    form = "%.9g" if origin is None else "%.17g"
    if name == "ply":
        return (
            ply.write(welded(mesh), ascii_=storage == "ascii", double=origin is not None, form=form),
            nowhere,
            warnings,
        )
    if origin is None or storage == "ascii":
        return stl.write(mesh, ascii_=storage == "ascii", form=form), nowhere, warnings
    warnings.append(
        f"The part was moved by ({', '.join(f'{-value:.6f}' for value in origin)}) to the origin: binary STL keeps "
        "too few digits so far out."
    )
    return stl.write(replace(mesh, vertices=mesh.vertices - origin)), origin, warnings


def _flat(scene: Scene) -> tuple[Points, Any]:
    mesh = scene.flat()
    return mesh.vertices, mesh.faces


def _listed(words: list[str]) -> str:
    text = " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
    return f"{text[0].upper()}{text[1:]} {'are' if len(words) > 1 or words[0] in ('colours', 'names') else 'is'}"


def _sheared(scene: Scene) -> bool:
    """Whether a node's axes are not at right angles, which glTF's readers cannot follow."""
    stack = list(scene.roots)
    while stack:
        node = stack.pop()
        stack += node.children
        if node.matrix is not IDENTITY:
            axes = node.matrix[:3, :3]
            square = axes.T @ axes
            if np.abs(square - np.diag(np.diag(square))).max() > 1e-6 * np.abs(square).max():
                return True
    return False


def _read(data: bytes, form: Format, scale: float) -> Scene:
    try:
        with np.errstate(all="ignore"):
            scene = _READERS[form.name](data)
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as exc:
        raise InputError(
            f"The {form.label} file cannot be read: it is damaged, cut off or of another format.", 422
        ) from exc
    for mesh in scene.meshes:
        refuse_not_finite(mesh.vertices, mesh.faces.ravel(), form.label)
    return scene.transformed(np.diag([scale, scale, scale, 1.0]))


def _refuse_empty(found: Statistics, scene: Scene, form: Format) -> None:
    if found.triangles == 0:
        points = any(len(mesh.vertices) for mesh in scene.meshes)
        what = "points or lines but no triangles" if points else "no surface"
        raise InputError(f"The {form.label} file holds {what}: there is nothing to convert.", 422)
    if not np.isfinite([found.area, *found.low, *found.high]).all() or np.abs([found.low, found.high]).max() > _LARGEST:
        raise InputError(f"The {form.label} file has coordinates beyond {_LARGEST:g} mm: check its unit.", 422)
    if found.area == 0:
        raise InputError(f"The {form.label} file's triangles have no area: there is nothing to convert.", 422)


def _unit_warnings(form: Format, output_format: str, options: Mapping[str, Option]) -> list[str]:
    warnings = []
    if form.unit and "units" in options:
        warnings.append(f"Option units was not used: the {form.label} file says itself in which unit it is.")
    if not form.unit and "units" not in options:
        warnings.append(f"The {form.label} file does not say its unit: its lengths were taken as millimetres.")
    if output_format in FORMATS and FORMATS[output_format].unit and "output_units" in options:
        label = FORMATS[output_format].label
        warnings.append(f"Option output_units was not used: {label} has a unit of its own.")
    return warnings


def _scale(form: Format, options: Mapping[str, Option]) -> float:
    return 1.0 if form.unit else LENGTHS[str(options.get("units", "mm"))]


def _turn(form: Format, up: str) -> Matrix:
    """From a file's axes, as its reader gives them when the format's custom holds, to Z up."""
    if up == form.up:
        return IDENTITY
    return _UPRIGHT if up == "y" else _UPRIGHT.T


def _fineness(options: Mapping[str, Option]) -> exact_shapes.Fineness:
    given = options.get("deflection")
    return exact_shapes.Fineness(
        None if given is None else float(given),
        float(options.get("relative_deflection", 0.0005)),
        float(options["angle"]),
    )


def _write_exact(
    shape: exact_shapes.Exact, target: Path, output: Format, options: Mapping[str, Option], turn: Matrix
) -> None:
    back = np.asarray(np.linalg.inv(_turn(output, str(options["output_up"]))))
    factor = 1.0 if output.unit else 1 / LENGTHS[str(options.get("output_units", "mm"))]
    exact_shapes.write(shape, target, output.name, factor, back @ turn)


def _write_property(target: Path, name: str, options: Mapping[str, Option], found: Statistics) -> None:
    """One property in the asked unit, under its name with underscores."""
    unit = str(options["output_unit"])
    length = LENGTHS.get(unit.rstrip("23"), 1.0)
    values: Any
    if name == "surface-area":
        values = found.area / length**2
    elif name == "bounding-box":
        values = [[value / length for value in corner] for corner in (found.low, found.high)]
    elif found.volume is None or found.centroid is None:
        what = name.replace("-", " ")
        raise InputError(f"The surface is open, so it has no {what}: close it, or ask for surface-area.", 422)
    elif name == "mass":
        values = abs(found.volume) * 1e-9 * float(options["material_density"]) / MASSES[unit]
    elif name == "volume":
        values = abs(found.volume) / length**3
    else:
        values = [value / length for value in found.centroid]
    target.write_text(json.dumps({name.replace("-", "_"): values}), encoding="utf-8")
