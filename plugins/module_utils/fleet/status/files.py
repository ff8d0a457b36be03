# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status as files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.page import render
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import FleetStatus


class ReportError(Exception):
    """One sentence about a file that cannot be written."""


def write(status: FleetStatus, move: Callable[[str, str], object], *, page: str | None, json_path: str | None) -> None:
    """Write those that are wanted, each beside its place and then moved there, so that nobody reads half of one. Raises ReportError."""
    if page:
        _write("page", page, render(status), move)
    if json_path:
        _write("json", json_path, json.dumps(status.as_dict(), indent=2) + "\n", move)


def _write(option: str, path: str, text: str, move: Callable[[str, str], object]) -> None:
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=Path(path).parent, prefix=".status-", delete=False
        ) as file:
            file.write(text)
    except OSError as exc:
        raise ReportError(
            f"{option}: {path} cannot be written: {exc.strerror or exc}; name a directory that there is and that is writable"
        ) from exc
    move(file.name, path)
