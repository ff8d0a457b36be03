# SPDX-License-Identifier: GPL-3.0-or-later
"""Dead letters on NATS JetStream: jobs that were tried as often as a job is, kept with their files for a person to look at.

Stream CONVERSION_DEAD holds `conversion.dead.<id>.letter`, what happened, and `conversion.dead.<id>.source.<n>`, the file in
pieces. It is bounded: letters go after `dead_retention` seconds, and the oldest pieces go beyond MESSAGES of them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, TypeVar

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ..errors import InputError
from ..operation import Operation, Status
from .names import BLOBS_SUBJECT, DEAD, DEAD_SUBJECT, PIECE, SOURCE

T = TypeVar("T")

MESSAGES = 2000  # of at most half a MiB: a GiB


@dataclass(frozen=True)
class Letter:
    """Why a job was given up. `why` is for people who run the engine, the operation's `error` for the user.

    `operation` is the record as it was given up; None, and `raw` the message, for one that is no job at all. `source_kept` says
    whether the file is here. Times are unix seconds.
    """

    id: str
    why: str
    died_at: float
    attempts: int
    source_kept: bool
    operation: Operation | None = None
    raw: str = ""  # base64

    def to_json(self) -> bytes:
        """The letter as stored."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Letter:
        """Read a letter."""
        raw: dict[str, Any] = json.loads(data)
        record = raw.pop("operation")
        return cls(**raw, operation=Operation.from_json(json.dumps(record).encode()) if record else None)


class Queue(Protocol):
    """What of the queue on NATS letters need (see nats.py)."""

    clock: Callable[[], float]

    @property
    def js(self) -> JetStreamContext: ...
    async def patiently(self, what: str, call: Callable[[], Awaitable[T]], patience: float | None = None) -> T: ...
    def pieces(self, operation_id: str, key: str, size: int) -> AsyncIterator[bytes]: ...
    async def put_piece(self, subject: str, piece: bytes, patience: float | None = None) -> None: ...
    async def operation(self, operation_id: str) -> Operation | None: ...
    async def reopen(self, operation: Operation) -> None: ...
    async def enqueue(self, operation: Operation, message_id: str) -> None: ...


class DeadLetters:
    """Keeps, shows and sends again. Raises UnavailableError when NATS cannot serve, InputError for a letter that is not there."""

    def __init__(self, jobs: Queue) -> None:
        self._jobs = jobs

    async def keep(self, operation: Operation, why: str, attempts: int) -> None:
        """File, then letter: one that is listed is whole."""
        kept, number = True, 0
        try:
            async for piece in self._jobs.pieces(operation.id, SOURCE, operation.source_bytes):
                await self._store(f"{operation.id}.{SOURCE}.{number}", piece)
                number += 1
        except InputError:  # it expired
            kept = False
        await self._write(Letter(operation.id, why, self._jobs.clock(), attempts, kept, operation))

    async def keep_message(self, name: str, data: bytes, why: str, attempts: int) -> None:
        """A message that is no job. `name` is its queue and its number there, as in `gpu-17`."""
        raw = base64.b64encode(data[: PIECE // 2]).decode("ascii")
        await self._write(Letter(f"message-{name}", why, self._jobs.clock(), attempts, source_kept=False, raw=raw))

    async def all(self) -> list[Letter]:
        """All letters, the latest first."""
        subjects = await self._subjects()
        found = [await self._letter(subject.split(".")[2]) for subject in subjects]
        return sorted((one for one in found if one is not None), key=lambda one: -one.died_at)

    async def count(self) -> int:
        """How many there are."""
        return len(await self._subjects(patience=0))

    async def get(self, letter_id: str) -> Letter:
        """One of them."""
        letter = await self._letter(letter_id) if re.fullmatch(r"[0-9a-z-]{1,64}", letter_id) else None
        if letter is None:
            raise InputError(f"There is no dead letter {letter_id[:64]}: see those that there are with 'list'.", 404)
        return letter

    async def source(self, letter: Letter) -> AsyncIterator[bytes]:
        """The file of a letter in pieces."""
        if letter.operation is None or not letter.source_kept:
            raise InputError(f"The file of {letter.id} is not kept: it had expired, or there was none.", 404)
        number = read = 0
        while read < letter.operation.source_bytes:
            message = await self._message(f"{letter.id}.{SOURCE}.{number}")
            if message is None:
                raise InputError(
                    f"The file of {letter.id} is not kept any more: newer letters took its place; drop the letter.", 404
                )
            read += len(message)
            number += 1
            yield message

    async def send_again(self, letter: Letter) -> Operation:
        """Queue the job once more, under its old id, with all its tries before it. File, record, message, then the letter goes.

        What was cut off in between may be done again. InputError when it has no file, or the operation is no longer a failed one.
        """
        if letter.operation is None:
            raise InputError(f"{letter.id} is no job that could be sent again: look at it, and drop it.")
        record = await self._jobs.operation(letter.id)
        if record is not None and record.status not in (Status.FAILED, Status.QUEUED):
            raise InputError(f"{letter.id} is {record.status} by now: drop the letter.")
        number = 0
        async for piece in self.source(letter):
            await self._jobs.put_piece(f"{BLOBS_SUBJECT}.{letter.id}.{SOURCE}.{number}", piece)
            number += 1
        queued = replace(
            letter.operation if record is None else record,
            status=Status.QUEUED,
            error=None,
            completed_at=None,
            crashes=0,
            progress=0.0,
        )
        last = await self._jobs.patiently(
            "give the letter",
            lambda: self._jobs.js.get_last_msg(DEAD, f"{DEAD_SUBJECT}.{letter.id}.letter", direct=True),
        )
        await self._jobs.reopen(queued)
        await self._jobs.enqueue(queued, f"{letter.id}.{letter.died_at}")
        await self.drop(letter.id, before=(last.seq or 0) + 1)
        return queued

    async def drop(self, letter_id: str, before: int | None = None) -> None:
        """Remove a letter and its file, if they are there; `before` spares what was stored from that place in the stream on: it may
        be a new letter of the same job."""

        async def once() -> None:
            await self._jobs.js.purge_stream(DEAD, subject=f"{DEAD_SUBJECT}.{letter_id}.>", seq=before)

        await self._jobs.patiently("drop the letter", once)

    async def _subjects(self, patience: float | None = None) -> list[str]:
        async def ask() -> list[str]:
            info = await self._jobs.js.stream_info(DEAD, subjects_filter=f"{DEAD_SUBJECT}.*.letter")
            return list(info.state.subjects or ())

        return await self._jobs.patiently("list the dead letters", ask, patience)

    async def _letter(self, letter_id: str) -> Letter | None:
        data = await self._message(f"{letter_id}.letter")
        return None if data is None else Letter.from_json(data)

    async def _message(self, name: str) -> bytes | None:
        subject = f"{DEAD_SUBJECT}.{name}"
        try:
            message = await self._jobs.patiently(
                "give the letter", lambda: self._jobs.js.get_last_msg(DEAD, subject, direct=True)
            )
        except NotFoundError:
            return None
        return message.data or b""

    async def _write(self, letter: Letter) -> None:
        await self._store(f"{letter.id}.letter", letter.to_json())

    async def _store(self, name: str, data: bytes) -> None:
        await self._jobs.put_piece(f"{DEAD_SUBJECT}.{name}", data)
