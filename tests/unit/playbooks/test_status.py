# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook status, with a fleet file and without, against a local cloud whose hosts are entries of a dictionary."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.playbooks.test_fleet_file import Desk, desk
from tests.unit.plugins.module_utils.fleet.status.test_local_cloud import bring_up

__all__ = ["desk"]
SERVICES: dict[str, Any] = {
    "web": {"roles": ["acme.shop.web"], "port": 80, "expose": {}, "uses": ["thumbs"]},
    "thumbs": {"roles": ["acme.shop.web"], "port": 81},
}


def test_with_a_file_and_without(desk: Desk) -> None:
    bring_up(desk.cloud, "web", 1)
    said = desk.play("status", fleet_services=SERVICES, fleet_state_dir=str(desk.path / "state"))
    assert said.endswith("ended with 0") and "changed=0" in said, said
    assert "thumbs is not well" in said and "it is in the file, and there is no group of it" in said
    assert "1 of 1 in service" in said
    told = json.loads((desk.path / "state" / "status.json").read_text())
    assert {one["service"]: one["uses"] for one in told["services"]} == {"thumbs": [], "web": ["thumbs"]}
    assert "web uses thumbs" in (desk.path / "state" / "status.html").read_text()

    said = desk.play("status", "-e", "fleet_status_strict=true")
    assert said.endswith("ended with 0") and "every group is well" in said, said
    assert (desk.path / ".fleet" / "shop" / "status.html").is_file()

    desk.cloud.client("autoscaling").suspend_processes(AutoScalingGroupName="shop-web", ScalingProcesses=["Launch"])
    said = desk.play("status", "-e", "fleet_status_strict=true")
    assert "ended with 0" not in said and "suspended, so that AWS does not replace what dies: Launch" in said, said
    assert "The fleet shop in eu-central-1" in said and "web is not well" in said


def test_what_it_calls_behind_is_what_roll_would_replace_though_the_group_names_an_older_version(desk: Desk) -> None:
    name = bring_up(desk.cloud, "web", 1, pinned="1")
    fleet = {"fleet_services": {"web": {"roles": ["acme.shop.web"], "roll": {"batch_size": 2}}}}
    said = desk.play("roll", "--check", "-v", **fleet)
    assert said.endswith("ended with 0") and "changed=0" in said, said
    assert "1 of 1 in service  none behind" in desk.play("status", **fleet)
    ec2 = desk.cloud.client("ec2")
    data = {"ImageId": desk.cloud.base(), "InstanceType": "t3.large"}
    ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData=data)
    said = desk.play("roll", "--check", "-v", **fleet)
    assert said.endswith("ended with 0") and "changed=1" in said and "runs version 1, not 2" in said, said
    assert "1 of 1 in service  1 behind" in desk.play("status", **fleet)
