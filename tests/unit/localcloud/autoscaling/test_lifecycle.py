# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances from launch to termination: states, target groups, hooks, health, activities."""

from __future__ import annotations

import pytest

from localcloud.autoscaling.model import NEVER, Timing
from localcloud.autoscaling.ports import HostStatus
from localcloud.autoscaling.simulation import SimulatedCloud
from localcloud.errors import ApiError
from localcloud.faults import BootFault, LaunchFault

from .conftest import BOOT, DRAIN, HEALTHY, SHUTDOWN, activities, count, states


def target_states(cloud: SimulatedCloud, group: str = "web") -> dict[str, str]:
    arn = cloud.shape(group)["TargetGroupARNs"][0]
    return {i: health.state for i, health in cloud.targets.place(arn).health.items()}


def test_a_launch_is_pending_until_the_host_is_up_and_only_then_registers(cloud: SimulatedCloud) -> None:
    cloud.create_group("web", size=2, settle=False)
    assert count(cloud, "Pending") == 2
    cloud.sleep(BOOT - 1)
    assert count(cloud, "Pending") == 2
    assert target_states(cloud) == {}
    cloud.sleep(1)
    assert count(cloud, "InService") == 2
    assert set(target_states(cloud).values()) == {"initial"}
    cloud.sleep(HEALTHY)
    assert set(target_states(cloud).values()) == {"healthy"}


def test_a_host_that_stops_as_it_boots_is_a_failed_launch_and_is_replaced(cloud: SimulatedCloud) -> None:
    cloud.create_group("web", size=1, settle=False)
    first = cloud.shape("web")["Instances"][0]["InstanceId"]
    cloud.hosts.by_id[first].status = HostStatus.STOPPED
    cloud.sleep(10 * BOOT)
    assert count(cloud, "InService") == 1
    assert first not in states(cloud)
    assert cloud.hosts.by_id[first].status is HostStatus.GONE
    assert "Failed" in [activity["StatusCode"] for activity in activities(cloud)]


def test_pending_counts_so_nothing_is_launched_twice(web: SimulatedCloud) -> None:
    watch = web.watch("web")
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=5)
    for _ in range(20):
        web.sleep(5)
        asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=5)
    assert len(watch.launched) == 2
    assert watch.highest_total == 5


def test_instances_remember_the_version_they_came_from(web: SimulatedCloud) -> None:
    assert web.new_template_version("web") == 2
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    versions = [i["LaunchTemplate"]["Version"] for i in web.shape("web")["Instances"]]
    assert versions == ["1", "1", "1", "2"]
    assert web.shape("web")["LaunchTemplate"]["Version"] == "$Latest"


def test_termination_drains_first_then_shuts_down(web: SimulatedCloud) -> None:
    victim = web.in_service("web")[0]
    web.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=victim, ShouldDecrementDesiredCapacity=True
    )
    assert states(web)[victim] == "Terminating"
    assert target_states(web)[victim] == "draining"
    assert activities(web)[0]["StatusCode"] == "WaitingForELBConnectionDraining"
    assert activities(web)[0]["Description"] == (
        f"Terminating EC2 instance: {victim} - Waiting For ELB Connection Draining."
    )
    web.sleep(DRAIN - 1)
    assert web.hosts.by_id[victim].terminating is False
    web.sleep(1)
    assert web.hosts.by_id[victim].terminating is True
    assert states(web)[victim] == "Terminating"
    web.sleep(SHUTDOWN)
    assert victim not in states(web)
    assert web.shape("web")["DesiredCapacity"] == 2
    assert activities(web)[0]["StatusCode"] == "Successful"
    assert activities(web)[0]["Description"] == f"Terminating EC2 instance: {victim}"
    assert activities(web)[0]["Cause"].endswith(
        f"instance {victim} was taken out of service in response to a user request, shrinking the capacity from 3 to 2."
    )


def test_termination_without_decrement_launches_a_replacement_at_once(web: SimulatedCloud) -> None:
    victim = web.in_service("web")[0]
    web.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=victim, ShouldDecrementDesiredCapacity=False
    )
    assert count(web, "Pending") == 1
    assert count(web, "Terminating") == 1
    web.sleep(BOOT + HEALTHY)
    assert len(web.healthy("web")) == 3


def test_terminating_twice_changes_nothing_more(web: SimulatedCloud) -> None:
    victim = web.in_service("web")[0]
    asg = web.client("autoscaling")
    first = asg.terminate_instance_in_auto_scaling_group(InstanceId=victim, ShouldDecrementDesiredCapacity=True)
    again = asg.terminate_instance_in_auto_scaling_group(InstanceId=victim, ShouldDecrementDesiredCapacity=True)
    assert again["Activity"]["ActivityId"] == first["Activity"]["ActivityId"]
    assert web.shape("web")["DesiredCapacity"] == 2


def test_a_pending_instance_can_be_terminated(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    fresh = next(i for i, state in states(web).items() if state == "Pending")
    asg.terminate_instance_in_auto_scaling_group(InstanceId=fresh, ShouldDecrementDesiredCapacity=True)
    web.sleep(SHUTDOWN)
    assert fresh not in states(web)
    launch = next(a for a in activities(web) if a["Description"] == f"Launching a new EC2 instance: {fresh}")
    assert launch["StatusCode"] == "Cancelled"
    assert web.shape("web")["DesiredCapacity"] == 3


# ---- hooks ---------------------------------------------------------------------------------------------------------


def put_hook(cloud: SimulatedCloud, transition: str, **more: object) -> None:
    cloud.client("autoscaling").put_lifecycle_hook(
        AutoScalingGroupName="web",
        LifecycleHookName="gate",
        LifecycleTransition=f"autoscaling:EC2_INSTANCE_{transition}",
        **more,
    )


def test_a_launch_hook_holds_the_instance_until_it_is_completed(web: SimulatedCloud) -> None:
    put_hook(web, "LAUNCHING")
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.sleep(BOOT)
    fresh = next(i for i, state in states(web).items() if state == "Pending:Wait")
    assert activities(web)[0]["StatusCode"] == "MidLifecycleAction"
    assert fresh not in target_states(web)
    asg.complete_lifecycle_action(
        AutoScalingGroupName="web", LifecycleHookName="gate", InstanceId=fresh, LifecycleActionResult="CONTINUE"
    )
    web.sleep(0)
    assert states(web)[fresh] == "InService"
    assert fresh in target_states(web)


def test_an_abandoned_launch_is_terminated_and_tried_again_later(web: SimulatedCloud) -> None:
    put_hook(web, "LAUNCHING")
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.sleep(BOOT)
    fresh = next(i for i, state in states(web).items() if state == "Pending:Wait")
    asg.complete_lifecycle_action(
        AutoScalingGroupName="web", LifecycleHookName="gate", InstanceId=fresh, LifecycleActionResult="ABANDON"
    )
    assert states(web)[fresh] == "Terminating"
    failed = next(a for a in activities(web) if a["StatusCode"] == "Cancelled")
    assert "was abandoned: Lifecycle Action Completed with ABANDON Result" in failed["StatusMessage"]
    assert failed["Description"] == (
        f"Launching a new EC2 instance: {fresh}.  Status Reason: {failed['StatusMessage']}"
    )
    assert count(web, "Pending") == 0, "the next attempt comes after a pause"
    web.sleep(20)
    assert count(web, "Pending") == 1


@pytest.mark.parametrize(("result", "state"), [("CONTINUE", "InService"), ("ABANDON", "Terminating")])
def test_a_heartbeat_timeout_has_the_default_result(web: SimulatedCloud, result: str, state: str) -> None:
    put_hook(web, "LAUNCHING", HeartbeatTimeout=100, DefaultResult=result)
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.sleep(BOOT)
    fresh = next(i for i, s in states(web).items() if s == "Pending:Wait")
    web.sleep(60)
    asg.record_lifecycle_action_heartbeat(AutoScalingGroupName="web", LifecycleHookName="gate", InstanceId=fresh)
    web.sleep(99)
    assert states(web)[fresh] == "Pending:Wait", "the heartbeat began a new timeout"
    web.sleep(1)
    assert states(web)[fresh] == state


def test_heartbeats_cannot_hold_an_instance_for_ever(web: SimulatedCloud) -> None:
    put_hook(web, "LAUNCHING", HeartbeatTimeout=30)
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.sleep(BOOT)
    fresh = next(i for i, s in states(web).items() if s == "Pending:Wait")
    assert asg.describe_lifecycle_hooks(AutoScalingGroupName="web")["LifecycleHooks"][0]["GlobalTimeout"] == 3000
    for _ in range(149):
        web.sleep(20)
        asg.record_lifecycle_action_heartbeat(AutoScalingGroupName="web", LifecycleHookName="gate", InstanceId=fresh)
    assert states(web)[fresh] == "Pending:Wait"
    web.sleep(20)
    assert states(web)[fresh] == "Terminating", "100 timeouts are over"


def test_a_termination_hook_comes_after_draining(web: SimulatedCloud) -> None:
    put_hook(web, "TERMINATING")
    victim = web.in_service("web")[0]
    asg = web.client("autoscaling")
    asg.terminate_instance_in_auto_scaling_group(InstanceId=victim, ShouldDecrementDesiredCapacity=False)
    web.sleep(DRAIN - 1)
    assert states(web)[victim] == "Terminating"
    web.sleep(1)
    assert states(web)[victim] == "Terminating:Wait"
    assert web.hosts.by_id[victim].terminating is False
    asg.complete_lifecycle_action(
        AutoScalingGroupName="web", LifecycleHookName="gate", InstanceId=victim, LifecycleActionResult="CONTINUE"
    )
    web.sleep(0)
    assert states(web)[victim] == "Terminating:Proceed"
    web.sleep(SHUTDOWN)
    assert victim not in states(web)


def test_two_hooks_both_have_to_be_completed(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    put_hook(web, "LAUNCHING")
    asg.put_lifecycle_hook(
        AutoScalingGroupName="web",
        LifecycleHookName="second",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
    )
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.sleep(BOOT)
    fresh = next(i for i, s in states(web).items() if s == "Pending:Wait")
    for name, state in (("gate", "Pending:Wait"), ("second", "InService")):
        asg.complete_lifecycle_action(
            AutoScalingGroupName="web", LifecycleHookName=name, InstanceId=fresh, LifecycleActionResult="CONTINUE"
        )
        web.sleep(0)
        assert states(web)[fresh] == state


def test_deleting_a_hook_lets_go_of_what_waits_for_it(web: SimulatedCloud) -> None:
    put_hook(web, "TERMINATING")
    victim = web.in_service("web")[0]
    asg = web.client("autoscaling")
    asg.terminate_instance_in_auto_scaling_group(InstanceId=victim, ShouldDecrementDesiredCapacity=False)
    web.sleep(DRAIN)
    asg.delete_lifecycle_hook(AutoScalingGroupName="web", LifecycleHookName="gate")
    web.sleep(SHUTDOWN)
    assert victim not in states(web)


def test_proceed_states_can_be_made_to_last() -> None:
    slow = SimulatedCloud(boot=BOOT, timing=Timing(proceed=3, health_interval=NEVER))
    slow.create_group("web", size=1, MaxSize=2)
    asg = slow.client("autoscaling")
    for transition, result in (("LAUNCHING", "CONTINUE"), ("TERMINATING", "ABANDON")):
        asg.put_lifecycle_hook(
            AutoScalingGroupName="web",
            LifecycleHookName=transition,
            LifecycleTransition=f"autoscaling:EC2_INSTANCE_{transition}",
            HeartbeatTimeout=30,
            DefaultResult=result,
        )
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=2)
    slow.sleep(BOOT + 30)
    (fresh,) = (i for i, state in states(slow).items() if state == "Pending:Proceed")
    slow.sleep(3)
    assert states(slow)[fresh] == "InService"
    asg.terminate_instance_in_auto_scaling_group(InstanceId=fresh, ShouldDecrementDesiredCapacity=True)
    slow.sleep(30 + 30)
    assert states(slow)[fresh] == "Terminating:Proceed"
    assert not slow.hosts.by_id[fresh].terminating
    slow.sleep(3)
    assert slow.hosts.by_id[fresh].terminating


def test_a_termination_that_ec2_refuses_is_asked_for_again(web: SimulatedCloud) -> None:
    victim = web.in_service("web")[0]
    terminate, refusals = web.hosts.terminate, ["The instance may not be terminated."]

    def refuse_once(instance_id: str) -> None:
        if refusals:
            raise ApiError("OperationNotPermitted", refusals.pop())
        terminate(instance_id)

    web.hosts.terminate = refuse_once  # type: ignore[method-assign]
    web.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=victim, ShouldDecrementDesiredCapacity=True
    )
    web.sleep(DRAIN)
    (refused,) = [a for a in activities(web) if a.get("StatusMessage")]
    assert refused["StatusMessage"] == "The instance may not be terminated."
    assert states(web)[victim] == "Terminating"
    web.autoscaling.tick()
    web.sleep(SHUTDOWN)
    assert victim not in states(web)


# ---- failures ------------------------------------------------------------------------------------------------------


def test_a_refused_launch_fails_with_its_message_and_is_retried_with_backoff(web: SimulatedCloud) -> None:
    web.faults.arm(LaunchFault("VcpuLimitExceeded", "You have requested more vCPU capacity", times=3))
    watch = web.watch("web")
    web.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    failed = activities(web)[0]
    assert failed["StatusCode"] == "Failed"
    assert failed["StatusMessage"] == "You have requested more vCPU capacity. Launching EC2 instance failed."
    assert failed["Description"] == f"Launching a new EC2 instance.  Status Reason: {failed['StatusMessage']}"
    web.sleep(10 + 20 + 39)
    assert len([a for a in activities(web) if a["StatusCode"] == "Failed"]) == 3
    assert watch.launched == []
    web.sleep(1)
    assert len(watch.launched) == 1, "after 10, 20 and 40 s"


def test_a_zone_without_capacity_is_avoided(web: SimulatedCloud) -> None:
    web.faults.arm(LaunchFault(zone="eu-central-1a", times=None))
    web.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=5)
    zones = [i["AvailabilityZone"][-1] for i in web.shape("web")["Instances"]]
    assert zones == ["a", "b", "c", "b", "c"]


def test_no_capacity_anywhere_is_waited_out(web: SimulatedCloud) -> None:
    web.faults.arm(LaunchFault(times=None))
    web.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=5)
    web.sleep(300)
    assert count(web, "Pending") == 0
    web.faults.clear()
    web.sleep(400 + BOOT)
    assert count(web, "InService") == 5


def test_a_launch_with_a_missing_image_fails(web: SimulatedCloud) -> None:
    web.new_template_version("web", ImageId="ami-gone")
    web.templates.missing_images.add("ami-gone")
    web.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    assert activities(web)[0]["StatusMessage"] == (
        "The image id '[ami-gone]' does not exist. Launching EC2 instance failed."
    )


def test_a_boot_that_dies_is_a_failed_launch_and_is_tried_again(web: SimulatedCloud) -> None:
    web.faults.arm(BootFault("die"))
    web.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.sleep(BOOT)
    assert activities(web)[0]["StatusMessage"].startswith(
        "Instance became unhealthy while waiting for instance to be in InService state."
    )
    web.sleep(10 + BOOT)
    assert count(web, "InService") == 4


def test_a_boot_that_hangs_stays_pending(web: SimulatedCloud) -> None:
    web.faults.arm(BootFault("hang"))
    web.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.sleep(3600)
    assert count(web, "Pending") == 1
    assert len(states(web)) == 4


# ---- health --------------------------------------------------------------------------------------------------------


def test_a_dead_host_is_replaced(web: SimulatedCloud) -> None:
    victim = web.in_service("web")[0]
    web.kill(victim)
    web.sleep(30)
    assert victim not in states(web)
    assert count(web, "Pending") == 1
    causes = [a["Cause"] for a in activities(web)[:2]]
    assert any("an unhealthy instance needing to be replaced" in cause for cause in causes)
    assert any("an EC2 health check indicating it has been terminated or stopped" in cause for cause in causes)


def test_failing_status_checks_count_after_the_grace_period(cloud: SimulatedCloud) -> None:
    cloud.create_group("web", size=3, HealthCheckGracePeriod=300)
    victim = cloud.in_service("web")[0]
    cloud.impair(victim)
    cloud.sleep(200)
    assert states(cloud)[victim] == "InService"
    cloud.sleep(100)
    assert states(cloud)[victim] == "Terminating"


@pytest.mark.parametrize(("kind", "state"), [("EC2", "InService"), ("ELB", "Terminating")])
def test_target_health_matters_only_to_health_check_type_elb(cloud: SimulatedCloud, kind: str, state: str) -> None:
    cloud.create_group("web", size=3, HealthCheckType=kind)
    victim = cloud.in_service("web")[0]
    cloud.make_sick(victim)
    cloud.sleep(15)
    assert target_states(cloud)[victim] == "unhealthy"
    cloud.sleep(15)
    assert states(cloud)[victim] == state


def test_an_instance_declared_unhealthy_is_replaced(web: SimulatedCloud) -> None:
    victim = web.in_service("web")[0]
    web.client("autoscaling").set_instance_health(InstanceId=victim, HealthStatus="Unhealthy")
    assert states(web)[victim] == "Terminating"
    assert count(web, "Pending") == 1
    terminations = [a for a in activities(web) if a["Description"].startswith("Terminating")]
    assert "in response to a user health-check" in terminations[0]["Cause"]


def test_an_instance_declared_unhealthy_while_pending_is_replaced_once_in_service(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    fresh = next(i for i, state in states(web).items() if state == "Pending")
    asg.set_instance_health(InstanceId=fresh, HealthStatus="Unhealthy")
    web.sleep(BOOT - 1)
    assert states(web)[fresh] == "Pending"
    web.sleep(1)
    assert states(web)[fresh] == "Terminating"


def test_the_grace_period_protects_from_being_declared_unhealthy(cloud: SimulatedCloud) -> None:
    cloud.create_group("web", size=3, HealthCheckGracePeriod=300)
    victim = cloud.in_service("web")[0]
    asg = cloud.client("autoscaling")
    asg.set_instance_health(InstanceId=victim, HealthStatus="Unhealthy")
    assert states(cloud)[victim] == "InService"
    asg.set_instance_health(InstanceId=victim, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
    assert states(cloud)[victim] == "Terminating"


# ---- standby, detach, attach ---------------------------------------------------------------------------------------


def test_standby_leaves_the_load_balancer_and_the_count(web: SimulatedCloud) -> None:
    first = web.in_service("web")[0]
    asg = web.client("autoscaling")
    asg.enter_standby(AutoScalingGroupName="web", InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    assert states(web)[first] == "EnteringStandby"
    assert target_states(web)[first] == "draining"
    web.sleep(DRAIN)
    assert states(web)[first] == "Standby"
    assert web.shape("web")["DesiredCapacity"] == 2
    assert count(web, "Pending") == 0
    asg.exit_standby(AutoScalingGroupName="web", InstanceIds=[first])
    web.sleep(0)
    assert states(web)[first] == "InService"
    assert web.shape("web")["DesiredCapacity"] == 3
    assert first in target_states(web)


def test_standby_without_decrement_is_replaced(web: SimulatedCloud) -> None:
    first = web.in_service("web")[0]
    web.client("autoscaling").enter_standby(
        AutoScalingGroupName="web", InstanceIds=[first], ShouldDecrementDesiredCapacity=False
    )
    assert count(web, "Pending") == 1


def test_standby_is_not_health_checked(web: SimulatedCloud) -> None:
    first = web.in_service("web")[0]
    web.client("autoscaling").enter_standby(
        AutoScalingGroupName="web", InstanceIds=[first], ShouldDecrementDesiredCapacity=True
    )
    web.sleep(DRAIN)
    web.impair(first)
    web.sleep(600)
    assert states(web)[first] == "Standby"


def test_a_detached_host_lives_on_outside_the_group(web: SimulatedCloud) -> None:
    first = web.in_service("web")[0]
    asg = web.client("autoscaling")
    asg.detach_instances(AutoScalingGroupName="web", InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    assert states(web)[first] == "Detaching"
    web.sleep(DRAIN)
    assert first not in states(web)
    assert web.answers(first)
    asg.attach_instances(AutoScalingGroupName="web", InstanceIds=[first])
    web.sleep(0)
    assert states(web)[first] == "InService"
    assert web.shape("web")["DesiredCapacity"] == 3


def test_launch_hooks_are_for_launches_not_for_attach_and_exit_from_standby(web: SimulatedCloud) -> None:
    first, second = web.in_service("web")[:2]
    asg, name = web.client("autoscaling"), {"AutoScalingGroupName": "web"}
    asg.put_lifecycle_hook(
        **name, LifecycleHookName="gate", LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING", HeartbeatTimeout=300
    )
    asg.enter_standby(**name, InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    asg.detach_instances(**name, InstanceIds=[second], ShouldDecrementDesiredCapacity=True)
    web.sleep(DRAIN)
    asg.exit_standby(**name, InstanceIds=[first])
    asg.attach_instances(**name, InstanceIds=[second])
    web.sleep(0)
    assert (states(web)[first], states(web)[second]) == ("InService", "InService")
    asg.set_desired_capacity(**name, DesiredCapacity=4)
    web.sleep(BOOT + 1)
    assert count(web, "Pending:Wait") == 1


@pytest.mark.parametrize(
    ("call", "what"),
    [("enter_standby", "Moving EC2 instance to Standby"), ("detach_instances", "Detaching EC2 instance")],
)
@pytest.mark.parametrize("drains", [True, False])
def test_who_leaves_is_on_the_way_in_the_answer(web: SimulatedCloud, call: str, what: str, drains: bool) -> None:
    first, asg = web.in_service("web")[0], web.client("autoscaling")
    if not drains:
        for arn in web.shape("web")["TargetGroupARNs"]:
            asg.detach_load_balancer_target_groups(AutoScalingGroupName="web", TargetGroupARNs=[arn])
        web.sleep(DRAIN)
    answer = getattr(asg, call)(AutoScalingGroupName="web", InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    (activity,) = answer["Activities"]
    assert (activity["StatusCode"], activity["Progress"], activity["Description"]) == (
        "InProgress",
        50,
        f"{what}: {first}",
    )
    assert "EndTime" not in activity
    web.sleep(DRAIN)
    (now,) = [one for one in activities(web) if one["ActivityId"] == activity["ActivityId"]]
    assert (now["StatusCode"], now["Progress"]) == ("Successful", 100)


# ---- suspended processes -------------------------------------------------------------------------------------------


def suspend(cloud: SimulatedCloud, *processes: str) -> None:
    cloud.client("autoscaling").suspend_processes(AutoScalingGroupName="web", ScalingProcesses=list(processes))


def test_suspended_launch_launches_nothing(web: SimulatedCloud) -> None:
    suspend(web, "Launch")
    web.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=5)
    web.sleep(600)
    assert len(states(web)) == 3
    web.client("autoscaling").resume_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch"])
    assert len(states(web)) == 5


def test_suspended_terminate_scales_nothing_in(web: SimulatedCloud) -> None:
    suspend(web, "Terminate")
    web.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    web.sleep(600)
    assert count(web, "InService") == 3
    victim = web.in_service("web")[0]
    web.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=victim, ShouldDecrementDesiredCapacity=False
    )
    assert states(web)[victim] == "Terminating", "a termination by name is not the process"


def test_what_launches_while_add_to_load_balancer_is_suspended_is_never_registered(web: SimulatedCloud) -> None:
    suspend(web, "AddToLoadBalancer")
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.sleep(BOOT)
    asg.resume_processes(AutoScalingGroupName="web")
    web.sleep(600)
    assert count(web, "InService") == 4
    assert len(target_states(web)) == 3


def test_suspended_replace_unhealthy_keeps_the_unhealthy(web: SimulatedCloud) -> None:
    suspend(web, "ReplaceUnhealthy")
    victim = web.in_service("web")[0]
    web.impair(victim)
    web.sleep(600)
    shape = next(i for i in web.shape("web")["Instances"] if i["InstanceId"] == victim)
    assert (shape["LifecycleState"], shape["HealthStatus"]) == ("InService", "Unhealthy")
    web.client("autoscaling").resume_processes(AutoScalingGroupName="web", ScalingProcesses=["ReplaceUnhealthy"])
    assert states(web)[victim] == "Terminating"


def test_suspended_health_check_sees_nothing(web: SimulatedCloud) -> None:
    suspend(web, "HealthCheck")
    victim = web.in_service("web")[0]
    web.kill(victim)
    web.sleep(600)
    assert states(web)[victim] == "InService"


def test_suspension_tells_why_and_keeps_the_first_reason(web: SimulatedCloud) -> None:
    suspend(web, "Launch")
    web.sleep(60)
    suspend(web, "Launch", "AZRebalance")
    reasons = {p["ProcessName"]: p["SuspensionReason"] for p in web.shape("web")["SuspendedProcesses"]}
    assert reasons["Launch"] == "User suspended at 2026-01-01T00:01:10Z"
    assert reasons["AZRebalance"] == "User suspended at 2026-01-01T00:02:10Z"


# ---- spot ----------------------------------------------------------------------------------------------------------


def test_an_interrupted_host_goes_and_is_replaced(web: SimulatedCloud) -> None:
    victim = web.in_service("web")[0]
    web.interrupt(victim)
    web.sleep(119)
    assert states(web)[victim] == "InService"
    web.sleep(31)
    assert victim not in states(web)
    assert count(web, "Pending") == 1


def test_capacity_rebalancing_launches_before_the_old_one_goes(cloud: SimulatedCloud) -> None:
    cloud.create_group("web", size=3, MaxSize=3, CapacityRebalance=True)
    victim = cloud.in_service("web")[0]
    watch = cloud.watch("web")
    cloud.interrupt(victim)
    assert len(states(cloud)) == 4, "it may go over the maximum for this"
    cloud.sleep(BOOT)
    assert states(cloud)[victim] == "Terminating"
    cloud.sleep(600)
    assert len(watch.launched) == 1
    assert count(cloud, "InService") == 3


def test_capacity_rebalancing_goes_at_most_a_tenth_over_the_maximum(cloud: SimulatedCloud) -> None:
    cloud.create_group("web", size=3, MaxSize=3, CapacityRebalance=True)
    for victim in cloud.in_service("web"):
        cloud.interrupt(victim, warning=3600)
    assert len(states(cloud)) == 4
