# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user gives as a key: a DOTENV_KEY, several of them, or the private keys of dotenvx. Never shown again.

A DOTENV_KEY is `dotenv://:key_<64 hex>@dotenv.org/vault/.env.vault?environment=production`; only the last 64 hex digits
of the password and the environment matter, nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import parse

PRIVATE: Final = "DOTENV_PRIVATE_KEY"
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Key:
    """32 bytes and the environment they are said to open ("" where nothing says so).

    `uri` tells a DOTENV_KEY from a bare key, which a vault and dotenvx may both have. The bytes are in no repr.
    """

    secret: bytes = field(repr=False)
    environment: str = ""
    uri: bool = False


def read_keys(given: Any, where: str) -> list[Key]:
    """The keys in the text of an option or a variable: separated by commas, tried in this order.

    `where` names the place for error messages ("the option key"). Raises DotenvError.
    """
    parts = given if isinstance(given, (list, tuple)) else [given]
    if not all(isinstance(part, str) for part in parts):
        raise DotenvError(f"{where} must be text: a DOTENV_KEY, or several separated by commas")
    words = [word.strip() for part in parts for word in str(part).split(",") if word.strip()]
    return [_read_key(word, f"key {number} of {len(words)} in {where}") for number, word in enumerate(words, 1)]


def keys_in_file(text: str, where: str) -> list[Key]:
    """The keys in a key file: bare ones, a line each, or assignments as in dotenvx's `.env.keys`. Raises DotenvError."""
    named = parse(text)
    wanted = {name: value for name, value in named.items() if name == "DOTENV_KEY" or name.startswith(PRIVATE)}
    if wanted:
        return keys_in_variables(wanted, where)
    lines = [line.strip() for line in text.splitlines()]
    return read_keys([line for line in lines if line and not line.startswith("#")], where)


def keys_in_variables(variables: Mapping[str, str], where: str) -> list[Key]:
    """The keys of DOTENV_KEY and DOTENV_PRIVATE_KEY_* among some variables; the latter's names say the environment."""
    found: list[Key] = []
    for name, value in variables.items():
        if name == "DOTENV_KEY":
            found += read_keys(value, f"DOTENV_KEY in {where}")
        elif name == PRIVATE or name.startswith(f"{PRIVATE}_"):
            environment = name[len(PRIVATE) + 1 :].lower()
            found += [
                Key(key.secret, environment or key.environment, key.uri)
                for key in read_keys(value, f"{name} in {where}")
            ]
    return found


def _read_key(word: str, where: str) -> Key:
    if "://" not in word:
        digits = word[-64:]
        if not _HEX.fullmatch(digits) or len(word) not in (64, 68):
            raise DotenvError(f"{where} is no DOTENV_KEY: it must be a dotenv:// URI or 64 hexadecimal digits")
        return Key(bytes.fromhex(digits))
    try:
        parts = urlsplit(word)
        password = unquote(parts.password or "")
        environments = parse_qs(parts.query).get("environment", [])
    except ValueError:
        password, environments = "", []
    if not password:
        raise DotenvError(f"{where} is no DOTENV_KEY: it has no key part; it must look like dotenv://:key_...@host/...")
    digits = password[-64:]
    if not _HEX.fullmatch(digits):
        raise DotenvError(f"{where} is no DOTENV_KEY: its password must end in 64 hexadecimal digits")
    return Key(bytes.fromhex(digits), environments[0] if environments else "", uri=True)
