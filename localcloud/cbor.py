# SPDX-License-Identifier: GPL-3.0-or-later
"""CBOR as far as AWS's protocol rpc-v2-cbor needs it (RFC 8949): texts, bytes, numbers, booleans, null, lists, maps and times."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

_TIME = 1  # the tag of seconds since 1970
_DEEPEST = 64
_BREAK = object()


class CborError(ValueError):
    """The bytes are no CBOR that this module reads."""


def encode(value: Any) -> bytes:
    """The bytes of a value. Raises TypeError for what is none of the kinds above."""
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, datetime):
        return _head(6, _TIME) + encode(value.timestamp())
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        raw = value.encode()
        return _head(3, len(raw)) + raw
    if isinstance(value, list | tuple):
        return _head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())
    raise TypeError(f"{type(value).__name__} has no form in CBOR here")


def decode(content: bytes) -> Any:
    """The value of bytes. Raises CborError."""
    reader = _Reader(content)
    try:
        value = reader.value(0)
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError, TypeError) as error:
        raise CborError(f"it cannot be read: {error}") from None
    if value is _BREAK or reader.at != len(content):
        raise CborError("there is more than one value")
    return value


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for extra, length in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * length:
            return bytes([major << 5 | extra]) + number.to_bytes(length, "big")
    raise TypeError(f"{number} is too large")


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise CborError("it is nested too deep")
        first = self._content[self.at]
        self.at += 1
        major, extra = first >> 5, first & 31
        if major == 7:
            return self._simple(extra)
        if extra == 31:
            return self._endless(major, depth)
        number = self._number(extra)
        if major <= 1:
            return number if major == 0 else -1 - number
        if major <= 3:
            raw = self._take(number)
            return raw if major == 2 else raw.decode()
        if major == 4:
            return [self._inner(depth) for _ in range(number)]
        if major == 5:
            return {self._inner(depth): self._inner(depth) for _ in range(number)}
        tagged = self._inner(depth)
        return datetime.fromtimestamp(float(tagged), UTC) if number == _TIME else tagged

    def _inner(self, depth: int) -> Any:
        value = self.value(depth + 1)
        if value is _BREAK:
            raise CborError("something ends too early")
        return value

    def _endless(self, major: int, depth: int) -> Any:
        """Bytes, a text, a list or a map whose end is marked."""
        items = []
        while (item := self.value(depth + 1)) is not _BREAK:
            items.append(item)
        match major:
            case 2:
                return b"".join(items)
            case 3:
                return "".join(items)
            case 4:
                return items
            case 5 if len(items) % 2 == 0:
                return dict(zip(items[::2], items[1::2], strict=True))
        raise CborError("something has no end")

    def _simple(self, extra: int) -> Any:
        known = {20: False, 21: True, 22: None, 23: None, 31: _BREAK}
        if extra in known:
            return known[extra]
        formats = {25: ">e", 26: ">f", 27: ">d"}
        if extra not in formats:
            raise CborError(f"it has a simple value {extra}")
        return struct.unpack(formats[extra], self._take(1 << extra - 24))[0]

    def _number(self, extra: int) -> int:
        if extra < 24:
            return extra
        if extra > 27:
            raise CborError("a length cannot be read")
        return int.from_bytes(self._take(1 << extra - 24), "big")

    def _take(self, count: int) -> bytes:
        found = self._content[self.at : self.at + count]
        if len(found) != count:
            raise CborError("it ends too early")
        self.at += count
        return found
