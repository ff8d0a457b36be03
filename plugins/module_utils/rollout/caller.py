# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to AWS: counted, tried again where that may help, each with an end. Knows nothing of rolls.

Clients are boto3's, or have their shape.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import (
    AwsError,
    UnansweredError,
    UnreadableError,
    explain,
)

_FIRST_DELAY = 1.0
_LONGEST_DELAY = 20.0
_BEFORE_FIRST_ANSWER = 3  # attempts to reach an endpoint that never answered yet
_UNREADABLE = 3  # attempts to get an answer that can be read


class Caller:
    """Makes calls.

    ``client`` gives the client of a service. A call that AWS throttles or is too busy for is made again with jitter
    for up to ``patience`` seconds; so is one that got no answer, if doing it twice does no harm. ``calls`` counts every
    attempt by operation, ``writes`` those that changed something, or may have.
    """

    def __init__(
        self,
        client: Callable[[str], Any],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        patience: float = 900.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._answered = False
        self.patience = patience
        self.calls: Counter[str] = Counter()
        self.writes = 0

    def read(self, service: str, operation: str, doing: str, **params: Any) -> Any:
        """Ask. ``doing`` names it for people. Raises AwsError."""
        return self._call(service, operation, doing, twice=True, params=params)

    def look(self, service: str, operation: str, doing: str, **params: Any) -> Any:
        """Ask for something that an endpoint may not offer at all: {} then. Raises AwsError otherwise."""
        try:
            return self.read(service, operation, doing, **params)
        except AwsError as exc:
            if not exc.not_offered:
                raise
            return {}

    def write(self, service: str, operation: str, doing: str, *, twice: bool = True, **params: Any) -> Any:
        """Change something. ``twice``: doing it two times does no harm.

        Raises UnansweredError when it is not known whether it was done, and AwsError when it was not.
        """
        try:
            answer = self._call(service, operation, doing, twice=twice, params=params)
        except UnansweredError:
            self.writes += 1  # it may have been done
            raise
        self.writes += 1
        return answer

    def _call(self, service: str, operation: str, doing: str, *, twice: bool, params: dict[str, Any]) -> Any:
        method = getattr(self._client(service), _snake(operation))
        started = self._clock()
        attempt = 0
        while True:
            attempt += 1
            self.calls[operation] += 1
            try:
                answer = method(**params)
            except Exception as exc:
                error = explain(exc, service=service, operation=operation, doing=doing)
                again = error.throttled or error.busy
                if isinstance(error, UnreadableError):
                    again = twice and attempt < _UNREADABLE
                elif isinstance(error, UnansweredError):
                    again = twice and (self._answered or attempt < _BEFORE_FIRST_ANSWER)
                if not again or self._clock() - started >= self.patience:
                    raise error from exc
                longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(attempt - 1, 10))
                self._sleep(longest * (0.5 + 0.5 * self._jitter()))
            else:
                self._answered = True
                return answer


def _snake(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
