# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS said about a fleet, and what it means, as values. Times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Activity, Group
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy, Target

# Tags that a host gives itself: why it waits in a lifecycle hook, and what it found of its GPUs ("ok", or what is wrong).
WAITS: Final = "boring:lifecycle"
GPU: Final = "boring:gpu"
FLEET: Final = "boring:fleet"
SERVICE: Final = "boring:service"
VERSION: Final = "boring:version"
KIND: Final = "boring:kind"  # data or service


@dataclass(frozen=True)
class Machine:
    """What EC2 says of an instance. `trouble`: a status check that fails, an event that is due; "" for none."""

    image: str = ""
    launched: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True)
class Found:
    """One Auto Scaling group with all that was asked about it.

    `target` is what a roll would bring to it; None if nobody can say, for the reason in `no_target`.
    """

    group: Group
    policy: Policy = field(default_factory=Policy)
    target: Target | None = None
    no_target: str = ""
    image: str = ""
    health: Mapping[str, str] | None = None  # why an instance is not healthy, "" it is; None nobody was asked
    idle: tuple[str, ...] = ()  # why targets never become healthy, in sentences
    activities: tuple[Activity, ...] = ()
    scaling: tuple[str, ...] = ()  # scheduled sizes and target values, in words


@dataclass(frozen=True)
class Balancer:
    """A load balancer; `part` is public, internal or data."""

    name: str
    part: str
    address: str
    state: str = "active"


@dataclass(frozen=True)
class Seen:
    """All answers. `silent`: services for whose data no host takes connections. `unknown`: what could not be asked, in sentences."""

    groups: tuple[Found, ...]
    machines: Mapping[str, Machine] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)  # name by id
    balancers: tuple[Balancer, ...] = ()
    ends: Mapping[str, float] = field(default_factory=dict)  # when a certificate ends, by what it is
    silent: Mapping[str, str] = field(default_factory=dict)  # why, by service
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Host:
    """One host. `why` it is not well and `behind`, why a roll would replace it, are "" where that is not so."""

    id: str
    zone: str
    state: str
    version: str
    image: str
    why: str = ""
    behind: str = ""

    @property
    def leaving(self) -> bool:
        """Whether it is on its way out, which is no illness."""
        return "Terminat" in self.state


@dataclass(frozen=True)
class Roll:
    """The last roll. `state`: none, done, under way, cut off, unfinished, stopped or unreadable."""

    state: str
    words: str = ""
    by: str = ""
    began: float = 0.0

    @property
    def bad(self) -> bool:
        return self.state in ("cut off", "unfinished", "stopped", "unreadable")


@dataclass(frozen=True)
class Status:
    """One service or data service. `group` is "" when there is none yet. `in_file` is None when no file was given."""

    service: str
    group: str
    kind: str  # "data" or "service"
    in_file: bool | None
    version: str = ""
    template: str = ""
    image: str = ""
    image_name: str = ""
    min: int = 0
    max: int = 0
    desired: int = 0
    hosts: tuple[Host, ...] = ()
    roll: Roll = Roll("none")
    problems: tuple[str, ...] = ()  # of the group as a whole
    scaling: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    exposed: bool = False
    isolated: bool = False

    @property
    def in_service(self) -> int:
        """Hosts that are in service and healthy everywhere."""
        return sum(not host.why for host in self.hosts)

    @property
    def behind(self) -> int:
        return sum(bool(host.behind) for host in self.hosts)

    @property
    def zones(self) -> dict[str, int]:
        """Hosts by zone."""
        found: dict[str, int] = {}
        for host in sorted(self.hosts, key=lambda host: host.zone):
            found[host.zone] = found.get(host.zone, 0) + 1
        return found

    @property
    def ill(self) -> bool:
        """Whether somebody should look."""
        sick = any(host.why and not host.leaving for host in self.hosts)
        return bool(self.problems) or self.roll.bad or sick or self.in_service < self.desired


@dataclass(frozen=True)
class Certificate:
    """What ends, when and in how many whole days; `words` is a warning, "" while there is time."""

    name: str
    ends: float
    days: int
    words: str = ""


@dataclass(frozen=True)
class FleetStatus:
    """A whole fleet at one moment."""

    name: str
    region: str
    at: float
    services: tuple[Status, ...]
    balancers: tuple[Balancer, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether nobody need look: no group is ill and no certificate about to end."""
        return not any(one.ill for one in self.services) and not any(one.words for one in self.certificates)

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean."""
        return {
            "fleet": self.name,
            "region": self.region,
            "at": int(self.at),
            "well": self.well,
            "services": [_service(one) for one in self.services],
            "balancers": [vars(one) for one in self.balancers],
            "certificates": [{**vars(one), "ends": int(one.ends)} for one in self.certificates],
            "unknown": list(self.unknown),
        }


def _service(one: Status) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(one).items() if not isinstance(value, tuple)},
        "ill": one.ill,
        "in_service": one.in_service,
        "behind": one.behind,
        "zones": one.zones,
        "roll": {**vars(one.roll), "began": int(one.roll.began)},
        "hosts": [vars(host) for host in one.hosts],
        **{name: list(getattr(one, name)) for name in ("problems", "scaling", "uses")},
    }
