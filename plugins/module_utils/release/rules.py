# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules as data: what an entry says, and how soon that wants an update. The first rule that fits an entry decides for it.

The user's rules go first, then those of a product (`products`), then the general ones here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.release.model import Entry, ReleaseError

VERDICTS: Final = ("current", "convenient", "now")  # in rising urgency
_FIELDS: Final = ("name", "verdict", "match", "section", "unless", "platform", "breaking", "reason")
_PLATFORM_WORDS: Final = ("any", "ours", "others")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+(?=[\"'(*\[]?[A-Z0-9])")


@dataclass(frozen=True)
class Rule:
    """`match`, `section` and `unless` are regular expressions without regard to case over an entry and its headings.

    `match` and `unless` are about one sentence of an entry, so that "Older versions are not affected" denies nothing that
    the sentence before says; a `match` that no sentence has alone is looked for in the whole entry.
    `platform`: `ours` fits entries that name our platform, `others` those that name only other ones, `any` all.
    `weight`: "vendor" is the vendor's own urgency for a whole release, which no plain rule exceeds; "fixed" exceeds it.
    """

    name: str
    verdict: str
    reason: str
    match: str = ""
    section: str = ""
    unless: str = ""
    platform: str = "any"
    breaking: bool = False
    weight: str = ""

    def fits(self, entry: Entry, about: str) -> str:
        """The sentence of this entry that the rule is for, "" if none is; `about` says whose platform the entry names."""
        if self.platform not in ("any", about) or not _has(self.section, entry.section):
            return ""
        parts = sentences(entry.text)
        own = [part for part in parts if _has(self.match, part)]
        if not own and _has(self.match, f"{entry.section}\n{entry.text}"):
            own = parts if _has(self.match, entry.section) else [entry.text]
        return next((part for part in own if not (self.unless and _has(self.unless, f"{entry.section}\n{part}"))), "")


def sentences(text: str) -> list[str]:
    """The sentences of an entry, near enough: a dot, a space and a capital letter."""
    return [part for part in _SENTENCE_END.split(text) if part]


def _has(pattern: str, text: str) -> bool:
    return not pattern or re.search(pattern, text, re.IGNORECASE) is not None


# What says that there is no hole. That other versions have none is no denial.
_DENIED: Final = (
    r"\bno (?:known |new )?(?:security|cves?\b|vulnerabilit|breaking)|\bnon-security|(?:\bnot|n't|\bwithout) (?:\w+ ){0,4}(?:security|cves?\b|vulnerab)"
    r"|security(?: fixes)?: (?:none|n/a)|(?m:^\W*(?:none|n/?a|nothing|no changes?)\W*$)"
    r"|false[- ]positive|does not use the affected"
    r"|^(?!(?:.|\n)*\b(?:versions?|releases?|older|earlier|before|prior)\b[^;]{0,60}(?:not (?:affected|vulnerable)|unaffected))"
    r"(?:.|\n)*(?:\bnot (?:affected|vulnerable)\b|\bunaffected\b)"
)
SECURITY: Final = (
    r"\bCVE-\d{4}-\d+|\bGHSA-[\w-]+|\bTS-\d{4}-\d+|\bCWE-\d+|\bCVSS\b|\bvulnerab"
    r"|\bsecurity[- ](?:relevant |and \w+ )?(?:fix|issue|update|patch|release|advisor|bulletin|improvement|hole|flaw|bug|problem|hotfix|defect|content)"
    r"|privilege escalation|\bremote(?:ly)? (?:code|exploit)|arbitrary (?:code|command)"
    r"|\bbypass\w* (?:of )?(?:the )?(?:auth|acl|access|permission)|auth(?:entication|orization)? bypass"
    r"|\bexploit(?:able|ed|ation)\b|denial[- ]of[- ]service|path traversal|\battackers?\b|unauthenticated (?:user|client|request|access|peer)"
)
_MEMORY: Final = r"\b(?:buffer|heap) overflow|\bout[- ]of[- ]bounds|\buse[- ]after[- ]free"
_SEVERE: Final = (
    r"\b(?:crash|panic|segfault|dead ?lock|hang|hung|stuck|freez|data loss|corrupt|memory leak|leak(?:s|ed|ing)? (?:memory|file|goroutine)"
    r"|out of memory|disconnect|los(?:e|es|ing|t) (?:connection|connectivity)|fail(?:s|ed|ing)? to (?:start|connect|reconnect)|unreachable|outage)"
)
_URGED: Final = (
    r"^\W*(?:critical|urgent)\W|\bemergency (?:release|fix|patch|update)|\b(?:mandatory|required) (?:update|upgrade)"
    r"|\bcritical (?:\w+ )?(?:bug|fix|issue|regression|error|fault|hotfix|update|release|upgrade)"
    r"|\b(?:upgrad|updat|install)\w* (?:\w+ ){0,6}(?:immediately|as soon as possible|asap\b|urgently|without delay)"
    r"|\b(?:strongly|highly) (?:recommend|advise|encourage|urge)\w*\b[^.]{0,60}\b(?:upgrad|updat)|\burgent (?:update|upgrade|fix)"
    r"|\b(?:all|every) (?:users?|customers?|operators?|deployments?) (?:should|must|need to|are (?:advised|urged) to) (?:\w+ )?(?:upgrade|update)"
)

RULES: Final = (
    Rule("other platforms", "current", "is about platforms that do not run here", platform="others", weight="fixed"),
    Rule("security", "now", "closes a security hole", match=SECURITY, unless=_DENIED, weight="fixed"),
    Rule(
        "security section",
        "now",
        "closes a security hole",
        section=r"\bsecurity\b|\bCVEs?\b|\bvulnerabilit|\badvisor(?:y|ies)\b",
        unless=_DENIED,
        weight="fixed",
    ),
    Rule(
        "end of support",
        "now",
        "ends the support of older versions",
        match=r"no longer (?:be )?(?:supported|accepted|able to connect)|end of (?:life|support)|will stop working|must (?:be )?upgrade",
        unless=r"\b(?:flag|option|command|variable|api|format)s? .{0,40}no longer",
        weight="fixed",
    ),
    Rule("memory safety", "now", "mends a fault that reads or writes foreign memory", match=_MEMORY, unless=_DENIED),
    Rule(
        "urged by the vendor",
        "now",
        "is urged by its vendor",
        match=_URGED,
        unless=r"\b(?:no|not|nothing|isn't|without) (?:\w+ ){0,3}(?:critical|urgent)",
    ),
    Rule(
        "severe fix for our platform",
        "now",
        "mends a severe fault that names our platform",
        match=_SEVERE,
        platform="ours",
        unless=r"\b(?:windows|macos|ios|android)[- ]only\b",
    ),
    Rule(
        "breaking",
        "convenient",
        "changes something that may need work before the update",
        match=(
            r"\bbreaking\b|\bincompatible|\bremove[sd]? (?:the )?(?:deprecated|support)"
            r"|must be (?:renamed|changed|migrated)|migration (?:is )?(?:needed|required)"
        ),
        unless=_DENIED,
        breaking=True,
    ),
    Rule("breaking section", "convenient", "changes something that may need work before the update", section=r"\bbreaking\b", breaking=True),
    Rule("fix for our platform", "convenient", "mends a fault that names our platform", match=r"\bfix|\bresolve|\bcorrect", platform="ours"),
    Rule("severe fix", "convenient", "mends a severe fault", match=_SEVERE),
    Rule("anything", "convenient", "is newer"),
)  # fmt: skip


@dataclass(frozen=True)
class Platforms:
    """The words that name what runs here, and those that name what does not."""

    ours: tuple[str, ...]
    others: tuple[str, ...] = (
        "windows",
        "macos",
        "mac os",
        "mac os x",
        "os x",
        "darwin",
        "ios",
        "ipados",
        "tvos",
        "visionos",
        "watchos",
        "apple tv",
        "android",
        "chromeos",
        "fire tv",
        "freebsd",
        "openbsd",
        "netbsd",
        "solaris",
        "illumos",
        "aix",
        "haiku",
        "haiku os",
        "plan 9",
        "synology",
        "qnap",
    )

    def about(self, entry: Entry, title: str = "") -> str:
        """`ours`, `others`, or "" for an entry that names no platform.

        The innermost heading that names a platform decides, then the text, then a `title` of the release that names only
        others. Ours wins where one of them names both, unless it says that ours is not affected.
        """
        for part in (*reversed(entry.section.split(" / ")), entry.text):
            named = self._named(part)
            if named:
                return named
        return "others" if self._named(title) == "others" else ""

    def only_others(self, text: str) -> bool:
        """Whether a text says that a whole release is for other platforms only."""
        return _ONLY_FOR.search(text) is not None and self._named(text) == "others"

    def _named(self, text: str) -> str:
        return _platform_of(self.ours, self.others, text)


@lru_cache(maxsize=4096)
def _platform_of(ours: tuple[str, ...], others: tuple[str, ...], text: str) -> str:
    """Whose platform a text names: `ours`, `others` or ""."""
    if _names(ours, text) and not _spared(ours, text):
        return "ours"
    return "others" if _names(others, text) or _names(ours, text) else ""


def _spared(ours: tuple[str, ...], text: str) -> bool:
    """Whether a text says that what runs here does not have the fault."""
    words = _either(ours)
    return (
        re.search(
            rf"{words}(?: \w+){{0,2}} (?:is|are|was|were) (?:not (?:affected|vulnerable|impacted|concerned)|unaffected)"
            rf"|\b(?:does not|doesn't|do not|don't) (?:affect|concern|apply to|impact)(?: \w+)? {words}"
            rf"|\b(?:except|other than|but not|not on|nothing for|unaffected:)(?: (?:for|on))? {words}"
            rf"|\b(?:windows|macos|ios|android)[- ]only\b",
            text,
            re.IGNORECASE,
        )
        is not None
    )


def _names(words: tuple[str, ...], text: str) -> bool:
    plain = tuple(word for word in words if word.lower() != "windows")
    if plain and re.search(_either(plain), text, re.IGNORECASE):
        return True
    # A rate limit has windows too: the system is written with a capital letter, or stands alone.
    return len(plain) < len(words) and _WINDOWS.search(text) is not None


_ONLY_FOR: Final = re.compile(
    r"\bthis (?:release|version|update|build|patch)\b[^.]{0,40}\b(?:only|exclusively|solely|just)\b"
    r"|\b\w+[- ]only (?:release|version|update|build|patch)\b",
    re.IGNORECASE,
)
_WINDOWS: Final = re.compile(
    r"(?<!\w)(?:Windows|WINDOWS)(?!\w)|^\W*windows\W*$|[\[(]windows[\])]"
    r"|\b(?:on|for|under) windows\b(?! of)|^windows:|\bwindows[- ](?:only|client|server|service)"
)


@lru_cache(maxsize=64)
def _either(words: tuple[str, ...]) -> str:
    return rf"(?<!\w)(?:{'|'.join(re.escape(word) for word in words)})(?!\w)"


def read_rules(given: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The user's rules, and after them the general ones. Raises ReleaseError."""
    return (*(_read(rule, number) for number, rule in enumerate(given, 1)), *RULES)


def _read(given: Mapping[str, Any], number: int) -> Rule:
    where = f"rule {number} ({given.get('name') or 'without a name'})"
    unknown = sorted(set(given) - set(_FIELDS))
    if unknown:
        raise ReleaseError(f"{where} has {unknown[0]}, which no rule has; it may have {', '.join(_FIELDS)}")
    if given.get("verdict") not in VERDICTS:
        raise ReleaseError(f"{where} must have a verdict: {', '.join(VERDICTS)}")
    if given.get("platform", "any") not in _PLATFORM_WORDS:
        raise ReleaseError(f"{where} must have one of {', '.join(_PLATFORM_WORDS)} as platform")
    for name in ("match", "section", "unless"):
        _check_pattern(str(given.get(name) or ""), f"{where}: {name}")
    if not any(given.get(name) for name in ("match", "section")) and given.get("platform", "any") == "any":
        raise ReleaseError(f"{where} fits everything: give it match, section or platform")
    texts = {name: str(given.get(name) or "") for name in ("match", "section", "unless")}
    return Rule(
        name=str(given.get("name") or f"rule {number}"),
        verdict=str(given["verdict"]),
        reason=str(given.get("reason") or "is what your rule is about"),
        platform=str(given.get("platform", "any")),
        breaking=bool(given.get("breaking", False)),
        weight="fixed",
        **texts,
    )


def _check_pattern(pattern: str, where: str) -> None:
    problem = ""
    try:
        re.compile(pattern)
    except re.error as exc:
        problem = str(exc)
    if problem:
        raise ReleaseError(f"{where} is no regular expression: {problem}")
