# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down of a host's GPUs (/run/boring.fleet/gpu.json): for its services, for the launch hook, for people."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gpu_host.facts import Declared, Problem, Seen, Xid

SCHEMA = 1


def document(
    seen: Seen, declared: Declared, found: Sequence[Problem], before: Mapping[str, Any], checked: str, *, over: bool
) -> dict[str, Any]:
    """One look as JSON. `before` is the document of the look before this one: its Xids, its most GPUs and its computed kernels are kept for as
    long as the host is up. `over`: whether the check at boot has ended. In the document `failures` counts looks in a row that found something, and
    `notified` is what Auto Scaling answered."""
    computed = seen.computed if seen.computed is not None else before.get("computed")
    gpus = len(seen.pci)
    if found:
        reason = found[0].sentence + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
    else:
        reason = "" if gpus else "this host has no GPU, and its class needs none"
    return {
        "schema": SCHEMA,
        "ready": not found,
        "reason": reason,
        "checked": checked,
        "booted": over or bool(before.get("booted")),
        "failures": int(before.get("failures", 0)) + 1 if found else 0,
        "notified": str(before.get("notified", "")) if found else "",
        "most_gpus": max(gpus, int(before.get("most_gpus", 0))),
        "problems": [asdict(problem) for problem in found],
        "declared": asdict(declared),
        "computed": None if computed is None else dict(computed),
        **{key: value for key, value in asdict(seen).items() if key != "computed"},
    }


def with_earlier(seen: Seen, before: Mapping[str, Any]) -> Seen:
    """The kernel's log loses its oldest lines; a fault that was seen once stays one until the host is replaced."""
    known = {(xid.number, xid.bus_id): xid for xid in seen.xids}
    for earlier in before.get("xids", []):
        xid = Xid(int(earlier["number"]), str(earlier["bus_id"]), str(earlier["said"]))
        known.setdefault((xid.number, xid.bus_id), xid)
    return replace(seen, xids=tuple(known.values()))


def read(path: Path) -> dict[str, Any]:
    """Empty when there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """In one step, so that nobody reads half of it; everybody may read it."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".gpu-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, 0o644)
        file.write(text)
    Path(name).replace(path)
