# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the secrets that an image was built with are today's, without a word about them where others can read it.

A digest of a short secret can be guessed by whoever has it, and tags are read by many. So secrets are in no fingerprint and in no tag: this
machine writes down a salted digest of those that it built each image with, in a file that only its user can read. On another machine nobody
can say whether a secret changed, and `image_build` says so.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 16}


def remember(directory: Path, image: str, secrets: Mapping[str, str]) -> None:
    """Write down what an image was built with."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    salt = os.urandom(16)
    said = {"salt": salt.hex(), "digests": {name: _digest(value, salt) for name, value in secrets.items()}}
    path = _path(directory, image)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(said), encoding="utf-8")


def changed(directory: Path, image: str, secrets: Mapping[str, str]) -> list[str] | None:
    """Names of secrets that differ from those that an image was built with; None when this machine does not know."""
    try:
        said: Any = json.loads(_path(directory, image).read_text(encoding="utf-8"))
        salt, before = bytes.fromhex(said["salt"]), dict(said["digests"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = {
        name
        for name, value in secrets.items()
        if name in before and hmac.compare_digest(str(before[name]), _digest(value, salt))
    }
    return sorted((set(secrets) | set(before)) - same)


def _digest(value: str, salt: bytes) -> str:
    return hashlib.scrypt(value.encode(), salt=salt, **_COST).hex()


def _path(directory: Path, image: str) -> Path:
    return directory / f"{image}.secrets.json"
