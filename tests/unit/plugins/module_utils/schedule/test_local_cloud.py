# SPDX-License-Identifier: GPL-3.0-or-later
"""The module in real runs against the local cloud in this process."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.unit.localcloud.test_server import REGION, Running, cloud
from tests.unit.plugins.playbook_runs import run_playbook

__all__ = ["cloud"]


def listed(cloud: Running) -> list[tuple[int, int, int | None]]:
    found = cloud.client("autoscaling").describe_scheduled_actions(AutoScalingGroupName="shop-web")
    rows = found["ScheduledUpdateGroupActions"]
    return [(one["MinSize"], one["MaxSize"], one.get("DesiredCapacity")) for one in rows]


def test_check_mode_a_run_a_second_one_and_refusals(cloud: Running, tmp_path: Path) -> None:
    ec2, autoscaling = cloud.client("ec2"), cloud.client("autoscaling")
    ec2.create_launch_template(
        LaunchTemplateName="web", LaunchTemplateData={"ImageId": cloud.base(), "InstanceType": "t3.medium"}
    )
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="shop-web", LaunchTemplate={"LaunchTemplateName": "web"}, MinSize=0, MaxSize=3, DesiredCapacity=0,
        VPCZoneIdentifier=ec2.describe_subnets()["Subnets"][0]["SubnetId"],
    )  # fmt: skip
    day = datetime.now(UTC) + timedelta(days=2)
    (tmp_path / "sales.yml").write_text(
        f"time_zone: UTC\nevents:\n  - {{name: sale, start: {day:%Y-%m-%dT10:00}, end: {day:%Y-%m-%dT12:00}, load: 700}}\n"
    )
    (tmp_path / "sales.ics").write_text(
        f"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:sale\nDTSTART:{day:%Y%m%dT100000Z}\nDTEND:{day:%Y%m%dT120000Z}\n"
        "DESCRIPTION:load: 700\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    (tmp_path / "bad.yml").write_text("events:\n  - {name: sale, start: soon, end: later, load: 1}\n")
    client = cloud.cloud.settings.client
    given: dict[str, Any] = {
        "group": "shop-web", "region": REGION, "endpoint_url": client["endpoint_url"], "access_key": client["aws_access_key_id"],
        "secret_key": client["aws_secret_access_key"], "size": {"min": 0, "max": 3}, "load_per_instance": 100, "headroom": 0,
        "picture": str(tmp_path / "capacity.html"),
    }  # fmt: skip

    def task(calendar: str, register: str) -> dict[str, Any]:
        made = {"boring.fleet.event_schedule": {**given, "calendar": str(tmp_path / calendar)}, "register": register}
        return made | {"ignore_errors": register == "bad"}

    first = [
        task("sales.yml", "made"),
        {"ansible.builtin.assert": {"that": ["made is changed", "made.plan.peak == 7", "made.put | length == 2"]}},
    ]
    code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": first}], "--check", "--diff")
    assert code == 0, output
    assert re.search(r"^\+event-\d{8}T0930Z at .* UTC: min 7, max 7$", output, re.M), output
    assert listed(cloud) == [] and not (tmp_path / "capacity.html").exists()

    rest = [
        task("sales.ics", "again"),
        task("bad.yml", "bad"),
        {
            "ansible.builtin.assert": {
                "that": [
                    "again is not changed",
                    "bad.msg == \"events[0].start is 'soon', which is no time: write it as in 2026-12-05T10:00+01:00.\"",
                ]
            }
        },
    ]
    code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": [*first, *rest]}])
    assert code == 0, output
    assert listed(cloud) == [(7, 7, None), (0, 3, 0)]
    assert "<svg" in (tmp_path / "capacity.html").read_text()
    assert client["aws_secret_access_key"] not in output + (tmp_path / "capacity.html").read_text()
