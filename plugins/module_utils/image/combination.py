# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Combinations that cannot work, refused before any machine starts.

What concerns one variable alone is in the template's own validations, which Packer shows too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image import ends, pair
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Template

# amazon-ebs registers an image from a snapshot of a running machine; the keys of Secure Boot can only be given to
# RegisterImage, which amazon-ebssurrogate calls itself.
_NO_SECURE_BOOT = ("amazon-ebs.",)

# The variable of a template with which a user takes a driver that NVIDIA supports no more.
INSIST = "unsupported_driver"

# The first and the last branch of NVIDIA's driver for a generation of GPUs, where there is one.
_FIRST = {"turing": 410, "ampere": 450, "ada": 525, "hopper": 525, "blackwell": 570}
_LAST = {"maxwell": 580, "pascal": 580, "volta": 580}


def check(seen: Template, lock: Path | None, *, today: date) -> tuple[str, ...]:
    """Warnings, a sentence each. Raises ImageError with the reason against what cannot work. A template without a variable `gpu` promises
    nothing, so nothing is refused."""
    gpu = seen.values.get("gpu")
    if not isinstance(gpu, Mapping):
        return ()
    release = release_of(seen.values)
    against, soon = ends.debian(release, today) if release else ("", "")
    if against:
        raise ImageError(against)
    warnings = [soon]
    _template(seen, gpu, lock)
    driver = str(gpu.get("driver", "none"))
    if (
        lock is not None and lock.is_file() and lock.name.endswith(".lock.json")
    ):  # else the fingerprint says what is wrong with it
        locked = pair.read(lock)
        _lock(lock, locked, release, architecture_of(seen.values), driver)
        if locked.driver:
            _branch(lock, locked, str(gpu.get("family", "none")))
            warnings += [_supported(seen.values, lock, locked, today), _cuda(seen.values, locked)]
            if not locked.compiled:
                warnings.append(
                    f"{lock} was made on another architecture, so that its pair of kernel and driver was not compiled yet: the build may fail"
                )
    return tuple(filter(None, warnings))


def _template(seen: Template, gpu: Mapping[str, Any], lock: Path | None) -> None:
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
    if driver != "none" and lock is None:
        raise ImageError(
            f"an image with the {driver} driver needs a lock, so that kernel and driver fit: give lock, such as "
            f"{seen.directory / 'locks' / f'debian-13-amd64-{driver}.lock.json'}, or run make lock for a new one"
        )


def _lock(lock: Path, locked: pair.Lock, release: str, architecture: str, driver: str) -> None:
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
    if architecture and architecture != locked.architecture:
        raise ImageError(
            f"{lock} is for {locked.architecture}, and the source image is for {architecture}: give the lock of that architecture"
        )
    if release and release != locked.release:
        raise ImageError(
            f"{lock} is for {locked.release}, and the source image is {release}: give the lock of that release"
        )


def _supported(values: Mapping[str, Any], lock: Path, locked: pair.Lock, today: date) -> str:
    """What is to be said of a driver that NVIDIA supports, or that the user insists on."""
    against, soon = ends.nvidia(locked.module_version, today)
    if not against:
        return soon
    if values.get(INSIST) is True:
        return f"{against}; the image is built all the same, because {INSIST} says so"
    raise ImageError(
        f"{lock}: {against}: lock a supported one (make lock with --repository, as docs/images.md has it), or set the variable {INSIST} to true"
    )


def _cuda(values: Mapping[str, Any], locked: pair.Lock) -> str:
    """Whether the driver runs what the role cuda_runtime installs."""
    given = values.get("role_variables")
    variables = dict(given) if isinstance(given, Mapping) else {}
    try:
        more = json.loads(str(values.get("role_variables_json") or "{}"))
    except ValueError:
        more = {}
    version = str((variables | (more if isinstance(more, dict) else {})).get("cuda_runtime_version") or "")
    if not version:
        return ""
    against, doubt = ends.cuda(version, locked.module_version)
    if against:
        raise ImageError(against)
    return doubt


def _branch(lock: Path, locked: pair.Lock, family: str) -> None:
    version = locked.module_version
    branch = version.partition(".")[0]
    if not branch.isdecimal():
        return  # a driver of somebody's own
    if int(branch) < _FIRST.get(family, 0):
        raise ImageError(
            f"{lock} holds the driver {version}, and {family} GPUs begin with {_FIRST[family]}: lock a newer driver (make lock with "
            "--repository), or another gpu.family"
        )
    if int(branch) > _LAST.get(family, int(branch)):
        raise ImageError(
            f"{lock} holds the driver {version}, and {family} GPUs end with {_LAST[family]}: lock an older driver, or another gpu.family"
        )


def _what(flavour: str) -> str:
    return "no driver" if flavour == "none" else f"the {flavour} driver"


def architecture_of(values: Mapping[str, Any]) -> str:
    """Debian's name of the architecture out of the name of the source image; empty when it does not say."""
    parts = str(values.get("source_image_name", "")).split("-")
    return next((name for name in ("amd64", "arm64") if name in parts), "")


def release_of(values: Mapping[str, Any]) -> str:
    """Debian's release out of the name of the source image; empty when it does not say."""
    name = str(values.get("source_image_name", ""))
    return next((release for release in ends.DEBIAN if name.startswith(release)), "")
