# SPDX-License-Identifier: GPL-3.0-or-later
"""The metric that a group follows: out of Prometheus text of a real server on loopback, into a stand-in of CloudWatch that judges signatures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from ansible_collections.boring.fleet.plugins.module_utils.host import metric
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, read
from tests.unit.plugins.module_utils.host.test_aws import SECRET, Server, server  # noqa: F401 - the fixture

ROOT = Path(__file__).resolve().parents[5]
START = """
import sys
from ansible_collections.boring.fleet.plugins.module_utils.host import main, told
main.METADATA, told.PATH = sys.argv[2], sys.argv[1]
sys.exit(main.main(["host-lifecycle", "step", "keep"]))
"""


class Service(ThreadingHTTPServer):
    """A service that serves `text` at /metrics."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.text, self.asked = "", []  # type: str, list[str]


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.text.encode()
        self.send_response_only(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def keep(folder: Path, aws: Server, port: int, name: str = "busy") -> tuple[int, str]:
    """The step of a host as its program runs it: exit status and what it said."""
    told = {
        "fleet": "shop", "service": "web", "kind": "service", "region": "eu-central-1", "group": "shop-web", "endpoint": aws.url, "port": 8000,
        "follows": {"metric": name, "namespace": "boring.fleet", "port": port, "tls": False},
    }  # fmt: skip
    (folder / "host.json").write_text(json.dumps(told))
    done = subprocess.run(
        [sys.executable, "-c", START, folder / "host.json", aws.url], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT / "build" / "collections")},
    )  # fmt: skip
    assert SECRET not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_host_puts_what_its_service_serves(tmp_path: Path, service: Service, server: Server) -> None:  # noqa: F811
    registry = CollectorRegistry()
    Gauge("busy", "How much is in hand", registry=registry).set(0.625)
    Gauge("busy_others", "Something else", registry=registry).set(9)
    service.text = generate_latest(registry).decode()
    assert keep(tmp_path, server, service.server_address[1]) == (0, "")
    assert service.asked == ["/metrics"]
    assert server.asked == [
        {
            "Action": "PutMetricData", "Version": "2010-08-01", "Namespace": "boring.fleet", "MetricData.member.1.MetricName": "busy",
            "MetricData.member.1.Value": "0.625", "MetricData.member.1.Dimensions.member.1.Name": "Fleet",
            "MetricData.member.1.Dimensions.member.1.Value": "shop", "MetricData.member.1.Dimensions.member.2.Name": "Service",
            "MetricData.member.1.Dimensions.member.2.Value": "web",
        }
    ]  # fmt: skip


def test_what_is_missing_is_one_sentence_for_the_host_s_tag(tmp_path: Path, service: Service, server: Server) -> None:  # noqa: F811
    port = service.server_address[1]
    service.text = "idle 1\n"
    said = f"web at port {port}, /metrics, has no busy, which its group follows: name another in scale, and deploy\n"
    assert keep(tmp_path, server, port) == (1, said)
    service.shutdown()
    service.server_close()
    code, said = keep(tmp_path, server, port)
    assert code == 1 and said.startswith(
        f"web at port {port}, /metrics, does not answer, so that its group knows no busy"
    )
    assert server.asked == []


def test_a_refusal_by_aws_is_a_sentence_too(tmp_path: Path, service: Service, server: Server) -> None:  # noqa: F811
    service.text = "busy 1\n"
    server.answers = [(403, "<E><Error><Code>AccessDenied</Code><Message>no policy allows it</Message></Error></E>")]
    code, said = keep(tmp_path, server, service.server_address[1])
    assert code == 1 and said == "PutMetricData was refused with AccessDenied: no policy allows it\n"


def test_a_service_that_is_not_followed_is_not_asked() -> None:
    told = read(
        '{"fleet": "shop", "service": "web", "kind": "service", "region": "eu-central-1", "group": "shop-web", "port": 80}'
    )
    metric.Publisher(lambda *_: pytest.fail("asked"), lambda *_: pytest.fail("put"))(told)


def test_an_answer_that_is_no_success_is_named() -> None:
    told = read(
        '{"fleet": "shop", "service": "web", "kind": "service", "region": "r", "group": "g", "follows": {"metric": "busy", "namespace": "n", "port": 9}}'
    )
    with pytest.raises(HostError, match="web at port 9, /metrics, answers 503, so that its group knows no busy"):
        metric.Publisher(lambda *_: (503, "busy 1"), lambda *_: pytest.fail("put"))(told)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("busy 3", 3.0),
        ("# HELP busy 7\n# TYPE busy gauge\nbusy 3\n", 3.0),
        ("other 1\nbusy 0.5 1700000000000\n", 0.5),
        ("busy\t1e-3\r\n", 0.001),
        ('busy{queue="cpu"} 3\nbusy{queue="gpu",} 4\n', 7.0),
        (r'busy{a="}\" 9 {",b="x"} 2' + "\n", 2.0),
        ('busy {} -2 # {id="1"} 5\n', -2.0),
        ("busy_total 3\nnot_busy 4\nbusyness 5", None),
        ("busy NaN", None),
        ("busy +Inf\n", None),
        ('busy{a="1"} 3\nbusy{a="2"} NaN\n', None),
        ("busy three", None),
        ("busy", None),
        ("busy\n4", None),
        ("", None),
    ],
)
def test_the_text_of_prometheus(text: str, value: float | None) -> None:
    assert metric.found(text, "busy") == value
