# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture of a surface, drawn by numpy: no display, no OpenGL, no driver, and the same picture on every machine."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .scene import Mesh, Points, Scene

#: Where the eye is, as seen from the part, and what is up in the picture.
_EYES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "iso": ((1.0, -1.0, 0.8), (0.0, 0.0, 1.0)),
    "front": ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
    "right": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "top": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
}
_GREY = (0.45, 0.5, 0.56)  # linear
_MARGIN = 0.06
_FINER = 2  # samples a pixel, each way
_AT_ONCE = 1 << 19  # samples looked at together: bounds the memory


def render(scene: Scene, width: int, height: int, view: str, background: str) -> bytes:
    """A PNG of `width` by `height` pixels, without perspective. `background`: six hexadecimal digits or 'transparent'."""
    eye, up = (np.array(one) for one in _EYES[view])
    eye = eye / np.linalg.norm(eye)
    right = np.cross(up, eye)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(eye, right), eye])
    parts = [part for part in scene.placed() if len(part.faces)]
    points = [part.vertices @ axes.T for part in parts]
    used = [one[_used(part)] for one, part in zip(points, parts, strict=True)]
    low = np.min([one.min(axis=0) for one in used], axis=0)
    high = np.max([one.max(axis=0) for one in used], axis=0)
    size = np.maximum(high - low, 1e-12)
    wide, tall = width * _FINER, height * _FINER
    scale = (1 - 2 * _MARGIN) * min(wide / size[0], tall / size[1])
    middle = (low + high) / 2
    canvas = _Canvas(wide, tall)
    for part, one in zip(parts, points, strict=True):
        flat = (one - middle) * (scale, -scale, scale) + (wide / 2, tall / 2, 0)
        for start in range(0, len(part.faces), _AT_ONCE // 4):
            some = slice(start, start + _AT_ONCE // 4)
            canvas.draw(flat[part.faces[some]], _shades(part, some, one))
    return _png(canvas.depth, canvas.color, width, height, background)


def _used(part: Mesh) -> NDArray[np.bool_]:
    found = np.zeros(len(part.vertices), bool)
    found[part.faces.ravel()] = True
    return found


def _shades(part: Mesh, some: slice, seen: Points) -> Points:
    """The colour of some triangles (m, 3), linear: its own under a light from above the eye's left, both sides alike."""
    a, b, c = (seen[part.faces[some, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    normals *= np.where(normals[:, 2:] < 0, -1.0, 1.0)
    light = np.array([-0.4, 0.55, 0.73])
    bright = 0.25 + 0.75 * np.maximum(normals @ (light / np.linalg.norm(light)), 0)
    own = np.array([_GREY])
    if part.paint is not None:
        own = np.array([*(one[:3] for one in part.palette), _GREY])[part.paint[some]]  # -1, no colour, is the last one
    return np.asarray(own * bright[:, None])


class _Canvas:
    """The samples of a picture, row by row: how near the nearest triangle is that covers each, and its colour."""

    def __init__(self, wide: int, tall: int) -> None:
        self.wide = wide
        self.tall = tall
        self.depth = np.full(wide * tall, -np.inf)
        self.color = np.zeros((wide * tall, 3))

    def draw(self, triangles: Points, shades: Points) -> None:
        """Triangles (m, 3, 3): x to the right, y down, z to the eye. A sample is covered when its middle is."""
        x, y = triangles[:, :, 0], triangles[:, :, 1]
        area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
        top = np.maximum(np.ceil(y.min(axis=1) - 0.5), 0).astype(np.int64)
        bottom = np.minimum(np.floor(y.max(axis=1) - 0.5), self.tall - 1).astype(np.int64)
        seen = np.flatnonzero((area != 0) & (bottom >= top))
        for piece, which, step in _pieces(bottom[seen] - top[seen] + 1, _AT_ONCE // 4):
            chosen = seen[piece][which]
            self._rows(triangles[chosen], area[chosen], top[chosen] + step, shades[chosen])

    def _rows(self, triangles: Points, area: Points, row: NDArray[np.int64], shades: Points) -> None:
        """One row of samples of each triangle: between its edges there."""
        middle = row + 0.5
        low, high = np.full(len(row), -0.5), np.full(len(row), self.wide + 0.5)
        side = np.sign(area)
        for one, other in ((0, 1), (1, 2), (2, 0)):
            (x0, y0, _), (x1, y1, _) = triangles[:, one].T, triangles[:, other].T
            rise = (y1 - y0) * side
            with np.errstate(divide="ignore", invalid="ignore"):
                cut = x0 + (middle - y0) * (x1 - x0) / (y1 - y0)
            low = np.where(rise < 0, np.maximum(low, cut), low)
            high = np.where(rise > 0, np.minimum(high, cut), high)
        first = np.maximum(np.ceil(low - 0.5), 0).astype(np.int64)
        count = np.minimum(np.floor(high - 0.5), self.wide - 1).astype(np.int64) - first + 1
        full = np.flatnonzero(count > 0)
        # The depth is a plane over the picture
        (x0, y0, z0), u, v = (
            triangles[:, 0].T,
            (triangles[:, 1] - triangles[:, 0]).T,
            (triangles[:, 2] - triangles[:, 0]).T,
        )
        by_x, by_y = (u[2] * v[1] - v[2] * u[1]) / area, (u[0] * v[2] - v[0] * u[2]) / area
        start = z0 + (first + 0.5 - x0) * by_x + (middle - y0) * by_y
        for piece, which, step in _pieces(count[full], _AT_ONCE):
            chosen = full[piece][which]
            place = row[chosen] * self.wide + first[chosen] + step
            near = start[chosen] + step * by_x[chosen]
            ahead = np.flatnonzero(near > self.depth[place])
            order = ahead[np.argsort(near[ahead], kind="stable")]  # of a sample's triangles the nearest is written last
            self.depth[place[order]] = near[order]
            self.color[place[order]] = shades[chosen[order]]


def _pieces(counts: NDArray[np.int64], most: int) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
    """Every item as often as it counts, some `most` at a time: the items, which of them, and the how manieth time."""
    ends = np.cumsum(counts)
    at = 0
    while at < len(counts):
        to = max(at + 1, int(np.searchsorted(ends, (ends[at - 1] if at else 0) + most)))
        some = counts[at:to]
        which = np.repeat(np.arange(len(some)), some)
        yield slice(at, to), which, np.arange(len(which)) - np.repeat(np.cumsum(some) - some, some)
        at = to


def _png(depth: NDArray[np.float64], color: Points, width: int, height: int, background: str) -> bytes:
    covered = (depth > -np.inf).reshape(height, _FINER, width, _FINER)
    share = covered.mean(axis=(1, 3))
    mean = color.reshape(height, _FINER, width, _FINER, 3).sum(axis=(1, 3)) / _FINER**2
    if background == "transparent":
        plain = np.divide(mean, share[..., None], out=np.zeros_like(mean), where=share[..., None] > 0)
        pixels = np.concatenate([_srgb(plain), np.round(share * 255)[..., None].astype(np.uint8)], axis=2)
    else:
        behind = np.array([int(background[k : k + 2], 16) / 255 for k in (0, 2, 4)])
        linear = np.where(behind <= 0.04045, behind / 12.92, ((behind + 0.055) / 1.055) ** 2.4)
        pixels = _srgb(mean + (1 - share[..., None]) * linear)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 6 if pixels.shape[2] == 4 else 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _srgb(linear: Points) -> NDArray[np.uint8]:
    value = np.clip(linear, 0, 1)
    curved = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.round(curved * 255).astype(np.uint8)
