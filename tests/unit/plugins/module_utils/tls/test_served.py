# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificate a server presents: asked of real servers on loopback."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.tls.served import (
    ServedError,
    Server,
    fingerprint,
    first_certificate,
    served,
)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-days", "1", "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@contextmanager
def server(pem: Path, greeting: bytes = b"", plain: bool = False) -> Iterator[int]:
    """Answers one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(greeting)
            if plain:
                return
            with suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(timeout=10)


def test_the_presented_certificate_is_told(pem: Path) -> None:
    wanted = fingerprint(first_certificate(pem.read_text()))
    with server(pem) as port:
        assert served(Server("127.0.0.1", port)) == wanted
    with server(pem, b"INFO {}\r\n") as port:
        assert served(Server("127.0.0.1", port, greets=True)) == wanted


def test_a_server_without_tls_is_a_sentence(pem: Path) -> None:
    with (
        server(pem, b"-ERR no\r\n", plain=True) as port,
        pytest.raises(ServedError, match=r"presented no certificate: .*; see"),
    ):
        served(Server("127.0.0.1", port))
    with server(pem, plain=True) as port, pytest.raises(ServedError, match="closed before TLS"):
        served(Server("127.0.0.1", port, greets=True))


def test_a_mute_server_is_left_in_time() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        for greets in (False, True):
            with pytest.raises(ServedError, match="no answer in time"):
                served(Server("127.0.0.1", mute.getsockname()[1], greets=greets, timeout=0.3))


def test_a_client_certificate_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ServedError, match="cannot be used"):
        served(Server("127.0.0.1", 1, cert=str(tmp_path / "none.pem")))


def test_a_file_without_a_certificate_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not found"):
        first_certificate("nothing")
