# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Release notes in the forms in which they come: a changelog in Markdown, the JSON of a forge's releases, an Atom feed."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from xml.etree import ElementTree

from ansible_collections.boring.fleet.plugins.module_utils.release.model import Entry, Release, ReleaseError, Version

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d|[A-Z][a-z]{2,8} \d{1,2}, \d{4}")
_WITHDRAWN: Final = re.compile(r"\b(yanked|withdrawn|retracted|do not use)\b", re.IGNORECASE)
_HEADING: Final = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$|^\*\*([^*]+?):?\*\*:?$")
_UNDERLINE: Final = re.compile(r"^(=+|-{3,})$")
_BULLET: Final = re.compile(r"^(\s*)(?:[-*+•]|\d+[.)])\s+(.*)$")
_ATOM: Final = "{http://www.w3.org/2005/Atom}"


def read_feed(text: str, name: str) -> list[Release]:
    """The finished releases of a feed, newest first. `name` is the feed's in errors. Raises ReleaseError."""
    start = text.lstrip("\ufeff \t\r\n")[:1]
    if start in ("[", "{"):
        releases = list(_from_json(text, name))
    elif start == "<":
        releases = list(_from_atom(text, name))
    else:
        releases = list(_from_markdown(text))
    if not releases:
        raise ReleaseError(
            f"no release is found in {name}: it must be a changelog with a version in each heading, JSON or Atom"
        )
    unique: dict[Version, Release] = {}
    for release in releases:
        if not release.version.mark:
            unique.setdefault(release.version, release)
    return sorted(unique.values(), key=lambda release: release.version, reverse=True)


def _from_markdown(text: str) -> Iterator[Release]:
    blocks: list[tuple[str, list[str]]] = []
    level = 0  # of the headings that begin a release: the level of the first heading that has a version
    lines = text.splitlines()
    for number, line in enumerate(lines):
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        match = _HEADING.match(line.strip())
        depth = len(match[1] or "") if match else 0
        title = (match[2] or match[3] or "") if match else ""
        if not match and line.strip() and _UNDERLINE.match(following):
            depth, title = (1 if following[0] == "=" else 2), line.strip()
        if depth and Version.find(title) and (not level or depth == level):
            level = depth
            blocks.append((title, []))
        elif blocks and not _UNDERLINE.match(line.strip()):
            blocks[-1][1].append(line)
    for title, body in blocks:
        yield _release(title, body)


def _release(title: str, body: Iterable[str], date: str = "") -> Release:
    version = Version.find(title)
    if version is None:
        raise ReleaseError(f"'{title[:60]}' names no version")
    found = _DATE.search(title)
    return Release(version, date or (found[0] if found else ""), tuple(_entries(body)), bool(_WITHDRAWN.search(title)))


def _entries(body: Iterable[str]) -> Iterator[Entry]:
    headings: list[tuple[int, str]] = []
    words: list[str] = []

    def finished() -> Iterator[Entry]:
        text = " ".join(" ".join(words).split())
        words.clear()
        if text:
            yield Entry(" / ".join(title for dummy, title in headings), text)

    for line in body:
        heading, bullet = _HEADING.match(line.strip()), _BULLET.match(line)
        if heading:
            yield from finished()
            depth = len(heading[1] or "") or 7
            headings = [one for one in headings if one[0] < depth]
            headings.append((depth, re.sub(r"[*_`:]", "", heading[2] or heading[3]).strip()))
        elif bullet:
            yield from finished()
            words.append(bullet[2])
        elif not line.strip():
            yield from finished()
        else:
            words.append(line.strip())
    yield from finished()


def _from_json(text: str, name: str) -> Iterator[Release]:
    problem = ""
    document: Any = None
    try:
        document = json.loads(text)
    except ValueError as exc:
        problem = str(exc)
    if problem:
        raise ReleaseError(f"{name} is not JSON: {problem}")
    if isinstance(document, dict):
        document = document.get("releases", [document])
    for item in document if isinstance(document, list) else ():
        if not isinstance(item, dict) or item.get("draft") or item.get("prerelease"):
            continue
        title = str(item.get("tag_name") or item.get("version") or item.get("name") or "")
        if Version.find(title):
            notes = item.get("body") or item.get("notes") or item.get("changes") or ""
            lines = [f"- {note}" for note in notes] if isinstance(notes, list) else str(notes).splitlines()
            date = str(item.get("published_at") or item.get("date") or "")[:10]
            more = " (withdrawn)" if item.get("withdrawn") or item.get("yanked") else ""
            yield _release(title + more, lines, date)


def _from_atom(text: str, name: str) -> Iterator[Release]:
    # The parser expands entities, which a feed has no need to declare.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ReleaseError(f"{name} is refused: a feed with a document type of its own can fill the memory")
    problem = ""
    root = None
    try:
        root = ElementTree.fromstring(text)  # noqa: S314
    except ElementTree.ParseError as exc:
        problem = str(exc)
    if root is None:
        raise ReleaseError(f"{name} is not XML: {problem}")
    for item in root.iter(f"{_ATOM}entry"):
        title = item.findtext(f"{_ATOM}title") or ""
        if Version.find(title):
            content = item.findtext(f"{_ATOM}content") or item.findtext(f"{_ATOM}summary") or ""
            yield _release(title, _plain(content), (item.findtext(f"{_ATOM}updated") or "")[:10])


def _plain(markup: str) -> list[str]:
    """HTML of a feed as the Markdown that it was made from, near enough for headings and bullets."""
    text = re.sub(r"<h([1-6])[^>]*>", lambda match: "\n" + "#" * int(match[1]) + " ", markup)
    text = re.sub(r"<li[^>]*>", "\n- ", text)
    text = re.sub(r"</(?:h[1-6]|p|ul|ol)>|<br\s*/?>", "\n\n", text)
    return html.unescape(re.sub(r"<[^>]+>", "", text)).splitlines()
