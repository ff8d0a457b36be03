# SPDX-License-Identifier: GPL-3.0-or-later
"""What a group of engines can follow: how much waits, since when, and how many workers are busy."""

from __future__ import annotations

import os
import re
import signal
import time

from conversion_stack import SAMPLES, Server, Stack, eventually, operation, post, request

BOX = (SAMPLES / "box.obj").read_bytes()


def metric(server: Server, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", server.get("/metrics")[1].decode(), re.M)
    assert found, name
    return float(found.group(1))


def test_depth_age_and_busy_workers(stack: Stack) -> None:
    api = stack.api(WAIT=0, GPU_PIXELS=0)
    depth, oldest = (f'conversion_queue_{what}{{queue="cpu"}}' for what in ("depth", "oldest_seconds"))
    assert (metric(api, depth), metric(api, oldest)) == (0, 0)
    made = []
    for number in range(5):
        made.append(post(api, "obj/stl", BOX + b"# %d\n" % number)[1]["id"])
        time.sleep(0.3)
    assert metric(api, depth) == metric(api, "conversion_queue_waiting") == 5
    first = metric(api, oldest)
    assert 1.2 < first < 60
    time.sleep(1)
    assert metric(api, oldest) > first + 0.9

    # An engine whose converter stands still has two jobs in hand; the third is the oldest that waits
    engine = stack.engine()
    eventually(lambda: all(operation(api, one)["status"] == "completed" for one in made))
    zygote = engine.children()[0]
    os.kill(zygote, signal.SIGSTOP)
    try:
        made = [post(api, "obj/stl", BOX + b"# again %d\n" % number)[1]["id"] for number in range(5)]
        eventually(lambda: metric(engine, "conversion_workers_busy") == 2)
        assert metric(engine, "conversion_workers") == 2
        assert metric(engine, "conversion_workers_busy_ratio") == 1
        eventually(lambda: metric(engine, depth) == metric(api, depth) == 3)
        assert metric(api, oldest) > 0
    finally:
        os.kill(zygote, signal.SIGCONT)
    eventually(lambda: all(operation(api, one)["status"] == "completed" for one in made))
    eventually(lambda: metric(api, depth) == metric(api, oldest) == metric(engine, "conversion_workers_busy") == 0)


def test_jobs_for_a_gpu_are_counted_by_themselves(stack: Stack) -> None:
    api, engine = stack.api(WAIT=0, GPU_PIXELS=0), stack.engine(CLASS="gpu", WORKERS=1)
    os.kill(engine.children()[0], signal.SIGSTOP)
    try:
        for number in range(3):
            assert request(api.port, "POST", "/file/preview/obj", BOX + b"# %d\n" % number)[0] == 202
        eventually(lambda: metric(api, 'conversion_queue_depth{queue="gpu"}') == 2)
        assert metric(api, 'conversion_queue_depth{queue="cpu"}') == 0
        assert metric(api, 'conversion_queue_oldest_seconds{queue="gpu"}') > 0
    finally:
        os.kill(engine.children()[0], signal.SIGCONT)
