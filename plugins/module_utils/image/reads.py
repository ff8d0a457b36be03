# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files the steps of a template read on this machine: scripts, uploads, playbooks, what a source is given."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.image import ansible_reads
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.expression import Unknown, first_unknown
from ansible_collections.boring.fleet.plugins.module_utils.image.inputs import Read, place, texts, who
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Step, Template

# What each kind of step names: paths of files, and commands whose words may be paths.
_SCRIPTS: Final = ("script", "scripts")
_COMMANDS: Final = ("inline", "command", "execute_command")
_SHELLS: Final = frozenset({"shell", "powershell", "windows-shell"})
# Settings of sources and of steps of other plugins that are not read: names of something else, results, keys to get in.
_NO_INPUT: Final = re.compile(
    r"output|destination|remote|staging|private_key|certificate|credential|account_file|password|token|secret|checksum|target|keep_|_log"
    r"|^ssh_|^winrm_|^vnc|^temp(orary)?_|_name$|^name$|^only$|^except$|^region|^tags$|description|username|^qemu_binary$"
)
_RESULTS: Final = ("output", "output_directory", "output_dir", "output_filename")
_DIRECTORIES: Final = re.compile(r"(_dir|_dirs|_directory|_directories|_path|_paths|_files|^source|^sources)$")
_A_PATH: Final = re.compile(r"(^|_)(script|scripts|file|files|path|paths|dir|dirs|directory|directories)$")
_MUST_EXIST: Final = frozenset({"user_data_file", "startup_script_file", "custom_data_file", "http_directory"})
_OF_THE_SYSTEM: Final = ("/bin/", "/usr/", "/sbin/", "/dev/", "/proc/", "/etc/")


def of(seen: Template, env: Mapping[str, str]) -> Read:
    """Everything that the steps of a template read. Raises ImageError for what a provisioner names and is not there."""
    read = Read(facts=dict(seen.trace.facts), unknown=dict(seen.trace.unknown))
    read.paths.update(seen.trace.files)
    for step in seen.steps:
        if step.kind == "source":
            _settings(seen, step, read)
        elif step.type in _SHELLS:
            _named(seen, step, _SCRIPTS, read)
        elif step.type == "shell-local":
            _named(seen, step, _SCRIPTS, read)
            _words(seen, step, read)
        elif step.type == "file":
            _uploaded(seen, step, read)
        elif step.type in ("ansible", "ansible-local"):
            ansible_reads.of(seen.directory, step, env, read)
        elif step.type not in ("manifest", "checksum", "breakpoint", "sleep"):
            _settings(seen, step, read)
    return read


def outputs(seen: Template) -> list[str]:
    """What builds write into the template's directory."""
    found = [
        value
        for step in seen.steps
        for name, value in step.values.items()
        if name in _RESULTS and isinstance(value, str) and value.strip("./")
    ]
    return [*found, *(f"output-{source.build.rpartition('.')[2]}" for source in seen.sources if not source.on_ec2)]


def _cannot_say(step: Step, name: str, why: Unknown, read: Read) -> None:
    read.unknown[
        f"the {who(step)} reads a file whose path cannot be said ({name}: {why.why}): write the path out, or give it as a variable"
    ] = None


def _named(seen: Template, step: Step, names: tuple[str, ...], read: Read) -> None:
    """Attributes that are paths of files which must be there."""
    for name in names:
        value = step.values.get(name)
        if why := first_unknown(value):
            _cannot_say(step, name, why, read)
        for text in texts(value):
            if "{{" in text:
                _cannot_say(step, name, Unknown(f"{text} is filled in when Packer builds"), read)
            elif path := place(seen.directory, text):
                _must_be_there(path, step, read)


def _must_be_there(path: Path, step: Step, read: Read) -> None:
    if not path.exists():
        raise ImageError(
            f"{step.at}: the {step.kind} {step.type} names {path}, which does not exist: correct the path, or make the file"
        )
    read.paths[path] = who(step)


def _words(seen: Template, step: Step, read: Read) -> None:
    """Programs and files that a command on this machine names."""
    for name in _COMMANDS:
        for text in texts(step.values.get(name)):
            try:
                words = shlex.split(text, comments=True)
            except ValueError:
                words = text.split()
            for word in words:
                if word.startswith(_OF_THE_SYSTEM) or not ("/" in word or "." in word):
                    continue
                if (path := place(seen.directory, word)) and _is(path.is_file):
                    read.paths[path] = who(step)


def _uploaded(seen: Template, step: Step, read: Read) -> None:
    """The provisioner `file`: what it names is uploaded as it is, with everything in a directory."""
    if step.values.get("direction") == "download":
        return
    if step.values.get("generated") is True:
        named = ", ".join(texts([step.values.get("source"), step.values.get("sources")])) or "a file"
        read.unknown[
            f"the {who(step)} uploads {named}, which is made while Packer builds (generated): nobody can say before what will be in it; make it "
            "before, and leave generated out"
        ] = None
        return
    _named(seen, step, ("source", "sources"), read)


def _settings(seen: Template, step: Step, read: Read) -> None:
    """Settings whose names or values say that they are files of this machine."""
    checked = step.values.get("iso_checksum") not in (None, "", "none")
    for name, value in _leaves(step.values):
        if _NO_INPUT.search(name) or (checked and name in ("iso_url", "iso_urls")):
            continue
        path = place(seen.directory, value)
        if path is None:
            continue
        if glob.has_magic(value) and "/" in value and not value.startswith("/"):
            read.paths.update(
                {
                    seen.directory / found: who(step)
                    for found in glob.iglob(value, root_dir=seen.directory, recursive=True)  # noqa: PTH207 (names below a directory)
                }
            )
        elif name in _MUST_EXIST:
            _must_be_there(path, step, read)
        elif _is(path.is_file) or (
            _DIRECTORIES.search(name) and _is(path.is_dir) and path.resolve() != seen.directory.resolve()
        ):
            read.paths[path] = who(step)
    for name, value in step.values.items():
        why = first_unknown(value)
        if why and _A_PATH.search(name) and not _NO_INPUT.search(name):
            _cannot_say(step, name, why, read)


def _is(test: Any) -> bool:
    try:
        return bool(test())
    except OSError:  # a text that no file system takes for a path
        return False


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, list):
            for one in value:
                yield from _leaves(one if isinstance(one, Mapping) else {name: one})
        elif isinstance(value, Mapping):
            yield from _leaves(value)
