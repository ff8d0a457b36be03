# SPDX-License-Identifier: GPL-3.0-or-later
"""Caches and the breaker in front of a failing one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from conversion.cache import Breaker, MemoryCache
from conversion.cache.redis import RedisCache

Run = Callable[[Any], Any]


def test_memory_cache_keeps_the_latest(run: Run) -> None:
    async def story() -> list[bytes | None]:
        cache = MemoryCache(10)
        await cache.put("a", b"1234")
        await cache.put("b", b"1234")
        await cache.get("a")
        await cache.put("c", b"1234")  # pushes out b, the least used
        await cache.put("c", b"56")
        return [await cache.get(key) for key in "abc"]

    assert run(story()) == [b"1234", None, b"56"]


def test_memory_cache_keeps_nothing_larger_than_itself(run: Run) -> None:
    async def story() -> bytes | None:
        cache = MemoryCache(3)
        await cache.put("a", b"1234")
        return await cache.get("a")

    assert run(story()) is None


class Flaky:
    """Fails while told to, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = True

    async def __call__(self) -> str:
        self.asked += 1
        if self.down:
            raise OSError
        return "value"


def test_breaker_leaves_a_failing_thing_alone_and_tries_again(run: Run) -> None:
    now = [100.0]
    flaky, breaker = Flaky(), Breaker(failures=3, pause=5, clock=lambda: now[0])

    async def ask() -> str | None:
        return await breaker.call(flaky, (OSError,))

    async def story() -> None:
        for _ in range(10):
            assert await ask() is None
        assert (flaky.asked, breaker.open) == (3, True)
        now[0] += 5
        assert await ask() is None  # one trial, which fails
        assert await ask() is None
        assert flaky.asked == 4
        now[0] += 5
        flaky.down = False
        assert await ask() == "value"
        assert not breaker.open
        assert await ask() == "value"

    run(story())


def test_breaker_lets_other_errors_through(run: Run) -> None:
    async def story() -> str:
        try:
            await Breaker().call(Flaky(), (ValueError,))
        except OSError:
            return "raised"
        return "swallowed"

    assert run(story()) == "raised"


def test_redis_that_is_not_there_is_no_error(run: Run) -> None:
    async def story() -> None:
        cache = RedisCache("redis://127.0.0.1:1/0", timeout=0.2)
        began = time.monotonic()
        for _ in range(50):
            assert await cache.get("conversion:1:aa") is None
            await cache.put("conversion:1:aa", b"x")
        assert time.monotonic() - began < 5
        assert not cache.available
        await cache.close()

    run(story())
