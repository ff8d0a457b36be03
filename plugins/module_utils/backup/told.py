# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is to back up, and where to: /etc/data-backup/config.json, in which nothing is secret, and secrets.json beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

CONFIG: Final = "/etc/data-backup/config.json"
SECRETS: Final = "/etc/data-backup/secrets.json"
KINDS: Final = ("nats", "redis")
SHORTEST_SEAL: Final = 16
_PORTS: Final = {"nats": 4222, "redis": 6379}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_RECIPIENT: Final = re.compile(r"age1[a-z0-9]{58}")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*/)*")


class BackupError(Exception):
    """One sentence: the thing, the reason, the way out; never a secret."""


@dataclass(frozen=True)
class Source:
    """A service whose data is kept. `password` is a secret; `program` is a server of its kind, for a restore of Redis."""

    name: str
    kind: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: bool
    ca: str
    cert: str
    key: str
    server_name: str
    program: str


@dataclass(frozen=True)
class Place:
    """Where backups go: a directory, or a bucket. `prefix` ends with a slash or is empty; `access_key` is "" for the instance's role."""

    directory: str
    bucket: str
    prefix: str
    region: str
    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    metadata: str


@dataclass(frozen=True)
class Told:
    """Both files. `every` and `seconds` (the longest that one run may take) are in seconds; `seal` is a secret."""

    place: Place
    recipients: tuple[str, ...]
    every: int
    keep_days: int
    keep_least: int
    seconds: int
    sources: tuple[Source, ...]
    seal: str = field(repr=False)

    def source(self, name: str) -> Source:
        """Raises BackupError for a name that is not there."""
        for one in self.sources:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.sources)
        raise BackupError(f"There is no source {name}; {CONFIG} has {known or 'none'}.")


def read(config: str, secrets: str) -> Told:
    """From the texts of the two files. Raises BackupError with what is wrong in them."""
    try:
        raw, hidden = _mapping(config, CONFIG), _mapping(secrets, SECRETS)
        passwords = hidden.get("passwords") or {}
        seal = str(hidden.get("seal") or "")
        told = Told(
            place=_place(raw.get("target") or {}, str(hidden.get("s3_secret_key") or "")),
            recipients=_recipients(raw.get("recipients") or []),
            every=_at_least(raw, "every", 3600, 300),
            keep_days=_at_least(raw, "keep_days", 14, 1),
            keep_least=_at_least(raw, "keep_least", 3, 1),
            seconds=_at_least(raw, "seconds", 3000, 1),
            sources=tuple(_source(one, passwords) for one in raw.get("sources") or []),
            seal=seal,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        reason = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise BackupError(f"{CONFIG} cannot be used: {reason}; apply the role data_backup again.") from exc
    if not told.recipients:
        raise BackupError(
            f"{CONFIG} has no recipients: name the public key (age1...) with which backups are encrypted."
        )
    names = [one.name for one in told.sources]
    if len({*names}) < len(names):
        raise BackupError(f"{CONFIG} has two sources of one name: give each its own, for it is its folder.")
    if len(seal) < SHORTEST_SEAL:
        raise BackupError(
            f"{SECRETS} has no seal of {SHORTEST_SEAL} characters or more, which shows who made a backup."
        )
    return told


def _mapping(text: str, path: str) -> Mapping[str, Any]:
    try:
        raw = json.loads(text)
    except ValueError:
        raise BackupError(f"{path} is no JSON: apply the role data_backup again.") from None
    if not isinstance(raw, dict):
        raise BackupError(f"{path} is no mapping: apply the role data_backup again.")
    return raw


def _at_least(raw: Mapping[str, Any], name: str, default: int, least: int) -> int:
    value = int(raw.get(name, default))
    if value < least:
        raise ValueError(f"{name} is {value}, and {least} is the least")
    return value


def _recipients(values: Sequence[Any]) -> tuple[str, ...]:
    """They are not shown: somebody may have put the secret key there."""
    if not all(_RECIPIENT.fullmatch(str(value)) for value in values):
        raise ValueError("one of the recipients is no public key of age, as in age1...")
    return tuple(str(value) for value in values)


def _place(raw: Mapping[str, Any], secret_key: str) -> Place:
    found = Place(
        directory=str(raw.get("directory") or ""),
        bucket=str(raw.get("bucket") or ""),
        prefix=str(raw.get("prefix") or ""),
        region=str(raw.get("region") or ""),
        endpoint=str(raw.get("endpoint") or "").rstrip("/"),
        access_key=str(raw.get("access_key") or ""),
        secret_key=secret_key,
        metadata=str(raw.get("metadata") or ""),
    )
    if bool(found.directory) == bool(found.bucket):
        raise ValueError("the target is either a directory or a bucket")
    if found.directory and not found.directory.startswith("/"):
        raise ValueError(f"the directory {found.directory!r} does not begin with a slash")
    if found.bucket and not _BUCKET.fullmatch(found.bucket):
        raise ValueError(f"{found.bucket!r} is no name of a bucket")
    if not _PREFIX.fullmatch(found.prefix):
        raise ValueError(
            f"the prefix {found.prefix!r} is not as in 'shop/prod/': letters, digits, ._- and a slash at the end"
        )
    if found.bucket and found.access_key and not secret_key:
        raise ValueError(f"there is an access_key, and {SECRETS} has no s3_secret_key")
    if found.endpoint and not re.fullmatch(r"https?://[^/]+", found.endpoint):
        raise ValueError(f"the endpoint {found.endpoint!r} is not as in 'https://s3.example.org'")
    return found


def _source(raw: Mapping[str, Any], passwords: Mapping[str, Any]) -> Source:
    name, kind = str(raw["name"]), str(raw["kind"])
    if not _NAME.fullmatch(name):
        raise ValueError(f"the source {name!r} is not named with small letters, digits and dashes")
    if kind not in KINDS:
        raise ValueError(f"the source {name} is of the kind {kind!r}, and there are {' and '.join(KINDS)}")
    return Source(
        name=name,
        kind=kind,
        host=str(raw.get("host") or "127.0.0.1"),
        port=int(raw.get("port") or _PORTS[kind]),
        user=str(raw["user"]),
        password=str(passwords.get(name) or ""),
        tls=bool(raw.get("tls", True)),
        ca=str(raw.get("ca") or ""),
        cert=str(raw.get("cert") or ""),
        key=str(raw.get("key") or ""),
        server_name=str(raw.get("server_name") or ""),
        program=str(raw.get("program") or "/usr/bin/redis-server"),
    )
