# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a surface, and compare what went in with what came out. Used on every job before it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .scene import Points, Scene, Triangles, fingerprints

#: What writing coordinates with 32 bits may change of an area, and of a corner of the box (of the box's diagonal).
AREA = 1e-4
CORNER = 2e-5
_Numbers = tuple[NDArray[np.uint64], NDArray[np.uint64]]
_BLOCK = 1 << 17  # triangles looked at together: bounds the memory


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
    triangles, area, volume, rim = 0, 0.0, 0.0, 0
    moment = np.zeros(3)
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    origin: Points | None = None
    for mesh in scene.placed():
        triangles += len(mesh.faces)
        for start in range(0, len(mesh.faces), _BLOCK):
            faces = mesh.faces[start : start + _BLOCK]
            a, b, c = (mesh.vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
            rim = (rim + _rim(*(_numbers(one) for one in (a, b, c)))) % 2**64
            low = np.minimum(low, np.min([one.min(axis=0) for one in (a, b, c)], axis=0))
            high = np.maximum(high, np.max([one.max(axis=0) for one in (a, b, c)], axis=0))
            if origin is None:  # volumes are summed up from near the part, or a far part would lose its digits
                origin = (low + high) / 2
            for one in (a, b, c):
                one -= origin  # noqa: PLW2901 - in place
            normals = np.cross(b - a, c - a)
            area += float(np.sqrt(np.einsum("ij,ij->i", normals, normals)).sum()) / 2
            six = np.einsum("ij,ij->i", a, normals)
            volume += float(six.sum()) / 6
            moment += np.einsum("i,ij->j", six, a + b + c) / 24
    closed = triangles > 0 and rim == 0 and volume != 0
    centre = None if origin is None or not closed else tuple((moment / volume + origin).tolist())
    return Statistics(triangles, area, volume if closed else None, tuple(low.tolist()), tuple(high.tolist()), centre)


def is_closed(vertices: Points, faces: Triangles) -> bool:
    """Whether a surface has no rim."""
    return _rim(*(_numbers(vertices[faces[:, corner]]) for corner in range(3))) % 2**64 == 0


def _numbers(vertices: Points) -> _Numbers:
    """Two numbers for each vertex, drawn from its place."""
    first = fingerprints(vertices)
    second = (first ^ (first >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    second ^= second >> np.uint64(30)
    return first, second


def _rim(a: _Numbers, b: _Numbers, c: _Numbers) -> int:
    """Zero, summed over a surface, if it has no rim: if its every edge is run along as often forth as back.

    Each edge from a corner to the next adds p * q' - p' * q of the corners' two numbers, modulo 2**64: edges forth and back
    cancel; others do so by a chance that is not worth a sort of all edges.
    """
    edges = ((a, b), (b, c), (c, a))
    return sum(int((one[0] * other[1] - other[0] * one[1]).sum(dtype=np.uint64)) for one, other in edges)


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
