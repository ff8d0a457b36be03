# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet with nothing of this collection's in it but the cache: two services of somebody else, from a file to nothing again."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plugins.module_utils.host.authority import Authority

from .conftest import INSIDE, ROOT, Fleet

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1500)]

NAME, HOST = "shop", "shop.example.org"
PROGRAM = """
import json, os, socket, ssl, sys, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def thumbs():
    url = os.environ.get("THUMBS_URL")
    trust = ssl.create_default_context(cafile=os.environ["THUMBS_CA_FILE"]) if url else None
    return urllib.request.urlopen(url, timeout=5, context=trust).read().decode() if url else ""

def cache():
    if "CACHE_URL" not in os.environ:
        return ""
    trust = ssl.create_default_context(cafile=os.environ["CACHE_CA_FILE"])
    plain = socket.create_connection((os.environ["CACHE_HOST"], int(os.environ["CACHE_PORT"])), timeout=5)
    with trust.wrap_socket(plain, server_hostname=os.environ["CACHE_HOST"]) as wire:
        wire.sendall(("AUTH %s %s\\r\\nSET hello there\\r\\n" % (os.environ["CACHE_USER"], os.environ["CACHE_PASSWORD"])).encode())
        return wire.recv(100).decode().strip()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"version": sys.argv[1], "colour": os.environ.get("COLOUR", "")}
        if self.path == "/all":
            said |= {"thumbs": thumbs(), "cache": cache()}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): ...

ThreadingHTTPServer(("", int(sys.argv[2])), Handler).serve_forever()
"""
UNIT = """
[Unit]
Wants=host-secrets.service
After=network-online.target cloud-init.service host-secrets.service
[Service]
EnvironmentFile=-/etc/fleet/environment
EnvironmentFile=-/etc/fleet/secrets.env
ExecStart=/usr/bin/python3 /usr/local/lib/app.py {{ fleet_version }} {{ app_port }}
DynamicUser=true
Restart=on-failure
[Install]
WantedBy=multi-user.target
"""
ROLE = [
    {"ansible.builtin.copy": {"content": "{{ lookup('file', role_path ~ '/files/app.py') }}", "dest": "/usr/local/lib/app.py", "mode": "0644"}},
    {"ansible.builtin.template": {"src": "app.service", "dest": "/etc/systemd/system/app.service", "mode": "0644"}},
    {"ansible.builtin.systemd_service": {"name": "app", "enabled": True, "daemon_reload": True}},
]  # fmt: skip


@dataclass
class Shop:
    """The fleet file, and the playbooks over it."""

    fleet: Fleet
    folder: Path
    file: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        role = self.folder / "collections/ansible_collections/acme/shop/roles/app"
        for name, text in {
            "tasks/install.yml": yaml.safe_dump([{"name": "App", **task} for task in ROLE]),
            "files/app.py": PROGRAM,
            "templates/app.service": UNIT,
            "../../galaxy.yml": "namespace: acme\nname: shop\nversion: 1.0.0\nreadme: README.md\nauthors: [acme]\n",
        }.items():
            path = role / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        authority = Authority()
        certificate, key = authority.sign([HOST])
        self.trusted = authority.certificate
        (self.folder / "shop.pem").write_text(certificate)
        (self.folder / "shop.key").write_text(key)
        common = {"roles": ["acme.shop.app"], "machine": "cpu"}
        self.file = {
            "fleet_name": NAME,
            "fleet_region": "eu-central-1",
            "fleet_machines": {"cpu": {"profile": "cpu", "instance_type": "t3.medium"}},
            "fleet_data": {"cache": {"kind": "redis", "purpose": "cache"}},
            "fleet_services": {
                "web": {
                    **common, "version": "1", "size": {"min": 2, "max": 4}, "port": 8000, "health": "/",
                    "role_variables": {"app_port": 8000},
                    "expose": {
                        "hosts": [HOST],
                        "certificate": {"certificate_file": str(self.folder / "shop.pem"), "key_file": str(self.folder / "shop.key")},
                    },
                    "uses": ["cache", "thumbs"], "environment": {"COLOUR": "red"},
                    "roll": {"batch_size": 1, "min_healthy_time": 3, "poll_interval": 2},
                },
                "thumbs": {**common, "version": "1", "size": {"min": 1, "max": 2}, "port": 9000, "health": "/", "role_variables": {"app_port": 9000}},
            },
        }  # fmt: skip

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def play(self, playbook: str, *arguments: str, seconds: int = 900) -> subprocess.CompletedProcess[str]:
        path = self.folder / "fleet.yml"
        path.write_text(yaml.safe_dump(self.file))
        paths = f"{ROOT / 'build/collections'}:{self.folder / 'collections'}"
        settings = {
            "fleet_state_dir": str(self.state),
            "fleet_image_variables": {"ssh_interface": "private_ip"},
            "host_secrets_endpoint": INSIDE,
        }
        return subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"), f"boring.fleet.{playbook}", "-e", f"@{path}",
                "-e", json.dumps(settings), *arguments,
            ],
            cwd=self.folder, env={**self.fleet.environment, "ANSIBLE_COLLECTIONS_PATH": paths},
            timeout=seconds, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def must_play(self, playbook: str, *arguments: str) -> str:
        done = self.play(playbook, *arguments)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout

    @property
    def address(self) -> str:
        found = self.fleet.client("elbv2").describe_load_balancers(Names=[NAME])
        return str(found["LoadBalancers"][0]["DNSName"])

    def ask(self, path: str = "/") -> dict[str, Any]:
        """What the shop says over HTTPS, its certificate and name checked."""
        trust = ssl.create_default_context(cadata=self.trusted)

        wire = trust.wrap_socket(socket.create_connection((self.address, 443), timeout=10), server_hostname=HOST)
        connection = http.client.HTTPSConnection(HOST, timeout=10)
        connection.sock = wire
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, (answer.status, body)
            return dict(json.loads(body))
        finally:
            connection.close()

    def instances(self, service: str) -> set[str]:
        found = self.fleet.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[f"{NAME}-{service}"]
        )
        return {each["InstanceId"] for each in found["AutoScalingGroups"][0]["Instances"]}


@pytest.fixture(scope="module")
def shop(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    yield Shop(fleet, tmp_path_factory.mktemp("shop"))


def until(what: str, true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(1)


def test_a_file_becomes_a_fleet(shop: Shop) -> None:
    shop.must_play("build_images")
    plan = shop.must_play("deploy", "--check", "--diff")
    assert "+ group shop-web" in plan and "+ load balancer shop" in plan, plan[-3000:]
    assert not shop.fleet.client("elbv2").describe_load_balancers()["LoadBalancers"] or NAME not in {
        each["LoadBalancerName"] for each in shop.fleet.client("elbv2").describe_load_balancers()["LoadBalancers"]
    }, "the plan made something"
    shop.must_play("deploy")
    assert (len(shop.instances("web")), len(shop.instances("thumbs"))) == (2, 1)

    def whole() -> bool:
        try:
            said = shop.ask("/all")
        except (OSError, AssertionError):
            return False
        return bool(
            said["version"] == "1"
            and said["colour"] == "red"
            and said["cache"]
            and json.loads(said["thumbs"])["version"] == "1"
        )

    until("the shop answers, with its cache and its thumbs", whole)
    assert shop.ask("/all")["cache"].startswith("+OK")


def test_http_leads_to_https(shop: Shop) -> None:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    with pytest.raises(urllib.error.HTTPError) as found:
        urllib.request.build_opener(Stay).open(
            urllib.request.Request(f"http://{shop.address}/all", headers={"Host": HOST}), timeout=10
        )
    assert found.value.code == 301 and found.value.headers["Location"].startswith(f"https://{HOST}")


def test_a_second_deploy_changes_nothing(shop: Shop) -> None:
    before = shop.instances("web")
    began = time.monotonic()
    said = shop.must_play("deploy")
    assert re.search(r"changed=0\b", said), said[-2000:]
    assert time.monotonic() - began < 120, "30 s are asked; this machine may do much else"
    assert shop.instances("web") == before


def test_what_is_open_is_what_the_file_says(shop: Shop) -> None:
    """From every host to every port of every other that somebody listens at."""
    open_ports = {"web": {8000}, "thumbs": {9000}, "cache": {6379}}
    ec2 = shop.fleet.client("ec2")
    found = ec2.describe_instances(
        Filters=[{"Name": "tag:boring:fleet", "Values": [NAME]}, {"Name": "instance-state-name", "Values": ["running"]}]
    )
    hosts = [each for reservation in found["Reservations"] for each in reservation["Instances"]]
    tag = {each["InstanceId"]: {t["Key"]: t["Value"] for t in each["Tags"]}["boring:service"] for each in hosts}
    probe = (
        "import socket,sys\n"
        "for port in map(int, sys.argv[2:]):\n"
        "    s = socket.socket(); s.settimeout(1)\n"
        "    print(port) if s.connect_ex((sys.argv[1], port)) == 0 else None\n"
    )
    ports = [str(port) for port in sorted({22, 9100, *(port for each in open_ports.values() for port in each)})]
    reached = set()
    for source in hosts:
        for target in hosts:
            if source["InstanceId"] != target["InstanceId"]:
                done = subprocess.run(
                    ["podman", "exec", f"lc-{shop.fleet.cloud.name}-{source['InstanceId']}", "python3", "-c", probe, target["PrivateIpAddress"], *ports],
                    capture_output=True, text=True, timeout=60, check=True,
                )  # fmt: skip
                reached |= {
                    (tag[source["InstanceId"]], tag[target["InstanceId"]], port) for port in done.stdout.split()
                }
    assert reached == set(), "hosts reach each other through load balancers only"


def test_a_new_version_is_rolled_under_load(shop: Shop) -> None:
    shop.file["fleet_services"]["web"] |= {
        "version": "2",
        "environment": {"COLOUR": "blue"},
        "size": {"min": 2, "max": 6},
    }
    before = shop.instances("web")
    shop.must_play("build_images")
    said = shop.must_play("deploy", "--diff")
    assert "~ group shop-web: max 4 -> 6" in said and "roll shop-web" in said, said[-3000:]
    assert shop.instances("web") == before and shop.ask()["version"] == "1", "a deploy touches no host"
    seen: list[str] = []
    failed: list[str] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                seen.append(shop.ask()["version"])
            except (OSError, AssertionError) as exc:
                failed.append(repr(exc))
            time.sleep(0.1)

    client = threading.Thread(target=load)
    client.start()
    try:
        shop.must_play("roll")
    finally:
        stop.set()
        client.join(timeout=30)
    assert not failed, failed[:3]
    assert seen[0] == "1" and seen[-1] == "2" and len(seen) > 20
    assert not shop.instances("web") & before
    assert shop.ask()["colour"] == "blue"
    thumbs = shop.must_play("roll")
    assert re.search(r"changed=0\b", thumbs), thumbs[-2000:]


def test_status_says_how_it_is(shop: Shop) -> None:
    until("every target is healthy", lambda: "not well" not in shop.must_play("status"))
    said = shop.must_play("status")
    assert re.search(r"\bweb +2 .*2 of 2 in service +none behind +last roll", said), said[-3000:]
    assert re.search(r"\bcache .*1 of 1 in service", said), said[-3000:]
    assert "<svg" in (shop.state / "status.html").read_text()


def test_a_service_leaves_the_file(shop: Shop) -> None:
    web = shop.file["fleet_services"]["web"]
    del shop.file["fleet_services"]["thumbs"]
    web["uses"] = ["cache"]
    said = shop.must_play("deploy", "--diff")
    assert "- group shop-thumbs" in said, said[-3000:]
    assert shop.instances("thumbs"), "it goes only when that is asked for"
    shop.must_play("deploy", "-e", "fleet_remove=true")
    names = shop.fleet.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert f"{NAME}-thumbs" not in {each["AutoScalingGroupName"] for each in names}


def test_nothing_is_left(shop: Shop) -> None:
    shop.must_play("destroy", "-e", f"fleet_destroy_data={NAME}")
    cloud = shop.fleet
    tagged = [{"Name": "tag:boring:fleet", "Values": [NAME]}]
    ec2 = cloud.client("ec2")
    alive = [
        each["InstanceId"]
        for reservation in ec2.describe_instances(Filters=tagged)["Reservations"]
        for each in reservation["Instances"]
        if each["State"]["Name"] != "terminated"
    ]
    left = {
        "instances": alive,
        "groups": [each["AutoScalingGroupName"] for each in cloud.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] if each["AutoScalingGroupName"].startswith(f"{NAME}-")],
        "security groups": [each["GroupName"] for each in ec2.describe_security_groups(Filters=tagged)["SecurityGroups"]],
        "templates": [each["LaunchTemplateName"] for each in ec2.describe_launch_templates()["LaunchTemplates"] if each["LaunchTemplateName"].startswith(f"{NAME}-")],
        "balancers": [each["LoadBalancerName"] for each in cloud.client("elbv2").describe_load_balancers()["LoadBalancers"] if each["LoadBalancerName"].startswith(NAME)],
        "target groups": [each["TargetGroupName"] for each in cloud.client("elbv2").describe_target_groups()["TargetGroups"] if each["TargetGroupName"].startswith(NAME)],
        "roles": [each["RoleName"] for each in cloud.client("iam").list_roles()["Roles"] if each["RoleName"].startswith(f"{NAME}-")],
        "parameters": [each["Name"] for each in cloud.client("ssm").describe_parameters()["Parameters"] if each["Name"].startswith(f"/boring/fleets/{NAME}/")],
        "certificates": cloud.client("acm").list_certificates()["CertificateSummaryList"],
    }  # fmt: skip
    assert not any(left.values()), left
