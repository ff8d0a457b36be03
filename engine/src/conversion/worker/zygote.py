# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that jobs are forked from.

Importing OpenCascade takes a second and 200 MB; done once here, a job's own process costs some milliseconds. Each job
runs in a fork that is used once, under hard limits, without the engine's environment: whatever a hostile file does
there ends with that process.

Speaks JSON lines: on standard input {"job": id, "dir": path, ...} starts one; on standard output {"ready": true} once,
{"job": id, "pid": n} when one has started, {"job": id, "exit": n} or {"job": id, "signal": n} when it has ended.
Ends, with all its jobs, when standard input closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import sys
from pathlib import Path
from typing import Any

OUTCOME = "outcome.json"
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit(memory: int, seconds: float, output: int) -> None:
    """Hard limits: `memory` bytes more than now, CPU seconds, file size in bytes, no core dump, no new process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])  # data and stack, in pages
    data = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    cpu = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run_job(job: dict[str, Any]) -> None:
    """The fork's whole life: convert, leave outcome.json in the job's directory, end."""
    from ..errors import InputError  # noqa: PLC0415 - imported before the fork, see main()
    from ..geometry.convert import convert  # noqa: PLC0415

    die_with_parent()
    os.setsid()
    os.chdir(job["dir"])
    quiet = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):  # OpenCascade prints what it reads
        os.dup2(quiet, number)
    limit(job["memory"], job["seconds"], job["output"])
    with contextlib.suppress(OSError):  # should the machine run out of memory, this process goes and not the engine
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        result = convert(
            Path(job["source"]), job["src_format"], Path(job["target"]), job["output_format"], job["options"]
        )
        outcome: dict[str, Any] = {"warnings": result.warnings, "statistics": result.statistics}
    except InputError as exc:
        outcome = {"error": str(exc)}
    except MemoryError:
        outcome = {"memory": True}
    except Exception as exc:
        if isinstance(exc, OSError) and exc.errno == errno.EFBIG:
            outcome = {"error": f"The result is larger than the {job['output'] >> 20} MiB that a result may have."}
        # OpenCascade's exceptions (Standard_Failure and its kind) all mean a shape that it cannot work with
        elif type(exc).__module__.startswith("OCP"):
            outcome = {"error": "The shape in the file is faulty: repair it where it was made and export it again."}
        else:
            outcome = {"fault": f"{type(exc).__name__}: {exc}"}
    partial = Path(OUTCOME + ".part")
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    partial.rename(OUTCOME)


def say(**words: Any) -> None:
    """One line to the engine."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Import, then fork on demand."""
    die_with_parent()
    if os.getppid() == 1:
        return 1
    from .. import geometry  # noqa: F401, PLC0415
    from ..geometry import convert  # noqa: F401, PLC0415

    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM):  # the engine decides when we end
        signal.signal(number, signal.SIG_IGN)
    jobs: dict[int, str] = {}
    buffer = b""
    say(ready=True)
    while True:
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            reap(jobs)
        if 0 not in readable:
            continue
        data = os.read(0, 65536)
        if not data:
            for pid in jobs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return 0
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            job = json.loads(line)
            pid = os.fork()
            if pid == 0:
                code = 70
                try:
                    signal.set_wakeup_fd(-1)
                    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                        signal.signal(number, signal.SIG_DFL)
                    os.close(wake)
                    os.close(waker)
                    run_job(job)
                    code = 0
                finally:
                    os._exit(code)
            jobs[pid] = job["job"]
            say(job=job["job"], pid=pid)


def reap(jobs: dict[int, str]) -> None:
    """Report all jobs that have ended."""
    while jobs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        job = jobs.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            say(job=job, signal=-code)
        else:
            say(job=job, exit=code)


if __name__ == "__main__":
    sys.exit(main())
