# SPDX-License-Identifier: GPL-3.0-or-later
"""Valid files of every kind are read rightly, and what would come out wrong is refused with the reason."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.errors import InputError
from conversion.formats import FORMATS, options
from conversion.geometry.convert import Result, convert

CORNERS = [(x, y, z) for x in (0, 10) for y in (0, 10) for z in (0, 10)]
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]  # outward
TRIANGLES = [t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))]
#: L-shaped, seen from +z; a fan from its first corner leaves it.
ELL = [(10, 10, 0), (10, 30, 0), (0, 30, 0), (0, 0, 0), (30, 0, 0), (30, 10, 0)]

Read = Callable[..., Result]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Convert bytes of a format; what is known of the result."""

    def one(data: bytes | str, form: str, output: str = "stl", **given: str) -> Result:
        source = tmp_path / f"source.{form}"
        source.write_bytes(data.encode() if isinstance(data, str) else data)
        chosen = options(FORMATS[form], FORMATS[output], given)
        return convert(source, form, tmp_path / f"result.{output}", output, chosen)

    return one


def is_cube(result: Result) -> bool:
    found = result.statistics
    assert found["triangles"] == 12
    assert (found["area"], found["volume"]) == pytest.approx((600, 1000), rel=1e-5)
    assert np.allclose(found["bounding_box"], [(0, 0, 0), (10, 10, 10)], atol=1e-5)
    return True


# OBJ


def obj_cube(vertex: str = "v {} {} {}", face: Callable[[int], str] = str, end: str = "\n") -> str:
    lines = [vertex.format(*corner) for corner in CORNERS]
    lines += ["f " + " ".join(face(index + 1) for index in quad) for quad in QUADS]
    return end.join(lines) + end


@pytest.mark.parametrize(
    "text",
    [
        obj_cube(),
        obj_cube(end="\r\n"),
        obj_cube(end="\r"),
        obj_cube(end="\n\n"),
        obj_cube().rstrip("\n"),
        obj_cube("v {} {} {} 1.0"),
        obj_cube("v {} {} {} 0.5 0.5 1"),
        obj_cube("v  {}\t{} {}  # a corner"),
        obj_cube("  v {} {} {}"),
        obj_cube("v {}e0 {}.0 +{}"),
        obj_cube(face=lambda index: f"{index}/1"),
        obj_cube(face=lambda index: f"{index}/1/2"),
        obj_cube(face=lambda index: f"{index}//3"),
        obj_cube(face=lambda index: str(index - 9)),
        obj_cube().replace("f ", "f \\\n "),
        "mtllib part.mtl\nvt 0 0\nvn 0 0 1\no part\ng one two\ns off\nusemtl red\n" + obj_cube() + "l 1 2\np 3\n",
        obj_cube("v {} {} {}").replace("v 0 0 0", "v 0 0 0\n# v nan nan nan\n", 1),
    ],
)
def test_obj_in_all_its_ways(read: Read, text: str) -> None:
    assert is_cube(read(text, "obj"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig", "utf-16"])
def test_obj_in_other_encodings(read: Read, encoding: str) -> None:
    assert is_cube(read(("# W\u00fcrfel\n" + obj_cube()).encode(encoding), "obj"))


def test_negative_indices_count_from_where_they_stand(read: Read) -> None:
    pieces = []
    for shift in (0, 20):
        pieces.append("\n".join(f"v {x + shift} {y} {z}" for x, y, z in CORNERS))
        pieces.append("\n".join("f " + " ".join(str(index - 8) for index in quad) for quad in QUADS))
    found = read("\n".join(pieces), "obj").statistics
    assert (found["triangles"], found["area"], found["volume"]) == pytest.approx((24, 1200, 2000))
    assert found["bounding_box"] == [[0, 0, 0], [30, 10, 10]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n", "vertex 3 has a coordinate that is not a number"),
        ("v 0 0 0\nv 1 0 0\nv 0 1e999 0\nf 1 2 3\n", "vertex 3 has a coordinate that is not a finite number"),
        ("v 0 0 0\nv 1 0 0\nv 0 1.#QNAN 0\nf 1 2 3\n", "vertex 3 has '1.#qnan'"),
        ("v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n", "vertex 2 has 2 numbers and needs 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "face 1 names a vertex that is not there"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -9\n", "face 1 names a vertex that is not there"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "vertex 0"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 three\n", "face 1 has 'three', which is not a number"),
        ("v 0 0 0\nv 1 0 0\nl 1 2\n", "points or lines but no triangles"),
        ("v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "no area"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nsurf 0 1 0 1 1 2 3\n", "free-form"),
        ("hello world\n", "no surface"),
        ("", "no surface"),
    ],
)
def test_obj_refused_with_the_reason(read: Read, text: str, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        read(text, "obj")
    assert words in str(refusal.value).replace("QNAN", "qnan")
    assert refusal.value.status == 422


def test_what_an_obj_file_loses_is_said(read: Read) -> None:
    text = "mtllib m.mtl\nusemtl red\nvt 0 0\n" + obj_cube("v {} {} {} 1 0 0") + "l 1 2\n"
    said = " ".join(read(text, "obj").warnings)
    for word in ("materials", "texture", "colours", "lines", "millimetres"):
        assert word in said


# polygons


def test_concave_polygon_is_filled_and_not_fanned(read: Read) -> None:
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in ELL) + "f 1 2 3 4 5 6\n"
    result = read(text, "obj", "ply")
    assert (result.statistics["triangles"], result.statistics["area"]) == (4, 500)


def test_corners_on_a_straight_edge_stay(read: Read) -> None:
    """A cube with an additional corner on an edge and in the neighbours' rings: closed only if nobody drops it."""
    corners = [*CORNERS, (0, 0, 5)]
    rings = []
    for quad in QUADS:
        ring = list(quad)
        for one, other in ((0, 1), (1, 0)):
            for place in range(4):
                if (ring[place], ring[(place + 1) % len(ring)]) == (one, other):
                    ring.insert(place + 1, 8)
                    break
        rings.append(ring)
    # dents make ear clipping necessary: a step cut out of two sides
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in corners)
    text += "".join("f " + " ".join(str(index + 1) for index in ring) + "\n" for ring in rings)
    found = read(text, "obj").statistics
    assert (found["triangles"], found["area"], found["volume"]) == pytest.approx((14, 600, 1000))


@pytest.mark.parametrize("extra", [0, 1, 3])
def test_concave_prism_with_split_edges_is_closed(read: Read, extra: int) -> None:
    ring = []
    for (x0, y0, _), (x1, y1, _) in zip(ELL, ELL[1:] + ELL[:1], strict=True):
        ring += [(x0 + (x1 - x0) * k / (extra + 1), y0 + (y1 - y0) * k / (extra + 1)) for k in range(extra + 1)]
    count = len(ring)
    text = "".join(f"v {x!r} {y!r} {z}\n" for z in (0, 7) for x, y in ring)
    seen_up = [1 + count + k for k in range(count)]
    signed = sum(ring[k][0] * ring[k - 1][1] - ring[k - 1][0] * ring[k][1] for k in range(count))
    if signed > 0:
        seen_up.reverse()
    text += "f " + " ".join(map(str, seen_up)) + "\nf " + " ".join(str(k - count) for k in reversed(seen_up)) + "\n"
    for one, other in zip(seen_up, seen_up[1:] + seen_up[:1], strict=True):
        text += f"f {one - count} {other - count} {other} {one}\n"
    found = read(text, "obj").statistics
    assert found["triangles"] == 2 * (count - 2) + 2 * count
    assert (found["area"], found["volume"]) == pytest.approx((2 * 500 + 120 * 7, 3500))


def test_crossing_polygon_is_said(read: Read) -> None:
    result = read("v 0 0 0\nv 10 10 0\nv 10 0 0\nv 0 12 0\nf 1 2 3 4\n", "obj")
    assert any("face 1 crosses itself" in sentence for sentence in result.warnings)


def test_large_polygon_takes_no_quadratic_time(read: Read) -> None:
    count = 20_000
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = np.where(np.arange(count) % 2, 10.0, 9.0)
    text = "".join(f"v {r * np.cos(a):.9f} {r * np.sin(a):.9f} 0\n" for r, a in zip(radius, angles, strict=True))
    found = read(text + "f " + " ".join(str(k + 1) for k in range(count)) + "\n", "obj").statistics
    assert found["triangles"] == count - 2
    assert found["area"] == pytest.approx(10 * 9 * np.pi, rel=1e-3)


# STL


def stl_cube(count: int = 12, corner: float = 0.0) -> bytes:
    data = bytes(80) + struct.pack("<I", count)
    for triangle in TRIANGLES:
        values = [float(value) for index in triangle for value in CORNERS[index]]
        data += struct.pack("<12fH", 0, 0, 0, *values, 0)
    return data.replace(struct.pack("<f", 10.0), struct.pack("<f", corner), 1) if corner else data


def ascii_cube(name: str = "cube", form: str = "{}") -> str:
    lines = [f"solid {name}"]
    for triangle in TRIANGLES:
        lines += ["  facet normal 0 0 0", "    outer loop"]
        lines += ["      vertex " + " ".join(form.format(value) for value in CORNERS[index]) for index in triangle]
        lines += ["    endloop", "  endfacet"]
    return "\n".join([*lines, f"endsolid {name}", ""])


@pytest.mark.parametrize(
    "data",
    [
        stl_cube(),
        b"solid in binary".ljust(80) + stl_cube()[80:],
        stl_cube() + b"\0" * 10,
        ascii_cube().encode(),
        ascii_cube().upper().encode(),
        ascii_cube(form="{:.6E}").replace("\n", "\r\n").encode(),
        ascii_cube(name="W\u00fcrfel").encode("latin-1"),
        ascii_cube().replace("endsolid cube\n", "").encode(),
        b"\xef\xbb\xbf" + ascii_cube().encode(),
    ],
)
def test_stl_in_all_its_ways(read: Read, data: bytes) -> None:
    assert is_cube(read(data, "stl"))


def test_what_was_odd_about_an_stl_file_is_said(read: Read) -> None:
    assert any("10 bytes" in sentence for sentence in read(stl_cube() + b"\0" * 10, "stl").warnings)
    cut = ascii_cube().replace("endsolid cube\n", "")
    assert any("endsolid" in sentence for sentence in read(cut, "stl").warnings)


def test_two_solids_in_one_ascii_file(read: Read) -> None:
    assert read(ascii_cube() + ascii_cube("again"), "stl").statistics["triangles"] == 24


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (stl_cube()[:-20], "cut off"),
        (stl_cube()[:60], "cut off"),
        (stl_cube(count=13), "says 13 triangles"),
        (stl_cube(corner=float("nan")), "not a number"),
        (stl_cube(corner=float("inf")), "not a finite number"),
        (ascii_cube()[: len(ascii_cube()) // 2].encode(), "cut off"),
        (ascii_cube().replace("vertex 10 10 10\n", "", 1).encode(), "cut off"),
        (ascii_cube().replace("vertex 0 0 0", "vertex 0 0 zero", 1).encode(), "'zero'"),
        (bytes(84), "no surface"),
        (b"solid nothing\nendsolid nothing\n", "no surface"),
    ],
)
def test_stl_refused_with_the_reason(read: Read, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(data, "stl")


# PLY


def ply_cube(form: str, *, quads: bool = True, colors: bool = False, kind: str = "float") -> bytes:
    polygons = QUADS if quads else TRIANGLES
    head = ["ply", f"format {form} 1.0", "comment made here", "element vertex 8"]
    head += [f"property {kind} {axis}" for axis in "xyz"]
    head += ["property uchar red"] if colors else []
    head += [f"element face {len(polygons)}", "property list uchar int vertex_indices"]
    head += ["property uchar red", "property list uchar float texcoord"] if colors else []
    text = "\n".join([*head, "end_header", ""]).encode()
    if form == "ascii":
        rows = [" ".join(map(str, [*corner, *([255] if colors else [])])) for corner in CORNERS]
        rows += [" ".join(map(str, [len(p), *p, *([255, 2, 0.5, 0.5] if colors else [])])) for p in polygons]
        return text + "\n".join(rows).encode() + b"\n"
    order = "<" if "little" in form else ">"
    letter = {"float": "f", "double": "d"}[kind]
    for corner in CORNERS:
        text += struct.pack(f"{order}3{letter}", *corner) + (b"\xff" if colors else b"")
    for polygon in polygons:
        text += struct.pack(f"{order}B{len(polygon)}i", len(polygon), *polygon)
        text += struct.pack(f"{order}BB2f", 255, 2, 0.5, 0.5) if colors else b""
    return text


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("quads", [True, False])
@pytest.mark.parametrize("colors", [True, False])
@pytest.mark.parametrize("kind", ["float", "double"])
def test_ply_in_all_its_ways(read: Read, form: str, quads: bool, colors: bool, kind: str) -> None:
    result = read(ply_cube(form, quads=quads, colors=colors, kind=kind), "ply")
    assert is_cube(result)
    assert colors == any("colours" in sentence for sentence in result.warnings)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_with_polygons_of_different_size(read: Read, form: str) -> None:
    """Half the cube's sides as quadrangles, half as triangles; in ASCII with more numbers than the header names."""
    polygons: list[tuple[int, ...]] = [*QUADS[:3], *TRIANGLES[6:]]
    head = f"ply\nformat {form} 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
    head += f"element face {len(polygons)}\nproperty list uchar uint vertex_index\nend_header\n"
    if form == "ascii":
        body = "".join(f"{x} {y} {z} 7\n" for x, y, z in CORNERS)
        body += "".join(" ".join(map(str, [len(p), *p])) + "\n" for p in polygons)
        assert is_cube(read(head + body, "ply"))
        return
    order = "<" if "little" in form else ">"
    data = head.encode() + b"".join(struct.pack(f"{order}3f", *corner) for corner in CORNERS)
    data += b"".join(struct.pack(f"{order}B{len(p)}I", len(p), *p) for p in polygons)
    assert is_cube(read(data, "ply"))


def test_ply_with_a_triangle_strip(read: Read) -> None:
    text = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    text += "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    text += "0 0 0\n10 0 0\n0 10 0\n10 10 0\n9 0 1 2 3 -1 0 1 2 3\n"
    found = read(text, "ply").statistics
    assert (found["triangles"], found["area"]) == (4, 200)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ply_cube("binary_little_endian")[:-3], "cut off"),
        (ply_cube("ascii")[:-30], "cut off|fewer numbers"),
        (ply_cube("ascii").replace(b"10 10 10\n", b"10 10\n"), "vertex 8 has fewer numbers"),
        (ply_cube("ascii").replace(b"10 10 10\n", b"10 10 nan\n"), "vertex 8 has a coordinate that is not a number"),
        (ply_cube("ascii").replace(b"10 10 10\n", b"10 10 ten\n"), "'ten', which is not a number"),
        (ply_cube("ascii").replace(b"4 0 1 3 2", b"4 0 1 3 8"), "not there"),
        (ply_cube("ascii").replace(b"property float x", b"property colour x"), "header"),
        (ply_cube("ascii")[:60], "header"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "no vertices with x, y and z"),
        (ply_cube("ascii").replace(b"element vertex 8", b"element vertex 8000000000"), "cut off"),
    ],
)
def test_ply_refused_with_the_reason(read: Read, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(data, "ply")


# OFF


OFF = "8 6 12\n" + "".join(f"{x} {y} {z}\n" for x, y, z in CORNERS)
OFF_FACES = "".join(f"4 {' '.join(map(str, quad))}\n" for quad in QUADS)


@pytest.mark.parametrize(
    "text",
    [
        "OFF\n" + OFF + OFF_FACES,
        "OFF " + OFF + OFF_FACES,
        "# a comment\nOFF\n\n" + OFF + "# faces\n\n" + OFF_FACES,
        "OFF\n" + OFF + OFF_FACES.replace("\n", " 255 0 0\n"),
        "COFF\n8 6 12\n" + "".join(f"{x} {y} {z} 1 0 0 1\n" for x, y, z in CORNERS) + OFF_FACES,
        ("OFF\n" + OFF + OFF_FACES).replace("\n", "\r\n"),
    ],
)
def test_off_in_all_its_ways(read: Read, text: str) -> None:
    assert is_cube(read(text, "off"))


def test_concave_off(read: Read) -> None:
    text = "OFF\n6 1 0\n" + "".join(f"{x} {y} {z}\n" for x, y, z in ELL) + "6 0 1 2 3 4 5\n"
    found = read(text, "off").statistics
    assert (found["triangles"], found["area"]) == (4, 500)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OFF\n" + OFF + OFF_FACES[:20], "cut off"),
        ("OFF\n" + (OFF + OFF_FACES).replace("4 0 1 3 2", "4 0 1 3 9"), "not there"),
        ("OFF\n" + (OFF + OFF_FACES).replace("4 0 1 3 2", "5 0 1 3 2"), "face 1 has fewer corners"),
        ("OFF BINARY\n" + OFF, "text form"),
        ("4OFF\n" + OFF + OFF_FACES, "three dimensions"),
        ("OFF\n8 0 0\n" + OFF[7:], "no faces"),
        ("OFF\n" + OFF.replace("10 10 10", "10 10 nan") + OFF_FACES, "vertex 8 has a coordinate that is not a number"),
    ],
)
def test_off_refused_with_the_reason(read: Read, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(text, "off")


# glTF


class Gltf:
    """Builds a glTF file with everything in one buffer."""

    def __init__(self) -> None:
        self.data = b""
        self.json: dict[str, Any] = {
            "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": []}], "accessors": [], "bufferViews": [], "buffers": [{}],
        }  # fmt: skip

    def view(self, data: bytes, **more: Any) -> int:
        self.data += bytes(-len(self.data) % 4)
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **more})
        self.data += data
        return len(self.json["bufferViews"]) - 1

    def accessor(self, rows: Any, kind: str, code: int, **more: Any) -> int:
        letter = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[code]
        array = np.array(rows, letter)
        entry = {"bufferView": self.view(array.tobytes()), "componentType": code, "count": len(array), "type": kind}
        self.json["accessors"].append({**entry, **more})
        return len(self.json["accessors"]) - 1

    def primitive(self, **more: Any) -> None:
        self.json["meshes"][0]["primitives"].append(more)

    def glb(self, **more: Any) -> bytes:
        description = {**self.json, **more}
        description["buffers"][0].setdefault("byteLength", len(self.data))
        text = json.dumps(description).encode()
        text += b" " * (-len(text) % 4)
        data = self.data + bytes(-len(self.data) % 4)
        head = b"glTF" + struct.pack("<II", 2, 28 + len(text) + len(data))
        return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data

    def gltf(self) -> bytes:
        uri = "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
        return json.dumps({**self.json, "buffers": [{"byteLength": len(self.data), "uri": uri}]}).encode()


#: The cube in metres with Y up: turned back it is CORNERS.
METRES = [(x / 1000, z / 1000, -y / 1000) for x, y, z in CORNERS]


def gltf_cube(code: int = 5123) -> Gltf:
    made = Gltf()
    position = made.accessor(METRES, "VEC3", 5126)
    indices = made.accessor(np.array(TRIANGLES).ravel(), "SCALAR", code)
    made.primitive(attributes={"POSITION": position}, indices=indices)
    return made


@pytest.mark.parametrize("code", [5121, 5123, 5125])
def test_glb_with_indices_of_each_width(read: Read, code: int) -> None:
    assert is_cube(read(gltf_cube(code).glb(), "glb"))


def test_gltf_with_its_buffer_inside(read: Read) -> None:
    assert is_cube(read(gltf_cube().gltf(), "gltf"))


def test_glb_without_indices(read: Read) -> None:
    made = Gltf()
    made.primitive(attributes={"POSITION": made.accessor([METRES[k] for t in TRIANGLES for k in t], "VEC3", 5126)})
    assert is_cube(read(made.glb(), "glb"))


@pytest.mark.parametrize(("mode", "indices"), [(5, [0, 1, 2, 3]), (5, [0, 1, 2, 2, 2, 1, 3]), (6, [0, 1, 3, 2])])
def test_strips_and_fans(read: Read, tmp_path: Path, mode: int, indices: list[int]) -> None:
    made = Gltf()
    square = [(0, 0, 0), (0.01, 0, 0), (0, 0, -0.01), (0.01, 0, -0.01)]
    position = made.accessor(square, "VEC3", 5126)
    made.primitive(attributes={"POSITION": position}, indices=made.accessor(indices, "SCALAR", 5123), mode=mode)
    found = read(made.glb(), "glb").statistics
    assert (found["triangles"], found["area"]) == pytest.approx((2, 100))
    normals = np.frombuffer((tmp_path / "result.stl").read_bytes()[84:], np.dtype([("f", "<f4", 12), ("a", "<u2")]))
    assert np.allclose(normals["f"][:, :3], (0, 0, 1))


def test_interleaved_data(read: Read) -> None:
    made = Gltf()
    rows = b"".join(struct.pack("<3f3f", *corner, 0, 0, 1) for corner in METRES)
    view = made.view(rows, byteStride=24)
    made.json["accessors"].append(
        {"bufferView": view, "byteOffset": 0, "componentType": 5126, "count": 8, "type": "VEC3"}
    )
    made.primitive(attributes={"POSITION": 0}, indices=made.accessor(np.array(TRIANGLES).ravel(), "SCALAR", 5123))
    assert is_cube(read(made.glb(), "glb"))


@pytest.mark.parametrize("base", [True, False])
def test_sparse_positions(read: Read, base: bool) -> None:
    made = Gltf()
    moved = METRES if not base else [(0.0, 0.0, 0.0) if k % 2 else corner for k, corner in enumerate(METRES)]
    places = [k for k in range(8) if not base or k % 2]
    indices, values = (
        made.view(np.array(places, "<u2").tobytes()),
        made.view(np.array([METRES[k] for k in places], "<f4").tobytes()),
    )
    entry: dict[str, Any] = {"componentType": 5126, "count": 8, "type": "VEC3"}
    if base:
        entry["bufferView"] = made.view(np.array(moved, "<f4").tobytes())
    entry["sparse"] = {
        "count": len(places),
        "indices": {"bufferView": indices, "componentType": 5123},
        "values": {"bufferView": values},
    }
    made.json["accessors"].append(entry)
    made.primitive(attributes={"POSITION": 0}, indices=made.accessor(np.array(TRIANGLES).ravel(), "SCALAR", 5123))
    assert is_cube(read(made.glb(), "glb"))


@pytest.mark.parametrize(
    ("code", "top", "normalized"), [(5122, 32767, True), (5121, 255, True), (5123, 10, False), (5120, 100, False)]
)
def test_quantized_positions(read: Read, code: int, top: int, normalized: bool) -> None:
    made = Gltf()
    rows = [[round(abs(value) * 100 * top) for value in corner] for corner in METRES]
    padded = np.zeros((8, 4), {5122: "<i2", 5121: "<u1", 5123: "<u2", 5120: "<i1"}[code])
    padded[:, :3] = rows
    view = made.view(padded.tobytes(), byteStride=padded.itemsize * 4)
    made.json["accessors"].append(
        {"bufferView": view, "componentType": code, "count": 8, "type": "VEC3", "normalized": normalized}
    )
    made.primitive(
        attributes={"POSITION": 0}, indices=made.accessor(np.array(TRIANGLES)[:, ::-1].ravel(), "SCALAR", 5123)
    )
    scale = 0.01 if normalized else 0.01 / top
    # The node mirrors the mesh, so that the mesh itself is turned inside out
    made.json["nodes"] = [{"mesh": 0, "scale": [scale, scale, -scale]}]
    data = made.glb(extensionsRequired=["KHR_mesh_quantization"], extensionsUsed=["KHR_mesh_quantization"])
    assert is_cube(read(data, "glb"))


def test_tree_of_nodes_with_a_mirror(read: Read) -> None:
    """The cube, and again mirrored, turned and moved by its parents: outward all the same."""
    made = gltf_cube()
    half = 2**-0.5
    made.json["nodes"] = [
        {"mesh": 0, "children": [1]},
        {"translation": [0.05, 0, 0], "children": [2]},
        {"rotation": [0, 0, half, half], "scale": [-2, 2, 2], "mesh": 0},
    ]
    found = read(made.glb(), "glb").statistics
    assert (found["triangles"], found["area"], found["volume"]) == pytest.approx((24, 3000, 9000))
    assert np.allclose(found["bounding_box"], [(0, 0, -20), (50, 20, 10)], atol=1e-4)


def test_instances_by_extension(read: Read, tmp_path: Path) -> None:
    made = gltf_cube()
    moves = made.accessor([(0, 0, 0), (0.02, 0, 0), (0.04, 0, 0)], "VEC3", 5126)
    sizes = made.accessor([(1, 1, 1), (1, 1, 1), (2, 2, 2)], "VEC3", 5126)
    made.json["nodes"] = [
        {"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": moves, "SCALE": sizes}}}}
    ]
    data = made.glb(extensionsRequired=["EXT_mesh_gpu_instancing"])
    found = read(data, "glb", "glb").statistics
    assert (found["triangles"], found["area"], found["volume"]) == pytest.approx((36, 3600, 10000))
    result = (tmp_path / "result.glb").read_bytes()
    assert len(json.loads(result[20 : 20 + int.from_bytes(result[12:16], "little")])["meshes"]) == 1


def test_draco(read: Read) -> None:
    import DracoPy

    points = np.array(METRES, np.float32)
    data = DracoPy.encode(points, np.array(TRIANGLES, np.uint32), quantization_bits=14, preserve_order=True)
    made = Gltf()
    made.json["accessors"] = [
        {"componentType": 5126, "count": 8, "type": "VEC3"}, {"componentType": 5123, "count": 36, "type": "SCALAR"},
    ]  # fmt: skip
    extension = {"bufferView": made.view(data), "attributes": {"POSITION": 0}}
    made.primitive(attributes={"POSITION": 0}, indices=1, extensions={"KHR_draco_mesh_compression": extension})
    result = read(made.glb(extensionsRequired=["KHR_draco_mesh_compression"]), "glb").statistics
    assert (result["triangles"], result["area"], result["volume"]) == pytest.approx((12, 600, 1000), rel=1e-3)
    made.data = b"no draco at all".ljust(len(made.data), b"!")
    with pytest.raises(InputError, match="KHR_draco_mesh_compression"):
        read(made.glb(extensionsRequired=["KHR_draco_mesh_compression"]), "glb")


#: METRES and TRIANGLES as meshoptimizer itself encodes them: plain, with the exponential filter (20 bits), and both modes
#: for indices; and the rotations by nothing and by a right angle about z with the quaternion filter.
MESHOPT = {
    "POSITIONS": "oAEAwAAAFAEAwAAAUQEAwAAARgEAwAAAeAE//wAAFBMUExQTFAE//wAAUVJRUlFSUQE//wAARkVGRUZFRgE//wAAeHd4d3h3eAEMzAAAFBMUAQzMAABRUlEB"
    "DMwAAEZFRgEMzAAAh4iHAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "EXPONENTIAL": "oAEAwAAAjwEAwAAAPAEAwAAACgEwAAAAvAE//wAAj5CPkI+QjwE//wAAPDs8Ozw7PAIKmpqaAAAAAAEwAAAAvAEMzAAAkI+QAQzMAAA9Pj0BDMwAAAsMCwEw"
    "AAAAvAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAiQAAAIkAAACJ",
    "TRIANGLES": "4f4A/w8HFqECBxORBQ8G/wIEAgMAdodWZ3iphmWJaJgBaQAA",
    "INDICES": "0QAECAoMAggIBAoMBhIQBBIUDgQEEBIUAhYIEBYYBgoQCBYYDgAAAAA=",
    "QUATERNION": "oAEQAAAAATAAAAD+AAAAAAEQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP9/",
}  # fmt: skip
EXTENSION = "EXT_meshopt_compression"


def packed(made: Gltf, name: str, count: int, stride: int, **more: Any) -> int:
    """A compressed view."""
    view = made.view(base64.b64decode(MESHOPT[name]))
    entry = made.json["bufferViews"][view]
    extension = {**entry, "count": count, "byteStride": stride, **more}
    made.json["bufferViews"][view] = {"buffer": 0, "byteLength": count * stride, "extensions": {EXTENSION: extension}}
    return view


def meshopt_cube(positions: str = "POSITIONS", indices: str = "TRIANGLES") -> Gltf:
    made = Gltf()
    filter_ = {"filter": "EXPONENTIAL"} if positions == "EXPONENTIAL" else {}
    points = packed(made, positions, 8, 12, mode="ATTRIBUTES", **filter_)
    corners = packed(made, indices, 36, 2, mode=indices)
    made.json["accessors"] = [
        {"bufferView": points, "componentType": 5126, "count": 8, "type": "VEC3"},
        {"bufferView": corners, "componentType": 5123, "count": 36, "type": "SCALAR"},
    ]
    made.primitive(attributes={"POSITION": 0}, indices=1)
    made.json["extensionsRequired"] = [EXTENSION]
    return made


@pytest.mark.parametrize("positions", ["POSITIONS", "EXPONENTIAL"])
@pytest.mark.parametrize("indices", ["TRIANGLES", "INDICES"])
def test_meshopt(read: Read, positions: str, indices: str) -> None:
    assert is_cube(read(meshopt_cube(positions, indices).glb(), "glb"))


def test_meshopt_rotations_of_instances(read: Read) -> None:
    made = meshopt_cube()
    turns = packed(made, "QUATERNION", 2, 8, mode="ATTRIBUTES", filter="QUATERNION")
    made.json["accessors"].append(
        {"bufferView": turns, "componentType": 5122, "normalized": True, "count": 2, "type": "VEC4"}
    )
    made.json["nodes"] = [{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"ROTATION": 2}}}}]
    found = read(made.glb(), "glb").statistics
    assert (found["triangles"], found["volume"]) == pytest.approx((24, 2000), rel=1e-3)
    assert np.allclose(found["bounding_box"], [(-10, 0, 0), (10, 10, 10)], atol=1e-2)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-40],
        lambda data: b"\xa1" + data[1:],
        lambda data: b"\x00" + data[1:],
        lambda data: data[:1] + b"\xff" * 40 + data[41:],
    ],
)
def test_meshopt_data_that_is_damaged_is_refused(
    read: Read, change: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MESHOPT, "POSITIONS", base64.b64encode(change(base64.b64decode(MESHOPT["POSITIONS"]))).decode())
    with pytest.raises(InputError, match="meshopt_compression"):
        read(meshopt_cube().glb(), "glb")


def test_morphed_and_skinned_in_rest(read: Read) -> None:
    made = gltf_cube()
    primitive = made.json["meshes"][0]["primitives"][0]
    primitive["targets"] = [{"POSITION": made.accessor([(0, 0.02, 0)] * 8, "VEC3", 5126)}]
    made.json["meshes"][0]["weights"] = [0.5]
    moved = read(made.glb(), "glb").statistics["bounding_box"]
    assert np.allclose(moved, [(0, 0, 10), (10, 10, 20)], atol=1e-5)

    made = gltf_cube()
    primitive = made.json["meshes"][0]["primitives"][0]
    primitive["attributes"]["JOINTS_0"] = made.accessor([(0, 0, 0, 0)] * 8, "VEC4", 5121)
    primitive["attributes"]["WEIGHTS_0"] = made.accessor([(1, 0, 0, 0)] * 8, "VEC4", 5126)
    made.json["nodes"] = [{"mesh": 0, "skin": 0, "translation": [9, 9, 9]}, {"translation": [0.03, 0, 0]}]
    made.json["scenes"] = [{"nodes": [0, 1]}]
    made.json["skins"] = [{"joints": [1]}]
    moved = read(made.glb(), "glb").statistics["bounding_box"]
    assert np.allclose(moved, [(30, 0, 0), (40, 10, 10)], atol=1e-4)  # the joint places it, not the node


@pytest.mark.parametrize(
    "uri", ["part.bin", "/etc/hostname", "file:///etc/hostname", "http://127.0.0.1:9/x", "../x", "data:text/plain,x"]
)
def test_a_buffer_outside_the_file_is_never_read(read: Read, uri: str) -> None:
    made = gltf_cube()
    made.json["buffers"] = [{"uri": uri, "byteLength": 10}]
    for form, data in (("glb", made.glb()), ("gltf", json.dumps(made.json).encode())):
        with pytest.raises(InputError, match="buffers must be inside the file") as refusal:
            read(data, form)
        assert "host" not in str(refusal.value)


def broken(change: Callable[[Gltf], Any]) -> bytes:
    made = gltf_cube()
    change(made)
    return made.glb()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gltf_cube().glb()[:-10], "cut off"),
        (gltf_cube().glb(extensionsRequired=["KHR_future_shape"]), "KHR_future_shape"),
        (gltf_cube().glb(asset={"version": "1.0"}), "1.0"),
        (broken(lambda m: m.json.update(nodes=[{"mesh": 0, "children": [0]}])), "own ancestor"),
        (broken(lambda m: m.json.update(nodes=[{"children": [1, 1]}, {"mesh": 0}])), "two places"),
        (broken(lambda m: m.json.update(nodes=[{"mesh": 7}])), "meshes 7"),
        (broken(lambda m: m.json["accessors"][1].update(count=35)), "multiple of 3"),
        (broken(lambda m: m.json["accessors"][0].update(count=7)), "index 7"),
        (broken(lambda m: m.json["accessors"][0].update(count=9)), "beyond the end"),
        (broken(lambda m: m.json["accessors"][0].update(count=10**15)), "whole number"),
        (broken(lambda m: m.json["bufferViews"][0].update(byteLength=10**9)), "beyond the end"),
        (broken(lambda m: m.json["meshes"][0]["primitives"][0].update(mode=9)), "mode"),
        (broken(lambda m: m.json["accessors"][0].update(type="VEC2")), "kind"),
        (broken(lambda m: m.json.update(nodes="none")), "no list"),
        (broken(lambda m: m.json.update(nodes=[{"mesh": 0, "matrix": [1, 2]}])), "16 numbers"),
        (b"glTF" + bytes(40), "version 0"),
        (b"glTF", "cut off"),
    ],
)
def test_glb_refused_with_the_reason(read: Read, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(data, "glb")


def test_nan_in_glb_is_refused_with_its_vertex(read: Read) -> None:
    made = gltf_cube()
    made.data = made.data.replace(struct.pack("<f", 0.01), struct.pack("<f", float("nan")), 1)
    with pytest.raises(InputError, match=r"vertex \d has a coordinate that is not a number"):
        read(made.glb(), "glb")


# 3MF


def package(model: str, name: str = "3D/3dmodel.model", **parts: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
            f'Target="/{name}" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>',
        )
        archive.writestr(name, model)
        for part, text in parts.items():
            archive.writestr(f"3D/{part}.model", text)
    return target.getvalue()


def mesh_3mf(size: float = 10) -> str:
    vertices = "".join(f'<vertex x="{x * size / 10}" y="{y * size / 10}" z="{z * size / 10}"/>' for x, y, z in CORNERS)
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in TRIANGLES)
    return f"<mesh><vertices>{vertices}</vertices><triangles>{triangles}</triangles></mesh>"


def model_3mf(objects: str, build: str, head: str = 'unit="millimeter"') -> str:
    core = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
    return f'<model {head} xmlns="{core}"><resources>{objects}</resources><build>{build}</build></model>'


CUBE_3MF = f'<object id="1">{mesh_3mf()}</object>'
ITEM = '<item objectid="1"/>'
PRODUCTION = 'xmlns:p="http://schemas.microsoft.com/3dmanufacturing/production/2015/06" requiredextensions="p"'


def test_3mf_by_its_relationship_and_without_a_unit(read: Read) -> None:
    assert is_cube(read(package(model_3mf(CUBE_3MF, ITEM, "")), "3mf"))
    assert is_cube(read(package(model_3mf(CUBE_3MF, ITEM), name="somewhere/else.model"), "3mf"))


@pytest.mark.parametrize(
    ("unit", "scale"), [("micron", 0.001), ("centimeter", 10), ("inch", 25.4), ("foot", 304.8), ("meter", 1000)]
)
def test_3mf_units(read: Read, unit: str, scale: float) -> None:
    found = read(package(model_3mf(CUBE_3MF, ITEM, f'unit="{unit}"')), "3mf").statistics
    assert found["bounding_box"][1] == pytest.approx([10 * scale] * 3)


def test_3mf_components(read: Read, tmp_path: Path) -> None:
    """A cube and the same one doubled at x 50; all of it raised by 5. It stays one mesh in GLB."""
    both = '<object id="2"><components><component objectid="1"/><component objectid="1" transform="2 0 0 0 2 0 0 0 2 50 0 0"/></components></object>'
    build = '<item objectid="2" transform="1 0 0 0 1 0 0 0 1 0 0 5"/>'
    found = read(package(model_3mf(CUBE_3MF + both, build)), "3mf", "glb").statistics
    assert (found["triangles"], found["area"], found["volume"]) == pytest.approx((24, 3000, 9000))
    assert np.allclose(found["bounding_box"], [(0, 0, 5), (70, 20, 25)], atol=1e-4)
    result = (tmp_path / "result.glb").read_bytes()
    assert len(json.loads(result[20 : 20 + int.from_bytes(result[12:16], "little")])["meshes"]) == 1


def test_3mf_with_parts_in_other_models(read: Read) -> None:
    main = model_3mf(
        '<object id="2"><components><component objectid="1" p:path="/3D/part.model"/></components></object>',
        '<item objectid="2"/>', PRODUCTION,
    )  # fmt: skip
    assert is_cube(read(package(main, part=model_3mf(CUBE_3MF, "")), "3mf"))


def test_what_is_not_in_the_build_is_not_there(read: Read) -> None:
    assert is_cube(read(package(model_3mf(CUBE_3MF + f'<object id="2">{mesh_3mf(30)}</object>', ITEM)), "3mf"))


def self_made(depth: int) -> str:
    """Objects of two components each, of which the last is the cube: 2 ** depth of them."""
    objects = CUBE_3MF
    for number in range(2, depth + 2):
        objects += f'<object id="{number}"><components>{f"<component objectid={chr(34)}{number - 1}{chr(34)}/>" * 2}</components></object>'
    return model_3mf(objects, f'<item objectid="{depth + 1}"/>')


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (package(model_3mf('<object id="1"><components><component objectid="1"/></components></object>', ITEM)), "component of itself"),
        (package(model_3mf(CUBE_3MF, ITEM))[:200], "no whole zip"),
        (package(model_3mf(CUBE_3MF, "")), "names no object"),
        (package(model_3mf(CUBE_3MF, '<item objectid="9"/>')), "does not hold"),
        (package(model_3mf(CUBE_3MF, ITEM, 'unit="cubit"')), "cubit"),
        (package(model_3mf(CUBE_3MF, ITEM, 'xmlns:s="http://x/slice" requiredextensions="s"')), "http://x/slice"),
        (package(model_3mf(CUBE_3MF.replace('v3="3"', 'v3="30"'), ITEM)), "not there"),
        (package(model_3mf(CUBE_3MF.replace('z="10.0"', 'z="nan"'), ITEM)), "vertex 2 has a coordinate that is not a number"),
        (package(model_3mf(CUBE_3MF.replace('z="10.0"', ''), ITEM)), "no 'z'"),
        (package(model_3mf(CUBE_3MF.replace('z="10.0"', 'z="x"'), ITEM)), "no number"),
        (package(model_3mf(CUBE_3MF, ITEM)[:-9]), "valid XML"),
        (package("<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>" + model_3mf(CUBE_3MF, ITEM)), "document type"),
        (package(self_made(40)), "more than"),
        (b"PK\5\6" + bytes(18), "holds no 3D/3dmodel.model"),
    ],
)  # fmt: skip
def test_3mf_refused_with_the_reason(read: Read, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(data, "3mf")


# units, axes, places


@pytest.mark.parametrize(
    ("unit", "scale"), [("mm", 1), ("cm", 10), ("m", 1000), ("in", 25.4), ("ft", 304.8), ("yd", 914.4)]
)
def test_units_of_files_that_do_not_say(read: Read, unit: str, scale: float) -> None:
    result = read(stl_cube(), "stl", units=unit)
    assert result.statistics["bounding_box"][1] == pytest.approx([10 * scale] * 3)
    assert not any("millimetres" in sentence for sentence in result.warnings)


def test_output_units(read: Read, tmp_path: Path) -> None:
    result = read(stl_cube(), "stl", "obj", units="in", output_units="cm")
    assert result.statistics["bounding_box"][1] == pytest.approx([254] * 3)  # the record is in mm
    numbers = [
        float(w)
        for line in (tmp_path / "result.obj").read_text().splitlines()
        if line[0] == "v"
        for w in line.split()[1:]
    ]
    assert max(numbers) == pytest.approx(25.4)


def test_units_that_were_guessed_or_not_used_are_said(read: Read) -> None:
    assert any("millimetres" in sentence for sentence in read(stl_cube(), "stl").warnings)
    assert any("units was not used" in sentence for sentence in read(gltf_cube().glb(), "glb", units="in").warnings)
    assert any("output_units" in sentence for sentence in read(stl_cube(), "stl", "glb", output_units="in").warnings)


@pytest.mark.parametrize(
    ("given", "corner"),
    [
        ({}, (1, 2, 3)),
        ({"up": "y"}, (1, -3, 2)),
        ({"output_up": "y"}, (1, 3, -2)),
        ({"up": "y", "output_up": "y"}, (1, 2, 3)),
    ],
)
def test_up_axes(read: Read, tmp_path: Path, given: dict[str, str], corner: tuple[float, float, float]) -> None:
    read("v 0 0 0\nv 1 2 3\nv 0 0 3\nf 1 2 3\n", "obj", "obj", **given)
    rows = [
        [float(word) for word in line.split()[1:]]
        for line in (tmp_path / "result.obj").read_text().splitlines()
        if line[0] == "v"
    ]
    assert any(np.allclose(row, corner) for row in rows)


@pytest.mark.parametrize(
    ("given", "corner"), [({}, (0.001, 0.003, -0.002)), ({"output_up": "z"}, (0.001, 0.002, 0.003))]
)
def test_up_axis_of_glb(read: Read, tmp_path: Path, given: dict[str, str], corner: tuple[float, float, float]) -> None:
    read("v 0 0 0\nv 1 2 3\nv 0 0 3\nf 1 2 3\n", "obj", "glb", **given)
    result = (tmp_path / "result.glb").read_bytes()
    box = json.loads(result[20 : 20 + int.from_bytes(result[12:16], "little")])["accessors"][0]
    assert np.allclose(np.where(np.array(corner) < 0, box["min"], box["max"]), corner)


def far_cube(step: float = 0.1) -> str:
    rows = [f"v {500000.1 + x * step / 10!r} {4649776.2 + y * step / 10!r} {z * step / 10!r}" for x, y, z in CORNERS]
    return "\n".join(rows + ["f " + " ".join(str(index + 1) for index in quad) for quad in QUADS])


@pytest.mark.parametrize(
    ("output", "storage"),
    [("stl", "binary"), ("stl", "ascii"), ("ply", "binary"), ("ply", "ascii"), ("obj", ""), ("glb", ""), ("3mf", "")],
)
def test_a_part_far_out_keeps_its_shape(read: Read, output: str, storage: str) -> None:
    given = {"storage": storage} if storage else {}
    result = read(far_cube(), "obj", output, **given)
    found = result.statistics
    assert (found["triangles"], found["area"], found["volume"]) == pytest.approx((12, 0.06, 0.001), rel=1e-4)
    moved = (output, storage) == ("stl", "binary")
    assert moved == any("was moved by" in sentence for sentence in result.warnings)
    assert (found["bounding_box"][0][0] > 400000) != moved


def test_numbers_too_large_are_refused(read: Read) -> None:
    with pytest.raises(InputError, match="beyond"):
        read("v 0 0 0\nv 1e200 0 0\nv 0 1e200 0\nf 1 2 3\n", "obj")


@pytest.mark.parametrize("output", ["stl", "ply"])
@pytest.mark.parametrize("storage", ["binary", "ascii"])
def test_storage(read: Read, tmp_path: Path, output: str, storage: str) -> None:
    assert is_cube(read(obj_cube(), "obj", output, storage=storage))
    assert (b"\0" in (tmp_path / f"result.{output}").read_bytes()) == (storage == "binary")


def test_a_surface_turned_inside_out_is_said(read: Read) -> None:
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS)
    text += "".join("f " + " ".join(str(index + 1) for index in reversed(quad)) + "\n" for quad in QUADS)
    result = read(text, "obj")
    assert result.statistics["volume"] == pytest.approx(-1000)
    assert any("inside out" in sentence for sentence in result.warnings)


def test_open_surface_has_no_volume(read: Read) -> None:
    assert read(obj_cube().rsplit("f ", 1)[0], "obj").statistics["volume"] is None
