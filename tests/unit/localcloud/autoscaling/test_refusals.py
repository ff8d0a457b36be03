# SPDX-License-Identifier: GPL-3.0-or-later
"""Every refusal, in AWS's words, and that a refused call changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from botocore.exceptions import ParamValidationError

from localcloud.autoscaling.simulation import SimulatedCloud

from .conftest import BOOT, DRAIN, states

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def unchanged(web: SimulatedCloud) -> Iterator[None]:
    """No refusal in this file may change the group."""
    yield
    assert web.shape("web")["DesiredCapacity"] in (0, 1, 3)


def test_decrement_at_min_size(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    asg.update_auto_scaling_group(AutoScalingGroupName="web", MinSize=3)
    victim = web.in_service("web")[0]
    assert refused(
        asg.terminate_instance_in_auto_scaling_group, InstanceId=victim, ShouldDecrementDesiredCapacity=True
    ) == (
        "ValidationError: Currently, desiredSize equals minSize (3). Terminating instance without replacement will "
        "violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's "
        "min size."
    )
    assert states(web)[victim] == "InService"


def test_desired_outside_the_bounds(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    assert refused(asg.set_desired_capacity, AutoScalingGroupName="web", DesiredCapacity=7) == (
        "ValidationError: New SetDesiredCapacity value 7 is above max value 6 for the AutoScalingGroup."
    )
    assert refused(asg.set_desired_capacity, AutoScalingGroupName="web", DesiredCapacity=0) == (
        "ValidationError: New SetDesiredCapacity value 0 is below min value 1 for the AutoScalingGroup."
    )
    assert refused(asg.update_auto_scaling_group, AutoScalingGroupName="web", DesiredCapacity=9) == (
        "ValidationError: Desired capacity:9 must be between the specified min size:1 and max size:6"
    )
    assert refused(asg.update_auto_scaling_group, AutoScalingGroupName="web", MinSize=7) == (
        "ValidationError: Max bound, 6, must be greater than or equal to min bound, 7"
    )


def test_unknown_instance(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    words = "ValidationError: Instance Id not found - No managed instance found for instance ID: i-0123"
    assert words == refused(
        asg.terminate_instance_in_auto_scaling_group, InstanceId="i-0123", ShouldDecrementDesiredCapacity=False
    )
    assert words == refused(asg.set_instance_health, InstanceId="i-0123", HealthStatus="Unhealthy")
    words = "ValidationError: The instance i-0123 is not part of Auto Scaling group web."
    group = {"AutoScalingGroupName": "web", "InstanceIds": ["i-0123"]}
    assert words == refused(asg.set_instance_protection, **group, ProtectedFromScaleIn=True)
    assert words == refused(asg.enter_standby, **group, ShouldDecrementDesiredCapacity=True)
    assert words == refused(asg.exit_standby, **group)
    assert words == refused(asg.detach_instances, **group, ShouldDecrementDesiredCapacity=True)


def test_unknown_group(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    for method, params in (
        (asg.update_auto_scaling_group, {}),
        (asg.delete_auto_scaling_group, {}),
        (asg.set_desired_capacity, {"DesiredCapacity": 1}),
        (asg.suspend_processes, {}),
        (asg.describe_lifecycle_hooks, {}),
        (asg.describe_scaling_activities, {}),
        (asg.start_instance_refresh, {}),
        (asg.describe_warm_pool, {}),
    ):
        assert refused(method, AutoScalingGroupName="nope", **params) == (
            "ValidationError: AutoScalingGroup name not found - AutoScalingGroup 'nope' not found"
        )
    assert asg.describe_auto_scaling_groups(AutoScalingGroupNames=["nope"])["AutoScalingGroups"] == []


def test_states_that_do_not_fit(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    first, second, _ = web.in_service("web")
    assert refused(asg.exit_standby, AutoScalingGroupName="web", InstanceIds=[first]) == (
        f"ValidationError: The instance {first} is not in Standby."
    )
    asg.terminate_instance_in_auto_scaling_group(InstanceId=first, ShouldDecrementDesiredCapacity=False)
    group = {"AutoScalingGroupName": "web", "InstanceIds": [second, first]}
    assert refused(asg.enter_standby, **group, ShouldDecrementDesiredCapacity=True) == (
        f"ValidationError: The instance {first} is not in InService."
    )
    assert refused(asg.detach_instances, **group, ShouldDecrementDesiredCapacity=True) == (
        f"ValidationError: The instance {first} is not in InService or Standby."
    )
    assert refused(asg.set_instance_protection, **group, ProtectedFromScaleIn=True) == (
        f"ValidationError: The instance {first} is not in InService or EnteringStandby or Standby."
    )
    shape = next(i for i in web.shape("web")["Instances"] if i["InstanceId"] == second)
    assert (shape["LifecycleState"], shape["ProtectedFromScaleIn"]) == ("InService", False), "all or nothing"


def test_sizes_that_do_not_fit(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    first, second, third = web.in_service("web")
    asg.update_auto_scaling_group(AutoScalingGroupName="web", MinSize=3, MaxSize=3)
    sizes = "AutoScalingGroup web has min-size=3, max-size=3, and desired-size=3."
    group = {"AutoScalingGroupName": "web", "InstanceIds": [first]}
    assert refused(asg.enter_standby, **group, ShouldDecrementDesiredCapacity=True) == (
        f"ValidationError: {sizes} To place into standby 1 instance, please update the AutoScalingGroup sizes "
        "appropriately."
    )
    two = {"AutoScalingGroupName": "web", "InstanceIds": [second, third]}
    assert refused(asg.detach_instances, **two, ShouldDecrementDesiredCapacity=True) == (
        f"ValidationError: {sizes} To detach 2 instances, please update the AutoScalingGroup sizes appropriately."
    )
    asg.enter_standby(**group, ShouldDecrementDesiredCapacity=False)
    web.sleep(DRAIN)
    assert refused(asg.exit_standby, **group) == (
        f"ValidationError: {sizes} To take out of standby 1 instance, please update the AutoScalingGroup sizes "
        "appropriately."
    )
    asg.detach_instances(**two, ShouldDecrementDesiredCapacity=False)
    web.sleep(DRAIN)
    assert refused(asg.attach_instances, AutoScalingGroupName="web", InstanceIds=[second]) == (
        f"ValidationError: {sizes} To attach 1 instance, please update the AutoScalingGroup sizes appropriately."
    )


def test_attach_refuses_what_is_a_groups_already_or_not_running(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    first = web.in_service("web")[0]
    assert refused(asg.attach_instances, AutoScalingGroupName="web", InstanceIds=[first]) == (
        f"ValidationError: Instance {first} is already part of AutoScalingGroup:web"
    )
    assert refused(asg.attach_instances, AutoScalingGroupName="web", InstanceIds=["i-0123"]).startswith(
        "ValidationError: Invalid Instance(s) found: i-0123."
    )


def test_creating_a_group_that_cannot_be(web: SimulatedCloud, refused: Refused) -> None:
    create = web.client("autoscaling").create_auto_scaling_group
    template = {"LaunchTemplateName": "web"}
    base = {"AutoScalingGroupName": "new", "MinSize": 0, "MaxSize": 1, "VPCZoneIdentifier": "subnet-a"}
    assert refused(create, **base | {"AutoScalingGroupName": "web"}, LaunchTemplate=template) == (
        "AlreadyExists: AutoScalingGroup by this name already exists - A group with the name web already exists"
    )
    assert refused(create, **base) == (
        "ValidationError: Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or "
        "MixedInstancesPolicy parameter."
    )
    assert refused(create, **base, LaunchTemplate=template | {"LaunchTemplateId": "lt-1"}) == (
        "ValidationError: Valid requests must contain either launchTemplateId or LaunchTemplateName"
    )
    assert refused(create, **base, LaunchTemplate={"LaunchTemplateName": "nope"}) == (
        "ValidationError: You must use a valid fully-formed launch template. The specified launch template, with "
        "template name nope, does not exist."
    )
    assert refused(create, **base, LaunchTemplate=template | {"Version": "9"}).startswith(
        "ValidationError: You must use a valid fully-formed launch template. Could not find"
    )
    nowhere = {key: value for key, value in base.items() if key != "VPCZoneIdentifier"}
    assert refused(create, **nowhere, LaunchTemplate=template) == (
        "ValidationError: At least one Availability Zone or VPC Subnet is required."
    )
    assert refused(create, **base | {"VPCZoneIdentifier": "subnet-z"}, LaunchTemplate=template) == (
        "ValidationError: The subnet ID 'subnet-z' does not exist"
    )
    assert refused(create, **base, DesiredCapacity=2, LaunchTemplate=template) == (
        "ValidationError: Desired capacity:2 must be between the specified min size:0 and max size:1"
    )
    assert refused(create, **base, LaunchTemplate=template, TargetGroupARNs=["arn:nope"]) == (
        "ValidationError: Provided Target Groups may not be valid. Please ensure they exist and try again."
    )
    assert refused(create, **base, LaunchTemplate=template, LoadBalancerNames=["nope"]) == (
        "ValidationError: Provided Load Balancers may not be valid. Please ensure they exist and try again."
    )
    assert "launch templates" in refused(create, **base, LaunchConfigurationName="old")
    assert "Termination policy Best" in refused(create, **base, LaunchTemplate=template, TerminationPolicies=["Best"])
    assert "HealthCheckType" in refused(create, **base, LaunchTemplate=template, HealthCheckType="PING")
    assert "MaxInstanceLifetime" in refused(create, **base, LaunchTemplate=template, MaxInstanceLifetime=60)
    groups = web.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert [group["AutoScalingGroupName"] for group in groups] == ["web"], "nothing half made"


def test_deleting_a_group_in_use(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    assert refused(asg.delete_auto_scaling_group, AutoScalingGroupName="web") == (
        "ResourceInUse: You cannot delete an AutoScalingGroup while there are instances or pending Spot instance "
        "request(s) still in the group."
    )
    asg.update_auto_scaling_group(AutoScalingGroupName="web", MinSize=0, DesiredCapacity=0)
    assert refused(asg.delete_auto_scaling_group, AutoScalingGroupName="web") == (
        "ScalingActivityInProgress: You cannot delete an AutoScalingGroup while there are scaling activities in "
        "progress for that group."
    )
    asg.create_auto_scaling_group(
        AutoScalingGroupName="kept",
        MinSize=0,
        MaxSize=0,
        LaunchTemplate={"LaunchTemplateName": "web"},
        VPCZoneIdentifier="subnet-a",
        DeletionProtection="prevent-all-deletion",
    )
    assert "Deletion protection" in refused(asg.delete_auto_scaling_group, AutoScalingGroupName="kept")


def test_a_group_on_its_way_out_takes_no_writes(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    asg.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    assert web.shape("web")["Status"] == "Delete in progress"
    assert "pending delete" in refused(asg.set_desired_capacity, AutoScalingGroupName="web", DesiredCapacity=0)
    web.create_group("other", size=0)


def test_cooldown_is_honoured_on_request(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4, HonorCooldown=True)
    activity = asg.describe_scaling_activities(AutoScalingGroupName="web")["Activities"][0]["ActivityId"]
    words = f"ScalingActivityInProgress: Scaling activity {activity} is in progress and blocks this action"
    want = {"AutoScalingGroupName": "web", "DesiredCapacity": 3, "HonorCooldown": True}
    assert refused(asg.set_desired_capacity, **want) == words
    web.sleep(BOOT + 1)
    assert refused(asg.set_desired_capacity, **want) == words
    web.sleep(300)
    asg.set_desired_capacity(**want)


def test_lifecycle_actions_that_are_none(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    first = web.in_service("web")[0]
    action = {"AutoScalingGroupName": "web", "LifecycleHookName": "gate"}
    assert refused(asg.complete_lifecycle_action, **action, InstanceId=first, LifecycleActionResult="CONTINUE") == (
        f"ValidationError: No active Lifecycle Action found with instance ID {first}"
    )
    token = "00000000-0000-4000-8000-0000deadbeef"
    assert refused(asg.record_lifecycle_action_heartbeat, **action, LifecycleActionToken=token) == (
        f"ValidationError: No active Lifecycle Action found with token {token}"
    )
    assert "GO" in refused(asg.complete_lifecycle_action, **action, InstanceId=first, LifecycleActionResult="GO")
    hook = {**action, "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING"}
    assert "between 30 and 7200" in refused(asg.put_lifecycle_hook, **hook, HeartbeatTimeout=7201)
    assert "MAYBE" in refused(asg.put_lifecycle_hook, **hook, DefaultResult="MAYBE")
    assert "transition is required" in refused(asg.put_lifecycle_hook, **action)
    assert "No Lifecycle Hook found" in refused(asg.delete_lifecycle_hook, **action)


def test_tags_have_limits(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")

    def tag(key: str, value: str = "") -> dict[str, object]:
        return {"ResourceId": "web", "ResourceType": "auto-scaling-group", "Key": key, "Value": value}

    asg.create_or_update_tags(Tags=[tag("k" * 128, "v" * 256)])
    assert "length less than or equal to 128" in refused(asg.create_or_update_tags, Tags=[tag("k" * 129)])
    assert "length less than or equal to 256" in refused(asg.create_or_update_tags, Tags=[tag("k", "v" * 257)])
    assert "reserved" in refused(asg.create_or_update_tags, Tags=[tag("aws:mine")])
    assert refused(asg.create_or_update_tags, Tags=[tag(f"k{n}") for n in range(50)]).startswith("LimitExceeded")
    assert "not found" in refused(asg.create_or_update_tags, Tags=[tag("k") | {"ResourceId": "nope"}])
    assert len(web.shape("web")["Tags"]) == 1


def test_limits_on_ids_and_pages(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    ids = [f"i-{n}" for n in range(51)]
    assert "limited to 50" in refused(asg.describe_auto_scaling_instances, InstanceIds=ids)
    assert "limited to 50" in refused(
        asg.set_instance_protection, AutoScalingGroupName="web", InstanceIds=ids, ProtectedFromScaleIn=True
    )
    assert "limited to 20" in refused(
        asg.enter_standby, AutoScalingGroupName="web", InstanceIds=ids[:21], ShouldDecrementDesiredCapacity=True
    )
    assert "less than or equal to 100" in refused(asg.describe_auto_scaling_groups, MaxRecords=101)
    assert refused(asg.describe_auto_scaling_groups, NextToken="what").startswith("InvalidNextToken")
    assert "Filter type name" in refused(asg.describe_auto_scaling_groups, Filters=[{"Name": "name", "Values": ["x"]}])


def test_instance_refreshes_that_cannot_be(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    start = asg.start_instance_refresh
    for preferences, words in (
        ({"MinHealthyPercentage": 101}, "MinHealthyPercentage must be"),
        ({"MinHealthyPercentage": 90, "MaxHealthyPercentage": 201}, "MaxHealthyPercentage must be"),
        ({"MaxHealthyPercentage": 110}, "MinHealthyPercentage must be specified"),
        ({"MinHealthyPercentage": 50, "MaxHealthyPercentage": 160}, "cannot exceed 100"),
        ({"CheckpointPercentages": [50, 20]}, "ascending"),
        (
            {"AutoRollback": True},
            "AutoRollback parameter cannot be set to true when the DesiredConfiguration parameter is empty.",
        ),
        ({"StandbyInstances": "Wish"}, "StandbyInstances must be one of"),
    ):
        assert words in refused(start, AutoScalingGroupName="web", Preferences=preferences)
    assert refused(asg.cancel_instance_refresh, AutoScalingGroupName="web") == (
        "ActiveInstanceRefreshNotFound: No in progress or pending Instance Refresh found for Auto Scaling group web"
    )
    start(AutoScalingGroupName="web")
    assert refused(start, AutoScalingGroupName="web") == (
        "InstanceRefreshInProgress: An Instance Refresh is already in progress and blocks the execution of this "
        "Instance Refresh."
    )
    assert refused(asg.rollback_instance_refresh, AutoScalingGroupName="web").startswith("IrreversibleInstanceRefresh")


def test_target_groups_that_are_not_attached_cannot_be_detached(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    assert "not part of the group" in refused(
        asg.detach_load_balancer_target_groups, AutoScalingGroupName="web", TargetGroupARNs=["arn:nope"]
    )


def test_unknown_processes_and_metrics(web: SimulatedCloud, refused: Refused) -> None:
    asg = web.client("autoscaling")
    assert "Lunch" in refused(asg.suspend_processes, AutoScalingGroupName="web", ScalingProcesses=["Lunch"])
    assert "1Hour" in refused(asg.enable_metrics_collection, AutoScalingGroupName="web", Granularity="1Hour")


def test_an_operation_that_is_not_there(web: SimulatedCloud, refused: Refused) -> None:
    method = web.client("autoscaling").put_notification_configuration
    said = refused(method, AutoScalingGroupName="web", TopicARN="t", NotificationTypes=["x"])
    assert said.startswith("NotImplemented: The local cloud does not model PutNotificationConfiguration of Amazon EC2")


def test_a_misspelt_parameter_fails_as_in_boto3(web: SimulatedCloud) -> None:
    with pytest.raises(ParamValidationError, match="GroupName"):
        web.client("autoscaling").update_auto_scaling_group(GroupName="web")
