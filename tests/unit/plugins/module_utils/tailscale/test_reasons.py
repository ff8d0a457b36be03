# SPDX-License-Identifier: GPL-3.0-or-later
"""What Tailscale and headscale say when a node does not get in, and what becomes of it."""

from __future__ import annotations

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.tailscale.reasons import explain


@pytest.mark.parametrize(
    ("said", "sentence", "again"),
    [
        ("register request: http 401: authkey already used", "used already", False),
        ("register request: http 401: authkey expired", "the auth key has expired", False),
        ("register request: http 401: AuthKey not found", "does not know the auth key", False),
        (
            'fetch control key: Get "https://c/key?v=130": tls: failed to verify certificate: x509: certificate has expired or is '
            "not yet valid: current time 2026-11-21T15:00:00Z is before 2026-11-21T15:10:00Z",
            "by this host's clock the certificate of the control plane is not valid: set the clock",
            True,
        ),
        (
            'fetch control key: Get "http://127.0.0.1:9/key?v=130": dial tcp 127.0.0.1:9: connect: connection refused',
            "the control plane does not answer",
            True,
        ),
        ("the moon is full", "", True),
    ],
)
def test_what_is_said(said: str, sentence: str, again: bool) -> None:
    found = explain(said)
    assert sentence in found[0]
    assert bool(found[0]) == bool(sentence)
    assert found[1] is again
