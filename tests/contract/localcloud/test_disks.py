# SPDX-License-Identifier: GPL-3.0-or-later
"""A data disk goes from one real host to the next, while both run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.localcloud.test_ec2 import BOOT_SECONDS, Cloud, podman, traces, until
from tests.contract.localcloud.test_ec2 import pytestmark as needs_hosts

pytestmark = needs_hosts


@pytest.fixture
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("cloud"), "debian-13")
    made.up()
    yield made
    made.command("down")
    assert traces(made) == []


def test_a_disk_outlives_its_host_and_is_attached_to_another_that_runs(cloud: Cloud) -> None:
    ec2, image = cloud.client(), cloud.base("debian-13")
    disk = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, BlockDeviceMappings=[disk])["Instances"][0]
    heir = cloud.up_host(image)
    first = str(made["InstanceId"])
    about = cloud.until(first, "running")
    volume = next(one["Ebs"]["VolumeId"] for one in about["BlockDeviceMappings"] if one["DeviceName"] == "/dev/sdf")
    # A service writes to it while the host shuts down.
    unit = "[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\nExecStop=/usr/bin/touch /mnt/sdf/last-words\\n"
    shell = f"printf '{unit}' > /etc/systemd/system/witness.service; systemctl start witness; echo kept > /mnt/sdf/data"
    podman("exec", f"lc-{cloud.name}-{first}", "sh", "-c", shell)
    ec2.terminate_instances(InstanceIds=[first])
    cloud.until(first, "terminated", BOOT_SECONDS)
    ec2.attach_volume(VolumeId=volume, InstanceId=heir, Device="/dev/sdg")
    container = f"lc-{cloud.name}-{heir}"
    until(lambda: podman("exec", container, "ls", "/mnt").split() == ["sdg", volume], 10)
    assert podman("exec", container, "sh", "-c", "cat /mnt/sdg/data; ls /mnt/sdg") == "kept\ndata\nlast-words\n"
    ec2.detach_volume(VolumeId=volume)
    until(lambda: podman("exec", container, "ls", "/mnt") == "", 10)
