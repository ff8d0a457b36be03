# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers from the cache: each is an operation of its own, and all share one stored result."""

from __future__ import annotations

import asyncio
import shutil

import nats
from conversion_stack import PASSWORD, SAMPLES, Stack, eventually, post, request, result


def stored(stack: Stack) -> int:
    """Pieces of files that NATS holds."""

    async def ask() -> int:
        client = await nats.connect(f"nats://127.0.0.1:{stack.nats.port}", user="conversion", password=PASSWORD)
        info = await client.jetstream().stream_info("CONVERSION_BLOBS")
        await client.close()
        return int(info.state.messages)

    return asyncio.run(ask())


def test_one_copy_for_all_and_each_can_be_forgotten_alone(stack: Stack) -> None:
    apis = [stack.api(), stack.api()]
    engine = stack.engine()
    part = (SAMPLES / "bracket.step").read_bytes()
    first = post(apis[0], "step/stl", part)[1]
    eventually(lambda: stored(stack) == 1)  # its own result; the source is gone
    hits = [post(apis[number % 2], "step/stl", part)[1] for number in range(6)]
    assert all(one["cached"] for one in hits)
    assert len({one["id"] for one in (first, *hits)}) == 7
    assert stored(stack) == 2
    wanted = result(first)
    for gone, kept in zip((first, *hits[:-1]), hits, strict=True):
        assert request(apis[0].port, "DELETE", f"/async/operations/{gone['id']}")[0] == 204
        assert request(apis[1].port, "GET", f"/async/operations/{gone['id']}/output")[0] == 404
        assert request(apis[1].port, "GET", f"/async/operations/{kept['id']}/output") == (200, wanted)
    # Another content does not get in its way
    other = post(apis[0], "step/stl?deflection=1", part)[1]
    again = post(apis[0], "step/stl?deflection=1", part)[1]
    assert again["cached"]
    assert request(apis[1].port, "GET", f"/async/operations/{again['id']}/output")[1] == result(other)
    assert request(apis[1].port, "GET", f"/async/operations/{hits[-1]['id']}/output")[1] == wanted
    assert engine.ready


def test_a_hit_can_be_had_as_long_as_its_record(stack: Stack) -> None:
    """The copy outlives every operation that relies on it: it is kept for longer than records, and renewed in time."""
    stack.api(RETENTION=100)

    async def ages() -> tuple[float, float]:
        client = await nats.connect(f"nats://127.0.0.1:{stack.nats.port}", user="conversion", password=PASSWORD)
        found = [
            float((await client.jetstream().stream_info(name)).config.max_age or 0)
            for name in ("CONVERSION_BLOBS", "KV_conversion_operations")
        ]
        await client.close()
        return found[0], found[1]

    files, records = asyncio.run(ages())
    assert (files, records) == (125, 100)


def test_a_hit_after_nats_was_emptied_is_stored_anew(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine()
    part = (SAMPLES / "bracket.step").read_bytes()
    first = post(api, "step/stl", part)[1]
    assert post(api, "step/stl", part)[1]["cached"]  # there is a copy, and the API remembers it
    stack.nats.stop()
    shutil.rmtree(stack.directory / "nats")
    stack.nats.start()
    eventually(lambda: api.ready and engine.ready)
    hit = post(api, "step/stl", part)[1]
    assert hit["cached"]
    assert request(api.port, "GET", f"/async/operations/{hit['id']}/output") == (200, result(first))
