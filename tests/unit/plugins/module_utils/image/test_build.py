# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of things: digest, look up, skip or build, prove, tidy up. EC2 is a dictionary, Packer a function."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import build, packer
from ansible_collections.boring.fleet.plugins.module_utils.image.build import ImageBuild, Plan, Request
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

TEMPLATE = """
variable "family" { default = "web" }
variable "region" { default = "eu-central-1" }
variable "manifest" { default = "packer-manifest.json" }
variable "size" { default = 0 }
variable "age" { default = 0 }
variable "password" { default = "" }
variable "db_password" { default = "" }
variable "sizes" { default = [] }
source "amazon-ebs" "cpu" {
  region = var.region
  source_ami_filter {
    owners  = ["debian"]
    filters = { name = "debian-13-*" }
  }
}
build {
  sources = ["source.amazon-ebs.cpu"]
  post-processor "manifest" { output = var.manifest }
}
"""


class Ec2:
    """As much of EC2 as the image pipeline asks, with AWS's shapes."""

    def __init__(self) -> None:
        self.meta = type("Meta", (), {"region_name": "eu-central-1"})
        self.images: list[dict[str, Any]] = []
        self.instances: list[dict[str, Any]] = []
        self.keys: list[dict[str, Any]] = []
        self.groups: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.long_ids = False
        self.add("debian-13-a", owner="debian")

    def add(
        self, name: str, owner: str = "self", state: str = "available", tags: Mapping[str, str] | None = None
    ) -> str:
        number = len(self.images) + 1
        identity = f"ami-{number:08}" if self.long_ids else f"ami-{number}"
        self.images.append(
            {
                "ImageId": identity,
                "Name": name,
                "OwnerId": owner,
                "State": state,
                "CreationDate": f"2026-01-01T00:00:{number:02}.000Z",
                "Tags": [{"Key": key, "Value": value} for key, value in (tags or {}).items()],
            }
        )
        return identity

    def _match(self, thing: Mapping[str, Any], filters: list[dict[str, Any]]) -> bool:
        tags = {tag["Key"]: tag["Value"] for tag in thing.get("Tags", ())}
        for wanted in filters:
            name = wanted["Name"]
            if name.startswith("tag:"):
                value = tags.get(name[4:], "")
            elif name == "image-id":
                value = thing["ImageId"]
            elif name == "instance-state-name":
                value = thing["State"]["Name"]
            else:
                value = str(thing["Name"])
            if not any(fnmatchcase(value, pattern) for pattern in wanted["Values"]):
                return False
        return True

    def describe_images(self, **given: Any) -> dict[str, Any]:
        self.calls.append("describe_images")
        self.asked.append(given)
        found = [image for image in self.images if self._match(image, given.get("Filters", []))]
        found = [image for image in found if image["OwnerId"] in given.get("Owners", [image["OwnerId"]])]
        return {"Images": [image for image in found if image["ImageId"] in given.get("ImageIds", [image["ImageId"]])]}

    def create_tags(self, **given: Any) -> None:
        self.calls.append("create_tags")
        for image in self.images:
            if image["ImageId"] in given["Resources"]:
                new = {tag["Key"] for tag in given["Tags"]}
                image["Tags"] = [tag for tag in image["Tags"] if tag["Key"] not in new] + given["Tags"]

    def delete_tags(self, **given: Any) -> None:
        self.calls.append("delete_tags")
        gone = {tag["Key"] for tag in given["Tags"]}
        for image in self.images:
            if image["ImageId"] in given["Resources"]:
                image["Tags"] = [tag for tag in image["Tags"] if tag["Key"] not in gone]

    def tags(self, at: int = -1) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.images[at]["Tags"]}

    def describe_instances(self, **given: Any) -> dict[str, Any]:
        self.calls.append("describe_instances")
        return {
            "Reservations": [{"Instances": [host for host in self.instances if self._match(host, given["Filters"])]}]
        }

    def terminate_instances(self, **given: Any) -> None:
        self.calls.append("terminate_instances")
        for host in self.instances:
            if host["InstanceId"] in given["InstanceIds"]:
                host["State"] = {"Name": "terminated"}

    def describe_key_pairs(self, **given: Any) -> dict[str, Any]:
        return {"KeyPairs": [key for key in self.keys if self._match(key, given["Filters"])]}

    def delete_key_pair(self, **given: Any) -> None:
        self.keys = [key for key in self.keys if key["KeyName"] != given["KeyName"]]

    def describe_security_groups(self, **given: Any) -> dict[str, Any]:
        return {"SecurityGroups": [group for group in self.groups if self._match(group, given["Filters"])]}

    def delete_security_group(self, **given: Any) -> None:
        assert all(host["State"]["Name"] == "terminated" for host in self.instances), "the group is in use"
        self.groups = [group for group in self.groups if group["GroupId"] != given["GroupId"]]


class World:
    """A checkout, an EC2 and a Packer that makes what its variables say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ec2 = Ec2()
        self.runs: list[dict[str, Any]] = []
        self.fate: Callable[[dict[str, str]], packer.Ended] = self.makes_an_image
        self.log = ""
        self.tags_itself = True
        (root / "packer").mkdir()
        (root / "packer" / "it.pkr.hcl").write_text(TEMPLATE)
        (root / "roles").mkdir()
        (root / "roles" / "main.yml").write_text("- one\n")
        program = root / "bin" / "packer"
        program.parent.mkdir()
        program.write_text('#!/bin/sh\n[ "$1" = version ] && echo Packer v1.12.0\n')
        program.chmod(0o755)

    def makes_an_image(self, env: dict[str, str]) -> packer.Ended:
        tags = json.loads(env["PKR_VAR_image_tags"]) if self.tags_itself else {}
        revision = env["PKR_VAR_revision"]
        name = "-".join(filter(None, ["boring-web", env["PKR_VAR_fingerprint"][:12], revision]))
        image = self.ec2.add(name, tags=tags)
        made = {
            "name": "cpu",
            "builder_type": "amazon-ebs",
            "artifact_id": f"eu-central-1:{image}",
            "packer_run_uuid": image,
        }
        Path(env["PKR_VAR_manifest"]).write_text(json.dumps({"builds": [made], "last_run_uuid": image}))
        return packer.Ended(0)

    def supervise(self, argv: list[str], *, env: dict[str, str], log: Path, **others: Any) -> packer.Ended:
        variables = json.loads(Path(argv[-2].removeprefix("-var-file=")).read_text())
        self.runs.append({"argv": argv, "env": env, "variables": variables, **others})
        ended = self.fate(env)
        log.write_text(self.log)
        return ended

    def job(self, **changes: Any) -> ImageBuild:
        request = Request(
            template=self.root / "packer",
            inputs=(str(self.root / "roles"),),
            only=("amazon-ebs.cpu",),
            packer=str(self.root / "bin" / "packer"),
        )
        return ImageBuild(
            Request(**{**vars(request), **changes}),
            ec2=lambda region: self.ec2,
            env={},
            cache=self.root / "cache",
            supervise=self.supervise,
            sleep=lambda seconds: None,
        )

    def build(self, **changes: Any) -> tuple[Plan, build.Built]:
        job = self.job(**changes)
        plan = job.plan()
        return plan, job.build(plan)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_nothing_there_so_it_is_built_then_skipped(world: World) -> None:
    plan, built = world.build()
    assert (plan.builds, plan.reasons) == (True, ("no image with this fingerprint",))
    (image,) = built.images
    assert (image.build, image.builder, image.region) == ("amazon-ebs.cpu", "amazon-ebs", "eu-central-1")
    assert image.name == f"boring-web-{plan.fingerprint[:12]}"
    assert built.manifest is not None
    assert built.warnings == ()
    again = world.job().plan()
    assert (again.builds, again.reasons, again.existing) == (False, (), built.images)
    assert again.fingerprint == plan.fingerprint


def test_the_source_image_is_resolved_once_and_handed_over(world: World) -> None:
    world.ec2.add("debian-13-b", owner="debian")
    world.ec2.add("debian-13-c", owner="debian", state="pending")
    world.build()
    assert world.runs[0]["env"]["PKR_VAR_source_image"] == "ami-2"


def test_a_new_source_image_is_a_reason(world: World) -> None:
    world.build()
    world.ec2.add("debian-13-b", owner="debian")
    assert world.job().plan().reasons == ("source image of amazon-ebs.cpu changed",)


def test_a_changed_byte_is_named(world: World) -> None:
    _, built = world.build()
    (world.root / "roles" / "main.yml").write_text("- two\n")
    (world.root / "roles" / "new.yml").write_text("- new\n")
    plan = world.job(variables={"size": 1}).plan()
    assert plan.reasons == ("roles/main.yml changed", "roles/new.yml is new", "variable size is new")
    assert plan.newest == built.images[0].id


def test_the_newest_image_of_another_family_says_nothing(world: World) -> None:
    world.build()
    assert world.job(variables={"family": "other"}).plan().reasons == ("no image with this fingerprint",)


@pytest.mark.parametrize("state", ["pending", "failed", "deregistered", "invalid"])
def test_only_an_image_that_can_be_used_counts(world: World, state: str) -> None:
    _, built = world.build()
    world.ec2.images[-1]["State"] = state
    assert world.job().plan().reasons == ("no image with this fingerprint",)
    world.ec2.images[-1]["State"] = "available"
    assert world.job().plan().existing == built.images


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"boring:build": "amazon-ebs.cpu"},
        {"boring:build": "amazon-ebs.gpu", "boring:confirmed": "amazon-ebs.cpu"},
        {"boring:build": "amazon-ebs.cpu", "boring:confirmed": "amazon-ebs.gpu"},
    ],
)
def test_an_image_that_no_build_confirmed_is_not_found(world: World, tags: dict[str, str]) -> None:
    """By hand, by a Packer that failed later, of another build or of another source: its fingerprint alone says nothing."""
    digest = world.job().plan().fingerprint
    world.ec2.add("by hand", tags={"boring:fingerprint": digest, **tags})
    assert world.job().plan().builds


def test_the_image_of_another_build_is_not(world: World) -> None:
    digest = world.job().plan().fingerprint
    world.ec2.add("other", tags={"boring:fingerprint": digest, "boring:build": "amazon-ebs.gpu"})
    assert world.job().plan().builds


def test_tags_that_the_template_forgot_are_added(world: World) -> None:
    world.tags_itself = False
    plan, built = world.build()
    tags = {tag["Key"]: tag["Value"] for tag in world.ec2.images[-1]["Tags"]}
    assert tags["boring:fingerprint"] == plan.fingerprint
    assert (tags["boring:build"], tags["boring:family"]) == ("amazon-ebs.cpu", "web")
    assert "boring:inputs:0" in tags
    assert world.job().plan().existing == built.images


def test_force_builds_another_under_another_name(world: World) -> None:
    world.build()
    plan, built = world.build(force=True)
    assert plan.reasons == ("force: it is built although an image with this fingerprint exists",)
    assert built.images[0].name == f"boring-web-{plan.fingerprint[:12]}-2"
    assert world.job().plan().existing[0].id == built.images[0].id


def test_the_name_of_a_failed_image_is_not_taken_again(world: World) -> None:
    _, built = world.build()
    world.ec2.images[-1].update(State="failed")
    _, second = world.build()
    assert second.images[0].name == f"{built.images[0].name}-2"


def test_variables_go_by_file_and_the_lock_by_path(world: World) -> None:
    lock = world.root / "lock.json"
    lock.write_text("{}")
    world.build(variables={"password": "s3cret", "sizes": [1]}, lock=lock, region="eu-central-1")
    (run,) = world.runs
    assert run["variables"] == {"password": "s3cret", "sizes": [1]}
    assert "s3cret" not in " ".join(run["argv"])
    assert run["env"]["PKR_VAR_lock"] == str(lock)
    assert run["env"]["PKR_VAR_region"] == "eu-central-1"
    assert run["cwd"] == world.root / "packer"


def test_an_image_that_will_not_be_found_again_is_told(world: World) -> None:
    """Two names for one source, and no word in the manifest of which it was: Packer writes the block's own."""
    template = world.root / "packer" / "it.pkr.hcl"
    names = "".join(f'  source "source.amazon-ebs.cpu" {{ name = "{name}" }}\n' for name in ("small", "large"))
    template.write_text(template.read_text().replace("build {", "build {\n" + names))
    built = world.build(only=("amazon-ebs.small", "amazon-ebs.large"))[1]
    (warning,) = built.warnings
    assert "Packer's manifest calls a build amazon-ebs.cpu, and several are made of that source" in warning
    assert "boring:confirmed" not in world.ec2.tags()


@pytest.mark.parametrize(("content", "said"), [(None, "does not exist"), ("", "is empty")])
def test_a_lock_that_is_none(world: World, content: str | None, said: str) -> None:
    lock = world.root / "lock.json"
    if content is not None:
        lock.write_text(content)
    with pytest.raises(ImageError, match=rf"the lock .*lock.json {said}"):
        world.job(lock=lock).plan()


def test_no_source_image(world: World) -> None:
    world.ec2.images.clear()
    with pytest.raises(
        ImageError,
        match=r"no source image for amazon-ebs.cpu in eu-central-1: owner debian has none with name=debian-13",
    ):
        world.job().plan()


def left_behind(world: World) -> Callable[[dict[str, str]], packer.Ended]:
    """A Packer that was killed: all it had made is still there."""

    def fate(env: dict[str, str]) -> packer.Ended:
        tags = [{"Key": key, "Value": value} for key, value in json.loads(env["PKR_VAR_run_tags"]).items()]
        world.ec2.instances += [
            {"InstanceId": "i-mine", "State": {"Name": "running"}, "Tags": tags},
            {"InstanceId": "i-other", "State": {"Name": "terminated"}, "Tags": []},
        ]
        world.ec2.keys += [
            {"KeyPairId": "key-mine", "KeyName": "packer_1", "Tags": tags},
            {"KeyPairId": "key-other", "KeyName": "b"},
        ]
        world.ec2.groups += [{"GroupId": "sg-mine", "Tags": tags}, {"GroupId": "sg-other"}]
        return packer.Ended(-9, "timeout")

    return fate


def test_what_a_killed_packer_left_is_removed_and_nothing_else(world: World) -> None:
    world.fate = left_behind(world)
    world.log = "==> amazon-ebs.cpu: Provisioning with Ansible...\n    amazon-ebs.cpu: TASK [slow]\n"
    with pytest.raises(
        ImageError, match=r"took longer than its timeout of 9 s, the last thing being: TASK \[slow\]; raise timeout"
    ):
        world.build(timeout=9.0)
    assert [host["State"]["Name"] for host in world.ec2.instances] == ["terminated", "terminated"]
    assert [key["KeyPairId"] for key in world.ec2.keys] == ["key-other"]
    assert [group["GroupId"] for group in world.ec2.groups] == ["sg-other"]
    assert world.runs[0]["grace"] == 15


def test_a_failed_build_says_why_without_secrets(world: World) -> None:
    world.fate = lambda env: packer.Ended(1)
    world.log = "==> amazon-ebs.cpu: Provisioning with shell script: /tmp/x\n    amazon-ebs.cpu: wrong s3cret\n"
    with pytest.raises(ImageError) as caught:
        world.build(variables={"db_password": "s3cret"})
    assert "wrong ********" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert str(world.root / "cache") in str(caught.value)
    assert "describe_instances" in world.ec2.calls  # it looked whether anything was left


def test_logs_of_failed_builds_are_kept_for_a_week(world: World) -> None:
    world.fate = lambda env: packer.Ended(1)
    with pytest.raises(ImageError):
        world.build()
    (log,) = (world.root / "cache").glob("*.log")
    for age, kept in ((6, True), (8, False)):
        os.utime(log, (time.time() - age * 86400,) * 2)
        with pytest.raises(ImageError):
            world.build(variables={"age": age})
        assert log.exists() == kept


def test_a_stopped_build(world: World) -> None:
    world.fate = lambda env: packer.Ended(1, "SIGTERM")
    with pytest.raises(ImageError, match=r"was stopped \(SIGTERM\); what it had started is gone"):
        world.build()


def test_an_image_that_is_gone_or_failed_is_not_believed(world: World) -> None:
    def fate(env: dict[str, str]) -> packer.Ended:
        ended = world.makes_an_image(env)
        world.ec2.images[-1]["State"] = "failed"
        return ended

    world.fate = fate
    with pytest.raises(ImageError, match="its image ami-2 is failed"):
        world.build()


def test_two_at_once_make_one_image(world: World) -> None:
    job, other = world.job(), world.job()
    plan, plan_of_other = job.plan(), other.plan()
    inside, go_on = threading.Event(), threading.Event()

    def slow(env: dict[str, str]) -> packer.Ended:
        inside.set()
        assert go_on.wait(10)
        return world.makes_an_image(env)

    world.fate = slow
    made: list[build.Built] = []
    threads = [threading.Thread(target=lambda: made.append(job.build(plan)))]
    threads[0].start()
    assert inside.wait(10)
    threads.append(threading.Thread(target=lambda: made.append(other.build(plan_of_other))))
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(world.runs) == 1
    assert made[0].images == made[1].images
    assert [one.manifest is None for one in made] == [False, True]


def test_a_source_that_is_not_on_ec2_needs_no_ec2(world: World) -> None:
    (world.root / "packer" / "it.pkr.hcl").write_text(
        'source "qemu" "cpu" {}\nbuild {\n  sources = ["source.qemu.cpu"]\n  post-processor "manifest" {}\n}\n'
    )
    plan = world.job(only=()).plan()
    assert plan.reasons == ("no image with this fingerprint",)
    assert world.ec2.calls == []


def test_diff(world: World) -> None:
    _, built = world.build()
    (world.root / "roles" / "main.yml").write_text("- two\n")
    plan = world.job().plan()
    assert build.as_diff(plan) == {
        "before": f"{built.images[0].id}\n",
        "after": f"roles/main.yml changed\nweb, fingerprint {plan.fingerprint}\n",
    }


def test_where_locks_and_logs_are() -> None:
    assert build.cache_directory({"XDG_CACHE_HOME": "/c"}) == Path("/c/boring.fleet/image_build")
    assert build.cache_directory({"HOME": "/h"}) == Path("/h/.cache/boring.fleet/image_build")


def test_what_the_image_says_of_itself_becomes_an_sbom_a_tag_and_honest_words(world: World) -> None:
    (world.root / "packer" / "gpu.pkr.hcl").write_text(
        'variable "gpu" { default = { driver = "none", secure_boot = false } }\n'
    )

    def tells(env: dict[str, str]) -> packer.Ended:
        Path(env["PKR_VAR_packages"]).write_text("installed\tzlib1g\t1.3-1+b1\tamd64\tzlib\t1.3-1\n")
        return world.makes_an_image(env)

    world.fate = tells
    plan, built = world.build()
    assert built.manifest is not None
    told = built.manifest["sbom"]
    text = Path(told["file"]).read_bytes()
    assert told["sha256"] == hashlib.sha256(text).hexdigest()
    assert told["packages"] == 1
    assert json.loads(text)["components"][0]["version"] == "1.3-1+b1"
    tags = {tag["Key"]: tag["Value"] for tag in world.ec2.images[-1]["Tags"]}
    assert tags["boring:sbom"] == told["sha256"]
    assert tags["boring:verified"] == built.manifest["verified"] == "built, proven from the inside; not booted"
    assert world.job().plan().existing == built.images
    assert plan.builds


# --- Never found as good ---------------------------------------------------------------------------------------------


def made_and_failed(world: World, *, tags: bool = True, manifest: bool = True, log: bool = False) -> None:
    """From now on Packer makes an image and fails afterwards."""

    def fate(env: dict[str, str]) -> packer.Ended:
        world.tags_itself = tags
        world.makes_an_image(env)
        world.ec2.images[-1]["CreationDate"] = "2199-01-01T00:00:00.000Z"
        if not tags:
            world.ec2.images[-1]["Name"] = "a name of its own"
        if not manifest:
            Path(env["PKR_VAR_manifest"]).unlink()
        if log:
            world.log += f"--> amazon-ebs.cpu: eu-central-1: {world.ec2.images[-1]['ImageId']}\n"
        return packer.Ended(1)

    world.fate = fate


@pytest.mark.parametrize(
    "how",
    [{}, {"manifest": False}, {"tags": False}, {"tags": False, "manifest": False, "log": True}],
    ids=["tags and manifest", "tags", "manifest", "log"],
)
def test_an_image_of_a_packer_that_failed_is_named_and_not_found_again(world: World, how: dict[str, bool]) -> None:
    world.ec2.long_ids = True
    made_and_failed(world, **how)
    with pytest.raises(ImageError) as caught:
        world.build()
    image = world.ec2.images[-1]["ImageId"]
    assert f"; it had made {image} in eu-central-1 by then, which nobody confirmed" in str(caught.value)
    assert "image_janitor removes it" in str(caught.value)
    tags = world.ec2.tags()
    assert "boring:fingerprint" not in tags
    assert tags["boring:unconfirmed"] == "its build did not end well"
    assert float(tags["boring:expires"]) <= time.time()
    assert tags["boring:builder"]
    assert world.job().plan().builds
    world.fate = world.makes_an_image
    world.tags_itself = True
    assert world.build()[1].images[0].id != image


def test_images_that_were_there_before_are_left_alone(world: World) -> None:
    _, built = world.build()
    before = world.ec2.tags()
    made_and_failed(world)
    world.log = f"starts from {built.images[0].id}\n"
    with pytest.raises(ImageError):
        world.build(force=True)
    assert world.ec2.tags(-2) == before
    assert world.job().plan().existing == built.images


def test_the_layer_below_is_not_taken_for_what_packer_made(world: World) -> None:
    """It may be minutes old, be ours, and be named in every log."""
    world.ec2.long_ids = True
    good = {"boring:confirmed": "amazon-ebs.cpu", "boring:fingerprint": "f" * 64}
    below = world.ec2.add("layer", tags=good)
    unmarked = world.ec2.add("other layer")
    for image in world.ec2.images[-2:]:
        image["CreationDate"] = "2199-01-01T00:00:00.000Z"
    template = world.root / "packer" / "it.pkr.hcl"
    template.write_text(TEMPLATE.replace("source_ami_filter {", f'source_ami = "{unmarked}"\n  source_ami_filter {{'))
    world.fate = lambda env: packer.Ended(1)
    world.log = f"starts from {unmarked}, below it {below}\n"
    with pytest.raises(ImageError) as caught:
        world.build()
    assert "it had made" not in str(caught.value)
    assert world.ec2.tags(-2) == good


def test_a_confirmed_image_says_what_it_is_and_nothing_temporary(world: World) -> None:
    plan, _ = world.build()
    tags = world.ec2.tags()
    assert tags["boring:fingerprint"] == plan.fingerprint
    assert (tags["boring:build"], tags["boring:confirmed"], tags["boring:source"]) == (
        "amazon-ebs.cpu",
        "amazon-ebs.cpu",
        "ami-1",
    )
    assert not {"boring:builder", "boring:expires", "boring:unconfirmed"} & set(tags)
    given = json.loads(world.runs[0]["env"]["PKR_VAR_image_tags"])
    assert "boring:fingerprint" not in given  # it comes last
    assert {"boring:builder", "boring:expires"} <= set(given)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "roles" / "main.yml").write_text("- two\n"), "roles/main.yml"),
        (lambda root: (root / "roles" / "new.yml").write_text("- new\n"), "roles/new.yml"),
        (lambda root: (root / "roles" / "main.yml").unlink(), "the input .*roles names no file"),
        (lambda root: (root / "packer" / "it.pkr.hcl").write_text(TEMPLATE + "# later"), "it.pkr.hcl"),
        (lambda root: (root / "packer" / "it.pkr.hcl").write_text("{"), "it.pkr.hcl, line 1"),
        (lambda root: (root / "packer" / "var.pkrvars.hcl").write_text("size = 2"), "var.pkrvars.hcl"),
        (lambda root: (root / "lock.json").write_text("{ }"), "lock.json"),
    ],
)
def test_inputs_that_change_while_it_is_built(world: World, change: Callable[[Path], object], said: str) -> None:
    (world.root / "packer" / "var.pkrvars.hcl").write_text("size = 1")
    (world.root / "lock.json").write_text("{}")
    chosen = {"var_files": (world.root / "packer" / "var.pkrvars.hcl",), "lock": world.root / "lock.json"}

    def fate(env: dict[str, str]) -> packer.Ended:
        change(world.root)
        return world.makes_an_image(env)

    world.fate = fate
    with pytest.raises(ImageError, match=rf"the inputs were changed while the image was built.*{said}") as caught:
        world.build(**chosen)
    assert f"it had made {world.ec2.images[-1]['ImageId']}" in str(caught.value)
    assert "boring:fingerprint" not in world.ec2.tags()


def test_a_new_source_image_while_it_is_built(world: World) -> None:
    """This template does not declare source_image, so Packer chose for itself, and nobody knows when."""

    def fate(env: dict[str, str]) -> packer.Ended:
        world.ec2.add("debian-13-b", owner="debian")
        return world.makes_an_image(env)

    world.fate = fate
    with pytest.raises(ImageError, match=r"source image of amazon-ebs\.cpu"):
        world.build()
    template = world.root / "packer" / "it.pkr.hcl"
    template.write_text(template.read_text() + 'variable "source_image" { default = "" }\n')
    with pytest.raises(ImageError, match=r"source image of amazon-ebs\.cpu"):
        world.build()  # it is declared, and nothing asks for it
    template.write_text(
        template.read_text().replace("source_ami_filter {", "source_ami = var.source_image\n  source_ami_filter {")
    )
    world.build()  # this one was told


def test_what_a_build_leaves_beside_the_template_is_no_change(world: World) -> None:
    def fate(env: dict[str, str]) -> packer.Ended:
        (world.root / "packer" / "notes.log").write_text("x")
        return world.makes_an_image(env)

    world.fate = fate
    assert world.build()[1].images


# --- Two builds ------------------------------------------------------------------------------------------------------

TWO = TEMPLATE.replace(
    'sources = ["source.amazon-ebs.cpu"]',
    'source "source.amazon-ebs.cpu" { name = "small" }\n  source "source.amazon-ebs.cpu" { name = "large" }',
).replace(
    "{ output = var.manifest }",
    '{\n output = var.manifest\n custom_data = { build = "${source.type}.${source.name}" }\n}',
)


def makes(world: World, *names: str, code: int = 0) -> None:
    def fate(env: dict[str, str]) -> packer.Ended:
        builds = []
        for name in names:
            image = world.ec2.add(
                f"boring-web-{env['PKR_VAR_fingerprint'][:12]}-{name}", tags=json.loads(env["PKR_VAR_image_tags"])
            )
            builds.append(
                {
                    "name": "cpu",
                    "builder_type": "amazon-ebs",
                    "artifact_id": f"eu-central-1:{image}",
                    "packer_run_uuid": "1",
                    "custom_data": {"build": f"amazon-ebs.{name}"},
                }
            )
        Path(env["PKR_VAR_manifest"]).write_text(json.dumps({"builds": builds, "last_run_uuid": "1"}))
        return packer.Ended(code)

    world.fate = fate


def test_two_builds_of_one_source_of_which_one_failed(world: World) -> None:
    (world.root / "packer" / "it.pkr.hcl").write_text(TWO)
    makes(world, "small", code=1)
    with pytest.raises(ImageError, match="it had made ami-2 in eu-central-1"):
        world.build(only=())
    assert world.job(only=()).plan().builds
    makes(world, "small", "large")
    _, built = world.build(only=())
    assert [image.build for image in built.images] == ["amazon-ebs.small", "amazon-ebs.large"]
    assert {image.id for image in world.job(only=()).plan().existing} == {image.id for image in built.images}
    world.ec2.images[-1]["State"] = "deregistered"
    assert world.job(only=()).plan().builds  # the other one does not answer for it


def test_the_name_of_the_build_block_is_part_of_what_it_is(world: World) -> None:
    template = world.root / "packer" / "it.pkr.hcl"
    template.write_text(TEMPLATE.replace("build {", 'build {\n  name = "a"'))
    _, built = world.build()
    assert built.images[0].build == "a.amazon-ebs.cpu"
    assert "-only=a.amazon-ebs.cpu" in world.runs[-1]["argv"]  # as Packer wants it
    assert world.job().plan().existing == built.images
    template.write_text(TEMPLATE.replace("build {", 'build {\n  name = "b"'))
    assert world.job().plan().builds
    world.ec2.create_tags(
        Resources=[built.images[0].id], Tags=[{"Key": "boring:fingerprint", "Value": world.job().plan().fingerprint}]
    )
    assert world.job().plan().builds


# --- What is not known -----------------------------------------------------------------------------------------------

HIDDEN = TEMPLATE.replace(
    "build {", 'variable "word" { default = env("WORD") }\nbuild {\n  provisioner "shell" { inline = [var.word] }'
)


def test_what_is_not_known_is_never_skipped(world: World) -> None:
    (world.root / "packer" / "it.pkr.hcl").write_text(HIDDEN)
    plan, _ = world.build()
    (sentence,) = plan.unknown
    assert 'env("WORD") is read from the environment' in sentence
    again, built = world.build()
    assert again.fingerprint == plan.fingerprint
    assert again.reasons == (f"not known to be unchanged: {sentence}",)
    assert built.manifest is not None
    assert len(world.runs) == 2
    world.job(variables={"word": "x"}).plan()


def test_what_is_not_known_may_be_refused_or_ignored(world: World) -> None:
    (world.root / "packer" / "it.pkr.hcl").write_text(HIDDEN)
    with pytest.raises(ImageError, match=r"unknown is refuse, .*env\(\"WORD\"\)"):
        world.job(unknown="refuse").plan()
    assert world.ec2.calls == []
    world.build(unknown="ignore")
    plan = world.job(unknown="ignore").plan()
    assert not plan.builds
    assert len(plan.unknown) == 1
    assert not world.job(unknown="refuse", variables={"word": "x"}).plan().unknown


def test_an_owner_that_cannot_be_read_sends_no_query(world: World) -> None:
    """The hole: without its owner the question finds a stranger's newer image, and Packer would start from that."""
    template = world.root / "packer" / "it.pkr.hcl"
    template.write_text(
        TEMPLATE.replace('["debian"]', "[var.owner]")
        + 'variable "owner" { default = env("OWNER") }\nvariable "source_image" { default = "" }\n'
    )
    world.ec2.add("debian-13-evil", owner="stranger")
    plan, _ = world.build()
    assert plan.source_images == {}
    assert "PKR_VAR_source_image" not in world.runs[0]["env"]
    assert all("Owners" in asked or "ImageIds" in asked for asked in world.ec2.asked)
    assert any("owners or filters cannot be read" in sentence for sentence in plan.unknown)


def test_a_data_source_of_an_image_is_asked_for_like_a_filter(world: World) -> None:
    text = (
        TEMPLATE[: TEMPLATE.index("source ")]
        + """
    data "amazon-ami" "base" {
      owners  = ["debian"]
      filters = { name = "debian-13-*" }
    }
    source "amazon-ebs" "cpu" {
      region     = var.region
      source_ami = data.amazon-ami.base.id
    }
    """
        + TEMPLATE[TEMPLATE.index("build {") :]
    )
    (world.root / "packer" / "it.pkr.hcl").write_text(text)
    world.ec2.add("debian-13-evil", owner="stranger")
    plan, _ = world.build()
    assert plan.source_images == {"data.amazon-ami.base": "ami-1", "amazon-ebs.cpu": "ami-1"}
    assert not world.job().plan().builds
    new = world.ec2.add("debian-13-b", owner="debian")
    assert world.job().plan().source_images["amazon-ebs.cpu"] == new
    assert "source image of amazon-ebs.cpu changed" in world.job().plan().reasons


# --- Secrets ---------------------------------------------------------------------------------------------------------

SECRET = TEMPLATE + 'variable "pin" {\n  default   = "0000"\n  sensitive = true\n}\n'


@pytest.mark.parametrize("way", ["variables", "file", "json", "default"])
def test_a_secret_is_in_no_tag_and_its_change_is_seen_all_the_same(world: World, way: str) -> None:
    template = world.root / "packer" / "it.pkr.hcl"

    def given(pin: str) -> dict[str, Any]:
        template.write_text(SECRET if way != "default" else SECRET.replace("0000", pin))
        if way == "variables":
            return {"variables": {"pin": pin}}
        if way == "default":
            return {}
        path = world.root / ("a.pkrvars.json" if way == "json" else "a.pkrvars.hcl")
        path.write_text(json.dumps({"pin": pin, "size": 1}) if way == "json" else f'pin = "{pin}"\nsize = 1\n')
        return {"var_files": (path,)}

    plan, built = world.build(**given("1234"))
    first = world.ec2.tags()
    assert world.job(**given("1234")).plan().existing == built.images
    other = world.job(**given("5678")).plan()
    assert other.fingerprint == plan.fingerprint  # so nobody finds the secret by trying
    assert other.tags == plan.tags
    assert other.reasons == ("variable pin changed",)
    _, second = world.build(**given("5678"))
    assert second.images[0].id != built.images[0].id
    temporary = {"boring:builder", "boring:expires"}
    assert {name: value for name, value in world.ec2.tags().items() if name not in temporary} == first
    assert "1234" not in json.dumps(first)
    assert world.job(**given("5678")).plan().existing == second.images


def test_another_machine_cannot_say_whether_a_secret_changed(world: World) -> None:
    (world.root / "packer" / "it.pkr.hcl").write_text(SECRET)
    _, built = world.build(variables={"pin": "1234"})
    for path in (world.root / "cache").glob("*.secrets.json"):
        assert path.stat().st_mode & 0o077 == 0
        assert "1234" not in path.read_text()
        path.unlink()
    plan = world.job(variables={"pin": "1234"}).plan()
    assert plan.builds
    assert any(
        f"variable pin: secrets are in no tag, and this machine did not build {built.images[0].id}" in said
        for said in plan.unknown
    )
    assert world.job(variables={"pin": "1234"}, unknown="ignore").plan().existing == built.images
    with pytest.raises(ImageError, match="unknown is refuse"):
        world.job(variables={"pin": "1234"}, unknown="refuse").plan()


def test_whether_a_file_exists_counts_where_the_template_asks(world: World) -> None:
    template = world.root / "packer" / "it.pkr.hcl"
    template.write_text(
        TEMPLATE.replace("build {", 'build {\n  provisioner "shell" { inline = [fileexists("../flag") ? "a" : "b"] }')
    )
    world.build()
    assert not world.job().plan().builds
    (world.root / "flag").write_text("")
    assert world.job().plan().reasons == ("fileexists ../flag changed",)
