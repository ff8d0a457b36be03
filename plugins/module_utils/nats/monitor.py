# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitoring endpoint of a NATS server."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

_SECONDS = 5.0
_LONGEST = 64 << 20


class HttpMonitor:
    """Asks over HTTP, without a proxy."""

    def __init__(self, url: str) -> None:
        """`url`: without a path."""
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __call__(self, path: str) -> dict[str, Any]:
        """The JSON of an answer, also of one that says the server is not healthy. Raises OSError and ValueError."""
        try:
            with self._opener.open(self._url + path, timeout=_SECONDS) as answer:
                text = answer.read(_LONGEST)
        except urllib.error.HTTPError as exc:
            text = exc.read(_LONGEST)
        except http.client.HTTPException as exc:
            raise ValueError(f"it is no HTTP server: {exc or type(exc).__name__}") from exc
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("the answer is no object")
        return found
