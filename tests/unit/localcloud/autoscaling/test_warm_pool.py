# SPDX-License-Identifier: GPL-3.0-or-later
"""Warm pools: filled, drawn on, refilled, renewed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localcloud.autoscaling.simulation import SimulatedCloud

from .conftest import BOOT, DRAIN, SHUTDOWN, states


def warm(cloud: SimulatedCloud) -> dict[str, str]:
    page = cloud.client("autoscaling").describe_warm_pool(AutoScalingGroupName="web")
    return {i["InstanceId"]: i["LifecycleState"] for i in page["Instances"]}


@pytest.fixture
def pool(web: SimulatedCloud) -> SimulatedCloud:
    """The group "web" with two stopped hosts in its warm pool."""
    web.client("autoscaling").put_warm_pool(AutoScalingGroupName="web", MaxGroupPreparedCapacity=5)
    web.sleep(BOOT + SHUTDOWN)
    assert sorted(warm(web).values()) == ["Warmed:Stopped"] * 2
    return web


def test_a_pool_boots_hosts_and_stops_them_outside_the_group(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    asg.put_warm_pool(AutoScalingGroupName="web", MinSize=1)
    assert list(warm(web).values()) == ["Warmed:Pending"] * 3, "as many as max is above desired"
    web.sleep(BOOT)
    assert list(warm(web).values()) == ["Warmed:Pending:Proceed"] * 3
    web.sleep(SHUTDOWN)
    assert list(warm(web).values()) == ["Warmed:Stopped"] * 3
    assert len(states(web)) == 3
    shape = web.shape("web")
    assert shape["WarmPoolSize"] == 3
    assert shape["WarmPoolConfiguration"]["PoolState"] == "Stopped"


def test_a_running_pool_keeps_hosts_up(web: SimulatedCloud) -> None:
    web.client("autoscaling").put_warm_pool(AutoScalingGroupName="web", PoolState="Running")
    web.sleep(BOOT)
    assert list(warm(web).values()) == ["Warmed:Running"] * 3
    assert all(web.answers(i) for i in warm(web))


def test_a_scale_out_draws_from_the_pool_with_the_template_that_it_was_made_of(pool: SimulatedCloud) -> None:
    pool.new_template_version("web")
    prepared = warm(pool)
    watch = pool.watch("web")
    pool.client("autoscaling").set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    (drawn,) = set(states(pool)) & set(prepared)
    assert states(pool)[drawn] == "Pending"
    pool.sleep(BOOT / 3)
    assert states(pool)[drawn] == "InService", "a stopped host is up in a third of the time"
    shape = next(i for i in pool.shape("web")["Instances"] if i["InstanceId"] == drawn)
    assert shape["LaunchTemplate"]["Version"] == "1", "the old template comes in through the pool"
    assert watch.launched == [], "prepared capacity is max 5 minus desired 4"


def test_a_scale_in_refills_or_returns(pool: SimulatedCloud) -> None:
    asg = pool.client("autoscaling")
    asg.put_warm_pool(AutoScalingGroupName="web", InstanceReusePolicy={"ReuseOnScaleIn": True})
    before = set(states(pool))
    watch = pool.watch("web")
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=2)
    pool.sleep(DRAIN)
    (returned,) = before - set(states(pool))
    assert warm(pool)[returned] == "Warmed:Pending:Proceed"
    pool.sleep(BOOT + SHUTDOWN)
    assert warm(pool)[returned] == "Warmed:Stopped"
    assert watch.terminated == []


def test_hooks_run_on_the_way_into_the_pool_and_out_of_it(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    asg.put_lifecycle_hook(
        AutoScalingGroupName="web",
        LifecycleHookName="gate",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
    )
    asg.put_warm_pool(AutoScalingGroupName="web", MaxGroupPreparedCapacity=4)
    web.sleep(BOOT)
    ((instance, state),) = warm(web).items()
    assert state == "Warmed:Pending:Wait"
    done = {"AutoScalingGroupName": "web", "LifecycleHookName": "gate", "LifecycleActionResult": "CONTINUE"}
    asg.complete_lifecycle_action(**done, InstanceId=instance)
    web.sleep(SHUTDOWN)
    assert warm(web) == {instance: "Warmed:Stopped"}
    asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.sleep(BOOT / 3)
    assert states(web)[instance] == "Pending:Wait"
    asg.complete_lifecycle_action(**done, InstanceId=instance)
    web.sleep(0)
    assert states(web)[instance] == "InService"


def test_an_abandoned_hook_throws_a_prepared_host_away(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    asg.put_lifecycle_hook(
        AutoScalingGroupName="web",
        LifecycleHookName="gate",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
        HeartbeatTimeout=60,
    )
    asg.put_warm_pool(AutoScalingGroupName="web", MaxGroupPreparedCapacity=4)
    web.sleep(BOOT)
    (first,) = warm(web)
    web.sleep(60)
    assert warm(web)[first] == "Warmed:Terminating"
    web.sleep(SHUTDOWN)
    assert first not in warm(web)
    assert len(warm(web)) == 1, "and another is prepared"


def test_what_is_terminated_in_ec2_is_prepared_anew_with_the_new_template(pool: SimulatedCloud) -> None:
    pool.new_template_version("web")
    old = set(warm(pool))
    pool.client("ec2").terminate_instances(InstanceIds=sorted(old))
    pool.sleep(SHUTDOWN)
    page = pool.client("autoscaling").describe_warm_pool(AutoScalingGroupName="web")
    assert {i["LaunchTemplate"]["Version"] for i in page["Instances"]} == {"2"}
    assert old.isdisjoint(warm(pool))


def test_raising_the_maximum_grows_the_pool(web: SimulatedCloud) -> None:
    asg = web.client("autoscaling")
    asg.put_warm_pool(AutoScalingGroupName="web", MinSize=0)
    assert len(warm(web)) == 3
    asg.update_auto_scaling_group(AutoScalingGroupName="web", MaxSize=7)
    assert len(warm(web)) == 4
    asg.put_warm_pool(AutoScalingGroupName="web", MaxGroupPreparedCapacity=4)
    web.sleep(SHUTDOWN)
    assert len(warm(web)) == 1


def test_instances_of_the_pool_are_refused_to_terminate(pool: SimulatedCloud, refused: Callable[..., str]) -> None:
    instance = next(iter(warm(pool)))
    assert "cannot be called on instances in a warm pool" in refused(
        pool.client("autoscaling").terminate_instance_in_auto_scaling_group,
        InstanceId=instance,
        ShouldDecrementDesiredCapacity=False,
    )


def test_a_deleted_pool_goes_with_its_hosts(pool: SimulatedCloud) -> None:
    asg = pool.client("autoscaling")
    asg.delete_warm_pool(AutoScalingGroupName="web")
    page = asg.describe_warm_pool(AutoScalingGroupName="web")
    assert page["WarmPoolConfiguration"]["Status"] == "PendingDelete"
    pool.sleep(SHUTDOWN)
    assert "WarmPoolConfiguration" not in asg.describe_warm_pool(AutoScalingGroupName="web")
    assert len(states(pool)) == 3


def test_deleting_the_group_deletes_the_pool(pool: SimulatedCloud) -> None:
    pool.client("autoscaling").delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    pool.sleep(SHUTDOWN)
    assert pool.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert all(host.ended for host in pool.hosts.by_id.values())
