# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest file that is taken of each format: so large that a job's memory and time are enough for it.

Measured by benchmarks of the readers on one core of 2026, rounded to the safe side: bytes of memory, and seconds, that a byte of
source costs with default options. Text costs more than binary, and exact surfaces more than triangles.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Memory per byte, and bytes a second, by format; `OTHER` for the rest.
COSTS: Mapping[str, tuple[float, float]] = {
    "stl": (14, 4e6),
    "ply": (16, 4e6),
    "glb": (18, 4e6),
}
OTHER = (20.0, 1.5e6)
#: Memory that a job needs whatever its file is.
BASE = 64 << 20


def largest(src_format: str, max_body: int, job_memory: int, job_seconds: float) -> int:
    """Bytes that a source of `src_format` may have, `max_body` at most."""
    memory, speed = COSTS.get(src_format, OTHER)
    return max(1, min(max_body, int((job_memory - BASE) / memory), int(job_seconds * speed)))
