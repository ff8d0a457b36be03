# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may ask, and how much: a file of keys, of which it holds the SHA-256 only.

    {"keys": [{"name": "acme", "sha256": "9f86d0...", "per_hour": 600}]}

A key is 32 random bytes, so that a plain hash of it cannot be guessed back. `per_hour` is how many files a key may send in an
hour; without it there is no bound. The file is read again when it changes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache import Cache
from ..errors import BusyError, InputError, SettingsError

log = logging.getLogger(__name__)
HOUR = 3600
_NAME = r"[A-Za-z0-9_-]{1,64}"


@dataclass(frozen=True)
class Key:
    """Whose key it is, the hash of it, and files an hour (0: no bound)."""

    name: str
    sha256: str
    per_hour: int = 0


def read(path: Path) -> dict[str, Key]:
    """Keys by their hash; SettingsError names what is wrong with the file, never a key."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        entries: list[dict[str, Any]] = list(raw["keys"])
    except OSError as exc:
        raise SettingsError(f"CONVERSION_KEYS_FILE {path} cannot be read: {exc.strerror}.") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise SettingsError(f'CONVERSION_KEYS_FILE {path} is not of the form {{"keys": [...]}}.') from exc
    found: dict[str, Key] = {}
    for number, entry in enumerate(entries, 1):
        where = f"Key {number} in {path}"
        if not isinstance(entry, dict) or not set(entry) <= {"name", "sha256", "per_hour"}:
            raise SettingsError(f"{where} is to have name, sha256 and per_hour, and nothing else.")
        name, digest, per_hour = entry.get("name"), entry.get("sha256"), entry.get("per_hour", 0)
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            raise SettingsError(f"{where} needs a name of letters, digits, - and _.")
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise SettingsError(
                f"{where} ({name}) needs sha256, 64 hexadecimal digits: conversion-api --new-key makes one."
            )
        if not isinstance(per_hour, int) or isinstance(per_hour, bool) or per_hour < 0:
            raise SettingsError(f"{where} ({name}) has a per_hour that is no number of files.")
        found[digest] = Key(name, digest, per_hour)
    return found


def made(name: str) -> tuple[str, str]:
    """A new key, and the entry for the file that knows it; SettingsError for a name that the file may not hold."""
    if not re.fullmatch(_NAME, name):
        raise SettingsError(f"'{name[:64]}' is no name for a key: use letters, digits, - and _, 64 at most.")
    key = secrets.token_urlsafe(32)
    return key, json.dumps({"name": name, "sha256": digest_of(key)})


def digest_of(key: str) -> str:
    """What the file holds of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Keys:
    """The keys of a file, or nobody's when `path` is None: then all callers are one."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._keys: dict[str, Key] = read(path) if path else {}
        self._seen = self._stamp()
        self._looked = clock()

    @property
    def open(self) -> bool:
        """Whether anybody may ask."""
        return self._path is None

    def owner(self, authorization: str | None) -> Key | None:
        """The key in a request's Authorization header; None when the API is open. InputError (401) for a wrong one."""
        if self.open:
            return None
        self._renew()
        kind, _, key = (authorization or "").partition(" ")
        digest = digest_of(key.strip())
        found = self._keys.get(digest) if kind.lower() == "bearer" and key.strip() else None
        if found is None or not hmac.compare_digest(found.sha256, digest):
            raise InputError("This needs a key that is known here: send it as 'Authorization: Bearer KEY'.", 401)
        return found

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_ino) if found else (0, 0)

    def _renew(self) -> None:
        if self._path is None or self._clock() - self._looked < 1:
            return
        self._looked = self._clock()
        if (stamp := self._stamp()) != self._seen:
            self._seen = stamp
            try:
                self._keys = read(self._path)
                log.info("%d keys are known", len(self._keys))
            except SettingsError as exc:  # as it was: a slip in an editor locks nobody out
                log.error("%s The keys stay as they were.", exc)


class Quota:
    """Files an hour by key. Counted in the cache, for all APIs together, and here for when that is away."""

    def __init__(self, cache: Cache, clock: Callable[[], float] = time.time) -> None:
        self._cache = cache
        self._clock = clock
        self._hour = 0
        self._counts: dict[str, int] = {}

    async def take(self, key: Key | None) -> None:
        """Count one file; BusyError beyond the quota."""
        if key is None or not key.per_hour:
            return
        hour = int(self._clock() // HOUR)
        if hour != self._hour:
            self._hour, self._counts = hour, {}
        here = self._counts[key.name] = self._counts.get(key.name, 0) + 1
        everywhere = await self._cache.count(f"conversion:quota:{key.name}:{hour}", HOUR)
        if max(here, everywhere or 0) > key.per_hour:
            raise BusyError(
                f"The {key.per_hour} files that this key may send in an hour are used up: try again in the next one.",
                (hour + 1) * HOUR - self._clock(),
            )
