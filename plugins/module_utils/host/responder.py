# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers the load balancer's question whether this node's Redis is the master that takes writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.host import redis_config
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import fields
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

_SECONDS: Final = 3.0
PATH: Final = "/master"


def judge(info: Mapping[str, str], replicas: int, named: str = "", own: str = "") -> str:
    """Why this node takes no writes, by INFO replication; "" when it does. `named` is the master's address by the Sentinel beside it, ""
    where that does not say, `own` this node's."""
    if info.get("role") != "master":
        return f"a replica of {info.get('master_host') or 'nobody'}"
    if named not in ("", own):
        return f"no master any more: the Sentinel names {named}"
    good = int(info.get("min_slaves_good_slaves") or info.get("connected_slaves") or 0)
    return f"a master with {good} of {replicas} replicas" if good < replicas else ""


def asking(told: Mapping[str, Any]) -> Callable[[], str]:
    """A function that asks Redis on this host, by what responder.json says."""
    login = Login("responder", str(told["password"]), tls=bool(told["ca"]), ca=str(told["ca"]), name=str(told["name"]))
    own = str(told.get("sentinel", ""))  # a file of before has none

    def say(port: int, *words: str) -> Any:
        client = Client("127.0.0.1", port, login, timeout=_SECONDS)
        try:
            return client(*words)
        finally:
            client.close()

    def named() -> str:
        try:
            found = say(redis_config.SENTINEL, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", redis_config.NAME)
        except RedisError:
            return ""  # that Redis takes writes does not hang on it
        return str(found[0]) if found else ""

    def ask() -> str:
        try:
            info = fields(say(redis_config.PORT, "INFO", "replication"))
        except RedisError as exc:
            return str(exc).partition(";")[0]
        known = named() if own and info.get("role") == "master" else ""
        return judge(info, int(told["replicas"]), known, own)

    return ask


class Server(ThreadingHTTPServer):
    """Listens at once. `ask` says why not, or ""."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], ask: Callable[[], str]) -> None:
        super().__init__(address, _Handler)
        self.ask = ask


class _Handler(BaseHTTPRequestHandler):
    timeout = _SECONDS
    server: Server

    def do_GET(self) -> None:
        """200 or 503."""
        why = self.server.ask() if self.path == PATH else "there is only /master"
        body = f"{why or 'master'}\n".encode()
        self.send_response(404 if self.path != PATH else 503 if why else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Every few seconds somebody asks: that is no news."""


def serve() -> None:
    """Until the process ends."""
    told = json.loads(Path(redis_config.RESPONDER).read_text(encoding="utf-8"))
    Server(("", redis_config.RESPONDER_PORT), asking(told)).serve_forever()
