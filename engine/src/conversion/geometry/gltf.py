# SPDX-License-Identifier: GPL-3.0-or-later
"""glTF 2.0: GLB and the JSON form with everything inside. Metres with Y up become millimetres with Z up.

Never opens a file or an address: a buffer that is not inside the file is refused. Of the extensions, what changes the
shape is read (Draco, meshopt, quantized data, instances); what only changes the look is a warning; a required one that is
not known is refused by name.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import meshopt
from .polygons import strips
from .scene import (
    IDENTITY,
    MAX_DEPTH,
    MAX_INSTANCES,
    Color,
    Matrix,
    Mesh,
    Node,
    Points,
    Scene,
    Triangles,
    local_origin,
    welded,
)

#: From glTF's metres, Y up, to millimetres, Z up: x stays, z becomes -y, y becomes z.
FROM_GLTF: Matrix = np.array([[1000.0, 0, 0, 0], [0, 0, -1000.0, 0], [0, 1000.0, 0, 0], [0, 0, 0, 1]])
TO_GLTF: Matrix = np.array([[0.001, 0, 0, 0], [0, 0, 0.001, 0], [0, -0.001, 0, 0], [0, 0, 0, 1]])

_DRACO = "KHR_draco_mesh_compression"
_MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
_INSTANCES = "EXT_mesh_gpu_instancing"
_SHAPE = {_DRACO, *_MESHOPT, _INSTANCES, "KHR_mesh_quantization"}
#: Extensions that change only the look, the light or the view, never where a triangle is.
_LOOK = re.compile(
    r"KHR_materials_\w+|KHR_texture_\w+|EXT_texture_\w+|MSFT_texture_dds|KHR_lights_\w+|EXT_lights_\w+|KHR_xmp\w*|"
    r"KHR_techniques_webgl|KHR_animation_pointer|MSFT_packing_\w+|FB_\w+|ADOBE_materials_\w+|EXT_mesh_features|"
    r"EXT_structural_metadata|EXT_instance_features|KHR_audio\w*|VRMC_materials_mtoon"
)
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_MAX_COUNT = 200_000_000


def read_glb(data: bytes) -> Scene:
    """The default scene of a GLB file."""
    if len(data) < 20 or data[:4] != b"glTF":
        raise InputError("The GLB file is cut off: it is shorter than its header.", 422)
    version, length = int.from_bytes(data[4:8], "little"), int.from_bytes(data[8:12], "little")
    if version != 2:
        raise InputError(f"The GLB file is of version {version}: export it as glTF 2.0.", 422)
    if length > len(data):
        raise InputError(f"The GLB file is cut off: it says {length} bytes and has {len(data)}.", 422)
    chunks: list[tuple[bytes, bytes]] = []
    at = 12
    while at + 8 <= length:
        size, kind = int.from_bytes(data[at : at + 4], "little"), data[at + 4 : at + 8]
        if at + 8 + size > length:
            raise InputError("The GLB file is cut off: a part of it is longer than the file.", 422)
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size
    if not chunks or chunks[0][0] != b"JSON":
        raise InputError("The GLB file does not begin with its description (JSON): it is damaged.", 422)
    binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == b"BIN\0" else None
    return _File(_json(chunks[0][1], "GLB"), binary, "GLB").scene()


def read_gltf(data: bytes) -> Scene:
    """The default scene of a glTF file whose buffers are in it."""
    return _File(_json(data.removeprefix(b"\xef\xbb\xbf"), "glTF"), None, "glTF").scene()


def _json(data: bytes, label: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"The {label} file's description is no valid JSON: it is damaged or cut off.", 422) from exc
    if not isinstance(found, dict):
        raise InputError(f"The {label} file's description is not an object: it is damaged.", 422)
    return found


class _File:
    """One file while it is read."""

    def __init__(self, description: dict[str, Any], binary: bytes | None, label: str) -> None:
        self._all = description
        self._binary = binary
        self._label = label
        self._buffers: dict[int, bytes] = {}
        self._views: dict[int, bytes] = {}
        self._meshes: list[Mesh] = []
        self._known: dict[tuple[int, str], int | None] = {}
        self._warnings: list[str] = []
        self._seen: set[int] = set()
        self._placed = 0

    def scene(self) -> Scene:
        """Read it all."""
        asset = self._all.get("asset")
        version = str(asset.get("version", "")) if isinstance(asset, dict) else ""
        if not version.startswith("2."):
            raise self._wrong(f"is of version '{version[:8]}': export it as glTF 2.0")
        for name in self._list("extensionsRequired"):
            if name not in _SHAPE and not _LOOK.fullmatch(str(name)):
                raise self._wrong(f"requires the extension {str(name)[:64]}, which is not read: export it without")
        nodes = self._list("nodes")
        roots = self._roots(nodes)
        self._world = self._worlds(roots)
        tree = tuple(self._node(index, 0) for index in roots)
        if self._all.get("animations"):
            self._warn("Animations are not carried over: the file's rest position is converted.")
        if self._all.get("images") or self._all.get("textures"):
            self._warn("Textures are not carried over, colours of materials are.")
        if any(
            isinstance(one, dict) and one.get("uri") and not str(one["uri"]).startswith("data:")
            for one in self._list("images")
        ):
            self._warn("Pictures outside the file are never read.")
        return Scene(tuple(self._meshes), tree, tuple(self._warnings)).transformed(FROM_GLTF)

    # helpers

    def _wrong(self, what: str) -> InputError:
        return InputError(f"The {self._label} file {what}.", 422)

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warnings:
            self._warnings.append(sentence)

    def _list(self, name: str) -> list[Any]:
        found = self._all.get(name, [])
        if not isinstance(found, list):
            raise self._wrong(f"has '{name}' that is no list: it is damaged")
        return found

    def _item(self, name: str, index: Any) -> dict[str, Any]:
        rows = self._list(name)
        if (
            isinstance(index, bool)
            or not isinstance(index, int)
            or not 0 <= index < len(rows)
            or not isinstance(rows[index], dict)
        ):
            raise self._wrong(f"refers to {name} {str(index)[:16]}, which is not there: it is damaged")
        found: dict[str, Any] = rows[index]
        return found

    def _whole(self, where: Mapping[str, Any], name: str, default: int | None = None, most: int = _MAX_COUNT) -> int:
        value = where.get(name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise self._wrong(f"has '{name}' that is no whole number from 0 to {most}: it is damaged")
        return value

    def _extension(self, where: Mapping[str, Any], name: str) -> dict[str, Any] | None:
        extensions = where.get("extensions")
        found = extensions.get(name) if isinstance(extensions, dict) else None
        return found if isinstance(found, dict) else None

    # the tree

    def _roots(self, nodes: list[Any]) -> list[int]:
        scenes = self._list("scenes")
        if scenes:
            chosen = self._item("scenes", self._all.get("scene", 0))
            if len(scenes) > 1:
                self._warn(f"The file has {len(scenes)} scenes: the default one is converted.")
            roots = chosen.get("nodes", [])
        else:
            children = {child for node in nodes if isinstance(node, dict) for child in node.get("children", [])}
            roots = [index for index in range(len(nodes)) if index not in children]
            if nodes and not roots:
                raise self._wrong("has nodes that are their own ancestors: it is damaged")
        return list(roots)

    def _matrix(self, node: Mapping[str, Any]) -> Matrix:
        if "matrix" in node:
            found = np.array(node["matrix"], np.float64)
            if found.shape != (16,) or not np.isfinite(found).all():
                raise self._wrong("has a node whose matrix is not 16 numbers: it is damaged")
            return found.reshape(4, 4).T
        if not any(name in node for name in ("translation", "rotation", "scale")):
            return IDENTITY
        return self._trs(
            node.get("translation", [0, 0, 0]), node.get("rotation", [0, 0, 0, 1]), node.get("scale", [1, 1, 1])
        )

    def _trs(self, translation: Sequence[float], rotation: Sequence[float], scale: Sequence[float]) -> Matrix:
        move, turn, size = (np.array(one, np.float64) for one in (translation, rotation, scale))
        if (move.shape, turn.shape, size.shape) != ((3,), (4,), (3,)) or not np.isfinite([*move, *turn, *size]).all():
            raise self._wrong("has a node that is not placed by finite numbers: it is damaged")
        length = float(np.linalg.norm(turn))
        x, y, z, w = turn / length if length else (0.0, 0.0, 0.0, 1.0)
        matrix = np.eye(4)
        matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        matrix[:3, :3] *= size
        matrix[:3, 3] = move
        return matrix

    def _worlds(self, roots: list[int]) -> dict[int, Matrix]:
        """Every node's matrix to the world; InputError when the nodes are no tree."""
        worlds: dict[int, Matrix] = {}
        stack: list[tuple[Any, Matrix, int]] = [(index, IDENTITY, 0) for index in roots]
        while stack:
            index, above, depth = stack.pop()
            node = self._item("nodes", index)
            if index in worlds:
                raise self._wrong(
                    f"has the node {index} in two places of its tree, or as its own ancestor: it is damaged"
                )
            if depth > MAX_DEPTH:
                raise self._wrong(f"nests its nodes deeper than {MAX_DEPTH}: flatten it")
            worlds[index] = above @ self._matrix(node)
            children = node.get("children", [])
            if not isinstance(children, list):
                raise self._wrong("has 'children' that is no list: it is damaged")
            stack += [(child, worlds[index], depth + 1) for child in children]
        return worlds

    def _node(self, index: int, depth: int) -> Node:
        node = self._item("nodes", index)
        name = str(node.get("name", ""))[:200]
        children = tuple(self._node(child, depth + 1) for child in node.get("children", []))
        matrix = self._matrix(node)
        if "mesh" not in node:
            return Node(name, matrix, None, children)
        if "skin" in node:  # its joints place it, not the node
            mesh = self._mesh(node["mesh"], node, skin=node["skin"])
            back: Matrix = np.asarray(np.linalg.pinv(self._world[index])) if mesh is not None else IDENTITY
            return Node(name, matrix, None, (*children, Node(name, back, mesh)))
        mesh = self._mesh(node["mesh"], node)
        instancing = self._extension(node, _INSTANCES)
        if instancing is None or mesh is None:
            return Node(name, matrix, mesh, children)
        return Node(name, matrix, None, (*children, *(Node(name, one, mesh) for one in self._instances(instancing))))

    def _instances(self, extension: Mapping[str, Any]) -> list[Matrix]:
        attributes = extension.get("attributes")
        if not isinstance(attributes, dict):
            raise self._wrong(f"has {_INSTANCES} without attributes: it is damaged")
        columns = {
            name: self._accessor(attributes[name], (kind,))
            for name, kind in (("TRANSLATION", "VEC3"), ("ROTATION", "VEC4"), ("SCALE", "VEC3"))
            if name in attributes
        }
        count = len(next(iter(columns.values()))) if columns else 0
        if any(len(column) != count for column in columns.values()):
            raise self._wrong(f"has {_INSTANCES} with attributes of unequal length: it is damaged")
        self._placed += count
        if self._placed > MAX_INSTANCES:
            raise self._wrong(f"places more than {MAX_INSTANCES} instances: split it")
        empty = {"TRANSLATION": [0.0, 0, 0], "ROTATION": [0.0, 0, 0, 1], "SCALE": [1.0, 1, 1]}
        return [
            self._trs(
                *(
                    columns[key][row].tolist() if key in columns else empty[key]
                    for key in ("TRANSLATION", "ROTATION", "SCALE")
                )
            )
            for row in range(count)
        ]

    # surfaces

    def _mesh(self, index: Any, node: Mapping[str, Any], skin: Any = None) -> int | None:
        mesh = self._item("meshes", index)
        weights = node.get("weights", mesh.get("weights"))
        key = (index, json.dumps([weights, skin]))
        if key in self._known:
            return self._known[key]
        vertices: list[Points] = []
        faces: list[Triangles] = []
        paint: list[NDArray[np.int32]] = []
        palette: list[Color] = []
        primitives = mesh.get("primitives")
        if not isinstance(primitives, list):
            raise self._wrong("has a mesh without primitives: it is damaged")
        first = 0
        for primitive in primitives:
            if not isinstance(primitive, dict):
                raise self._wrong("has a mesh without primitives: it is damaged")
            made = self._primitive(primitive, weights, skin)
            if made is None:
                continue
            color = self._color(primitive)
            if color is not None and color not in palette:
                palette.append(color)
            vertices.append(made[0])
            faces.append(made[1] + first)
            paint.append(np.full(len(made[1]), -1 if color is None else palette.index(color), np.int32))
            first += len(made[0])
        if not faces:
            self._known[key] = None
            return None
        self._known[key] = len(self._meshes)
        self._meshes.append(
            Mesh(
                np.concatenate(vertices), np.concatenate(faces), str(mesh.get("name", ""))[:200], tuple(palette),
                np.concatenate(paint) if palette else None,
            )
        )  # fmt: skip
        return self._known[key]

    def _primitive(self, primitive: Mapping[str, Any], weights: Any, skin: Any) -> tuple[Points, Triangles] | None:
        mode = self._whole(primitive, "mode", 4, 6)
        if mode < 4:
            self._warn("Points and lines have no surface and are left out.")
            return None
        attributes = primitive.get("attributes")
        if not isinstance(attributes, dict):
            raise self._wrong("has a primitive without attributes: it is damaged")
        if "COLOR_0" in attributes:
            self._warn("Colours of vertices are not carried over, colours of materials are.")
        draco = self._extension(primitive, _DRACO)
        if draco is not None:
            points, indices = self._draco(draco)
        else:
            if "POSITION" not in attributes:
                self._warn("A primitive without positions has no surface and is left out.")
                return None
            points = self._accessor(attributes["POSITION"], ("VEC3",))
            indices = (
                self._accessor(primitive["indices"], ("SCALAR",), whole=True).ravel()
                if "indices" in primitive
                else np.arange(len(points))
            )
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(points):
            raise self._wrong(
                f"has an index {int(indices.max())} where there are {len(points)} vertices: it is damaged"
            )
        points = self._morphed(points, primitive, weights)
        if skin is not None:
            points = self._skinned(points, attributes, skin)
        indices = indices.astype(np.int64)
        if mode == 4:
            if len(indices) % 3:
                raise self._wrong(f"has {len(indices)} indices of triangles, which is no multiple of 3: it is cut off")
            return points, indices.reshape(-1, 3)
        if mode == 5:
            return points, strips(indices)
        if len(indices) < 3:
            return points, np.empty((0, 3), np.int64)
        return points, np.stack([np.full(len(indices) - 2, indices[0]), indices[1:-1], indices[2:]], axis=1)

    def _color(self, primitive: Mapping[str, Any]) -> Color | None:
        if "material" not in primitive:
            return None
        look = self._item("materials", primitive["material"]).get("pbrMetallicRoughness")
        factor = look.get("baseColorFactor") if isinstance(look, dict) else None
        if not isinstance(factor, list) or len(factor) != 4 or not all(isinstance(one, int | float) for one in factor):
            return None
        r, g, b, a = (min(1.0, max(0.0, float(one))) for one in factor)
        return (r, g, b, a)

    def _morphed(self, points: Points, primitive: Mapping[str, Any], weights: Any) -> Points:
        targets = primitive.get("targets")
        if not isinstance(targets, list) or not isinstance(weights, list):
            return points
        for target, weight in zip(targets, weights, strict=False):
            if weight and isinstance(target, dict) and "POSITION" in target:
                moves = self._accessor(target["POSITION"], ("VEC3",))
                if len(moves) != len(points):
                    raise self._wrong("has a morph target of another length than its mesh: it is damaged")
                points = points + float(weight) * moves
        return points

    def _skinned(self, points: Points, attributes: Mapping[str, Any], index: Any) -> Points:
        skin = self._item("skins", index)
        joints = skin.get("joints")
        if not isinstance(joints, list) or not joints:
            raise self._wrong("has a skin without joints: it is damaged")
        worlds = np.stack([self._world[one] if one in self._world else self._stray(one) for one in joints])
        if "inverseBindMatrices" in skin:
            back = self._accessor(skin["inverseBindMatrices"], ("MAT4",)).reshape(-1, 4, 4).transpose(0, 2, 1)
            if len(back) < len(joints):
                raise self._wrong("has a skin with fewer matrices than joints: it is damaged")
            worlds = worlds @ back[: len(joints)]
        total = np.zeros_like(points)
        share = np.zeros(len(points))
        for set_ in range(8):
            if f"JOINTS_{set_}" not in attributes or f"WEIGHTS_{set_}" not in attributes:
                break
            which = self._accessor(attributes[f"JOINTS_{set_}"], ("VEC4",), whole=True)
            how_much = self._accessor(attributes[f"WEIGHTS_{set_}"], ("VEC4",))
            if which.shape != how_much.shape or len(which) != len(points) or int(which.max(initial=0)) >= len(joints):
                raise self._wrong("has a skin that does not fit its mesh: it is damaged")
            for column in range(4):
                matrices = worlds[which[:, column]]
                moved = np.einsum("nij,nj->ni", matrices[:, :3, :3], points) + matrices[:, :3, 3]
                total += how_much[:, column, None] * moved
                share += how_much[:, column]
        if not share.all():
            raise self._wrong("has a skin that holds some vertices by no joint: it is damaged")
        return np.asarray(total / share[:, None])

    def _stray(self, index: Any) -> Matrix:
        raise self._wrong(f"has a skin with the joint {str(index)[:16]}, which is not in the scene: it is damaged")

    def _draco(self, extension: Mapping[str, Any]) -> tuple[Points, NDArray[np.int64]]:
        import DracoPy  # noqa: PLC0415 - 1 MB of library for the files that need it

        data = self._view(self._whole(extension, "bufferView"))
        try:
            mesh = DracoPy.decode(data)
            faces = np.asarray(mesh.faces, np.int64).reshape(-1)
            wanted = extension["attributes"]["POSITION"]
            found = [one for one in mesh.attributes if one["unique_id"] == wanted]
            points = np.asarray(found[0]["data"] if found else mesh.points, np.float64).reshape(-1, 3)
        except MemoryError:
            raise
        except Exception as exc:  # the library raises its own kinds and bare ones
            raise self._wrong(f"has data for {_DRACO} that Draco cannot read: it is damaged") from exc
        return points, faces

    # data

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            buffer = self._item("buffers", index)
            uri = buffer.get("uri")
            if uri is None:
                if index != 0 or self._binary is None:
                    raise self._wrong(f"has no data for buffer {index}: buffers must be inside the file")
                data = self._binary
            elif isinstance(uri, str) and uri.startswith("data:") and ";base64," in uri[:200]:
                try:
                    data = base64.b64decode(uri.split(";base64,", 1)[1], validate=True)
                except (binascii.Error, ValueError) as exc:
                    raise self._wrong(f"has a buffer {index} that is no valid base64: it is damaged") from exc
            else:
                raise self._wrong(
                    f"keeps buffer {index} in another file: buffers must be inside the file, so export it as one GLB"
                )
            self._buffers[index] = data
        return self._buffers[index]

    def _view(self, index: int) -> bytes:
        if index not in self._views:
            view = self._item("bufferViews", index)
            packed = next((one for name in _MESHOPT if (one := self._extension(view, name))), None)
            source = packed or view
            data = self._buffer(self._whole(source, "buffer"))
            start, length = (
                self._whole(source, "byteOffset", 0, 1 << 40),
                self._whole(source, "byteLength", None, 1 << 40),
            )
            if start + length > len(data):
                raise self._wrong("has a view beyond the end of its buffer: it is damaged or cut off")
            data = data[start : start + length]
            if packed is not None:
                count, stride = self._whole(packed, "count"), self._whole(packed, "byteStride", None, 256)
                data = meshopt.decode(data, count, stride, str(packed.get("mode")), str(packed.get("filter", "NONE")))
            self._views[index] = data
        return self._views[index]

    def _accessor(self, index: Any, kinds: tuple[str, ...], *, whole: bool = False) -> NDArray[Any]:
        """An accessor's rows: as numbers of its own kind for `whole`, else as float64, normalized ones put to scale."""
        accessor = self._item("accessors", index)
        kind, code = accessor.get("type"), accessor.get("componentType")
        if kind not in kinds or code not in _COMPONENTS:
            raise self._wrong(f"has an accessor {index} of a kind that does not fit its use: it is damaged")
        item = np.dtype(_COMPONENTS[code])
        if whole and item.kind != "u":
            raise self._wrong(f"has an accessor {index} of a kind that does not fit its use: it is damaged")
        count, width = self._whole(accessor, "count"), _WIDTHS[kind]
        if "bufferView" in accessor:
            rows = self._strided(accessor, item, count, width, index)
        else:
            rows = np.zeros((count, width), item)
        sparse = accessor.get("sparse")
        if isinstance(sparse, dict):
            rows = self._sparse(rows, sparse, item, index)
        if whole:
            return rows
        values = rows.astype(np.float64)
        if accessor.get("normalized") and item.kind != "f":
            values = values / np.iinfo(item).max
            if item.kind == "i":
                values = np.maximum(values, -1.0)
        return values

    def _strided(
        self, accessor: Mapping[str, Any], item: np.dtype[Any], count: int, width: int, index: Any
    ) -> NDArray[Any]:
        view_index = self._whole(accessor, "bufferView")
        data = self._view(view_index)
        start = self._whole(accessor, "byteOffset", 0, 1 << 40)
        view = self._item("bufferViews", view_index)
        stride = self._whole(view, "byteStride", 0, 256) or item.itemsize * width
        if count and (
            start + stride * (count - 1) + item.itemsize * width > len(data) or stride < item.itemsize * width
        ):
            raise self._wrong(f"has an accessor {index} beyond the end of its data: it is damaged or cut off")
        if not count:
            return np.empty((0, width), item)
        raw = np.ndarray((count, width), item, data, start, (stride, item.itemsize))
        return raw.copy()

    def _sparse(self, rows: NDArray[Any], sparse: Mapping[str, Any], item: np.dtype[Any], index: Any) -> NDArray[Any]:
        count = self._whole(sparse, "count")
        where, what = sparse.get("indices"), sparse.get("values")
        if (
            not isinstance(where, dict)
            or not isinstance(what, dict)
            or where.get("componentType") not in (5121, 5123, 5125)
        ):
            raise self._wrong(f"has a sparse accessor {index} without indices or values: it is damaged")
        places = self._strided(where, np.dtype(_COMPONENTS[where["componentType"]]), count, 1, index).ravel()
        if count and int(places.max()) >= len(rows):
            raise self._wrong(f"has a sparse accessor {index} with an index beyond its end: it is damaged")
        rows[places] = self._strided(what, item, count, rows.shape[1], index)
        return rows


def write(scene: Scene) -> bytes:
    """A GLB file. The tree, its names, colours and instances stay; a mesh far from its origin gets a node of its own."""
    scene = scene.transformed(TO_GLTF)
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    materials: list[dict[str, Any]] = []
    meshes: list[dict[str, Any]] = []
    nodes: list[dict[str, Any]] = []
    known: dict[Color, int] = {}
    pieces: list[bytes] = []
    size = 0

    def store(values: NDArray[Any], target: int, **more: Any) -> int:
        nonlocal size
        data = values.tobytes()
        views.append({"buffer": 0, "byteOffset": size, "byteLength": len(data), "target": target})
        accessors.append({"bufferView": len(views) - 1, "count": len(values), **more})
        pieces.append(data + bytes(-len(data) % 4))
        size += len(pieces[-1])
        return len(accessors) - 1

    offsets: list[Points | None] = []
    for mesh in scene.meshes:
        one = welded(mesh)
        offset = local_origin(one)
        offsets.append(offset)
        points = (one.vertices if offset is None else one.vertices - offset).astype("<f4")
        position = store(
            points,
            34962,
            componentType=5126,
            type="VEC3",
            min=points.min(axis=0).tolist(),
            max=points.max(axis=0).tolist(),
        )
        narrow = len(points) < 0xFFFF
        primitives = []
        groups = [-1] if one.paint is None else np.unique(one.paint).tolist()
        for group in groups:
            faces = one.faces if one.paint is None else one.faces[one.paint == group]
            indices = faces.astype("<u2" if narrow else "<u4").reshape(-1)
            primitive: dict[str, Any] = {
                "attributes": {"POSITION": position},
                "indices": store(indices, 34963, componentType=5123 if narrow else 5125, type="SCALAR"),
            }
            if group >= 0:
                color = one.palette[group]
                if color not in known:
                    known[color] = len(materials)
                    materials.append(_material(color))
                primitive["material"] = known[color]
            primitives.append(primitive)
        meshes.append({"primitives": primitives, **({"name": one.name} if one.name else {})})

    def add(node: Node) -> int:
        entry: dict[str, Any] = {"name": node.name} if node.name else {}
        if not np.array_equal(node.matrix, IDENTITY):
            entry["matrix"] = [float(value) for value in node.matrix.T.ravel()]
        children = []
        if node.mesh is not None:
            offset = offsets[node.mesh]
            if offset is None:
                entry["mesh"] = node.mesh
            else:
                nodes.append({"mesh": node.mesh, "translation": [float(value) for value in offset]})
                children.append(len(nodes) - 1)
        children += [add(child) for child in node.children]
        if children:
            entry["children"] = children
        nodes.append(entry)
        return len(nodes) - 1

    roots = [add(root) for root in scene.roots]
    description: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "boring.fleet"},
        "scene": 0,
        "scenes": [{"nodes": roots}],
        "nodes": nodes,
        "meshes": meshes,
        **({"materials": materials} if materials else {}),
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": size}],
    }
    text = json.dumps(description, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + size
    if total > 0xFFFFFFFF:
        raise InputError("The result would be larger than a GLB file can be (4 GiB): simplify it.", 422)
    return b"".join([
        b"glTF", (2).to_bytes(4, "little"), total.to_bytes(4, "little"),
        len(text).to_bytes(4, "little"), b"JSON", text, size.to_bytes(4, "little"), b"BIN\0", *pieces,
    ])  # fmt: skip


def _material(color: Color) -> dict[str, Any]:
    look = {"baseColorFactor": [round(one, 6) for one in color], "metallicFactor": 0.0, "roughnessFactor": 0.6}
    return {"pbrMetallicRoughness": look, **({"alphaMode": "BLEND"} if color[3] < 1 else {})}
