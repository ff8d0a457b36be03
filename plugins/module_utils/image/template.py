# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Packer template says about itself, read without starting Packer: its builds, what they start from and what they read."""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.image import hcl
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.expression import (
    UNKNOWN,
    Evaluation,
    SourceImage,
    Trace,
    Unknown,
    braces,
    first_unknown,
)

AUTOMATIC = (".auto.pkrvars.hcl", ".auto.pkrvars.json")
# Given by image_build to a template that declares them.
GIVEN: Final = frozenset(
    {"fingerprint", "revision", "image_tags", "run_tags", "source_image", "manifest", "packages", "lock", "region"}
)
_SECRET_NAME = re.compile(
    r"(^|_)(pass(word|phrase|wd)?s?|secrets?|token|credentials?|private_keys?|api_?keys?)(_|$)", re.IGNORECASE
)
CUSTOM_DATA: Final = 'custom_data = {build = "${source.type}.${source.name}"}'
_VALUES: Final = ("default", "expression")  # of a variable, of a local
_MOST_COPIES: Final = 1000  # blocks that one `dynamic` may make


@dataclass(frozen=True)
class Lookup:
    """A question to EC2 for the newest image: owners, and filters as EC2 takes them."""

    owners: tuple[str, ...]
    filters: tuple[tuple[str, tuple[str, ...]], ...]
    region: str | None = None
    deprecated: bool = False


@dataclass(frozen=True)
class Source:
    """One source that a build uses; `build` is its name as Packer's `-only` takes it: with the build block's, if that has one."""

    build: str
    declared: str  # as its block is called, which a build may rename
    region: str | None = None
    image: str | None = None  # a fixed image id
    lookup: Lookup | None = None
    data: str = ""  # the data source amazon-ami whose image it starts from
    told: str = ""  # what the manifest's custom_data says of the build; empty when it says nothing

    @property
    def type(self) -> str:
        """The builder's: `amazon-ebs`."""
        return self.declared.partition(".")[0]

    @property
    def on_ec2(self) -> bool:
        return self.type.startswith("amazon-")

    @property
    def owners(self) -> tuple[str, ...]:
        return self.lookup.owners if self.lookup else ()

    @property
    def filters(self) -> dict[str, str] | None:
        return {name: ",".join(values) for name, values in self.lookup.filters} if self.lookup else None


@dataclass(frozen=True)
class Step:
    """A block inside of a build or a source with its values: a provisioner, a post-processor, a source's own settings.

    `kind` is the type of the block (`provisioner`), `type` its label (`shell`), `values` its attributes and blocks, each value
    known or not by itself.
    """

    kind: str
    type: str
    values: Mapping[str, Any]
    at: str


@dataclass(frozen=True)
class Template:
    """A template's directory with its variables filled in as far as that goes without Packer."""

    directory: Path
    values: Mapping[str, Any]
    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    data: Mapping[str, Lookup]  # data sources amazon-ami that the builds hang on
    plugins: Mapping[str, str]  # address in required_plugins -> version constraint
    manifest: str | None  # where the manifest post-processor writes, relative to the directory
    secrets: frozenset[str]  # names of variables whose values must not be shown
    declared: frozenset[str]
    trace: Trace
    # File with values of secrets -> what it holds beside them, and the secrets by name: they go into no digest that is shown.
    veiled: Mapping[Path, bytes] = field(default_factory=dict)
    hidden: Mapping[str, str] = field(default_factory=dict)

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

    Raises ImageError for whatever Packer would refuse and can be seen without it: no template, a file that does not parse, a variable
    without a value or that is not declared, a build without a manifest.
    """
    if not directory.is_dir():
        raise ImageError(f"the template {directory} is not a directory: give the one that holds *.pkr.hcl")
    files = sorted([*directory.glob("*.pkr.hcl"), *directory.glob("*.pkr.json")])
    if not files:
        raise ImageError(f"the template {directory} holds no *.pkr.hcl: is it the right directory?")
    bodies = {path: _parse(path) for path in files}
    return _Reading(directory, bodies).template(only, _assigned(directory, var_files), variables or {}, given or {})


def _parse(path: Path) -> hcl.Block:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ImageError(f"{path} cannot be read: {exc.strerror}; make it readable") from exc
    except UnicodeDecodeError as exc:
        raise ImageError(f"{path} is not UTF-8, as Packer wants it: save it as UTF-8") from exc
    return (hcl.parse_json if path.suffix == ".json" else hcl.parse)(text, path.name)


@dataclass(frozen=True)
class Assigned:
    """What one variables file says: the values, and for HCL where in the text each of them is."""

    path: Path
    values: Mapping[str, Any]
    spans: Mapping[str, tuple[int, int]] | None


def _assigned(directory: Path, var_files: Sequence[Path]) -> list[Assigned]:
    automatic = sorted(path for path in directory.iterdir() if path.name.endswith(AUTOMATIC))
    return [assigned(path) for path in [*automatic, *var_files]]


def assigned(path: Path) -> Assigned:
    """Read a variables file. Raises ImageError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ImageError(f"the variables file {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ImageError(f"the variables file {path} is broken: it is not UTF-8") from exc
    if path.suffix == ".json":
        values = hcl.read_json(text, f"the variables file {path}")
        if not isinstance(values, dict):
            raise ImageError(f"the variables file {path} is broken: it holds no object")
        return Assigned(path, values, None)
    body = hcl.parse(text, path.name)
    plain = Evaluation(path.parent, Trace(), lambda keys, at: (UNKNOWN, len(keys)))
    return Assigned(path, {name: plain.value(node) for name, node in body.attributes.items()}, body.spans)


class _Reading:
    """One template while it is read. Variables, locals and data sources are evaluated when something asks for them, once."""

    def __init__(self, directory: Path, bodies: Mapping[Path, hcl.Block]) -> None:
        self._directory = directory
        self._bodies = bodies
        self._trace = Trace()
        self._evaluation = Evaluation(directory, self._trace, self._resolve)
        self._blocks = [block for body in bodies.values() for block in body.blocks]
        self._declared = {block.labels[0]: block for block in self._blocks if block.type == "variable" and block.labels}
        for block in self._blocks:
            if block.type == "variables":
                for name, node in block.attributes.items():
                    self._declared[name] = hcl.Block("variable", (name,), {"default": node}, (), block.at)
        self._locals: dict[str, tuple[hcl.Node, str]] = {}
        for block in self._blocks:
            if block.type == "locals":
                self._locals.update({name: (node, block.at) for name, node in block.attributes.items()})
            elif block.type == "local" and block.labels and "expression" in block.attributes:
                self._locals[block.labels[0]] = (block.attributes["expression"], block.at)
        self._data = {".".join(block.labels): block for block in self._blocks if block.type == "data"}
        self._values: dict[str, Any] = {}
        self._known_locals: dict[str, Any] = {}
        self._known_data: dict[str, Any] = {}
        self._lookups: dict[str, Lookup] = {}
        self._pending: list[str] = []  # locals and data sources that are being evaluated

    def template(
        self, only: Sequence[str], files: Sequence[Assigned], variables: Mapping[str, Any], given: Mapping[str, Any]
    ) -> Template:
        self._fill_in(files, variables, given)
        chosen = self._chosen(only)
        secrets = frozenset(
            name
            for name, block in self._declared.items()
            if self._is_true(block.attributes.get("sensitive"))
            or (_SECRET_NAME.search(name) and _type_name(block.attributes.get("type")) not in ("bool", "number"))
        )
        sources = tuple(self._source(name, declared, block) for name, declared, block, dummy in chosen)
        steps = tuple(self._steps_of(chosen))
        manifest, told = self._manifest(chosen)
        self._note_registries(chosen)
        sources = tuple(replace(source, told=word) for source, word in zip(sources, told, strict=True))
        # What follows asks for everything, used or not, and so it says nothing about the image.
        seen, lookups = self._trace.copy(), dict(self._lookups)
        return Template(
            directory=self._directory,
            values={name: self._value_of(name) for name in self._values},
            sources=sources,
            steps=steps,
            data=lookups,
            plugins=self._plugins(),
            manifest=manifest,
            secrets=secrets,
            declared=frozenset(self._declared),
            trace=seen,
            veiled=self._veiled(secrets, files),
            hidden=self._hidden(secrets),
        )

    # --- Variables ---

    def _fill_in(self, files: Sequence[Assigned], variables: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name in self._declared:
                self._values[name] = value
        for said in files:
            for name, value in said.values.items():
                self._assign(name, value, f"the variables file {said.path}")
        for name, value in variables.items():
            self._assign(name, value, "variables")
        for name, block in self._declared.items():
            if name in self._values:
                continue
            if "default" in block.attributes:
                self._values[name] = block.attributes["default"]  # evaluated when something asks for it
            elif name in GIVEN - {"lock"}:
                self._values[name] = Unknown(f"image_build gives {name} when it builds")
            else:
                raise ImageError(
                    f"{block.at}: the variable {name} has no value: give it one with variables or var_files, or a default in the template"
                )

    def _assign(self, name: str, value: Any, whose: str) -> None:
        if name not in self._declared:
            close = [
                known for known in self._declared if known.replace("_", "-").lower() == name.replace("_", "-").lower()
            ]
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ImageError(
                f"{whose} gives {name}, which the template {self._directory} does not declare: correct the name, take it out, or declare "
                f"it{hint}"
            )
        if hcl.depth_of(value) > hcl.DEEPEST:
            raise ImageError(
                f"{whose} gives {name} a value that nests more than {hcl.DEEPEST} levels deep: make it flatter"
            )
        if not _finite(value):
            raise ImageError(
                f"{whose} gives {name} a number that is none, or is larger than any that Packer takes: correct it"
            )
        self._values[name] = value

    def _value_of(self, name: str) -> Any:
        value = self._values[name]
        if isinstance(value, hcl.NODES):
            value = self._evaluation.value(value)
        value = self._values[name] = _converted(value, self._declared[name].attributes.get("type"))
        return value

    def _is_true(self, node: hcl.Node | None) -> bool:
        return node is not None and self._evaluation.value(node) is True

    # --- Names ---

    def _resolve(self, keys: Sequence[Any], at: str) -> tuple[Any, int]:
        """What a reference stands for, and how many of its names that took."""
        root, name = keys[0], keys[1] if len(keys) > 1 else None
        if root == "var" and isinstance(name, str):
            if name not in self._declared:
                raise ImageError(f"{at}: there is no variable {name}: declare it, or correct the name")
            return self._value_of(name), 2
        if root == "local" and isinstance(name, str):
            if name not in self._locals:
                raise ImageError(f"{at}: there is no local {name}: declare it, or correct the name")
            return self._local(name), 2
        if root == "data" and len(keys) > 2 and all(isinstance(key, str) for key in keys[1:3]):
            return self._data_source(f"{name}.{keys[2]}", at), 3
        if root == "path" and name in ("root", "cwd"):
            return "." if name == "root" else str(self._directory), 2
        return Unknown(f"{root} is known when Packer builds"), len(keys)

    def _local(self, name: str) -> Any:
        if name not in self._known_locals:
            node, at = self._locals[name]
            self._once(f"local.{name}", at)
            self._known_locals[name] = self._evaluation.value(node)
            self._pending.pop()
        return self._known_locals[name]

    def _once(self, name: str, at: str) -> None:
        if name in self._pending:
            raise ImageError(f"{at}: {name} hangs on itself: {' -> '.join([*self._pending, name])}; break the circle")
        if len(self._pending) > hcl.DEEPEST:
            raise ImageError(
                f"{at}: {name} hangs on more than {hcl.DEEPEST} others, one below the other: shorten the chain"
            )
        self._pending.append(name)

    def _data_source(self, name: str, at: str) -> Any:
        if name in self._known_data:
            return self._known_data[name]
        block = self._data.get(name)
        if block is None:
            raise ImageError(f"{at}: there is no data source {name}: declare it, or correct the name")
        self._once(f"data.{name}", block.at)
        if block.labels[0] == "amazon-ami":
            value = self._data_image(name, block)
        elif block.labels[0] == "null" and "input" in block.attributes:
            inner = self._evaluation.value(block.attributes["input"])
            value = {"output": inner, "input": inner}
        else:
            self._values_of(block)  # the files that it names count all the same
            self._trace.add_unknown(
                f"{block.at}: the data source {name} asks somebody else while Packer builds, and the answer may change: give what it "
                "answers as a variable"
            )
            value = Unknown(f"data.{name} is answered when Packer builds")
        self._pending.pop()
        self._known_data[name] = value
        return value

    def _data_image(self, name: str, block: hcl.Block) -> Any:
        values = self._values_of(block)
        lookup = self._lookup(f"data.{name}", block.at, values, _text_or_none(values.get("region")))
        if lookup is None:
            return Unknown(f"data.{name} cannot be looked up")
        self._lookups[f"data.{name}"] = lookup
        image = SourceImage(f"data.{name} is looked up in EC2", f"data.{name}")
        return {"id": image, **dict.fromkeys(("name", "creation_date", "owner", "owner_name", "tags"), image)}

    # --- Sources and builds ---

    def _chosen(self, only: Sequence[str]) -> list[tuple[str, str, hcl.Block, hcl.Block]]:
        """Build name, declared name, the source's settings and the build's block of each source that is to be built."""
        declared = {
            ".".join(block.labels): block for block in self._blocks if block.type == "source" and len(block.labels) == 2
        }
        every: list[tuple[str, str, hcl.Block, hcl.Block]] = []
        for build in self._blocks:
            if build.type == "build":
                every += self._of_build(build, declared)
        chosen = [entry for entry in every if not only or matches(entry[0], only)]
        if only and not chosen:  # without the name of the build's block: Packer gets the whole name
            chosen = [entry for entry in every if matches(self._short(entry), only)]
        if not every:
            raise ImageError(
                f"the template {self._directory} has no build with a source: Packer would make nothing of it"
            )
        if not chosen:
            raise ImageError(
                f"only is {', '.join(only)}, and the builds of {self._directory} are {', '.join(sorted({entry[0] for entry in every}))}: "
                "name some of these"
            )
        return sorted(chosen, key=lambda entry: entry[:2])

    def _short(self, entry: tuple[str, str, hcl.Block, hcl.Block]) -> str:
        return ".".join(entry[0].split(".")[-2:])

    def _of_build(
        self, build: hcl.Block, declared: Mapping[str, hcl.Block]
    ) -> Iterator[tuple[str, str, hcl.Block, hcl.Block]]:
        title = self._evaluation.value(build.attributes["name"]) if "name" in build.attributes else ""
        if not isinstance(title, str):
            raise ImageError(f"{build.at}: the name of the build cannot be said before it runs: write it out")
        prefix = f"{title}." if title else ""

        def known(name: str) -> hcl.Block:
            name = name.removeprefix("source.").removeprefix("sources.")
            if name not in declared:
                raise ImageError(f"{build.at}: there is no source {name}: declare it, or correct the name")
            return declared[name]

        for name in self._references(build):
            block = known(name)
            kind = ".".join(block.labels)
            yield f"{prefix}{kind}", kind, block, build
        for inner in build.all("source"):
            block = known(".".join(inner.labels))
            kind = ".".join(block.labels)
            renamed = (
                self._evaluation.value(inner.attributes["name"]) if "name" in inner.attributes else block.labels[1]
            )
            merged = hcl.Block(
                "source",
                block.labels,
                {**block.attributes, **{key: node for key, node in inner.attributes.items() if key != "name"}},
                (*block.blocks, *inner.blocks),
                block.at,
            )
            yield f"{prefix}{block.labels[0]}.{renamed}", kind, merged, build

    def _references(self, build: hcl.Block) -> list[str]:
        """The names in `sources`, with quotes or as references without."""
        node = build.attributes.get("sources")
        if node is None:
            return []
        names: list[str] = []
        for item in node.items if isinstance(node, hcl.List) else [node]:
            if isinstance(item, hcl.Traversal) and item.root in ("source", "sources"):
                names.append(".".join(str(step.value) for step in item.steps if isinstance(step, hcl.Literal)))
                continue
            value = self._evaluation.value(item)
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, str):
                    raise ImageError(
                        f"{build.at}: which sources are built cannot be said before Packer runs: write their names out"
                    )
                names.append(one)
        return names

    def _source(self, name: str, declared: str, block: hcl.Block) -> Source:
        values = self._values_of(block)
        region = _text_or_none(values.get("region"))
        source = Source(name, declared, region=region)
        if not source.on_ec2:
            return source
        image = values.get("source_ami")
        filters = values.get("source_ami_filter")
        if isinstance(image, str) and image:
            return Source(name, declared, region=region, image=image)
        if isinstance(image, SourceImage):
            return Source(name, declared, region=region, data=image.name)
        if isinstance(image, Unknown) and (filters is None or not image.why.startswith("image_build gives")):
            self._trace.add_unknown(
                f"{name}: the image that it starts from cannot be said, because {image.why}; give its id as a variable"
            )
            return source
        if filters is None:
            return source
        if not isinstance(filters, Mapping):
            self._trace.add_unknown(
                f"{name}: whether it has a source_ami_filter, or which, cannot be said, because {_why(filters)}; give the id of its image as a "
                "variable"
            )
            return source
        return Source(name, declared, region=region, lookup=self._lookup(name, block.at, filters, region))

    def _lookup(self, name: str, at: str, values: Mapping[str, Any], region: str | None) -> Lookup | None:
        """The question to EC2; None when a part of it cannot be read: a question without it would find strangers' images."""
        owners = values.get("owners", [])
        pairs = values.get("filters") or {}
        more = values.get("filter") or []
        named = [
            *(pairs.items() if isinstance(pairs, Mapping) else [("", pairs)]),
            *(
                (str(one.get("name")), one.get("values", one.get("value"))) if isinstance(one, Mapping) else ("", one)
                for one in (more if isinstance(more, list) else [more])
            ),
        ]
        unreadable = first_unknown([owners, *(value for dummy, value in named)])
        if unreadable:
            self._trace.add_unknown(
                f"{name}: the image that it starts from cannot be looked up, because its owners or filters cannot be read ({unreadable.why}); "
                "nothing is asked without them: give them as plain values, or the image's id"
            )
            return None
        owners = [owners] if isinstance(owners, str) else owners
        if (
            not isinstance(owners, list)
            or not all(isinstance(owner, str) and owner.strip() for owner in owners)
            or not owners
        ):
            raise ImageError(
                f"{at}: {name} does not say whose image it starts from, and anybody may publish one under any name: give owners"
            )
        return Lookup(
            tuple(owners),
            tuple(
                sorted(
                    (key, tuple(map(_as_text, value if isinstance(value, list) else [value]))) for key, value in named
                )
            ),
            region,
            values.get("include_deprecated") is True,
        )

    def _steps_of(self, chosen: Sequence[tuple[str, str, hcl.Block, hcl.Block]]) -> Iterator[Step]:
        seen: set[int] = set()
        for dummy, declared, block, build in chosen:
            yield Step("source", declared.partition(".")[0], self._values_of(block), block.at)
            if id(build) in seen:
                continue
            seen.add(id(build))
            names = {entry[0] for entry in chosen if entry[3] is build}
            for inner, scope in self._flat(build):
                if inner.type == "source":
                    continue
                values = self._values_of(inner, scope)
                if _applies(values, names):
                    yield Step(inner.type, inner.labels[0] if inner.labels else "", values, inner.at)

    def _flat(self, build: hcl.Block) -> Iterator[tuple[hcl.Block, Mapping[str, Any]]]:
        """The steps of a build, with what the names of a `dynamic` block stand for in each."""
        for block in build.blocks:
            if block.type == "post-processors":
                yield from ((inner, {}) for inner in block.blocks)
            elif block.type == "dynamic":
                yield from self._copies(block)
            else:
                yield block, {}

    def _values_of(self, block: hcl.Block, scope: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The attributes of a block and the blocks inside: one of a type as an object, several as a list of them."""
        values = {name: self._evaluation.value(node, scope) for name, node in block.attributes.items()}
        inner: dict[str, list[Any]] = {}
        for one in block.blocks:
            if one.type == "dynamic" and one.labels:
                for made, names in self._copies(one, scope):
                    inner.setdefault(one.labels[0], []).append(self._values_of(made, names))
                if isinstance(unknown := self._for_each(one, scope), Unknown):
                    inner.setdefault(one.labels[0], []).append(unknown)
            elif one.type not in values:  # in JSON a block is an attribute as well
                inner.setdefault(one.type, []).append(self._values_of(one, scope))
        values.update({name: made[0] if len(made) == 1 else made for name, made in inner.items()})
        return values

    def _for_each(self, block: hcl.Block, scope: Mapping[str, Any] | None) -> Any:
        return self._evaluation.value(block.attributes["for_each"], scope) if "for_each" in block.attributes else []

    def _copies(
        self, block: hcl.Block, scope: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[hcl.Block, Mapping[str, Any]]]:
        each = self._for_each(block, scope)
        iterator = block.attributes.get("iterator")
        name = (
            iterator.root if isinstance(iterator, hcl.Traversal) and isinstance(iterator.root, str) else block.labels[0]
        )
        pairs = (
            list(each.items()) if isinstance(each, Mapping) else list(enumerate(each)) if isinstance(each, list) else []
        )
        labels = block.attributes.get("labels")
        for key, value in pairs[:_MOST_COPIES]:
            names = {**(scope or {}), name: {"key": key, "value": value}}
            given = self._evaluation.value(labels, names) if labels else []
            texts = tuple(map(str, given)) if isinstance(given, list) else ()
            for content in block.all("content"):
                yield hcl.Block(block.labels[0], texts, content.attributes, content.blocks, block.at), names

    # --- The rest ---

    def _plugins(self) -> dict[str, str]:
        plugins: dict[str, str] = {}
        for settings in self._blocks:
            if settings.type != "packer":
                continue
            for block in settings.all("required_plugins"):
                for node in block.attributes.values():
                    wanted = self._evaluation.value(node)
                    if isinstance(wanted, Mapping) and isinstance(wanted.get("source"), str):
                        plugins[wanted["source"]] = str(wanted.get("version", ""))
        return plugins

    def _manifest(self, chosen: Sequence[tuple[str, str, hcl.Block, hcl.Block]]) -> tuple[str | None, list[str]]:
        """Where the manifest goes, and what it says of each build."""
        output: str | None = None
        told: list[str] = []
        for name, *dummy, build in chosen:
            kind, short = name.split(".")[-2:]
            scope = {"source": {"type": kind, "name": short}, "build": {"name": ".".join(name.split(".")[:-2])}}
            found = [
                values
                for block, names in self._flat(build)
                if block.type == "post-processor" and block.labels == ("manifest",)
                if _applies(values := self._values_of(block, {**names, **scope}), {name})
            ]
            if not found:
                raise ImageError(
                    f'{build.at}: the build {name} has no post-processor "manifest", which says what was made: add one'
                )
            custom = found[0].get("custom_data")
            said = custom.get("build") if isinstance(custom, Mapping) else None
            told.append(said if isinstance(said, str) else "")
            where = found[0].get("output", "")
            output = where if isinstance(where, str) and where else output or "packer-manifest.json"
        self._tell_apart(chosen, told)
        return output, told

    def _note_registries(self, chosen: Sequence[tuple[str, str, hcl.Block, hcl.Block]]) -> None:
        builds = [build for *dummy, build in chosen]
        for block in [*self._blocks, *(inner for build in builds for inner in build.blocks)]:
            if block.type == "hcp_packer_registry":
                self._trace.add_unknown(
                    f"{block.at}: the build hangs on a bucket of HCP Packer (hcp_packer_registry), which nobody can look into here: leave it out, "
                    "and publish with image_publish"
                )

    def _tell_apart(self, chosen: Sequence[tuple[str, str, hcl.Block, hcl.Block]], told: Sequence[str]) -> None:
        names = [name for name, *dummy in chosen]
        marks = [(declared, word) for (dummy, declared, *dummy_blocks), word in zip(chosen, told, strict=True)]
        for (name, declared, dummy, build), mark in zip(chosen, marks, strict=True):
            alone = [other for other, *dummy in marks].count(declared) == 1
            if names.count(name) > 1:
                self._trace.add_unknown(
                    f"{build.at}: two builds are called {name}, so nobody can tell their images apart: give each build block a name"
                )
            elif not alone and (not mark[1] or marks.count(mark) > 1):
                self._trace.add_unknown(
                    f"{build.at}: several builds are made of the source {declared}, and Packer's manifest does not say which image is whose: "
                    f"write {CUSTOM_DATA} into the post-processor manifest, with ${{build.name}}. before it where build blocks have names"
                )

    # --- Secrets ---

    def _veiled(self, secrets: frozenset[str], files: Sequence[Assigned]) -> dict[Path, bytes]:
        """What files hold beside the values of secrets."""
        veiled: dict[Path, bytes] = {}
        for path, body in self._bodies.items():
            spans = [block.spans.get(part) for block in body.blocks if self._hides(block, secrets) for part in _VALUES]
            if path.suffix == ".json":
                hiding = [block for block in body.blocks if self._hides(block, secrets)]
                if any(part in block.attributes for block in hiding for part in _VALUES):
                    veiled[path] = _without(
                        json.loads(path.read_text(encoding="utf-8")), {block.labels[0] for block in hiding}
                    )
            elif cut := [span for span in spans if span]:
                veiled[path] = _cut(path, cut)
        for said in files:
            if not (names := secrets & set(said.values)):
                continue
            if said.spans is None:
                kept = {name: value for name, value in said.values.items() if name not in names}
                veiled[said.path] = json.dumps(kept, sort_keys=True).encode()
            else:
                veiled[said.path] = _cut(said.path, [said.spans[name] for name in names])
        return veiled

    def _hides(self, block: hcl.Block, secrets: frozenset[str]) -> bool:
        if not block.labels:
            return False
        if block.type == "variable":
            return block.labels[0] in secrets
        return block.type == "local" and self._is_true(block.attributes.get("sensitive"))

    def _hidden(self, secrets: Iterable[str]) -> dict[str, str]:
        """Name -> the secret itself, for a digest that stays on this machine; empty ones are no secrets."""
        found: dict[str, Any] = {name: self._value_of(name) for name in secrets if name in self._values}
        for block in self._blocks:
            if block.type == "local" and self._hides(block, frozenset()):
                found[f"local {block.labels[0]}"] = self._local(block.labels[0])
        return {
            name: repr(value)
            for name, value in found.items()
            if not isinstance(value, Unknown) and value not in ("", None, [], {})
        }


def matches(name: str, only: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, one) for pattern in only for one in braces(pattern))


def _cut(path: Path, spans: Sequence[tuple[int, int]]) -> bytes:
    """A text without some of its parts."""
    text = path.read_text(encoding="utf-8")
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + text[end:]
    return text.encode()


def _without(document: Any, names: set[str]) -> bytes:
    """A template in JSON without the values of some variables and locals."""
    for kind in ("variable", "local"):
        listed = document.get(kind)
        for group in listed if isinstance(listed, list) else [listed or {}]:
            for name in names & set(group):
                for part in _VALUES:
                    group[name].pop(part, None)
    return json.dumps(document, sort_keys=True).encode()


def _applies(values: Mapping[str, Any], builds: Iterable[str]) -> bool:
    """Whether a step with `only` or `except` is taken in one of these builds; in doubt it is."""
    names = {".".join(build.split(".")[-2:]) for build in builds}
    only, left_out = values.get("only"), values.get("except")
    if isinstance(only, list) and only and all(isinstance(name, str) for name in only):
        return bool(names & set(only))
    if isinstance(left_out, list) and all(isinstance(name, str) for name in left_out):
        return bool(names - set(left_out))
    return True


def _type_name(kind: hcl.Node | None) -> str:
    """`string`, `number` or `bool`; empty for the others."""
    if isinstance(kind, hcl.Traversal) and isinstance(kind.root, str) and not kind.steps:
        return kind.root
    return str(kind.value) if isinstance(kind, hcl.Literal) else ""


def _converted(value: Any, kind: hcl.Node | None) -> Any:
    """A value as the variable's type makes it: Packer takes "8" for a number and 8 for a string."""
    wanted = _type_name(kind)
    if wanted == "string" and isinstance(value, int | float):
        return _as_text(value)
    if wanted == "number" and isinstance(value, str):
        try:
            return float(value) if set(value) & set(".eE") else int(value[: hcl.LONGEST_NUMBER])
        except ValueError:
            return value
    if wanted == "bool" and value in ("true", "false"):
        return value == "true"
    return value


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return bool(abs(value) < 10**hcl.LONGEST_NUMBER)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return all(map(_finite, inner))


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _why(value: Any) -> str:
    unknown = first_unknown(value)
    return unknown.why if unknown else "there are several"
