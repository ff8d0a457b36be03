# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an encrypted dotenv file of either kind; which one it is shows in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.dotenv import dotenvx, vault
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import parse
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.keys import PRIVATE, Key

VAULT: Final = "DOTENV_VAULT_"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Opened:
    """A decrypted environment."""

    environment: str
    values: Mapping[str, str]


def kind_of(assignments: Mapping[str, str]) -> str:
    """`vault`, `dotenvx` or "" for a file that neither wrote."""
    if any(name.startswith(VAULT) for name in assignments):
        return "vault"
    if any(name.startswith(dotenvx.PUBLIC) for name in assignments):
        return "dotenvx"
    return "dotenvx" if any(value.startswith(dotenvx.PREFIX) for value in assignments.values()) else ""


def open_file(text: str, file: str, environment: str, keys: Sequence[Key]) -> Opened:
    """Decrypt one environment of a file's text.

    `file` is its name for error messages, `environment` "" to take what the keys name. Raises DotenvError.
    """
    assignments = parse(text)
    kind = kind_of(assignments)
    if not kind:
        raise DotenvError(f"{file} is malformed: it holds neither a {VAULT}<ENVIRONMENT> nor a value of dotenvx")
    if environment and not _NAME.fullmatch(environment):
        raise DotenvError(f"the environment for {file} may have letters, digits, dots, dashes and underscores only")
    return (_open_vault if kind == "vault" else _open_dotenvx)(assignments, file, environment, keys)


def key_variables(text: str, file: str, environment: str) -> list[str]:
    """The environment variables in which the tools of this kind of file keep its keys."""
    assignments = parse(text)
    if kind_of(assignments) != "dotenvx":
        return ["DOTENV_KEY"]
    own = _environment_of(assignments, file) or environment
    return [PRIVATE, f"{PRIVATE}_{_same(own)}"] if own else [PRIVATE]


def _open_vault(assignments: Mapping[str, str], file: str, environment: str, keys: Sequence[Key]) -> Opened:
    if not keys:
        raise DotenvError(
            f"{file} cannot be decrypted{_for(environment)}: there is no key; set DOTENV_KEY, or the option key or key_file"
        )
    blobs: dict[str, bytes] = {}
    unnamed = 0
    missing: list[str] = []
    tried: list[str] = []
    for key in keys:
        name = environment or key.environment
        if not name:
            unnamed += 1
            continue
        variable = VAULT + name.upper()
        if variable not in assignments:
            missing.append(name)
            continue
        if name not in blobs:
            what = f"the environment {name} of {file}"
            blobs[name] = vault.unwrap(assignments[variable], what, vault.NONCE + vault.TAG)
        plain = vault.unseal(blobs[name], key.secret)
        if plain is not None:
            return Opened(name, parse(plain))
        tried.append(name)
    raise DotenvError(_why_not(assignments, file, unnamed, missing, tried))


def _why_not(assignments: Mapping[str, str], file: str, unnamed: int, missing: list[str], tried: list[str]) -> str:
    if tried:
        names, count = _several(tried), len(tried)
        fits = "the key does not fit" if count == 1 else f"none of {count} keys fits"
        return f"{file} cannot be decrypted for the environment {names}: {fits}, or the file was changed; give its present key"
    if missing:
        there = _several(name[len(VAULT) :].lower() for name in assignments if name.startswith(VAULT))
        return f"{file} has no environment {_several(missing)}; it has {there}"
    return f"{file} cannot be decrypted: {'the key names' if unnamed == 1 else 'the keys name'} no environment; set the option environment"


def _open_dotenvx(assignments: Mapping[str, str], file: str, environment: str, keys: Sequence[Key]) -> Opened:
    own = _environment_of(assignments, file)
    if environment and own and _same(environment) != _same(own):
        raise DotenvError(f"{file} has no environment {environment}; it has {own}")
    name = environment or own
    hidden = [variable for variable, value in assignments.items() if value.startswith(dotenvx.PREFIX)]
    # A key that says another environment was never meant for this file.
    fitting = [key for key in keys if not key.environment or not own or _same(key.environment) == _same(own)]
    if hidden and not fitting:
        variable = f"{PRIVATE}_{_same(own)}" if own else PRIVATE
        raise DotenvError(
            f"{file} cannot be decrypted{_for(name)}: there is no key for it; set {variable}, or the option key or key_file"
        )
    secrets = list(dict.fromkeys(key.secret for key in fitting))
    values: dict[str, str] = {}
    for variable, value in assignments.items():
        if variable.startswith(dotenvx.PUBLIC):
            continue
        if value.startswith(dotenvx.PREFIX):
            plain = dotenvx.decrypt(value, secrets, f"the value of {variable} in {file}")
            if plain is None:
                fits = "the key does not fit" if len(secrets) == 1 else f"none of {len(secrets)} keys fits"
                raise DotenvError(
                    f"{file} cannot be decrypted{_for(name)}: {fits} the value of {variable}, or it was changed; give its present key"
                )
            values[variable] = plain
        else:
            values[variable] = value
    return Opened(name, values)


def _environment_of(assignments: Mapping[str, str], file: str) -> str:
    """What dotenvx calls the file's environment: its public key's name says it, else the file's own name."""
    for variable in assignments:
        if variable.startswith(dotenvx.PUBLIC):
            return variable[len(dotenvx.PUBLIC) + 1 :].lower()
    name = PurePath(file).name
    return name[len(".env.") :].lower() if name.startswith(".env.") else ""


def _same(environment: str) -> str:
    """`ci.local`, `CI_LOCAL` and `ci-local` are one name to dotenvx."""
    return re.sub(r"[^A-Z0-9]", "_", environment.upper())


def _for(environment: str) -> str:
    return f" for the environment {environment}" if environment else ""


def _several(names: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(names))
