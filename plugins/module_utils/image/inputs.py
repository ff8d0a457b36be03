# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a template was found to read, gathered by `reads` and `ansible_reads` for the fingerprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.image.expression import expanded
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Step

_LONGEST_PATH: Final = 1024


@dataclass
class Read:
    """What is read beside the template itself.

    `paths`: path of a file, or of a directory that is taken with everything in it -> who names it. `sources`: directories of which what
    programs leave there does not count, such as a role. `unknown`: sentences about what cannot be said, each once. `facts`: answers that
    count by themselves. `roots`: directory -> the name that files in it go by, where it lies elsewhere for each user.
    """

    paths: dict[Path, str] = field(default_factory=dict)
    sources: dict[Path, str] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    roots: dict[Path, str] = field(default_factory=dict)

    def cannot_say(self, sentence: str) -> None:
        self.unknown[sentence] = None


def who(step: Step) -> str:
    return f"{step.kind} {step.type} ({step.at})"


def texts(value: Any, depth: int = 0) -> Iterator[str]:
    """The known texts in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | Mapping) and depth < 50:
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from texts(one, depth + 1)


def place(directory: Path, text: str) -> Path | None:
    """A path as Packer takes it, relative to the template; None for what is no path of this machine."""
    text = text.removeprefix("file://")
    if not text.strip() or len(text) > _LONGEST_PATH or "\n" in text or "\0" in text or "://" in text:
        return None
    return directory / expanded(text)
