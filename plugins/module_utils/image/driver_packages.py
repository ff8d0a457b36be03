# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages a driver is made of, in Debian's archive and in NVIDIA's own repository, and whether they fit each other. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.image import pair
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.pair import Driver, Package

# Names as patterns: Debian's tesla driver has its branch in its name, and a release may have several.
DEBIAN_DKMS: Final[Mapping[str, str]] = {
    "open": "nvidia-open-kernel-dkms",
    "proprietary": "nvidia-kernel-dkms",
    "tesla": "nvidia-tesla(-[0-9]+)?-kernel-dkms",
}
# What a GPU host without a screen needs beside the module: CUDA, EGL, monitoring, persistence.
_DEBIAN: Final = ("libcuda1", "nvidia-smi", "nvidia-persistenced", "nvidia-egl-icd", "libnvidia-encode1", "libnvcuvid1")
_DEBIAN_TESLA: Final = (
    "lib{}-cuda1", "{}-smi", "lib{}-cfg1", "nvidia-persistenced", "{}-egl-icd", "lib{}-encode1", "lib{}-nvcuvid1",
)  # fmt: skip

# NVIDIA Driver Installation Guide, Debian, compute only.
NVIDIA_DKMS: Final[Mapping[str, str]] = {"open": "nvidia-kernel-open-dkms", "proprietary": "nvidia-kernel-dkms"}


@dataclass(frozen=True)
class Part:
    """Something that an image needs of NVIDIA's repository: its names, the first that is there, and whether it has the driver's version."""

    names: tuple[str, ...]  # {branch} and {version} stand for the driver's
    with_driver: bool = True
    must: bool = True


NVIDIA_PARTS: Final = (
    Part(("nvidia-driver-pinning-{version}",), with_driver=False, must=False),
    Part(("nvidia-driver-cuda",)),
    Part(("nvidia-persistenced",)),
    Part(("nvidia-modprobe",)),
    Part(("nvidia-fabricmanager", "nvidia-fabricmanager-{branch}")),
    Part(("libnvidia-nscq", "libnvidia-nscq-{branch}")),
    Part(("datacenter-gpu-manager-4-core", "datacenter-gpu-manager"), with_driver=False),
    Part(("nvidia-container-toolkit",), with_driver=False),
)


def debian(driver: Driver) -> tuple[str, ...]:
    """The packages of Debian's that a host needs beside the driver's module."""
    branch = driver.package.removesuffix("-kernel-dkms")
    if branch.startswith("nvidia-tesla"):
        return tuple(name.format(branch) for name in _DEBIAN_TESLA)
    return _DEBIAN


def upstream(version: str) -> str:
    """580.95.05 of 1:580.95.05-1."""
    return version.rpartition(":")[2].partition("-")[0].partition("+")[0]


def names(driver: Driver) -> list[str]:
    """Every name that NVIDIA's repository may have a part under."""
    return [name for part in NVIDIA_PARTS for name in _names(part, driver)]


def _names(part: Part, driver: Driver) -> tuple[str, ...]:
    version = upstream(driver.version)
    return tuple(name.format(branch=version.partition(".")[0], version=version) for name in part.names)


def nvidia(driver: Driver, there: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The packages of NVIDIA's repository beside the driver's module, exactly: `name=version`. `there`: what it has of `names`.

    Raises ImageError when a part is missing, or is not there at the driver's version.
    """
    found: dict[str, list[str]] = {}
    for name, version in there:
        found.setdefault(name, []).append(version)
    wanted = []
    for part in NVIDIA_PARTS:
        chosen = _chosen(part, driver, found)
        if chosen:
            wanted.append(chosen)
        elif part.must:
            kinds = " or ".join(_names(part, driver))
            at = f" {upstream(driver.version)}" if part.with_driver else ""
            other = sorted({version for name in _names(part, driver) for version in found.get(name, [])})
            has = f", only {', '.join(other)}" if other else ""
            raise ImageError(
                f"the repository has no {kinds}{at}{has}: what belongs to the driver has to have its version, so lock another driver"
            )
    return tuple(wanted)


def _chosen(part: Part, driver: Driver, found: Mapping[str, Sequence[str]]) -> str:
    for name in _names(part, driver):
        versions = [
            version
            for version in found.get(name, [])
            if not part.with_driver or upstream(version) == upstream(driver.version)
        ]
        if versions:
            return f"{name}={min(versions, key=pair.newest_first)}"
    return ""


def of_branch(drivers: Iterable[Driver], branch: int | None) -> list[Driver]:
    """The drivers of a branch such as 580; all of them without one."""
    return [driver for driver in drivers if branch is None or upstream(driver.version).partition(".")[0] == str(branch)]


_DRIVER_VERSION: Final = re.compile(r"[4-9][0-9]{2}\.[0-9]+(\.[0-9]+)?")


def strangers(driver: Driver, packages: Iterable[Package]) -> list[str]:
    """Packages of NVIDIA's that have the version of another driver: a dependency that says `>=` brings the newest."""
    version = upstream(driver.version)
    return [
        f"{package.name} {package.version}"
        for package in packages
        if "nvidia" in package.name or package.name.startswith("libcuda")
        if _DRIVER_VERSION.fullmatch(upstream(package.version)) and upstream(package.version) != version
    ]


def of_the_pair(name: str, source: str, repository: Collection[tuple[str, str]], version: str) -> bool:
    """What changes together with the pair, and what comes of NVIDIA's repository, of which nothing else is taken.

    Everything else keeps getting security updates.
    """
    source = source.partition(" ")[0]
    kernel = source == "linux" or source.startswith("linux-signed-")
    return kernel or "nvidia" in name or "nvidia" in source or (name, version) in repository
