# SPDX-License-Identifier: GPL-3.0-or-later
"""A control group a job, below the one that systemd delegates to the unit: whatever a job started ends with it.

Only cgroup v2 has `cgroup.kill` (since Linux 5.14). Where there is none, or the unit's is not ours to write, the process that
jobs are forked from ends what they leave (see worker.zygote).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def parent() -> Path | None:
    """The directory of this process's own control group where groups for jobs can be made; None if there is none."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    ours = next((path for number, _, path in groups if number == "0"), None)
    for fields in mounts:
        if ours is not None and fields[fields.index("-") + 1] == "cgroup2":
            below = os.path.relpath(ours, fields[3])
            place = Path(fields[4]) if below.startswith("..") else Path(fields[4], below)
            return place if _usable(place) else None
    return None


def _usable(place: Path) -> bool:
    probe = name(place, "probe")
    try:
        probe.mkdir()
    except OSError:
        return False
    try:
        return (probe / "cgroup.kill").exists() and os.access(place / "cgroup.procs", os.W_OK)
    finally:
        probe.rmdir()


def name(parent: Path, job: str) -> Path:
    """The group of a job that this process forks: no other process, nor engine beside us, has one of that name."""
    return parent / f"job-{os.getpid()}-{job}"


def clear(parent: Path) -> None:
    """Remove the groups that were left by processes which are no more."""
    for group in parent.glob("job-*-*"):
        pid = group.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            end(group)


def enter(group: Path) -> None:
    """Make a group and put this process into it."""
    group.mkdir(exist_ok=True)
    (group / "cgroup.procs").write_text("0", encoding="ascii")


def end(group: Path) -> bool:
    """Kill what is left in a group and remove it; False while something in it is dying still."""
    with contextlib.suppress(OSError):
        descriptor = os.open(group / "cgroup.kill", os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
