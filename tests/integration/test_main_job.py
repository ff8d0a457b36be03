# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on real hosts: build, skip, deploy, a bad version that must stop the roll, a good one that must not."""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from .conftest import NAME, ROOT, Fleet, Load, kill_all

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1500)]


def images(fleet: Fleet) -> dict[str, str]:
    return dict(json.loads((fleet.state / "fleet_images.json").read_text()))


def hosts(fleet: Fleet) -> list[str]:
    """podman's names of the fleet's hosts."""
    filters = [{"Name": "tag:boring:fleet", "Values": [NAME]}, {"Name": "instance-state-name", "Values": ["running"]}]
    found = fleet.client("ec2").describe_instances(Filters=filters)["Reservations"]
    return [f"lc-{NAME}-{host['InstanceId']}" for reservation in found for host in reservation["Instances"]]


def instances(fleet: Fleet, service: str) -> set[str]:
    return {instance["InstanceId"] for instance in fleet.group(service)["Instances"]}


def sizes(fleet: Fleet, service: str) -> tuple[int, int, int]:
    group = fleet.group(service)
    return group["MinSize"], group["DesiredCapacity"], group["MaxSize"]


def test_images_are_built_once(fleet: Fleet) -> None:
    fleet.must_play("build_images")
    first = images(fleet)
    assert set(first) == {f"{NAME}-{name}" for name in ("api", "bus", "cache", "engine")}
    again = fleet.must_play("build_images", "-v")
    assert images(fleet) == first
    assert re.search(r"changed=0\b", again), again[-500:]
    builds = json.loads((fleet.state / "fleet_builds.json").read_text())
    assert {name: build["skipped"] for name, build in builds.items()} == dict.fromkeys(first, True)
    seconds = [build["seconds"] for build in builds.values()]
    assert min(seconds) < 20, f"skipping took {seconds} s, as if something were built"


def test_a_changed_role_says_so_before_it_is_built(fleet: Fleet) -> None:
    overlay = yaml.safe_load((ROOT / "playbooks/vars/quickstart.yml").read_text())["fleet_overrides"]
    overlay["fleet_services"]["api"]["inputs"] = [str(ROOT / "roles/rollout")]
    plan = fleet.must_play("build_images", "--check", "-v", fleet_overrides=overlay)
    assert "roles/rollout" in plan, plan[-2000:]
    assert "requirements/api.txt" in plan, "what is no longer an input is a reason too"


def test_deploy_brings_up_hosts_and_a_second_one_changes_nothing(fleet: Fleet) -> None:
    fleet.certify()
    fleet.must_play("deploy")
    hosts_of = {name: instances(fleet, name) for name in ("api", "engine", "bus", "cache")}
    assert {name: len(found) for name, found in hosts_of.items()} == {"api": 3, "engine": 2, "bus": 3, "cache": 1}
    fleet.certify(fleet.host)
    renewed = fleet.must_play("deploy", "--diff")
    assert "~ certificate exposed/api: file " in renewed and "0 to make, 1 to change, 0 to remove" in renewed, renewed[
        -3000:
    ]
    again = fleet.must_play("deploy")
    assert {name: instances(fleet, name) for name in hosts_of} == hosts_of
    assert re.search(r"changed=0\b", again), again[-500:]


def test_converts_through_the_load_balancer(fleet: Fleet, tmp_path: Path) -> None:
    ready = ssl.create_default_context(cafile=fleet.state / "tls" / "ca.pem")

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"https://{fleet.host}/readyz", timeout=5, context=ready).close()
        except OSError:
            return False
        return True

    wait_for("the API behind its load balancer", answers)
    done = subprocess.run(
        [
            sys.executable, "-m", "conversion.client", "convert", str(ROOT / "engine/samples/bracket.step"),
            "--to", "stl", *fleet.reached, "--out", str(tmp_path),
        ],
        env=fleet.environment, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*.stl"))


def parameters(fleet: Fleet) -> dict[str, str]:
    """The fleet's secrets in Parameter Store."""
    pages = fleet.client("ssm").get_paginator("get_parameters_by_path")
    found = pages.paginate(Path=f"/boring/fleets/{NAME}", Recursive=True, WithDecryption=True)
    every = [one for page in found for one in page["Parameters"]]
    return {one["Name"]: one["Value"] for one in every if one["Type"] == "SecureString"}


def test_secrets_stay_where_they_belong(fleet: Fleet) -> None:
    # Of a private key one line is as good as all of them, and can be looked for.
    secrets = {
        name: value.splitlines()[1 if "PRIVATE KEY" in value else 0] for name, value in parameters(fleet).items()
    }
    assert {f"/boring/fleets/{NAME}/data/{name}/users/api/password" for name in ("bus", "cache")} <= set(secrets)
    authority = fleet.state / "authority" / "ca.key"
    assert authority.stat().st_mode & 0o777 == 0o600
    secrets["the authority's key"] = authority.read_text().splitlines()[1]
    assert all(len(secret) >= 20 for secret in secrets.values()), "too short to be looked for"
    out = fleet.play("deploy", "-vvv").stdout
    data = user_data(fleet)
    assert len(data) == 4, "one launch template a group"
    for name, secret in secrets.items():
        assert secret not in out, name
        assert not [template for template, text in data.items() if secret in text], f"{name} is in user data"
    probe = "{ ps -ewwo args; journalctl -q --no-pager; systemctl cat '*' 2>/dev/null; } | grep -F -f /dev/stdin"
    script = f"exec 3<&0; {probe.replace('/dev/stdin', '/dev/fd/3')}"
    running = hosts(fleet)
    assert len(running) == 9
    for host in running:
        seen = subprocess.run(
            ["podman", "exec", "-i", host, "sh", "-c", script], input="\n".join(secrets.values()), capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip
        assert seen.returncode == 1, f"a secret is visible on {host}, or nobody could look: {seen.stderr}"


def user_data(fleet: Fleet) -> dict[str, str]:
    """What hosts get when they boot, by launch template."""
    ec2 = fleet.client("ec2")
    found = {}
    for template in ec2.describe_launch_templates()["LaunchTemplates"]:
        name = template["LaunchTemplateName"]
        versions = ec2.describe_launch_template_versions(LaunchTemplateName=name)["LaunchTemplateVersions"]
        found[name] = "".join(base64.b64decode(each["LaunchTemplateData"]["UserData"]).decode() for each in versions)
    return found


def test_a_host_waits_for_its_passwords_and_takes_new_ones(fleet: Fleet) -> None:
    """Redis' is changed, which is but a cache: the engine works on without it."""
    host = f"lc-{NAME}-{sorted(instances(fleet, 'engine'))[0]}"
    path, ssm = "/etc/fleet/secrets.env", fleet.client("ssm")
    parameter = f"/boring/fleets/{NAME}/data/cache/users/engine/password"

    def on_host(command: str) -> str:
        done = subprocess.run(["podman", "exec", host, "sh", "-c", command], capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def at(unit: str, moment: str) -> int:
        return int(on_host(f"systemctl show --value -p {moment} {unit}"))

    assert at("conversion-engine", "ExecMainStartTimestampMonotonic") > at(
        "host-secrets", "ExecMainExitTimestampMonotonic"
    ), "it was started before its passwords were there"
    was = on_host(f"cat {path}")
    secret = parameters(fleet)[parameter]
    assert f'CACHE_PASSWORD="{secret}"' in was.splitlines()
    assert on_host(f"stat -c '%a %U' {path}") == "600 root"
    try:
        ssm.put_parameter(Name=parameter, Value="another", Type="SecureString", Overwrite=True)
        on_host("systemctl restart host-secrets && systemctl restart conversion-engine")
        assert on_host(f"cat {path}") == was.replace(secret, "another")
        assert "another" in on_host(
            "tr '\\0' '\\n' < /proc/$(systemctl show --value -p MainPID conversion-engine)/environ"
        )
    finally:
        ssm.put_parameter(Name=parameter, Value=secret, Type="SecureString", Overwrite=True)
        on_host("systemctl restart host-secrets && systemctl restart conversion-engine")
    assert on_host(f"cat {path}") == was
    assert on_host("systemctl show --value -p ActiveState conversion-engine") == "active"


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


def wait_for(what: str, found: Callable[[], object], seconds: float = 90) -> object:
    limit = time.monotonic() + seconds
    while not (seen := found()):
        assert time.monotonic() < limit, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.3)
    return seen


def test_a_host_dies_and_the_controller_is_killed_and_no_request_is_lost(fleet: Fleet, tmp_path: Path) -> None:
    """A host dies as it boots, then the whole playbook is killed half way; run again it ends as if nothing had been."""
    # What the test before this one tried may still be on its way out: it does not complete its hook, whose time has to end.
    wait_for("rest", lambda: {i["LifecycleState"] for i in fleet.group("api")["Instances"]} == {"InService"}, 300)
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

    def in_service() -> set[str]:
        return {i["InstanceId"] for i in fleet.group("api")["Instances"] if i["LifecycleState"] == "InService"}

    fleet.arm(kind="boot", outcome="die")
    with Load(fleet, tmp_path / "samples.jsonl", tmp_path / "load.json") as load:
        first = fleet.start("roll", tmp_path, rollout_groups=[roll])
        try:
            unlucky = str(wait_for("a new host", lambda: sorted(instances(fleet, "api") - before))[0])  # type: ignore[index]
            wait_for("the first hand-over", lambda: in_service() - before and not before <= in_service())
        finally:
            kill_all(first)
        half = in_service() - before
        assert {tag["Key"] for tag in fleet.group("api")["Tags"]} >= {"boring:rollout"}, "it was killed too late"
        fleet.must_play("roll", rollout_groups=[roll])
        # The second run does not wait for what the first one terminated.
        wait_for("the old ones' end", lambda: instances(fleet, "api") == in_service(), 300)
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
