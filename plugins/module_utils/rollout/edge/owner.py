# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds the lock of a roll, and whether that process still lives.

An owner names a process so that nobody else can bear the name: machine (boot and pid namespace), pid and when it
started. A process that finds an owner of its own machine dead may go on in its place at once.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """``name`` goes into the lock; ``is_dead`` tells for certain that another owner is no more."""

    name: str
    machine: str
    proc: Path = Path("/proc")

    @classmethod
    def this_process(cls, proc: Path = Path("/proc")) -> Owner:
        host = re.sub(r"[^\w.-]", "-", os.uname().nodename)[:24]
        machine = _machine(proc)
        return cls(f"{host}/{machine}/{os.getpid()}/{_started(proc, os.getpid())}", machine, proc)

    def is_dead(self, name: str) -> bool:
        """Whether ``name`` is a process of this machine that has ended. False whenever that is not certain."""
        if name == self.name:
            return True  # an earlier roll of this very process
        parts = name.split("/")
        if len(parts) != 4 or not self.machine or parts[1] != self.machine or not parts[2].isdecimal():
            return False
        return _started(self.proc, int(parts[2])) != parts[3]


def _machine(proc: Path) -> str:
    """This boot and pid namespace; "" where there is no /proc to tell."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text()
        namespace = (proc / "self/ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{boot}{namespace}".encode()).hexdigest()[:10]


def _started(proc: Path, pid: int) -> str:
    """When a process started, in the kernel's ticks; "" when there is none, or only its corpse."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]
