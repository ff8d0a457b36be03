# SPDX-License-Identifier: GPL-3.0-or-later
"""Two classes of engines: jobs that need a GPU go to engines with one, and to the others when there is none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conversion_stack import (
    PASSWORD,
    SAMPLES,
    Server,
    Stack,
    background,
    eventually,
    free_port,
    operation,
    request,
    result,
)

TINY = Path(__file__).parent / "tiny_engine.pl"
BOX = (SAMPLES / "box.stl").read_bytes()


def tiny(stack: Stack) -> Server:
    """The engine in another language, of the class with a GPU."""
    perl = shutil.which("perl")
    assert perl, "perl is missing: apt-get install perl"
    port = free_port()
    server = stack._server(
        "tiny", [perl, str(TINY), str(stack.nats.port), str(port)], port, TINY_USER="conversion", TINY_PASSWORD=PASSWORD
    )
    server.start()
    eventually(lambda: server.ready)
    return server


def preview(api: Server, width: int, data: bytes = BOX, height: int = 1000) -> tuple[int, dict[str, Any]]:
    status, body = request(api.port, "POST", f"/file/preview/stl?width={width}&height={height}", data, timeout=120)
    return status, dict(json.loads(body))


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


def drawn_by(api: Server, answer: dict[str, Any]) -> tuple[str, tuple[int, int]]:
    png = result(answer) if answer["outputs"] else api.get(answer["output_url"])[1]
    return "tiny" if answer["engine"] == "tiny/1" else "ours", size_of(png)


def metric(server: Server, line: str) -> Callable[[], bool]:
    return lambda: line.encode() in server.get("/metrics")[1]


def test_large_previews_go_to_engines_with_a_gpu_and_nothing_else_does(stack: Stack) -> None:
    api, ours = stack.api(GPU_PIXELS=1_000_000), stack.engine()
    other = tiny(stack)
    for width, who in ((1001, "tiny"), (1000, "ours"), (2048, "tiny"), (64, "ours")):
        status, answer = preview(api, width)
        assert status == 201, answer
        assert drawn_by(api, answer) == (who, (width, 1000))
        assert answer["warnings"] == (["Drawn in one colour."] if who == "tiny" else answer["warnings"])
    status, body = request(api.port, "POST", "/file/conversion/stl/obj", BOX, timeout=60)
    assert (status, json.loads(body)["engine"].endswith("/0.1.0")) == (201, True)
    assert metric(other, "tiny_done_total 2")()
    assert ours.ready


def test_a_large_file_needs_a_gpu_too(stack: Stack) -> None:
    api, _ = stack.api(GPU_SOURCE=len(BOX)), stack.engine()
    tiny(stack)
    assert drawn_by(api, preview(api, 64)[1])[0] == "ours"
    assert drawn_by(api, preview(api, 64, BOX + b"\0")[1])[0] == "tiny"


def test_without_an_engine_with_a_gpu_the_others_draw(stack: Stack) -> None:
    api, _ = stack.api(), stack.engine()
    status, answer = preview(api, 2000)
    assert status == 201
    assert drawn_by(api, answer) == ("ours", (2000, 1000))


def test_jobs_that_wait_come_back_when_the_last_engine_with_a_gpu_is_gone(stack: Stack) -> None:
    """Those that it had, and those in its queue; and as long as it is there nobody else takes them."""
    api, _ = stack.api(WAIT=0, GPU_PIXELS=0), stack.engine()
    other = stack.engine(CLASS="gpu", WORKERS=1)
    # Its converter is stopped, so that it is at work for ever while its own process lives
    zygote = other.children()[0]
    os.kill(zygote, signal.SIGSTOP)
    made = [preview(api, 64, BOX + bytes([number]))[1]["id"] for number in range(4)]
    eventually(lambda: operation(api, made[0])["status"] == "in_progress")
    time.sleep(4)
    assert [operation(api, one)["status"] for one in made[1:]] == ["queued"] * 3
    os.kill(zygote, signal.SIGCONT)
    other.kill()
    for one in made:
        done = eventually(lambda one=one: (found := operation(api, one))["status"] == "completed" and found)  # type: ignore[misc]
        assert done["outputs"]


def test_an_engine_with_a_gpu_that_drains_gets_no_more(stack: Stack) -> None:
    api, _ = stack.api(GPU_PIXELS=0), stack.engine()
    other = tiny(stack)
    assert drawn_by(api, preview(api, 64)[1])[0] == "tiny"
    assert request(other.port, "POST", "/drain")[0] in (200, 503)  # 503: it is just closing that job
    eventually(lambda: other.process is not None and other.process.poll() is not None)
    assert drawn_by(api, preview(api, 65)[1])[0] == "ours"
    ours = stack.engine(CLASS="gpu")
    log = background(lambda: preview(api, 66))
    assert log.result(timeout=60)[0] == 201
    assert metric(ours, 'conversion_operations_total{end="completed",output_format="png",src_format="stl"} 1.0')()
    assert ours.end() == 0
    assert preview(api, 67)[0] == 201


def test_nobody_waits_for_an_engine_with_a_gpu_that_drains(stack: Stack) -> None:
    """One that drains answers no more; if it only kept silent every job of the others would wait for it, two seconds each."""
    api, hasty, ours = stack.api(), stack.api(WAIT=0, GPU_PIXELS=0), stack.engine(WORKERS=1)
    other = stack.engine(CLASS="gpu", WORKERS=1, DRAIN=120)
    zygote = other.children()[0]
    os.kill(zygote, signal.SIGSTOP)  # its job lasts
    try:
        held = preview(hasty, 64)[1]["id"]
        eventually(lambda: operation(hasty, held)["status"] == "in_progress")
        assert request(other.port, "POST", "/drain")[0] == 503
        time.sleep(3)  # longer than an answer is believed
        began = time.monotonic()
        for number in range(5):
            assert request(api.port, "POST", "/file/conversion/stl/obj", BOX + bytes([number]), timeout=60)[0] == 201
        seconds = time.monotonic() - began
    finally:
        os.kill(zygote, signal.SIGCONT)
    eventually(lambda: operation(hasty, held)["status"] == "completed")
    assert seconds < 5, "with 2 s for each job it would be about 9 s"
    assert ours.ready


def test_a_class_that_is_none_is_refused(stack: Stack) -> None:
    server = stack.service("worker", CLASS="quantum").start()
    assert server.process is not None
    assert server.process.wait(timeout=60) == 1
    assert "CONVERSION_CLASS is 'quantum': set it to cpu or gpu." in server.log.read_text()


def test_the_tiny_engine_has_what_the_slot_asks_for(stack: Stack) -> None:
    stack.api()
    other = tiny(stack)
    for path in ("/healthz", "/readyz", "/version", "/metrics", "/drain"):
        assert other.get(path)[0] == 200
