# SPDX-License-Identifier: GPL-3.0-or-later
"""A Twingate API on loopback: the published schema executed by graphql-core, with latency and faults.

Connectors that know their tokens report here as the real ones report to their relays: POST /heartbeat, with the access token
as bearer and `{"version", "hostname"}`; a stub of the connector does so in tests.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from graphql import build_schema, graphql_sync

SCHEMA = build_schema(Path(__file__).with_suffix(".graphql").read_text())


def _id(kind: str, number: int) -> str:
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def _now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass
class FakeTwingate:
    """The state, by ids. `faults` maps a field of Query or Mutation to what happens to its next calls, in order:

    a status as text, `drop` (the connection breaks, nothing is done), `lost` (it is done, then the connection breaks).
    """

    key: str = "fake-api-key-of-the-tests"
    too_old: float = 3600.0  # seconds after which a heartbeat no longer counts
    latency: float = 0.0
    page: int = 50
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    all: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)  # connector's id -> its only valid access token
    faults: dict[str, list[str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    made: int = 0
    issued: list[str] = field(default_factory=list)  # every token that was ever made
    lock: threading.Lock = field(default_factory=threading.Lock)

    # What graphql-core calls for the fields of Query and Mutation

    def connector(self, dummy: Any, id: str) -> dict[str, Any] | None:
        return self._told(self.all[id]) if id in self.all else None

    def connectors(self, dummy: Any, after: str | None = None, first: int | None = None, **_: Any) -> dict[str, Any]:
        return self._page([self._told(one) for one in self.all.values()], after, first)

    def remoteNetworks(
        self, dummy: Any, after: str | None = None, first: int | None = None, **_: Any
    ) -> dict[str, Any]:
        return self._page(list(self.networks.values()), after, first)

    def remoteNetworkCreate(self, dummy: Any, name: str, location: str = "OTHER", **_: Any) -> dict[str, Any]:
        if any(network["name"] == name for network in self.networks.values()):
            return {"ok": False, "error": f"Remote network {name} already exists"}
        network = {"id": self._next("RemoteNetwork"), "name": name, "isActive": True, "location": location}
        self.networks[network["id"]] = network
        return {"ok": True, "entity": network}

    def connectorCreate(
        self, dummy: Any, remoteNetworkId: str, name: str = "", hasStatusNotificationsEnabled: bool = True
    ) -> dict[str, Any]:
        if remoteNetworkId not in self.networks:
            return {"ok": False, "error": f"Remote network with id {remoteNetworkId} does not exist"}
        made: dict[str, Any] = {
            "id": self._next("Connector"), "name": name or f"happy-fox-{self.made}", "createdAt": _now(), "lastHeartbeatAt": None,
            "hostname": None, "remoteNetwork": self.networks[remoteNetworkId], "version": None, "publicIP": None, "privateIPs": [],
            "hasStatusNotificationsEnabled": hasStatusNotificationsEnabled,
        }  # fmt: skip
        self.all[made["id"]] = made
        return {"ok": True, "entity": self._told(made)}

    def connectorUpdate(
        self, dummy: Any, id: str, name: str | None = None, hasStatusNotificationsEnabled: bool | None = None
    ) -> dict[str, Any]:
        if id not in self.all:
            return {"ok": False, "error": f"Connector with id {id} does not exist"}
        if hasStatusNotificationsEnabled is not None:
            self.all[id]["hasStatusNotificationsEnabled"] = hasStatusNotificationsEnabled
        self.all[id]["name"] = name or self.all[id]["name"]
        return {"ok": True, "entity": self._told(self.all[id])}

    def connectorDelete(self, dummy: Any, id: str) -> dict[str, Any]:
        self.tokens.pop(id, None)
        there = self.all.pop(id, None)
        return {"ok": there is not None, "error": None if there else f"Connector with id {id} does not exist"}

    def connectorGenerateTokens(self, dummy: Any, connectorId: str) -> dict[str, Any]:
        if connectorId not in self.all:
            return {"ok": False, "error": f"Connector with id {connectorId} does not exist"}
        self.made += 1
        self.tokens[connectorId] = f"eyJ.access-{self.made}-hunter2"
        refresh = f"refresh-{self.made}-hunter2"
        self.issued += [self.tokens[connectorId], refresh]
        return {"ok": True, "connectorTokens": {"accessToken": self.tokens[connectorId], "refreshToken": refresh}}

    # What tests and stubs do

    def beat(self, access_token: str, version: str, hostname: str) -> bool:
        """A connector reports; False for a token that is not valid."""
        for ident, token in self.tokens.items():
            if token == access_token:
                self.all[ident] |= {"lastHeartbeatAt": _now(), "version": version, "hostname": hostname}
                return True
        return False

    def named(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.all.values() if one["name"] == name]
        return found

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            result = graphql_sync(SCHEMA, query, root_value=self, variable_values=variables)
        return result.formatted  # type: ignore[return-value]

    def _next(self, kind: str) -> str:
        self.made += 1
        return _id(kind, self.made)

    def _told(self, connector: dict[str, Any]) -> dict[str, Any]:
        heartbeat = connector["lastHeartbeatAt"]
        state = "DEAD_NO_HEARTBEAT"
        if heartbeat:
            age = time.time() - datetime.fromisoformat(heartbeat).timestamp()
            state = "ALIVE" if age <= self.too_old else "DEAD_HEARTBEAT_TOO_OLD"
        return connector | {"state": connector.get("state", state)}

    def _page(self, nodes: list[dict[str, Any]], after: str | None, first: int | None) -> dict[str, Any]:
        begin = int(after) if after else 0
        end = begin + min(first or self.page, self.page)
        edges = [{"cursor": str(number + 1), "node": node} for number, node in enumerate(nodes)][begin:end]
        info = {"endCursor": str(end), "hasNextPage": end < len(nodes), "hasPreviousPage": begin > 0}
        return {"edges": edges, "pageInfo": info, "totalCount": len(nodes)}


class Server:
    """The fake behind HTTP, on a port of its own."""

    def __init__(self, fake: FakeTwingate, address: str = "127.0.0.1", port: int = 0) -> None:
        self._server = ThreadingHTTPServer((address, port), type("Handler", (_Handler,), {"fake": fake}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.base = f"http://{address}:{self._server.server_port}"
        self.url = f"http://{address}:{self._server.server_port}/api/graphql/"

    def wait(self, seconds: float) -> None:
        """Until somebody posts to /end, or for that long."""
        self._thread.join(seconds)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeTwingate

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path == "/end":
            threading.Thread(target=self.server.shutdown, daemon=True).start()
            return self._say(200, {})
        if self.path == "/heartbeat":
            known = self.fake.beat(
                self.headers["Authorization"].removeprefix("Bearer "), body["version"], body["hostname"]
            )
            return self._say(200 if known else 401, {})
        if self.headers.get("X-API-KEY") != self.fake.key:
            return self._say(401, {"message": "Unauthorized"})
        time.sleep(self.fake.latency)
        called = next(
            name for name in (*SCHEMA.query_type.fields, *SCHEMA.mutation_type.fields) if f" {name}(" in body["query"]
        )  # type: ignore[union-attr]
        self.fake.calls.append(called)
        fault = (self.fake.faults.get(called) or [""]).pop(0) if self.fake.faults.get(called) else ""
        if fault == "drop":
            return self.connection.close()
        if fault.isdigit():
            return self._say(int(fault), {"message": "fault"})
        answer = self.fake.answer(body["query"], body["variables"])
        if fault == "lost":
            return self.connection.close()
        return self._say(200, answer)

    def _say(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests look at what was called."""


def main(address: str, file: str) -> None:
    """Serve hosts until told to end, for 45 minutes at most; `file` then says where."""
    server = Server(FakeTwingate(too_old=2.0), address)
    Path(file).write_text(json.dumps({"url": server.url, "base": server.base}))
    server.wait(2700)


if __name__ == "__main__":
    main(*sys.argv[1:])
