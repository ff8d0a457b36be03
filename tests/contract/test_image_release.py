# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of image_publish and image_prune over HTTP: against moto as it is, and against the local cloud.

Most of it calls the module's own function with clients that can be made to fail; the last part is the real modules, run
by Ansible, with calls that the local cloud refuses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.request import Request
from moto.ec2.models import ec2_backends
from moto.ec2.responses import EC2Response
from moto.ssm.responses import SimpleSystemManagerResponse
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from ansible_collections.boring.fleet.plugins.module_utils.image import copies, janitor, prune
from ansible_collections.boring.fleet.plugins.module_utils.image.channel import Channel
from ansible_collections.boring.fleet.plugins.module_utils.image.copies import Copy
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.retention import Policy
from localcloud.settings import Key
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_server import REGION, Running, forget_moto, until

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ACCOUNT = "123456789012"
FINGERPRINT = "0123456789abcdef" * 4
DENIED, THROTTLED = (403, "UnauthorizedOperation"), (503, "RequestLimitExceeded")


class World:
    """An AWS over HTTP, with images that can be made old, and clients that can be made to fail."""

    def __init__(self, endpoint: str, region: str = REGION, key: Key = Key("x", "x")) -> None:  # noqa: B008 - it is frozen
        self.endpoint, self.region, self.key = endpoint, region, key
        self.failing: dict[str, tuple[int, str]] = {}
        self.calls: list[str] = []
        self.ec2, self.autoscaling, self.ssm = map(self.client, ("ec2", "autoscaling", "ssm"))

    def client(self, service: str) -> Any:
        client = boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.key.access_key,
            aws_secret_access_key=self.key.secret_key,
            config=Config(retries={"total_max_attempts": 1}),
        )
        client.meta.events.register(f"before-send.{service}", self._before)
        return client

    def _before(self, request: Any, event_name: str, **dummy: Any) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        self.calls.append(operation)
        if operation not in self.failing:
            return None
        status, code = self.failing[operation]
        body = json.dumps({"__type": code, "message": code}).encode()
        if ".ssm." not in event_name:
            body = (
                f"<Response><Errors><Error><Code>{code}</Code><Message>{code}</Message></Error></Errors></Response>"
                if ".ec2." in event_name
                else f"<ErrorResponse><Error><Code>{code}</Code><Message>{code}</Message></Error></ErrorResponse>"
            ).encode()
        return AWSResponse(request.url, status, {}, _Body(body))

    def image(
        self, name: str, *, days: float = 100, family: str = "gpu", fingerprint: str = FINGERPRINT, **more: str
    ) -> str:
        image = self.ec2.register_image(Name=name)["ImageId"]
        tags = {"boring:family": family, "boring:fingerprint": fingerprint}
        tags |= {f"boring:{key}": value for key, value in more.items()}
        self.ec2.create_tags(Resources=[image], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
        self.backend.amis[image].creation_date = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
        return str(image)

    @property
    def backend(self) -> Any:
        return ec2_backends[ACCOUNT][self.region]

    def named(self, name: str) -> str:
        (found,) = self.ec2.describe_images(Filters=[{"Name": "name", "Values": [name]}])["Images"]
        return str(found["ImageId"])

    def there(self) -> set[str]:
        return {image["ImageId"] for image in self.ec2.describe_images(Owners=["self"])["Images"]}

    def snapshots(self) -> set[str]:
        return {one["SnapshotId"] for one in self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}

    def snapshot_of(self, image: str) -> str:
        (described,) = self.ec2.describe_images(ImageIds=[image])["Images"]
        return str(described["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"])

    def plan(self, **policy: int) -> prune.Plan:
        given = Policy(**{"keep": 0, "min_age": 14, "max_delete": 10, **policy})
        return prune.plan("gpu", given, ec2=self.ec2, autoscaling=self.autoscaling, ssm=self.ssm, now=time.time())

    def prune(self, **policy: int) -> prune.Plan:
        plan = self.plan(**policy)
        prune.carry_out(plan, prune.Done(), ec2=self.ec2, sleep=lambda seconds: None)
        return plan

    def kept(self) -> dict[str, tuple[str, ...]]:
        return {one.image.id: one.reasons for one in self.plan().verdict.keep}

    def channel(self, name: str = "/images/gpu/stable", **more: Any) -> Channel:
        return Channel(name, ssm=self.ssm, ec2=self.ec2, now=datetime.now(UTC), **more)

    def template(self, name: str, *images: str) -> str:
        identity = ""
        for image in images:
            data = {"ImageId": image} if image else {"InstanceType": "t3.small"}
            if identity:
                self.ec2.create_launch_template_version(LaunchTemplateId=identity, LaunchTemplateData=data)
            else:
                made = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
                identity = made["LaunchTemplate"]["LaunchTemplateId"]
        return identity


class _Body:
    """A body as urllib3 has it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto's own server, nothing of ours in it."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    forget_moto()
    services = {"ec2": EC2Response, "autoscaling": AutoScalingResponse, "ssm": SimpleSystemManagerResponse}

    @Request.application  # type: ignore[untyped-decorator, unused-ignore]
    def application(request: Request) -> Response:
        service = request.headers["Authorization"].split("/")[3]
        status, headers, body = services[service].dispatch(request, request.url, request.headers)
        return Response(body, int(status), {key: value for key, value in headers.items() if key != "status"})

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    forget_moto()


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
def local(cloud: Running) -> World:
    return World(f"http://127.0.0.1:{cloud.server.port}", key=cloud.key)


@pytest.fixture(params=["moto", "local cloud"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "moto":
        return World(request.getfixturevalue("moto"))
    result: World = request.getfixturevalue("local")
    return result


# --- image_prune -------------------------------------------------------------------------------------------------------


def test_old_images_go_with_their_snapshots_and_others_are_not_touched(world: World) -> None:
    images = [world.image(f"gpu-{days}", days=days) for days in (1, 20, 30, 40)]
    other = world.image("cpu", family="cpu")
    snapshots = {image: world.snapshot_of(image) for image in images}
    plan = world.plan(keep=2)
    assert [one.image.id for one in plan.verdict.delete] == [images[3], images[2]]
    assert set(plan.snapshots) == {snapshots[images[2]], snapshots[images[3]]}
    assert world.there() == {*images, other}
    world.prune(keep=2)
    assert world.there() == {images[0], images[1], other}
    assert world.snapshots() & set(snapshots.values()) == {snapshots[images[0]], snapshots[images[1]]}
    assert world.prune(keep=2).verdict.delete == ()


def test_everything_that_refers_to_an_image_keeps_it(moto: str) -> None:
    world = World(moto)
    names = [
        "free",
        "latest",
        "middle",
        "configured",
        "grouped",
        "mixed",
        "override",
        "stopped",
        "channel",
        "before",
        "pinned",
        "shared",
        "public",
    ]
    image = {name: world.image(name) for name in names}
    subnet = world.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    world.template("fleet", image["middle"], image["latest"], "")
    world.autoscaling.create_launch_configuration(
        LaunchConfigurationName="old", ImageId=image["configured"], InstanceType="t3.small"
    )
    grouped, mixed, dummy = (world.template(name, image[name]) for name in ("grouped", "mixed", "override"))
    world.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="plain", MinSize=0, MaxSize=1, VPCZoneIdentifier=subnet,
        LaunchTemplate={"LaunchTemplateId": grouped, "Version": "$Latest"},
    )  # fmt: skip
    world.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="two-kinds", MinSize=0, MaxSize=1, VPCZoneIdentifier=subnet,
        MixedInstancesPolicy={
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateId": mixed, "Version": "1"},
                "Overrides": [
                    {
                        "InstanceType": "t3.large",
                        "LaunchTemplateSpecification": {"LaunchTemplateName": "override", "Version": "$Default"},
                    }
                ],
            }
        },
    )  # fmt: skip
    world.channel().present(image["before"])
    world.channel().present(image["channel"])
    world.ssm.put_parameter(Name="pins", Type="String", Value=f'{{"image": "{image["pinned"]}"}}')
    world.ssm.put_parameter(Name="/secret", Type="SecureString", Value="not read")
    for name, permission in (("shared", {"UserId": "210987654321"}), ("public", {"Group": "all"})):
        world.ec2.modify_image_attribute(ImageId=image[name], LaunchPermission={"Add": [permission]})
    host = world.ec2.run_instances(ImageId=image["stopped"], MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    world.ec2.stop_instances(InstanceIds=[host])

    kept = world.kept()
    said = {name: kept.get(identity, ()) for name, identity in image.items()}
    assert said["free"] == ()
    assert said["latest"] == ("launch template fleet version 2",)
    assert said["middle"] == ("launch template fleet version 1",)
    assert said["configured"] == ("launch configuration old",)
    assert said["grouped"] == ("launch template grouped version 1", "Auto Scaling group plain")
    assert said["mixed"] == ("launch template mixed version 1", "Auto Scaling group two-kinds")
    assert said["override"] == ("launch template override version 1", "Auto Scaling group two-kinds")
    assert said["channel"] == ("parameter /images/gpu/stable",)
    assert said["before"] == ("parameter /images/gpu/stable before its present value, where a roll back goes",)
    assert said["pinned"] == ("parameter pins",)
    assert said["shared"] == ("shared with 210987654321",)
    assert said["public"] == ("public",)
    assert said["stopped"] == (f"instance {host} (stopped)",)
    world.ec2.terminate_instances(InstanceIds=[host])
    world.prune()
    assert set(image.values()) - world.there() == {image["free"], image["stopped"]}


def test_a_parameter_that_a_template_resolves(world: World) -> None:
    first, second, pinned = (world.image(name) for name in ("first", "second", "pinned"))
    world.channel("/c").present(pinned)
    world.channel("/c").present(first)
    world.channel("/c").present(second)
    world.template("aliased", "resolve:ssm:/c:1", "resolve:ssm:/absent")
    kept = world.kept()
    assert kept[pinned] == ("launch template aliased version 1 through the parameter /c:1",)
    assert set(kept) == {first, second, pinned}


def test_every_page_is_read(moto: str) -> None:
    """More than fits into one answer; the last of each is the one that counts."""
    world = World(moto)
    used = world.image("used")
    free = world.image("free")
    for number in range(12):
        world.ssm.put_parameter(Name=f"/fill/{number:02}", Type="String", Value="x")
    world.ssm.put_parameter(Name="/zz", Type="String", Value=used)
    for number in range(60):
        world.autoscaling.create_launch_configuration(
            LaunchConfigurationName=f"lc-{number:02}", ImageId="ami-00000000", InstanceType="t3.small"
        )
    world.autoscaling.create_launch_configuration(LaunchConfigurationName="zz", ImageId=used, InstanceType="t3.small")
    kept = world.kept()
    assert kept == {used: ("launch configuration zz", "parameter /zz")}
    assert world.calls.count("DescribeLaunchConfigurations") > 1
    assert world.calls.count("DescribeParameters") > 1
    assert [one.image.id for one in world.plan().verdict.delete] == [free]


GATHERING = [
    "DescribeImages",
    "DescribeImageAttribute",
    "DescribeSnapshotAttribute",
    "DescribeInstances",
    "DescribeLaunchTemplates",
    "DescribeLaunchTemplateVersions",
    "DescribeLaunchConfigurations",
    "DescribeAutoScalingGroups",
    "DescribeParameters",
    "GetParameters",
    "GetParameterHistory",
]


@pytest.mark.parametrize("failure", [DENIED, THROTTLED, (500, "InternalError")], ids=lambda value: value[1])
def test_any_call_that_fails_means_that_nothing_is_deleted(world: World, failure: tuple[int, str]) -> None:
    images = {world.image(name) for name in ("one", "two")}
    used = world.image("used")
    world.template("fleet", used)
    world.channel().present(used)
    for operation in GATHERING:
        world.failing = {operation: failure}
        with pytest.raises(ImageError) as error:
            world.prune()
        assert operation in str(error.value)
        assert str(error.value).startswith("nothing was deleted")
        assert "\n" not in str(error.value)
    world.failing = {}
    assert world.there() == {*images, used}
    world.calls.clear()
    world.prune()
    assert world.there() == {used}
    # Every call that gathers was made to fail above; none is missing from the list.
    assert set(world.calls) - set(GATHERING) == {"DeregisterImage", "DeleteSnapshot"}


def test_an_answer_without_its_list_is_a_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.image("one")
    client = world.autoscaling
    client.meta.events.register(
        "after-call.autoscaling.DescribeAutoScalingGroups", lambda parsed, **rest: parsed.pop("AutoScalingGroups")
    )
    with pytest.raises(ImageError, match=r"autoscaling:DescribeAutoScalingGroups: its answer has no AutoScalingGroups"):
        world.plan()


def test_a_refusal_half_way_stops_and_says_what_is_gone(world: World) -> None:
    old, newer = world.image("old", days=50), world.image("newer", days=40)
    snapshot = world.snapshot_of(old)
    plan, done = world.plan(), prune.Done()
    world.failing = {"DeleteSnapshot": (400, "InvalidSnapshot.InUse")}
    waits: list[float] = []
    with pytest.raises(ImageError, match=f"{old} is deregistered, but its snapshot {snapshot} is still there"):
        prune.carry_out(plan, done, ec2=world.ec2, sleep=waits.append)
    assert (done.images, done.snapshots, len(waits)) == ([old], [], 4)
    world.failing = {}
    assert newer in world.there()


def test_the_layer_below_an_image_that_stays_stays(world: World) -> None:
    """Also below an image of another family, and below a layer that itself is kept for what is above it."""
    bottom = world.image("bottom", days=90)
    middle = world.image("middle", days=80, source=bottom)
    world.image("engine", days=70, family="engine", source=middle)
    world.image("alone", days=60)
    assert {one.image.name for one in world.plan().verdict.delete} == {"alone"}
    kept = world.kept()
    assert kept[middle] == (f"below {world.named('engine')} (engine), which stays",)
    assert kept[bottom] == (f"below {middle} (middle), which stays",)


def test_a_layer_stays_while_what_is_above_it_waits_for_the_next_time(world: World) -> None:
    bottom = world.image("bottom", days=90)
    top = world.image("top", days=80, source=bottom)
    plan = world.plan(max_delete=1)
    assert [one.image.id for one in plan.verdict.delete] == [top]
    assert [one.image.id for one in world.plan(max_delete=2).verdict.delete] == [bottom, top]


def test_the_newest_of_each_build_stay(world: World) -> None:
    for build in ("amazon-ebs.cpu", "amazon-ebs.gpu"):
        for days in (20, 30, 40):
            world.image(f"{build}-{days}", days=days, build=build)
    world.image("failed-10", days=15, build="amazon-ebs.cpu", unconfirmed="its build did not end well")
    assert {one.image.name for one in world.plan(keep=1).verdict.keep} == {"amazon-ebs.cpu-20", "amazon-ebs.gpu-20"}


def test_a_disabled_image_stays(moto: str) -> None:
    world = World(moto)
    disabled = world.image("disabled")
    world.backend.amis[disabled].state = "disabled"
    assert world.kept() == {disabled: ("disabled",)}


def test_snapshots_that_somebody_else_needs_stay(moto: str) -> None:
    world = World(moto)
    images = {
        name: world.image(name, days=days)
        for name, days in (("mapped", 60), ("configured", 50), ("shared", 40), ("free", 30))
    }
    snapshots = {name: world.snapshot_of(image) for name, image in images.items()}

    def device(name: str) -> list[dict[str, Any]]:
        return [{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": snapshots[name]}}]

    world.ec2.create_launch_template(
        LaunchTemplateName="data", LaunchTemplateData={"BlockDeviceMappings": device("mapped")}
    )
    world.autoscaling.create_launch_configuration(
        LaunchConfigurationName="old",
        ImageId="ami-00000000",
        InstanceType="t3.small",
        BlockDeviceMappings=device("configured"),
    )
    world.ec2.modify_snapshot_attribute(
        SnapshotId=snapshots["shared"],
        Attribute="createVolumePermission",
        OperationType="add",
        UserIds=["210987654321"],
    )
    plan = world.prune()
    assert plan.snapshots == (snapshots["free"],)
    assert not set(images.values()) & world.there()
    assert world.snapshots() & set(snapshots.values()) == {
        snapshots[name] for name in ("mapped", "configured", "shared")
    }


def test_two_images_with_one_snapshot(world: World) -> None:
    one, two, three = (world.image(name, days=days) for name, days in (("one", 60), ("two", 50), ("three", 5)))
    amis = world.backend.amis
    shared = amis[one].ebs_snapshot
    amis[two].ebs_snapshot = shared
    assert world.plan().snapshots == (shared.id,)  # with the last of them
    amis[three].ebs_snapshot = shared
    world.prune()
    assert world.there() & {one, two, three} == {three}
    assert shared.id in world.snapshots()


def test_protected_or_launched_lately(local: World) -> None:
    """What only the local cloud tells as AWS does."""
    protected, launched = local.image("protected"), local.image("launched")
    local.ec2.enable_image_deregistration_protection(ImageId=protected)
    ec2 = local.client("ec2")
    source = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    local.backend.podman_images[launched] = local.backend.podman_images[source]
    host = ec2.run_instances(ImageId=launched, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    ec2.terminate_instances(InstanceIds=[host])
    until(lambda: all("instance" not in reason for reason in local.kept()[launched]))
    assert local.kept() == {
        protected: ("protected against deregistration (enabled-without-cooldown)",),
        launched: ("launched within min_age (14 days)",),
    }
    with pytest.raises(Exception, match="OperationNotPermitted"):
        ec2.deregister_image(ImageId=protected)
    ec2.disable_image_deregistration_protection(ImageId=protected)
    assert set(local.kept()) == {launched}
    local.backend.amis[launched].last_launched_time = "2020-01-01T00:00:00.000Z"
    assert local.kept() == {}


# --- image_janitor -----------------------------------------------------------------------------------------------------


def test_the_janitor_takes_what_killed_builds_left_and_nothing_else(moto: str) -> None:
    world = World(moto)
    ec2, now = world.ec2, time.time()

    def leave(builder: str, expires: float) -> None:
        tags = [{"Key": "boring:builder", "Value": builder}, {"Key": "boring:expires", "Value": f"{expires:.0f}"}]

        def tagged(kind: str) -> list[dict[str, Any]]:
            return [{"ResourceType": kind, "Tags": tags}]

        ec2.run_instances(ImageId="ami-00000000", MinCount=1, MaxCount=1, TagSpecifications=tagged("instance"))
        ec2.create_key_pair(KeyName=f"key-{builder}", TagSpecifications=tagged("key-pair"))
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        ec2.create_security_group(
            GroupName=f"group-{builder}", Description="x", VpcId=vpc, TagSpecifications=tagged("security-group")
        )

    leave("killed", now - 3600)
    leave("running", now + 3600)
    ec2.run_instances(ImageId="ami-00000000", MinCount=1, MaxCount=1)
    ec2.create_key_pair(KeyName="of-a-person")
    (left,) = janitor.expired(janitor.things(ec2), now, 600)
    assert (left.builder, len(left.things)) == ("killed", 3)
    done = janitor.remove(ec2, [left], deadline=time.monotonic() + 30, sleep=lambda seconds: None)
    assert (len(done.things), done.refused) == (3, [])
    assert janitor.expired(janitor.things(ec2), now, 600) == []
    assert {thing.builder for thing in janitor.things(ec2)} == {"running"}
    assert {key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]} == {"key-running", "of-a-person"}
    hosts = [host for group in ec2.describe_instances()["Reservations"] for host in group["Instances"]]
    assert sorted(host["State"]["Name"] for host in hosts) == ["running", "running", "terminated"]


def leave_more(world: World, builder: str, expires: float) -> dict[str, str]:
    """A volume, a snapshot, a launch template and an image of a build."""
    ec2 = world.ec2
    tags = [{"Key": "boring:builder", "Value": builder}, {"Key": "boring:expires", "Value": f"{expires:.0f}"}]

    def tagged(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": tags}]

    volume = ec2.create_volume(Size=1, AvailabilityZone=f"{REGION}a", TagSpecifications=tagged("volume"))["VolumeId"]
    loose = ec2.create_volume(Size=1, AvailabilityZone=f"{REGION}a")["VolumeId"]
    made = ec2.create_launch_template(
        LaunchTemplateName=f"spot-{builder}",
        LaunchTemplateData={"InstanceType": "t3.small"},
        TagSpecifications=tagged("launch-template"),
    )
    image = ec2.register_image(Name=f"image-{builder}")["ImageId"]
    ec2.create_tags(Resources=[image], Tags=tags)
    return {
        "volume": volume,
        "snapshot": ec2.create_snapshot(VolumeId=loose, TagSpecifications=tagged("snapshot"))["SnapshotId"],
        "launch template": made["LaunchTemplate"]["LaunchTemplateId"],
        "image": image,
    }


def test_the_janitor_takes_volumes_snapshots_templates_and_images_too(moto: str) -> None:
    world, now = World(moto), time.time()
    killed, running = leave_more(world, "killed", now - 3600), leave_more(world, "running", now + 3600)
    confirmed = world.image("good", builder="killed", expires=f"{now - 3600:.0f}", confirmed="amazon-ebs.cpu")
    below = world.snapshot_of(killed["image"])
    (left,) = janitor.expired(janitor.things(world.ec2), now, 600)
    assert {(thing.kind, thing.id) for thing in left.things} == set(killed.items())
    done = janitor.remove(world.ec2, [left], deadline=time.monotonic() + 30, sleep=lambda seconds: None)
    assert set(done.things) == {f"snapshot {below}", *(f"{kind} {identity}" for kind, identity in killed.items())}
    assert done.refused == []
    assert {thing.id for thing in janitor.things(world.ec2)} == set(running.values())
    assert world.there() == {running["image"], confirmed}
    assert below not in world.snapshots()


def test_one_refusal_does_not_stop_the_janitor(moto: str, tmp_path: Path) -> None:
    world, now = World(moto), time.time()
    killed, other = leave_more(world, "killed", now - 3600), leave_more(world, "other", now - 3600)
    left = janitor.expired(janitor.things(world.ec2), now, 600)
    world.failing = {"DeleteVolume": DENIED}
    done = janitor.remove(world.ec2, left, deadline=time.monotonic() + 30, sleep=lambda seconds: None)
    assert sorted(said.partition(":")[0] for said in done.refused) == sorted(
        f"volume {each['volume']}" for each in (killed, other)
    )
    assert all("ec2:DeleteVolume" in said for said in done.refused)
    assert not world.there() & {killed["image"], other["image"]}
    (answer, again), dummy = run(world, tmp_path, ("image_janitor", {}), ("image_janitor", {}))
    assert (
        answer["removed"]
        == [f"volume {each['volume']}" for each in sorted((killed, other), key=lambda each: each["volume"])]
        or len(answer["removed"]) == 2
    )
    assert (again["changed"], again["leftovers"]) == (False, [])


# --- image_publish -----------------------------------------------------------------------------------------------------


def test_publish_keeps_the_history_and_rolls_back_once(world: World) -> None:
    one, two, three = (world.image(name) for name in ("one", "two", "three"))
    assert world.channel().present(one).changed
    assert not world.channel().present(one).changed
    moved = world.channel().present(two)
    assert (moved.previous, moved.image) == (one, two)
    assert world.channel(check=True).rolled_back().image == one
    assert world.channel().rolled_back().changed
    assert not world.channel().rolled_back().changed
    assert world.ssm.get_parameter(Name="/images/gpu/stable")["Parameter"]["Value"] == one
    world.channel().present(three)
    back = world.channel().rolled_back()
    assert [version.image for version in back.history] == [one, two, one, three, one]
    assert [version.rolled_back for version in back.history] == [False, False, True, False, True]
    assert [version.number for version in back.history] == [1, 2, 3, 4, 5]


def test_a_channel_holds_one_family_and_one_architecture(world: World) -> None:
    image, other = world.image("one"), world.image("two", family="cpu")
    arm = world.image("three")
    for one, architecture in ((image, "x86_64"), (other, "x86_64"), (arm, "arm64")):
        world.backend.amis[one].architecture = architecture
    world.channel().present(image)
    for refused, said in (
        (other, "is of the family cpu, and the channel .* holds gpu"),
        (arm, "is for arm64, and the channel .* holds an image for x86_64"),
    ):
        for unverified in (False, True):
            with pytest.raises(ImageError, match=said):
                world.channel().present(refused, unverified=unverified)
    assert world.channel("/images/arm").present(arm).changed


def test_an_image_must_be_proven_as_far_as_it_is_asked(moto: str, tmp_path: Path) -> None:
    world = World(moto)
    built = world.image("built", verified="built, proven from the inside; not booted")
    booted = world.image("booted", verified="built, booted without GPU; not loaded on hardware")
    proven = world.image(
        "proven", verified="built, signed, versions equal, booted; loaded on Tesla T4, driver 550, a kernel ran"
    )
    silent = world.image("silent")
    wanted = {"channel": "/images/gpu/stable", "check_mode": True}
    answers, dummy = run(
        world,
        tmp_path,
        *[
            ("image_publish", {**wanted, "image": image, **more})
            for image, more in [
                (built, {}),
                (silent, {}),
                (booted, {}),
                (booted, {"require": "hardware"}),
                (proven, {"require": "hardware"}),
                (built, {"require": "built"}),
                (built, {"unverified": True}),
            ]
        ],
    )
    assert [bool(answer.get("failed")) for answer in answers] == [True, True, False, True, False, False, False]
    assert f"{built} is proven as built" in answers[0]["msg"]
    assert "require is booted" in answers[1]["msg"]
    assert "run playbooks/gpu_smoke.yml" in answers[3]["msg"]


def test_an_image_is_shared_with_its_snapshots(moto: str, tmp_path: Path) -> None:
    world = World(moto)
    image = world.image("one", verified="booted")
    organisation = "arn:aws:organizations::123456789012:organization/o-0123456789"
    wanted = {
        "channel": "/c",
        "image": image,
        "share_with": {"accounts": ["210987654321"], "organizations": [organisation]},
    }
    answers, dummy = run(
        world,
        tmp_path,
        ("image_publish", {**wanted, "check_mode": True}),
        ("image_publish", dict(wanted)),
        ("image_publish", dict(wanted)),
        ("image_publish", {**wanted, "share_with": {"accounts": ["me"]}}),
        ("image_publish", {**wanted, "share_with": {"organizations": ["o-1"]}}),
    )
    assert [answer.get("shared") for answer in answers[:3]] == [True, True, False]
    assert not answers[2]["changed"]
    assert "the account 'me': give its 12 digits" in answers[3]["msg"]
    assert "give the ARN of an organisation" in answers[4]["msg"]
    permissions = world.ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")["LaunchPermissions"]
    assert {"UserId": "210987654321"} in permissions
    assert {"OrganizationArn": organisation} in permissions
    snapshot = world.snapshot_of(image)
    may = world.ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    assert may["CreateVolumePermissions"] == [{"UserId": "210987654321"}]


class Kms:
    """As much of KMS as sharing asks: grants of keys."""

    def __init__(self) -> None:
        self.grants: list[dict[str, Any]] = []
        names = {"list_grants": "ListGrants", "create_grant": "CreateGrant"}
        self.meta = type("Meta", (), {"method_to_api_mapping": names})

    def get_paginator(self, method: str) -> Any:
        assert method == "list_grants"
        return type(
            "Pages",
            (),
            {
                "paginate": lambda _, **wanted: [
                    {"Grants": [one for one in self.grants if one["KeyId"] == wanted["KeyId"]]}
                ]
            },
        )()

    def create_grant(self, **grant: Any) -> None:
        self.grants.append(grant)


def test_accounts_get_the_keys_of_what_is_shared_with_them(moto: str) -> None:
    world, kms = World(moto), Kms()
    image = world.image("one")
    snapshot = world.backend.snapshots[world.snapshot_of(image)]
    snapshot.encrypted, snapshot.kms_key_id = True, "arn:aws:kms:eu-central-1:123456789012:key/1"
    (described,) = world.ec2.describe_images(ImageIds=[image])["Images"]
    readers = copies.Readers(("210987654321",))
    assert copies.share(world.ec2, kms, described, readers, check=True)
    assert kms.grants == []
    assert copies.share(world.ec2, kms, described, readers)
    assert not copies.share(world.ec2, kms, described, readers)
    (grant,) = kms.grants
    assert grant["GranteePrincipal"] == "arn:aws:iam::210987654321:root"
    assert "Decrypt" in grant["Operations"]


def test_check_mode_writes_nothing(world: World) -> None:
    image = world.image("one")
    moved = world.channel(check=True).present(image)
    assert (moved.changed, moved.image, moved.previous) == (True, image, "")
    assert world.ssm.describe_parameters()["Parameters"] == []


def test_what_is_refused(world: World) -> None:
    image = world.image("one")
    unverified = world.image("two", fingerprint="")

    def refused(call: Callable[[], object], said: str) -> None:
        with pytest.raises(ImageError, match=said) as error:
            call()
        assert "\n" not in str(error.value)

    refused(lambda: world.channel().present(unverified), "set unverified to publish it")
    refused(lambda: world.channel().present("ami-0123456789abcdef0"), "it is gone")
    refused(lambda: world.channel().present("latest"), "not the id of an image")
    refused(lambda: world.channel().rolled_back(), "does not exist")
    world.ssm.put_parameter(Name="/url", Type="String", Value="http://x")
    refused(lambda: world.channel("/url").present(image), "holds something that is not the id of an image")
    world.ssm.put_parameter(Name="/secret", Type="SecureString", Value=image)
    refused(lambda: world.channel("/secret").present(image), "SecureString")
    assert world.channel().present(unverified, unverified=True).changed
    world.channel().present(image)
    world.ec2.deregister_image(ImageId=unverified)
    refused(lambda: world.channel().rolled_back(), f"cannot roll back to {unverified}: it is gone")
    assert world.ssm.get_parameter(Name="/images/gpu/stable")["Parameter"]["Value"] == image
    world.failing = {"GetParameterHistory": DENIED}
    refused(lambda: world.channel().present(image), "lack the permission ssm:GetParameterHistory")


def test_what_is_replaced_gets_a_date_and_what_comes_back_loses_it(local: World) -> None:
    one, two = local.image("one"), local.image("two")

    def date(image: str) -> str:
        return str(local.ec2.describe_images(ImageIds=[image])["Images"][0].get("DeprecationTime", ""))

    assert local.channel().present(one, deprecate_after=30).deprecated == ""
    moved = local.channel().present(two, deprecate_after=30)
    assert (moved.changed, moved.deprecated, date(two)) == (True, one, "")
    wanted = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%d")
    assert date(one)[:10] == wanted
    assert not local.channel().present(two, deprecate_after=10).changed
    assert date(one)[:10] == wanted
    back = local.channel().rolled_back(deprecate_after=30)
    assert (back.revived, back.deprecated, date(one)) == (one, two, "")
    assert date(two)[:10] == wanted
    # A run that was killed before it came to the date is made good by the next.
    local.ec2.disable_image_deprecation(ImageId=two)
    assert local.channel().rolled_back(deprecate_after=30).deprecated == two


def test_other_regions_get_a_copy_once_and_their_own_channel(moto: str, tmp_path: Path) -> None:
    world = World(moto)
    one, two = (world.image(f"image-{number}", verified="booted") for number in ("one", "two"))
    wanted = {"channel": "/images/gpu/stable", "copies": [{"region": "us-east-1"}, {"region": "us-west-2"}]}
    answers, dummy = run(
        world,
        tmp_path,
        ("image_publish", {**wanted, "image": one, "check_mode": True}),
        ("image_publish", {**wanted, "image": one}),
        ("image_publish", {**wanted, "image": one}),
        ("image_publish", {**wanted, "image": two}),
        ("image_publish", {**wanted, "state": "rolled_back"}),
        ("image_publish", {**wanted, "image": one, "copies": [{"region": REGION}]}),
    )
    checked, first, again, second, back, twice = answers
    assert [(copy["image"], copy["copied"]) for copy in checked["copies"]] == [("", True)] * 2
    assert [copy["copied"] for copy in first["copies"]] == [True, True]
    assert (again["changed"], again["copies"]) == (
        False,
        [{**copy, "copied": False} for copy in first["copies"]],
    )
    assert {copy["image"] for copy in second["copies"]}.isdisjoint({copy["image"] for copy in first["copies"]})
    assert [copy["image"] for copy in back["copies"]] == [copy["image"] for copy in first["copies"]]
    assert "copies names eu-central-1 twice" in twice["msg"]
    for copy in first["copies"]:
        there = World(moto, copy["region"])
        assert there.ssm.get_parameter(Name="/images/gpu/stable")["Parameter"]["Value"] == copy["image"]
        (described,) = there.ec2.describe_images(ImageIds=[copy["image"]])["Images"]
        tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
        assert tags["boring:copy-of"] == f"{REGION}/{one}"
        assert tags["boring:fingerprint"] == FINGERPRINT
        assert len(there.there()) == 2


def test_no_channel_moves_before_every_copy_is_there(moto: str) -> None:
    world, there = World(moto), World(moto, "us-east-1")
    (described,) = world.ec2.describe_images(ImageIds=[world.image("image-one")])["Images"]
    copy = copies.ensure(there.ec2, "us-east-1", described, REGION)
    ami = there.backend.amis[copy.image]
    now = [0.0]

    def later(seconds: float) -> None:
        now[0] += seconds

    ami.state = "pending"
    assert copies.ensure(there.ec2, "us-east-1", described, REGION) == Copy("us-east-1", copy.image, False)
    with pytest.raises(ImageError, match="is not there yet"):
        copies.wait(there.ec2, copy, deadline=60, clock=lambda: now[0], sleep=later)
    ami.state = "failed"
    with pytest.raises(ImageError, match="is failed"):
        copies.wait(there.ec2, copy, deadline=600, clock=lambda: now[0], sleep=later)
    assert copies.ensure(there.ec2, "us-east-1", described, REGION).made


# --- The modules, run by Ansible -----------------------------------------------------------------------------------------


def run(world: World, tmp_path: Path, *steps: tuple[str, dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The answers of the modules, called one after the other in one play, and what Ansible printed."""
    tasks: list[dict[str, Any]] = []
    for number, (module, options) in enumerate(steps):
        keywords = {key: options.pop(key) for key in ("check_mode", "diff") if key in options}
        tasks.append(
            {f"boring.fleet.{module}": options, "register": f"answer{number}", "ignore_errors": True, **keywords}
        )
    answers = f"{{{{ [{', '.join(f'answer{number}' for number in range(len(steps)))}] | to_json }}}}"
    answer = tmp_path / "answers.json"
    tasks.append({"ansible.builtin.copy": {"dest": str(answer), "content": answers, "mode": "0600"}})
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "module_defaults": {"group/boring.fleet.aws": {"region": REGION}},
        "tasks": tasks,
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "AWS_ENDPOINT_URL": world.endpoint,
        "AWS_ACCESS_KEY_ID": world.key.access_key,
        "AWS_SECRET_ACCESS_KEY": world.key.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    argv = [str(BIN / "ansible-playbook"), str(tmp_path / "play.yml")]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert done.returncode == 0, said
    return list(json.loads(answer.read_text())), said


def test_the_modules_themselves(local: World, cloud: Running, tmp_path: Path) -> None:
    one, two, three = (
        local.image(name, days=days, verified="booted") for name, days in (("one", 60), ("two", 50), ("three", 40))
    )
    publish = {"channel": "/boring/images/gpu/stable"}
    prune_ = {"family": "gpu", "keep": 1}
    answers, said = run(
        local,
        tmp_path,
        ("image_publish", {**publish, "image": one, "check_mode": True, "diff": True}),
        ("image_publish", {**publish, "image": one}),
        ("image_publish", {**publish, "image": one}),
        ("image_publish", {**publish, "state": "rolled_back"}),
        ("image_prune", {**prune_}),
        ("image_prune", {**prune_, "apply": True, "check_mode": True, "diff": True}),
        ("image_prune", {**prune_, "max_delete": -1}),
    )
    checked, published, again, rolled_back, dry, planned, refused = answers
    assert (checked["changed"], checked["image"]) == (True, one)
    assert f"+{one}" in said
    assert (published["changed"], published["previous"], again["changed"]) == (True, "", False)
    assert "has never pointed at another image" in rolled_back["msg"]
    assert (dry["changed"], dry["applied"]) == (False, False)
    reasons = ["50 days old", "not one of the newest 1 of gpu", "nothing refers to it"]
    assert dry["delete"] == [{"id": two, "name": "two", "age_days": 50, "reasons": reasons}]
    assert [(kept["id"], kept["reasons"]) for kept in dry["keep"]] == [
        (three, ["one of the newest 1 of gpu"]),
        (one, ["parameter /boring/images/gpu/stable"]),
    ]
    assert (planned["changed"], planned["applied"], planned["delete"]) == (True, False, dry["delete"])
    assert f"-{two} two" in said
    assert refused["msg"] == "max_delete is -1: give 0 or more"
    assert local.there() == {one, two, three}

    denied = {"kind": "api", "operation": "DescribeParameters", "code": "AccessDeniedException"}
    assert cloud.ask("/_localcloud/faults", "POST", denied)[0] == 200
    (failed, pruned), said = run(
        local, tmp_path, ("image_prune", {**prune_, "apply": True}), ("image_prune", {**prune_, "apply": True})
    )
    assert failed["failed"]
    assert failed["msg"].startswith("nothing was deleted")
    assert "ssm:DescribeParameters" in failed["msg"]
    assert "delete" not in failed
    assert (pruned["changed"], pruned["applied"], pruned["delete"]) == (True, True, dry["delete"])
    assert local.there() == {one, three}
