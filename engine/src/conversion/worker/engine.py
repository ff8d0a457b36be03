# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of the engine: take a job, convert it, close it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from pathlib import Path

from ..cache import Cache
from ..errors import ConversionError, InputError, UnavailableError
from ..jobs import Job, Jobs
from ..operation import About
from ..service import REQUEST_ID, Metrics
from ..settings import Settings
from .place import Place
from .pool import Outcome, Pool

log = logging.getLogger(__name__)
CRASHES = 2
PROGRESS_SECONDS = 1.0
OUR_FAULT_SECONDS = 1.0  # what a job waits after a fault of ours, which may be over by then; twice as long each time


class Engine:
    """Works on `settings.workers` jobs at a time until told to drain."""

    def __init__(self, jobs: Jobs, cache: Cache, pool: Pool, settings: Settings, metrics: Metrics) -> None:
        self._jobs = jobs
        self._cache = cache
        self._pool = pool
        self._settings = settings
        self._metrics = metrics
        self._place: Place | None = None
        self._name = f"{socket.gethostname()}/{settings.version}"
        self._draining = asyncio.Event()
        self.active = 0
        metrics.workers.set(settings.workers)
        metrics.busy.set_function(lambda: self.active)
        metrics.share.set_function(lambda: self.active / settings.workers)

    async def run(self) -> None:
        """Returns when drained; cancel it to give all jobs in hand back."""
        self._place = Place(self._settings.work_dir)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._settings.workers):
                    group.create_task(self._slot())
        finally:
            self._place.close()

    def drain(self) -> None:
        """Take no more jobs."""
        self._draining.set()

    async def _slot(self) -> None:
        while not self._draining.is_set():
            try:
                job = await self._take()
            except UnavailableError:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._draining.wait(), 1)
                continue
            if job is None:
                continue
            self.active += 1
            try:
                # With a context of its own: its log lines carry the id of its request
                await asyncio.create_task(self._work(job))
            finally:
                self.active -= 1

    async def _take(self) -> Job | None:
        """The next job. A request that is under way is not broken off when draining begins: a job could be on its
        way to us, and would be missing until its acknowledgement is overdue."""
        return await self._jobs.take(1.0)

    async def _work(self, job: Job) -> None:
        began = time.monotonic()
        REQUEST_ID.set(job.operation.request_id)
        heart = asyncio.create_task(self._heartbeat(job))
        end = "returned"
        try:
            end = await self._finish(job)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    await job.give_back()
            raise
        except ConversionError as exc:
            # The queue is away or our disk is full. Nothing is lost: the job comes again, here or elsewhere
            log.warning("job %s is left for another try: %s", job.operation.id, exc)
            await job.give_back(self._pause(job))
        except Exception:
            log.exception("job %s is left for another try", job.operation.id)
            await job.give_back(self._pause(job))
        finally:
            heart.cancel()
            operation = job.operation
            self._metrics.conversions.labels(operation.src_format, operation.output_format, end).inc()
            self._metrics.seconds.observe(time.monotonic() - began)
            log.info(
                "job %s %s to %s: %s in %.0f ms, attempt %d",
                operation.id,
                operation.src_format,
                operation.output_format,
                end,
                (time.monotonic() - began) * 1000,
                job.attempt,
            )

    async def _finish(self, job: Job) -> str:
        """Take the job to its end; the word for the metrics."""
        if not await job.start(self._name):
            return "done before"
        operation = job.operation
        if job.attempt > self._settings.attempts:
            await job.bury(
                f"The conversion was begun {self._settings.attempts} times and never came to an end.",
                "engines that had it died, were replaced or had faults of their own: see their logs",
            )
            return "dead"
        if self._place is None:
            raise UnavailableError("The engine is not running.")
        with self._place.directory() as directory:
            found = await self._cache.get(operation.cache_key)
            if found is not None:
                result = directory / operation.output_name
                about, data = About.apart(found)
                result.write_bytes(data)
                await job.complete(result, cached=True, about=about)
                return "cached"
            source = directory / f"source.{operation.src_format}"
            try:
                await job.fetch(source)
            except InputError as exc:
                await job.fail(str(exc))
                return "failed"
            outcome = await self._convert(job, directory, source)
            if outcome is None:
                await job.fail("It was cancelled.")  # closes the job; the record is final and stays as it is
                return "cancelled"
            if outcome.error is not None:
                await job.fail(outcome.error)
                return "failed"
            if outcome.result is None:
                return await self._crashed(job, outcome.crash or "")
            await job.complete(outcome.result, about=outcome.about)
            if outcome.result.stat().st_size <= self._settings.cache_max:
                await self._cache.put(operation.cache_key, outcome.about.beside(outcome.result.read_bytes()))
            return "completed"

    async def _convert(self, job: Job, directory: Path, source: Path) -> Outcome | None:
        """The outcome, or None when the operation was cancelled meanwhile, which ends the job's process."""
        converting = asyncio.create_task(self._pool.convert(job.operation, directory, source))
        unwanted = asyncio.create_task(job.unwanted())
        telling = asyncio.create_task(self._tell_progress(job))
        try:
            await asyncio.wait({converting, unwanted}, return_when=asyncio.FIRST_COMPLETED)
            return await converting if converting.done() else None
        finally:
            for task in (converting, unwanted, telling):
                task.cancel()
            await asyncio.wait({converting, unwanted, telling})

    async def _tell_progress(self, job: Job) -> None:
        """Keep the record up to date, of jobs that take more than a moment."""
        told = 0.0
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            if (share := self._pool.progress(job.operation.id)) > told:
                told = share
                with contextlib.suppress(UnavailableError):
                    await job.progress(told)

    async def _crashed(self, job: Job, why: str) -> str:
        crashes = await job.crashed()
        log.warning("job %s crashed the converter (%d): %s", job.operation.id, crashes, why)
        if crashes < CRASHES:
            await job.give_back()
        else:
            # C++ code that is refused memory dies like code with a fault: nobody can tell the two apart
            await job.bury(
                f"The file made the converter crash {crashes} times, by a fault in it or for want of memory: "
                "repair or simplify it and send it again.",
                why,
            )
            return "dead"
        return "crashed"

    @staticmethod
    def _pause(job: Job) -> float:
        return float(min(60.0, OUR_FAULT_SECONDS * 2 ** (job.attempt - 1)))

    async def _heartbeat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(self._settings.ack_wait / 3)
            await job.touch()
