# SPDX-License-Identifier: GPL-3.0-or-later
"""host_lifecycle against the local cloud's API, from an instance's own address and with just the rights that the model of a fleet gives."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.fleet import scaling
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.host import told
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Answer, Aws, Http, Metadata, RefusedError
from ansible_collections.boring.fleet.plugins.module_utils.host.lifecycle import Lifecycle, Result
from ansible_collections.boring.fleet.plugins.module_utils.host.metric import Publisher
from tests.unit.localcloud.test_inside import WithInside, cloud  # noqa: F401 - the fixture
from tests.unit.localcloud.test_server import until

FLEET = {
    "fleet_name": "shop",
    "fleet_region": "eu-central-1",
    "fleet_machines": {"cpu": {"profile": "cpu", "instance_type": "t3.medium"}},
    "fleet_data": {"store": {"kind": "redis", "purpose": "store", "nodes": 3}},
    "fleet_services": {"web": {"roles": ["acme.shop.web"], "port": 8000, "uses": ["store"]}},
}


def speaking_from(address: str) -> Http:
    def request(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(
            str(parts.hostname), parts.port, timeout=10, source_address=(address, 0)
        )
        try:
            connection.request(method, parts.path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), answer.headers.get("Date", ""))
        finally:
            connection.close()

    return request


class Kept:
    text = ""

    def read(self) -> str:
        return self.text

    def write(self, text: str) -> None:
        self.text = text


def test_a_host_completes_its_hooks_and_tags_itself_and_may_do_all_that_it_must(cloud: WithInside) -> None:  # noqa: F811
    settings = cloud.cloud.settings
    url = f"http://{settings.gateway}:{settings.port}"
    found = lists(read_fleet(FLEET), account="123456789012", endpoint=url)
    (group,) = [one for one in found["groups"] if one["for"] == "store"]
    (role,) = [one for one in found["roles"] if one["for"] == "store"]
    cloud.profile(role["policy"])
    (file,) = [one["content"] for one in group["template"]["files"] if one["path"] == told.PATH]
    read = told.read(file)
    vpc = cloud.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    target = cloud.client("elbv2").create_target_group(
        Name=read.target_group, Protocol="TCP", Port=6379, VpcId=vpc, HealthCheckProtocol="HTTP", HealthCheckPort="6380", HealthCheckPath="/master"
    )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
    cloud.client("ssm").put_parameter(Name=read.parameters["admin"], Value="secret", Type="SecureString")
    hooks = [
        {"LifecycleHookName": hook["name"], "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{hook['transition'].upper()}",
         "HeartbeatTimeout": hook["heartbeat_timeout"], "DefaultResult": hook["default_result"]}
        for hook in group["lifecycle_hooks"]
    ]  # fmt: skip
    tags = [
        {
            "Key": key,
            "Value": value,
            "PropagateAtLaunch": True,
            "ResourceId": group["name"],
            "ResourceType": "auto-scaling-group",
        }
        for key, value in group["tags"].items()
    ]
    asg = cloud.group(group["name"], LifecycleHookSpecificationList=hooks, Tags=tags)
    host = cloud.member("Pending:Wait")
    there = speaking_from(host.address)
    metadata = Metadata(there, time.monotonic, url)
    aws = Aws(there, metadata, read.region, read.endpoint, time.time)
    said: list[str] = []
    ran: list[str] = []

    def steps(folder: str, tick: Callable[[], bool]) -> Result:
        ran.append(folder)
        tick()
        if folder == "enter.d":
            assert aws.parameters([read.parameters["admin"]]) == {read.parameters["admin"]: "secret"}
            (me,) = aws.instances(read.fleet, read.service)
            assert (me.id, me.address, me.lifecycle) == (host.id, host.address, "Pending:Wait")
            aws.register(read.target_group, host.id)
        if folder == "leave.d":
            aws.register(read.target_group, host.id, away=True)
        return Result()

    def tag() -> str:
        found: Any = cloud.instance(host.id).get("Tags", [])
        return {str(one["Key"]): str(one["Value"]) for one in found}.get("boring:lifecycle", "")

    life = Lifecycle(
        read,
        metadata,
        aws,
        steps,
        Kept(),
        "boot",
        time.time,
        lambda seconds: time.sleep(min(seconds, 0.2)),
        said.append,
    )
    thread = threading.Thread(target=life.run, daemon=True)
    thread.start()
    assert cloud.member("InService").id == host.id
    until(lambda: tag() == "in service", f"no tag: {said}")
    health = cloud.client("elbv2").describe_target_health(TargetGroupArn=target)["TargetHealthDescriptions"]
    assert [one["Target"]["Id"] for one in health] == [host.id]
    asg.terminate_instance_in_auto_scaling_group(InstanceId=host.id, ShouldDecrementDesiredCapacity=True)
    thread.join(30)
    assert not thread.is_alive(), said
    assert [folder for folder in ran if folder != "keep.d"] == ["enter.d", "leave.d"]
    assert "completed the lifecycle action leave with CONTINUE" in said
    assert not [line for line in said if "refused" in line], said


def test_a_host_puts_the_metric_that_its_group_follows_and_no_other(cloud: WithInside) -> None:  # noqa: F811
    settings = cloud.cloud.settings
    url = f"http://{settings.gateway}:{settings.port}"
    scale = {"metric": "busy", "target": 0.7}
    web = {**FLEET["fleet_services"]["web"], "scale": scale, "size": {"max": 3}}  # type: ignore[index]
    found = lists(read_fleet({**FLEET, "fleet_services": {"web": web}}), account="123456789012", endpoint=url)
    (group,) = [one for one in found["groups"] if one["for"] == "web"]
    (role,) = [one for one in found["roles"] if one["for"] == "web"]
    cloud.profile(role["policy"])
    asg = cloud.group(group["name"])
    there = speaking_from(cloud.member().address)
    (file,) = [one["content"] for one in group["template"]["files"] if one["path"] == told.PATH]
    read = told.read(file)
    aws = Aws(there, Metadata(there, time.monotonic, url), read.region, read.endpoint, time.time)
    about = scaling.policy("shop", "web", group["scale"], "")
    asg.put_scaling_policy(AutoScalingGroupName=group["name"], PolicyName=scaling.POLICY, **about)
    Publisher(lambda *_: (200, "busy 0.75\n"), aws.put_metric)(read)
    watch = cloud.client("cloudwatch")
    (alarm, dummy) = watch.describe_alarms()["MetricAlarms"]
    (metric,) = watch.list_metrics()["Metrics"]
    assert metric == {key: alarm[key] for key in ("Namespace", "MetricName", "Dimensions")}
    now = time.time()
    (point,) = watch.get_metric_statistics(
        **metric, StartTime=now - 120, EndTime=now + 60, Period=60, Statistics=["Average"]
    )["Datapoints"]
    assert point["Average"] == 0.75
    with pytest.raises(RefusedError, match="not authorized to perform: cloudwatch:PutMetricData"):
        aws.put_metric("AWS/EC2", "CPUUtilization", {}, 1.0)
