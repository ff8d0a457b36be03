# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status as files."""

from __future__ import annotations

import json
from collections.abc import Callable

from ansible_collections.boring.fleet.plugins.module_utils import output
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.page import render
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import FleetStatus


def write(status: FleetStatus, move: Callable[[str, str], object], *, page: str | None, json_path: str | None) -> None:
    """Write those that are wanted, each beside its place and then moved there, so that nobody reads half of one. Raises OutputError."""
    if page:
        output.write("page", page, render(status), move)
    if json_path:
        output.write("json", json_path, json.dumps(status.as_dict(), indent=2) + "\n", move)
