# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert one file. Everything between is one triangle mesh in millimetres with Z up.

STEP is read in millimetres; STL, OBJ and PLY carry no unit and are taken as millimetres with Z up; GLB is in
metres with Y up by its standard, so it is scaled and turned on the way in and out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from ..errors import InputError
from ..formats import FORMATS
from .step import read_step

#: From glTF's metres, Y up, to millimetres, Z up: x stays, z becomes -y, y becomes z.
_FROM_GLTF = np.array([[1000.0, 0, 0, 0], [0, 0, -1000.0, 0], [0, 1000.0, 0, 0], [0, 0, 0, 1]])
_TO_GLTF = np.linalg.inv(_FROM_GLTF)


def convert(source: Path, src_format: str, target: Path, output_format: str, options: Mapping[str, float]) -> int:
    """Write `source` as `output_format` to `target`; returns the number of triangles. InputError if unreadable."""
    mesh = _read(source, src_format, options)
    if len(mesh.faces) == 0:
        raise InputError(f"The {FORMATS[src_format].label} file holds no surface: there is nothing to convert.", 422)
    if not np.isfinite(mesh.vertices).all():
        raise InputError(f"The {FORMATS[src_format].label} file holds coordinates that are no numbers.", 422)
    if output_format == "glb":
        mesh.apply_transform(_TO_GLTF)
    target.write_bytes(_encoded(mesh, output_format))
    return len(mesh.faces)


def _read(source: Path, src_format: str, options: Mapping[str, float]) -> Any:
    if src_format == "step":
        vertices, faces = read_step(source, options["deflection"], options["angle"])
        return trimesh.Trimesh(vertices, faces, process=True)
    label = FORMATS[src_format].label
    try:
        with source.open("rb") as stream:
            mesh = trimesh.load_mesh(stream, file_type=src_format, process=True)
    except MemoryError:
        raise
    except Exception as exc:  # the readers raise whatever the damage leads to: struct.error, IndexError, ...
        raise InputError(f"The {label} file cannot be read: it is damaged, cut off or of another format.", 422) from exc
    if not isinstance(mesh, trimesh.Trimesh):
        raise InputError(f"The {label} file holds points or lines but no triangles: there is nothing to convert.", 422)
    if src_format == "glb":
        mesh.apply_transform(_FROM_GLTF)
    return mesh


def _encoded(mesh: Any, output_format: str) -> bytes:
    if output_format == "obj":
        data = mesh.export(file_type="obj", include_texture=False, header=None)
    else:
        data = mesh.export(file_type=output_format)
    return data.encode() if isinstance(data, str) else bytes(data)
