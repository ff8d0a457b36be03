# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Combinations that cannot work, refused before any machine starts.

What concerns one variable alone is in the template's own validations, which Packer shows too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image import pair
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Template

# amazon-ebs registers an image from a snapshot of a running machine; the keys of Secure Boot can only be given to
# RegisterImage, which amazon-ebssurrogate calls itself.
_NO_SECURE_BOOT = ("amazon-ebs.",)

# The first and the last branch of NVIDIA's driver for a generation of GPUs, where there is one.
_FIRST = {"turing": 410, "ampere": 450, "ada": 525, "hopper": 525, "blackwell": 570}
_LAST = {"maxwell": 580, "pascal": 580, "volta": 580}

# The last day of Debian's security updates, LTS included (wiki.debian.org/LTS).
_END = {"debian-12": date(2028, 6, 30), "debian-13": date(2030, 6, 30)}


def check(seen: Template, lock: Path | None, *, today: date) -> None:
    """Raises ImageError with the reason. A template without a variable `gpu` promises nothing, so nothing is refused."""
    gpu = seen.values.get("gpu")
    if not isinstance(gpu, Mapping):
        return
    release = release_of(seen.values)
    if release and today > _END[release]:
        raise ImageError(
            f"the source image is {release}, which gets no security updates since {_END[release]}: choose a profile of a newer release"
        )
    driver = str(gpu.get("driver", "none"))
    if gpu.get("secure_boot") is True:
        for source in seen.sources:
            if source.build.startswith(_NO_SECURE_BOOT):
                raise ImageError(
                    f"{source.build} cannot make an image for Secure Boot with a key of yours: EC2 takes the key only when an image "
                    "is registered, which amazon-ebs does not let anybody do; use amazon-ebssurrogate or googlecompute, or set "
                    "gpu.secure_boot to false"
                )
    if seen.values.get("pair_below") is True and (lock is None or not seen.values.get("source_image")):
        raise ImageError(
            "pair_below says that the source image has the lock's kernel and driver: give that image as the variable source_image, "
            "and its lock, or leave pair_below out"
        )
    if driver == "none" and lock is None:
        return
    if lock is None:
        raise ImageError(
            f"an image with the {driver} driver needs a lock, so that kernel and driver fit: give lock, such as "
            f"{seen.directory / 'locks' / f'debian-13-amd64-{driver}.lock.json'}, or run make lock for a new one"
        )
    if not lock.is_file() or not lock.name.endswith(".lock.json"):
        return  # the fingerprint says what is wrong with it, or it is somebody's own
    locked = pair.read(lock)
    if locked.flavour != driver:
        raise ImageError(
            f"{lock} holds {_what(locked.flavour)}, and the profile asks for {_what(driver)}: give the lock of that flavour, or "
            "another profile"
        )
    if driver != "none" and "-rt-" in locked.kernel.release:
        raise ImageError(
            f"{lock} holds the real-time kernel {locked.kernel.release}, for which NVIDIA's driver does not compile: lock the cloud or the "
            "plain kernel of that version"
        )
    if locked.driver:
        _branch(lock, locked, str(gpu.get("family", "none")))
    if release and release != locked.release:
        raise ImageError(
            f"{lock} is for {locked.release}, and the source image is {release}: give the lock of that release"
        )


def _branch(lock: Path, locked: pair.Lock, family: str) -> None:
    version = locked.module_version
    branch = version.partition(".")[0]
    if not branch.isdecimal():
        return  # a driver of somebody's own
    if int(branch) < _FIRST.get(family, 0):
        raise ImageError(
            f"{lock} holds the driver {version}, and {family} GPUs begin with {_FIRST[family]}: lock a newer driver (make lock with "
            "--backports, or NVIDIA's repository), or another gpu.family"
        )
    if int(branch) > _LAST.get(family, int(branch)):
        raise ImageError(
            f"{lock} holds the driver {version}, and {family} GPUs end with {_LAST[family]}: lock an older driver, or another gpu.family"
        )


def _what(flavour: str) -> str:
    return "no driver" if flavour == "none" else f"the {flavour} driver"


def release_of(values: Mapping[str, Any]) -> str:
    """Debian's release out of the name of the source image; empty when it does not say."""
    name = str(values.get("source_image_name", ""))
    return next((release for release in _END if name.startswith(release)), "")
