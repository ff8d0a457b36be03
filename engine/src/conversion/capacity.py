# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest file that is taken of each format: so large that a job's memory and time are enough for it.

Measured with default options on one busy core of 2026 and rounded to the safe side: bytes of memory, and bytes a second, by
source. Most of the memory goes into triangles, of which a byte of a dense binary format is worth more. Exact surfaces have no
such number: a few of their bytes can become any number of triangles, and then the job ends with that reason.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Memory per byte, and bytes a second, by format; `OTHER` for the rest.
COSTS: Mapping[str, tuple[float, float]] = {
    "stl": (12, 2e6),
    "obj": (10, 2e6),
    "ply": (19, 2e6),
    "glb": (19, 2e6),
}
OTHER = (20.0, 1e6)
#: Memory that a job needs whatever its file is.
BASE = 64 << 20


def largest(src_format: str, max_body: int, job_memory: int, job_seconds: float) -> int:
    """Bytes that a source of `src_format` may have, `max_body` at most."""
    memory, speed = COSTS.get(src_format, OTHER)
    return max(1, min(max_body, int((job_memory - BASE) / memory), int(job_seconds * speed)))
