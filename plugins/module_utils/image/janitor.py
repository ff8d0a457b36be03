# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What builds left behind that were killed together with the machine they ran on.

A build tags everything temporary with who it is and until when it may take. Only what says both, and whose time is over
by its own word, is removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.calls import Api
from ansible_collections.boring.fleet.plugins.module_utils.image.cloud import BUILDER, EXPIRES, tags_of

_OVER = frozenset({"shutting-down", "terminated"})


@dataclass(frozen=True)
class Thing:
    """One instance, key pair or security group of a build; `expires` is None when it does not say, or not readably."""

    id: str
    kind: str
    builder: str
    expires: float | None


@dataclass(frozen=True)
class Leftovers:
    """One build that is over, and what is left of it."""

    builder: str
    things: tuple[Thing, ...]

    def as_dict(self, now: float) -> dict[str, Any]:
        """For the module's answer."""
        ended = max(thing.expires or 0.0 for thing in self.things)
        return {
            "builder": self.builder,
            "expired_hours": round((now - ended) / 3600, 1),
            "things": [f"{thing.kind} {thing.id}" for thing in self.things],
        }


def things(ec2: Any) -> list[Thing]:
    """Everything temporary of every build in the region. Raises ImageError."""
    api = Api(ec2, "ec2")
    tagged = [{"Name": "tag-key", "Values": [BUILDER]}]
    hosts = [
        host
        for reservation in api.pages("describe_instances", "Reservations", Filters=tagged)
        for host in reservation["Instances"]
        if host["State"]["Name"] not in _OVER
    ]
    keys = api.call("describe_key_pairs", "KeyPairs", Filters=tagged)
    groups = api.pages("describe_security_groups", "SecurityGroups", Filters=tagged)
    return [
        *(_thing("instance", str(host["InstanceId"]), host) for host in hosts),
        *(_thing("key pair", str(key["KeyName"]), key) for key in keys),
        *(_thing("security group", str(group["GroupId"]), group) for group in groups),
    ]


def _thing(kind: str, identity: str, described: Mapping[str, Any]) -> Thing:
    tags = tags_of(described)
    try:
        expires: float | None = float(tags[EXPIRES])
    except (KeyError, ValueError):
        expires = None
    return Thing(identity, kind, tags.get(BUILDER, ""), expires)


def expired(found: Sequence[Thing], now: float, grace: float) -> list[Leftovers]:
    """Builds of which everything says that its time was over `grace` seconds ago, the oldest name first."""
    builds: dict[str, list[Thing]] = {}
    for thing in found:
        if thing.builder:
            builds.setdefault(thing.builder, []).append(thing)
    return [
        Leftovers(builder, tuple(parts))
        for builder, parts in sorted(builds.items())
        if all(part.expires is not None and part.expires + grace < now for part in parts)
    ]
