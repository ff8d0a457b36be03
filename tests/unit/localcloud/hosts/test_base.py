# SPDX-License-Identifier: GPL-3.0-or-later
"""Base images with an mmdebstrap of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localcloud.hosts import base
from localcloud.hosts.podman import HostError
from tests.unit.localcloud.fakes import FakePodman


class NoImages(FakePodman):
    def has_image(self, tag: str) -> bool:
        return tag in self.images_

    def __call__(self, *args: str, seconds: float = 60) -> str:
        if args[0] == "import":
            self.images_.add(args[-1])
        return super().__call__(*args, seconds=seconds)


class Bench:
    """``mmdebstrap`` is a script that logs its calls; its last argument is the file to write."""

    def __init__(self, path: Path) -> None:
        self.rootfs, self.podman, self.told = path / "rootfs", NoImages(), list[str]()
        self._script, self._log = path / "bin" / "mmdebstrap", path / "log"
        self._script.parent.mkdir()
        self.script('for last; do :; done; echo "I: running apt-get update..." >&2; echo disk > "$last"')

    def script(self, text: str) -> None:
        self._script.write_text(f'#!/bin/sh\necho "$*" >> {self._log}\n{text}\n')
        self._script.chmod(0o755)

    def arguments(self) -> str:
        return self._log.read_text()

    def calls(self) -> int:
        return self._log.read_text().count("--variant=minbase") if self._log.exists() else 0

    def ensure(self, release: str = "debian-13", *, refresh: bool = False) -> base.Base:
        return base.ensure(release, self.rootfs, self.podman, self.told.append, refresh=refresh)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return made


def test_built_once_imported_once_and_told(bench: Bench) -> None:
    first = bench.ensure()
    assert bench.told == ["debian-13: running apt-get update...", "debian-13: importing"]
    assert {first.tag, first.alias} <= bench.podman.images_
    assert first.ami_name == f"debian-13-{base.architecture()}-{first.date}-0000"
    assert bench.ensure() == first
    assert bench.calls() == 1


def test_a_name_that_is_gone_is_given_again(bench: Bench) -> None:
    """Another checkout may have removed what it took for the newest."""
    first = bench.ensure()
    bench.podman.images_.remove(first.alias)
    bench.ensure()
    assert first.alias in bench.podman.images_


def test_the_cache_serves_a_machine_whose_images_were_pruned(bench: Bench) -> None:
    first = bench.ensure()
    bench.podman.images_.clear()
    assert bench.ensure() == first
    assert first.tag in bench.podman.images_
    assert bench.calls() == 1


def test_refresh_and_a_new_recipe_build_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.ensure()
    bench.ensure(refresh=True)
    assert bench.calls() == 2
    monkeypatch.setattr(base, "_RECIPE", base._RECIPE + 1)
    bench.ensure()
    assert bench.calls() == 3


def test_package_lists_are_empty_and_old(bench: Bench, tmp_path: Path) -> None:
    """Ansible's apt takes lists that changed within cache_valid_time for fresh ones, and then finds no package."""
    lists = tmp_path / "root" / "var/lib/apt/lists"
    for folder in ("etc/cloud/cloud.cfg.d", "etc/default", "var/lib/apt/lists/partial", "var/lib/apt/lists/auxfiles"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    for name in ("lock", "deb.debian.org_InRelease", "auxfiles/one"):
        (lists / name).touch()
    (tmp_path / "bin" / "chroot").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "chroot").chmod(0o755)
    bench.script(
        'for one; do case "$one" in --customize-hook=*) hook="${one#*=}";; esac; last="$one"; done\n'
        f'sh -c "$hook" hook {tmp_path / "root"} && echo disk > "$last"'
    )
    bench.ensure()
    assert sorted(path.name for path in lists.iterdir()) == ["lock", "partial"]
    assert lists.stat().st_mtime == 0
    assert "--skip=cleanup/apt " in bench.arguments(), "or mmdebstrap touches them after the hook"


@pytest.mark.parametrize(
    ("complaint", "way_out"),
    [
        ("E: apt-get update failed", r"apt-get update failed \(is Debian's archive reachable"),
        ("E: tar: No space left on device", r"No space left on device \(free some space"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_nothing(bench: Bench, complaint: str, way_out: str) -> None:
    bench.script(f'for last; do :; done; echo half > "$last"; echo "{complaint}" >&2; exit 25')
    with pytest.raises(HostError, match=way_out):
        bench.ensure()
    assert list(bench.rootfs.iterdir()) == []


def test_a_build_that_fails_keeps_the_old_one(bench: Bench) -> None:
    first = bench.ensure()
    bench.script("exit 1")
    with pytest.raises(HostError):
        bench.ensure(refresh=True)
    assert bench.ensure() == first


def test_mmdebstrap_missing_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(HostError, match="apt-get install mmdebstrap"):
        bench.ensure()


def test_an_unknown_release_is_named(bench: Bench) -> None:
    with pytest.raises(HostError, match="no base image debian-11: choose among debian-12, debian-13"):
        bench.ensure("debian-11")
