# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that AWS takes, for whatever a fleet and its services are called, and numbers that stay when a service is added.

Two fleets never have a name in common: a dash of the fleet's name is written twice, and those of a service's name stand alone, so that the
service `c` of the fleet `a-b` is `a--b-c` and the service `b-c` of the fleet `a` is `a-b-c`. What AWS does not take is cut, and a digest of the
whole tells it apart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

# https://docs.aws.amazon.com: launch templates 128, groups 255, security groups 255, target groups and load balancers 32, roles 64.
_LONG: Final = 128
_BALANCER: Final = 32
_ROLE: Final = 64
# A family of images, as packer/variables.pkr.hcl takes it.
_FAMILY: Final = 31


def _fit(name: str, most: int) -> str:
    """A name that is short enough, and begins with no sg-, which AWS keeps for the ids of security groups."""
    if name.startswith("sg-"):
        return _cut(f"fleet-{name}", name, most)
    return name if len(name) <= most else _cut(name, name, most)


def _fit_balancer(name: str) -> str:
    """A name that a load balancer or a target group may have: single dashes, none at the end, no internal- at the beginning."""
    if len(name) <= _BALANCER and re.fullmatch(r"(?!internal-)[a-z0-9]+(-[a-z0-9]+)*", name):
        return name
    single = re.sub(r"-+", "-", name)
    return _cut(f"fleet-{single}" if single.startswith("internal-") else single, name, _BALANCER)


def _cut(readable: str, name: str, most: int) -> str:
    """The beginning, and a digest of the whole."""
    return f"{readable[: most - 13].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _plain(fleet: str, service: str = "", part: str = "") -> str:
    name = fleet.replace("-", "--")
    return name + (f"-{service}" if service else "") + (f"--{part}" if part else "")


def group(fleet: str, service: str) -> str:
    """Auto Scaling group, launch template and security group of a service or data service."""
    return _fit(_plain(fleet, service), _LONG)


def balancer_security(fleet: str, part: str) -> str:
    """Security group of a load balancer: `part` is public, internal or data."""
    return _fit(f"{_plain(fleet)}.{part}", _LONG)


def balancer(fleet: str, part: str) -> str:
    """A load balancer. The one that clients reach has the fleet's own name."""
    return _fit_balancer(_plain(fleet) if part == "public" else _plain(fleet, part))


def target_group(fleet: str, service: str, part: str = "") -> str:
    """A target group; `part` is "internal" for the second one of a service that is exposed and used."""
    return _fit_balancer(_plain(fleet, service, part))


def role(fleet: str, service: str, region: str) -> str:
    """IAM role and instance profile; these are the account's, and a fleet of one name may be in several regions."""
    return _fit(f"{_plain(fleet, service)}.{region}", _ROLE)


def family(fleet: str, service: str) -> str:
    """Family of images."""
    return _fit(_plain(fleet, service), _FAMILY)


def parameter(fleet: str, *parts: str) -> str:
    """A parameter of the fleet's own."""
    return "/".join((prefix(fleet), *parts))


def prefix(fleet: str) -> str:
    """What all parameters of the fleet's own begin with."""
    return f"/boring/fleets/{fleet}"


def numbers(wanted: Iterable[str], low: int, high: int, kept: Mapping[str, int]) -> dict[str, int]:
    """A number from `low` to `high` for each name, no two alike.

    One of `kept`, what AWS has, stays; what is kept for names that are not wanted is there yet, and given to no other. Other numbers come from a
    digest of the name, the next free one where that is taken, so that they are the same on every machine and nearly always whatever else there
    is. Raises ValueError when there are more names than numbers.
    """
    names = sorted(set(wanted))
    others = {number for name, number in kept.items() if name not in set(names) and low <= number <= high}
    if (
        len(names) + len(others) > high - low + 1
    ):  # rather two of one number than none: AWS refuses that, and the file may do without
        others = set()
    if len(names) > high - low + 1:
        raise ValueError(f"{len(names)} names for {high - low + 1} numbers")
    found: dict[str, int] = {}
    taken: set[int] = set()
    for name in names:
        number = kept.get(name, low - 1)
        if low <= number <= high and number not in taken:
            found[name] = number
            taken.add(number)
    taken |= others
    for name in names:
        if name not in found:
            number = low + int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") % (high - low + 1)
            while number in taken:
                number = low if number == high else number + 1
            found[name] = number
            taken.add(number)
    return dict(sorted(found.items()))
