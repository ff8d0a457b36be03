# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dataclass from the variables that a role was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TypeVar

T = TypeVar("T")


def typed(kind: type[T], variables: Mapping[str, object]) -> T:
    """The dataclass `kind` from variables by name, numbers and truths also as text. Raises ValueError for one that there is not."""
    known = {each.name: each.default for each in fields(kind)}  # type: ignore[arg-type]
    strange = sorted(set(variables) - set(known))
    if strange:
        raise ValueError(f"there is no {strange[0]}; known are {', '.join(known)}")
    return kind(**{name: _like(known[name], given) for name, given in variables.items()})


def _like(default: object, given: object) -> object:
    if isinstance(default, bool):
        return str(given).lower() in ("true", "yes", "on", "1")
    return int(str(given)) if isinstance(default, int) else given
