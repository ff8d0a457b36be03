# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup is: an identifier, files in parts with their checksums, and a seal; which of them go, and which stay."""

from __future__ import annotations

import calendar
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError

NAME: Final = "manifest.json"
_FORMAT: Final = 1
_TIME: Final = "%Y%m%dT%H%M%SZ"
_ID: Final = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]{8}")
_DAY: Final = 86400
# So long a run may take that writes a backup; what is older and has no manifest is of one that was cut off.
_UNFINISHED_SECONDS: Final = 2 * _DAY


@dataclass(frozen=True)
class Part:
    """A piece of an encrypted file, one object of the target."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Item:
    """A stream, or the data of a Redis. `about`: its counts, for people and for the comparison after a restore."""

    name: str
    about: Mapping[str, Any] = field(hash=False)
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Manifest:
    """A whole backup. `taken` is in unix seconds, `host` is where it was made."""

    id: str
    source: str
    kind: str
    host: str
    taken: int
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in the target, without the manifest itself."""
        return sum(part.size for item in self.items for part in item.parts)

    def objects(self) -> dict[str, int]:
        """The objects of all parts, relative to the source's folder, and their sizes."""
        return {
            part_key(self.id, number, place): part.size
            for number, item in enumerate(self.items)
            for place, part in enumerate(item.parts)
        }


def new_id(now: float, token: str) -> str:
    """Sorts by time. `token`: eight hex digits, so that two hosts never write into one folder."""
    return f"{time.strftime(_TIME, time.gmtime(now))}-{token}"


def taken_at(identifier: str) -> int | None:
    """Unix seconds; None for what is no identifier."""
    match = _ID.fullmatch(identifier)
    if match is None:
        return None
    try:
        return calendar.timegm(time.strptime(match[1], _TIME))
    except ValueError:
        return None


def part_key(identifier: str, item: int, part: int) -> str:
    """Where a part is, below the source's folder."""
    return f"{identifier}/{item:04d}.{part:06d}"


def dump(manifest: Manifest, seal: str) -> bytes:
    """The manifest's text, sealed: who does not have the secret cannot make another that is taken for a backup."""
    body = {"format": _FORMAT, **asdict(manifest)}
    return json.dumps({"manifest": body, "seal": _seal(body, seal)}, sort_keys=True, indent=1).encode() + b"\n"


def load(text: bytes, seal: str, source: str, identifier: str) -> Manifest:
    """The manifest that was found there. Raises BackupError for one that somebody changed, or put elsewhere."""
    where = f"{source}/{identifier}/{NAME}"
    try:
        raw = json.loads(text)
        body = raw["manifest"]
        good = hmac.compare_digest(str(raw["seal"]), _seal(body, seal))
        if good and body["format"] != _FORMAT:
            raise BackupError(
                f"{where} is of format {body['format']}, which this version does not know: use the newer one."
            )
        found = Manifest(
            id=str(body["id"]),
            source=str(body["source"]),
            kind=str(body["kind"]),
            host=str(body["host"]),
            taken=int(body["taken"]),
            items=tuple(
                Item(
                    str(item["name"]),
                    dict(item["about"]),
                    tuple(Part(int(part["size"]), str(part["sha256"])) for part in item["parts"]),
                )
                for item in body["items"]
            ),
            notes=tuple(str(note) for note in body["notes"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BackupError(f"{where} is no manifest of a backup, or only a part of one: take another backup.") from None
    if not good:
        raise BackupError(
            f"{where} is not sealed by data_backup_seal: it was changed, or made with another; take another backup."
        )
    if (found.source, found.id) != (source, identifier):
        raise BackupError(f"{where} is that of {found.source}/{found.id}: somebody moved it; take another backup.")
    return found


def missing(manifest: Manifest, there: Mapping[str, int]) -> str:
    """Why it is not whole, as a clause, by the sizes of the objects in the source's folder; empty where it is."""
    for key, size in manifest.objects().items():
        if key not in there:
            return f"{key} is missing"
        if there[key] != size:
            return f"{key} has {there[key]} bytes and not {size}"
    return ""


@dataclass(frozen=True)
class Found:
    """What is in a source's folder: backups that are whole, the newest first; those with a manifest that are not, and why.

    `rest`: identifiers of older ones that nobody looked at. `cut`: those without a manifest.
    """

    good: tuple[Manifest, ...]
    bad: Mapping[str, str] = field(hash=False)
    rest: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Of all that have a manifest and are not known to be bad."""
        return len(self.good) + len(self.rest)


def folders(there: Iterable[str]) -> dict[str, list[str]]:
    """Keys below a source's folder by the backup that they are of; what is named otherwise is nobody's."""
    found: dict[str, list[str]] = {}
    for key in there:
        identifier = key.partition("/")[0]
        if taken_at(identifier) is not None:
            found.setdefault(identifier, []).append(key)
    return found


def superfluous(found: Found, now: float, days: int, least: int) -> tuple[list[str], list[str]]:
    """Identifiers of backups that are old enough to go, and of those that were never finished.

    The newest `least` of the whole ones stay whatever their age, so the last good one always does; without so many, all stay.
    """
    least = max(1, least)
    if len(found.good) < least:
        older: list[str] = []
    else:
        oldest = found.good[least - 1].id
        older = [one.id for one in found.good[least:]] + [one for one in (*found.bad, *found.rest) if one < oldest]
    too_old = new_id(now - days * _DAY, "")
    unfinished = new_id(now - _UNFINISHED_SECONDS, "")
    return sorted(one for one in older if one < too_old), [one for one in found.cut if one < unfinished]


def choose(found: Found, wanted: str, source: str) -> Manifest:
    """The backup of an identifier, or the newest whole one for `latest`. Raises BackupError."""
    if wanted == "latest":
        if not found.good:
            reasons = "".join(f" {one}: {why}." for one, why in sorted(found.bad.items()))
            raise BackupError(f"There is no whole backup of {source} in the target.{reasons}")
        return found.good[0]
    for one in found.good:
        if one.id == wanted:
            return one
    if wanted in found.bad:
        raise BackupError(f"The backup {source}/{wanted} is refused: {found.bad[wanted]}")
    known = ", ".join(one.id for one in found.good[:5]) or "none"
    raise BackupError(f"There is no backup {source}/{wanted}; the newest are: {known}.")


def _seal(body: Any, secret: str) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(secret.encode(), canonical, hashlib.sha256).hexdigest()


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def human(sizes: Sequence[int]) -> str:
    """Their sum for a person."""
    total = float(sum(sizes))
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if total < 1024:
            return f"{total:.0f} {unit}" if unit == "bytes" else f"{total:.1f} {unit}"
        total /= 1024
    return f"{total:.1f} TiB"
