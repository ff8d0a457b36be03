# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody is named to a server who was not to be: neither by ~/.netrc nor to where a server sends."""

from __future__ import annotations

import re
import runpy
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.boring.fleet.plugins.module_utils.host import aws
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.release.model import ReleaseError
from ansible_collections.boring.fleet.plugins.module_utils.web.request import document, request
from ansible_collections.boring.fleet.plugins.modules import image_cves, release_advice

ROOT = Path(__file__).resolve().parents[5]
OWN = {"Authorization": "Bearer own"}


class Server(ThreadingHTTPServer):
    """Answers `content`, or what the end of the path says; `given` is the Authorization of each request, by its Host's name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.given: list[tuple[str, str]] = []
        self.content = b"text"
        self.said = 0  # Content-Length, when it is not true

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.given.append((self.headers["Host"].partition(":")[0], self.headers.get("Authorization", "")))
        self.send_response(302 if self.path == "/away" else 200)
        if self.path == "/away":
            self.send_header("Location", self.server.url.replace("127.0.0.1", "localhost") + "/there")
        self.send_header("Content-Length", str(self.server.said or len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / ".netrc").write_text("default login clerk password of-netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    started = Server()
    thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield started
    started.shutdown()
    started.server_close()
    thread.join(10)


def test_a_login_in_netrc_takes_the_place_of_none(server: Server) -> None:
    assert request("GET", server.url, OWN, None, 5)[::2] == (200, b"text")
    assert request("GET", server.url, {}, None, 5)[::2] == (200, b"text")
    assert server.given == [("127.0.0.1", "Bearer own"), ("127.0.0.1", "")]


def test_a_document_is_asked_for_by_nobody(server: Server) -> None:
    assert document(f"{server.url}/away", 5, 10) == b"text"
    assert server.given == [("127.0.0.1", ""), ("localhost", "")]


def test_who_asks_is_not_told_where_a_server_sends(server: Server) -> None:
    assert request("GET", f"{server.url}/away", OWN, None, 5)[0] == 302
    for method, body in (("GET", None), ("POST", b"signed")):
        assert aws.http_request(method, f"{server.url}/away", OWN, body).status == 302
    program = runpy.run_path(str(ROOT / "roles" / "host_secrets" / "files" / "host-secrets"))
    with pytest.raises(program["Trouble"], match="refused with 302"):
        program["ask"](urllib.request.Request(f"{server.url}/away", headers=OWN), "SSM")  # noqa: S310 - on loopback
    assert {host for host, _given in server.given} == {"127.0.0.1"}


def test_a_document_is_whole_or_an_error(server: Server) -> None:
    server.content = bytes(1000)
    assert document(server.url, 5, 1000) == server.content
    assert len(document(server.url, 5, 999)) == 1000, "one too many says that it is longer"
    server.said = 2000
    with pytest.raises(OSError, match="broke off 1000 bytes before its end"):
        document(server.url, 5, 10_000)


def test_a_document_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("text")
    assert image_cves.fetch(f"file://{tmp_path}/data", 5) == image_cves.fetch(f"{tmp_path}/data", 5) == "text"


def test_modules_that_read_what_everybody_may_read(server: Server) -> None:
    assert release_advice.fetch(f"{server.url}/feed", 5) == image_cves.fetch(f"{server.url}/data", 5) == "text"
    assert [given for _host, given in server.given] == ["", ""]
    server.said = 9
    with pytest.raises(ImageError, match="broke off 5 bytes before its end"):
        image_cves.fetch(server.url, 5)
    with pytest.raises(ReleaseError, match="broke off 5 bytes before its end"):
        release_advice.fetch(server.url, 5)


def test_one_place_opens_urls_and_no_task_reads_netrc() -> None:
    """What uses Ansible's own client without saying so sends the login of ~/.netrc, in the place of every other."""
    opens = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "plugins").rglob("*.py")
        if re.search(r"ansible\.module_utils\.urls|\b(open_url|fetch_url|fetch_file)\(", path.read_text())
    ]
    assert opens == ["plugins/module_utils/web/request.py"]
    tasks = []
    for folder in ("roles", "playbooks", "molecule"):
        for path in (ROOT / folder).rglob("*.yml"):
            if re.search(r"\b(uri|get_url):", path.read_text()):
                tasks += [(path.name, task) for task in client_tasks(yaml.safe_load(path.read_text()))]
    assert len(tasks) > 5
    assert [name for name, task in tasks if task.get("use_netrc") is not False] == []


def client_tasks(found: Any) -> Iterator[dict[str, Any]]:
    """Arguments of all tasks that use Ansible's client, however deep."""
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from client_tasks(each)
    if isinstance(found, dict):
        yield from (found[key] for key in ("ansible.builtin.uri", "ansible.builtin.get_url") if key in found)
