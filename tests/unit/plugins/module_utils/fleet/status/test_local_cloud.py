# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against the local cloud in this process: real calls over HTTP, no host of flesh."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.judge import judge
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.look import Look
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import FleetStatus
from tests.unit.localcloud.test_server import REGION, Running, cloud, until
from tests.unit.plugins.module_utils.fleet.fleets import shop
from tests.unit.plugins.module_utils.fleet.status.certificates import certificate
from tests.unit.plugins.playbook_runs import run_playbook

__all__ = ["cloud"]


def bring_up(
    cloud: Running, service: str, size: int, *, fleet: str = "shop", version: str = "1", pinned: str = "$Latest"
) -> str:
    """A group as deploy makes it, with its hosts in service; its name."""
    ec2, autoscaling = cloud.client("ec2"), cloud.client("autoscaling")
    name = f"{fleet}-{service}"
    image = cloud.base()
    ec2.create_launch_template(
        LaunchTemplateName=name, LaunchTemplateData={"ImageId": image, "InstanceType": "t3.medium"}
    )
    subnets = ",".join(one["SubnetId"] for one in ec2.describe_subnets()["Subnets"])
    tags = {"Name": name, "boring:fleet": fleet, "boring:service": service, "boring:version": version}
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchTemplate={"LaunchTemplateName": name, "Version": pinned},
        MinSize=size, MaxSize=size + 2, DesiredCapacity=size, VPCZoneIdentifier=subnets,
        Tags=[{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in tags.items()],
    )  # fmt: skip

    def in_service() -> bool:
        cloud.podman.boot()
        return [one["LifecycleState"] for one in members(cloud, name)] == ["InService"] * size

    until(in_service, f"{name} never came up: {members(cloud, name)}")
    return name


def members(cloud: Running, name: str) -> list[dict[str, Any]]:
    answer = cloud.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    return list(answer["AutoScalingGroups"][0]["Instances"])


def status(cloud: Running, model: dict[str, Any] | None = None, fleet: str = "shop") -> FleetStatus:
    look = Look(cloud.client, clock=time.time, sleep=time.sleep)
    return judge(look.at(fleet, model or {}), time.time(), fleet=fleet, region=REGION, model=model or {})


@pytest.mark.parametrize("pinned", ["$Latest", "1", "$Default"])
def test_hosts_behind_what_a_new_version_of_the_template_is_and_another_fleet(cloud: Running, pinned: str) -> None:
    name = bring_up(cloud, "web", 2, pinned=pinned)
    bring_up(cloud, "web", 1, fleet="other")
    found = status(cloud)
    (web,) = found.services
    assert (web.group, web.version, web.in_service, web.behind, web.ill) == (name, "1", 2, 0, False)
    assert web.image == cloud.base() and web.image_name.startswith("debian-13")
    assert web.hosts[0].version == "1" and len(web.zones) == 2
    assert found.well and not found.unknown, found.unknown

    cloud.client("ec2").create_launch_template_version(
        LaunchTemplateName=name, LaunchTemplateData={"ImageId": cloud.base(), "InstanceType": "t3.large"}
    )
    (web,) = status(cloud).services
    assert (web.behind, web.ill, web.template) == (2, False, "launch template shop-web version 2")
    assert {one.behind for one in web.hosts} == {"runs version 1, not 2"} and web.image == cloud.base()


def test_a_launch_that_is_refused_and_a_template_that_is_gone(cloud: Running) -> None:
    name = bring_up(cloud, "web", 1)
    cloud.ask("/_localcloud/faults", "POST", {"kind": "launch", "times": None})
    cloud.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)

    def said() -> str:
        return " ".join(status(cloud).services[0].problems)

    until(lambda: "the last activity that failed" in said(), said())
    cloud.client("ec2").delete_launch_template(LaunchTemplateName=name)
    assert f"there is no launch template {name} version $Latest: give the group another" in said()


def test_certificates_of_the_fleets_own(cloud: Running) -> None:
    bring_up(cloud, "cache", 1)
    soon = datetime.now(UTC) + timedelta(days=3, hours=1)
    put = cloud.client("ssm").put_parameter
    put(Name="/boring/fleets/shop/authority/certificate", Type="String", Value=certificate(soon + timedelta(days=900)))
    put(Name="/boring/fleets/shop/data/cache/certificate", Type="String", Value=certificate(soon))
    put(Name="/boring/fleets/shop/balancers/internal/certificate", Type="String", Value="hunter2")
    for model in ({}, lists(read_fleet(shop()))):
        found = status(cloud, model)
        assert [(one.name, one.days, one.words) for one in found.certificates] == [
            ("the certificate data/cache", 3, "the certificate data/cache ends in 3 days: renew it"),
            ("the fleet's authority", 903, ""),
        ]
        assert found.unknown == (
            "the parameter /boring/fleets/shop/balancers/internal/certificate does not say when its certificate ends: there is no certificate in it",
        )


def test_the_module_writes_lines_json_and_a_page(cloud: Running, tmp_path: Path) -> None:
    bring_up(cloud, "web", 1)
    page, told = tmp_path / "page.html", tmp_path / "told.json"
    client = cloud.cloud.settings.client
    options = {
        "name": "shop", "region": REGION, "endpoint_url": client["endpoint_url"], "access_key": client["aws_access_key_id"],
        "secret_key": client["aws_secret_access_key"], "model": lists(read_fleet(shop())),
    }  # fmt: skip
    task = {"boring.fleet.fleet_status_info": {**options, "page": str(page), "json": str(told)}, "register": "found"}
    absent = {
        "boring.fleet.fleet_status_info": {**options, "page": str(tmp_path / "no" / "page")},
        "register": "no",
        "ignore_errors": True,
    }
    checks = [
        "found is not changed and not found.status.well",
        "found.status.services | selectattr('service', 'eq', 'web') | map(attribute='in_service') | list == [1]",
        "'bus is' not in found.lines[0] and 'bus, cache' in found.lines[0]",
        "'page' in no.msg and 'cannot be written: No such file or directory; name a directory' in no.msg",
    ]
    play = {"hosts": "h1", "tasks": [task, absent, {"ansible.builtin.assert": {"that": checks}}]}
    code, output = run_playbook(tmp_path, [play])
    assert code == 0, output
    assert json.loads(told.read_text())["services"][-1]["uses"] and "<svg" in page.read_text()
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".status")) == []
    assert client["aws_secret_access_key"] not in page.read_text() + told.read_text() + output

    page.unlink()
    code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": [task]}], "--check")
    assert (code, page.exists()) == (0, False), output
