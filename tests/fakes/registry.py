# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry on loopback that can be made to refuse, to break off and to send elsewhere. Real ones are in molecule/container."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.oci_image import INDEX, MANIFEST, Image, digest


@dataclass
class State:
    """What it holds, how it treats those who ask, and what it was asked: method, path and Authorization."""

    tags: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    auth: str = ""  # "", basic or bearer
    user: str = "clerk"
    password: str = "pa:ss-word"
    realm: str = ""  # of tokens, if not its own
    elsewhere: str = ""  # where it sends those who want a piece
    fail: dict[str, list[int]] = field(default_factory=dict)  # statuses to answer first, by the end of the path
    breaks: dict[str, int] = field(default_factory=dict)  # how many answers break off halfway, by the end of the path
    stalls: bool = False  # instead the connection stays, and no more comes
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    address: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def add(self, image: Image, tag: str = "") -> str:
        self.blobs |= image.blobs
        self.blobs[digest(image.manifest)] = image.manifest
        if tag:
            self.tags[tag] = image.manifest
        return digest(image.manifest)

    def add_index(self, content: bytes, tag: str) -> str:
        self.tags[tag] = self.blobs[digest(content)] = content
        return digest(content)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.state.asked.append(("POST", self.path, form["refresh_token"][0]))
        self._json(200, {"access_token": "bought"}) if form["refresh_token"] == ["identity"] else self._json(401, {})

    def do_GET(self) -> None:
        state, path = self.state, urlsplit(self.path).path
        given = self.headers.get("Authorization", "")
        state.asked.append(("GET", self.path, given))
        for end, statuses in state.fail.items():
            if path.endswith(end) and statuses:
                self._json(statuses.pop(0), {"errors": []})
                return
        basic = "Basic " + base64.b64encode(f"{state.user}:{state.password}".encode()).decode()
        if path == "/token":
            self._json(200 if given == basic else 401, {"token": "bought"} if given == basic else {})
        elif state.auth == "basic" and given != basic:
            self._json(401, {}, {"WWW-Authenticate": 'Basic realm="here"'})
        elif state.auth == "bearer" and given != "Bearer bought":
            realm = state.realm or f"http://{state.address}/token"
            scope = "repository:shop/web:pull"
            self._json(401, {}, {"WWW-Authenticate": f'Bearer realm="{realm}",service="reg",scope="{scope}"'})
        else:
            self._content(path)

    def _content(self, path: str) -> None:
        state, name = self.state, path.rpartition("/")[2]
        found = state.blobs.get(name) or state.tags.get(name)
        if found is None:
            self._json(404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})
        elif "/blobs/" in path and state.elsewhere:
            self._json(307, {}, {"Location": f"{state.elsewhere}{path}"})
        else:
            media = (
                INDEX if b'"manifests"' in found else MANIFEST if b'"layers"' in found else "application/octet-stream"
            )
            self._answer(200, found, {"Content-Type": media})

    def _json(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._answer(status, json.dumps(body).encode(), headers or {})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        state, path = self.state, urlsplit(self.path).path
        for end in [end for end, left in state.breaks.items() if left and path.endswith(end)]:
            state.breaks[end] -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            if state.stalls:
                state.ended.wait(30)
            return
        self.wfile.write(content)


@contextmanager
def registry() -> Iterator[State]:
    """One that serves until the end of the block."""
    state = State()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
