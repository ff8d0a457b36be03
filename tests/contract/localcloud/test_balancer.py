# SPDX-License-Identifier: GPL-3.0-or-later
"""ELBv2 on real HAProxy: targets are small HTTP servers on loopback addresses of their own."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends

from localcloud import balancer
from localcloud.balancer.haproxy import Haproxy
from localcloud.errors import ApiError

pytestmark = pytest.mark.skipif(
    not (shutil.which("haproxy") or Path("/usr/sbin/haproxy").exists()), reason="haproxy is not installed"
)

REGION = "eu-central-1"
ACCOUNT = "123456789012"
NET = f"127.{random.randrange(1, 60)}.{random.randrange(1, 250)}"  # two runs at once do not meet


class Target:
    """An HTTP server whose answers a test decides."""

    def __init__(self, address: str, port: int = 0) -> None:
        self.health = 200
        self.delay = 0.0
        self.check_delay = 0.0
        self.requests: list[str] = []
        self.checks = 0
        target = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                got = len(self.rfile.read(length)) if length else 0
                if self.path == "/readyz":
                    target.checks += 1
                    time.sleep(target.check_delay)
                    body, status = b"", target.health
                else:
                    target.requests.append(f"{self.command} {self.path}")
                    time.sleep(target.delay)
                    text = f"{target.address} {got} {self.headers.get('X-Forwarded-For')}"
                    body, status = text.encode(), 200
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None: ...  # a health check closes as soon as it knows

        self._server = Server((address, port), Handler)
        self.address, self.port = self._server.server_address[:2]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class Client:
    """Requests without pause, over kept and over new connections, until the block ends."""

    def __init__(self, address: str, port: int, threads: int = 4) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._goal = (address, port)
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def _run(self, number: int) -> None:
        keep = number % 2 == 0
        link = http.client.HTTPConnection(*self._goal, timeout=20)
        while not self._end.is_set():
            try:
                link.request("POST" if number % 3 else "GET", "/work", body=b"x" * 1000 if number % 3 else None)
                answer = link.getresponse()
                text = answer.read().decode()
                if answer.status == 200:
                    self.answers[text.split()[0]] += 1
                else:
                    self.failures.append(f"{answer.status} {text[:80]}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                link.close()
            if not keep:
                link.close()
            time.sleep(0.003)
        link.close()

    def __enter__(self) -> Client:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)


class Cloud:
    """The balancer with a ticker, as localcloud's server runs it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.elb = balancer.create("test", directory, ACCOUNT)
        self.network = ec2_backends[ACCOUNT][REGION].describe_subnets()
        self._end = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def _tick(self) -> None:
        while not self._end.wait(0.1):
            self.elb.tick()

    def close(self) -> None:
        self._end.set()
        self._ticker.join(10)
        self.elb.stop()

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self.elb.handle(operation, params, REGION)

    def load_balancer(self, name: str = "front", kind: str = "application") -> tuple[str, str]:
        made = self.call("CreateLoadBalancer", Name=name, Type=kind, Subnets=[one.id for one in self.network])
        return made["LoadBalancers"][0]["LoadBalancerArn"], made["LoadBalancers"][0]["DNSName"]

    def group(self, name: str = "api", **extra: Any) -> str:
        wanted = {
            "Protocol": "HTTP",
            "Port": 8080,
            "TargetType": "ip",
            "HealthCheckPath": "/readyz",
            "HealthCheckIntervalSeconds": 5,
            "HealthCheckTimeoutSeconds": 2,
            "HealthyThresholdCount": 2,
            "UnhealthyThresholdCount": 2,
            "Matcher": {"HttpCode": "200-299"},
            **extra,
        }
        if wanted["Protocol"] == "TCP":
            del wanted["Matcher"], wanted["HealthCheckPath"]
        made = self.call("CreateTargetGroup", Name=name, VpcId=self.network[0].vpc_id, **wanted)
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def listen(self, balancer_arn: str, group: str, port: int, protocol: str = "HTTP") -> str:
        made = self.call(
            "CreateListener", LoadBalancerArn=balancer_arn, Port=port, Protocol=protocol,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )  # fmt: skip
        return str(made["Listeners"][0]["ListenerArn"])

    def attribute(self, group: str, key: str, value: str) -> None:
        self.call("ModifyTargetGroupAttributes", TargetGroupArn=group, Attributes=[{"Key": key, "Value": value}])

    def register(self, group: str, *targets: Target) -> None:
        self.call("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": t.address, "Port": t.port} for t in targets])

    def deregister(self, group: str, *targets: Target) -> None:
        wanted = [{"Id": target.address, "Port": target.port} for target in targets]
        self.call("DeregisterTargets", TargetGroupArn=group, Targets=wanted)

    def states(self, group: str) -> dict[str, dict[str, str]]:
        listed = self.call("DescribeTargetHealth", TargetGroupArn=group)["TargetHealthDescriptions"]
        return {item["Target"]["Id"]: item["TargetHealth"] for item in listed}

    def wait(self, group: str, target: Target, state: str, seconds: float) -> dict[str, str]:
        found = wait(lambda: s if (s := self.states(group).get(target.address, {})).get("State") == state else None, seconds)
        assert found is not None, f"{target.address} is {self.states(group).get(target.address)}, not {state}"
        return found


def wait(check: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found or None


def get(address: str, port: int, path: str = "/", **headers: str) -> tuple[int, str, dict[str, str]]:
    link = http.client.HTTPConnection(address, port, timeout=20)
    try:
        link.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = link.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        link.close()


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    elbv2_backends.reset()
    made = Cloud(tmp_path / "haproxy")
    pids: list[int] = []
    try:
        yield made
        record = tmp_path / "haproxy" / "haproxy.pid"
        pids = [int(part) for part in record.read_text().replace(",", " ").replace("}", " ").split() if part.isdigit()][:1] if record.exists() else []
    finally:
        made.close()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            pytest.fail(f"HAProxy {pid} was left behind")


@pytest.fixture
def targets() -> Iterator[Callable[[], Target]]:
    made: list[Target] = []

    def make() -> Target:
        made.append(Target(f"{NET}.{len(made) + 1}"))
        return made[-1]

    yield make
    for target in made:
        target.close()


def test_a_target_gets_traffic_after_its_first_passed_check(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    one = targets()
    cloud.register(group, one)
    assert cloud.states(group)[one.address] == {
        "State": "unused",
        "Reason": "Target.NotInUse",
        "Description": "Target group is not configured to receive traffic from the load balancer",
    }
    port = free_port(address)
    cloud.listen(arn, group, port)
    began = time.monotonic()
    assert cloud.wait(group, one, "healthy", 3) == {"State": "healthy"}
    assert time.monotonic() - began < 2, "the first check comes at once, not an interval later"
    status, text, _ = get(address, port)
    assert (status, text.split()[0]) == (200, one.address)
    assert text.split()[2].startswith("127."), "X-Forwarded-For names the client"


def test_registering_and_draining_under_load_loses_no_request(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    cloud.attribute(group, "deregistration_delay.timeout_seconds", "2")
    port = free_port(address)
    cloud.listen(arn, group, port)
    serving = [targets() for _ in range(3)]
    for target in serving:
        target.delay = 0.05
    cloud.register(group, *serving)
    for target in serving:
        cloud.wait(group, target, "healthy", 5)
    with Client(address, port) as client:
        for _ in range(4):  # a roll: one new, one old, as asg_rollout does it
            new = targets()
            new.delay = 0.05
            cloud.register(group, new)
            cloud.wait(group, new, "healthy", 5)
            old = serving.pop(0)
            cloud.deregister(group, old)
            assert cloud.states(group)[old.address] == {
                "State": "draining",
                "Reason": "Target.DeregistrationInProgress",
                "Description": "Target deregistration is in progress",
            }
            assert wait(lambda old=old: old.address not in cloud.states(group), 5), "the delay is over after 2 s"
            seen = len(old.requests)
            old.close()  # terminated
            serving.append(new)
            time.sleep(0.3)
            assert len(old.requests) == seen
        # settings change under load too: that is a reload
        for interval in (6, 7):
            cloud.call("ModifyTargetGroup", TargetGroupArn=group, HealthCheckIntervalSeconds=interval)
            time.sleep(0.5)
        assert {health["State"] for health in cloud.states(group).values()} == {"healthy"}, "a reload keeps the health"
    assert client.failures == []
    assert sum(client.answers.values()) > 200
    assert set(client.answers) >= {target.address for target in serving}
