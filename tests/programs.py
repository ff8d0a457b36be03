# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of this machine that tests start."""

import shutil
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
