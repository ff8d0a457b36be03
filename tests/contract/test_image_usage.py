# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images are in use, and the playbook that looks at them on a schedule: over HTTP, against moto."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import in_use, sbom
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from tests.contract.test_image_release import BIN, DENIED, ROOT, World, moto, run

__all__ = ["moto"]  # a fixture


def bom(folder: Path, name: str, version: str) -> str:
    """An SBOM with one package in a folder; its SHA-256."""
    packages = [sbom.Package("libx", version, "amd64", "x", version)]
    text = sbom.document(packages, name=name, release="debian-13", properties={})
    (folder / f"{name}.cdx.json").write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def tag(world: World, image: str, digest: str) -> str:
    world.ec2.create_tags(Resources=[image], Tags=[{"Key": sbom.TAG, "Value": digest}])
    return image


def look(world: World, folder: Path, *groups: str) -> dict[str, in_use.InUse]:
    found = in_use.look(groups, folder, ec2=world.ec2, autoscaling=world.autoscaling, ssm=world.ssm)
    return {one.id: one for one in found}


def test_what_hosts_run_and_groups_start_from_is_in_use_and_nothing_else(moto: str, tmp_path: Path) -> None:
    world = World(moto)
    names = ("old", "grouped", "channel", "alone", "bare", "gone", "lost", "free")
    image = {name: world.image(name) for name in names}
    for name in ("old", "grouped", "channel", "alone", "free"):
        tag(world, image[name], bom(tmp_path, name, "1.0-1"))
    tag(world, image["lost"], "f" * 64)
    foreign = world.ec2.register_image(Name="somebody-elses")["ImageId"]
    subnet = world.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    world.channel("/c").present(image["channel"])
    fixed = world.template("fixed", image["old"], image["grouped"])
    aliased = world.template("aliased", "resolve:ssm:/c")
    for name, template in (("fixed", fixed), ("aliased", aliased)):
        world.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=0, MaxSize=1, VPCZoneIdentifier=subnet,
            LaunchTemplate={"LaunchTemplateId": template, "Version": "$Latest"},
        )  # fmt: skip
    hosts = {}
    for name in ("alone", "bare", "gone", "lost", ""):
        made = world.ec2.run_instances(ImageId=image[name] if name else foreign, MinCount=1, MaxCount=1)
        hosts[name] = made["Instances"][0]["InstanceId"]
    ended = world.ec2.run_instances(ImageId=image["free"], MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    world.ec2.terminate_instances(InstanceIds=[ended])
    del world.backend.amis[image["gone"]]

    found = look(world, tmp_path)
    assert set(found) == {image[name] for name in ("grouped", "channel", "alone", "bare", "gone", "lost")} | {foreign}
    assert found[image["grouped"]].used_by == ("Auto Scaling group fixed",)
    assert found[image["channel"]].used_by == ("Auto Scaling group aliased through the parameter /c",)
    alone = found[image["alone"]]
    assert (alone.sbom, alone.release, alone.problem) == (str(tmp_path / "alone.cdx.json"), "debian-13", "")
    assert alone.used_by == (f"instance {hosts['alone']} (running)",)
    assert "has no tag boring:sbom" in found[image["bare"]].problem
    assert "is gone, and instance" in found[image["gone"]].problem
    assert f"is not in the folder: it is the one with the SHA-256 {'f' * 64}" in found[image["lost"]].problem
    assert (found[foreign].foreign, found[foreign].problem) == (True, "")

    assert set(look(world, tmp_path, "fixed")) == {image["grouped"]}
    with pytest.raises(ImageError, match="no Auto Scaling group absent"):
        look(world, tmp_path, "fixed", "absent")
    with pytest.raises(ImageError, match=r"there is no folder .* with SBOMs"):
        look(world, tmp_path / "absent")


@pytest.mark.parametrize(
    "operation",
    [
        "DescribeInstances",
        "DescribeLaunchTemplates",
        "DescribeLaunchTemplateVersions",
        "DescribeLaunchConfigurations",
        "DescribeAutoScalingGroups",
        "DescribeImages",
        "GetParameters",
    ],
)
def test_a_call_that_fails_is_no_empty_answer(moto: str, tmp_path: Path, operation: str) -> None:
    world = World(moto)
    image = world.image("used")
    world.channel("/c").present(image)
    template = world.template("aliased", "resolve:ssm:/c")
    subnet = world.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    world.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="g", MinSize=0, MaxSize=1, VPCZoneIdentifier=subnet,
        LaunchTemplate={"LaunchTemplateId": template, "Version": "1"},
    )  # fmt: skip
    world.failing = {operation: DENIED}
    with pytest.raises(ImageError, match=operation):
        look(world, tmp_path)


def play(world: World, folder: Path, tracker: Path) -> tuple[int, str]:
    env = {
        **os.environ,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "AWS_ENDPOINT_URL": world.endpoint,
        "AWS_REGION": world.region,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PWD": str(folder),
    }
    variables = {
        "check_images_sboms": str(folder),
        "check_images_data": str(tracker),
        "fleet_state_dir": str(folder / "state"),
    }
    argv = [str(BIN / "ansible-playbook"), "boring.fleet.check_images", "-e", json.dumps(variables)]
    done = subprocess.run(
        argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_the_playbook_is_red_for_what_is_in_use_and_for_what_it_cannot_see(moto: str, tmp_path: Path) -> None:
    world = World(moto)
    found = {
        "CVE-2026-90001": {"releases": {"trixie": {"status": "resolved", "fixed_version": "1.0-2", "urgency": "high"}}}
    }
    tracker = tmp_path / "tracker.json"
    # The reader refuses data with few packages, as half of the data is no data.
    tracker.write_text(json.dumps({"x": found, **{f"filler-{number}": {} for number in range(5000)}}))
    fixed = tag(world, world.image("fixed"), bom(tmp_path, "fixed", "1.0-2"))
    world.template("unused", tag(world, world.image("unused"), bom(tmp_path, "unused", "1.0-1")))
    world.ec2.run_instances(ImageId=fixed, MinCount=1, MaxCount=1)
    code, said = play(world, tmp_path, tracker)
    assert code == 0, said
    assert "1 images in use, none of those of image_build lacks a fix" in said

    lacking = tag(world, world.image("lacking"), bom(tmp_path, "lacking", "1.0-1"))
    world.ec2.run_instances(ImageId=lacking, MinCount=1, MaxCount=1)
    code, said = play(world, tmp_path, tracker)
    assert code == 2
    assert f"{lacking}: CVE-2026-90001 in x 1.0-1 is fixed in 1.0-2" in said
    assert f"{fixed}:" not in said

    (tmp_path / "lacking.cdx.json").unlink()
    code, said = play(world, tmp_path, tracker)
    assert code == 2
    assert f"the SBOM of the image {lacking} (lacking) is not in the folder" in said
    (tmp_path / "tracker.json").write_text("{}")
    code, said = play(world, tmp_path, tracker)
    assert code == 2
    assert "fetch it anew" in said


def test_the_module_itself(moto: str, tmp_path: Path) -> None:
    world = World(moto)
    image = tag(world, world.image("one"), bom(tmp_path, "one", "1.0-1"))
    world.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    folder = {"sboms": str(tmp_path)}
    (seen, none, refused), dummy = run(
        world,
        tmp_path,
        ("image_usage_info", folder),
        ("image_usage_info", {"sboms": str(tmp_path / "absent")}),
        ("image_usage_info", {**folder, "groups": ["absent"]}),
    )
    assert ([one["id"] for one in seen["images"]], seen["problems"], seen["changed"]) == ([image], [], False)
    assert "there is no folder" in none["msg"]
    assert "no Auto Scaling group absent" in refused["msg"]
