# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an engine's jobs have their directories: nobody can list it, and no name in it can be guessed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "conversion-jobs-"


class Place:
    """A directory of one engine below `work_dir`, locked while that engine lives."""

    def __init__(self, work_dir: Path) -> None:
        clear(work_dir)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=work_dir))
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self.path.exists():
                break
            os.close(self._lock)  # an engine that started at the same moment took it for one that was left
        self.path.chmod(0o300)

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A directory for one job, removed afterwards."""
        made = self.path / secrets.token_hex(16)
        made.mkdir(mode=0o700)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def close(self) -> None:
        """Remove it all."""
        _remove(self.path)
        os.close(self._lock)


def clear(work_dir: Path) -> None:
    """Remove what engines left that were killed; not what another one beside us uses."""
    for left in work_dir.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            left.chmod(0o700)
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                left.chmod(0o300)
            else:
                _remove(left)
            finally:
                os.close(lock)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
