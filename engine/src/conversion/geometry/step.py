# SPDX-License-Identifier: GPL-3.0-or-later
"""STEP to triangles with OpenCascade."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from OCP.BRep import BRep_Tool
from OCP.BRepMesh import BRepMesh_IncrementalMesh
from OCP.IFSelect import IFSelect_RetDone
from OCP.STEPControl import STEPControl_Reader
from OCP.TopAbs import TopAbs_FACE, TopAbs_REVERSED
from OCP.TopExp import TopExp_Explorer
from OCP.TopLoc import TopLoc_Location
from OCP.TopoDS import TopoDS

from ..errors import InputError

Points = NDArray[np.float64]
Triangles = NDArray[np.int64]


def read_step(path: Path, deflection: float, angle: float) -> tuple[Points, Triangles]:
    """Vertices (n, 3) in mm and triangles (m, 3) of all shapes in the file, outward by the right hand."""
    reader = STEPControl_Reader()
    if reader.ReadFile(str(path)) != IFSelect_RetDone:
        raise InputError("The STEP file cannot be read: it is damaged, cut off or of another format.", 422)
    if reader.TransferRoots() < 1 or reader.OneShape().IsNull():
        raise InputError(
            "The STEP file holds no shape that can be read: export it again as AP203, AP214 or AP242.", 422
        )
    return tessellate(reader.OneShape(), deflection, angle)


def tessellate(shape: Any, deflection: float, angle: float) -> tuple[Points, Triangles]:
    """Triangles of a shape: at most `deflection` mm off the surface and `angle` degrees apart."""
    BRepMesh_IncrementalMesh(shape, deflection, False, math.radians(angle), False)
    points: list[tuple[float, float, float]] = []
    triangles: list[tuple[int, int, int]] = []
    faces = TopExp_Explorer(shape, TopAbs_FACE)
    while faces.More():
        face = TopoDS.Face(faces.Current())
        place = TopLoc_Location()
        part = BRep_Tool.Triangulation_s(face, place)
        if part is not None:
            first = len(points) - 1  # OpenCascade counts nodes from one
            move = place.Transformation()
            for index in range(1, part.NbNodes() + 1):
                node = part.Node(index).Transformed(move)
                points.append((node.X(), node.Y(), node.Z()))
            # A face seen from inside, and a mirroring placement, each turn the triangles round
            turned = (face.Orientation() == TopAbs_REVERSED) != (move.IsNegative())
            for index in range(1, part.NbTriangles() + 1):
                a, b, c = part.Triangle(index).Get()
                triangles.append((first + a, first + c, first + b) if turned else (first + a, first + b, first + c))
        faces.Next()
    return np.array(points, dtype=np.float64).reshape(-1, 3), np.array(triangles, dtype=np.int64).reshape(-1, 3)
