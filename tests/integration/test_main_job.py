# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on real hosts: build, skip, deploy, a bad version that must stop the roll, a good one that must not."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import NAME, ROOT, Fleet, Load, kill_all

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1500)]


def images(fleet: Fleet) -> dict[str, dict[str, object]]:
    return dict(json.loads((fleet.state / "images.json").read_text()))


def instances(fleet: Fleet, service: str) -> set[str]:
    return {instance["InstanceId"] for instance in fleet.group(service)["Instances"]}


def sizes(fleet: Fleet, service: str) -> tuple[int, int, int]:
    group = fleet.group(service)
    return group["MinSize"], group["DesiredCapacity"], group["MaxSize"]


def test_images_are_built_once(fleet: Fleet) -> None:
    fleet.must_play("build_images")
    first = images(fleet)
    assert set(first) == {"api", "data", "engine"}
    again = fleet.must_play("build_images", "-v")
    assert images(fleet) == first
    assert re.search(r"changed=0\b", again), again[-500:]
    seconds = [float(found) for found in re.findall(r'"seconds": ([0-9.]+), "skipped": true', again)]
    assert len(seconds) == 3, again[-3000:]
    assert min(seconds) < 1, f"skipping took {seconds} s"  # the quickest: other tests share the machine


def test_a_changed_role_says_so_before_it_is_built(fleet: Fleet) -> None:
    own = f"{{{{ __fleet_inputs_of_services + ['{ROOT / 'roles/rollout'}'] }}}}"
    plan = fleet.must_play("build_images", "--check", "-v", fleet_image_families={"api": {"inputs": own}})
    assert "roles/rollout" in plan, plan[-2000:]
    assert "requirements/api.txt" in plan, "what is no longer an input is a reason too"


def test_deploy_brings_up_hosts_and_a_second_one_changes_nothing(fleet: Fleet) -> None:
    fleet.must_play("deploy")
    assert (len(instances(fleet, "api")), len(instances(fleet, "engine"))) == (3, 2)
    before = instances(fleet, "api") | instances(fleet, "engine")
    again = fleet.must_play("deploy")
    assert instances(fleet, "api") | instances(fleet, "engine") == before
    assert re.search(r"changed=0\b", again), again[-500:]


def test_converts_through_the_load_balancer(fleet: Fleet, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "conversion.client", "convert", str(ROOT / "engine/samples/bracket.step"),
            "--to", "stl", "--url", fleet.deployed["address"], "--out", str(tmp_path),
        ],
        env=fleet.environment, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*.stl"))


def test_secrets_stay_where_they_belong(fleet: Fleet) -> None:
    secrets = {name: (fleet.state / "secrets" / name).read_text().strip() for name in ("nats", "redis")}
    out = fleet.play("deploy", "-vvv").stdout
    told = user_data(fleet)
    assert len(told) == 4, "of two launch templates and two data hosts"
    hosts = subprocess.run(
        ["podman", "ps", "-q", "--filter", f"name=lc-{NAME}-"], capture_output=True, text=True, timeout=60
    )
    for name, secret in secrets.items():
        assert (fleet.state / "secrets" / name).stat().st_mode & 0o777 == 0o600
        assert secret not in out
        assert not [whom for whom, text in told.items() if secret in text], f"{name}'s password is in user data"
        for host in hosts.stdout.split():
            probe = f"ps -ewwo args | grep -v grep | grep -F -- {secret} || journalctl -q --no-pager | grep -F -- {secret} || systemctl cat '*' 2>/dev/null | grep -F -- {secret}"
            seen = subprocess.run(
                ["podman", "exec", "-i", host, "sh", "-c", probe], capture_output=True, text=True, timeout=60
            )
            assert secret not in seen.stdout.replace(probe, ""), f"{name}'s password is visible on {host}"


def user_data(fleet: Fleet) -> dict[str, str]:
    """What hosts are told when they boot, by launch template or data host."""
    ec2 = fleet.client("ec2")
    told = {}
    for template in ec2.describe_launch_templates()["LaunchTemplates"]:
        name = template["LaunchTemplateName"]
        found = ec2.describe_launch_template_versions(LaunchTemplateName=name)["LaunchTemplateVersions"]
        told[name] = "".join(base64.b64decode(each["LaunchTemplateData"]["UserData"]).decode() for each in found)
    for data_host in fleet.deployed["data_hosts"].values():
        found = ec2.describe_instance_attribute(InstanceId=data_host["id"], Attribute="userData")
        told[data_host["id"]] = base64.b64decode(found["UserData"]["Value"]).decode()
    return told


def test_a_host_waits_for_its_passwords_and_takes_new_ones(fleet: Fleet) -> None:
    """Redis' is changed, which is but a cache: the engine works on without it."""
    host = f"lc-{NAME}-{sorted(instances(fleet, 'engine'))[0]}"
    path, ssm = "/etc/conversion-engine/secrets.env", fleet.client("ssm")

    def on_host(command: str) -> str:
        done = subprocess.run(["podman", "exec", host, "sh", "-c", command], capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def state() -> str:
        return on_host("systemctl show --value -p ActiveState conversion-engine")

    was = on_host(f"cat {path}")
    secret = (fleet.state / "secrets" / "redis").read_text().strip()
    assert f'CONVERSION_REDIS_PASSWORD="{secret}"' in was.splitlines()
    assert on_host(f"stat -c '%a %U' {path}") == "600 root"
    try:
        ssm.put_parameter(Name=f"/{NAME}/redis", Value="another", Type="SecureString", Overwrite=True)
        on_host(f"systemctl stop conversion-engine && rm {path} && systemctl start conversion-engine")
        assert state() == "inactive", "it was started without its passwords, or failed for want of them"
        on_host("systemctl restart host-secrets")
        assert on_host(f"cat {path}") == was.replace(secret, "another")
        wait_for("the engine", lambda: state() == "active")
    finally:
        ssm.put_parameter(Name=f"/{NAME}/redis", Value=secret, Type="SecureString", Overwrite=True)
        on_host("systemctl restart host-secrets")
    assert on_host(f"cat {path}") == was
    wait_for("the engine", lambda: state() == "active")
    assert on_host("systemctl is-failed conversion-engine || true") != "failed"


def test_a_bad_version_stops_the_roll_with_the_old_one_serving(fleet: Fleet, tmp_path: Path) -> None:
    """An API that cannot reach NATS never becomes ready: one is tried, none of the old is touched, no request fails."""
    before, was = instances(fleet, "api"), sizes(fleet, "api")
    ec2 = fleet.client("ec2")
    good = ec2.describe_launch_template_versions(LaunchTemplateName=f"{NAME}-api", Versions=["$Latest"])
    data = good["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    data["UserData"] = base64.b64encode(b"#cloud-config\nwrite_files: []\n").decode()
    bad = ec2.create_launch_template_version(LaunchTemplateName=f"{NAME}-api", LaunchTemplateData=data)[
        "LaunchTemplateVersion"
    ]["VersionNumber"]
    with Load(fleet, tmp_path / "samples.jsonl", tmp_path / "load.json") as load:
        done = fleet.play(
            "roll",
            rollout_groups=[
                {
                    "group": f"{NAME}-api",
                    "launch_template": {"name": f"{NAME}-api", "version": str(bad)},
                    "batch_timeout": 45,
                    "max_failures": 0,
                    "poll_interval": 2,
                }
            ],
        )
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    assert before <= instances(fleet, "api"), "an old instance was touched for a version that never worked"
    assert sizes(fleet, "api") == was
    assert load.result["requests"] > 0
    assert load.result["failed"] == 0
    tags = {tag["Key"] for tag in fleet.group("api")["Tags"]}
    assert not {tag for tag in tags if "lock" in tag}, tags


def podman(*arguments: str) -> int:
    return subprocess.run(["podman", *arguments], timeout=60, capture_output=True).returncode


def wait_for(what: str, found: Callable[[], object], seconds: float = 90) -> object:
    limit = time.monotonic() + seconds
    while not (seen := found()):
        assert time.monotonic() < limit, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.3)
    return seen


def test_a_host_dies_and_the_controller_is_killed_and_no_request_is_lost(fleet: Fleet, tmp_path: Path) -> None:
    """A host dies as it boots, then the whole playbook is killed half way; run again it ends as if nothing had been."""
    # What the test before this one tried may still be on its way out.
    wait_for("rest", lambda: {i["LifecycleState"] for i in fleet.group("api")["Instances"]} == {"InService"})
    was, before, name = sizes(fleet, "api"), instances(fleet, "api"), f"{NAME}-api"
    running = {i["LaunchTemplate"]["Version"] for i in fleet.group("api")["Instances"]}
    assert len(running) == 1
    version = fleet.client("ec2").create_launch_template_version(
        LaunchTemplateName=name, SourceVersion=running.pop(), LaunchTemplateData={"InstanceType": "t3.small"}
    )["LaunchTemplateVersion"]["VersionNumber"]
    roll = {
        "group": name,
        "launch_template": {"name": name, "version": str(version)},
        "min_healthy_time": 3,
        "poll_interval": 1,
    }

    def newcomers(state: str) -> list[str]:
        return [
            item["InstanceId"]
            for item in fleet.group("api")["Instances"]
            if item["InstanceId"] not in before and item["LifecycleState"] == state
        ]

    with Load(fleet, tmp_path / "samples.jsonl", tmp_path / "load.json") as load:
        first = fleet.start("roll", tmp_path, rollout_groups=[roll])
        try:
            unlucky = str(wait_for("a new host", lambda: newcomers("Pending"))[0])  # type: ignore[index]
            host = f"lc-{NAME}-{unlucky}"
            # podman refuses to kill what does not run yet
            wait_for("its systemd", lambda: not podman("exec", host, "systemctl", "--version"))
            assert not podman("kill", host)
            wait_for("the first hand-over", lambda: newcomers("InService") and not before <= instances(fleet, "api"))
        finally:
            kill_all(first)
        half = set(newcomers("InService"))
        assert {tag["Key"] for tag in fleet.group("api")["Tags"]} >= {"boring:rollout"}, "it was killed too late"
        fleet.must_play("roll", rollout_groups=[roll])
    group = fleet.group("api")
    assert sizes(fleet, "api") == was
    assert {item["LaunchTemplate"]["Version"] for item in group["Instances"]} == {str(version)}
    assert half <= instances(fleet, "api"), "one that had been replaced was replaced again"
    assert not before & instances(fleet, "api")
    assert unlucky not in instances(fleet, "api")
    assert group["SuspendedProcesses"] == []
    assert "boring:rollout" not in {tag["Key"] for tag in group["Tags"]}
    assert load.result["requests"] > 0
    assert load.result["failed"] == 0
