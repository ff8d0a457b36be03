# SPDX-License-Identifier: GPL-3.0-or-later
"""OFF, the text form: vertices and polygons."""

from __future__ import annotations

import re

import numpy as np

from ..errors import InputError
from .polygons import triangulate
from .scene import Scene
from .text import Lines, plain, table


def read(data: bytes) -> Scene:
    """Triangles in the file's own unit."""
    text = re.sub(rb"#[^\n]*", b"", plain(data))
    head = re.match(
        rb"\s*((?:ST)?(?:C)?(?:N)?(?:4)?(?:n)?OFF)?[ \t]*(BINARY)?\s*(\d+)[ \t]+(\d+)(?:[ \t]+-?\d+)?[ \t]*(?:\n|$)",
        text,
    )
    if head is None or head[2]:
        raise InputError("The OFF file is not of the text form, which begins with OFF and three counts.", 422)
    if head[1] and (b"4" in head[1] or b"n" in head[1]):
        raise InputError("The OFF file has vertices of more than three dimensions.", 422)
    vertex_count, face_count = int(head[3]), int(head[4])
    if not face_count:
        raise InputError("The OFF file holds points but no faces: there is no surface to convert.", 422)
    lines = Lines(re.sub(rb"^[ \t]+$", b"", text[head.end() :], flags=re.MULTILINE) + b"\n")
    if len(lines) < vertex_count + face_count:
        raise InputError(
            f"The OFF file is cut off: it says {vertex_count} vertices and {face_count} faces and has {len(lines)} lines.",
            422,
        )
    index = np.arange(len(lines))
    values, counts = lines.numbers(index < vertex_count, 0, float, "OFF file's vertex")
    vertices = table(values, counts, 3, "OFF file's vertex")
    is_face = (index >= vertex_count) & (index < vertex_count + face_count)
    numbers, widths = lines.numbers(is_face, 0, float, "OFF file's face")
    firsts = np.cumsum(widths) - widths
    sizes = numbers[firsts].astype(np.int64)
    if ((sizes < 1) | (sizes >= widths)).any():
        number = int(np.argmax((sizes < 1) | (sizes >= widths))) + 1
        raise InputError(f"The OFF file's face {number} has fewer corners than it says.", 422)
    within = np.arange(len(numbers)) - np.repeat(firsts, widths)
    corners = numbers[(within >= 1) & (within <= np.repeat(sizes, widths))].astype(np.int64)
    faces, warnings = triangulate(vertices, corners, sizes, "OFF file's face")
    if (widths > sizes + 1).any() or counts.max() > 3:
        warnings.append("The OFF file's colours and normals are not carried over.")
    return Scene.single(vertices, faces, tuple(warnings))
