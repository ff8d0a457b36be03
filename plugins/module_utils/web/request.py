# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request over HTTP, whatever comes of it: an answer of any status, or an OSError. Only what a caller gives says who asks: a login in
~/.netrc, which would take the place of a header, is never sent."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.urls import open_url

_PIECE = 65_536  # bytes


def opened(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float, *, ca_file: str = ""
) -> tuple[int, Mapping[str, str], Any]:
    """The status and headers of the answer, and the stream of its body; redirects are not followed. Raises OSError."""
    try:
        answer = open_url(
            url,
            method=method,
            data=body,
            headers=dict(headers),
            timeout=timeout,
            ca_path=ca_file or None,
            follow_redirects="none",
            use_netrc=False,
        )
        return answer.status, answer.headers, answer
    except urllib.error.HTTPError as exc:
        found: Any = exc.headers  # a Mapping in all but name
        return exc.code, found, exc
    except Exception as exc:
        problem = _problem(exc)
    raise problem


def request(method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> tuple[int, Mapping[str, str], bytes]:  # fmt: skip
    """As `opened`, with the whole body."""
    status, found, answer = opened(method, url, headers, body, timeout)
    try:
        return status, found, answer.read()
    except Exception as exc:  # an answer that broke off
        problem = _problem(exc)
    raise problem


def document(url: str, seconds: float, most: int) -> bytes:
    """What everybody may read, whole and within `seconds` (a server that sends a little at a time never times out by itself); redirects are
    followed. One of more than `most` bytes is cut off behind the first that is too many. Raises OSError."""
    end = time.monotonic() + seconds
    data = bytearray()
    try:
        with open_url(url, timeout=seconds, http_agent="boring.fleet", follow_redirects="safe", use_netrc=False) as answer:  # fmt: skip
            while len(data) <= most and (piece := answer.read1(_PIECE)):
                data += piece
                if time.monotonic() > end:
                    raise TimeoutError(f"it takes longer than {seconds:g} s")
            left = getattr(answer, "length", None)  # None where the server did not say how long it is
    except urllib.error.HTTPError as exc:
        raise OSError(0, f"HTTP Error {exc.code}: {exc.reason}") from None
    except Exception as exc:
        raise _problem(exc) from None
    if left and len(data) <= most:
        raise OSError(f"its answer broke off {left} bytes before its end")
    return bytes(data[: most + 1])


def _problem(exc: Exception) -> OSError:
    """What urllib, http.client and ssl raise, as one kind. The words of other errors may have a header in them, and that a secret."""
    if isinstance(exc, urllib.error.URLError):
        return exc.reason if isinstance(exc.reason, OSError) else OSError(0, str(exc.reason))
    return exc if isinstance(exc, OSError) else OSError(0, type(exc).__name__)
