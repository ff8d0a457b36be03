# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud for the life of one program, and this checkout's own tools run against it.

Nothing of the user's reaches them: no AWS, Ansible or Packer setting of the environment, no cache, no home of Ansible.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from localcloud.settings import environment

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
FAILED = ROOT / "build" / "failed"
_UP_SECONDS, _DOWN_SECONDS = 900, 300


class ProgramError(Exception):
    """A program could not be run or failed: one sentence, its last lines, and where all of them are."""


def run(
    what: str, argv: Sequence[str | Path], seconds: float, *, given: str = "", environment: Mapping[str, str] | None = None
) -> str:  # fmt: skip
    """What a program printed. Raises ProgramError, in which ``what`` names it."""
    try:
        done = subprocess.run(
            argv, cwd=ROOT, env=environment, timeout=seconds, input=given, capture_output=True, text=True, errors="replace"
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:  # its own words are all of the command, passwords too
        raise ProgramError(f"{what} could not be run: it timed out after {seconds} seconds") from exc
    except OSError as exc:
        raise ProgramError(f"{what} could not be run: {exc}") from exc
    if done.returncode:
        said = done.stdout + done.stderr
        FAILED.mkdir(parents=True, exist_ok=True)
        log = FAILED / f"{re.sub(r'[^A-Za-z0-9]+', '-', what)}.log"  # a test that failed is far above the end
        log.write_text(said)
        tail = "\n".join(said.splitlines()[-25:])
        raise ProgramError(f"{what} failed with {done.returncode}; {log} has all of it, and it ended with:\n{tail}")
    return done.stdout


class ScratchCloud:
    """Up at the beginning of a ``with`` block, and away with all it had at its end.

    ``folder`` is for what the tools keep. ``environment`` is that of the tools; the cloud's endpoint and key are in it once it
    is up.
    """

    def __init__(
        self, name: str, *, port: int, subnet: str, folder: Path, bases: Iterable[str] = ("debian-13",)
    ) -> None:  # fmt: skip
        self.name, self.region = name, "eu-central-1"
        self._command = [sys.executable, "-m", "localcloud"]
        self._state = ROOT / "build" / "localcloud"
        self._where = ["--name", name, "--state-dir", str(self._state)]
        self._up = ["--port", str(port), "--subnet", subnet, "--region", self.region, "--base", *sorted(set(bases))]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_", "PKR_"))},
            "PATH": f"{BIN}:{ROOT / 'build' / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(folder),  # Packer leaves the key of each build's machine there
            "XDG_CACHE_HOME": str(folder / "cache"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "PACKER_PLUGIN_PATH": str(ROOT / "build" / "packer-plugins"),
            "CHECKPOINT_DISABLE": "1",
        }

    def __enter__(self) -> ScratchCloud:
        try:
            run("the local cloud", [*self._command, "up", *self._where, *self._up], _UP_SECONDS)
            self.environment.update(environment(self._state, self.name))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        run("the end of the local cloud", [*self._command, "down", *self._where], _DOWN_SECONDS)

    def run(self, what: str, argv: Sequence[str | Path], seconds: float) -> str:
        """As ``run``, against this cloud."""
        return run(what, argv, seconds, environment=self.environment)
