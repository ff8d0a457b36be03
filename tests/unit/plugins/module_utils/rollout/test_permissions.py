# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy in docs/rollout.md against the calls that rolls make: each has its action, and no action is without a call."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match
from localcloud.autoscaling.simulation import SimulatedCloud

ROOT = Path(__file__).resolve().parents[5]
GUIDE = (ROOT / "docs" / "rollout.md").read_text()
POLICY = json.loads(re.search(r"## Permissions.*?```json\n(.*?)```", GUIDE, re.DOTALL)[1])  # type: ignore[index]
STATEMENTS: dict[str, set[str]] = {item["Sid"]: set(item["Action"]) for item in POLICY["Statement"]}
PREFIXES = {
    "elbv2": "elasticloadbalancing",
    "elb": "elasticloadbalancing",
}  # of IAM, where it is not the service's name
TO_2, REFRESH = Template("", "web", "2"), {"HealthCheckType": "ELB", "HealthCheckGracePeriod": 0}


def _calls(*worlds: Any) -> set[str]:
    """IAM actions of everything that was called."""
    return {f"{PREFIXES.get(call.service, call.service)}:{call.operation}" for w in worlds for call in w.cloud.log}


def _told_to_stop(w: Any, seconds: float) -> Callable[[], str]:
    end = w.cloud.now() + seconds
    return lambda: "stopped by SIGTERM" if w.cloud.now() >= end else ""


def planned(world: Any) -> set[str]:
    w = world(2)
    assert w.roll("planned").state == "planned"
    assert not w.roll(check=True).failed
    return _calls(w)


def states(world: Any) -> set[str]:
    """Every state, with a pinned version, one that floats, a failure, a refused launch, a signal and a kill."""
    whole = world(3)
    assert whole.roll(batch_size=2).state == "completed"
    back = world(2, version="1")
    assert back.roll(template=TO_2).state == "completed"
    assert back.roll("rolled_back").state == "rolled_back"
    by_batch = world(2)
    assert by_batch.roll("advanced").state == "advanced"
    killed = world(2)
    killed.killed_at(15, after=True, owner="first")
    assert killed.roll("aborted", owner="second").state == "aborted"
    refused = world(2)
    refused.cloud.templates.missing_images.add(f"ami-{2:017x}")
    assert refused.roll().failed
    stopped = world(2)
    assert stopped.roll(stopped=_told_to_stop(stopped, 50)).state == "aborted"
    bad = world(2, version="1")
    bad.cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": 1})
    assert bad.roll(template=TO_2, rollback=True, max_failures=0, batch_timeout=100.0).state == "rolled_back"
    return _calls(whole, back, by_batch, killed, refused, stopped, bad)


def machines(world: Any) -> set[str]:
    seen = set()
    for options in ({"prober": lambda places: {}}, {"drainer": lambda places: {p.instance_id: "" for p in places}}):
        w = world(1)
        assert w.roll(**options).state == "completed"
        assert "ec2:DescribeInstances" in _calls(w), options
        seen |= _calls(w)
    for options in ({"match": Match.ALL}, {"match": Match.AGE, "max_age": 10.0}):
        w = world(1)
        w.cloud.sleep(60)
        assert w.roll(**options).state == "completed"
        assert "ec2:DescribeInstances" in _calls(w), options
        seen |= _calls(w)
    return seen


def long_waits(world: Any) -> set[str]:
    hooked = world(1)
    hook = {"AutoScalingGroupName": "web", "LifecycleHookName": "warm-up", "HeartbeatTimeout": 400}
    arrives = {"LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING", "DefaultResult": "CONTINUE"}
    hooked.cloud.handle("autoscaling", "PutLifecycleHook", hook | arrives)
    assert hooked.roll(batch_timeout=120.0).state == "completed"
    slow = world(1, cloud=SimulatedCloud(boot=20, healthy_after=0, deregistration_delay=400))
    assert slow.roll(batch_timeout=120.0).state == "completed"
    return _calls(hooked, slow)


def classic(world: Any) -> set[str]:
    cloud = SimulatedCloud(boot=20, healthy_after=0, zones=1)
    name = cloud.targets.create("old", classic=True)
    w = world(1, cloud=cloud, target_groups=0, LoadBalancerNames=[name])
    assert w.roll().state == "completed"
    return _calls(w)


def warm_pool(world: Any) -> set[str]:
    w = world(1, new_version=False)
    w.cloud.handle("autoscaling", "PutWarmPool", {"AutoScalingGroupName": "web", "MinSize": 1})
    w.settle(300)
    w.cloud.new_template_version("web")
    w.forget_calls()
    assert w.roll().state == "completed"
    return _calls(w)


def instance_refresh(world: Any) -> set[str]:
    done = world(2, **REFRESH)
    assert done.roll(refreshes=True).state == "completed"
    stopped = world(2, **REFRESH)
    assert stopped.roll(refreshes=True, stopped=_told_to_stop(stopped, 60)).state == "aborted"
    bad = world(2, version="1", **REFRESH)
    bad.cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": 1})
    bad.roll(refreshes=True, template=TO_2, rollback=True, max_failures=0, batch_timeout=100.0)
    return _calls(done, stopped, bad)


OPTIONAL: dict[str, Callable[[Any], set[str]]] = {
    "Machines": machines,
    "LongWaits": long_waits,
    "ClassicLoadBalancers": classic,
    "WarmPool": warm_pool,
    "InstanceRefresh": instance_refresh,
}
# The simulation has no VPC Lattice; test_emulations has its one call.
NOT_SIMULATED = {"Lattice": {"vpc-lattice:ListTargets"}}


def test_a_plan_needs_only_to_look(world: Any) -> None:
    assert planned(world) <= STATEMENTS["Look"]


def test_the_states_need_what_the_policy_says_and_no_more(world: Any) -> None:
    assert planned(world) | states(world) == STATEMENTS["Look"] | STATEMENTS["Roll"]


@pytest.mark.parametrize("sid", OPTIONAL)
def test_an_option_needs_its_statement_and_no_more(world: Any, sid: str) -> None:
    extra = OPTIONAL[sid](world) - STATEMENTS["Look"] - STATEMENTS["Roll"]
    assert extra == STATEMENTS[sid]


def test_no_statement_is_without_a_reason() -> None:
    assert set(STATEMENTS) == {"Look", "Roll", "CheckedByAws", *OPTIONAL, *NOT_SIMULATED}
    assert all(STATEMENTS[sid] == actions for sid, actions in NOT_SIMULATED.items())
    table = GUIDE[GUIDE.index("## Permissions") : GUIDE.index("```json")]
    assert all(f"`{sid}`" in table for sid in STATEMENTS)


def test_no_operation_in_the_code_is_without_an_action() -> None:
    """What no roll above calls would be missed by them: so the source is asked as well."""
    source = (ROOT / "plugins/module_utils/rollout/edge/cloud.py").read_text()
    found = re.findall(r'"(autoscaling|ec2|elbv2|elb|vpc-lattice)",\s*"([A-Z]\w+)"', source)
    actions = {f"{PREFIXES.get(service, service)}:{operation}" for service, operation in found}
    actions.discard("ec2:DescribeLaunchTemplates")  # only of endpoints other than AWS, which do not list versions
    assert len(actions) > 15
    assert actions <= set().union(*STATEMENTS.values())
