# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the controller: read with a limit, keys only where nobody else can read them, written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError

_LARGEST: Final = 4 * 1024 * 1024  # a dotenv file larger than this is a mistake


def read_text(path: Path, what: str) -> str:
    """The text of a file; `what` says what it is for. Raises DotenvError."""
    problem = ""
    data = b""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as exc:
        problem = (exc.strerror or type(exc).__name__).lower()
    if problem:
        raise DotenvError(f"{what} {path} cannot be read: {problem}")
    if len(data) > _LARGEST:
        raise DotenvError(f"{what} {path} is larger than {_LARGEST // 1024 // 1024} MiB; name the right file")
    text = _decoded(data)
    if text is None:
        raise DotenvError(f"{what} {path} is malformed: it is not UTF-8")
    return text


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:  # holds the bytes, so it must not become anybody's cause
        return None


def read_key_file(path: Path) -> str:
    """The text of a file of keys, which only its owner may read. Raises DotenvError."""
    try:
        found = path.stat()
    except OSError:
        return read_text(path, "the key file")  # says why
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise DotenvError(
            f"the key file {path} has the mode {stat.S_IMODE(found.st_mode):04o}, so others can read it: 'chmod 600 {path}'"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise DotenvError(f"the key file {path} belongs to another user: 'chown' it to the one who runs this")
    return read_text(path, "the key file")


def write_text(path: Path, text: str, mode: int) -> None:
    """Replace a file in one step, so that a reader or a crash sees the old one or the new one. Raises DotenvError."""
    problem = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                os.fchmod(file.fileno(), mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        problem = (exc.strerror or type(exc).__name__).lower()
    if problem:
        raise DotenvError(f"{path} cannot be written: {problem}")
