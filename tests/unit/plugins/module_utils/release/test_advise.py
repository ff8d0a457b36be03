# SPDX-License-Identifier: GPL-3.0-or-later
"""Release advice on changelogs in the manners in which real ones are written: terse, by platform, with ids, in a hurry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.release.advise import advise, tell, worst
from ansible_collections.boring.fleet.plugins.module_utils.release.feed import read_feed
from ansible_collections.boring.fleet.plugins.module_utils.release.model import Entry, ReleaseError, Version
from ansible_collections.boring.fleet.plugins.module_utils.release.rules import RULES, Platforms, read_rules

OURS = Platforms(("linux", "debian", "systemd", "container"))

# A connector that releases often and says little
TERSE = """\
# Connector changelog

## 1.74.0 (2026-03-02)
- Bug fixes and performance improvements

## 1.73.1 - 2026-02-20 [YANKED]
- Faster relays

## 1.73.0 (2026-02-10)
- Updated OpenSSL to a version that addresses CVE-2026-1111

## 1.72.0-rc1
- Security fix that never was released

## 1.72.0 (2026-01-15)
- Fixed an issue on Linux hosts with systemd-resolved where the connector would lose connectivity after a
  network change
- Fixed a crash on Windows when the adapter was renamed

## 1.71.0 (2026-01-02)
- Metrics: new gauge for relays
"""

# A client for many systems: a heading for each platform, bold words for kinds
BY_PLATFORM = """\
February 3, 2026
----------------

v1.98.2
=======

### All platforms

**New**:

* Peers are shown with their labels

### Windows

**Fixed**:

* TS-2026-003: the local service no longer lets other users change its preferences

### macOS

* Fixed: the menu may crash

v1.98.1
=======

### Linux

**Changed**:

* The subnet router removes the deprecated flag --old; scripts must be changed

v1.98.0
=======

### All platforms

* No security fixes in this release.
"""

KEEP = """\
# Changelog
All notable changes.

## [Unreleased]
### Security
- not out yet

## [2.0.0] - 2026-05-01
### Breaking
- The setting `listen` is a list
### Security
- Tokens are compared in constant time

## [1.9.0] - 2026-04-01
Older clients than 1.5 will stop working on June 1.

## [1.8.0] - 2026-03-01
"""

FORGE = json.dumps(
    [
        {"tag_name": "v3.2.0-rc.1", "prerelease": True, "body": "security"},
        {
            "tag_name": "v3.1.1",
            "published_at": "2026-06-02T10:00:00Z",
            "body": "## Fixed\r\n- Container image starts again",
        },
        {"tag_name": "v3.1.0", "published_at": "2026-06-01T10:00:00Z", "body": "* GHSA-aaaa-bbbb-cccc: path traversal"},
        {"tag_name": "v3.0.0", "published_at": "2026-05-01T10:00:00Z", "body": ""},
        {"tag_name": "nightly", "body": "x"},
    ]
)

ATOM = """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
<entry><title>gateway 5.1.0</title><updated>2026-07-01T00:00:00Z</updated>
<content type="html">&lt;h3&gt;Security&lt;/h3&gt;&lt;ul&gt;&lt;li&gt;Sessions end &amp;amp; stay ended&lt;/li&gt;&lt;/ul&gt;</content></entry>
<entry><title>gateway 5.0.0</title><updated>2026-06-01T00:00:00Z</updated><summary>First</summary></entry>
</feed>
"""


def ask(text: str, running: str, rules: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return advise("a", running, read_feed(text, "feed"), read_rules(rules or []), OURS, command="roll {name} {version}")


@pytest.mark.parametrize(
    ("text", "running", "verdict", "words"),
    [
        (TERSE, "1.74.0", "current", "1.74.0 is current"),
        (TERSE, "v1.75.0", "current", "newer than the feed's newest, 1.74.0"),
        (TERSE, "1.73.0", "convenient", "Bug fixes and performance"),
        (TERSE, "1.72.0", "now", "CVE-2026-1111"),
        (TERSE, "1.71.0", "now", "CVE-2026-1111"),
        (TERSE, "1.73.1", "now", "1.73.1 was withdrawn"),
        (TERSE.replace("CVE-2026-1111", "a certificate"), "1.71.0", "now", "lose connectivity"),
        (TERSE, "latest", "unknown", "'latest' is no version"),
        (BY_PLATFORM, "1.98.1", "convenient", "Peers are shown"),
        (BY_PLATFORM, "1.98.0", "convenient", "removes the deprecated flag"),
        (BY_PLATFORM, "1.96.4", "convenient", "removes the deprecated flag"),
        (BY_PLATFORM.replace("### Windows", "### Linux, Windows"), "1.98.1", "now", "TS-2026-003"),
        (KEEP, "2.0.0", "current", "2.0.0 is current"),
        (KEEP, "1.9.0", "now", "constant time"),
        (KEEP.replace("### Security\n- Tokens", "### Changed\n- Tokens"), "1.8.0", "now", "will stop working"),
        (KEEP.replace("### Security\n- Tokens", "### Changed\n- Tokens"), "1.9.0", "convenient", "`listen` is a list"),
        (FORGE, "3.1.1", "current", "3.1.1 is current"),
        (FORGE, "3.1.0", "convenient", "Container image starts again"),
        (FORGE, "3.0.0", "now", "GHSA-aaaa-bbbb-cccc"),
        (ATOM, "5.0.0", "now", "Sessions end & stay ended"),
        (ATOM, "5.1.0", "current", "5.1.0 is current"),
    ],
)
def test_verdicts_and_what_decides(text: str, running: str, verdict: str, words: str) -> None:
    advice = ask(text, running)
    assert advice["verdict"] == verdict
    assert words in tell(advice)
    assert bool(advice["command"]) == (verdict in ("now", "convenient"))


def test_only_other_platforms_means_nothing_to_do() -> None:
    text = "## 2.1\n### Windows\n- CVE-2026-2 is closed\n### Android\n- New icons\n## 2.0\n- first\n"
    advice = ask(text, "2.0")
    assert advice["verdict"] == "current"
    assert "all of it is about platforms that do not run here" in advice["reason"]


def test_what_is_told() -> None:
    advice = ask(KEEP, "1.8.0")
    assert advice["entry"] == {
        "version": "2.0.0",
        "date": "2026-05-01",
        "section": "Security",
        "text": "Tokens are compared in constant time",
        "rule": "security section",
    }
    assert [entry["text"] for entry in advice["breaking"]] == ["The setting `listen` is a list"]
    assert advice["command"] == "roll a 2.0.0"
    assert tell(advice) == (
        'a 1.8.0: UPDATE NOW, 2.0.0 closes a security hole: "Tokens are compared in constant time"'
        "; 1 breaking to read first; run: roll a 2.0.0"
    )
    assert not advice["incomplete"]
    assert ask(TERSE, "1.60.0")["incomplete"]


def test_rules_of_the_users_go_first() -> None:
    rules = [{"name": "noise", "match": "performance improvements", "verdict": "current", "reason": "is noise"}]
    assert ask(TERSE, "1.73.0", rules)["verdict"] == "current"
    rules = [{"match": "relays|gauge", "section": "", "verdict": "now", "reason": "is about relays"}]
    assert ask(BY_PLATFORM, "1.98.1", [{"section": "all platforms", "verdict": "now"}])["verdict"] == "now"
    assert (
        ask(TERSE.replace("## 1.73.1 - 2026-02-20 [YANKED]", "## 1.73.1"), "1.73.0", rules)["reason"]
        == "1.73.1 is about relays"
    )


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"verdict": "now", "match": "("}, "rule 1 .* match is no regular expression"),
        ({"verdict": "soon", "match": "x"}, "rule 1 .* must have a verdict"),
        ({"verdict": "now"}, "rule 1 .* fits everything"),
        ({"verdict": "now", "match": "x", "mtach": "y"}, "has mtach, which no rule has"),
        ({"verdict": "now", "match": "x", "platform": "mine"}, "must have one of any, ours, others"),
    ],
)
def test_rules_that_are_none(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(ReleaseError, match=words):
        read_rules([rule])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing here", "no release is found in feed"),
        ("[}", "feed is not JSON"),
        ("<feed", "feed is not XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><feed/>', "can fill the memory"),
        ("[]", "no release is found"),
        ('"text"', "no release is found"),
    ],
)
def test_feeds_that_are_none(text: str, words: str) -> None:
    with pytest.raises(ReleaseError, match=words):
        read_feed(text, "feed")


def test_the_forms_of_a_feed() -> None:
    (first, *rest) = read_feed(TERSE, "feed")
    assert (str(first.version), first.date) == ("1.74.0", "2026-03-02")
    assert [str(release.version) for release in rest] == ["1.73.1", "1.73.0", "1.72.0", "1.71.0"], (
        "no release candidate"
    )
    assert rest[0].withdrawn
    assert len(rest[2].entries) == 2, "a bullet goes on over a line"
    assert "after a network change" in rest[2].entries[0].text
    by_platform = read_feed(BY_PLATFORM, "feed")
    assert [str(release.version) for release in by_platform] == ["1.98.2", "1.98.1", "1.98.0"]
    assert by_platform[0].entries[1] == Entry(
        "Windows / Fixed", "TS-2026-003: the local service no longer lets other users change its preferences"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("connector v1.72.0", "1.72.0"),
        ("1.2", "1.2"),
        ("[1.2.3] - 2026-01-02", "1.2.3"),
        ("v1.2.3-rc.1", "1.2.3-rc.1"),
        ("Release 2026-01-02", None),
        ("v2", None),
        ("no version", None),
    ],
)
def test_versions_in_headings(text: str, expected: str | None) -> None:
    found = Version.find(text)
    assert (str(found) if found else None) == expected


def test_versions_are_in_order() -> None:
    texts = ["1.2", "1.9.0", "1.10.0-beta1", "1.10.0-rc1", "1.10.0", "1.10.1", "2.0.0"]
    versions = [Version.find(text) for text in texts]
    assert versions == sorted(versions)  # type: ignore[type-var]
    assert Version.find("1.2") == Version.find("v1.2.0")


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        read_feed(text, "feed")
    except ReleaseError:
        return


def test_worst() -> None:
    assert worst(["current", "convenient", "unknown"]) == "unknown"
    assert worst(["now", "unknown"]) == "now"
    assert worst([]) == "current"
    assert len({rule.name for rule in RULES}) == len(RULES)
