# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitoring of the nats-server beside it, on port 8299, that leaves the server named by its argument out of the meta
group, until it was asked what this server is called. Stands in for the race that leaves one out, which comes when it likes."""

from __future__ import annotations

import json
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer


class Monitor(BaseHTTPRequestHandler):
    forgets = True

    def do_GET(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:8222{self.path}", timeout=4) as answer:
            told = json.load(answer)
        if self.path.startswith("/varz"):
            Monitor.forgets = False
        if self.path.startswith("/jsz") and Monitor.forgets:
            group = told["meta_cluster"]
            group["cluster_size"] = 2
            group["replicas"] = [one for one in group.get("replicas") or [] if one["name"] != sys.argv[1]]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())


HTTPServer(("127.0.0.1", 8299), Monitor).serve_forever()
