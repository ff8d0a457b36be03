# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values in nats.conf."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.quoting.control import without_control_characters

_SIZE = re.compile(r"-?[0-9]{1,18}([kmgtp](i?b)?)?", re.IGNORECASE)


def string(text: str) -> str:
    """A string in double quotes. Raises ValueError for a control character."""
    escaped = without_control_characters(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def key(text: str) -> str:
    """A key in double quotes. NATS knows no escapes in keys. Raises ValueError."""
    if '"' in text or "\\" in text or not text:
        raise ValueError(
            f"{text!r} cannot be a name in nats.conf, which has no way to write a quotation mark or a backslash there"
        )
    return f'"{without_control_characters(text)}"'


def size(value: object) -> str:
    """A size or number as NATS reads it: ``1GB``, ``64KB``, ``-1``. Raises ValueError."""
    text = str(value).strip()
    if not _SIZE.fullmatch(text):
        raise ValueError(f"{text!r} is no size: write a number and KB, MB, GB or TB, as in 512MB")
    return text


def value(given: Any) -> str:
    """Text, a number, yes or no, a list or a dictionary. Raises ValueError."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int | float):
        return str(given)
    if isinstance(given, Mapping):
        return "{" + ", ".join(f"{key(str(name))}: {value(each)}" for name, each in given.items()) + "}"
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return "[" + ", ".join(value(each) for each in given) + "]"
    return string(str(given))
