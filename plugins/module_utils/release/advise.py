# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about the versions that run: nothing, update when convenient, update now; and the entry that decides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.release.model import Entry, Release, Version
from ansible_collections.boring.fleet.plugins.module_utils.release.products import Product, is_change, product_of
from ansible_collections.boring.fleet.plugins.module_utils.release.rules import RULES, VERDICTS, Platforms, Rule

_SHOWN: Final = 5  # breaking entries
_NOTHING: Final = Rule("nothing said", "convenient", "is newer; its notes say nothing")
_WITHDRAWN: Final = Rule("withdrawn", "now", "was withdrawn")
_IDENTITY: Final = re.compile(r"\bCVE-\d{4}-\d+|\bGHSA(?:-\w{4}){3}|\bTS-\d{4}-\d+", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"\((?:[^()]*#\d+[^()]*)\)|\bby @\S+|\W+")
_MENDS: Final = re.compile(r"\b(?:fix|mend|resolv|correct|prevent|avoid|repair|bug)", re.IGNORECASE)
# A fault that only later versions have: "affects 7.0.0 or newer", "a regression introduced in 2.11.0".
_SINCE: Final = re.compile(
    r"\b(?:affects?|affected|present in|exists in)\b(?: only)?(?: all)?(?: \w+)?(?: versions?)?"
    r" v?(\d+(?:\.\d+)+)(?: or| and)? (?:newer|later|above|onwards?|up)\b"
    r"|\b(?:introduced|regression|regressed) (?:in|with|by|since) (?:\w+ )?v?(\d+(?:\.\d+)+)",
    re.IGNORECASE,
)
# And one that no version has any more that is listed: "affecting all versions prior to v2.11.1 or v2.10.27".
_UNTIL: Final = re.compile(
    r"(?<!not )\baffect(?:s|ing|ed)?\b[^;]{0,80}?\b(?:prior to|before|earlier than|older than|below) ((?:v?\d+(?:\.\d+)+(?:,? (?:and|or)\b|,)? ?){1,8})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Weighed:
    """An entry of a release, the rule that fits it, and the sentence that it fits."""

    release: Release
    entry: Entry
    rule: Rule
    sentence: str = ""

    def told(self) -> dict[str, str]:
        return {
            "version": str(self.release.version),
            "date": self.release.date,
            "section": self.entry.section,
            "text": self.entry.text,
            "rule": self.rule.name,
        }


@dataclass(frozen=True)
class _Judge:
    """What is needed to weigh releases."""

    releases: Sequence[Release]  # newest first
    rules: tuple[Rule, ...]
    platforms: Platforms
    product: Product

    def reasons(self, running: Version, newer: Iterable[Release]) -> list[Weighed]:
        """What the newer releases say that is news to this version: fixes that its own branch has are none."""
        branch = running.branch(self.product.branch)
        had = _Had.of(
            entry
            for release in self.releases
            if release.version <= running and release.version.branch(self.product.branch) == branch
            for entry in release.entries
        )
        found: list[Weighed] = []
        for release in newer:
            found += self._of_release(release, running, had)
        return found

    def _of_release(self, release: Release, running: Version, had: _Had) -> list[Weighed]:
        entries = [entry for entry in release.entries if is_change(self.product, entry.section, entry.text)]
        if not entries:
            return [Weighed(release, Entry("", ""), _NOTHING)]
        news = [
            self._weigh(release, entry)
            for entry in entries
            if not had.has(entry) and not self._elsewhere(entry, running, release.version)
        ]
        vendor = [one for one in news if one.rule.weight == "vendor"]
        plain = [one for one in news if one.rule.weight != "vendor"]
        if len(news) < len(entries) and not _left(vendor, plain):
            return plain  # what the vendor found urgent is in this branch, or not in its program, already
        most = max((VERDICTS.index(one.rule.verdict) for one in vendor), default=len(VERDICTS))
        return [one if one.rule.weight == "fixed" else _capped(one, most) for one in news]

    def _elsewhere(self, entry: Entry, running: Version, released: Version) -> bool:
        """Whether a fault is in other versions only: in later ones that this release mends, or in earlier ones."""
        if match := _SINCE.search(entry.text):
            since = Version.find(match[1] or match[2])
            if since is not None and running < since < released:
                return True
        if match := _UNTIL.search(entry.text):
            branch = running.branch(self.product.branch)
            mended = Version.find_all(match[1])
            own = [version for version in mended if version.branch(self.product.branch) == branch]
            return bool(mended) and running >= (max(own) if own else max(mended))
        return False

    def _weigh(self, release: Release, entry: Entry) -> Weighed:
        about = self.platforms.about(entry, release.title)
        for rule in self.rules:
            sentence = rule.fits(entry, about)
            if sentence:
                return Weighed(release, entry, rule, sentence)
        return Weighed(release, entry, _NOTHING)


def _capped(one: Weighed, most: int) -> Weighed:
    """No more urgent than the vendor finds the whole release."""
    if VERDICTS.index(one.rule.verdict) <= most:
        return one
    return replace(one, rule=replace(one.rule, verdict=VERDICTS[most]))


def _left(vendor: Sequence[Weighed], plain: Sequence[Weighed]) -> bool:
    """Whether what is left of a release may be what its vendor found urgent: a hole, or any fix if it was none."""
    hole = any("security" in one.rule.name for one in vendor)
    return any(
        one.rule.verdict == "now" or one.rule.name.startswith("severe") or (not hole and _MENDS.search(one.entry.text))
        for one in plain
    )


@dataclass(frozen=True)
class _Had:
    """The fixes that a branch has, by the names of their holes and by their words."""

    identities: frozenset[str]
    words: frozenset[str]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> _Had:
        texts = [entry.text for entry in entries]
        names = frozenset(name.upper() for text in texts for name in _IDENTITY.findall(text))
        return cls(names, frozenset(_plain(text) for text in texts))

    def has(self, entry: Entry) -> bool:
        names = {name.upper() for name in _IDENTITY.findall(entry.text)}
        if names:
            return names <= self.identities
        return len(entry.text) > 20 and "urgency" not in entry.text.lower() and _plain(entry.text) in self.words


def _plain(text: str) -> str:
    return _REFERENCE.sub(" ", text).strip().lower()


def advise(
    name: str,
    running: str,
    releases: Sequence[Release],
    rules: Iterable[Rule],
    platforms: Platforms,
    *,
    command: str = "",
    product: Product | None = None,
) -> dict[str, Any]:
    """Advice for one thing that runs. `releases` are newest first and not empty; `command` may hold {name} and {version}.

    The rules of the `product` stand between the user's and the general ones; without one, its name is read from the feed.
    The newest release of the branch that runs is offered, unless what decides is only in a later branch.
    """
    product = product or product_of("", "", releases)
    given = tuple(rules)
    own = (rule for rule in given if rule not in RULES)
    ordered = (*own, RULES[0], *product.rules, *RULES[1:])
    judge = _Judge(releases, ordered, platforms, product)
    usable = [release for release in releases if not release.withdrawn and not _is_foreign(release, product, platforms)]
    latest = usable[0].version if usable else None
    advice: dict[str, Any] = {
        "name": name,
        "running": running,
        "latest": str(latest or ""),
        "offered": "",
        "entry": None,
        "sentence": "",
        "breaking": [],
        "incomplete": False,
        "command": "",
    }
    version = Version.find(running)
    if version is None:
        return advice | {"verdict": "unknown", "reason": f"'{running[:60]}' is no version"}
    withdrawn = next((release for release in releases if release.withdrawn and release.version == version), None)
    newer = [release for release in usable if release.version > version]
    if withdrawn:
        target, what = _leave(withdrawn, usable, newer, product)
        return advice | what | {"command": _filled(command, name, target) if target else ""}
    if latest is None or not newer:
        return advice | {"verdict": "current", "reason": _why_current(version, latest, releases)}
    weighed = judge.reasons(version, newer)
    # The most urgent decides; of several the one in the branch that runs, then the first rule, then the newest release.
    order = {rule.name: number for number, rule in enumerate(judge.rules)}
    branch = version.branch(product.branch)

    def rank(one: Weighed) -> tuple[int, bool, int]:
        other = one.release.version.branch(product.branch) != branch
        return -VERDICTS.index(one.rule.verdict), other, order.get(one.rule.name, len(order))

    deciding = min(weighed, key=rank, default=None)
    if deciding is None or deciding.rule.verdict == "current":
        why = deciding.rule.reason if deciding else f"is in the branch of {version} already"
        advice |= {"verdict": "current", "reason": f"{latest} is newer, but all of it {why}"}
        offered = None
    else:
        advice |= {
            "verdict": deciding.rule.verdict,
            "reason": f"{deciding.release.version} {deciding.rule.reason}",
        }
        offered = _offered(judge, version, newer, deciding)
    return advice | {
        "entry": deciding.told() if deciding and deciding.entry.text else None,
        "sentence": deciding.sentence if deciding else "",
        "breaking": [
            one.told() for one in weighed if one.rule.breaking and (offered is None or one.release.version <= offered)
        ][:_SHOWN],
        # What was released between what runs and the feed's first entry nobody here has read.
        "incomplete": version < releases[-1].version,
        "offered": str(offered or ""),
        "command": _filled(command, name, offered) if offered else "",
    }


def _is_foreign(release: Release, product: Product, platforms: Platforms) -> bool:
    """Whether a release is of another program of the vendor's, or of the same for other platforms."""
    if product.foreign and re.search(product.foreign, release.title, re.IGNORECASE):
        return True
    if platforms.about(Entry("", ""), release.title) == "others":
        return True
    return any(platforms.only_others(text) for text in (release.title, *(entry.text for entry in release.entries[:3])))


def _leave(
    withdrawn: Release, usable: Sequence[Release], newer: Sequence[Release], product: Product
) -> tuple[Version | None, dict[str, Any]]:
    """What to do about a release that was taken back: go to the newest of its branch, to a later one, or back."""
    version = withdrawn.version
    same = [one for one in newer if one.version.branch(product.branch) == version.branch(product.branch)]
    target = next((one.version for one in (*same, *newer, *usable)), None)
    if newer:
        where = ""
    elif target:
        where = f", and nothing newer stands: {target} is the one before"
    else:
        where = ", and no other release is known"
    return target, {
        "verdict": "now",
        "reason": f"{version} was withdrawn{where}",
        "entry": Weighed(withdrawn, Entry("", withdrawn.withdrawn), _WITHDRAWN).told(),
        "sentence": withdrawn.withdrawn,
        "offered": str(target or ""),
    }


def _why_current(version: Version, latest: Version | None, releases: Sequence[Release]) -> str:
    taken = next((release for release in releases if release.withdrawn and release.version > version), None)
    if taken:
        return f"{version} is the newest that stands: {taken.version} was withdrawn"
    ahead = f"; it is newer than the feed's newest, {latest}" if latest and version > latest else ""
    return f"{version} is current{ahead}"


def _offered(judge: _Judge, version: Version, newer: Sequence[Release], deciding: Weighed) -> Version:
    """The newest of the same branch, if it leaves nothing that is as urgent as what decides; else the newest of all."""
    depth = judge.product.branch
    same = next((one.version for one in newer if one.version.branch(depth) == version.branch(depth)), None)
    if same is None or deciding.rule.verdict != "now":
        return same or newer[0].version
    left = judge.reasons(same, (one for one in newer if one.version > same))
    return newer[0].version if any(one.rule.verdict == "now" for one in left) else same


def tell(advice: dict[str, Any]) -> str:
    """One line for people."""
    words = {
        "current": "nothing to do",
        "convenient": "update when convenient",
        "now": "UPDATE NOW",
        "unknown": "unknown",
    }
    line = f"{advice['name']} {advice['running']}: {words[advice['verdict']]}, {advice['reason']}"
    if advice["sentence"]:
        text = advice["sentence"]
        line += f': "{text if len(text) <= 160 else text[:157] + "..."}"'
    if advice["offered"] not in ("", advice["latest"]):
        line += f"; {advice['offered']} is the newest of its branch, {advice['latest']} of all"
    if advice["breaking"]:
        line += f"; {len(advice['breaking'])} breaking to read first"
    if advice["incomplete"]:
        line += "; the feed begins after this version"
    return line + (f"; run: {advice['command']}" if advice["command"] else "")


def worst(verdicts: Iterable[str]) -> str:
    """The most urgent of some verdicts; "unknown" counts as more than "convenient", as nobody can tell."""
    order = ("current", "convenient", "unknown", "now")
    return max(verdicts, key=order.index, default="current")


def _filled(command: str, name: str, version: Version) -> str:
    return command.replace("{name}", name).replace("{version}", str(version))
