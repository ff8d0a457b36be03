# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists in pages: a page's token is where it begins."""

from __future__ import annotations

import re
from typing import Any

from localcloud.errors import ApiError


def begin(token: Any, wrong: Exception) -> int:
    """Where the page of a token begins; the first has none. Raises ``wrong`` for what no answer can have given as one."""
    text = str(token or "0").strip()
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise wrong
    return int(text)


def size(name: str, asked: Any, usual: int, most: int) -> int:
    """How many a page has. Raises ApiError.

    :param name: of the parameter, as AWS writes it in refusals.
    """
    if asked is None:
        return usual
    if isinstance(asked, bool) or not isinstance(asked, int):
        raise ApiError("SerializationException", f"{name} is no number.")
    if not 1 <= asked <= most:
        limit = "greater than or equal to 1" if asked < 1 else f"less than or equal to {most}"
        raise ApiError(
            "ValidationException",
            f"1 validation error detected: Value '{asked}' at '{name}' failed to satisfy constraint: Member must have value {limit}",
        )
    return asked
