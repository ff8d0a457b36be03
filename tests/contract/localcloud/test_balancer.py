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
from localcloud.balancer import render
from localcloud.balancer.haproxy import Haproxy
from localcloud.balancer.model import FixedResponse, Listener, Rule, View
from localcloud.errors import ApiError

HAPROXY = os.environ.get("HAPROXY") or shutil.which("haproxy") or "/usr/sbin/haproxy"
pytestmark = pytest.mark.skipif(not Path(HAPROXY).exists(), reason="haproxy is not installed")

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

    def __init__(self, address: str, port: int, threads: int = 4, path: str = "/work") -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._goal, self._path = (address, port), path
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def _run(self, number: int) -> None:
        keep = number % 2 == 0
        link = http.client.HTTPConnection(*self._goal, timeout=20)
        while not self._end.is_set():
            try:
                link.request("POST" if number % 3 else "GET", self._path, body=b"x" * 1000 if number % 3 else None)
                answer = link.getresponse()
                text = answer.read().decode()
                if answer.status == 200:
                    self.answers[text.split()[0]] += 1
                else:
                    self.failures.append(f"{time.strftime('%X')} {answer.status} {text[:80]}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{time.strftime('%X')} {error!r}")
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
        self.elb = balancer.create("test", directory, ACCOUNT, binary=HAPROXY)
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
        found = wait(
            lambda: s if (s := self.states(group).get(target.address, {})).get("State") == state else None, seconds
        )
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


def alive(directory: Path) -> list[int]:
    """The processes that work in a directory: HAProxy and its workers."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").resolve() == directory.resolve():
                found.append(int(entry.name))
    return found


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    elbv2_backends.reset()
    # deeper than a unix socket's path may be long, as a checkout can be
    made = Cloud(tmp_path / ("deep" * 20) / "haproxy")
    try:
        yield made
    finally:
        made.close()
    assert alive(made.directory) == [], "HAProxy was left behind"


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


def test_health_is_what_the_checks_measured(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    port = free_port(address)
    cloud.listen(arn, group, port)
    good, wrong, slow, gone, never = (targets() for _ in range(5))
    never.health = 404
    cloud.register(group, good, wrong, slow, gone, never)
    for target in (good, wrong, slow, gone):
        cloud.wait(group, target, "healthy", 4)
    assert cloud.states(group)[never.address] == {
        "State": "initial",
        "Reason": "Elb.InitialHealthChecking",
        "Description": "Initial health checks in progress",
    }
    assert {get(address, port)[0] for _ in range(8)} == {200}
    assert never.requests == [], "no traffic before a check passed"
    wrong.health, slow.check_delay = 503, 6
    gone.close()
    assert cloud.wait(group, wrong, "unhealthy", 13) == {
        "State": "unhealthy",
        "Reason": "Target.ResponseCodeMismatch",
        "Description": "Health checks failed with these codes: [503]",
    }
    assert cloud.wait(group, gone, "unhealthy", 13) == {
        "State": "unhealthy",
        "Reason": "Target.FailedHealthChecks",
        "Description": "Health checks failed",
    }
    assert cloud.wait(group, slow, "unhealthy", 20) == {
        "State": "unhealthy",
        "Reason": "Target.Timeout",
        "Description": "Request timed out",
    }
    assert cloud.wait(group, never, "unhealthy", 13)["Description"] == "Health checks failed with these codes: [404]"
    assert never.requests == []
    seen = len(wrong.requests)
    assert {get(address, port)[1].split()[0] for _ in range(8)} == {good.address}
    assert len(wrong.requests) == seen
    # two passed checks in a row (the healthy threshold) bring it back, one does not
    checks = wrong.checks
    wrong.health = 200
    cloud.wait(group, wrong, "healthy", 13)
    assert wrong.checks - checks == 2
    assert wrong.address in {get(address, port)[1].split()[0] for _ in range(8)}


def test_requests_in_flight_end_well_while_their_target_drains(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    cloud.attribute(group, "deregistration_delay.timeout_seconds", "4")
    port = free_port(address)
    cloud.listen(arn, group, port)
    old, new = targets(), targets()
    cloud.register(group, old)
    cloud.wait(group, old, "healthy", 4)
    old.delay = 2
    answers: list[tuple[int, str, dict[str, str]]] = []
    asking = threading.Thread(target=lambda: answers.append(get(address, port, "/long")))
    asking.start()
    assert wait(lambda: old.requests, 5)
    cloud.register(group, new)
    cloud.wait(group, new, "healthy", 4)
    cloud.deregister(group, old)
    began = time.monotonic()
    assert get(address, port)[1].split()[0] == new.address
    asking.join(10)
    assert [status for status, _, _ in answers] == [200]
    assert answers[0][1].split()[0] == old.address
    # the connection is gone, yet AWS lists the target as draining until the delay is over
    assert cloud.states(group)[old.address]["State"] == "draining"
    assert wait(lambda: old.address not in cloud.states(group), 6)
    assert time.monotonic() - began > 3.5
    asked = cloud.call("DescribeTargetHealth", TargetGroupArn=group, Targets=[{"Id": old.address, "Port": old.port}])
    assert asked["TargetHealthDescriptions"] == [
        {
            "Target": {"Id": old.address, "Port": old.port},
            "HealthCheckPort": str(old.port),
            "TargetHealth": {
                "State": "unused",
                "Reason": "Target.NotRegistered",
                "Description": "Target is not registered to the target group",
            },
        }
    ]


def test_a_target_that_is_registered_again_while_it_drains_serves_again(
    cloud: Cloud, targets: Callable[[], Target]
) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    port = free_port(address)
    cloud.listen(arn, group, port)
    one = targets()
    cloud.register(group, one)
    cloud.wait(group, one, "healthy", 4)
    cloud.deregister(group, one)
    assert cloud.states(group)[one.address]["State"] == "draining"
    assert get(address, port)[0] == 503
    cloud.register(group, one)
    cloud.wait(group, one, "healthy", 4)
    assert get(address, port)[0] == 200
    cloud.deregister(group, one)
    cloud.deregister(group, one)  # AWS: deregistering what is not registered is no error
    cloud.call("DeregisterTargets", TargetGroupArn=group, Targets=[{"Id": "127.0.0.99"}])


def test_a_drain_is_cut_when_its_delay_is_over(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    cloud.attribute(group, "deregistration_delay.timeout_seconds", "1")
    port = free_port(address)
    cloud.listen(arn, group, port)
    one = targets()
    cloud.register(group, one)
    cloud.wait(group, one, "healthy", 4)
    one.delay = 8
    answers: list[int | None] = []
    asking = threading.Thread(target=lambda: answers.append(_answers(address, port)))
    asking.start()
    assert wait(lambda: one.requests, 5)
    began = time.monotonic()
    cloud.deregister(group, one)
    asking.join(10)
    assert answers in ([None], [502], [503], [504]), "the connection is cut"
    assert time.monotonic() - began < 4


def test_a_request_that_was_sent_is_never_sent_again(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    port = free_port(address)
    cloud.listen(arn, group, port)
    one = targets()
    # the second target takes the request and hangs up without a word
    got: list[bytes] = []
    with socket.create_server((f"{NET}.200", 0)) as rude:
        rude.settimeout(0.1)
        end = threading.Event()

        def serve() -> None:
            while not end.is_set():
                with contextlib.suppress(TimeoutError):
                    link, _ = rude.accept()
                    with link:
                        head = link.recv(65536)
                        if b"/readyz" in head:
                            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        elif head:
                            got.append(head)

        serving = threading.Thread(target=serve)
        serving.start()
        cloud.register(group, one)
        cloud.call(
            "RegisterTargets", TargetGroupArn=group,
            Targets=[{"Id": f"{NET}.200", "Port": rude.getsockname()[1]}],
        )  # fmt: skip
        try:
            assert wait(lambda: all(h["State"] == "healthy" for h in cloud.states(group).values()), 5)
            statuses = sorted(get(address, port, f"/{number}")[0] for number in range(6))
        finally:
            end.set()
            serving.join(5)
    assert statuses == [200, 200, 200, 502, 502, 502]
    assert len(got) == 3
    assert len(one.requests) == 3


def test_a_target_that_dies_costs_no_request_that_was_not_sent(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    port = free_port(address)
    cloud.listen(arn, group, port)
    one, two = targets(), targets()
    cloud.register(group, one, two)
    for target in (one, two):
        cloud.wait(group, target, "healthy", 4)
    two.close()  # no check has seen it yet
    assert {get(address, port)[0] for _ in range(10)} == {200}


def test_large_bodies_pass(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    port = free_port(address)
    cloud.listen(arn, group, port)
    one = targets()
    cloud.register(group, one)
    cloud.wait(group, one, "healthy", 4)
    link = http.client.HTTPConnection(address, port, timeout=60)
    link.request("POST", "/upload", body=b"x" * 64_000_000)
    assert link.getresponse().read().split()[1] == b"64000000"
    link.close()


def test_haproxy_that_died_comes_back_and_a_restart_keeps_registrations(
    cloud: Cloud, targets: Callable[[], Target]
) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    port = free_port(address)
    cloud.listen(arn, group, port)
    one, bad = targets(), targets()
    bad.health = 500
    cloud.register(group, one, bad)
    cloud.wait(group, one, "healthy", 4)
    for pid in alive(cloud.directory):
        os.kill(pid, 9)
    assert wait(lambda: _answers(address, port) == 200, 8), "HAProxy was not brought back"
    state = cloud.elb.dump()
    cloud.close()
    assert alive(cloud.directory) == []
    again = Cloud(cloud.directory)
    try:
        again.elb.load(state)
        again.elb.start()
        again.wait(group, one, "healthy", 4)
        assert get(address, port)[1].split()[0] == one.address
        assert again.states(group)[bad.address]["State"] in ("initial", "unhealthy")
        assert bad.requests == []
    finally:
        again.close()


def test_a_killed_localcloud_s_haproxy_is_taken_over_without_a_lost_request(
    cloud: Cloud, targets: Callable[[], Target]
) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    port = free_port(address)
    cloud.listen(arn, group, port)
    one = targets()
    cloud.register(group, one)
    cloud.wait(group, one, "healthy", 4)
    with Client(address, port) as client:
        time.sleep(0.3)
        successor = balancer.create("test", cloud.directory, ACCOUNT, binary=HAPROXY)
        successor.load(cloud.elb.dump())
        successor.start()
        time.sleep(0.5)
    assert client.failures == []
    assert successor.health(group)[one.address].state in ("healthy", "initial")
    assert len(alive(cloud.directory)) == 2


def _answers(address: str, port: int) -> int | None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return get(address, port)[0]
    return None


def test_reloads_in_a_row_all_take_effect(tmp_path: Path) -> None:
    """A master that is busy with its last reload loses a signal: the one for the next reload must wait for it."""
    proxy = Haproxy(tmp_path / "haproxy", HAPROXY)
    address = f"{NET}.77"
    port = free_port(address)
    try:
        for number in range(25):
            rule = Rule(FixedResponse(200, "text/plain", str(number)))
            listener = Listener("arn:x:listener/app/front/0/1", address, port, "HTTP", (rule,))
            proxy.apply(render.config(View((listener,))), render.state("", []))
            assert wait(
                lambda n=number: get(address, port)[1] == str(n), 2
            )  # the old worker may take one last connection
    finally:
        proxy.stop()
    assert alive(tmp_path / "haproxy") == []


def test_rules(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    api, admin = cloud.group("api"), cloud.group("admin")
    port = free_port(address)
    listener = cloud.listen(arn, api, port)
    one, two = targets(), targets()
    cloud.register(api, one)
    cloud.register(admin, two)

    def rule(priority: int, conditions: list[dict[str, Any]], action: dict[str, Any]) -> str:
        made = cloud.call(
            "CreateRule", ListenerArn=listener, Priority=priority, Conditions=conditions, Actions=[action]
        )  # fmt: skip
        return str(made["Rules"][0]["RuleArn"])

    rule(20, [{"Field": "path-pattern", "Values": ["/admin/*"]}], {"Type": "forward", "TargetGroupArn": admin})
    rule(
        10,
        [
            {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/admin/secret", "/hid?en"]}},
            {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.org"]}},
        ],
        {
            "Type": "fixed-response",
            "FixedResponseConfig": {
                "StatusCode": "403", "ContentType": "text/plain", "MessageBody": "it's \"not\" $HOME #for\nyou",
            },
        },
    )  # fmt: skip
    rule(
        30,
        [{"Field": "path-pattern", "Values": ["/old/*"]}],
        {"Type": "redirect", "RedirectConfig": {"Path": "/new/#{path}", "StatusCode": "HTTP_302"}},
    )
    rule(
        40,
        [{"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "2*"}]}}],
        {"Type": "forward", "TargetGroupArn": admin},
    )
    weighted = rule(
        50,
        [{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Canary", "Values": ["yes"]}}],
        {
            "Type": "forward",
            "ForwardConfig": {
                "TargetGroups": [
                    {"TargetGroupArn": api, "Weight": 1}, {"TargetGroupArn": admin, "Weight": 1},
                ]
            },
        },
    )  # fmt: skip
    cloud.wait(api, one, "healthy", 5)
    cloud.wait(admin, two, "healthy", 5)

    def who(path: str, **headers: str) -> str:
        return get(address, port, path, **headers)[1].split()[0]

    assert who("/") == one.address
    assert who("/admin/x") == two.address
    assert who("/Admin/x") == one.address, "paths are case-sensitive"
    assert who("/admin/secret") == two.address
    status, text, _ = get(address, port, "/admin/secret", Host="a.EXAMPLE.org:81")
    assert (status, text) == (403, 'it\'s "not" $HOME #for\nyou')
    assert get(address, port, "/hidden", Host="a.example.org")[0] == 403
    status, _, headers = get(address, port, "/old/a?b=c", Host="h.test")
    assert (status, headers["location"]) == (302, f"http://h.test:{port}/new/old/a?b=c")
    assert get(address, port, "/old/a", Host="h.test")[2]["location"] == f"http://h.test:{port}/new/old/a"
    assert who("/?x=1&v=21") == two.address
    assert who("/?v=3") == one.address
    seen = Counter(who("/", X_Canary="yes") for _ in range(60))
    assert min(seen[one.address], seen[two.address]) > 10
    cloud.call("DeleteRule", RuleArn=weighted)
    assert {who("/", X_Canary="yes") for _ in range(20)} == {one.address}
    # deleted: nothing listens any more, the groups are free
    cloud.call("DeleteLoadBalancer", LoadBalancerArn=arn)
    assert _answers(address, port) is None
    assert cloud.states(api)[one.address]["Reason"] == "Target.NotInUse"
    cloud.call("DeleteTargetGroup", TargetGroupArn=api)
    assert alive(cloud.directory) == [], "without a listener there is no HAProxy"


def test_network_load_balancer(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer("net", "network")
    group = cloud.group("tcp", Protocol="TCP")
    one, two = targets(), targets()
    port = free_port(address)
    cloud.listen(arn, group, port, "TCP")
    cloud.register(group, one, two)
    for target in (one, two):
        cloud.wait(group, target, "healthy", 4)
    assert {get(address, port)[1].split()[0] for _ in range(6)} == {one.address, two.address}
    assert get(address, port)[1].split()[2] == "None", "bytes pass as they are"


def test_a_port_in_use_is_refused_and_nothing_is_half_made(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ApiError) as refused:
            cloud.listen(arn, group, port)
    assert refused.value.code == "InvalidConfigurationRequest"
    assert refused.value.message == (
        f"Port {port} on {address} is in use by another program on this machine: "
        "end that program or choose another listener port."
    )
    assert cloud.call("DescribeListeners", LoadBalancerArn=arn)["Listeners"] == []
    listener = cloud.listen(arn, group, port)  # the program ended: now it works
    one = targets()
    cloud.register(group, one)
    cloud.wait(group, one, "healthy", 4)
    with socket.create_server(("0.0.0.0", 0)) as other, pytest.raises(ApiError):
        cloud.call("ModifyListener", ListenerArn=listener, Port=other.getsockname()[1])
    assert cloud.call("DescribeListeners", LoadBalancerArn=arn)["Listeners"][0]["Port"] == port
    assert get(address, port)[0] == 200


def test_what_haproxy_refuses_leaves_everything_as_it_was(
    cloud: Cloud, targets: Callable[[], Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group()
    port = free_port(address)
    listener = cloud.listen(arn, group, port)
    one = targets()
    cloud.register(group, one)
    cloud.wait(group, one, "healthy", 4)
    monkeypatch.setattr("localcloud.balancer.refusals._conditions", lambda _: None)
    bad = [{"Field": "source-ip", "SourceIpConfig": {"Values": ["not an address"]}}]
    with pytest.raises(ApiError) as refused:
        cloud.call(
            "CreateRule", ListenerArn=listener, Priority=1, Conditions=bad,
            Actions=[{"Type": "forward", "TargetGroupArn": group}],
        )  # fmt: skip
    assert "not an address" in refused.value.message
    assert len(cloud.call("DescribeRules", ListenerArn=listener)["Rules"]) == 1
    assert get(address, port)[0] == 200
    assert cloud.states(group)[one.address] == {"State": "healthy"}


def test_instances_are_targets_by_their_private_address(
    cloud: Cloud, targets: Callable[[], Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = targets()
    ec2 = ec2_backends[ACCOUNT][REGION]
    made = ec2.run_instances(
        "ami-12345678", 1, "", [], subnet_id=cloud.network[0].id, is_instance_type_default=True
    ).instances[0]
    monkeypatch.setattr(type(made), "private_ip", property(lambda _: one.address))
    made._state.name, made._state.code = "running", 16
    arn, address = cloud.load_balancer()
    group = cloud.group(TargetType="instance", Port=one.port)
    port = free_port(address)
    cloud.listen(arn, group, port)
    cloud.elb.register(group, made.id)
    assert wait(lambda: cloud.elb.health(group)[made.id].state == "healthy", 4)
    assert get(address, port)[1].split()[0] == one.address
    made._state.name, made._state.code = "stopped", 80
    assert wait(lambda: cloud.elb.health(group)[made.id].reason == "Target.InvalidState", 3)
    assert get(address, port)[0] == 503
    with pytest.raises(ApiError, match="not in a running state and cannot be registered: '" + made.id):
        cloud.elb.register(group, made.id)
    made._state.name, made._state.code = "running", 16
    assert wait(lambda: cloud.elb.health(group)[made.id].state == "healthy", 4)
    cloud.elb.deregister(group, made.id)
    assert cloud.elb.health(group)[made.id].state == "draining"


def test_an_injected_target_fault_fails_real_checks(
    cloud: Cloud, targets: Callable[[], Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = targets()
    made = ec2_backends[ACCOUNT][REGION].run_instances(
        "ami-12345678", 1, "", [], subnet_id=cloud.network[0].id, is_instance_type_default=True
    ).instances[0]  # fmt: skip
    monkeypatch.setattr(type(made), "private_ip", property(lambda _: one.address))
    made._state.name, made._state.code = "running", 16
    arn, address = cloud.load_balancer()
    group = cloud.group(TargetType="instance", Port=one.port)
    cloud.listen(arn, group, free_port(address))
    cloud.elb._faults.add({"kind": "target"})
    cloud.elb.register(group, made.id)
    assert wait(lambda: cloud.elb.health(group)[made.id].state == "unhealthy", 9)
    assert cloud.elb.health(group)[made.id].reason == "Target.FailedHealthChecks"
    cloud.call("ModifyTargetGroup", TargetGroupArn=group, HealthCheckIntervalSeconds=6)  # a reload
    time.sleep(7)
    assert cloud.elb.health(group)[made.id].state == "unhealthy"
    assert one.checks == 0
