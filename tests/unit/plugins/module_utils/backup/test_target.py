# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups in a directory: an object is there as a whole or not at all."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.backup.crypt import Encrypted, decrypted
from ansible_collections.boring.fleet.plugins.module_utils.backup.target import Directory
from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError
from tests.unit.plugins.module_utils.backup.services import Keys

ROOT = Path(__file__).resolve().parents[5]
PUT = """
import sys
sys.path[:0] = sys.argv[3:]
from ansible_collections.boring.fleet.plugins.module_utils.backup.target import Directory
Directory(sys.argv[1]).put(sys.argv[2], b"x" * (64 << 20))
"""


def test_objects_come_and_go(tmp_path: Path) -> None:
    target = Directory(str(tmp_path))
    target.put("bus/one/1", b"data")
    target.put("bus/two/1", b"")
    assert target.get("bus/one/1") == b"data"
    assert target.list("bus/") == {"one/1": 4, "two/1": 0}
    assert target.list("store/") == {}
    target.delete("bus/one/1")
    target.delete("bus/one/1")
    assert not (tmp_path / "bus" / "one").exists(), "a folder goes with its last file"
    assert (tmp_path / "bus" / "two" / "1").stat().st_mode & 0o077 == 0


def test_what_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    target = Directory(str(tmp_path / "share"))
    with pytest.raises(BackupError, match="there is no such directory; look at the directory, its disk"):
        target.put("bus/1", b"data")
    with pytest.raises(BackupError, match="is no directory: make it, or mount what belongs there"):
        target.list("bus/")
    assert not (tmp_path / "share").exists()


def test_a_writer_that_is_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    """The last object that a power cut met is not half there, and what is left of it is listed, so that it goes."""
    process = subprocess.Popen([sys.executable, "-c", PUT, tmp_path, "bus/1", ROOT, ROOT / "build" / "collections"])
    while process.poll() is None and not list(tmp_path.rglob(".data-backup-*")):
        pass
    process.kill()
    process.wait()
    target = Directory(str(tmp_path))
    left = target.list("bus/")
    assert left in ({"1": 64 << 20}, {name: left[name] for name in left if name.startswith(".data-backup-")})
    target.put("bus/1", b"whole")
    assert target.list("bus/")["1"] == 5
    for name in target.list("bus/"):
        target.delete(f"bus/{name}")
    assert not (tmp_path / "bus").exists()


def test_what_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    target = Directory(str(tmp_path))
    target.put("bus/1", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(BackupError, match="bus/1 cannot be written: File too large"):
            target.put("bus/1", b"x" * (2 << 20))
        with pytest.raises(BackupError, match="age did not encrypt: "):
            writer = Encrypted(tmp_path / "file.age", [Keys(tmp_path).recipient])
            try:
                for _ in range(100):
                    writer.write(b"x" * (1 << 20))
                writer.close()
            finally:
                writer.abort()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.get("bus/1") == b"old"
    assert [path.name for path in (tmp_path / "bus").iterdir()] == ["1"]


def test_any_change_of_an_encrypted_file_is_found(tmp_path: Path) -> None:
    keys, path, data = Keys(tmp_path), tmp_path / "file.age", os.urandom(300_000)
    writer = Encrypted(path, [keys.recipient])
    writer.write(data)
    writer.close()
    with decrypted(path, keys.identity) as pieces:
        assert b"".join(pieces) == data
    whole = path.read_bytes()
    for changed in (
        whole[:-1],
        whole[:70_000],
        whole[:200_000] + b"!" + whole[200_001:],
        whole + b"!",
        b"",
        b"nonsense",
    ):
        path.write_bytes(changed)
        with pytest.raises(BackupError, match="age did not decrypt: "), decrypted(path, keys.identity) as pieces:
            for _ in pieces:
                pass
    path.write_bytes(whole)
    with pytest.raises(BackupError, match="age did not decrypt: "), decrypted(path, "no key at all") as pieces:
        list(pieces)
