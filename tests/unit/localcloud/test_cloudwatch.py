# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudWatch's metrics: what is put is found again by period, and what AWS would not take is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localcloud.clock import VirtualClock
from localcloud.cloudwatch.service import CloudWatch
from localcloud.errors import ApiError

START = datetime(2026, 1, 1, tzinfo=UTC)
METRIC = {"Namespace": "web", "MetricName": "queue"}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def watch(clock: VirtualClock) -> CloudWatch:
    return CloudWatch(clock)


def put(watch: CloudWatch, *data: dict[str, Any], namespace: str = "web") -> None:
    given = [{"MetricName": "queue", **datum} for datum in data]
    watch.handle("PutMetricData", {"Namespace": namespace, "MetricData": given}, "here")


def statistics(watch: CloudWatch, period: int = 60, hours: float = 1, **more: Any) -> list[dict[str, Any]]:
    asked = {
        **METRIC,
        "StartTime": START,
        "EndTime": START + timedelta(hours=hours),
        "Period": period,
        "Statistics": ["Average"],
        **more,
    }
    found: list[dict[str, Any]] = watch.handle("GetMetricStatistics", asked, "here")["Datapoints"]
    return found


def refused(watch: CloudWatch, *data: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ApiError) as error:
        put(watch, *data, **more)
    return error.value.message


def test_values_are_put_together_by_period(watch: CloudWatch, clock: VirtualClock) -> None:
    for value in (1.0, 3.0):
        put(watch, {"Value": value})
    clock.advance(60)
    put(watch, {"Values": [10.0, 20.0], "Counts": [3, 1]})
    put(watch, {"StatisticValues": {"SampleCount": 4, "Sum": 50.0, "Minimum": 10.0, "Maximum": 15.0}})
    every = ["Average", "Sum", "Minimum", "Maximum", "SampleCount"]
    first, second = statistics(watch, Statistics=every)
    assert [first[one] for one in every] == [2.0, 4.0, 1.0, 3.0, 2.0]
    assert [second[one] for one in every] == [12.5, 100.0, 10.0, 20.0, 8.0]
    assert second["Timestamp"] == START + timedelta(minutes=1)
    assert [one["Average"] for one in statistics(watch, period=300)] == [10.4]


def test_dimensions_and_regions_make_another_metric(watch: CloudWatch) -> None:
    here, there = [{"Name": "host", "Value": "a"}], [{"Name": "host", "Value": "b"}]
    put(watch, {"Value": 1.0, "Dimensions": here}, {"Value": 5.0, "Dimensions": there}, {"Value": 9.0})
    assert [one["Average"] for one in statistics(watch, Dimensions=here)] == [1.0]
    assert [one["Average"] for one in statistics(watch)] == [9.0]
    listed = watch.handle("ListMetrics", {"Dimensions": [{"Name": "host"}]}, "here")["Metrics"]
    assert [one["Dimensions"] for one in listed] == [here, there]
    assert watch.handle("ListMetrics", {}, "elsewhere")["Metrics"] == []


def test_percentiles_and_seconds(watch: CloudWatch) -> None:
    put(watch, *[{"Value": float(value), "StorageResolution": 1} for value in range(1, 101)])
    query = {"Id": "q", "MetricStat": {"Metric": METRIC, "Period": 1, "Stat": "p90"}}
    asked = {"MetricDataQueries": [query], "StartTime": START, "EndTime": START + timedelta(hours=1)}
    assert watch.handle("GetMetricData", asked, "here")["MetricDataResults"][0]["Values"] == [pytest.approx(90.1)]


def test_old_values_are_forgotten(watch: CloudWatch, clock: VirtualClock) -> None:
    put(watch, {"Value": 1.0})
    clock.advance(4 * 3600)
    watch.tick()
    assert watch.handle("ListMetrics", {}, "here")["Metrics"] == []


def test_what_aws_would_not_take_is_refused_whole(watch: CloudWatch) -> None:
    good = {"Value": 1.0}
    for bad, word in (
        ({}, "At least one of the parameters"),
        ({"Value": 1.0, "Values": [1.0]}, "mutually exclusive"),
        ({"Values": [1.0], "Counts": [1, 2]}, "same size"),
        ({"Value": float("nan")}, "is invalid"),
        ({"Value": 1.0, "Timestamp": START - timedelta(days=15)}, "within the last two weeks"),
        ({"Value": 1.0, "Timestamp": START + timedelta(hours=3)}, "two hours ahead"),
        ({"Value": 1.0, "Dimensions": [{"Name": "host"}]}, "Dimensions.member.1.Value is required"),
        ({"Value": 1.0, "Dimensions": [{"Name": str(n), "Value": "x"} for n in range(31)]}, "greater than 30"),
        ({"Value": 1.0, "MetricName": ""}, "MetricName is required"),
    ):
        assert word in refused(watch, good, bad)
    assert "AWS/" in refused(watch, good, namespace="AWS/EC2")
    assert statistics(watch) == []
    with pytest.raises(ApiError, match="does not model ListDashboards of Amazon CloudWatch"):
        watch.handle("ListDashboards", {}, "here")
    with pytest.raises(ApiError, match="multiple of 60"):
        statistics(watch, period=90)
    with pytest.raises(ApiError, match="exceeds the limit of 1440"):
        statistics(watch, period=60, hours=30)
