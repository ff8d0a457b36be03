# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to a scenario's Redis or Sentinel, as a careful client makes it."""

from __future__ import annotations

from typing import Any

import redis
from authority import scenario_ca

PASSWORD = "correct-horse-battery-staple-{}"  # of every user in the scenarios' variables; known to the tests, good for nothing else


def connect(
    address: str, user: str = "admin", port: int = 6379, *, timeout: float = 10, connect_timeout: float = 5
) -> Any:
    """A redis.Redis that answers with text and tries nothing twice."""
    return redis.Redis(
        host=address, port=port, username=user, password=PASSWORD.format(user), ssl=True, decode_responses=True,
        ssl_ca_certs=str(scenario_ca() / "ca.pem"), socket_timeout=timeout, socket_connect_timeout=connect_timeout,
        retry=None,
    )  # fmt: skip
