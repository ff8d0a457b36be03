# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to AWS in pages and batches, each with a deadline. What the status can do without may fail: that is said, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.caller import Caller

T = TypeVar("T")
_PAGES: Final = 200  # of one answer


class Ask:
    """Asks. `unknown` are sentences about what could not be asked."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.unknown: list[str] = []

    def pages(self, service: str, operation: str, key: str, doing: str, /, **params: Any) -> Iterator[Any]:
        """All entries of an answer in pages. Raises AwsError."""
        sent, got = ("Marker", "NextMarker") if service == "elbv2" else ("NextToken", "NextToken")
        more: dict[str, Any] = {}
        for dummy in range(_PAGES):
            answer = self._caller.read(service, operation, doing, **params, **more)
            yield from answer.get(key) or ()
            if not answer.get(got):
                return
            more = {sent: answer[got]}

    def some(self, service: str, operation: str, key: str, doing: str, /, **params: Any) -> list[Any]:
        """The same where the status can do without: what came before the failure."""
        found: list[Any] = []
        self.maybe(lambda: found.extend(self.pages(service, operation, key, doing, **params)), None)
        return found

    def one(self, service: str, operation: str, key: str, doing: str, /, **params: Any) -> Any:
        """What is under `key` of a single answer that the status can do without; None without one."""
        return self.maybe(lambda: self._caller.read(service, operation, doing, **params).get(key), None)

    def maybe(self, ask: Callable[[], T], otherwise: T) -> T:
        """An answer, or what stands for it; why it is missing is said once."""
        try:
            return ask()
        except AwsError as exc:
            if str(exc) not in self.unknown:
                self.unknown.append(str(exc))
            return otherwise


def batches(values: Sequence[str], size: int) -> Iterator[list[str]]:
    """In lists of at most `size`."""
    for start in range(0, len(values), size):
        yield list(values[start : start + size])
