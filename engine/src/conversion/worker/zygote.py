# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that jobs are forked from.

Importing OpenCascade takes a second and 200 MB; done once here, a job's own process costs some milliseconds. Each job
runs in a fork that is used once, in a sandbox (see sandbox.py): whatever a hostile file does there ends with that process.

Speaks JSON lines: on standard input {"job": id, "dir": path, ...} starts one; on standard output {"ready": true, ...} once,
{"job": id, "pid": n} when one has started, {"job": id, "progress": 0 to 1} as it goes on, {"job": id, "exit": n or "signal": n,
"outcome": text} when it has ended, and {"job": id, "refused": reason} when it could not be started. Ends, with all its jobs, when
standard input closes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..progress import PROGRESS
from . import cgroup, sandbox

OUTCOME_MAX = 1 << 20
PROGRESS_MAX = 100  # lines of one job that are passed on


@dataclass
class Running:
    """A job's process: what it says comes out of a pipe that no other job ever held: lines of progress, then its outcome."""

    job: str
    outcome: int
    group: Path | None
    said: bytes = b""
    silent: bool = False  # it closed the pipe, which must not be waited for any more
    told: int = 0  # lines of progress so far


def run_job(job: dict[str, Any], outcome: int, group: Path | None) -> None:
    """The fork's whole life: enter the sandbox, convert, say how it went, end."""
    from ..errors import InputError  # noqa: PLC0415 - imported before the fork, see main()
    from ..geometry.convert import convert  # noqa: PLC0415

    sandbox.die_with_parent()
    quiet = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):  # OpenCascade prints what it reads
        os.dup2(quiet, number)
    os.closerange(3, outcome)
    os.closerange(outcome + 1, 65536)
    try:
        sandbox.limit(job["memory"], job["seconds"], job["output"])
        sandbox.confine(Path(job["dir"]), group=group)
    except OSError as exc:  # our fault, not the file's: it was not opened yet
        os.write(outcome, json.dumps({"refused": f"no sandbox: {exc}"}).encode())
        return
    PROGRESS.set(lambda share: os.write(outcome, b"%.2f\n" % share))
    try:
        result = convert(
            Path(job["source"]),
            job["src_format"],
            Path(job["target"]),
            job["output_format"],
            job["options"],
        )
        said: dict[str, Any] = {"warnings": result.warnings, "statistics": result.statistics}
    except InputError as exc:
        said = {"error": str(exc)}
    except MemoryError:
        said = {"memory": True}
    except Exception as exc:
        if isinstance(exc, OSError) and exc.errno == errno.EFBIG:
            said = {"error": f"The result is larger than the {job['output'] >> 20} MiB that a result may have."}
        # OpenCascade's exceptions (Standard_Failure and its kind) all mean a shape that it cannot work with
        elif type(exc).__module__.startswith("OCP"):
            said = {"error": "The shape in the file is faulty: repair it where it was made and export it again."}
        else:
            said = {"fault": f"{type(exc).__name__}: {exc}"}
    data = json.dumps(said).encode()
    while data:
        data = data[os.write(outcome, data) :]


def say(**words: Any) -> None:
    """One line to the engine."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


class Zygote:
    """Forks on demand, and reports."""

    def __init__(self) -> None:
        self.running: dict[int, Running] = {}
        self._groups = cgroup.parent()
        self._leaving: set[Path] = set()  # ended, but the kernel had not let go of them yet
        if self._groups:
            cgroup.clear(self._groups)
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)

    def serve(self) -> int:
        """Until standard input closes."""
        signal.set_wakeup_fd(self._waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM):  # the engine decides when we end
            signal.signal(number, signal.SIG_IGN)
        buffer = b""
        say(ready=True, isolation=sandbox.tried().as_dict())
        while True:
            pipes = {one.outcome: one for one in self.running.values() if not one.silent}
            readable, _, _ = select.select([0, self._wake, *pipes], [], [])
            for descriptor in readable:
                if descriptor in pipes:
                    self._hear(pipes[descriptor])
            if self._wake in readable:
                os.read(self._wake, 4096)
                self._reap()
            if 0 not in readable:
                continue
            data = os.read(0, 65536)
            if not data:
                for pid, one in self.running.items():
                    kill(pid)
                    if one.group:
                        cgroup.end(one.group)
                return 0
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                self._start(json.loads(line))

    def _start(self, job: dict[str, Any]) -> None:
        try:
            hear, outcome = os.pipe()
        except OSError as exc:
            say(job=job["job"], refused=os.strerror(exc.errno or 0))
            return
        group = self._groups and cgroup.name(self._groups, job["job"])
        try:
            pid = os.fork()
        except OSError as exc:  # no process to be had: that is this job's end and no other's
            os.close(hear)
            os.close(outcome)
            say(job=job["job"], refused=os.strerror(exc.errno or 0))
            return
        if pid == 0:
            code = 70
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                run_job(job, outcome, group)
                code = 0
            finally:
                os._exit(code)
        os.close(outcome)
        os.set_blocking(hear, False)
        self.running[pid] = Running(job["job"], hear, group)
        say(job=job["job"], pid=pid)

    @staticmethod
    def _hear(one: Running) -> bool:
        """Take in what a job says; False at the end of it. What is too much is thrown away, and no outcome then."""
        try:
            data = os.read(one.outcome, 65536)
        except BlockingIOError:
            return False
        if len(one.said) <= OUTCOME_MAX:
            *lines, one.said = (one.said + data).split(b"\n")
            for line in lines[: PROGRESS_MAX - one.told]:
                one.told += 1
                if (share := progress(line)) is not None:
                    say(job=one.job, progress=share)
        one.silent = not data
        return bool(data)

    def _reap(self) -> None:
        """Report all jobs that have ended, and end what they left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            one = self.running.pop(pid, None)
            if one is None:
                continue
            while self._hear(one):
                pass
            os.close(one.outcome)
            if one.group:
                self._leaving.add(one.group)
            self._leaving = {group for group in self._leaving if not cgroup.end(group)}
            end_strays(self.running)
            code = os.waitstatus_to_exitcode(status)
            said = one.said.decode("utf-8", "replace") if len(one.said) <= OUTCOME_MAX else ""
            say(job=one.job, outcome=said, **({"signal": -code} if code < 0 else {"exit": code}))


def progress(line: bytes) -> float | None:
    """What a job says of how far it is, from 0 to 1; None for anything else: a hostile file may have made it say so."""
    match = re.fullmatch(rb"[01]\.[0-9]{2}", line)
    return min(1.0, float(match.group())) if match else None


def end_strays(running: dict[int, Running]) -> None:
    """Kill every child that is no job: what a dead job had started has become ours."""
    until = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
        except OSError:
            return
        strays = [int(word) for word in children if int(word) not in running]
        alive = 0
        for pid in strays:
            kill(pid)
            with contextlib.suppress(ChildProcessError):
                alive += os.waitpid(pid, os.WNOHANG)[0] == 0
        if not alive:
            # What a stray had started has become ours as it died: look once more, until nobody is left
            if not strays:
                return
            continue
        time.sleep(0.01)


def kill(pid: int) -> None:
    """End a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def main() -> int:
    """Import, then fork on demand."""
    sandbox.die_with_parent()
    if os.getppid() == 1:
        return 1
    with contextlib.suppress(OSError):  # should the machine run out of memory, jobs go and not the engine
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    sandbox.close_to_others()
    sandbox.inherit_orphans()
    from .. import geometry  # noqa: F401, PLC0415
    from ..geometry import convert  # noqa: F401, PLC0415

    return Zygote().serve()


if __name__ == "__main__":
    sys.exit(main())
