# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in a form (multipart/form-data): the content of its first part, piece by piece and in bounded memory.

Pure. A parser of its own because a library's reads on for as long as a client sends what belongs to no part, undoes encodings
that bombs hide in, and raises whatever a broken form leads to.
"""

from __future__ import annotations

import re
from enum import Enum

from ..errors import InputError

PREAMBLE_MAX = 4 * 1024
HEADERS_MAX = 16 * 1024
_MALFORMED = "The form is malformed: {why}; send the file as the body of the request instead."


class _At(Enum):
    PREAMBLE = 0
    LINE = 1  # what follows the delimiter on its line
    HEADERS = 2
    CONTENT = 3
    END = 4


class FirstPart:
    """Feed it the body in pieces; it gives the file's. InputError for what is no form."""

    def __init__(self, boundary: str | None) -> None:
        if not boundary or len(boundary) > 70 or not boundary.isascii() or not boundary.isprintable():
            raise InputError(_MALFORMED.format(why="its header names no boundary, or one that is none"))
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._at = _At.PREAMBLE
        self._rest = b"\r\n"  # the first delimiter may be the first line

    @property
    def done(self) -> bool:
        """True once the first part has ended; what comes then is of no interest."""
        return self._at is _At.END

    def feed(self, data: bytes) -> bytes:
        """What of the file is certain now."""
        self._rest += data
        if self._at is _At.PREAMBLE:
            self._preamble()
        if self._at is _At.LINE:
            self._line()
        if self._at is _At.HEADERS:
            self._headers()
        return self._content() if self._at is _At.CONTENT else b""

    def finish(self) -> None:
        """The body has ended: InputError unless the part had."""
        if self._at in (_At.PREAMBLE, _At.LINE):
            raise InputError("The form holds no file: send one part with the file, or the file as the request's body.")
        if not self.done:
            raise InputError(_MALFORMED.format(why="it is cut off"))

    def _preamble(self) -> None:
        found = self._rest.find(self._delimiter)
        if (found if found >= 0 else len(self._rest)) > PREAMBLE_MAX:
            raise InputError(_MALFORMED.format(why=f"no part begins within {PREAMBLE_MAX} bytes"))
        if found >= 0:
            self._rest = self._rest[found + len(self._delimiter) :]
            self._at = _At.LINE

    def _line(self) -> None:
        if self._rest.startswith(b"--"):
            raise InputError("The form holds no file: send one part with the file, or the file as the request's body.")
        line, found, rest = self._rest.partition(b"\r\n")
        if len(line) > 128 or (found and line.strip(b" \t")):
            raise InputError(_MALFORMED.format(why="a delimiter is followed by something else"))
        if found:
            self._rest = b"\r\n" + rest  # a part without headers begins with an empty line
            self._at = _At.HEADERS

    def _headers(self) -> None:
        headers, found, rest = self._rest.partition(b"\r\n\r\n")
        if len(headers) > HEADERS_MAX:
            raise InputError(_MALFORMED.format(why=f"the headers of its part are longer than {HEADERS_MAX} bytes"))
        if not found:
            return
        encoding = re.search(rb"(?i)\r\ncontent-(transfer-)?encoding[ \t]*:[ \t]*([^\r\n]*)", headers)
        if encoding and encoding[2].strip().lower() not in (b"", b"binary", b"8bit", b"7bit", b"identity"):
            raise InputError("The file in the form is encoded: send it as it is.", 415)
        self._rest = rest
        # The delimiter of an empty part may have lent its line end to the headers
        if (b"\r\n" + rest).startswith(self._delimiter):
            self._rest = b"\r\n" + rest
        self._at = _At.CONTENT

    def _content(self) -> bytes:
        found = self._rest.find(self._delimiter)
        if found >= 0:
            content, self._rest, self._at = self._rest[:found], b"", _At.END
            return content
        keep = len(self._delimiter) - 1
        content, self._rest = self._rest[:-keep], self._rest[-keep:]
        return content
