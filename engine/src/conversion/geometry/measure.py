# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a surface, and compare what went in with what came out. Used on every job before it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .scene import Points, Scene, Triangles, fingerprints

#: What writing coordinates with 32 bits may change of an area, and of a corner of the box (of the box's diagonal).
AREA = 1e-4
CORNER = 2e-5


@dataclass(frozen=True)
class Statistics:
    """A surface in numbers: mm, mm2, mm3.

    `triangles` is None for exact surfaces; `volume` and `centroid` are None where the surface is open.
    """

    triangles: int | None
    area: float
    volume: float | None
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    centroid: tuple[float, float, float] | None = None

    @property
    def diagonal(self) -> float:
        """Of the bounding box."""
        return float(np.linalg.norm(np.subtract(self.high, self.low)))

    def record(self) -> dict[str, Any]:
        """As in an operation's record."""
        return {
            "triangles": self.triangles,
            "area": self.area,
            "volume": self.volume,
            "bounding_box": [list(self.low), list(self.high)],
        }


@np.errstate(over="ignore", invalid="ignore")
def statistics(scene: Scene) -> Statistics:
    """Measure a scene with every instance in its place. What is too large for a number of 64 bits becomes infinite."""
    triangles, area, volume = 0, 0.0, 0.0
    moment = np.zeros(3)
    rim = 0
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    origin: Points | None = None
    for mesh in scene.placed():
        if not len(mesh.faces):
            continue
        corners = mesh.vertices[mesh.faces.ravel()]
        low, high = np.minimum(low, corners.min(axis=0)), np.maximum(high, corners.max(axis=0))
        if origin is None:  # volumes are summed up from near the part, or a far part would lose its digits
            origin = (low + high) / 2
        a, b, c = (corners[k::3] - origin for k in range(3))
        normals = np.cross(b - a, c - a)
        area += float(np.sqrt(np.einsum("ij,ij->i", normals, normals)).sum()) / 2
        six = np.einsum("ij,ij->i", a, normals)
        volume += float(six.sum()) / 6
        moment += np.einsum("i,ij->j", six, a + b + c) / 24
        triangles += len(mesh.faces)
        rim = (rim + _rim(mesh.vertices, mesh.faces)) % 2**64
    closed = triangles > 0 and rim == 0 and volume != 0
    centre = None if origin is None or not closed else tuple((moment / volume + origin).tolist())
    return Statistics(
        triangles,
        area,
        volume if closed else None,
        tuple(low.tolist()),
        tuple(high.tolist()),
        centre,
    )


def _rim(vertices: Points, faces: Triangles) -> int:
    """Zero for a surface without a rim: one whose every edge is run along as often forth as back.

    Each edge from a to b adds p(a) * q(b) - p(b) * q(a), modulo 2**64, with p and q numbers drawn from the places. Edges
    forth and back cancel; others do so by a chance that is not worth a sort of all edges.
    """
    marks = fingerprints(vertices)
    first = marks | np.uint64(1)
    second = (marks ^ (marks >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    second ^= second >> np.uint64(30)
    p, q = first[faces], second[faces]
    return sum(
        int((p[:, one] * q[:, other] - p[:, other] * q[:, one]).sum(dtype=np.uint64))
        for one, other in ((0, 1), (1, 2), (2, 0))
    )


def compare(source: Statistics, result: Statistics, label: str) -> None:
    """InputError when the result's surface is not the source's: triangles, area or a corner of the box differ."""
    reach = source.diagonal
    wrong = []
    if result.triangles != source.triangles:
        wrong.append(f"{result.triangles} triangles and not {source.triangles}")
    if not abs(result.area - source.area) <= AREA * source.area + 1e-7 * reach**2:
        wrong.append(f"an area of {result.area:.6g} mm2 and not {source.area:.6g}")
    for got, wanted in ((result.low, source.low), (result.high, source.high)):
        if not np.allclose(got, wanted, rtol=0, atol=CORNER * reach):
            wrong.append(f"a corner of its box at {_place(got)} and not {_place(wanted)}")
    if wrong:
        raise InputError(f"The {label} result would not be the source's surface: it has {', '.join(wrong)}.", 422)


def _place(point: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in point) + ")"
