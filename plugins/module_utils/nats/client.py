# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small NATS client: connect with TLS, ask one question at a time. What a module needs, and no more."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.nats.wire import Wire
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

Answers = list[dict[str, Any]]


class NatsError(Exception):
    """One sentence: the thing, the reason, the way out."""


class Asking(Protocol):
    """What the stream's core needs of a connection."""

    def ask(self, subject: str, payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, give its answer."""


def _options(login: Login, info: Mapping[str, Any]) -> dict[str, str]:
    """What CONNECT says. A password goes over TLS where the server has it, or is not said."""
    if info.get("tls_required") and not login.tls:
        raise ValueError("the server speaks TLS only")
    return {"user": login.user, "pass": login.password}


class Client:
    """One connection to the first server of a list that lets us in. Every wait ends at a deadline."""

    def __init__(
        self,
        servers: list[tuple[str, int]],
        login: Login,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect. `timeout` (seconds) is for the connection, and for each answer. Raises NatsError."""
        self._asked = 0
        reasons = []
        for host, port in servers:
            encrypt = partial(login.encrypted, host=host) if login.tls else None
            try:
                self._wire = Wire((host, port), encrypt, partial(_options, login), timeout, clock)
            except (OSError, ValueError) as exc:
                reason = "no answer in time" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
                reasons.append(f"{host}:{port}: {reason}")
            else:
                return
        raise NatsError(f"No NATS server let us in ({'; '.join(reasons)}); see whether it runs, and the credentials.")

    def close(self) -> None:
        """Give the connection back."""
        self._wire.close()

    def ask(self, subject: str, payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, give the answer's JSON. Raises NatsError."""
        try:
            return self._answer(subject, b"" if payload is None else json.dumps(payload).encode())
        except (OSError, ValueError) as exc:
            reason = "no answer in time" if isinstance(exc, TimeoutError) else str(exc)
            raise NatsError(
                f"NATS did not answer {subject}: {reason}; see whether JetStream has its majority, and the user's permissions."
            ) from exc

    def ask_all(
        self, subject: str, payload: Mapping[str, Any], enough: Callable[[Answers], bool], seconds: float
    ) -> Answers:
        """Send a request to all servers; the answers that came within `seconds`, or until they are `enough`.

        Others may come later, so close the connection after it. Raises NatsError.
        """
        found: Answers = []
        try:
            self._request(subject, json.dumps(payload).encode(), seconds=seconds)
            while not enough(found):
                found.append(self._next())
        except TimeoutError:  # those that do not answer are not there
            pass
        except (OSError, ValueError) as exc:
            raise NatsError(f"NATS did not answer {subject}: {exc}; see the user's permissions.") from exc
        return found

    def _answer(self, subject: str, text: bytes) -> dict[str, Any]:
        self._request(subject, text, answers=1)
        return self._next()

    def _request(self, subject: str, text: bytes, answers: int = 0, seconds: float = 0) -> None:
        """`answers`: after so many nothing more comes, 0 for no limit. `seconds`: for all of them, 0 for the usual time."""
        inbox = f"_INBOX.{secrets.token_hex(12)}"
        self._wire.begin(seconds)
        # A number of its own: the server may answer before it has forgotten the last subscription, and ignores a second of that number.
        self._asked += 1
        number = self._asked
        limit = f"UNSUB {number} {answers}\r\n" if answers else ""
        request = f"SUB {inbox} {number}\r\n{limit}PUB {subject} {inbox} {len(text)}\r\n"
        self._wire.say(request.encode() + text + b"\r\n")

    def _next(self) -> dict[str, Any]:
        head, body = self._wire.message()
        if b" 503" in head.partition(b"\r\n")[0]:
            raise ValueError("nobody listens there, so the account has no JetStream")
        answer = json.loads(body)
        if not isinstance(answer, dict):
            raise ValueError("the answer is no object")
        return answer
