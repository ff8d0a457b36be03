# SPDX-License-Identifier: GPL-3.0-or-later
"""What the instance refresh of a group is at: look-ups in its state."""

from __future__ import annotations

from typing import Any

from localcloud.autoscaling.state import Group, Refresh, TemplateRef

_RUNNING = ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")


def running(group: Group) -> Refresh | None:
    """The refresh that is under way, if any."""
    if group.refreshes and group.refreshes[0].status in _RUNNING:
        return group.refreshes[0]
    return None


def configuration(group: Group) -> tuple[TemplateRef | None, dict[str, Any] | None]:
    """(launch template, mixed instances policy) to launch from: those of a running refresh come first."""
    refresh = running(group)
    if refresh is not None and not refresh.rolling_back and (refresh.template or refresh.mixed):
        return refresh.template, refresh.mixed
    return group.template, group.mixed


def surge(group: Group) -> int:
    """How many instances beyond desired the refresh holds now."""
    refresh = running(group)
    return refresh.surge if refresh else 0


def percentage_complete(refresh: Refresh) -> int:
    """Percent of the instances that are replaced and warm."""
    return 100 if not refresh.total else 100 * refresh.updated // refresh.total


def instances_to_update(refresh: Refresh) -> int:
    return refresh.total - refresh.updated
