# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Release notes in the forms in which they come: text with headings, the JSON of a forge's releases, Atom or RSS.

Everything here takes time in proportion to the text.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final
from xml.etree import ElementTree

from ansible_collections.boring.fleet.plugins.module_utils.release.headings import (
    DATE,
    HEADING_LINE,
    Heading,
    headings_of,
    inline_heading,
    releases_of,
    version_of,
)
from ansible_collections.boring.fleet.plugins.module_utils.release.model import Entry, Release, ReleaseError, Version

_BULLET: Final = re.compile(r"^(\s*)(?:[-*+•·]|\d{1,3}[.)])\s+(.*)$")
_SHORT: Final = 4  # words of a bullet that is a heading for those below it
_BULLETS: Final = 100  # the depth of a section that is a bullet at the margin; headings are less deep
_DEEPEST: Final = 40  # columns
_URGENCY: Final = re.compile(r"\burgency\W+\w", re.IGNORECASE)
_RELEASE_DATE: Final = re.compile(r"\brelease(?:d| date)\b(?: on)?:? ", re.IGNORECASE)
_GONE: Final = (
    r"(?:yanked|withdrawn|retracted|pulled|paused|recalled|revoked|halted|suspended|unpublished|stopped|rolled back"
    r"|removed from (?:the )?(?:\w+ )?(?:download|repositor|registr|release|channel|index)\w*)"
)
_NUMBER: Final = r"v?\d{1,9}(?:\.\d{1,9}){1,3}"
_GONE_TITLE: Final = re.compile(
    rf"[\[(]{_GONE}\b|\d[\])]?\W{{1,5}}{_GONE}\W*$|\bdo not (?:use|install)\b|^~~.*~~$", re.IGNORECASE
)
_THIS: Final = r"(?:this|the) (?:release|version|build|driver)"
_ROLLOUT: Final = rf"(?:staged |gradual )?roll-?out(?: of (?:{_THIS}|\S+)| \([^)]{{0,40}}\))?"
# Straight before its verb: "in this release consumers are paused" takes nothing back.
_SUBJECT: Final = (
    rf"(?:this (?:update|package)|{_THIS}(?: \([^)]{{0,40}}\))?|{_ROLLOUT}|release {_NUMBER}|{_NUMBER}(?: release| version| build)?)"
    r"(?:,? (?:which|that))?"
)
_GONE_TEXT: Final = re.compile(
    rf"\b{_SUBJECT} (?:has|have|was|were|is|are) (?:(?!not\b|never\b|no\b)(?:been|now|since|later|therefore|also|\w+ly) ){{0,3}}{_GONE}(?!\w)"
    rf"|\b(?:we|we've|we have|has|have) (?:(?:been|now|since|\w+ly) )?{_GONE} (?:\w+ )?(?:{_THIS}\b|roll-?out\b|release\b|{_NUMBER})"
    rf"|\b(?:do not|don't|never) (?:use|install|deploy|run|(?:upgrade|update) to)\b (?:\w+ )?(?:{_THIS}\b|{_NUMBER})"
    rf"|\b(?:skip|avoid) (?:this (?:release|version|build)\b|{_NUMBER})|\bthis (?:release|version|build) (?:is|was) broken\b"
    rf"|\b{_THIS} (?:must|should) not be (?:used|installed|deployed)\b|^\W*(?:the )?{_ROLLOUT}:? {_GONE}\b"
    rf"|^\W*{_GONE}(?:\W*$|:| because\b| due to\b)|^\W*(?:yanked|withdrawn|retracted|recalled)\b|^\W*(?:release|version) (?:{_NUMBER} )?{_GONE}\b"
    rf"|^\W*do not (?:use|install|upgrade)\W*$",
    re.IGNORECASE,
)
_BACK: Final = re.compile(
    r"\b(?:resum(?:ed?|es|ing)|no longer (?:paused|withdrawn|suspended|halted)|re-?(?:enabled|started)|lifted|unpaused)\b",
    re.IGNORECASE,
)
_ATOM: Final = "{http://www.w3.org/2005/Atom}"
_CONTENT: Final = "{http://purl.org/rss/1.0/modules/content/}encoded"


def read_feed(text: str, name: str) -> list[Release]:
    """The finished releases of a feed, newest first. `name` is the feed's in errors. Raises ReleaseError."""
    start = text.lstrip("\ufeff \t\r\n")[:1]
    if start in ("[", "{"):
        releases = list(_from_json(text, name))
    elif start == "<" and not text.lstrip("\ufeff \t\r\n").startswith("<!--"):
        releases = list(_from_xml(text, name))
    else:
        releases = list(_from_text(text))
    if not releases:
        raise ReleaseError(
            f"no release is found in {name}: it must be a changelog with a version in each heading, JSON, Atom or RSS"
        )
    unique: dict[Version, Release] = {}
    for release in releases:
        if release.version.mark:
            continue
        same = unique.get(release.version)
        unique[release.version] = (
            replace(same, entries=same.entries + release.entries, withdrawn=same.withdrawn or release.withdrawn)
            if same
            else release
        )
    return sorted(_without_withdrawn_by_others(unique).values(), key=lambda release: release.version, reverse=True)


def _without_withdrawn_by_others(releases: dict[Version, Release]) -> dict[Version, Release]:
    """The same, with what a release says of another: "1.58.1 was pulled"."""
    marked = dict(releases)
    for release in releases.values():
        for version, sentence in _taken_back(release.entries):
            if version in marked and version != release.version and not marked[version].withdrawn:
                marked[version] = replace(marked[version], withdrawn=sentence)
    return marked


def _taken_back(entries: Iterable[Entry]) -> Iterator[tuple[Version | None, str]]:
    """The sentences that take a release back, with the version that they name, None if they say "this release"."""
    for entry in entries:
        for sentence in re.split(r"(?<=[.!?;])\s+", entry.text):
            match = _GONE_TEXT.search(sentence)
            if match and not _BACK.search(sentence):
                # "This release replaces 1.58.1, which was pulled": the last that is named before it was pulled.
                named = Version.find_all(match[0])
                yield (named[-1] if named else None), sentence


def _withdrawn(version: Version, title: str, entries: Sequence[Entry]) -> str:
    """The sentence that takes a release back, "" if none does, or another gives it free again."""
    if _GONE_TITLE.search(title):
        return title
    if any(
        _BACK.search(entry.text) and re.search(r"\broll-?out|\brelease", entry.text, re.IGNORECASE) for entry in entries
    ):
        return ""
    return next((sentence for named, sentence in _taken_back(entries) if named in (None, version)), "")


def _from_text(text: str) -> Iterator[Release]:
    lines = text.replace("\r\n", "\n").splitlines()
    headings = headings_of(lines)
    starts = releases_of(headings)
    for number, (place, version, date) in enumerate(starts):
        end = starts[number + 1][0] if number + 1 < len(starts) else len(headings)
        first = headings[place]
        last = headings[end].line if end < len(headings) else len(lines)
        inside = {heading.line: heading for heading in headings[place + 1 : end]}
        days = {line for line, heading in inside.items() if heading.only_date}
        body = [(lines[line], inside.get(line)) for line in range(first.line + 1, last) if line not in days]
        release = _release(first.title, version, body, date)
        # A version with no day and nothing to say is a mention, and a title of the whole file is none either.
        if release.date or release.entries:
            yield release


def _release(
    title: str, version: Version, body: Iterable[tuple[str, Heading | None]], date: str = "", gone: str = ""
) -> Release:
    entries = tuple(_entries(body))
    if not date:
        dated = (entry.text for entry in entries[:8] if _RELEASE_DATE.search(entry.text))
        date = next((found[0] for found in map(DATE.search, dated) if found), "")
    return Release(version, date, entries, gone or _withdrawn(version, title, entries), title)


class _Reader:
    """Lines as they come; entries when they end, each with the headings and the bullets above it."""

    def __init__(self) -> None:
        self.sections: list[tuple[int, str]] = []  # how deep, its words
        self.words: list[str] = []
        self.indent = -1  # of the bullet that is being read; -1 in a paragraph
        self.gap = False  # whether an empty line followed

    @property
    def section(self) -> str:
        return " / ".join(title for dummy, title in self.sections if title)

    def finished(self, next_indent: int = -1) -> Iterator[Entry]:
        """What was read so far, or a section if it is what the bullets that follow are below."""
        text = " ".join(" ".join(self.words).split())
        self.words.clear()
        self.gap = False
        if not text:
            return
        above = next_indent > self.indent
        if not above or not (text.endswith(":") or (self.indent >= 0 and len(text.split()) <= _SHORT)):
            yield Entry(self.section, text)
        if above and (self.indent >= 0 or text.endswith(":")):
            self.enter(_BULLETS + self.indent, text)

    def enter(self, depth: int, title: str) -> None:
        self.leave(depth)
        self.sections.append((depth, re.sub(r"[*_`:]", "", title).strip()))

    def leave(self, depth: int) -> None:
        self.sections = [one for one in self.sections if one[0] < depth]


def _entries(body: Iterable[tuple[str, Heading | None]]) -> Iterator[Entry]:
    reader = _Reader()
    for line, heading in body:
        text = line.strip()
        bullet = None if heading else _BULLET.match(line)
        if heading:
            yield from reader.finished()
            reader.indent = -1
            reader.leave(heading.depth)
            if _GONE_TEXT.search(heading.title) or _URGENCY.search(heading.title):
                yield Entry(reader.section, heading.title)  # it says something by itself
            reader.enter(heading.depth, heading.title)
        elif bullet:
            indent = min(len(bullet[1].expandtabs(4)), _DEEPEST)
            yield from reader.finished(indent)
            reader.leave(_BULLETS + indent)
            reader.indent = indent
            reader.words.append(bullet[2])
        elif HEADING_LINE.match(text):
            yield from reader.finished()
        elif not text:
            reader.gap = True
        else:
            if reader.gap:
                yield from reader.finished()
                if not line[0].isspace():
                    reader.indent = -1
                    reader.leave(_BULLETS - 1)
            reader.words.append(text)
    yield from reader.finished()


def _body(lines: Iterable[str]) -> Iterator[tuple[str, Heading | None]]:
    """The lines of a release that a feed delimits, with their headings."""
    text = list(lines)
    headings = {heading.line: heading for heading in headings_of(text)}
    return ((line, headings.get(number)) for number, line in enumerate(text))


def _from_json(text: str, name: str) -> Iterator[Release]:
    problem = ""
    document: Any = None
    try:
        document = json.loads(text, parse_int=str, parse_float=str)
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as exc:
        problem = str(exc)
    if problem:
        raise ReleaseError(f"{name} is not JSON that can be read: {problem}")
    if isinstance(document, dict):
        if isinstance(document.get("message"), str) and "releases" not in document:
            raise ReleaseError(f"{name} has no releases, but a message: {document['message'][:200]}")
        document = document.get("releases", [document])
    for item in document if isinstance(document, list) else ():
        if not isinstance(item, dict) or item.get("draft") or item.get("prerelease"):
            continue
        titles = [str(item[key]) for key in ("tag_name", "version", "name", "title") if item.get(key)]
        title = next((one for one in titles if version_of(one)), "")
        version = version_of(title)
        if version:
            notes = item.get("body") or item.get("notes") or item.get("changes") or item.get("description") or ""
            lines = [f"- {_note(note)}" for note in notes] if isinstance(notes, list) else str(notes).splitlines()
            date = str(item.get("published_at") or item.get("date") or item.get("created_at") or "")[:10]
            flags = ("withdrawn", "yanked", "retracted", "paused")
            gone = next((f"{title} is marked as {flag}" for flag in flags if item.get(flag)), "")
            yield _release(_fullest(titles), version, _body(lines), date, gone)


def _fullest(titles: Sequence[str]) -> str:
    """Of a tag and a name what says most; both where they say different things."""
    return " ".join(dict.fromkeys(titles))


def _note(note: Any) -> str:
    if isinstance(note, dict):
        return ": ".join(str(value) for value in note.values() if isinstance(value, str))
    return str(note)


def _from_xml(text: str, name: str) -> Iterator[Release]:
    # The parser expands entities, which a feed has no need to declare.
    head = text[:4000].lower()
    if "<!doctype html" in head or "<html" in head:
        raise ReleaseError(
            f"{name} is a page for browsers: name its Atom, RSS or JSON feed, or save its text as a file"
        )
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ReleaseError(f"{name} is refused: a feed with a document type of its own can fill the memory")
    problem = ""
    root = None
    try:
        root = ElementTree.fromstring(text.lstrip("\ufeff \t\r\n"))  # noqa: S314
    except (ElementTree.ParseError, ValueError) as exc:
        problem = str(exc)
    except RecursionError:
        problem = "it is nested too deeply"
    if root is None:
        raise ReleaseError(f"{name} is not XML: {problem}")
    for item in root.iter():
        if item.tag == f"{_ATOM}entry":
            link = item.find(f"{_ATOM}link")
            places = (item.findtext(f"{_ATOM}id") or "", link.get("href", "") if link is not None else "")
            content = _markup(item, (f"{_ATOM}content", f"{_ATOM}summary"))
            date = (item.findtext(f"{_ATOM}published") or item.findtext(f"{_ATOM}updated") or "")[:10]
            title = item.findtext(f"{_ATOM}title") or ""
        elif item.tag == "item":
            places = (item.findtext("link") or "", item.findtext("guid") or "")
            content = _markup(item, (_CONTENT, "description"))
            found = DATE.search(item.findtext("pubDate") or "")
            date, title = found[0] if found else "", item.findtext("title") or ""
        else:
            continue
        version = version_of(title) or next(filter(None, (version_of(one.rpartition("/")[2]) for one in places)), None)
        if version:
            yield _release(" ".join(title.split()), version, _body(_plain(content)), date)


def _markup(item: ElementTree.Element, tags: Iterable[str]) -> str:
    """The HTML of an entry, which stands in it as text, or as elements (XHTML)."""
    for tag in tags:
        element = item.find(tag)
        if element is None:
            continue
        if not len(element):
            return element.text or ""
        parts: list[str] = []
        waiting: list[ElementTree.Element | str] = [element]
        while waiting:  # no recursion: nobody knows how deep it is
            one = waiting.pop()
            if isinstance(one, str):
                parts.append(one)
                continue
            tagged = one.tag.rpartition("}")[2] if isinstance(one.tag, str) else "x"
            parts.append(f"<{tagged}>{html.escape(one.text or '')}")
            waiting.append(f"</{tagged}>")
            for child in reversed(one):
                waiting.extend((html.escape(child.tail or ""), child))
        return "".join(parts)
    return ""


_TAG: Final = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)[^<>]*>|<!--|-->")


def _plain(markup: str) -> list[str]:
    """HTML of a feed as the Markdown that it was made from, near enough for headings and bullets."""
    parts: list[str] = []
    depth, at = 0, 0
    for tag in _TAG.finditer(markup):
        parts.append(html.unescape(markup[at : tag.start()]))
        at = tag.end()
        closing, element = bool(tag[1]), (tag[2] or "").lower()
        if element in ("ul", "ol"):
            depth = max(0, depth + (-1 if closing else 1))
            parts.append("\n" if depth else "\n\n")
        elif element == "li" and not closing:
            parts.append("\n" + "  " * max(0, depth - 1) + "- ")
        elif re.fullmatch(r"h[1-6]", element):
            parts.append("\n\n" if closing else "\n\n" + "#" * int(element[1]) + " ")
        elif element in ("strong", "b"):
            parts.append("**")
        elif element == "br" or (
            element in ("p", "div", "pre", "table", "tr", "blockquote") and (closing or not depth)
        ):
            parts.append("\n" if depth else "\n\n")
    parts.append(html.unescape(markup[at:]))
    return [line for line in "".join(parts).splitlines() if inline_heading(line) != ""]
