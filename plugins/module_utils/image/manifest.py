# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Packer run made, out of the manifest that its post-processor wrote; never out of text on the screen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.fingerprint import read as digest
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Source


@dataclass(frozen=True)
class Image:
    """One image of one build: in a cloud by region and id, or a file with its SHA-256."""

    build: str
    builder: str
    region: str
    id: str
    name: str = ""
    file: str = ""
    sha256: str = ""
    source: str = ""  # the source that it was built of; empty when the manifest does not say

    def as_dict(self) -> dict[str, str]:
        """For the module's answer; file and sha256 only where there is a file."""
        shown = {key: value for key, value in asdict(self).items() if key != "source"}
        return {key: value for key, value in shown.items() if value or key not in ("file", "sha256")}


def run_of(path: Path) -> str:
    """Which run wrote the manifest last; empty when there is none."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("last_run_uuid", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def read(path: Path, *, before: str = "") -> dict[str, Any]:
    """The manifest of the latest run only. `before` is what `run_of` said before that run.

    Raises ImageError when the run wrote none, or wrote one that names no build.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        latest = manifest.get("last_run_uuid", "")
        builds = [build for build in manifest["builds"] if build.get("packer_run_uuid", latest) == latest]
    except FileNotFoundError as exc:
        raise ImageError(
            f'Packer ended well but wrote no manifest to {path}: the template\'s build needs a post-processor "manifest"'
        ) from exc
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ImageError(f"the manifest {path} is not one of Packer's: {exc}") from exc
    if before and latest == before:
        raise ImageError(f"Packer ended well but did not write its manifest {path} anew; is its `output` another file?")
    if not builds:
        raise ImageError(
            f"Packer ended well but its manifest {path} names no build; does `only` name one of the template?"
        )
    return {**manifest, "builds": builds}


def images(manifest: Mapping[str, Any], directory: Path, sources: Sequence[Source] = ()) -> list[Image]:
    """The images of a manifest; paths of files in it are relative to `directory`. `sources`: those that were built."""
    made: list[Image] = []
    for build in manifest["builds"]:
        builder = str(build.get("builder_type", ""))
        found = _source_of(build, sources)
        name = found.build if found else f"{builder}.{build.get('name', '')}"
        source = found.declared if found else ""
        artifact = str(build.get("artifact_id") or "")
        if builder.startswith("amazon-"):
            for part in filter(None, artifact.split(",")):
                region, dummy, image_id = part.rpartition(":")
                made.append(Image(name, builder, region, image_id, source=source))
        elif build.get("files"):
            for entry in build["files"]:
                path = directory / str(entry["name"])
                made.append(Image(name, builder, "", artifact, path.name, str(path), digest(path).sha256, source))
        else:
            made.append(Image(name, builder, "", artifact, source=source))
    return made


def _source_of(build: Mapping[str, Any], sources: Sequence[Source]) -> Source | None:
    """Which source a build was made of. Packer writes the name of the source's block, also of one that several builds rename."""
    name = f"{build.get('builder_type', '')}.{build.get('name', '')}"
    candidates = [source for source in sources if source.declared == name]
    if len(candidates) > 1:
        told = (build.get("custom_data") or {}).get("build")
        candidates = [source for source in candidates if source.told and source.told == told]
    return candidates[0] if len(candidates) == 1 else None
