# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gate on known vulnerabilities: what Debian has fixed must be fixed in the image.

The data is Debian's own security tracker. What Debian has not fixed is counted and told, and does not stop anybody: nothing
can be installed against it. A gate that cannot see is not green: no data is an error.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.pair import compare
from ansible_collections.boring.fleet.plugins.module_utils.image.sbom import Package

TRACKER = "https://security-tracker.debian.org/tracker/data/json"
SUITES = {"debian-12": "bookworm", "debian-13": "trixie"}
_CVE = re.compile(r"(?:CVE-\d{4}-\d{4,}|TEMP-\d+-\w+)")
# The tracker has thousands of sources; a file with fewer is a fragment, and would make everything green.
_FEWEST_SOURCES = 500


@dataclass(frozen=True)
class Finding:
    """A vulnerability of an installed source. `fixed` is Debian's version that has the fix; empty when there is none."""

    cve: str
    source: str
    version: str
    fixed: str = ""
    urgency: str = ""

    def as_dict(self) -> dict[str, str]:
        return {
            "cve": self.cve,
            "source": self.source,
            "version": self.version,
            "fixed": self.fixed,
            "urgency": self.urgency,
        }


@dataclass(frozen=True)
class Accepted:
    """One line of the baseline: a known finding that somebody accepts, why, and until when."""

    cve: str
    source: str
    reason: str
    expires: datetime.date


@dataclass(frozen=True)
class Report:
    """`failures` are sentences; the gate is green when there are none."""

    fixable: tuple[Finding, ...]
    unfixed: tuple[Finding, ...]
    accepted: tuple[Finding, ...]
    failures: tuple[str, ...]


def read_tracker(text: str) -> dict[str, Any]:
    """The tracker's JSON. Raises ImageError for what is not all of it."""
    try:
        data = json.loads(text)
    except ValueError as exc:
        raise ImageError(f"the data of Debian's security tracker is not JSON ({exc}): fetch it anew") from exc
    if not isinstance(data, dict) or len(data) < _FEWEST_SOURCES:
        raise ImageError(
            "the data of Debian's security tracker is not whole, and with half of it nothing is proven: fetch it anew"
        )
    return data


def read_baseline(entries: Any) -> list[Accepted]:
    """The accepted findings. Raises ImageError: each needs cve, source, reason and expires (YYYY-MM-DD)."""
    if not isinstance(entries, list):
        raise ImageError("the baseline is not a list: write one entry a finding, with cve, source, reason and expires")
    accepted = []
    for number, entry in enumerate(entries, 1):
        try:
            cve, source, reason, expires = (str(entry[key]).strip() for key in ("cve", "source", "reason", "expires"))
            when = datetime.date.fromisoformat(expires)
        except (TypeError, KeyError, ValueError) as exc:
            raise ImageError(
                f"entry {number} of the baseline is broken: it needs cve, source, reason and expires (YYYY-MM-DD)"
            ) from exc
        if not _CVE.fullmatch(cve) or not reason:
            raise ImageError(f"entry {number} of the baseline needs the number of a CVE and a reason")
        accepted.append(Accepted(cve, source, reason, when))
    return accepted


def judge(
    packages: Iterable[Package],
    tracker: Mapping[str, Any],
    release: str,
    baseline: Sequence[Accepted],
    today: datetime.date,
) -> Report:
    """Compare an image with the tracker. Raises ImageError for a release that the tracker cannot judge."""
    if release not in SUITES:
        raise ImageError(f"there is no release {release} to judge: choose among {', '.join(SUITES)}")
    sources = sorted({(package.source, package.source_version) for package in packages})
    found = [finding for source, version in sources for finding in _findings(source, version, tracker, SUITES[release])]
    known = {(entry.cve, entry.source): entry for entry in baseline}
    fixable = [finding for finding in found if finding.fixed]
    accepted = [finding for finding in fixable if _accepts(known.get((finding.cve, finding.source)), today)]
    open_ones = [finding for finding in fixable if finding not in accepted]
    failures = [
        f"{finding.cve} in {finding.source} {finding.version} is fixed in {finding.fixed}: build the image anew"
        for finding in open_ones
    ]
    there = {(finding.cve, finding.source) for finding in fixable}
    for entry in baseline:
        if entry.expires < today:
            failures.append(
                f"{entry.cve} in {entry.source} was accepted until {entry.expires}: fix it, or decide again"
            )
        elif (entry.cve, entry.source) not in there:
            failures.append(f"{entry.cve} in {entry.source} is accepted, but the image does not have it: take it out")
    return Report(
        fixable=tuple(fixable),
        unfixed=tuple(finding for finding in found if not finding.fixed),
        accepted=tuple(accepted),
        failures=tuple(failures),
    )


def _accepts(entry: Accepted | None, today: datetime.date) -> bool:
    return entry is not None and entry.expires >= today


def _findings(source: str, version: str, tracker: Mapping[str, Any], suite: str) -> list[Finding]:
    found = []
    for cve, about in sorted((tracker.get(source) or {}).items()):
        state = (about.get("releases") or {}).get(suite)
        if not state:
            continue
        fixed = str(state.get("fixed_version") or "")
        urgency = str(state.get("urgency") or "")
        if state.get("status") == "resolved":
            if fixed and fixed != "0" and compare(version, fixed) < 0:  # 0: this release never had it
                found.append(Finding(cve, source, version, fixed, urgency))
        elif state.get("status") == "open" and urgency != "unimportant":
            found.append(Finding(cve, source, version, "", urgency))
    return found
