# SPDX-License-Identifier: GPL-3.0-or-later
"""NoCloud seeds: what cloud-init on a host is told by the cloud that it runs in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path


def write(
    directory: Path,
    *,
    instance_id: str,
    hostname: str,
    public_keys: Sequence[str] = (),
    user_data: bytes = b"",
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write a seed. User data may hold secrets: the directory is 0700, the files are 0600.

    :param public_keys: go to the image's default user.
    :param facts: further meta-data, readable on the host with ``cloud-init query``.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    meta: dict[str, object] = {
        "instance-id": instance_id,
        "local-hostname": hostname,
        "public-keys": list(public_keys),
        "cloud-name": "aws",
        **(facts or {}),
    }
    _private(directory / "meta-data", json.dumps(meta).encode())  # JSON is YAML
    _private(directory / "user-data", user_data or b"#cloud-config\n{}\n")
    # The address is podman's business; without this cloud-init would write a DHCP configuration.
    _private(directory / "network-config", b"config: disabled\n")


def _private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
