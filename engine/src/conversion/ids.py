# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids of operations."""

from __future__ import annotations

import secrets


def new_id(now: float) -> str:
    """A UUID of version 7 (RFC 9562): ids sort by the time they were made, to a quarter of a microsecond."""
    milliseconds, fraction = divmod(int(now * 1000 * 4096), 4096)
    text = f"{milliseconds & (1 << 48) - 1:012x}7{fraction:03x}{8 | secrets.randbelow(4):x}{secrets.token_hex(8)[1:]}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
