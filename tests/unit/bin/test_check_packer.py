# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/check-packer: it fails for a template that Packer would not build, on each source, and for sources that there are not."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def check(tmp_path: Path) -> ModuleType:
    """On a copy with one profile and one service."""
    loader = importlib.machinery.SourceFileLoader("check_packer", str(ROOT / "bin" / "check-packer"))
    spec = importlib.util.spec_from_loader("check_packer", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    shutil.copytree(ROOT / "packer", tmp_path / "packer", ignore=shutil.ignore_patterns("tools", "locks"))
    for folder, kept in (("images", "gpu"), ("services", "data")):
        for path in (tmp_path / "packer" / folder).iterdir():
            if path.name != f"{kept}.pkrvars.hcl":
                path.unlink()
    module.TEMPLATE = tmp_path / "packer"  # type: ignore[attr-defined]
    return module


def test_the_template_is_valid(check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main() == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "well", "broken"),
    [
        ("sources.amazon-ebs.pkr.hcl", '"5m"', '"five minutes"'),
        ("sources.googlecompute.pkr.hcl", '"5m"', '"five minutes"'),
        ("sources.qemu.pkr.hcl", "ssh_timeout", "ssh_timeouts"),
        ("images/gpu.pkrvars.hcl", '"ampere"', '"blackwell"'),
    ],
)
def test_what_is_broken_is_seen(
    check: ModuleType, capsys: pytest.CaptureFixture[str], file: str, well: str, broken: str
) -> None:
    path = check.TEMPLATE / file
    assert well in path.read_text()
    path.write_text(path.read_text().replace(well, broken))
    assert check.main() == 1
    assert "packer validate" in capsys.readouterr().err


def test_sources_that_are_not_there(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SOURCES", ("amazon-ebs.gpu",))
    assert check.main() == 1
