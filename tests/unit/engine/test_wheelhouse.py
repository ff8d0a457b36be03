# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks decided for the guest, and fingerprints of what a wheelhouse is made from."""

from __future__ import annotations

import importlib.util
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "engine" / "wheelhouse.py"
LOCK = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa
    # via trimesh
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:bb
redis==8.1.0 \\
    --hash=sha256:cc \\
    --hash=sha256:dd
"""


@pytest.fixture(scope="module")
def wheelhouse() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheelhouse", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lock_is_decided_for_the_guest_not_for_us(wheelhouse: ModuleType) -> None:
    old, new = (wheelhouse.lock_for(LOCK, python, "x86_64") for python in ("3.11", "3.13"))
    assert (
        old == "numpy==2.4.6 \\\n    --hash=sha256:aa\nredis==8.1.0 \\\n    --hash=sha256:cc \\\n    --hash=sha256:dd\n"
    )
    assert new == old.replace("2.4.6", "2.5.5").replace("aa", "bb")


def test_real_locks_name_each_package_once(wheelhouse: ModuleType) -> None:
    for profile in wheelhouse.PROFILES:
        text = (wheelhouse.ROOT / "requirements" / f"{profile}.txt").read_text()
        for python in ("3.11", "3.13"):
            lines = [line for line in wheelhouse.lock_for(text, python, "x86_64").splitlines() if line[0].isalnum()]
            names = [line.split("==")[0] for line in lines]
            assert len(names) == len(set(names))
            assert "numpy" in names if profile == "engine" else "numpy" not in names


def test_fingerprint_follows_every_input(
    wheelhouse: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a.py": tmp_path / "a.py", "b.txt": tmp_path / "b.txt"}
    for path in files.values():
        path.write_text("x")
    monkeypatch.setattr(wheelhouse, "sources", lambda profile: files)
    base = wheelhouse.fingerprint("api", "3.13", "x86_64")
    assert wheelhouse.fingerprint("api", "3.13", "x86_64") == base
    assert wheelhouse.fingerprint("api", "3.11", "x86_64") != base
    files["b.txt"].write_text("y")
    assert wheelhouse.fingerprint("api", "3.13", "x86_64") != base


def test_tar_has_the_same_bytes_whenever_it_is_made(wheelhouse: ModuleType, tmp_path: Path) -> None:
    directory = tmp_path / "in"
    directory.mkdir()
    for name in ("z.whl", "a.whl", "fingerprint"):
        (directory / name).write_text(f"{name}\n")
    first = wheelhouse.pack(directory, tmp_path / "one.tar")
    (directory / "a.whl").touch()
    assert wheelhouse.pack(directory, tmp_path / "two.tar") == first
    assert wheelhouse.recorded(tmp_path / "one.tar") == "fingerprint"
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert tar.getnames() == ["a.whl", "fingerprint", "z.whl"]


def test_what_is_no_wheelhouse(wheelhouse: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.tar").write_text("no tar")
    assert wheelhouse.show(tmp_path / "x.tar") == 1
    assert wheelhouse.show(tmp_path / "none.tar") == 1
    assert "make it with engine/wheelhouse.py" in capsys.readouterr().err
