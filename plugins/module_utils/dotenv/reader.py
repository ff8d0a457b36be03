# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an encrypted dotenv file of either kind; which one it is shows in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.dotenv import dotenvx, vault
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.evaluate import Rules, evaluate, inside_of
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import assignments as each_assignment
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import parse
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.keys import PRIVATE, Key
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.readings import differing

VAULT: Final = "DOTENV_VAULT_"
_REFUSE: Final = Rules()
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Opened:
    """A decrypted environment. `odd`: what a user should know about its values, a sentence without one; "" for nothing."""

    environment: str
    values: Mapping[str, str] = field(repr=False)
    odd: str = ""


def kind_of(assignments: Mapping[str, str]) -> str:
    """`vault`, `dotenvx` or "" for a file that neither wrote."""
    if any(name.startswith(VAULT) for name in assignments):
        return "vault"
    if any(name.startswith(dotenvx.PUBLIC) for name in assignments):
        return "dotenvx"
    return "dotenvx" if any(value.startswith(dotenvx.PREFIX) for value in assignments.values()) else ""


def open_file(
    text: str,
    file: str,
    environment: str,
    keys: Sequence[Key],
    *,
    wanted: Sequence[str] = (),
    rules: Rules = _REFUSE,
) -> Opened:
    """Decrypt one environment of a file's text.

    `file` is its name for error messages, `environment` "" to take what the keys name. `wanted` are the variables that
    somebody wants (all, if there are none), `rules` what a file of dotenvx may do in them. Raises DotenvError.
    """
    assignments = parse(text)
    kind = kind_of(assignments)
    if not kind:
        raise DotenvError(f"{file} is malformed: it holds neither a {VAULT}<ENVIRONMENT> nor a value of dotenvx")
    if environment and not _NAME.fullmatch(environment):
        raise DotenvError(f"the environment for {file} may have letters, digits, dots, dashes and underscores only")
    if kind == "dotenvx":
        return _open_dotenvx(text, file, environment, keys, wanted=wanted, rules=rules)
    for option, choice in (("references", rules.references), ("commands", rules.commands)):
        if choice in ("expand", "run"):
            raise DotenvError(
                f"{file} is a vault, and dotenv takes its values as they are: leave out {option}={choice}"
            )
    return _open_vault(assignments, file, environment, keys, wanted=wanted)


def key_variables(text: str, file: str, environment: str) -> list[str]:
    """The environment variables in which the tools of this kind of file keep its keys."""
    assignments = parse(text)
    if kind_of(assignments) != "dotenvx":
        return ["DOTENV_KEY"]
    own = _environment_of(assignments, file) or environment
    return [PRIVATE, f"{PRIVATE}_{_same(own)}"] if own else [PRIVATE]


def _open_vault(
    assignments: Mapping[str, str], file: str, environment: str, keys: Sequence[Key], *, wanted: Sequence[str]
) -> Opened:
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
            values = parse(plain)
            return Opened(name, values, differing(plain, values, wanted or values, ("python-dotenv", "Docker")))
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


def _open_dotenvx(
    text: str, file: str, environment: str, keys: Sequence[Key], *, wanted: Sequence[str], rules: Rules
) -> Opened:
    assignments = parse(text)
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
    plain: list[tuple[str, str, str, int]] = []
    visible: set[str] = set()
    for found in each_assignment(text):
        variable, value = found.name, inside_of(found)
        if variable.startswith(dotenvx.PUBLIC):
            continue
        visible.add(variable)
        if value.startswith(dotenvx.PREFIX):
            decrypted = dotenvx.decrypt(value, secrets, f"the value of {variable} in {file}")
            if decrypted is None:
                fits = "the key does not fit" if len(secrets) == 1 else f"none of {len(secrets)} keys fits"
                raise DotenvError(
                    f"{file} cannot be decrypted{_for(name)}: {fits} the value of {variable}, or it was changed; give its present key"
                )
            value = decrypted
            visible.remove(variable)  # other readers see nothing of it
        plain.append((variable, value, found.quote, found.line))
    values = evaluate(plain, wanted, rules, file)
    seen = [variable for variable in wanted or values if variable in visible]
    return Opened(name, values, differing(text, values, seen, ("dotenv", "python-dotenv", "Docker")))


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
