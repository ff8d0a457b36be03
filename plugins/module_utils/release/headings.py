# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The headings of release notes, and which of them begin a release.

A heading is marked with `#`, with bold letters, or with a line of `=` or `-` below it, or above and below it. Its level is its
marking, not its words: "Fixes for issues of Redis 7.0" inside a release is none of its own, nor is the legend of a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.release.model import Version

HEADING_LINE: Final = re.compile(r"^(?:=+|-{3,}|~{3,}|\*{3,}|_{3,})$")
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
DATE: Final = re.compile(
    rf"\b\d{{4}}[-/]\d\d[-/]\d\d\b|\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b|\b\d{{1,2}}(?:st|nd|rd|th)?[ -]{_MONTH}[ ,-]{{1,2}}\d{{4}}\b"
    rf"|\b{_MONTH} +\d{{1,2}} [\d:]{{4,8}} (?:[A-Z]{{2,5}} )?\d{{4}}\b|\b\d{{1,2}}/\d{{1,2}}/\d{{4}}\b|\b\d{{1,2}}\.\d{{1,2}}\.\d{{4}}\b|\b{_MONTH} \d{{4}}\b"
)
_WEEKDAY: Final = re.compile(r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*\.?,?\s*", re.IGNORECASE)
# What may stand before and after the version in the heading of a release.
_BEFORE: Final = re.compile(r"(?:[A-Za-z][\w./@+-]*[\s/@]+){0,5}\W{0,3}v?")
_AFTER: Final = re.compile(
    r"\s*(?:[\])(\-–—:/|~,\[.]|$)|\s+(?:GA\b|LTS\b|stable\b|final\b|released?\b|\d)", re.IGNORECASE
)
_SECTION_WORDS: Final = re.compile(
    r"\b(?:in|of|for|from|to|since|with|than|before|after|previous|until|upgrad\w*|migrat\w*|fix\w*|changes|compatib\w*|requires?|go|and)\b", re.IGNORECASE
)  # fmt: skip
_WHOLE_FILE: Final = re.compile(r"\b(?:release notes?|change ?log|history|releases)\W*$", re.IGNORECASE)
_UNRELEASED: Final = re.compile(
    r"\b(?:unreleased|upcoming|not (?:yet )?released|tbd|tba|in development)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Heading:
    """`line` is its number; `depth` its marking, the outermost smallest: 1 above and below, 2 below with `=`, 3 with `-`,
    10 and more for `#`, 50 for bold letters."""

    line: int
    depth: int
    title: str

    @property
    def only_date(self) -> bool:
        return not re.sub(r"\W|released?", "", _WEEKDAY.sub("", DATE.sub("", self.title)), flags=re.IGNORECASE)


def inline_heading(line: str) -> str | None:
    """The words of `## Heading` or `**Heading**:`; None if the line is no heading."""
    text = line.strip()
    level = len(text) - len(text.lstrip("#"))
    if 1 <= level <= 6 and text[level : level + 1].isspace():
        return text.rstrip("#").strip("# \t") if text.strip("# \t") else ""
    if level and level == len(text) <= 6:
        return ""
    bold = text.rstrip(":")
    if len(bold) > 4 and bold.startswith("**") and bold.endswith("**") and "*" not in bold[2:-2]:
        return bold[2:-2].rstrip(":").strip()
    return None


def headings_of(lines: Sequence[str]) -> list[Heading]:
    """All headings; what stands in a block of code or in a comment is none."""
    found: list[Heading] = []
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith(("```", "~~~"))]
    closed = set(fences[: len(fences) // 2 * 2])
    inside = False
    for number, line in enumerate(lines):
        if number in closed:
            inside = not inside
        text = line.strip()
        if inside or not text or HEADING_LINE.match(text):
            continue
        title = inline_heading(line)
        if title:
            level = len(text) - len(text.lstrip("#"))
            found.append(Heading(number, 10 + level if level else 50, title))
            continue
        below = lines[number + 1].strip() if number + 1 < len(lines) else ""
        depth = _underlined(lines, number, below)
        if depth:
            found.append(Heading(number, depth, text))
    return found


def _underlined(lines: Sequence[str], number: int, below: str) -> int:
    """The depth of a heading with a line below it, 0 if it is none: the last line of a paragraph or a bullet is none."""
    if not re.match(r"^(?:=+|-{3,})$", below) or lines[number][:1].isspace() or re.match(r"[-*+•] ", lines[number]):
        return 0
    above = lines[number - 1].strip() if number else ""
    before = lines[number - 2].strip() if number > 1 else ""
    if above and HEADING_LINE.match(above) and above[0] == below[0] and not before:
        return 1
    if above and not HEADING_LINE.match(above):
        return 0
    return 2 if below[0] == "=" else 3


def version_of(title: str) -> Version | None:
    """The version of a title: of several the one that is followed by "(Linux)", else the first. A date is none."""
    plain = DATE.sub(" ", title)
    for version in re.finditer(r"(v?[\d.]+)\s*\((?:for )?linux\b", plain, re.IGNORECASE):
        if found := Version.find(version[1]):
            return found
    return Version.find(plain)


def _begins_release(title: str) -> bool:
    """Whether a title is a version with no more than a name before and a day or a nickname after it."""
    plain = re.sub(r"[*_`]", "", DATE.sub(" ", _WEEKDAY.sub("", title)))
    match = re.search(r"\d+(?:\.\d+)+", plain)
    if not match or match.start() > 80:
        return False
    before, after = plain[: match.start()], plain[match.end() :]
    marked = re.match(r"[-~+. ]?(?:alpha|beta|rc|pre|dev|m)[-.\d]*", after, re.IGNORECASE)
    rest = after[marked.end() :] if marked else after
    return bool(
        _BEFORE.fullmatch(before)
        and not _SECTION_WORDS.search(before)
        and not re.match(r"\.\s+\w", rest)
        and (_AFTER.match(rest) or not rest.strip())
    )


def releases_of(headings: Sequence[Heading]) -> list[tuple[int, Version, str]]:
    """The headings that begin a release, as their places in `headings`, their versions and their days ("" if none)."""
    usable = [
        (place, heading, version)
        for place, heading in enumerate(headings)
        if (version := version_of(heading.title)) and not _UNRELEASED.search(heading.title)
    ]
    strict = [one for one in usable if _begins_release(one[1].title)]
    candidates: _Candidates = _without_titles_of_files(strict or usable)
    if not candidates:
        return []
    level = _level(candidates)
    began: list[tuple[int, Version, str]] = []
    for place, heading, version in candidates:
        found = DATE.search(heading.title)
        # Some tools write the first release of a line one level higher than the others; both have a day.
        if heading.depth == level or (found and heading.depth < 50 and _named(heading) in _names_at(candidates, level)):
            began.append((place, version, found[0] if found else _day_above(headings, place)))
    return began


_Candidates = list[tuple[int, Heading, Version]]


def _without_titles_of_files(candidates: _Candidates) -> _Candidates:
    """Without "Redis 7.0 release notes": no day, and its number is only the beginning of what others have."""
    beginnings = {
        version.numbers[:length] for dummy, dummy2, version in candidates for length in range(1, len(version.numbers))
    }
    alone = sum(not DATE.search(heading.title) for dummy, heading, dummy2 in candidates) == 1 < len(candidates)
    return [
        one
        for one in candidates
        if DATE.search(one[1].title)
        or one[2].numbers not in beginnings
        or not (alone or _WHOLE_FILE.search(one[1].title))
    ]


def _level(candidates: _Candidates) -> int:
    """The outermost level, unless the versions below its headings are closer ones of the same line: then it is a group."""
    depths = sorted({heading.depth for dummy, heading, dummy2 in candidates})
    for number, depth in enumerate(depths[:-1]):
        group: Version | None = None
        closer = 0
        for dummy, heading, version in candidates:
            if heading.depth == depth:
                group = version
            elif group and heading.depth == depths[number + 1]:
                length = len(group.numbers)
                closer += len(version.numbers) > length and version.numbers[:length] == group.numbers
        if not closer:
            return depth
    return depths[-1]


def _named(heading: Heading) -> str:
    return re.split(r"v?\d", heading.title, maxsplit=1)[0].strip(" [(").lower()


def _names_at(candidates: _Candidates, level: int) -> set[str]:
    return {_named(heading) for dummy, heading, dummy2 in candidates if heading.depth == level}


def _day_above(headings: Sequence[Heading], place: int) -> str:
    """The day of a release whose heading stands below one that is a day only."""
    before = headings[place - 1] if place else None
    found = DATE.search(before.title) if before and before.only_date else None
    return found[0] if found else ""
