# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's process may do: convert its own file, and nothing else. Applied in the fork before the file is opened.

The kernel enforces it in layers, so that one which a kernel lacks is covered by another:

- seccomp: no socket, no new process or thread, no exec, no ptrace, no signal to others, nothing removed or renamed;
- Landlock: of all files only the program's own libraries, to read, and the job's directory. Without it: directories of jobs
  have names that cannot be guessed, in one that cannot be listed, and every process is closed to others of its user;
- limits on memory, time, size and number of files; what a job writes in all is watched by the pool;
- a control group. Without it: the process that jobs are forked from is made the parent of what they leave, and ends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import socket
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import conversion

from . import cgroup, landlock, seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_libc = ctypes.CDLL(None, use_errno=True)

#: Address space beyond the memory of a job: what allocators reserve without using it.
RESERVE = 1 << 30
OPEN_FILES = 64


@dataclass(frozen=True)
class Isolation:
    """Which layers the kernel gives, as tried and not as promised. `landlock` is its version."""

    seccomp: bool
    landlock: int
    cgroup: bool

    def as_dict(self) -> dict[str, int]:
        """A number a layer, for a metric: 0 where it is missing."""
        return {name: int(value) for name, value in asdict(self).items()}

    def missing(self) -> list[str]:
        """A sentence for each layer that is covered by another one."""
        sentences = []
        if not self.landlock:
            sentences.append(
                "This kernel has no Landlock: jobs are kept from each other's files by hidden directories alone; use 5.13 or later."
            )
        if not self.cgroup:
            sentences.append(
                "There is no control group of version 2 to make one a job in: what a job leaves is found by its parent instead."
            )
        return sentences


def limit(memory: int, seconds: float, output: int) -> None:
    """Hard limits: `memory` bytes more than now, CPU seconds, bytes a file, open files, no core dump."""
    size, *_, data = (int(word) for word in Path("/proc/self/statm").read_text(encoding="ascii").split()[:6])
    page = resource.getpagesize()
    cpu = int(seconds) + 1
    for what, soft, hard in (
        (resource.RLIMIT_DATA, data * page + memory, data * page + memory),
        (resource.RLIMIT_AS, size * page + memory + RESERVE, size * page + memory + RESERVE),  # shared memory as well
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, output, output),
        (resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(what, (soft, hard))


def libraries() -> list[Path]:
    """What a job may read besides its own directory: Python, the packages, the system's libraries, and no configuration."""
    paths = sysconfig.get_paths()
    found = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found.append(Path(conversion.__file__).resolve().parent)
    found += [Path(name) for name in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null")]
    return [path for path in dict.fromkeys(found) if path.exists()]


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent is gone."""
    _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


def close_to_others() -> None:
    """Keep the memory and the environment of this process, and of its forks, from others of the same user."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def inherit_orphans() -> None:
    """Become the parent of what ends its own parents."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def confine(directory: Path, *, group: Path | None = None) -> None:
    """Enter the sandbox, which cannot be left; OSError when the kernel refuses a layer that it has."""
    os.setsid()
    if group is not None:
        cgroup.enter(group)
    os.chdir(directory)
    landlock.confine(directory, libraries())
    seccomp.enforce()


def tried() -> Isolation:
    """What holds here: a fork enters the sandbox and tries to get out of it."""
    with tempfile.TemporaryDirectory() as name:
        pid = os.fork()
        if pid == 0:
            code = 4
            with contextlib.suppress(BaseException):
                confine(Path(name))
                code = 1 * _refused(socket.socket) + 2 * _refused(lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)))
            os._exit(code)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return Isolation(code in (1, 3), landlock.version() if code in (2, 3) else 0, cgroup.parent() is not None)


def _refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except PermissionError:
        return True
    except OSError:
        return False
    return False
