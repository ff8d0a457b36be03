# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send a file now, and who gives way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from conversion.api.uploads import Pace, Uploads
from conversion.errors import BusyError, InputError

Run = Callable[[Any], Any]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def never() -> AsyncIterator[bytes]:
    await asyncio.sleep(60)
    yield b""


def test_a_slow_one_gives_way_to_the_next_of_its_address(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        uploads = Uploads(10, 1, Pace(1000, 60, 600), clock)
        with uploads.admit("a") as slow:
            reading = asyncio.create_task(anext(slow.paced(never())))
            await asyncio.sleep(0)
            with pytest.raises(BusyError, match="from a at once"), uploads.admit("a"):
                pass
            with uploads.admit("b"):
                assert len(uploads) == 2, "another address is not held up"
            clock.now += 5
            with uploads.admit("a"):
                with pytest.raises(InputError, match="too slowly") as told:
                    await reading
                assert told.value.status == 408
                assert len(uploads) == 1

    run(story())


def test_a_steady_one_stays(run: Run) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(10_000)
        await asyncio.sleep(60)

    async def story() -> None:
        clock = Clock()
        uploads = Uploads(10, 1, Pace(1000, 60, 600), clock)
        with uploads.admit("a") as steady:
            await anext(steady.paced(pieces()))
            clock.now += 5
            with pytest.raises(BusyError), uploads.admit("a"):
                pass

    run(story())


def test_when_all_places_are_taken_the_address_with_most_gives_one(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        uploads = Uploads(3, 2, Pace(1000, 60, 600), clock)
        with uploads.admit("one"), uploads.admit("two"), uploads.admit("two"):
            with pytest.raises(BusyError, match="Too many files are being received"), uploads.admit("three"):
                pass
            clock.now += 5
            with uploads.admit("three"):
                assert sorted(one.address for one in uploads._uploads) == ["one", "three", "two"]

    run(story())


def test_those_without_an_address_have_no_share() -> None:
    """A proxy that is trusted and names no client: it may stand for many."""
    uploads = Uploads(3, 1, Pace(1000, 60, 600), Clock())
    with uploads.admit(None), uploads.admit(None), uploads.admit(None), pytest.raises(BusyError), uploads.admit(None):
        pass


@pytest.mark.parametrize(("speed", "window", "deadline"), [(1e6, 0.1, 60), (1, 60, 0.1)])
def test_too_slow_by_speed_or_by_the_whole(run: Run, speed: float, window: float, deadline: float) -> None:
    async def dribble() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b"x"

    async def story() -> None:
        uploads = Uploads(1, 1, Pace(speed, window, deadline))
        with uploads.admit("a") as upload, pytest.raises(InputError, match="too slowly"):
            async for _ in upload.paced(dribble()):
                pass

    run(story())
