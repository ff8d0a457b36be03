# SPDX-License-Identifier: GPL-3.0-or-later
"""The API served over an in-process queue, and an engine that is a few lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from conversion.api.app import Api, application
from conversion.cache import MemoryCache
from conversion.jobs.memory import MemoryJobs
from conversion.service import Lifecycle, Metrics, probes
from conversion.settings import Settings


@asynccontextmanager
async def serving(settings: Settings, jobs: MemoryJobs) -> AsyncIterator[tuple[Any, Lifecycle]]:
    metrics = Metrics("conversion-api", settings.version)
    api = Api(jobs, MemoryCache(1 << 20), settings, metrics)
    life = Lifecycle(jobs.problem, lambda: api.active, lame_duck=settings.lame_duck)

    async def refresh(_: Metrics) -> None:
        return None

    app = application(api, life, probes("conversion-api", settings, life, metrics, refresh))
    async with TestClient(TestServer(app)) as client:
        yield client, life


async def convert_one(jobs: MemoryJobs, tmp_path: Path, result: bytes | None) -> None:
    job = await jobs.take(5)
    assert job is not None
    assert await job.start("test/1")
    if result is None:
        await job.fail("It is broken.")
    else:
        (tmp_path / "result").write_bytes(result)
        await job.complete(tmp_path / "result")
