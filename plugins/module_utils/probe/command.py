# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe with a program of the user's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A program and its arguments, without a shell; exit code 0 is yes."""

    argv: tuple[str, ...]
    timeout: float = 60.0

    def probe(self, environment: Mapping[str, str]) -> str:
        """Run it with these variables added to the environment."""
        program = self.argv[0]
        try:
            done = subprocess.run(
                list(self.argv),
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{program} did not end within {self.timeout:g} s"
        except OSError as exc:
            return f"{program} cannot be run: {exc.strerror or exc}"
        if done.returncode == 0:
            return ""
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        return f"{program} exited with {done.returncode}{f': {lines[-1][:200]}' if lines else ''}"
