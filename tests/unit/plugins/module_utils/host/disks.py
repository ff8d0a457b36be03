# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks whose power can be cut: what a program wrote and nobody synced is gone, as on a real one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path


class Disk:
    """A file system of its own in a file. What the kernel has not written yet is in no copy of that file."""

    def __init__(self, image: Path, mounted: Path) -> None:
        self._image, self._mounted = image, mounted
        with image.open("wb") as file:
            file.truncate(256 << 20)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
        mounted.mkdir(parents=True, exist_ok=True)
        _run("mount", "-o", "loop,noatime", str(image), str(mounted))
        (mounted / "lost+found").rmdir()

    def sync(self) -> None:
        """As the kernel does by itself half a minute later."""
        _run("sync", "--file-system", str(self._mounted))

    def copy(self) -> None:
        """As the disk is at this moment."""
        (self._mounted / "never-synced").write_text("a program wrote it and did not sync")
        _run("cp", "--sparse=always", str(self._image), f"{self._image}.cut")

    def boot(self) -> None:
        """With what was on the disk when it was copied: the journal is replayed, as at any boot after a power cut."""
        self.end()
        Path(f"{self._image}.cut").replace(self._image)
        _run("mount", "-o", "loop,noatime", str(self._image), str(self._mounted))
        left = self._mounted / "never-synced"
        assert not left.exists() or not left.read_text(), "the cut must lose what nobody synced, or it is none"

    def end(self) -> None:
        _run("umount", str(self._mounted))


def cut_power(processes: Iterable[subprocess.Popen[bytes]], disks: Iterable[Disk]) -> None:
    """All at once: nobody runs any more when the first disk is copied, and nobody ends properly."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        os.kill(process.pid, signal.SIGSTOP)
    for disk in disks:
        disk.copy()
    for process in running:
        process.kill()
        process.wait(10)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
