# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversions of every format to every other, compared by readers that are not the engine's own."""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import trimesh

from conversion.errors import InputError
from conversion.formats import EXACT_OUTPUTS, FORMATS, MESH_OUTPUTS, OUTPUT_FORMATS, options, pair
from conversion.geometry import stl
from conversion.geometry.convert import Result, convert
from conversion.geometry.measure import compare, statistics
from conversion.geometry.scene import Mesh, Scene, welded

BRACKET = 60 * 40 * 6 + 6 * 40 * 40 - 6 * 40 * 6 - 2 * math.pi * 6**2 * 6  # mm3
DOCS = Path(__file__).resolve().parents[3] / "docs" / "engine.md"
Measured = tuple[int, float, float, Any]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bracket in every format that is read: those that are not among the samples are made by others' writers."""
    from OCP.BRepTools import BRepTools
    from OCP.IGESControl import IGESControl_Writer
    from OCP.STEPControl import STEPControl_Reader

    samples = Path(__file__).resolve().parents[3] / "engine" / "samples"
    directory = tmp_path_factory.mktemp("sources")
    found = {form: samples / f"bracket.{form}" for form in ("step", *MESH_OUTPUTS)}
    reader = STEPControl_Reader()
    reader.ReadFile(str(found["step"]))
    reader.TransferRoots()
    for form in ("iges", "brep", "gltf", "off"):
        found[form] = directory / f"bracket.{form}"
    BRepTools.Write_s(reader.OneShape(), str(found["brep"]))
    writer = IGESControl_Writer("MM", 1)
    writer.AddShape(reader.OneShape())
    writer.ComputeModel()
    writer.Write(str(found["iges"]))
    mesh: Any = trimesh.load_mesh(found["stl"])
    found["off"].write_text(mesh.export(file_type="off"))
    data = found["glb"].read_bytes()
    size = int.from_bytes(data[12:16], "little")
    description = json.loads(data[20 : 20 + size])
    description["buffers"][0]["uri"] = "data:;base64," + base64.b64encode(data[28 + size :]).decode()
    found["gltf"].write_text(json.dumps(description))
    return found


def measured(path: Path) -> Measured:
    """Triangles (or faces), area, volume and extents in mm with Z up, by trimesh, ElementTree or OpenCascade."""
    if path.suffix[1:] in EXACT_OUTPUTS:
        return exactly(path)
    if path.suffix == ".3mf":
        with zipfile.ZipFile(path) as package:
            model = ElementTree.fromstring(package.read("3D/3dmodel.model"))  # noqa: S314 - we wrote it
        assert model.get("unit") == "millimeter"
        points = [[float(v.attrib[axis]) for axis in "xyz"] for v in model.iter() if v.tag.endswith("}vertex")]
        corners = [
            [int(t.attrib[name]) for name in ("v1", "v2", "v3")] for t in model.iter() if t.tag.endswith("}triangle")
        ]
        mesh: Any = trimesh.Trimesh(points, corners)
    else:
        mesh = trimesh.load_mesh(path)
    extents, scale = mesh.extents, 1.0
    if path.suffix == ".glb":  # metres, Y up
        extents, scale = extents[[0, 2, 1]], 1000.0
    assert mesh.is_watertight
    return len(mesh.faces), mesh.area * scale**2, mesh.volume * scale**3, extents * scale


def exactly(path: Path) -> Measured:
    """Of a STEP or BREP file, which must hold one solid."""
    from OCP.Bnd import Bnd_Box
    from OCP.BRep import BRep_Builder
    from OCP.BRepBndLib import BRepBndLib
    from OCP.BRepGProp import BRepGProp
    from OCP.BRepTools import BRepTools
    from OCP.GProp import GProp_GProps
    from OCP.STEPControl import STEPControl_Reader
    from OCP.TopAbs import TopAbs_FACE, TopAbs_SOLID
    from OCP.TopExp import TopExp_Explorer
    from OCP.TopoDS import TopoDS_Shape

    shape = TopoDS_Shape()
    if path.suffix == ".brep":
        BRepTools.Read_s(shape, str(path), BRep_Builder())
    else:
        reader = STEPControl_Reader()
        reader.ReadFile(str(path))
        reader.TransferRoots()
        shape = reader.OneShape()
    assert shape.ShapeType() == TopAbs_SOLID
    surface, volume, box = GProp_GProps(), GProp_GProps(), Bnd_Box()
    BRepGProp.SurfaceProperties_s(shape, surface)
    BRepGProp.VolumeProperties_s(shape, volume)
    BRepBndLib.AddOptimal_s(shape, box, False, False)
    low, high = box.CornerMin(), box.CornerMax()
    walk, faces = TopExp_Explorer(shape, TopAbs_FACE), 0
    while walk.More():
        faces += 1
        walk.Next()
    extents = np.array([high.X() - low.X(), high.Y() - low.Y(), high.Z() - low.Z()])
    return faces, surface.Mass(), volume.Mass(), extents


def converted(source: Path, output: str, target: Path, **given: str) -> Result:
    form = FORMATS[source.suffix[1:].lower()]
    return convert(source, form.name, target, output, options(form, FORMATS[output], given))


#: What was converted and found right by test_every_format_to_every_other, which runs first.
RIGHT: set[tuple[str, str]] = set()


@pytest.mark.parametrize(("source", "output"), list(itertools.product(FORMATS, OUTPUT_FORMATS)))
def test_every_format_to_every_other(sources: dict[str, Path], tmp_path: Path, source: str, output: str) -> None:
    target = tmp_path / f"out.{output}"
    if output in EXACT_OUTPUTS and not FORMATS[source].exact:
        with pytest.raises(InputError, match="exact surfaces"):
            pair(source, output)
        return
    result = converted(sources[source], output, target)
    count, area, volume, extents = measured(target)
    exact = output in EXACT_OUTPUTS
    assert (count == 16) if exact else (400 < count < 440)
    assert volume == pytest.approx(BRACKET, rel=1e-6 if exact else 0.002)
    assert np.allclose(extents, [60, 40, 40], rtol=1e-5)
    assert result.statistics["triangles"] == (None if exact else count)
    assert (result.statistics["area"], result.statistics["volume"]) == pytest.approx((area, volume), rel=1e-5)
    assert np.allclose(np.ptp(result.statistics["bounding_box"], axis=0), extents, rtol=1e-5)
    RIGHT.add((source, output))


def matrix(right: set[tuple[str, str]]) -> str:
    """The table in docs/engine.md."""
    rows = [["from \\ to", *(FORMATS[output].label for output in OUTPUT_FORMATS)], ["---"] * (1 + len(OUTPUT_FORMATS))]
    rows += [
        [FORMATS[source].label, *("yes" if (source, output) in right else "no" for output in OUTPUT_FORMATS)]
        for source in FORMATS
    ]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def test_the_documented_matrix_is_what_was_converted() -> None:
    """With CONVERSION_WRITE_MATRIX=1 in the environment it is written into the document."""
    if not RIGHT:
        pytest.skip("run it with test_every_format_to_every_other, whose results it looks at")
    wanted, text = matrix(RIGHT), DOCS.read_text(encoding="utf-8")
    if os.environ.get("CONVERSION_WRITE_MATRIX"):
        DOCS.write_text(
            re.sub(r"\| from \\ to .*?(?=\n\n)", lambda _: wanted.rstrip(), text, count=1, flags=re.S), encoding="utf-8"
        )
        text = DOCS.read_text(encoding="utf-8")
    assert wanted in text


# the comparison


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda mesh: replace(mesh, faces=mesh.faces[1:]), "419 triangles and not 420"),
        (lambda mesh: replace(mesh, faces=np.concatenate([mesh.faces[:-1], mesh.faces[:1]])), "an area of"),
        (lambda mesh: replace(mesh, vertices=mesh.vertices * 1.001), "an area of"),
        (lambda mesh: replace(mesh, vertices=mesh.vertices + 0.01), "a corner of its box"),
        (lambda mesh: replace(mesh, vertices=mesh.vertices[:, [1, 0, 2]]), "a corner of its box"),
    ],
)
def test_a_result_that_is_not_its_source_is_refused(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Mesh], Mesh], words: str
) -> None:
    """A writer that loses a triangle, moves, scales or turns is caught by the comparison, whatever the fault."""
    write = stl.write
    monkeypatch.setattr(stl, "write", lambda mesh, **more: write(spoil(mesh), **more))
    with pytest.raises(InputError, match="would not be the source's surface") as refusal:
        converted(sources["stl"], "stl", tmp_path / "out.stl")
    assert words in str(refusal.value)
    assert not (tmp_path / "out.stl").exists()


def test_statistics_know_open_from_closed(sources: dict[str, Path]) -> None:
    mesh: Any = trimesh.load_mesh(sources["stl"])
    corners = Scene.single(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))
    whole = statistics(corners)
    assert whole.volume == pytest.approx(mesh.volume)
    assert whole.centroid == pytest.approx(mesh.center_mass)
    assert statistics(corners.mapped(lambda one: replace(one, faces=one.faces[1:]))).volume is None
    turned = corners.mapped(lambda one: replace(one, faces=np.concatenate([one.faces[:1, ::-1], one.faces[1:]])))
    assert statistics(turned).volume is None
    compare(whole, statistics(corners.mapped(welded)), "STL")
    assert len(welded(corners.meshes[0]).vertices) == len(mesh.vertices)


# exact shapes


def step_of(shape: Any, path: Path) -> Path:
    from OCP.STEPControl import STEPControl_AsIs, STEPControl_Writer

    writer = STEPControl_Writer()
    writer.Transfer(shape, STEPControl_AsIs)
    writer.Write(str(path))
    return path


def test_finer_deflection_comes_nearer(sources: dict[str, Path], tmp_path: Path) -> None:
    errors = []
    for deflection in ("1", "0.1", "0.01"):
        converted(sources["step"], "stl", tmp_path / "o.stl", deflection=deflection, angle="60")
        errors.append(abs(measured(tmp_path / "o.stl")[2] - BRACKET))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < errors[0] / 20


@pytest.mark.parametrize("radius", [0.05, 1.0, 10_000.0])
def test_a_sphere_of_any_size_has_some_thousand_triangles(tmp_path: Path, radius: float) -> None:
    from OCP.BRepPrimAPI import BRepPrimAPI_MakeSphere

    found = converted(step_of(BRepPrimAPI_MakeSphere(radius).Shape(), tmp_path / "s.step"), "stl", tmp_path / "o.stl")
    assert 2000 < found.statistics["triangles"] < 10_000
    assert found.statistics["area"] == pytest.approx(4 * math.pi * radius**2, rel=0.01)
    assert found.statistics["volume"] == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)


def test_glb_is_upright(sources: dict[str, Path], tmp_path: Path) -> None:
    """What points up in CAD (Z) points up in glTF (Y), to the same side."""
    converted(sources["stl"], "glb", tmp_path / "o.glb")
    flat: Any = trimesh.load_mesh(sources["stl"])
    turned: Any = trimesh.load_mesh(tmp_path / "o.glb")
    assert turned.center_mass == pytest.approx(
        np.array([flat.center_mass[0], flat.center_mass[2], -flat.center_mass[1]]) / 1000, abs=1e-6
    )


def test_assembly_with_a_mirrored_part_keeps_outward_faces(tmp_path: Path) -> None:
    from OCP.BRep import BRep_Builder
    from OCP.BRepBuilderAPI import BRepBuilderAPI_Transform
    from OCP.BRepPrimAPI import BRepPrimAPI_MakeWedge
    from OCP.gp import gp_Ax2, gp_Dir, gp_Pnt, gp_Trsf
    from OCP.TopoDS import TopoDS_Compound

    wedge = BRepPrimAPI_MakeWedge(10, 10, 10, 4).Shape()
    mirror = gp_Trsf()
    mirror.SetMirror(gp_Ax2(gp_Pnt(-5, 0, 0), gp_Dir(1, 0, 0)))
    both, builder = TopoDS_Compound(), BRep_Builder()
    builder.MakeCompound(both)
    builder.Add(both, wedge)
    builder.Add(both, BRepBuilderAPI_Transform(wedge, mirror, False).Shape())
    converted(step_of(both, tmp_path / "pair.step"), "stl", tmp_path / "o.stl")
    _, _, volume, extents = measured(tmp_path / "o.stl")
    assert volume == pytest.approx(2 * 10 * 10 * (10 + 4) / 2, rel=1e-4)  # a part turned inside out would take away
    assert extents == pytest.approx([30, 10, 10], rel=1e-5)


def assembly(path: Path) -> Path:
    """A red bolt twice and a plate with a blue and a plain side, in a tree with names."""
    from OCP.BRepPrimAPI import BRepPrimAPI_MakeBox, BRepPrimAPI_MakeCylinder
    from OCP.gp import gp_Trsf, gp_Vec
    from OCP.Quantity import Quantity_Color, Quantity_TOC_RGB
    from OCP.STEPCAFControl import STEPCAFControl_Writer
    from OCP.STEPControl import STEPControl_AsIs
    from OCP.TCollection import TCollection_ExtendedString
    from OCP.TDataStd import TDataStd_Name
    from OCP.TDocStd import TDocStd_Document
    from OCP.TopAbs import TopAbs_FACE
    from OCP.TopExp import TopExp_Explorer
    from OCP.TopLoc import TopLoc_Location
    from OCP.XCAFDoc import XCAFDoc_ColorSurf, XCAFDoc_DocumentTool

    document = TDocStd_Document(TCollection_ExtendedString("BinXCAF"))
    shapes = XCAFDoc_DocumentTool.ShapeTool_s(document.Main())
    colors = XCAFDoc_DocumentTool.ColorTool_s(document.Main())
    whole = shapes.NewShape()
    plate, bolt = BRepPrimAPI_MakeBox(50, 20, 5).Shape(), BRepPrimAPI_MakeCylinder(3, 12).Shape()
    parts = {"plate": shapes.AddShape(plate, False), "bolt": shapes.AddShape(bolt, False)}
    for name, label in {"machine": whole, **parts}.items():
        TDataStd_Name.Set_s(label, TCollection_ExtendedString(name))
    colors.SetColor(parts["bolt"], Quantity_Color(1, 0, 0, Quantity_TOC_RGB), XCAFDoc_ColorSurf)
    side = shapes.AddSubShape(parts["plate"], TopExp_Explorer(plate, TopAbs_FACE).Current())
    colors.SetColor(side, Quantity_Color(0, 0, 1, Quantity_TOC_RGB), XCAFDoc_ColorSurf)
    shapes.AddComponent(whole, parts["plate"], TopLoc_Location())
    for x in (10, 40):
        move = gp_Trsf()
        move.SetTranslation(gp_Vec(x, 10, 5))
        TDataStd_Name.Set_s(
            shapes.AddComponent(whole, parts["bolt"], TopLoc_Location(move)), TCollection_ExtendedString(f"bolt at {x}")
        )
    shapes.UpdateAssemblies()
    writer = STEPCAFControl_Writer()
    writer.Transfer(document, STEPControl_AsIs)
    writer.Write(str(path))
    return path


def glb_json(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return dict(json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")]))


@pytest.mark.parametrize("through", ["", "step"])
def test_tree_names_colours_and_instances_go_to_glb(tmp_path: Path, through: str) -> None:
    source = assembly(tmp_path / "machine.step")
    if through:
        assert converted(source, through, tmp_path / "again.step").warnings == []
        source = tmp_path / "again.step"
    result = converted(source, "glb", tmp_path / "o.glb")
    found = glb_json(tmp_path / "o.glb")
    assert [mesh["name"] for mesh in found["meshes"]] == ["plate", "bolt"]  # the bolt once
    root = found["nodes"][found["scenes"][0]["nodes"][0]]
    assert root["name"] == "machine"
    children = [found["nodes"][index] for index in root["children"]]
    assert [(child["name"], child["mesh"]) for child in children][1:] == [("bolt at 10", 1), ("bolt at 40", 1)]
    colors = [look["pbrMetallicRoughness"]["baseColorFactor"] for look in found["materials"]]
    assert sorted(colors) == [[0, 0, 1, 1], [1, 0, 0, 1]]
    sides = found["meshes"][0]["primitives"]
    assert sorted(found["accessors"][one["indices"]]["count"] for one in sides if "material" in one) == [6]
    assert result.warnings == []
    volume = 50 * 20 * 5 + 2 * math.pi * 9 * 12
    assert result.statistics["volume"] == pytest.approx(volume, rel=0.01)


def test_what_an_assembly_loses_is_said(tmp_path: Path) -> None:
    source = assembly(tmp_path / "machine.step")
    assert converted(source, "stl", tmp_path / "o.stl").warnings == [
        "Colours, names and the assembly's tree are not carried over to STL."
    ]
    assert converted(source, "brep", tmp_path / "o.brep").warnings == [
        "Names and colours are not carried over to BREP."
    ]


@pytest.mark.parametrize("unit", ["INCH", "M", "MM"])
def test_the_unit_of_step_and_iges_counts(tmp_path: Path, unit: str) -> None:
    from OCP.BRepPrimAPI import BRepPrimAPI_MakeBox
    from OCP.IGESControl import IGESControl_Writer
    from OCP.Interface import Interface_Static

    box = BRepPrimAPI_MakeBox(10, 20, 30).Shape()
    try:
        Interface_Static.SetCVal_s("write.step.unit", unit)
        step_of(box, tmp_path / "box.step")
    finally:
        Interface_Static.SetCVal_s("write.step.unit", "MM")
    writer = IGESControl_Writer(unit, 1)
    writer.AddShape(box)
    writer.ComputeModel()
    writer.Write(str(tmp_path / "box.iges"))
    for form in ("step", "iges"):
        found = converted(tmp_path / f"box.{form}", "stl", tmp_path / "o.stl").statistics
        assert (found["triangles"], found["area"], found["volume"]) == pytest.approx((12, 2200, 6000))
        assert np.allclose(found["bounding_box"], [(0, 0, 0), (10, 20, 30)], atol=1e-5)


def test_loose_faces_of_iges_become_a_solid_turned_outward(tmp_path: Path) -> None:
    from OCP.BRepPrimAPI import BRepPrimAPI_MakeCylinder
    from OCP.IGESControl import IGESControl_Writer

    writer = IGESControl_Writer("MM", 0)  # trimmed surfaces
    writer.AddShape(BRepPrimAPI_MakeCylinder(5, 20).Shape())
    writer.ComputeModel()
    writer.Write(str(tmp_path / "c.iges"))
    assert converted(tmp_path / "c.iges", "stl", tmp_path / "o.stl").statistics["volume"] == pytest.approx(
        math.pi * 500, rel=0.01
    )
    converted(tmp_path / "c.iges", "step", tmp_path / "o.step")
    assert exactly(tmp_path / "o.step")[:3] == pytest.approx((3, 785.398, 1570.796), rel=1e-4)


def test_a_step_file_with_a_hole_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    """An entity that a face needs is not there: OpenCascade would leave the face out and say that all is well."""
    text = sources["step"].read_text()
    plane = re.search(r"\n#(\d+) = PLANE\(.*?;", text)
    assert plane is not None
    (tmp_path / "hole.step").write_text(text.replace(plane[0], ""))
    with pytest.raises(InputError, match=rf"refers to #{plane[1]}, which is not there"):
        converted(tmp_path / "hole.step", "stl", tmp_path / "o.stl")


def test_a_face_that_cannot_be_read_is_refused_by_name(sources: dict[str, Path], tmp_path: Path) -> None:
    text = sources["step"].read_text()
    face = re.search(r"#(\d+) = ADVANCED_FACE\('',\(.*?\),#(\d+),", text)
    assert face is not None
    text = re.sub(rf"\n#{face[2]} = .*?;", f"\n#{face[2]} = DIRECTION('',(0.,0.,1.));", text, flags=re.S)
    (tmp_path / "odd.step").write_text(text)
    with pytest.raises(InputError, match=rf"face #{face[1]} cannot be read"):
        converted(tmp_path / "odd.step", "stl", tmp_path / "o.stl")


def test_a_step_file_that_names_other_files_says_so(sources: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "part.stp").write_bytes(sources["step"].read_bytes())  # there, and not to be read
    text = """ISO-10303-21;
HEADER;
FILE_DESCRIPTION((''),'2;1');
FILE_NAME('a','2000-01-01T00:00:00',(''),(''),'','','');
FILE_SCHEMA(('AUTOMOTIVE_DESIGN { 1 0 10303 214 1 1 1 1 }'));
ENDSEC;
DATA;
#1 = APPLICATION_CONTEXT('automotive design');
#2 = PRODUCT_CONTEXT('',#1,'mechanical');
#3 = PRODUCT('part','part','',(#2));
#4 = PRODUCT_DEFINITION_FORMATION('','',#3);
#5 = PRODUCT_DEFINITION_CONTEXT('part definition',#1,'design');
#6 = DOCUMENT_TYPE('geometry');
#7 = DOCUMENT_FILE('part.stp','','',#6,'',$);
#8 = PRODUCT_DEFINITION_WITH_ASSOCIATED_DOCUMENTS('design','',#4,#5,(#7));
#9 = IDENTIFICATION_ROLE('external document id and location','');
#10 = EXTERNAL_SOURCE(IDENTIFIER(''));
#11 = APPLIED_EXTERNAL_IDENTIFICATION_ASSIGNMENT('part.stp',#9,#10,(#7));
ENDSEC;
END-ISO-10303-21;
"""
    (tmp_path / "whole.step").write_text(text)
    with pytest.raises(InputError, match=r"in other files \(part.stp\)"):
        converted(tmp_path / "whole.step", "stl", tmp_path / "o.stl")


def test_a_face_that_cannot_be_meshed_is_mended_or_named(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mesher fails on a face for as long as the test says."""
    from conversion.geometry import exact

    real, fails = exact._Faces.of.__func__, [1]  # type: ignore[attr-defined]

    def of(cls: Any, shape: Any, deflection: float, angle: float) -> Any:
        found = real(cls, shape, deflection, angle)
        fails[0] -= 1
        return replace(found, bad=[(2, "a plane")]) if fails[0] >= 0 else found

    monkeypatch.setattr(exact._Faces, "of", classmethod(of))
    result = converted(sources["step"], "stl", tmp_path / "o.stl")
    assert result.warnings == [
        "Face 3 (a plane) could not be made into triangles as it is: it was mended by smaller triangles."
    ]
    fails[0] = 3
    assert "dividing closed faces" in converted(sources["step"], "stl", tmp_path / "o.stl").warnings[0]
    fails[0] = 99
    with pytest.raises(InputError, match=r"^Face 3 of the STEP file \(a plane\) cannot be made into triangles"):
        converted(sources["step"], "stl", tmp_path / "o.stl")


def test_triangles_of_each_face_are_compared_with_it(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face that the mesher covers in part only is as bad as one without triangles."""
    from conversion.geometry import exact

    bulk = exact._bulk
    monkeypatch.setattr(exact, "_bulk", lambda parts: [(p, t[: max(1, len(t) // 2)]) for p, t in bulk(parts)])
    with pytest.raises(InputError, match="cannot be made into triangles"):
        converted(sources["step"], "stl", tmp_path / "o.stl")


def test_bulk_arrays_are_what_the_calls_give() -> None:
    from OCP.BRep import BRep_Tool
    from OCP.BRepMesh import BRepMesh_IncrementalMesh
    from OCP.BRepPrimAPI import BRepPrimAPI_MakeTorus
    from OCP.TopAbs import TopAbs_FACE
    from OCP.TopExp import TopExp_Explorer
    from OCP.TopLoc import TopLoc_Location
    from OCP.TopoDS import TopoDS

    from conversion.geometry.exact import _bulk

    shape = BRepPrimAPI_MakeTorus(20, 5).Shape()
    BRepMesh_IncrementalMesh(shape, 0.1, False, 0.3, False)
    part = BRep_Tool.Triangulation_s(TopoDS.Face(TopExp_Explorer(shape, TopAbs_FACE).Current()), TopLoc_Location())
    (points, triangles), _ = _bulk([part, part.Copy()])
    nodes = [part.Node(index) for index in range(1, part.NbNodes() + 1)]
    assert np.array_equal(points, [(node.X(), node.Y(), node.Z()) for node in nodes])
    assert np.array_equal(triangles + 1, [part.Triangle(k).Get() for k in range(1, part.NbTriangles() + 1)])


# properties


def prop(source: Path, name: str, target: Path, **given: str) -> Any:
    from conversion.formats import PROPERTIES

    form = FORMATS[source.suffix[1:]]
    convert(source, form.name, target, name, options(form, PROPERTIES[name], given))
    return json.loads(target.read_text())[name.replace("-", "_")]


def test_properties_are_exact_where_the_source_is(sources: dict[str, Path], tmp_path: Path) -> None:
    step, out = sources["step"], tmp_path / "out.json"
    assert prop(step, "volume", out) == pytest.approx(BRACKET, rel=1e-9)
    assert prop(step, "volume", out, output_unit="cm3") == pytest.approx(BRACKET / 1000, rel=1e-9)
    assert prop(step, "mass", out, material_density="7850") == pytest.approx(BRACKET * 7850e-9, rel=1e-9)
    assert prop(step, "mass", out, material_density="7850", output_unit="g") == pytest.approx(
        BRACKET * 7850e-6, rel=1e-9
    )
    area = 2 * (60 * 40) + 2 * (40 * 40) + 2 * (60 * 6 + 34 * 6) - 4 * math.pi * 36 + 2 * 2 * math.pi * 6 * 6
    assert prop(step, "surface-area", out) == pytest.approx(area, rel=1e-9)
    assert prop(step, "bounding-box", out, output_unit="in") == [
        pytest.approx([0] * 3),
        pytest.approx([60 / 25.4, 40 / 25.4, 40 / 25.4]),
    ]
    for form in ("stl", "iges", "brep"):
        assert prop(sources[form], "center-of-mass", out) == pytest.approx(prop(step, "center-of-mass", out), rel=1e-3)
        assert prop(sources[form], "volume", out) == pytest.approx(BRACKET, rel=0.002)


def test_an_open_surface_has_no_volume_to_tell(tmp_path: Path) -> None:
    source = tmp_path / "open.obj"
    source.write_text("v 0 0 0\nv 10 0 0\nv 0 10 0\nf 1 2 3\n")
    assert prop(source, "surface-area", tmp_path / "o") == pytest.approx(50)
    for name, given in (("volume", {}), ("center-of-mass", {}), ("mass", {"material_density": "1"})):
        with pytest.raises(InputError, match="The surface is open"):
            prop(source, name, tmp_path / "o", **given)


# the rest


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("step", b"ISO-10303-21;\nHEADER;\ngarbage"),
        ("step", b"ISO-10303-21;\nHEADER;\nENDSEC;\nDATA;\nENDSEC;\nEND-ISO-10303-21;\n"),
        ("iges", b"no iges at all"),
        ("iges", b" " * 72 + b"S      1\n"),
        ("brep", b"DBRep_DrawableShape\n\nCASCADE Topology V1, (c) Matra-Datavision\nLocations 9\n"),
        ("brep", b"\nOpen CASCADE Topology V4, (c) Open Cascade\nLocations 0\n"),
        ("gltf", b"{"),
        ("gltf", b"[" * 100_000),
        ("gltf", b'{"asset": {"version": "2.0"}, "nodes": [[]]}'),
    ],
)
def test_what_cannot_be_read_is_the_file_s_fault(tmp_path: Path, form: str, data: bytes) -> None:
    source = tmp_path / f"source.{form}"
    source.write_bytes(data)
    with pytest.raises(InputError) as refusal:
        converted(source, "stl", tmp_path / "o.stl")
    assert refusal.value.status == 422
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)


def test_a_byte_order_mark_before_step(sources: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "bom.step").write_bytes(b"\xef\xbb\xbf" + sources["step"].read_bytes())
    assert converted(tmp_path / "bom.step", "stl", tmp_path / "o.stl").statistics["triangles"] == 420


def test_equal_sources_give_equal_bytes(sources: dict[str, Path], tmp_path: Path) -> None:
    for output in OUTPUT_FORMATS:
        results = []
        for number in range(2):
            converted(sources["step"], output, tmp_path / str(number))
            results.append((tmp_path / str(number)).read_bytes())
        if output != "step":  # OpenCascade counts the products that it ever wrote
            assert results[0] == results[1], output


def test_samples_are_what_their_script_makes(samples: Path, tmp_path: Path) -> None:
    """Every mesh sample is the STEP sample's conversion, byte for byte."""
    for part, form in itertools.product(("box", "bracket"), MESH_OUTPUTS):
        converted(samples / f"{part}.step", form, tmp_path / "o")
        assert (tmp_path / "o").read_bytes() == (samples / f"{part}.{form}").read_bytes(), f"{part}.{form}"


# pictures


def picture(source: Path, target: Path, **given: str) -> Any:
    """The pixels (rows, columns, channels) of a preview, decoded by the rules of PNG alone."""
    import struct
    import zlib

    from conversion.formats import PREVIEW

    form = FORMATS[source.suffix[1:]]
    convert(source, form.name, target, "png", options(form, PREVIEW, given))
    data, chunks = io.BytesIO(target.read_bytes()), {}
    assert data.read(8) == b"\x89PNG\r\n\x1a\n"
    while head := data.read(8):
        size, kind = struct.unpack(">I4s", head)
        chunks[kind] = data.read(size)
        assert struct.unpack(">I", data.read(4))[0] == zlib.crc32(kind + chunks[kind])
    width, height, depth, kind = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    channels = {2: 3, 6: 4}[kind]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()  # no filter
    return rows[:, 1:].reshape(height, width, channels)


@pytest.mark.parametrize(
    ("view", "share"),
    [
        ("top", (60 * 40 - math.pi * 36) / 60**2),
        ("front", (60 * 6 + 6 * 34) / 60**2),
        ("right", (40 * 40 - math.pi * 36) / 40**2),
    ],
)
def test_a_preview_shows_the_part_from_its_side(
    sources: dict[str, Path], tmp_path: Path, view: str, share: float
) -> None:
    pixels = picture(
        sources["step"], tmp_path / "o.png", view=view, width="300", height="300", background="transparent"
    )
    assert pixels.shape == (300, 300, 4)
    covered = (pixels[:, :, 3] / 255).sum() / (300 * (1 - 2 * 0.06)) ** 2
    assert covered == pytest.approx(share, rel=0.01)
    if view == "front":  # the wall of the bracket is on the left, its foot below
        assert pixels[100, 25, 3] == 255
        assert pixels[100, 150, 3] == 0
        assert pixels[225, 150, 3] == 255


def test_a_preview_has_the_colours_and_the_background(tmp_path: Path) -> None:
    pixels = picture(
        assembly(tmp_path / "machine.step"), tmp_path / "o.png", background="00ff00", width="200", height="160"
    )
    assert pixels.shape == (160, 200, 3)
    assert tuple(pixels[0, 0]) == (0, 255, 0)
    inside = pixels.reshape(-1, 3).astype(int)
    assert ((inside[:, 0] > 90) & (inside[:, 1] < 20) & (inside[:, 2] < 20)).sum() > 100  # the bolts are red


def test_what_is_nearer_hides_what_is_behind(tmp_path: Path) -> None:
    """Two squares over each other, the upper one smaller and turned to the light: seen from above and from below."""
    text = "v 0 0 0\nv 10 0 0\nv 10 10 0\nv 0 10 0\nv 3 3 5\nv 7 3 5\nv 7 7 9\nv 3 7 9\nf 1 2 3 4\nf 5 6 7 8\n"
    (tmp_path / "two.obj").write_text(text)
    top = picture(tmp_path / "two.obj", tmp_path / "o.png", view="top", width="100", height="100")
    assert tuple(top[50, 50]) != tuple(top[20, 20])
    (tmp_path / "two.obj").write_text(text.replace(" 5\n", " -5\n").replace(" 9\n", " -9\n"))
    below = picture(tmp_path / "two.obj", tmp_path / "o.png", view="top", width="100", height="100")
    assert tuple(below[50, 50]) == tuple(below[20, 20])
