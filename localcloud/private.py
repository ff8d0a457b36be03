# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that nobody but this user can have written: looked at before they are believed."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class OpenToOthersError(OSError):
    """Somebody else may have written what was to be read."""


def read(directory: Path, name: str) -> bytes:
    """What is in a file of a directory. Raises OpenToOthersError and OSError.

    Directory and file must be this user's, the directory closed to all others, the file not to be written by them, and neither
    a symbolic link. They are looked at through open descriptors, so that nobody puts others in their place meanwhile.
    """
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        about = os.fstat(folder)
        if about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise OpenToOthersError(0, "others can get into it", str(directory))
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(file, "rb") as stream:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
            raise OpenToOthersError(0, "others can write it", str(directory / name))
        return stream.read()


def write(path: Path, content: bytes) -> None:
    """Put a file in place, readable by this user only: the old one or the new one is there at any moment.

    Its directory must be this user's alone.
    """
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    part.replace(path)
