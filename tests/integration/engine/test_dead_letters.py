# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that were tried as often as a job is: kept, looked at, sent again. And how far a job is."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
from conversion_stack import (
    PASSWORD,
    ROOT,
    SAMPLES,
    TORUS,
    Server,
    Stack,
    background,
    eventually,
    operation,
    post,
    request,
    result,
)

from conversion.checks import triangles
from conversion.errors import UnavailableError
from conversion.ids import new_id
from conversion.jobs.nats import NatsJobs
from conversion.operation import Operation

CRASHED = "The file made the converter crash 2 times"


def dead(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """conversion-dead, with the settings in a file as an engine has them."""
    settings = stack.directory / "engine.env"
    settings.write_text(
        f'CONVERSION_NATS_URL="nats://127.0.0.1:{stack.nats.port}"\nCONVERSION_NATS_USER="conversion"\n'
        f'CONVERSION_NATS_PASSWORD="{PASSWORD}"\n'
    )
    return subprocess.run(
        [sys.executable, "-m", "conversion.dead", "--env-file", str(settings), *arguments],
        capture_output=True, text=True, timeout=90, check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "engine" / "src")},
    )  # fmt: skip


def letters(stack: Stack) -> list[dict[str, Any]]:
    return list(json.loads(dead(stack, "list", "--json").stdout))


@contextlib.asynccontextmanager
async def queue(stack: Stack) -> AsyncIterator[NatsJobs]:
    """The queue as an API or an engine has it."""
    jobs = NatsJobs(f"nats://127.0.0.1:{stack.nats.port}", user="conversion", password=PASSWORD)
    await jobs.start()
    try:
        async with asyncio.timeout(30):
            while await jobs.problem():
                await asyncio.sleep(0.05)
        yield jobs
    finally:
        await jobs.close()


def settings_of_streams(stack: Stack) -> dict[str, tuple[float, int]]:
    """How long streams keep their messages, and how many, by name."""

    async def ask() -> dict[str, tuple[float, int]]:
        client = await nats.connect(f"nats://127.0.0.1:{stack.nats.port}", user="conversion", password=PASSWORD)
        found = await client.jetstream().streams_info()
        await client.close()
        return {str(one.config.name): (float(one.config.max_age or 0), int(one.config.max_msgs or 0)) for one in found}

    return asyncio.run(ask())


def crash(engine: Server, times: int) -> None:
    """Kill the processes of jobs as a fault in them would."""
    zygote, killed = engine.children()[0], set[int]()
    for _ in range(times):
        job = eventually(lambda: [pid for pid in engine.children() if pid != zygote and pid not in killed])[0]
        killed.add(job)
        os.kill(job, signal.SIGSEGV)


def poisoned(api: Server, engine: Server, options: str = "deflection=0.03&angle=5") -> dict[str, Any]:
    """A job that crashed twice: the answer to its client."""
    sent = background(lambda: post(api, f"step/stl?{options}", TORUS.read_bytes()))
    crash(engine, 2)
    status, answer = sent.result(timeout=120)
    assert status == 422
    assert answer["error"].startswith(CRASHED)
    return answer


def test_a_poison_file_is_kept_shown_and_sent_again(stack: Stack, tmp_path: Path) -> None:
    api, engine = stack.api(), stack.engine()
    assert letters(stack) == []
    answer = poisoned(api, engine)
    kept = letters(stack)
    assert [one["id"] for one in kept] == [answer["id"]]
    assert kept[0] | {"engine": None, "died_at": None, "created_at": None, "request_id": ""} == {
        "id": answer["id"], "why": "its process ended with SIGSEGV", "attempts": 2, "crashes": 2, "source_kept": True,
        "src_format": "step", "output_format": "stl", "source_bytes": TORUS.stat().st_size, "owner": "",
        "options": kept[0]["options"], "engine": None, "died_at": None, "created_at": None, "request_id": "",
    }  # fmt: skip
    assert kept[0]["options"]["deflection"] == 0.03
    assert "step to stl" in dead(stack, "list").stdout
    assert b"conversion_dead_letters 1.0" in engine.get("/metrics")[1]

    source = tmp_path / "poison.step"
    shown = dead(stack, "show", answer["id"], "--source", str(source))
    assert json.loads(shown.stdout)["id"] == answer["id"]
    assert source.read_bytes() == TORUS.read_bytes()

    stack.nats.kill()  # letters are on its disk
    stack.nats.start()
    eventually(lambda: api.ready and engine.ready)
    sent = dead(stack, "send", answer["id"])
    assert (sent.returncode, sent.stdout) == (0, f"{answer['id']} is queued again.\n"), sent.stderr
    done = eventually(lambda: (record := operation(api, answer["id"]))["status"] == "completed" and record, 150)
    assert "error" not in done
    status, body = api.get(done["output_url"])
    assert status == 200
    assert triangles(body, "stl") > 1000
    assert letters(stack) == []
    eventually(lambda: b"conversion_dead_letters 0.0" in engine.get("/metrics")[1])


def test_one_that_crashes_again_is_a_letter_again(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine()
    answer = poisoned(api, engine)
    assert dead(stack, "send", "--all").returncode == 0
    crash(engine, 2)
    again = eventually(lambda: (record := operation(api, answer["id"]))["status"] == "failed" and record)
    assert again["error"].startswith(CRASHED)
    assert [one["id"] for one in letters(stack)] == [answer["id"]]


def test_its_owner_s_deletion_and_dropping_remove_it(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine()
    first, second = (poisoned(api, engine, f"deflection={size}&angle=5") for size in (0.03, 0.031))
    assert request(api.port, "DELETE", f"/async/operations/{first['id']}")[0] == 204
    assert [one["id"] for one in letters(stack)] == [second["id"]]
    assert dead(stack, "drop", second["id"]).stdout == f"{second['id']} is dropped.\n"
    assert letters(stack) == []
    missing = dead(stack, "send", second["id"])
    assert (missing.returncode, missing.stderr) == (
        1,
        f"conversion-dead: There is no dead letter {second['id']}: see those that there are with 'list'.\n",
    )


def test_a_job_whose_engines_die_ends_after_the_stated_tries(stack: Stack) -> None:
    api, engine = stack.api(WAIT=0), stack.engine(ATTEMPTS=2, ACK_WAIT=1)
    made = post(api, "step/stl?deflection=0.003&angle=3", TORUS.read_bytes())[1]
    for _ in range(2):
        eventually(lambda: len(engine.children()) == 2)
        engine.kill()
        engine.start()
        eventually(lambda: engine.ready)
    record = eventually(lambda: (found := operation(api, made["id"]))["status"] == "failed" and found)
    assert record["error"] == "The conversion was begun 2 times and never came to an end."
    assert [(one["id"], one["attempts"], one["crashes"]) for one in letters(stack)] == [(made["id"], 3, 0)]


def test_a_message_that_is_no_job_stops_no_engine(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine()

    async def send() -> None:
        client = await nats.connect(f"nats://127.0.0.1:{stack.nats.port}", user="conversion", password=PASSWORD)
        for data in (b"no JSON", b"[1]", b'{"id": "x"}', b"\xff\xfe"):
            await client.jetstream().publish("conversion.jobs", data)
        await client.jetstream().publish("conversion.gpu_jobs", b"the first of its queue too")
        await client.close()

    asyncio.run(send())
    assert post(api, "obj/stl", (SAMPLES / "box.obj").read_bytes())[0] == 201
    kept = eventually(lambda: len(found := letters(stack)) == 5 and found)
    assert {one["id"] for one in kept} >= {"message-cpu-1", "message-gpu-1"}
    assert all(one["why"].startswith("It is no job: ") for one in kept)
    refused = dead(stack, "send", "--all")
    assert refused.returncode == 1
    assert "is no job that could be sent again: look at it, and drop it." in refused.stderr
    assert dead(stack, "drop", "--all").returncode == 0
    assert letters(stack) == []
    assert engine.ready


def test_a_letter_that_was_written_meanwhile_is_spared(stack: Stack) -> None:
    """One that is sent again may be dead again before the old letter is removed."""

    async def story() -> list[str]:
        async with queue(stack) as jobs:
            async with asyncio.timeout(30):
                await jobs.dead.keep_message("cpu-1", b"old", "old", 1)
                old = await jobs.js.get_last_msg("CONVERSION_DEAD", "conversion.dead.message-cpu-1.letter", direct=True)
                await jobs.dead.keep_message("cpu-1", b"new", "new", 1)
                await jobs.dead.drop("message-cpu-1", before=(old.seq or 0) + 1)
                left = [one.why for one in await jobs.dead.all()]
                await jobs.dead.drop("message-cpu-1")
                return [*left, str(await jobs.dead.count())]

    assert asyncio.run(story()) == ["new", "0"]


def test_looking_changes_no_stream(stack: Stack) -> None:
    """The settings of the service are not known to it: those of the streams stay as the service made them."""
    refused = dead(stack, "list")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith("it has no queue yet, an API or an engine makes it.")
    stack.api(RETENTION=777, DEAD_RETENTION=888, MAX_QUEUED=99)
    before = settings_of_streams(stack)
    assert {777.0, 888.0} < {age for age, _ in before.values()}
    assert letters(stack) == []
    assert dead(stack, "drop", "--all").returncode == 0
    assert settings_of_streams(stack) == before


def test_a_letter_goes_before_the_record(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """If NATS goes away in the middle of a deletion, its owner can still ask for it again."""

    async def story() -> tuple[list[str], bool, list[str]]:
        async with queue(stack) as jobs:
            now = jobs.clock()
            one = Operation(
                id=new_id(now),
                src_format="obj",
                output_format="stl",
                created_at=now,
                cache_key="conversion:7",
                source_bytes=1,
            )
            await jobs.submit(one, io.BytesIO(b"x"))
            await jobs.dead.keep(one, "it died", 2)
            await jobs.change(one.id, lambda old: old.failed(now, "it died"))

            async def away(letter_id: str, before: int | None = None) -> None:
                raise UnavailableError("NATS did not drop the letter.")

            with monkeypatch.context() as broken:
                broken.setattr(jobs.dead, "drop", away)
                with pytest.raises(UnavailableError):
                    await jobs.forget(one)
            kept = await jobs.operation(one.id) is not None
            await jobs.forget(one)
            gone = await jobs.operation(one.id) is None
            return [str(kept)], gone, [letter.id for letter in await jobs.dead.all()]

    assert asyncio.run(story()) == (["True"], True, [])


def test_a_job_that_its_owner_cancelled_leaves_no_letter(stack: Stack) -> None:
    async def story() -> int:
        async with queue(stack) as jobs:
            now = jobs.clock()
            one = Operation(
                id=new_id(now),
                src_format="obj",
                output_format="stl",
                created_at=now,
                cache_key="conversion:8",
                source_bytes=1,
            )
            await jobs.submit(one, io.BytesIO(b"x"))
            job = await jobs.take(5)
            assert job is not None and await job.start("engine")
            await jobs.cancel(one.id)
            await job.bury("It failed.", "it died")
            return await jobs.dead.count()

    assert asyncio.run(story()) == 0


def test_a_queue_that_is_away_is_said(stack: Stack) -> None:
    stack.nats.kill()
    refused = dead(stack, "list")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines()[-1].startswith("conversion-dead: NATS at nats://127.0.0.1:")
    assert PASSWORD not in refused.stderr
    plain = subprocess.run(
        [sys.executable, "-m", "conversion.dead", "list"],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "engine" / "src")},
    )  # fmt: skip
    assert plain.stderr.startswith("conversion-dead: CONVERSION_NATS_URL is not set")


def test_a_long_job_says_how_far_it_is(stack: Stack) -> None:
    api, _ = stack.api(WAIT=0), stack.engine(JOB_SECONDS=120)
    made = post(api, "step/stl?deflection=0.01&angle=4", TORUS.read_bytes())[1]
    assert made["progress"] == 0
    seen = eventually(lambda: (share := operation(api, made["id"])["progress"]) > 0 and share)
    assert 0 < seen < 1
    done = eventually(lambda: (record := operation(api, made["id"]))["status"] == "completed" and record, 150)
    assert done["progress"] == 1.0
    body = result(done) if done["outputs"] else api.get(done["output_url"])[1]
    assert triangles(body, "stl") > 1000
