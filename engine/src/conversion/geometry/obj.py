# SPDX-License-Identifier: GPL-3.0-or-later
"""Wavefront OBJ: vertices and polygons. Materials are in another file, which is never read."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ..errors import InputError
from .polygons import triangulate
from .scene import Mesh, Scene
from .text import Lines, plain, table, written

_FREE_FORM = (b"curv", b"curv2", b"surf")


def read(data: bytes) -> Scene:
    """Triangles in the file's own unit."""
    text = plain(data)
    if b"\\\n" in text:
        text = text.replace(b"\\\n", b" ")
    lines = Lines(re.sub(rb"^fo(?=[ \t])", b"f", text, flags=re.MULTILINE) if b"\nfo" in text else text)
    is_vertex, is_face = lines.chosen(b"v"), lines.chosen(b"f")
    if lines.chosen(*_FREE_FORM).any():
        raise InputError("The OBJ file holds free-form curves or surfaces, which are not read: send it as STEP.", 422)
    values, counts = lines.numbers(is_vertex, 1, float, "OBJ file's vertex")
    vertices = table(values, counts, 3, "OBJ file's vertex")
    corners, sizes = lines.numbers(is_face, 1, int, "OBJ file's face", references=True)
    if (corners == 0).any():
        raise InputError("The OBJ file names a vertex 0; its vertices are counted from 1.", 422)
    if len(corners) and int(corners.min()) < 0:  # counted back from the last vertex before the face
        before = np.repeat(np.cumsum(is_vertex)[is_face], sizes)
        corners = np.where(corners < 0, np.where(corners + before < 0, -1, corners + before), corners - 1)
    else:
        corners = corners - 1
    faces, warnings = triangulate(vertices, corners, sizes, "OBJ file's face")
    if len(counts) and int(counts.max()) >= 6:
        warnings.append("The colours of the OBJ file's vertices are not carried over.")
    if lines.chosen(b"usemtl").any():
        warnings.append("The OBJ file's materials are in another file and are not carried over.")
    if lines.chosen(b"vt").any():
        warnings.append("The OBJ file's texture coordinates are not carried over.")
    if lines.chosen(b"l", b"p").any():
        warnings.append("The OBJ file's lines and points have no surface and are left out.")
    return Scene.single(vertices, faces, tuple(warnings))


def write(meshes: Iterable[Mesh], form: str = "%.9g") -> bytes:
    """Every mesh as an object of its own, named if it has a name."""
    parts = list(meshes)
    pieces: list[bytes] = []
    first = 1
    for number, mesh in enumerate(parts, 1):
        if len(parts) > 1 or mesh.name:
            pieces.append(f"o {re.sub(r'[^!-~]+', '_', mesh.name) or f'part_{number}'}\n".encode("ascii"))
        pieces.append(written(f"v {form} {form} {form}\n", mesh.vertices))
        pieces.append(written("f %d %d %d\n", mesh.faces + first))
        first += len(mesh.vertices)
    return b"".join(pieces)
