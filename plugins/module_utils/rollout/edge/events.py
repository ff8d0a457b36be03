# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events as JSON lines in a file: the live progress, the report and whoever else reads along."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import Event


class EventFile:
    """Appends events; without a path it does nothing."""

    def __init__(self, path: str | None) -> None:
        try:
            self._file = Path(path).open("a", encoding="utf-8") if path else None  # noqa: SIM115 - closed in __exit__
        except OSError as exc:
            raise RolloutError(f"events_path {path} cannot be written: {exc.strerror or exc}") from exc

    def emit(self, event: Event) -> None:
        """One line, at once. A disk that is full must not stop a roll half way."""
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(event, sort_keys=True, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError:
            self._file = None

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
