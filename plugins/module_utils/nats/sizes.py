# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes: as the modules take them, as nats.conf has them, and for a person."""

from __future__ import annotations

import re

from ansible_collections.boring.fleet.plugins.module_utils.quoting import nats_conf

_BYTES = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def size(text: str) -> int:
    """`512MB`, `10GB`, `1048576` or `-1` (no limit) as bytes. Raises ValueError with a sentence."""
    if text.strip() == "-1":
        return -1
    match = re.fullmatch(r"(\d+)\s*(|B|KB|MB|GB|TB)", text.strip().upper())
    if match is None:
        raise ValueError(f"{text!r} is no size: write 512MB, 10GB, or -1 for no limit.")
    return int(match[1]) * _BYTES[match[2]]


def human_size(count: int) -> str:
    """Bytes for a person: `18GB`, `1.5GB`."""
    for unit, each in sorted(_BYTES.items(), key=lambda pair: -pair[1]):
        if each > 1 and count >= each:
            return f"{count / each:.4g}{unit}"
    return f"{count}B"


def number(text: str) -> int:
    """Bytes of a size as NATS reads it. Raises ValueError."""
    match = re.fullmatch(r"(-?[0-9]+)(?:([kmgtp])(i?b)?)?", nats_conf.size(text).lower())
    if match is None or not match[2]:
        return int(nats_conf.size(text))
    base: int = 1024 if match[3] else 1000
    factor: int = base ** (1 + "kmgtp".index(match[2]))
    return int(match[1]) * factor
