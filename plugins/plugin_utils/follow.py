# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live progress of a module that runs on the controller: what it writes to a file is shown as it comes."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PAUSE = 0.3  # seconds between two looks at the file


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
    """Hands every line that is appended to a file to `show`, for as long as it is entered."""

    def __init__(self, path: str, show: Callable[[str], None]) -> None:
        self._path = Path(path)
        self._show = show
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)
        self._offset = self._path.stat().st_size if self._path.exists() else 0
        self._rest = b""

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

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
            self._show(line.decode(errors="replace"))
