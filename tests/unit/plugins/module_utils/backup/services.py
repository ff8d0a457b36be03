# SPDX-License-Identifier: GPL-3.0-or-later
"""A real NATS and a real Redis on loopback, without systemd, and the program that backs them up, in the same process."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.backup import main as program
from ansible_collections.boring.fleet.plugins.module_utils.nats.client import NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.snapshot import Snapshots as NatsSnapshots
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.snapshot import Snapshots as RedisSnapshots
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

PASSWORD = "correct-horse-battery-staple"
SEAL = "a seal of the tests, good for nothing else"
NATS = Path(sys.executable).parent / "nats-server"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Nats:
    """One server. The user `backup` may do just what the README of data_backup gives it; `app` may do all in the account."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        may = {
            "publish": {"allow": ["$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.SNAPSHOT.*", "$JS.SNAPSHOT.ACK.>"]},
            "subscribe": {"allow": ["_INBOX.>"]},
        }  # fmt: skip
        users = [{"user": "app", "password": PASSWORD}, {"user": "backup", "password": PASSWORD, "permissions": may}]
        config = {
            "listen": f"127.0.0.1:{self.port}",
            "jetstream": {"store_dir": str(folder / "store"), "max_file_store": 256 << 20},
            "accounts": {"APP": {"jetstream": "enabled", "users": users}},
        }
        (folder / "nats.conf").write_text(json.dumps(config))

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([NATS, "-c", self.folder / "nats.conf"], stdout=log, stderr=log)
        self.client().close()

    def stop(self) -> None:
        assert self.process
        with ended(self.process):
            pass

    def wipe(self) -> None:
        self.stop()
        shutil.rmtree(self.folder / "store")
        self.start()

    def client(self, user: str = "app") -> NatsSnapshots:
        end = time.monotonic() + 30
        while True:
            try:
                client = NatsSnapshots([("127.0.0.1", self.port)], Login(user, PASSWORD, tls=False), 20)
                client.names()
            except NatsError:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.1)
            else:
                return client

    def source(self) -> dict[str, Any]:
        return {"name": "bus", "kind": "nats", "port": self.port, "user": "backup", "tls": False}


class Redis:
    """One server with an append-only file. The user `backup` may do just what the README of data_backup gives it."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder, self.program, self.port = folder, program, free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    def start(self, *more: str) -> None:
        backup = f"on >{PASSWORD} resetkeys resetchannels -@all +psync +sync +replconf +ping +info"
        argv = [
            self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes", "--save", "",
            "--repl-diskless-sync-delay", "0",
            "--user", *f"backup {backup}".split(), "--user", *f"admin on >{PASSWORD} ~* &* +@all".split(), "--user", "default", "off", *more,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        self.client().close()

    def stop(self) -> None:
        assert self.process
        with ended(self.process):
            pass

    def wipe(self) -> None:
        self.stop()
        shutil.rmtree(self.folder / "appendonlydir")
        self.start()

    def client(self, user: str = "admin") -> RedisSnapshots:
        end = time.monotonic() + 30
        while True:
            try:
                client = RedisSnapshots("127.0.0.1", self.port, Login(user, PASSWORD, tls=False), 20)
                client.info("server")
            except RedisError:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.1)
            else:
                return client

    def source(self) -> dict[str, Any]:
        return {
            "name": "store", "kind": "redis", "port": self.port, "user": "backup", "tls": False, "program": str(self.program),
        }  # fmt: skip


class Keys:
    """A pair of keys of age."""

    def __init__(self, folder: Path) -> None:
        path = folder / "identity"
        subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True, timeout=30)
        self.identity = path.read_text()
        self.recipient = next(line.split()[-1] for line in self.identity.splitlines() if "public key" in line)


@dataclass(frozen=True)
class World:
    """What a test of the program needs of pytest, and a pair of keys."""

    folder: Path
    keys: Keys
    capsys: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def program(self, name: str, *sources: Mapping[str, Any], target: Mapping[str, Any] | None = None) -> Program:
        """data-backup with files of its own; without a target, into the folder `target` of them all."""
        (self.folder / "target").mkdir(exist_ok=True)
        return Program(self, self.folder / name, target or {"directory": str(self.folder / "target")}, sources)

    def later(self, seconds: float) -> None:
        """The program's clock goes so much ahead."""
        real = time.time
        self.patch.setattr(program.time, "time", lambda: real() + seconds)  # type: ignore[attr-defined]


class Program:
    """data-backup, in this process."""

    def __init__(
        self, world: World, folder: Path, target: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]
    ) -> None:
        folder.mkdir()
        self.world = world
        self.paths = program.Paths(folder / "config.json", folder / "secrets.json", folder / "state")
        self.config = {"target": target, "recipients": [world.keys.recipient], "every": 300, "sources": list(sources)}
        self.secrets = {"seal": SEAL, "passwords": {"bus": PASSWORD, "store": PASSWORD}}
        self.write()

    def write(self) -> None:
        self.paths.config.write_text(json.dumps(self.config))
        self.paths.secrets.write_text(json.dumps(self.secrets))

    def __call__(self, *words: str) -> tuple[int, str]:
        """Its exit status, and what it said."""
        self.world.capsys.readouterr()
        code = program.main(["data-backup", *words], self.paths)
        said = self.world.capsys.readouterr().out
        assert PASSWORD not in said
        assert SEAL not in said
        return code, said

    def restore(
        self, source: str, wanted: str = "latest", identity: str = "", user: str = "", *, keep_old: bool = False
    ) -> tuple[int, str]:
        return self.ask(
            "restore",
            source,
            wanted,
            user=user or {"bus": "app", "store": "admin"}[source],
            identity=identity,
            keep_old=keep_old,
        )

    def ask(self, *words: str, user: str, identity: str = "", keep_old: bool = False) -> tuple[int, str]:
        """With secrets through standard input."""
        given: dict[str, Any] = {
            "identity": identity or self.world.keys.identity,
            "password": PASSWORD,
            "user": user,
            "keep_old": keep_old,
        }
        self.world.patch.setattr(sys, "stdin", io.StringIO(json.dumps(given)))
        code, said = self(*words)
        assert "AGE-SECRET-KEY" not in said
        return code, said
