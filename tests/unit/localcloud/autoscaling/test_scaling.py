# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes a group's sizes by itself: scheduled actions, and policies over metrics that hosts put. On a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import wording
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Activity
from localcloud.autoscaling import cron
from localcloud.autoscaling.scaling import adjusted
from localcloud.autoscaling.simulation import SimulatedCloud
from localcloud.autoscaling.state import Policy

WEB = {"AutoScalingGroupName": "web"}


@pytest.fixture
def cloud() -> SimulatedCloud:
    made = SimulatedCloud(boot=30)
    made.create_group("web", 2, MinSize=1, MaxSize=10)
    return made


def at(cloud: SimulatedCloud, seconds: float) -> datetime:
    return datetime.fromtimestamp(cloud.now() + seconds, UTC)


def sizes(cloud: SimulatedCloud) -> tuple[int, int, int]:
    group = cloud.shape("web")
    return group["MinSize"], group["MaxSize"], group["DesiredCapacity"]


def causes(cloud: SimulatedCloud) -> list[str]:
    found = cloud.client("autoscaling").describe_scaling_activities(**WEB)["Activities"]
    return [one["Cause"] for one in found]


def refused(call: Callable[..., Any], **params: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**params)
    return str(error.value.response["Error"]["Message"])


class TestSchedules:
    def put(self, cloud: SimulatedCloud, name: str = "evening", **more: Any) -> None:
        cloud.client("autoscaling").put_scheduled_update_group_action(**WEB, ScheduledActionName=name, **more)

    def listed(self, cloud: SimulatedCloud) -> list[dict[str, Any]]:
        return list(cloud.client("autoscaling").describe_scheduled_actions(**WEB)["ScheduledUpdateGroupActions"])

    def test_one_that_runs_once(self, cloud: SimulatedCloud) -> None:
        self.put(cloud, StartTime=at(cloud, 600), MinSize=2, MaxSize=8, DesiredCapacity=4)
        assert self.listed(cloud)[0]["StartTime"] == at(cloud, 600)
        cloud.sleep(599)
        assert sizes(cloud) == (1, 10, 2)
        cloud.sleep(1)
        assert sizes(cloud) == (2, 8, 4)
        assert self.listed(cloud) == []
        cloud.sleep(300)
        assert len(cloud.in_service("web")) == 4
        stamp = f"{at(cloud, -300):%Y-%m-%dT%H:%M:%SZ}"
        assert causes(cloud)[0].startswith(
            f"At {stamp} a scheduled action update of AutoScalingGroup constraints to min: 2, max: 8, desired: 4 changing the desired "
            f"capacity from 2 to 4.  At {stamp} an instance was started in response to a difference between desired and actual"
        )

    def test_a_roll_reads_who_changed_the_capacity(self, cloud: SimulatedCloud) -> None:
        self.put(cloud, StartTime=at(cloud, 60), DesiredCapacity=4)
        cloud.sleep(60)
        (change,) = wording.capacity_changes(
            [Activity("a", "Launching a new EC2 instance", "Successful", causes(cloud)[0], "", 0.0, 0.0)]
        )
        assert (change.before, change.after, change.absolute) == (2, 4, True)

    def test_one_that_recurs_in_a_time_zone(self, cloud: SimulatedCloud) -> None:
        self.put(cloud, Recurrence="0 8 * * MON-FRI", TimeZone="Europe/Berlin", DesiredCapacity=5)
        self.put(cloud, "night", Recurrence="0 20 * * 1-5", TimeZone="Europe/Berlin", DesiredCapacity=1)
        for start, desired in (
            ("2026-01-02T08:00", 5),
            ("2026-01-02T20:00", 1),
            ("2026-01-05T07:59", 1),
            ("2026-01-05T08:00", 5),
        ):
            moment = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
            cloud.sleep(moment - cloud.now())
            assert sizes(cloud)[2] == desired, start
        assert [one["TimeZone"] for one in self.listed(cloud)] == ["Europe/Berlin"] * 2

    def test_ends_and_is_skipped_while_suspended_or_where_it_does_not_fit(self, cloud: SimulatedCloud) -> None:
        asg = cloud.client("autoscaling")
        self.put(cloud, Recurrence="*/10 * * * *", EndTime=at(cloud, 1500), DesiredCapacity=3)
        asg.suspend_processes(**WEB, ScalingProcesses=["ScheduledActions"])
        cloud.sleep(601)
        assert sizes(cloud) == (1, 10, 2)
        asg.resume_processes(**WEB, ScalingProcesses=["ScheduledActions"])
        asg.update_auto_scaling_group(**WEB, MaxSize=2)
        cloud.sleep(600)
        assert sizes(cloud) == (1, 2, 2)
        cloud.sleep(600)
        assert self.listed(cloud) == []

    def test_in_batches(self, cloud: SimulatedCloud) -> None:
        asg = cloud.client("autoscaling")
        good = {"ScheduledActionName": "good", "StartTime": at(cloud, 60), "DesiredCapacity": 3}
        bad = {"ScheduledActionName": "bad", "StartTime": at(cloud, -60), "DesiredCapacity": 3}
        failed = asg.batch_put_scheduled_update_group_action(**WEB, ScheduledUpdateGroupActions=[good, bad])
        assert [
            (one["ScheduledActionName"], one["ErrorMessage"]) for one in failed["FailedScheduledUpdateGroupActions"]
        ] == [("bad", "Given start time is in the past")]
        failed = asg.batch_delete_scheduled_action(**WEB, ScheduledActionNames=["good", "none"])
        assert [one["ScheduledActionName"] for one in failed["FailedScheduledActions"]] == ["none"]
        assert self.listed(cloud) == []

    @pytest.mark.parametrize(
        ("params", "says"),
        [
            ({"Recurrence": "0 8 * *", "DesiredCapacity": 1}, "recurrence string"),
            ({"Recurrence": "0 25 * * *", "DesiredCapacity": 1}, "25 is no hour"),
            ({"Recurrence": "0 0 31 2 *", "DesiredCapacity": 1}, "it never comes"),
            ({"Recurrence": "0 8 * * *", "TimeZone": "Europe/Atlantis", "DesiredCapacity": 1}, "Europe/Atlantis"),
            ({"Recurrence": "0 8 * * *"}, "At least one of MinSize"),
            ({"Recurrence": "0 8 * * *", "MinSize": 3, "MaxSize": 2}, "Max bound, 2"),
            ({"Recurrence": "0 8 * * *", "MinSize": 3, "DesiredCapacity": 2}, "Desired capacity:2"),
            ({"DesiredCapacity": 2}, "start time or a recurrence"),
        ],
    )
    def test_what_is_refused(self, cloud: SimulatedCloud, params: dict[str, Any], says: str) -> None:
        call = cloud.client("autoscaling").put_scheduled_update_group_action
        assert says in refused(call, **WEB, ScheduledActionName="x", **params)
        assert self.listed(cloud) == []

    def test_a_deleted_group_has_none(self, cloud: SimulatedCloud) -> None:
        self.put(cloud, Recurrence="* * * * *", DesiredCapacity=3)
        cloud.client("autoscaling").delete_auto_scaling_group(**WEB, ForceDelete=True)
        cloud.sleep(600)
        assert cloud.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-30T02:30"),  # 29 March has no 2:30
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T02:30"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("0 0 13 * FRI", "UTC", "2026-01-01T00:00", "2026-01-02T00:00"),  # either, as cron has it
        ("5,10-12/2 0 * JAN sun", "UTC", "2026-01-01T00:00", "2026-01-04T00:05"),
        ("0 0 * * 7", "UTC", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("*/20 * * * *", "UTC", "2026-01-01T00:00", "2026-01-01T00:20"),
    ],
)
def test_recurring_times(expression: str, zone: str, after: str, expected: str) -> None:
    place = ZoneInfo(zone)
    start = datetime.fromisoformat(after).replace(tzinfo=place).timestamp()
    assert f"{datetime.fromtimestamp(cron.following(expression, zone, start), place):%Y-%m-%dT%H:%M}" == expected


def test_a_time_that_comes_twice_is_taken_once() -> None:
    first = cron.following("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp())
    assert cron.following("30 2 * * *", "Europe/Berlin", first) - first > 20 * 3600


@pytest.mark.parametrize(
    ("kind", "capacity", "adjustment", "least", "expected"),
    [
        ("ChangeInCapacity", 4, -2, None, 2), ("ExactCapacity", 4, 7, None, 7), ("PercentChangeInCapacity", 4, 50, None, 6),
        ("PercentChangeInCapacity", 10, 12, None, 11), ("PercentChangeInCapacity", 10, -12, None, 9),
        ("PercentChangeInCapacity", 2, 10, None, 3), ("PercentChangeInCapacity", 2, -10, None, 1),
        ("PercentChangeInCapacity", 10, 10, 3, 13), ("PercentChangeInCapacity", 10, -10, 3, 7),
    ],
)  # fmt: skip
def test_adjustments_are_rounded_as_aws_does(
    kind: str, capacity: int, adjustment: int, least: int | None, expected: int
) -> None:
    policy = Policy("p", "arn", "SimpleScaling", adjustment_type=kind, min_magnitude=least)
    assert adjusted(policy, capacity, adjustment) == expected


class TestPolicies:
    METRIC: ClassVar = {"Namespace": "web", "MetricName": "queue"}

    def put(self, cloud: SimulatedCloud, name: str, **more: Any) -> str:
        given = {**WEB, "PolicyName": name, "AdjustmentType": "ChangeInCapacity", **more}
        return str(cloud.client("autoscaling").put_scaling_policy(**given)["PolicyARN"])

    def alarm(self, cloud: SimulatedCloud, policy: str, **more: Any) -> None:
        cloud.client("cloudwatch").put_metric_alarm(
            **{
                "AlarmName": "busy", "AlarmActions": [policy], **self.METRIC, "Statistic": "Average", "Period": 60,
                "EvaluationPeriods": 2, "Threshold": 10.0, "ComparisonOperator": "GreaterThanThreshold", **more,
            }
        )  # fmt: skip

    def load(self, cloud: SimulatedCloud, value: float, minutes: int) -> None:
        """Hosts put this value every minute."""
        for _ in range(minutes):
            cloud.client("cloudwatch").put_metric_data(
                Namespace="web", MetricData=[{"MetricName": "queue", "Value": value, "Timestamp": at(cloud, 0)}]
            )
            cloud.sleep(60)

    def state(self, cloud: SimulatedCloud) -> str:
        return str(cloud.client("cloudwatch").describe_alarms(AlarmNames=["busy"])["MetricAlarms"][0]["StateValue"])

    def test_simple_scaling_waits_for_its_cooldown(self, cloud: SimulatedCloud) -> None:
        self.alarm(cloud, self.put(cloud, "up", ScalingAdjustment=1, Cooldown=240))
        assert self.state(cloud) == "INSUFFICIENT_DATA"
        self.load(cloud, 50.0, 1)
        assert (self.state(cloud), sizes(cloud)[2]) == ("OK", 2)
        self.load(cloud, 50.0, 1)
        assert (self.state(cloud), sizes(cloud)[2]) == ("ALARM", 3)
        stamp = causes(cloud)[0].split()[1]
        assert causes(cloud)[0].startswith(
            f"At {stamp} a monitor alarm busy in state ALARM triggered policy up changing the desired capacity from 2 to 3."
        )
        self.load(cloud, 50.0, 3)
        assert sizes(cloud)[2] == 3
        self.load(cloud, 50.0, 2)
        assert sizes(cloud)[2] == 4
        self.load(cloud, 1.0, 3)
        assert (self.state(cloud), sizes(cloud)[2]) == ("OK", 4)

    def test_steps_do_not_count_what_is_still_warming(self, cloud: SimulatedCloud) -> None:
        steps = [
            {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 20.0, "ScalingAdjustment": 1},
            {"MetricIntervalLowerBound": 20.0, "ScalingAdjustment": 3},
        ]
        arn = self.put(cloud, "up", PolicyType="StepScaling", StepAdjustments=steps, EstimatedInstanceWarmup=600)
        self.alarm(cloud, arn, EvaluationPeriods=1)
        self.load(cloud, 15.0, 4)
        assert sizes(cloud)[2] == 3  # once, as long as that one is warming
        self.load(cloud, 40.0, 2)
        assert sizes(cloud)[2] == 5  # three more than the two that are warm
        down = self.put(
            cloud,
            "down",
            PolicyType="StepScaling",
            StepAdjustments=[{"MetricIntervalUpperBound": 0.0, "ScalingAdjustment": -1}],
        )
        cloud.client("autoscaling").execute_policy(**WEB, PolicyName="up", MetricValue=31.0, BreachThreshold=10.0)
        assert sizes(cloud)[2] == 5
        cloud.sleep(700)
        cloud.client("autoscaling").execute_policy(PolicyName=down, MetricValue=1.0, BreachThreshold=10.0)
        assert sizes(cloud)[2] == 4

    def test_target_tracking_makes_its_alarms_and_follows_the_metric(self, cloud: SimulatedCloud) -> None:
        asg, watch = cloud.client("autoscaling"), cloud.client("cloudwatch")
        target = {"CustomizedMetricSpecification": {**self.METRIC, "Statistic": "Average"}, "TargetValue": 10.0}
        made = asg.put_scaling_policy(
            **WEB,
            PolicyName="track",
            PolicyType="TargetTrackingScaling",
            TargetTrackingConfiguration=target,
            EstimatedInstanceWarmup=60,
        )
        names = [one["AlarmName"] for one in made["Alarms"]]
        assert [one["AlarmName"] for one in watch.describe_alarms()["MetricAlarms"]] == names
        assert names[0].startswith("TargetTracking-web-AlarmHigh-")
        self.load(cloud, 25.0, 4)
        assert sizes(cloud)[2] == 5  # 2 of them at 25 are 5 at 10
        assert (
            f"a monitor alarm {names[0]} in state ALARM triggered policy track changing the desired capacity from 2 to 5."
            in causes(cloud)[0]
        )
        self.load(cloud, 10.0, 5)
        assert sizes(cloud)[2] == 5
        self.load(cloud, 4.0, 14)
        assert sizes(cloud)[2] == 5  # only after fifteen minutes
        self.load(cloud, 4.0, 1)
        assert sizes(cloud)[2] == 2
        asg.delete_policy(**WEB, PolicyName="track")
        assert watch.describe_alarms()["MetricAlarms"] == []

    def test_bounds_suspension_and_disabling(self, cloud: SimulatedCloud) -> None:
        asg = cloud.client("autoscaling")
        self.alarm(
            cloud, self.put(cloud, "up", AdjustmentType="ExactCapacity", ScalingAdjustment=99), EvaluationPeriods=1
        )
        asg.suspend_processes(**WEB, ScalingProcesses=["AlarmNotification"])
        self.load(cloud, 50.0, 3)
        assert sizes(cloud)[2] == 2
        asg.resume_processes(**WEB, ScalingProcesses=["AlarmNotification"])
        self.load(cloud, 50.0, 2)
        assert sizes(cloud)[2] == 10
        self.put(cloud, "up", AdjustmentType="ExactCapacity", ScalingAdjustment=1, Enabled=False)
        asg.execute_policy(**WEB, PolicyName="up")
        assert sizes(cloud)[2] == 10

    def test_execute_policy_is_a_users_doing(self, cloud: SimulatedCloud) -> None:
        asg = cloud.client("autoscaling")
        self.put(cloud, "up", ScalingAdjustment=2)
        asg.execute_policy(**WEB, PolicyName="up", HonorCooldown=True)
        assert "a user request executed policy up changing the desired capacity from 2 to 4." in causes(cloud)[0]
        with pytest.raises(ClientError, match="ScalingActivityInProgress"):
            asg.execute_policy(**WEB, PolicyName="up", HonorCooldown=True)
        asg.execute_policy(**WEB, PolicyName="up")
        assert sizes(cloud)[2] == 6

    def test_an_alarm_that_somebody_sets_acts_at_once(self, cloud: SimulatedCloud) -> None:
        self.alarm(cloud, self.put(cloud, "up", ScalingAdjustment=1))
        cloud.client("cloudwatch").set_alarm_state(AlarmName="busy", StateValue="ALARM", StateReason="a drill")
        assert sizes(cloud)[2] == 3

    @pytest.mark.parametrize(
        ("treat", "state"),
        [("missing", "INSUFFICIENT_DATA"), ("notBreaching", "OK"), ("breaching", "ALARM"), ("ignore", "ALARM")],
    )
    def test_missing_values(self, cloud: SimulatedCloud, treat: str, state: str) -> None:
        self.alarm(cloud, self.put(cloud, "up", ScalingAdjustment=1), TreatMissingData=treat)
        self.load(cloud, 50.0, 3)
        assert self.state(cloud) == "ALARM"
        cloud.sleep(300)
        assert self.state(cloud) == state

    @pytest.mark.parametrize(
        ("params", "says"),
        [
            ({"PolicyType": "PredictiveScaling"}, "does not model predictive scaling"),
            ({"ScalingAdjustment": 1, "AdjustmentType": "Percent"}, "AdjustmentType must be one of"),
            ({"ScalingAdjustment": 1, "MinAdjustmentMagnitude": 2}, "only supported by"),
            ({"PolicyType": "SimpleScaling"}, "has a ScalingAdjustment"),
            ({"PolicyType": "StepScaling", "ScalingAdjustment": 1}, "has StepAdjustments"),
            ({"PolicyType": "StepScaling", "StepAdjustments": [
                {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 5.0, "ScalingAdjustment": 1},
                {"MetricIntervalLowerBound": 3.0, "ScalingAdjustment": 2},
            ]}, "can't overlap"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, cloud: SimulatedCloud, params: dict[str, Any], says: str) -> None:
        given = {**WEB, "PolicyName": "x", "AdjustmentType": "ChangeInCapacity", **params}
        assert says in refused(cloud.client("autoscaling").put_scaling_policy, **given)
        assert cloud.client("autoscaling").describe_policies()["ScalingPolicies"] == []

    def test_what_is_not_modelled_is_refused_in_words(self, cloud: SimulatedCloud) -> None:
        target = {
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
            "TargetValue": 50.0,
        }
        tracking = {"PolicyName": "x", "PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": target}
        assert "target tracking of predefined metrics" in refused(
            cloud.client("autoscaling").put_scaling_policy, **WEB, **tracking
        )
        put = cloud.client("cloudwatch").put_metric_alarm
        base = {
            "AlarmName": "a", **self.METRIC, "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0,
            "ComparisonOperator": "GreaterThanThreshold",
        }  # fmt: skip
        assert "the alarm action arn:aws:sns" in refused(put, **base, AlarmActions=["arn:aws:sns:eu-central-1:1:t"])
        assert "the metrics of AWS/EC2" in refused(put, **{**base, "Namespace": "AWS/EC2"})
        gone = "arn:aws:autoscaling:eu-central-1:123456789012:scalingPolicy:x:autoScalingGroupName/web:policyName/up"
        assert "does not exist" in refused(put, **base, AlarmActions=[gone])
        assert cloud.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
