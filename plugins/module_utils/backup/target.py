# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where backups are kept: objects with names, as a bucket has them. Here in a directory."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import Protocol

from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError


class Target(Protocol):
    """What a backup needs of the place. Keys have slashes; everything raises BackupError."""

    def put(self, key: str, data: bytes) -> None:
        """An object is there as a whole or not at all."""

    def get(self, key: str) -> bytes:
        """The object's bytes."""

    def list(self, prefix: str) -> dict[str, int]:
        """All objects whose key begins so, and their sizes; keys without the prefix. Also what a writer that was cut off left behind."""

    def delete(self, key: str) -> None:
        """Take one away; one that is not there is no fault."""


class Directory:
    """A directory, which may be a mounted share."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def put(self, key: str, data: bytes) -> None:
        """See Target."""
        to = self._path / key
        name = ""
        try:
            if not self._path.is_dir():  # what is not mounted is not made
                raise FileNotFoundError(errno.ENOENT, "there is no such directory")
            to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=to.parent, prefix=".data-backup-")
            with os.fdopen(handle, "wb") as temporary:
                temporary.write(data)
                temporary.flush()
                os.fsync(handle)
            Path(name).replace(to)
            self._settle(to.parent)
        except OSError as exc:
            if name:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
            raise self._trouble(to, "cannot be written", exc) from exc

    def get(self, key: str) -> bytes:
        """See Target."""
        path = self._path / key
        try:
            return path.read_bytes()
        except OSError as exc:
            raise self._trouble(path, "cannot be read", exc) from exc

    def list(self, prefix: str) -> dict[str, int]:
        """See Target."""
        top = self._path / prefix
        if not self._path.is_dir():
            raise BackupError(f"{self._path} is no directory: make it, or mount what belongs there.")
        found: dict[str, int] = {}
        try:
            for path in top.rglob("*"):
                with contextlib.suppress(FileNotFoundError):  # another host writes or deletes meanwhile
                    if path.is_file():
                        found[str(path.relative_to(top))] = path.stat().st_size
        except OSError as exc:
            raise self._trouble(top, "cannot be read", exc) from exc
        return found

    def delete(self, key: str) -> None:
        """See Target. A folder goes with its last file."""
        path = self._path / key
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise self._trouble(path, "cannot be deleted", exc) from exc
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def _settle(self, folder: Path) -> None:
        """The name is on the disk too, and that of the folder."""
        for each in (folder, folder.parent):
            handle = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _trouble(self, path: Path, what: str, exc: OSError) -> BackupError:
        return BackupError(f"{path} {what}: {exc.strerror or exc}; look at the directory, its disk and its owner.")
