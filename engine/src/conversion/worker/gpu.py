# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host's own check says of its GPUs (gpu-ready, gpu-watch): an engine on a host whose GPUs do not work is not ready."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path("/run/boring.fleet/gpu.json")


def problem(file: Path = FILE) -> str | None:
    """Why, or None: also where nobody checks."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return None if found["ready"] else f"The GPUs of this host do not work: {found['reason']}."
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        return f"What is known of this host's GPUs cannot be read ({file}: {exc})."
