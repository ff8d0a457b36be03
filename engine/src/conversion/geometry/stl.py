# SPDX-License-Identifier: GPL-3.0-or-later
"""STL, binary and ASCII."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .scene import Mesh, Points, Scene
from .text import Lines, plain, table, written

_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_BLOCK = 1 << 17


def read(data: bytes) -> Scene:
    """Triangles in the file's own unit."""
    count = int.from_bytes(data[80:84], "little") if len(data) >= 84 else 0
    whole = 84 + 50 * count
    if len(data) < 84 or len(data) != whole:
        head = plain(data[:1024]).lstrip()[:5].lower()
        if head == b"solid" and (b"facet" in data[:4096].lower() or b"endsolid" in data[-4096:].lower()):
            return _ascii(data)
    if len(data) < 84:
        raise InputError("The STL file is cut off: it is shorter than its header.", 422)
    if len(data) < whole:
        raise InputError(
            f"The STL file is cut off: it says {count} triangles and ends after {(len(data) - 84) // 50}.", 422
        )
    facets = np.frombuffer(data, _FACET, count, 84)
    warnings = []
    if len(data) > whole:
        warnings.append(f"{len(data) - whole} bytes after the last triangle of the STL file were left out.")
    return _scene(facets["corners"].reshape(-1, 3), warnings)  # 32 bits are what they are, and half the memory


def _scene(corners: Points, warnings: list[str]) -> Scene:
    return Scene.single(corners, np.arange(len(corners)).reshape(-1, 3), tuple(warnings))


def _ascii(data: bytes) -> Scene:
    lines = Lines(plain(data).lower())
    vertex = lines.chosen(b"vertex")
    facets, ends = lines.chosen(b"facet"), _starting(lines, b"endfacet")
    begun = int(facets.sum())
    ended = bool(_starting(lines, b"endsolid").any())
    whole = ended or not len(lines) or bool(ends[-1])
    if begun > int(ends.sum()) or int(vertex.sum()) < 3 * begun or not whole:
        raise InputError(f"The STL file is cut off: it begins {begun} facets and ends {int(ends.sum())} of them.", 422)
    corners = table(*lines.numbers(vertex, 6, float, "STL file's vertex"), 3, "STL file's vertex")
    # The number of corners before each end of a facet must go up by threes
    before = np.cumsum(vertex)[ends]
    if len(corners) != 3 * len(before) or not np.array_equal(before, 3 * np.arange(1, len(before) + 1)):
        raise InputError("The STL file has a facet that is no triangle: repair it where it was made.", 422)
    warnings = []
    if not ended:
        warnings.append("The STL file's end is missing (endsolid): what came after its last whole facet is not there.")
    return _scene(corners, warnings)


def _starting(lines: Lines, word: bytes) -> NDArray[np.bool_]:
    """Lines that begin with a word, whatever follows."""
    found = lines.first == word[0]
    for offset, byte in enumerate(word[1:], 1):
        found = found & (lines.text[np.minimum(lines.starts + offset, len(lines.text) - 1)] == byte)
    return np.asarray(found)


def normals(mesh: Mesh, some: slice) -> Points:
    """Of some triangles, (m, 3), of length one; zero for a triangle without area."""
    a, b, c = (mesh.vertices[mesh.faces[some, k]] for k in range(3))
    found = np.cross(b - a, c - a)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(np.divide(found, length, out=np.zeros_like(found), where=length > 0))


def write(mesh: Mesh, *, ascii_: bool = False, form: str = "%.9g") -> bytes:
    """Binary, or ASCII with numbers written as `form` says."""
    if not ascii_:
        result = bytearray(84 + _FACET.itemsize * len(mesh.faces))
        result[80:84] = len(mesh.faces).to_bytes(4, "little")
        facets = np.frombuffer(result, _FACET, offset=84)
        for some in _blocks(mesh):
            facets["normal"][some] = normals(mesh, some)
            facets["corners"][some] = mesh.vertices[mesh.faces[some]]
        return bytes(result)
    corner = f"vertex {form} {form} {form}\n"
    facet = f"facet normal %.6g %.6g %.6g\nouter loop\n{corner * 3}endloop\nendfacet\n"
    rows = (
        np.concatenate([normals(mesh, some)[:, None], mesh.vertices[mesh.faces[some]]], axis=1)
        for some in _blocks(mesh)
    )
    return b"solid\n" + b"".join(written(facet, some) for some in rows) + b"endsolid\n"


def _blocks(mesh: Mesh) -> Iterator[slice]:
    """All triangles, some at a time: bounds the memory."""
    return (slice(start, start + _BLOCK) for start in range(0, len(mesh.faces), _BLOCK))
