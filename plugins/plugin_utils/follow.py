# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live progress of a module that runs on the controller: what it writes to a file is shown as it comes."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PAUSE = 0.3  # seconds between two looks at the file
_A_LINE = 5.0  # as long as a signal waits for a line to be shown


def reads_along(action: Any) -> bool:
    """Whether the action's module writes to this very machine, as a user whose files we may read and prepare."""
    if getattr(action._connection, "transport", "") not in ("local", "ansible.builtin.local"):
        return False
    return not action._play_context.become or action._play_context.become_user in (None, "root")


def file_for(given: Any, prefix: str, folder: Path | None = None) -> tuple[str | None, bool]:
    """The file that a module is to write to, and whether it is ours to delete. None where there is no place for one.

    Ours are in `folder`, which is made if need be, or among the temporary files.
    """
    if given:
        return str(Path(str(given)).expanduser().absolute()), False
    try:
        if folder:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(prefix=prefix, suffix=".log", dir=folder)
    except OSError:
        return None, False
    os.close(handle)
    return path, True


class Follower:
    """Hands every line that is appended to a file to `show`, for as long as it is entered.

    A task runs in a process of its own, which Ansible ends by a signal when it is told to stop. Ended in the middle of a
    line, that process would keep the lock of the queue to Ansible, which would then wait for it for ever: so a signal is
    answered between two lines.
    """

    def __init__(self, path: str, show: Callable[[str], None]) -> None:
        self._path = Path(path)
        self._show = show
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)
        self._offset = self._path.stat().st_size if self._path.exists() else 0
        self._rest = b""
        self._showing = threading.Lock()
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Follower:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(handler := signal.getsignal(number)):
                    self._handlers[number] = handler
                    signal.signal(number, self._between_lines)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=5)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _between_lines(self, number: int, frame: Any) -> None:
        held = self._showing.acquire(timeout=_A_LINE)
        try:
            self._handlers[signal.Signals(number)](number, frame)
        finally:
            if held:
                self._showing.release()

    def _follow(self) -> None:
        while True:
            last = self._ended.is_set()
            with contextlib.suppress(OSError):
                self._read()
            if last:
                return
            self._ended.wait(_PAUSE)

    def _read(self) -> None:
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._offset:
                self._offset, self._rest = 0, b""  # begun anew
            file.seek(self._offset)
            data = self._rest + file.read()
            self._offset = file.tell()
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            with self._showing:
                self._show(line.decode(errors="replace"))
