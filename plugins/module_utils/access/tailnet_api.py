# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tailscale's API for the policy of a tailnet: look, let it be validated there, and replace what was looked at and nothing newer.

https://tailscale.com/api describes it. No key is in any message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from ansible_collections.boring.fleet.plugins.module_utils.access.model import AccessError

_CHANGED_MEANWHILE: Final = 412

# method, url, headers, body, seconds -> status, headers, body; raises OSError
# pylint: disable-next=unsupported-binary-operation
Request = Callable[[str, str, Mapping[str, str], bytes | None, float], tuple[int, Mapping[str, str], bytes]]


class Tailnet:
    """The policy of one tailnet."""

    def __init__(self, url: str, tailnet: str, key: str, request: Request, timeout: float) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/tailnet/{quote(tailnet, safe='-.@')}/acl"
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "boring.fleet",
        }
        self._key = key
        self._request = request
        self._timeout = timeout
        self._name = tailnet

    def look(self) -> tuple[dict[str, Any], str]:
        """The policy, and the mark of just this version of it. Raises AccessError."""
        document, mark = self._ask("GET", self._url, None, {}, "read the policy")
        return document, mark

    def validate(self, policy: Mapping[str, Any]) -> None:
        """Let Tailscale check it and run the test cases in it. Raises AccessError with what it says."""
        document, dummy = self._ask("POST", f"{self._url}/validate", policy, {}, "validate the policy")
        if document.get("message"):
            more = [
                f"{one.get('user')}: {', '.join(one.get('errors') or [])}"
                for one in document.get("data") or []
                if isinstance(one, dict)
            ]
            raise AccessError(
                f"Tailscale refuses the policy: {self._said('; '.join([str(document['message']), *more]))}"
            )

    def needs(self, mark: str) -> None:
        """Raises AccessError without a mark: what somebody else changes meanwhile would be lost without a word."""
        if not mark:
            raise AccessError(
                f"the policy of the tailnet {self._name} is not overwritten: its answer has no ETag, by which a change of somebody "
                "else's would be seen; look at what stands between here and the API (a proxy may take it out), and run this again"
            )

    def replace(self, policy: Mapping[str, Any], mark: str) -> None:
        """Put the policy in the place of the version that `mark` names. Raises AccessError, also without a mark."""
        self.needs(mark)
        self._ask("POST", self._url, policy, {"If-Match": mark}, "replace the policy")

    def _said(self, text: object) -> str:
        """What the API says, as one line without the key, should it repeat that."""
        return _line(str(text).replace(self._key or "\0", "***"))

    def _ask(self, method: str, url: str, policy: Mapping[str, Any] | None, more: dict[str, str], doing: str) -> tuple[dict[str, Any], str]:  # fmt: skip
        where = f"of the tailnet {self._name}"
        problem = ""
        status, headers, answer = 0, {}, b""  # type: int, Mapping[str, str], bytes
        body = None if policy is None else json.dumps(policy).encode()
        try:
            status, headers, answer = self._request(method, url, {**self._headers, **more}, body, self._timeout)
        except OSError as exc:
            problem = (
                "no answer in time" if isinstance(exc, TimeoutError) else _line(exc.strerror or type(exc).__name__)
            )
        if problem:
            raise AccessError(f"cannot {doing} {where}: the connection failed ({problem}); run this again")
        document = _load(answer)
        if status == _CHANGED_MEANWHILE:
            raise AccessError(
                f"cannot {doing} {where}: somebody else changed it meanwhile; run this again and look at the difference"
            )
        if status in (401, 403):
            raise AccessError(
                f"cannot {doing} {where}: Tailscale does not accept the API key or its scopes ({status}); it needs policy_file"
            )
        if status != 200 or not isinstance(document, dict):
            said = document.get("message") if isinstance(document, dict) else ""
            raise AccessError(
                f"cannot {doing} {where}: Tailscale answered {status}{': ' + self._said(said) if said else ''}"
            )
        return document, next((value for name, value in headers.items() if name.lower() == "etag"), "").strip()


def _load(answer: bytes) -> Any:
    try:
        return json.loads(answer or b"{}")
    except ValueError:
        return None


def _line(text: object) -> str:
    return " ".join(str(text).split())[:300]
