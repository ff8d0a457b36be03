# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes against real sockets on loopback."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.probe.command import Command
from ansible_collections.boring.fleet.plugins.module_utils.probe.http import HttpRequest, Statuses
from ansible_collections.boring.fleet.plugins.module_utils.probe.tcp import TcpConnect
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.checks import (
    Place,
    ask_all,
    parse_check,
    parse_drain,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError

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


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A server with a certificate for engine.internal, which is its own authority; its port and the certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    argv += [
        "-subj",
        "/CN=engine",
        "-addext",
        "subjectAltName=DNS:engine.internal",
        "-keyout",
        key,
        "-out",
        certificate,
    ]  # type: ignore[list-item]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer((LOOPBACK, 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_address[1], str(certificate)
    server.shutdown()
    server.server_close()


def test_certificates_are_verified_only_when_asked_for(tls: tuple[int, str]) -> None:
    port, ca = tls
    plain = HttpRequest(port, scheme="https")
    assert plain.probe(LOOPBACK) == ""
    assert replace(plain, validate_certs=True, ca=ca, server_name="engine.internal").probe(LOOPBACK) == ""
    for wrong, words in (
        (replace(plain, validate_certs=True, server_name="engine.internal"), "not trusted: self-signed certificate"),
        (replace(plain, validate_certs=True, ca=ca, server_name="api.internal"), "not trusted: Hostname mismatch"),
        (replace(plain, validate_certs=True, ca=ca), "not trusted: IP address mismatch"),
    ):
        said = wrong.probe(LOOPBACK)
        assert said.startswith(f"https://127.0.0.1:{port}/ has a certificate that is ")
        assert words in said
    assert "failed: " in replace(plain, validate_certs=True, ca="/nowhere").probe(LOOPBACK)


def test_options_about_certificates(tls: tuple[int, str], tmp_path: Path) -> None:
    port, ca = tls
    given = {
        "type": "http",
        "port": port,
        "scheme": "https",
        "validate_certs": True,
        "ca": ca,
        "server_name": "engine.internal",
    }
    for parse in (parse_check, parse_drain):
        parsed = parse(given, "it")
        assert isinstance(parsed, HttpRequest)
        assert (parsed.validate_certs, parsed.ca, parsed.server_name) == (True, ca, "engine.internal")
    assert ask_all([parse_check(given, "it")], [Place("i-1", LOOPBACK, "a")]) == {"i-1": ""}
    (tmp_path / "none.pem").write_text("no certificate")
    for wrong, words in (
        ({"validate_certs": False}, "it.ca means nothing without validate_certs"),
        ({"validate_certs": None, "ca": None}, "it.server_name means nothing without validate_certs"),
        ({"scheme": "http"}, "it.validate_certs needs scheme https"),
        ({"ca": "/nowhere.pem"}, "it.ca: /nowhere.pem cannot be used .No such file"),
        ({"ca": str(tmp_path / "none.pem")}, "none.pem cannot be used"),
        ({"type": "tcp"}, "type tcp has no"),
    ):
        with pytest.raises(RolloutError, match=words):
            parse_check({**given, **wrong}, "it")


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
