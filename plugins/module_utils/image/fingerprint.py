# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprint of an image: SHA-256 over canonical JSON of everything it is made of.

Content, mode and relative path of files, variables, the resolved source image and the tools' versions count. The clock,
file times, the checkout's location, the order of globs and who runs it do not.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.template import AUTOMATIC

# Raise it when the meaning of the fields below changes: every image is then another one.
SCHEMA = 1

# What programs leave beside the files that people write. A template's own output is left out by name (`ignore`).
_LITTER_DIRECTORIES = frozenset({".git", "__pycache__", "packer_cache", ".pytest_cache", ".mypy_cache", ".ruff_cache"})
_LITTER_SUFFIXES = (".pyc", ".pyo", "~", ".swp", ".orig", ".rej")
_LITTER_NAMES = frozenset({"crash.log", ".DS_Store"})
# Of these in the template's directory only the chosen ones count, and they are given apart.
_CHOSEN = (".pkrvars.hcl", ".pkrvars.json", ".lock.json")

# EC2 allows 50 tags of 256 characters; the rest of the image's tags needs some room too.
TAG = "boring:inputs"
_TAG_LENGTH = 256
_TAGS = 30


@dataclass(frozen=True)
class File:
    """One file as it goes into the fingerprint; `mode` is the owner's part, because a umask decides over the rest."""

    mode: str
    sha256: str


@dataclass(frozen=True)
class Inputs:
    """Everything an image is made of. `files` maps paths relative to the template's directory."""

    files: Mapping[str, File]
    builds: tuple[str, ...] = ()
    var_files: tuple[File, ...] = ()
    variables: Mapping[str, Any] | None = None
    lock: File | None = None
    source_images: Mapping[str, str] | None = None  # build -> image id
    tools: Mapping[str, str] | None = None  # packer, address of a plugin -> version

    def document(self) -> str:
        """Canonical JSON: sorted keys, no blanks, ASCII."""
        return _canonical(
            {
                "schema": SCHEMA,
                "files": {name: [file.mode, file.sha256] for name, file in self.files.items()},
                "builds": sorted(self.builds),
                "var_files": [[file.mode, file.sha256] for file in self.var_files],
                "variables": self.variables or {},
                "lock": [self.lock.mode, self.lock.sha256] if self.lock else None,
                "source_images": self.source_images or {},
                "tools": self.tools or {},
            }
        )

    def fingerprint(self) -> str:
        """64 hexadecimal digits."""
        return _sha256(self.document().encode())

    def digests(self) -> dict[str, str]:
        """A short digest of each input under the name that people know it by, for saying later what changed."""
        named: dict[str, Any] = {_shown(name): [file.mode, file.sha256] for name, file in self.files.items()}
        named |= {f"variables file {index}": file.sha256 for index, file in enumerate(self.var_files, 1)}
        named |= {f"variable {name}": value for name, value in (self.variables or {}).items()}
        named |= {f"source image of {build}": image for build, image in (self.source_images or {}).items()}
        named |= {f"version of {tool}": version for tool, version in (self.tools or {}).items()}
        if self.lock:
            named["lock"] = self.lock.sha256
        return {name: _sha256(_canonical(value).encode())[:6] for name, value in named.items()}


def collect(template: Path, inputs: Sequence[str], *, ignore: Iterable[Path] = ()) -> dict[str, File]:
    """Digest the template's directory and what `inputs` (paths, directories, globs) name.

    Variables files of the template count only when Packer loads them by itself, and locks not at all: the chosen ones are
    given apart.
    Raises ImageError for an input that is missing, matches nothing, or is empty.
    """
    root = template.resolve()
    ignored = {path.resolve() for path in ignore}
    found: dict[str, File] = {}

    def add(paths: Iterable[Path]) -> int:
        count = 0
        for path in paths:
            if path.resolve() not in ignored:
                found[os.path.relpath(path, root).replace(os.sep, "/")] = read(path)
                count += 1
        return count

    add(path for path in _walk(root) if not path.name.endswith(_CHOSEN) or path.name.endswith(AUTOMATIC))
    if not inputs:
        raise ImageError("inputs is empty: name the files and directories that feed the image beside its template")
    for entry in inputs:
        if not add(_expand(entry)):
            raise ImageError(f"the input {entry} names no file: correct the path, or take it out of inputs")
    return found


def read(path: str | Path) -> File:
    """Digest one file. Raises ImageError when it cannot be read."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            raise ImageError(f"{path} is not a file: an image is made of files, take it out of inputs")
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise ImageError(f"{path} cannot be read: {exc.strerror}; it feeds the image, so make it readable") from exc
    return File(f"{stat.S_IMODE(mode) & 0o7700:04o}", digest)


def read_given(path: Path, what: str) -> File:
    """Digest a file that the user named by itself, such as a lock: it must be there and hold something."""
    if not path.is_file():
        raise ImageError(f"the {what} {path} does not exist: correct the path, or leave it out")
    if not path.stat().st_size:
        raise ImageError(f"the {what} {path} is empty: correct the path, or leave it out")
    return read(path)


def _expand(entry: str) -> Iterator[Path]:
    """The files that one input names, each below its directory's real path."""
    pattern = str(Path(entry).expanduser())
    if not glob.has_magic(pattern):
        path = Path(pattern)
        if not path.exists():
            raise ImageError(f"the input {entry} does not exist: correct the path, or take it out of inputs")
        if path.is_file() and not path.stat().st_size:
            raise ImageError(f"the input {entry} is empty: fill it, or take it out of inputs")
        yield from _walk(path.resolve()) if path.is_dir() else [path.parent.resolve() / path.name]
        return
    fixed = [glob.has_magic(part) for part in Path(pattern).parts].index(True)
    for match in map(Path, glob.iglob(pattern, recursive=True, include_hidden=True)):  # noqa: PTH207 (absolute ones too)
        if _LITTER_DIRECTORIES.intersection(match.parts[fixed:]):
            continue
        if match.is_dir():
            yield from _walk(match.resolve())
        elif match.is_file() and not _litter(match):
            yield match.parent.resolve() / match.name


def _walk(directory: Path) -> Iterator[Path]:
    """Files below a directory, links followed, each directory once."""
    seen: set[Path] = set()
    for folder, folders, names in os.walk(directory, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(set(folders) - _LITTER_DIRECTORIES)
        yield from (path for name in sorted(names) if not _litter(path := Path(folder) / name))


def _litter(path: Path) -> bool:
    """What a program left there: not written by people, not part of the image."""
    return path.name in _LITTER_NAMES or path.name.endswith(_LITTER_SUFFIXES)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _shown(name: str) -> str:
    """`../roles/base/x` as `roles/base/x`: what is meant, seen from the checkout."""
    while name.startswith("../"):
        name = name[3:]
    return name


def to_tags(digests: Mapping[str, str]) -> dict[str, str]:
    """Short digests as tags of the image: sorted lines, compressed, in pieces that fit.

    With so many inputs that they do not fit, files are told by their directory.
    """
    depth = max((name.count("/") for name in digests), default=0)
    while True:
        lines = "".join(f"{digest} {name}\n" for name, digest in sorted(digests.items()))
        packed = base64.b64encode(zlib.compress(lines.encode(errors="replace"), 9)).decode()
        if len(packed) <= _TAG_LENGTH * _TAGS:
            break
        if depth == 0:
            return {}
        digests = _grouped(digests, lambda name, limit=depth: "/".join(name.split("/")[:limit]))  # type: ignore[misc]
        depth -= 1
    pieces = [packed[start : start + _TAG_LENGTH] for start in range(0, len(packed), _TAG_LENGTH)]
    return {f"{TAG}:{index}": piece for index, piece in enumerate(pieces)}


def from_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The digests that `to_tags` wrote, or nothing when the image has none that can be read."""
    pieces: list[str] = []
    while f"{TAG}:{len(pieces)}" in tags:
        pieces.append(tags[f"{TAG}:{len(pieces)}"])
    try:
        lines = zlib.decompress(base64.b64decode("".join(pieces), validate=True)).decode().split("\n")
    except (ValueError, zlib.error):
        return {}
    return {name: digest for digest, dummy, name in (line.partition(" ") for line in lines if line)}


def _grouped(digests: Mapping[str, str], group: Callable[[str], str]) -> dict[str, str]:
    members: dict[str, list[str]] = {}
    for name, digest in sorted(digests.items()):
        members.setdefault(group(name), []).append(digest)
    return {
        name: values[0] if len(values) == 1 else _sha256("".join(values).encode())[:6]
        for name, values in members.items()
    }


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Which inputs differ, as people say it: `roles/base/tasks/main.yml changed`."""
    said = [f"{name} changed" for name in before.keys() & now.keys() if before[name] != now[name]]
    said += [f"{name} is new" for name in now.keys() - before.keys()]
    said += [f"{name} is gone" for name in before.keys() - now.keys()]
    return sorted(said)
