# SPDX-License-Identifier: GPL-3.0-or-later
"""No accepted job is lost, whatever dies; and what may be missing is not missed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conversion_stack import (
    SAMPLES,
    TORUS,
    Load,
    Stack,
    background,
    eventually,
    operation,
    post,
    request,
    result,
)

from conversion.checks import triangles


def failures(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    return [line for line in lines if not line["ok"]]


def test_job_of_a_killed_engine_is_done_by_another(stack: Stack) -> None:
    api, first = stack.api(), stack.engine()
    sent = background(lambda: post(api, "step/stl?deflection=0.02&angle=5", TORUS.read_bytes()))
    eventually(lambda: len(first.children()) == 2)
    first.kill()
    eventually(lambda: not sent.done())
    second = stack.engine()
    status, answer = sent.result(timeout=120)
    assert (status, answer["status"]) == (201, "completed")
    assert triangles(result(answer) if answer["outputs"] else api.get(answer["output_url"])[1], "stl") > 10_000
    assert second.get("/healthz")[0] == 200


def test_jobs_of_a_killed_engine_die_with_it(stack: Stack) -> None:
    """Nothing of a killed engine goes on converting, and its next start clears nothing that is in use."""
    api, engine = stack.api(WAIT=0), stack.engine()
    post(api, "step/stl?deflection=0.005&angle=5", TORUS.read_bytes())
    children = eventually(lambda: len(found := engine.children()) == 2 and found)
    engine.kill()
    eventually(lambda: not any(_alive(Path(f"/proc/{pid}/stat")) for pid in children), 10)


def _alive(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_long_job_is_not_given_to_another(stack: Stack) -> None:
    """An engine at work says so in time; the wait for an acknowledgement is shorter than this job."""
    api, engines = stack.api(WAIT=200), [stack.engine(ACK_WAIT=1), stack.engine(ACK_WAIT=1)]
    began = time.monotonic()
    status, _ = post(api, "step/stl?deflection=0.012&angle=5", TORUS.read_bytes())
    assert status == 201
    assert time.monotonic() - began > 2
    eventually(lambda: all(b"conversion_active 0.0" in engine.get("/metrics")[1] for engine in engines))
    logs = "".join(engine.log.read_text() for engine in engines)
    assert "attempt 1" in logs
    assert "attempt 2" not in logs


def test_engines_killed_under_load_lose_nothing(stack: Stack, load: Callable[..., Load]) -> None:
    api, steady = stack.api(), stack.engine()
    victim = stack.engine()
    running = load(api)
    for _ in range(3):
        time.sleep(2)
        victim.kill()
        time.sleep(0.5)
        victim.start()
    time.sleep(2)
    lines = running.finish()
    assert len(lines) > 20
    assert failures(lines) == []
    assert steady.ready


def test_nats_restarting_under_load_loses_nothing(stack: Stack, load: Callable[..., Load]) -> None:
    api, engine = stack.api(ACCEPT_TIMEOUT=30), stack.engine()
    running = load(api, 2)
    for _ in range(2):
        time.sleep(2)
        stack.nats.kill()
        eventually(lambda: api.get("/readyz")[0] == 503, 10)
        assert engine.get("/healthz")[0] == 200
        stack.nats.start()
        eventually(lambda: api.ready and engine.ready, 20)
    time.sleep(1)
    lines = running.finish()
    assert len(lines) > 10
    assert failures(lines) == []


def test_accepted_jobs_survive_everything_dying(stack: Stack) -> None:
    api = stack.api(WAIT=0)
    part = (SAMPLES / "box.obj").read_bytes()
    ids = []
    for number in range(20):
        status, answer = post(api, "obj/stl", part + f"# {number}\n".encode())
        assert status == 202
        ids.append(answer["id"])
    api.kill()
    stack.redis.kill()
    stack.nats.kill()
    stack.nats.start()
    later, _ = stack.api(), stack.engine()
    for one in ids:
        done = eventually(lambda one=one: (record := operation(later, one))["status"] == "completed" and record)  # type: ignore[misc]
        assert triangles(result(done), "stl") == 12


def test_without_redis_everything_works(stack: Stack, load: Callable[..., Load]) -> None:
    stack.redis.kill()
    api, engine = stack.api(), stack.engine()
    running = load(api)
    time.sleep(3)
    lines = running.finish()
    assert failures(lines) == []
    assert not any(line["cached"] for line in lines)
    assert b"conversion_cache_up 0.0" in api.get("/metrics")[1]
    stack.redis.start()
    part = (SAMPLES / "bracket.ply").read_bytes()
    eventually(lambda: post(api, "ply/obj", part)[1]["cached"], 30)
    assert b"conversion_cache_up 1.0" in api.get("/metrics")[1]
    assert engine.ready


def test_frozen_redis_costs_little(stack: Stack) -> None:
    api, _ = stack.api(), stack.engine()
    assert post(api, "stl/obj", (SAMPLES / "box.stl").read_bytes())[0] == 201
    os.kill(stack.redis.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for number in range(12):
            part = (SAMPLES / "box.obj").read_bytes() + f"# {number}\n".encode()
            assert post(api, "obj/stl", part)[0] == 201
        assert time.monotonic() - began < 25
    finally:
        os.kill(stack.redis.pid, signal.SIGCONT)


def test_engine_drains_on_sigterm(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine()
    sent = background(lambda: post(api, "step/stl?deflection=0.03&angle=5", TORUS.read_bytes()))
    eventually(lambda: len(engine.children()) == 2)
    engine.terminate()
    eventually(lambda: engine.process is not None and (engine.process.poll() is not None or not engine.ready), 5)
    status, answer = sent.result(timeout=120)
    assert (status, answer["status"]) == (201, "completed")
    assert engine.process is not None
    assert engine.process.wait(timeout=30) == 0
    assert "draining: 1 jobs in hand" in engine.log.read_text()


def test_engine_gives_back_what_it_cannot_finish(stack: Stack) -> None:
    api, engine = stack.api(), stack.engine(DRAIN=1, ACK_WAIT=60)
    sent = background(lambda: post(api, "step/stl?deflection=0.02&angle=5", TORUS.read_bytes()))
    eventually(lambda: len(engine.children()) == 2)
    began = time.monotonic()
    assert engine.end() == 0
    assert time.monotonic() - began < 15
    stack.engine(ACK_WAIT=60)  # it was given back, so it comes at once and not after the minute
    status, answer = sent.result(timeout=45)
    assert (status, answer["status"]) == (201, "completed")


def test_api_drains_on_sigterm(stack: Stack, load: Callable[..., Load]) -> None:
    api, _ = stack.api(LAME_DUCK=2), stack.engine()
    sent = background(lambda: post(api, "step/stl?deflection=0.03&angle=5", TORUS.read_bytes()))
    eventually(lambda: b"conversion_active 1.0" in api.get("/metrics")[1])
    running = load(api, 2)
    api.terminate()
    eventually(lambda: api.get("/readyz")[0] == 503, 5)
    assert post(api, "stl/obj", (SAMPLES / "box.stl").read_bytes())[0] == 201  # it serves on: the balancer is slow
    lines = running.finish()
    assert failures(lines) == []
    assert sent.result(timeout=120)[0] == 201
    assert api.process is not None
    assert api.process.wait(timeout=30) == 0


def test_rolling_engines_under_load(stack: Stack, load: Callable[..., Load]) -> None:
    """New one up, old one ended, twice: as a deploy does it."""
    api, old = stack.api(), [stack.engine(), stack.engine()]
    running = load(api, 3)
    for engine in old:
        stack.engine()
        assert engine.end() == 0
    time.sleep(1)
    lines = running.finish()
    assert failures(lines) == []


def test_drain_over_http(stack: Stack) -> None:
    api, engine = stack.api(LAME_DUCK=1), stack.engine()
    for server in (api, engine):
        status, _ = request(server.port, "POST", "/drain", None, headers={"X-Forwarded-For": "1.2.3.4"})
        assert status == 403
        assert server.ready
    for server in (api, engine):
        eventually(lambda server=server: request(server.port, "POST", "/drain", None)[0] == 200, 20)  # type: ignore[misc]
        assert not server.ready
        assert server.get("/healthz")[0] == 200
    status, answer = request(api.port, "GET", "/drain", None)
    assert b'"drained": true' in answer


def test_port_in_use_is_told(stack: Stack) -> None:
    api = stack.api()
    second = stack.service("api", LISTEN_PORT=api.port)
    second.start()
    assert second.process is not None
    assert second.process.wait(timeout=30) == 1
    assert "Cannot listen on" in second.log.read_text()


def test_disk_that_is_full_is_told(stack: Stack, tmp_path: Path) -> None:
    """A tiny file system as the work directory, where that can be had."""
    place = tmp_path / "tiny"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], capture_output=True, timeout=20
    ).returncode:
        pytest.skip("needs the right to mount")
    try:
        api = stack.api(WORK_DIR=place)
        status, answer = post(api, "stl/obj", bytes(8 << 20))
        assert status == 503
        assert "disk" in answer["error"]
        assert post(api, "stl/obj", b"")[0] == 400  # it goes on
    finally:
        for server in stack.servers:
            server.stop()
        subprocess.run(["umount", place], timeout=20, check=True)
