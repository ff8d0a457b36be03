# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis as what is backed up and restored: all of its databases, and its functions."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.backup.manifest import Item
from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError
from ansible_collections.boring.fleet.plugins.module_utils.backup.work import Piece
from ansible_collections.boring.fleet.plugins.module_utils.redis.snapshot import Snapshots, copy, differences, watch
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

NAME: Final = "data"
_END_SECONDS: Final = 30.0


class LeftToReplicasError(BackupError):
    """No fault: another node does it."""


class RedisService:
    """`program`: a server of the same kind, into which a backup is read first. `left`: the seconds that this run has yet, or an error."""

    def __init__(self, client: Snapshots, program: str, left: Callable[[], float]) -> None:
        self._client = client
        self._program = program
        self._left = left

    def pieces(self) -> tuple[list[Piece], list[str]]:
        """See Service. A master leaves it to its replicas: a Sentinel would take the connection for one more of them."""
        info = self._client.info("replication")
        if info.get("role") == "master" and int(info.get("connected_slaves") or 0) > 0:
            raise LeftToReplicasError("this is the master, and its replicas take the backups")
        databases = self._client.databases()
        if not databases:
            return [], []

        about = {"keys": sum(databases.values()), "version": self._client.info("server").get("redis_version", "")}

        def save(write: Callable[[bytes], None]) -> Mapping[str, Any]:
            self._client.save(write, self._left())  # it ends the connection
            return about

        return [Piece(NAME, int(self._client.info("memory").get("used_memory") or 0), save)], []

    def busy(self) -> str:
        """See Service."""
        info = self._client.info("replication")
        if info.get("role") != "master":
            return f"it is a replica, and its master is {info.get('master_host')}"
        databases = self._client.databases()
        return f"it has {sum(databases.values())} keys" if databases else ""

    def restore(self, item: Item, pieces: Iterator[bytes], folder: Path) -> str:
        """See Service. The file is read by a server that nobody else can reach; from there it goes key by key."""
        with (folder / "dump.rdb").open("wb") as file:
            for piece in pieces:
                file.write(piece)
        with self._scratch(folder) as scratch:
            count = copy(scratch, self._client, self._left)
            found = differences(scratch, self._client, time.time, self._left)
        if found:
            raise BackupError(
                f"The keys are back and not as they were: {'; '.join(found)}. Empty it, and restore another backup."
            )
        return f"{count} keys are back and as they were"

    @contextlib.contextmanager
    def _scratch(self, folder: Path) -> Iterator[Snapshots]:
        socket = folder / "socket"
        words = {
            "appendonly": "no", "daemonize": "no", "dbfilename": "dump.rdb", "dir": str(folder), "enable-debug-command": "local",
            "port": "0", "save": "", "unixsocket": str(socket), "unixsocketperm": "700",
        }  # fmt: skip
        argv = [self._program, *(word for name, value in words.items() for word in (f"--{name}", value))]
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError as exc:
            raise BackupError(
                f"{self._program} cannot be run ({exc.strerror}): restore on a host that has it."
            ) from exc
        try:
            client = watch(
                lambda: Snapshots(str(socket), 0, Login("", "", False)),
                lambda: process.poll() is not None,
                self._left(),
            )
            try:
                yield client
            finally:
                client.close()
        finally:
            process.terminate()
            try:
                process.wait(timeout=_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """See Service."""
        self._client.close()
