# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NATS's own backup: a stream with its consumers as one archive out of the server, and back into it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client, NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.stream import checked, everything

_CHUNK: Final = 128 << 10
_UNDERWAY: Final = 16  # chunks of a restore that the server has not confirmed yet
_COMPLETE: Final = b" 204"
# What a comparison looks at, in NATS's words
_COUNTS: Final = ("messages", "bytes", "first_seq", "last_seq", "num_deleted", "consumer_count")

State = Mapping[str, Any]


class Snapshots(Client):
    """A connection as a user of the account whose streams are meant. Everything raises NatsError."""

    def names(self) -> list[str]:
        """Of all streams of the account."""
        return [str(name) for name in everything(self, "$JS.API.STREAM.NAMES", "streams")]

    def info(self, stream: str) -> dict[str, Any]:
        """The stream's `config` and `state`."""
        return self._checked(f"$JS.API.STREAM.INFO.{stream}", {})

    def save(self, stream: str, write: Callable[[bytes], None], seconds: float) -> dict[str, Any]:
        """Write the archive, piece by piece, within `seconds`. The stream's `config` and `state` of when it began.

        Every message's own checksum is compared by the server before.
        """
        subject = f"$JS.API.STREAM.SNAPSHOT.{stream}"
        inbox = f"_INBOX.{secrets.token_hex(12)}"
        end = time.monotonic() + seconds
        self._asked += 1
        asked = {"deliver_subject": f"{inbox}.data", "jsck": True, "no_consumers": False, "chunk_size": _CHUNK}
        text = json.dumps(asked).encode()
        began: dict[str, Any] = {}
        size, complete = 0, False
        try:
            self._wire.begin(seconds)
            self._wire.say(f"SUB {inbox}.* {self._asked}\r\nPUB {subject} {inbox}.answer {len(text)}\r\n".encode())
            self._wire.say(text + b"\r\n")
            while not (began and complete):
                # the server looks at all messages before it answers, and then sends without a pause
                self._wire.begin(max(0.001, end - time.monotonic()) if not began else min(60.0, end - time.monotonic()))
                found = self._wire.whole_message()
                if found.subject.endswith(".answer"):
                    began = checked(subject, json.loads(found.body or b"{}"))
                elif found.body:
                    write(found.body)
                    size += len(found.body)
                    if found.reply:
                        self._wire.say(f"PUB {found.reply} 0\r\n\r\n".encode())
                else:
                    _raise_for(found.head)
                    complete = True
            self._wire.say(f"UNSUB {self._asked}\r\n".encode())
        except (OSError, ValueError) as exc:
            raise _broken(f"The snapshot of stream {stream}", exc) from exc
        if not size:
            raise NatsError(f"The snapshot of stream {stream} is empty; see the server's log.")
        return began

    def load(
        self, stream: str, config: Mapping[str, Any], state: State, pieces: Iterator[bytes], seconds: float
    ) -> None:
        """Make the stream from its archive, within `seconds`, with a `config` that may differ from that of then."""
        subject = f"$JS.API.STREAM.RESTORE.{stream}"
        end = time.monotonic() + seconds
        deliver = str(self._checked(subject, {"config": config, "state": state})["deliver_subject"])
        inbox = f"_INBOX.{secrets.token_hex(12)}"
        self._asked += 1
        longest = min(_CHUNK, int(self._wire.info.get("max_payload", _CHUNK)))
        underway = 0
        try:
            self._wire.begin()
            self._wire.say(f"SUB {inbox} {self._asked}\r\n".encode())
            for piece in pieces:
                for at in range(0, len(piece), longest):
                    if underway >= _UNDERWAY:
                        self._confirmed(subject, end)
                        underway -= 1
                    self._chunk(deliver, inbox, piece[at : at + longest], end)
                    underway += 1
            while underway:
                self._confirmed(subject, end)
                underway -= 1
            self._chunk(deliver, inbox, b"", end)
            while not self._confirmed(subject, end):
                pass
            self._wire.say(f"UNSUB {self._asked}\r\n".encode())
        except (OSError, ValueError) as exc:
            raise _broken(f"The restore of stream {stream}", exc) from exc

    def update(self, stream: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Give the stream this configuration."""
        return self._checked(f"$JS.API.STREAM.UPDATE.{stream}", config)

    def remove(self, stream: str) -> None:
        """Take the stream away."""
        self._checked(f"$JS.API.STREAM.DELETE.{stream}", {})

    def _checked(self, subject: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        return checked(subject, self.ask(subject, payload))

    def _chunk(self, subject: str, inbox: str, data: bytes, end: float) -> None:
        self._wire.begin(end - time.monotonic())
        self._wire.say(f"PUB {subject} {inbox} {len(data)}\r\n".encode() + data + b"\r\n")

    def _confirmed(self, subject: str, end: float) -> bool:
        """Whether the next answer is the last one, which has the stream in it."""
        self._wire.begin(end - time.monotonic())
        head, body = self._wire.message()
        if head:
            _raise_for(head)
        if not body:
            return False
        checked(subject, json.loads(body))
        return True


def _raise_for(head: bytes) -> None:
    """Raises ValueError for a status that is none of success: servers before 2.11 give none at the end."""
    status = head.partition(b"\r\n")[0]
    if status and _COMPLETE not in status:
        raise ValueError(status.decode(errors="replace").removeprefix("NATS/1.0").strip() or "it was cut off")


def _broken(what: str, exc: Exception) -> NatsError:
    reason = "no answer in time" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
    return NatsError(f"{what} failed: {reason}; see the server's log, and the user's permissions.")


def counts(state: State) -> dict[str, int]:
    """What of a stream's state is compared."""
    return {name: int(state.get(name) or 0) for name in _COUNTS}


def mismatch(before: State, after: State, found: State) -> str:
    """What of a restored stream cannot be of a snapshot that was taken between these two states, as a clause; empty where all agrees.

    Where nothing was written meanwhile, `before` and `after` are the same, and so every count must be.
    """
    first, last, now = counts(before), counts(after), counts(found)
    if first == last:
        differs = [f"{name} {now[name]} in place of {first[name]}" for name in _COUNTS if now[name] != first[name]]
        return ", ".join(differs)
    added = last["last_seq"] - first["last_seq"]
    removed = first["messages"] + added - last["messages"]
    bounds = {
        "messages": (first["messages"] - removed, first["messages"] + added),
        "first_seq": (first["first_seq"], max(last["first_seq"], last["last_seq"] + 1)),
        "last_seq": (first["last_seq"], last["last_seq"]),
    }
    return ", ".join(
        f"{name} {now[name]}, which is not from {low} to {high}"
        for name, (low, high) in bounds.items()
        if not low <= now[name] <= high
    )
