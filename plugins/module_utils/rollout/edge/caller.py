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
from email.utils import parsedate_to_datetime
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import (
    AwsError,
    NoCredentialsNowError,
    UnansweredError,
    UnreadableError,
    explain,
)

_FIRST_DELAY = 1.0
_LONGEST_DELAY = 20.0
_BEFORE_FIRST_ANSWER = 3  # attempts to reach an endpoint that never answered yet
_SAME_CLOCK = 3.0  # seconds that two clocks may differ by, in answers that tell the second
_NO_CLOCK = 3600.0  # by more no clock is wrong that AWS accepts signatures of: it is an emulation's
_RENEWAL = 60.0  # for so many seconds credentials may be about to be fetched or renewed
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
        self._dated = False
        self.ahead = 0.0  # by how many seconds AWS's clock is ahead of this one's
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
        started = self._clock()
        attempt = 0
        while True:
            attempt += 1
            self.calls[operation] += 1
            try:
                answer = getattr(self._client(service), _snake(operation))(**params)
            except Exception as exc:
                error = explain(exc, service=service, operation=operation, doing=doing)
                waited = self._clock() - started
                if not self._is_tried_again(error, attempt, waited, twice=twice) or waited >= self.patience:
                    raise error from exc
                longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(attempt - 1, 10))
                self._sleep(longest * (0.5 + 0.5 * self._jitter()))
            else:
                self._answered = True
                self._compare_clocks(answer)
                return answer

    def _is_tried_again(self, error: AwsError, attempt: int, waited: float, *, twice: bool) -> bool:
        """Whether the same call may succeed a little later."""
        known = self._answered or attempt < _BEFORE_FIRST_ANSWER
        if isinstance(error, UnreadableError):
            return twice and attempt < _UNREADABLE
        if isinstance(error, UnansweredError):
            return twice and known
        if isinstance(error, NoCredentialsNowError):
            return self._answered or waited < _RENEWAL
        if error.expired:  # whoever provides the credentials may have newer ones in a moment
            return self._answered and waited < _RENEWAL
        return error.throttled or error.busy

    def _compare_clocks(self, answer: Any) -> None:
        """Once: the first answer tells what time it is for AWS."""
        if self._dated:
            return
        self._dated = True
        metadata = answer.get("ResponseMetadata") if isinstance(answer, dict) else None
        headers = metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None
        text = headers.get("date") if isinstance(headers, dict) else None
        try:
            ahead = parsedate_to_datetime(str(text)).timestamp() - self._clock()
        except ValueError:
            return
        if _SAME_CLOCK < abs(ahead) < _NO_CLOCK:
            self.ahead = ahead


def _snake(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
