# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in an image, as CycloneDX, out of its own package database: the same packages make the same bytes."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

SPEC = "1.5"
TAG = "boring:sbom"
# `dpkg-query --show --showformat` of this, one package a line; packer/playbooks/image.yml asks the same.
FORMAT = r"${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n"
_NAMESPACE = uuid.UUID("6f0c0b3e-8d53-5d4e-9f0b-7a4b6f1f9c11")


@dataclass(frozen=True)
class Package:
    """One installed package, and the source it was built from: advisories are about sources."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str


def installed(listed: str) -> list[Package]:
    """What is installed of a list in FORMAT, sorted. Raises ImageError for something else."""
    packages = []
    for number, line in enumerate(listed.splitlines(), 1):
        fields = line.split("\t")
        if len(fields) != 6 or not all(fields):
            raise ImageError(
                f"the list of packages is broken in line {number}: it was not written by dpkg-query as asked"
            )
        if fields[0] == "installed":
            packages.append(Package(*fields[1:]))
    if not packages:
        raise ImageError("the list of packages is empty, and no image is: look at what wrote it")
    return sorted(packages, key=lambda package: (package.name, package.architecture, package.version))


def document(packages: Iterable[Package], *, name: str, release: str, properties: Mapping[str, str]) -> str:
    """The SBOM as JSON. `release` as debian-13; `properties` say which image it is. No clock is in it."""
    components = [_component(package, release) for package in packages]
    about: dict[str, Any] = {
        "type": "operating-system",
        "bom-ref": "image",
        "name": name,
        "properties": [{"name": key, "value": value} for key, value in sorted(properties.items())],
    }
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {
            "component": about,
            "tools": {"components": [{"type": "application", "group": "boring.fleet", "name": "image_build"}]},
        },
        "components": components,
        "dependencies": [{"ref": "image", "dependsOn": [component["bom-ref"] for component in components]}],
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(body, sort_keys=True))
    return json.dumps({"serialNumber": f"urn:uuid:{serial}", **body}, indent=1, sort_keys=True) + "\n"


def _component(package: Package, release: str) -> dict[str, Any]:
    purl = (
        f"pkg:deb/debian/{quote(package.name, safe='')}@{quote(package.version, safe='')}"
        f"?arch={package.architecture}&distro={release}"
    )
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "properties": [
            {"name": "debian:source", "value": package.source},
            {"name": "debian:source-version", "value": package.source_version},
        ],
    }


def digest(text: str) -> str:
    """SHA-256 of the document, as it is in the tag and in the manifest."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> list[Package]:
    """The packages of an SBOM that `document` wrote. Raises ImageError."""
    try:
        bom = json.loads(path.read_text(encoding="utf-8"))
        packages = []
        for component in bom["components"]:
            about = {entry["name"]: entry["value"] for entry in component["properties"]}
            architecture = component["purl"].partition("arch=")[2].partition("&")[0]
            packages.append(
                Package(
                    component["name"],
                    component["version"],
                    architecture,
                    about["debian:source"],
                    about["debian:source-version"],
                )
            )
    except OSError as exc:
        raise ImageError(f"the SBOM {path} cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise ImageError(f"{path} is not an SBOM of image_build ({exc!r})") from exc
    if not packages:
        raise ImageError(f"the SBOM {path} names no package, and no image has none")
    return packages


def release_of(path: Path) -> str:
    """The release of Debian that an SBOM's packages are of, as debian-13. Raises ImageError."""
    try:
        bom = json.loads(path.read_text(encoding="utf-8"))
        found = {component["purl"].partition("distro=")[2].partition("&")[0] for component in bom["components"]}
    except OSError as exc:
        raise ImageError(f"the SBOM {path} cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ImageError(f"{path} is not an SBOM of image_build ({exc!r})") from exc
    if len(found) != 1 or not min(found).startswith("debian-"):
        raise ImageError(f"the SBOM {path} does not say which release of Debian its packages are of")
    return str(min(found))


def by_digest(folder: Path) -> dict[str, Path]:
    """Every SBOM in a folder by the SHA-256 that its image has in its tag. Raises ImageError."""
    if not folder.is_dir():
        raise ImageError(f"there is no folder {folder} with SBOMs: image_build writes them, keep them where this runs")
    try:
        return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(folder.glob("*.cdx.json"))}
    except OSError as exc:
        raise ImageError(f"an SBOM in {folder} cannot be read: {exc.strerror}") from exc
