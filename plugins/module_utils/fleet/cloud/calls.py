# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that come in pages, and waiting, over calls that are counted and tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.caller import Caller

T = TypeVar("T")
# What a request asks for the next page by, and where the answer has it.
_TOKENS: Final = {"elbv2": ("Marker", "NextMarker"), "iam": ("Marker", "Marker")}
_PAGES: Final = 1000
_PAUSE: Final = 2.0


class Calls:
    """One fleet's side of AWS. ``client``, ``clock`` and ``sleep`` are as Caller takes them, ``patience`` is for one call."""

    def __init__(
        self,
        client: Callable[[str], Any],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        patience: float = 120.0,
    ) -> None:
        self.clock, self.sleep = clock, sleep
        self._caller = Caller(client, clock=clock, sleep=sleep, patience=patience)

    @property
    def counted(self) -> Counter[str]:
        """How often each operation was called."""
        return self._caller.calls

    @property
    def writes(self) -> int:
        """How many calls changed something, or may have."""
        return self._caller.writes

    def read(self, service: str, operation: str, doing: str, **params: Any) -> Any:
        """Ask. Raises AwsError."""
        return self._caller.read(service, operation, doing, **params)

    def write(self, service: str, operation: str, doing: str, **params: Any) -> Any:
        """Change something; a creation whose answer is lost is not asked for twice. Raises AwsError."""
        return self._caller.write(
            service, operation, doing, twice=not operation.startswith(("Create", "Import")), **params
        )

    def every(self, service: str, operation: str, key: str, doing: str, **params: Any) -> list[Any]:
        """All pages of a list."""
        asked, told = _TOKENS.get(service, ("NextToken", "NextToken"))
        found: list[Any] = []
        more: dict[str, Any] = {}
        for dummy in range(_PAGES):
            answer = self.read(service, operation, doing, **params, **more)
            found += answer.get(key) or []
            if not answer.get(told):
                return found
            more = {asked: answer[told]}
        raise AwsError(f"cannot {doing}: the answer has no end")

    def until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait. Raises AwsError with `what` when the time is over."""
        deadline = self.clock() + seconds
        while not done():
            if self.clock() >= deadline:
                raise AwsError(f"{what} after {seconds:g} s")
            self.sleep(_PAUSE)

    def patiently(self, write: Callable[[], T], codes: Sequence[str], seconds: float) -> T:
        """Try again while AWS refuses with one of `codes`, because it has not heard yet of what was made or removed just now."""
        deadline = self.clock() + seconds
        while True:
            try:
                return write()
            except AwsError as exc:
                if not any(code in f"{exc.code} {exc.text}" for code in codes) or self.clock() >= deadline:
                    raise
            self.sleep(_PAUSE)


def some(things: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """In pieces, as AWS takes a list."""
    for first in range(0, len(things), most):
        yield things[first : first + most]


def tags_of(listed: Any) -> dict[str, str]:
    """AWS's list of tags as a mapping."""
    return {str(tag["Key"]): str(tag.get("Value") or "") for tag in listed or ()}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A mapping as AWS's list of tags."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
