# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile job in the real sandbox, forked by the real process that jobs are forked from."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from conversion.errors import UnavailableError, one_line
from conversion.operation import Operation
from conversion.worker import cgroup, landlock, network, place, seccomp
from conversion.worker.pool import Limits, Outcome, Pool, plain_file

Run = Callable[[Any], Any]
ROOT = Path(__file__).resolve().parents[3]
HOSTILE = (sys.executable, "-P", str(ROOT / "tests" / "hostile_job.py"))
LIMITS = Limits(seconds=4, memory=256 << 20, output=16 << 20)
OPERATION = Operation("job", "stl", "obj", 1.0, "conversion:1:x", 4)


@contextlib.asynccontextmanager
async def started(*more: str, limits: Limits = LIMITS) -> AsyncIterator[Pool]:
    pool = Pool(limits, (*HOSTILE, *more))
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


async def play(pool: Pool, directory: Path, act: str, **about: str) -> Outcome:
    directory.mkdir(exist_ok=True)
    source = directory / "source.json"
    source.write_text(json.dumps({"act": act, **about}))
    return await pool.convert(OPERATION, directory, source)


def surroundings(tmp_path: Path) -> dict[str, str]:
    """Another job's directory, credentials, and a place to write to."""
    neighbour = tmp_path / "neighbour"
    neighbour.mkdir()
    for name in ("source.stl", "output.obj", "spare", "spare2"):
        (neighbour / name).write_text("another customer's")
    (tmp_path / "credentials").write_text("secret")
    return {
        "neighbour": str(neighbour),
        "outside": str(tmp_path / "outside"),
        "credentials": str(tmp_path / "credentials"),
    }


def test_every_act_is_refused(run: Run, tmp_path: Path) -> None:
    about = surroundings(tmp_path)

    async def story() -> None:
        async with started() as pool:
            outcome = await play(pool, tmp_path / "job", "all", **about)
            assert outcome.result is not None, outcome
            said = json.loads(outcome.result.read_text())
            assert len(said) > 35
            assert [act for act, end in said.items() if end == "done"] == []
            assert (await play(pool, tmp_path / "honest", "nothing")).result, "the parent was harmed"

    run(story())
    assert (tmp_path / "neighbour" / "output.obj").read_text() == "another customer's"


def test_the_acts_are_real(tmp_path: Path) -> None:
    """Without a sandbox they succeed, but for those that need a privilege which this machine may not give."""
    about = surroundings(tmp_path)
    code = (
        "import json, os, sys; sys.path.insert(0, sys.argv[1]); import hostile_job; pid = os.fork()\n"
        "if pid == 0:\n  os.chdir(sys.argv[2]); print(json.dumps(hostile_job.tried(json.loads(sys.argv[3]))), flush=True); os._exit(0)\n"
        "os.waitpid(pid, 0)"
    )
    (tmp_path / "source.json").touch()
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "tests"), str(tmp_path), json.dumps(about)],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    privileged = {
        "read the parent's memory", "write the parent's memory", "open the parent's memory",
        "open the parent's memory to write", "trace the parent", "other root", "own namespaces", "ring of system calls",
        "kill by a queued signal", "environments", "internet socket 6",
    }  # fmt: skip
    assert {act for act, end in said.items() if end != "done"} <= privileged, said


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("fill the disk", "larger than the 16 MiB"),
        ("eat memory", "more memory than the 256 MiB"),
        ("eat shared memory", "more memory than the 256 MiB"),
        ("run for ever", "longer than the 2 s"),
        ("two lines", "one Traceback [31m"),
    ],
)
def test_endless_appetite_has_an_end(run: Run, tmp_path: Path, act: str, words: str) -> None:
    async def story() -> None:
        limits = Limits(seconds=30 if "run" not in act else 2, memory=256 << 20, output=16 << 20)
        async with started(limits=limits) as pool:
            began = time.monotonic()
            outcome = await play(pool, tmp_path / "job", act)
            assert words in str(outcome.error), outcome
            assert time.monotonic() - began < 15
            assert len(str(outcome.error)) < 1100
            assert sum(file.stat().st_size for file in (tmp_path / "job").iterdir()) < 2 << 30
            assert (await play(pool, tmp_path / "honest", "nothing")).result

    run(story())


def test_what_a_job_says_is_bounded(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        async with started() as pool:
            honest = asyncio.create_task(play(pool, tmp_path / "honest", "nothing"))
            outcome = await play(pool, tmp_path / "job", "say too much")
            assert outcome.result is None
            assert (await honest).result

    run(story())


def test_a_job_that_says_nothing_keeps_nobody_busy(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        async with started() as pool:
            assert pool._process is not None
            stat = Path(f"/proc/{pool._process.pid}/stat")
            before = sum(int(word) for word in stat.read_text().split()[13:15])
            outcome = await play(pool, tmp_path / "job", "say nothing")
            assert outcome.crash
            ticks = sum(int(word) for word in stat.read_text().split()[13:15]) - before
            assert ticks < 0.7 * os.sysconf("SC_CLK_TCK"), "its parent span"

    run(story())


def test_groups_that_were_left_are_cleared(tmp_path: Path) -> None:
    """Only those of processes that are no more: another engine may be beside us."""
    for name in ("job-999999999-a", f"job-{os.getpid()}-b", "other"):
        (tmp_path / name).mkdir()
    cgroup.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"job-{os.getpid()}-b", "other"]


def test_a_fork_that_fails_ends_one_job(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        async with started("--first-fork-fails") as pool:
            with pytest.raises(UnavailableError, match="Resource temporarily unavailable"):
                await play(pool, tmp_path / "job", "nothing")
            assert (await play(pool, tmp_path / "again", "nothing")).result

    run(story())


def test_a_sandbox_that_cannot_be_had_is_no_fault_of_the_file(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        async with started("--a-sandbox-fails") as pool:
            with pytest.raises(UnavailableError, match="No space left"):
                await play(pool, tmp_path / "sandbox-fails", "nothing")
            assert (await play(pool, tmp_path / "again", "nothing")).result

    run(story())


def test_the_end_of_the_parent_is_no_crash_of_its_jobs(run: Run, tmp_path: Path) -> None:
    """They are given back, not counted against their files."""

    async def story() -> None:
        async with started() as pool:
            job = asyncio.create_task(play(pool, tmp_path / "job", "run for ever"))
            await asyncio.sleep(0.3)
            assert pool._process is not None
            pool._process.kill()
            with pytest.raises(UnavailableError):
                await job
            assert (await play(pool, tmp_path / "again", "nothing")).result, "it is started anew"

    run(story())


def test_strays_end_with_their_job() -> None:
    """Where neither seccomp nor a control group kept them: what a dead child had started is found and killed."""
    code = """
import os, sys, time
from conversion.worker import sandbox, zygote
sandbox.inherit_orphans()
pid = os.fork()
if pid == 0:
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(60)
            time.sleep(60)
    os._exit(0)
os.waitpid(pid, 0)
time.sleep(0.3)
def mine():
    return open(f"/proc/self/task/{os.getpid()}/children").read().split()
assert len(mine()) == 5, mine()
zygote.end_strays({})
time.sleep(0.1)
assert mine() == [], mine()
print("none left")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src")},
    )  # fmt: skip
    assert done.stdout == "none left\n", done.stderr


def test_a_control_group_ends_what_is_in_it() -> None:
    groups = cgroup.parent()
    if groups is None:
        pytest.skip(
            "no control group of version 2 that this user may write to; test_strays_end_with_their_job is the other way"
        )
    group = groups / f"job-test-{os.getpid()}"
    code = (
        "import os, sys, time; from pathlib import Path; from conversion.worker import cgroup; cgroup.enter(Path(sys.argv[1]))\n"
        "os.setsid(); os.fork(); print('in', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(group)], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src")},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        cgroup.end(group)
        process.wait(timeout=10)
        until = time.monotonic() + 10
        while group.exists():
            assert time.monotonic() < until
            cgroup.end(group)
            time.sleep(0.05)
    finally:
        process.kill()
        process.stdout.close()


def test_layers_are_tried_and_told(run: Run) -> None:
    async def story() -> None:
        async with started() as pool:
            assert pool.isolation is not None
            assert pool.isolation.seccomp
            assert pool.isolation.landlock == landlock.version()
            assert bool(pool.isolation.missing()) == (not pool.isolation.landlock or not pool.isolation.cgroup)

    run(story())


@pytest.mark.parametrize(("machine", "token"), [("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)])
def test_numbers_of_system_calls_are_those_of_libseccomp(machine: str, token: int) -> None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.fail("libseccomp is missing, which apt and systemd need: apt-get install libseccomp2")
    column = 0 if machine == "x86_64" else 1
    for name, numbers in {**seccomp.ALLOWED, **seccomp.ABSENT, **{n: v[0] for n, v in seccomp.SOME.items()}}.items():
        if numbers[column] is not None:
            found = library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(token), name.encode())
            assert found == numbers[column], name
    assert len(seccomp.program(machine, 1)) % 8 == 0


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(OSError, match="riscv64"):
        seccomp.program("riscv64", 1)


def test_without_landlock_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert landlock.confine(tmp_path, []) is False
    assert landlock.confine_ports([1]) is False


def test_the_engine_calls_nobody_but_nats_and_redis() -> None:
    if landlock.version() < 4:
        pytest.skip("Landlock 4 is not in this kernel; the unit's IP filter is the other way")
    code = """
import socket, sys
from conversion.worker import network
listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
ports = [one.getsockname()[1] for one in listening]
assert network.call_only([f"nats://127.0.0.1:{ports[0]}", f"redis://127.0.0.1:{ports[1]}/0"])
for port in ports:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
        print("reached")
    except PermissionError:
        print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src")},
    )  # fmt: skip
    assert done.stdout.split() == ["reached", "reached", "refused"]


def test_metadata_that_is_not_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "METADATA", "127.0.0.1")
    assert network.metadata_denied() is False


def test_metadata_that_a_filter_of_addresses_refuses_is_seen() -> None:
    """The filter is what IPAddressDeny= makes of it: a program in the kernel, at the control group."""
    groups = cgroup.parent()
    if groups is None or os.geteuid() != 0 or os.uname().machine != "x86_64":
        pytest.skip("needs root and a control group of version 2; in earnest systemd does it")
    code = """
import ctypes, os, struct, sys
from pathlib import Path
from conversion.worker import cgroup, network
libc, group = ctypes.CDLL(None, use_errno=True), Path(sys.argv[1])
deny = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xb7, 0, 0, 0, 0x95, 0, 0, 0))  # return 0
license = ctypes.create_string_buffer(b"GPL")
load = struct.pack("<IIQQIIQII16sII", 8, 2, ctypes.addressof(deny), ctypes.addressof(license), 0, 0, 0, 0, 0, b"deny", 0, 1)
program = libc.syscall(321, 5, ctypes.create_string_buffer(load, 128), 120)
if program < 0:
    sys.exit("no bpf: " + os.strerror(ctypes.get_errno()))
cgroup.enter(group)
attach = struct.pack("<IIII", os.open(group, os.O_RDONLY), program, 1, 0)
assert not network.metadata_denied()
assert libc.syscall(321, 8, ctypes.create_string_buffer(attach, 128), 16) == 0, os.strerror(ctypes.get_errno())
print("denied" if network.metadata_denied() else "not seen")
"""
    group = groups / f"job-filter-{os.getpid()}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(group)], capture_output=True, text=True, timeout=30,
            env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src")},
        )  # fmt: skip
    finally:
        cgroup.end(group)
    if "no bpf" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.stdout == "denied\n", done.stderr


def test_places_are_hidden_and_cleared(tmp_path: Path) -> None:
    first, second = place.Place(tmp_path), place.Place(tmp_path)
    assert first.path.exists(), "one that is in use was cleared"
    assert first.path.stat().st_mode & 0o777 == 0o300
    with first.directory() as made:
        assert len(made.name) == 32
        (made / "file").touch()
    assert not made.exists()
    os.close(second._lock)  # as if its engine were killed
    place.clear(tmp_path)
    assert first.path.exists()
    assert not second.path.exists()
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_only_a_plain_file_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert plain_file(tmp_path / "plain")
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    os.mkfifo(tmp_path / "pipe")
    assert not any(plain_file(tmp_path / name) for name in ("link", "pipe", "none", "."))
    os.link(tmp_path / "plain", tmp_path / "second")
    assert not plain_file(tmp_path / "plain")


def test_words_of_a_job_are_one_line() -> None:
    assert one_line("a\nb\x1b[0m\u2028c" + "x" * 9000).startswith("a b [0m c")
    assert len(one_line("x" * 9000)) <= 1000
