# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of image_build: the real module, run by Ansible against the local cloud's API.

Packer is a small program here that does what it is told in a file, except in the last test, which builds for real.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import janitor
from localcloud.settings import Settings, settings_of
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_server import REGION, Running, forget_moto

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

TEMPLATE = """
variable "family" {
  type    = string
  default = "web"
}
variable "region" { type = string }
variable "manifest" { type = string }
variable "fingerprint" { type = string }
variable "password" {
  type      = string
  sensitive = true
  default   = ""
}
source "amazon-ebs" "cpu" {
  ami_name = "boring-${var.family}-${substr(var.fingerprint, 0, 12)}"
  region   = var.region
  source_ami_filter {
    owners      = ["136693071363"]
    most_recent = true
    filters     = { name = "debian-13-amd64-*" }
  }
}
build {
  sources = ["source.amazon-ebs.cpu"]
  post-processor "manifest" { output = var.manifest }
}
"""

PACKER = """\
#!{python}
import json, os, pathlib, signal, subprocess, sys, time

here = pathlib.Path(__file__).parent
(here / "env.json").write_text(json.dumps(dict(os.environ)))
if sys.argv[1] == "version":
    print("Packer v" + (here / "version").read_text())
if sys.argv[1] != "build":
    sys.exit(0)
with (here / "argv").open("a") as stream:
    stream.write(json.dumps(sys.argv) + "\\n")
(here / "pid").write_text(str(os.getpid()))
mode = (here / "mode").read_text()

import boto3
ec2 = boto3.client("ec2", region_name=os.environ["PKR_VAR_region"])
tags = [{{"Key": key, "Value": value}} for key, value in json.loads(os.environ["PKR_VAR_run_tags"]).items()]
print("==> amazon-ebs.cpu: Provisioning with shell script: /tmp/it", flush=True)
print("    amazon-ebs.cpu: unpacking with " + json.loads(pathlib.Path(sys.argv[-2].partition("=")[2]).read_text()).get("password", "nothing"), flush=True)

if mode in ("hang", "polite"):
    ec2.run_instances(
        ImageId=os.environ["PKR_VAR_source_image"], MinCount=1, MaxCount=1,
        TagSpecifications=[{{"ResourceType": "instance", "Tags": tags}}],
    )
    ec2.create_key_pair(KeyName="packer_it", TagSpecifications=[{{"ResourceType": "key-pair", "Tags": tags}}])
    child = subprocess.Popen(["sleep", "600"])
    (here / "child").write_text(str(child.pid))
    if mode == "hang":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    (here / "ready").touch()
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        (here / "cleaned").touch()
        sys.exit(1)
if mode == "fail":
    print("    amazon-ebs.cpu: E: Unable to locate package nothing")
    print("==> amazon-ebs.cpu: Provisioning step had errors: Running the cleanup provisioner, if present...")
    print("Build 'amazon-ebs.cpu' errored after 1 second: Script exited with non-zero exit status: 100")
    sys.exit(1)
if mode == "edit":
    (here.parent / "roles" / "web" / "tasks" / "main.yml").write_text("- name: Edited meanwhile\\n")
name = "boring-web-" + os.environ["PKR_VAR_fingerprint"][:12] + os.environ["PKR_VAR_revision"]
image = ec2.register_image(Name=name)["ImageId"]
if mode == "late":
    ec2.create_tags(Resources=[image], Tags=[{{"Key": key, "Value": value}} for key, value in json.loads(os.environ["PKR_VAR_image_tags"]).items()])
    print("Build 'amazon-ebs.cpu' errored after 1 second: the copy to another region failed")
    sys.exit(1)
build = {{"name": "cpu", "builder_type": "amazon-ebs", "artifact_id": os.environ["PKR_VAR_region"] + ":" + image, "packer_run_uuid": image}}
pathlib.Path(os.environ["PKR_VAR_manifest"]).write_text(json.dumps({{"builds": [build], "last_run_uuid": image}}))
"""

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Build
      boring.fleet.image_build: "{{ options }}"
      register: __result
      ignore_errors: true
    - name: Keep the answer
      ansible.builtin.copy: {dest: "{{ answer }}", content: "{{ __result | to_json }}", mode: "0600"}
      check_mode: false
"""


class Checkout:
    """A template and a role, a Packer that is told what to do, and the module over them."""

    def __init__(self, root: Path, cloud: Settings) -> None:
        self.root = root
        self.cloud = cloud
        (root / "packer").mkdir(parents=True)
        (root / "packer" / "it.pkr.hcl").write_text(TEMPLATE)
        (root / "roles" / "web" / "tasks").mkdir(parents=True)
        self.role = root / "roles" / "web" / "tasks" / "main.yml"
        self.role.write_text("- name: One\n")
        self.fake = root / "fake"
        self.fake.mkdir()
        (self.fake / "packer").write_text(PACKER.format(python=sys.executable))
        (self.fake / "packer").chmod(0o755)
        (self.fake / "version").write_text("1.12.0")
        (self.fake / "mode").write_text("build")
        (root / "play.yml").write_text(PLAY)

    def mode(self, mode: str) -> None:
        (self.fake / "mode").write_text(mode)

    @property
    def builds(self) -> int:
        return len((self.fake / "argv").read_text().splitlines()) if (self.fake / "argv").exists() else 0

    def command(self, *arguments: str, **options: Any) -> tuple[list[str], dict[str, str]]:
        given = {
            "template": str(self.root / "packer"),
            "only": ["amazon-ebs.cpu"],
            "inputs": [str(self.root / "roles")],
            "packer": str(self.fake / "packer"),
            "region": REGION,
            **options,
        }
        values = json.dumps({"options": given, "answer": str(self.root / "answer.json")})
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_", "PKR_"))},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_HOME": str(self.root / "ansible"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "XDG_CACHE_HOME": str(self.root / "cache"),
            **self.cloud.environment,
        }
        return [str(BIN / "ansible-playbook"), str(self.root / "play.yml"), "-e", values, *arguments], env

    def run(self, *arguments: str, **options: Any) -> dict[str, Any]:
        (self.root / "answer.json").unlink(missing_ok=True)
        argv, env = self.command(*arguments, **options)
        done = subprocess.run(
            argv, env=env, cwd=self.root, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        )
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr
        self.said = done.stdout + done.stderr
        return dict(json.loads((self.root / "answer.json").read_text()))


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    podman = fakes.FakePodman()
    fakes.install(monkeypatch, podman)
    forget_moto()
    (tmp_path / "cloud").mkdir()
    running = Running(tmp_path / "cloud", podman)
    yield running
    running.end()


@pytest.fixture
def checkout(tmp_path: Path, cloud: Running) -> Checkout:
    return Checkout(tmp_path / "checkout", cloud.cloud.settings)


def left(cloud: Running) -> list[str]:
    """What costs money or lets somebody in."""
    ec2 = cloud.client("ec2")
    hosts = [host for group in ec2.describe_instances()["Reservations"] for host in group["Instances"]]
    running = [host["InstanceId"] for host in hosts if host["State"]["Name"] not in ("shutting-down", "terminated")]
    return running + [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]]


def gone(pid_file: Path) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid_file.read_text()}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


def test_built_once_then_skipped_then_rebuilt_for_one_byte(checkout: Checkout, cloud: Running) -> None:
    planned = checkout.run(state="planned")
    assert (planned["changed"], planned["skipped"], planned["images"]) == (True, False, [])
    assert planned["reasons"] == ["no image with this fingerprint"]
    assert checkout.builds == 0

    built = checkout.run()
    assert (built["changed"], built["skipped"]) == (True, False)
    assert built["fingerprint"] == planned["fingerprint"]
    (image,) = built["images"]
    assert image["build"] == "amazon-ebs.cpu"
    assert (image["builder"], image["region"]) == ("amazon-ebs", REGION)
    assert image["name"] == f"boring-web-{built['fingerprint'][:12]}"
    assert built["manifest"]["builds"][0]["artifact_id"] == f"{REGION}:{image['id']}"
    (described,) = cloud.client("ec2").describe_images(ImageIds=[image["id"]])["Images"]
    assert {"Key": "boring:fingerprint", "Value": built["fingerprint"]} in described["Tags"]

    os.utime(checkout.role, (1, 1))
    skipped = checkout.run()
    assert (skipped["changed"], skipped["skipped"], skipped["reasons"], skipped["manifest"]) == (False, True, [], {})
    assert skipped["images"] == built["images"]
    assert checkout.builds == 1

    checkout.role.write_text("- name: Two\n")
    check = checkout.run("--check", "--diff")
    assert (check["changed"], check["reasons"]) == (True, ["roles/web/tasks/main.yml changed"])
    assert f"-{image['id']}" in checkout.said
    assert "+roles/web/tasks/main.yml changed" in checkout.said
    assert checkout.builds == 1
    again = checkout.run()
    assert again["changed"]
    assert again["fingerprint"] != built["fingerprint"]
    assert checkout.builds == 2

    moved = checkout.root.parent / "moved"
    shutil.copytree(checkout.root, moved, ignore=shutil.ignore_patterns("answer.json", "cache", "ansible"))
    checkout.root = moved
    checkout.fake = moved / "fake"
    assert checkout.run()["skipped"]


def test_force_and_versions(checkout: Checkout) -> None:
    first = checkout.run()
    forced = checkout.run(force=True)
    assert forced["changed"]
    assert forced["reasons"][0].startswith("force")
    assert forced["fingerprint"] == first["fingerprint"]
    assert forced["images"][0]["id"] != first["images"][0]["id"]
    (checkout.fake / "version").write_text("1.13.0")
    assert checkout.run(state="planned")["reasons"] == ["version of packer changed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"template": "/absent"}, "the template /absent is not a directory"),
        ({"unknown": "perhaps"}, "value of unknown must be one of"),
        ({"variables": {"sise": 1}}, "variables gives sise, which the template"),
        ({"only": ["amazon-ebs.gpu"]}, "only is amazon-ebs.gpu, and the builds of"),
        ({"inputs": ["/absent/role"]}, "the input /absent/role does not exist"),
        ({"inputs": ["/absent/*"]}, "the input /absent/* names no file"),
        ({"lock": "/absent.lock"}, "the lock /absent.lock does not exist"),
        ({"var_files": ["/absent.pkrvars.hcl"]}, "the variables file /absent.pkrvars.hcl cannot be read"),
        ({"packer": "/absent/packer"}, "packer: /absent/packer is not a program"),
        ({"timeout": 0}, "timeout is 0"),
        ({"region": "eu-north-1"}, "no source image for amazon-ebs.cpu in eu-north-1"),
        ({"access_key": "x"}, "secret_key is missing"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "AWS did not answer"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_sentence(checkout: Checkout, options: dict[str, Any], said: str) -> None:
    answer = checkout.run(**options)
    assert answer["failed"]
    assert said in answer["msg"]
    assert "\n" not in answer["msg"]
    assert checkout.builds == 0


def test_a_packer_that_is_too_old(checkout: Checkout) -> None:
    (checkout.fake / "version").write_text("1.6.6")
    assert "is Packer 1.6.6, which is too old: install Packer 1.12 or newer" in checkout.run()["msg"]


def test_a_failing_provisioner_is_quoted_without_secrets(checkout: Checkout, cloud: Running) -> None:
    checkout.mode("fail")
    answer = checkout.run(variables={"password": "s3cret-word"})
    assert answer["failed"]
    assert "amazon-ebs.cpu failed in its provisioner shell script" in answer["msg"]
    assert "E: Unable to locate package nothing" in answer["msg"]
    assert "unpacking with ********" in answer["msg"]
    assert "s3cret-word" not in answer["msg"]
    assert "s3cret-word" not in (checkout.fake / "argv").read_text()
    assert left(cloud) == []


def test_on_expiry_packer_may_clean_up_and_the_rest_is_removed(checkout: Checkout, cloud: Running) -> None:
    checkout.mode("polite")
    answer = checkout.run(timeout=3)
    assert "took longer than its timeout of 3 s" in answer["msg"]
    assert (checkout.fake / "cleaned").exists()
    assert gone(checkout.fake / "child")
    assert left(cloud) == []


def test_a_packer_that_does_not_listen_is_killed(checkout: Checkout, cloud: Running) -> None:
    checkout.mode("hang")
    answer = checkout.run(timeout=3)
    assert "took longer than its timeout of 3 s" in answer["msg"]
    assert not (checkout.fake / "cleaned").exists()
    assert gone(checkout.fake / "pid")
    assert gone(checkout.fake / "child")
    assert left(cloud) == []


@pytest.mark.parametrize("how", ["ctrl-c", "terminate", "kill"])
def test_when_ansible_is_stopped_nothing_goes_on(checkout: Checkout, cloud: Running, how: str) -> None:
    checkout.mode("polite")
    argv, env = checkout.command()
    env["ANSIBLE_REMOTE_TMP"] = str(checkout.root / "left")  # a killed one cannot clear it away
    process = subprocess.Popen(
        argv, env=env, cwd=checkout.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while not (checkout.fake / "ready").exists():
            assert time.monotonic() < end, "the build did not begin"
            time.sleep(0.1)
        if how == "ctrl-c":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        elif how == "terminate":
            process.terminate()
        else:
            process.kill()
        process.wait(60)
    finally:
        process.kill()
    assert gone(checkout.fake / "pid")
    assert gone(checkout.fake / "child")
    end = time.monotonic() + 30
    while left(cloud) and time.monotonic() < end:
        time.sleep(0.2)
    assert left(cloud) == []


def test_what_packer_made_before_it_failed_is_named_and_the_janitor_takes_it(
    checkout: Checkout, cloud: Running
) -> None:
    checkout.mode("late")
    failed = checkout.run()
    ec2 = cloud.client("ec2")
    (image,) = ec2.describe_images(Owners=["self"])["Images"]
    assert f"it had made {image['ImageId']} in {REGION} by then, which nobody confirmed" in failed["msg"]
    tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
    assert "boring:fingerprint" not in tags
    assert "boring:unconfirmed" in tags
    planned = checkout.run(state="planned")
    assert (planned["skipped"], planned["images"]) == (False, [])
    left = janitor.expired(janitor.things(ec2), time.time(), 600)  # at once: its time was never
    assert [one.as_dict(time.time())["expired_hours"] for one in left] == [0.0]
    assert [str(thing) for one in left for thing in one.things] == [f"image {image['ImageId']}"]
    assert janitor.remove(ec2, left, deadline=time.monotonic() + 10).refused == []
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_inputs_that_change_during_the_build_and_what_is_not_known(checkout: Checkout, cloud: Running) -> None:
    checkout.mode("edit")
    failed = checkout.run(variables={"password": "1234"})
    assert "the inputs were changed while the image was built (roles/web/tasks/main.yml)" in failed["msg"]
    checkout.mode("build")
    built = checkout.run(variables={"password": "1234"})
    assert built["unknown"] == []
    (described,) = cloud.client("ec2").describe_images(ImageIds=[built["images"][0]["id"]])["Images"]
    tags = json.dumps(described["Tags"])
    assert checkout.run(variables={"password": "1234"})["skipped"]
    other = checkout.run(variables={"password": "5678"}, state="planned")
    assert (other["fingerprint"], other["reasons"]) == (built["fingerprint"], ["variable password changed"])
    assert "1234" not in tags
    template = checkout.root / "packer" / "it.pkr.hcl"
    template.write_text(template.read_text().replace('default = "web"', 'default = env("FAMILY")'))
    planned = checkout.run(state="planned", variables={"password": "1234"})
    (sentence,) = planned["unknown"]
    assert 'env("FAMILY") is read from the environment' in sentence
    assert "The image is built each time" in checkout.said
    assert 'env("FAMILY")' in checkout.run(state="planned", unknown="refuse")["msg"]


def test_skipping_takes_less_than_a_second(checkout: Checkout) -> None:
    checkout.run()
    # Several tries: the machine may have other things to do.
    assert any(checkout.run()["seconds"] < 1 for _ in range(8))


# --- For real ----------------------------------------------------------------------------------------------------

CLOUD, PORT, SUBNET = "images", 4597, "172.28.0.0/16"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Settings]:
    """A local cloud with real hosts."""
    forget_moto()

    def localcloud(*arguments: str) -> str:
        argv = [sys.executable, "-m", "localcloud", *arguments, "--name", CLOUD, "--state-dir", str(tmp_path / "state")]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout

    localcloud("up", "--port", str(PORT), "--subnet", SUBNET, "--base", "debian-13")
    try:
        yield settings_of(tmp_path / "state", CLOUD)
    finally:
        localcloud("down")


def on(host: str, script: str) -> str:
    argv = ["podman", "exec", f"lc-{CLOUD}-{host}", "sh", "-c", script]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL
    ).stdout.strip()


@pytest.mark.hosts
@pytest.mark.timeout(900)
def test_a_real_image_boots_twice_as_two_different_hosts(
    tmp_path: Path, hosts: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packer, our template and image_cleanup, for real: a role's file is in the image, nothing of the build is."""
    role = tmp_path / "ansible_collections" / "tests" / "image" / "roles" / "tiny" / "tasks"
    role.mkdir(parents=True)
    (role / "install.yml").write_text(
        textwrap.dedent(
            """
            - name: Leave something that stays, and something that must not
              ansible.builtin.shell: |
                echo {{ tiny_word }} >/etc/tiny
                mkdir -p /var/lib/redis && echo state >/var/lib/redis/dump.rdb
                echo secret >/root/.bash_history
              changed_when: true
            - name: Fail when told to
              ansible.builtin.command: sh -c 'echo too bad; exit 3'
              when: tiny_word == 'fail'
              changed_when: true
            """
        )
    )
    checkout = Checkout(tmp_path / "checkout", hosts)
    monkeypatch.setattr(
        checkout,
        "command",
        lambda *arguments, **options: with_collections(Checkout.command(checkout, *arguments, **options), tmp_path),
    )

    def build(word: str) -> dict[str, Any]:
        return checkout.run(
            template=str(ROOT / "packer"),
            packer=None,
            only=["amazon-ebs.debian"],
            var_files=[str(ROOT / "packer" / "images" / "cpu.pkrvars.hcl")],
            variables={
                "family": "tiny",
                "roles": ["tests.image.tiny"],
                "role_variables": {"tiny_word": word},
                "ssh_interface": "private_ip",
            },
            inputs=[str(role)],
            timeout=600,
        )

    ec2 = boto3.client("ec2", **hosts.client)
    failed = build("fail")
    assert "task tests.image.tiny : Fail when told to: non-zero return code" in failed["msg"]
    assert "stdout: too bad" in failed["msg"]
    states = [
        host["State"]["Name"] for group in ec2.describe_instances()["Reservations"] for host in group["Instances"]
    ]
    assert set(states) == {"terminated"}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]

    built = build("hello")
    assert built.get("msg") is None, built["msg"]
    assert built["images"][0]["build"] == "amazon-ebs.debian"
    assert build("hello")["skipped"]
    image = built["images"][0]["id"]
    launched = ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2, InstanceType="t3.small")["Instances"]
    ids = [host["InstanceId"] for host in launched]
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = ec2.describe_instances(InstanceIds=ids)["Reservations"]
        if all(host["State"]["Name"] == "running" for group in found for host in group["Instances"]):
            break
        time.sleep(0.5)
    for host in ids:
        assert on(host, "cat /etc/tiny") == "hello"
        assert (
            on(host, "cloud-init status --wait >/dev/null; systemctl is-system-running --wait || systemctl --failed")
            == "running"
        )
        assert on(host, "cat /var/lib/redis/dump.rdb /root/.bash_history 2>/dev/null || true") == ""
        assert on(host, "cat /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys 2>/dev/null || true") == ""
    assert len({on(host, "cat /etc/machine-id") for host in ids}) == 2
    assert len({on(host, "cat /etc/ssh/ssh_host_ed25519_key.pub") for host in ids}) == 2


def with_collections(command: tuple[list[str], dict[str, str]], path: Path) -> tuple[list[str], dict[str, str]]:
    argv, env = command
    env["ANSIBLE_COLLECTIONS_PATH"] += f":{path}"
    return argv, env
