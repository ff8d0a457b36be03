# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups between real hosts and load balancers: what their rules say is open, and nothing else."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localcloud.settings import settings_of
from tests.contract.localcloud.test_balancer import HAPROXY, free_port, get, wait
from tests.contract.localcloud.test_ec2 import Cloud, traces
from tests.contract.localcloud.test_ec2 import pytestmark as needs_hosts

pytestmark = [
    *needs_hosts,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path(HAPROXY).exists(), reason="haproxy is not installed"),
]
PORTS = (22, 7001, 7002, 7003)
SERVER = """\
import asyncio, os
async def tcp(reader, writer):
    await reader.read(1)
    writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + writer.get_extra_info("peername")[0].encode())
    writer.close()
class Udp(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, sender):
        self.transport.sendto(data, sender)
async def main():
    for port in (7001, 7002, 7003):
        await asyncio.start_server(tcp, "0.0.0.0", port)
    await asyncio.get_running_loop().create_datagram_endpoint(Udp, local_addr=("0.0.0.0", 7001))
    await asyncio.Event().wait()
asyncio.run(main())
"""
# Prints which of the goals (protocol, address, port) answer within two seconds.
PROBE = """\
import json, socket, sys, threading
goals, source, found = json.loads(sys.argv[1]), sys.argv[2], []
def ask(protocol, address, port):
    link = socket.socket(type=socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
    try:
        link.settimeout(2)
        if source:
            link.bind((source, 0))
        link.connect((address, port))
        if protocol == "udp":
            link.send(b"x")
            link.recv(1)
        found.append([protocol, address, port])
    except OSError:
        pass
threads = [threading.Thread(target=ask, args=goal) for goal in goals]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(found))
"""


def user_data() -> str:
    files: list[dict[str, Any]] = [
        {"path": "/opt/server.py", "content": SERVER},
        {"path": "/opt/probe.py", "content": PROBE},
        {
            "path": "/etc/systemd/system/server.service",
            "content": "[Service]\nExecStart=/usr/bin/python3 /opt/server.py\n[Install]\nWantedBy=multi-user.target\n",
        },
    ]
    return "#cloud-config\n" + json.dumps({"write_files": files, "runcmd": ["systemctl enable --now server"]})


def rule(*, protocol: str = "tcp", first: int = 0, last: int = 0, group: str = "", cidr: str = "") -> dict[str, Any]:
    ports = {} if protocol == "-1" else {"FromPort": first, "ToPort": last or first}
    peer = {"UserIdGroupPairs": [{"GroupId": group}]} if group else {"IpRanges": [{"CidrIp": cidr}]}
    return {"IpProtocol": protocol, **ports, **peer}


@dataclass
class Net:
    """A cloud with three hosts, each in a group of its own name: front, back and sealed."""

    cloud: Cloud
    groups: dict[str, str]
    hosts: dict[str, str]
    addresses: dict[str, str]

    @property
    def ec2(self) -> Any:
        return self.cloud.client()

    def let_in(self, group: str, *rules: dict[str, Any]) -> None:
        self.ec2.authorize_security_group_ingress(GroupId=self.groups[group], IpPermissions=list(rules))

    def shut(self, group: str, *rules: dict[str, Any]) -> None:
        self.ec2.revoke_security_group_ingress(GroupId=self.groups[group], IpPermissions=list(rules))

    def inside(self, name: str, *words: str) -> str:
        done = subprocess.run(
            ["podman", "exec", f"lc-{self.cloud.name}-{self.hosts[name]}", *words],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout

    def reached(self, name: str, *goals: tuple[str, str, int], source: str = "") -> set[tuple[str, str, int]]:
        """Which of the goals (protocol, host or address, port) a host reaches."""
        named = {address: host for host, address in self.addresses.items()}
        asked = [(protocol, self.addresses.get(host, host), port) for protocol, host, port in goals]
        said = self.inside(name, "python3", "/opt/probe.py", json.dumps(asked), source)
        return {(protocol, named.get(address, address), port) for protocol, address, port in json.loads(said)}

    def from_here(self, name: str, port: int) -> bool:
        """Whether this machine reaches a port of a host."""
        probe = ["python3", "-c", PROBE, json.dumps([("tcp", self.addresses[name], port)]), ""]
        return bool(json.loads(subprocess.run(probe, capture_output=True, timeout=30, check=True).stdout))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    cloud.up()
    try:
        ec2 = cloud.client()
        names = ("front", "back", "sealed")
        groups = {
            name: ec2.create_security_group(GroupName=name, Description=name)["GroupId"] for name in (*names, "door")
        }
        ec2.revoke_security_group_egress(
            GroupId=groups["sealed"], IpPermissions=[rule(protocol="-1", cidr="0.0.0.0/0")]
        )
        image = cloud.base("debian-13")
        hosts = {
            name: ec2.run_instances(
                ImageId=image, MinCount=1, MaxCount=1, SecurityGroupIds=[groups[name]], UserData=user_data(),
                MetadataOptions={"HttpEndpoint": "disabled" if name == "sealed" else "enabled"},
            )["Instances"][0]["InstanceId"]
            for name in names
        }  # fmt: skip
        addresses = {name: cloud.until(host, "running")["PrivateIpAddress"] for name, host in hosts.items()}
        yield Net(cloud, groups, hosts, addresses)
    finally:
        cloud.command("down")
    assert traces(cloud) == []
    assert "lc_" + cloud.name not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    assert (
        cloud.subnet.rpartition(".")[0] + "."
        not in subprocess.run(["ip", "address"], capture_output=True, text=True).stdout
    )


def everything(names: tuple[str, ...] = ("front", "back", "sealed")) -> list[tuple[str, str, int]]:
    return [("tcp", name, port) for name in names for port in PORTS] + [("udp", name, 7001) for name in names]


def test_between_hosts_what_the_rules_say_is_open_and_nothing_else(net: Net) -> None:
    def seen() -> dict[str, set[tuple[str, str, int]]]:
        with ThreadPoolExecutor() as threads:
            found = threads.map(lambda name: net.reached(name, *everything()), net.hosts)
            return {
                name: {goal for goal in goals if goal[1] != name} for name, goals in zip(net.hosts, found, strict=True)
            }

    assert seen() == {"front": set(), "back": set(), "sealed": set()}, "groups let nobody in by themselves"
    rules = [
        rule(first=7001, last=7002, group=net.groups["front"]),
        rule(first=7003, cidr=f"{net.addresses['front']}/32"),
        rule(protocol="udp", first=7001, group=net.groups["front"]),
        rule(first=22, group=net.groups["sealed"]),
    ]
    net.let_in("back", *rules)
    net.let_in("front", rule(protocol="-1", group=net.groups["front"]))
    assert seen() == {
        "front": {("tcp", "back", 7001), ("tcp", "back", 7002), ("tcp", "back", 7003), ("udp", "back", 7001)},
        "back": set(),
        "sealed": set(),  # its group lets nothing out, though that of the other lets it in
    }
    net.shut("back", rules[1], rules[2])
    assert seen()["front"] == {("tcp", "back", 7001), ("tcp", "back", 7002)}, "closed at once"
    net.ec2.authorize_security_group_egress(
        GroupId=net.groups["sealed"], IpPermissions=[rule(first=22, group=net.groups["back"])]
    )
    assert seen()["sealed"] == {("tcp", "back", 22)}, "and opened at once, in both directions"
    net.ec2.revoke_security_group_egress(
        GroupId=net.groups["sealed"], IpPermissions=[rule(first=22, group=net.groups["back"])]
    )
    net.shut("back", rules[0], rules[3])
    assert seen() == {"front": set(), "back": set(), "sealed": set()}


def test_a_group_is_the_hosts_that_are_in_it_now(net: Net) -> None:
    named = rule(first=7001, group=net.groups["door"])
    net.let_in("back", named)
    goal = ("tcp", "back", 7001)
    assert net.reached("front", goal) == set()
    net.ec2.modify_instance_attribute(InstanceId=net.hosts["front"], Groups=[net.groups["front"], net.groups["door"]])
    assert net.reached("front", goal) == {goal}
    net.ec2.modify_instance_attribute(InstanceId=net.hosts["front"], Groups=[net.groups["front"]])
    assert net.reached("front", goal) == set()
    new = net.ec2.run_instances(
        ImageId=net.cloud.base("debian-13"),
        MinCount=1,
        MaxCount=1,
        UserData=user_data(),
        SecurityGroupIds=[net.groups["door"]],
    )["Instances"][0]["InstanceId"]
    net.cloud.until(new, "running")
    net.hosts["new"] = new
    assert net.reached("new", goal) == {goal}, "a host that came later is in it"
    net.ec2.terminate_instances(InstanceIds=[net.hosts.pop("new")])
    net.shut("back", named)


def test_this_machine_gets_in_by_ssh_and_else_by_the_rules(net: Net) -> None:
    assert net.from_here("sealed", 22)
    assert not net.from_here("back", 7001)
    gateway = settings_of(net.cloud.directory, net.cloud.name).gateway
    here = rule(first=7001, cidr=f"{gateway}/32")
    net.let_in("back", here)
    assert net.from_here("back", 7001)
    net.shut("back", here)
    assert not net.from_here("back", 7001)


def test_the_services_of_the_cloud_need_no_rule_and_metadata_can_be_off(net: Net) -> None:
    at = "http://169.254.169.254/latest/api/token"
    ask = [
        "curl",
        "-sm",
        "5",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-X",
        "PUT",
        "-H",
        "X-aws-ec2-metadata-token-ttl-seconds: 60",
        at,
    ]
    everywhere = rule(protocol="-1", cidr="0.0.0.0/0")
    net.ec2.revoke_security_group_egress(GroupId=net.groups["front"], IpPermissions=[everywhere])
    gateway = settings_of(net.cloud.directory, net.cloud.name).gateway
    assert net.inside("front", *ask) == "200"
    assert net.reached("front", ("tcp", gateway, net.cloud.port)), "SSM"
    net.ec2.authorize_security_group_egress(GroupId=net.groups["front"], IpPermissions=[everywhere])
    assert net.inside("sealed", *ask) == "403"
    net.ec2.modify_instance_metadata_options(InstanceId=net.hosts["sealed"], HttpEndpoint="enabled")
    assert net.inside("sealed", *ask) == "200"
    net.ec2.modify_instance_metadata_options(InstanceId=net.hosts["sealed"], HttpEndpoint="disabled")


def test_root_of_a_host_cannot_get_around_the_rules(net: Net) -> None:
    named = rule(first=7001, group=net.groups["front"])
    net.let_in("back", named)
    goal = ("tcp", "back", 7001)
    mine, other = net.addresses["sealed"], net.addresses["front"]
    assert net.reached("front", goal) == {goal}
    net.inside("sealed", "ip", "address", "add", f"{other}/24", "dev", "eth0")
    net.inside("sealed", "ip", "address", "add", f"{mine}/24", "dev", "eth0")
    assert other in net.inside("sealed", "ip", "address")
    assert net.reached("sealed", goal, source=other) == set(), "under the address of a host that may"
    net.inside("sealed", "ip", "address", "delete", f"{other}/24", "dev", "eth0")
    hardware = net.inside("back", "cat", "/sys/class/net/eth0/address").strip()
    net.inside("sealed", "ip", "neighbour", "replace", net.addresses["back"], "lladdr", hardware, "dev", "eth0")
    assert net.reached("sealed", goal) == set(), "past this machine, to the other's hardware address"
    before = net.inside("sealed", "cat", "/sys/class/net/eth0/address").strip()
    net.inside("sealed", "ip", "link", "set", "eth0", "address", "02:00:00:00:00:01")
    net.inside("sealed", "ip", "neighbour", "replace", net.addresses["back"], "lladdr", hardware, "dev", "eth0")
    assert net.reached("sealed", goal) == set(), "nor with another hardware address of its own"
    net.inside("sealed", "ip", "link", "set", "eth0", "address", before)
    net.inside("sealed", "ip", "neighbour", "delete", net.addresses["back"], "dev", "eth0")
    assert net.reached("front", goal) == {goal}
    net.shut("back", named)


def test_a_load_balancer_is_a_member_of_its_groups(net: Net) -> None:
    elb, ec2 = net.cloud.client("elbv2"), net.ec2
    subnets = ec2.describe_subnets()["Subnets"]
    made = elb.create_load_balancer(
        Name="front",
        Subnets=[one["SubnetId"] for one in subnets],
        SecurityGroups=[net.groups["door"]],
        Scheme="internal",
    )["LoadBalancers"][0]
    address = made["DNSName"]
    port = free_port(address)
    group = elb.create_target_group(
        Name="back", Protocol="HTTP", Port=7001, VpcId=subnets[0]["VpcId"],
        HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2,
    )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
    elb.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=port,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )  # fmt: skip
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": net.hosts["back"]}])

    def health() -> Any:
        return elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"][0]["TargetHealth"]

    assert wait(lambda: health()["State"] == "unhealthy", 30), health()
    assert health()["Description"] == "Request timed out", "the target's group does not let it in"
    named = rule(first=7001, group=net.groups["door"])
    net.let_in("back", named)
    assert wait(lambda: health()["State"] == "healthy", 30), health()
    assert get(address, port)[:2] == (200, address), (
        "the target sees the load balancer's address; this machine is let in"
    )
    goal = ("tcp", address, port)
    assert net.reached("front", goal) == set()
    client = rule(first=port, group=net.groups["front"])
    net.let_in("door", client)
    assert net.reached("front", goal) == {goal}
    assert net.reached("sealed", goal) == set()
    everywhere = rule(protocol="-1", cidr="0.0.0.0/0")
    ec2.revoke_security_group_egress(GroupId=net.groups["door"], IpPermissions=[everywhere])
    assert wait(lambda: health()["State"] == "unhealthy", 30), "its own group lets nothing out"
    ec2.authorize_security_group_egress(GroupId=net.groups["door"], IpPermissions=[everywhere])
    assert wait(lambda: health()["State"] == "healthy", 30)
    elb.set_security_groups(LoadBalancerArn=made["LoadBalancerArn"], SecurityGroups=[net.groups["sealed"]])
    assert net.reached("front", goal) == set(), "other groups of the load balancer count at once"
    elb.set_security_groups(LoadBalancerArn=made["LoadBalancerArn"], SecurityGroups=[net.groups["door"]])
    with pytest.raises(ec2.exceptions.ClientError, match="DependencyViolation"):
        ec2.delete_security_group(GroupId=net.groups["door"])
    net.shut("back", named)
    net.shut("door", client)
    elb.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
    elb.delete_target_group(TargetGroupArn=group)
    assert address not in subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout


def test_the_rules_outlast_a_restart_of_the_cloud(net: Net) -> None:
    named = rule(first=7002, group=net.groups["front"])
    net.let_in("back", named)
    net.cloud.command("stop")
    net.cloud.command("up")
    for host in net.hosts.values():
        net.cloud.until(host, "running")
    goals = [("tcp", "back", 7001), ("tcp", "back", 7002)]
    deadline = time.monotonic() + 20
    while not (found := net.reached("front", *goals)) and time.monotonic() < deadline:
        time.sleep(0.5)  # the service of the other host comes up
    assert found == {goals[1]}
    net.shut("back", named)
