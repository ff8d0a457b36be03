# SPDX-License-Identifier: GPL-3.0-or-later
"""The HAProxy process: started, asked, reloaded and ended. Knows nothing of AWS."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from localcloud import private
from localcloud.balancer.render import SOCKET, STATE_FILE
from localcloud.balancer.tls import FOLDER

CONFIG = "haproxy.cfg"
MASTER = "master.sock"
PID_FILE = "haproxy.pid"
LOG = "haproxy.log"

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02
_COMMAND_SECONDS = 5.0
_LOAD_FAILURES = ("Loading failure", "Failed to load", "cannot bind")


class BalancerError(Exception):
    """HAProxy cannot do what was asked: one sentence with the reason and the way out."""


class Haproxy:
    """One HAProxy in master-worker mode, with all its files in one directory.

    The directory is HAProxy's working directory, so the paths in its configuration are relative: a unix socket's path
    may have 107 characters only, and a checkout can lie deeper than that.
    """

    def __init__(self, directory: Path, binary: str = "haproxy") -> None:
        self._directory = directory
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where HAProxy's own messages go."""
        return self._directory / LOG

    def running(self) -> bool:
        """Whether the master process is alive."""
        return self._pid() is not None

    def store(self, files: Mapping[str, bytes]) -> None:
        """Have PEM files for the next ``apply``, for this user only; those that it does not use are deleted after it.

        :raises BalancerError: they cannot be written.
        """
        folder = self._directory / FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, content in files.items():
                if not (folder / name).exists():
                    private.write(folder / name, content)
        except OSError as error:
            raise BalancerError(
                f"{folder} cannot be written ({error.strerror}): free some space or fix its rights."
            ) from error

    def _tidy(self, config: str) -> None:
        """Delete the PEM files that a configuration does not name."""
        for path in (self._directory / FOLDER).glob("*"):
            if path.name not in config:
                path.unlink(missing_ok=True)

    def apply(self, config: str, state: str) -> None:
        """Serve ``config`` from now on: start, or reload without losing a connection.

        :param config: the whole haproxy.cfg; it is validated first, and HAProxy goes on as it was if it is refused.
        :param state: the state file, see ``render.state``.
        :raises BalancerError: refused, or it did not come up.
        """
        candidate = self._directory / f"{CONFIG}.new"
        token = uuid.uuid4().hex  # `show info` gives it back: so we know whose settings a worker has
        self._write(STATE_FILE, state)
        self._write(candidate.name, config.replace("global\n", f"global\n  description {token}\n", 1))
        try:
            self._validate(candidate.name)
            candidate.replace(self._directory / CONFIG)
        finally:
            candidate.unlink(missing_ok=True)
        if self.running():
            self._reload(token)
        else:
            self._start(token)
        self._tidy(config)

    def command(self, text: str) -> str:
        """Run one line of runtime API (several commands joined by ``;`` are one line); what HAProxy answered.

        :raises BalancerError: HAProxy does not answer.
        """
        try:
            return self._ask(text)
        except OSError as error:
            raise BalancerError(
                f"HAProxy does not answer on {self._directory / SOCKET} ({error.strerror or error}); see {self.log}"
            ) from error

    def stop(self) -> None:
        """End HAProxy and its workers. Nothing happens if it does not run."""
        pid = self._pid()
        if pid is not None:
            pids = [*_children(pid), pid]
            _end(pid, signal.SIGTERM)
            if not self._gone(pids, _STOP_SECONDS):
                for one in pids:
                    _end(one, signal.SIGKILL)
                self._gone(pids, _STOP_SECONDS)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
            self._process = None
        for name in (PID_FILE, SOCKET, MASTER):
            (self._directory / name).unlink(missing_ok=True)
        self._tidy("")

    # -- the process ---------------------------------------------------------------------------------------------

    def _program(self) -> str:
        found = shutil.which(self._binary, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
        if found is None:
            raise BalancerError("HAProxy is not installed: `apt-get install haproxy`, or put it on PATH.")
        return found

    def _validate(self, name: str) -> None:
        try:
            done = subprocess.run(
                [self._program(), "-c", "-f", name],
                cwd=self._directory, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise BalancerError(
                "HAProxy did not check its configuration within 30 s; is the machine overloaded?"
            ) from error
        if done.returncode != 0:
            raise BalancerError(f"HAProxy refuses the configuration: {_complaint(done.stderr)}")

    def _start(self, token: str) -> None:
        (self._directory / SOCKET).unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self._process = self._spawn(log)
        started = _start_time(self._process.pid)
        self._write(PID_FILE, json.dumps({"pid": self._process.pid, "started": started}))
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers(SOCKET, "show info", token):
                return
            time.sleep(_POLL_SECONDS)
        self.stop()
        raise BalancerError(f"HAProxy did not start: {_complaint(self._log_text())}")

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._program(), "-W", "-S", f"unix@./{MASTER},mode,600", "-f", CONFIG],
            cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    def _reload(self, token: str) -> None:
        size = self.log.stat().st_size if self.log.exists() else 0
        deadline = time.monotonic() + _START_SECONDS
        asked = False
        while time.monotonic() < deadline and (master := self._pid()) is not None:
            # a master that is not done with its last reload loses the signal, so it must have answered before
            if not asked and self._answers(MASTER, "show proc;quit"):
                asked = True
                _end(master, signal.SIGUSR2)
            if asked and self._answers(SOCKET, "show info", token):
                return
            said = self._log_text()[size:]
            if any(words in said for words in _LOAD_FAILURES):
                raise BalancerError(f"HAProxy did not take its new configuration: {_complaint(said)}")
            time.sleep(_POLL_SECONDS)
        raise BalancerError(f"HAProxy did not reload within {_START_SECONDS:.0f} s; see {self.log}")

    def _answers(self, name: str, question: str, word: str = "") -> bool:
        """Whether somebody answers on a socket, with this word in the answer."""
        try:
            answer = self._ask(question, name)
        except OSError:
            return False
        return bool(answer.strip()) and word in answer

    def _pid(self) -> int | None:
        """The master's process id, if the process is still the one that was started."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        try:
            record = json.loads((self._directory / PID_FILE).read_text())
        except (OSError, ValueError):
            return None
        pid = int(record["pid"])
        return pid if record["started"] is not None and _start_time(pid) == record["started"] else None

    def _gone(self, pids: Iterable[int], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        left = list(pids)
        while left:
            if self._process is not None:
                self._process.poll()
            left = [pid for pid in left if _alive(pid)]
            if not left or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        return not left

    # -- its files and its socket --------------------------------------------------------------------------------

    def _ask(self, text: str, name: str = SOCKET) -> str:
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(_COMMAND_SECONDS)
                link.connect(f"/proc/self/fd/{folder}/{name}")
                link.sendall(text.encode() + b"\n")
                chunks = []
                while chunk := link.recv(65536):
                    chunks.append(chunk)
        finally:
            os.close(folder)
        return b"".join(chunks).decode()

    def _write(self, name: str, text: str) -> None:
        path = self._directory / name
        draft = path.with_name(f".{name}.tmp")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.touch(0o600)
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            reason = error.strerror or str(error)
            raise BalancerError(f"{path} cannot be written ({reason}): free some space or fix its rights.") from error

    def _log_text(self) -> str:
        try:
            return self.log.read_text(errors="replace")
        except OSError:
            return ""


def port_refusal(address: str, port: int) -> str | None:
    """Why nothing can listen there, as one sentence; None if something can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return (
                    f"Port {port} on {address} is in use by another program on this machine: "
                    "end that program or choose another listener port."
                )
            if error.errno == errno.EACCES:
                return f"Port {port} needs root on this machine: run localcloud as root or choose a listener port from 1024 up."
            return f"Nothing can listen on {address}:{port}: {error.strerror}."
    return None


def _complaint(text: str) -> str:
    alerts = [line.split(":", 1)[-1].strip() for line in text.splitlines() if "[ALERT]" in line]
    lines = alerts or [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[:3]) or "it said nothing."


def _end(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat_fields(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def _start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot: with the pid it names one process for good."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None


def _alive(pid: int) -> bool:
    fields = _stat_fields(pid)
    return fields is not None and fields[0] not in "ZX"


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))) and int(fields[1]) == pid:
            found.append(int(entry.name))
    return found
