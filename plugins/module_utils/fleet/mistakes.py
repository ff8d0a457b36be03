# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a fleet file: every mistake, each with its path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

_LONGEST: Final = 60  # of a value in a sentence


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake. `path` is as `fleet_services.web.size.max`, entries of lists are `[0]`, `[1]`, ..."""

    path: str
    words: str

    def __str__(self) -> str:
        return f"{self.path}: {self.words}"


class FleetError(Exception):
    """A fleet file that is refused, with all its mistakes. Never a secret."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))


class Report:
    """Gathers mistakes, and knows what can still be judged."""

    def __init__(self) -> None:
        self._found: dict[Mistake, None] = {}
        self._spoiled: set[str] = set()

    def add(self, path: str, words: str) -> None:
        """Note a mistake. What is at the path counts as unreadable from now on."""
        self._found[Mistake(path, words)] = None
        self.spoil(path)

    def spoil(self, path: str) -> None:
        """Let nothing more be said about this path: why it is wrong is said elsewhere."""
        self._spoiled.add(path)

    def sound(self, *paths: str) -> bool:
        """Whether nothing at these paths, above or below them is wrong: only then is a rule about them worth a sentence."""
        return not any(path == bad or _below(path, bad) or _below(bad, path) for bad in self._spoiled for path in paths)

    def readable(self, *paths: str) -> bool:
        """Whether nothing at these paths or above them is wrong; what is below may be."""
        return not any(path == bad or _below(path, bad) for bad in self._spoiled for path in paths)

    def close(self) -> None:
        """Raises FleetError when there was a mistake."""
        if self._found:
            raise FleetError(sorted(self._found))


def _below(path: str, other: str) -> bool:
    return path.startswith((other + ".", other + "["))


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that was most likely meant; "" for none."""
    plain = {name.replace("-", "_"): name for name in known}
    meant = word.lower().replace("-", "_")
    for cutoff in (0.75, 0.6):
        for near in difflib.get_close_matches(meant, plain, n=3, cutoff=cutoff):
            # A word that is less alike begins with the same letter at least: gpu is not a misspelt cpu, and cup is.
            if cutoff > 0.6 or near[0] == meant[0]:
                return plain[near]
    return ""


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that means nothing: what was meant, or what there is."""
    names = sorted(known)
    if near := closest(word, names):
        return f"did you mean {near}?"
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"there {'is' if len(names) == 1 else 'are'} {listed}" if names else "there is none"


def shown(value: Any) -> str:
    """A value in a sentence: short, on one line, and never the cause of an error itself."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of some {value.bit_length() * 3 // 10} digits"
    if isinstance(value, str):
        if not value:
            return "an empty text"
        text = value if value.isprintable() and value == value.strip() else ascii(value)
        return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    if isinstance(value, (int, float)):
        return str(value)
    return kind(value)


def kind(value: Any) -> str:
    """What sort of thing a value is, in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a number"
    if isinstance(value, float):
        return "a number with a fraction"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "a mapping" if isinstance(value, dict) else f"a {type(value).__name__}"
