# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI archives: a tar with a file for each piece of an image, called after its digest."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import IO, Final

from ansible_collections.boring.fleet.plugins.module_utils.oci import reference as oci
from ansible_collections.boring.fleet.plugins.module_utils.oci.reference import OciError

_PIECE: Final = 1024 * 1024


def entry(name: str, size: int) -> tarfile.TarInfo:
    """A file of an archive; `size` in bytes."""
    found = tarfile.TarInfo(name)
    found.size, found.mode = size, 0o644
    return found


def place(digest: str) -> str:
    """The name of the file with a piece."""
    return "blobs/" + digest.replace(":", "/")


def begin(tar: tarfile.TarFile, media: str, named: bytes) -> None:
    """What comes first: that it is such an archive, and the document that names the image, of that media type."""
    described = {"mediaType": media, "digest": oci.digest_of(named), "size": len(named)}
    add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [described]}).encode())


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """One whole file."""
    tar.addfile(entry(name, len(content)), io.BytesIO(content))


def intact(path: Path, digest: str, architecture: str) -> bool:
    """Whether an archive is there and holds the whole image of that digest: every piece is read, and compared with its own."""
    try:
        with tarfile.open(path, "r:") as tar:
            index = json.loads(_file(tar, "index.json").read())
            if [each["digest"] for each in index["manifests"]] != [digest]:
                return False
            found = oci.document(_checked(tar, digest), "")
            if oci.kind(found, "") == "index":
                found = oci.document(_checked(tar, oci.choose(found, architecture, "")), "")
            manifest = oci.manifest(found, "")
            for blob in (manifest.config, *manifest.layers):
                _check(tar, blob.digest)
    except (OSError, tarfile.TarError, OciError, ValueError, KeyError, TypeError):
        return False
    return True


def _checked(tar: tarfile.TarFile, digest: str) -> bytes:
    _check(tar, digest)
    return _file(tar, place(digest)).read()


def _check(tar: tarfile.TarFile, digest: str) -> None:
    file, total = _file(tar, place(digest)), hashlib.sha256()
    while part := file.read(_PIECE):
        total.update(part)
    if f"sha256:{total.hexdigest()}" != digest:
        raise ValueError(digest)


def _file(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = tar.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found
