# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS's own instance refresh, as its guide describes it."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.autoscaling.simulation import SimulatedCloud
from localcloud.faults import LaunchFault

from .conftest import BOOT, DRAIN, SHUTDOWN, count, states


def start(cloud: SimulatedCloud, configuration: dict[str, Any] | None = None, **preferences: Any) -> str:
    more = {} if configuration is None else {"DesiredConfiguration": configuration}
    started: str = cloud.client("autoscaling").start_instance_refresh(
        AutoScalingGroupName="web", Preferences=preferences, **more
    )["InstanceRefreshId"]
    return started


def refresh(cloud: SimulatedCloud) -> dict[str, Any]:
    found: dict[str, Any] = cloud.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName="web")[
        "InstanceRefreshes"
    ][0]
    return found


def versions(cloud: SimulatedCloud) -> list[str]:
    return sorted(
        i["LaunchTemplate"]["Version"]
        for i in cloud.shape("web")["Instances"]
        if not i["LifecycleState"].startswith("Terminating")
    )


def finish(cloud: SimulatedCloud) -> float:
    """Let the refresh end; the virtual seconds that it took."""
    began = cloud.now()
    cloud.run_until(lambda: "EndTime" in refresh(cloud), limit=400000)
    return cloud.now() - began


@pytest.fixture
def ten(cloud: SimulatedCloud) -> SimulatedCloud:
    """Ten instances of version 1 under a numbered template, and a version 2 that nobody uses yet."""
    cloud.create_group("web", size=10, MinSize=1, MaxSize=20, version="1", HealthCheckGracePeriod=20)
    cloud.new_template_version("web")
    return cloud


V2 = {"LaunchTemplate": {"LaunchTemplateName": "web", "Version": "2"}}


def test_no_refresh_is_described_where_none_was_started(ten: SimulatedCloud) -> None:
    page = ten.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName="web")
    assert page["InstanceRefreshes"] == []


def test_ninety_percent_replaces_one_in_ten_at_a_time_terminating_first(ten: SimulatedCloud) -> None:
    watch = ten.watch("web")
    start(ten, V2)
    assert refresh(ten)["Status"] == "InProgress"
    assert count(ten, "Terminating") == 1
    assert count(ten, "Pending") == 1
    launch = ten.client("autoscaling").describe_scaling_activities(AutoScalingGroupName="web")["Activities"][0]
    assert "an instance was launched in response to an instance refresh." in launch["Cause"]
    seconds = finish(ten)
    assert refresh(ten)["Status"] == "Successful"
    assert refresh(ten)["PercentageComplete"] == 100
    assert versions(ten) == ["2"] * 10
    assert watch.lowest_in_service == 9
    assert len(watch.launched) == 10
    assert watch.highest_total == 10
    assert seconds == pytest.approx(10 * (BOOT + 20), abs=DRAIN + SHUTDOWN), "boot and grace period, one after another"


def test_preferences_are_described_with_their_defaults(ten: SimulatedCloud) -> None:
    asg = ten.client("autoscaling")
    policy = {"MinHealthyPercentage": 80, "MaxHealthyPercentage": 110}
    asg.update_auto_scaling_group(AutoScalingGroupName="web", InstanceMaintenancePolicy=policy)
    start(ten, V2, SkipMatching=True)
    assert refresh(ten)["Preferences"] == policy | {
        "InstanceWarmup": 20,
        "SkipMatching": True,
        "AutoRollback": False,
        "ScaleInProtectedInstances": "Wait",
        "StandbyInstances": "Wait",
    }


def test_a_maximum_above_a_hundred_launches_first(ten: SimulatedCloud) -> None:
    watch = ten.watch("web")
    start(ten, V2, MinHealthyPercentage=100, MaxHealthyPercentage=120, InstanceWarmup=30)
    assert count(ten, "Pending") == 2
    assert count(ten, "Terminating") == 0
    finish(ten)
    assert versions(ten) == ["2"] * 10
    assert watch.lowest_in_service == 10
    assert len(watch.launched) == 10
    assert watch.highest_total == 12
    assert ten.shape("web")["DesiredCapacity"] == 10


def test_a_single_instance_goes_first_unless_the_maximum_is_set(cloud: SimulatedCloud) -> None:
    cloud.create_group("web", size=1, MaxSize=3)
    watch = cloud.watch("web")
    start(cloud, MinHealthyPercentage=100)
    finish(cloud)
    assert watch.lowest_in_service == 0, "the trap that the guide warns of"
    watch = cloud.watch("web")
    start(cloud, MinHealthyPercentage=100, MaxHealthyPercentage=100)
    finish(cloud)
    assert watch.lowest_in_service == 1


def test_the_desired_configuration_becomes_the_groups_own_only_on_success(ten: SimulatedCloud) -> None:
    start(ten, V2)
    ten.sleep(BOOT)
    assert ten.shape("web")["LaunchTemplate"]["Version"] == "1"
    finish(ten)
    assert ten.shape("web")["LaunchTemplate"]["Version"] == "2"


def test_skip_matching_leaves_what_is_new_already(ten: SimulatedCloud) -> None:
    start(ten, V2)
    finish(ten)
    watch = ten.watch("web")
    start(ten, V2, SkipMatching=True)
    assert refresh(ten)["Status"] == "Successful"
    assert watch.launched == []
    start(ten, V2)
    finish(ten)
    assert len(watch.launched) == 10, "without it, everything is replaced again"


def test_a_checkpoint_waits(ten: SimulatedCloud) -> None:
    start(ten, V2, CheckpointPercentages=[20, 100], CheckpointDelay=1800)
    ten.sleep(1000)
    assert versions(ten).count("2") == 2
    assert refresh(ten)["PercentageComplete"] == 20
    ten.sleep(1000)
    assert versions(ten).count("2") > 2
    finish(ten)
    assert versions(ten) == ["2"] * 10


def test_cancel_stops_where_it_is(ten: SimulatedCloud) -> None:
    start(ten, V2)
    ten.sleep(BOOT + 25)
    ten.client("autoscaling").cancel_instance_refresh(AutoScalingGroupName="web")
    assert refresh(ten)["Status"] == "Cancelling"
    finish(ten)
    assert (refresh(ten)["Status"], refresh(ten)["StatusReason"]) == ("Cancelled", "Cancelled due to user request.")
    assert versions(ten) == ["1"] * 8 + ["2"] * 2
    assert ten.shape("web")["LaunchTemplate"]["Version"] == "1"


def test_rollback_replaces_what_has_left(ten: SimulatedCloud) -> None:
    start(ten, V2)
    ten.sleep(2 * (BOOT + 21))
    ten.client("autoscaling").rollback_instance_refresh(AutoScalingGroupName="web")
    assert refresh(ten)["Status"] == "RollbackInProgress"
    finish(ten)
    assert refresh(ten)["Status"] == "RollbackSuccessful"
    assert versions(ten) == ["1"] * 10
    assert refresh(ten)["RollbackDetails"]["PercentageCompleteOnRollback"] == 20


def test_an_hour_without_progress_fails_with_the_launches_message(ten: SimulatedCloud) -> None:
    ten.faults.arm(LaunchFault("VcpuLimitExceeded", "No more vCPUs.", times=None))
    start(ten, V2)
    ten.sleep(3599)
    assert refresh(ten)["Status"] == "InProgress"
    ten.sleep(60)
    assert refresh(ten)["Status"] == "Failed"
    assert refresh(ten)["StatusReason"] == "No more vCPUs. Launching EC2 instance failed."


def test_auto_rollback(ten: SimulatedCloud) -> None:
    start(ten, V2, AutoRollback=True)
    ten.sleep(2 * (BOOT + 21))
    ten.faults.arm(LaunchFault("VcpuLimitExceeded", "No more vCPUs.", times=None))
    ten.sleep(3700)
    assert refresh(ten)["Status"] == "RollbackInProgress"
    ten.faults.clear()
    finish(ten)
    assert refresh(ten)["Status"] == "RollbackSuccessful"
    assert versions(ten) == ["1"] * 10


def test_a_suspended_process_pauses_it(ten: SimulatedCloud) -> None:
    asg = ten.client("autoscaling")
    start(ten, V2)
    asg.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["InstanceRefresh"])
    ten.sleep(3000)
    assert versions(ten).count("2") == 1
    asg.resume_processes(AutoScalingGroupName="web", ScalingProcesses=["InstanceRefresh"])
    finish(ten)
    assert versions(ten) == ["2"] * 10


@pytest.mark.parametrize(("policy", "outcome", "left"), [("Ignore", "Successful", 1), ("Refresh", "Successful", 0)])
def test_protected_instances(ten: SimulatedCloud, policy: str, outcome: str, left: int) -> None:
    ten.client("autoscaling").set_instance_protection(
        AutoScalingGroupName="web", InstanceIds=ten.in_service("web")[:1], ProtectedFromScaleIn=True
    )
    start(ten, V2, ScaleInProtectedInstances=policy)
    finish(ten)
    assert refresh(ten)["Status"] == outcome
    assert versions(ten).count("1") == left


def test_by_default_it_waits_for_protection_to_end_and_fails_after_an_hour(ten: SimulatedCloud) -> None:
    asg = ten.client("autoscaling")
    first = {"AutoScalingGroupName": "web", "InstanceIds": ten.in_service("web")[:1]}
    asg.set_instance_protection(**first, ProtectedFromScaleIn=True)
    start(ten, V2)
    finish(ten)
    assert refresh(ten)["Status"] == "Failed"
    assert versions(ten).count("1") == 1
    start(ten, V2, SkipMatching=True)
    ten.sleep(60)
    asg.set_instance_protection(**first, ProtectedFromScaleIn=False)
    finish(ten)
    assert refresh(ten)["Status"] == "Successful"


def test_standby_instances_can_be_terminated(ten: SimulatedCloud) -> None:
    asg = ten.client("autoscaling")
    first = ten.in_service("web")[0]
    asg.enter_standby(AutoScalingGroupName="web", InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    ten.sleep(DRAIN)
    start(ten, V2, StandbyInstances="Ignore")
    finish(ten)
    assert states(ten)[first] == "Standby"
    start(ten, V2, StandbyInstances="Terminate", SkipMatching=True)
    finish(ten)
    assert first not in states(ten)


def test_bake_time_comes_last(ten: SimulatedCloud) -> None:
    start(ten, V2, BakeTime=600, MinHealthyPercentage=0)
    ten.sleep(BOOT + 25)
    assert versions(ten) == ["2"] * 10
    ten.sleep(DRAIN)
    assert refresh(ten)["Status"] == "Baking"
    ten.sleep(600)
    assert refresh(ten)["Status"] == "Successful"


def test_the_warm_pool_is_renewed_after_the_group(ten: SimulatedCloud) -> None:
    asg = ten.client("autoscaling")
    asg.put_warm_pool(AutoScalingGroupName="web", MaxGroupPreparedCapacity=12)
    ten.sleep(BOOT + SHUTDOWN)
    start(ten, V2, MinHealthyPercentage=50)

    def prepared() -> set[str]:
        page = asg.describe_warm_pool(AutoScalingGroupName="web")
        return {i["LaunchTemplate"]["Version"] for i in page["Instances"]}

    ten.sleep(BOOT)
    assert prepared() == {"1"}, "nothing old is drawn into the group"
    finish(ten)
    assert versions(ten) == ["2"] * 10
    ten.sleep(2 * BOOT)
    assert prepared() == {"2"}
