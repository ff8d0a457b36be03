# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against an HTTPS server that refuses everything: whose certificates it takes."""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conversion import client
from tests.unit.plugins.module_utils.host.authority import Authority

SAMPLE = Path(__file__).resolve().parents[3] / "engine" / "samples" / "bracket.step"


class Refuses(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"error": "not today"}'
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address; the authority is in ca.pem of the current directory."""
    monkeypatch.chdir(tmp_path)
    authority = Authority()
    certificate, key = authority.sign(["api.example.org", "127.0.0.1"])
    for name, text in (("ca.pem", authority.certificate), ("cert.pem", certificate), ("key.pem", key)):
        (tmp_path / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"https://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


@pytest.mark.parametrize(
    ("authorities", "words"),
    [
        ("ca.pem", "conversion.client: not today\n"),
        ("", "certificate verify failed"),
        ("key.pem", "key.pem cannot be used: it holds no certificate in PEM\n"),
        ("none.pem", "none.pem cannot be used: No such file or directory\n"),
    ],
)
def test_whose_certificates_it_takes(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], authorities: str, words: str
) -> None:
    given = ["--cacert", authorities] if authorities else []
    command = ["convert", str(SAMPLE), "--to", "stl", "--url", server, "--timeout", "20", *given]
    monkeypatch.setattr(sys, "argv", ["conversion.client", *command])
    assert client.main() == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
