# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this file what it says it is? Counts triangles with the standard library alone, apart from the converter."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from xml.etree import ElementTree

CHECKED = ("stl", "obj", "ply", "glb", "3mf")


class BrokenError(Exception):
    """The file is not a valid, non-empty one of its format; the message says what is wrong."""


def triangles(data: bytes, form: str) -> int:
    """Number of triangles in an STL, OBJ, PLY, GLB or 3MF file; BrokenError unless it is at least one and all is there."""
    if form not in CHECKED:
        raise BrokenError(f"{form.upper()} files cannot be checked")
    try:
        count = {"stl": _stl, "obj": _obj, "ply": _ply, "glb": _glb, "3mf": _3mf}[form](data)
    except (ValueError, IndexError, KeyError, struct.error, zipfile.BadZipFile, ElementTree.ParseError) as exc:
        raise BrokenError(f"the {form.upper()} file is malformed: {exc}") from exc
    if count < 1:
        raise BrokenError(f"the {form.upper()} file holds no triangle")
    return count


def _3mf(data: bytes) -> int:
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        model = package.read("3D/3dmodel.model")
    return sum(1 for element in ElementTree.fromstring(model).iter() if element.tag.endswith("}triangle"))  # noqa: S314


def _stl(data: bytes) -> int:
    if data[:6] == b"solid " and b"facet" in data[:400]:
        return data.count(b"endfacet")
    (count,) = struct.unpack_from("<I", data, 80)
    if len(data) != 84 + 50 * count:
        raise BrokenError(f"the STL file says {count} triangles and has {len(data)} bytes, not {84 + 50 * count}")
    return int(count)


def _obj(data: bytes) -> int:
    vertices = faces = 0
    for line in data.decode("utf-8").splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            [float(word) for word in words[1:4]]
            vertices += 1
        elif words[:1] == ["f"]:
            corners = [int(word.split("/")[0]) for word in words[1:]]
            if len(corners) < 3 or not all(0 < corner <= vertices for corner in corners):
                raise BrokenError("the OBJ file has a face with vertices that it does not have")
            faces += len(corners) - 2
    return faces


def _ply(data: bytes) -> int:
    head, found, body = data.partition(b"end_header\n")
    lines = [line.split() for line in head.decode("ascii").splitlines()]
    if lines[0] != ["ply"] or not found:
        raise BrokenError("the PLY file has no header")
    if lines[1][:2] != ["format", "binary_little_endian"]:
        raise BrokenError("the PLY file is not a binary one")
    sizes = {"char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "int32": 4}
    sizes |= {"uint32": 4, "int16": 2, "uint16": 2, "float": 4, "float32": 4, "double": 8, "float64": 8}
    counts: dict[str, int] = {}
    rows: dict[str, int] = {}
    element = ""
    for words in lines:
        if words[0] == "element":
            element = words[1]
            counts[element], rows[element] = int(words[2]), 0
        elif words[0] == "property":  # every face is a triangle: one byte that says so and three indices
            rows[element] += sizes[words[2]] + 3 * sizes[words[3]] if words[1] == "list" else sizes[words[1]]
    if len(body) != sum(counts[name] * rows[name] for name in counts):
        raise BrokenError(f"the PLY file's body has {len(body)} bytes, which is not what its header says")
    return counts.get("face", 0)


def _glb(data: bytes) -> int:
    magic, version, length, chunk, kind = struct.unpack_from("<4sIII4s", data)
    if (magic, version, length, kind) != (b"glTF", 2, len(data), b"JSON"):
        raise BrokenError("the GLB file's header is wrong, or the file is cut off")
    scene = json.loads(data[20 : 20 + chunk])
    count = 0
    for mesh in scene.get("meshes", []):
        for primitive in mesh["primitives"]:
            if primitive.get("mode", 4) == 4 and "indices" in primitive:
                count += scene["accessors"][primitive["indices"]]["count"] // 3
    return count
