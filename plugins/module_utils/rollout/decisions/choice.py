# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who goes next, so that the group ends balanced over its zones. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from operator import attrgetter

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Instance, Observation

_ONE_BY_ONE = 16  # up to so many terminations, AWS may have launched one successor before the next call comes


class Choice:
    """Chooses who goes next, so that the group ends balanced over its zones and AZRebalance finds nothing to do.

    Unhealthy ones lead, for they serve nobody, then those that were asked to drain already. Among equals the zones decide.
    AWS launches in the zone that holds fewest, so who goes tells where successors come; no zone should get more new
    instances than its share, and a batch should hit the zones evenly.
    """

    def __init__(
        self,
        seen: Observation,
        old: Iterable[Instance],
        others: Iterable[Instance],
        draining: Container[str] = (),
    ) -> None:
        self._ranks: dict[tuple[bool, bool], dict[str, list[Instance]]] = {}
        self._others = Counter([instance.zone for instance in others])
        self._old: Counter[str] = Counter()
        sick = seen.sick
        for instance in old:
            rank = self._ranks.setdefault((instance.id not in sick, instance.id not in draining), {})
            rank.setdefault(instance.zone, []).append(instance)
        for rank in self._ranks.values():
            for zone, pool in rank.items():
                self._old[zone] += len(pool)
                pool.sort(key=attrgetter("id"), reverse=True)
        self._zones = sorted({*seen.group.zones, *self._others, *self._old})

    def place(self, count: int) -> None:
        """What AWS is expected to do with ``count`` launches."""
        if self._zones:
            self._others.update(level(self._totals(), count))

    def take(self, desired: int, count: int, launches: int) -> list[Instance]:
        """The next ``count`` to go, when AWS then launches so many. ``desired`` is the user's capacity.

        With no launches to follow, the instances that stay, old ones too, should be balanced.
        """
        chosen: list[Instance] = []
        for key in sorted(self._ranks):
            rank = self._ranks[key]
            size = sum(len(pool) for pool in rank.values())
            if not size or len(chosen) >= count:
                continue
            if size <= count - len(chosen):
                quota = {zone: len(pool) for zone, pool in rank.items()}
            else:
                quota = self._share(rank, desired, count - len(chosen), launches)
            for zone, number in sorted(quota.items()):
                for dummy in range(number):
                    chosen.append(rank[zone].pop())
                self._old[zone] -= number
        return chosen

    def _totals(self) -> dict[str, int]:
        return {zone: self._others[zone] + self._old[zone] for zone in self._zones}

    def _share(self, rank: Mapping[str, list[Instance]], desired: int, count: int, launches: int) -> dict[str, int]:
        """How many go of each zone: evenly at first, then better by one at a time."""
        quota = dict.fromkeys(rank, 0)
        totals = self._totals()
        for dummy in range(count):
            open_zones = [zone for zone in rank if quota[zone] < len(rank[zone])]
            zone = min(open_zones, key=lambda zone: (quota[zone], -totals[zone], zone))
            quota[zone] += 1
        best = self._cost(quota, desired, launches)
        while best[0] > 0:
            tries = []
            for source in quota:
                for sink in quota:
                    if source != sink and quota[source] > 0 and quota[sink] < len(rank[sink]):
                        moved = {**quota, source: quota[source] - 1, sink: quota[sink] + 1}
                        tries.append((self._cost(moved, desired, launches), sorted(moved.items())))
            if not tries or min(tries)[0] >= best:
                break
            best, items = min(tries)
            quota = dict(items)
        return quota

    def _cost(self, quota: Mapping[str, int], desired: int, launches: int) -> tuple[int, int]:
        """New instances beyond the zones' shares, over some guesses of how AWS breaks ties, and unevenness."""
        totals = self._totals()
        order = [zone for zone in sorted(quota) for dummy in range(quota[zone])]
        share, rest = divmod(desired, len(self._zones))
        cost = 0
        for backwards in (False, True):
            left = {zone: total - quota.get(zone, 0) for zone, total in totals.items()}
            guesses = [level(left, launches, backwards)]
            if len(order) <= _ONE_BY_ONE:
                guesses.append(_level_one_by_one(totals, order, launches, backwards))
            for launched in guesses:
                stay = self._others if launches else left
                news = sorted((stay[zone] + launched[zone] for zone in self._zones), reverse=True)
                beyond = sum(max(0, new - share - (index < rest)) for index, new in enumerate(news))
                cost += beyond if backwards else 2 * beyond
        return cost, sum(number * number for number in quota.values())


def _level_one_by_one(totals: Mapping[str, int], order: list[str], launches: int, backwards: bool) -> dict[str, int]:
    """As level(), when AWS launches each successor before the next instance is terminated."""
    now = dict(totals)
    launched = dict.fromkeys(totals, 0)

    def launch(count: int) -> None:
        for zone, number in level(now, count, backwards).items():
            launched[zone] += number
            now[zone] += number

    alone = max(0, len(order) - launches)
    for index, zone in enumerate(order):
        now[zone] -= 1
        if index >= alone:
            launch(1)
    launch(launches - (len(order) - alone))
    return launched


def level(totals: Mapping[str, int], count: int, backwards: bool = False) -> dict[str, int]:
    """Where ``count`` launches go when each goes to a zone that holds fewest."""
    zones = sorted(totals, reverse=backwards)
    launched = dict.fromkeys(zones, 0)
    while count > 0:
        heights = {zone: totals[zone] + launched[zone] for zone in zones}
        low = min(heights.values())
        lowest = [zone for zone in zones if heights[zone] == low]
        gaps = [height - low for height in heights.values() if height > low]
        step = min(count // len(lowest), *gaps) if gaps else count // len(lowest)
        if step == 0:
            lowest, step = lowest[:count], 1
        for zone in lowest:
            launched[zone] += step
        count -= step * len(lowest)
    return launched
