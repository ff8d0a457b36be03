# SPDX-License-Identifier: GPL-3.0-or-later
"""What every reader gives and every writer takes: meshes, and a tree of nodes that places them. Millimetres, Z up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Points = NDArray[np.float64]
Triangles = NDArray[np.int64]
Matrix = NDArray[np.float64]
Color = tuple[float, float, float, float]

#: More than this in one result is refused before the memory for it is asked for.
MAX_TRIANGLES = 100_000_000
MAX_INSTANCES = 1_000_000
MAX_DEPTH = 200
_BLOCK = 1 << 17  # places looked at together: bounds the memory

IDENTITY: Matrix = np.eye(4)
IDENTITY.flags.writeable = False


@dataclass(frozen=True)
class Mesh:
    """A surface. `paint` (m,) is each triangle's index in `palette` (linear RGBA, 0 to 1), or -1."""

    vertices: Points
    faces: Triangles
    name: str = ""
    palette: tuple[Color, ...] = ()
    paint: NDArray[np.int32] | None = None

    def moved(self, matrix: Matrix) -> Mesh:
        """This surface under `matrix`; a mirrored one keeps its outside."""
        if matrix is IDENTITY or np.array_equal(matrix, IDENTITY):
            return self
        faces = self.faces if np.linalg.det(matrix[:3, :3]) > 0 else self.faces[:, ::-1]
        return replace(self, vertices=self.vertices @ matrix[:3, :3].T + matrix[:3, 3], faces=faces)


@dataclass(frozen=True)
class Node:
    """A place in the tree: `matrix` (4, 4, columns are axes) from here to the parent, and a mesh's index or None."""

    name: str = ""
    matrix: Matrix = field(default_factory=lambda: IDENTITY)
    mesh: int | None = None
    children: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Scene:
    """A whole file. `warnings` are sentences about what was guessed, mended or left out."""

    meshes: tuple[Mesh, ...]
    roots: tuple[Node, ...]
    warnings: tuple[str, ...] = ()

    @classmethod
    def single(cls, vertices: Points, faces: Triangles, warnings: tuple[str, ...] = ()) -> Scene:
        """One surface at its own place."""
        return cls((Mesh(vertices, faces),), (Node(mesh=0),), warnings)

    def instances(self) -> Iterator[tuple[str, Matrix, int]]:
        """Every mesh as often as it is placed: the node's name, the matrix to the world, the mesh's index."""
        stack = [(node, IDENTITY, 0) for node in reversed(self.roots)]
        count = 0
        while stack:
            node, above, depth = stack.pop()
            matrix = above if node.matrix is IDENTITY else above @ node.matrix
            if node.mesh is not None:
                yield node.name, matrix, node.mesh
            count += 1
            if count > MAX_INSTANCES or depth > MAX_DEPTH:
                raise InputError(
                    f"The file places more than {MAX_INSTANCES} parts or nests them deeper than {MAX_DEPTH}: split it.",
                    422,
                )
            stack += [(child, matrix, depth + 1) for child in reversed(node.children)]

    def placed(self) -> Iterator[Mesh]:
        """Every instance as a mesh of its own, in its place."""
        total = 0
        for name, matrix, index in self.instances():
            mesh = self.meshes[index]
            total += len(mesh.faces)
            if total > MAX_TRIANGLES:
                raise InputError(
                    f"The file has more than {MAX_TRIANGLES} triangles, all instances counted: simplify it.", 422
                )
            moved = mesh.moved(matrix)
            yield replace(moved, name=name or mesh.name) if name else moved

    def flat(self) -> Mesh:
        """All instances as one surface, without colours."""
        parts = list(self.placed())
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64))
        firsts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        return Mesh(
            np.concatenate([part.vertices for part in parts]),
            np.concatenate([part.faces + first for part, first in zip(parts, firsts, strict=True)]),
        )

    def mapped(self, change: Callable[[Mesh], Mesh]) -> Scene:
        """The scene with every mesh changed."""
        return replace(self, meshes=tuple(change(mesh) for mesh in self.meshes))

    def transformed(self, matrix: Matrix) -> Scene:
        """The whole scene under `matrix`, which turns and scales alike in all directions; instances stay instances."""
        if np.array_equal(matrix, IDENTITY):
            return self
        back = np.linalg.inv(matrix)

        def node(old: Node) -> Node:
            moved = old.matrix if old.matrix is IDENTITY else matrix @ old.matrix @ back
            return replace(old, matrix=moved, children=tuple(node(child) for child in old.children))

        return replace(self.mapped(lambda mesh: mesh.moved(matrix)), roots=tuple(node(root) for root in self.roots))

    def warned(self, *sentences: str) -> Scene:
        """The scene with more warnings."""
        return replace(self, warnings=(*self.warnings, *(s for s in sentences if s not in self.warnings)))


def fingerprints(vertices: Points) -> NDArray[np.uint64]:
    """A number for each place: equal places get equal ones, others by chance only (one in 2**64)."""
    mixed = np.zeros(len(vertices), np.uint64)
    for start in range(0, len(vertices), _BLOCK):
        some = mixed[start : start + _BLOCK]
        bits = (np.ascontiguousarray(vertices[start : start + _BLOCK], np.float64) + 0.0).view(
            np.uint64
        )  # no minus zero
        for axis in range(3):
            some ^= bits[:, axis]
            some *= np.uint64(0x9E3779B97F4A7C15)
            some ^= some >> np.uint64(29)
            some *= np.uint64(0xBF58476D1CE4E5B9)
            some ^= some >> np.uint64(32)
    return mixed


def welded(mesh: Mesh) -> Mesh:
    """The same triangles, in the same order, with every place only once and none that no triangle uses."""
    marks = fingerprints(mesh.vertices)
    used = np.zeros(len(marks), bool)
    used[mesh.faces.ravel()] = True
    where = np.flatnonzero(used)
    _, first, inverse = np.unique(marks[where], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # vertices stay in the file's order
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    index = np.zeros(len(marks), np.int64)
    index[where] = rank[inverse]
    vertices = mesh.vertices[where[first[order]]]
    if not np.array_equal(vertices[index[where]], mesh.vertices[where]):  # two places with one fingerprint
        return mesh
    return replace(mesh, vertices=vertices, faces=index[mesh.faces])


def refuse_not_finite(vertices: Points, used: Triangles, label: str) -> None:
    """InputError naming the first of the `used` vertices that has a coordinate which is no finite number."""
    good = np.asarray(np.isfinite(vertices).all(axis=1))
    if good.all():
        return
    bad = used[~good[used]]
    if len(bad):
        number = int(bad.min())
        value = next(value for value in vertices[number].tolist() if not np.isfinite(value))
        what = "a number" if np.isnan(value) else "a finite number"
        raise InputError(f"The {label} file's vertex {number + 1} has a coordinate that is not {what}: {value}.", 422)


def local_origin(mesh: Mesh) -> Points | None:
    """Where to move the origin to, so that 32 bits hold the shape; None where they do already.

    Coordinates are kept by 32 bits to 6e-8 of their size. Where that is more than a hundred-thousandth of the shape, and
    the coordinates are not ones of 32 bits anyway, the shape would suffer.
    """
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces.ravel()] = True
    vertices = mesh.vertices if used.all() else mesh.vertices[used]
    if not len(vertices):
        return None
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    reach = float(np.abs([low, high]).max())
    if reach * 6e-8 <= 1e-5 * float(np.linalg.norm(high - low)) or np.array_equal(
        vertices, vertices.astype(np.float32)
    ):
        return None
    return np.asarray((low + high) / 2)
