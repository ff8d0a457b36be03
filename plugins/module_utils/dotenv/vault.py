# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One environment of a `.env.vault`: base64 of 12 bytes nonce, ciphertext, 16 bytes tag; AES-256-GCM, nothing besides."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    InvalidTag = AESGCM = None  # type: ignore[assignment,misc]

NONCE: Final = 12
TAG: Final = 16


def need_cryptography(present: Any = AESGCM) -> None:
    """Raise DotenvError where the library is missing, in place of a traceback."""
    if present is None:
        raise DotenvError("the Python library cryptography is missing on the controller; 'pip install cryptography'")


def unwrap(value: str, what: str, least: int) -> bytes:
    """The bytes behind a value's base64; `least` is how many there must be. `what` names the value in the error."""
    try:
        blob = base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    if len(blob) < least:
        raise DotenvError(f"{what} is malformed: it is not base64 of at least {least} bytes")
    return blob


def unseal(blob: bytes, key: bytes) -> str | None:
    """The text that `key` sealed, or None where another key did or the blob was changed."""
    need_cryptography()
    try:
        return AESGCM(key).decrypt(blob[:NONCE], blob[NONCE:], None).decode()
    except (InvalidTag, ValueError):  # a text that is no UTF-8 was no dotenv file either
        return None


def seal(text: str, key: bytes, random: Callable[[int], bytes]) -> str:
    """The base64 for a vault; `random` gives that many unpredictable bytes, new ones each time."""
    need_cryptography()
    nonce = random(NONCE)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, text.encode(), None)).decode()
