# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate ends, out of its text: a host of Ansible's has no library for that which could be relied on.

The form is X.509 in DER (RFC 5280, section 4.1): a sequence whose first element holds, among others, the validity, two times.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_SEQUENCE, _VERSION, _UTC, _GENERALIZED = 0x30, 0xA0, 0x17, 0x18
_MOST: Final = 65536  # bytes of a certificate


def ends(pem: str) -> float:
    """The end of the first certificate of a PEM text. Raises ValueError."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("there is no certificate in it")
    try:
        der = base64.b64decode("".join(found[1].split()), validate=True)
    except binascii.Error as exc:
        raise ValueError("its certificate is no base64") from exc
    if len(der) > _MOST:
        raise ValueError("its certificate is too long to be one")
    whole = _inside(der, 0, _SEQUENCE)
    body = _inside(der, whole, _SEQUENCE)
    if der[body : body + 1] == bytes([_VERSION]):
        body = _after(der, body)
    for dummy in ("serial number", "signature", "issuer"):
        body = _after(der, body)
    until = _after(der, _inside(der, body, _SEQUENCE))
    return _time(der, until)


def _header(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, place and length of the content of the element at a place."""
    if at + 2 > len(der):
        raise ValueError("its certificate ends too early")
    tag, length, start = der[at], der[at + 1], at + 2
    if length >= 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise ValueError("its certificate has a length that nobody writes")
        length = int.from_bytes(der[start : start + count], "big")
        start += count
    if start + length > len(der):
        raise ValueError("its certificate ends too early")
    return tag, start, length


def _inside(der: bytes, at: int, wanted: int) -> int:
    tag, start, dummy = _header(der, at)
    if tag != wanted:
        raise ValueError("it is no X.509 certificate")
    return start


def _after(der: bytes, at: int) -> int:
    dummy, start, length = _header(der, at)
    return start + length


def _time(der: bytes, at: int) -> float:
    tag, start, length = _header(der, at)
    text = der[start : start + length].decode("ascii", "replace")
    if tag == _UTC:  # two digits of the year: up to 49 they are of this century
        text = ("20" if text[:2] < "50" else "19") + text
    elif tag != _GENERALIZED:
        raise ValueError("it is no X.509 certificate")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
