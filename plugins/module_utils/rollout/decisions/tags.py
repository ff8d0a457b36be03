# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a roll as tags of the group.

Two tags, neither of which propagates to instances. TAG_JOURNAL lives as long as a roll does and is its lock too.
TAG_RECORD stays: it names what the instances were launched from before the last roll. A value is ``key=value`` parts
between blanks, as AWS allows in every tag, and fits into its 256 characters whatever the group is like: what has no
upper bound is written in a form that has one, or the plan refuses the roll (``too_long``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from urllib.parse import quote, unquote

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    AZ_REBALANCE,
    FLOATING_VERSIONS,
    Group,
    RolloutError,
    Template,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import (
    TAG_JOURNAL,
    TAG_RECORD,
    Journal,
    OwnVersions,
    Record,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Target

TAG_LIMIT = 256
TAGS_LIMIT = 50  # tags that a group may have
_OWNER_LIMIT = 56
_SAFE = "/:.@+-_"  # of what is quoted in a tag, what need not be
_LONGEST_NAME = 40  # of a launch configuration that the journal names in full
_DIGEST = 20
_FLOATING = {version[1]: version for version in FLOATING_VERSIONS}  # by their first letter
_LARGEST = 10**9  # a size beyond is no size


def encode(journal: Journal) -> str:
    """The value of TAG_JOURNAL."""
    sizes = "/".join(
        str(size)
        for size in (
            journal.surge,
            journal.pending,
            journal.desired,
            journal.max_size,
            journal.headroom,
            journal.headroom_before,
            journal.old,
            journal.failed,
        )
    )
    fields = {
        "owner": re.sub(r"[^\w.:/+@-]", "-", journal.owner)[:_OWNER_LIMIT],
        "start": str(int(journal.started)),
        "beat": str(int(journal.beat)),
        "to": _encode_target(journal.target.template),
        "spec": journal.spec.removeprefix("$"),
        "pins": _encode_pins(journal.pins),
        "sizes": re.sub(r"(/0)+$", "", sizes),
        "flags": "".join(
            letter
            for letter, on in (("b", journal.back), ("h", journal.held), ("z", AZ_REBALANCE in journal.suspended))
            if on
        ),
        "refresh": journal.refresh,
    }
    return " ".join(f"{key}={text}" for key, text in fields.items() if text not in ("", "0"))


def decode(value: str) -> Journal:
    """The journal in a tag's value. Raises RolloutError when no roll wrote it."""
    try:
        fields = dict(part.split("=", 1) for part in value.split())
        numbers = [_number(text) for text in fields.get("sizes", "0").split("/")]
        surge, pending, desired, max_size, headroom, headroom_before, old, failed = [
            *numbers,
            *[0] * (8 - len(numbers)),
        ]
        return Journal(
            owner=fields["owner"],
            beat=float(_number(fields["beat"], most=10**11)),
            started=float(_number(fields["start"], most=10**11)),
            target=Target(decode_template(fields["to"])),
            spec=f"${fields['spec']}" if fields.get("spec") else "",
            pins=_decode_pins(fields.get("pins", "")),
            suspended=(AZ_REBALANCE,) if "z" in fields.get("flags", "") else (),
            back="b" in fields.get("flags", ""),
            held="h" in fields.get("flags", ""),
            refresh=fields.get("refresh", ""),
            surge=surge,
            pending=pending,
            desired=desired,
            max_size=max_size,
            headroom=headroom,
            headroom_before=headroom_before,
            old=old,
            failed=failed,
        )
    except (KeyError, ValueError) as exc:
        raise RolloutError(
            f"the group's tag {TAG_JOURNAL} cannot be read as the journal of a roll ({value!r}): "
            "if no roll is under way, delete the tag and run again"
        ) from exc


def _number(text: str, most: int = _LARGEST) -> int:
    """A whole number from 0 on, and nothing else that Python would take for one. Raises ValueError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and int(text) <= most):
        raise ValueError(text)
    return int(text)


def _encode_pins(pins: Iterable[tuple[int, str]]) -> str:
    """A letter for each override of the policy, ``-`` where it does not float, runs as ``12L``."""
    letters = {place: version[1] for place, version in pins}
    line = [letters.get(place, "-") for place in range(max(letters, default=-1) + 1)]
    return "".join(f"{n if (n := len(list(run))) > 1 else ''}{letter}" for letter, run in groupby(line))


def _decode_pins(text: str) -> tuple[tuple[int, str], ...]:
    if not re.fullmatch(r"(\d{0,3}[LD-])*", text):
        raise ValueError(text)
    line = "".join(letter * int(count or 1) for count, letter in re.findall(r"(\d*)([LD-])", text))
    return tuple((place, _FLOATING[letter]) for place, letter in enumerate(line) if letter != "-")


def encode_template(template: Template) -> str:
    """``lt-0abc:7``, or ``lc/NAME`` for a launch configuration, whose name may hold any character."""
    if not template.id:
        return f"lc/{quote(template.name, safe=_SAFE)}"
    return f"{template.id}:{template.version.removeprefix('$')}"


def _encode_target(template: Template) -> str:
    """As encode_template; of a long name its digest, because the group itself has the name."""
    text = encode_template(template)
    return text if template.id or len(text) <= _LONGEST_NAME else _digest(template)


def _digest(template: Template) -> str:
    return f"lc/sha256={hashlib.sha256(template.name.encode(errors='surrogatepass')).hexdigest()[:_DIGEST]}"


def decode_template(text: str) -> Template:
    """The reverse of encode_template; the name of a launch template is not kept. Raises ValueError."""
    if text.startswith("lc/"):
        return Template("", text[3:] if text.startswith("lc/sha256=") else unquote(text[3:]))
    template_id, dummy, version = text.rpartition(":")
    if not template_id or not version:
        raise ValueError(text)
    return Template(template_id, "", version if version.isdecimal() else f"${version}")


def named(target: Template, known: Iterable[Template | None]) -> Template:
    """A template out of a journal, with the name of the same one among those that are known."""
    for template in known:
        if template is None:
            continue
        if target.id and template.id == target.id:
            return replace(target, name=template.name)
        if not target.id and not template.id and f"lc/{target.name}" == _digest(template):
            return template
    return target


def encode_record(record: Record) -> str:
    """The value of TAG_RECORD."""
    fields = {
        "from": encode_template(record.template),
        "start": str(int(record.started)),
        "open": "1" if record.unfinished else "",
        "own": ".".join((record.own.digest, *record.own.versions)),
        "stopped": str(int(record.stopped)) if record.stopped else "",
    }
    return " ".join(f"{key}={text}" for key, text in fields.items() if text)


def decode_record(value: str) -> Record | None:
    """The record in a tag's value; None when it cannot be read."""
    try:
        fields = dict(part.split("=", 1) for part in value.split())
        digest, *versions = fields.get("own", "").split(".")
        return Record(
            decode_template(fields["from"]),
            float(_number(fields["start"], most=10**11)),
            fields.get("open") == "1",
            OwnVersions(digest, tuple(str(_number(version)) for version in versions)),
            float(_number(fields.get("stopped", "0"), most=10**11)),
        )
    except (KeyError, ValueError):
        return None


def too_long(group: Group, journal: Journal, record: Record, largest: int, *, begins: bool) -> Iterable[str]:
    """Sentences about what does not fit into the group's tags, at its largest during the roll.

    ``largest`` is the largest size of the group that the roll may see; ``begins``: neither tag is there yet, as far as
    the group does not show it.
    """
    size = 0 if journal.refresh else max(largest, 1) * 10
    fullest = replace(
        journal,
        owner=journal.owner.ljust(_OWNER_LIMIT, "x"),
        refresh="x" * 36 if journal.refresh else "",
        surge=size,
        pending=size,
        desired=size,
        max_size=size,
        headroom=size,
        headroom_before=size,
        old=size,
        failed=size,
    )
    values = {
        TAG_JOURNAL: encode(fullest),
        TAG_RECORD: encode_record(replace(record, unfinished=True, stopped=9999999999.0)),
    }
    for tag, value in values.items():
        if len(value) > TAG_LIMIT:
            yield (
                f"what the roll has to keep in the tag {tag} of the group {group.name} has up to {len(value)} "
                f"characters, a tag holds {TAG_LIMIT}: "
                + (
                    "use fewer launch templates in its overrides"
                    if record.own.versions
                    else "give it a launch configuration with a shorter name"
                )
            )
    new = [tag for tag in values if tag not in group.tags]
    if begins and group.tag_count + len(new) > TAGS_LIMIT:
        yield (
            f"the group {group.name} has {group.tag_count} tags and a roll needs {len(new)} more, AWS allows "
            f"{TAGS_LIMIT}: delete some"
        )


def floating(version: str) -> bool:
    """Whether a version is ``$Latest`` or ``$Default``."""
    return version in FLOATING_VERSIONS
