# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault of hosts, felt by a real one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError

from localcloud.settings import settings_of
from tests.contract.localcloud.test_ec2 import BOOT_SECONDS, Cloud, traces, until
from tests.contract.localcloud.test_ec2 import pytestmark as needs_hosts

pytestmark = needs_hosts
GET = """\
at=http://169.254.169.254/latest
token=$(curl -sfm 10 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $at/api/token)
get() { curl -sfm 10 -H "X-aws-ec2-metadata-token: $token" "$at/meta-data/$1"; }
"""


class Stricken(Cloud):
    def arm(self, kind: str, **fields: Any) -> None:
        self.command("faults", json.dumps({"kind": kind, **fields}))

    def clear(self) -> None:
        self.command("faults", "--clear")

    def sh(self, host: str, script: str) -> str:
        done = subprocess.run(
            ["podman", "exec", "-i", f"lc-{self.name}-{host}", "bash"], input=script, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.stdout.strip()

    def reaches(self, host: str, other: str, port: int = 22) -> bool:
        address = self.instance(other)["PrivateIpAddress"]
        return self.sh(host, f"timeout 3 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo yes") == "yes"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stricken]:
    made = Stricken(tmp_path_factory.mktemp("cloud"), "debian-13")
    made.up()
    yield made
    made.command("down")
    assert traces(made) == []


@pytest.fixture
def calm(cloud: Stricken) -> Iterator[Stricken]:
    yield cloud
    cloud.clear()


def launched(cloud: Stricken, zone: str, **more: Any) -> str:
    made = cloud.client().run_instances(
        ImageId=cloud.base("debian-13"),
        MinCount=1,
        MaxCount=1,
        Placement={"AvailabilityZone": f"eu-central-1{zone}"},
        **more,
    )
    return str(made["Instances"][0]["InstanceId"])


@pytest.fixture(scope="module")
def hosts(cloud: Stricken) -> tuple[str, str, str]:
    """Two of zone a, one of zone b."""
    ids = (launched(cloud, "a"), launched(cloud, "a"), launched(cloud, "b"))
    for one in ids:
        cloud.until(one, "running")
    return ids


def test_a_zone_is_cut_off(calm: Stricken, hosts: tuple[str, str, str]) -> None:
    first, near, far = hosts
    assert calm.reaches(first, far)
    calm.arm("network", zone="eu-central-1a", cut=True)
    until(lambda: not calm.reaches(first, far), 30)
    assert calm.reaches(first, near)
    assert not calm.reaches(far, first)
    assert calm.sh(first, f"{GET}get instance-id") == first
    calm.clear()
    until(lambda: calm.reaches(first, far), 30)


def test_packets_are_lost(calm: Stricken, hosts: tuple[str, str, str]) -> None:
    first, _, far = hosts
    address = calm.instance(far)["PrivateIpAddress"]
    ping = f"ping -q -i 0.02 -c 100 -w 20 {address} | grep -o '[0-9.]*% packet loss'"
    assert calm.sh(first, ping) == "0% packet loss"
    calm.arm("network", instance=first, loss=30)
    until(lambda: float(calm.sh(first, ping).partition("%")[0]) > 25, 60)  # there and back


def test_a_full_disk(calm: Stricken, hosts: tuple[str, str, str]) -> None:
    host = hosts[0]
    calm.sh(host, "mkdir -p /srv/data && echo kept > /srv/data/old")
    calm.arm("disk", instance=host, path="/srv/data")
    # each time another file: one that was there before the fault has room of its own
    until(lambda: "No space left" in calm.sh(host, "dd if=/dev/zero of=/srv/data/$$ bs=4k count=100 2>&1"), 30)
    assert calm.sh(host, "cat /srv/data/old; touch /tmp/elsewhere && echo fine") == "kept\nfine"
    calm.clear()
    until(lambda: calm.sh(host, "echo more > /srv/data/new && cat /srv/data/new") == "more", 30)


def test_a_wrong_clock(calm: Stricken, hosts: tuple[str, str, str]) -> None:
    host, other = hosts[0], hosts[1]
    calm.arm("clock", instance=host, offset=7200)
    until(lambda: int(calm.sh(host, "date +%s")) - time.time() > 7000, 30)
    assert abs(int(calm.sh(other, "date +%s")) - time.time()) < 60
    calm.clear()
    until(lambda: abs(int(calm.sh(host, "date +%s")) - time.time()) < 60, 30)


def test_a_wrong_clock_changes_nothing_of_this_machine_and_ends_with_a_stop(
    calm: Stricken, hosts: tuple[str, str, str], tmp_path: Path
) -> None:
    host, mine = hosts[1], tmp_path / "mine"
    mine.write_text("mine\n")
    calm.sh(host, f"ln -s {mine} /etc/faketimerc; ln -s {mine} /etc/ld.so.preload")
    calm.arm("clock", instance=host, offset=7200)
    until(lambda: int(calm.sh(host, "date +%s")) - time.time() > 7000, 30)
    assert mine.read_text() == "mine\n"
    calm.client().stop_instances(InstanceIds=[host])
    calm.until(host, "stopped", 60)
    calm.clear()
    calm.client().start_instances(InstanceIds=[host])
    calm.until(host, "running")
    assert abs(int(calm.sh(host, "date +%s")) - time.time()) < 60


def test_the_api_is_away_for_hosts_and_callers(calm: Stricken, hosts: tuple[str, str, str]) -> None:
    inside = settings_of(calm.directory, calm.name).inside
    call = f"curl -s -o /dev/null -m 10 -d Action=DescribeInstances {inside}/; echo $?"
    assert calm.sh(hosts[0], call) == "0"
    calm.arm("away", seconds=60)
    assert calm.sh(hosts[0], call) != "0"
    with pytest.raises(BotoCoreError):
        calm.client().describe_instances()
    calm.clear()
    assert calm.sh(hosts[0], call) == "0"


def test_spot_is_taken_with_its_notice(calm: Stricken) -> None:
    host = launched(calm, "a", InstanceMarketOptions={"MarketType": "spot"})
    calm.until(host, "running")
    assert calm.sh(host, f"{GET}get spot/instance-action") == ""
    calm.arm("spot", instance=host, notice=15)
    until(lambda: '"action": "terminate"' in calm.sh(host, f"{GET}get spot/instance-action"), 10)
    calm.until(host, "terminated", BOOT_SECONDS)


def test_a_pulled_plug_leaves_no_time_to_stop(calm: Stricken, hosts: tuple[str, str, str]) -> None:
    host = hosts[2]
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/usr/bin/touch /srv/stopped-in-order\n"
    calm.sh(host, f"printf '{unit}' > /run/systemd/system/witness.service; systemctl start witness")
    calm.arm("plug", instance=host)
    calm.until(host, "stopped", 30)
    calm.client().start_instances(InstanceIds=[host])
    calm.until(host, "running")
    assert calm.sh(host, "ls /srv/stopped-in-order 2>/dev/null; echo up") == "up"
