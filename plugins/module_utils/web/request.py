# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request over HTTP, whatever comes of it: an answer of any status, or an OSError."""

from __future__ import annotations

import urllib.error
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.urls import open_url


def opened(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float, *, ca_file: str = ""
) -> tuple[int, Mapping[str, str], Any]:
    """The status and headers of the answer, and the stream of its body; redirects are not followed. Raises OSError."""
    problem: OSError
    try:
        answer = open_url(
            url,
            method=method,
            data=body,
            headers=dict(headers),
            timeout=timeout,
            ca_path=ca_file or None,
            follow_redirects="none",
        )
        return answer.status, answer.headers, answer
    except urllib.error.HTTPError as exc:
        found: Any = exc.headers  # a Mapping in all but name
        return exc.code, found, exc
    except urllib.error.URLError as exc:
        problem = exc.reason if isinstance(exc.reason, OSError) else OSError(0, str(exc.reason))
    except OSError as exc:
        problem = exc
    except Exception as exc:  # what http.client and ssl have of their own
        problem = OSError(0, type(exc).__name__)
    raise problem


def request(method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> tuple[int, Mapping[str, str], bytes]:  # fmt: skip
    """As `opened`, with the whole body."""
    status, found, answer = opened(method, url, headers, body, timeout)
    try:
        return status, found, answer.read()
    except OSError:
        raise
    except Exception as exc:  # an answer that broke off
        raise OSError(0, type(exc).__name__) from None
