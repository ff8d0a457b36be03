# SPDX-License-Identifier: GPL-3.0-or-later
"""The conversion service against the library alone in one process, against `assimp` of Debian, and against itself with two workers.

Same files, same run, everything on loopback: a small part (STEP), an assembly of some MB (STEP), a mesh of a million triangles (STL).
Ways are measured in turn, so that the machine's mood touches all; medians are compared. `make bench-engine` runs it; `--soak 60`
shortens the ten minutes in which every part is killed, `--soak 0` leaves them out.

Last line: overhead is the service (cold) over the library, the worst of the files; a file whose difference is 20 ms or less counts as
1.00. Of assimp is the library over the program `assimp`, STL to OBJ, each in a process of its own. Scaling is two workers over one.
Cached is answers a second of the API's own processor time. Lost counts accepted operations that have no result. (Ended is
each once, by its record; that one was converted a second time, because NATS was away for longer than an engine may be silent, is said.)
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "engine" / "src"), str(ROOT / "tests" / "integration" / "engine")]

import numpy as np  # noqa: E402
from conversion_stack import Server, Stack, eventually, request  # noqa: E402

PLACE = ROOT / "build" / "bench" / "engine"
ROUNDS = 5
SMALL = 20.0  # ms that the service may cost however fast the library is
AT_ONCE = 48  # jobs of which two workers have to do twice as many as one
PENDING = 4  # operations that a client of the soak has on their way
CACHED = 3000  # answers that are asked for
LIMITS = {
    "JOB_SECONDS": 600,
    "JOB_MEMORY": 8 << 30,
    "JOB_OUTPUT": 2 << 30,
    "MAX_BODY": 200 << 20,
    "WAIT": 300,
    "UPLOADS_PER_ADDRESS": 64,
}
# Converts in a process that has imported everything, as often as it is asked: milliseconds, a line each time.
LIBRARY = """
import sys, time
from pathlib import Path
from conversion import formats
from conversion.geometry.convert import convert
for line in sys.stdin:
    source, kind, target, output = line.split()
    pair = formats.pair(kind, output)
    began = time.perf_counter()
    convert(Path(source), kind, Path(target), output, formats.options(*pair, {}))
    print(round((time.perf_counter() - began) * 1000, 2), flush=True)
"""
ASSEMBLY = """
import sys
from OCP.BRep import BRep_Builder
from OCP.BRepPrimAPI import BRepPrimAPI_MakeCylinder, BRepPrimAPI_MakeTorus
from OCP.gp import gp_Trsf, gp_Vec
from OCP.BRepBuilderAPI import BRepBuilderAPI_Transform
from OCP.STEPControl import STEPControl_AsIs, STEPControl_Writer
from OCP.TopoDS import TopoDS_Compound
compound, builder = TopoDS_Compound(), BRep_Builder()
builder.MakeCompound(compound)
for number in range(400):
    shape = (BRepPrimAPI_MakeTorus(10, 3) if number % 2 else BRepPrimAPI_MakeCylinder(6, 15)).Shape()
    place = gp_Trsf()
    place.SetTranslation(gp_Vec(30 * (number % 20), 30 * (number // 20), 0))
    builder.Add(compound, BRepBuilderAPI_Transform(shape, place, True).Shape())
writer = STEPControl_Writer()
writer.Transfer(compound, STEPControl_AsIs)
writer.Write(sys.argv[1])
"""


class BenchError(Exception):
    """One sentence for the person at the terminal."""


@dataclass(frozen=True)
class Case:
    """A file, and what it becomes."""

    what: str
    path: Path
    kind: str
    output: str


def say(text: str) -> None:
    print(f"bench: {text}", flush=True)


def run(argv: list[str], seconds: float = 600) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src")}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False, env=env)
    if done.returncode:
        raise BenchError(f"{argv[0]} failed with {done.returncode}: {(done.stderr or done.stdout)[-400:].strip()}")
    return done.stdout


def files() -> list[Case]:
    """Made once, the same each time."""
    PLACE.mkdir(parents=True, exist_ok=True)
    assembly, mesh = PLACE / "assembly.step", PLACE / "million.stl"
    if not assembly.exists():
        run([sys.executable, "-c", ASSEMBLY, str(PLACE / "assembly.part")])
        (PLACE / "assembly.part").replace(assembly)
    if not mesh.exists():
        mesh.write_bytes(sphere(708))
    return [
        Case("a small part, STEP to STL", ROOT / "engine" / "samples" / "bracket.step", "step", "stl"),
        Case(f"an assembly of {assembly.stat().st_size / 1e6:.1f} MB, STEP to GLB", assembly, "step", "glb"),
        Case("a mesh of a million triangles, STL to OBJ", mesh, "stl", "obj"),
    ]


def sphere(count: int) -> bytes:
    """A closed sphere as binary STL: 2 * count * (count - 1) triangles."""
    polar, around = np.linspace(0, np.pi, count + 1), np.linspace(0, 2 * np.pi, count + 1)[:-1]
    grid = np.stack(
        [
            np.outer(np.sin(polar), np.cos(around)),
            np.outer(np.sin(polar), np.sin(around)),
            np.outer(np.cos(polar), np.ones(count)),
        ],
        axis=2,
    )
    grid[[0, -1], :, :2] = 0  # one point is the pole
    points = (grid * 100).astype("<f4")
    a, b = points[:-1], points[1:]
    c, d = np.roll(b, -1, axis=1), np.roll(a, -1, axis=1)
    lower = np.stack([a, b, c], axis=2)[:-1].reshape(-1, 3, 3)
    upper = np.stack([a, c, d], axis=2)[1:].reshape(-1, 3, 3)
    rows = np.zeros(
        len(lower) + len(upper), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
    )
    rows["corners"] = np.concatenate([lower, upper])
    return b"benchmark".ljust(80, b"\0") + len(rows).to_bytes(4, "little") + rows.tobytes()


class Library:
    """The converter in one process, without queue, sandbox or HTTP."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LIBRARY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src"), "OPENBLAS_NUM_THREADS": "1"},
        )

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(timeout=20)

    def milliseconds(self, case: Case) -> float:
        if self._process.stdin is None or self._process.stdout is None:
            raise BenchError("the library's process has no pipes")
        print(case.path, case.kind, PLACE / f"library.{case.output}", case.output, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the library's process ended at {case.path.name}")
        return float(line)


def changed(data: bytes, kind: str, number: int) -> bytes:
    """The same shape in other bytes, so that it is converted anew."""
    if kind == "stl":
        return number.to_bytes(8, "little") + data[8:]
    return data + b"/* %d */\n" % number


def ask(api: Server, case: Case, data: bytes) -> float:
    """Milliseconds from the request to its result, whatever its size; BenchError when there is none."""
    began = time.perf_counter()
    status, body = request(api.port, "POST", f"/file/conversion/{case.kind}/{case.output}", data, timeout=600)
    answer = json.loads(body)
    if status != 201:
        raise BenchError(f"the service answers {status} to {case.path.name}: {answer.get('error')}")
    if answer["outputs"] is None:
        status, _ = request(api.port, "GET", answer["output_url"], timeout=600)
    return (time.perf_counter() - began) * 1000


def overheads(api: Server, cases: list[Case]) -> float:
    """The table of the three files, and the worst of the service over the library."""
    numbers, worst = itertools.count(int(time.time() * 1000)), 1.0
    with Library() as library:
        for case in cases:
            data = case.path.read_bytes()
            found: dict[str, list[float]] = {"library": [], "cold": [], "cached": []}
            for turn in range(ROUNDS + 1):
                alone = library.milliseconds(case)
                once = changed(data, case.kind, next(numbers))
                cold, cached = ask(api, case, once), ask(api, case, once)
                if turn:  # the first one warms
                    for name, value in zip(found, (alone, cold, cached), strict=True):
                        found[name].append(value)
            middle = {name: statistics.median(values) for name, values in found.items()}
            ratio = middle["cold"] / middle["library"]
            small = middle["cold"] - middle["library"] <= SMALL
            worst = max(worst, 1.0 if small else ratio)
            say(
                f"{case.what}: library {middle['library']:,.0f} ms, service cold {middle['cold']:,.0f} ms ({ratio:.2f}), "
                f"cached {middle['cached']:,.0f} ms"
            )
    return worst


def of_assimp(mesh: Case) -> float:
    """Both as programs that start, convert and end; the library's converts, writes, reads back and compares."""
    program = shutil.which("assimp")
    if program is None:
        raise BenchError("assimp is not on this machine: apt-get install assimp-utils")
    line = f"{mesh.path} {mesh.kind} {PLACE / 'ours.obj'} obj\n"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src"), "OPENBLAS_NUM_THREADS": "1"}

    def ours() -> None:
        subprocess.run(
            [sys.executable, "-c", LIBRARY],
            input=line,
            text=True,
            env=env,
            check=True,
            timeout=600,
            stdout=subprocess.DEVNULL,
        )

    def theirs() -> None:
        run([program, "export", str(mesh.path), str(PLACE / "assimp.obj")])

    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(3):
        for name, work in (("ours", ours), ("theirs", theirs)):
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    mine, other = statistics.median(times["ours"]), statistics.median(times["theirs"])
    say(f"{mesh.what}: the library's process {mine:.2f} s, assimp {other:.2f} s")
    return mine / other


def scaling(stack: Stack, api: Server, case: Case) -> float:
    """Many equal jobs at once, by one worker and by two, in turn; the better run of each."""
    data, numbers = case.path.read_bytes(), itertools.count(int(time.time() * 1000))
    rates: dict[int, list[float]] = {1: [], 2: []}
    for workers in (1, 2, 1, 2):
        engine = stack.engine(WORKERS=workers, **LIMITS)
        ask(api, case, changed(data, case.kind, next(numbers)))
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(
                pool.map(
                    lambda number: ask(api, case, changed(data, case.kind, number)),
                    [next(numbers) for _ in range(AT_ONCE)],
                )
            )
        rates[workers].append(AT_ONCE / (time.perf_counter() - began))
        engine.end()
    one, two = max(rates[1]), max(rates[2])
    say(
        f"{case.what}, {AT_ONCE} at once: {one:.2f} a second by one worker, {two:.2f} by two, on {os.cpu_count()} processors"
    )
    return two / one


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cached(api: Server, case: Case) -> float:
    """Answers a second of the API's processor time, by four clients that keep their connections."""
    data = case.path.read_bytes()
    ask(api, case, data)

    def client(count: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)
        for _ in range(count):
            connection.request("POST", f"/file/conversion/{case.kind}/{case.output}", data)
            response = connection.getresponse()
            if b'"cached": true' not in response.read():
                raise BenchError(f"an answer with {response.status} was not from the cache")
        connection.close()

    client(100)
    began, at = processor_seconds(api.pid), time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(client, [CACHED // 4] * 4))
    used, wall = processor_seconds(api.pid) - began, time.perf_counter() - at
    say(
        f"{case.what}, from the cache: {CACHED / wall:,.0f} a second, {CACHED / used:,.0f} a second of the API's processor time"
    )
    return CACHED / used


def memory(stack: Stack) -> None:
    """What the API uses at most while four clients send it 200 MB each, which is more than it takes."""
    api = stack.api(MAX_BODY=100 << 20)

    def peak() -> int:
        status = Path(f"/proc/{api.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) >> 10

    before = peak()

    def zeros() -> Any:
        for _ in range(200):
            yield bytes(1 << 20)

    def send(_: int) -> int:
        headers = {"Transfer-Encoding": "chunked"}
        return request(api.port, "POST", "/file/conversion/stl/obj", zeros(), timeout=300, headers=headers)[0]

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(send, range(4)))
    say(
        f"four uploads of 200 MB: answered {sorted(set(statuses))}, the API's memory at most {peak()} MiB, {before} MiB before"
    )
    api.stop()


def soak(directory: Path, seconds: float) -> int:
    """Load while every part is killed in turn; how many operations were accepted and have no result."""
    stack = Stack(directory)
    stack.nats.start()
    stack.redis.start()
    try:
        apis = [stack.api(WAIT=0, ACCEPT_TIMEOUT=20) for _ in range(2)]
        engines = [stack.engine(WORKERS=1) for _ in range(2)]
        load = Soak(apis)
        threads = [threading.Thread(target=load.client, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        parts = itertools.cycle([engines[0], apis[0], stack.redis, engines[1], stack.nats, apis[1]])
        until, kills = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            time.sleep(min(8.0, seconds / 8))
            part = next(parts)
            part.kill()
            time.sleep(1)
            part.start()
            kills += 1
        eventually(lambda: all(part.ready for part in (*apis, *engines)), 120)
        load.stop.set()
        for thread in threads:
            thread.join(120)
        return load.settle(apis[1], [one.log for one in engines], seconds, kills)
    finally:
        for server in reversed(stack.servers):
            server.stop()


class Soak:
    """Clients that send a new part each time, keep the ids that they were given, and ask later."""

    def __init__(self, apis: list[Server]) -> None:
        self._apis = apis
        self._part = (ROOT / "engine" / "samples" / "bracket.stl").read_bytes()
        self.stop = threading.Event()
        self.accepted: list[tuple[str, float]] = []
        self.refused = 0

    def client(self, number: int) -> None:
        """A new part as soon as fewer than PENDING are on their way."""
        pending: list[str] = []
        for count in itertools.count():
            if len(pending) >= PENDING:
                self._wait_for(pending.pop(0))
            if self.stop.is_set():
                return
            data = changed(self._part, "stl", (number << 40) + count)
            try:
                status, body = request(
                    self._apis[(number + count) % 2].port, "POST", "/file/conversion/stl/obj", data, timeout=60
                )
            except (OSError, http.client.HTTPException):
                status, body = 0, b""
            if status in (201, 202):
                pending.append(json.loads(body)["id"])
                self.accepted.append((pending[-1], time.time()))
            else:
                self.refused += 1  # a killed part: the client was not promised anything
                time.sleep(0.2)

    def _wait_for(self, operation: str) -> None:
        for api in itertools.cycle(self._apis):
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                if self.stop.is_set() or final(api, operation):
                    return
            time.sleep(0.05)

    def settle(self, api: Server, logs: list[Path], seconds: float, kills: int) -> int:
        """Wait until all are at their end; the losses."""
        waits, lost = [], 0
        for operation, sent in self.accepted:
            record: dict[str, Any] = eventually(lambda operation=operation: final(api, operation), 300)
            if record.get("status") == "completed":
                waits.append((timestamp(record["completed_at"]) - sent) * 1000)
            else:
                lost += 1
                say(f"lost: {operation}: {record.get('status')} {record.get('error')}")
        text = "\n".join(log.read_text(encoding="utf-8") for log in logs)
        ends = Counter(line.split(" job ")[1].split()[0] for line in text.splitlines() if ": completed in " in line)
        twice = sum(count - 1 for count in ends.values())
        low, high = statistics.median(waits), sorted(waits)[int(len(waits) * 0.99)]
        say(
            f"soak of {seconds:g} s with {kills} kills: accepted {len(self.accepted)}, finished {len(waits)}, not accepted "
            f"{self.refused}, converted twice {twice}, lost {lost}, p50 {low:,.0f} ms, p99 {high:,.0f} ms"
        )
        return lost


def final(api: Server, operation: str) -> dict[str, Any] | None:
    status, body = request(api.port, "GET", f"/async/operations/{operation}", timeout=60)
    if status == 404:
        return {"status": "gone"}
    record: dict[str, Any] = json.loads(body)
    return record if record.get("status") in ("completed", "failed", "cancelled") else None


def timestamp(text: str) -> float:
    from datetime import datetime  # noqa: PLC0415

    return datetime.fromisoformat(text).timestamp()


def in_stack(work: Callable[[Stack], float]) -> float:
    """A stack of its own, which ends with what is done in it."""
    with tempfile.TemporaryDirectory(dir=PLACE) as directory:
        stack = Stack(Path(directory))
        try:
            stack.nats.start()
            stack.redis.start()
            return work(stack)
        finally:
            for server in reversed(stack.servers):
                server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--soak", type=float, default=600, metavar="SECONDS", help="of load with kills (default 600)")
    seconds = parser.parse_args().soak
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it started ends with it
    cases = files()
    small, _, mesh = cases

    def compared(stack: Stack) -> float:
        api, _ = stack.api(**LIMITS, CACHE_MAX=256 << 20), stack.engine(WORKERS=1, **LIMITS, CACHE_MAX=256 << 20)
        return overheads(api, cases)

    def repeated(stack: Stack) -> float:
        api, _ = stack.api(), stack.engine(WORKERS=1)
        rate = cached(api, small)
        memory(stack)
        return rate

    overhead = in_stack(compared)
    assimp = of_assimp(mesh)
    two = in_stack(lambda stack: scaling(stack, stack.api(**LIMITS), small))
    rate = in_stack(repeated)
    lost = "not counted"
    if seconds:
        with tempfile.TemporaryDirectory(dir=PLACE) as directory:
            lost = str(soak(Path(directory), seconds))
    print(
        f"bench-engine: overhead {overhead:.2f}, of assimp {assimp:.2f}, scaling {two:.2f}, cached {rate:,.0f}, lost {lost}"
    )


if __name__ == "__main__":
    try:
        main()
    except (BenchError, AssertionError, subprocess.SubprocessError) as exc:
        sys.exit(f"bench: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)
