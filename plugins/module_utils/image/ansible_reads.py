# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Ansible provisioner reads on this machine: playbooks, roles wherever they are found, what these hang on and include.

Playbooks are read and not run. A name that is only known when they run is looked for in the variables that Packer gives; where that does not
tell, the answer is a sentence and not a guess.
"""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.expression import expanded, first_unknown
from ansible_collections.boring.fleet.plugins.module_utils.image.inputs import Read, place, texts, who
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Step

try:
    import yaml
except ImportError:  # Ansible brings it wherever this runs on the controller
    yaml = None  # type: ignore[assignment]

_PLAYBOOKS: Final = ("playbook_file", "playbook_files")
_ALSO: Final = (
    "galaxy_file", "inventory_file", "inventory_directory", "group_vars", "host_vars", "playbook_dir", "playbook_paths", "role_paths",
    "collection_paths",
)  # fmt: skip
# What Ansible takes from beside a playbook without being asked.
_BESIDE: Final = (
    "group_vars", "host_vars", "files", "templates", "vars", "library", "module_utils", "action_plugins", "filter_plugins",
    "lookup_plugins", "test_plugins", "vars_plugins", "callback_plugins",
)  # fmt: skip
_BUILTIN: Final = re.compile(r"^ansible\.(builtin|legacy)\.")
_QUALIFIED: Final = re.compile(r"^([a-z_]\w*)\.([a-z_]\w*)\.([a-z_][\w.]*)$")
_INCLUDES = ("include_role", "import_role", "include_tasks", "import_tasks", "include", "include_vars")
_UPLOADS: Final = {
    "copy": "files",
    "template": "templates",
    "unarchive": "files",
    "script": "files",
    "assemble": "files",
    "patch": "files",
}
_LOOKUPS: Final = re.compile(
    r"""(?:lookup|query|q)\(\s*['"](?:ansible\.builtin\.)?(\w+)['"]\s*,\s*(?:(['"])(.{0,500}?)\2|([\w.]+))""", re.DOTALL
)
_OUTSIDE_LOOKUPS: Final = frozenset(
    {"env", "url", "pipe", "dig", "password", "random_choice", "aws_ssm", "aws_secret", "hashi_vault"}
)
_EXACT: Final = re.compile(r"^(=+\s*)?(v?\d+(\.\d+)+([.+-][\w.+-]+)?|[0-9a-f]{40})$")
_EXPRESSION: Final = re.compile(r"\{\{-?\s*+(.{0,500}?)\s{0,50}-?\}\}", re.DOTALL)  # bounded: it is tried at each brace
_QUOTED: Final = re.compile(r"""(['"])([^'"{}]*)\1""")
_FILTERS: Final[Mapping[str, Callable[[str], str]]] = {
    "expanduser": os.path.expanduser,
    "basename": os.path.basename,
    "dirname": os.path.dirname,
    "realpath": os.path.realpath,
    "trim": str.strip,
    "string": str,
}
_FILTERED: Final = re.compile(rf"""(.+?)\s*\|\s*({"|".join(_FILTERS)}|default|d)\s*(\(([^()]*)\))?""")
_NAME: Final = re.compile(r"^[A-Za-z_]\w*(\.\w+|\[['\"]?\w+['\"]?\])*$")
_LONGEST: Final = 2_000_000  # bytes of a YAML file
_MOST_FILES: Final = 5000
_MOST_TEXTS: Final = 20_000  # in one task
_EDITED: Final = 60.0  # seconds after Galaxy installed a role from which a change is somebody's own


def of(directory: Path, step: Step, env: Mapping[str, str], read: Read) -> None:
    """Add what one provisioner reads. Raises ImageError for what it names and is not there."""
    for name in (*_PLAYBOOKS, *_ALSO):
        value = step.values.get(name)
        if why := first_unknown(value):
            read.cannot_say(
                f"the {who(step)} takes a {name} that cannot be said ({why.why}): write the path out, or give it as a variable"
            )
        for text in texts(value):
            path = place(directory, text)
            if path is None or not path.exists():
                raise ImageError(
                    f"{step.at}: the {step.kind} {step.type} names {path or text}, which does not exist: correct the path, or make the file"
                )
            read.paths[path] = who(step)
    if yaml is None:
        read.cannot_say(
            f"the {who(step)} runs a playbook, and this Python ({sys.executable}) has no PyYAML to read it with: install it, or set "
            "ansible_python_interpreter to Ansible's own"
        )
        return
    reader = _Playbooks(directory, step, env, read)
    reader.requirements()
    for name in _PLAYBOOKS:
        for text in texts(step.values.get(name)):
            if path := place(directory, text):
                reader.playbook(path)


@dataclass(frozen=True)
class _Context:
    """Where a task stands: directories to look in, and the variables that are known there, the strongest first."""

    bases: tuple[Path, ...]
    what: str  # for sentences
    variables: tuple[Mapping[str, Any], ...] = ()
    role: Path | None = None
    collection: str = ""
    depth: int = 0

    def value(self, name: str) -> Any:
        """What a dotted name stands for; None when nobody says."""
        parts = re.findall(r"\w+", name)
        for names in self.variables:
            value: Any = names
            for part in parts:
                value = value.get(part) if isinstance(value, Mapping) else None
            if value is not None:
                return value
        return None


class _Playbooks:
    def __init__(self, directory: Path, step: Step, env: Mapping[str, str], read: Read) -> None:
        self._directory, self._step, self._read = directory, step, read
        self._env = {**env, **_assignments(texts(step.values.get("ansible_env_vars")))}
        self._loaded: dict[Path, Any] = {}
        self._home = Path(expanded(self._env.get("ANSIBLE_HOME", "~/.ansible")))
        settings = self._settings()
        self._role_paths = self._search(
            "ANSIBLE_ROLES_PATH", settings.get("roles_path", ""), "roles", step.values.get("roles_path")
        )
        for parent in texts(
            step.values.get("role_paths")
        ):  # ansible-local uploads each of them into one directory of roles
            if (path := place(directory, parent)) is not None:
                self._role_paths.insert(0, path.parent)
        configured = settings.get("collections_path", settings.get("collections_paths", ""))
        name = "ANSIBLE_COLLECTIONS_PATH" if "ANSIBLE_COLLECTIONS_PATH" in self._env else "ANSIBLE_COLLECTIONS_PATHS"
        self._collection_paths = self._search(name, configured, "collections", step.values.get("collections_path"))
        self._collection_paths += [Path(entry) for entry in sys.path if entry]
        self._extra = self._extra_variables()
        self._pins: dict[str, str] = {}
        self._made: set[str] = set()
        self._seen: set[tuple[Path, str]] = set()

    # --- Settings ---

    def _settings(self) -> Mapping[str, str]:
        named = self._env.get("ANSIBLE_CONFIG")
        candidates = [
            *([self._directory / Path(expanded(named))] if named else []),
            self._directory / "ansible.cfg",
            Path(expanded("~/.ansible.cfg")),
            Path("/etc/ansible/ansible.cfg"),
        ]
        for path in candidates:
            if path.is_file():
                parser = configparser.ConfigParser(interpolation=None, strict=False)
                try:
                    parser.read(path, encoding="utf-8")
                except (configparser.Error, UnicodeDecodeError, OSError):
                    return {}
                if named and path == candidates[0]:
                    self._read.paths[path] = who(self._step)
                self._config_directory = path.parent
                return dict(parser["defaults"]) if parser.has_section("defaults") else {}
        return {}

    def _search(self, variable: str, configured: str, kind: str, given: Any) -> list[Path]:
        """Directories to look for roles or collections in, in Ansible's order."""
        listed = [*texts(given)]
        if said := self._env.get(variable):
            listed += said.split(os.pathsep)
        elif configured:
            base = getattr(self, "_config_directory", self._directory)
            listed += [str(base / Path(expanded(entry))) for entry in configured.split(os.pathsep)]
        else:
            listed += [str(self._home / kind), f"/usr/share/ansible/{kind}", f"/etc/ansible/{kind}"]
        return [self._directory / Path(expanded(entry.strip())) for entry in listed if entry.strip()]

    def _extra_variables(self) -> dict[str, Any]:
        """What --extra-vars gives: nothing is stronger."""
        found: dict[str, Any] = {}
        words = [word for word in _flat(self._step.values.get("extra_arguments")) if isinstance(word, str)]
        for at, word in enumerate(words):
            if word in ("-e", "--extra-vars") and at + 1 < len(words):
                given = words[at + 1]
            elif word.startswith("--extra-vars="):
                given = word.partition("=")[2]
            elif word.startswith("-e") and len(word) > 2:
                given = word[2:].strip()
            else:
                self._option(word)
                continue
            given = given.strip().strip("'\"") if given.strip()[:1] in "'\"" else given.strip()
            if given.startswith("@"):
                path = place(self._directory, given[1:])
                if path is None or not path.is_file():
                    raise ImageError(
                        f"{self._step.at}: the provisioner {self._step.type} takes variables from {given[1:]}, which does not exist: correct the "
                        "path, or make the file"
                    )
                self._read.paths[path] = who(self._step)
                said = self._load(path) if path.suffix in (".yml", ".yaml", ".json") else None
            elif given.startswith(("{", "[")):
                said = _parsed(given)
            else:
                said = _assignments(
                    shlex.split(given) if given.count('"') % 2 == 0 and given.count("'") % 2 == 0 else []
                )
            if isinstance(said, Mapping):
                found.update(said)
        return found

    def _option(self, word: str) -> None:
        """`--option=file`. A password or a key to get in is no input, and its digest belongs nowhere."""
        name, sign, value = word.partition("=")
        if not sign or not name.startswith("--") or re.search(r"pass|vault|key", name):
            return
        path = place(self._directory, value)
        if path is not None and path.is_file():
            self._read.paths[path] = who(self._step)

    # --- Requirements ---

    def requirements(self) -> None:
        """What Galaxy installs: known by its version, unless that is a branch or missing."""
        for text in texts(self._step.values.get("galaxy_file")):
            path = place(self._directory, text)
            if path is not None:
                self._required(path)

    def _required(self, path: Path) -> None:
        said = self._load(path)
        groups = said if isinstance(said, Mapping) else {"roles": said}
        for kind in ("roles", "collections"):
            for entry in groups.get(kind) or []:
                if isinstance(entry, Mapping) and isinstance(entry.get("include"), str):
                    self._read.paths[path.parent / entry["include"]] = who(self._step)
                    self._required(path.parent / entry["include"])
                    continue
                self._one_required(path, kind.removesuffix("s"), entry)

    def _one_required(self, path: Path, kind: str, entry: Any) -> None:
        wanted = entry if isinstance(entry, Mapping) else {"name": str(entry)}
        source = str(wanted.get("src") or wanted.get("source") or wanted.get("name") or "")
        name = str(wanted.get("name") or Path(source.partition(",")[0]).name.removesuffix(".git"))
        version = str(wanted.get("version") or "")
        if isinstance(entry, str) and "," in entry:
            name, dummy, version = entry.partition(",")
        local = place(path.parent, source)
        if (
            (wanted.get("type") in ("dir", "subdirs", "file") or source.startswith((".", "/", "~")))
            and local
            and local.exists()
        ):
            self._read.paths[local] = f"{path.name}"
            return
        if _EXACT.match(version):
            self._pins[name] = version.lstrip("= ")
        else:
            what = f"version {version}" if version else "no version"
            self._read.cannot_say(
                f"{path.name} asks for the {kind} {name} with {what}, which may be another one tomorrow: write an exact version or a commit"
            )

    # --- Playbooks ---

    def playbook(self, path: Path) -> None:
        if not self._first_time(path, ""):
            return
        self._read.paths[path] = who(self._step)
        for name in _BESIDE:
            if (beside := path.parent / name).is_dir():
                self._read.sources[beside] = f"beside {path.name}"
        context = _Context((path.parent,), f"the playbook {path.name}", (self._extra,))
        plays = self._load(path)
        for play in plays if isinstance(plays, list) else []:
            if isinstance(play, Mapping):
                self._play(play, context)

    def _play(self, play: Mapping[str, Any], context: _Context) -> None:
        for key in ("import_playbook", "ansible.builtin.import_playbook", "include"):
            for text in self._rendered(play.get(key), context, "imports a playbook"):
                self._imported(text, context)
        variables = play.get("vars")
        inner = replace(context, variables=(self._extra, variables if isinstance(variables, Mapping) else {}))
        for text in texts(play.get("vars_files")):
            for found in self._files(text, inner, "vars", "reads variables"):
                said = self._load(found)
                if isinstance(said, Mapping):
                    inner = replace(inner, variables=(*inner.variables, said))
        for key in ("pre_tasks", "tasks", "post_tasks", "handlers"):
            self._note_made(play.get(key), {})
        for entry in play.get("roles") or []:
            self._role_entry(entry, inner)
        for key in ("pre_tasks", "tasks", "post_tasks", "handlers"):
            self._tasks(play.get(key), inner)

    def _imported(self, text: str, context: _Context) -> None:
        if found := _QUALIFIED.match(text):
            collection = self._collection(f"{found[1]}.{found[2]}")
            for suffix in (".yml", ".yaml"):
                if collection and (path := collection / "playbooks" / (found[3] + suffix)).is_file():
                    self.playbook(path)
                    return
        for base in context.bases:
            if (path := base / Path(expanded(text))).is_file():
                self.playbook(path)
                return
        self._read.cannot_say(
            f"{context.what} imports the playbook {text}, which is not found: make it, or correct the path"
        )

    # --- Roles ---

    def _role_entry(self, entry: Any, context: _Context) -> None:
        if isinstance(entry, Mapping):
            name = entry.get("role") or entry.get("name") or entry.get("src")
            if self._never(entry.get("when"), context):
                return
            inner = {**entry, **(entry["vars"] if isinstance(entry.get("vars"), Mapping) else {})}
            context = replace(context, variables=(*context.variables[:1], inner, *context.variables[1:]))
        else:
            name = entry
        for text in self._rendered(name, context, "takes a role"):
            self._role(text, context)

    def _role(self, name: str, context: _Context) -> None:
        where = self._find_role(name, context)
        if where is None:
            if name in self._pins or ".".join(name.split(".")[:2]) in self._pins:
                return  # Galaxy brings it in the version that is written down
            self._read.cannot_say(
                f"{context.what} takes the role {name}, which is not found on this machine, so what is in it cannot be said: install it, or name "
                "its exact version in the provisioner's galaxy_file"
            )
            return
        path, root, label = where
        if not self._first_time(path, "role"):
            return
        if context.depth > 50:
            raise ImageError(f"{context.what}: roles take each other more than 50 deep: break the circle")
        if label and self._as_pinned(name, path):
            return
        if label:
            self._read.roots[root] = label
        self._read.sources[path] = f"the role {name}"
        own = [self._load(file) for kind in ("defaults", "vars") for file in self._yaml_files(path / kind)]
        inner = _Context(
            (path, path / "tasks", *context.bases),
            f"the role {name}",
            (*context.variables, *(said for said in reversed(own) if isinstance(said, Mapping))),
            path,
            ".".join(name.split(".")[:2]) if _QUALIFIED.match(name) else context.collection,
            context.depth + 1,
        )
        for file in self._yaml_files(path / "meta"):
            meta = self._load(file)
            for dependency in meta.get("dependencies") or [] if isinstance(meta, Mapping) else []:
                self._role_entry(dependency, inner)
        lists = [self._load(file) for kind in ("tasks", "handlers") for file in self._yaml_files(path / kind)]
        passed: dict[str, list[Any]] = {}
        for tasks in lists:
            self._note_made(tasks, passed)
        inner = replace(inner, variables=(*inner.variables, {name: _Each(values) for name, values in passed.items()}))
        for tasks in lists:
            self._tasks(tasks, inner)

    def _find_role(self, name: str, context: _Context) -> tuple[Path, Path, str] | None:
        """A role's directory, the directory that a name stands for, and that name, where the role is no part of the playbook's checkout."""
        if found := _QUALIFIED.match(name):
            whole = f"{found[1]}.{found[2]}"
            collection = self._collection(whole)
            path = collection / "roles" / found[3] if collection else None
            if path is not None and path.is_dir():
                self._note_collection(whole, "")
                return path, collection or path, f"collection {whole}"
        if context.collection and (own := self._collection(context.collection)) and (own / "roles" / name).is_dir():
            return own / "roles" / name, own, f"collection {context.collection}"
        for base in context.bases:
            for candidate in (base / "roles" / name, base / name if "/" in name else base / "roles" / name):
                if candidate.is_dir():
                    return candidate.resolve() if ".." in name else candidate, candidate, ""
        neighbours = [context.role.parent] if context.role else []
        for parent in [*neighbours, *self._role_paths]:
            if (candidate := parent / Path(expanded(name))).is_dir():
                return candidate, candidate, f"role {name}"
        for base in context.bases:
            if (candidate := base / name).is_dir():
                return candidate, candidate, ""
        return None

    def _as_pinned(self, name: str, path: Path) -> bool:
        """Whether a role or collection is what Galaxy installed of the version in the requirements, and nobody's own since."""
        whole = ".".join(name.split(".")[:2])
        wanted = self._pins.get(name) or (self._pins.get(whole) if _QUALIFIED.match(name) else None)
        info = path / "meta" / ".galaxy_install_info"
        if not wanted or not info.is_file():
            return False
        said = self._load(info)
        if not isinstance(said, Mapping) or str(said.get("version")) != wanted:
            return False
        installed = info.stat().st_mtime + _EDITED
        return all(file.stat().st_mtime <= installed for file in path.rglob("*") if file.is_file())

    # --- Collections ---

    def _collection(self, name: str) -> Path | None:
        namespace, dummy, short = name.partition(".")
        for parent in self._collection_paths:
            base = parent if parent.name == "ansible_collections" else parent / "ansible_collections"
            if (path := base / namespace / short).is_dir():
                return path
        return None

    def _note_collection(self, name: str, plugin: str) -> None:
        """A collection counts by its manifest; one that is somebody's checkout has none, and counts by what is used of it."""
        path = self._collection(name)
        if path is None or not self._first_time(path, f"plugin {plugin}"):
            return
        self._read.roots[path] = f"collection {name}"
        manifest = path / "MANIFEST.json"
        if manifest.is_file():
            self._read.paths[manifest] = f"the collection {name}"
        if plugin and not manifest.is_file():
            for kind in ("modules", "action", "lookup", "filter"):
                if (file := path / "plugins" / kind / f"{plugin}.py").is_file():
                    self._imports(path, file, f"ansible_collections.{name}.")

    def _imports(self, root: Path, file: Path, prefix: str) -> None:
        """A plugin of a checkout with all that it imports of the same collection."""
        if not self._first_time(file, "import") or not file.is_file():
            return
        self._read.paths[file] = "a plugin that a role uses"
        try:
            parsed = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for node in ast.walk(parsed):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                if name.startswith(prefix):
                    base = root / name.removeprefix(prefix).replace(".", "/")
                    self._imports(root, base.with_suffix(".py"), prefix)
                    self._imports(root, base / "__init__.py", prefix)

    # --- Tasks ---

    def _tasks(self, tasks: Any, context: _Context) -> None:
        for task in tasks if isinstance(tasks, list) else []:
            if not isinstance(task, Mapping):
                continue
            if self._never(task.get("when"), context):
                continue
            variables = task.get("vars")
            inner = context
            if isinstance(variables, Mapping):
                inner = replace(context, variables=(*context.variables[:1], variables, *context.variables[1:]))
            for key in ("block", "rescue", "always"):
                self._tasks(task.get(key), inner)
            looped = self._with_loop(task, inner)
            if looped is None:
                continue
            inner = looped
            for key, value in task.items():
                if isinstance(key, str) and key not in ("block", "rescue", "always"):
                    self._action(key, value, inner, task)

    def _note_made(self, tasks: Any, passed: dict[str, list[Any]]) -> None:
        """Variables that tasks make while they run, and those that they pass to other files of tasks."""
        for task in tasks if isinstance(tasks, list) else []:
            if isinstance(task, Mapping):
                self._made.add(str(task.get("register", "")))
                for key in ("set_fact", "ansible.builtin.set_fact"):
                    if isinstance(facts := task.get(key), Mapping):
                        self._made.update(map(str, facts))
                for key in ("block", "rescue", "always"):
                    self._note_made(task.get(key), passed)
                variables = task.get("vars")
                for name, value in variables.items() if isinstance(variables, Mapping) else ():
                    passed.setdefault(str(name), []).append(value)

    def _with_loop(self, task: Mapping[str, Any], context: _Context) -> _Context | None:
        """The loop's variable stands for all items at once: see `_rendered`. None when there are none."""
        loop = task.get("loop", task.get("with_items"))
        if loop is None:
            return context
        control = task.get("loop_control")
        name = control.get("loop_var", "item") if isinstance(control, Mapping) else "item"
        if isinstance(loop, str) and (found := _EXPRESSION.fullmatch(loop.strip())) and _NAME.match(found[1]):
            loop = context.value(found[1])
        if loop == []:
            return None
        items = [one for one in loop if one is not None] if isinstance(loop, list) else []
        return replace(context, variables=({str(name): _Each(items)}, *context.variables)) if items else context

    def _action(self, key: str, value: Any, context: _Context, task: Mapping[str, Any]) -> None:
        action = _BUILTIN.sub("", key)
        if action in _INCLUDES:
            self._include(action, value, context)
        elif action in _UPLOADS:
            self._uploads(action, value, context)
        elif action in ("with_file", "with_fileglob", "with_template", "with_first_found"):
            for text in texts(value):
                self._lookup(action.removeprefix("with_"), text, context)
        elif (found_name := _QUALIFIED.match(key)) and not _BUILTIN.match(key):
            self._note_collection(f"{found_name[1]}.{found_name[2]}", found_name[3])
        if action != "when":
            for text in islice(texts(value), _MOST_TEXTS):  # aliases of YAML may name more than there is time for
                if "(" in text:
                    self._lookups(text, context)

    def _include(self, action: str, value: Any, context: _Context) -> None:
        arguments = value if isinstance(value, Mapping) else {}
        if action.endswith("_role"):
            for text in self._rendered(arguments.get("name"), context, "takes a role"):
                self._role(text, context)
        elif action == "include_vars":
            named = arguments.get("file", arguments.get("dir", value))
            for found in self._files(named, context, "vars", "reads variables"):
                self._read.paths[found] = context.what
        else:
            for found in self._files(arguments.get("file", value), context, "tasks", "includes tasks"):
                if context.role is None or context.role not in found.parents:
                    self._included(found, context)

    def _included(self, path: Path, context: _Context) -> None:
        if self._first_time(path, "tasks"):
            self._tasks(self._load(path), replace(context, bases=(path.parent, *context.bases)))

    def _uploads(self, action: str, value: Any, context: _Context) -> None:
        if isinstance(value, Mapping):
            if value.get("remote_src") in (True, "true", "yes"):
                return
            source = value.get("src", value.get("cmd") if action == "script" else None)
        else:
            found = re.search(r"(?:^|\s)src=(\S+)", str(value or ""))
            source = found[1] if found else value if action == "script" else None
        if action == "script" and isinstance(source, str):
            source = source.split()[0] if source.split() else None
        self._files(source, context, _UPLOADS[action], "uploads a file")

    def _lookups(self, text: str, context: _Context) -> None:
        for kind, dummy, plain, name in _LOOKUPS.findall(text):
            self._lookup(kind, plain or f"{{{{ {name} }}}}", context)

    def _lookup(self, kind: str, text: str, context: _Context) -> None:
        if kind in _OUTSIDE_LOOKUPS:
            self._read.cannot_say(
                f"{context.what} asks lookup('{kind}', ...), whose answer comes from outside of its files: give the value as a variable of the "
                "template"
            )
        elif kind in ("file", "template", "fileglob", "unvault", "ini", "csvfile", "first_found"):
            self._files(text, context, "templates" if kind == "template" else "files", "")

    # --- Files and names ---

    def _files(self, value: Any, context: _Context, folder: str, does: str) -> list[Path]:
        """Note the files that a text names, and answer those that there are. Without `does` nothing is said of what cannot be said."""
        if not isinstance(value, str):
            return []
        found: list[Path] = []
        for text in self._rendered(value, context, does, path=True):
            if not text.strip() or len(text) > 1000 or "\n" in text or "\0" in text or "://" in text:
                continue
            wanted = Path(expanded(text))
            for base in context.bases:
                candidates = [wanted] if wanted.is_absolute() else [base / folder / wanted, base / wanted]
                there = [path for path in candidates if _exists(path)]
                for path in there[:1]:
                    self._read.paths[Path(os.path.normpath(path))] = context.what
                    found.append(path)
                if there:
                    break
        return [path for path in found if path.is_file()]

    def _rendered(self, value: Any, context: _Context, does: str, *, path: bool = False) -> list[str]:
        """A text with its expressions filled in: several when a loop goes over several. What cannot be said becomes a sentence."""
        if not isinstance(value, str):
            return []
        results = _fill_in(value, context, 0)
        if results is not None:
            return results
        expressions = [found[1] for found in _EXPRESSION.finditer(value)]
        # Facts and what a role decides by itself choose among its own files, all of which count.
        inside = (
            path and not _EXPRESSION.fullmatch(value.strip()) and not re.match(r"\s*\{\{.*?\}\}/", value, re.DOTALL)
        )
        if does and not inside and not all(self._harmless(text, context, 0) for text in expressions):
            hint = "name the file" if path else "name the role"
            self._read.cannot_say(
                f"{context.what} {does} that is only known when it runs ({value.strip()}): {hint}, or give its variable in the provisioner's "
                "extra_arguments"
            )
        elif path and context.role is None and (prefix := value.partition("{{")[0]).endswith("/"):
            for base in context.bases:
                if (base / prefix).is_dir():
                    self._read.paths[base / prefix] = context.what
        return []

    def _harmless(self, expression: str, context: _Context, depth: int) -> bool:
        """Whether what cannot be said says nothing of this machine's files: a fact, what a task made, a digest of what a file is made of."""
        head = re.match(r"\w+", expression)
        if "hash(" in expression:
            return True
        if not head or depth > 10:
            return False
        if head[0].startswith("ansible_") or head[0] in self._made:
            return True
        value = context.value(head[0])
        values = value.items if isinstance(value, _Each) else [value]
        inner = [found[1] for one in values if isinstance(one, str) for found in _EXPRESSION.finditer(one)]
        return any(self._harmless(text, context, depth + 1) for text in inner)

    def _never(self, condition: Any, context: _Context) -> bool:
        """Whether a condition is false by what Packer gives, which nothing can overrule."""
        conditions = condition if isinstance(condition, list) else [condition]
        return any(_false(one, self._extra) for one in conditions)

    def _first_time(self, path: Path, kind: str) -> bool:
        key = (path.resolve(), kind)
        if key in self._seen:
            return False
        if len(self._seen) > _MOST_FILES:
            raise ImageError(
                f"the {who(self._step)} reads more than {_MOST_FILES} roles, files and plugins: is it the right playbook?"
            )
        self._seen.add(key)
        return True

    def _yaml_files(self, directory: Path) -> list[Path]:
        return sorted(path for path in directory.rglob("*.y*ml") if path.is_file()) if directory.is_dir() else []

    def _load(self, path: Path) -> Any:
        """A YAML file; nothing of one that cannot be read, which is said."""
        if path not in self._loaded:
            self._loaded[path] = None
            try:
                if path.stat().st_size <= _LONGEST:
                    self._loaded[path] = _parsed(path.read_text(encoding="utf-8"), strict=True)
                    return self._loaded[path]
                reason = f"it is larger than {_LONGEST // 1_000_000} MB"
            except OSError as exc:
                reason = str(exc.strerror)
            except (ValueError, RecursionError) as exc:
                reason = "it nests too deeply" if isinstance(exc, RecursionError) else "it is no YAML"
            self._read.cannot_say(f"{path.name} of the {who(self._step)} cannot be read, because {reason}: correct it")
        return self._loaded[path]


@dataclass(frozen=True)
class _Each:
    """What a loop's variable stands for: each of these."""

    items: list[Any] = field(default_factory=list)


def _flat(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, list) else []


def _assignments(words: Any) -> dict[str, str]:
    return {name: value for name, sign, value in (word.partition("=") for word in words) if sign}


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


if yaml is not None:

    class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Plain YAML: what Ansible's own tags stand for is nobody's path."""

    def _any_tag(loader: Any, dummy: str, node: Any) -> Any:
        return node.value if isinstance(node, yaml.ScalarNode) else None

    _Loader.add_multi_constructor("!", _any_tag)


def _parsed(text: str, *, strict: bool = False) -> Any:
    try:
        if text.lstrip().startswith(("{", "[")) and not strict:
            return json.loads(text)
        return yaml.load(text, Loader=_Loader)  # a safe loader with one more constructor
    except (ValueError, yaml.YAMLError) as exc:
        if strict:
            raise ValueError("no YAML") from exc
        return None


def _fill_in(text: str, context: _Context, depth: int) -> list[str] | None:
    """All that a text can be; None when an expression in it is not known."""
    if "{%" in text or depth > 10:
        return None
    found = _EXPRESSION.search(text)
    if not found:
        return [text]
    values = _meanings(found[1], context, depth)
    if values is None:
        return None
    results: list[str] = []
    for value in values[:200]:
        rest = _fill_in(text[found.end() :], context, depth)
        if rest is None:
            return None
        results += [text[: found.start()] + value + end for end in rest]
    return results[:1000]


def _meanings(expression: str, context: _Context, depth: int) -> list[str] | None:
    if literal := _QUOTED.fullmatch(expression):
        return [literal[2]]
    if found := _FILTERED.fullmatch(expression):
        return _filtered(found[1], found[2], found[4], context, depth)
    if expression in ("role_path", "playbook_dir"):
        base = context.role if expression == "role_path" else context.bases[-1]
        return [str(base)] if base else None
    if not _NAME.match(expression):
        return None
    return _of_value(_valued(expression, context), context, depth)


def _filtered(inner: str, name: str, argument: str | None, context: _Context, depth: int) -> list[str] | None:
    values = _meanings(inner, context, depth)
    if name in ("default", "d"):
        if values is not None:
            return values
        return [] if argument == "omit" else _meanings((argument or "''").partition(",")[0].strip(), context, depth + 1)
    return None if values is None else [_FILTERS[name](value) for value in values]


def _valued(expression: str, context: _Context) -> Any:
    head, *rest = re.findall(r"\w+", expression)
    first = context.value(head)
    if not isinstance(first, _Each):
        return context.value(expression)
    values = []
    for item in first.items:
        inner = item
        for part in rest:
            inner = inner.get(part) if isinstance(inner, Mapping) else None
        if inner is not None:
            values.append(inner)
    return _Each(values)


def _of_value(value: Any, context: _Context, depth: int) -> list[str] | None:
    if isinstance(value, _Each):
        every = [_of_value(item, context, depth) for item in value.items]
        return (
            [text for one in every if one for text in one] if every and all(one is not None for one in every) else None
        )
    if isinstance(value, str):
        return _fill_in(value, context, depth + 1)
    return [str(value)] if isinstance(value, int | float) and not isinstance(value, bool) else None


def _false(condition: Any, known: Mapping[str, Any]) -> bool:
    """`x`, `not x`, `x != ''`, `x == 'word'`, with or without `| bool`, of variables that are given."""
    if condition is False:
        return True
    if not isinstance(condition, str):
        return False
    found = re.fullmatch(
        r"\s*(not\s+)?([A-Za-z_]\w*)(\s*\|\s*bool)?\s*(?:(==|!=)\s*(?:'([^']*)'|\"([^\"]*)\"))?\s*", condition
    )
    if not found or found[2] not in known:
        return False
    value = known[found[2]]
    if isinstance(value, str) and "{{" in value:
        return False
    if found[4]:
        same = value == (found[5] if found[5] is not None else found[6])
        truth = same == (found[4] == "==")
    elif isinstance(value, str):
        truth = value.lower() in ("true", "yes", "on", "1") if found[3] else bool(value)
    else:
        truth = bool(value)
    return bool(truth) == bool(found[1])
