#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_cves
short_description: Fail when an image lacks a security fix that Debian has
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Compares the packages of an image, as its SBOM has them, with the data of Debian's security tracker.
  - Fails for every known vulnerability that Debian has fixed and the image has not, unless the baseline accepts it. What Debian
    has not fixed is told, and does not fail.
  - When the data cannot be fetched, or is not whole, the task fails - a gate that cannot see is not green.
options:
  sbom:
    description: SBOM of the image, as M(boring.fleet.image_build) returns it in V(manifest.sbom.file).
    type: path
    required: true
  release:
    description: Release of Debian that the image is made of.
    type: str
    choices: [debian-12, debian-13]
    required: true
  data:
    description:
      - Path of the tracker's data, or URL to fetch it from. It has some 70 MB.
    type: str
    default: https://security-tracker.debian.org/tracker/data/json
  baseline:
    description:
      - Findings that are accepted, each until a day. One that is over fails, and so does one that the image no longer has.
    type: list
    elements: dict
    default: []
    suboptions:
      cve:
        description: Number of the CVE.
        type: str
        required: true
      source:
        description: Debian's source package.
        type: str
        required: true
      reason:
        description: Why it is accepted.
        type: str
        required: true
      expires:
        description: Until when, as YYYY-MM-DD.
        type: str
        required: true
  timeout:
    description: Seconds that fetching the data may take.
    type: int
    default: 300
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
"""

EXAMPLES = r"""
- name: No image goes out without the fixes that Debian has
  boring.fleet.image_cves:
    sbom: "{{ engine.manifest.sbom.file }}"
    release: debian-13
    baseline:
      - cve: CVE-2026-12345
        source: libxml2
        reason: The engine parses no XML of others; the fix breaks its tests.
        expires: "2026-12-31"
"""

RETURN = r"""
fixable:
  description: Vulnerabilities that Debian has fixed and the image has not, accepted ones too.
  returned: always, unless the data could not be had
  type: list
  elements: dict
  contains: &finding
    cve:
      description: Number of the CVE.
      type: str
    source:
      description: Debian's source package.
      type: str
    version:
      description: Its version in the image.
      type: str
    fixed:
      description: Version with the fix, empty when there is none.
      type: str
    urgency:
      description: What Debian thinks of it.
      type: str
unfixed:
  description: Vulnerabilities that Debian has not fixed either, without those that it calls unimportant.
  returned: always, unless the data could not be had
  type: list
  elements: dict
  contains: *finding
accepted:
  description: Those of O(ignore:fixable) that the baseline accepts today.
  returned: always, unless the data could not be had
  type: list
  elements: dict
  contains: *finding
failures:
  description: Why the gate is not green, one sentence each.
  returned: always, unless the data could not be had
  type: list
  elements: str
"""

import datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.image import cves, sbom
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.web.request import document

LARGEST = 1 << 30  # bytes: ten times what it has today


def main() -> None:
    entry = {name: {"type": "str", "required": True} for name in ("cve", "source", "reason", "expires")}
    module = AnsibleModule(
        argument_spec={
            "sbom": {"type": "path", "required": True},
            "release": {"type": "str", "choices": sorted(cves.SUITES), "required": True},
            "data": {"type": "str", "default": cves.TRACKER},
            "baseline": {"type": "list", "elements": "dict", "default": [], "options": entry},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    try:
        report = run(module.params)
    except ImageError as exc:
        module.fail_json(msg=str(exc))
    result = {
        "changed": False,
        "fixable": [finding.as_dict() for finding in report.fixable],
        "unfixed": [finding.as_dict() for finding in report.unfixed],
        "accepted": [finding.as_dict() for finding in report.accepted],
        "failures": list(report.failures),
    }
    if report.failures:
        shown = "; ".join(report.failures[:5])
        more = len(report.failures) - 5
        module.fail_json(msg=f"{shown}{f'; and {more} more' if more > 0 else ''}", **result)
    module.exit_json(**result)


def run(given: dict[str, Any]) -> cves.Report:
    packages = sbom.read(Path(given["sbom"]))
    baseline = cves.read_baseline(given["baseline"])
    tracker = cves.read_tracker(fetch(given["data"], float(max(1, given["timeout"]))))
    today = datetime.datetime.now(datetime.UTC).date()
    return cves.judge(packages, tracker, given["release"], baseline, today)


def fetch(data: str, seconds: float) -> str:
    try:
        if "://" not in data:
            return Path(data).read_text(encoding="utf-8")
        found = document(data, seconds, LARGEST)
        if len(found) > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MiB")
        return found.decode("utf-8")
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise ImageError(
            f"the data of Debian's security tracker could not be had from {data} ({reason}), so nothing is known about this "
            "image: try again, or give a file with it as data"
        ) from exc


if __name__ == "__main__":
    main()
