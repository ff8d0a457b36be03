# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of every kind: warm pools, Standby, weights, mixed instances policies, lifecycle hooks, launch configurations."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD
from localcloud.autoscaling.simulation import SimulatedCloud


def _call(w: Any, operation: str, **params: Any) -> Any:
    return getattr(w.cloud.client("autoscaling"), operation)(AutoScalingGroupName="web", **params)


def _pool(w: Any) -> list[tuple[str, str]]:
    rows = w.cloud.client("autoscaling").describe_warm_pool(AutoScalingGroupName="web")["Instances"]
    return [(row["LaunchTemplate"]["Version"], row["LifecycleState"]) for row in rows]


# ---- warm pools ----------------------------------------------------------------------------------------------------


def _with_pool(world: Any, size: int = 3, **pool: Any) -> Any:
    w = world(size, new_version=False)
    _call(w, "put_warm_pool", **{"MinSize": 2, **pool})
    w.settle(300)
    w.cloud.new_template_version("web")
    w.forget_calls()
    return w


def test_a_warm_pool_is_recycled_first(world: Any) -> None:
    w = _with_pool(world)
    assert _pool(w) == [("1", "Warmed:Stopped")] * 2
    plan = w.roll("planned").as_dict()["plan"]
    assert [due["reasons"] for due in plan["warm_pool"]] == [["runs version 1, not 2"]] * 2
    result = w.roll()
    assert (result.state, result.done) == ("completed", True), result.message
    assert w.versions == ["2"] * 3
    assert w.watch.lowest_healthy == 3
    assert (w.sizes, w.tags) == ((3, 3, 3), {TAG_RECORD})
    w.settle()
    assert [version for version, dummy in _pool(w)] == ["2", "2"]
    first = next(c.number for c in w.cloud.log if c.operation == "TerminateInstances")
    assert first < next(c.number for c in w.cloud.log if c.operation == "TerminateInstanceInAutoScalingGroup")
    w.forget_calls()
    assert w.roll().changed is False
    assert w.writes == []


def test_a_warm_pool_alone_is_recycled_too(world: Any) -> None:
    w = world(2, new_version=False)
    _call(w, "put_warm_pool", MinSize=1)
    w.settle(300)
    w.cloud.new_template_version("web")
    old = w.cloud.in_service("web")
    result = w.roll(instances=frozenset(old[:1]))
    assert not result.failed
    assert w.versions == ["1", "2"]


def test_what_scaling_in_gives_to_the_warm_pool_is_recycled_at_the_end(world: Any) -> None:
    w = _with_pool(world, InstanceReusePolicy={"ReuseOnScaleIn": True}, MaxGroupPreparedCapacity=6)
    result = w.roll(batch_size=2)
    assert (result.state, result.failed) == ("completed", False), result.message
    assert w.versions == ["2"] * 3
    w.settle()
    assert {version for version, dummy in _pool(w)} <= {"2"}


def test_killed_while_the_warm_pool_is_recycled(world: Any) -> None:
    calls = _with_pool(world, 1).roll().api_calls.total()
    for number in range(1, calls + 1):
        w = _with_pool(world, 1)
        w.killed_at(number, after=True, owner="first")
        result = w.roll(owner="second", dead=["first"])
        assert not result.failed, result.message
        w.settle()
        assert w.versions == ["2"]
        assert {version for version, dummy in _pool(w)} <= {"2"}, number
        assert (w.sizes, w.tags) == ((1, 1, 1), {TAG_RECORD})
        assert w.watch.lowest_healthy == 1


# ---- Standby -------------------------------------------------------------------------------------------------------


def _with_standby(world: Any, **group: Any) -> tuple[Any, str]:
    w = world(3, MinSize=1, **group)
    name = w.cloud.in_service("web")[0]
    _call(w, "enter_standby", InstanceIds=[name], ShouldDecrementDesiredCapacity=True)
    w.settle(60)
    w.forget_calls()
    w.watch = w.cloud.watch("web")
    return w, name


@pytest.mark.parametrize("state", ["completed", "advanced"])
def test_standby_replace_ends_them_once_the_others_are_replaced(world: Any, state: str) -> None:
    w, name = _with_standby(world)
    plan = w.roll("planned", standby="replace").as_dict()["plan"]
    assert [due["instance_id"] for due in plan["batches"][-1]] == [name]
    assert "is in Standby" in plan["batches"][-1][0]["reasons"]
    for dummy in range(5):
        result = w.roll(state, standby="replace")
        assert not result.failed, result.message
        if result.done:
            break
    assert result.done
    assert w.versions == ["2"] * 2
    assert len(w.watch.launched) == 2, "nobody takes the place of one that served nobody"
    ends = [c.params["InstanceId"] for c in w.cloud.log if c.operation == "TerminateInstanceInAutoScalingGroup"]
    assert ends[-1] == name
    assert w.sizes == (1, 3, 2)
    assert {"old": name, "new": "", "seconds": 0.0} in result.as_dict()["replaced"]
    w.settle()
    assert all(i["LifecycleState"] == "InService" for i in w.group["Instances"])


def test_standby_ignore_and_fail(world: Any) -> None:
    w, name = _with_standby(world)
    refused = w.roll(standby="fail")
    assert refused.failed
    assert name in refused.message
    assert w.writes == []
    assert w.roll().done
    assert name in [i["InstanceId"] for i in w.group["Instances"]]


# ---- weights -------------------------------------------------------------------------------------------------------


def _weighted(world: Any, units: int = 8, **options: Any) -> Any:
    policy = {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": "$Latest"},
            "Overrides": [
                {"InstanceType": "t3.small", "WeightedCapacity": "2"},
                {"InstanceType": "t3.micro", "WeightedCapacity": "1"},
            ],
        },
        "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 100},
    }
    w = world(units, MixedInstancesPolicy=policy, new_version=False, settle=False, **options)
    w.settle(300)
    w.cloud.new_template_version("web")
    w.watch = w.cloud.watch("web")
    return w


@pytest.mark.parametrize("batch", ["1", "2", "50%"])
@pytest.mark.parametrize("state", ["completed", "advanced"])
def test_weighted_capacity_is_replaced_without_a_gap(world: Any, batch: str, state: str) -> None:
    w = _weighted(world)
    number = len(w.group["Instances"])
    for dummy in range(12):
        result = w.roll(state, batch_size=batch)
        assert not result.failed, result.message
        assert result.lowest_in_service >= 8
        if result.done:
            break
    assert result.done
    assert w.versions == ["2"] * number
    assert len(w.watch.launched) == number
    assert w.watch.lowest_healthy >= number
    assert (w.sizes, w.suspended, w.tags) == ((8, 8, 8), [], {TAG_RECORD})


def test_weighted_capacity_of_different_weights(world: Any) -> None:
    w = _weighted(world, 5)
    names = [i["InstanceId"] for i in w.group["Instances"]]
    for name, weight in zip(names, (1, 2, 2), strict=False):
        w.cloud.autoscaling.group("web", "eu-central-1").instances[name].weight = weight
    w.settle(60)
    result = w.roll()
    assert (result.state, result.failed) == ("completed", False), result.message
    assert set(w.versions) == {"2"}
    assert result.lowest_in_service >= 5
    assert (w.sizes, w.tags) == ((5, 5, 5), {TAG_RECORD})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_with_weights(world: Any, after: bool) -> None:
    calls = _weighted(world, 4).roll().api_calls.total()
    for number in range(1, calls + 1):
        w = _weighted(world, 4)
        w.killed_at(number, after=after, owner="first")
        result = w.roll(owner="second", dead=["first"])
        assert not result.failed, result.message
        w.settle()
        assert set(w.versions) == {"2"}
        assert w.sizes == (4, 4, 4), number
        assert w.tags == {TAG_RECORD}


# ---- mixed instances policies ----------------------------------------------------------------------------------------


def _two_templates(world: Any) -> Any:
    cloud = SimulatedCloud(boot=90, healthy_after=0, deregistration_delay=30, zones=1)
    cloud.templates.create("web")
    cloud.templates.create("other")
    policy = {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": "$Latest"},
            "Overrides": [
                {
                    "InstanceType": "t3.small",
                    "LaunchTemplateSpecification": {"LaunchTemplateName": "other", "Version": "$Latest"},
                },
                {"InstanceType": "t3.micro"},
            ],
        },
        "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 100},
    }
    w = world(3, cloud=cloud, MixedInstancesPolicy=policy, new_version=False)
    cloud.new_template_version("other")
    return w


def test_floating_versions_of_overrides_are_pinned_and_put_back(world: Any) -> None:
    w = _two_templates(world)
    before = w.group["MixedInstancesPolicy"]
    pinned: list[Any] = []
    w.cloud.at(60, lambda: pinned.append(w.group["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]))
    w.cloud.at(150, lambda: w.cloud.new_template_version("other"))  # nobody is to get this one
    result = w.roll()
    assert (result.state, result.failed) == ("completed", False), result.message
    assert pinned[0][0]["LaunchTemplateSpecification"]["Version"] == "2"
    assert w.versions == ["2"] * 3
    assert len(w.watch.launched) == 3
    assert w.group["MixedInstancesPolicy"] == before


def test_a_killed_roll_puts_floating_versions_of_overrides_back(world: Any) -> None:
    whole = _two_templates(world)
    before = whole.group["MixedInstancesPolicy"]
    calls = whole.roll().api_calls.total()
    for number in range(6, calls + 1, 3):
        w = _two_templates(world)
        w.killed_at(number, after=True, owner="first")
        assert not w.roll(owner="second", dead=["first"]).failed
        assert w.group["MixedInstancesPolicy"] == before, number
        assert w.versions == ["2"] * 3


# ---- lifecycle hooks ---------------------------------------------------------------------------------------------------


def test_a_hook_that_takes_longer_than_batch_timeout_is_waited_for(world: Any) -> None:
    w = world(2, new_version=False)
    _call(
        w,
        "put_lifecycle_hook",
        LifecycleHookName="warm-up",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
        HeartbeatTimeout=400,
        DefaultResult="CONTINUE",
    )
    w.cloud.new_template_version("web")
    w.forget_calls()
    result = w.roll(batch_timeout=200.0)
    assert (result.state, result.failures) == ("completed", ()), result.message
    assert result.seconds >= 2 * 400
    assert result.api_calls["DescribeLifecycleHooks"] == 1
    assert w.watch.lowest_healthy == 2


def test_a_deregistration_that_takes_longer_than_batch_timeout_is_waited_for(world: Any) -> None:
    cloud = SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=600, zones=1)
    w = world(1, cloud=cloud)
    result = w.roll(batch_timeout=200.0)
    assert (result.state, result.failed) == ("completed", False), result.message
    assert result.seconds >= 600


def test_an_abandoned_launch_is_a_failure_with_awss_words(world: Any) -> None:
    w = world(2, new_version=False)
    _call(
        w,
        "put_lifecycle_hook",
        LifecycleHookName="warm-up",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
        HeartbeatTimeout=120,
        DefaultResult="ABANDON",
    )
    w.cloud.new_template_version("web")
    result = w.roll(max_failures=0)
    assert result.failed
    assert "Abandon" in result.message or "abandon" in result.message
    w.settle()
    assert w.versions == ["1"] * 2
    assert w.sizes == (2, 2, 2)


# ---- odd ones ----------------------------------------------------------------------------------------------------------


def test_what_aws_launches_from_something_else_does_not_go_on_for_ever(world: Any) -> None:
    w = world(3)
    w.cloud.templates.data = lambda template, version: w.cloud.templates._find(template).versions[version]
    launch = w.cloud.autoscaling.model.launch

    def launch_old(*args: Any, **options: Any) -> Any:
        instance = launch(*args, **options)
        if instance is not None:
            instance.template = w.old
        return instance

    state = w.cloud.autoscaling.group("web", "eu-central-1")
    w.old = next(iter(state.instances.values())).template
    w.cloud.autoscaling.model.launch = launch_old
    result = w.roll(max_failures=1)
    print("\n".join(f"{e['time'] - 1.7e9:.0f} {e.get('message')}" for e in w.events if e.get("message")))
    assert result.failed
    assert "AWS launched it from launch template web version 1" in result.message
    assert len(w.watch.launched) <= 5
    assert w.sizes == (3, 3, 3)


def test_instances_that_the_group_never_had_are_refused_by_name(world: Any) -> None:
    w = world(3)
    result = w.roll(instances=frozenset({w.cloud.in_service("web")[0], "i-0123456789abcdef0"}))
    assert result.failed
    assert "i-0123456789abcdef0" in result.message
    assert w.writes == []


def test_a_state_that_is_new_to_us_is_not_counted_and_harms_nobody(world: Any) -> None:
    w = world(3, MaxSize=6)
    odd = w.cloud.in_service("web")[0]
    handle = w.cloud.handle

    def shown(service: str, operation: str, params: Any) -> Any:
        answer = handle(service, operation, params)
        for group in answer.get("AutoScalingGroups", ()):
            group["Instances"] = [
                {**item, "LifecycleState": "Quarantined" if item["InstanceId"] == odd else item["LifecycleState"]}
                for item in group["Instances"]
            ]
        return answer

    w.cloud.handle = shown
    result = w.roll(batch_timeout=300.0)
    assert "mistake" not in result.message
    assert isinstance(result.failed, bool)
    assert TAG_JOURNAL not in w.tags
    assert w.sizes[2] == 3
