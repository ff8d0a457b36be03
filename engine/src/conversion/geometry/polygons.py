# SPDX-License-Identifier: GPL-3.0-or-later
"""Polygons to triangles that fill them: n corners give n - 2 triangles, every corner used, so that seams stay closed."""

from __future__ import annotations

import itertools

import mapbox_earcut
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .scene import Points, Triangles, refuse_not_finite

_FLAT = 1e-9  # of a polygon's area: what rounding makes of a triangle without one


def triangulate(
    vertices: Points, corners: NDArray[np.int64], counts: NDArray[np.int64], what: str
) -> tuple[Triangles, list[str]]:
    """Triangles of polygons given as `corners` (indices, one polygon after the other) and corners a polygon.

    Polygons with fewer than three corners have no surface and give none. Triangles come in the polygons' order. Returns
    warnings too: about polygons that cross themselves, which nobody can fill in one right way. InputError, its sentence
    beginning with `what`, for a corner that is no vertex.
    """
    firsts = np.cumsum(counts) - counts
    if len(corners) and not 0 <= int(corners.min()) <= int(corners.max()) < len(vertices):
        bad = int(np.argmax((corners < 0) | (corners >= len(vertices))))
        polygon = int(np.searchsorted(firsts, bad, side="right"))
        raise InputError(
            f"The {what} {polygon} names a vertex that is not there: there are {len(vertices)} vertices.", 422
        )
    if len(counts) and int(counts.min()) == int(counts.max()) == 3:
        return corners.reshape(-1, 3).astype(np.int64), []
    refuse_not_finite(vertices, corners, what.partition(" ")[0])
    sizes = np.maximum(counts - 2, 0)
    places = np.cumsum(sizes) - sizes
    triangles = np.empty((int(sizes.sum()), 3), np.int64)
    crossing: list[int] = []
    for size in np.unique(counts[counts > 2]):
        chosen = np.flatnonzero(counts == size)
        rings = corners[firsts[chosen][:, None] + np.arange(size)]
        filled = _fans(vertices, rings)
        for row in np.flatnonzero(filled[:, 0, 0] < 0):
            filled[row], whole = _concave(vertices[rings[row]], rings[row])
            if not whole:
                crossing.append(int(chosen[row]) + 1)
        triangles[places[chosen][:, None] + np.arange(size - 2)] = filled
    warnings = []
    if crossing:
        warnings.append(
            f"The {what} {min(crossing)} and {len(crossing) - 1} more cross themselves: their area is not certain."
            if len(crossing) > 1
            else f"The {what} {crossing[0]} crosses itself: its area is not certain."
        )
    return triangles, warnings


def _newell(points: Points) -> Points:
    """Twice the area vector of polygons (n, corners, 3)."""
    local = points - points[:, :1]
    return np.asarray(np.cross(local, np.roll(local, -1, axis=1)).sum(axis=1))


def _fans(vertices: Points, rings: NDArray[np.int64]) -> NDArray[np.int64]:
    """Polygons (n, k) as fans (n, k - 2, 3) from a corner whose fan turns back nowhere; -1 where there is none."""
    count, size = rings.shape
    result = np.full((count, size - 2, 3), -1, np.int64)
    if size == 3:
        return rings[:, None, :].astype(np.int64)
    open_ = np.arange(count)
    best = np.full(count, -np.inf)
    for turn in range(size if size <= 8 else 1):
        ring = np.roll(rings[open_], -turn, axis=1)
        fan = np.stack([np.repeat(ring[:, :1], size - 2, axis=1), ring[:, 1:-1], ring[:, 2:]], axis=2)
        points = vertices[ring]
        normal = _newell(points)
        length = np.einsum("ij,ij->i", normal, normal)
        local = points - points[:, :1]
        parts = np.cross(local[:, 1:-1], local[:, 2:])
        along = np.einsum("ijk,ik->ij", parts, normal)
        worst = along.min(axis=1)
        good = worst >= -_FLAT * length
        better = good & (worst > best[open_])  # a quadrangle that is not flat: along the diagonal that folds least
        result[open_[better]] = fan[better]
        best[open_[better]] = worst[better]
        if size > 4:
            open_ = open_[~good]
            if not len(open_):
                break
    return result


def _concave(points: Points, ring: NDArray[np.int64]) -> tuple[NDArray[np.int64], bool]:
    """One polygon by ear clipping, seen along its own normal; and whether its triangles have just its area."""
    normal = _newell(points[None])[0]
    drop = int(np.argmax(np.abs(normal)))
    axes = [axis for axis in range(3) if axis != drop]
    flat = np.ascontiguousarray((points - points[0])[:, axes])
    found = mapbox_earcut.triangulate_float64(flat, np.array([len(ring)], np.uint32)).reshape(-1, 3).astype(np.int64)
    ahead, back = np.roll(flat, -1, axis=0), flat
    signed = float((back[:, 0] * ahead[:, 1] - back[:, 1] * ahead[:, 0]).sum())
    if len(found):
        a, b, c = (flat[found[:, k]] for k in range(3))
        areas = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        found[areas * signed < 0] = found[areas * signed < 0][:, ::-1]  # all seen from the polygon's own side
        whole = abs(float(np.abs(areas).sum()) - abs(signed)) <= 1e-6 * abs(signed)
    else:
        whole = signed == 0
    triangles = _all_corners(found, len(ring))
    return ring[triangles], whole and len(triangles) == len(ring) - 2


def _all_corners(found: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Put corners back that ear clipping left out because they lie on a straight edge: the neighbour has them too."""
    triangles = [tuple(int(index) for index in row) for row in found]
    used = sorted({index for row in triangles for index in row})
    if not used:  # no area at all: a fan is as good as anything
        return np.array([(0, k, k + 1) for k in range(1, count - 1)], np.int64)
    edges = {edge: number for number, row in enumerate(triangles) for edge in _edges(row)}
    for here, there in zip(used, [*used[1:], used[0] + count], strict=True):
        left_out = [index % count for index in range(here + 1, there)]
        number = edges.get((here, there % count)) if left_out else None
        if number is None:
            continue
        row = triangles[number]
        apex = next(index for index in row if index not in (here, there % count))
        chain = [here, *left_out, there % count]
        new = [(first, second, apex) for first, second in itertools.pairwise(chain)]
        triangles[number] = new[0]
        triangles += new[1:]
        for index, changed in [(number, new[0]), *enumerate(new[1:], len(triangles) - len(new) + 1)]:
            edges |= dict.fromkeys(_edges(changed), index)
    rows = triangles[: count - 2] + [(0, 0, 0)] * (count - 2 - len(triangles))
    return np.array(rows, np.int64)


def _edges(row: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(row[0], row[1]), (row[1], row[2]), (row[2], row[0])]


def strips(indices: NDArray[np.int64], restart: int | None = None) -> Triangles:
    """Triangles of a strip, or of several with `restart` between them; every other one turned, doubled corners left out."""
    rows: list[NDArray[np.int64]] = []
    breaks = np.flatnonzero(indices == restart) if restart is not None else np.empty(0, np.int64)
    for part in np.split(indices, breaks):
        one = part[part != restart] if restart is not None else part
        if len(one) < 3:
            continue
        made = np.stack([one[:-2], one[1:-1], one[2:]], axis=1)
        made[1::2] = made[1::2][:, [1, 0, 2]]
        rows.append(made)
    if not rows:
        return np.empty((0, 3), np.int64)
    triangles = np.concatenate(rows)
    a, b, c = triangles.T
    return np.asarray(triangles[(a != b) & (b != c) & (a != c)])
