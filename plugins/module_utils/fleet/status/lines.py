# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status as lines for a terminal: one a group, and below it what is not well."""

from __future__ import annotations

from collections.abc import Iterable
from time import gmtime, strftime
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import FleetStatus, Status

_MOST: Final = 5  # hosts of a group that are named


def lines(status: FleetStatus) -> list[str]:
    """Every line, the verdict first."""
    found = [headline(status)]
    rows = [_row(one) for one in status.services]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for one, row in zip(status.services, rows, strict=True):
        padded = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        found.append(f"{'!' if one.ill else ' '} {padded}")
        found += [f"      {why}" for why in why_ill(one)]
    found += [f"! {one.words}" for one in status.certificates if one.words]
    return found + [f"? {why}" for why in status.unknown]


def headline(status: FleetStatus) -> str:
    """The verdict in one sentence."""
    at = strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(status.at))
    where = f"The fleet {status.name} in {status.region}, {at}"
    if not status.services:
        return f"{where}: it has no Auto Scaling group with the tag boring:fleet={status.name}"
    ill = [one.service for one in status.services if one.ill]
    behind = sum(one.behind for one in status.services)
    said = f"{', '.join(ill)} {'is' if len(ill) == 1 else 'are'} not well" if ill else "every group is well"
    roll = f"; {behind} {'host is behind, roll it' if behind == 1 else 'hosts are behind, roll them'}" if behind else ""
    return f"{where}: {said}{roll}"


def _row(one: Status) -> tuple[str, ...]:
    if not one.group:
        return one.service, one.version or "-", "-", "no group", "", ""
    return (
        one.service,
        one.version or "-",
        one.image or "image unknown",
        f"{one.in_service} of {one.desired} in service",
        f"{one.behind} behind" if one.behind else "none behind",
        one.roll.words,
    )


def why_ill(one: Status) -> Iterable[str]:
    """What is not well, a sentence each."""
    yield from one.problems
    # One that is on its way out is worth a line only when it says why it is still there.
    sick = [host for host in one.hosts if host.why and not (host.leaving and host.why == f"it is {host.state}")]
    yield from (f"{host.id} in {host.zone}: {host.why}" for host in sick[:_MOST])
    if len(sick) > _MOST:
        yield f"and {len(sick) - _MOST} more hosts are not well"
