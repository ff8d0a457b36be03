# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about the versions that run: nothing, update when convenient, update now; and the entry that decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.release.model import Entry, Release, Version
from ansible_collections.boring.fleet.plugins.module_utils.release.rules import VERDICTS, Platforms, Rule

_SHOWN: Final = 5  # breaking entries
_NOTHING: Final = Rule("nothing said", "convenient", "is newer; its notes say nothing")


@dataclass(frozen=True)
class Weighed:
    """An entry of a release, and the rule that fits it."""

    release: Release
    entry: Entry
    rule: Rule

    def told(self) -> dict[str, str]:
        return {
            "version": str(self.release.version),
            "date": self.release.date,
            "section": self.entry.section,
            "text": self.entry.text,
            "rule": self.rule.name,
        }


def advise(
    name: str,
    running: str,
    releases: Sequence[Release],
    rules: Iterable[Rule],
    platforms: Platforms,
    *,
    command: str = "",
) -> dict[str, Any]:
    """Advice for one thing that runs. `releases` are newest first and not empty; `command` may hold {name} and {version}."""
    rules = tuple(rules)
    usable = [release for release in releases if not release.withdrawn] or list(releases)
    latest = usable[0].version
    advice: dict[str, Any] = {
        "name": name,
        "running": running,
        "latest": str(latest),
        "breaking": [],
        "incomplete": False,
    }
    version = Version.find(running)
    if version is None:
        return advice | {"verdict": "unknown", "reason": f"'{running}' is no version", "entry": None, "command": ""}
    withdrawn = next((release for release in releases if release.withdrawn and release.version == version), None)
    newer = [release for release in usable if release.version > version]
    if withdrawn and latest != version:
        reason = f"{version} was withdrawn"
        return advice | {"verdict": "now", "reason": reason, "entry": None, "command": _filled(command, name, latest)}
    if not newer:
        ahead = f"; it is newer than the feed's newest, {latest}" if version > latest else ""
        return advice | {"verdict": "current", "reason": f"{version} is current{ahead}", "entry": None, "command": ""}
    weighed = [
        _weigh(release, entry, rules, platforms) for release in newer for entry in release.entries or (Entry("", ""),)
    ]
    # The most urgent decides; of several the first rule, then the newest release, which stands first.
    order = {rule.name: number for number, rule in enumerate(rules)}
    deciding = min(weighed, key=lambda one: (-VERDICTS.index(one.rule.verdict), order.get(one.rule.name, len(order))))
    oldest = releases[-1].version
    if deciding.rule.verdict == "current":
        reason = f"{latest} is newer, but all of it {deciding.rule.reason}"
    else:
        reason = f"{deciding.release.version} {deciding.rule.reason}"
    return advice | {
        "verdict": deciding.rule.verdict,
        "reason": reason,
        "entry": deciding.told() if deciding.entry.text else None,
        "breaking": [one.told() for one in weighed if one.rule.breaking][:_SHOWN],
        # What was released between what runs and the feed's first entry nobody here has read.
        "incomplete": version < oldest,
        "command": _filled(command, name, latest) if deciding.rule.verdict != "current" else "",
    }


def tell(advice: dict[str, Any]) -> str:
    """One line for people."""
    words = {
        "current": "nothing to do",
        "convenient": "update when convenient",
        "now": "UPDATE NOW",
        "unknown": "unknown",
    }
    line = f"{advice['name']} {advice['running']}: {words[advice['verdict']]}, {advice['reason']}"
    if advice["entry"]:
        text = advice["entry"]["text"]
        line += f': "{text if len(text) <= 160 else text[:157] + "..."}"'
    if advice["breaking"]:
        line += f"; {len(advice['breaking'])} breaking to read first"
    if advice["incomplete"]:
        line += "; the feed begins after this version"
    return line + (f"; run: {advice['command']}" if advice["command"] else "")


def worst(verdicts: Iterable[str]) -> str:
    """The most urgent of some verdicts; "unknown" counts as more than "convenient", as nobody can tell."""
    order = ("current", "convenient", "unknown", "now")
    return max(verdicts, key=order.index, default="current")


def _weigh(release: Release, entry: Entry, rules: Iterable[Rule], platforms: Platforms) -> Weighed:
    if not entry.text:
        return Weighed(release, entry, _NOTHING)
    about = platforms.about(entry)
    return Weighed(release, entry, next((rule for rule in rules if rule.fits(entry, about)), _NOTHING))


def _filled(command: str, name: str, version: Version) -> str:
    return command.replace("{name}", name).replace("{version}", str(version))
