# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes on the controller that end when they are to, with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping


def run_to_end(
    argv: list[str], env: Mapping[str, str], directory: str | None, timeout: float
) -> tuple[int, bytes, bytes] | None:
    """Exit code, output and error output of a program; None when it was ended for taking longer than `timeout` seconds.

    It has a process group of its own, so that what it started ends with it. `directory` None is the current one.
    """
    process = subprocess.Popen(
        argv,
        cwd=directory,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException as exc:  # also an interrupt: nothing of it stays behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(exc, subprocess.TimeoutExpired):
            return None
        raise
    return process.returncode, out, err
