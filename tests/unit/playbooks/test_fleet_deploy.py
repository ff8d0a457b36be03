# SPDX-License-Identifier: GPL-3.0-or-later
"""boring.fleet.deploy and destroy with a fleet file, against a local cloud whose hosts are entries of a dictionary that boot by themselves."""

from __future__ import annotations

import contextlib
import copy
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.localcloud.test_server import Running
from tests.unit.playbooks.test_fleet_file import Desk, desk  # noqa: F401 - a fixture

FLEET: dict[str, Any] = {
    "fleet_data": {"cache": {"kind": "redis"}},
    "fleet_services": {
        "web": {
            "roles": ["acme.shop.web"],
            "size": {"min": 2, "max": 4},
            "port": 8000,
            "health": "/up",
            "expose": {"hosts": ["shop.example.org"], "port": 18080},
            "uses": ["cache"],
            "environment": {"GREETING": "the-value-of-greeting"},
        },
        "worker": {"roles": ["acme.shop.web"], "size": {"max": 2}},
    },
}


class Hosts(threading.Thread):
    """What hosts do: they boot, and complete the hook that holds them."""

    def __init__(self, cloud: Running) -> None:
        super().__init__(daemon=True)
        self._cloud, self._over = cloud, threading.Event()

    def run(self) -> None:
        groups = self._cloud.client("autoscaling")
        while not self._over.wait(0.2):
            self._cloud.podman.boot()
            for group in groups.describe_auto_scaling_groups()["AutoScalingGroups"]:
                for one in group["Instances"]:
                    hook = {"Pending:Wait": "enter", "Terminating:Wait": "leave"}.get(one["LifecycleState"])
                    if hook:
                        with contextlib.suppress(groups.exceptions.ClientError):
                            groups.complete_lifecycle_action(
                                AutoScalingGroupName=group["AutoScalingGroupName"], LifecycleHookName=hook,
                                InstanceId=one["InstanceId"], LifecycleActionResult="CONTINUE",
                            )  # fmt: skip

    def end(self) -> None:
        self._over.set()
        self.join(20)


@pytest.fixture
def shop(desk: Desk) -> Iterator[Desk]:  # noqa: F811 - the fixture
    hosts = Hosts(desk.cloud)
    hosts.start()
    image = desk.cloud.base()
    ec2 = desk.cloud.client("ec2")
    for family in ("web", "worker", "cache"):
        for fleet in ("shop", "shop--staging"):
            made = ec2.copy_image(SourceImageId=image, SourceRegion="eu-central-1", Name=f"{fleet}-{family}")["ImageId"]
            ec2.create_tags(Resources=[made], Tags=[{"Key": "boring:family", "Value": f"{fleet}-{family}"}])
    try:
        yield desk
    finally:
        hosts.end()


def changed(said: str) -> int:
    assert said.endswith("ended with 0"), said[-4000:]
    found = re.search(r"localhost +: ok=\d+ +changed=(\d+)", said)
    assert found, said[-2000:]
    return int(found.group(1))


@pytest.mark.timeout(900)
def test_a_fleet_comes_up_once_beside_another_and_goes_away(shop: Desk) -> None:
    planned = shop.play("deploy", "--check", "--diff", **FLEET)
    assert "+ group shop-web: 2 to 4 hosts" in planned and "+ listener shop:18080" in planned
    assert "the-value-of-greeting" not in planned
    groups = shop.cloud.client("autoscaling")
    assert groups.describe_auto_scaling_groups()["AutoScalingGroups"] == []

    said = shop.play("deploy", "-vvv", **FLEET)
    assert changed(said) > 0
    there = {one["AutoScalingGroupName"]: one for one in groups.describe_auto_scaling_groups()["AutoScalingGroups"]}
    assert {name: one["DesiredCapacity"] for name, one in there.items()} == {
        "shop-cache": 1,
        "shop-web": 2,
        "shop-worker": 1,
    }
    assert {one["LifecycleState"] for group in there.values() for one in group["Instances"]} == {"InService"}
    ssm = shop.cloud.client("ssm")
    secret = ssm.get_parameter(Name="/boring/fleets/shop/data/cache/users/web/password", WithDecryption=True)
    assert secret["Parameter"]["Type"] == "SecureString"
    assert secret["Parameter"]["Value"] not in said and len(secret["Parameter"]["Value"]) == 32
    assert "BEGIN PRIVATE KEY" not in said and "BEGIN EC PRIVATE KEY" not in said

    staging = {**FLEET, "fleet_name": "shop-staging"}
    assert changed(shop.play("deploy", **staging)) > 0
    assert len(groups.describe_auto_scaling_groups()["AutoScalingGroups"]) == 6
    assert changed(shop.play("destroy", "-e", "fleet_destroy_data=shop-staging", **staging)) == 1
    now = {one["AutoScalingGroupName"]: one for one in groups.describe_auto_scaling_groups()["AutoScalingGroups"]}
    assert {name: {each["InstanceId"] for each in one["Instances"]} for name, one in now.items()} == {
        name: {each["InstanceId"] for each in one["Instances"]} for name, one in there.items()
    }

    new = copy.deepcopy(FLEET)
    new["fleet_services"]["worker"]["environment"] = {"MODE": "new"}
    said = shop.play("deploy", "--diff", **new)
    assert changed(said) == 1 and "roll shop-worker: + variable MODE" in said
    (old,) = there["shop-worker"]["Instances"]
    (now,) = groups.describe_auto_scaling_groups(AutoScalingGroupNames=["shop-worker"])["AutoScalingGroups"]
    assert [one["InstanceId"] for one in now["Instances"]] == [old["InstanceId"]]
    said = shop.play("roll", "-e", "rollout_group=shop-worker", **new)
    assert said.endswith("ended with 0"), said[-4000:]
    (now,) = groups.describe_auto_scaling_groups(AutoScalingGroupNames=["shop-worker"])["AutoScalingGroups"]
    versions = [one["LaunchTemplate"]["Version"] for one in now["Instances"] if one["LifecycleState"] == "InService"]
    assert versions == ["2"] and (now["MinSize"], now["MaxSize"]) == (1, 2)

    assert changed(shop.play("deploy", **new)) == 0
    assert "Nothing to do." in shop.play("deploy", "--check", "--diff", **new)
    going = shop.play("destroy", "--check", "--diff", **FLEET)
    assert "- group shop-web" in going and "stays until -e fleet_destroy_data=shop" in going
    assert "this is the fleet shop, and not other" in shop.play("destroy", "-e", "fleet_destroy_data=other", **FLEET)
    assert changed(shop.play("destroy", "-e", "fleet_destroy_data=shop", **FLEET)) == 1
    assert groups.describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert changed(shop.play("destroy", "-e", "fleet_destroy_data=shop", **FLEET)) == 0
