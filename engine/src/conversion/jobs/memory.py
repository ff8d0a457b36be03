# SPDX-License-Identifier: GPL-3.0-or-later
"""The work queue inside one process: for a laptop and for tests. Nothing outlives the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, UnavailableError
from ..operation import NOTHING, About, Operation
from . import Readable

PIECE = 256 * 1024


class MemoryJobs:
    """Jobs of one process. At most `max_queued` wait; the oldest finished results are dropped above `max_bytes`."""

    def __init__(
        self, *, max_queued: int = 1000, max_bytes: int = 512 * 1024 * 1024, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._operations: dict[str, Operation] = {}
        self._sources: dict[str, bytes] = {}
        self._results: dict[str, bytes] = {}
        self._queue: asyncio.Queue[tuple[str, int]] = asyncio.Queue(max_queued)
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def problem(self) -> str | None:
        """A process can always reach itself."""
        return None

    async def submit(self, operation: Operation, source: Readable) -> None:
        """Queue the job; UnavailableError when too many wait."""
        if self._queue.full():
            raise UnavailableError("The queue is full: try again in a minute.")
        self._sources[operation.id] = source.read()
        await self.put(operation)
        self._queue.put_nowait((operation.id, 1))

    async def store(self, operation: Operation, result: bytes) -> None:
        """Keep a result."""
        self._results[operation.id] = result
        while len(self._results) > 1 and sum(map(len, self._results.values())) > self._max_bytes:
            oldest = next(iter(self._results))
            del self._results[oldest]
            self._operations.pop(oldest, None)
        await self.put(operation)

    async def put(self, operation: Operation) -> None:
        """Change the record and wake those who wait for it."""
        async with self._changed:
            self._operations[operation.id] = operation
            self._changed.notify_all()

    async def operation(self, operation_id: str) -> Operation | None:
        """The record, or None."""
        return self._operations.get(operation_id)

    async def wait(self, operation_id: str, timeout: float) -> Operation | None:
        """The record once it is final or the time is up."""

        def final() -> bool:
            record = self._operations.get(operation_id)
            return record is None or record.final

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(final)
        except TimeoutError:
            pass
        return self._operations.get(operation_id)

    async def output(self, operation: Operation) -> AsyncIterator[bytes]:
        """The result in pieces."""
        result = self._results.get(operation.id, b"")
        for start in range(0, len(result), PIECE):
            yield result[start : start + PIECE]

    async def take(self, timeout: float) -> MemoryJob | None:
        """The next job, or None."""
        try:
            async with asyncio.timeout(timeout):
                operation_id, attempt = await self._queue.get()
        except TimeoutError:
            return None
        return MemoryJob(self, self._operations[operation_id], attempt)

    async def waiting(self) -> int | None:
        """Jobs in the queue."""
        return self._queue.qsize()

    def source(self, operation_id: str) -> bytes:
        """The source file of a job; InputError when it is gone."""
        try:
            return self._sources[operation_id]
        except KeyError:
            raise InputError("The source file is no longer kept: send it again.") from None

    def drop_source(self, operation_id: str) -> None:
        """Forget the source file of a finished job."""
        self._sources.pop(operation_id, None)

    def requeue(self, operation_id: str, attempt: int) -> None:
        """Queue a job again that was given back."""
        self._queue.put_nowait((operation_id, attempt))

    def now(self) -> float:
        """Unix seconds."""
        return self._clock()


class MemoryJob:
    """A job of MemoryJobs."""

    def __init__(self, jobs: MemoryJobs, operation: Operation, attempt: int) -> None:
        self._jobs = jobs
        self.operation = operation
        self.attempt = attempt

    async def start(self, engine: str) -> bool:
        """Mark as in progress."""
        self.operation = self.operation.started(self._jobs.now(), engine)
        await self._jobs.put(self.operation)
        return True

    async def fetch(self, target: Path) -> None:
        """Write the source to a file."""
        target.write_bytes(self._jobs.source(self.operation.id))

    async def touch(self) -> None:
        """Nobody else could take it."""

    async def complete(self, result: Path, *, cached: bool = False, about: About = NOTHING) -> None:
        """Keep the result and close."""
        data = result.read_bytes()
        done = self.operation.completed(self._jobs.now(), len(data), cached=cached, about=about)
        await self._jobs.store(done, data)
        self._jobs.drop_source(self.operation.id)

    async def fail(self, error: str) -> None:
        """Close with an error."""
        await self._jobs.put(self.operation.failed(self._jobs.now(), error))
        self._jobs.drop_source(self.operation.id)

    async def crashed(self) -> int:
        """Count a crash."""
        self.operation = replace(self.operation, crashes=self.operation.crashes + 1)
        await self._jobs.put(self.operation)
        return self.operation.crashes

    async def give_back(self) -> None:
        """Queue again."""
        self._jobs.requeue(self.operation.id, self.attempt + 1)
