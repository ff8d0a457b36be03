# SPDX-License-Identifier: GPL-3.0-or-later
"""PLY: ASCII, little and big endian; polygons and triangle strips."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .polygons import strips, triangulate
from .scene import Mesh, Scene
from .text import Lines, plain, written

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass
class _Property:
    name: str
    kind: str  # numpy's letter and size
    count_kind: str = ""  # of a list


@dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)


#: A column: values, and for a list how many of them each row has.
_Column = tuple[NDArray[Any], NDArray[np.int64] | None]


def read(data: bytes) -> Scene:
    """Triangles in the file's own unit."""
    order, elements, body = _header(data)
    columns: dict[str, dict[str, _Column]] = {}
    reader = _Ascii(body) if order == "" else _Binary(body, order)
    for element in elements:
        columns[element.name] = reader.rows(element)
    vertex = columns.get("vertex", {})
    if not {"x", "y", "z"} <= vertex.keys():
        raise InputError("The PLY file has no vertices with x, y and z: there is no surface to convert.", 422)
    vertices = np.stack([vertex[axis][0].astype(np.float64) for axis in "xyz"], axis=1)
    faces = [np.empty((0, 3), np.int64)]
    warnings: list[str] = []
    polygons = next(
        (columns["face"][n] for n in ("vertex_indices", "vertex_index") if n in columns.get("face", {})), None
    )
    if polygons is not None and polygons[1] is not None:
        made, warnings = triangulate(vertices, polygons[0].astype(np.int64), polygons[1], "PLY file's face")
        faces.append(made)
    strip = next(
        (columns["tristrips"][n] for n in ("vertex_indices", "vertex_index") if n in columns.get("tristrips", {})), None
    )
    if strip is not None and strip[1] is not None:
        for part in np.split(strip[0].astype(np.int64), np.cumsum(strip[1])[:-1]):
            made = strips(part, -1)
            if len(made) and not 0 <= int(made.min()) <= int(made.max()) < len(vertices):
                raise InputError(
                    f"A strip of the PLY file names a vertex that is not there: there are {len(vertices)}.", 422
                )
            faces.append(made)
    if polygons is None and strip is None:
        raise InputError("The PLY file holds points but no faces: there is no surface to convert.", 422)
    if any("red" in names or "diffuse_red" in names for names in columns.values()):
        warnings.append("The PLY file's colours are not carried over.")
    if any(names.keys() & {"s", "u", "texture_u", "texcoord"} for names in columns.values()):
        warnings.append("The PLY file's texture coordinates are not carried over.")
    return Scene.single(vertices, np.concatenate(faces), tuple(warnings))


def _header(data: bytes) -> tuple[str, list[_Element], bytes]:
    data = data.lstrip(b"\xef\xbb\xbf \t\r\n") if not data.startswith(b"ply") else data
    end = re.search(rb"(?:^|[\r\n])end_header[ \t]*(\r\n|\n|\r)", data[: 1 << 20])
    if not data.startswith(b"ply") or end is None:
        raise InputError("The PLY file has no whole header: it is cut off or of another format.", 422)
    order: str | None = None
    elements: list[_Element] = []
    for line in re.split(rb"[\r\n]+", data[3 : end.start()]):
        words = line.decode("ascii", "replace").split()
        try:
            match words:
                case ["format", name, *_]:
                    order = _ORDERS[name]
                case ["element", name, count]:
                    elements.append(_Element(name, int(count)))
                    if elements[-1].count < 0:
                        raise ValueError
                case ["property", "list", count_kind, kind, name]:
                    elements[-1].properties.append(_Property(name, _TYPES[kind], _TYPES[count_kind]))
                case ["property", kind, name]:
                    elements[-1].properties.append(_Property(name, _TYPES[kind]))
                case [] | ["comment", *_] | ["obj_info", *_]:
                    pass
                case ["property", *_]:
                    raise ValueError
                case _:  # some programs forget the word 'comment'
                    pass
        except (KeyError, ValueError, IndexError) as exc:
            raise InputError(
                f"The PLY file's header has a line that is not understood: '{' '.join(words)[:60]}'.", 422
            ) from exc
    if order is None:
        raise InputError("The PLY file's header does not say whether it is ASCII or binary.", 422)
    return order, elements, data[end.end() :]


def _cut_off(element: _Element) -> InputError:
    return InputError(
        f"The PLY file is cut off: it does not hold the {element.count} {element.name[:32]} rows that it says.", 422
    )


class _Ascii:
    """A body of text: every row is a line. What its numbers mean follows from the header alone."""

    def __init__(self, body: bytes) -> None:
        lines = Lines(plain(body))
        self._values, self._counts = lines.numbers(np.ones(len(lines), bool), 0, float, "PLY file's row")
        self._firsts = np.cumsum(self._counts) - self._counts
        self._line = 0

    def rows(self, element: _Element) -> dict[str, _Column]:
        """The next element."""
        if not element.properties or not element.count:
            return {}
        rows = slice(self._line, self._line + element.count)
        self._line += element.count
        at, ends = self._firsts[rows].copy(), self._firsts[rows] + self._counts[rows]
        if len(at) < element.count:
            raise _cut_off(element)
        found: dict[str, _Column] = {}
        for one in element.properties:
            sizes = np.ones(element.count, np.int64)
            if one.count_kind:
                first = np.where(at < ends, self._values[np.minimum(at, len(self._values) - 1)], -1.0)
                sizes = np.where((first >= 0) & (first < 1e9), first, 1e9).astype(np.int64)
                at = at + 1
            if (at + sizes > ends).any():
                number = int(np.argmax(at + sizes > ends)) + 1
                raise InputError(
                    f"The PLY file's {element.name[:32]} {number} has fewer numbers than its header says.", 422
                )
            found[one.name] = _gathered(self._values, at, sizes, bool(one.count_kind))
            at = at + sizes
        return found


class _Binary:
    """A binary body: rows of one width at once, others row by row."""

    def __init__(self, body: bytes, order: str) -> None:
        self._body = body
        self._order = order
        self._at = 0

    def rows(self, element: _Element) -> dict[str, _Column]:
        """The next element."""
        if not element.count or not element.properties:
            return {}
        at, widths = self._at, []
        for one in element.properties:
            widths.append(0)
            if one.count_kind:
                kind = np.dtype(self._order + one.count_kind)
                if at + kind.itemsize > len(self._body):
                    raise _cut_off(element)
                widths[-1] = max(0, int(np.frombuffer(self._body, kind, 1, at)[0]))
                at += kind.itemsize + widths[-1] * np.dtype(one.kind).itemsize
            else:
                at += np.dtype(one.kind).itemsize
        if (at - self._at) * element.count <= len(self._body) - self._at:
            found = self._even(element, widths)
            if found is not None:
                return found
        return self._one_by_one(element)

    def _even(self, element: _Element, widths: list[int]) -> dict[str, _Column] | None:
        fields: list[tuple[Any, ...]] = []
        for index, (one, width) in enumerate(zip(element.properties, widths, strict=True)):
            if one.count_kind:
                fields.append((f"n{index}", self._order + one.count_kind))
                fields.append((f"p{index}", self._order + one.kind, (width,)))
            else:
                fields.append((f"p{index}", self._order + one.kind))
        kind = np.dtype(fields)
        rows = np.frombuffer(self._body, kind, element.count, self._at)
        for index, (one, width) in enumerate(zip(element.properties, widths, strict=True)):
            if one.count_kind and not (rows[f"n{index}"] == width).all():
                return None
        self._at += kind.itemsize * element.count
        return {
            one.name: (rows[f"p{index}"].ravel(), np.full(element.count, width) if one.count_kind else None)
            for index, (one, width) in enumerate(zip(element.properties, widths, strict=True))
        }

    def _one_by_one(self, element: _Element) -> dict[str, _Column]:
        kinds = [(np.dtype(self._order + one.kind), one.count_kind) for one in element.properties]
        order = "little" if self._order == "<" else "big"
        body, at, end = self._body, self._at, len(self._body)
        plan = [
            (np.dtype(count).itemsize if count else 0, bool(count) and np.dtype(count).kind == "i", kind.itemsize)
            for kind, count in kinds
        ]
        places: list[list[int]] = [[] for _ in plan]
        counts: list[list[int]] = [[] for _ in plan]
        if any(count and np.dtype(count).kind == "f" for _, count in kinds):
            raise InputError("The PLY file counts a list in fractions: it is damaged.", 422)
        for _ in range(element.count):
            for index, (size, signed, item) in enumerate(plan):
                width = 1
                if size:
                    width = int.from_bytes(body[at : at + size], order, signed=signed)  # type: ignore[arg-type]
                    at += size
                if width < 0 or at + width * item > end:
                    raise _cut_off(element)
                places[index].append(at)
                counts[index].append(width)
                at += width * item
        self._at = at
        raw = np.frombuffer(body, np.uint8)
        result: dict[str, _Column] = {}
        for index, one in enumerate(element.properties):
            kind = kinds[index][0]
            sizes = np.array(counts[index], np.int64)
            flat, _ = _gathered(raw, np.array(places[index]), sizes * kind.itemsize, True)
            result[one.name] = (flat.view(kind), sizes if one.count_kind else None)
        return result


def _gathered(values: NDArray[Any], places: NDArray[np.int64], counts: NDArray[np.int64], is_list: bool) -> _Column:
    """The pieces of `values` that begin at `places` and have `counts` items, one after the other."""
    firsts = np.cumsum(counts) - counts
    index = np.arange(int(counts.sum())) - np.repeat(firsts - places, counts)
    return values[index], counts if is_list else None


def write(mesh: Mesh, *, ascii_: bool = False, double: bool = False, form: str = "%.9g") -> bytes:
    """Little endian, or ASCII; coordinates with 64 bits where `double` says so."""
    kind = "double" if double else "float"
    head = (
        f"ply\nformat {'ascii' if ascii_ else 'binary_little_endian'} 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty {kind} x\nproperty {kind} y\nproperty {kind} z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    ).encode("ascii")
    if ascii_:
        return head + written(f"{form} {form} {form}\n", mesh.vertices) + written("3 %d %d %d\n", mesh.faces)
    rows = np.empty(len(mesh.faces), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    rows["count"], rows["corners"] = 3, mesh.faces
    return head + mesh.vertices.astype("<f8" if double else "<f4").tobytes() + rows.tobytes()
