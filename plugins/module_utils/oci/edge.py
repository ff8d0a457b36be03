# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reaches out of the process: HTTP, and the programs that keep logins."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.oci import credentials
from ansible_collections.boring.fleet.plugins.module_utils.oci.credentials import Credentials
from ansible_collections.boring.fleet.plugins.module_utils.oci.reference import OciError, Reference
from ansible_collections.boring.fleet.plugins.module_utils.oci.registry import Answer, Registry, base
from ansible_collections.boring.fleet.plugins.module_utils.web.request import opened

_HELPER_SECONDS: Final = 30


def registry(image: Reference, architecture: str, *, seconds: float, ca_file: str = "") -> Registry:
    """The registry of an image, asked over HTTP; `seconds` bounds each wait for bytes. `ca_file` is for the registry's own host: whom it has
    tokens and pieces from is often somebody else, under a public certificate."""
    own = urllib.parse.urlsplit(base(image.host)).hostname

    def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        asked = urllib.parse.urlsplit(url)
        checked_by = (ca_file if asked.hostname == own else "") or authority(asked.netloc, Path.home())
        return _Answer(*opened(method, url, headers, body, seconds, ca_file=checked_by))

    def login() -> Credentials:
        return credentials.find(image.host, image.path, os.environ, Path.home(), _helper)

    return Registry(image, architecture, send, time.sleep, login)


def authority(host: str, home: Path, etc: Path = Path("/etc")) -> str:
    """The file by which Docker and podman check the certificate of a registry of one's own; "" for the machine's authorities."""
    for folder in (home / ".config/containers/certs.d", etc / "containers/certs.d", etc / "docker/certs.d"):
        for file in sorted((folder / host).glob("*.crt")):
            return str(file)
    return ""


@dataclass
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: Any

    def read(self, amount: int = -1, /) -> bytes:
        try:
            found: bytes = self.body.read(amount)
        except http.client.HTTPException as exc:
            raise OSError(0, f"its answer is not whole ({type(exc).__name__})") from exc
        left = getattr(self.body, "length", None)  # what http.client still expects
        if left and len(found) < amount:
            raise OSError(0, f"its answer ended {left} bytes early")
        return found

    def close(self) -> None:
        self.body.close()


def _helper(name: str, server: str) -> str | None:
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"], input=server, capture_output=True, text=True, timeout=_HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise OciError(
            f"{program}, which keeps your login for {server}, is not installed: install it, or log in again"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise OciError(
            f"{program}, which keeps your login for {server}, does not end: {type(exc).__name__}; try it by hand"
        ) from None
    return done.stdout if done.returncode == 0 else None
