# SPDX-License-Identifier: GPL-3.0-or-later
"""The work queue as both sides see it. `nats` is the real one, `memory` lives in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..operation import NOTHING, About, Operation


class Readable(Protocol):
    """What a source file is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, or all; none at the end."""


@dataclass(frozen=True)
class Line:
    """How many jobs wait for an engine, and since how many seconds the oldest of them; 0 when none does."""

    waiting: int
    oldest: float


class Job(Protocol):
    """A job in an engine's hands. It comes back to some engine unless finished: completed, failed or returned."""

    operation: Operation
    attempt: int  # 1 for the first delivery

    async def start(self, engine: str) -> bool:
        """Mark the operation as taken up; False when it was finished before, and the job is then done with."""

    async def fetch(self, target: Path) -> None:
        """Write the source file to `target`. InputError when it is no longer kept."""

    async def touch(self) -> None:
        """Say that the job is still being worked on, so that no other engine gets it."""

    async def complete(self, result: Path, *, cached: bool = False, about: About = NOTHING) -> None:
        """Store the result, then close the operation, then the job."""

    async def fail(self, error: str) -> None:
        """Close the operation with a sentence for the user, then the job."""

    async def bury(self, error: str, why: str) -> None:
        """Like `fail`, and keep the file as a dead letter, where there is a place for it; `why` is for those who look at it."""

    async def progress(self, share: float) -> None:
        """Say that so much is done, from 0 to 1."""

    async def crashed(self) -> int:
        """Count a crash of the converter on this operation; how many there were, this one included."""

    async def give_back(self, after: float = 0) -> None:
        """Let another engine have the job, now or after so many seconds."""

    async def unwanted(self) -> None:
        """Returns once the operation is final without us: it was cancelled."""


class Jobs(Protocol):
    """Operations, their files and their queue. Every method raises UnavailableError when the backend cannot serve."""

    async def start(self) -> None:
        """Connect in the background; returns at once."""

    async def close(self) -> None:
        """Let go of the backend."""

    async def problem(self) -> str | None:
        """Why the backend cannot serve now, or None."""

    async def submit(self, operation: Operation, source: Readable) -> Operation:
        """Accept a job. Once this returns the job is stored, and is worked on whatever dies.

        Where the same content (`cache_key`) is being converted already, the operation follows that one (`same_as`) and no
        job is made. Returns the operation as it was stored. BusyError when too many jobs wait.
        """

    async def store(self, operation: Operation, result: bytes) -> None:
        """Keep an operation that was completed without the queue."""

    async def operation(self, operation_id: str) -> Operation | None:
        """The record, a follower's as far as its leader is, or None when there is none (any more)."""

    async def operations(self, owner: str, limit: int, before: str = "") -> list[Operation]:
        """The owner's records, newest first: `limit` of them, with ids below `before` if that is given."""

    async def cancel(self, operation_id: str) -> None:
        """End an operation that is not final; its job is dropped, or stopped, unless others wait for the same result."""

    async def forget(self, operation: Operation) -> None:
        """Drop a final operation and its result, which stays while others have it."""

    async def wait(self, operation_id: str, timeout: float) -> Operation | None:
        """The record as soon as it is final, or as it is after `timeout` seconds."""

    def output(self, operation: Operation) -> AsyncIterator[bytes]:
        """The result in pieces."""

    async def take(self, timeout: float) -> Job | None:
        """The next job, or None when there was none for `timeout` seconds."""

    async def waiting(self) -> dict[str, int] | None:
        """How many jobs no engine has taken yet, by class: `cpu`, `gpu`; None when unknown."""

    async def lines(self) -> dict[str, Line] | None:
        """Who waits, by class: `cpu`, `gpu`; None when unknown."""

    async def buried(self) -> int | None:
        """Dead letters that are kept; None when unknown."""
