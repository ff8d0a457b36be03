# SPDX-License-Identifier: GPL-3.0-or-later
"""3MF: a zip with meshes, components and a build, in a unit that it names."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np

from ..errors import InputError
from .scene import IDENTITY, MAX_DEPTH, MAX_INSTANCES, Matrix, Mesh, Node, Points, Scene, Triangles, welded
from .text import written

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_PRODUCTION = "http://schemas.microsoft.com/3dmanufacturing/production/2015/06"
_MODEL_TYPE = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_UNITS = {"micron": 0.001, "millimeter": 1.0, "centimeter": 10.0, "inch": 25.4, "foot": 304.8, "meter": 1000.0}
#: Extensions that change no shape, or that are read; a required one that is not here is refused by name.
_READ = {
    _PRODUCTION: "production",
    "http://schemas.microsoft.com/3dmanufacturing/material/2015/02": "materials",
    "http://schemas.microsoft.com/3dmanufacturing/trianglesets/2021/07": "triangle sets",
    "http://schemas.bambulab.com/package/2021": "Bambu Studio",
    "http://schemas.slic3r.org/3mf/2017/06": "Slic3r",
}
_UNPACKED = 1 << 30  # bytes of one model


@dataclass
class _Object:
    name: str
    vertices: array[float] = field(default_factory=lambda: array("d"))
    faces: array[int] = field(default_factory=lambda: array("q"))
    components: list[tuple[str, str, Matrix]] = field(default_factory=list)
    meshed: bool = False


_Key = tuple[str, str]  # the part of the package and the object's id in it


def read(data: bytes) -> Scene:
    """Everything that the build names."""
    return _Package(data).scene()


class _Package:
    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            self._names = {name.lstrip("/").lower(): name for name in self._zip.namelist()}
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as exc:
            raise InputError("The 3MF file is no whole zip: it is cut off, damaged or of another format.", 422) from exc
        self._objects: dict[_Key, _Object] = {}
        self._read: set[str] = set()
        self._build: list[tuple[str, str, Matrix]] = []
        self._unit = 1.0
        self._painted = False
        self._warnings: list[str] = []
        self._meshes: list[Mesh] = []
        self._places: dict[_Key, int | None] = {}

    def scene(self) -> Scene:
        """The build as a tree."""
        main = self._start()
        self._model(main, main=True)
        if not self._build:
            raise InputError("The 3MF file's build names no object: there is nothing to convert.", 422)
        count = [0]
        roots = tuple(self._node((part or main, number), matrix, (), count) for part, number, matrix in self._build)
        if self._painted:
            self._warnings.append("The 3MF file's colours and materials are not carried over.")
        scene = Scene(tuple(self._meshes), roots, tuple(self._warnings))
        return scene.transformed(np.diag([self._unit, self._unit, self._unit, 1.0]))

    def _bytes(self, name: str) -> bytes:
        real = self._names.get(name.lstrip("/").lower())
        if real is None:
            raise InputError(f"The 3MF file holds no {name[:80]}: it is damaged.", 422)
        try:
            with self._zip.open(real) as stream:
                found = stream.read(_UNPACKED + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as exc:
            raise InputError(
                "The 3MF file's zip cannot be unpacked: it is cut off, damaged or encrypted.", 422
            ) from exc
        if len(found) > _UNPACKED:
            raise InputError(f"The 3MF file unpacks to more than {_UNPACKED >> 20} MiB: simplify it.", 422)
        return found

    def _start(self) -> str:
        """The name of the model that the package begins with."""
        if "_rels/.rels" in self._names:
            found: list[str] = []

            def start(name: str, values: dict[str, str]) -> None:
                if name.rpartition(" ")[2] == "Relationship" and values.get("Type") == _MODEL_TYPE:
                    found.append(values.get("Target", ""))

            _parse(self._bytes("_rels/.rels"), start)
            if found:
                return found[0].lstrip("/")
        return "3D/3dmodel.model"

    def _model(self, part: str, *, main: bool = False) -> None:
        self._read.add(part.lower())
        current: list[_Object] = []
        spaces: dict[str, str] = {}
        path = f"{_PRODUCTION} path"

        def space(prefix: str | None, uri: str) -> None:
            spaces[prefix or ""] = uri

        def start(name: str, values: dict[str, str]) -> None:
            where, _, tag = name.rpartition(" ")
            if where != _CORE:
                if tag in ("beamlattice", "slicestack", "displacementmesh", "levelset", "volumetricstack"):
                    raise InputError(f"The 3MF file describes its shape by '{tag}', which is not read.", 422)
                if tag in ("colorgroup", "texture2dgroup"):
                    self._painted = True
                return
            if tag == "vertex":
                current[-1].vertices.extend((float(values["x"]), float(values["y"]), float(values["z"])))
            elif tag == "triangle":
                current[-1].faces.extend((int(values["v1"]), int(values["v2"]), int(values["v3"])))
            elif tag == "model":
                self._head(values, spaces, main)
            elif tag == "object":
                current.append(_Object(values.get("name", "")[:200]))
                key = (part.lower(), values["id"])
                if key in self._objects:
                    raise InputError(
                        f"The 3MF file has two objects with the id {values['id'][:16]}: it is damaged.", 422
                    )
                self._objects[key] = current[-1]
            elif tag == "mesh":
                current[-1].meshed = True
            elif tag == "component":
                current[-1].components.append(
                    (values.get(path, ""), values["objectid"], _matrix(values.get("transform")))
                )
            elif tag == "item" and main:
                self._build.append((values.get(path, ""), values["objectid"], _matrix(values.get("transform"))))
            elif tag == "basematerials":
                self._painted = True

        try:
            _parse(self._bytes(part), start, space)
        except (KeyError, ValueError, IndexError) as exc:
            what = f"no '{exc.args[0]}'" if isinstance(exc, KeyError) else "a value that is no number"
            raise InputError(f"The 3MF file has an element with {what}: it is damaged.", 422) from exc

    def _head(self, values: dict[str, str], spaces: dict[str, str], main: bool) -> None:
        unit = values.get("unit", "millimeter")
        if unit not in _UNITS:
            raise InputError(f"The 3MF file's unit '{unit[:16]}' is unknown: use one of {', '.join(_UNITS)}.", 422)
        if main:
            self._unit = _UNITS[unit]
        elif _UNITS[unit] != self._unit:
            raise InputError("The 3MF file's parts are of different units: export it again.", 422)
        for prefix in values.get("requiredextensions", "").split():
            if spaces.get(prefix, "") not in _READ:
                raise InputError(
                    f"The 3MF file requires the extension {spaces.get(prefix, prefix)[:100]}, which is not read: export it without.",
                    422,
                )

    def _node(self, key: _Key, matrix: Matrix, above: tuple[_Key, ...], count: list[int]) -> Node:
        key = (key[0].lstrip("/").lower(), key[1])
        count[0] += 1
        if key in above:
            raise InputError(f"The 3MF file's object {key[1][:16]} is a component of itself: it is damaged.", 422)
        if count[0] > MAX_INSTANCES or len(above) > MAX_DEPTH:
            raise InputError(
                f"The 3MF file places more than {MAX_INSTANCES} objects or nests them deeper than {MAX_DEPTH}.", 422
            )
        if key[0] not in self._read:
            self._model(key[0])
        found = self._objects.get(key)
        if found is None:
            raise InputError(f"The 3MF file names an object {key[1][:16]} that it does not hold: it is damaged.", 422)
        if key not in self._places:
            self._places[key] = self._mesh(found, key[1]) if found.meshed else None
        children = tuple(
            self._node((part or key[0], number), move, (*above, key), count) for part, number, move in found.components
        )
        return Node(found.name, matrix, self._places[key], children)

    def _mesh(self, found: _Object, number: str) -> int:
        vertices = np.array(found.vertices, np.float64).reshape(-1, 3)
        faces = np.array(found.faces, np.int64).reshape(-1, 3)
        del found.vertices[:], found.faces[:]
        if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
            raise InputError(
                f"A triangle of the 3MF file's object {number[:16]} names a vertex that is not there: there are {len(vertices)}.",
                422,
            )
        self._meshes.append(Mesh(vertices, faces, found.name))
        return len(self._meshes) - 1


def _matrix(text: str | None) -> Matrix:
    """3MF writes rows of a matrix for row vectors: x' = x m00 + y m10 + z m20 + m30."""
    if text is None:
        return IDENTITY
    values = np.array([float(word) for word in text.split()])
    if values.shape != (12,) or not np.isfinite(values).all():
        raise ValueError
    matrix = np.eye(4)
    matrix[:3, :] = values.reshape(4, 3).T
    return matrix


def _parse(
    data: bytes,
    start: Callable[[str, dict[str, str]], None],
    space: Callable[[str | None, str], None] | None = None,
) -> None:
    """Run `start` on every element. No document type, so no entities: nothing is fetched and nothing blows up."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.StartNamespaceDeclHandler = space

    def refuse(*_: object) -> None:
        raise InputError("The 3MF file's model has a document type, which 3MF forbids.", 422)

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as exc:
        raise InputError(
            f"The 3MF file's model is no valid XML (line {exc.lineno}): it is damaged or cut off.", 422
        ) from exc


def write(scene: Scene, form: str = "%.9g") -> bytes:
    """A 3MF file in millimetres: an object a mesh, an item of the build an instance. Equal scenes give equal bytes."""
    objects: list[str] = []
    items: list[str] = []
    plain = [welded(mesh) for mesh in scene.meshes]
    known: dict[tuple[int, bool], int] = {}
    for name, matrix, index in scene.instances():
        mirrored = bool(np.linalg.det(matrix[:3, :3]) < 0)
        key = (index, mirrored)
        mesh = plain[index]
        if key not in known:
            flip = np.diag([-1.0, 1.0, 1.0, 1.0])  # a build may not mirror: the object is
            known[key] = len(objects) + 1
            objects.append(_object(known[key], mesh.moved(flip) if mirrored else mesh, name or mesh.name, form))
        placed = matrix @ np.diag([-1.0, 1.0, 1.0, 1.0]) if mirrored else matrix
        words = " ".join(repr(float(value)) for value in placed[:3, :].T.ravel())
        move = "" if np.array_equal(placed, IDENTITY) else f' transform="{words}"'
        items.append(f'<item objectid="{known[key]}"{move}/>\n')
    model = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<model unit="millimeter" xml:lang="en-US" xmlns="{_CORE}">\n<resources>\n'
        f"{''.join(objects)}</resources>\n<build>\n{''.join(items)}</build>\n</model>\n"
    )
    types = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>\n'
    )
    relations = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Target="/3D/3dmodel.model" Id="rel0" Type="{_MODEL_TYPE}"/></Relationships>\n'
    )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for entry, text in (("[Content_Types].xml", types), ("_rels/.rels", relations), ("3D/3dmodel.model", model)):
            info = zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text)
    return target.getvalue()


def _object(number: int, mesh: Mesh, name: str, form: str) -> str:
    points: Points = mesh.vertices
    faces: Triangles = mesh.faces
    shown = re.sub(r"[\x00-\x1f\ufffe\uffff\ud800-\udfff]", " ", name)
    title = f" name={quoteattr(shown)}" if name else ""
    vertices = written(f'<vertex x="{form}" y="{form}" z="{form}"/>\n', points).decode("ascii")
    triangles = written('<triangle v1="%d" v2="%d" v3="%d"/>\n', faces).decode("ascii")
    return (
        f'<object id="{number}" type="model"{title}>\n<mesh>\n<vertices>\n{vertices}</vertices>\n'
        f"<triangles>\n{triangles}</triangles>\n</mesh>\n</object>\n"
    )
