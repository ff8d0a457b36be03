# SPDX-License-Identifier: GPL-3.0-or-later
"""The API over an in-process queue, with an engine that is a few lines of the test's."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from conversion.errors import UnavailableError
from conversion.jobs.memory import MemoryJobs
from conversion.settings import Settings
from tests.unit.engine.api_stack import convert_one, serving

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


def test_list_is_newest_first_and_paged(run: Run, settings: Make) -> None:
    async def story() -> None:
        async with serving(settings(WAIT=0), MemoryJobs()) as (client, _):
            ids = [
                (await (await client.post("/file/conversion/stl/obj", data=b"part %d" % i)).json())["id"]
                for i in range(5)
            ]
            first = await (await client.get("/async/operations?limit=3")).json()
            assert [one["id"] for one in first["items"]] == ids[:1:-1]
            rest = await (await client.get(f"/async/operations?limit=3&page_token={first['next_page']}")).json()
            assert [one["id"] for one in rest["items"]] == ids[1::-1]
            assert rest["next_page"] is None
            for wrong in (
                "limit=0",
                "limit=101",
                "limit=x",
                "limit=-1",
                "limit=%C2%B2",
                "page_token=x",
                "other=1",
                "limit=1&limit=2",
            ):
                answer = await client.get(f"/async/operations?{wrong}")
                assert answer.status == 400, wrong
                assert (await answer.json())["error"].endswith(".")

    run(story())


def test_cancel_and_forget(run: Run, settings: Make, tmp_path: Path) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        async with serving(settings(WAIT=0), jobs) as (client, _):
            made = await (await client.post("/file/conversion/stl/obj", data=b"part")).json()
            path = f"/async/operations/{made['id']}"
            answer = await client.delete(path)
            assert (answer.status, (await answer.json())["status"]) == (200, "cancelled")
            assert (await (await client.get(path)).json())["status"] == "cancelled"
            assert (await client.get(f"{path}/output")).status == 409
            job = await jobs.take(1)
            assert job is not None
            assert not await job.start("test/1"), "no engine works on what was cancelled"
            assert (await client.delete(path)).status == 204
            assert (await client.get(path)).status == 404
            assert (await client.delete(path)).status == 404
            assert (await (await client.get("/async/operations")).json())["items"] == []

    run(story())


def test_same_content_is_one_conversion_and_each_owner_lets_go_alone(run: Run, settings: Make, tmp_path: Path) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        async with serving(settings(WAIT=0), jobs) as (client, _):
            first, second, third = [
                await (await client.post("/file/conversion/stl/obj", data=b"part")).json() for _ in range(3)
            ]
            assert await jobs.waiting() == {"cpu": 1}
            answer = await client.delete(f"/async/operations/{first['id']}")
            assert (await answer.json())["status"] == "cancelled"
            await client.delete(f"/async/operations/{third['id']}")
            await convert_one(jobs, tmp_path, b"v 0 0 0")
            seen = [
                (await (await client.get(f"/async/operations/{one['id']}")).json())["status"]
                for one in (first, second, third)
            ]
            assert seen == ["cancelled", "completed", "cancelled"]
            assert (await client.get(f"/async/operations/{first['id']}/output")).status == 409
            assert (await client.delete(f"/async/operations/{first['id']}")).status == 204
            assert (await client.get(f"/async/operations/{first['id']}")).status == 404
            output = await client.get(f"/async/operations/{second['id']}/output")
            assert await output.read() == b"v 0 0 0", "the other's result went with it"
            listed = (await (await client.get("/async/operations")).json())["items"]
            assert [one["id"] for one in listed] == [third["id"], second["id"]]
            again = await (await client.post("/file/conversion/stl/obj", data=b"part")).json()
            assert await jobs.waiting() == {"cpu": 1}, "what is over is not followed"
            assert again["id"] not in (first["id"], second["id"], third["id"])

    run(story())


def test_several_at_once_do_not_overfill_the_queue(run: Run, settings: Make) -> None:
    async def story() -> None:
        async with serving(settings(WAIT=0, MAX_QUEUED=1), MemoryJobs(max_queued=1)) as (client, _):
            answers = await asyncio.gather(
                *(client.post("/file/conversion/stl/obj", data=f"part {number}".encode()) for number in range(3))
            )
            assert sorted(answer.status for answer in answers) == [202, 429, 429]

    run(story())


def test_a_job_that_is_deleted_while_it_waits_is_not_taken(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        async with serving(settings(WAIT=0), jobs) as (client, _):
            answer = await client.post("/file/conversion/stl/obj", data=b"part")
            path = f"/async/operations/{(await answer.json())['id']}"
            for _again in range(2):  # the first cancels it, the second deletes it
                await client.delete(path)
            assert (await client.get(path)).status == 404
            assert await jobs.take(5) is None

    run(story())


def test_a_deep_queue_is_429_with_a_time(run: Run, settings: Make) -> None:
    async def story() -> None:
        async with serving(settings(WAIT=0, MAX_QUEUED=2), MemoryJobs(max_queued=2)) as (client, _):
            answers = [await client.post("/file/conversion/stl/obj", data=b"part %d" % i) for i in range(3)]
            assert [answer.status for answer in answers] == [202, 202, 429]
            assert int(answers[2].headers["Retry-After"]) > 0

    run(story())


def test_request_id_is_in_every_answer(run: Run, settings: Make, caplog: Any) -> None:
    async def story() -> None:
        async with serving(settings(), MemoryJobs()) as (client, _):
            for path in ("/healthz", "/nowhere", "/async/operations", "/openapi.json"):
                assert (await client.get(path, headers={"X-Request-ID": "abc-1"})).headers["X-Request-ID"] == "abc-1"
                made = (await client.get(path)).headers["X-Request-ID"]
                assert len(made) == 16
                given = {"X-Request-ID": "x" * 65}
                assert (await client.get(path, headers=given)).headers["X-Request-ID"] != given["X-Request-ID"]

    run(story())


def test_request_id_is_in_every_log_line(capsys: Any) -> None:
    import logging

    from conversion.service import REQUEST_ID, log_with_request_id

    before = logging.getLogger().handlers[:]
    log_with_request_id()
    try:
        token = REQUEST_ID.set("abc-1")
        logging.getLogger("some").warning("one")
        REQUEST_ID.reset(token)
        logging.getLogger("some").warning("two")
    finally:
        logging.getLogger().handlers[:] = before
    assert capsys.readouterr().err == "WARNING some [abc-1]: one\nWARNING some: two\n"


def test_a_proxy_that_is_trusted_names_the_client(run: Run, settings: Make) -> None:
    """Two clients behind one load balancer each have their share; a client alone cannot name another."""

    async def story() -> None:
        gate = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b"part"
            await gate.wait()

        for trusted, expected in (("127.0.0.0/8", 202), ("", 429)):
            gate.clear()
            made = settings(UPLOADS_PER_ADDRESS=1, TRUSTED_PROXIES=trusted)
            async with serving(made, MemoryJobs()) as (client, _):
                first = asyncio.create_task(
                    client.post("/file/conversion/stl/obj", data=slowly(), headers={"X-Forwarded-For": "192.0.2.1"})
                )
                await asyncio.sleep(0.1)
                other = await client.post(
                    "/file/conversion/stl/obj", data=b"p", headers={"X-Forwarded-For": "192.0.2.2"}
                )
                assert other.status == expected
                same = await client.post(
                    "/file/conversion/stl/obj", data=b"p", headers={"X-Forwarded-For": "192.0.2.2, 192.0.2.1"}
                )
                assert same.status == 429
                gate.set()
                await first

    run(story())
