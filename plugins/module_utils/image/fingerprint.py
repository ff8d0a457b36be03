# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprint of an image: SHA-256 over canonical JSON of everything it is made of.

Content, mode and relative path of files, variables, the resolved source image and the tools' versions count. The clock,
file times, the checkout's location, the order of globs and who runs it do not.
"""

from __future__ import annotations

import base64
import fnmatch
import glob
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.expression import expanded
from ansible_collections.boring.fleet.plugins.module_utils.image.inputs import Read
from ansible_collections.boring.fleet.plugins.module_utils.image.template import AUTOMATIC

# Raise it when the meaning of the fields below changes: every image is then another one.
SCHEMA = 2

# What programs leave beside the files that people write. A template's own output is left out by name (`ignore`).
_LITTER_DIRECTORIES = frozenset({".git", "__pycache__", "packer_cache", ".pytest_cache", ".mypy_cache", ".ruff_cache"})
_LITTER_SUFFIXES = (".pyc", ".pyo", "~", ".swp", ".orig", ".rej")
_LITTER_PREFIXES = (".#",)
# In these of a role everything may be uploaded, what an editor left there too.
_UPLOADED = frozenset({"files", "templates"})
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
    """Everything an image is made of. `files` maps paths relative to the template's directory; values of secrets are nowhere in it."""

    files: Mapping[str, File]
    facts: Mapping[str, str] | None = None  # questions to the file system and their answers
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
                "facts": self.facts or {},
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
        named |= dict(self.facts or {})
        named |= {f"variables file {index}": file.sha256 for index, file in enumerate(self.var_files, 1)}
        named |= {f"variable {name}": value for name, value in (self.variables or {}).items()}
        named |= {f"source image of {build}": image for build, image in (self.source_images or {}).items()}
        named |= {f"version of {tool}": version for tool, version in (self.tools or {}).items()}
        if self.lock:
            named["lock"] = self.lock.sha256
        return {name: _sha256(_canonical(value).encode())[:6] for name, value in named.items()}


@dataclass
class Collection:
    """Digests files under names that are the same on every machine.

    `veiled`: what files hold beside the values of secrets. `exclude`: globs of what feeds nothing, among what is found by walking directories;
    a file that somebody names counts always.
    """

    template: Path
    exclude: Sequence[str] = ()
    ignore: frozenset[Path] = frozenset()
    veiled: Mapping[Path, bytes] = field(default_factory=dict)
    roots: Mapping[Path, str] = field(default_factory=dict)
    home: Path = field(default_factory=Path.home)
    files: dict[str, File] = field(default_factory=dict)
    unnamed: frozenset[str] = frozenset()  # in the template's directory, and named by nobody

    def __post_init__(self) -> None:
        self._root = self.template.resolve()
        self.home = self.home.resolve()
        self._checkout = _checkout(self._root)
        self._paths: dict[str, Path] = {}
        self._veiled = {path.resolve(): content for path, content in self.veiled.items()}
        self._roots = sorted(
            ((path.resolve(), label) for path, label in self.roots.items()), key=lambda entry: -len(entry[0].parts)
        )

    def name(self, path: Path) -> str:
        """A file's name: relative to the template; by what it belongs to where it lies elsewhere for each user."""
        if not self._in_checkout(path):
            for root, label in self._roots:
                if path.is_relative_to(root):
                    return f"{label}/{path.relative_to(root).as_posix()}"
            shared = Path(os.path.commonpath([path, self._root]))
            if path.is_relative_to(self.home) and not (shared != self.home and shared.is_relative_to(self.home)):
                return f"~/{path.relative_to(self.home).as_posix()}"
            if shared == Path(shared.anchor):
                return path.as_posix()
        return os.path.relpath(path, self._root).replace(os.sep, "/")

    def _in_checkout(self, path: Path) -> bool:
        """What is in a hidden directory of the user's home is in no checkout, even where the home or more is one."""
        if not path.is_relative_to(self._checkout):
            return False
        below_home = path.relative_to(self.home).parts if path.is_relative_to(self.home) else ()
        hidden = below_home[:1] and below_home[0].startswith(".")
        return not (hidden and self.home.is_relative_to(self._checkout))

    def add(self, path: Path) -> None:
        """A file that somebody names. Links above it are followed, it has the name that it is called by."""
        path = path.parent.resolve() / path.name
        content = self._veiled.get(path.resolve())
        file = read(path)
        name = self.name(path)
        while self._paths.setdefault(name, path) != path:  # two roles of one name, found in two places
            name += "'"
        self.files[name] = file if content is None else File(file.mode, hashlib.sha256(content).hexdigest())

    def add_tree(
        self, directory: Path, *, all_of_it: bool = False, leave_out: Callable[[Path], bool] = lambda path: False
    ) -> int:
        """Everything below a directory; unless `all_of_it`, without what programs leave there and what is excluded."""
        count = 0
        for path, where in _walk(directory.resolve(), all_of_it=all_of_it):
            if self._ignored(path) or leave_out(path) or (not all_of_it and self._excluded(path)):
                continue
            count += 1
            if where is None:
                self.add(path)
            else:
                self.files[self.name(path)] = File("link", _sha256(self.name(where).encode()))
        return count

    def add_input(self, entry: str) -> None:
        """What one of the user's inputs names. Raises ImageError when that is nothing."""
        count = 0
        for path in _expand(entry):
            if path.is_dir():
                count += self.add_tree(path)
            elif not self._ignored(path):
                count += 1
                if not self._excluded(path):
                    self.add(path)
        if not count:
            raise ImageError(f"the input {entry} names no file: correct the path, or take it out of inputs")

    def _ignored(self, path: Path) -> bool:
        return not self.ignore.isdisjoint((real := path.resolve(), *real.parents))

    def _excluded(self, path: Path) -> bool:
        if not self.exclude:
            return False
        names = [self.name(path)]
        names += [_shown(names[0]), path.as_posix()]
        return any(
            fnmatch.fnmatchcase(name, pattern)
            or fnmatch.fnmatchcase(name, f"{pattern}/*")
            or fnmatch.fnmatchcase(f"/{name}", f"*/{pattern}")
            for name in names
            for pattern in map(_plain_pattern, self.exclude)
        )


def _plain_pattern(pattern: str) -> str:
    """`./a/**/b/` as fnmatch takes it, whose `*` goes over directories."""
    return pattern.removeprefix("./").rstrip("/").replace("**/", "*").replace("**", "*")


def _checkout(template: Path) -> Path:
    """The directory that is moved as a whole: the nearest with a .git, else the one around the template's."""
    return next((parent for parent in (template, *template.parents) if (parent / ".git").exists()), template.parent)


def gather(
    template: Path,
    inputs: Sequence[str],
    *,
    reads: Read | None = None,
    exclude: Sequence[str] = (),
    ignore: Iterable[Path] = (),
    veiled: Mapping[Path, bytes] | None = None,
) -> Collection:
    """Digest the template's directory, what the template names itself (`reads`) and what `inputs` (paths, directories, globs) name.

    Variables files of the template count only when Packer loads them by itself, and locks not at all, unless something names them: the
    chosen ones are given apart. Raises ImageError for an input that is missing, matches nothing, or is empty.
    """
    reads = reads or Read()
    found = Collection(template, exclude, frozenset(path.resolve() for path in ignore), veiled or {}, reads.roots)
    found.add_tree(template, leave_out=lambda path: path.name.endswith(_CHOSEN) and not path.name.endswith(AUTOMATIC))
    walked, found.files = found.files, {}
    for path in reads.sources:
        found.add_tree(path)
    for path in reads.paths:
        if path.is_dir():
            found.add_tree(path, all_of_it=True)
        elif not path.is_relative_to("/dev"):  # /dev/null is a way to say: none
            found.add(path)
    for entry in inputs:
        found.add_input(entry)
    found.unnamed = frozenset(walked.keys() - found.files.keys())
    found.files = walked | found.files
    return found


def changed_meanwhile(before: Collection, after: Collection) -> list[str]:
    """What differs of the inputs that an image may have been made of.

    What is new in the template's directory and named by nobody is what a build leaves there, and was in no image.
    """
    new = after.files.keys() - before.files.keys() - after.unnamed
    differs = [name for name, file in before.files.items() if after.files.get(name) != file]
    return sorted([*map(_shown, new), *map(_shown, differs)])


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


def read_given(path: Path, what: str, veiled: Mapping[Path, bytes] | None = None) -> File:
    """Digest a file that the user named by itself, such as a lock: it must be there and hold something."""
    if not path.is_file():
        raise ImageError(f"the {what} {path} does not exist: correct the path, or leave it out")
    if not path.stat().st_size:
        raise ImageError(f"the {what} {path} is empty: correct the path, or leave it out")
    content = (veiled or {}).get(path)
    return read(path) if content is None else File(read(path).mode, hashlib.sha256(content).hexdigest())


def _expand(entry: str) -> Iterator[Path]:
    """The files and directories that one input names, each below its directory's real path."""
    pattern = expanded(entry)
    if not glob.has_magic(pattern):
        path = Path(pattern)
        if not path.exists():
            raise ImageError(f"the input {entry} does not exist: correct the path, or take it out of inputs")
        if path.is_file() and not path.stat().st_size:
            raise ImageError(f"the input {entry} is empty: fill it, or take it out of inputs")
        yield path.resolve() if path.is_dir() else path.parent.resolve() / path.name
        return
    fixed = [glob.has_magic(part) for part in Path(pattern).parts].index(True)
    for match in map(Path, glob.iglob(pattern, recursive=True, include_hidden=True)):  # noqa: PTH207 (absolute ones too)
        if _LITTER_DIRECTORIES.intersection(match.parts[fixed:]):
            continue
        if match.is_dir():
            yield match.resolve()
        elif match.is_file() and (_uploaded(match) or not _litter(match)):
            yield match.parent.resolve() / match.name


def _walk(directory: Path, *, all_of_it: bool) -> Iterator[tuple[Path, Path | None]]:
    """Files below a directory, links followed. A directory that was walked before is answered once more with where that was."""
    seen: dict[Path, Path] = {}
    for folder, folders, names in os.walk(directory, followlinks=True):
        here = Path(folder)
        real = here.resolve()
        if real in seen:
            folders.clear()
            yield here, seen[real]
            continue
        seen[real] = here
        everything = all_of_it or _uploaded(here.relative_to(directory.parent) / "x")
        folders[:] = sorted(folders if everything else set(folders) - _LITTER_DIRECTORIES)
        yield from ((here / name, None) for name in sorted(names) if everything or not _litter(here / name))


def _uploaded(path: Path) -> bool:
    """Whether a file is below a directory `files` or `templates`, out of which Ansible uploads."""
    return not _UPLOADED.isdisjoint(path.parts[:-1])


def _litter(path: Path) -> bool:
    """What a program left there: not written by people, not part of the image."""
    return path.name in _LITTER_NAMES or path.name.endswith(_LITTER_SUFFIXES) or path.name.startswith(_LITTER_PREFIXES)


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
