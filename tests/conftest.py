# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checkout importable by the names that Ansible and Python use for it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for path in (ROOT, ROOT / "engine" / "src", ROOT / "roles" / "nvidia_driver" / "files", ROOT / "build" / "collections"):
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
