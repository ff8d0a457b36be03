# SPDX-License-Identifier: GPL-3.0-or-later
"""The API over an in-process queue, with an engine that is a few lines of the test's."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestClient, TestServer

from conversion.api.app import Api, application
from conversion.cache import MemoryCache
from conversion.errors import UnavailableError
from conversion.jobs.memory import MemoryJobs
from conversion.service import Lifecycle, Metrics, probes
from conversion.settings import Settings

Run = Callable[[Any], Any]
Make = Callable[..., Settings]


class Away(MemoryJobs):
    """A queue that cannot be reached."""

    async def submit(self, operation: Any, source: Any) -> None:
        raise UnavailableError("NATS did not take the job: no answer in time; try again in a minute.")

    async def problem(self) -> str | None:
        return "NATS at nats://nowhere cannot be used: no answer in time."


class Broken(MemoryJobs):
    """A queue with a fault in its program."""

    async def submit(self, operation: Any, source: Any) -> None:
        raise RuntimeError("secret detail")


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


def test_accepted_then_completed(run: Run, settings: Make, tmp_path: Path) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        async with serving(settings(), jobs) as (client, _):
            answer = await client.post("/file/conversion/STL/Obj", data=b"part")
            assert answer.status == 202
            body = await answer.json()
            assert (body["status"], body["src_format"], body["output_format"]) == ("queued", "stl", "obj")
            await convert_one(jobs, tmp_path, b"v 0 0 0")
            body = await (await client.get(f"/async/operations/{body['id']}")).json()
            assert body["status"] == "completed"
            assert base64.b64decode(body["outputs"]["output.obj"]) == b"v 0 0 0"
            output = await client.get(body["output_url"])
            assert (await output.read(), output.content_type) == (b"v 0 0 0", "model/obj")

    run(story())


def test_failed_conversion_is_422_at_once_and_a_record_later(run: Run, settings: Make, tmp_path: Path) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        async with serving(settings(WAIT=5), jobs) as (client, _):
            engine = asyncio.create_task(convert_one(jobs, tmp_path, None))
            answer = await client.post("/file/conversion/stl/obj", data=b"part")
            await engine
            body = await answer.json()
            assert (answer.status, body["status"], body["error"]) == (422, "failed", "It is broken.")
            assert (await client.get(f"/async/operations/{body['id']}")).status == 200
            assert (await client.get(f"/async/operations/{body['id']}/output")).status == 409

    run(story())


def test_queue_away_is_503_with_a_time(run: Run, settings: Make) -> None:
    async def story() -> None:
        async with serving(settings(), Away()) as (client, _):
            answer = await client.post("/file/conversion/stl/obj", data=b"part")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert "NATS" in (await answer.json())["error"]
            assert (await client.get("/readyz")).status == 503
            assert (await client.get("/healthz")).status == 200

    run(story())


def test_our_own_fault_is_told_without_detail(run: Run, settings: Make) -> None:
    async def story() -> None:
        async with serving(settings(), Broken()) as (client, _):
            answer = await client.post("/file/conversion/stl/obj", data=b"part")
            assert answer.status == 500
            assert "secret detail" not in await answer.text()
            assert "Traceback" not in await answer.text()

    run(story())


def test_size_limit_counts_what_arrives(run: Run, settings: Make) -> None:
    async def story() -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield bytes(1000)

        async with serving(settings(MAX_BODY=10_000, INLINE_MAX=10), MemoryJobs()) as (client, _):
            for data in (bytes(10_001), pieces()):
                answer = await client.post("/file/conversion/stl/obj", data=data)
                assert answer.status == 413
            assert (await client.post("/file/conversion/stl/obj", data=bytes(10_000))).status == 202

    run(story())


def test_form_without_a_file(run: Run, settings: Make) -> None:
    async def story() -> None:
        async with serving(settings(), MemoryJobs()) as (client, _):
            form = aiohttp.FormData()
            form.add_field("file", b"part", filename="part.stl")
            assert (await client.post("/file/conversion/stl/obj", data=form)).status == 202
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            for body in (b"--x--\r\n", b"nothing", b""):
                answer = await client.post("/file/conversion/stl/obj", data=body, headers=headers)
                assert answer.status == 400, body
                assert (await answer.json())["error"]

    run(story())


def test_draining(run: Run, settings: Make) -> None:
    async def story() -> None:
        async with serving(settings(LAME_DUCK=0.3), MemoryJobs()) as (client, life):
            assert (await client.post("/drain", headers={"X-Forwarded-For": "10.0.0.1"})).status == 403
            assert not life.draining
            first = await client.post("/drain")
            assert (first.status, life.draining) == (503, True)  # the balancer has not seen it yet
            assert (await client.get("/readyz")).status == 503
            assert (await client.post("/file/conversion/stl/obj", data=b"part")).status == 202  # it serves on
            assert (await client.post("/drain")).status == 200
            assert (await client.get("/healthz")).status == 200

    run(story())


def test_drain_only_from_allowed_networks(run: Run, settings: Make) -> None:
    async def story() -> None:
        async with serving(settings(DRAIN_ALLOW="10.0.0.0/8"), MemoryJobs()) as (client, life):
            assert (await client.post("/drain")).status == 403
            assert not life.draining

    run(story())


def test_metrics_and_version(run: Run, settings: Make) -> None:
    async def story() -> None:
        async with serving(settings(), MemoryJobs()) as (client, _):
            await client.post("/file/conversion/stl/obj", data=b"")
            text = await (await client.get("/metrics")).text()
            assert 'end="refused",output_format="obj",src_format="stl"} 1.0' in text
            assert (await (await client.get("/version")).json())["name"] == "conversion-api"

    run(story())


def test_too_many_uploads_are_told(run: Run, settings: Make) -> None:
    """Counted while a file arrives, not while its result is waited for."""

    async def story() -> None:
        gate = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b"part"
            await gate.wait()

        async with serving(settings(MAX_UPLOADS=1), MemoryJobs()) as (client, _):
            first = asyncio.create_task(client.post("/file/conversion/stl/obj", data=slowly()))
            await asyncio.sleep(0.1)
            assert (await client.post("/file/conversion/stl/obj", data=b"part")).status == 429
            gate.set()
            assert (await first).status == 202
            assert (await client.post("/file/conversion/stl/obj", data=b"part")).status == 202

    run(story())
