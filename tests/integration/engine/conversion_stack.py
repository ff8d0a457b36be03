# SPDX-License-Identifier: GPL-3.0-or-later
"""The API and engines as processes, with a real nats-server and a real redis-server, all on loopback."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.programs import redis_server

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "engine" / "samples"
TORUS = Path(__file__).parent / "torus.step"
PASSWORD = "integration-test-password"
T = TypeVar("T")


_GIVEN: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on and that was not given before: that of a server that is just starting again looks free."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port


def eventually(what: Callable[[], T], seconds: float = 60) -> T:
    """What `what` gives as soon as it is true; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < until, f"still {value!r} after {seconds} s"
        time.sleep(0.05)
    return value


@dataclass
class Server:
    """A process that can be killed and started again on its port."""

    name: str
    argv: list[str]
    port: int
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "engine" / "src"), **self.env},
            )  # fmt: skip
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=20)

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def end(self, seconds: float = 30) -> int:
        """Ask it to end; its exit status."""
        assert self.process is not None
        self.terminate()
        return self.process.wait(timeout=seconds)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=20)

    def get(self, path: str, timeout: float = 30) -> tuple[int, bytes]:
        return request(self.port, "GET", path, timeout=timeout)

    @property
    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/readyz", 5)[0] == 200
        return False

    def children(self) -> list[int]:
        """Processes below this one, children's children included."""
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    more = [int(word) for word in (task / "children").read_text().split()]
                    found += more
                    todo += more
        return found


def request(
    port: int, method: str, path: str, data: Any = None, *, timeout: float = 60, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, data, headers or {}, encode_chunked="Transfer-Encoding" in (headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def background(work: Callable[[], T]) -> Future[T]:
    """Run in a thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=run, daemon=True).start()
    return future


@dataclass
class Stack:
    """NATS, Redis and as many APIs and engines as a test asks for. Everything ends with the test."""

    directory: Path
    nats: Server = field(init=False)
    redis: Server = field(init=False)
    servers: list[Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        port = free_port()
        program = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert program, "nats-server is missing: pip install -r requirements/dev.txt"
        config = self.directory / "nats.conf"
        config.write_text(
            f"listen: 127.0.0.1:{port}\njetstream {{ store_dir: {json.dumps(str(self.directory / 'nats'))} }}\n"
            f"authorization {{ user: conversion, password: {PASSWORD} }}\n"
        )
        self.nats = self._server("nats", [program, "-c", str(config)], port)

        port = free_port()
        acl = self.directory / "redis.conf"
        acl.write_text(
            f'bind 127.0.0.1\nport {port}\nsave ""\ndir {self.directory}\nuser default off\n'
            f"user conversion on >{PASSWORD} ~conversion:* +@read +@write +@connection -@dangerous\n"
        )
        self.redis = self._server("redis", [str(redis_server(self.directory)), str(acl)], port)

    def _server(self, name: str, argv: list[str], port: int, **env: str) -> Server:
        server = Server(name, argv, port, self.directory / f"{name}-{len(self.servers)}.log", env)
        self.servers.append(server)
        return server

    def service(self, module: str, **settings: object) -> Server:
        port = free_port()
        work = self.directory / f"work-{len(self.servers)}"
        work.mkdir()
        env = {
            "NATS_URL": f"nats://127.0.0.1:{self.nats.port}", "NATS_USER": "conversion", "NATS_PASSWORD": PASSWORD,
            "REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0", "REDIS_USER": "conversion", "REDIS_PASSWORD": PASSWORD,
            "LISTEN_PORT": port, "WORK_DIR": work, "ACK_WAIT": 2, "LAME_DUCK": 0, "WAIT": 60, "WORKERS": 2,
        }  # fmt: skip
        env |= settings
        return self._server(
            module, [sys.executable, "-m", f"conversion.{module}"], port,
            **{f"CONVERSION_{name}": str(value) for name, value in env.items()},
        )  # fmt: skip

    def api(self, **settings: object) -> Server:
        server = self.service("api", **settings).start()
        eventually(lambda: server.ready)
        return server

    def engine(self, **settings: object) -> Server:
        server = self.service("worker", **settings).start()
        eventually(lambda: server.ready)
        return server

    def logs(self) -> str:
        return "\n".join(f"== {s.log.name}\n{s.log.read_text()[-3000:]}" for s in self.servers if s.log.exists())


def post(api: Server, path: str, data: Any, timeout: float = 120) -> tuple[int, dict[str, Any]]:
    status, body = request(api.port, "POST", f"/file/conversion/{path}", data, timeout=timeout)
    return status, dict(json.loads(body))


def operation(api: Server, operation_id: str) -> dict[str, Any]:
    status, body = api.get(f"/async/operations/{operation_id}")
    assert status == 200, body
    return dict(json.loads(body))


def result(answer: dict[str, Any]) -> bytes:
    return base64.b64decode(next(iter(answer["outputs"].values())))


@dataclass
class Load:
    """The client's own load, in the background."""

    process: subprocess.Popen[bytes]
    out: Path
    stop_file: Path

    def finish(self) -> list[dict[str, Any]]:
        self.stop_file.touch()
        self.process.wait(timeout=90)
        return [json.loads(line) for line in self.out.read_text().splitlines()]
