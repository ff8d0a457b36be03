# SPDX-License-Identifier: GPL-3.0-or-later
"""Data disks: directories that follow volumes from host to host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud import cloud as cloud_module
from localcloud.hosts.disks import Disks
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_server import REGION, Running, forget_moto, refusal, until

ZONE = f"{REGION}a"


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    podman = fakes.FakePodman()
    fakes.install(monkeypatch, podman)
    monkeypatch.setattr(cloud_module, "TICK_SECONDS", 0.05)
    forget_moto()
    running = Running(tmp_path, podman)
    yield running
    running.end()


def disk(**ebs: Any) -> list[dict[str, Any]]:
    return [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, **ebs}}]


def folder(cloud: Running, host: str) -> Path:
    """What the host sees at /mnt."""
    found = cloud.podman.containers_[f"lc-unit-{host}"].spec.disks
    assert found
    return found


def volume(cloud: Running, host: str) -> str:
    devices = cloud.instance(host)["BlockDeviceMappings"]
    return str(next(one["Ebs"]["VolumeId"] for one in devices if one["DeviceName"] == "/dev/sdf"))


def end(cloud: Running, host: str) -> None:
    cloud.client("ec2").terminate_instances(InstanceIds=[host])
    cloud.until(host, "terminated")


def test_a_disk_outlives_its_host_where_the_launch_says_so(cloud: Running) -> None:
    ec2 = cloud.client("ec2")
    host = cloud.up(BlockDeviceMappings=disk(DeleteOnTermination=False))
    (folder(cloud, host) / "sdf" / "data").write_text("kept")
    kept = volume(cloud, host)
    end(cloud, host)
    assert ec2.describe_volumes(VolumeIds=[kept])["Volumes"][0]["State"] == "available"
    heir = cloud.up()
    cloud.restart()
    ec2 = cloud.client("ec2")
    ec2.attach_volume(VolumeId=kept, InstanceId=heir, Device="/dev/sdg")
    until((folder(cloud, heir) / "sdg").exists)
    assert (folder(cloud, heir) / "sdg" / "data").read_text() == "kept"
    ec2.detach_volume(VolumeId=kept)
    until(lambda: list(folder(cloud, heir).iterdir()) == [])
    ec2.delete_volume(VolumeId=kept)
    until(lambda: not list(cloud.path.glob(f"disks/**/{kept}")))


def test_a_disk_goes_with_its_host_otherwise(cloud: Running) -> None:
    host = cloud.up(BlockDeviceMappings=disk(DeleteOnTermination=True))
    gone = volume(cloud, host)
    assert (folder(cloud, host) / gone).is_dir()
    end(cloud, host)
    until(lambda: not list(cloud.path.glob(f"disks/**/{gone}")) and not list(cloud.path.glob(f"disks/hosts/{host}")))


def test_a_volume_of_its_own(cloud: Running) -> None:
    ec2, host = cloud.client("ec2"), cloud.up()
    made = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    elsewhere = ec2.create_volume(AvailabilityZone=f"{REGION}b", Size=1)["VolumeId"]
    attach = ec2.attach_volume
    assert (
        refusal(lambda: attach(VolumeId=elsewhere, InstanceId=host, Device="/dev/sdf"))[0]
        == "InvalidVolume.ZoneMismatch"
    )
    assert "not a valid EBS device" in refusal(lambda: attach(VolumeId=made, InstanceId=host, Device="../../x"))[1]
    attach(VolumeId=made, InstanceId=host, Device="/dev/sdf")
    assert refusal(lambda: attach(VolumeId=made, InstanceId=host, Device="/dev/sdg"))[0] == "VolumeInUse"
    again = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    assert "already in use" in refusal(lambda: attach(VolumeId=again, InstanceId=host, Device="/dev/sdf"))[1]
    until((folder(cloud, host) / "sdf").exists)
    assert refusal(lambda: ec2.delete_volume(VolumeId=made))[0] == "VolumeInUse"


def test_what_a_host_has_stays_until_it_is_gone(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    disks.settle({"vol-1": ("i-1", "sdf")}, (), ["i-1"])
    at = disks.folder("i-1") / "vol-1"
    assert at.is_dir()
    disks.settle({"vol-1": None}, ["i-1"], ["i-1"])
    disks.settle({}, ["i-1"], ["i-1"])
    disks.settle({"vol-1": ("i-2", "sdf")}, ["i-1"], ["i-1", "i-2"])
    assert at.is_dir()
    disks.settle({"vol-1": ("i-2", "sdf")}, (), ["i-2"])
    assert (disks.folder("i-2") / "sdf").resolve().name == "vol-1"
    assert not at.exists()


def test_what_a_host_made_is_no_volume(tmp_path: Path) -> None:
    disks, hosts = Disks(tmp_path), ["i-1", "i-2"]
    disks.settle({}, (), hosts)
    made = disks.folder("i-1") / "vol-1"
    made.mkdir()
    (made / "planted").touch()
    disks.settle({"vol-1": None}, (), hosts)
    disks.settle({"vol-1": ("i-2", "sdf")}, (), hosts)
    assert list((disks.folder("i-2") / "sdf").iterdir()) == []
    assert (made / "planted").exists()
    disks.settle({"vol-1": None}, (), ["i-2"])
    assert not made.exists()  # it goes with its host


def test_what_a_host_put_in_the_way_of_a_volume_stops_no_other_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disks, hosts = Disks(tmp_path), ["i-1", "i-2"]
    wanted = {"vol-1": ("i-1", "sdf"), "vol-2": ("i-2", "sdf")}
    disks.settle({}, (), hosts)
    in_the_way = disks.folder("i-1") / "vol-1"
    in_the_way.mkdir()
    (in_the_way / "planted").touch()
    for _ in range(3):
        disks.settle(wanted, (), hosts)
    assert (disks.folder("i-2") / "sdf").is_dir()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the disks of vol-1 are not where they belong"
    ]
    (in_the_way / "planted").unlink()
    disks.settle(wanted, (), hosts)
    assert list((disks.folder("i-1") / "sdf").iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "file", "nothing"])
def test_a_host_gives_nothing_else_away_for_its_disk(tmp_path: Path, kind: str) -> None:
    disks, hosts, secret = Disks(tmp_path / "disks"), ["i-1", "i-2"], tmp_path / "secret"
    secret.mkdir()
    (secret / "key").touch()
    disks.settle({"vol-1": ("i-1", "sdf")}, (), hosts)
    mine = disks.folder("i-1") / "vol-1"
    mine.rmdir()
    if kind == "link":
        mine.symlink_to(secret)
    elif kind == "file":
        mine.touch()
    disks.settle({"vol-1": None}, (), hosts)
    disks.settle({"vol-1": ("i-2", "sdf")}, (), hosts)
    assert list((disks.folder("i-2") / "vol-1").iterdir()) == []
    disks.settle({}, (), ())
    assert (secret / "key").exists()


def test_disks_are_known_again_after_a_restart_and_after_a_version_that_kept_no_places(tmp_path: Path) -> None:
    wanted = {"vol-1": ("i-1", "sdf")}
    Disks(tmp_path).settle(wanted, (), ["i-1"])
    (tmp_path / "hosts" / "i-1" / "vol-1" / "data").touch()
    Disks(tmp_path).settle(wanted, (), ["i-1"])
    (tmp_path / "places" / "vol-1").unlink()
    (tmp_path / "places").rmdir()
    Disks(tmp_path).settle(wanted, (), ["i-1"])
    Disks(tmp_path).settle({"vol-1": ("i-2", "sdg")}, (), ["i-1", "i-2"])
    assert (tmp_path / "hosts" / "i-2" / "sdg" / "data").exists()


def test_a_move_that_was_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["i-1", "i-2"]
    Disks(tmp_path).settle({"vol-1": ("i-1", "sdf")}, (), hosts)
    (tmp_path / "hosts" / "i-1" / "vol-1" / "data").touch()
    rename, calls = Path.rename, iter(range(9))

    def second_fails(path: Path, to: Path) -> Path:
        if next(calls) == 1:
            raise OSError("cut short")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", second_fails)
    for _ in range(2):
        Disks(tmp_path).settle({"vol-1": ("i-2", "sdf")}, (), hosts)
    assert (tmp_path / "hosts" / "i-2" / "sdf" / "data").exists()


def test_launches_and_saving_go_on_when_a_disk_cannot_be_moved(cloud: Running) -> None:
    ec2, host = cloud.client("ec2"), cloud.up()
    made = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    (folder(cloud, host) / made).mkdir()
    (folder(cloud, host) / made / "planted").touch()
    ec2.attach_volume(VolumeId=made, InstanceId=host, Device="/dev/sdf")
    assert cloud.state(cloud.up()) == "running"
