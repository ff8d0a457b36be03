# SPDX-License-Identifier: GPL-3.0-or-later
"""A group behind a load balancer on real hosts: EC2, Auto Scaling and ELBv2 as one, seen over HTTP."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.localcloud.test_balancer import HAPROXY, Client, alive, free_port, get, wait
from tests.contract.localcloud.test_ec2 import BOOT_SECONDS, Cloud

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("podman"), reason="hosts need root and podman"),
    pytest.mark.skipif(not Path(HAPROXY).exists(), reason="haproxy is not installed"),
]
USER_DATA = """\
#cloud-config
write_files:
  - path: /etc/systemd/system/web.service
    content: |
      [Service]
      ExecStart=/usr/bin/python3 -m http.server 8080 --directory /etc
      [Install]
      WantedBy=multi-user.target
runcmd: [systemctl enable --now web]
"""


class Web:
    """A group of two web servers behind a load balancer."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.ec2, self.groups, self.elb = (cloud.client(name) for name in ("ec2", "autoscaling", "elbv2"))
        subnets = self.ec2.describe_subnets()["Subnets"]
        ids = [subnet["SubnetId"] for subnet in subnets]
        self.ec2.create_launch_template(
            LaunchTemplateName="web",
            LaunchTemplateData={
                "ImageId": self.ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"],
                "InstanceType": "t3.micro",
                "UserData": base64.b64encode(USER_DATA.encode()).decode(),
            },
        )
        made = self.elb.create_load_balancer(Name="web", Subnets=ids)["LoadBalancers"][0]
        self.address = made["DNSName"]
        self.port = free_port(self.address)
        self.group = self.elb.create_target_group(
            Name="web", Protocol="HTTP", Port=8080, VpcId=subnets[0]["VpcId"], HealthCheckPath="/hostname",
            HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
        self.elb.modify_target_group_attributes(
            TargetGroupArn=self.group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "3"}]
        )
        self.elb.create_listener(
            LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=self.port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.group}],
        )  # fmt: skip
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName="web", LaunchTemplate={"LaunchTemplateName": "web"}, MinSize=2, MaxSize=3,
            DesiredCapacity=2, VPCZoneIdentifier=",".join(ids), TargetGroupARNs=[self.group],
            HealthCheckType="ELB", HealthCheckGracePeriod=300,
        )  # fmt: skip

    def states(self) -> dict[str, str]:
        listed = self.elb.describe_target_health(TargetGroupArn=self.group)["TargetHealthDescriptions"]
        return {item["Target"]["Id"]: item["TargetHealth"]["State"] for item in listed}

    def healthy(self) -> set[str]:
        return {target for target, state in self.states().items() if state == "healthy"}

    def until_healthy(self, number: int, without: str = "") -> set[str]:
        found = wait(
            lambda: now if len(now := self.healthy()) == number and without not in self.states() else None,
            2 * BOOT_SECONDS,
        )
        assert found, self.states()
        return set(found)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    cloud = Cloud(tmp_path)
    try:
        cloud.up()
        yield Web(cloud)
    finally:
        cloud.command("down", check=False)
    assert alive(tmp_path / cloud.name / "haproxy") == [], "HAProxy was left behind"


def test_hosts_come_and_go_without_a_failed_request(web: Web) -> None:
    first = web.until_healthy(2)
    with Client(web.address, web.port, path="/hostname", threads=1) as client:
        web.groups.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=3)
        web.until_healthy(3)
        leaving = min(first)
        web.groups.terminate_instance_in_auto_scaling_group(InstanceId=leaving, ShouldDecrementDesiredCapacity=True)
        assert wait(lambda: web.states().get(leaving) == "draining", 10)
        staying = web.until_healthy(2, without=leaving)
    assert client.failures == []
    assert sum(client.answers.values()) > 100
    # a host whose power fails takes what it was answering with it, no more: the group replaces it
    lost = min(staying)
    name = f"lc-{web.cloud.name}-{lost}"
    subprocess.run(["podman", "kill", name], check=True, capture_output=True, timeout=60)
    subprocess.run(
        ["podman", "wait", name], check=True, capture_output=True, timeout=60
    )  # its processes die one by one
    time.sleep(1)
    assert {get(web.address, web.port, "/hostname")[0] for _ in range(20)} == {200}
    assert lost not in web.until_healthy(2, without=lost)


def test_a_stopped_cloud_comes_back_as_it_was(web: Web) -> None:
    before = web.until_healthy(2)
    web.cloud.command("stop")
    with pytest.raises(OSError):
        get(web.address, web.port, "/hostname")
    web.cloud.command("up")
    assert web.until_healthy(2) == before, "the same hosts, not new ones"
    balancer: dict[str, Any] = web.elb.describe_load_balancers(Names=["web"])["LoadBalancers"][0]
    assert balancer["DNSName"] == web.address
    assert get(web.address, web.port, "/hostname")[0] == 200
