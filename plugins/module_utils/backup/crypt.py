# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption by age: a host has only public keys, so whoever gets a host or the bucket cannot read what was backed up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError

_PROGRAM: Final = "age"
_PIECE: Final = 1 << 20
_END_SECONDS: Final = 60.0


class Encrypted:
    """A file that is written through age. After `close` it is complete; left otherwise, it must not be used."""

    def __init__(self, path: Path, recipients: Sequence[str]) -> None:
        argv = [_PROGRAM, "--encrypt", "--output", str(path)]
        for one in recipients:
            argv += ["--recipient", one]
        self._process = _start(argv, subprocess.PIPE, subprocess.DEVNULL)
        self._input: IO[bytes] = self._process.stdin  # type: ignore[assignment]

    def write(self, data: bytes) -> None:
        """Raises BackupError, as for a disk that is full."""
        try:
            self._input.write(data)
        except OSError:
            raise BackupError(self._why()) from None

    def close(self) -> None:
        """Raises BackupError when the file is not complete."""
        with contextlib.suppress(OSError):
            self._input.close()
        if _ended(self._process):
            raise BackupError(self._why())

    def abort(self) -> None:
        """End it, whatever was written."""
        self._process.kill()
        with contextlib.suppress(OSError):
            self._input.close()
        self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()

    def _why(self) -> str:
        with contextlib.suppress(OSError):
            self._input.close()
        return f"age did not encrypt: {_said(self._process)}; look at the disk below /var/lib/data-backup, and at the recipients."


@contextlib.contextmanager
def decrypted(path: Path, identity: str) -> Iterator[Iterator[bytes]]:
    """The pieces of a file's contents. `identity`: the text of age's key file; it is on no disk and no command line.

    Raises BackupError at the piece where the file was changed or ends too early, or at once for another key.
    """
    read, write = os.pipe()
    process = None
    try:
        process = _start(
            [_PROGRAM, "--decrypt", "--identity", f"/dev/fd/{read}", str(path)],
            subprocess.DEVNULL,
            subprocess.PIPE,
            (read,),
        )
        os.close(read)
        # in a thread, for age may end without having read it all
        feeder = threading.Thread(target=_feed, args=(write, identity.encode()), daemon=True)
        feeder.start()
        yield _pieces(process)
    finally:
        if process is None:
            os.close(read)
            os.close(write)
        else:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()


def _feed(handle: int, data: bytes) -> None:
    with contextlib.suppress(OSError), os.fdopen(handle, "wb") as pipe:
        pipe.write(data)


def _pieces(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    output: IO[bytes] = process.stdout  # type: ignore[assignment]
    while piece := output.read(_PIECE):
        yield piece
    if _ended(process):
        raise BackupError(
            f"age did not decrypt: {_said(process)}; give the identity of one of the backup's recipients."
        )


def _start(argv: Sequence[str], given: int, taken: int, handles: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(argv, stdin=given, stdout=taken, stderr=subprocess.PIPE, pass_fds=handles)
    except OSError as exc:
        raise BackupError(f"{argv[0]} cannot be run ({exc.strerror}): install Debian's package {argv[0]}.") from exc


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit status."""
    try:
        return process.wait(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _said(process: subprocess.Popen[bytes]) -> str:
    """What age wrote to its standard error; it names no secret."""
    _ended(process)
    text = process.stderr.read().decode(errors="replace") if process.stderr else ""
    lines = [line.removeprefix("age: ").removeprefix("error: ").strip() for line in text.splitlines()]
    return (
        " ".join(line for line in lines if line and not line.startswith("report"))[:300]
        or f"it ended with {process.returncode}"
    )
