# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics: values by minute (or second), kept for a few hours and not over a restart. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

KEPT_SECONDS = 3 * 3600.0
STATISTICS = ("Average", "Maximum", "Minimum", "SampleCount", "Sum")


class Name(NamedTuple):
    """What a metric is called; its dimensions are sorted pairs."""

    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]


def name(namespace: str, metric: str, dimensions: Iterable[Mapping[str, str]]) -> Name:
    return Name(namespace, metric, tuple(sorted((str(one["Name"]), str(one["Value"])) for one in dimensions)))


@dataclass
class Point:
    """What was put within one second or minute."""

    total: float = 0.0
    count: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")
    values: list[tuple[float, float]] = field(default_factory=list)  # with how often, for percentiles
    unit: str = "None"

    def add(self, value: float, times: float = 1.0) -> None:
        self.values.append((value, times))
        self.merge(value * times, times, value, value)

    def merge(self, total: float, count: float, least: float, most: float) -> None:
        self.total += total
        self.count += count
        self.least, self.most = min(self.least, least), max(self.most, most)

    def statistic(self, wanted: str) -> float:
        """Average and its like, or a percentile such as p99. Raises ValueError."""
        match wanted:
            case "Average":
                return self.total / self.count
            case "Sum":
                return self.total
            case "SampleCount":
                return self.count
            case "Minimum":
                return self.least
            case "Maximum":
                return self.most
        if not wanted.startswith("p"):
            raise ValueError(f"the statistic {wanted} is not modelled")
        share = float(wanted[1:])
        every = [value for value, times in self.values for _ in range(int(times))]
        if not every or not 0 <= share <= 100:
            raise ValueError(f"the statistic {wanted} is not modelled")
        if len(every) == 1 or share in (0, 100):
            return max(every) if share else min(every)
        return statistics.quantiles(every, n=1000, method="inclusive")[min(998, max(0, round(share * 10) - 1))]


class Metrics:
    """Everything that was put in one region."""

    def __init__(self) -> None:
        self._points: dict[Name, dict[int, Point]] = {}

    def point(self, metric: Name, at: float, resolution: int) -> Point:
        """Where a value of this time goes.

        :param resolution: 60 or 1 seconds.
        """
        known = self._points.setdefault(metric, {})
        return known.setdefault(int(at // resolution) * resolution, Point())

    def names(self) -> list[Name]:
        return sorted(self._points)

    def series(self, metric: Name, start: float, end: float, period: int) -> dict[int, Point]:
        """By the beginning of each period that something was put in; ``start`` is within, ``end`` is not."""
        found: dict[int, Point] = {}
        for at, point in sorted(self._points.get(metric, {}).items()):
            if start <= at < end:
                into = found.setdefault(int(at // period) * period, Point(unit=point.unit))
                into.merge(point.total, point.count, point.least, point.most)
                into.values += point.values
        return found

    def forget(self, before: float) -> None:
        """Drop what is older."""
        for metric, points in list(self._points.items()):
            for at in [at for at in points if at < before]:
                del points[at]
            if not points:
                del self._points[metric]
