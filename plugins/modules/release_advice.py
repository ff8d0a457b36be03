#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_advice
short_description: Say which releases of a program matter to what runs here
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Reads release notes and the versions that run, and says for each whether there is nothing to do, an update when
    convenient, or an update now, with the entry that decides and the command that rolls it out.
  - Notes may be a text with headings (Markdown, or lines of C(=) and C(-)), the JSON of a forge's releases, an Atom or an
    RSS feed. Versions that are marked as unfinished are nobody's update, nor are those of which a title or a sentence says
    that they were paused, pulled or withdrawn.
  - The vendor's own urgency counts (Redis's C(Upgrade urgency)). What the branch that runs has already is no reason, and the
    newest release of that branch is offered, unless what decides is in a later branch only.
  - The rules are data. Yours go before the built-in ones, and the first that fits an entry decides for it.
attributes:
  check_mode:
    description: Nothing is changed in any mode.
    support: full
  diff_mode:
    description: Nothing is changed in any mode.
    support: none
options:
  feed:
    description: The release notes, a file or a URL of V(http) or V(https).
    type: path
    required: true
  running:
    description: What runs, as names and versions. Write versions in quotes, as YAML reads V(1.10) as the number 1.1.
    type: dict
    required: true
  product:
    description:
      - Whose rules stand between yours and the general ones. Without it, the titles of the releases, the feed's name or the text of its releases say it.
    type: str
    choices: [redis, nats, tailscale, nvidia, twingate]
  platform:
    description: Words that name what runs here. An entry that names only other platforms does not count.
    type: list
    elements: str
    default: [linux, debian, systemd, amd64, x86_64, container, docker]
  rules:
    description:
      - Rules that go before the built-in ones.
      - C(match), C(section) and C(unless) are regular expressions over an entry, without regard to case; at least one of
        C(match), C(section) and C(platform) must be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the rule.
        type: str
      verdict:
        description: What an entry wants that the rule fits.
        type: str
        choices: [current, convenient, now]
        required: true
      match:
        description: What the entry or its headings say.
        type: str
      section:
        description: What the headings above the entry say.
        type: str
      unless:
        description: What makes the rule not fit.
        type: str
      platform:
        description: Whose platform the entry names.
        type: str
        choices: [any, ours, others]
        default: any
      breaking:
        description: Whether such an entry is to be read before an update.
        type: bool
        default: false
      reason:
        description: The end of the sentence "version 1.2 ...".
        type: str
  command:
    description: The command that rolls an update out. C({name}) and C({version}) are filled in.
    type: str
    default: ""
  timeout:
    description: Seconds that fetching the notes may take.
    type: float
    default: 20
"""

EXAMPLES = r"""
- name: Do the connectors' updates matter?
  boring.fleet.release_advice:
    feed: https://example.org/connector/releases.atom
    running: {connector-a: 1.71.0, connector-b: 1.72.0}
    command: ansible-playbook boring.fleet.roll_connectors -e twingate_connector_version={version}
  delegate_to: localhost
  run_once: true
  register: advice

- name: Say so
  ansible.builtin.debug:
    msg: "{{ advice.summary }}"

- name: A fix for our kernel is urgent to us, whatever the notes call it
  boring.fleet.release_advice:
    feed: CHANGELOG.md
    running: {gateway-1: "2.4"}
    rules:
      - {name: our kernel, match: 'kernel 6\.12', verdict: now, reason: is about the kernel that runs here}
"""

RETURN = r"""
advice:
  description: What to do about each thing that runs, the most urgent first.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: What runs., type: str, sample: connector-a}
    running: {description: Its version., type: str, sample: 1.71.0}
    latest: {description: The newest finished release., type: str, sample: 1.74.0}
    verdict: {description: C(current) or C(convenient) or C(now) or C(unknown)., type: str, sample: now}
    reason: {description: Why., type: str, sample: 1.73.0 closes a security hole}
    entry: {description: The entry that decides with its release and rule., type: dict}
    sentence: {description: The sentence of it that decides., type: str}
    offered: {description: The release to go to; it may be older than C(latest)., type: str, sample: 1.73.2}
    breaking: {description: Entries to read before an update., type: list, elements: dict}
    incomplete: {description: Whether the feed begins after the version that runs., type: bool}
    command: {description: The command that rolls the update out., type: str}
verdict:
  description: The most urgent verdict of all.
  returned: success
  type: str
  sample: now
summary:
  description: One line each for people.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.release.advise import advise, tell, worst
from ansible_collections.boring.fleet.plugins.module_utils.release.feed import read_feed
from ansible_collections.boring.fleet.plugins.module_utils.release.model import ReleaseError
from ansible_collections.boring.fleet.plugins.module_utils.release.products import PRODUCTS, product_of
from ansible_collections.boring.fleet.plugins.module_utils.release.rules import Platforms, read_rules
from ansible_collections.boring.fleet.plugins.module_utils.web.request import document

LARGEST = 8 * 1024 * 1024
ORDER = ("now", "unknown", "convenient", "current")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "feed": {"type": "path", "required": True},
            "running": {"type": "dict", "required": True},
            "product": {"type": "str", "choices": list(PRODUCTS)},
            "platform": {
                "type": "list",
                "elements": "str",
                "default": ["linux", "debian", "systemd", "amd64", "x86_64", "container", "docker"],
            },
            "rules": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str"},
                    "verdict": {"type": "str", "choices": ["current", "convenient", "now"], "required": True},
                    "match": {"type": "str"},
                    "section": {"type": "str"},
                    "unless": {"type": "str"},
                    "platform": {"type": "str", "choices": ["any", "ours", "others"], "default": "any"},
                    "breaking": {"type": "bool", "default": False},
                    "reason": {"type": "str"},
                },
            },
            "command": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        releases = read_feed(fetch(given["feed"], given["timeout"]), given["feed"])
        rules = read_rules(given["rules"])
        product = product_of(given["product"] or "", given["feed"], releases)
    except ReleaseError as exc:
        module.fail_json(msg=f"release_advice: {exc}")
    for name, version in given["running"].items():
        if isinstance(version, float):
            module.warn(f"the version of {name} is the number {version}: put it in quotes, as YAML reads 1.10 as 1.1")
    platforms = Platforms(tuple(given["platform"]))
    advice = [
        advise(str(name), str(version), releases, rules, platforms, command=given["command"], product=product)
        for name, version in given["running"].items()
    ]
    advice.sort(key=lambda one: (ORDER.index(one["verdict"]), one["name"]))
    module.exit_json(
        changed=False,
        advice=advice,
        verdict=worst(one["verdict"] for one in advice),
        summary=[tell(one) for one in advice],
    )


def fetch(feed: str, timeout: float) -> str:
    """The text of a file or URL. Raises ReleaseError."""
    problem = ""
    data = b""
    try:
        if feed.startswith(("http://", "https://")):
            data = document(feed, timeout, LARGEST)
        else:
            with Path(feed).open("rb") as file:
                data = file.read(LARGEST + 1)
    except (OSError, ValueError) as exc:
        problem = " ".join(str(getattr(exc, "strerror", None) or exc).split()) or type(exc).__name__
    if problem:
        raise ReleaseError(f"the feed {feed} cannot be read: {problem}")
    if len(data) > LARGEST:
        raise ReleaseError(f"the feed {feed} is larger than {LARGEST // 1024 // 1024} MiB; name one of releases")
    return data.decode("utf-8", errors="replace")


if __name__ == "__main__":
    main()
