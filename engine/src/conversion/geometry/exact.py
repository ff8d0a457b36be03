# SPDX-License-Identifier: GPL-3.0-or-later
"""STEP, IGES and BREP by OpenCascade: read, checked, made into triangles, written, measured. Millimetres.

OpenCascade goes on where a file is faulty and leaves out what it cannot read or mesh. Here every status is looked at and
every face's triangles are compared with its surface; what is missing is mended, and said, or refused.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from OCP.BinTools import BinTools, BinTools_FormatVersion
from OCP.Bnd import Bnd_Box
from OCP.BRep import BRep_Builder, BRep_Tool
from OCP.BRepAdaptor import BRepAdaptor_Surface
from OCP.BRepBndLib import BRepBndLib
from OCP.BRepBuilderAPI import BRepBuilderAPI_NurbsConvert, BRepBuilderAPI_Sewing, BRepBuilderAPI_Transform
from OCP.BRepGProp import BRepGProp
from OCP.BRepMesh import BRepMesh_IncrementalMesh
from OCP.BRepTools import BRepTools
from OCP.collections import IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher as ShapeMap
from OCP.collections import Sequence_TDF_Label
from OCP.gp import gp_Trsf
from OCP.GProp import GProp_GProps
from OCP.IFSelect import IFSelect_RetDone
from OCP.IGESCAFControl import IGESCAFControl_Reader
from OCP.Interface import Interface_Static
from OCP.Message import Message
from OCP.Quantity import Quantity_ColorRGBA
from OCP.ShapeFix import ShapeFix_Shape, ShapeFix_Solid
from OCP.ShapeUpgrade import ShapeUpgrade_ShapeDivideClosed
from OCP.STEPCAFControl import STEPCAFControl_Reader, STEPCAFControl_Writer
from OCP.STEPConstruct import STEPConstruct_ExternRefs
from OCP.STEPControl import STEPControl_AsIs
from OCP.TCollection import TCollection_ExtendedString
from OCP.TDataStd import TDataStd_Name
from OCP.TDF import TDF_ChildIterator, TDF_Label
from OCP.TDocStd import TDocStd_Document
from OCP.TopAbs import (
    TopAbs_COMPOUND,
    TopAbs_EDGE,
    TopAbs_FACE,
    TopAbs_REVERSED,
    TopAbs_SHELL,
    TopAbs_SOLID,
    TopAbs_VERTEX,
)
from OCP.TopExp import TopExp, TopExp_Explorer
from OCP.TopLoc import TopLoc_Location
from OCP.TopoDS import TopoDS, TopoDS_Compound, TopoDS_Face, TopoDS_Iterator
from OCP.XCAFDoc import XCAFDoc_ColorGen, XCAFDoc_ColorSurf, XCAFDoc_ColorTool, XCAFDoc_DocumentTool, XCAFDoc_ShapeTool

from ..errors import InputError
from .measure import Statistics, is_closed
from .scene import IDENTITY, MAX_INSTANCES, Color, Matrix, Mesh, Node, Points, Scene, Triangles

#: STEP's faces with a surface; IGES's trimmed and bounded surfaces and faces of solids.
_STEP_FACE = re.compile(rb"=\s*(?:\(\s*)?(?:ADVANCED_FACE|FACE_SURFACE)\s*\(")
_STEP_FACES = ("StepShape_AdvancedFace", "StepShape_FaceSurface")
_IGES_FACES = (143, 144, 510)
#: Names that OpenCascade gives itself.
_NO_NAME = re.compile(r"(?:SOLID|COMPOUND|COMPSOLID|SHELL|FACE|SHAPE|ASSEMBLY)?$|Open CASCADE (?:STEP|IGES) translator")
Message.DefaultMessenger_s().ChangePrinters().Clear()  # it prints what it reads


@dataclass(frozen=True)
class Fineness:
    """How near triangles come to a surface: mm, or `relative` to the size of the whole, and degrees between them."""

    deflection: float | None
    relative: float
    angle: float


class Exact:
    """A document of exact shapes: parts, assemblies, names and colours."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.warnings: list[str] = []
        self.document = TDocStd_Document(TCollection_ExtendedString("BinXCAF"))
        self.shapes = XCAFDoc_DocumentTool.ShapeTool_s(self.document.Main())
        self.colors = XCAFDoc_DocumentTool.ColorTool_s(self.document.Main())

    def free(self) -> list[Any]:
        """The labels of what is in no assembly."""
        labels = Sequence_TDF_Label()
        self.shapes.GetFreeShapes(labels)
        return [labels.Value(index) for index in range(1, labels.Length() + 1)]

    def shape(self) -> Any:
        """Everything as one shape; a single part as itself."""
        found = [XCAFDoc_ShapeTool.GetShape_s(label) for label in self.free()]
        return _unwrapped(found[0] if len(found) == 1 else _compound(found))

    def turned(self, turn: Matrix) -> Any:
        """Everything as one shape, turned."""
        return self.shape() if turn is IDENTITY else scaled(self.shape(), 1.0, turn)

    def dressed(self) -> list[str]:
        """What the document has besides shapes, in words: names, colours."""
        named = colored = False
        inside = TDF_ChildIterator(self.shapes.Label(), True)
        while inside.More():
            named, colored = named or bool(_name(inside.Value())), colored or _color(inside.Value()) is not None
            inside.Next()
        return [word for word, there in (("names", named), ("colours", colored)) if there]


def read(path: Path, form: str, scale: float) -> Exact:
    """Read a STEP, IGES or BREP file; `scale` makes millimetres of BREP's numbers, which have no unit."""
    made = {"step": _read_step, "iges": _read_iges, "brep": _read_brep}[form](path, scale)
    if not any(True for _ in _explore(made.shape(), TopAbs_FACE)):
        raise InputError(f"The {made.label} file holds no surface: there is nothing to convert.", 422)
    return made


def _read_step(path: Path, _scale: float) -> Exact:
    exact = Exact("STEP")
    data = path.read_bytes()
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    reader = STEPCAFControl_Reader()
    for mode in (reader.SetLayerMode, reader.SetPropsMode, reader.SetGDTMode, reader.SetMatMode, reader.SetViewMode):
        mode(False)  # names and colours are all that is wanted
    if text is not data and len(text) != len(data):
        path = path.with_name("plain.step")
        path.write_bytes(text)
    done = reader.ReadFile(str(path)) == IFSelect_RetDone
    session = reader.Reader().WS()
    model = session.Model()
    if not done or model is None or not model.NbEntities():
        raise _unreadable("STEP")
    missing = _unresolved(model)
    if missing:
        raise InputError(f"The STEP file is not whole: {missing}. Export it again.", 422)
    references = STEPConstruct_ExternRefs(session)
    references.LoadExternRefs()
    if references.NbExternRefs():
        names = sorted(set(re.findall(rb"=\s*DOCUMENT_FILE\s*\(\s*'([^']*)'", text)))
        shown = ", ".join(re.sub(r"[^ -~]", "?", name.decode("latin-1"))[:60] for name in names[:3])
        raise InputError(
            f"The STEP file keeps its parts in other files ({shown}): export the assembly as one file.", 422
        )
    if not reader.Transfer(exact.document) or not exact.free():
        raise InputError(
            "The STEP file holds no shape that can be read: export it again as AP203, AP214 or AP242.", 422
        )
    _whole(exact, session, len(_STEP_FACE.findall(text)), lambda: _malformed_step_face(model, text))
    if b"TESSELLATED" in text and re.search(rb"=\s*(?:COMPLEX_)?TRIANGULATED_(?:FACE|SURFACE_SET)\s*\(", text):
        raise InputError(
            "The STEP file holds surfaces as triangles (AP242), which are not read: export exact shapes.", 422
        )
    return exact


def _read_iges(path: Path, _scale: float) -> Exact:
    exact = Exact("IGES")
    reader = IGESCAFControl_Reader()
    reader.SetNameMode(True)
    reader.SetColorMode(True)
    if reader.ReadFile(str(path)) != IFSelect_RetDone:
        raise _unreadable("IGES")
    session = reader.WS()
    model = session.Model()
    if not reader.Transfer(exact.document) or not exact.free():
        raise InputError("The IGES file holds no shape that can be read: export it again with surfaces.", 422)
    _whole(exact, session, *_iges_faces(model))
    _sewn(exact)
    return exact


def _read_brep(path: Path, scale: float) -> Exact:
    from OCP.TopoDS import TopoDS_Shape  # noqa: PLC0415

    exact = Exact("BREP")
    shape = TopoDS_Shape()
    with path.open("rb") as stream:
        binary = stream.read(64).lstrip().startswith(b"Open CASCADE Topology")
    try:
        done = BinTools.Read_s(shape, str(path)) if binary else BRepTools.Read_s(shape, str(path), BRep_Builder())
    except Exception as exc:  # OpenCascade's own kinds
        raise _unreadable("BREP") from exc
    if not done or shape.IsNull():
        raise _unreadable("BREP")
    if scale != 1:
        shape = scaled(shape, scale)
    exact.shapes.AddShape(shape, False)
    return exact


def _unreadable(label: str) -> InputError:
    return InputError(f"The {label} file cannot be read: it is damaged, cut off or of another format.", 422)


def _unresolved(model: Any) -> str:
    """The first reference to an entity that is not there, in words."""
    check = model.GlobalCheck()
    for index in range(1, check.NbFails() + 1):
        found = re.search(r"Unresolved Reference.*?#(\d+).*?\(Id\.#(\d+)\)", str(check.CFail(index)))
        if found:
            return f"#{found[1]} refers to #{found[2]}, which is not there"
    return ""


def _malformed_step_face(model: Any, text: bytes) -> str:
    """The name of the first face that is not as it should be. Entities have the file's order."""
    names = re.findall(rb"(?:^|;)\s*(#\d+)\s*=", text, re.MULTILINE)
    for index in range(1, model.NbEntities() + 1):
        if model.IsErrorEntity(index) and model.Value(index).DynamicType().Name() in _STEP_FACES:
            return names[index - 1].decode() if len(names) == model.NbEntities() else f"number {index}"
    return ""


def _iges_faces(model: Any) -> tuple[int, Callable[[], str]]:
    """How many faces and trimmed surfaces an IGES file describes; and the directory entry of a malformed one."""
    found = [index for index in range(1, model.NbEntities() + 1) if model.Value(index).TypeNumber() in _IGES_FACES]
    return len(found), lambda: next((f"D{2 * index - 1}" for index in found if model.IsErrorEntity(index)), "")


def _whole(exact: Exact, session: Any, described: int, malformed: Callable[[], str]) -> None:
    """InputError when something of the file did not become a shape; a warning when faces belong to no shape."""
    reason = _failure(session.TransferReader().TransientProcess().CheckList(False))
    if reason:
        face = malformed()
        raise InputError(
            f"The {exact.label} file's {f'face {face}' if face else 'shape'} cannot be read ({reason}), so the "
            "result would have a hole: repair it where it was made and export it again.",
            422,
        )
    faces, plain = ShapeMap(), ShapeMap()
    for label in exact.free():
        TopExp.MapShapes_s(XCAFDoc_ShapeTool.GetShape_s(label), TopAbs_FACE, faces)
    for index in range(1, faces.Extent() + 1):
        plain.Add(faces.FindKey(index).Located(TopLoc_Location()))
    if plain.Extent() < described:
        exact.warnings.append(
            f"The {exact.label} file describes {described} faces and its shapes use {plain.Extent()} of them."
        )


def _failure(checks: Any) -> str:
    """The first failure of a transfer, in OpenCascade's words."""
    checks.Start()
    while checks.More():
        check = checks.Value()
        if check.NbFails():
            return re.sub(r"[^ -~]", "?", str(check.CFail(1))).strip().rstrip(".").lower()[:100]
        checks.Next()
    return ""


def _sewn(exact: Exact) -> None:
    """IGES files mostly hold loose faces: join those that touch, and make solids of what closes."""
    for label in exact.free():
        shape = XCAFDoc_ShapeTool.GetShape_s(label)
        if XCAFDoc_ShapeTool.IsAssembly_s(label) or TopExp_Explorer(shape, TopAbs_SOLID).More():
            continue
        sewing = BRepBuilderAPI_Sewing(1e-5 * _size(shape))
        sewing.Add(shape)
        sewing.Perform()
        joined = sewing.SewedShape()
        if joined.IsNull():
            continue
        parts = [_solid(shell) for shell in _explore(joined, TopAbs_SHELL)]
        loose = TopExp_Explorer(joined, TopAbs_FACE, TopAbs_SHELL)
        while loose.More():
            parts.append(loose.Current())
            loose.Next()
        result = _unwrapped(_compound(parts))
        before = _area(shape)
        if abs(_area(result) - before) <= 1e-4 * before:
            exact.shapes.SetShape(label, result)


def _solid(shell: Any) -> Any:
    """What a closed shell encloses; an open shell as it is."""
    return ShapeFix_Solid().SolidFromShell(TopoDS.Shell(shell)) if BRep_Tool.IsClosed_s(shell) else shell


def _explore(shape: Any, kind: Any) -> Iterator[Any]:
    walk = TopExp_Explorer(shape, kind)
    while walk.More():
        yield walk.Current()
        walk.Next()


def _compound(shapes: list[Any]) -> Any:
    both, builder = TopoDS_Compound(), BRep_Builder()
    builder.MakeCompound(both)
    for shape in shapes:
        builder.Add(both, shape)
    return both


def _unwrapped(shape: Any) -> Any:
    """What is alone in its compound."""
    while shape.ShapeType() == TopAbs_COMPOUND and shape.NbChildren() == 1:
        inside = TopoDS_Iterator(shape)
        shape = inside.Value()
    return shape


def scaled(shape: Any, factor: float, turn: Matrix | None = None) -> Any:
    """A shape of another size, and turned."""
    move = gp_Trsf()
    rows = np.eye(4) if turn is None else turn
    rows = rows.copy()
    rows[:3, :3] *= factor
    move.SetValues(*(float(value) for value in rows[:3, :].ravel()))
    return BRepBuilderAPI_Transform(shape, move, True).Shape()


def _box(shape: Any, *, tight: bool = False) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    box = Bnd_Box()
    box.SetGap(0.0)
    if tight:
        BRepBndLib.AddOptimal_s(shape, box, False, False)
    else:
        BRepBndLib.Add_s(shape, box, False)
    if box.IsVoid():
        return (math.inf, math.inf, math.inf), (-math.inf, -math.inf, -math.inf)
    low, high = box.CornerMin(), box.CornerMax()
    return (low.X(), low.Y(), low.Z()), (high.X(), high.Y(), high.Z())


def _size(shape: Any) -> float:
    low, high = _box(shape)
    return float(np.linalg.norm(np.subtract(high, low)))


def _area(shape: Any) -> float:
    found = GProp_GProps()
    BRepGProp.SurfaceProperties_s(shape, found)
    return abs(float(found.Mass()))


def measures(shape: Any) -> Statistics:
    """Area, volume, centre of mass and box, from the surfaces themselves."""
    count = sum(1 for _ in _explore(shape, TopAbs_FACE))
    closed = sum(1 for solid in _explore(shape, TopAbs_SOLID) for _ in _explore(solid, TopAbs_FACE))
    loose = TopExp_Explorer(shape, TopAbs_SHELL, TopAbs_SOLID)
    while loose.More():
        if BRep_Tool.IsClosed_s(loose.Current()):
            closed += sum(1 for _ in _explore(loose.Current(), TopAbs_FACE))
        loose.Next()
    volume, centre = None, None
    if closed == count:
        found = GProp_GProps()
        BRepGProp.VolumeProperties_s(shape, found)
        if found.Mass():
            volume = abs(float(found.Mass()))
            place = found.CentreOfMass()
            centre = (place.X(), place.Y(), place.Z())
    low, high = _box(shape, tight=True)
    return Statistics(None, _area(shape), volume, low, high, centre)


# triangles


def tessellated(exact: Exact, fineness: Fineness) -> Scene:
    """Triangles of every part, with the tree, names and colours; parts that are used again stay instances."""
    deflection = fineness.deflection
    if deflection is None:
        deflection = max(fineness.relative * _size(exact.shape()), 1e-7)
    reader = _Tree(exact, deflection, math.radians(fineness.angle))
    roots = tuple(reader.node(label, IDENTITY, 0) for label in exact.free())
    return Scene(tuple(reader.meshes), roots, tuple(dict.fromkeys([*exact.warnings, *reader.warnings])))


class _Tree:
    def __init__(self, exact: Exact, deflection: float, angle: float) -> None:
        self._exact = exact
        self._deflection = deflection
        self._angle = angle
        self._parts = ShapeMap()
        self._count = 0
        self.meshes: list[Mesh] = []
        self.warnings: list[str] = []

    def node(self, label: Any, matrix: Matrix, depth: int) -> Node:
        """A part or an assembly, placed by `matrix`."""
        self._count += 1
        if self._count > MAX_INSTANCES:
            raise InputError(f"The file places more than {MAX_INSTANCES} parts: split it.", 422)
        name = _name(label)
        if XCAFDoc_ShapeTool.IsAssembly_s(label):
            parts = Sequence_TDF_Label()
            XCAFDoc_ShapeTool.GetComponents_s(label, parts)
            children = []
            for index in range(1, parts.Length() + 1):
                part, whole = parts.Value(index), TDF_Label()
                XCAFDoc_ShapeTool.GetReferredShape_s(part, whole)
                child = self.node(whole, _matrix(XCAFDoc_ShapeTool.GetLocation_s(part)), depth + 1)
                children.append(replace(child, name=_name(part) or child.name))
            return Node(name, matrix, None, tuple(children))
        shape = XCAFDoc_ShapeTool.GetShape_s(label)
        if not TopExp_Explorer(shape, TopAbs_FACE).More():  # curves and points
            self.warnings.append("Curves and points have no surface and are left out.")
            return Node(name, matrix)
        place = _matrix(shape.Location())
        part = shape.Located(TopLoc_Location())
        index = self._parts.FindIndex(part)
        if index == 0:
            self._parts.Add(part)
            self.meshes.append(self._mesh(part, label, name))
            index = len(self.meshes)
        return Node(name, place if matrix is IDENTITY else matrix @ place, index - 1)

    def _mesh(self, shape: Any, label: Any, name: str) -> Mesh:
        found = _Faces.of(shape, self._deflection, self._angle)
        if found.bad:
            shape, found = self._mended(shape, found, name)
        points, triangles, sizes = found.arrays()
        palette, of_face = _colors(label, shape, found.faces)
        paint = np.repeat(np.array(of_face, np.int32), sizes) if palette else None
        return Mesh(points, triangles, name, palette, paint)

    def _mended(self, shape: Any, first: _Faces, name: str) -> tuple[Any, _Faces]:
        """Another way to the same surface whose every face can be meshed; InputError names the face if there is none."""
        area = _area(shape)
        for what, mend in _MENDS:
            try:
                other, finer = mend(shape), what == "smaller triangles"
                found = _Faces.of(other, self._deflection / (10 if finer else 1), self._angle / (3 if finer else 1))
                same = abs(_area(other) - area) <= 1e-3 * area
            except InputError:
                raise
            except Exception:  # noqa: S112 - OpenCascade cannot mend it this way: there are others
                continue
            if same and not found.bad:
                number, kind = first.bad[0]
                part = f" of part '{name[:60]}'" if name else ""
                self.warnings.append(
                    f"Face {number + 1}{part} ({kind}) could not be made into triangles as it is: it was mended by {what}."
                )
                return other, found
        number, kind = first.bad[0]
        part = f" of part '{name[:60]}'" if name else ""
        raise InputError(
            f"Face {number + 1}{part} of the {self._exact.label} file ({kind}) cannot be made into triangles: "
            "repair it where it was made and export it again.",
            422,
        )


def _same(shape: Any) -> Any:
    return shape


def _fixed(shape: Any) -> Any:
    fix = ShapeFix_Shape(shape)
    fix.Perform()
    return fix.Shape()


def _divided(shape: Any) -> Any:
    divide = ShapeUpgrade_ShapeDivideClosed(shape)
    divide.Perform()
    return divide.Result()


def _as_nurbs(shape: Any) -> Any:
    return BRepBuilderAPI_NurbsConvert(shape, True).Shape()


_MENDS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("smaller triangles", _same),
    ("repairing its edges", _fixed),
    ("dividing closed faces", _divided),
    ("turning it into a NURBS surface", _as_nurbs),
)


@dataclass(frozen=True)
class _Faces:
    """The faces of a shape with their triangulations; `bad` has the number and kind of those without a right one."""

    faces: list[Any]
    blobs: list[tuple[Points, Triangles]]
    bad: list[tuple[int, str]]

    @classmethod
    def of(cls, shape: Any, deflection: float, angle: float) -> _Faces:
        """Mesh a shape: at most `deflection` mm off the surface and `angle` radians from triangle to triangle."""
        BRepTools.Clean_s(shape)
        BRepMesh_IncrementalMesh(shape, deflection, False, angle, False)
        faces, meshed, parts, bad = [], ShapeMap(), [], []
        for number, current in enumerate(_explore(shape, TopAbs_FACE)):
            face = TopoDS.Face(current)
            faces.append(face)
            triangulation = BRep_Tool.Triangulation_s(face, TopLoc_Location())
            if triangulation is None or not triangulation.NbTriangles():
                bad.append((number, _kind(face)))
                continue
            alone = face.Located(TopLoc_Location())
            if meshed.FindIndex(alone) == 0:
                meshed.Add(alone)
                parts.append(triangulation)
        known = _bulk(parts)
        blobs: list[tuple[Points, Triangles]] = []
        missing = {number for number, _ in bad}
        for number, face in enumerate(faces):
            if number in missing:
                blobs.append((np.empty((0, 3)), np.empty((0, 3), np.int64)))
            else:
                blobs.append(known[meshed.FindIndex(face.Located(TopLoc_Location())) - 1])
        found = cls(faces, blobs, bad)
        if not bad and not is_closed(*found.arrays()[:2]):
            bad.extend(found.partial(deflection, angle))
        return found

    def partial(self, deflection: float, angle: float) -> Iterator[tuple[int, str]]:
        """The faces whose triangles have not their area. A closed mesh with all faces in it needs no such look: a piece
        that is missing leaves a rim."""
        curved = 1 - (math.sin(angle / 2) / (angle / 2)) ** 2
        for number, (face, blob) in enumerate(zip(self.faces, self.blobs, strict=True)):
            exact = _area(face)
            off = abs(_mesh_area(*blob) - exact)
            if off > (0.02 + 2 * curved) * exact and off > 2 * deflection * _rim(face):
                yield number, _kind(face)

    def arrays(self) -> tuple[Points, Triangles, list[int]]:
        """All vertices and triangles in place, outward by the right hand, and triangles a face."""
        points: list[Points] = []
        triangles: list[Triangles] = []
        first = 0
        for face, (own, corners) in zip(self.faces, self.blobs, strict=True):
            matrix = _matrix(face.Location())
            points.append(own if matrix is IDENTITY else own @ matrix[:3, :3].T + matrix[:3, 3])
            # A face seen from inside, and a mirroring placement, each turn the triangles round
            turned = (face.Orientation() == TopAbs_REVERSED) != bool(np.linalg.det(matrix[:3, :3]) < 0)
            triangles.append((corners[:, ::-1] if turned else corners) + first)
            first += len(own)
        return np.concatenate(points), np.concatenate(triangles), [len(corners) for _, corners in self.blobs]


def _mesh_area(points: Points, triangles: Triangles) -> float:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2


def _rim(face: Any) -> float:
    found = GProp_GProps()
    BRepGProp.LinearProperties_s(face, found)
    return float(found.Mass())


def _kind(face: Any) -> str:
    name = str(BRepAdaptor_Surface(face).GetType()).rpartition("GeomAbs_")[2]
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().removesuffix(" surface")
    return f"a {words} surface" if words and "other" not in words else "a surface"


def _bulk(parts: list[Any]) -> list[tuple[Points, Triangles]]:
    """Vertices and triangles of triangulations, by way of OpenCascade's binary format: no call a vertex.

    The format (BinTools, version 4) has a section of all triangulations: two counts of 32 bits, two flags, the
    deflection, the nodes as three doubles each, their two parameters where the first flag says so, and three 32 bit
    indices a triangle, counted from 1.
    """
    if not parts:
        return []
    builder, compound = BRep_Builder(), TopoDS_Compound()
    builder.MakeCompound(compound)
    for triangulation in parts:
        face = TopoDS_Face()
        builder.MakeFace(face, triangulation)
        builder.Add(compound, face)
    stream = io.BytesIO()
    BinTools.Write_s(compound, stream, True, False, BinTools_FormatVersion.BinTools_FormatVersion_VERSION_4)
    data = stream.getvalue()
    mark = f"\nTriangulations {len(parts)}\n".encode()
    at = data.index(mark) + len(mark)
    found: list[tuple[Points, Triangles]] = []
    for _ in parts:
        nodes, count, has_uv, has_normals = struct.unpack_from("<ii??", data, at)
        at += 10 + 8
        points = np.frombuffer(data, "<f8", 3 * nodes, at).reshape(-1, 3)
        at += 24 * nodes + (16 * nodes if has_uv else 0)
        triangles = np.frombuffer(data, "<i4", 3 * count, at).reshape(-1, 3).astype(np.int64) - 1
        at += 12 * count + (12 * nodes if has_normals else 0)
        found.append((points, triangles))
    return found


def _matrix(location: Any) -> Matrix:
    if location.IsIdentity():
        return IDENTITY
    move = location.Transformation()
    matrix = np.eye(4)
    for row in range(3):
        for column in range(4):
            matrix[row, column] = move.Value(row + 1, column + 1)
    return matrix


def _name(label: Any) -> str:
    found = TDataStd_Name()
    if not label.FindAttribute(TDataStd_Name.GetID_s(), found):
        return ""
    text = str(found.Get().ToExtString())
    return "" if _NO_NAME.match(text) else text[:200]


def _color(label: Any) -> Color | None:
    found = Quantity_ColorRGBA()
    for kind in (XCAFDoc_ColorSurf, XCAFDoc_ColorGen):
        if XCAFDoc_ColorTool.GetColor_s(label, kind, found):
            plain = found.GetRGB()
            return (plain.Red(), plain.Green(), plain.Blue(), float(found.Alpha()))
    return None


def _colors(label: Any, shape: Any, faces: list[Any]) -> tuple[tuple[Color, ...], list[int]]:
    """The colours of a part, and which each of its faces has."""
    whole = _color(label)
    palette: list[Color] = [] if whole is None else [whole]
    base = -1 if whole is None else 0
    parts = Sequence_TDF_Label()
    XCAFDoc_ShapeTool.GetSubShapes_s(label, parts)
    if not parts.Length():
        return tuple(palette), [base] * len(faces)
    known = ShapeMap()
    TopExp.MapShapes_s(shape, TopAbs_FACE, known)
    own: dict[int, int] = {}
    for index in range(1, parts.Length() + 1):
        color = _color(parts.Value(index))
        if color is None:
            continue
        if color not in palette:
            palette.append(color)
        for face in _explore(XCAFDoc_ShapeTool.GetShape_s(parts.Value(index)), TopAbs_FACE):
            own[known.FindIndex(face)] = palette.index(color)
    return tuple(palette), [own.get(known.FindIndex(face), base) for face in faces]


def check_box(exact: Exact, scene: Scene) -> None:
    """InputError when the triangles reach out of the shape's box, or do not reach all its corners.

    The box of the surfaces is an upper bound; the corners of the shape are points that triangles must reach.
    """
    shape = exact.shape()
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for mesh in scene.placed():
        used = mesh.vertices[mesh.faces.ravel()]
        low, high = np.minimum(low, used.min(axis=0)), np.maximum(high, used.max(axis=0))
    most = _box(shape)
    slack = 1e-4 * float(np.linalg.norm(np.subtract(most[1], most[0]))) + _tolerance(shape)
    least_low, least_high = np.full(3, np.inf), np.full(3, -np.inf)
    corners = ShapeMap()
    for face in _explore(shape, TopAbs_FACE):
        TopExp.MapShapes_s(face, TopAbs_VERTEX, corners)
    for index in range(1, corners.Extent() + 1):
        point = BRep_Tool.Pnt_s(TopoDS.Vertex(corners.FindKey(index)))
        place = np.array([point.X(), point.Y(), point.Z()])
        least_low, least_high = np.minimum(least_low, place), np.maximum(least_high, place)
    if (low > least_low + slack).any() or (high < least_high - slack).any():
        raise InputError(
            f"The triangles do not reach all corners of the {exact.label} file's shape: export it again.", 422
        )
    if (low < np.array(most[0]) - slack).any() or (high > np.array(most[1]) + slack).any():
        raise InputError(f"The triangles reach out of the {exact.label} file's shape: export it again.", 422)


def _tolerance(shape: Any) -> float:
    """The largest gap that the shape's own edges may have."""
    edges = ShapeMap()
    TopExp.MapShapes_s(shape, TopAbs_EDGE, edges)
    return max(
        (float(BRep_Tool.Tolerance_s(TopoDS.Edge(edges.FindKey(index)))) for index in range(1, edges.Extent() + 1)),
        default=0.0,
    )


# exact results


def write(exact: Exact, target: Path, form: str, factor: float, turn: Matrix) -> None:
    """Write STEP (millimetres) or BREP (`factor` units a millimetre), turned by `turn`, and compare what was written."""
    shape = exact.shape()
    plain = np.array_equal(turn, IDENTITY)
    if not plain or factor != 1:
        shape = scaled(shape, factor, turn)
    dressed = exact.dressed() if form == "brep" or not plain else []
    if dressed:
        exact.warnings.append(
            f"{' and '.join(dressed).capitalize()} are not carried over to {form.upper()}{'' if plain else ' turned'}."
        )
    if form == "brep":
        if not BRepTools.Write_s(shape, str(target)):
            raise InputError("The shape cannot be written as BREP.", 422)
    else:
        document = exact.document
        if not plain:
            changed = Exact(exact.label)
            changed.shapes.AddShape(shape, True)
            document = changed.document
        Interface_Static.SetCVal_s("write.step.unit", "MM")
        writer = STEPCAFControl_Writer()
        if not writer.Transfer(document, STEPControl_AsIs) or writer.Write(str(target)) != IFSelect_RetDone:
            raise InputError("The shape cannot be written as STEP.", 422)
        _without_clock(target)
    _compare(shape, read(target, form, 1.0).shape(), form.upper())


def _without_clock(path: Path) -> None:
    """Equal shapes give equal files: the writer puts the clock and a counter into the header."""
    with path.open("r+b") as stream:
        head = stream.read(4096)
        changed = re.sub(rb"'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d'", b"'2000-01-01T00:00:00'", head, count=1)
        stream.seek(0)
        stream.write(changed)


def _compare(shape: Any, again: Any, label: str) -> None:
    """InputError when the written shape is not the one that was read."""
    source, result = measures(shape), measures(again)
    before, after = (sum(1 for _ in _explore(one, TopAbs_FACE)) for one in (shape, again))
    wrong = []
    if after < before:
        wrong.append(f"{after} faces and not {before}")
    if abs(result.area - source.area) > 1e-5 * source.area:
        wrong.append(f"an area of {result.area:.6g} mm2 and not {source.area:.6g}")
    volume, other = source.volume, result.volume
    if volume is None or other is None:
        if volume is not None:
            wrong.append("no volume, because it is open")
    elif abs(other - volume) > 1e-5 * abs(volume):
        wrong.append(f"a volume of {other:.6g} mm3 and not {volume:.6g}")
    if not np.allclose([result.low, result.high], [source.low, source.high], rtol=0, atol=1e-4 * source.diagonal):
        wrong.append("another box")
    if wrong:
        raise InputError(f"The {label} result would not be the source's shape: it has {', '.join(wrong)}.", 422)
