# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of targets over a virtual clock and a HAProxy that a test moves by hand; resources are moto's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends

from localcloud.balancer.addresses import loopback_address
from localcloud.balancer.haproxy import BalancerError
from localcloud.balancer.service import Balancer, Instance
from localcloud.balancer.upstream import MotoElbv2
from localcloud.clock import VirtualClock
from localcloud.errors import ApiError
from localcloud.faults import Faults

REGION = "eu-central-1"
ACCOUNT = "123456789012"
FIELDS = (
    "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port"
)


@dataclass
class Server:
    address: str
    port: int
    up: bool = True
    admin: int = 1
    sessions: int = 0
    check: str = "INI"
    code: str = ""
    result: int = 0


@dataclass
class FakeProxy:
    """HAProxy's server table; checks and sessions are set by the test."""

    servers: dict[str, Server] = field(default_factory=dict)
    alive: bool = False
    applied: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    refuses: str = ""

    def running(self) -> bool:
        return self.alive

    def stop(self) -> None:
        self.alive = False
        self.servers.clear()

    def apply(self, config: str, state: str) -> None:
        if self.refuses and self.refuses in config:
            raise BalancerError("HAProxy refuses the configuration: no.")
        self.alive = True
        self.applied.append(config)
        self.servers = {}
        for line in state.splitlines()[2:]:
            row = dict(zip(FIELDS.split(), line.split(), strict=False))
            if f"server {row['srv_name']} " in config:
                self.servers[f"{row['be_name']}/{row['srv_name']}"] = Server(
                    row["srv_addr"], int(row["srv_port"]), row["srv_op_state"] != "0", int(row["srv_admin_state"]),
                    result=int(row["srv_check_result"]),
                )  # fmt: skip

    def command(self, text: str) -> str:
        if not self.alive:
            raise BalancerError("HAProxy does not answer")
        if text.startswith("show stat"):
            return "# pxname,svname,scur,check_status,check_code,\n" + "".join(
                f"{name.replace('/', ',')},{one.sessions},{one.check},{one.code},\n"
                for name, one in self.servers.items()
            )
        if text == "show servers state":
            return f"1\n# {FIELDS}\n" + "".join(
                f"3 {name.replace('/', ' 1 ')} {one.address} {2 if one.up else 0} {one.admin} 1 1 9 6 "
                f"{one.result} 3 6 0 0 0 - {one.port}\n"
                for name, one in self.servers.items()
            )
        self.said.append(text)
        for part in text.split(";"):
            self._run(part.split())
        return ""

    def _run(self, words: list[str]) -> None:
        if words[:2] == ["add", "server"]:
            address, port = words[3].split(":")
            self.servers[words[2]] = Server(address, int(port))
        elif words[:2] == ["del", "server"]:
            one = self.servers[words[2]]
            if one.admin & 1 and not one.sessions:
                del self.servers[words[2]]
        elif words[:2] == ["shutdown", "sessions"]:
            self.servers[words[3]].sessions = 0
        elif words[3:4] == ["state"]:
            self.servers[words[2]].admin = {"ready": 0, "drain": 8, "maint": 1}[words[4]]

    def check(self, target: str, code: int) -> None:
        for name, one in self.servers.items():
            if f"/{target}_" in name:
                one.result, one.code = (3 if code == 200 else 2), str(code)
                one.check = "L7OK" if code == 200 else "L7STS"
                one.up = code == 200

    def one(self, target: str) -> Server | None:
        return next((server for name, server in self.servers.items() if f"/{target}_" in name), None)


@dataclass
class Machines:
    known: dict[str, Instance] = field(default_factory=dict)

    def find(self, region: str, instance_id: str) -> Instance | None:
        return self.known.get(instance_id)


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.proxy = FakeProxy()
        self.machines = Machines()
        self.faults = Faults()
        self.subnets = ec2_backends[ACCOUNT][REGION].describe_subnets()
        self.vpc = self.subnets[0].vpc_id
        self.elb = self.fresh()

    def fresh(self) -> Balancer:
        return Balancer(
            cloud="main", account=ACCOUNT, upstream=MotoElbv2(), proxy=self.proxy, instances=self.machines,
            clock=self.clock, faults=self.faults,
        )  # fmt: skip

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self.elb.handle(operation, params, REGION)

    def group(self, name: str = "api", **extra: Any) -> str:
        wanted = {"Name": name, "Protocol": "HTTP", "Port": 8080, "VpcId": self.vpc, "TargetType": "ip", **extra}
        return str(self.call("CreateTargetGroup", **wanted)["TargetGroups"][0]["TargetGroupArn"])

    def balancer(self, name: str = "front", kind: str = "application") -> str:
        made = self.call("CreateLoadBalancer", Name=name, Type=kind, Subnets=[one.id for one in self.subnets])
        return str(made["LoadBalancers"][0]["LoadBalancerArn"])

    def listen(self, balancer: str, group: str, port: int = 34567, **extra: Any) -> str:
        wanted = {"Protocol": "HTTP", "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}], **extra}
        made = self.call("CreateListener", LoadBalancerArn=balancer, Port=port, **wanted)
        return str(made["Listeners"][0]["ListenerArn"])

    def serving(self, *targets: str) -> str:
        """A group behind a load balancer with healthy targets."""
        group = self.group()
        self.listen(self.balancer(), group)
        self.register(group, *targets)
        for target in targets:
            self.proxy.check(target, 200)
        self.elb.tick()
        return group

    def register(self, group: str, *targets: str) -> None:
        self.call("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": target} for target in targets])

    def deregister(self, group: str, *targets: str) -> None:
        self.call("DeregisterTargets", TargetGroupArn=group, Targets=[{"Id": target} for target in targets])

    def states(self, group: str) -> dict[str, str]:
        return {target: found.state for target, found in self.elb.health(group).items()}

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.elb.tick()


@pytest.fixture
def world() -> Iterator[World]:
    elbv2_backends.reset()
    yield World()
    elbv2_backends.reset()


def test_no_traffic_before_the_first_passed_check(world: World) -> None:
    group = world.group()
    world.listen(world.balancer(), group)
    world.register(group, "10.0.0.1")
    server = world.proxy.one("10.0.0.1")
    assert server is not None
    assert server.admin == 8, "drained: checked, without traffic"
    world.elb.tick()
    assert world.elb.health(group)["10.0.0.1"].reason == "Elb.InitialHealthChecking"
    server.check, server.result = "L4OK", 0  # the check is under way
    world.elb.tick()
    assert (server.admin, world.states(group)) == (8, {"10.0.0.1": "initial"})
    world.proxy.check("10.0.0.1", 200)
    world.elb.tick()
    assert (server.admin, world.states(group)) == (0, {"10.0.0.1": "healthy"})


def test_a_new_target_that_fails_is_initial_until_haproxy_counts_it_out(world: World) -> None:
    group = world.group()
    world.listen(world.balancer(), group)
    world.register(group, "10.0.0.1")
    server = world.proxy.one("10.0.0.1")
    assert server is not None
    server.check, server.code, server.result = "L7STS", "503", 2  # one failure; up still
    world.elb.tick()
    assert world.states(group) == {"10.0.0.1": "initial"}
    world.proxy.check("10.0.0.1", 503)
    world.elb.tick()
    assert world.elb.health(group)["10.0.0.1"].description == "Health checks failed with these codes: [503]"


def test_targets_come_and_go_without_a_reload(world: World) -> None:
    group = world.serving("10.0.0.1")
    before = len(world.proxy.applied)
    world.register(group, "10.0.0.2")
    world.deregister(group, "10.0.0.1")
    world.pass_time(400)
    assert len(world.proxy.applied) == before
    assert world.proxy.one("10.0.0.1") is None
    assert world.proxy.one("10.0.0.2") is not None


def test_an_idle_target_leaves_haproxy_at_once_and_is_listed_until_the_delay_is_over(world: World) -> None:
    group = world.serving("10.0.0.1", "10.0.0.2")
    world.deregister(group, "10.0.0.1")
    assert world.proxy.one("10.0.0.1") is None
    world.pass_time(299)
    assert world.states(group) == {"10.0.0.1": "draining", "10.0.0.2": "healthy"}
    world.pass_time(1)
    assert world.states(group) == {"10.0.0.2": "healthy"}


def test_a_busy_target_drains_and_is_cut_at_the_end(world: World) -> None:
    group = world.serving("10.0.0.1")
    server = world.proxy.one("10.0.0.1")
    assert server is not None
    server.sessions = 2
    world.deregister(group, "10.0.0.1")
    assert server.admin == 8
    world.pass_time(299)
    assert world.proxy.one("10.0.0.1") is server
    world.pass_time(1)
    assert world.states(group) == {}
    assert world.proxy.one("10.0.0.1") is None
    assert any("shutdown sessions server" in said for said in world.proxy.said)


def test_a_server_that_haproxy_does_not_give_up_yet_is_tried_again(world: World) -> None:
    group = world.serving("10.0.0.1")
    server = world.proxy.one("10.0.0.1")
    assert server is not None
    world.deregister(group, "10.0.0.1")
    world.proxy.servers["api.x/10.0.0.1_8080"] = Server("10.0.0.1", 8080, admin=0, sessions=0)  # an orphan
    world.elb.tick()
    assert world.proxy.one("10.0.0.1") is None


def test_a_group_without_a_listener_is_not_in_use(world: World) -> None:
    group = world.group()
    world.register(group, "10.0.0.1")
    assert world.elb.health(group)["10.0.0.1"].reason == "Target.NotInUse"
    assert not world.proxy.running()
    world.deregister(group, "10.0.0.1")
    assert world.states(group) == {}, "nothing to drain"


def test_deleting_the_listener_frees_the_group_and_ends_haproxy(world: World) -> None:
    group = world.serving("10.0.0.1")
    arn = world.call("DescribeLoadBalancers")["LoadBalancers"][0]["LoadBalancerArn"]
    with pytest.raises(ApiError, match="in use by a listener or a rule"):
        world.call("DeleteTargetGroup", TargetGroupArn=group)
    world.call("DeleteLoadBalancer", LoadBalancerArn=arn)
    assert not world.proxy.running()
    assert (
        world.call("DescribeTargetGroups", TargetGroupArns=[group])["TargetGroups"][0].get("LoadBalancerArns", []) == []
    )
    world.call("DeleteTargetGroup", TargetGroupArn=group)
    with pytest.raises(ApiError, match="TargetGroupNotFound"):
        world.elb.health(group)


def test_a_haproxy_that_died_comes_back_with_every_target_unproven(world: World) -> None:
    group = world.serving("10.0.0.1")
    world.proxy.stop()
    world.pass_time(2)
    assert world.proxy.running()
    assert world.states(group) == {"10.0.0.1": "initial"}
    server = world.proxy.one("10.0.0.1")
    assert server is not None
    assert server.admin == 8


def test_a_reload_keeps_health(world: World) -> None:
    group = world.serving("10.0.0.1")
    reloads = len(world.proxy.applied)
    world.call("ModifyTargetGroup", TargetGroupArn=group, HealthCheckIntervalSeconds=20)
    assert len(world.proxy.applied) == reloads + 1
    assert "inter 20s" in world.proxy.applied[-1]
    assert world.states(group) == {"10.0.0.1": "healthy"}


def test_dump_and_load(world: World) -> None:
    group = world.serving("10.0.0.1", "10.0.0.2")
    world.deregister(group, "10.0.0.2")
    state = world.elb.dump()
    world.elb.stop()
    world.clock.advance(100)
    world.elb = world.fresh()
    world.elb.load(state)
    world.elb.start()
    assert world.states(group) == {"10.0.0.1": "initial", "10.0.0.2": "draining"}
    world.pass_time(201)
    assert world.states(group) == {"10.0.0.1": "initial"}
    world.proxy.check("10.0.0.1", 200)
    world.elb.tick()
    assert world.states(group) == {"10.0.0.1": "healthy"}


def test_instances(world: World) -> None:
    zone = world.subnets[0].availability_zone
    world.machines.known = {
        "i-1": Instance("172.31.0.5", "running", zone, world.vpc),
        "i-2": Instance("172.31.0.6", "pending", zone, world.vpc),
        "i-3": Instance("172.31.0.7", "running", zone, "vpc-other"),
        "i-4": Instance("172.31.0.8", "running", "eu-central-1x", world.vpc),
    }
    group = world.group(TargetType="instance")
    world.listen(world.balancer(), group)
    world.elb.register(group, "i-1")
    assert world.proxy.one("i-1") == Server("172.31.0.5", 8080, admin=8)
    with pytest.raises(ApiError, match="not in a running state and cannot be registered: 'i-2'"):
        world.elb.register(group, "i-2")
    with pytest.raises(ApiError, match=r"not in the target group VPC 'vpc-.*': 'i-3', 'i-9'"):
        world.register(group, "i-3", "i-9")
    with pytest.raises(ApiError, match=r"Instance ID '10\.0\.0\.1' is not valid"):
        world.register(group, "10.0.0.1")
    world.elb.register(group, "i-4")
    assert "Availability Zone that is not enabled" in str(world.elb.health(group)["i-4"].description)
    world.machines.known["i-1"] = Instance("172.31.0.5", "stopped", zone, world.vpc)
    world.elb.tick()
    assert world.elb.health(group)["i-1"].description == "Target is in the stopped state"
    assert world.proxy.one("i-1") is None
    world.machines.known["i-1"] = Instance("172.31.0.5", "terminated", zone, world.vpc)
    world.elb.tick()
    assert world.states(group)["i-1"] == "draining", "ELB deregisters a terminated instance by itself"
    world.pass_time(300)
    assert "i-1" not in world.states(group)


def test_a_terminated_instance_leaves_a_group_that_no_load_balancer_uses(world: World) -> None:
    zone = world.subnets[0].availability_zone
    world.machines.known = {f"i-{n}": Instance(f"172.31.0.{n}", "running", zone, world.vpc) for n in (1, 2)}
    group = world.group(TargetType="instance")
    world.elb.register(group, "i-1")
    world.elb.register(group, "i-2")
    assert world.states(group) == {"i-1": "unused", "i-2": "unused"}
    world.machines.known["i-1"] = Instance("172.31.0.1", "terminated", zone, world.vpc)
    world.elb.tick()
    assert world.states(group) == {"i-2": "unused"}


def test_a_target_fault_makes_the_next_instance_sick_for_good(world: World) -> None:
    zone = world.subnets[0].availability_zone
    world.machines.known = {f"i-{n}": Instance(f"172.31.0.{n}", "running", zone, world.vpc) for n in (1, 2)}
    group = world.group(TargetType="instance")
    world.listen(world.balancer(), group)
    world.faults.add({"kind": "target"})
    world.elb.register(group, "i-1")
    world.elb.register(group, "i-2")
    first, second = (said.split(";")[0] for said in world.proxy.said if said.startswith("add server"))
    assert first.endswith(" port 1"), "checked where nothing listens"
    assert "port" not in second
    world.call("ModifyTargetGroup", TargetGroupArn=group, HealthCheckIntervalSeconds=20)
    assert "server i-1_8080 172.31.0.1:8080 port 1\n" in world.proxy.applied[-1]
    assert "server i-2_8080 172.31.0.2:8080\n" in world.proxy.applied[-1]


def test_what_haproxy_refuses_is_taken_back(world: World) -> None:
    group = world.serving("10.0.0.1")
    listener = world.call(
        "DescribeListeners", LoadBalancerArn=world.call("DescribeLoadBalancers")["LoadBalancers"][0]["LoadBalancerArn"]
    )["Listeners"][0]["ListenerArn"]
    world.proxy.refuses = "/bad"
    with pytest.raises(ApiError, match="InvalidConfigurationRequest: HAProxy refuses"):
        world.call("ModifyTargetGroup", TargetGroupArn=group, HealthCheckPath="/bad")
    assert world.call("DescribeTargetGroups", TargetGroupArns=[group])["TargetGroups"][0]["HealthCheckPath"] == "/"
    with pytest.raises(ApiError, match="InvalidConfigurationRequest: HAProxy refuses"):
        world.call(
            "CreateRule", ListenerArn=listener, Priority=1,
            Conditions=[{"Field": "path-pattern", "Values": ["/bad"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": group}],
        )  # fmt: skip
    assert len(world.call("DescribeRules", ListenerArn=listener)["Rules"]) == 1
    assert world.states(group) == {"10.0.0.1": "healthy"}


def test_every_load_balancer_has_its_own_loopback_address(world: World) -> None:
    for name in ("one", "two"):
        world.balancer(name)
    listed = world.call("DescribeLoadBalancers")["LoadBalancers"]
    addresses = [one["DNSName"] for one in listed]
    assert len(set(addresses)) == 2
    for address in addresses:
        assert re.fullmatch(r"127\.\d+\.\d+\.\d+", address)
        assert 64 <= int(address.split(".")[1]) < 192
    seed = "main/eu-central-1/one"
    assert loopback_address(seed) == addresses[0]
    assert loopback_address(seed, [addresses[0]]) != addresses[0]
    assert loopback_address("other/eu-central-1/one") != addresses[0], "clouds side by side do not meet"


def test_describe_target_health_of_named_targets(world: World) -> None:
    group = world.serving("10.0.0.1")
    world.call(
        "RegisterTargets", TargetGroupArn=group, Targets=[{"Id": "10.0.0.2", "Port": 9090, "AvailabilityZone": "all"}]
    )  # fmt: skip
    wanted = [{"Id": "10.0.0.1"}, {"Id": "10.0.0.2", "Port": 9090}, {"Id": "10.0.0.2", "Port": 1}]
    listed = world.call("DescribeTargetHealth", TargetGroupArn=group, Targets=wanted)["TargetHealthDescriptions"]
    assert listed[0] == {
        "Target": {"Id": "10.0.0.1", "Port": 8080},
        "HealthCheckPort": "8080",
        "TargetHealth": {"State": "healthy"},
    }
    assert listed[1]["Target"] == {"Id": "10.0.0.2", "Port": 9090, "AvailabilityZone": "all"}
    assert listed[2]["TargetHealth"]["Reason"] == "Target.NotRegistered"


def _group_call(**extra: Any) -> Any:
    return lambda world: world.group(**extra)


def _modify(**extra: Any) -> Any:
    return lambda world: world.call("ModifyTargetGroup", TargetGroupArn=world.group(), **extra)


def _attribute(key: str, value: str) -> Any:
    return lambda world: world.call(
        "ModifyTargetGroupAttributes", TargetGroupArn=world.group(), Attributes=[{"Key": key, "Value": value}]
    )


def _listen(**extra: Any) -> Any:
    return lambda world: world.listen(world.balancer(), world.group(), **extra)


def _network(world: World) -> None:
    group = world.group(Protocol="TCP")
    several = {"TargetGroups": [{"TargetGroupArn": group}, {"TargetGroupArn": world.group("b", Protocol="TCP")}]}
    world.listen(
        world.balancer(kind="network"), group, Protocol="TCP",
        DefaultActions=[{"Type": "forward", "ForwardConfig": several}],
    )  # fmt: skip


def _twice(world: World) -> None:
    group, arn = world.group(), world.balancer()
    world.listen(arn, group)
    world.listen(arn, world.group("other"))


def _two_balancers(world: World) -> None:
    group = world.group()
    world.listen(world.balancer("one"), group)
    world.listen(world.balancer("two"), group, port=34568)


def _protected(world: World) -> None:
    arn = world.balancer()
    world.call(
        "ModifyLoadBalancerAttributes", LoadBalancerArn=arn,
        Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}],
    )  # fmt: skip
    world.call("DeleteLoadBalancer", LoadBalancerArn=arn)


def _one_zone(world: World) -> None:
    world.call("CreateLoadBalancer", Name="front", Subnets=[world.subnets[0].id])


def _same_name(world: World) -> None:
    world.balancer()
    world.balancer(kind="network")


def _same_group_name(world: World) -> None:
    world.group()
    world.group(Port=8081)


def _balancer_attribute(key: str, value: str, kind: str = "application") -> Any:
    def call(world: World) -> None:
        arn = world.balancer(kind=kind)
        world.call("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value}])

    return call


def _group_attribute(key: str, value: str) -> Any:
    def call(world: World) -> None:
        arn = world.group()
        world.call("ModifyTargetGroupAttributes", TargetGroupArn=arn, Attributes=[{"Key": key, "Value": value}])

    return call


class TestAsAws:
    """What AWS takes for settings that are left out, and what it does when something is made twice."""

    @pytest.mark.parametrize(
        ("kind", "some"),
        [
            ("application", {
                "idle_timeout.timeout_seconds": "60", "routing.http2.enabled": "true", "load_balancing.cross_zone.enabled": "true",
                "routing.http.desync_mitigation_mode": "defensive", "deletion_protection.enabled": "false",
                "access_logs.s3.enabled": "false", "client_keep_alive.seconds": "3600", "waf.fail_open.enabled": "false",
            }),
            ("network", {
                "load_balancing.cross_zone.enabled": "false", "dns_record.client_routing_policy": "any_availability_zone",
            }),
        ],
    )  # fmt: skip
    def test_a_load_balancer_has_every_attribute(self, world: World, kind: str, some: dict[str, str]) -> None:
        arn = world.balancer(kind=kind)
        answer = world.call("DescribeLoadBalancerAttributes", LoadBalancerArn=arn)
        found = {item["Key"]: item["Value"] for item in answer["Attributes"]}
        assert found.items() >= some.items()
        assert ("idle_timeout.timeout_seconds" in found) == (kind == "application")
        key = "deletion_protection.enabled"
        world.call("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": "true"}])
        answer = world.call("DescribeLoadBalancerAttributes", LoadBalancerArn=arn)
        assert {item["Key"]: item["Value"] for item in answer["Attributes"]} == {**found, key: "true"}

    @pytest.mark.parametrize(
        ("protocol", "some"),
        [
            ("HTTP", {"stickiness.type": "lb_cookie", "slow_start.duration_seconds": "0", "load_balancing.algorithm.anomaly_mitigation": "off"}),
            ("TCP", {"stickiness.type": "source_ip", "proxy_protocol_v2.enabled": "false", "preserve_client_ip.enabled": "false"}),
        ],
    )  # fmt: skip
    def test_a_target_group_has_every_attribute(self, world: World, protocol: str, some: dict[str, str]) -> None:
        answer = world.call("DescribeTargetGroupAttributes", TargetGroupArn=world.group(Protocol=protocol))
        found = {item["Key"]: item["Value"] for item in answer["Attributes"]}
        assert found.items() >= {"deregistration_delay.timeout_seconds": "300", **some}.items()

    def test_a_health_check_is_completed(self, world: World) -> None:
        (made,) = world.call("DescribeTargetGroups", TargetGroupArns=[world.group()])["TargetGroups"]
        checks = {key: made[key] for key in made if key.startswith("HealthCheck") or key.endswith("Count")}
        assert checks == {
            "HealthCheckProtocol": "HTTP", "HealthCheckPort": "traffic-port", "HealthCheckPath": "/", "HealthCheckEnabled": True,
            "HealthCheckIntervalSeconds": 30, "HealthCheckTimeoutSeconds": 5, "HealthyThresholdCount": 5, "UnhealthyThresholdCount": 2,
        }  # fmt: skip
        assert made["Matcher"] == {"HttpCode": "200"}

    @pytest.mark.parametrize("kind", ["application", "network"])
    def test_a_load_balancer_says_its_scheme_and_has_a_security_group(self, world: World, kind: str) -> None:
        arn = world.balancer(kind=kind)
        (made,) = world.call("DescribeLoadBalancers", LoadBalancerArns=[arn])["LoadBalancers"]
        assert (made["Scheme"], made["IpAddressType"], made["Type"]) == ("internet-facing", "ipv4", kind)
        assert bool(made.get("SecurityGroups")) == (kind == "application")

    def test_what_is_made_twice_is_there_once(self, world: World) -> None:
        assert world.group() == world.group(HealthCheckPath="/", HealthCheckIntervalSeconds=30)
        assert world.balancer() == world.balancer()
        assert world.listen(world.balancer(), world.group()) == world.listen(world.balancer(), world.group())
        assert len(world.call("DescribeListeners", LoadBalancerArn=world.balancer())["Listeners"]) == 1


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (
            _group_call(HealthCheckIntervalSeconds=600),
            "ValidationError",
            "1 validation error detected: Value '600' at 'healthCheckIntervalSeconds' failed to satisfy constraint: "
            "Member must have value less than or equal to 300",
        ),
        (_group_call(HealthyThresholdCount=1), "ValidationError", "greater than or equal to 2"),
        (_group_call(Port=70000), "ValidationError", "Value '70000' at 'port'"),
        (
            _group_call(HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=5),
            "ValidationError",
            "Health check interval must be greater than the timeout.",
        ),
        (_modify(HealthCheckTimeoutSeconds=30), "ValidationError", "Health check interval must be greater"),
        (_modify(Matcher={"HttpCode": "200-600"}), "ValidationError", "within '200-499'"),
        (_modify(HealthCheckPath="no slash"), "ValidationError", "must begin with '/'"),
        (_modify(HealthCheckPort="http"), "ValidationError", "'traffic-port'"),
        (_group_call(TargetType="alb"), "InvalidConfigurationRequest", "instance and ip are there"),
        (_group_call(Protocol="UDP"), "InvalidConfigurationRequest", "HTTP, HTTPS, TCP are there"),
        (
            _group_call(Protocol="HTTPS", HealthCheckProtocol="HTTP"),
            "InvalidConfigurationRequest",
            "HTTP health checks of HTTPS targets",
        ),
        (_attribute("deregistration_delay.timeout_seconds", "3601"), "ValidationError", "between '0-3600' inclusive"),
        (_attribute("stickiness.enabled", "true"), "InvalidConfigurationRequest", "sticky sessions are not modelled"),
        (_listen(Protocol="UDP"), "UnsupportedProtocol", "HTTP, HTTPS, TCP and TLS are there"),
        (_listen(Protocol="TLS"), "ValidationError", "Protocol 'TLS' must be one of 'HTTP, HTTPS'"),
        (_listen(Protocol="HTTPS"), "ValidationError", "A certificate must be specified for HTTPS listeners"),
        (
            _listen(Protocol="HTTPS", Certificates=[{"CertificateArn": "arn:none"}]),
            "CertificateNotFound",
            "Certificate 'arn:none' not found",
        ),
        (_listen(Protocol="HTTPS", SslPolicy="Best"), "SSLPolicyNotFound", "SSL policy 'Best' not found"),
        (
            _listen(SslPolicy="ELBSecurityPolicy-2016-08"),
            "InvalidConfigurationRequest",
            "SSL policy for HTTP listeners",
        ),
        (
            _listen(DefaultActions=[{"Type": "authenticate-oidc"}]),
            "InvalidLoadBalancerAction",
            "forward, redirect and fixed-response are there",
        ),
        (_network, "InvalidLoadBalancerAction", "a TCP listener with anything but one forward to one target group"),
        (_twice, "DuplicateListener", "A listener already exists on this port for this load balancer"),
        (_two_balancers, "TargetGroupAssociationLimit", "more than one load balancer"),
        (_protected, "OperationNotPermitted", "because deletion protection is enabled"),
        (_one_zone, "ValidationError", "At least two subnets in two different Availability Zones must be specified"),
        (_same_name, "DuplicateLoadBalancerName", "A load balancer with the same name 'front' exists"),
        (lambda world: world.balancer("-x"), "ValidationError", "hyphen"),
        (lambda world: world.balancer(kind="gateway"), "InvalidConfigurationRequest", "application and network"),
        (lambda world: world.register(world.group(), "not-an-ip"), "ValidationError", "not a valid IPv4 address"),
        (lambda world: world.register("arn:x", "10.0.0.1"), "TargetGroupNotFound", "One or more target groups"),
        (_same_group_name, "DuplicateTargetGroupName", "A target group with the same name 'api' exists, but with diff"),
        (
            _balancer_attribute("idle_timeout.timeout_seconds", "0"),
            "ValidationError",
            "value '0' must be between '1-4000' inclusive",
        ),
        (
            _balancer_attribute("idle.timeout", "60"),
            "ValidationError",
            "attribute key 'idle.timeout' is not recognized",
        ),
        (
            _balancer_attribute("routing.http2.enabled", "maybe"),
            "ValidationError",
            "'maybe' must be one of [false, true]",
        ),
        (
            _balancer_attribute("idle_timeout.timeout_seconds", "60", "network"),
            "InvalidConfigurationRequest",
            "not supported on load",
        ),
        (
            _group_attribute("slow_start.duration_seconds", "7"),
            "ValidationError",
            "value '7' must be 0 or between '30-900'",
        ),
        (
            _group_attribute("proxy_protocol_v2.enabled", "true"),
            "InvalidConfigurationRequest",
            "is not supported on target",
        ),
        (_group_attribute("colour", "blue"), "ValidationError", "attribute key 'colour' is not recognized"),
        (lambda world: world.call("DescribeTrustStores"), "NotImplemented", "does not model DescribeTrustStores"),
    ],
)
def test_refusals(world: World, call: Any, code: str, words: str) -> None:
    with pytest.raises(ApiError) as refused:
        call(world)
    assert refused.value.code == code
    assert words in refused.value.message
