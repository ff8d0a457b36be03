# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversions by volume and extent, which survive any format."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from conversion.errors import InputError
from conversion.formats import FORMATS, OUTPUT_FORMATS, STEP_OPTIONS
from conversion.geometry.convert import convert

DEFAULTS = {name: bounds.default for name, bounds in STEP_OPTIONS.items()}
BRACKET = 60 * 40 * 6 + 6 * 40 * 40 - 6 * 40 * 6 - 2 * math.pi * 6**2 * 6  # mm3


def measured(path: Path) -> tuple[float, list[float], bool]:
    """Volume in mm3, extents in mm with Z up, and whether the surface is closed."""
    mesh: Any = trimesh.load_mesh(path)
    extents = mesh.extents
    if path.suffix == ".glb":  # metres, Y up
        return mesh.volume * 1e9, [extents[0] * 1e3, extents[2] * 1e3, extents[1] * 1e3], mesh.is_watertight
    return mesh.volume, list(extents), mesh.is_watertight


@pytest.mark.parametrize(("source", "output"), list(itertools.product(FORMATS, OUTPUT_FORMATS)))
def test_volume_and_extents_survive(samples: Path, tmp_path: Path, source: str, output: str) -> None:
    target = tmp_path / f"out.{output}"
    options = DEFAULTS if source == "step" else {}
    assert convert(samples / f"bracket.{source}", source, target, output, options) == 420
    volume, extents, closed = measured(target)
    assert volume == pytest.approx(BRACKET, rel=0.002)
    assert extents == pytest.approx([60, 40, 40], rel=1e-5)
    assert closed


def test_finer_deflection_comes_nearer(samples: Path, tmp_path: Path) -> None:
    errors = []
    for deflection in (1.0, 0.1, 0.01):
        convert(samples / "bracket.step", "step", tmp_path / "o.stl", "stl", {"deflection": deflection, "angle": 60.0})
        errors.append(abs(measured(tmp_path / "o.stl")[0] - BRACKET))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < errors[0] / 20


def test_glb_is_upright(samples: Path, tmp_path: Path) -> None:
    """What points up in CAD (Z) points up in glTF (Y), to the same side."""
    convert(samples / "bracket.stl", "stl", tmp_path / "o.glb", "glb", {})
    flat: Any = trimesh.load_mesh(samples / "bracket.stl")
    turned: Any = trimesh.load_mesh(tmp_path / "o.glb")
    assert turned.center_mass == pytest.approx(
        np.array([flat.center_mass[0], flat.center_mass[2], -flat.center_mass[1]]) / 1000, abs=1e-6
    )


def test_assembly_with_a_mirrored_part_keeps_outward_faces(tmp_path: Path) -> None:
    from OCP.BRep import BRep_Builder
    from OCP.BRepBuilderAPI import BRepBuilderAPI_Transform
    from OCP.BRepPrimAPI import BRepPrimAPI_MakeWedge
    from OCP.gp import gp_Ax2, gp_Dir, gp_Pnt, gp_Trsf
    from OCP.STEPControl import STEPControl_AsIs, STEPControl_Writer
    from OCP.TopoDS import TopoDS_Compound

    wedge = BRepPrimAPI_MakeWedge(10, 10, 10, 4).Shape()
    mirror = gp_Trsf()
    mirror.SetMirror(gp_Ax2(gp_Pnt(-5, 0, 0), gp_Dir(1, 0, 0)))
    both, builder = TopoDS_Compound(), BRep_Builder()
    builder.MakeCompound(both)
    builder.Add(both, wedge)
    builder.Add(both, BRepBuilderAPI_Transform(wedge, mirror, False).Shape())
    writer = STEPControl_Writer()
    writer.Transfer(both, STEPControl_AsIs)
    writer.Write(str(tmp_path / "pair.step"))
    convert(tmp_path / "pair.step", "step", tmp_path / "o.stl", "stl", DEFAULTS)
    volume, extents, closed = measured(tmp_path / "o.stl")
    assert closed
    assert volume == pytest.approx(2 * 10 * 10 * (10 + 4) / 2, rel=1e-4)  # a part turned inside out would take away
    assert extents == pytest.approx([30, 10, 10], rel=1e-5)


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("step", b"ISO-10303-21;\nHEADER;\ngarbage"),
        ("step", b"ISO-10303-21;\nHEADER;\nENDSEC;\nDATA;\nENDSEC;\nEND-ISO-10303-21;\n"),
        ("stl", b"solid nothing\nendsolid nothing\n"),
        ("stl", bytes(84)),
        ("obj", b"hello world\n"),
        ("obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"),
        ("obj", b"v inf 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
        ("ply", b"ply\nformat ascii 1.0\n"),
        ("glb", b"glTF" + bytes(40)),
    ],
)
def test_what_cannot_be_read_is_the_file_s_fault(tmp_path: Path, form: str, data: bytes) -> None:
    source = tmp_path / f"source.{form}"
    source.write_bytes(data)
    with pytest.raises(InputError) as refusal:
        convert(source, form, tmp_path / "o.stl", "stl", DEFAULTS if form == "step" else {})
    assert refusal.value.status == 422
    assert str(refusal.value).endswith(".")


def test_samples_are_what_their_script_makes(samples: Path, tmp_path: Path) -> None:
    """Every mesh sample is the STEP sample's conversion, byte for byte."""
    for part, form in itertools.product(("box", "bracket"), OUTPUT_FORMATS):
        convert(samples / f"{part}.step", "step", tmp_path / "o", form, DEFAULTS)
        assert (tmp_path / "o").read_bytes() == (samples / f"{part}.{form}").read_bytes(), f"{part}.{form}"
