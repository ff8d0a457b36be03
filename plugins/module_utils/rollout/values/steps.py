# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps: what the decision may ask for, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Instance
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.memory import Failure


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at ``until``; probe these instances meanwhile, which costs no call."""

    until: float
    why: str
    probe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """Renew the lock."""


@dataclass(frozen=True, slots=True)
class Suspend:
    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Victim:
    """An old instance to terminate; ``shrink``: the desired capacity goes down with it.

    ``apart``: it is in Standby and no part of the capacity, so nobody takes its place.
    """

    instance: Instance
    successor: str = ""
    shrink: bool = False
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell instances that they will leave, and ask until they say that they are done."""

    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Resize:
    """A change of the desired capacity, as the journal notes it before the first call of it is made."""

    surge: int  # how much of it will be the roll's own
    desired: int  # how much of it is the user's
    old: int  # instances that are due
    headroom: int = 0
    max_size: int = 0  # the user's


@dataclass(frozen=True, slots=True)
class Turn:
    """Launch some, terminate some: the heart of the roll.

    ``grow_to`` is the desired capacity to write first (None: as it is) and ``max_to`` MaxSize with it; ``point``: the
    group's template is written too. Victims with ``shrink`` come first.
    """

    victims: tuple[Victim, ...] = ()
    launches: int = 0
    grow_to: int | None = None
    max_to: int | None = None
    point: bool = False
    resize: Resize | None = None
    opens: bool = False
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Recycle:
    """Terminate instances of the warm pool, which fills up again from what the group launches."""

    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class AskDelays:
    """Find out for how long lifecycle hooks and load balancers may hold instances up."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Terminate new instances: surplus (``resize`` given), or failed ones for which AWS is to launch others."""

    instances: tuple[Instance, ...]
    failures: tuple[Failure, ...] = ()
    resize: Resize | None = None


@dataclass(frozen=True, slots=True)
class Shrink:
    """Write the desired capacity down: nothing was launched for it."""

    to: int
    resize: Resize


@dataclass(frozen=True, slots=True)
class Restore:
    """Put back MaxSize (None: as it is) and the floating versions ("" and {}: as they are)."""

    max_size: int | None
    spec: str = ""
    floats: Mapping[str, str] = field(default_factory=dict)  # of overrides, by instance type


@dataclass(frozen=True, slots=True)
class Resume:
    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the journal: the last write of every roll."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop replacing; wind down to ``state``."""

    state: str
    reason: str
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    state: str
    reason: str = ""


Step = (
    Wait  # pylint: disable=unsupported-binary-operation
    | Beat
    | Suspend
    | Drain
    | Turn
    | Recycle
    | AskDelays
    | Drop
    | Shrink
    | Restore
    | Resume
    | Forget
    | Halt
    | Finish
)

Event = dict[str, Any]
