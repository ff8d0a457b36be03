# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes against real sockets on loopback."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.probe.command import Command
from ansible_collections.boring.fleet.plugins.module_utils.probe.http import HttpRequest, Statuses
from ansible_collections.boring.fleet.plugins.module_utils.probe.tcp import TcpConnect
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.checks import Place, ask_all

LOOPBACK = "127.0.0.1"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/") or 200))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer((LOOPBACK, 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


def test_http_says_yes_only_to_the_status_that_was_asked_for(port: int) -> None:
    assert HttpRequest(port).probe(LOOPBACK) == ""
    assert "answered 503, not 200" in HttpRequest(port, "/503").probe(LOOPBACK)
    assert HttpRequest(port, "/204", statuses=Statuses.parse("200-299")).probe(LOOPBACK) == ""
    assert HttpRequest(port, "/302").probe(LOOPBACK) != "", "a redirection is not followed"
    assert HttpRequest(port, "/202", method="POST", statuses=Statuses(((200, 299),))).probe(LOOPBACK) == ""


def test_http_says_why_not(silent: int, closed: int, port: int) -> None:
    assert "within 0.2 s" in HttpRequest(silent, timeout=0.2).probe(LOOPBACK)
    assert "refused" in HttpRequest(closed).probe(LOOPBACK)
    assert HttpRequest(port, scheme="https", timeout=2).probe(LOOPBACK) != ""


def test_tcp(silent: int, closed: int) -> None:
    assert TcpConnect(silent).probe(LOOPBACK) == ""
    assert "refused" in TcpConnect(closed).probe(LOOPBACK)


def test_a_command_is_told_of_the_instance() -> None:
    code = "import os, sys; sys.exit(0 if os.environ['INSTANCE_ID'] == 'i-1' and os.environ['INSTANCE_ZONE'] == 'a' else 3)"
    check = Command((sys.executable, "-c", code))
    assert check.probe(Place("i-1", LOOPBACK, "a").environment) == ""
    assert "exited with 3" in check.probe(Place("i-2", LOOPBACK, "a").environment)


def test_a_command_that_fails_says_its_last_line() -> None:
    assert "no quorum" in Command((sys.executable, "-c", "import sys; sys.exit('no quorum')")).probe({})
    assert "cannot be run" in Command(("/nowhere/at/all",)).probe({})
    assert "within 0.2 s" in Command((sys.executable, "-c", "import time; time.sleep(20)"), timeout=0.2).probe({})


def test_all_are_asked_at_once_and_the_first_reason_is_kept(port: int, closed: int) -> None:
    places = [Place("i-1", LOOPBACK, "a"), Place("i-2", LOOPBACK, "b"), Place("i-3", "", "b")]
    found = ask_all([HttpRequest(port), TcpConnect(closed)], places)
    assert "refused" in found["i-1"]
    assert "address" in found["i-3"]
    assert ask_all([HttpRequest(port)], places[:2]) == {"i-1": "", "i-2": ""}


@pytest.mark.parametrize("text", ["", "20", "2000", "200-", "ok", "200;204"])
def test_no_status(text: str) -> None:
    with pytest.raises(ValueError, match="HTTP status"):
        Statuses.parse(text)
