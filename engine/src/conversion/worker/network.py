# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine itself may reach: NATS and Redis. (Its jobs have no sockets at all, see seccomp.py.)

The unit denies addresses (IPAddressDeny), which needs a kernel and a systemd with cgroup v2 and BPF; here the process denies
itself the ports, which needs Landlock 4. Each says for the other whether it holds.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from . import landlock

METADATA = "169.254.169.254"
_DNS = 53  # answers that do not fit into a datagram


def call_only(urls: Iterable[str]) -> bool:
    """Leave this process and its children no TCP port but those of `urls`; whether the kernel can."""
    defaults = {"nats": 4222, "tls": 4222, "redis": 6379, "rediss": 6379}
    parts = [urlsplit(url) for url in urls if url]
    try:
        return landlock.confine_ports({_DNS, *(part.port or defaults[part.scheme] for part in parts)})
    except OSError:
        return False


def metadata_denied() -> bool:
    """Whether a datagram to the cloud's metadata address is refused here. An empty one is tried, towards the loopback device:
    the unit's filter comes before any device, and nothing leaves the host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        except OSError:
            return False
        try:
            probe.sendto(b"", (METADATA, 80))
        except OSError as exc:
            return exc.errno in (errno.EPERM, errno.EACCES)
    return False
