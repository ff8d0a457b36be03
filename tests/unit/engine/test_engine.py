# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's loop over an in-process queue and a converter that does as it is told."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversion.cache import MemoryCache
from conversion.errors import UnavailableError
from conversion.jobs.memory import MemoryJob, MemoryJobs
from conversion.operation import Operation, Status
from conversion.service import Metrics
from conversion.settings import Settings
from conversion.worker import engine as engine_module
from conversion.worker import zygote
from conversion.worker.engine import Engine
from conversion.worker.pool import Outcome

Run = Callable[[Any], Any]
Make = Callable[..., Settings]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits here."""
    monkeypatch.setattr(engine_module, "OUR_FAULT_SECONDS", 0.02)
    monkeypatch.setattr(engine_module, "PROGRESS_SECONDS", 0.02)


class Converter:
    """Gives the outcomes it was made with, one a call; a number means: take that many seconds."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    @staticmethod
    def progress(operation_id: str) -> float:
        return 0.5

    async def convert(self, operation: Operation, directory: Path, source: Path) -> Outcome:
        self.calls += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, int | float):
            await asyncio.sleep(outcome)
            outcome = b"late"
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, bytes):
            target = directory / operation.output_name
            target.write_bytes(source.read_bytes() + outcome)
            return Outcome(result=target)
        return outcome  # type: ignore[no-any-return]


def operation(name: str = "one", **changes: Any) -> Operation:
    return Operation(name, "stl", "obj", 1.0, f"conversion:1:{name}", 4, **changes)


async def worked(settings: Settings, converter: Converter, jobs: MemoryJobs, names: list[str]) -> dict[str, Operation]:
    """Run an engine until all operations are final; then it drains."""
    engine = Engine(jobs, MemoryCache(1 << 20), converter, settings, Metrics("engine", "1"))  # type: ignore[arg-type]
    running = asyncio.create_task(engine.run())
    done = {name: await jobs.wait(name, 10) for name in names}
    engine.drain()
    await running
    assert engine.active == 0
    return {name: record for name, record in done.items() if record is not None}


def submit(jobs: MemoryJobs, *names: str) -> Any:
    async def all_of_them() -> None:
        for name in names:
            await jobs.submit(operation(name), io.BytesIO(b"part"))

    return all_of_them()


def test_converts(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        await submit(jobs, "one", "two")
        done = await worked(settings(WORKERS=2), Converter(b"-1", b"-2"), jobs, ["one", "two"])
        assert {record.status for record in done.values()} == {Status.COMPLETED}
        results = {b"".join([piece async for piece in jobs.output(record)]) for record in done.values()}
        assert results == {b"part-1", b"part-2"}

    run(story())


def test_error_of_the_file_is_kept(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        await submit(jobs, "one")
        done = await worked(settings(), Converter(Outcome(error="It is broken.")), jobs, ["one"])
        assert (done["one"].status, done["one"].error) == (Status.FAILED, "It is broken.")

    run(story())


def test_one_crash_is_tried_again(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs, converter = MemoryJobs(), Converter(Outcome(crash="SIGSEGV"), b"-2")
        await submit(jobs, "one")
        done = await worked(settings(), converter, jobs, ["one"])
        assert (done["one"].status, converter.calls) == (Status.COMPLETED, 2)

    run(story())


def test_two_crashes_are_the_end(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs, converter = MemoryJobs(), Converter(Outcome(crash="SIGSEGV"), Outcome(crash="SIGSEGV"))
        await submit(jobs, "one")
        done = await worked(settings(), converter, jobs, ["one"])
        assert (done["one"].status, converter.calls) == (Status.FAILED, 2)
        assert "crash 2 times" in str(done["one"].error)

    run(story())


def test_trouble_of_ours_is_not_the_job_s_end(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        converter = Converter(UnavailableError("The disk is full."), RuntimeError("a fault of ours"), b"-3")
        await submit(jobs, "one")
        done = await worked(settings(), converter, jobs, ["one"])
        assert (done["one"].status, converter.calls) == (Status.COMPLETED, 3)

    run(story())


def test_job_that_never_ends_is_given_up(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        converter = Converter(*[RuntimeError("again")] * 9)
        await submit(jobs, "one")
        done = await worked(settings(ATTEMPTS=3), converter, jobs, ["one"])
        assert (done["one"].status, converter.calls) == (Status.FAILED, 3)
        assert "begun 3 times" in str(done["one"].error)

    run(story())


def test_a_fault_of_ours_is_waited_out_longer_each_time(run: Run, settings: Make, monkeypatch: Any) -> None:
    async def story() -> None:
        jobs, pauses = MemoryJobs(), []
        real = MemoryJob.give_back

        async def give_back(self: MemoryJob, after: float = 0) -> None:
            pauses.append(after)
            await real(self, after)

        monkeypatch.setattr(MemoryJob, "give_back", give_back)
        converter = Converter(UnavailableError("The disk is full."), RuntimeError("a fault of ours"), b"-3")
        await submit(jobs, "one")
        await worked(settings(), converter, jobs, ["one"])
        assert pauses == [0.02, 0.04]

    run(story())


def test_how_far_a_job_is_stands_in_its_record(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs = MemoryJobs()
        await submit(jobs, "one")
        engine = Engine(jobs, MemoryCache(1 << 20), Converter(1), settings(), Metrics("engine", "1"))  # type: ignore[arg-type]
        running = asyncio.create_task(engine.run())
        seen = set[float]()
        while (record := await jobs.operation("one")) is not None and not record.final:
            seen.add(record.progress)
            await asyncio.sleep(0.01)
        assert record is not None
        assert (seen, record.progress) == ({0.0, 0.5}, 1.0)
        engine.drain()
        await running

    run(story())


def test_what_a_job_may_say_of_how_far_it_is() -> None:
    assert [zygote.progress(line) for line in (b"0.30", b"1.00", b"1.50")] == [0.3, 1.0, 1.0]
    assert {zygote.progress(line) for line in (b"", b"nan", b"2.00", b"-0.1", b'{"a": 1}', b"0.3" * 99)} == {None}


def test_a_job_that_talks_without_end_is_heard_to_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    hear, outcome = os.pipe()
    one = zygote.Running("a-1", hear, None)
    for _ in range(200):
        os.write(outcome, b"0.10\n" * 10)
        assert zygote.Zygote._hear(one)
    os.write(outcome, b'{"warnings": []}')
    os.close(outcome)
    while zygote.Zygote._hear(one):
        pass
    os.close(hear)
    assert one.said == b'{"warnings": []}'
    assert len(capsys.readouterr().out.splitlines()) == zygote.PROGRESS_MAX


def test_same_content_is_converted_once(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs, converter = MemoryJobs(), Converter(b"-1")
        await submit(jobs, "one")
        engine = Engine(jobs, MemoryCache(1 << 20), converter, settings(), Metrics("engine", "1"))  # type: ignore[arg-type]
        running = asyncio.create_task(engine.run())
        await jobs.wait("one", 10)
        await jobs.submit(Operation("two", "stl", "obj", 1.0, "conversion:1:one", 4), io.BytesIO(b"part"))
        second = await jobs.wait("two", 10)
        assert second is not None
        assert (second.status, second.cached, converter.calls) == (Status.COMPLETED, True, 1)
        engine.drain()
        await running

    run(story())


def test_drain_finishes_what_is_in_hand(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs, converter = MemoryJobs(), Converter(0.5)
        await submit(jobs, "one", "two")
        engine = Engine(jobs, MemoryCache(1 << 20), converter, settings(WORKERS=1), Metrics("engine", "1"))  # type: ignore[arg-type]
        running = asyncio.create_task(engine.run())
        while engine.active == 0:
            await asyncio.sleep(0.01)
        engine.drain()
        await asyncio.wait_for(running, 5)
        first, second = await jobs.operation("one"), await jobs.operation("two")
        assert first is not None
        assert second is not None
        assert (first.status, second.status) == (Status.COMPLETED, Status.QUEUED)
        assert await jobs.waiting() == {"cpu": 1}

    run(story())


def test_cut_off_job_goes_back(run: Run, settings: Make) -> None:
    async def story() -> None:
        jobs, converter = MemoryJobs(), Converter(60)
        await submit(jobs, "one")
        engine = Engine(jobs, MemoryCache(1 << 20), converter, settings(WORKERS=1), Metrics("engine", "1"))  # type: ignore[arg-type]
        running = asyncio.create_task(engine.run())
        while converter.calls == 0:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        again = await jobs.take(1)
        assert again is not None
        assert (again.operation.id, again.attempt) == ("one", 2)

    run(story())
