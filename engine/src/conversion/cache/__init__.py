# SPDX-License-Identifier: GPL-3.0-or-later
"""Results by content hash. A cache may lose anything at any time, be slow or be gone: it never makes a job fail."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Cache(Protocol):
    """Bytes under a key. No method ever raises."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None when it is not there or the cache cannot say in time."""

    async def put(self, key: str, value: bytes) -> None:
        """Keep the value if that is possible now."""

    async def count(self, key: str, seconds: int) -> int | None:
        """One more under `key`, which is forgotten after `seconds`; how many there are, or None when it cannot say."""

    async def close(self) -> None:
        """Let go of connections."""

    @property
    def available(self) -> bool:
        """False while the cache is left alone because it failed."""


class NoCache:
    """No cache is configured."""

    available = False

    async def get(self, key: str) -> bytes | None:
        """Never there."""
        return None

    async def put(self, key: str, value: bytes) -> None:
        """Not kept."""

    async def count(self, key: str, seconds: int) -> int | None:
        """Not counted."""
        return None

    async def close(self) -> None:
        """Nothing to close."""


class MemoryCache:
    """The latest results in this process, up to `max_bytes` in all."""

    available = True

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._values: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """The value, if not yet pushed out."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    async def put(self, key: str, value: bytes) -> None:
        """Keep the value; push out the least used ones."""
        self._bytes += len(value) - len(self._values.pop(key, b""))
        self._values[key] = value
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._values.popitem(last=False)[1])

    async def count(self, key: str, seconds: int) -> int | None:
        """Not counted."""
        return None

    async def close(self) -> None:
        """Nothing to close."""


class Breaker:
    """Keeps off something that fails: after `failures` in a row it is not asked for `pause` seconds, then once."""

    def __init__(self, failures: int = 3, pause: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._pause = pause
        self._clock = clock
        self._failed = 0
        self._closed_until = 0.0

    @property
    def open(self) -> bool:
        """True while nothing may be asked."""
        return self._failed >= self._limit and self._clock() < self._closed_until

    async def call(self, ask: Callable[[], Awaitable[T]], failures: tuple[type[Exception], ...]) -> T | None:
        """What `ask` gives; None when it is kept off or one of `failures` is raised."""
        if self.open:
            return None
        if self._failed >= self._limit:
            self._closed_until = self._clock() + self._pause  # one trial at a time
        try:
            value = await ask()
        except failures:
            self._failed += 1
            if self._failed >= self._limit:
                self._closed_until = self._clock() + self._pause
            return None
        self._failed = 0
        return value
