# SPDX-License-Identifier: GPL-3.0-or-later
"""Data groups on real hosts: nodes that find each other, join, and leave when their group ends them; a client writes meanwhile.

What the model of a fleet lists (parameters, users, roles, groups with their files and hooks) is made by hand here; the rest is the hosts' own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.host import told
from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client as NatsClient
from ansible_collections.boring.fleet.plugins.module_utils.nats.client import NatsError
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client as RedisClient
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import fields
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from localcloud.settings import settings_of
from tests.contract.localcloud.test_ec2 import ROOT, Cloud, podman, until
from tests.contract.localcloud.test_ec2 import pytestmark as needs_hosts
from tests.unit.plugins.module_utils.host.authority import Authority

pytestmark = [*needs_hosts, pytest.mark.timeout(1400)]
FLEET = {
    "fleet_name": "shop",
    "fleet_region": "eu-central-1",
    "fleet_machines": {"cpu": {"profile": "cpu", "instance_type": "t3.medium"}},
    "fleet_data": {
        "bus": {"kind": "nats", "nodes": 3, "limits": {"file": "200MB"}},
        "store": {"kind": "redis", "purpose": "store", "nodes": 3, "limits": {"memory": "64MB"}},
    },
    "fleet_services": {
        "web": {
            "roles": ["acme.shop.web"],
            "size": {"min": 1, "max": 1, "desired": 1},
            "port": 8000,
            "uses": ["bus", "store"],
        }
    },
}
JOINED = 240  # seconds for three hosts to boot and to join on a machine that does ten other things
REPLACED = 300
HEARTBEAT = 60  # seconds that a group waits for a node that died; deploy says 120
LAST = 30  # for the last write of a client to be acknowledged


class Shop:
    """A local cloud with an image of both kinds, and the fleet's groups on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cloud = Cloud(folder)
        self.cloud.up()
        self.ec2, self.groups, self.ssm, self.iam, self.elb = (
            self.cloud.client(name) for name in ("ec2", "autoscaling", "ssm", "iam", "elbv2")
        )
        self.gateway = settings_of(folder, self.cloud.name).gateway
        self.inside = f"http://{self.gateway}:{self.cloud.port}"
        self.found = lists(read_fleet(FLEET), account="123456789012", endpoint=self.inside)
        self.values: dict[str, str] = {}
        self.image = self._image()
        self._parameters()
        self.authority_file = folder / "authority.pem"
        self.authority_file.write_text(self.values[self.found["authority"]["certificate"]])

    def _image(self) -> str:
        """As the fleet's image for data is built, without Packer."""
        builder = self.cloud.up_host(self.cloud.base("debian-13"))
        address = self.cloud.instance(builder)["PrivateIpAddress"]
        roles = [("nats", {}), ("redis", {"redis_sentinel": True}), ("host_lifecycle", {})]
        play = {
            "hosts": "all", "become": True,
            "tasks": [
                {"ansible.builtin.include_role": {"name": f"boring.fleet.{name}", "tasks_from": "install"}, "vars": variables}
                for name, variables in roles
            ] + [{"ansible.builtin.include_role": {"name": "boring.fleet.host_lifecycle", "tasks_from": "verify"}}],
        }  # fmt: skip
        (self.folder / "play.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [
                Path(sys.executable).parent / "ansible-playbook", "-i", f"{address},", "-u", "admin", "--private-key", self.cloud.keys,
                self.folder / "play.yml",
            ],
            capture_output=True, text=True, timeout=600, check=False, cwd=self.folder,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "ANSIBLE_HOME": str(self.folder / "ansible"),
                 "ANSIBLE_HOST_KEY_CHECKING": "false", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        image = str(self.ec2.create_image(InstanceId=builder, Name="data")["ImageId"])
        until(lambda: self.ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available", 120)
        self.ec2.terminate_instances(InstanceIds=[builder])
        return image

    def _parameters(self) -> None:
        authority = Authority()
        signed: dict[str, str] = {}
        for one in self.found["certificates"]:
            if one["kind"] == "signed":
                names = [name for name in one["dns_names"] if "{" not in name]
                signed[one["certificate"]], signed[one["key"]] = authority.sign(names)
        for one in sorted(self.found["parameters"], key=lambda one: " of " in one["made"]):
            made, name = one["made"], one["name"]
            kind, dummy, of = made.partition(" of ")
            if kind == "authority":
                value = authority.certificate
            elif kind in ("certificate", "key"):
                value = signed[name]
            elif kind == "bcrypt":
                value = bcrypt.hashpw(self.values[of].encode(), bcrypt.gensalt(5, prefix=b"2a")).decode()
            elif kind == "sha256":
                value = hashlib.sha256(self.values[of].encode()).hexdigest()
            else:
                value = secrets.token_urlsafe(24)
            self.values[name] = value
            self.ssm.put_parameter(Name=name, Value=value, Type=one["type"])

    def _security_group(self, name: str, vpc: str) -> str:
        """As deploy makes it; this machine comes in where the load balancer does."""
        (group,) = [group for group in self.found["security_groups"] if group["for"] == name]
        made = str(
            self.ec2.create_security_group(GroupName=group["name"], Description=group["description"], VpcId=vpc)[
                "GroupId"
            ]
        )
        for rule in group["ingress"]:
            of = (
                {"UserIdGroupPairs": [{"GroupId": made}]}
                if rule["peer"] == {"group": group["name"]}
                else {"IpRanges": [{"CidrIp": f"{self.gateway}/32"}]}
            )
            ports = {"FromPort": rule["from_port"], "ToPort": rule["to_port"]}
            self.ec2.authorize_security_group_ingress(
                GroupId=made, IpPermissions=[{"IpProtocol": rule["protocol"], **ports, **of}]
            )
        return made

    def group(self, name: str, image: str = "") -> str:
        """Make the group of a data service; its name."""
        (group,) = [group for group in self.found["groups"] if group["for"] == name]
        (role,) = [role for role in self.found["roles"] if role["for"] == name]
        self.iam.create_role(RoleName=role["name"], AssumeRolePolicyDocument=json.dumps(role["trust"]))
        self.iam.put_role_policy(RoleName=role["name"], PolicyName="fleet", PolicyDocument=json.dumps(role["policy"]))
        self.iam.create_instance_profile(InstanceProfileName=role["name"])
        self.iam.add_role_to_instance_profile(InstanceProfileName=role["name"], RoleName=role["name"])
        vpc = self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        for target in self.found["target_groups"]:
            if target["for"] == name:
                self.elb.create_target_group(
                    Name=target["name"], Protocol="TCP", Port=target["port"], VpcId=vpc, HealthCheckProtocol=target["health"]["protocol"],
                    HealthCheckPort=str(target["health"]["port"]),
                    **({"HealthCheckPath": target["health"]["path"]} if target["health"]["path"] else {}),
                )  # fmt: skip
        files = [{**file, "content": sooner(file["path"], file["content"])} for file in group["template"]["files"]]
        user_data = "#cloud-config\n" + json.dumps({"write_files": files})
        tags = [{"Key": key, "Value": value} for key, value in group["tags"].items()]
        self.ec2.create_launch_template(
            LaunchTemplateName=group["template"]["name"],
            LaunchTemplateData={
                "ImageId": image or self.image, "InstanceType": "t3.medium", "KeyName": self.cloud.key(),
                "IamInstanceProfile": {"Name": role["name"]}, "UserData": base64.b64encode(user_data.encode()).decode(),
                "SecurityGroupIds": [self._security_group(name, vpc)],
                "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
            },
        )  # fmt: skip
        subnets = ",".join(subnet["SubnetId"] for subnet in self.ec2.describe_subnets()["Subnets"])
        hooks = [
            {
                "LifecycleHookName": hook["name"],
                "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{hook['transition'].upper()}",
                "HeartbeatTimeout": HEARTBEAT if hook["transition"] == "terminating" else hook["heartbeat_timeout"],
                "DefaultResult": hook["default_result"],
            }
            for hook in group["lifecycle_hooks"]
        ]
        size = group["size"]
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName=group["name"], LaunchTemplate={"LaunchTemplateName": group["template"]["name"]}, MinSize=size["min"],
            MaxSize=size["max"] + 1, DesiredCapacity=size["desired"], VPCZoneIdentifier=subnets, LifecycleHookSpecificationList=hooks,
            Tags=[{**tag, "PropagateAtLaunch": True, "ResourceId": group["name"], "ResourceType": "auto-scaling-group"} for tag in tags],
        )  # fmt: skip
        return str(group["name"])

    def members(self, group: str) -> dict[str, str]:
        """State by instance."""
        found = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"][0]
        return {one["InstanceId"]: one["LifecycleState"] for one in found["Instances"]}

    def until_in_service(self, group: str, number: int, seconds: float, without: str = "") -> set[str]:
        def there() -> bool:
            found = self.members(group)
            return without not in found and list(found.values()) == ["InService"] * number

        try:
            until(there, seconds)
        except AssertionError as exc:
            raise AssertionError(f"{exc}: {self.members(group)}\n{self.journals(group)}") from None
        return set(self.members(group))

    def journals(self, group: str) -> str:
        return "\n".join(f"--- {one}\n{self.journal(one)}" for one in self.members(group))

    def journal(self, instance: str) -> str:
        name = f"lc-{self.cloud.name}-{instance}"
        done = subprocess.run(
            ["podman", "exec", name, "journalctl", "--no-pager", "-n", "40", "-o", "short-iso", "-u", "host-lifecycle", "-u", "nats-server",
             "-u", "redis-server", "-u", "redis-sentinel"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout[-3000:] + done.stderr[-500:]

    def address(self, instance: str) -> str:
        return str(self.cloud.instance(instance)["PrivateIpAddress"])

    def login(self, data: str, instance: str) -> Login:
        password = self.values[f"/boring/fleets/shop/data/{data}/users/web/password"]
        return Login("web", password, ca=str(self.authority_file), name=f"{instance}.{data}.shop.fleet.internal")

    def tag(self, instance: str) -> str:
        tags = {str(tag["Key"]): str(tag["Value"]) for tag in self.cloud.instance(instance).get("Tags", [])}
        return tags.get("boring:lifecycle", "")


def sooner(path: str, content: str) -> str:
    """The content of a host's file, with the hooks' heartbeat of this test."""
    if path != told.PATH:
        return content
    found = json.loads(content)
    return json.dumps({**found, "hooks": {**found["hooks"], "heartbeat": HEARTBEAT}})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    found: Shop | None = None
    try:
        found = Shop(folder)
        yield found
    finally:
        for path in folder.glob("t*/server.pid"):
            subprocess.run(
                [sys.executable, "-m", "localcloud", "down", "--name", path.parent.name, "--state-dir", folder],
                timeout=600, check=False, cwd=ROOT, capture_output=True,
            )  # fmt: skip


class Writer(threading.Thread):
    """Writes numbers one after the other; what is not acknowledged is written again. `connect` gives a function that writes one."""

    def __init__(
        self, connect: Callable[[], Callable[[int], None]], errors: tuple[type[Exception], ...], acknowledged: int = 0
    ) -> None:
        super().__init__(daemon=True)
        self.connect, self.errors = connect, errors
        self.stop, self.first = threading.Event(), threading.Event()
        self.acknowledged, self.pause = acknowledged, 0.0
        self.clean = True  # nothing is written that is not acknowledged

    def __enter__(self) -> Writer:
        self.start()
        assert self.first.wait(60), "nothing was acknowledged"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join(60)

    def run(self) -> None:
        write: Callable[[int], None] | None = None
        last = time.monotonic()
        while not self.stop.is_set() or not self.clean:
            try:
                write = write or self.connect()
                write(self.acknowledged)
            except self.errors:
                write, self.clean = None, self.stop.is_set() and time.monotonic() - last > LAST
                time.sleep(0.05)
                continue
            self.acknowledged, self.clean = self.acknowledged + 1, True
            self.pause, last = max(self.pause, time.monotonic() - last), time.monotonic()
            self.first.set()


class Bus:
    """NATS, as a client sees it."""

    def __init__(self, shop: Shop, group: str) -> None:
        self.shop, self.group = shop, group

    def client(self) -> NatsClient:
        reasons = []
        for instance in self.shop.members(self.group):
            try:
                return NatsClient([(self.shop.address(instance), 4222)], self.shop.login("bus", instance), 2.0)
            except (NatsError, KeyError) as exc:
                reasons.append(str(exc))
        raise NatsError("; ".join(reasons))

    def ask(self, subject: str, payload: dict[str, Any]) -> dict[str, Any]:
        client = self.client()
        try:
            return client.ask(subject, payload)
        finally:
            client.close()

    def connect(self) -> Callable[[int], None]:
        client = self.client()

        def write(number: int) -> None:
            answer = client.ask(f"kept.{number}", {"number": number})
            if "error" in answer:
                raise NatsError(str(answer))

        return write

    def stream(self) -> dict[str, Any]:
        return self.ask("$JS.API.STREAM.INFO.KEPT", {})

    def kept(self) -> int:
        """How many numbers are there: each has a subject of its own."""
        return int(self.stream()["state"]["num_subjects"])

    def whole(self, nodes: set[str]) -> bool:
        """Whether these and no others have the stream, with all that is in it."""
        try:
            cluster = self.stream().get("cluster") or {}
        except NatsError:
            return False
        replicas = cluster.get("replicas") or []
        return {cluster.get("leader"), *(one["name"] for one in replicas)} == nodes and all(
            one["current"] for one in replicas
        )


def test_nats_nodes_form_a_cluster_and_leave_it_without_a_lost_message(shop: Shop) -> None:
    group = shop.group("bus")
    began = time.monotonic()
    first = shop.until_in_service(group, 3, JOINED)
    print(f"three nodes joined in {time.monotonic() - began:.0f} s")
    assert {shop.tag(one) for one in first} <= {"in service", ""}
    bus = Bus(shop, group)
    made = bus.ask("$JS.API.STREAM.CREATE.KEPT", {"name": "KEPT", "subjects": ["kept.>"], "num_replicas": 3})
    assert "error" not in made, made
    with Writer(bus.connect, (NatsError, OSError)) as writer:
        leader = bus.stream()["cluster"]["leader"]
        assert leader in first
        began = time.monotonic()
        shop.groups.terminate_instance_in_auto_scaling_group(InstanceId=leader, ShouldDecrementDesiredCapacity=False)
        now = shop.until_in_service(group, 3, REPLACED, without=leader)
        print(
            f"the leader was replaced in {time.monotonic() - began:.0f} s; the longest pause was {writer.pause:.1f} s"
        )
        until(lambda: bus.whole(now), REPLACED)
    assert bus.kept() == writer.acknowledged > 100
    # one whose plug is pulled says no word: the others forget it once another has its replicas
    lost = bus.stream()["cluster"]["leader"]
    with Writer(bus.connect, (NatsError, OSError), writer.acknowledged) as writer:
        began = time.monotonic()
        podman("kill", f"lc-{shop.cloud.name}-{lost}")
        now = shop.until_in_service(group, 3, REPLACED, without=lost)
        until(lambda: bus.whole(now), REPLACED)
        print(
            f"whole {time.monotonic() - began:.0f} s after the leader died; the longest pause was {writer.pause:.1f} s"
        )
    assert bus.kept() == writer.acknowledged
    secret = shop.values["/boring/fleets/shop/data/bus/inner/system"]
    for instance in now:
        assert secret not in shop.journal(instance)


class Store:
    """Redis, as a client sees it through the load balancer: whoever is master."""

    def __init__(self, shop: Shop, group: str) -> None:
        self.shop, self.group = shop, group

    def client(self, instance: str) -> RedisClient:
        return RedisClient(self.shop.address(instance), 6379, self.shop.login("store", instance), 2.0)

    def admin(self, instance: str) -> RedisClient:
        password = self.shop.values["/boring/fleets/shop/data/store/inner/admin"]
        login = Login("admin", password, ca=str(self.shop.authority_file), name=f"{instance}.store.shop.fleet.internal")
        return RedisClient(self.shop.address(instance), 6379, login, 2.0)

    def masters(self) -> list[str]:
        found = []
        for instance in self.shop.members(self.group):
            try:
                client = self.admin(instance)
                if fields(client("INFO", "replication")).get("role") == "master":
                    found.append(instance)
                client.close()
            except (RedisError, KeyError):
                continue
        return found

    def connect(self) -> Callable[[int], None]:
        for instance in self.shop.members(self.group):
            try:
                client = self.client(instance)
                client("SET", "probe", "1")
            except (RedisError, KeyError):
                continue
            return lambda number: client("SET", f"key-{number}", "1") and None
        raise RedisError("no master")

    def missing(self, number: int) -> int:
        """How many acknowledged writes the master does not have."""
        (master,) = self.masters()
        client = self.client(master)
        keys = [f"key-{one}" for one in range(number)]
        return number - sum(int(client("EXISTS", *keys[first : first + 500])) for first in range(0, number, 500))


def test_redis_nodes_form_a_set_and_the_master_hands_over(shop: Shop) -> None:
    group = shop.group("store")
    began = time.monotonic()
    shop.until_in_service(group, 3, JOINED)
    print(f"three nodes joined in {time.monotonic() - began:.0f} s")
    store = Store(shop, group)
    (master,) = store.masters()
    with Writer(store.connect, (RedisError, OSError)) as writer:
        began = time.monotonic()
        shop.groups.terminate_instance_in_auto_scaling_group(InstanceId=master, ShouldDecrementDesiredCapacity=False)
        shop.until_in_service(group, 3, REPLACED, without=master)
        print(
            f"the master was replaced in {time.monotonic() - began:.0f} s; the longest pause was {writer.pause:.1f} s"
        )
    assert writer.acknowledged > 100
    assert store.missing(writer.acknowledged) == 0, shop.journals(group)
    (lost,) = store.masters()
    assert lost != master
    with Writer(store.connect, (RedisError, OSError), writer.acknowledged) as writer:
        began = time.monotonic()
        podman("kill", f"lc-{shop.cloud.name}-{lost}")
        shop.until_in_service(group, 3, REPLACED, without=lost)
        print(
            f"whole {time.monotonic() - began:.0f} s after the master died; the longest pause was {writer.pause:.1f} s"
        )
    assert store.missing(writer.acknowledged) == 0, shop.journals(group)
    assert registered(shop) == set(shop.members(group)), "who is gone is not behind the load balancer any more"
    (master,) = store.masters()
    others = {one for one in shop.members(group) if one != master}
    assert says(shop, master) == "master"
    assert {says(shop, one) for one in others} == {f"a replica of {shop.address(master)}"}
    # one that is no part of the set any more, as after a failover that it did not see
    (stray, _) = sorted(others)
    store.admin(stray)("REPLICAOF", "NO", "ONE")
    assert says(shop, stray) == f"no master any more: the Sentinel names {shop.address(master)}"
    until(lambda: store.masters() == [master], REPLACED)


def says(shop: Shop, instance: str) -> str:
    """What a node answers the load balancer."""
    try:
        with urllib.request.urlopen(f"http://{shop.address(instance)}:6380/master", timeout=10) as answer:
            return str(answer.read().decode().strip())
    except urllib.error.HTTPError as refused:
        return str(refused.read().decode().strip())


def registered(shop: Shop) -> set[str]:
    """The instances behind the load balancer of the store."""
    (group,) = [
        one for one in shop.elb.describe_target_groups()["TargetGroups"] if one["TargetGroupName"] == "shop-store"
    ]
    listed = shop.elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    return {one["Target"]["Id"] for one in listed if one["TargetHealth"]["State"] != "draining"}
