# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest file that is accepted can be converted: such files are, in a job with just those limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from conversion import capacity
from conversion.operation import Operation
from conversion.worker.pool import Limits, Pool

MIB = 1 << 20
Run = Callable[[Any], Any]


def test_defaults_take_what_they_promise(settings: Callable[..., Any]) -> None:
    made = settings()
    for form in ("stl", "obj", "ply", "glb"):
        assert capacity.largest(form, made.max_body, made.job_memory, made.job_seconds) == made.max_body, form


@pytest.mark.parametrize(
    ("job_memory", "job_seconds", "expected"),
    [(2048 * MIB, 60, 100 * MIB), (256 * MIB, 60, 192 * MIB // 12), (2048 * MIB, 1, 2_000_000), (1, 60, 1)],
)
def test_the_tightest_limit_counts(job_memory: int, job_seconds: float, expected: int) -> None:
    assert capacity.largest("stl", 100 * MIB, job_memory, job_seconds) == expected


def mesh(size: int) -> Any:
    """A bumpy plane of size x size squares, numbers of full length."""
    at = np.arange((size + 1) ** 2)
    points = np.stack([at % (size + 1) * 1.2345, at // (size + 1) * 1.31, (at * 7919) % 1000 * 0.0013], axis=1)
    corner = (np.arange(size)[:, None] * (size + 1) + np.arange(size)[None, :]).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + size + 1], 1),
            np.stack([corner + 1, corner + size + 2, corner + size + 1], 1),
        ]
    )
    return trimesh.Trimesh(points, triangles, process=False)


@pytest.mark.parametrize("form", ["stl", "obj", "ply", "glb"])
def test_the_largest_file_is_converted_within_the_memory_of_a_job(
    run: Run, plain_options: Any, tmp_path: Path, form: str
) -> None:
    memory = 112 * MIB
    wanted = capacity.largest(form, 100 * MIB, memory, 60)
    small = mesh(50).export(file_type=form)
    size = int(50 * (wanted / len(small)) ** 0.5 * 0.92)  # text grows a little faster than its triangles
    data = mesh(size).export(file_type=form)
    data = data.encode() if isinstance(data, str) else data
    assert 0.7 * wanted < len(data) <= wanted

    async def story() -> None:
        pool = Pool(Limits(25, memory, 256 * MIB))
        try:
            for output in ("obj", "glb"):
                directory = tmp_path / output
                directory.mkdir()
                source = directory / f"source.{form}"
                source.write_bytes(data)
                operation = Operation("x", form, output, 1.0, "k", len(data), options=plain_options(form, output))
                outcome = await pool.convert(operation, directory, source)
                assert outcome.result is not None, outcome
        finally:
            await pool.close()

    run(story())
