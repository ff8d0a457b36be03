# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers out of text files of millions of lines, by numpy: no Python loop over lines."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_CHUNK = 1 << 20  # bytes looked at together: bounds the memory for masks


def plain(data: bytes) -> bytes:
    """Text as bytes with newlines alone and without a byte order mark, whatever its encoding: what we read is ASCII."""
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if data.startswith(mark):
            data = data[len(mark) :].decode(name, "replace").encode("utf-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


class Lines:
    """The non-empty lines of a text. `first` and `second` are their first two bytes, leading blanks aside."""

    def __init__(self, text: bytes) -> None:
        if re.search(rb"^[ \t]", text, re.MULTILINE):
            text = re.sub(rb"^[ \t]+", b"", text, flags=re.MULTILINE)
        if not text.endswith(b"\n"):
            text += b"\n"
        self.text = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(self.text == 10)
        starts = np.empty_like(ends)
        starts[0], starts[1:] = 0, ends[:-1] + 1
        full = ends > starts
        self.starts, self.ends = starts[full], ends[full]
        self.first = self.text[self.starts]
        self.second = self.text[self.starts + 1]

    def __len__(self) -> int:
        return len(self.starts)

    def line(self, index: int) -> bytes:
        """One line."""
        return self.text[self.starts[index] : self.ends[index]].tobytes()

    def chosen(self, *words: bytes) -> NDArray[np.bool_]:
        """Which lines begin with one of these words and a blank."""
        found = np.zeros(len(self), bool)
        for word in words:
            hit = self.first == word[0]
            for offset, byte in enumerate((word + b" ")[1:], 1):
                at = self.text[np.minimum(self.starts + offset, len(self.text) - 1)]
                hit = hit & ((at == byte) if offset < len(word) else ((at == 32) | (at == 9)))
            found |= hit
        return found

    def numbers(
        self, chosen: NDArray[np.bool_], skip: int, kind: type[Any], what: str, *, references: bool = False
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """All numbers on the chosen lines, in order, and how many each line has.

        `skip` leading bytes of a line are its word; with `references` only what stands before a slash counts (OBJ's
        f 1/2/3). InputError, as in "The OBJ file's vertex 3 ...", for what is no number: `what` names kind of file and
        of line.
        """
        values: list[NDArray[Any]] = []
        counts: list[NDArray[np.int64]] = []
        done = 0
        for starts, ends in self._pieces(chosen):
            text, firsts = self._cut(starts, ends)
            for offset in range(skip):
                text[firsts + offset] = 32
            blank = text <= 32
            if references and (text == 47).any():
                index = np.arange(len(text), dtype=np.int32)
                slash = np.maximum.accumulate(np.where(text == 47, index, np.int32(-1)))
                space = np.maximum.accumulate(np.where(blank, index, np.int32(-1)))
                text[slash > space] = 32
                blank = text <= 32
            if (text == 35).any():  # a comment at the end of a line; not the # in Microsoft's 1.#QNAN
                text = np.frombuffer(
                    re.sub(rb"\s#[^\n]*", lambda m: b" " * len(m.group()), text.tobytes()), np.uint8
                ).copy()
                blank = text <= 32
            begins = ~blank
            begins[1:] &= blank[:-1]
            tokens = np.add.reduceat(begins, firsts, dtype=np.int64)
            expected = int(tokens.sum())
            try:
                found = np.fromstring(text.tobytes(), dtype=kind, sep=" ") if expected else np.empty(0, kind)
            except ValueError:
                found = np.empty(0, kind)
            if len(found) != expected:
                found = _slowly(text, firsts, kind, what, done)
            values.append(found)
            counts.append(tokens)
            done += len(starts)
        if not values:
            return np.empty(0, kind), np.empty(0, np.int64)
        return np.concatenate(values), np.concatenate(counts)

    def _pieces(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        starts, ends = self.starts[chosen], self.ends[chosen]
        sizes = np.cumsum(ends - starts + 1)
        at = 0
        while at < len(starts):
            before = sizes[at - 1] if at else 0
            to = max(at + 1, int(np.searchsorted(sizes, before + _CHUNK)))
            yield starts[at:to], ends[at:to]
            at = to

    def _cut(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The lines, their newlines included, one after the other, and where each begins."""
        sizes = ends - starts + 1
        firsts = np.cumsum(sizes) - sizes
        low, high = int(starts[0]), int(ends[-1]) + 1
        if high - low == int(sizes.sum()):
            return self.text[low:high].copy(), firsts
        if high - low < 8 * int(sizes.sum()):
            edge = np.zeros(high - low + 1, np.int8)
            edge[starts - low] = 1
            edge[ends + 1 - low] -= 1
            return self.text[low:high][np.cumsum(edge[:-1], dtype=np.int8).astype(bool)], firsts
        return np.concatenate([self.text[a : b + 1] for a, b in zip(starts, ends, strict=True)]), firsts


def _slowly(text: NDArray[np.uint8], firsts: NDArray[np.int64], kind: type[Any], what: str, done: int) -> NDArray[Any]:
    """Number by number: finds the one that is none, or reads what numpy's scanner does not know."""
    values: list[Any] = []
    for number, line in enumerate(np.split(text, firsts[1:]), done + 1):
        for token in line.tobytes().split():
            try:
                values.append(kind(token.decode("ascii")))
            except ValueError:
                shown = token[:24].decode("ascii", "replace").replace("\ufffd", "?")
                raise InputError(f"The {what} {number} has '{shown}', which is not a number.", 422) from None
    return np.array(values, kind)


def table(values: NDArray[Any], counts: NDArray[np.int64], width: int, what: str) -> NDArray[Any]:
    """The first `width` numbers of every line, (lines, width); InputError for a line with fewer."""
    if len(counts) and int(counts.min()) < width:
        number = int(np.argmax(counts < width)) + 1
        raise InputError(f"The {what} {number} has {counts[number - 1]} numbers and needs {width}.", 422)
    if len(counts) and int(counts.max()) == int(counts.min()):
        return np.asarray(values.reshape(len(counts), -1)[:, :width])
    firsts = np.cumsum(counts) - counts
    return np.asarray(values[firsts[:, None] + np.arange(width)])


def written(template: str, rows: NDArray[Any]) -> bytes:
    """Every row of numbers by a template for one row, in blocks: bounds the memory for Python's own numbers."""
    block = 1 << 15
    pieces = (rows[start : start + block] for start in range(0, len(rows), block))
    return b"".join((template * len(some) % tuple(some.ravel().tolist())).encode("ascii") for some in pieces)
