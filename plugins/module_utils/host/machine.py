# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, units and programs of the host that this runs on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError

_SECONDS: Final = 30.0


class Machine(Protocol):
    """What a node needs of its host."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file or directory."""

    def read(self, path: str) -> str:
        """The text of a file, "" without one."""

    def write(self, path: str, text: str, owner: str, group: str, mode: int) -> bool:
        """Put it there in one step; whether it differed."""

    def overwrite(self, path: str, text: str) -> None:
        """Write into the file that is there, if there is one, in place."""

    def run(self, argv: Sequence[str], seconds: float = _SECONDS) -> tuple[int, str]:
        """A program's exit status and what it printed. One that takes longer ends with 124."""


class Host:
    """The real one."""

    def exists(self, path: str) -> bool:
        """See Machine."""
        return Path(path).exists()

    def read(self, path: str) -> str:
        """See Machine."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as exc:
            raise HostError(f"{path} cannot be read: {exc.strerror}") from exc

    def write(self, path: str, text: str, owner: str, group: str, mode: int) -> bool:
        """See Machine. At no moment is it half written, or readable for others."""
        to = Path(path)
        if self.exists(path) and self.read(path) == text:
            return False
        name = ""
        try:
            to.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=to.parent, prefix=".host-lifecycle-")
            with os.fdopen(handle, "w", encoding="utf-8") as temporary:
                shutil.chown(name, owner, group)
                os.fchmod(handle, mode)
                temporary.write(text)
                temporary.flush()
                os.fsync(handle)
            Path(name).replace(to)
        except (OSError, LookupError) as exc:
            if name:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
            reason = getattr(exc, "strerror", "") or str(exc)
            raise HostError(f"{path} cannot be written: {reason}; see the disk and the image") from exc
        return True

    def overwrite(self, path: str, text: str) -> None:
        """See Machine."""
        try:
            Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")
        except OSError as exc:
            raise HostError(f"{path} cannot be written: {exc.strerror}") from exc

    def run(self, argv: Sequence[str], seconds: float = _SECONDS) -> tuple[int, str]:
        """See Machine."""
        try:
            done = subprocess.run(
                list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=seconds, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return 124, f"{argv[0]} did not end in {seconds:.0f} s"
        except OSError as exc:
            return 127, f"{argv[0]} cannot be run: {exc.strerror}"
        return done.returncode, done.stdout


class StateFile:
    """The file in which the lifecycle remembers where it is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        """Its text, "" without one."""
        try:
            return self._path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def write(self, text: str) -> None:
        """In one step. A disk that is full does not keep the host from leaving: it begins again after a restart."""
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._path)
        except OSError:
            return


MAY_START: Final = "/run/host-lifecycle/may-start"
"""On a host of a fleet, the units of NATS, Redis and Sentinel start only when this file is there: at a boot, the node looks first at what they have."""

LEFT: Final = "/run/host-lifecycle/left"
"""A node that has left its cluster notes it there: its server must not be asked or started again, whatever is still to be done."""


def ended(machine: Machine, unit: str) -> bool:
    """Whether a unit has come to its end. One that starts, such as a server that loads its data, or stops, has not."""
    return machine.run(["systemctl", "is-active", unit])[1].strip() in ("inactive", "failed")


def unit(machine: Machine, verb: str, name: str, seconds: float) -> None:
    """Start, stop, restart or reload a unit, and wait for it. Raises HostError."""
    code, said = machine.run(["systemctl", verb, name], seconds)
    if code:
        raise HostError(f"{name} did not {verb}: {' '.join(said.split()[-40:]) or code}; see journalctl -u {name}")
