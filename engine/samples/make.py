#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the sample parts again: a box and a bracket with a hole, in every format. Same script, same bytes.

pip install -r requirements/engine.txt && PYTHONPATH=engine/src python engine/samples/make.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from OCP.BRepAlgoAPI import BRepAlgoAPI_Cut, BRepAlgoAPI_Fuse
from OCP.BRepPrimAPI import BRepPrimAPI_MakeBox, BRepPrimAPI_MakeCylinder
from OCP.gp import gp_Ax2, gp_Dir, gp_Pnt
from OCP.STEPControl import STEPControl_AsIs, STEPControl_Writer

from conversion.formats import FORMATS, MESH_OUTPUTS, options
from conversion.geometry.convert import convert

HERE = Path(__file__).resolve().parent


def box() -> Any:
    """10 x 20 x 30 mm."""
    return BRepPrimAPI_MakeBox(10, 20, 30).Shape()


def bracket() -> Any:
    """An angle of 60 x 40 x 40 mm, 6 mm thick, with a hole of 12 mm in each side."""
    base = BRepPrimAPI_MakeBox(gp_Pnt(0, 0, 0), 60, 40, 6).Shape()
    wall = BRepPrimAPI_MakeBox(gp_Pnt(0, 0, 0), 6, 40, 40).Shape()
    part = BRepAlgoAPI_Fuse(base, wall).Shape()
    for point, direction in ((gp_Pnt(38, 20, -1), gp_Dir(0, 0, 1)), (gp_Pnt(-1, 20, 24), gp_Dir(1, 0, 0))):
        part = BRepAlgoAPI_Cut(part, BRepPrimAPI_MakeCylinder(gp_Ax2(point, direction), 6, 8).Shape()).Shape()
    return part


def main() -> int:
    """Write all of them beside this script."""
    for name, shape in (("box", box()), ("bracket", bracket())):
        step = HERE / f"{name}.step"
        writer = STEPControl_Writer()
        writer.Transfer(shape, STEPControl_AsIs)
        writer.Write(str(step))
        # The writer puts the clock and a counter into the file
        text = re.sub(r"'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d'", "'2026-01-01T00:00:00'", step.read_text())
        step.write_text(re.sub(r"(STEP translator \d+\.\d+) \d+", r"\1 1", text))
        for form in MESH_OUTPUTS:
            convert(step, "step", HERE / f"{name}.{form}", form, options(FORMATS["step"], FORMATS[form], {}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
