# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our look-ups share: their terms, and files on the controller by the names that users give."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def names_in(terms: Iterable[Any]) -> list[str]:
    """The terms as a flat list of names: a list among them counts as its members."""
    names: list[str] = []
    for term in terms:
        names += names_in(term) if isinstance(term, (list, tuple)) else [str(term)]
    return names


def find(lookup: Any, variables: dict[str, Any], given: str) -> Path:
    """The file or directory that `given` names: absolute, beside the task's role or playbook, or in the current directory.

    Where there is none the first place is returned, and reading it says that it is not there.
    """
    name = os.path.expanduser(given)  # noqa: PTH111  (Path raises for a user that does not exist)
    if os.path.isabs(name):  # noqa: PTH117
        return Path(name)
    loader = getattr(lookup, "_loader", None)
    places = [Path(place) for place in variables.get("ansible_search_path") or ()]
    if loader is not None:
        places.append(Path(loader.get_basedir()))
    candidates = [place / part / name for place in places for part in ("files", "")]
    candidates.append(Path.cwd() / name)
    return next((path for path in candidates if path.exists()), Path.cwd() / name)
