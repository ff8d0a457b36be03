# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a roll as tags of the group, and what a killed run left in them.

Two tags, neither of which propagates to instances. TAG_JOURNAL lives as long as a roll does and is its lock too.
TAG_RECORD stays: it names the template that the instances had before the last roll. Values use only the characters
that AWS allows in every tag, and stay below its 256.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace

from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import (
    FLOATING_VERSIONS,
    Group,
    Journal,
    RolloutError,
    Target,
    Template,
)

TAG_JOURNAL = "boring:rollout"
TAG_RECORD = "boring:rollout-record"
TAG_LIMIT = 256
_OWNER_LIMIT = 80
_FLOATING = {version[1]: version for version in FLOATING_VERSIONS}  # by their first letter


def encode(journal: Journal) -> str:
    """The value of TAG_JOURNAL."""
    fields = {
        "owner": re.sub(r"[^\w.:/+@-]", "-", journal.owner)[:_OWNER_LIMIT],
        "beat": str(int(journal.beat)),
        "start": str(int(journal.started)),
        "to": encode_template(journal.target.template),
        "spec": journal.spec.removeprefix("$"),
        "pins": ",".join(f"{place}{version[1]}" for place, version in journal.pins),
        "surge": str(journal.surge),
        "pending": str(journal.pending),
        "desired": str(journal.desired),
        "max": str(journal.max_size),
        "room": str(journal.headroom),
        "old": str(journal.old),
        "stop": "/".join(journal.suspended),
        "failed": str(journal.failed),
        "back": "1" if journal.back else "",
        "held": "1" if journal.held else "",
        "refresh": journal.refresh,
    }
    value = " ".join(f"{key}={text}" for key, text in fields.items() if text not in ("", "0"))
    if len(value) > TAG_LIMIT:
        raise RolloutError(f"the journal of the roll does not fit into a tag of {TAG_LIMIT} characters: {value}")
    return value


@functools.lru_cache(maxsize=4)  # the same one is looked at again and again
def decode(value: str) -> Journal:
    """The journal in a tag's value. Raises RolloutError when somebody else wrote it."""
    try:
        fields = dict(part.split("=", 1) for part in value.split())
        return Journal(
            owner=fields["owner"],
            beat=float(fields["beat"]),
            started=float(fields["start"]),
            target=Target(decode_template(fields["to"])),
            spec=f"${fields['spec']}" if fields.get("spec") else "",
            pins=tuple((int(pin[:-1]), _FLOATING[pin[-1]]) for pin in fields.get("pins", "").split(",") if pin),
            surge=int(fields.get("surge", 0)),
            pending=int(fields.get("pending", 0)),
            desired=int(fields.get("desired", 0)),
            max_size=int(fields.get("max", 0)),
            headroom=int(fields.get("room", 0)),
            old=int(fields.get("old", 0)),
            suspended=tuple(filter(None, fields.get("stop", "").split("/"))),
            failed=int(fields.get("failed", 0)),
            back=fields.get("back") == "1",
            held=fields.get("held") == "1",
            refresh=fields.get("refresh", ""),
        )
    except (KeyError, ValueError) as exc:
        raise RolloutError(
            f"the group's tag {TAG_JOURNAL} cannot be read as the journal of a roll ({value!r}): "
            "if no roll is under way, delete the tag and run again"
        ) from exc


def encode_template(template: Template) -> str:
    """``lt-0abc:7``, or ``lc/NAME`` for a launch configuration."""
    if not template.id:
        return f"lc/{template.name}".replace(" ", "+")
    return f"{template.id}:{template.version.removeprefix('$')}"


def decode_template(text: str) -> Template:
    """The reverse of encode_template; the name of a launch template is not kept. Raises ValueError."""
    if text.startswith("lc/"):
        return Template("", text[3:].replace("+", " "))
    template_id, dummy, version = text.rpartition(":")
    if not template_id or not version:
        raise ValueError(text)
    return Template(template_id, "", version if version.isdecimal() else f"${version}")


@dataclass(frozen=True, slots=True)
class Record:
    """What TAG_RECORD says: the template before the last roll, and (``unfinished``) that more of it is to come."""

    template: Template
    started: float
    unfinished: bool


def encode_record(record: Record) -> str:
    """The value of TAG_RECORD."""
    return (
        f"from={encode_template(record.template)} start={int(record.started)}{' open=1' if record.unfinished else ''}"
    )


def decode_record(value: str) -> Record | None:
    """The record in a tag's value; None when it cannot be read."""
    try:
        fields = dict(part.split("=", 1) for part in value.split())
        return Record(decode_template(fields["from"]), float(fields["start"]), fields.get("open") == "1")
    except (KeyError, ValueError):
        return None


def settle(journal: Journal, group: Group, old_now: int) -> Journal:
    """A journal that a killed run left, with ``surge`` and ``headroom`` as they really are.

    A write that was under way happened or not. If the sizes are exactly what one of the two leaves, that is the
    answer. Otherwise somebody else changed them too: then old instances that left since tell how far a
    shrinking got, and a raised MaxSize that a growing did happen.
    """
    surge, pending = journal.surge, journal.pending
    if surge != pending:
        low, high = min(surge, pending), max(surge, pending)
        extra = group.desired - journal.desired
        if pending > surge:
            ended = max(0, journal.old - old_now) if journal.held else 0
            left = max(surge, pending - ended)
            if extra != left and extra not in (surge, pending):
                extra = surge if journal.headroom and group.max == journal.max_size else left
        elif not low <= extra <= high:
            extra = max(low, min(high, surge - (journal.old - old_now)))
        surge = extra
    surge = max(0, min(surge, group.desired - group.min))  # the user's part is never less than MinSize
    headroom = journal.headroom
    if 0 <= group.max - journal.max_size <= headroom:
        headroom = group.max - journal.max_size
    return replace(
        journal,
        surge=surge,
        pending=surge,
        desired=group.desired - surge,
        headroom=headroom,
        max_size=group.max - headroom,
    )


def floating(version: str) -> bool:
    """Whether a version is ``$Latest`` or ``$Default``."""
    return version in FLOATING_VERSIONS
