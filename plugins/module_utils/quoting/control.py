# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Characters that no value of a configuration file may have."""

from __future__ import annotations

import unicodedata

_NAMES = {
    "\0": "NUL",
    "\t": "a tab",
    "\n": "a line feed",
    "\r": "a carriage return",
    "\x1b": "an escape",
    "\x7f": "a delete",
}


def control_character(text: str) -> str:
    """The name of the first control character of `text`; empty where there is none.

    Lone surrogates count, because no file can hold them.
    """
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs"):
            return _NAMES.get(character, f"U+{ord(character):04X}")
    return ""


def without_control_characters(text: str) -> str:
    """The text as it is. Raises ValueError, which names the character and not the text, for the text may be a secret."""
    found = control_character(text)
    if found:
        raise ValueError(f"a value holds {found}, which no configuration file can hold")
    return text
