# SPDX-License-Identifier: GPL-3.0-or-later
"""Small OCI images made of nothing but files, and the documents that a registry has of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def file(name: str, content: bytes | str = b"", **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    """An entry of a layer; `facts` are attributes of its TarInfo, as uid, mode, type and linkname."""
    data = content.encode() if isinstance(content, str) else content
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    for key, value in facts.items():
        setattr(entry, key, value)
    return entry, data


def folder(name: str, **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    return file(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **facts})


def link(name: str, target: str, **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    return file(name, type=tarfile.SYMTYPE, linkname=target, **facts)


def layer(*entries: tuple[tarfile.TarInfo, bytes], compress: bool = True) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as tar:
        for entry, data in entries:
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(into.getvalue(), mtime=0) if compress else into.getvalue()


@dataclass
class Image:
    """An image: layers as bytes, and `config` as in its configuration."""

    layers: list[bytes]
    config: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    media: str = LAYER

    @property
    def configuration(self) -> bytes:
        return json.dumps({"os": "linux", "architecture": self.architecture, "config": dict(self.config)}).encode()

    @property
    def manifest(self) -> bytes:
        described = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described_as("application/vnd.oci.image.config.v1+json", self.configuration),
            "layers": [described_as(self.media, content) for content in self.layers],
        }
        return json.dumps(described).encode()

    @property
    def blobs(self) -> dict[str, bytes]:
        return {digest(content): content for content in (self.configuration, *self.layers)}

    def archive(self, path: Path, within: bytes = b"") -> Path:
        """Write it as an OCI archive; `within` is the list that names it."""
        named = within or self.manifest
        documents = {**self.blobs, digest(self.manifest): self.manifest, digest(named): named}
        entry = described_as(INDEX if within else MANIFEST, named)
        files = {
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
            **{f"blobs/{name.replace(':', '/')}": content for name, content in documents.items()},
        }
        with tarfile.open(path, "w") as tar:
            for name, content in files.items():
                tar.addfile(*_added(name, content))
        return path


def index(images: Iterable[Image]) -> bytes:
    """A list of one image for several architectures, as Docker makes it, with an attestation."""
    entries = [
        {**described_as(MANIFEST, each.manifest), "platform": {"os": "linux", "architecture": each.architecture}}
        for each in images
    ]
    attested = {**described_as(MANIFEST, b"{}"), "platform": {"os": "unknown", "architecture": "unknown"}}
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries, attested]}).encode()


def described_as(media: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media, "digest": digest(content), "size": len(content)}


def _added(name: str, content: bytes) -> tuple[tarfile.TarInfo, io.BytesIO]:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    return entry, io.BytesIO(content)
