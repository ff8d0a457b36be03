# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NATS as what is backed up and restored: every stream of one account that is kept in files."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.backup.manifest import Item
from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError
from ansible_collections.boring.fleet.plugins.module_utils.backup.work import Piece
from ansible_collections.boring.fleet.plugins.module_utils.nats.snapshot import Snapshots, counts, mismatch

_LONGEST_HEAD: Final = 1 << 20
_SETTLED_SECONDS: Final = 30.0


class NatsService:
    """`left`: the seconds that this run has yet, or an error. `keep_old`: a restored stream stays without its age limit."""

    def __init__(self, client: Snapshots, left: Callable[[], float], *, keep_old: bool = False) -> None:
        self._client = client
        self._left = left
        self._keep_old = keep_old

    def pieces(self) -> tuple[list[Piece], list[str]]:
        """See Service. A stream in memory has no archive: it ends with its servers by choice."""
        found, notes = [], []
        for name in self._client.names():
            info = self._client.info(name)
            if info["config"].get("storage") == "memory":
                notes.append(f"stream {name} is kept in memory, and NATS has no snapshot of such")
            else:
                size = int(info["state"].get("bytes") or 0) + (16 << 20)
                found.append(Piece(name, size, partial(self._save, name)))
        return found, notes

    def _save(self, name: str, write: Callable[[bytes], None]) -> Mapping[str, Any]:
        """The first line is what a restore needs; it is encrypted like the rest."""
        info = self._client.info(name)
        write(json.dumps({"config": info["config"], "state": info["state"]}).encode() + b"\n")
        began = self._client.save(name, write, self._left())
        after = self._client.info(name)["state"]
        return {"before": counts(began["state"]), "after": counts(after)}

    def busy(self) -> str:
        """See Service. A stream that never had a message is nothing that could be lost."""
        for name in self._client.names():
            state = self._client.info(name)["state"]
            if int(state.get("last_seq") or 0) > 0:
                return f"its stream {name} has had {state['last_seq']} messages"
        return ""

    def restore(self, item: Item, pieces: Iterator[bytes], folder: Path) -> str:
        """See Service. An age limit comes back into force after the comparison: NATS ends old messages at once."""
        head, rest = _split(pieces)
        config, state = dict(head["config"]), head["state"]
        if item.name in self._client.names():
            self._client.remove(item.name)  # it never had a message: see busy
        unlimited = {**config, "max_age": 0}
        self._client.load(item.name, unlimited, state, rest, self._left())
        found = self._same(item, config)
        how = "not compared, as it changes by itself" if _fed(config) else "as they were"
        said = f"stream {item.name}: {found['messages']} messages with {found['consumer_count']} consumers are back and {how}"
        if config.get("max_age") and self._keep_old:
            said += "; it has no max_age now"
        elif config.get("max_age"):
            self._client.update(item.name, config)
            kept = counts(self._client.info(item.name)["state"])["messages"]
            if kept < found["messages"]:
                said += f"; {found['messages'] - kept} of them are older than its max_age and have ended"
        return said

    def _same(self, item: Item, config: Mapping[str, Any]) -> dict[str, int]:
        """Compare, when the stream has settled: its leader counts consumers that come one after the other."""
        end = time.monotonic() + _SETTLED_SECONDS
        while True:
            found = self._client.info(item.name)["state"]
            why = mismatch(item.about["before"], item.about["after"], found)
            if not why or _fed(config):
                return counts(found)
            if time.monotonic() >= end:
                raise BackupError(
                    f"Stream {item.name} is back and not as it was: {why}. Remove it, and restore another backup."
                )
            time.sleep(0.5)

    def close(self) -> None:
        """See Service."""
        self._client.close()


def _fed(config: Mapping[str, Any]) -> bool:
    """Whether it changes by itself at once: it copies from others, or its messages have ends of their own."""
    return bool(config.get("mirror") or config.get("sources") or config.get("allow_msg_ttl"))


def _split(pieces: Iterator[bytes]) -> tuple[Mapping[str, Any], Iterator[bytes]]:
    """The first line, and what follows it."""
    head = b""
    for piece in pieces:
        head += piece
        if b"\n" in head or len(head) > _LONGEST_HEAD:
            break
    line, newline, rest = head.partition(b"\n")
    if not newline:
        raise BackupError("The file has no configuration of a stream at its beginning: restore another backup.")
    found: Mapping[str, Any] = json.loads(line)
    return found, itertools.chain([rest] if rest else [], pieces)
