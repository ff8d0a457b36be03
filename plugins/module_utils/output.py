# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a module writes on the controller for people: pages, pictures, JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path


class OutputError(Exception):
    """One sentence about a file that cannot be written."""


def write(option: str, path: str, text: str, move: Callable[[str, str], object]) -> None:
    """Write beside ``path`` and ``move`` there, so that nobody reads half of a file. Raises OutputError.

    :param option: the module's option that names the file.
    """
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=Path(path).parent, prefix=".boring-fleet-", delete=False
        ) as file:
            file.write(text)
    except OSError as exc:
        raise OutputError(
            f"{option}: {path} cannot be written: {exc.strerror or exc}; name a directory that there is and that is writable"
        ) from exc
    move(file.name, path)
