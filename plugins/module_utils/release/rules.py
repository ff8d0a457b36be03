# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules as data: what an entry says, and how soon that wants an update. The first rule that fits an entry decides for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.release.model import Entry, ReleaseError

VERDICTS: Final = ("current", "convenient", "now")  # in rising urgency
_FIELDS: Final = ("name", "verdict", "match", "section", "unless", "platform", "breaking", "reason")
_PLATFORM_WORDS: Final = ("any", "ours", "others")


@dataclass(frozen=True)
class Rule:
    """`match`, `section` and `unless` are regular expressions without regard to case over an entry and its headings.

    `platform`: `ours` fits entries that name our platform, `others` those that name only other ones, `any` all.
    """

    name: str
    verdict: str
    reason: str
    match: str = ""
    section: str = ""
    unless: str = ""
    platform: str = "any"
    breaking: bool = False

    def fits(self, entry: Entry, about: str) -> bool:
        """Whether the rule is for this entry; `about` says whose platform the entry names."""
        both = f"{entry.section}\n{entry.text}"
        return (
            self.platform in ("any", about)
            and _has(self.match, both)
            and _has(self.section, entry.section)
            and not (self.unless and _has(self.unless, both))
        )


def _has(pattern: str, text: str) -> bool:
    return not pattern or re.search(pattern, text, re.IGNORECASE) is not None


_DENIED: Final = r"\bno (?:known )?(?:security|vulnerabilit|breaking)|not affected|unaffected|security: none"
_SEVERE: Final = (
    r"\b(?:crash|panic|segfault|dead ?lock|hang|hung|stuck|freez|data loss|corrupt|memory leak|leak(?:s|ed|ing)? (?:memory|file|goroutine)"
    r"|out of memory|disconnect|los(?:e|es|ing|t) (?:connection|connectivity)|fail(?:s|ed|ing)? to (?:start|connect|reconnect)|unreachable|outage)"
)

RULES: Final = (
    Rule("other platforms", "current", "is about platforms that do not run here", platform="others"),
    Rule(
        "security",
        "now",
        "closes a security hole",
        match=(
            r"\bCVE-\d{4}-\d+|\bGHSA-[\w-]+|\bTS-\d{4}-\d+|\bvulnerabilit|\bsecurity (?:fix|issue|update|patch|release|advisor)"
            r"|privilege escalation|remote code|authentication bypass|\bexploit"
        ),
        unless=_DENIED,
    ),
    Rule("security section", "now", "closes a security hole", section=r"\bsecurity\b", unless=_DENIED),
    Rule(
        "end of support",
        "now",
        "ends the support of older versions",
        match=r"no longer (?:be )?(?:supported|accepted|able to connect)|end of (?:life|support)|will stop working|must (?:be )?upgrade",
        unless=r"\b(?:flag|option|command|variable|api|format)s? .{0,40}no longer",
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
    others: tuple[str, ...] = field(
        default=(
            "windows",
            "macos",
            "mac os",
            "ios",
            "ipados",
            "tvos",
            "android",
            "freebsd",
            "openbsd",
            "synology",
            "qnap",
        )
    )

    def about(self, entry: Entry) -> str:
        """`ours`, `others`, or "" for an entry that names no platform. Ours wins where both are named."""
        both = f"{entry.section}\n{entry.text}"
        if self._names(self.ours, both):
            return "ours"
        return "others" if self._names(self.others, both) else ""

    @staticmethod
    def _names(words: Iterable[str], text: str) -> bool:
        return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) for word in words)


def read_rules(given: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Rules of the user's, which go before ours. Raises ReleaseError."""
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
