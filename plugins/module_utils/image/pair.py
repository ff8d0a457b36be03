# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel and a driver are promoted together or not at all: the newest pair that compiles.

Newest is what dpkg says, never what sorts last as text: 6.12.100 comes after 6.12.96.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cmp_to_key
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

SCHEMA = 1
FLAVOURS = ("none", "open", "proprietary", "tesla")


# --- Versions as dpkg compares them --------------------------------------------------------------------------------------


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as `dpkg --compare-versions` says (deb-version(7))."""
    (left_epoch, left_rest), (right_epoch, right_rest) = _epoch(left), _epoch(right)
    if left_epoch != right_epoch:
        return -1 if left_epoch < right_epoch else 1
    left_upstream, left_revision = _revision(left_rest)
    right_upstream, right_revision = _revision(right_rest)
    return _part(left_upstream, right_upstream) or _part(left_revision, right_revision)


def _backwards(left: str, right: str) -> int:
    return -compare(left, right)


_newest_first = cmp_to_key(_backwards)


def newest_first(version: str) -> Any:
    """A key to sort versions by, the newest first."""
    return _newest_first(version)


def _epoch(version: str) -> tuple[int, str]:
    epoch, colon, rest = version.partition(":")
    return (int(epoch), rest) if colon and epoch.isdecimal() else (0, version)


def _revision(version: str) -> tuple[str, str]:
    upstream, dash, revision = version.rpartition("-")
    return (upstream, revision) if dash else (version, "0")


def _part(left: str, right: str) -> int:
    """Text by text, number by number; a tilde sorts before the end, letters before everything else."""
    while left or right:
        left_text, right_text = _text(left), _text(right)
        ordered = [
            (_weight(left_text, at), _weight(right_text, at)) for at in range(max(len(left_text), len(right_text)))
        ]
        for one, other in ordered:
            if one != other:
                return -1 if one < other else 1
        left, right = left[len(left_text) :], right[len(right_text) :]
        left_number, right_number = _number(left), _number(right)
        if int(left_number or 0) != int(right_number or 0):
            return -1 if int(left_number or 0) < int(right_number or 0) else 1
        left, right = left[len(left_number) :], right[len(right_number) :]
    return 0


def _text(version: str) -> str:
    found = re.match(r"\D*", version)
    return found[0] if found else ""


def _number(version: str) -> str:
    found = re.match(r"\d*", version)
    return found[0] if found else ""


def _weight(text: str, at: int) -> int:
    if at >= len(text):
        return 0
    character = text[at]
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


# --- Candidates ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """A kernel of the archive: `uname -r` of it, and the version that its image and headers share."""

    release: str
    version: str


@dataclass(frozen=True)
class Driver:
    """A driver of the archive: its dkms package and that package's version."""

    package: str
    version: str


@dataclass(frozen=True)
class Refusal:
    """A pair that does not compile, and the compiler's first error."""

    kernel: str
    driver: str
    reason: str

    def __str__(self) -> str:
        return f"{self.driver} on {self.kernel}: {self.reason}"


@dataclass(frozen=True)
class Choice:
    """The newest pair that compiles, and the newer ones that do not."""

    kernel: Kernel
    driver: Driver
    refused: tuple[Refusal, ...] = ()


Attempt = Callable[[Kernel, Driver], str]  # the reason why a pair does not compile; empty when it does


def choose(kernels: Iterable[Kernel], drivers: Iterable[Driver], attempt: Attempt, *, limit: int = 12) -> Choice:
    """Try pairs, newest kernel first and of each the newest driver first, until one compiles.

    The kernel counts more: it is what security updates are about. Raises ImageError when none compiles.
    """
    newest_kernels = sorted(kernels, key=lambda kernel: newest_first(kernel.version))
    newest_drivers = sorted(drivers, key=lambda driver: newest_first(driver.version))
    if not newest_kernels or not newest_drivers:
        missing = "driver" if newest_kernels else "kernel"
        raise ImageError(
            f"the archive has no {missing} to choose from: look at its components (contrib, non-free) and names"
        )
    refused: list[Refusal] = []
    for kernel in newest_kernels:
        for driver in newest_drivers:
            if len(refused) >= limit:
                raise ImageError(
                    f"the {limit} newest pairs do not compile; {refused[0]}; raise the limit to try older ones"
                )
            reason = attempt(kernel, driver)
            if not reason:
                return Choice(kernel, driver, tuple(refused))
            refused.append(Refusal(kernel.release, f"{driver.package} {driver.version}", reason))
    raise ImageError(f"none of {len(refused)} pairs compiles; the newest one, {refused[0]}")


# --- The lock ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Package:
    """One package exactly: what apt installs, and the SHA-256 of its file."""

    name: str
    version: str
    architecture: str
    sha256: str


@dataclass(frozen=True)
class Lock:
    """A pair with everything that comes with it. A lock without a driver pins a kernel only."""

    release: str  # debian-13
    architecture: str
    flavour: str  # none, open, proprietary, tesla (Debian's name for a branch with long support)
    kernel: Kernel
    packages: tuple[Package, ...]
    driver: Driver | None = None
    module: str = ""  # name and version of its dkms source
    module_version: str = ""
    refused: tuple[Refusal, ...] = ()
    compiled: bool = True  # False: it was resolved for another architecture than that of the machine which locked it
    repository: str = ""  # where the driver comes from; Debian's archive when empty

    def document(self) -> str:
        """JSON for a file: sorted, one package a line, the same for the same lock."""
        head = {
            "schema": SCHEMA,
            "release": self.release,
            "architecture": self.architecture,
            "flavour": self.flavour,
            **({} if self.compiled else {"compiled": False}),
            **({"repository": self.repository} if self.repository else {}),
            "kernel": asdict(self.kernel),
            "driver": {**asdict(self.driver), "module": self.module, "module_version": self.module_version}
            if self.driver
            else None,
            "refused": [asdict(refusal) for refusal in self.refused],
        }
        lines = json.dumps(head, indent=2).removesuffix("\n}")
        packages = ",\n".join(
            "    " + json.dumps(asdict(package)) for package in sorted(self.packages, key=lambda one: one.name)
        )
        return f'{lines},\n  "packages": [\n{packages}\n  ]\n}}\n'


def read(path: Path) -> Lock:
    """A lock from its file. Raises ImageError."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise ImageError(f"the lock {path} cannot be read: {exc.strerror}; run make lock") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ImageError(f"the lock {path} is not one that make lock wrote ({exc!r}): run make lock") from exc


def parse(document: Mapping[str, Any]) -> Lock:
    """A lock from its JSON. Raises ValueError, KeyError or TypeError when it is none."""
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {document['schema']}")
    if document["flavour"] not in FLAVOURS:
        raise ValueError(f"flavour {document['flavour']}")
    driver = document["driver"]
    return Lock(
        release=str(document["release"]),
        architecture=str(document["architecture"]),
        flavour=str(document["flavour"]),
        kernel=Kernel(**document["kernel"]),
        packages=tuple(Package(**package) for package in document["packages"]),
        driver=Driver(driver["package"], driver["version"]) if driver else None,
        module=str(driver["module"]) if driver else "",
        module_version=str(driver["module_version"]) if driver else "",
        refused=tuple(Refusal(**refusal) for refusal in document["refused"]),
        compiled=bool(document.get("compiled", True)),
        repository=str(document.get("repository", "")),
    )


# --- What apt says -------------------------------------------------------------------------------------------------------

_MADISON = re.compile(r"^\s*(?P<package>\S+) \| +(?P<version>\S+) \| (?P<place>\S+) .*Packages$")
_RELEASE = re.compile(r"^linux-image-(?P<release>\d+\.\d+\.\d+\S*)$")
_INST = re.compile(r"^Inst (?P<name>\S+) (?:\[[^\]]*\] )?\((?P<version>\S+) .*\[(?P<architecture>\w+)\]\)")


def madison(said: str, place: str = "") -> list[tuple[str, str]]:
    """Packages and versions of `apt-cache madison`, each once, in its order; only those of one repository when its URL is given."""
    found = (_MADISON.match(line) for line in said.splitlines())
    return list(
        dict.fromkeys(
            (one["package"], one["version"])
            for one in found
            if one and (not place or one["place"].rstrip("/") == place.rstrip("/"))
        )
    )


def kernels(images: Sequence[tuple[str, str]], headers: Iterable[tuple[str, str]]) -> list[Kernel]:
    """Kernels whose headers the archive has at the very same version; old headers disappear first."""
    there = set(headers)
    return [
        Kernel(found["release"], version)
        for name, version in images
        if (found := _RELEASE.match(name)) and (f"linux-headers-{found['release']}", version) in there
    ]


def closure(said: str) -> list[tuple[str, str, str]]:
    """Name, version and architecture of what `apt-get -s install` would install."""
    found = (_INST.match(line) for line in said.splitlines())
    return [(one["name"], one["version"], one["architecture"]) for one in found if one]


def stanzas(said: str) -> list[dict[str, str]]:
    """`apt-cache show` as fields; continued lines are left out."""
    shown: list[dict[str, str]] = []
    for block in said.split("\n\n"):
        fields = {}
        for line in block.splitlines():
            key, colon, value = line.partition(": ")
            if colon and not line.startswith(" "):
                fields[key] = value
        if fields:
            shown.append(fields)
    return shown
