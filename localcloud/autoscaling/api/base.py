# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part of Auto Scaling's API stands on: the groups, look-ups among them, pages, and descriptions that lag behind."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from localcloud import paging
from localcloud.autoscaling import shapes, words
from localcloud.autoscaling.model import Model, Timing
from localcloud.autoscaling.ports import Hosts, HostStatus, LaunchOrder, Subnets, Targets, Templates
from localcloud.autoscaling.state import Group
from localcloud.clock import Clock
from localcloud.errors import ApiError
from localcloud.faults import Faults

Params = dict[str, Any]
ACCOUNT = "123456789012"
T = TypeVar("T")


class _RefusingHosts:
    """The given hosts, with refused launches injected."""

    def __init__(self, hosts: Hosts, faults: Faults) -> None:
        self._hosts = hosts
        self._faults = faults

    def launch(self, order: LaunchOrder) -> str:
        refusal = self._faults.launch_refusal(order.zone)
        if refusal is not None:
            raise refusal
        return self._hosts.launch(order)

    def statuses(self, ids: Iterable[str]) -> dict[str, HostStatus]:
        return self._hosts.statuses(ids)

    def terminate(self, instance_id: str) -> None:
        self._hosts.terminate(instance_id)

    def stop(self, instance_id: str) -> None:
        self._hosts.stop(instance_id)

    def start(self, instance_id: str) -> None:
        self._hosts.start(instance_id)

    def instance_type(self, instance_id: str) -> str:
        return self._hosts.instance_type(instance_id)


class Api:
    """The state of the service, and look-ups in it."""

    def __init__(
        self,
        *,
        hosts: Hosts,
        targets: Targets,
        templates: Templates,
        subnets: Subnets,
        clock: Clock,
        faults: Faults | None = None,
        timing: Timing | None = None,
        account: str = ACCOUNT,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.faults = faults if faults is not None else Faults()
        self.model = Model(
            hosts=_RefusingHosts(hosts, self.faults),
            targets=targets,
            templates=templates,
            subnets=subnets,
            clock=clock,
            new_id=new_id,
            timing=timing,
        )
        self._clock = clock
        self._account = account
        self._new_id = new_id
        self._groups: dict[str, dict[str, Group]] = {}  # region -> name -> group
        self._deleted: dict[str, list[Group]] = {}  # region -> groups whose activities can still be asked for
        self._stale: dict[tuple[str, str], tuple[float, dict[str, Any] | None]] = {}  # what lag still shows, and until
        self._lock = threading.RLock()

    def _all(self) -> list[Group]:
        return [group for groups in self._groups.values() for group in groups.values()]

    # ---- lag -----------------------------------------------------------------------------------------------------

    def _remember(self, params: Params, region: str) -> None:
        """Before a write: what descriptions go on showing while they lag behind."""
        now, lag = self._clock.now(), self.faults.lag
        if lag <= 0:
            return
        names = {params.get("AutoScalingGroupName"), *(tag.get("ResourceId") for tag in params.get("Tags") or [])}
        if "InstanceId" in params:
            owner = self._owner(params["InstanceId"], region)
            names.add(owner.name if owner else None)
        for name in names - {None}:
            group = self._groups.get(region, {}).get(str(name))
            if now >= self._stale.get((region, str(name)), (0.0, None))[0]:
                self._stale[region, str(name)] = (now + lag, shapes.group(group) if group else None)

    def _shown(self, region: str) -> list[dict[str, Any]]:
        """Every group as DescribeAutoScalingGroups tells it, stale where that lags."""
        now = self._clock.now()
        self._stale = {key: entry for key, entry in self._stale.items() if entry[0] > now}
        shown = []
        for name, group in self._groups.get(region, {}).items():
            shape = self._stale[region, name][1] if (region, name) in self._stale else shapes.group(group)
            if shape is not None:
                shown.append(shape)
        return shown

    # ---- look-ups ------------------------------------------------------------------------------------------------

    def _group(self, params: Params, region: str) -> Group:
        name = params["AutoScalingGroupName"]
        group = self._groups.get(region, {}).get(name)
        if group is None:
            raise words.no_group(name)
        return group

    def _live_group(self, params: Params, region: str) -> Group:
        """A group that may be written to."""
        group = self._group(params, region)
        if group.deleting:
            raise words.pending_delete(group.name)
        return group

    def _owner(self, instance_id: str, region: str) -> Group | None:
        for group in self._groups.get(region, {}).values():
            if instance_id in group.instances or instance_id in group.warm:
                return group
        return None


def page(key: str, rows: Sequence[Any], params: Params, *, default: int, most: int) -> dict[str, Any]:
    """One page of a description; the token is where the next one begins."""
    size = params.get("MaxRecords") or default
    if not 1 <= size <= most:
        raise words.invalid(
            f"1 validation error detected: Value '{size}' at 'maxRecords' failed to satisfy constraint: Member must have "
            f"value less than or equal to {most}"
        )
    token = params.get("NextToken")
    start = paging.begin(token, ApiError("InvalidNextToken", f"The token '{token}' is invalid."))
    page: dict[str, Any] = {key: list(rows[start : start + size])}
    if start + size < len(rows):
        page["NextToken"] = str(start + size)
    return page


def few(ids: list[T], most: int) -> list[T]:
    """The same ids. Raises ApiError if there are more than a call may have."""
    if len(ids) > most:
        raise words.invalid(f"The number of instance ids that may be passed in is limited to {most}")
    return ids


def check_percentages(low: int | None, high: int | None) -> None:
    """Raise ApiError for healthy percentages that do not go together."""
    if low in (None, -1) and high in (None, -1):
        return
    if low is not None and not 0 <= low <= 100:
        raise words.invalid("MinHealthyPercentage must be between 0 and 100.")
    if high is None:
        return
    if not 100 <= high <= 200:
        raise words.invalid("MaxHealthyPercentage must be between 100 and 200.")
    if low is None:
        raise words.invalid("MinHealthyPercentage must be specified when MaxHealthyPercentage is specified.")
    if high - low > 100:
        raise words.invalid("The difference between MaxHealthyPercentage and MinHealthyPercentage cannot exceed 100.")
