# SPDX-License-Identifier: GPL-3.0-or-later
"""The work queue inside one process: for a laptop and for tests. Nothing outlives the process; files are on disk."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from ..errors import BusyError, InputError
from ..operation import NOTHING, About, Operation, Status
from . import Line, Readable

PIECE = 256 * 1024


class MemoryJobs:
    """Jobs of one process, their files below `work_dir`.

    At most `max_queued` wait; the oldest finished results are dropped above `max_bytes`.
    """

    def __init__(
        self,
        work_dir: Path | None = None,
        *,
        max_queued: int = 1000,
        max_bytes: int = 2 << 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._place = tempfile.TemporaryDirectory(prefix="conversion-files-", dir=work_dir)
        self._operations: dict[str, Operation] = {}
        self._sizes: dict[str, int] = {}  # of results, oldest first
        self._under_way: dict[str, str] = {}  # operation by content
        self._max_queued = max_queued
        self._arriving = 0  # jobs whose source is being written
        self._queue: asyncio.Queue[tuple[str, int]] = asyncio.Queue()  # what is given back always finds a place
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Remove the files."""
        await asyncio.to_thread(self._place.cleanup)

    async def problem(self) -> str | None:
        """A process can always reach itself."""
        return None

    async def submit(self, operation: Operation, source: Readable) -> Operation:
        """Queue the job, or follow one with the same content; BusyError when too many wait."""
        if (leader := self._leader(operation.cache_key)) is not None:
            await self.put(leader.followed())
            operation = replace(operation, same_as=leader.id)
            await self.put(operation)
            return operation
        if self._queue.qsize() + self._arriving >= self._max_queued:
            raise BusyError("Too many files wait to be converted: try again in half a minute.", 30)
        self._under_way[operation.cache_key] = operation.id
        self._operations[operation.id] = operation
        self._arriving += 1
        try:
            await asyncio.to_thread(self._write, self.file(operation.id, "source"), source)
        except BaseException:
            self._operations.pop(operation.id, None)
            self.drop_source(operation.id)
            raise
        finally:
            self._arriving -= 1
        self._queue.put_nowait((operation.id, 1))
        return operation

    def _leader(self, cache_key: str) -> Operation | None:
        found = self._operations.get(self._under_way.get(cache_key, ""))
        return found if found is not None and not found.final else None

    def file(self, operation_id: str, kind: str) -> Path:
        """Where a file of an operation is."""
        return Path(self._place.name, f"{operation_id}.{kind}")

    @staticmethod
    def _write(target: Path, source: Readable) -> None:
        with target.open("wb") as stream:
            while piece := source.read(PIECE):
                stream.write(piece)

    async def store(self, operation: Operation, result: bytes) -> None:
        """Keep a result."""
        await asyncio.to_thread(self.file(operation.id, "result").write_bytes, result)
        await self.keep(operation, len(result))

    async def keep(self, operation: Operation, size: int) -> None:
        """Close an operation whose result is in its place; drop the oldest ones for it."""
        self._sizes[operation.id] = size
        while len(self._sizes) > 1 and sum(self._sizes.values()) > self._max_bytes:
            await self._drop(next(iter(self._sizes)))
        await self.put(operation)

    async def _drop(self, operation_id: str) -> None:
        self._operations.pop(operation_id, None)
        self._sizes.pop(operation_id, None)
        self.file(operation_id, "result").unlink(missing_ok=True)

    async def put(self, operation: Operation) -> None:
        """Change the record and wake those who wait for it."""
        self._operations[operation.id] = operation  # before anything is waited for: nobody else's change comes between
        async with self._changed:
            self._changed.notify_all()

    async def change(self, operation_id: str, to: Callable[[Operation], Operation]) -> Operation | None:
        """Change a record that is not final and return it; None when it is final or gone."""
        old = self._operations.get(operation_id)
        if old is None or old.final:
            return None
        new = to(old)
        await self.put(new)
        return new

    def _resolved(self, operation_id: str) -> Operation | None:
        record = self._operations.get(operation_id)
        if record is None or not record.same_as or record.final:
            return record
        leader = self._operations.get(record.same_as)
        return record if leader is None else record.as_of(leader)

    async def operation(self, operation_id: str) -> Operation | None:
        """The record, or None."""
        return self._resolved(operation_id)

    async def operations(self, owner: str, limit: int, before: str = "") -> list[Operation]:
        """The owner's, newest first."""
        ids = [one.id for one in self._operations.values() if one.owner == owner and (not before or one.id < before)]
        found = [self._resolved(one) for one in sorted(ids, reverse=True)]
        return [one for one in found if one is not None and one.left != "forgotten"][:limit]

    async def cancel(self, operation_id: str) -> None:
        """End an operation."""
        await self.change(operation_id, lambda old: old.given_up(self._clock()))

    async def forget(self, operation: Operation) -> None:
        """Drop a record and its result."""
        record = self._operations.get(operation.id)
        if record is not None and record.followers:
            await self.put(replace(record, left="forgotten"))
        else:
            await self._drop(operation.id)

    async def wait(self, operation_id: str, timeout: float) -> Operation | None:
        """The record once it is final or the time is up."""

        def final() -> bool:
            record = self._resolved(operation_id)
            return record is None or record.final

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(final)
        except TimeoutError:
            pass
        return self._resolved(operation_id)

    async def output(self, operation: Operation) -> AsyncIterator[bytes]:
        """The result in pieces; InputError when it is not kept any more."""
        try:
            stream = self.file(operation.same_as or operation.id, "result").open("rb")
        except FileNotFoundError:
            raise InputError("The result is no longer kept: send the source file again.", 404) from None
        with stream:
            while piece := await asyncio.to_thread(stream.read, PIECE):
                yield piece

    async def take(self, timeout: float) -> MemoryJob | None:
        """The next job, or None."""
        try:
            async with asyncio.timeout(timeout):
                operation_id, attempt = await self._queue.get()
        except TimeoutError:
            return None
        operation = self._operations.get(operation_id)
        if operation is None:  # cancelled and deleted while it waited
            self.drop_source(operation_id)
            return None
        return MemoryJob(self, operation, attempt)

    async def waiting(self) -> dict[str, int] | None:
        """Jobs in the queue."""
        return {"cpu": self._queue.qsize()}

    async def lines(self) -> dict[str, Line] | None:
        """One line for all."""
        since = min((one.created_at for one in self._operations.values() if self._waits(one)), default=self.now())
        return {"cpu": Line(self._queue.qsize(), max(0.0, self.now() - since))}

    @staticmethod
    def _waits(operation: Operation) -> bool:
        return operation.status is Status.QUEUED and not operation.same_as

    async def buried(self) -> int | None:
        """None are kept."""
        return 0

    def drop_source(self, operation_id: str) -> None:
        """Forget the source file of a finished job."""
        self.file(operation_id, "source").unlink(missing_ok=True)

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
        """Mark as in progress; False when it was cancelled."""
        changed = await self._jobs.change(self.operation.id, lambda old: old.started(self._jobs.now(), engine))
        if changed is None:
            self._jobs.drop_source(self.operation.id)
            return False
        self.operation = changed
        return True

    async def fetch(self, target: Path) -> None:
        """Copy the source to a file."""
        try:
            await asyncio.to_thread(shutil.copyfile, self._jobs.file(self.operation.id, "source"), target)
        except FileNotFoundError:
            raise InputError("The source file is no longer kept: send it again.") from None

    async def touch(self) -> None:
        """Nobody else could take it."""

    async def complete(self, result: Path, *, cached: bool = False, about: About = NOTHING) -> None:
        """Keep the result and close."""
        size = result.stat().st_size
        record = await self._jobs.operation(self.operation.id)
        if record is not None and not record.final:
            await asyncio.to_thread(shutil.copyfile, result, self._jobs.file(self.operation.id, "result"))
            done = record.completed(self._jobs.now(), size, cached=cached, about=about)
            await self._jobs.keep(done, size)
        self._jobs.drop_source(self.operation.id)

    async def fail(self, error: str) -> None:
        """Close with an error."""
        await self._jobs.change(self.operation.id, lambda old: old.failed(self._jobs.now(), error))
        self._jobs.drop_source(self.operation.id)

    async def bury(self, error: str, why: str) -> None:
        """Close with an error: who runs this has the file."""
        await self.fail(error)

    async def progress(self, share: float) -> None:
        """Keep it in the record."""
        await self._jobs.change(self.operation.id, lambda old: replace(old, progress=max(old.progress, share)))

    async def crashed(self) -> int:
        """Count a crash."""
        changed = await self._jobs.change(self.operation.id, lambda old: replace(old, crashes=old.crashes + 1))
        return changed.crashes if changed else self.operation.crashes + 1

    async def give_back(self, after: float = 0) -> None:
        """Queue again."""
        loop = asyncio.get_running_loop()
        loop.call_later(after, self._jobs.requeue, self.operation.id, self.attempt + 1)

    async def unwanted(self) -> None:
        """Returns once the record is final."""
        while True:
            record = await self._jobs.wait(self.operation.id, 60)
            if record is None or record.final:
                return
