# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of CloudWatch: boto3's shapes in and out, AWS's refusals in its own words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from localcloud import paging
from localcloud.clock import Clock
from localcloud.cloudwatch.alarms import ALARM, COMPARISONS, NO_DATA, OK, Alarm, evaluate
from localcloud.cloudwatch.metrics import KEPT_SECONDS, STATISTICS, Metrics, Name, Point, name
from localcloud.errors import ApiError

Params = dict[str, Any]
_PAST, _AHEAD = 14 * 86400.0, 2 * 3600.0
_MOST_DATA, _MOST_DIMENSIONS, _PAGE = 1000, 30, 500
_MOST_POINTS = 1440
_PERCENTILE = re.compile(r"p(100|\d{1,2}(\.\d+)?)")
ACCOUNT = "123456789012"

Act = Callable[[str, str, float, float], None]
"""Invokes the action of an alarm, given the scaling policy's ARN, the alarm's name, the metric's value and the threshold."""


class CloudWatch:
    """The service. Whoever calls holds the cloud's lock.

    :param act: invokes the actions of alarms.
    :param known: whether an ARN is that of a scaling policy; other actions are refused.
    """

    def __init__(
        self, clock: Clock, act: Act = lambda *_: None, known: Callable[[str], bool] = lambda _arn: True
    ) -> None:
        self._clock = clock
        self._act = act
        self._known = known
        self._metrics: dict[str, Metrics] = {}  # by region
        self._alarms: dict[str, dict[str, Alarm]] = {}  # by region and name
        self._calls: dict[str, Callable[[Params, str], dict[str, Any]]] = {
            "DeleteAlarms": self._delete_alarms,
            "DescribeAlarms": self._describe_alarms,
            "DisableAlarmActions": lambda params, region: self._enable(params, region, False),
            "EnableAlarmActions": lambda params, region: self._enable(params, region, True),
            "GetMetricData": self._get_metric_data,
            "GetMetricStatistics": self._get_metric_statistics,
            "ListMetrics": self._list_metrics,
            "PutMetricAlarm": self._put_metric_alarm,
            "PutMetricData": self._put_metric_data,
            "SetAlarmState": self._set_alarm_state,
        }

    @property
    def operations(self) -> list[str]:
        return sorted(self._calls)

    def handle(self, operation: str, params: Params, region: str) -> dict[str, Any]:
        """Run one operation; see :class:`localcloud.service.Service`."""
        if operation not in self._calls:
            raise _not_modelled(operation)
        return self._calls[operation](params, region)

    def metrics(self, region: str) -> Metrics:
        return self._metrics.setdefault(region, Metrics())

    def tick(self) -> None:
        """Look at alarms whose period is over, invoke their actions, forget old values."""
        now = self._clock.now()
        for region, alarms in self._alarms.items():
            for alarm in list(alarms.values()):
                if now >= alarm.due:
                    evaluate(alarm, self.metrics(region), now)
                    self._invoke(alarm)
        for metrics in self._metrics.values():
            metrics.forget(now - KEPT_SECONDS)

    def next_due(self) -> float:
        """When an alarm is looked at next, unix seconds; infinity without alarms."""
        return min((alarm.due for alarms in self._alarms.values() for alarm in alarms.values()), default=float("inf"))

    def dump(self) -> Any:
        """The alarms as JSON-able values; metrics are not kept."""
        return {region: [asdict(alarm) for alarm in alarms.values()] for region, alarms in self._alarms.items()}

    def load(self, state: Any) -> None:
        """Become the service that ``dump`` was called on."""
        self._alarms = {region: {one["name"]: Alarm(**one) for one in alarms} for region, alarms in state.items()}

    def _invoke(self, alarm: Alarm) -> None:
        if alarm.actions() and alarm.acts(self._clock.now()):
            for action in alarm.actions():
                self._act(action, alarm.name, alarm.value, float(alarm.settings["Threshold"]))

    # -- alarms ----------------------------------------------------------------------------------------------------

    def put(self, alarm: Params, region: str) -> str:
        """PutMetricAlarm; the alarm's ARN."""
        self._put_metric_alarm(alarm, region)
        return self._alarms[region][alarm["AlarmName"]].arn

    def delete(self, names: list[str], region: str) -> None:
        """DeleteAlarms."""
        for one in names:
            self._alarms.get(region, {}).pop(one, None)

    def _put_metric_alarm(self, params: Params, region: str) -> dict[str, Any]:
        named, now = _required(params, "AlarmName"), self._clock.now()
        for key in ("Metrics", "ThresholdMetricId", "EvaluateLowSampleCountPercentile"):
            if params.get(key):
                raise _not_modelled(f"{key} of alarms")
        _check_alarm(params)
        for key in ("AlarmActions", "OKActions", "InsufficientDataActions"):
            for action in params.get(key) or []:
                if ":scalingPolicy:" not in action:
                    raise _not_modelled(f"the alarm action {action}")
                if not self._known(action) and not named.startswith("TargetTracking-"):
                    raise _invalid(f"Scaling policy {action} does not exist.", "ValidationError")
        known = self._alarms.setdefault(region, {}).get(named)
        settings = {key: value for key, value in params.items() if key not in ("AlarmName", "ActionsEnabled", "Tags")}
        alarm = Alarm(named, f"arn:aws:cloudwatch:{region}:{ACCOUNT}:alarm:{named}", settings, now, updated=now)
        if known is not None:
            alarm.state, alarm.reason, alarm.updated = known.state, known.reason, known.updated
        alarm.actions_enabled = params.get("ActionsEnabled", True)
        alarm.due = now // alarm.period * alarm.period + alarm.period
        self._alarms[region][named] = alarm
        return {}

    def _describe_alarms(self, params: Params, region: str) -> dict[str, Any]:
        names, prefix = params.get("AlarmNames"), params.get("AlarmNamePrefix") or ""
        state, action = params.get("StateValue"), params.get("ActionPrefix") or ""
        rows = [
            _alarm_shape(alarm)
            for alarm in sorted(self._alarms.get(region, {}).values(), key=lambda alarm: alarm.name)
            if (not names or alarm.name in names)
            and alarm.name.startswith(prefix)
            and state in (None, alarm.state)
            and (not action or any(one.startswith(action) for one in alarm.actions()))
        ]
        begin = paging.begin(params.get("NextToken"), _invalid("The token is not valid.", "InvalidNextToken"))
        end = begin + int(params.get("MaxRecords") or 50)
        more = {"NextToken": str(end)} if end < len(rows) else {}
        return {"MetricAlarms": rows[begin:end], "CompositeAlarms": [], **more}

    def _delete_alarms(self, params: Params, region: str) -> dict[str, Any]:
        self.delete([self._alarm(one, region).name for one in params["AlarmNames"]], region)
        return {}

    def _set_alarm_state(self, params: Params, region: str) -> dict[str, Any]:
        """Until the alarm is looked at next."""
        alarm = self._alarm(params["AlarmName"], region)
        if params["StateValue"] not in (OK, ALARM, NO_DATA):
            raise _invalid(f"The value {params['StateValue']} for parameter StateValue is invalid.", "ValidationError")
        alarm.enter(params["StateValue"], params["StateReason"], self._clock.now())
        self._invoke(alarm)
        return {}

    def _enable(self, params: Params, region: str, enabled: bool) -> dict[str, Any]:
        for one in params["AlarmNames"]:
            self._alarm(one, region).actions_enabled = enabled
        return {}

    def _alarm(self, named: str, region: str) -> Alarm:
        alarm = self._alarms.get(region, {}).get(named)
        if alarm is None:
            raise ApiError("ResourceNotFound", f"Alarm {named} does not exist", 404)
        return alarm

    # -- metrics ---------------------------------------------------------------------------------------------------

    def _put_metric_data(self, params: Params, region: str) -> dict[str, Any]:
        namespace, data = _required(params, "Namespace"), params.get("MetricData") or []
        if params.get("EntityMetricData"):
            raise _not_modelled("EntityMetricData of PutMetricData")
        if str(namespace).startswith("AWS/"):
            raise _invalid("The value AWS/ for parameter Namespace is invalid.")
        if len(data) > _MOST_DATA:
            raise _invalid(f"The collection MetricData must not have a size greater than {_MOST_DATA}.")
        now, metrics = self._clock.now(), self.metrics(region)
        for number, datum in enumerate(data, 1):
            _check_datum(datum, number, now)
        for datum in data:
            at = datum["Timestamp"].timestamp() if datum.get("Timestamp") else now
            metric = name(namespace, datum["MetricName"], datum.get("Dimensions") or [])
            _put(metrics.point(metric, at, 1 if datum.get("StorageResolution") == 1 else 60), datum)
        return {}

    def _list_metrics(self, params: Params, region: str) -> dict[str, Any]:
        wanted = params.get("Dimensions") or []

        def fits(one: Name) -> bool:
            has = dict(one.dimensions)
            return (
                params.get("Namespace") in (None, one.namespace)
                and params.get("MetricName") in (None, one.metric)
                and all(d["Name"] in has and d.get("Value") in (None, has[d["Name"]]) for d in wanted)
            )

        rows = [_shape(one) for one in self.metrics(region).names() if fits(one)]
        begin = paging.begin(params.get("NextToken"), _invalid("The token is not valid."))
        end = begin + _PAGE
        return {"Metrics": rows[begin:end], **({"NextToken": str(end)} if end < len(rows) else {})}

    def _get_metric_statistics(self, params: Params, region: str) -> dict[str, Any]:
        metric = name(params["Namespace"], params["MetricName"], params.get("Dimensions") or [])
        start, end, period = params["StartTime"].timestamp(), params["EndTime"].timestamp(), int(params["Period"])
        wanted = [*(params.get("Statistics") or []), *(params.get("ExtendedStatistics") or [])]
        if not wanted:
            raise _missing("At least one of the parameters Statistics and ExtendedStatistics must be specified.")
        _check_period(period)
        if start >= end:
            raise _invalid(
                "The parameter StartTime must be less than the parameter EndTime.", "InvalidParameterCombination"
            )
        if (end - start) / period > _MOST_POINTS:
            raise _invalid(
                f"You have requested up to {(end - start) / period:.0f} datapoints, which exceeds the limit of {_MOST_POINTS}. You may "
                "reduce the datapoints requested by increasing Period, or decreasing the time range.",
                "InvalidParameterCombination",
            )
        rows = []
        for at, point in self.metrics(region).series(metric, start, end, period).items():
            row: dict[str, Any] = {"Timestamp": _when(at), "Unit": point.unit}
            row.update({one: _statistic(point, one) for one in wanted if one in STATISTICS})
            if extended := {one: _statistic(point, one) for one in wanted if one not in STATISTICS}:
                row["ExtendedStatistics"] = extended
            rows.append(row)
        return {"Label": params["MetricName"], "Datapoints": rows}

    def _get_metric_data(self, params: Params, region: str) -> dict[str, Any]:
        start, end = params["StartTime"].timestamp(), params["EndTime"].timestamp()
        results = []
        for query in params["MetricDataQueries"]:
            stat = query.get("MetricStat")
            if not stat:
                raise _not_modelled("expressions in GetMetricData")
            _check_period(int(stat["Period"]))
            one = stat["Metric"]
            metric = name(one["Namespace"], one["MetricName"], one.get("Dimensions") or [])
            series = self.metrics(region).series(metric, start, end, int(stat["Period"]))
            times = sorted(series, reverse=params.get("ScanBy") != "TimestampAscending")
            if query.get("ReturnData", True):
                results.append(
                    {
                        "Id": query["Id"],
                        "Label": query.get("Label") or one["MetricName"],
                        "Timestamps": [_when(at) for at in times],
                        "Values": [_statistic(series[at], stat["Stat"]) for at in times],
                        "StatusCode": "Complete",
                    }
                )
        return {"MetricDataResults": results, "Messages": []}


def _check_alarm(params: Params) -> None:
    """Raise ApiError for an alarm that CloudWatch does not take, or that is not modelled."""
    for key in ("Namespace", "MetricName", "Period", "EvaluationPeriods", "ComparisonOperator"):
        _required(params, key)
    if params.get("Threshold") is None:
        raise _missing("The parameter Threshold is required.")
    if bool(params.get("Statistic")) == bool(params.get("ExtendedStatistic")):
        raise _invalid("Exactly one of Statistic and ExtendedStatistic must be specified.", "ValidationError")
    if params["ComparisonOperator"] not in COMPARISONS:
        raise _not_modelled(f"the comparison operator {params['ComparisonOperator']}")
    if (params.get("TreatMissingData") or "missing") not in ("missing", "breaching", "notBreaching", "ignore"):
        raise _invalid(
            f"The value {params['TreatMissingData']} for parameter TreatMissingData is invalid.", "ValidationError"
        )
    if params["Namespace"].startswith("AWS/"):
        raise _not_modelled(f"the metrics of {params['Namespace']}: put your own metric")
    _check_period(int(params["Period"]))
    if not 1 <= int(params.get("DatapointsToAlarm") or 1) <= int(params["EvaluationPeriods"]):
        raise _invalid("DatapointsToAlarm must be between 1 and EvaluationPeriods.", "ValidationError")
    if int(params["Period"]) * int(params["EvaluationPeriods"]) > KEPT_SECONDS:
        raise _not_modelled(f"alarms that look back more than {KEPT_SECONDS / 3600:.0f} hours")
    statistic = params.get("Statistic") or params["ExtendedStatistic"]
    if statistic not in STATISTICS and not _PERCENTILE.fullmatch(statistic):
        raise _not_modelled(f"the statistic {statistic}")


def _alarm_shape(alarm: Alarm) -> dict[str, Any]:
    return {
        "AlarmName": alarm.name,
        "AlarmArn": alarm.arn,
        "AlarmConfigurationUpdatedTimestamp": _when(alarm.changed),
        "ActionsEnabled": alarm.actions_enabled,
        "OKActions": [],
        "AlarmActions": [],
        "InsufficientDataActions": [],
        "Dimensions": [],
        "StateValue": alarm.state,
        "StateReason": alarm.reason,
        "StateUpdatedTimestamp": _when(alarm.updated),
        "StateTransitionedTimestamp": _when(alarm.updated),
        **alarm.settings,
    }


def _check_datum(datum: Params, number: int, now: float) -> None:
    """Raise ApiError for a value that CloudWatch does not take."""
    where = f"MetricData.member.{number}"
    if not datum.get("MetricName"):
        raise _missing(f"The parameter {where}.MetricName is required.")
    dimensions = datum.get("Dimensions") or []
    if len(dimensions) > _MOST_DIMENSIONS:
        raise _invalid(f"The collection {where}.Dimensions must not have a size greater than {_MOST_DIMENSIONS}.")
    for at, one in enumerate(dimensions, 1):
        if not one.get("Name") or not one.get("Value"):
            raise _missing(
                f"The parameter {where}.Dimensions.member.{at}.{'Value' if one.get('Name') else 'Name'} is required."
            )
    given = [key for key in ("Value", "Values", "StatisticValues") if datum.get(key) is not None]
    if not given:
        raise _missing(
            f"At least one of the parameters {where}.Value, {where}.Values or {where}.StatisticValues must be specified."
        )
    if len(given) > 1:
        raise _invalid(
            f"The parameters {where}.{given[0]} and {where}.{given[1]} are mutually exclusive.",
            "InvalidParameterCombination",
        )
    if "Counts" in datum and len(datum["Counts"]) != len(datum.get("Values") or []):
        raise _invalid(f"The parameters {where}.Values and {where}.Counts must be of the same size.")
    for value in [datum.get("Value"), *(datum.get("Values") or [])]:
        if value is not None and not -(2.0**360) <= value <= 2.0**360:  # also NaN
            raise _invalid(f"The value {value} for parameter {where}.Value is invalid.")
    if datum.get("Timestamp") and not now - _PAST <= datum["Timestamp"].timestamp() <= now + _AHEAD:
        raise _invalid(
            f"The value {datum['Timestamp']:%Y-%m-%dT%H:%M:%SZ} for parameter {where}.Timestamp is invalid: it must be within the last two "
            "weeks, and at most two hours ahead."
        )


def _put(point: Point, datum: Params) -> None:
    point.unit = datum.get("Unit") or "None"
    if datum.get("StatisticValues") is not None:
        put = datum["StatisticValues"]
        point.merge(put["Sum"], put["SampleCount"], put["Minimum"], put["Maximum"])
        return
    values: Iterable[float] = [datum["Value"]] if datum.get("Value") is not None else datum["Values"]
    counts = datum.get("Counts") or [1.0] * len(datum.get("Values") or [0])
    for value, times in zip(values, counts, strict=True):
        point.add(float(value), float(times))


def _check_period(period: int) -> None:
    if period not in (1, 5, 10, 20, 30) and (period < 60 or period % 60):
        raise _invalid(
            f"The value {period} for parameter Period is invalid: it must be 1, 5, 10, 20, 30 or a multiple of 60."
        )


def _statistic(point: Point, wanted: str) -> float:
    if wanted not in STATISTICS and not _PERCENTILE.fullmatch(wanted):
        raise _not_modelled(f"the statistic {wanted}")
    try:
        return point.statistic(wanted)
    except ValueError as error:
        raise _invalid(f"{error}.") from None


def _shape(one: Name) -> dict[str, Any]:
    dimensions = [{"Name": key, "Value": value} for key, value in one.dimensions]
    return {"Namespace": one.namespace, "MetricName": one.metric, "Dimensions": dimensions}


def _required(params: Params, key: str) -> Any:
    if not params.get(key):
        raise _missing(f"The parameter {key} is required.")
    return params[key]


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _missing(message: str) -> ApiError:
    return ApiError("MissingParameter", message)


def _invalid(message: str, code: str = "InvalidParameterValue") -> ApiError:
    return ApiError(code, message)


def _not_modelled(what: str) -> ApiError:
    return ApiError("NotImplemented", f"The local cloud does not model {what} of Amazon CloudWatch; AWS does.", 501)
