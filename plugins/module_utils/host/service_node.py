# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of a service: it enters when the service is ready, and leaves when the service has finished what it had in hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told

_READY: Final = 60.0  # seconds in one try
_DRAINED: Final = 1800.0
_GOING: Final = 503


@dataclass
class ServiceNode:
    """`ask` takes a method and a path on this host's service and gives the status, 0 without an answer. `publish` puts what its group follows."""

    told: Told
    ask: Callable[[str, str], int]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    publish: Callable[[Told], None] = lambda _: None

    def enter(self) -> None:
        """Wait until it is ready. Raises HostError."""
        if not self.told.port or not self.told.health:
            return
        deadline = self.clock() + _READY
        while (status := self.ask("GET", self.told.health)) != 200:
            if self.clock() >= deadline:
                raise HostError(f"{self._where(self.told.health)} {_words(status)}; see the journal of its unit")
            self.sleep(1)

    def leave(self) -> None:
        """Drain it, where it can be: it takes no more work and says when nothing is in hand. Raises HostError."""
        if not self.told.port:
            return
        deadline = self.clock() + _DRAINED
        while (status := self.ask("POST", "/drain")) == _GOING:
            if self.clock() >= deadline:
                raise HostError(f"{self._where('/drain')} still has work in hand")
            self.sleep(1)
        if status == 200:
            self.say(f"{self.told.service} has nothing in hand any more")
        else:
            self.say(
                f"{self._where('/drain')} {_words(status)}: it cannot be drained, and the load balancer sends it nothing more"
            )

    def keep(self) -> None:
        """Say how busy it is, if its group follows that. A host that comes or goes says nothing. The group's health check does the rest."""
        self.publish(self.told)

    def _where(self, path: str) -> str:
        return f"{self.told.service} at port {self.told.port}, {path},"


def _words(status: int) -> str:
    return f"answers {status}" if status else "does not answer"
