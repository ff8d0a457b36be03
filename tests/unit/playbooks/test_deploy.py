# SPDX-License-Identifier: GPL-3.0-or-later
"""boring.fleet.deploy for real, against a local cloud whose hosts are entries of a dictionary: what it hands to AWS, and what it refuses."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from localcloud import cloud as cloud_module
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_server import REGION, Running, forget_moto
from tests.unit.plugins.playbook_runs import run_playbook

ROOT = Path(__file__).resolve().parents[3]


class Fleet:
    """What boring.fleet.deploy does for the groups, with no host in them."""

    def __init__(self, cloud: Running, state: Path) -> None:
        self.cloud, self.state = cloud, state

    def deploy(self) -> str:
        """All output of a run. In `refused` is what a second one says, from a controller that has not got the password of NATS."""
        ec2, tasks = self.cloud.client("ec2"), ROOT / "playbooks" / "tasks"
        vpc = ec2.describe_vpcs()["Vpcs"][0]
        group = ec2.create_security_group(GroupName="hosts", Description="hosts", VpcId=vpc["VpcId"])["GroupId"]
        none = {"min": 0, "max": 1, "desired": 0}
        settings = {
            "fleet_name": "unit", "fleet_state_dir": str(self.state), "fleet_region": REGION, "fleet_load_balancer_port": 18080,
            "fleet_api_size": none, "fleet_engine_size": none, "fleet_vpc": {"id": vpc["VpcId"], "cidr": vpc["CidrBlock"]},
            "fleet_subnets": [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]],
            "fleet_images": {family: {"id": self.cloud.base()} for family in ("api", "engine")},
            "fleet_nats_host": {"address": "172.30.0.4"}, "fleet_redis_host": {"address": "172.30.0.5"},
            "__fleet_host_security": {"group_id": group}, "__fleet_balancer_security": {"group_id": group},
        }  # fmt: skip
        steps = ("host_profile", "secrets", "engine_group", "api_group")
        again = {
            "block": [{"ansible.builtin.include_tasks": str(tasks / "secrets.yml")}],
            "rescue": [
                {"ansible.builtin.copy": {"dest": str(self.state / "refused"), "mode": "0600", "content": "{{ ansible_failed_result | to_json }}"}}
            ],
        }  # fmt: skip
        play = {
            "hosts": "localhost", "connection": "local", "gather_facts": False, "vars": settings,
            "vars_files": [str(ROOT / "playbooks" / "vars" / "fleet.yml")],
            "module_defaults": {f"group/{name}.aws.aws": {"region": REGION} for name in ("amazon", "community")},
            "tasks": [
                *[{"ansible.builtin.include_tasks": str(tasks / f"{step}.yml")} for step in steps],
                {"ansible.builtin.file": {"path": str(self.state / "secrets" / "nats"), "state": "absent"}},
                again,
            ],
        }  # fmt: skip
        (self.state / "play.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "play.yml", "-vvv", "-e", json.dumps(settings)],
            cwd=self.state, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
            env={
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.state), "LC_ALL": "C.UTF-8",
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "ANSIBLE_HOME": str(self.state / "ansible"),
                "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "ANSIBLE_NOCOLOR": "true", **self.cloud.cloud.settings.environment,
            },
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout + done.stderr

    def told(self) -> dict[str, str]:
        """The launch templates as AWS gives them out, and the user data in them."""
        ec2, found = self.cloud.client("ec2"), {}
        for kind in ("api", "engine"):
            versions = ec2.describe_launch_template_versions(LaunchTemplateName=f"unit-{kind}")[
                "LaunchTemplateVersions"
            ]
            assert len(versions) == 1
            found[kind] = json.dumps(versions, default=str)
            found[f"{kind}'s user data"] = base64.b64decode(versions[0]["LaunchTemplateData"]["UserData"]).decode()
        return found


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    podman = fakes.FakePodman()
    fakes.install(monkeypatch, podman)
    monkeypatch.setattr(cloud_module, "TICK_SECONDS", 0.05)
    forget_moto()
    running = Running(tmp_path, podman)
    (tmp_path / "state").mkdir()
    try:
        yield Fleet(running, tmp_path / "state")
    finally:
        running.end()


def files(user_data: str) -> dict[str, Any]:
    return {file["path"]: file for file in yaml.safe_load(user_data)["write_files"]}


def test_no_secret_is_in_what_hosts_are_told(fleet: Fleet) -> None:
    said, told = fleet.deploy(), fleet.told()
    found = fleet.cloud.client("ssm").get_parameters(Names=["/unit/nats", "/unit/redis"], WithDecryption=True)
    assert {each["Name"]: each["Type"] for each in found["Parameters"]} == {
        "/unit/nats": "SecureString", "/unit/redis": "SecureString",
    }  # fmt: skip
    values = {each["Name"]: each["Value"] for each in found["Parameters"]}
    assert (fleet.state / "secrets" / "redis").read_text().strip() == values["/unit/redis"]
    secrets = list(values.values())
    for secret in secrets:
        assert len(secret) == 32
        assert secret not in said, "the output has a password"
        for whom, text in told.items():
            assert secret not in text, f"{whom} has a password"
    for kind in ("api", "engine"):
        assert ":instance-profile/unit-hosts" in told[kind]
        written = files(told[f"{kind}'s user data"])
        assert "PASSWORD" not in written[f"/etc/conversion-{kind}/conversion-{kind}.env"]["content"]
        assert f"/etc/conversion-{kind}/secrets.awaited" in written
        wanted = json.loads(written["/etc/host-secrets/wanted.json"]["content"])["files"]
        assert [(file["path"], file["restart"]) for file in wanted] == [
            (f"/etc/conversion-{kind}/secrets.env", [f"conversion-{kind}.service"])
        ]
    trust = fleet.cloud.client("iam").get_role(RoleName="unit-hosts")["Role"]["AssumeRolePolicyDocument"]
    assert trust["Statement"][0]["Principal"] == {"Service": "ec2.amazonaws.com"}
    policy = fleet.cloud.client("iam").get_role_policy(RoleName="unit-hosts", PolicyName="read-secrets")
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["ssm:GetParameters"],
            "Resource": [f"arn:aws:ssm:*:123456789012:parameter/unit/{name}" for name in ("nats", "redis")],
        }
    ]
    # A controller that has no password must not make another one under hosts that run.
    refused = (fleet.state / "refused").read_text()
    assert "The fleet has /unit/nats already" in refused
    assert not (fleet.state / "secrets" / "nats").exists()
    assert not [secret for secret in secrets if secret in refused]


def test_a_password_comes_by_one_way(tmp_path: Path) -> None:
    given = {
        "conversion_engine_nats_url": "nats://10.0.0.5:4222", "conversion_engine_nats_user": "conversion",
        "conversion_engine_nats_password": "the-password-of-nats", "conversion_engine_host_secrets": True,
    }  # fmt: skip
    role = {"name": "boring.fleet.conversion_engine", "tasks_from": "user_data"}
    code, said = run_playbook(
        tmp_path, [{"hosts": "h1", "tasks": [{"ansible.builtin.include_role": role, "vars": given}]}]
    )
    assert code != 0
    assert "the host fetches its passwords; leave conversion_engine_nats_password" in said
    assert "the-password-of-nats" not in said


@pytest.mark.parametrize(("partition", "service"), [("aws", "ec2.amazonaws.com"), ("aws-cn", "ec2.amazonaws.com.cn")])
def test_who_takes_the_hosts_role(partition: str, service: str) -> None:
    """EC2 has another name in China."""
    tasks = yaml.safe_load((ROOT / "playbooks" / "tasks" / "host_profile.yml").read_text())
    (role,) = [task for block in tasks for task in block.get("block", ()) if task["name"] == "Write the role"]
    rendered = jinja2.Template(role["vars"]["__fleet_ec2"]).render(
        __fleet_caller={"arn": f"arn:{partition}:iam::1:user/a"}
    )
    assert rendered == service
