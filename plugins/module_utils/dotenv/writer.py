# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a `.env.vault` and change its keys so that a reader always has one that fits.

The key file holds the present key first and former ones after it. It is written before the vault is and shortened after,
so that a crash between the two leaves a key file that opens the vault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.dotenv import vault
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import parse
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.keys import Key, read_keys
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.reader import VAULT

_ENVIRONMENT: Final = re.compile(r"[A-Za-z0-9_]+")
_BARE: Final = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
_HEADER: Final = "# Encrypted, to be committed; the key is elsewhere. Written by boring.fleet.dotenv_vault.\n"


@dataclass(frozen=True)
class Wish:
    """What the vault shall hold. `text` None keeps what it holds; `old_keys` is how many former keys stay readable."""

    environment: str
    text: str | None = field(default=None, repr=False)
    rotate: bool = False
    old_keys: int = 1


@dataclass(frozen=True)
class Files:
    """The vault's text and the key file's keys; None where there is no such file."""

    vault: str | None
    keys: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Plan:
    """What to write, in this order, where it differs; `before` and `after` are the plain variables."""

    keys: str = field(repr=False)
    vault: str
    keys_at_last: str = field(repr=False)
    before: Mapping[str, str] = field(repr=False)
    after: Mapping[str, str] = field(repr=False)
    rotated: bool = False


def plan(wish: Wish, files: Files, names: tuple[str, str], random: Callable[[int], bytes]) -> Plan:
    """What to write for a wish. `names` are the two files in error messages. Raises DotenvError."""
    vault_name, key_name = names
    environment = wish.environment
    if not _ENVIRONMENT.fullmatch(environment):
        raise DotenvError(f"the environment for {vault_name} may have letters, digits and underscores only")
    variable = VAULT + environment.upper()
    assignments = parse(files.vault or "")
    words = [word for word in re.split(r"[\s,]+", files.keys or "") if word]
    keys = read_keys(words, f"the key file {key_name}")
    held: str | None = None
    fitting = -1
    if variable in assignments:
        held, fitting = _open(assignments[variable], keys, environment, names)
    text = held if wish.text is None else wish.text
    if text is None:
        raise DotenvError(f"{vault_name} has no environment {environment} yet: give src or values")
    rotated = wish.rotate and bool(words)
    if wish.rotate or not words:
        words = [_new_key(environment, random(32)), *words]
        keys = read_keys(words[:1], "the new key")
        fitting = -1
    all_keys = _key_text(words)
    new_vault = files.vault or ""
    if held != text or fitting != 0:
        sealed = vault.seal(text, keys[0].secret, random)
        new_vault = _with(files.vault, variable, sealed, vault_name)
    return Plan(
        keys=all_keys if _words(files.keys) != words else files.keys or "",
        vault=new_vault,
        keys_at_last=_key_text(words[: 1 + wish.old_keys]) if len(words) > 1 + wish.old_keys else "",
        before=parse(held or ""),
        after=parse(text),
        rotated=rotated,
    )


def render(values: Mapping[str, Any]) -> str:
    """Plain dotenv text from which the grammar reads these very values. Raises DotenvError, naming the variable."""
    text = ""
    for name, value in values.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", str(name)):
            raise DotenvError(f"{name} is no name of a variable: letters, digits, '_', '.' and '-' only")
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise DotenvError(f"the value of {name} must be text or a number")
        line = _line(str(name), str(value))
        if line is None:
            raise DotenvError(
                f"the value of {name} cannot be written in dotenv's grammar: it mixes all three kinds of quotes"
            )
        text += line
    if parse(text) != {str(name): str(value) for name, value in values.items()}:
        raise DotenvError("the values cannot be written in dotenv's grammar: one ends in a backslash before a quote")
    return text


def _line(name: str, value: str) -> str | None:
    if _BARE.fullmatch(value):
        return f"{name}={value}\n"
    escaped = value.replace("\r", "\\r")
    for line in (f"{name}='{value}'\n", f'{name}="{escaped}"\n', f"{name}=`{value}`\n"):
        # A second assignment shows whether the quote ends where it should
        if parse(f"{line}Z='`\"'\n").get(name) == value and parse(f"{line}Z=1\n").get("Z") == "1":
            return line
    return None


def _open(value: str, keys: list[Key], environment: str, names: tuple[str, str]) -> tuple[str, int]:
    blob = vault.unwrap(value, f"the environment {environment} of {names[0]}", vault.NONCE + vault.TAG)
    for number, key in enumerate(keys):
        plain = vault.unseal(blob, key.secret)
        if plain is not None:
            return plain, number
    raise DotenvError(
        f"{names[0]} cannot be decrypted for the environment {environment}: no key in {names[1]} fits;"
        " give the right key file, or take the environment's line out of the vault to begin it anew"
    )


def _new_key(environment: str, secret: bytes) -> str:
    return f"dotenv://:key_{secret.hex()}@dotenv.org/vault/.env.vault?environment={environment.lower()}"


def _words(text: str | None) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text or "") if word]


def _key_text(words: list[str]) -> str:
    return ",".join(words) + "\n"


def _with(text: str | None, variable: str, sealed: str, name: str) -> str:
    """The vault with one assignment replaced or added, all others as they are."""
    line = f'{variable}="{sealed}"'
    old = text if text is not None else _HEADER
    new, count = re.subn(rf"(?m)^[ \t]*(?:export[ \t]+)?{variable}[ \t]*=.*$", line, old)
    if not count:
        new = old + ("" if old.endswith("\n") or not old else "\n") + line + "\n"
    if parse(new) != {**parse(old), variable: sealed}:
        raise DotenvError(
            f'{name} is malformed: the line of {variable} cannot be replaced; write it as {variable}="..."'
        )
    return new
