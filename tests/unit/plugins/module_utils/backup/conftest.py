# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of backups share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.backup.services import Keys, World


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, Keys(tmp_path), capsys, monkeypatch)
