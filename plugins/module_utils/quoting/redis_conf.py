# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values in redis.conf and sentinel.conf, and in ACL files."""

from __future__ import annotations

import re

from ansible_collections.boring.fleet.plugins.module_utils.quoting.control import without_control_characters

# Directives of several words. Of all others the whole value is one word, blanks and all.
_OF_SEVERAL_WORDS = frozenset(
    {
        "bind",
        "client-output-buffer-limit",
        "latency-tracking-info-percentiles",
        "oom-score-adj-values",
        "save",
        "shutdown-on-sigint",
        "shutdown-on-sigterm",
    }
)
_PLAIN = re.compile(r"[A-Za-z0-9_.:/+-]+")


def word(text: str) -> str:
    """One word, in double quotes unless it is plain. Raises ValueError for a control character."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = without_control_characters(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def line(*words: str) -> str:
    """One line. Raises ValueError."""
    return " ".join(map(word, words))


def directive(name: str, value: str) -> str:
    """One line for a setting, its value in the form in which CONFIG GET gives it. Raises ValueError."""
    return line(name, *((value.split() if name in _OF_SEVERAL_WORDS else [value]) or [""]))
