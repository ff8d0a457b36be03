# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of Tailscale's API that holds a tailnet's policy, on loopback: versions by ETag, validation, refusals."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeTailnet:
    """One tailnet. `refuse` is what validation says, `before_replace` is done just before a policy would be replaced.

    `etag` is the name of the header with the version, None for a proxy that takes it out.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.policy: dict[str, Any] = {"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}
        self.refuse: dict[str, Any] = {}
        self.before_replace = lambda: None
        self.etag: str | None = "ETag"
        self.calls: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def mark(self) -> str:
        return '"' + hashlib.sha256(json.dumps(self.policy).encode()).hexdigest() + '"'

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeTailnet

    def do_GET(self) -> None:
        self._answer("GET", None)

    def do_POST(self) -> None:
        self._answer("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, method: str, body: Any) -> None:
        fake = self.fake
        fake.calls.append(f"{method} {self.path.rpartition('/')[2]}")
        if self.headers["Authorization"] != f"Bearer {fake.key}":
            return self._say(401, {"message": "API token invalid"})
        if self.path == "/api/v2/tailnet/example.org/acl/validate":
            return self._say(200, fake.refuse)
        if self.path != "/api/v2/tailnet/example.org/acl":
            return self._say(404, {"message": "tailnet not found"})
        if method == "POST":
            fake.before_replace()
            # Tailscale replaces whatever is there when nobody names a version.
            if self.headers.get("If-Match", fake.mark) != fake.mark:
                return self._say(412, {"message": "precondition failed, invalid old hash"})
            fake.policy = body
        return self._say(200, fake.policy)

    def _say(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        if self.fake.etag:
            self.send_header(self.fake.etag, self.fake.mark)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests look at what was called."""
