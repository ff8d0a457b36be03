# SPDX-License-Identifier: GPL-3.0-or-later
"""The pair of kernel and driver: which is newest, which compiles, what is written down."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import pair
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.pair import Driver, Kernel, Lock, Package, Refusal

# Oldest first; every neighbour has been somebody's bug.
VERSIONS = [
    "1.0~rc1-1",
    "1.0-1~bpo12+1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1.1",
    "1.0a-1",
    "1.0+deb13-1",
    "6.1.0-9",
    "6.1.0-42",
    "6.12.96-1",
    "6.12.100-1~deb12u1",
    "6.12.100-1",
    "6.12.115-1",
    "6.12.115-2",
    "550.163.01-2",
    "550.163.01-4~bpo13+1",
    "550.163.01-4",
    "1:0.1-1",
]


def test_versions_compare_as_debian_says() -> None:
    for (at, left), (other, right) in itertools.product(enumerate(VERSIONS), repeat=2):
        assert pair.compare(left, right) == (at > other) - (at < other), (left, right)
    assert pair.compare("1.0-0", "1.0") == 0
    assert pair.compare("1.01-1", "1.1-1") == 0


@pytest.mark.skipif(not shutil.which("dpkg"), reason="not a Debian: dpkg cannot be asked")
def test_dpkg_agrees() -> None:
    for left, right in itertools.pairwise(VERSIONS):
        assert (
            subprocess.run(["dpkg", "--compare-versions", left, "lt", right], timeout=10, check=False).returncode == 0
        )


OLD, NEW, NEWEST = Kernel("6.12.94", "6.12.94-1"), Kernel("6.12.100", "6.12.100-1"), Kernel("6.12.117", "6.12.117-1")
D1, D2 = Driver("driver", "550.163.01-2"), Driver("driver", "550.163.01-4~bpo13+1")


def test_the_newest_pair_that_compiles_and_why_newer_ones_do_not() -> None:
    tried: list[tuple[str, str]] = []

    def attempt(kernel: Kernel, driver: Driver) -> str:
        tried.append((kernel.release, driver.version))
        return "" if kernel is NEW and driver is D1 else f"error of {kernel.release}"

    choice = pair.choose([OLD, NEWEST, NEW], [D1, D2], attempt)
    assert (choice.kernel, choice.driver) == (NEW, D1)
    assert tried == [
        ("6.12.117", D2.version),
        ("6.12.117", D1.version),
        ("6.12.100", D2.version),
        ("6.12.100", D1.version),
    ]
    assert [str(refusal) for refusal in choice.refused] == [
        "driver 550.163.01-4~bpo13+1 on 6.12.117: error of 6.12.117",
        "driver 550.163.01-2 on 6.12.117: error of 6.12.117",
        "driver 550.163.01-4~bpo13+1 on 6.12.100: error of 6.12.100",
    ]


def test_when_the_newest_compiles_nothing_else_is_tried() -> None:
    choice = pair.choose([OLD, NEWEST], [D1], lambda kernel, driver: "" if kernel is NEWEST else "never asked")
    assert (choice.kernel, choice.refused) == (NEWEST, ())


def test_no_pair() -> None:
    with pytest.raises(
        ImageError, match=r"none of 2 pairs compiles; the newest one, driver 550.163.01-2 on 6.12.117: x"
    ):
        pair.choose([OLD, NEWEST], [D1], lambda kernel, driver: "x")
    with pytest.raises(ImageError, match="the 1 newest pairs do not compile"):
        pair.choose([OLD, NEWEST], [D1], lambda kernel, driver: "x", limit=1)
    with pytest.raises(ImageError, match="no driver to choose from"):
        pair.choose([OLD], [], lambda kernel, driver: "")


LOCK = Lock(
    "debian-13",
    "amd64",
    "open",
    NEW,
    (Package("nvidia-smi", "550.163.01-2", "amd64", "b" * 64), Package("dkms", "3.2.2-1", "all", "a" * 64)),
    D1,
    "nvidia-current-open",
    "550.163.01",
    (Refusal("6.12.117", "driver 1", "x.c:1:2: error: too few"),),
)


def test_a_lock_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    path.write_text(LOCK.document())
    back = pair.read(path)
    assert back.document() == LOCK.document()
    assert (back.kernel, back.driver, back.refused) == (LOCK.kernel, LOCK.driver, LOCK.refused)
    assert [package.name for package in back.packages] == ["dkms", "nvidia-smi"]
    assert path.read_text().count("\n    {") == len(LOCK.packages) + len(LOCK.refused)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', LOCK.document().replace('"open"', '"grid"')])
def test_what_is_no_lock(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock.json"
    path.write_text(text)
    with pytest.raises(ImageError, match="run make lock"):
        pair.read(path)
    with pytest.raises(ImageError, match="run make lock"):
        pair.read(tmp_path / "absent")


def test_what_apt_says() -> None:
    said = (
        "linux-image-6.12.117+deb13-cloud-amd64 | 6.12.117-1 | http://security.debian.org trixie-security/main amd64 Packages\n"
        "linux-image-6.12.96+deb13-cloud-amd64 |  6.12.96-1 | http://security.debian.org trixie-security/main amd64 Packages\n"
        "linux-image-6.12.96+deb13-cloud-amd64 |  6.12.96-1 | http://deb.debian.org trixie/main amd64 Packages\n"
        "linux-image-6.12-cloud-amd64 | 6.12.117-1 | http://deb.debian.org trixie/main amd64 Packages\n"
        "     linux | 6.12.117-1 | http://deb.debian.org trixie/main Sources\n"
    )
    images = pair.madison(said)
    assert len(images) == 3
    headers = [("linux-headers-6.12.117+deb13-cloud-amd64", "6.12.117-1")]
    assert pair.kernels(images, headers) == [Kernel("6.12.117+deb13-cloud-amd64", "6.12.117-1")]
    assert pair.kernels(images, [("linux-headers-6.12.117+deb13-cloud-amd64", "6.12.117-2")]) == []
    simulated = (
        "Inst kmod (34.2-2 Debian:13.1/stable [amd64])\n"
        "Inst libc6 [2.41-11] (2.41-12 Debian:13.1/stable, Debian-Security:13/stable-security [amd64])\n"
        "Conf kmod (34.2-2 Debian:13.1/stable [amd64])\n"
    )
    assert pair.closure(simulated) == [("kmod", "34.2-2", "amd64"), ("libc6", "2.41-12", "amd64")]
    shown = "Package: kmod\nDescription: tools\n more: of it\nSHA256: abc\n\nPackage: x\n"
    assert pair.stanzas(shown) == [{"Package": "kmod", "Description": "tools", "SHA256": "abc"}, {"Package": "x"}]
