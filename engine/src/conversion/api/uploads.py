# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on their way in: how many at once, how many of one address, and how slowly one may come."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import BusyError, InputError


@dataclass(frozen=True)
class Pace:
    """At least `speed` bytes a second over every `window` seconds, and all of it within `deadline` seconds."""

    speed: float
    window: float
    deadline: float


class Upload:
    """One file on its way in."""

    def __init__(self, address: str, pace: Pace, clock: Callable[[], float]) -> None:
        self.address = address
        self.began = clock()
        self.received = 0
        self._pace = pace
        self._clock = clock
        self._timeout: asyncio.Timeout | None = None
        self._dropped = False

    @property
    def slow(self) -> bool:
        """Whether it has had some time and is below the least speed."""
        age = self._clock() - self.began
        return age > 1 and self.received < self._pace.speed * age

    def drop(self) -> None:
        """Others need its place."""
        self._dropped = True
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def paced(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces; InputError (408) when they come too slowly."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._pace.deadline
        window, missing = loop.time() + self._pace.window, self._pace.speed * self._pace.window
        while True:
            if self._dropped:
                raise self._too_slow()
            try:
                async with asyncio.timeout_at(min(window, end)) as self._timeout:
                    piece = await anext(pieces, None)
            except TimeoutError:
                raise self._too_slow() from None
            finally:
                self._timeout = None
            if piece is None:
                return
            self.received += len(piece)
            missing -= len(piece)
            if missing <= 0:
                window, missing = loop.time() + self._pace.window, self._pace.speed * self._pace.window
            yield piece

    def _too_slow(self) -> InputError:
        return InputError(
            f"The file came too slowly: send at least {self._pace.speed / 1024:g} KiB a second, "
            f"and all of it within {self._pace.deadline:g} s.",
            408,
        )


class Uploads:
    """The files that are being received, `limit` at most, `share` of one address."""

    def __init__(self, limit: int, share: int, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._share = min(share, limit)
        self._pace = pace
        self._clock = clock
        self._uploads: dict[Upload, None] = {}

    def __len__(self) -> int:
        return len(self._uploads)

    @contextmanager
    def admit(self, address: str | None) -> Iterator[Upload]:
        """A place for an upload, `address` being None for one that no share is counted for; BusyError if there is none.

        A slow one gives way: first of the same address, then of the address that has most.
        """
        ours = [one for one in self._uploads if one.address == address]
        if address is not None and len(ours) >= self._share:
            self._make_room(ours, f"Too many files come from {address} at once")
        elif len(self._uploads) >= self._limit:
            counts = Counter(one.address for one in self._uploads)
            self._make_room(
                sorted(self._uploads, key=lambda one: -counts[one.address]), "Too many files are being received"
            )
        upload = Upload(address or "", self._pace, self._clock)
        self._uploads[upload] = None
        try:
            yield upload
        finally:
            self._uploads.pop(upload, None)

    def _make_room(self, candidates: list[Upload], why: str) -> None:
        for one in candidates:
            if one.slow:
                self._uploads.pop(one)
                one.drop()
                return
        raise BusyError(f"{why}: try again in some seconds.", 2)
