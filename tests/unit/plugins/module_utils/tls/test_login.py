# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose certificate is believed, over real TLS on a socket pair."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from tests.unit.plugins.module_utils.host.authority import Authority


def let_in(folder: Path, host: str, *, any_name: bool, stranger: bool = False) -> None:
    """Connect as if to `host`, to a server whose certificate is for store.example.org. Raises ssl.SSLError."""
    trusted = Authority()
    certificate, key = (Authority() if stranger else trusted).sign(["store.example.org"])
    for name, text in {"cert": certificate, "key": key, "ca": trusted.certificate}.items():
        (folder / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)

    def serve() -> None:
        with theirs, contextlib.suppress(OSError), context.wrap_socket(theirs, server_side=True) as wire:
            wire.recv(1)

    server = threading.Thread(target=serve)
    server.start()
    try:
        with ours:
            Login("admin", "secret", ca=str(folder / "ca"), any_name=any_name).encrypted(ours, host).close()
    finally:
        server.join(20)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.7.2", "::1"])
def test_on_this_machine_any_name_of_a_known_authority_will_do(tmp_path: Path, host: str) -> None:
    let_in(tmp_path, host, any_name=True)


@pytest.mark.parametrize(
    ("host", "any_name"),
    [("127.0.0.1", False), ("192.0.2.1", True), ("other.example.org", True), ("localhost", True)],
)
def test_elsewhere_the_certificate_is_for_the_name(tmp_path: Path, host: str, any_name: bool) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        let_in(tmp_path, host, any_name=any_name)


def test_a_strangers_certificate_is_refused_on_this_machine_too(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        let_in(tmp_path, "127.0.0.1", any_name=True, stranger=True)
