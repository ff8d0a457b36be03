# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Packer template says about itself, read without starting Packer."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image import hcl
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

AUTOMATIC = (".auto.pkrvars.hcl", ".auto.pkrvars.json")
_SECRET_NAME = re.compile(r"pass(word|phrase)?|secret|token|credential|private_key|api_?key", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """One `source` block that the build uses; `build` is its name as Packer's `-only` takes it."""

    build: str
    declared: str  # as its block is called, which a build may rename
    region: str | None = None
    image: str | None = None  # a fixed image id
    owners: tuple[str, ...] = ()
    filters: Mapping[str, str] | None = None

    @property
    def on_ec2(self) -> bool:
        return self.build.startswith("amazon-")


@dataclass(frozen=True)
class Template:
    """A template's directory with its variables filled in as far as that goes without Packer."""

    directory: Path
    values: Mapping[str, Any]
    sources: tuple[Source, ...]
    plugins: Mapping[str, str]  # address in required_plugins -> version constraint
    manifest: str | None  # where the manifest post-processor writes, relative to the directory
    secrets: frozenset[str]  # names of variables whose values must not be shown

    @property
    def family(self) -> str:
        """What the image is for: the variable `family`, or the directory's name."""
        value = self.values.get("family")
        return value if isinstance(value, str) and value else self.directory.name

    @property
    def builds(self) -> tuple[str, ...]:
        return tuple(source.build for source in self.sources)


def read(
    directory: Path,
    *,
    only: Sequence[str] = (),
    var_files: Sequence[Path] = (),
    variables: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> Template:
    """Read a template with its variables in Packer's order: defaults, `given`, automatic files, files, variables.

    Raises ImageError when the directory holds no template, or a variables file cannot be read.
    """
    if not directory.is_dir():
        raise ImageError(f"the template {directory} is not a directory: give the one that holds *.pkr.hcl")
    files = sorted([*directory.glob("*.pkr.hcl"), *directory.glob("*.pkr.json")])
    if not files:
        raise ImageError(f"the template {directory} holds no *.pkr.hcl: is it the right directory?")
    bodies = [body for body in map(_parse, files) if body]
    declared = {block.labels[0]: block for block in _blocks(bodies, "variable") if block.labels}

    values: dict[str, Any] = {
        name: hcl.evaluate(block.attributes["default"], {})
        for name, block in declared.items()
        if "default" in block.attributes
    }
    values.update(given or {})
    automatic = sorted(path for path in directory.iterdir() if path.name.endswith(AUTOMATIC))
    for path in [*automatic, *var_files]:
        values.update(_values(path))
    values.update(variables or {})

    scope: dict[str, Any] = {"var": values, "path": {"root": ".", "cwd": "."}, "local": {}}
    scope["local"] = _locals(bodies, scope)
    return Template(
        directory=directory,
        values=values,
        sources=_sources(bodies, scope, only),
        plugins=_plugins(bodies),
        manifest=_manifest(bodies, scope),
        secrets=frozenset(
            name
            for name in {*declared, *(variables or {})}
            if _SECRET_NAME.search(name) or _sensitive(declared.get(name))
        ),
    )


def _sensitive(variable: hcl.Block | None) -> bool:
    return variable is not None and hcl.evaluate(variable.attributes.get("sensitive", ()), {}) is True


def _parse(path: Path) -> hcl.Block | None:
    """A file's blocks; nothing of one that is not HCL, which Packer refuses in better words than ours."""
    if path.suffix == ".json":
        return None
    try:
        return hcl.parse(path.read_text(encoding="utf-8"), path.name)
    except (ImageError, UnicodeDecodeError):
        return None


def _values(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("it holds no object")
            return values
        return {name: hcl.evaluate(tokens, {}) for name, tokens in hcl.parse(text, path.name).attributes.items()}
    except OSError as exc:
        raise ImageError(f"the variables file {path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise ImageError(f"the variables file {path} is broken: {exc}") from exc


def _blocks(bodies: Iterable[hcl.Block], *types: str) -> list[hcl.Block]:
    return [block for body in bodies for block in body.all(*types)]


def _locals(bodies: Sequence[hcl.Block], scope: Mapping[str, Any]) -> dict[str, Any]:
    """Locals may refer to each other in any order: go over them until nothing new is learnt."""
    known: dict[str, Any] = {}
    for dummy in range(5):
        inner = {**scope, "local": known}
        learnt = {
            name: hcl.evaluate(tokens, inner)
            for block in _blocks(bodies, "locals")
            for name, tokens in block.attributes.items()
        }
        if learnt == known:
            break
        known = learnt
    return known


def _sources(bodies: Sequence[hcl.Block], scope: Mapping[str, Any], only: Sequence[str]) -> tuple[Source, ...]:
    declared = {".".join(block.labels): block for block in _blocks(bodies, "source") if len(block.labels) == 2}
    used: dict[str, tuple[str, ...]] = {}  # build name -> the names by which `only` may call it
    for build in _blocks(bodies, "build"):
        prefix = hcl.evaluate(build.attributes.get("name", ()), scope)
        names = [name.removeprefix("source.") for name in _references(build.attributes.get("sources", ()))]
        for block in build.all("source"):
            kind = ".".join(block.labels).removeprefix("source.")
            renamed = hcl.evaluate(block.attributes.get("name", ()), scope)
            if isinstance(renamed, str) and kind in declared:
                alias = f"{kind.partition('.')[0]}.{renamed}"
                declared.setdefault(alias, declared[kind])
                kind = alias
            names.append(kind)
        for name in names:
            used[name] = (*used.get(name, ()), name, f"{prefix}.{name}")
    return tuple(
        _source(name, declared.get(name), scope)
        for name, aliases in sorted(used.items())
        if not only or any(fnmatch.fnmatchcase(alias, pattern) for alias in aliases for pattern in only)
    )


def _references(tokens: Sequence[hcl.Token]) -> list[str]:
    """The names in `sources`, with quotes or as references without."""
    text = "".join(f" {token.text} " if token.kind == "string" else token.text for token in tokens)
    return re.findall(r"(?:source\.)?([\w-]+\.[\w-]+)", text)


def _source(name: str, block: hcl.Block | None, scope: Mapping[str, Any]) -> Source:
    if block is None:
        return Source(name, name)
    image = hcl.evaluate(block.attributes.get("source_ami", ()), scope)
    region = hcl.evaluate(block.attributes.get("region", ()), scope)
    owners: tuple[str, ...] = ()
    filters: dict[str, str] | None = None
    for chosen in block.all("source_ami_filter"):
        listed = hcl.evaluate(chosen.attributes.get("owners", ()), scope)
        pairs = hcl.evaluate(chosen.attributes.get("filters", ()), scope)
        owners = tuple(map(str, listed)) if isinstance(listed, list) else ()
        if isinstance(pairs, dict):
            filters = {key: _text(value) for key, value in pairs.items() if value is not hcl.UNKNOWN}
    return Source(
        build=name,
        declared=".".join(block.labels),
        region=region if isinstance(region, str) and region else None,
        image=image if isinstance(image, str) and image else None,
        owners=owners,
        filters=filters,
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plugins(bodies: Sequence[hcl.Block]) -> dict[str, str]:
    plugins: dict[str, str] = {}
    for settings in _blocks(bodies, "packer"):
        for block in settings.all("required_plugins"):
            for tokens in block.attributes.values():
                wanted = hcl.evaluate(tokens, {})
                if isinstance(wanted, dict) and isinstance(wanted.get("source"), str):
                    plugins[wanted["source"]] = str(wanted.get("version", ""))
    return plugins


def _manifest(bodies: Sequence[hcl.Block], scope: Mapping[str, Any]) -> str | None:
    for build in _blocks(bodies, "build"):
        steps = [
            *build.all("post-processor"),
            *(step for chain in build.all("post-processors") for step in chain.blocks),
        ]
        for step in steps:
            if step.labels == ("manifest",):
                output = hcl.evaluate(step.attributes.get("output", ()), scope)
                return output if isinstance(output, str) and output else "packer-manifest.json"
    return None
