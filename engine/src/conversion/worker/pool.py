# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs conversions in processes of their own, through the zygote, and says how each went."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conversion

from ..errors import UnavailableError, one_line
from ..formats import FORMATS
from ..operation import NOTHING, About, Operation
from .sandbox import Isolation
from .zygote import OUTCOME_MAX

log = logging.getLogger(__name__)

ZYGOTE = (sys.executable, "-P", "-m", "conversion.worker.zygote")  # -P: nothing is imported from where it is started
FILES_MAX = 64
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Limits:
    """What one job may use: wall seconds, bytes of memory, bytes of result."""

    seconds: float
    memory: int
    output: int


@dataclass(frozen=True)
class End:
    """How a job's process ended: by a signal or with a status, what it said, and why it was `refused` if it never began."""

    signal: int = 0
    status: int = 0
    said: str = ""
    refused: str = ""

    @property
    def words(self) -> str:
        """For the log."""
        return signal.Signals(self.signal).name if self.signal else f"status {self.status}"


@dataclass(frozen=True)
class Outcome:
    """How a conversion went: a `result` and what is `about` it, an `error` sentence for the user, or `crash`, which says why
    to the log."""

    result: Path | None = None
    about: About = NOTHING
    error: str | None = None
    crash: str | None = None


class Pool:
    """Conversions in processes of their own. `start` returns when jobs can be taken."""

    def __init__(self, limits: Limits, program: Sequence[str] | None = None) -> None:
        self._limits = limits
        self._program = program or ZYGOTE
        self.isolation: Isolation | None = None  # known once started
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._pids: dict[str, int] = {}
        self._ended: dict[str, asyncio.Future[End]] = {}
        self._unwanted: set[str] = set()
        self._progress: dict[str, float] = {}  # by operation
        self._count = 0

    async def start(self) -> None:
        """Start the zygote unless it runs; UnavailableError when it cannot."""
        async with self._starting:
            if self._reader and not self._reader.done():
                return
            if self._process:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
            process = await asyncio.create_subprocess_exec(
                *self._program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=8 * OUTCOME_MAX,
                env={
                    "PATH": os.defpath,
                    "LANG": "C.UTF-8",
                    "PYTHONPATH": str(Path(conversion.__file__).resolve().parent.parent),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "OPENBLAS_NUM_THREADS": "1",  # threads do not survive a fork
                    "OMP_NUM_THREADS": "1",
                },
                process_group=0,  # a Ctrl-C in a terminal is for the engine, which drains
            )
            try:
                async with asyncio.timeout(120):
                    line = await _output(process).readline()
            except TimeoutError:
                line = b""
            if not line:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                raise UnavailableError("The converter does not start: see the log for what its process wrote.")
            self._tell(Isolation(**json.loads(line)["isolation"]))
            if self.isolation and not self.isolation.seccomp:
                process.kill()
                await process.wait()
                raise UnavailableError(
                    "This kernel does not hold a job to a list of system calls (seccomp): hostile files cannot be "
                    "converted safely here; use one with CONFIG_SECCOMP_FILTER on x86_64 or arm64."
                )
            self._process = process
            self._reader = asyncio.create_task(self._listen(_output(process)), name="zygote")

    async def close(self) -> None:
        """End the zygote and every job."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()  # its jobs die with it
            await self._process.wait()
        if self._reader:
            await self._reader

    @property
    def running(self) -> int:
        """Jobs that run now."""
        return len(self._ended)

    def progress(self, operation_id: str) -> float:
        """The share of a job that is done, as its process says."""
        return self._progress.get(operation_id, 0.0)

    async def convert(self, operation: Operation, directory: Path, source: Path) -> Outcome:
        """Convert `source` in `directory`, which the job may write to. Never raises for what a job does."""
        await self.start()
        self._count += 1
        job = f"{operation.id}-{self._count}"
        target = directory / operation.output_name
        ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._ended[job] = ended
        try:
            self._send(
                {
                    "job": job,
                    "dir": str(directory),
                    "source": str(source),
                    "target": str(target),
                    "src_format": operation.src_format,
                    "output_format": operation.output_format,
                    "options": operation.options,
                    "seconds": self._limits.seconds,
                    "memory": self._limits.memory,
                    "output": self._limits.output,
                }
            )
            until = asyncio.get_running_loop().time() + self._limits.seconds
            while not ended.done():
                left = until - asyncio.get_running_loop().time()
                if left <= 0:
                    return Outcome(error=self._too_long(operation))
                await asyncio.wait({ended}, timeout=min(left, LOOK_SECONDS))
                if not ended.done() and self._writes_too_much(directory):
                    return Outcome(error=self._too_big())
            return self._outcome(operation, directory, target, ended.result())
        finally:
            if not ended.done():
                self._unwanted.add(job)
                self._kill(job)
                # Its directory is removed when it is gone: what writes on would be left behind
                await asyncio.wait({ended}, timeout=5)
            self._ended.pop(job, None)
            self._pids.pop(job, None)
            self._progress.pop(operation.id, None)
            self._unwanted.discard(job)

    def _writes_too_much(self, directory: Path) -> bool:
        """Whether a job's files are more or larger, all together, than its source and a result may be. No job makes directories."""
        size = 0
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                with contextlib.suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                if number >= FILES_MAX:
                    return True
        # A library may write a result in parts before it is one
        return size > 3 * self._limits.output

    def _outcome(self, operation: Operation, directory: Path, target: Path, end: End) -> Outcome:
        if end.refused:
            raise UnavailableError(f"No process could be started for the job: {end.refused}.")
        if end.signal == signal.SIGXCPU:
            return Outcome(error=self._too_long(operation))
        if end.signal == signal.SIGXFSZ or self._writes_too_much(directory):
            return Outcome(error=self._too_big())
        # All of this was written by a process that may have been taken over by the file
        try:
            said = json.loads(end.said)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            return Outcome(crash=f"its process ended with {end.words}")
        if "refused" in said:
            raise UnavailableError(f"No process could be started for the job: {one_line(said['refused'])}.")
        if "memory" in said:
            return Outcome(error=self._too_much(operation))
        if "error" in said:
            return Outcome(error=one_line(said["error"]))
        if "fault" in said:
            return Outcome(crash=one_line(said["fault"]))
        if not plain_file(target):
            return Outcome(crash="its process left no plain file as the result")
        return Outcome(result=target, about=About.read(said))

    def _too_big(self) -> str:
        return f"The result is larger than the {self._limits.output >> 20} MiB that a result may have."

    def _too_long(self, operation: Operation) -> str:
        label = FORMATS[operation.src_format].label
        return f"The {label} file takes longer than the {self._limits.seconds:g} s that a conversion may take."

    def _too_much(self, operation: Operation) -> str:
        label = FORMATS[operation.src_format].label
        return (
            f"The {label} file takes more memory than the {self._limits.memory >> 20} MiB that a conversion may take."
        )

    def _send(self, words: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            raise UnavailableError("The converter is not running.")
        self._process.stdin.write(json.dumps(words).encode() + b"\n")

    def _kill(self, job: str) -> None:
        if pid := self._pids.get(job):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _listen(self, stdout: asyncio.StreamReader) -> None:
        while line := await stdout.readline():
            words = json.loads(line)
            job = words["job"]
            if "pid" in words:
                self._pids[job] = words["pid"]
                if job not in self._ended or job in self._unwanted:  # given up before it was seen to start
                    self._kill(job)
            elif "progress" in words:
                if job in self._ended:
                    self._progress[job.rpartition("-")[0]] = words["progress"]
            elif (waiting := self._ended.get(job)) and not waiting.done():
                waiting.set_result(
                    End(
                        words.get("signal", 0), words.get("exit", 0), words.get("outcome", ""), words.get("refused", "")
                    )
                )
        for waiting in self._ended.values():
            if not waiting.done():
                waiting.set_result(End(refused="the converter has ended"))

    def _tell(self, isolation: Isolation) -> None:
        if isolation != self.isolation:
            log.info("jobs are isolated by %s", ", ".join(f"{k}={v}" for k, v in isolation.as_dict().items()))
            for sentence in isolation.missing():
                log.warning("%s", sentence)
        self.isolation = isolation


def plain_file(path: Path) -> bool:
    """Whether this is a file itself, under this name alone: not a link to what another owns, not a pipe that blocks."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _output(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:  # never so: it was started with a pipe
        raise UnavailableError("The converter has no output.")
    return process.stdout
