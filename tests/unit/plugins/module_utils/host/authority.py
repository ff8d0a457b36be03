# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet's authority for tests, and what it signs: as deploy makes them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ansible_collections.boring.fleet.plugins.module_utils.fleet import certificates


class Authority:
    """Of one fleet. `certificate` is in PEM."""

    def __init__(self) -> None:
        self._pair = certificates.make_authority("shop fleet", time.time())
        self.certificate = self._pair.certificate

    def sign(self, names: Sequence[str], days: float = 60) -> tuple[str, str]:
        """Certificate and key in PEM for names and addresses; with fewer than no days it ended already."""
        made = certificates.sign(self._pair, names, time.time() - (certificates.DAYS - days) * 86_400)
        return made.certificate, made.key
