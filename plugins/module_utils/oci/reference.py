# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of images, and what the documents of a registry say. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SHORT: Final = 19  # of a digest in a sentence


class OciError(Exception):
    """A sentence for the user: the image, the reason, the way out. Never a password or token."""


@dataclass(frozen=True)
class Reference:
    """An image: `digest` or `tag` says which; the digest does where there are both."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"

    @property
    def name(self) -> str:
        """Registry and path, without tag and digest."""
        return f"{self.host}/{self.path}"

    @property
    def version(self) -> str:
        """What to ask the registry for."""
        return self.digest or self.tag

    def at(self, digest: str) -> Reference:
        """The same image, by digest."""
        return replace(self, tag="", digest=digest)


@dataclass(frozen=True)
class Blob:
    """A piece of an image by its digest. `size` in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """An image for one platform: its configuration and its layers, lowest first."""

    config: Blob
    layers: tuple[Blob, ...]


def parse(text: str) -> Reference:
    """An image as people write it. Raises OciError."""
    head, at, digest = text.partition("@")
    host, slash, rest = head.partition("/")
    path, colon, tag = rest.partition(":")
    whole = bool(slash and path and ("." in host or ":" in host or host == "localhost"))
    if not whole or (at and not _DIGEST.fullmatch(digest)) or (colon and not tag) or not (tag or digest):
        raise OciError(
            f"{text} is no image: write registry.example.org/name:tag or registry.example.org/name@sha256:..."
        )
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return Reference(host, path, tag, digest)


def digest_of(content: bytes) -> str:
    """SHA-256, as registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def document(content: bytes, what: str) -> dict[str, Any]:
    """A JSON object of a registry. Raises OciError."""
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OciError(f"{what} is no JSON object: is that address a registry?")
    return found


def kind(found: Mapping[str, Any], said: str) -> str:
    """`index` or `manifest`, from its media type or, where there is none, from what it holds. "" for anything else."""
    media = str(found.get("mediaType") or said.partition(";")[0].strip())
    if media in INDEXES or (media not in MANIFESTS and isinstance(found.get("manifests"), list)):
        return "index"
    return "manifest" if media in MANIFESTS or isinstance(found.get("layers"), list) else ""


def choose(found: Mapping[str, Any], architecture: str, what: str) -> str:
    """The digest of the manifest for a Linux machine in an index. Raises OciError, which lists what there is."""
    platforms: list[str] = []
    for entry in _entries(found.get("manifests")):
        platform = entry.get("platform")
        platform = platform if isinstance(platform, dict) else {}
        system, machine = str(platform.get("os", "")), str(platform.get("architecture", ""))
        if (system, machine) == ("linux", architecture):
            return _digest(entry, what)
        if system not in ("", "unknown"):
            platforms.append(f"{system}/{machine}")
    there = ", ".join(sorted(set(platforms))) or "none that says which"
    raise OciError(f"{what} is not built for linux/{architecture}, and there are: {there}")


def manifest(found: Mapping[str, Any], what: str) -> Manifest:
    """The pieces of an image. Raises OciError."""
    config, layers = found.get("config"), found.get("layers")
    if not isinstance(config, dict) or not isinstance(layers, list) or not layers:
        raise OciError(
            f"{what} is of a kind that is not known (perhaps a very old one): push it again with a tool of today"
        )
    return Manifest(_blob(config, what), tuple(_blob(layer, what) for layer in _entries(layers)))


def check_platform(config: Mapping[str, Any], architecture: str, what: str) -> None:
    """Raises OciError for an image that was built for another machine."""
    system, machine = str(config.get("os", "")), str(config.get("architecture", ""))
    if (system, machine) != ("linux", architecture):
        raise OciError(
            f"{what} is not built for linux/{architecture}, but for {system or 'an unknown system'}/{machine or 'machine'}"
        )


def short(digest: str) -> str:
    """A digest in a sentence."""
    return digest[:_SHORT]


def _entries(found: Any) -> Sequence[Mapping[str, Any]]:
    return [entry for entry in found or () if isinstance(entry, dict)]


def _digest(entry: Mapping[str, Any], what: str) -> str:
    digest = entry.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise OciError(f"{what} names a piece without a SHA-256 digest, so that it cannot be checked: push it again")
    return digest


def _blob(entry: Mapping[str, Any], what: str) -> Blob:
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise OciError(f"{what} names a piece without its size: push it again")
    return Blob(_digest(entry, what), size)
