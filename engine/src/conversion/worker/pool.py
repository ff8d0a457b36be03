# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs conversions in processes of their own, through the zygote, and says how each went."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conversion

from ..errors import UnavailableError
from ..formats import FORMATS
from ..operation import NOTHING, About, Operation
from .zygote import OUTCOME

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one job may use: wall seconds, bytes of memory, bytes of result."""

    seconds: float
    memory: int
    output: int


@dataclass(frozen=True)
class End:
    """How a job's process ended: by a signal or with a status."""

    signal: int
    status: int

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

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._pids: dict[str, int] = {}
        self._ended: dict[str, asyncio.Future[End]] = {}
        self._count = 0

    async def start(self) -> None:
        """Start the zygote unless it runs; UnavailableError when it cannot."""
        async with self._starting:
            if self._process and self._process.returncode is None:
                return
            if self._reader:
                await self._reader
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "conversion.worker.zygote",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
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
            try:
                end = await asyncio.wait_for(asyncio.shield(ended), self._limits.seconds)
            except TimeoutError:
                return Outcome(error=self._too_long(operation))
            return self._outcome(operation, directory, target, end)
        finally:
            if not ended.done():
                self._kill(job)
            self._ended.pop(job, None)
            self._pids.pop(job, None)

    def _outcome(self, operation: Operation, directory: Path, target: Path, end: End) -> Outcome:
        if end.signal == signal.SIGXCPU:
            return Outcome(error=self._too_long(operation))
        if end.signal == signal.SIGXFSZ:
            return Outcome(
                error=f"The result is larger than the {self._limits.output >> 20} MiB that a result may have."
            )
        try:
            outcome = json.loads((directory / OUTCOME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Outcome(crash=f"its process ended with {end.words}")
        if "memory" in outcome:
            return Outcome(error=self._too_much(operation))
        if "error" in outcome:
            return Outcome(error=str(outcome["error"]))
        if "fault" in outcome:
            return Outcome(crash=str(outcome["fault"]))
        return Outcome(result=target, about=About.read(outcome))

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
                if job in self._ended:
                    self._pids[job] = words["pid"]
                else:  # given up before it was seen to start
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(words["pid"], signal.SIGKILL)
            elif (waiting := self._ended.get(job)) and not waiting.done():
                waiting.set_result(End(words.get("signal", 0), words.get("exit", 0)))
        for waiting in self._ended.values():
            if not waiting.done():
                waiting.set_result(End(signal.SIGKILL, 0))


def _output(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:  # never so: it was started with a pipe
        raise UnavailableError("The converter has no output.")
    return process.stdout
