# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions, paging, tags, load balancers and what survives a restart."""

from __future__ import annotations

import json

from localcloud.autoscaling.service import AutoScaling
from localcloud.autoscaling.simulation import SimulatedCloud

from .conftest import BOOT, DRAIN, SHUTDOWN, activities, states


def test_groups_are_described_in_pages(cloud: SimulatedCloud) -> None:
    for number in range(120):
        cloud.create_group(f"g{number:03}", size=0, target_groups=0)
    asg = cloud.client("autoscaling")
    assert len(asg.describe_auto_scaling_groups()["AutoScalingGroups"]) == 50
    pages = list(asg.get_paginator("describe_auto_scaling_groups").paginate(MaxRecords=100))
    assert [len(page["AutoScalingGroups"]) for page in pages] == [100, 20]
    assert cloud.calls["DescribeAutoScalingGroups"] == 3
    whole = asg.get_paginator("describe_auto_scaling_groups").paginate().build_full_result()
    assert len(whole["AutoScalingGroups"]) == 120


def test_groups_are_found_by_tag(cloud: SimulatedCloud) -> None:
    for name, tier in (("one", "web"), ("two", "db")):
        tags = [{"Key": "tier", "Value": tier, "PropagateAtLaunch": True}, {"Key": name, "Value": ""}]
        cloud.create_group(name, size=0, Tags=tags)
    asg = cloud.client("autoscaling")

    def found(name: str, *values: str) -> list[str]:
        page = asg.describe_auto_scaling_groups(Filters=[{"Name": name, "Values": list(values)}])
        return [group["AutoScalingGroupName"] for group in page["AutoScalingGroups"]]

    assert found("tag:tier", "db") == ["two"]
    assert found("tag-key", "tier") == ["one", "two"]
    assert found("tag-key", "one") == ["one"]
    assert found("tag-value", "web", "db") == ["one", "two"]


def test_tags_propagate_as_they_say(cloud: SimulatedCloud) -> None:
    tags = [
        {"Key": "team", "Value": "a", "PropagateAtLaunch": True},
        {"Key": "lock", "Value": "b", "PropagateAtLaunch": False},
    ]
    cloud.create_group("web", size=1, Tags=tags)
    host = cloud.client("ec2").describe_instances(InstanceIds=cloud.in_service("web"))["Reservations"][0]["Instances"][
        0
    ]
    on_host = {tag["Key"]: tag["Value"] for tag in host["Tags"]}
    assert on_host["team"] == "a"
    assert "lock" not in on_host
    assert on_host["aws:autoscaling:groupName"] == "web"
    assert on_host["aws:ec2launchtemplate:version"] == "1"
    asg = cloud.client("autoscaling")
    target = {"ResourceId": "web", "ResourceType": "auto-scaling-group"}
    asg.create_or_update_tags(Tags=[target | {"Key": "lock", "Value": "c", "PropagateAtLaunch": False}])
    found = asg.describe_tags(
        Filters=[{"Name": "auto-scaling-group", "Values": ["web"]}, {"Name": "key", "Values": ["lock"]}]
    )["Tags"]
    assert found == [target | {"Key": "lock", "Value": "c", "PropagateAtLaunch": False}]
    asg.delete_tags(Tags=[target | {"Key": "lock"}])
    assert [tag["Key"] for tag in cloud.shape("web")["Tags"]] == ["team"]


def test_instances_are_described_across_groups(web: SimulatedCloud) -> None:
    web.create_group("two", size=1, target_groups=0)
    asg = web.client("autoscaling")
    rows = asg.describe_auto_scaling_instances()["AutoScalingInstances"]
    assert [row["AutoScalingGroupName"] for row in rows] == ["web", "web", "web", "two"]
    ids = [rows[0]["InstanceId"], "i-nobody"]
    (row,) = asg.describe_auto_scaling_instances(InstanceIds=ids)["AutoScalingInstances"]
    assert row["LifecycleState"] == "InService"
    assert row["HealthStatus"] == "HEALTHY", "this one call spells it so"
    assert row["LaunchTemplate"]["Version"] == "1"


def test_activities_by_id_by_time_by_page_and_of_deleted_groups(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    victim = web.in_service("web")[0]
    ended = asg.terminate_instance_in_auto_scaling_group(InstanceId=victim, ShouldDecrementDesiredCapacity=True)
    activity_id = ended["Activity"]["ActivityId"]
    found = asg.describe_scaling_activities(ActivityIds=[activity_id])["Activities"]
    assert [a["ActivityId"] for a in found] == [activity_id]
    since = ended["Activity"]["StartTime"].isoformat()
    recent = asg.describe_scaling_activities(
        AutoScalingGroupName="web", Filters=[{"Name": "StartTimeLowerBound", "Values": [since]}]
    )["Activities"]
    assert [a["ActivityId"] for a in recent] == [activity_id]
    page = asg.describe_scaling_activities(AutoScalingGroupName="web", MaxRecords=3)
    assert len(page["Activities"]) == 3
    rest = asg.describe_scaling_activities(AutoScalingGroupName="web", NextToken=page["NextToken"])
    assert len(rest["Activities"]) == 1
    starts = [a["StartTime"] for a in activities(web)]
    assert starts == sorted(starts, reverse=True), "the newest first"
    asg.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    web.sleep(SHUTDOWN)
    assert asg.describe_scaling_activities()["Activities"] == []
    gone = asg.describe_scaling_activities(AutoScalingGroupName="web", IncludeDeletedGroups=True)["Activities"]
    assert {a["AutoScalingGroupState"] for a in gone} == {"Deleted"}


def test_force_delete_takes_every_host_at_once(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    asg.put_lifecycle_hook(
        AutoScalingGroupName="web",
        LifecycleHookName="gate",
        LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
    )
    asg.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    web.sleep(SHUTDOWN)
    assert asg.describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert all(host.ended for host in web.hosts.by_id.values())


def test_an_empty_group_is_deleted_at_once(cloud: SimulatedCloud) -> None:
    cloud.create_group("web", size=0)
    cloud.client("autoscaling").delete_auto_scaling_group(AutoScalingGroupName="web")
    assert cloud.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []


def test_target_groups_attach_and_detach_with_everything_in_service(web: SimulatedCloud) -> None:
    arn = web.targets.create("second")
    asg = web.client("autoscaling")
    asg.attach_load_balancer_target_groups(AutoScalingGroupName="web", TargetGroupARNs=[arn])

    def row() -> dict[str, str]:
        rows = asg.describe_load_balancer_target_groups(AutoScalingGroupName="web")["LoadBalancerTargetGroups"]
        return next(row for row in rows if row["LoadBalancerTargetGroupARN"] == arn)

    assert row()["State"] == "Added"
    web.sleep(10)
    assert row()["State"] == "InService"
    assert len(web.targets.place(arn).health) == 3
    asg.detach_load_balancer_target_groups(AutoScalingGroupName="web", TargetGroupARNs=[arn])
    assert {health.state for health in web.targets.place(arn).health.values()} == {"draining"}
    assert arn not in web.shape("web")["TargetGroupARNs"]


def test_traffic_sources_name_every_kind(web: SimulatedCloud) -> None:
    web.targets.create("old-elb", classic=True)
    arn = web.targets.create("second")
    lattice = "arn:aws:vpc-lattice:eu-central-1:123456789012:targetgroup/tg-1"
    asg = web.client("autoscaling")
    sources = [{"Identifier": arn}, {"Identifier": "old-elb", "Type": "elb"}, {"Identifier": lattice}]
    asg.attach_traffic_sources(AutoScalingGroupName="web", TrafficSources=sources)
    shape = web.shape("web")
    assert arn in shape["TargetGroupARNs"]
    assert shape["LoadBalancerNames"] == ["old-elb"]
    kinds = [s["Type"] for s in asg.describe_traffic_sources(AutoScalingGroupName="web")["TrafficSources"]]
    assert kinds == ["elbv2", "elbv2", "elb", "vpc-lattice"]
    rows = web.client("elb").describe_instance_health(LoadBalancerName="old-elb")["InstanceStates"]
    assert {row["State"] for row in rows} == {"OutOfService"}
    web.sleep(10)
    rows = web.client("elb").describe_instance_health(LoadBalancerName="old-elb")["InstanceStates"]
    assert {row["State"] for row in rows} == {"InService"}
    asg.detach_traffic_sources(AutoScalingGroupName="web", TrafficSources=[{"Identifier": lattice}])
    assert len(web.shape("web")["TrafficSources"]) == 3


def test_update_changes_what_it_names_and_nothing_else(cloud: SimulatedCloud) -> None:
    cloud.create_group("web", size=1, HealthCheckType="ELB", HealthCheckGracePeriod=120, DefaultCooldown=60)
    asg = cloud.client("autoscaling")
    before = cloud.shape("web")
    asg.update_auto_scaling_group(AutoScalingGroupName="web", MaxSize=2, DefaultInstanceWarmup=30)
    after = cloud.shape("web")
    assert {key for key in after if before.get(key) != after[key]} == {"MaxSize", "DefaultInstanceWarmup"}
    asg.update_auto_scaling_group(AutoScalingGroupName="web", DefaultInstanceWarmup=-1)
    assert "DefaultInstanceWarmup" not in cloud.shape("web")
    asg.update_auto_scaling_group(
        AutoScalingGroupName="web", LaunchTemplate={"LaunchTemplateName": "web", "Version": "1"}
    )
    assert cloud.shape("web")["LaunchTemplate"]["Version"] == "1"
    assert cloud.shape("web")["LaunchTemplate"]["LaunchTemplateId"]


def test_metrics_and_the_empty_answers(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    asg.enable_metrics_collection(AutoScalingGroupName="web", Granularity="1Minute", Metrics=["GroupMinSize"])
    assert web.shape("web")["EnabledMetrics"] == [{"Metric": "GroupMinSize", "Granularity": "1Minute"}]
    asg.disable_metrics_collection(AutoScalingGroupName="web")
    assert web.shape("web")["EnabledMetrics"] == []
    assert asg.describe_policies(AutoScalingGroupName="web")["ScalingPolicies"] == []
    assert asg.describe_notification_configurations()["NotificationConfigurations"] == []
    assert asg.describe_launch_configurations()["LaunchConfigurations"] == []
    assert "AZRebalance" in [p["ProcessName"] for p in asg.describe_scaling_process_types()["Processes"]]
    assert "Default" in asg.describe_termination_policy_types()["TerminationPolicyTypes"]


def test_regions_are_apart(web: SimulatedCloud) -> None:
    assert web.autoscaling.handle("DescribeAutoScalingGroups", {}, "us-east-1") == {"AutoScalingGroups": []}
    assert web.autoscaling.members() == dict.fromkeys(web.in_service("web"), "web")


def test_the_state_survives_a_restart_in_the_middle_of_everything(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    asg.put_lifecycle_hook(
        AutoScalingGroupName="web",
        LifecycleHookName="gate",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
        HeartbeatTimeout=100,
        DefaultResult="CONTINUE",
    )
    asg.create_or_update_tags(Tags=[{"ResourceId": "web", "Key": "k", "Value": "v", "PropagateAtLaunch": True}])
    asg.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["AZRebalance"])
    asg.put_warm_pool(AutoScalingGroupName="web", MinSize=1, MaxGroupPreparedCapacity=4)
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    victim = web.in_service("web")[0]
    asg.terminate_instance_in_auto_scaling_group(InstanceId=victim, ShouldDecrementDesiredCapacity=False)
    web.sleep(BOOT)
    shape, saved = web.shape("web"), json.loads(json.dumps(web.autoscaling.dump()))
    model = web.autoscaling.model
    again = AutoScaling(
        hosts=model.hosts,
        targets=model.targets,
        templates=model.templates,
        subnets=model.subnets,
        clock=web.clock,
        timing=model.timing,
    )
    again.load(saved)
    assert again.dump() == web.autoscaling.dump()
    web.autoscaling = again
    assert web.shape("web") == shape
    assert "Pending:Wait" in states(web).values()
    web.sleep(100 + DRAIN + SHUTDOWN)
    assert sorted(states(web).values()) == ["InService"] * 4
    assert victim not in states(web)
