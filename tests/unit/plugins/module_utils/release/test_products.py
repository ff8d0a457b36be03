# SPDX-License-Identifier: GPL-3.0-or-later
"""Release advice on texts in the forms in which five vendors write theirs. The texts are made up; their shapes are not."""

from __future__ import annotations

import html
import json
import time
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.release.advise import advise, tell
from ansible_collections.boring.fleet.plugins.module_utils.release.feed import read_feed
from ansible_collections.boring.fleet.plugins.module_utils.release.headings import headings_of, releases_of
from ansible_collections.boring.fleet.plugins.module_utils.release.model import ReleaseError, Version
from ansible_collections.boring.fleet.plugins.module_utils.release.products import PRODUCTS, product_of
from ansible_collections.boring.fleet.plugins.module_utils.release.rules import Platforms, read_rules

OURS = Platforms(("linux", "debian", "systemd", "amd64", "x86_64", "container", "docker"))


def ask(text: str, running: str, product: str = "", feed: str = "feed") -> dict[str, Any]:
    releases = read_feed(text, feed)
    return advise(
        "a",
        running,
        releases,
        read_rules([]),
        OURS,
        command="roll {version}",
        product=product_of(product, feed, releases),
    )


def versions(text: str) -> list[str]:
    return [str(release.version) for release in read_feed(text, "feed")]


# --- Redis: a legend, headings between two lines, underlined headings inside, an urgency -----------------------------------

LINE = "=" * 80
REDIS = f"""\
Redis 7.2 release notes
=======================

{"-" * 80}
Upgrade urgency levels:

LOW:      No need to upgrade unless there are new features you want to use.
MODERATE: Program an upgrade of the server, but it's not urgent.
HIGH:     There is a critical bug that may affect a subset of users. Upgrade!
CRITICAL: There is a critical bug affecting MOST USERS. Upgrade ASAP.
SECURITY: There are security fixes in the release.
{"-" * 80}


{LINE}
Redis 7.2.9 Released Mon Sep 7 20:00:00 IST 2026
{LINE}

Upgrade urgency: LOW, no need to hurry.

Bug Fixes
=========

* Replies to a made-up command have a dot at their end (#1)

{LINE}
Redis 7.2.8 Released Tue Aug 4 12:00:00 IST 2026
{LINE}

Upgrade urgency: MODERATE, specifically if you're using a previous release of
Redis 7.2.

Bug Fixes
=========

* Fix a hang on Linux when a made-up file is a pipe (#2)
* Fix a crash when a made-up list is empty (#3)

Fixes for issues in previous releases of Redis 7.2
--------------------------------------------------

* Fix a memory leak in a made-up command (#4)

Redis 7.2 improvements
======================

* Faster made-up command

{LINE}
Redis 7.2.7     Released Wed Jul 1 12:00:00 IST 2026
{LINE}

Upgrade urgency HIGH: A made-up replica
                      may stop. Upgrade soon.

{LINE}
Redis 7.2.6 Released Mon Jun 1 12:00:00 IST 2026
{LINE}

Upgrade urgency: SECURITY, contains fixes to security issues.

Security Fixes:
* (CVE-2026-90001) A made-up script may write past the end of a made-up buffer.
  The problem affects Redis versions 7.2.0 or newer
  [reported by nobody].

{LINE}
Redis 7.2.5 Released Fri May 1 12:00:00 IST 2026
{LINE}

Upgrade urgency: CRITICAL if you use streams. LOW otherwise.

{LINE}
Redis 7.2.0 GA  Released Wed Apr 1 12:00:00 IST 2026
{LINE}

Upgrade urgency LOW: This is the first stable release of Redis 7.2.

{LINE}
Redis 7.2 RC3   Released Tue Mar 3 12:00:00 IST 2026
{LINE}

Upgrade urgency LOW: This is another Release Candidate of Redis 7.2.
"""


def test_redis_a_legend_and_underlined_headings_are_no_releases() -> None:
    assert versions(REDIS) == ["7.2.9", "7.2.8", "7.2.7", "7.2.6", "7.2.5", "7.2.0"]
    second = read_feed(REDIS, "feed")[1]
    assert second.date == "Aug 4 12:00:00 IST 2026"
    assert [(entry.section, entry.text[:20]) for entry in second.entries] == [
        ("", "Upgrade urgency: MOD"),
        ("Bug Fixes", "Fix a hang on Linux "),
        ("Bug Fixes", "Fix a crash when a m"),
        ("Bug Fixes / Fixes for issues in previous releases of Redis 7.2", "Fix a memory leak in"),
        ("Redis 7.2 improvements", "Faster made-up comma"),
    ]


@pytest.mark.parametrize("product", ["", "redis"])
@pytest.mark.parametrize(
    ("running", "verdict", "reason", "sentence"),
    [
        ("7.2.9", "current", "7.2.9 is current", ""),
        ("7.2.8", "convenient", "7.2.9 is of low urgency", "Upgrade urgency: LOW, no need to hurry."),
        ("7.2.7", "convenient", "7.2.8 is of moderate urgency", "Upgrade urgency: MODERATE"),
        ("7.2.6", "now", "7.2.7 is of high urgency", "Upgrade urgency HIGH: A made-up replica may stop."),
        ("7.2.5", "now", "7.2.6 closes a security hole", "Upgrade urgency: SECURITY, contains fixes to security issues."),
        ("7.2.0", "now", "7.2.5 is critical", "Upgrade urgency: CRITICAL if you use streams."),
        ("7.0.15", "now", "7.2.5 is critical", "Upgrade urgency: CRITICAL"),
    ],
)  # fmt: skip
def test_redis_urgency(product: str, running: str, verdict: str, reason: str, sentence: str) -> None:
    advice = ask(REDIS, running, product)
    assert (advice["verdict"], advice["latest"]) == (verdict, "7.2.9")
    assert reason in advice["reason"]
    assert sentence in advice["sentence"]
    assert advice["command"] == ("roll 7.2.9" if verdict != "current" else "")


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("Upgrade urgency: HIGH", "now"),
        ("Upgrade urgency HIGH: Several potentially critical bugs fixed.", "now"),
        ("Upgrade urgency: `SECURITY`: There are security fixes in the release.", "now"),
        ("Update urgency: `HIGH`: There is a bug that may affect a subset of users.", "now"),
        ("**Upgrade urgency:** CRITICAL", "now"),
        ("**Upgrade urgency: SECURITY**", "now"),
        ("### Upgrade urgency: HIGH", "now"),
        ("UPGRADE URGENCY: CRITICAL", "now"),
        ("upgrade urgency: critical", "now"),
        ("Upgrade urgency: URGENT if you use made-up lists.", "now"),
        ("Upgrade urgency: LOW, but HIGH if you use made-up lists.", "now"),
        ("Upgrade urgency: LOW. HIGH if you use made-up lists.", "now"),
        ("Severity: Critical", "now"),
        ("Severity: low", "convenient"),
        ("Upgrade urgency: MODERATE.", "convenient"),
        ("Upgrade urgency MODERATE: fixes a crash on Linux that is critical to nobody.", "convenient"),
        ("Upgrade urgency: LOW: it is not urgent.", "convenient"),
    ],
)
def test_redis_forms_of_the_urgency(line: str, verdict: str) -> None:
    for head in (
        "## 8.0.1 (2026-02-01)",
        "8.0.1 Released Sun 1 Feb 2026 12:00:00 IST\n=====",
        "## Redis 8.0.1 (February 2026)",
    ):
        advice = ask(f"{head}\n\n{line}\n\n### Bug fixes\n- Fix a crash on Linux\n\n## 8.0.0 (2026-01-01)\n", "8.0.0")
        assert advice["verdict"] == verdict, head


def test_redis_old_form_with_one_kind_of_line() -> None:
    text = REDIS.replace(f"\n{LINE}\nRedis", "\nRedis")
    assert versions(text) == ["7.2.9", "7.2.8", "7.2.7", "7.2.6", "7.2.5", "7.2.0"]
    assert ask(text, "7.2.6")["verdict"] == "now"


@pytest.mark.parametrize(
    ("urgency", "left", "verdict"),
    [
        ("SECURITY, there are security fixes", "* Faster made-up command", "convenient"),
        ("SECURITY, there are security fixes", "* (CVE-2026-90099) Another made-up hole", "now"),
        ("HIGH, a made-up replica may stop", "* Fix a made-up number", "now"),
        ("HIGH, a made-up replica may stop", "* Faster made-up command", "convenient"),
    ],
)
def test_redis_an_urgency_of_what_another_branch_has_already(urgency: str, left: str, verdict: str) -> None:
    hole = "* (CVE-2026-90001) A made-up script may write past the end of a made-up buffer.\n"
    text = (
        f"## 7.4.2 (2026-06-02)\n\nUpgrade urgency: {urgency}\n\nFixes:\n{hole}{left}\n\n"
        f"## 7.2.6 (2026-06-01)\n\nUpgrade urgency: SECURITY\n\nFixes:\n{hole}\n"
    )
    assert ask(text, "7.2.6")["verdict"] == verdict


def test_redis_a_hole_of_later_versions_only_is_no_reason() -> None:
    text = REDIS.replace("Redis 7.2.5 Released", "Redis 6.2.22 Released").replace("7.2.0 or newer", "7.0.0 or newer")
    advice = ask(text.replace("SECURITY, contains fixes to security issues.", "LOW."), "6.2.22")
    assert "CVE" not in tell(advice)
    assert ask(text.replace("SECURITY, contains fixes to security issues.", "LOW."), "7.0.15")["verdict"] == "now"


# --- NATS: releases of a forge, several branches at a time ------------------------------------------------------------------

GUIDE = "## Changelog\r\n\r\nRefer to the 2.11 Upgrade Guide for backwards compatibility notes with 2.10.x.\r\n\r\n"
TAIL = "\r\n\r\n### Complete Changes\r\n\r\nhttps://forge.test/compare/a...b\r\n"
HOLE = "### CVEs\r\n\r\n- CVE-2026-90002 - A made-up account can read the made-up stream of another\r\n\r\n"
NATS = {
    "v2.12.0": ("2026-05-01", "### Go Version\r\n- 1.27.0\r\n\r\n### Added\r\n\r\nJetStream\r\n- A made-up option\r\n"),
    "v2.11.2": ("2026-04-10", "### Fixed\r\n\r\nMonitoring\r\n\r\n- A made-up number is right (#10)\r\n"),
    "v2.11.1": ("2026-04-01", HOLE + "### Go Version\r\n\r\n- 1.26.1\r\n\r\n### Fixed\r\n\r\nJetStream\r\n\r\n- Fix a made-up panic (#11)\r\n"),
    "v2.10.28": ("2026-04-11", "### Fixed\r\n\r\nJetStream\r\n- Fix another made-up panic (#12)\r\n"),
    "v2.10.27": ("2026-04-01", HOLE + "### Fixed\r\n\r\nJetStream\r\n- Fix a made-up panic (#13)\r\n"),
    "v2.11.0": ("2026-03-01", "### Added\r\n- The made-up consumer can be paused\r\n"),
    "v2.10.26": ("2026-02-01", "### CVEs\r\n\r\n- None\r\n\r\n### Fixed\r\n- Fix a made-up word\r\n"),
}  # fmt: skip


def forge(releases: dict[str, tuple[str, str]]) -> str:
    return json.dumps(
        [
            {
                "id": 123456789,
                "tag_name": tag,
                "name": f"Release {tag}",
                "draft": False,
                "prerelease": "-" in tag,
                "published_at": f"{date}T10:00:00Z",
                "body": GUIDE + body + TAIL,
            }
            for tag, (date, body) in releases.items()
        ]
    )


def atom(releases: dict[str, tuple[str, str]], prefix: str = "Release ") -> str:
    entries = ""
    for tag, (date, body) in releases.items():
        markup = "".join(
            f"<h3>{line[4:]}</h3>"
            if line.startswith("### ")
            else f"<ul>\n<li>{html.escape(line[2:])}</li>\n</ul>"
            if line.startswith("- ")
            else f"<p>{html.escape(line)}</p>"
            for line in body.splitlines()
        )
        entries += (
            f"<entry><id>tag:forge.test,2008:Repository/1/{tag}</id><updated>{date}T10:00:00Z</updated>"
            f'<link rel="alternate" href="https://forge.test/x/releases/tag/{tag}"/><title>{prefix}{tag}</title>'
            f'<content type="html">{html.escape(markup)}</content></entry>'
        )
    return f'<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>Release notes</title>{entries}</feed>'


def markdown(releases: dict[str, tuple[str, str]], prefix: str = "") -> str:
    return "# NATS Server 2\n\n" + "".join(
        f"## {prefix}{tag} ({date})\n\n{body.replace('### ', '#### ')}\n" for tag, (date, body) in releases.items()
    )


@pytest.mark.parametrize("product", ["", "nats"])
@pytest.mark.parametrize("form", [forge, atom, markdown])
@pytest.mark.parametrize(
    ("running", "verdict", "command", "words"),
    [
        ("2.12.0", "current", "", "2.12.0 is current"),
        ("2.11.2", "convenient", "roll 2.12.0", "2.12.0"),
        ("2.11.1", "convenient", "roll 2.11.2", "2.11.2 is newer"),
        ("2.11.0", "now", "roll 2.11.2", "2.11.1 closes a security hole"),
        ("2.10.28", "convenient", "roll 2.12.0", "2.12.0"),
        ("2.10.27", "convenient", "roll 2.10.28", "2.10.28 mends a severe fault"),
        ("2.10.26", "now", "roll 2.10.28", "2.10.27 closes a security hole"),
        ("2.9.25", "now", "roll 2.12.0", "closes a security hole"),
        ("2.10.27-1~bpo13+1", "convenient", "roll 2.10.28", "2.10.28"),
    ],
)
def test_nats_branches(form: Any, product: str, *, running: str, verdict: str, command: str, words: str) -> None:
    advice = ask(form(NATS), running, product)
    assert (advice["verdict"], advice["command"]) == (verdict, command)
    assert words in tell(advice)
    if verdict == "now":
        assert advice["sentence"] == "CVE-2026-90002 - A made-up account can read the made-up stream of another"


def test_nats_the_newest_of_the_branch_is_offered_first_and_the_newest_of_all_is_named() -> None:
    advice = ask(forge(NATS), "2.10.26")
    assert (advice["offered"], advice["latest"]) == ("2.10.28", "2.12.0")
    assert "2.10.28 is the newest of its branch, 2.12.0 of all" in tell(advice)


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        ("Warnings for CVE-2026-90003 are addressed, although the made-up server is therefore not vulnerable", "convenient"),
        ("Warnings for CVE-2026-90003 are silenced: the server does not use the affected function", "convenient"),
        ("CVE-2026-90003: a message stops the server; versions before 2.9 are not affected", "now"),
        ("CVE-2026-90003: a message stops the server. Releases up to 2.9 are unaffected.", "now"),
        ("No security fixes in this release", "convenient"),
        ("This release does not contain any security fixes", "convenient"),
        ("This is a release without security updates", "convenient"),
        ("The server isn't vulnerable to CVE-2026-90003", "convenient"),
        ("Tokens were not compared in constant time; this closes a vulnerability", "now"),
        ("Fixed a possible loss of data: a restart may lose messages", "now"),
        ("Fix a made-up regression introduced in 2.10.27 that stops the server (CVE-2026-90004)", "convenient"),
        ("This release fixes a critical bug in the made-up store. All users should upgrade immediately.", "now"),
        ("[Critical] A made-up store is written twice", "now"),
        ("A fix that is critical to nobody", "convenient"),
        ("A time window counts windows of a minute; CVE-2026-90005", "now"),
    ],
)  # fmt: skip
def test_nats_what_an_entry_says(entry: str, verdict: str) -> None:
    releases = {
        "v2.11.1": ("2026-04-01", f"### Fixed\r\n- {entry}\r\n- Another word\r\n"),
        "v2.10.26": NATS["v2.10.26"],
    }
    assert ask(forge(releases), "2.10.26", "nats")["verdict"] == verdict


@pytest.mark.parametrize(
    ("running", "verdict"),
    [("2.10.26", "now"), ("2.10.27", "current"), ("2.9.25", "now"), ("2.11.0", "now"), ("2.11.1", "current")],
)
def test_nats_a_hole_whose_text_names_the_versions_that_mend_it(running: str, verdict: str) -> None:
    """The feed's first page may not reach back to the release of the branch that mended it."""
    text = "This release contains fixes for CVE-2026-90007, a CRITICAL severity vulnerability affecting all versions from v2.2.0, prior to v2.11.1 or v2.10.27."
    assert ask(forge({"v2.11.1": ("2026-04-01", f"### CVEs\r\n- {text}\r\n")}), running)["verdict"] == verdict


def test_nats_nested_lists_of_its_older_notes() -> None:
    text = "## v2.7.3\n\n### Fixed\n\n- JetStream:\n    - Fix a made-up panic (#1)\n- Windows:\n    - CVE-2026-90006 in the service\n\n## v2.7.2\n- x\n"
    first = read_feed(text, "feed")[0]
    assert [(entry.section, entry.text) for entry in first.entries] == [
        ("Fixed / JetStream", "Fix a made-up panic (#1)"),
        ("Fixed / Windows", "CVE-2026-90006 in the service"),
    ]
    assert ask(text, "2.7.2")["verdict"] == "convenient"


# --- Tailscale: headings of platforms, a rollout that was paused --------------------------------------------------------------

TAILSCALE = {
    "v1.98.3": (
        "2026-06-20",
        "NOTE 21-Jun-2026: rollout of 1.98.3 has been paused while we investigate reports of a problem.\n\n"
        "### All platforms\n- Made-up relays are faster\n",
    ),
    "v1.98.2": (
        "2026-06-10",
        "### Windows\n- TS-2026-901: the made-up service no longer lets others in\n\n### macOS\n- Fixed: the made-up menu may crash\n",
    ),
    "v1.98.1": (
        "2026-06-05",
        "This release is exclusively for Windows. It is not available for other platforms.\n\n- Fixed a crash\n",
    ),
    "v1.98.0": (
        "2026-06-01",
        "### All platforms\n- A made-up client checks its peers, a mitigation for what TS-2026-900 describes\n",
    ),
    "v1.96.5": ("2026-05-01", "### Linux\n- Fixed: made-up rules are in order again\n"),
}


@pytest.mark.parametrize("product", ["", "tailscale"])
@pytest.mark.parametrize("form", [forge, atom, markdown])
@pytest.mark.parametrize(
    ("running", "verdict", "command", "words"),
    [
        ("1.98.3", "now", "roll 1.98.2", "1.98.3 was withdrawn, and nothing newer stands"),
        ("1.98.2", "current", "", "1.98.3 was withdrawn"),
        ("1.98.0", "current", "", "all of it is about platforms that do not run here"),
        ("1.96.5", "now", "roll 1.98.2", "TS-2026-900"),
    ],
)
def test_tailscale(form: Any, product: str, *, running: str, verdict: str, command: str, words: str) -> None:
    releases = {**TAILSCALE, "v1.96.4": ("2026-04-20", "### Linux\n- x\n")} if form is not markdown else TAILSCALE
    advice = ask(form(releases), running, product)
    assert (advice["verdict"], advice["command"], advice["latest"]) == (verdict, command, "1.98.2")
    assert words in tell(advice)


def test_tailscale_days_above_the_versions() -> None:
    text = (
        "June 20, 2026\n-------------\n\nv1.98.4\n=======\n\n### Linux\n\n**Fixed**:\n\n* Made-up rules\n\n"
        "June 10, 2026\n-------------\n\nv1.98.2\n=======\n\n### Windows\n\n* CVE-2026-90007\n"
    )
    releases = read_feed(text, "feed")
    assert [(str(one.version), one.date, len(one.entries)) for one in releases] == [
        ("1.98.4", "June 20, 2026", 1),
        ("1.98.2", "June 10, 2026", 1),
    ]
    assert releases[0].entries[0].section == "Linux / Fixed"


def test_rss_with_other_programs_of_the_vendor() -> None:
    items = "".join(
        f"<item><title>{title}</title><link>https://vendor.test/{number}</link><pubDate>Mon, 0{number} Jun 2026 10:00:00 GMT</pubDate>"
        f"<description>{html.escape(text)}</description></item>"
        for number, (title, text) in enumerate(
            [
                ("Tailscale Kubernetes Operator v1.99.9", "<h3>All platforms</h3><ul><li>CVE-2026-90008</li></ul>"),
                ("Tailscale v1.98.4", "<h3>Linux</h3><h4>Fixed</h4><ul><li>Made-up rules</li></ul>"),
                ("Tailscale v1.98.2", "<p>x</p>"),
            ],
            1,
        )
    )
    feed = f'<rss version="2.0"><channel><title>Changelog</title>{items}</channel></rss>'
    advice = ask(feed, "1.98.2")
    assert (advice["verdict"], advice["latest"], advice["entry"]["date"]) == ("convenient", "1.98.4", "02 Jun 2026")


@pytest.mark.parametrize(
    "words",
    [
        "NOTE 21-Jan-2026: rollout of 2.0.2 has been paused while we investigate.",
        "This release was pulled because of a made-up regression.",
        "This release has been withdrawn, use 2.0.3 when it is there.",
        "This version was temporarily removed from the download page.",
        "We have paused the rollout of this version.",
        "We've pulled this release.",
        "Do not use this release: it loses made-up messages.",
        "**DO NOT INSTALL 2.0.2**",
        "**WITHDRAWN**",
        "Yanked: see 2.0.3.",
        "2.0.2 was recalled.",
        "Version 2.0.2 has been retracted due to a problem. A fix for Linux will follow.",
        "Please do not upgrade to this version.",
        "> The rollout is currently paused.",
        "Rollout paused: reports of a made-up problem.",
        "The rollout of this version was temporarily halted.",
        "Withdrawn on 22 January because of a made-up regression.",
        "UPDATE 22-Jan: this release (2.0.2) has now been pulled.",
    ],
)
def test_a_release_that_was_taken_back_is_never_recommended(words: str) -> None:
    text = f"## 2.0.2 (2026-01-20)\n\n{words}\n\n- CVE-2026-90009 is closed\n\n## 2.0.1 (2026-01-10)\n- y\n\n## 2.0.0 (2026-01-01)\n- x\n"
    advice = ask(text, "2.0.0")
    assert (advice["verdict"], advice["latest"], advice["command"]) == ("convenient", "2.0.1", "roll 2.0.1")
    assert ask(text, "2.0.2")["verdict"] == "now"
    assert ask(text, "2.0.2")["sentence"]
    assert ask(text, "2.0.1")["verdict"] == "current"


@pytest.mark.parametrize(
    "words",
    [
        "A made-up consumer can be paused.",
        "In this release a made-up consumer is paused when its stream is.",
        "In this release the made-up default was rolled back to 4.",
        "Fixed: in 2.0.2 clients consumers were paused for ever.",
        "Connectors on 2.0.2 clients were suspended when the laptop was.",
        "Fixed: nodes that have pulled the image twice.",
        "The rollout was paused on Monday and has been resumed on Tuesday.",
        "This release replaces 1.9.9, which was pulled.",
        "1.9.9 was withdrawn, this is the same with a fix.",
        "The made-up rollout is no longer paused.",
        "Automatic retries are suspended while a made-up peer is away.",
        "This release was not withdrawn.",
    ],
)
def test_what_takes_no_release_back(words: str) -> None:
    text = f"## 2.0.2 (2026-01-20)\n\n{words}\n\n- CVE-2026-90009 is closed\n\n## 1.9.9 (2026-01-12)\n- z\n\n## 1.9.8 (2026-01-01)\n- x\n"
    advice = ask(text, "1.9.8")
    assert (advice["verdict"], advice["latest"]) == ("now", "2.0.2")


def test_a_release_that_a_later_one_takes_back() -> None:
    text = "## 2.0.2 (2026-01-20)\n- This release replaces 2.0.1, which was pulled.\n\n## 2.0.1 (2026-01-12)\n- z\n\n## 2.0.0 (2026-01-01)\n- x\n"
    assert [bool(release.withdrawn) for release in read_feed(text, "feed")] == [False, True, False]


@pytest.mark.parametrize(
    ("title", "withdrawn"),
    [
        ("2.0.2 [YANKED]", True),
        ("2.0.2 (2026-01-02) [yanked]", True),
        ("2.0.2 (withdrawn on 2026-01-03)", True),
        ("2.0.2 - pulled", True),
        ("~~2.0.2~~", True),
        ("2.0.2 - consumers can be paused", False),
        ("2.0.2 - Paused consumers", False),
    ],
)
def test_titles_that_take_a_release_back(title: str, withdrawn: bool) -> None:
    (release,) = read_feed(f"## {title}\n- x\n", "feed")
    assert bool(release.withdrawn) == withdrawn


def test_nothing_is_recommended_where_all_was_taken_back() -> None:
    text = "## 2.0.2 [YANKED]\n- a\n\n## 2.0.1 (pulled)\n- b\n"
    for running in ("2.0.0", "2.0.1", "2.0.2"):
        advice = ask(text, running)
        assert (advice["latest"], advice["command"]) == ("", "")
    assert ask(text, "2.0.0")["verdict"] == "current"
    assert ask(text, "2.0.1")["verdict"] == "now"


# --- NVIDIA: a branch has one number, and notes list what is still wrong ----------------------------------------------------

NVIDIA = """\
# Version 580.95.05(Linux)/581.42(Windows)

## 1. Version Highlights

- Linux driver release date: 09/30/2026
- Windows driver release date: 09/30/2026

### 1.1. Software Versions

- CUDA Toolkit 13: 13.0.2

### 1.2. Fixed Issues

- Fixed a made-up issue where training gave incorrect results after a reset. [5000001]

### 1.3. Known Issues

- On made-up boards a crash under Linux is seen with MIG, see CVE-2020-90001.

# Version 550.163.02(Linux)/553.75(Windows)

### 1.2. Fixed Issues

- This made-up release has security updates. See NVIDIA's Security Bulletin. [5000002]

# Version 550.163.01(Linux)/553.74(Windows)

- Linux driver release date: 04/17/2026

### 1.2. Fixed Issues

- Windows: fixed a made-up blue screen, CVE-2026-90010. [5000003]

### 1.3. Known Issues

- A made-up host may crash on Linux.

# Version 550.144.03(Linux)/553.62(Windows)

- Linux driver release date: 01/16/2026
"""


@pytest.mark.parametrize("product", ["", "nvidia"])
@pytest.mark.parametrize(
    ("running", "verdict", "command", "words"),
    [
        ("580.95.05", "current", "", "580.95.05 is current"),
        ("550.163.02", "now", "roll 580.95.05", "580.95.05 mends what gives wrong results"),
        ("550.163.01", "now", "roll 580.95.05", "550.163.02 closes a security hole"),
        ("575.1.02", "now", "roll 580.95.05", "580.95.05 mends what gives wrong results"),
    ],
)
def test_nvidia(product: str, running: str, verdict: str, command: str, words: str) -> None:
    advice = ask(NVIDIA, running, product)
    assert (advice["verdict"], advice["command"]) == (verdict, command)
    assert words in tell(advice)
    assert "CVE-2020" not in tell(advice)


def test_nvidia_a_heading_that_names_linux_makes_no_fix_urgent() -> None:
    text = "# Version 550.163.02 (Linux)\n\n## 1.2. Fixed Issues\n\n- Fixed a made-up hang at the end of a job. [1]\n\n# Version 550.163.01 (Linux)\n- x\n"
    assert ask(text, "550.163.01")["verdict"] == "convenient"


def test_nvidia_branches_and_windows_and_zeros() -> None:
    text = NVIDIA[NVIDIA.index("# Version 550.163.02") :]
    assert versions(text) == ["550.163.02", "550.163.01", "550.144.03"]
    assert [release.date for release in read_feed(text, "feed")] == ["", "04/17/2026", "01/16/2026"]
    assert ask(text, "550.144.03")["command"] == "roll 550.163.02"
    only = text[text.index("# Version 550.163.01") :]
    advice = ask(only, "550.144.03")
    assert (advice["verdict"], advice["reason"]) == (
        "current",
        "550.163.01 is newer, but all of it is about platforms that do not run here",
    )


# --- Twingate: short entries, clients for many systems beside the connector ------------------------------------------------

TWINGATE = """\
## Connector 1.74.0 (March 2, 2026)
Bug fixes and performance improvements.

## Windows Client 2026.61 (March 1, 2026)
- Security: CVE-2026-90011

## Connector 1.73.0 (February 10, 2026)
- Updated made-up library to a version with security patches

## Linux Client 2026.30 (February 1, 2026)
- A made-up icon

## Connector 1.72.0 (January 15, 2026)
- Fixed an issue where the Connector would stop responding after a made-up change of the network

## Connector 1.71.0 (January 2, 2026)
- Improvements
"""


@pytest.mark.parametrize("product", ["", "twingate"])
@pytest.mark.parametrize(
    ("running", "verdict", "words"),
    [
        ("1.74.0", "current", "1.74.0 is current"),
        ("1.73.0", "convenient", "1.74.0 is newer"),
        ("1.72.0", "now", "1.73.0 closes a security hole"),
        ("1.71.0", "now", "1.7"),
    ],
)
def test_twingate(product: str, running: str, verdict: str, words: str) -> None:
    advice = ask(TWINGATE, running, product)
    assert (advice["verdict"], advice["latest"]) == (verdict, "1.74.0")
    assert words in tell(advice)
    lost = ask(TWINGATE.replace("with security patches", ""), "1.71.0", product)
    assert (lost["verdict"], "stop responding" in lost["sentence"]) == ("now", True)


# --- Platforms ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        ("CVE-2026-90012 on Windows", "current"),
        ("CVE-2026-90012 (Windows only; Linux is not affected)", "current"),
        ("[macOS] CVE-2026-90012", "current"),
        ("Windows and macOS: CVE-2026-90012", "current"),
        ("FreeBSD: CVE-2026-90012", "current"),
        ("CVE-2026-90012 in the iOS and Android apps", "current"),
        ("CVE-2026-90012 does not affect Linux", "current"),
        ("CVE-2026-90012 on Windows and Linux", "now"),
        ("CVE-2026-90012 in what sliding windows count", "now"),
        ("CVE-2026-90012", "now"),
    ],
)
def test_entries_about_other_platforms(entry: str, verdict: str) -> None:
    assert ask(f"## 2.1 (2026-02-01)\n- {entry}\n\n## 2.0 (2026-01-01)\n- x\n", "2.0")["verdict"] == verdict


@pytest.mark.parametrize(
    ("notes", "verdict"),
    [
        ("### Windows\n- CVE-2026-1234: also for the Linux subsystem", "current"),
        ("### Linux\n- CVE-2026-1234, as on Windows before", "now"),
        ("### All platforms\n- CVE-2026-1234", "now"),
        ("**Windows**\n\n- CVE-2026-1234\n\n**Linux**\n\n- A word", "convenient"),
        ("Windows:\n- CVE-2026-1234\n\nLinux:\n- A word", "convenient"),
        ("### Security\n\n#### macOS\n- CVE-2026-1234", "current"),
        ("### Security\n- A made-up token is longer", "now"),
        ("### Security fixes\n\nNone.", "convenient"),
        ("Security Fixes:\n* (CVE-2026-1234) x", "now"),
        ("### Bug fixes\n- A word\n\n### CVEs\n- CVE-2026-1234\n- CVE-2026-1235", "now"),
        ("Full Changelog: https://forge.test/compare/1...2", "convenient"),
        ("", "convenient"),
        ("```\n# 3.0 (2026-03-01)\nCVE\n```\n- A word", "convenient"),
        ("### Windows\n- A word\n\n**Full Changelog**: https://forge.test/compare/1...2", "current"),
    ],
)
def test_sections_and_their_platforms(notes: str, verdict: str) -> None:
    advice = ask(f"## 2.1.0 (2026-02-01)\n\n{notes}\n\n## 2.0.0 (2026-01-01)\n- x\n", "2.0.0")
    assert (advice["verdict"], advice["latest"]) == (verdict, "2.1.0")


# --- Headings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Gateway 2.1\n\n## 2.1.1 (2026-02-01)\n- a\n\n# Gateway 2.0\n\n## 2.0.5 (2026-01-01)\n- b\n", ["2.1.1", "2.0.5"]),
        ("# [1.3.0](u) (2026-03-01)\n- a\n\n## [1.2.1](u) (2026-02-01)\n- b\n\n# [1.2.0](u) (2026-01-01)\n- c\n", ["1.3.0", "1.2.1", "1.2.0"]),
        ("## 1.1.0\n\n### Go 1.27.1\n- x\n\n### Library 3.2.1\n- y\n\n## 1.0.0\n- z\n", ["1.1.0", "1.0.0"]),
        ("## 1.1.0\n- a\n\n## Upgrading from 1.0.0\n- b\n\n## 1.0.0\n- c\n", ["1.1.0", "1.0.0"]),
        ("## 1.1.0\n- a\n\n## 1.0.0\n", ["1.1.0"]),
        ("## 1.1.0 (unreleased)\n- a\n\n## 1.0.0 (2026-01-01)\n- b\n", ["1.0.0"]),
        ("## What's new in 1.1.0\n- a\n\n## What's new in 1.0.0\n- b\n", ["1.1.0", "1.0.0"]),
        ("## Version 1.1.0 release notes\n- a\n\n## Version 1.0.0 release notes\n- b\n", ["1.1.0", "1.0.0"]),
        ("**1.1.0** \n\n- a\n\n**1.0.0**\n\n- b\n", ["1.1.0", "1.0.0"]),
        ("1.1.0\n-----\n- a\n\n1.0.0\n-----\n- b\n", ["1.1.0", "1.0.0"]),
        ("<!-- newest first -->\n## 1.1.0\n- a\n", ["1.1.0"]),
    ],
)  # fmt: skip
def test_headings_that_begin_a_release(text: str, expected: list[str]) -> None:
    assert versions(text) == expected


def test_a_paragraph_above_a_line_is_no_heading() -> None:
    lines = ["1.1.0", "=====", "- a point for 1.0.0", "---", "", "text", "of 1.0.0", "----", "", "1.0.0", "====="]
    assert [heading.title for heading in headings_of(lines)] == ["1.1.0", "1.0.0"]
    assert len(releases_of(headings_of(lines))) == 2


# --- Large, deep and broken ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "<" * 120_000,
        "<b " * 40_000,
        "# " + " " * 120_000 + "x",
        "#" * 120_000,
        "**" + "a" * 120_000,
        "a/" * 60_000 + " 1.2.3",
        "- " * 60_000,
        "(" * 120_000,
        "CVE-" * 30_000,
        "upgrade urgency: " * 7_000,
        "the release " * 10_000,
        "1." * 60_000,
        "affects all versions " * 6_000,
        "not affected versions " * 6_000,
        "### Windows\n" * 10_000,
        "  - a\n" * 10_000,
        "".join(" " * (number % 40) + "- a b c d e f\n" for number in range(3_000)),
        "connector " * 12_000,
        "&lt;" * 30_000,
        "\n" * 120_000,
    ],
    ids=range(20),
)
def test_time_is_in_proportion_to_the_text(text: str) -> None:
    """What is quadratic takes minutes for one of these; what is linear takes a fraction of a second."""
    head = "<feed xmlns='http://www.w3.org/2005/Atom'><entry><title>1.1.0</title><content type='html'>"
    feeds = [
        f"{head}{html.escape(text)}</content></entry><entry><title>1.0.0</title></entry></feed>",
        f"## 1.1.0 (2026-01-02)\n\n{text}\n\n## 1.0.0 (2026-01-01)\n- x\n",
    ]
    for feed in feeds:
        began = time.process_time()
        advice = ask(feed, "1.0.0")
        assert advice["verdict"] in ("current", "convenient", "now")
        assert time.process_time() - began < 15


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000 + "]" * 100_000, "feed is not JSON that can be read: it is nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ('[{"tag_name": ' + "1" * 5000 + "}]", "no release is found in feed"),
        ('{"message": "API rate limit exceeded"}', "has no releases, but a message: API rate limit exceeded"),
        ("<!DOCTYPE html><html><body>1.2.3</body></html>", "feed is a page for browsers"),
        ("## 1." + "1" * 5000 + "\n- x", "no release is found"),
        ('[{"tag_name": "v1.' + "1" * 5000 + '"}]', "no release is found"),
        ("<feed xmlns='http://www.w3.org/2005/Atom'>" + "<a>" * 100_000, "feed is not XML"),
    ],
)
def test_deep_and_long_feeds_get_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ReleaseError) as error:
        read_feed(text, "feed")
    assert words in str(error.value)
    assert len(str(error.value)) < 400


def test_deep_markup_and_long_numbers_beside_good_releases() -> None:
    deep = "<div xmlns='http://www.w3.org/1999/xhtml'>" + "<p>" * 20_000 + "CVE-2026-90013" + "</p>" * 20_000 + "</div>"
    feed = f"<feed xmlns='http://www.w3.org/2005/Atom'><entry><title>1.1.0</title><content type='xhtml'>{deep}</content></entry></feed>"
    assert ask(feed, "1.0.0")["verdict"] == "now"
    notes = json.dumps([{"tag_name": "1.1.0", "body": "- x"}])[:-2] + ', "id": ' + "9" * 5000 + "}]"
    assert ask(notes, "1.0.0")["verdict"] == "convenient"
    advice = ask(notes, "1." + "9" * 5000)
    assert (advice["verdict"], len(advice["reason"]) < 100) == ("unknown", True)


def test_products_and_how_they_are_found() -> None:
    assert product_of("", "https://api.github.test/repos/nats-io/nats-server/releases", []).name == "nats"
    assert product_of("", "/tmp/redis0/feed.md", []).name == "any"
    assert product_of("", "feed", read_feed(NVIDIA, "feed")).name == "nvidia"
    assert {"redis", "nats", "tailscale", "nvidia", "twingate"} == set(PRODUCTS)
    assert all(product.rules for product in PRODUCTS.values())
    with pytest.raises(ReleaseError, match="no rules for the product 'rediss'; choose from redis, nats"):
        product_of("rediss", "feed", [])


@pytest.mark.parametrize("title", ["8.0-M02", "8.4-RC1", "8.0 RC3", "2.1 (beta)", "2.1.0-preview.2", "2.1 pre-release"])
def test_unfinished_releases_are_none(title: str) -> None:
    assert versions(f"## {title} (2026-02-01)\n- CVE-2026-1234\n\n## 1.0.0 (2026-01-01)\n- x\n") == ["1.0.0"]


def test_versions_are_written_as_their_notes_write_them() -> None:
    assert str(Version.find("Version 550.163.01(Linux)")) == "550.163.01"
    assert Version.find("550.163.01") == Version.find("550.163.1")
