# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a master's data before this node is one of the set.

A replica that has not copied yet looks like any other to a Sentinel, which may make it the master. (Seen with Redis 7.0.15: an
empty node was promoted a second after it came, and the others copied its emptiness.) So a Redis that nobody can reach and nobody is
announced copies first, and what it wrote becomes the node's own in one step, when it is complete.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Answers, Client, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import fields
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

APPEND_ONLY_DIR = "appendonlydir"
# For so long nothing may come
_STANDSTILL_SECONDS = 60.0
_END_SECONDS = 30.0


def copy(program: str, managed: Path, data_dir: Path, master: tuple[str, int]) -> str:
    """Copy into `data_dir`. Why it failed, as one clause; empty where it did not. Raises OSError.

    `managed`: the configuration of the node; `master`: address and port.
    """
    folder = data_dir / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o750)
    socket = folder / "socket"
    words = {
        "aclfile": "", "daemonize": "no", "dir": str(folder), "logfile": "", "port": "0", "replica-announced": "no",
        "supervised": "no", "unixsocket": str(socket), "unixsocketperm": "700",
    }  # fmt: skip
    if "tls-replication yes" in managed.read_text(encoding="utf-8").splitlines():
        words["tls-port"] = "0"
    options = [word for name, value in words.items() for word in (f"--{name}", value)]
    argv = [program, str(managed), *options, "--replicaof", master[0], str(master[1])]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            why = _watch(
                lambda: Client(str(socket), 0, Login("", "", False)),
                lambda: process.poll() is not None,
                time.monotonic,
                time.sleep,
            )
        finally:
            process.terminate()
            try:
                process.wait(timeout=_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
    if not why:
        # whole or not at all
        (folder / APPEND_ONLY_DIR).rename(data_dir / APPEND_ONLY_DIR)
    shutil.rmtree(folder, ignore_errors=True)
    return why


def _watch(
    connect: Callable[[], Answers],
    ended: Callable[[], bool],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> str:
    """Wait for the copy to be complete, and written down. Why it is not, as one clause."""
    moved, state = clock(), ""
    while clock() < moved + _STANDSTILL_SECONDS:
        if ended():
            return "the Redis that copies has ended"
        try:
            redis = connect()
            try:
                info = {**fields(redis("INFO", "replication")), **fields(redis("INFO", "persistence"))}
            finally:
                redis.close()
        except RedisError:
            info = {}
        if complete(info):
            return ""
        now = " ".join(info.get(name, "") for name in _PROGRESS)
        if now != state:
            moved, state = clock(), now
        sleep(0.2)
    return "nothing more has come for a minute"


_PROGRESS = (
    "master_link_status",
    "master_sync_read_bytes",
    "loading_loaded_bytes",
    "aof_rewrite_in_progress",
    "aof_current_size",
    "slave_repl_offset",
)


def complete(info: dict[str, str]) -> bool:
    """Whether all has been copied, and the append-only file has it."""
    return (
        info.get("master_link_status") == "up"
        and info.get("aof_enabled") == "1"
        and info.get("aof_rewrite_in_progress") == "0"
        and info.get("aof_rewrite_scheduled") == "0"
        and info.get("aof_last_bgrewrite_status") == "ok"
    )
