# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitoring of the nats-server beside it, on port 8299, that tells of a state which comes when it likes: `... HOST left-out`,
the meta group does not have HOST's server (until this server was asked for its name), or `... HOST lost`, HOST's server finds no
meta leader (until it was started again)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

HOST, STATE = sys.argv[1:]


def pid() -> str:
    show = ["systemctl", "show", "-P", "MainPID", "nats-server"]
    return subprocess.run(show, capture_output=True, text=True, timeout=10, check=True).stdout


BEFORE = pid()


class Monitor(BaseHTTPRequestHandler):
    named = False

    def do_GET(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:8222{self.path}", timeout=4) as answer:
            told, status = json.load(answer), 200
        Monitor.named |= self.path.startswith("/varz")
        if STATE == "left-out" and self.path.startswith("/jsz") and not self.named:
            group = told["meta_cluster"]
            group["cluster_size"] = 2
            group["replicas"] = [one for one in group.get("replicas") or [] if one["name"] != HOST]
        if STATE == "lost" and self.path == "/healthz" and socket.gethostname() == HOST and pid() == BEFORE:
            told = {"status": "unavailable", "error": "JetStream has not established contact with a meta leader"}
            status = 503
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())


HTTPServer(("127.0.0.1", 8299), Monitor).serve_forever()
