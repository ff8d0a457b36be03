# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoder of glTF's EXT_meshopt_compression, written from its specification (Khronos glTF extension registry).

No well-kept library decodes it in Python. Covers what shapes are made of: all three modes in the versions of the
extension, and the filters for positions and rotations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_MAX_BYTES = 1 << 31


def decode(data: bytes, count: int, stride: int, mode: str, filter_: str) -> bytes:
    """A compressed buffer view as plain bytes: `count` elements of `stride` bytes."""
    if count * stride > _MAX_BYTES:
        raise _wrong("says more elements than can be")
    try:
        if mode == "ATTRIBUTES":
            return _filtered(_attributes(data, count, stride), filter_, stride).tobytes()
        if mode == "TRIANGLES" and stride in (2, 4) and count % 3 == 0:
            return np.array(_triangles(data, count), np.int64).astype(f"<u{stride}").tobytes()
        if mode == "INDICES" and stride in (2, 4):
            return np.array(_indices(data, count), np.int64).astype(f"<u{stride}").tobytes()
    except (IndexError, ValueError, OverflowError) as exc:
        raise _wrong("ends too early") from exc
    raise _wrong(f"has the mode {mode[:16]} with {stride} bytes an element, which is not one of the extension's")


def _wrong(what: str) -> InputError:
    return InputError(f"The file's data for EXT_meshopt_compression {what}: it is damaged.", 422)


def _version(data: bytes, kind: int, newest: int) -> int:
    if not data or data[0] & 0xF0 != kind:
        raise _wrong("does not begin as it should")
    if data[0] & 0x0F > newest:
        raise InputError(
            "The file requires KHR_meshopt_compression in a newer version than is read: export it without.", 422
        )
    return data[0] & 0x0F


def _attributes(data: bytes, count: int, stride: int) -> NDArray[np.uint8]:
    """Mode 0: blocks of elements, each byte of an element apart, as differences in groups of 16."""
    _version(data, 0xA0, 0)
    if stride % 4 or not 4 <= stride <= 256:
        raise _wrong(f"has {stride} bytes an element, which is no multiple of 4")
    raw = np.frombuffer(data, np.uint8)
    last = raw[len(raw) - stride :].copy()
    end = len(raw) - max(stride, 32)
    result = np.zeros((count, stride), np.uint8)
    block = min((8192 // stride) & ~15, 256)
    at = 1
    for first in range(0, count, block):
        size = min(block, count - first)
        groups = (size + 15) // 16
        for byte in range(stride):
            header = raw[at : at + (groups + 3) // 4]
            at += len(header)
            modes = ((header[:, None] >> np.array([0, 2, 4, 6], np.uint8)) & 3).ravel()[:groups]
            deltas = np.zeros(groups * 16, np.uint8)
            for group in np.flatnonzero(modes).tolist():
                at = _group(raw, at, int(modes[group]), deltas[group * 16 : group * 16 + 16])
            if at > end:
                raise _wrong("ends too early")
            signed = (deltas >> 1) ^ (-(deltas & 1).astype(np.int16)).astype(np.uint8)
            column = np.cumsum(signed[:size], dtype=np.uint64).astype(np.uint8) + last[byte]
            result[first : first + size, byte] = column
            last[byte] = column[-1]
    if at != end:
        raise _wrong("is longer than its elements")
    return result


def _group(raw: NDArray[np.uint8], at: int, mode: int, into: NDArray[np.uint8]) -> int:
    """Sixteen differences of 2 or 4 bits, where all ones stand for a byte of its own, or of 8 bits."""
    if mode == 3:
        into[:] = raw[at : at + 16]
        return at + 16
    bits = 2 * mode
    packed = raw[at : at + 2 * bits]
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    into[:] = ((packed[:, None] >> shifts) & ((1 << bits) - 1)).ravel()
    at += 2 * bits
    own = np.flatnonzero(into == (1 << bits) - 1)
    into[own] = raw[at : at + len(own)]
    return at + len(own)


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise _wrong("holds a number that is too long")


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _triangles(data: bytes, count: int) -> list[int]:
    """Mode 1: triangles by the edges and vertices that came shortly before."""
    most = 13 if _version(data, 0xE0, 1) >= 1 else 15
    edges = [(-1, -1)] * 16
    recent = [-1] * 16
    edge_at = recent_at = 0
    new = last = 0
    at = 1 + count // 3
    end = len(data) - 16
    table = data[end:]
    result: list[int] = []
    for code in data[1 : 1 + count // 3]:
        if at > end:
            raise _wrong("ends too early")
        if code < 0xF0:
            a, b = edges[(edge_at - 1 - (code >> 4)) & 15]
            low = code & 15
            if low < most:
                c = recent[(recent_at - 1 - low) & 15] if low else new
                if not low:
                    new += 1
                    recent[recent_at & 15] = c
                    recent_at += 1
            else:
                if low == 15:
                    value, at = _number(data, at)
                    last += _signed(value)
                else:
                    last += low - (low ^ 3)
                c = last
                recent[recent_at & 15] = c
                recent_at += 1
            made: tuple[tuple[int, int], ...] = ((c, b), (a, c))
        else:
            own = code >= 0xFE
            if own:
                aux = data[at]
                at += 1
                if aux == 0:
                    new = 0
            else:
                aux = table[code & 15]
            high, low = aux >> 4, aux & 15
            a = 0
            if code != 0xFF:
                a, new = new, new + 1
            if high == 0:
                b, new = new, new + 1
            else:
                b = recent[(recent_at - high) & 15]
            if low == 0:
                c, new = new, new + 1
            else:
                c = recent[(recent_at - low) & 15]
            if own:
                if code == 0xFF:
                    value, at = _number(data, at)
                    a = last = last + _signed(value)
                if high == 15:
                    value, at = _number(data, at)
                    b = last = last + _signed(value)
                if low == 15:
                    value, at = _number(data, at)
                    c = last = last + _signed(value)
            for vertex, fresh in (
                (a, True),
                (b, high == 0 or (own and high == 15)),
                (c, low == 0 or (own and low == 15)),
            ):
                if fresh:
                    recent[recent_at & 15] = vertex
                    recent_at += 1
            made = ((b, a), (c, b), (a, c))
        result += (a, b, c)
        for edge in made:
            edges[edge_at & 15] = edge
            edge_at += 1
    if len(result) != count or at != end or (result and min(result) < 0):
        raise _wrong("does not hold the triangles that it says")
    return result


def _indices(data: bytes, count: int) -> list[int]:
    """Mode 2: indices as differences to one of two that came before."""
    _version(data, 0xD0, 1)
    before = [0, 0]
    at, end = 1, len(data) - 4
    result = []
    for _ in range(count):
        if at >= end:
            raise _wrong("ends too early")
        value, at = _number(data, at)
        before[value & 1] += _signed(value >> 1)
        result.append(before[value & 1])
    if at != end or (result and min(result) < 0):
        raise _wrong("does not hold the indices that it says")
    return result


def _filtered(rows: NDArray[np.uint8], name: str, stride: int) -> NDArray[np.uint8]:
    if name == "NONE":
        return rows
    if name == "EXPONENTIAL":
        packed = rows.reshape(-1).view("<i4")
        mantissa = (packed << 8) >> 8
        return np.asarray(np.ldexp(mantissa.astype(np.float32), packed >> 24).astype("<f4").view(np.uint8))
    if name == "QUATERNION" and stride == 8:
        quads = rows.reshape(-1).view("<i2").reshape(-1, 4)
        scale = 1 / (quads[:, 3] | 3).astype(np.float64) / np.sqrt(2)
        xyz = quads[:, :3] * scale[:, None]
        w = np.sqrt(np.maximum(0.0, 1 - (xyz**2).sum(axis=1)))
        largest = quads[:, 3] & 3
        turned = np.empty((len(quads), 4))
        for offset, column in enumerate((w, *xyz.T)):
            turned[np.arange(len(quads)), (largest + offset) & 3] = column
        return np.asarray(np.round(turned * 32767).astype("<i2").view(np.uint8))
    raise InputError(
        f"The file packs positions with the filter {name[:16]} of EXT_meshopt_compression, which is not for them.", 422
    )
