# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 with real hosts: what a client may rely on, seen from outside over HTTP and SSH."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from localcloud.settings import settings_of

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("podman"), reason="hosts need root and podman"),
]
BOOT_SECONDS = 120  # a boot takes 3 s; this is for a machine that does ten other things


class Cloud:
    """A cloud of this test's own, through its command line."""

    def __init__(self, directory: Path, *bases: str) -> None:
        self.name = f"t{os.getpid()}{random.randrange(1000)}"
        self.directory, self.bases = directory, bases or ("debian-13",)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.subnet = f"10.{random.randrange(100, 250)}.{random.randrange(250)}.0/24"
        self.keys = directory / "key"

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "localcloud", words[0], "--name", self.name, "--state-dir", self.directory, *words[1:]],
            capture_output=True, text=True, timeout=600, check=check, cwd=ROOT,
        )  # fmt: skip

    def up(self) -> None:
        self.command("up", "--port", str(self.port), "--subnet", self.subnet, "--base", *self.bases)

    def pid(self) -> int:
        return int((self.directory / self.name / "server.pid").read_text())

    def client(self, service: str = "ec2") -> Any:
        return boto3.client(service, **settings_of(self.directory, self.name).client)

    def base(self, release: str) -> str:
        filters = [{"Name": "name", "Values": [f"{release}-*"]}]
        return str(self.client().describe_images(Filters=filters)["Images"][0]["ImageId"])

    def key(self) -> str:
        """A key pair's name; its private half is in ``keys``."""
        if not self.keys.exists():
            material = self.client().create_key_pair(KeyName="test", KeyType="ed25519")["KeyMaterial"]
            self.keys.touch(0o600)
            self.keys.write_text(material)
        return "test"

    def run(self, image: str, user_data: str = "") -> str:
        made = self.client().run_instances(
            ImageId=image, MinCount=1, MaxCount=1, KeyName=self.key(), UserData=user_data
        )
        return str(made["Instances"][0]["InstanceId"])

    def instance(self, instance_id: str) -> dict[str, Any]:
        found = self.client().describe_instances(InstanceIds=[instance_id])
        return dict(found["Reservations"][0]["Instances"][0])

    def until(self, instance_id: str, state: str, seconds: float = BOOT_SECONDS) -> dict[str, Any]:
        until(lambda: self.instance(instance_id)["State"]["Name"] == state, seconds)
        return self.instance(instance_id)

    def up_host(self, image: str, user_data: str = "") -> str:
        instance_id = self.run(image, user_data)
        self.until(instance_id, "running")
        return instance_id

    def ssh(self, instance_id: str, command: str) -> str:
        address = self.instance(instance_id)["PrivateIpAddress"]
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=20"]
        return subprocess.run(
            ["ssh", "-i", self.keys, *[word for o in options for word in ("-o", o)], f"admin@{address}", command],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def podman(*words: str) -> str:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode and words[0] in {"ps", "images", "network"}:  # something on the list was removed meanwhile
        return podman(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def traces(cloud: Cloud) -> list[str]:
    """What is left of a cloud."""
    found = [line for line in podman("ps", "--all", "--format={{.Names}}").split() if f"lc-{cloud.name}-" in line]
    found += [line for line in podman("images", "--format={{.Repository}}").split() if f"/lc-{cloud.name}/" in line]
    found += [line for line in podman("network", "ls", "--format={{.Name}}").split() if line == f"lc-{cloud.name}"]
    found += [str(path) for path in cloud.directory.glob(f"{cloud.name}*")]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/{cloud.name}" in line or f"--name {cloud.name}" in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("cloud"), "debian-12", "debian-13")
    made.up()
    yield made
    made.command("down")
    assert traces(made) == []


HELLO = """#cloud-config
write_files:
- path: /etc/hello
  permissions: "0640"
  content: from user data
"""


@pytest.fixture(scope="module", params=["debian-12", "debian-13"])
def host(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A release, and a host of it that nothing happened to yet."""
    instance_id = cloud.up_host(cloud.base(request.param), HELLO)
    yield request.param, instance_id
    cloud.client().terminate_instances(InstanceIds=[instance_id])


def test_a_host_is_a_whole_debian_with_what_it_was_given(cloud: Cloud, host: tuple[str, str]) -> None:
    release, instance_id = host
    address = cloud.instance(instance_id)["PrivateIpAddress"]
    asked = (
        "systemctl is-system-running; systemctl --failed --no-legend; sudo cat /etc/hello; echo; hostname -I; hostname"
    )
    assert cloud.ssh(instance_id, asked).split("\n") == [
        "running",
        "from user data",
        f"{address} ",
        "ip-" + address.replace(".", "-"),
        "",
    ]
    assert cloud.ssh(instance_id, ". /etc/os-release; echo $ID-$VERSION_ID").strip() == release


def test_the_sandbox_of_services_holds(cloud: Cloud, host: tuple[str, str]) -> None:
    def run(*words: str) -> tuple[int, str]:
        container = f"lc-{cloud.name}-{host[1]}"
        done = subprocess.run(
            ["podman", "exec", container, *words], capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def service(*options: str, command: str) -> tuple[int, str]:
        given = [word for option in options for word in ("-p", option)]
        return run("systemd-run", "--quiet", "--wait", "--pipe", *given, *command.split())

    assert "Read-only file system" in service("ProtectSystem=strict", command="touch /usr/x")[1]
    status, user = service("PrivateTmp=yes", "DynamicUser=yes", "PrivateDevices=yes", command="id -u")
    assert (status, user.strip() == "0") == (0, False)
    private = ("PrivateUsers=yes", "ProtectProc=invisible", "User=daemon")  # as redis-server has them
    assert service(*private, command="id -un") == (0, "daemon\n")
    assert "eth0" not in service("PrivateNetwork=yes", command="ip -o addr")[1]
    assert "denied" in run("sysctl", "-w", "vm.swappiness=1")[1], "a host may not change the machine"


def test_an_image_is_the_disk_of_its_host_without_its_identity(cloud: Cloud) -> None:
    builder = cloud.up_host(cloud.base("debian-13"), HELLO)
    cloud.ssh(builder, "echo baked | sudo tee /opt/baked")
    identity = "cat /etc/ssh/ssh_host_ed25519_key.pub"
    first = cloud.ssh(builder, identity)
    cloud.client().stop_instances(InstanceIds=[builder])
    cloud.until(builder, "stopped")
    image = cloud.client().create_image(InstanceId=builder, Name="baked")["ImageId"]
    cloud.client().terminate_instances(InstanceIds=[builder])
    made = cloud.up_host(image)
    assert cloud.ssh(made, "cat /opt/baked") == "baked\n"
    assert cloud.ssh(made, identity) != first
    cloud.client().deregister_image(ImageId=image)
    cloud.client().terminate_instances(InstanceIds=[made])
    until(lambda: f"/lc-{cloud.name}/" not in podman("images"), 60)


def test_services_drain_before_a_terminated_host_goes(cloud: Cloud) -> None:
    unit = "-p 'ExecStop=/bin/sleep 4' -p TimeoutStopSec=20 --unit drains sleep infinity"
    instance_id = cloud.up_host(cloud.base("debian-13"))
    cloud.ssh(instance_id, f"sudo systemd-run --quiet {unit}")
    begin = time.monotonic()
    cloud.client().terminate_instances(InstanceIds=[instance_id])
    assert time.monotonic() - begin < 3, "the call waits"
    cloud.until(instance_id, "terminated")
    assert 4 <= time.monotonic() - begin < 60


def test_a_killed_host_is_noticed(cloud: Cloud) -> None:
    instance_id = cloud.up_host(cloud.base("debian-13"))
    podman("kill", f"lc-{cloud.name}-{instance_id}")
    cloud.until(instance_id, "stopped", 30)
    cloud.client().terminate_instances(InstanceIds=[instance_id])


def test_a_reboot_from_inside_is_a_reboot(cloud: Cloud) -> None:
    instance_id = cloud.up_host(cloud.base("debian-13"))
    container = f"lc-{cloud.name}-{instance_id}"
    before = podman("inspect", "--format={{.State.Pid}}", container)
    podman("exec", container, "touch", "/root/kept")
    podman("exec", container, "systemctl", "reboot")
    until(lambda: podman("inspect", "--format={{.State.Pid}}", container).strip() not in {before.strip(), "0"}, 60)
    assert cloud.instance(instance_id)["State"]["Name"] == "running"
    podman("exec", container, "test", "-e", "/root/kept")
    cloud.client().terminate_instances(InstanceIds=[instance_id])


def test_a_template_version_takes_over_what_it_does_not_say(cloud: Cloud) -> None:
    ec2 = cloud.client()
    ec2.create_launch_template(
        LaunchTemplateName="inherits", LaunchTemplateData={"InstanceType": "t3.small", "ImageId": "ami-1"}
    )
    new = {"LaunchTemplateName": "inherits", "LaunchTemplateData": {"ImageId": "ami-2"}}
    inherited = ec2.create_launch_template_version(SourceVersion="1", **new)["LaunchTemplateVersion"]
    assert inherited["LaunchTemplateData"] == {"InstanceType": "t3.small", "ImageId": "ami-2"}
    alone = ec2.create_launch_template_version(**new)["LaunchTemplateVersion"]
    assert alone["LaunchTemplateData"] == {"ImageId": "ami-2"}
    assert [
        one["LaunchTemplateData"]
        for one in ec2.describe_launch_template_versions(LaunchTemplateName="inherits", Versions=["1", "2"])[
            "LaunchTemplateVersions"
        ]
    ] == [inherited["LaunchTemplateData"], {"InstanceType": "t3.small", "ImageId": "ami-1"}]  # the newest first


def test_secrets_are_on_no_command_line(cloud: Cloud) -> None:
    instance_id = cloud.run(cloud.base("debian-13"), HELLO.replace("from user data", "a-secret"))
    seed = cloud.directory / cloud.name / "seeds" / instance_id
    assert {path.stat().st_mode & 0o777 for path in seed.iterdir()} == {0o600}
    assert "a-secret" not in podman("inspect", *_when(cloud, instance_id))
    assert "a-secret" not in (cloud.directory / cloud.name / "server.log").read_text()
    cloud.client().terminate_instances(InstanceIds=[instance_id])


def _when(cloud: Cloud, instance_id: str) -> list[str]:
    name = f"lc-{cloud.name}-{instance_id}"
    until(lambda: name in podman("ps", "--all", "--format={{.Names}}"), 30)
    return [name]


def test_a_cloud_of_its_own_from_beginning_to_end(tmp_path: Path, cloud: Cloud) -> None:
    """Beside another one: killed, stopped, brought back, taken away."""
    other = Cloud(tmp_path)
    try:
        other.up()
        instance_id = other.up_host(other.base("debian-13"))
        other.ssh(instance_id, "sudo touch /opt/kept")
        os.kill(other.pid(), signal.SIGKILL)
        until(lambda: json.loads(other.command("status", "--json").stdout)["state"] == "stopped", 10)
        other.up()
        assert other.ssh(instance_id, "ls /opt") == "kept\n"
        other.command("stop")
        assert podman("inspect", "--format={{.State.Status}}", f"lc-{other.name}-{instance_id}").strip() == "exited"
        other.up()
        assert other.ssh(instance_id, "ls /opt") == "kept\n"
        assert other.instance(instance_id)["State"]["Name"] == "running"
        assert other.command("up").stdout.startswith(f"export AWS_ENDPOINT_URL=http://127.0.0.1:{other.port}\n")
        about = json.loads(other.command("status", "--json").stdout)
        assert [i["id"] for i in about["instances"]] == [instance_id]
        assert instance_id not in json.dumps(cloud.client().describe_instances(), default=str)
    finally:
        other.command("down")
    assert traces(other) == []


@pytest.mark.parametrize("taken", ["port", "subnet"])
def test_what_is_taken_is_named_and_nothing_stays(tmp_path: Path, cloud: Cloud, taken: str) -> None:
    other = Cloud(tmp_path)
    setattr(other, taken, getattr(cloud, taken))
    refused = other.command(
        "up", "--port", str(other.port), "--subnet", other.subnet, "--base", "debian-13", check=False
    )
    assert refused.returncode == 1
    last = refused.stderr.strip().splitlines()[-1]
    assert "choose another" in last
    assert f"--{taken}" in last
    assert str(getattr(cloud, taken)).removesuffix("/24") in last
    assert "Traceback" not in refused.stderr
    assert traces(other) == []
