# SPDX-License-Identifier: GPL-3.0-or-later
"""What a group follows: the policy, what a host is told and may do for it, and how both are compared with what AWS has."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.boring.fleet.plugins.module_utils.fleet import scaling
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.host import told
from tests.unit.plugins.module_utils.fleet.fleets import shop, small

ROOT = Path(__file__).resolve().parents[5]
SIZE = {"min": 1, "max": 4}
OWN = {"metric": "busy", "target": 0.7, "warmup": 60, "port": 9100}
LABEL = "app/shop/50dc6c495c0c9188/targetgroup/shop-web/943f017f100becff"


def of(**service: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The group and the role of a service."""
    found = lists(read_fleet(small(web={"size": SIZE, "port": 8000, **service})))
    return found["groups"][0], found["roles"][0]


def host(group: dict[str, Any]) -> told.Told:
    files = {file["path"]: file["content"] for file in group["template"]["files"]}
    return told.read(files[told.PATH])


def puts(role: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in role["policy"]["Statement"] if "cloudwatch:PutMetricData" in one["Action"]]


def test_the_engine_follows_what_the_guide_says() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "fleet.md").read_text(), re.DOTALL | re.MULTILINE)
    (example,) = [block for block in blocks if "conversion_workers_busy_ratio" in block]
    conversion = yaml.safe_load((ROOT / "playbooks" / "vars" / "conversion.yml").read_text())
    found = lists(read_fleet({"fleet_region": "eu-central-1", **conversion, **yaml.safe_load(example)}))
    (group,) = [one for one in found["groups"] if one["for"] == "engine"]
    follows = host(group).follows
    defaults = yaml.safe_load((ROOT / "roles" / "conversion_engine" / "defaults" / "main.yml").read_text())
    assert follows is not None and follows.port == defaults["conversion_engine_listen_port"]
    assert f'"{follows.metric}"' in (ROOT / "engine" / "src" / "conversion" / "service.py").read_text()


def test_without_it_nothing_is_different() -> None:
    group, role = of()
    assert group["scale"] is None and host(group).follows is None and not puts(role)
    assert "follows" not in json.dumps(group), "hosts of fleets that do not scale are not due for a roll"


def test_a_metric_of_its_own_is_put_by_hosts_and_followed_under_the_same_name() -> None:
    group, role = of(scale=OWN)
    follows = host(group).follows
    assert follows == told.Follows("busy", scaling.NAMESPACE, 9100, tls=False)
    (statement,) = puts(role)
    assert statement["Condition"] == {"StringEquals": {"cloudwatch:namespace": follows.namespace}}
    policy = scaling.policy("shop", "web", group["scale"], "")
    assert policy["EstimatedInstanceWarmup"] == 60 and policy["PolicyType"] == "TargetTrackingScaling"
    assert policy["TargetTrackingConfiguration"] == {
        "TargetValue": 0.7,
        "DisableScaleIn": False,
        "CustomizedMetricSpecification": {
            "Namespace": "boring.fleet", "MetricName": "busy", "Statistic": "Average",
            "Dimensions": [{"Name": "Fleet", "Value": "shop"}, {"Name": "Service", "Value": "web"}],
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("port", "tls", "there", "secure"), [(None, True, 8000, True), (9100, True, 9100, False), (8000, True, 8000, True)]
)
def test_only_the_service_s_own_port_has_its_tls(port: int | None, tls: bool, there: int, secure: bool) -> None:
    scale = {key: value for key, value in {**OWN, "port": port}.items() if value is not None}
    follows = host(of(scale=scale, tls=tls)[0]).follows
    assert follows is not None and (follows.port, follows.tls) == (there, secure)


def test_a_container_is_asked_where_it_listens() -> None:
    given = shop()
    given["fleet_services"]["web"]["container"]["port"] = 3000
    given["fleet_services"]["web"] |= {"scale": {"metric": "busy", "target": 1}, "tls": True}
    (group,) = [one for one in lists(read_fleet(given))["groups"] if one["for"] == "web"]
    assert host(group).follows == told.Follows("busy", scaling.NAMESPACE, 3000, tls=True)


def test_what_aws_measures_concerns_no_host() -> None:
    group, role = of(scale={"metric": "cpu", "target": 60})
    assert host(group).follows is None and not puts(role)
    about = scaling.policy("shop", "web", group["scale"], "")["TargetTrackingConfiguration"]
    assert about == {"TargetValue": 60.0, "DisableScaleIn": False, "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"}}  # fmt: skip


def test_requests_are_those_of_the_balancer_that_clients_reach_or_else_the_one_inside() -> None:
    given = shop()
    for name in ("web", "thumbs"):
        given["fleet_services"][name]["scale"] = {"metric": "requests", "target": 1000}
    found = lists(read_fleet(given))
    where = {group["for"]: group["scale"] for group in found["groups"] if group["scale"]}
    targets = {(one["for"], one["balancer"]): one["name"] for one in found["target_groups"]}
    balancers = {one["part"]: one["name"] for one in found["load_balancers"]}
    for name, part in (("web", "public"), ("thumbs", "internal")):
        assert (where[name]["balancer"], where[name]["target_group"]) == (balancers[part], targets[name, part])


def aws(**changes: Any) -> dict[str, Any]:
    """A policy of requests as AWS describes it; `changes` are of its configuration."""
    scale = {"metric": "requests", "target": 1000.0, "warmup": 180, "own": False}
    found = copy.deepcopy(scaling.policy("shop", "web", scale, LABEL))
    found["TargetTrackingConfiguration"] |= changes
    return {"AutoScalingGroupName": "shop-web", "PolicyName": "scale", "PolicyARN": "arn", "Alarms": [], **found}


def test_what_a_deploy_made_is_known_again() -> None:
    words = "requests at 1000, warmup 180 s"
    assert scaling.words({"metric": "requests", "target": 1000.0, "warmup": 180}) == words
    assert scaling.seen_words(aws(), "shop", "web", LABEL) == words
    group, dummy = of(scale=OWN)
    made = scaling.policy("shop", "web", group["scale"], "")
    own = made["TargetTrackingConfiguration"]["CustomizedMetricSpecification"]
    own["Dimensions"].reverse()
    own["Period"] = 60
    del made["Enabled"]
    assert scaling.seen_words(made, "shop", "web", "") == scaling.words(group["scale"]) == "busy at 0.7, warmup 60 s"
    assert scaling.seen_words(None, "shop", "web", "") == scaling.words(None) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({**aws(), "Enabled": False}, "requests at 1000, warmup 180 s, disabled"),
        ({**aws(), "EstimatedInstanceWarmup": None}, "requests at 1000, no warmup"),
        (aws(DisableScaleIn=True), "requests at 1000, warmup 180 s, never fewer"),
        (aws(TargetValue=1000000.5), "requests at 1000000.5, warmup 180 s"),
        (aws(PredefinedMetricSpecification={"PredefinedMetricType": "ASGAverageNetworkIn"}), "another metric at 1000, warmup 180 s"),
        (
            aws(PredefinedMetricSpecification={"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": "app/other/1/targetgroup/x/2"}),
            "requests elsewhere at 1000, warmup 180 s",
        ),
        (
            aws(CustomizedMetricSpecification={"MetricName": "requests", "Namespace": "theirs", "Statistic": "Average"}),
            "another requests at 1000, warmup 180 s",
        ),
    ],
)  # fmt: skip
def test_what_somebody_changed_differs_and_is_named(found: dict[str, Any], words: str) -> None:
    assert scaling.seen_words(found, "shop", "web", LABEL) == words
