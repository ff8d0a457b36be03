# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of Amazon EC2 Auto Scaling over the group model, put together."""

from __future__ import annotations

import re
from typing import Any

from localcloud.autoscaling import words
from localcloud.autoscaling.api.base import ACCOUNT, Params
from localcloud.autoscaling.api.fixed import Fixed
from localcloud.autoscaling.api.groups import Groups
from localcloud.autoscaling.api.instances import Instances
from localcloud.autoscaling.api.pools import WarmPools
from localcloud.autoscaling.api.refreshes import Refreshes
from localcloud.autoscaling.model import NEVER, SIX_WEEKS
from localcloud.autoscaling.state import Group, decode, encode

__all__ = ["ACCOUNT", "AutoScaling"]


class AutoScaling(Fixed, Groups, Instances, Refreshes, WarmPools):
    """The service. One lock guards everything, so the server may call it from any thread."""

    def handle(self, operation: str, params: Params, region: str) -> dict[str, Any]:
        """Run one operation; see :class:`localcloud.service.Service`."""
        method = getattr(self, "_op_" + re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower(), None)
        if method is None:
            raise words.not_modelled(operation)
        with self._lock:
            if operation.startswith("Describe"):
                result: dict[str, Any] = method(params, region)
                return result
            self._remember(params, region)
            result = method(params, region) or {}
            self.tick()
            return result

    def tick(self) -> None:
        """Move every group."""
        with self._lock:
            for region, groups in self._groups.items():
                for group in list(groups.values()):
                    self.model.tick(group)
                    if group.deleting and not group.instances and not group.warm:
                        del groups[group.name]
                        self._bury(region, group)

    def _bury(self, region: str, group: Group) -> None:
        """Keep a deleted group as long as AWS tells of its activities."""
        group.deleted = self._clock.now()
        kept = [old for old in self._deleted.get(region, []) if old.deleted >= group.deleted - SIX_WEEKS]
        self._deleted[region] = [*kept, group]

    def next_due(self) -> float:
        """When time alone will next have something to do (unix seconds; infinity when nothing is waiting)."""
        with self._lock:
            return min((self.model.next_due(group) for group in self._all()), default=NEVER)

    def look_at_health(self) -> None:
        """Have the next tick look at every instance in service."""
        with self._lock:
            for group in self._all():
                self.model.look_at_health(group)

    def rebalance_recommendation(self, instance_id: str) -> None:
        """EC2 recommends to leave this Spot instance."""
        with self._lock:
            for group in self._all():
                if instance_id in group.instances:
                    self.model.rebalance(group, instance_id)

    def group(self, name: str, region: str) -> Group | None:
        """A group's own state, for whoever watches it in the same process; None when there is none."""
        return self._groups.get(region, {}).get(name)

    def members(self) -> dict[str, str]:
        """Every instance of every group, to its group's name."""
        with self._lock:
            return {i: group.name for group in self._all() for i in (*group.instances, *group.warm)}

    def target_state(self, instance_id: str) -> str:
        """The steady state that an instance is in or on its way to, as its own metadata says; empty if it was in no group."""
        with self._lock:
            for group in self._all():
                instance = group.instances.get(instance_id) or group.warm.get(instance_id)
                if instance is not None:
                    return words.target_state(instance, group.warm_pool)
            everyone = [*self._all(), *(group for groups in self._deleted.values() for group in groups)]
            return "Detached" if any(instance_id in group.detached for group in everyone) else ""

    def dump(self) -> dict[str, Any]:
        """The whole state as JSON-able values."""
        with self._lock:
            return {
                "groups": {
                    region: [encode(group) for group in groups.values()] for region, groups in self._groups.items()
                },
                "deleted": {region: [encode(group) for group in groups] for region, groups in self._deleted.items()},
            }

    def load(self, state: dict[str, Any]) -> None:
        """Become the service that ``dump`` was called on."""
        with self._lock:
            self._groups = {
                region: {data["name"]: decode(Group, data) for data in groups}
                for region, groups in state["groups"].items()
            }
            self._deleted = {
                region: [decode(Group, data) for data in groups] for region, groups in state["deleted"].items()
            }
            self._stale = {}
