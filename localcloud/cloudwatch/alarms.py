# SPDX-License-Identifier: GPL-3.0-or-later
"""Metric alarms: what state a metric puts them in, and when their actions are invoked. Pure.

After "Using Amazon CloudWatch alarms": a period is looked at when it is over; actions of a scaling policy are invoked once a
minute as long as the alarm stays in state ALARM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud.cloudwatch.metrics import Metrics, name

OK, ALARM, NO_DATA = "OK", "ALARM", "INSUFFICIENT_DATA"
_AGAIN = 60.0
_FURTHER = 2  # periods that are looked at beyond those that count, for what is missing
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
_SIGNS = {
    "GreaterThanOrEqualToThreshold": "greater than or equal to", "GreaterThanThreshold": "greater than",
    "LessThanThreshold": "less than", "LessThanOrEqualToThreshold": "less than or equal to",
}  # fmt: skip


@dataclass
class Alarm:
    """A metric alarm; its settings are those of PutMetricAlarm. Times are unix seconds."""

    name: str
    arn: str
    settings: dict[str, Any]
    changed: float
    state: str = NO_DATA
    reason: str = "Unchecked: Initial alarm creation"
    updated: float = 0.0
    due: float = 0.0
    acted: float = 0.0  # when the actions were invoked last
    value: float = 0.0  # of the last period
    actions_enabled: bool = True

    @property
    def period(self) -> int:
        return int(self.settings["Period"])

    def enter(self, state: str, reason: str, now: float) -> None:
        """Change the state; the actions of the new one are due."""
        if state != self.state:
            self.state, self.updated, self.acted = state, now, 0.0
        self.reason = reason

    def actions(self) -> list[str]:
        key = {OK: "OKActions", ALARM: "AlarmActions", NO_DATA: "InsufficientDataActions"}[self.state]
        return list(self.settings.get(key) or [])

    def acts(self, now: float) -> bool:
        """Whether the actions are to be invoked now; notes that they are."""
        if not self.actions_enabled or (self.acted and (self.state != ALARM or now < self.acted + _AGAIN)):
            return False
        self.acted = now
        return True


def evaluate(alarm: Alarm, metrics: Metrics, now: float) -> None:
    """Look at the periods that are over, and set when to look next."""
    settings, period = alarm.settings, alarm.period
    count = int(settings["EvaluationPeriods"])
    end = int(now // period * period)
    alarm.due = end + period
    metric = name(settings["Namespace"], settings["MetricName"], settings.get("Dimensions") or [])
    series = metrics.series(metric, end - (count + _FURTHER) * period, end, period)
    statistic = settings.get("Statistic") or settings["ExtendedStatistic"]
    values = {at: series[at].statistic(statistic) for at in sorted(series)[-count:]}
    if values:
        alarm.value = values[max(values)]
    state = _state(alarm, values, end)
    if state == NO_DATA:
        alarm.enter(NO_DATA, f"Insufficient Data: {count} datapoints were unknown.", now)
        return
    said = ", ".join(f"{value:g}" for value in values.values()) or "missing"
    was = "was" if state == ALARM else "was not"
    outcome = f"[{said}] {was} {_SIGNS[settings['ComparisonOperator']]} the threshold ({float(settings['Threshold'])})."
    alarm.enter(state, f"Threshold Crossed: {len(values)} datapoints {outcome}", now)


def _state(alarm: Alarm, values: dict[int, float], end: int) -> str:
    """Of the last values, with what is missing filled in as the alarm says."""
    settings = alarm.settings
    count = int(settings["EvaluationPeriods"])
    needed, missing = int(settings.get("DatapointsToAlarm") or count), count - len(values)
    threshold, compare = float(settings["Threshold"]), COMPARISONS[settings["ComparisonOperator"]]
    breaching = sum(compare(value, threshold) for value in values.values())
    treat = settings.get("TreatMissingData") or "missing"
    if treat == "breaching":
        breaching += missing
    if breaching >= needed:
        return ALARM
    if missing and breaching == len(values):  # nothing says that it is well
        if treat == "ignore":
            return alarm.state
        if treat == "missing":
            if not values:
                return NO_DATA
            # not before the time that it takes to breach so often is over
            return ALARM if end - min(values) >= needed * alarm.period else OK
    return OK
