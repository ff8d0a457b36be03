# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a host: executables of a folder, which run one after the other by their names."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from ansible_collections.boring.fleet.plugins.module_utils.host.lifecycle import Result

_LOOK: Final = 0.5
_GRACE: Final = 10.0  # seconds between SIGTERM and SIGKILL
_LINE: Final = 400  # characters of a reason


class Folder:
    """Runs the steps below `root`. What they print goes to `out` line by line; the last line of one that fails is why."""

    def __init__(self, root: Path, out: Callable[[str], None], seconds: float) -> None:
        """`seconds` is what one step may take."""
        self._root = root
        self._out = out
        self._seconds = seconds

    def __call__(self, folder: str, tick: Callable[[], bool]) -> Result:
        """See Steps."""
        for path in self._found(folder):
            result = self._run(path, tick)
            if result.step:
                return result
        return Result()

    def _found(self, folder: str) -> list[Path]:
        """Without those of editors and packages: a dot at the beginning, or one in the name."""
        try:
            entries = sorted((self._root / folder).iterdir())
        except FileNotFoundError:
            return []
        return [path for path in entries if "." not in path.name and path.is_file() and os.access(path, os.X_OK)]

    def _run(self, path: Path, tick: Callable[[], bool]) -> Result:
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as nothing:
            try:
                process = subprocess.Popen(
                    [str(path)], stdin=nothing, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
            except OSError as exc:
                return Result(path.name, 1, f"{path} cannot be run: {exc.strerror}")
            tail = _Tail(output, self._out)
            deadline = time.monotonic() + self._seconds
            try:
                while process.poll() is None:
                    if not tick():
                        _end(process)
                        tail.more()
                        return Result(path.name, None, "")
                    if time.monotonic() > deadline:
                        _end(process)
                        tail.more()
                        return Result(path.name, 1, f"{path.name} did not end in {self._seconds:.0f} s")
                    tail.more()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_LOOK)
            finally:
                if process.poll() is None:  # this process itself is told to end
                    _end(process)
            tail.more()
            return Result() if process.returncode == 0 else Result(path.name, process.returncode, tail.last[:_LINE])


class _Tail:
    """Hands on what was written to a file since it was asked last."""

    def __init__(self, file: IO[bytes], out: Callable[[str], None]) -> None:
        self._file, self._out, self._at, self.last = file, out, 0, ""

    def more(self) -> None:
        text = os.pread(self._file.fileno(), 1 << 20, self._at)
        self._at += len(text)
        for line in text.decode(errors="replace").splitlines():
            if line.strip():
                self.last = line.strip()
                self._out(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and all that it started, also what outlives it."""
    deadline = time.monotonic() + _GRACE
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            process.poll()
            os.killpg(process.pid, 0)  # raises when nobody of it is left
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_GRACE)
