# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let many processes share one run of a tool: the first one runs it, the others wait and read what it left.

What is left on disk is encrypted with a key that exists only in the memory of the processes that share it, because
outputs may be secret; when they have ended it is noise. Failures are shared too, so that fifty hosts do not wait fifty times.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    InvalidTag = AESGCM = None  # type: ignore[assignment,misc]

_NONCE: Final = 12
_PAUSE: Final = 0.05  # seconds between two looks at the lock


class Store:
    """A folder that only its owner reads, and a key that only the processes of this run have."""

    def __init__(
        self,
        folder: Path,
        key: bytes,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if AESGCM is None:
            raise StackError("the Python library cryptography is missing on the controller; 'pip install cryptography'")
        self._folder = folder
        self._key = hmac.new(key, b"boring.fleet stack outputs", hashlib.sha256).digest()
        self._clock = clock
        self._sleep = sleep

    def once(self, name: str, work: Callable[[], str], patience: float) -> str:
        """What `work` gives, which runs once for a name; or the StackError that it raised.

        `patience`: seconds to wait for somebody else who is at it.
        """
        path = self._folder / f"boring-fleet-stack-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "r+b") as file:
            self._lock(handle, patience)
            kept = self._unseal(file.read(), name)
            if kept is None:
                kept = _attempt(work)
                file.seek(0)
                file.truncate()
                file.write(self._seal(kept, name))
        if kept["error"]:
            raise StackError(kept["error"])
        return kept["text"]

    def _lock(self, handle: int, patience: float) -> None:
        deadline = self._clock() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                waited_out = self._clock() >= deadline
            if waited_out:
                raise StackError(f"another task has been asking for the same outputs for {patience:g} s: raise timeout")
            self._sleep(_PAUSE)

    def _seal(self, kept: dict[str, str], name: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._key).encrypt(nonce, json.dumps(kept).encode(), name.encode())

    def _unseal(self, blob: bytes, name: str) -> dict[str, str] | None:
        if len(blob) <= _NONCE:
            return None
        try:
            kept = json.loads(AESGCM(self._key).decrypt(blob[:_NONCE], blob[_NONCE:], name.encode()))
        except (InvalidTag, ValueError):  # a writer that died half way
            return None
        return {"text": kept["text"], "error": kept["error"]}


def _attempt(work: Callable[[], str]) -> dict[str, str]:
    try:
        return {"text": work(), "error": ""}
    except StackError as exc:
        return {"text": "", "error": str(exc)}
