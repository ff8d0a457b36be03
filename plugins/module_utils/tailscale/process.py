# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program with a deadline, in a group of its own so that nothing of it stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

from ansible_collections.boring.fleet.plugins.module_utils.tailscale.converge import Run


def runner(program: Sequence[str]) -> Run:
    """A `Run` of the program with its fixed first arguments; 127 where there is no such program, 124 for too long."""

    def run(argv: Sequence[str], seconds: float) -> tuple[int, str, str]:
        try:
            process = subprocess.Popen(
                [*program, *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as exc:
            return 127, "", exc.strerror or type(exc).__name__
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException as exc:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(exc, subprocess.TimeoutExpired):
                return 124, "", f"it did not end within {seconds:g} s"
            raise
        return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")

    return run
