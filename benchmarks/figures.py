# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios redis_cluster and nats_cluster counted, kept for `make bench-data` as long as nothing changes that they
counted it of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    "redis_cluster": (
        "roles/redis", "roles/certificates", "roles/host_checks", "playbooks/roll_redis.yml",
        "playbooks/renew_certificates.yml", "plugins/modules/redis_set.py", "plugins/module_utils/redis",
        "molecule/redis_cluster", "molecule/shared",
    ),
    "nats_cluster": (
        "roles/nats", "roles/certificates", "roles/host_checks", "playbooks/roll_nats.yml",
        "playbooks/renew_certificates.yml", "plugins/modules/nats_stream.py", "plugins/module_utils/nats",
        "molecule/nats_cluster", "molecule/shared",
    ),
}  # fmt: skip


def _place(scenario: str) -> Path:
    return ROOT / "build" / "bench" / f"{scenario}.json"


def _counted_of(scenario: str) -> str:
    """A digest of everything in SOURCES, by content: a checkout gives every file a new date."""
    total = hashlib.sha256()
    for source in SOURCES[scenario]:
        path = ROOT / source
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.name != "README.md":
                total.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return total.hexdigest()


def keep(scenario: str, figures: dict[str, Any]) -> None:
    """Keep figures, by what was done to the cluster. Only those of a whole scenario that passed are worth it."""
    place = _place(scenario)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"counted_of": _counted_of(scenario), "figures": figures}, indent=1))


def kept(scenario: str) -> dict[str, Any] | None:
    """The figures, or None where there are none of what is there now."""
    try:
        found = json.loads(_place(scenario).read_text())
    except FileNotFoundError:
        return None
    if found.get("counted_of") != _counted_of(scenario):
        return None
    figures: dict[str, Any] = found["figures"]
    return figures
